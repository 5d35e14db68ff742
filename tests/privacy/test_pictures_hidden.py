"""The attack on pictures: a school held back, moved far up and far down, moves no mark of any picture with it.

Two worlds differ in the scores of one small school alone, by hundreds of points. What all schools have in common moves a
little with it, and so does every mark; a picture that had the school's own mark would lose its highest in one world and its
lowest in the other. Pictures that are files are searched besides: as many marks as schools shown, and no code of another.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT, simulate
from matplotlib.collections import Collection, LineCollection, PathCollection
from typer.testing import CliRunner

import valib as va
from valib.command.cli import app
from valib.pages import figures
from valib.pages.figures.plotted import plotted
from valib.records.precision import decimals

COHORTS = (2030, 2031, 2033, 2034)
SMALL, FAR, MINIMUM = "S0020", 600.0, 5  # four students in every cohort; how far their scores of 2034 are moved
STUDY = ["--baseline-cohorts", "2030,2031", "--focal-cohorts", "2033,2034"]
MOST = 0.45  # of what is drawn along an axis: how much its end may move between the worlds


def world(sign: int) -> pd.DataFrame:
    """Forty schools in four cohorts; the small one far above (1) or far below (-1) where it was in the last."""
    rows = simulate(np.random.default_rng(2030), schools=40, size=(10, 30), cohorts=COHORTS, rho=0.6)
    place = rows.groupby(["school", "cohort"]).cumcount()
    rows = rows[(rows["school"] != SMALL) | (place < MINIMUM - 1)].drop(columns="u").reset_index(drop=True)
    rows.loc[(rows["school"] == SMALL) & (rows["cohort"] == 2034), "score"] += sign * FAR
    return rows.assign(female=np.arange(len(rows)) % 2, ses=np.random.default_rng(1).normal(size=len(rows)))


def ends(figure) -> list[tuple[np.ndarray, np.ndarray]]:
    """The lowest and the highest point (x, y) of all marks, of every axes."""
    found = []
    for ax in figure.axes:
        points = [np.asarray(line.get_xydata(), dtype=float) for line in ax.lines]
        for one in ax.collections:
            several = isinstance(one, PathCollection) or (isinstance(one, Collection) and len(one.get_offsets()) > 1)
            paths = [path.vertices for path in one.get_paths()]
            points.append(np.asarray(one.get_offsets()) if several else np.vstack(paths or [np.empty((0, 2))]))
        every = np.vstack([p for p in points if len(p)] or [np.full((1, 2), np.nan)])
        every = every[np.isfinite(every).all(axis=1)]
        if len(every) > 1:
            found.append((every.min(axis=0), every.max(axis=0)))
    return found


def ends_of_table(figure) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same of the table that the pages give beneath the figure."""
    table = plotted(figure)
    numbers = table[["x", "y", "x_to", "y_to"]].apply(pd.to_numeric).to_numpy()
    found = []
    for _, rows in table.reset_index().groupby("panel", sort=False)["index"]:
        along = [np.concatenate([numbers[rows, axis], numbers[rows, axis + 2]]) for axis in (0, 1)]
        found.append((np.array([np.nanmin(v) for v in along]), np.array([np.nanmax(v) for v in along])))
    return found


def moved(one, other, of=ends) -> float:
    """How far the ends of what is drawn lie apart in two figures, as a share of what is drawn, at most."""
    shares = [0.0]
    for (low, high), (low_2, high_2) in zip(of(one), of(other), strict=True):
        span = np.maximum(np.minimum(high - low, high_2 - low_2), 1e-9)
        shares += [*(np.abs(high - high_2) / span), *(np.abs(low - low_2) / span)]
    return float(max(shares))


