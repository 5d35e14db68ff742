"""The attacker against what is published: in full precision he succeeds, as figures are published he learns nothing."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from attacker import (
    World,
    artefact,
    benchmark,
    capped,
    cohort_of,
    flat,
    from_files,
    grouped,
    held_back,
    joint,
    left_to_score,
    relative,
)
from conftest import simulate
from typer.testing import CliRunner

from valib.command.cli import app
from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import benchmark_from_moments
from valib.effects.groups import group_va
from valib.effects.relative import relative_from_moments
from valib.pages.figures import caterpillar, style
from valib.records.disclosure import shown
from valib.records.groups import shown_groups
from valib.records.precision import published

COHORTS = ["--baseline-cohorts", "2015,2016,2017", "--cohorts", "2019"]
MINIMUM = 5


@pytest.fixture(scope="module")
def panel():
    """Four cohorts of 190 schools; in 2019 three have 4, 5 and 6 students, the others 15 or more."""
    frame = simulate(np.random.default_rng(3), 190, (15, 60), (2015, 2016, 2017, 2019), rho=0.6).drop(columns="u")
    place = frame.groupby(["cohort", "school"]).cumcount()
    largest = frame["school"].map({"S0010": 4, "S0011": 5, "S0012": 6}).fillna(60)
    return frame[(place < largest) | (frame["cohort"] != 2019)].reset_index(drop=True)


@pytest.fixture(scope="module")
def truth(panel):
    """The three schools held back in 2019, as the attacker writes them down."""
    known = cohort_of(panel, 2019, held_back(panel, [2019], MINIMUM)[2019])
    return known.table.iloc[known.hidden].sort_values("n", ignore_index=True)[["n", "x", "y"]]


def files(panel: pd.DataFrame, folder: Path, *options: str) -> Path:
    """What the commands write of relative and benchmark models of 2019."""
    data = folder / "records.csv"
    panel.to_csv(data, index=False)
    for words in (["fit", "--model", "relative", *COHORTS[2:]], ["fit", "--model", "benchmark", *COHORTS],
                  ["baseline", *COHORTS[:2]]):  # fmt: skip
        out = "baseline.json" if words[0] == "baseline" else words[2]
        done = CliRunner().invoke(app, [words[0], str(data), *words[1:], *options, "--out", str(folder / out)])
        assert done.exit_code == 0, done.output
    return folder


def test_exact_files_of_two_models_give_three_schools_held_back(panel, tmp_path, truth):
    """The test that can fail: were files exact, sizes would be known and mean scores to .05 points."""
    guess = from_files(files(panel, tmp_path, "--exact"), 2019)
    assert guess.misfit < 1e-9
    assert guess.table["n"].tolist() == truth["n"].tolist() == [4, 5, 6]
    np.testing.assert_allclose(guess.table[["x", "y"]], truth[["x", "y"]], atol=0.05)


@pytest.mark.long
def test_published_files_give_the_same_attacker_nothing(panel, tmp_path, truth):
    """His best solution misses the schools by more than one drawn at random from those shown would."""
    guess = from_files(files(panel, tmp_path), 2019, starts=5)
    shown = pd.read_csv(tmp_path / "relative" / "school_effects.csv")
    assert len(shown) == 187 and guess.misfit > 1e-6, "the rounded equations have no solution"
    typical = 40.0  # score points: standard deviation of the mean prior score among schools of such a size
    assert np.abs(guess.table[["x", "y"]].to_numpy() - truth[["x", "y"]].to_numpy()).max() > typical


@pytest.fixture(scope="module")
def one_cohort(panel):
    known = {2019: cohort_of(panel, 2019, held_back(panel, [2019], MINIMUM)[2019])}
    return known, [relative([2019]), benchmark([2019], fit_baseline(panel, [2015, 2016, 2017]))]


def test_what_any_attacker_could_learn_at_each_number_of_digits(one_cohort, record_property):
    """Extents of the three mean prior and mean scores, for one who knows every school shown and all sizes."""
    known, models = one_cohort
    widest = {}
    for digits in (12, 8, 6, None):
        extent = World(known, models, digits).extent(know_sizes=True)
        widest[digits] = (float(extent.min()), float(extent.max()))
        record_property(f"extent at {digits or 'published'} digits", widest[digits])
    assert widest[12][1] < 1e-4 and widest[8][1] < 0.1, "the attack works"
    assert widest[6][1] < 2.0, "six significant digits are not enough"
    assert widest[None][0] > 200, "as published, the means may be anywhere"


def spread_of(piece: str, n: float) -> float:
    """Standard deviation of a mean over n students, among the schools of simulate()."""
    return {"x": float(np.hypot(20, 60 / np.sqrt(n))), "y": float(np.hypot(0.8 * 20, 75 / np.sqrt(n)))}[piece]


SYSTEMS = {  # schools, students in each, sizes of the smallest
    "one student, 30 schools": (30, 30, (1, 9, 12)),
    "four small ones, 30 schools": (30, 30, (1, 2, 3, 9)),
    "one student, 8 schools": (8, 25, (1, 8, 9)),
    "two students, 12 schools": (12, 40, (2, 12, 15)),
    "100 small schools": (100, 10, (1, 5, 5)),
}


def system(name: str, cohorts=(2015, 2016, 2018), small_in: int = 2018) -> pd.DataFrame:
    schools, size, small = SYSTEMS[name]
    frame = simulate(np.random.default_rng(1), schools, (size, size), cohorts, rho=0.6, shift={2018: -9.0})
    sizes = {f"S{k:04d}": n for k, n in enumerate(small)}
    place = frame.groupby(["cohort", "school"]).cumcount()
    return frame[(place < frame["school"].map(sizes).fillna(size)) | (frame["cohort"] != small_in)].reset_index()


def nothing_learned(world: World) -> pd.Series:
    """Extent over twice the standard deviation, of the schools with fewer students than may be shown."""
    extent, n = world.extent(know_sizes=True), {}
    for (year, piece, school), value in zip(world.labels, world.truth, strict=True):
        if piece == "n":
            n[year, school] = value
    small = {(y, p, s): v for (y, p, s), v in extent.items() if n[y, s] < MINIMUM}
    assert small
    return pd.Series({k: v / (2 * spread_of(k[1], n[k[0], k[2]])) for k, v in small.items()})


@pytest.mark.parametrize("name", SYSTEMS)
def test_of_a_small_school_in_a_small_system_nothing_is_learned_from_all_three_models(name):
    records = system(name)
    every = [2015, 2016, 2018]
    hidden = held_back(records, [2018], MINIMUM)[2018]
    assert len(hidden) >= 3
    base = fit_baseline(records, [2015, 2016])
    known = {c: cohort_of(records, c, hidden if c == 2018 else []) for c in every}
    alone = World({2018: known[2018]}, [relative([2018]), benchmark([2018], base)])
    assert nothing_learned(alone).min() > 1
    together = World(known, [relative(every), benchmark([2018], base), joint(every, hidden)])
    assert nothing_learned(together).min() > 1


def test_of_a_small_school_nothing_is_learned_from_averages_and_lasting_parts():
    records, every = system("one student, 8 schools"), [2015, 2016, 2018]
    hidden = held_back(records, [2018], MINIMUM)[2018]
    known = {c: cohort_of(records, c, hidden if c == 2018 else []) for c in every}
    models = [relative(every), joint(every, hidden), joint(every, hidden, "compound_symmetry")]
    assert nothing_learned(World(known, models)).min() > 1


def alone(sums, cohort):
    """The relative fit of a cohort's sums."""
    return relative_from_moments(sums, "ML", 0.95, cohort)


