"""Findings stand in fits.json and on stderr: no code, no score, no size of a school that is held back, each of them."""

from __future__ import annotations

import inspect
import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from typer.testing import CliRunner

from valib.command.cli import app
from valib.effects import findings
from valib.records.disclosure import cell_sizes, cells

HELD = ("ZQTINY1", "ZQTINY2", "ZQLONE")
BASELINE, FOCAL = (2015, 2016), 2021
STUDY = ["--baseline-cohorts", "2015,2016", "--focal-cohorts", "2021"]


def records() -> pd.DataFrame:
    """Fifteen schools, and in the focal cohort three of 2, 3 and 1 students with scores like no other."""
    frame = simulate(np.random.default_rng(3), schools=15, size=(15, 25), cohorts=(*BASELINE, FOCAL), tau=25.0)
    frame = frame.drop(columns="u").astype({"student": str})
    tiny = frame[frame["cohort"] == FOCAL].head(6).copy()
    tiny["school"] = [HELD[0]] * 2 + [HELD[1]] * 3 + [HELD[2]]
    tiny["student"] = [f"ZQSTUDENT{k}" for k in range(6)]
    tiny["score"] = [611.37, 612.43, 613.57, 614.61, 615.73, 616.79]
    tiny["prior_score"] = [511.31, 512.47, 513.53, 514.67, 515.71, 516.83]
    return pd.concat([frame, tiny], ignore_index=True)


def repeated(frame: pd.DataFrame) -> pd.DataFrame:
    rows, first = frame.copy(), frame.loc[frame["cohort"] == BASELINE[0], "student"].to_numpy()
    at = rows.index[(rows["cohort"] == FOCAL) & ~rows["school"].isin(HELD)][: int(0.65 * len(first))]
    rows.loc[at, "student"] = first[: len(at)]
    return rows


def focal(frame: pd.DataFrame) -> pd.Series:
    return frame["cohort"] == FOCAL


def without_schools(frame: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    own = frame.assign(noise=rng.normal(0, 20, len(frame)))
    own["noise"] -= own.groupby(["cohort", "school"])["noise"].transform("mean")
    return frame.assign(score=200 + 0.6 * frame["prior_score"] + own["noise"])


def lone(frame: pd.DataFrame) -> pd.DataFrame:
    """A few students of one school with a second test there."""
    sizes = frame.loc[focal(frame), "school"].value_counts()
    more = frame[focal(frame) & (frame["school"] == sizes[sizes >= 10].index[-1])].head(3)
    return pd.concat([frame, more.assign(score=more["score"] + 3.0)], ignore_index=True)


MADE = {
    "correlation": lambda f: f.assign(
        prior_score=f["prior_score"].where(~focal(f), f["prior_score"].sample(frac=1, random_state=1).to_numpy())
    ),
    "same_test": lambda f: f.assign(score=f["score"].where(~focal(f), f["prior_score"] + pd.factorize(f["school"])[0])),
    "several_cohorts": repeated,
    "duplicates": lone,
    "scale": lambda f: f.assign(score=f["score"].where(~focal(f), 3 * f["score"])),
    "prior_shift": lambda f: f.assign(prior_score=f["prior_score"] + 20 * focal(f)),
    "prior_drift": lambda f: f.assign(prior_score=f["prior_score"] + 40 * focal(f)),
    "boundary": without_schools,
    "few_schools": lambda f: f,
    "slope_moved": lambda f: f.assign(score=f["score"] + 0.4 * focal(f) * (f["prior_score"] - f["prior_score"].mean())),
}
MORE = {"slope_moved": ["--random", "prior_score"]}
ELSEWHERE = {"alike_scores", "singular"}  # their sentences hold cohorts and no number at all: below


@pytest.mark.parametrize("code", MADE)
def test_a_finding_tells_nothing_of_a_school_held_back(tmp_path, monkeypatch, code):
    monkeypatch.chdir(tmp_path)
    rows = MADE[code](records())
    rows.to_csv("extract.csv", index=False)
    done = CliRunner().invoke(
        app, ["fit", "extract.csv", *STUDY, "--model", "benchmark", "--out", "out", *MORE.get(code, [])]
    )
    assert done.exit_code == 0, done.output
    told = {item["code"]: item["text"] for fit in json.loads((tmp_path / "out" / "fits.json").read_text())
            for item in fit.get("findings", [])}  # fmt: skip
    assert code in told, (set(told), done.stderr)
    used = rows.dropna()
    sizes = cell_sizes(used)[lambda s: s.index.get_level_values("cohort") == FOCAL]
    hidden = set(sizes.index.get_level_values("school")) - set(
        cells(sizes, 5)[lambda s: s].index.get_level_values("school")
    )
    assert hidden >= set(HELD)
    for text in (*told.values(), done.stderr):
        numbers = set(re.findall(r"\d[\d,]*\.?\d*", text.replace(",", "")))
        assert not any(word in text for word in (*hidden, "ZQ", *used["student"].astype(str).head(50)))
        exact = {
            f"{v:.{k}f}" for k in (1, 2) for v in used.loc[used["school"].isin(HELD), ["score", "prior_score"]].stack()
        }
        assert not numbers & exact, text
        for number in numbers:  # no figure is known to more digits than a table has
            assert len(number.partition(".")[2]) <= 2, text
        counts = {int(n) for n in re.findall(r"\b(\d{1,3})\b(?= (?:students?|rows?|codes?|pupils?)\b)", text)}
        assert not counts & {1, 2, 3, 4}, text


def test_every_finding_is_tried():
    codes = set(re.findall(r'Finding\(\s*"(\w+)"', inspect.getsource(findings)))
    codes |= set(re.findall(r'_correlation\(\s*"(\w+)"', inspect.getsource(findings)))
    assert codes == set(MADE) | ELSEWHERE


def test_findings_without_numbers_have_none():
    scores = {t: {"n": 9000, "mean": 500.0, "sd": 76.0} for t in (2015, 2016, 2017)}
    texts = [findings.singular_joint([2015, 2016]).text, findings.pair_boundary([(2015, 2016)]).text]
    found = findings.alike_scores({t: {**s, "mean": 500.0 + t % 3 / 100} for t, s in scores.items()})
    texts += [found.text] if found else []
    assert not any(set(re.findall(r"\d+", text)) - {"2015", "2016", "2017"} for text in texts)


def test_a_mean_is_told_to_three_digits_of_its_spread():
    found = findings.other_scale(
        "score", {2021: (1504.2345, 228.71)}, np.array([501.63, 501.41]), np.array([75.5, 76.04])
    )
    assert "(cohort 2021: mean 1,504, SD 229; baseline: mean 501.5, SD 75.8)" in found.text
    assert findings.several_cohorts(3, 60, [2016]).text.startswith(
        "Student codes that stand in more than one cohort: fewer than 10 ("
    )