@pytest.fixture(scope="module")
def tables():
    """Of each world: relative and benchmark effects, ranks, unshrunken effects and changes of all schools."""
    found = []
    for sign in (1, -1):
        rows = world(sign)
        own = va.fit_relative(rows, 2034, intervals="plugin")
        against = va.fit_benchmark(rows, 2034, va.fit_baseline(rows, [2030, 2031]), intervals="plugin")
        joint = va.fit_joint(rows, [2033, 2034])
        change = va.change_in_va(joint, 2033, 2034, intervals="plugin")
        change["shown"] = va.shown_in_all(joint.school_effects, MINIMUM, [2033, 2034])
        frames = [t.school_effects.assign(cohort=2034, model=t.model.title()).reset_index() for t in (own, against)]
        found.append((own, own.ranks(seed=1).assign(n=own.school_effects["n"]), pd.concat(frames), change))
    return found


DRAWN = {
    "caterpillar": lambda own, ranks, both, change, n: figures.caterpillar(own.school_effects, min_n=n),
    "shrinkage": lambda own, ranks, both, change, n: figures.shrinkage(
        own.school_effects, own.school_effects["effect"] / own.school_effects["shrinkage"], min_n=n
    ),
    "va_density": lambda own, ranks, both, change, n: figures.va_density(both, min_n=n),
    "relative_vs_benchmark": lambda own, ranks, both, change, n: figures.relative_vs_benchmark(both, min_n=n),
    "change_in_va": lambda own, ranks, both, change, n: figures.change_in_va(
        change if n > 1 else change.drop(columns="shown"), min_n=n
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_no_figure_of_schools_has_a_mark_that_follows_the_school_held_back(tables, name):
    """And the test that can fail: with every school shown, the same figure has one."""
    shown = moved(*(DRAWN[name](*world, MINIMUM) for world in tables))
    assert shown < MOST < moved(*(DRAWN[name](*world, 1) for world in tables)), shown


@pytest.mark.parametrize("name", DRAWN)
def test_no_table_beneath_a_figure_of_schools_tells_of_the_school_held_back(tables, name):
    """It names the schools shown and no other, and no number of it follows the school; nor is one finer than published."""
    hidden, open_ = ([DRAWN[name](*world, n) for world in tables] for n in (MINIMUM, 1))
    assert moved(*hidden, ends_of_table) < MOST < moved(*open_, ends_of_table)
    for figure, every in zip(hidden, open_, strict=True):
        names, all_names = (set(plotted(one)["name"]) - {""} for one in (figure, every))
        assert SMALL not in names and not any(SMALL in text for text in plotted(figure).to_numpy().ravel())
        assert name == "va_density" or (SMALL in all_names and names < all_names)
    own = tables[0][0].school_effects
    places = decimals("effect", own["effect"].to_numpy(), np.full(len(own), own["se"].min())).max()
    y = plotted(hidden[0])["y"] if name == "caterpillar" else pd.Series(dtype=str)
    assert all(len(text.partition(".")[2]) <= max(places, 1) for text in y)


def test_the_files_of_a_fit_have_a_mark_for_each_school_shown_and_no_code(tmp_path):
    world(1).to_csv(tmp_path / "my.csv", index=False)
    joint = ["--model", "joint", "--cohorts", "2031,2033", "--average", "2031,2033", "--intervals", "plugin"]
    done = CliRunner().invoke(
        app,
        ["fit", str(tmp_path / "my.csv"), *joint, "--covariance", "compound_symmetry", "--out", str(tmp_path / "out")],
    )
    assert done.exit_code == 0, done.output
    looked = 0
    for svg in (tmp_path / "out" / "figures").glob("*.svg"):
        text = svg.read_text(encoding="utf-8")
        table = "school_effects" if svg.stem.startswith("school_effects") else svg.stem
        if table == "correlations":
            continue
        rows = pd.read_csv(tmp_path / "out" / f"{table}.csv", dtype={"school": "str"})
        rows = rows[rows["cohort"] == int(svg.stem[-4:])] if table == "school_effects" else rows
        groups = re.findall(r'<g id="interval">(.*?)</g>', text, re.DOTALL)
        assert sum(len(re.findall(r'd="M', group)) for group in groups) == len(rows) < 40
        hidden = {f"S{k:04d}" for k in range(40)} - set(rows["school"])
        assert SMALL in hidden and not any(code in text for code in hidden)
        looked += 1
    assert looked == 4  # two cohorts, the average, the lasting part


def test_pages_of_other_schools_look_alike_in_both_worlds(tmp_path):
    """Their pictures show all schools as bars: where these end, and what is said of a picture, follow no hidden school."""
    drawn = []
    for sign, name in ((1, "up"), (-1, "down")):
        world(sign).to_csv(tmp_path / f"{name}.csv", index=False)
        words = ["report", str(tmp_path / f"{name}.csv"), "--school", "S0007", *STUDY, "--intervals", "plugin"]
        done = CliRunner().invoke(app, [*words, "--quiet", "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        page = (tmp_path / name / "html" / "schools" / "s0007.html").read_text(encoding="utf-8")
        soup = BeautifulSoup(page, "html.parser")
        assert SMALL not in page and len(soup.select("figure svg")) == 3
        texts = [text.get_text() for text in soup.select("figure svg text")]
        drawn.append(
            [float(t.replace("\N{MINUS SIGN}", "-")) for t in texts if re.fullmatch(r"[\N{MINUS SIGN}\d.]+", t)]
        )
        assert [one["aria-label"] for one in soup.select("figure [role=img]")]
    for values in drawn:
        assert np.abs(values).max() < 2100, "years are the largest numbers"
    assert len(drawn[0]) > 20 and abs(min(drawn[0]) - min(drawn[1])) < 0.2 * FAR


CHAPTERS = ("02_relative", "04_benchmark", "05_stability", "08_differential")
OF_SCHOOLS = {"caterpillar", "shrinkage", "residuals", "ranks", "type_ab", "density", "against", "change"} | {
    *("fig_lines", "fig_gaps", "fig_forecast", "fig_quantile_schools")
}
QUICK = {"bootstrap_replicates": 20, "simulation_replicates": 20, "quantile_draws": 60, "intervals": "plugin"}


def figures_of(chapter: str, data: Path, monkeypatch) -> dict:
    """The figures that a chapter keeps when it runs on these records."""
    kept: dict = {}
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    monkeypatch.setattr(
        "valib.pages.notebook._glue",
        lambda key, value, **_: kept.update({key: value} if hasattr(value, "axes") else {}),
    )
    study = {"data": str(data), "baseline_cohorts": [2030, 2031], "focal_cohorts": [2033, 2034], **QUICK}
    names: dict = {"__name__": "chapter"}
    for cell in json.loads((ROOT / "chapters" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
            if "parameters" in cell["metadata"].get("tags", []):
                names.update({name: value for name, value in study.items() if name in names})
    return {key: figure for key, figure in kept.items() if key in OF_SCHOOLS}


@pytest.mark.long
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_figure_of_a_chapter_has_a_mark_that_follows_the_school_held_back(tmp_path, monkeypatch, chapter):
    monkeypatch.chdir(tmp_path)
    made = []
    for sign, name in ((1, "up"), (-1, "down")):
        world(sign).to_csv(tmp_path / f"{name}.csv", index=False)
        made.append(figures_of(chapter, tmp_path / f"{name}.csv", monkeypatch))
    assert set(made[0]) == set(made[1]) and made[0]
    for key, figure in made[0].items():
        for ax in figure.axes:
            many = [len(c.get_segments()) for c in ax.collections if isinstance(c, LineCollection)]
            assert sum(many) != 40 and 40 not in many, f"{key}: a mark for every school"
        assert max(moved(figure, made[1][key], of) for of in (ends, ends_of_table)) < MOST, key
        assert SMALL not in set(plotted(figure)["name"]), key