def against_baseline(sums, cohort, against):
    """The benchmark fit of a cohort's sums."""
    return benchmark_from_moments(sums, cohort, against)


@pytest.mark.parametrize(
    "name",
    [
        "one student, 8 schools",
        pytest.param("two students, 12 schools", marks=pytest.mark.long),
        pytest.param("four small ones, 30 schools", marks=pytest.mark.long),
    ],
)
def test_of_a_small_school_nothing_is_learned_from_groups_caps_and_what_scores_later_students(name):
    """Beside both models: groups by schools and by students, the fit of capped scores, and scoring.json of either fit."""
    records = system(name)
    hidden = held_back(records, [2018], MINIMUM)[2018]
    known = {2018: cohort_of(records, 2018, hidden)}
    base = fit_baseline(records, [2015, 2016])
    other = functools.partial(against_baseline, against=base)
    schools = known[2018].table.index
    groups = pd.Series(["A" if s in hidden or k % 3 == 0 else "BC"[k % 2] for k, s in enumerate(schools)], schools)
    sizes = known[2018].table["n"].astype(int)
    visible = shown_groups(sizes, shown(sizes, MINIMUM), groups, MINIMUM)
    assert visible["A"]
    models = [relative([2018]), benchmark([2018], base)]
    for fit in (alone, other):
        models += [grouped(fit, 2018, groups, visible.index[visible]), left_to_score(fit, 2018)]
        models.append(capped(fit, 2018, records, 2.5))
    assert nothing_learned(World(known, models)).min() > 1


def test_a_group_with_one_school_held_back_would_give_it_away():
    """The test that can fail: beside exact effects of the schools shown, and beside rounded ones to a few points."""
    records = system("one student, 30 schools")
    fit = relative_from_moments(cohort_of(records, 2018, []).sums, "ML", 0.95, 2018)
    effects = fit.school_effects
    target = effects["n"].idxmin()
    members = [target, *effects.index[effects["n"] >= 30][:5]]
    groups = pd.Series("A", members).reindex(effects.index, fill_value="B")
    for table, told, error in ((effects, group_va(fit, groups), 1e-9), (published(effects.reset_index()).set_index("school"),
                               published(group_va(fit, groups).reset_index()).set_index("group"), 1.0)):  # fmt: skip
        solved = told.loc["A", "effect"] * 6 - table.loc[members[1:], "effect"].sum()
        assert abs(solved - effects.loc[target, "effect"]) < error
    mask = shown(effects["n"], MINIMUM)
    assert not shown_groups(effects["n"], mask, groups, MINIMUM)["A"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_of_a_small_school_in_the_baseline_nothing_is_learned_from_the_kept_benchmark(name):
    records = system(name, cohorts=(2015,), small_in=2015)
    known = {2015: cohort_of(records, 2015, held_back(records, [2015], MINIMUM)[2015])}
    assert nothing_learned(World(known, [relative([2015]), artefact([2015])])).min() > 1


def test_the_sizes_of_schools_held_back_stay_open(one_cohort):
    """Beside their sum: by several students for each, so that no one of 1 to 4 can be told from another."""
    extent = World(*one_cohort).extent(know_sizes=False)
    sizes = extent[[piece == "n" for _, piece, _ in extent.index]]
    assert len(sizes) == 3 and sizes.min() > 6


def test_other_scores_of_a_school_held_back_have_the_same_tables_to_the_last_letter():
    """Not in the linear approximation: data are made, fitted and printed. The attacker cannot tell them apart."""
    records = system("one student, 8 schools")
    hidden = held_back(records, [2018], MINIMUM)[2018]
    base = fit_baseline(records, [2015, 2016])
    world = World({2018: cohort_of(records, 2018, hidden)}, [relative([2018]), benchmark([2018], base)])
    printed = [published(one) for one in world.contents(world.truth)]
    for piece, distance in (("x", 60.0), ("y", -60.0)):
        label = (2018, piece, hidden[0])
        other = world.other_data(label, distance)
        assert (
            other is not None and other[world.labels.index(label)] - world.truth[world.labels.index(label)] == distance
        )
        again = [published(one) for one in world.contents(other)]
        np.testing.assert_array_equal(flat(again), flat(printed))
        assert any(
            (flat([a]) != flat([b])).any()
            for a, b in zip(world.contents(other), world.contents(world.truth), strict=True)
        ), "exact figures differ"


def test_a_figure_of_vectors_holds_what_its_tables_hold(panel, tmp_path):
    """What is drawn lies on a grid of a tenth of a point; the numbers behind it are gone."""
    from valib.effects.relative import fit_relative

    fit = fit_relative(panel, 2019)
    figure = caterpillar(fit.school_effects, min_n=MINIMUM, shift=3.573269)
    style.save(figure, tmp_path / "figure.pdf")
    drawn = np.concatenate([line.get_ydata() for line in figure.axes[0].lines])
    ends = np.concatenate([p.vertices[:, 1] for c in figure.axes[0].collections for p in c.get_paths()])
    for values in (drawn, ends, np.array(figure.axes[0].get_ylim())):
        np.testing.assert_allclose(values, np.round(values, 1), atol=1e-9)
    assert len(drawn) > 186 and len(ends) >= 372


def test_no_file_of_a_run_holds_more_digits_than_are_published(panel, tmp_path):
    """Every number of every file, whatever columns there will be: four significant digits, or the place of its error."""
    folder = files(panel, tmp_path)
    done = CliRunner().invoke(
        app,
        ["fit", str(folder / "records.csv"), "--model", "joint", "--cohorts", "2017,2019", "--out", str(folder / "j")],
    )
    assert done.exit_code == 0, done.output
    seen = 0
    for path in sorted(folder.rglob("*/*.csv")):
        table = pd.read_csv(path, dtype={"school": "str"})
        pd.testing.assert_frame_equal(published(table), table)
        seen += table.select_dtypes("float").size
    for path in sorted(folder.rglob("fits.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        assert published(content) == content
        seen += len(flat(content))
    assert seen > 4000 and not list(folder.rglob("NOT_FOR_PUBLICATION.txt"))
