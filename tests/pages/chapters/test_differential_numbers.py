"""The numbers of the chapter on weak and strong students: with slopes, without, with few schools, without groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import valib as va
from valib.pages.chapters import differential as numbers


def rows(schools: int, slope: float, gap: float, seed: int = 2) -> pd.DataFrame:
    """Records whose schools have slopes of SD ``slope`` and gaps of SD ``gap``."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(schools), 40)
    prior, female = rng.normal(430, 75, len(code)), rng.integers(0, 2, len(code))
    g = rng.standard_normal((schools, 3)) * [12, slope, gap]
    score = 150 + 0.8 * prior + 5 * female + g[code, 0] + g[code, 1] * (prior - 430) + g[code, 2] * female
    frame = pd.DataFrame({"school": np.char.mod("W%03d", code), "cohort": 2031, "prior_score": prior, "female": female})
    return frame.assign(score=score + rng.normal(0, 40, len(code)), student=np.char.mod("P%d", np.arange(len(code))))


@pytest.fixture(scope="module")
def differing():
    records = va.read_records(rows(60, 0.2, 15))
    plain = va.fit_relative(records, 2031)
    return records, plain, va.fit_relative(records, 2031, random=["prior_score"])


def test_slopes_that_differ_are_told_as_such(differing):
    _, plain, fit = differing
    found = numbers.spread(fit, plain)
    (table,) = found.tables.values()
    sd = float(np.sqrt(fit.slopes.G[1, 1]))
    assert table["SD of slopes"].iloc[0] == pytest.approx(75 * sd, rel=0.1)  # of a standard deviation of the prior
    assert table["Likelihood ratio"].iloc[0] == pytest.approx(2 * (fit.loglik - plain.loglik), abs=1e-6)
    assert "the test rejects" in found.sentences[0] and len(found.sentences) == 1
    moved = numbers.changes(fit, 5)
    counts = next(iter(moved.tables.values())).iloc[:, 1:].to_numpy()
    assert counts.sum() == 60
    assert f" {60 - np.trace(counts)} of 60 schools" in moved.sentences[0]
    assert len(numbers.lines(fit, 5).figures["fig_lines"].axes[0].lines) == 1 + 60 + 2  # zero, the schools, two marked


def test_lines_that_are_parallel_are_told_as_such():
    records = va.read_records(rows(12, 0.0, 0.0, 5))
    fit = numbers.attempt(va.fit_relative, records, 2031, random=["prior_score"])
    found = numbers.spread(fit, va.fit_relative(records, 2031))
    assert "does not show that schools differ" in found.sentences[0]
    assert "There are 12 schools" in found.sentences[1]


def test_gaps_of_groups(differing):
    records, _, _ = differing
    assert numbers.usable_groups(records, 2031, ["female", "ses", "prior_score"]) == ["female"]
    fits = {
        "female": va.fit_relative(
            records, 2031, numbers.with_column("score ~ prior_score", "female"), random=["female"]
        )
    }
    (table,) = numbers.groups(fits, 5).tables.values()
    row, gaps = table.iloc[0], va.va_gap(fits["female"], "female")
    assert row["Gap of the system"] == pytest.approx(fits["female"].fixed_effects["female"])
    assert row["Schools off the system's gap"] == ((gaps["lower"] > 0) | (gaps["upper"] < 0)).sum() > 0
    assert numbers.gap_figure(fits, 5, 0.95).figures["fig_gaps"].axes


def test_records_that_cannot_bear_it_say_so(differing):
    records, plain, _ = differing
    assert numbers.attempt(va.fit_relative, records, 2031, random=[]) is None
    assert numbers.attempt(va.fit_relative, records, 2031, random=["ses"]) is None
    assert "nothing to show" in numbers.spread(None, plain).sentences[0]
    assert "fig_lines" in numbers.lines(None, 5).figures and not numbers.changes(None, 5).shown
    assert "no indicator" in numbers.groups({"ses": None}, 5).sentences[0]
    assert "fig_gaps" in numbers.gap_figure({}, 5, 0.95).figures
    assert numbers.slope_columns("score ~ ses", []) == [] and numbers.slope_columns("score ~ prior_score", []) == [
        "prior_score"
    ]
    assert numbers.with_column("score ~ prior_score + female", "female") == "score ~ prior_score + female"


def test_schools_held_back_are_in_no_figure(differing):
    records, _, _ = differing
    few = records[~((records["school"] < "W003") & (records.groupby("school").cumcount() > 3))]
    fit = va.fit_relative(few, 2031, random=["prior_score"], intervals="plugin")
    assert len(numbers.lines(fit, 5).figures["fig_lines"].axes[0].lines) == 1 + 57 + 2
    assert next(iter(numbers.changes(fit, 5).tables.values())).iloc[:, 1:].to_numpy().sum() == 57


def test_lines_in_two_cohorts():
    both = pd.concat([rows(30, 0.2, 0, 4), rows(30, 0.2, 0, 4).assign(cohort=2032)], ignore_index=True)
    both["score"] += np.where(both["cohort"] == 2032, np.random.default_rng(8).normal(0, 20, len(both)), 0)
    records = va.read_records(both.assign(student=np.char.mod("Q%d", np.arange(len(both)))))
    fit = numbers.attempt(va.fit_joint_slopes, records, [2031, 2032], random=["prior_score"])
    found = numbers.pairs(fit, va.cell_sizes(records), 5)
    (table,) = found.tables.values()
    assert table["At"].tolist()[-1] == "slopes" and table["Lower"].iloc[-1] > 0  # the same lines in both
    assert found.sentences[0].endswith("a school whose line is steep in 2031 has a steep line in 2032, as a rule.")
    changes = fit.changes(2031, 2032)
    low = changes.xs(fit.values["prior_score"][0], level="at")
    clear = int(((low["lower"] > 0) | (low["upper"] < 0)).sum())
    assert found.sentences[1].startswith(f"Of 30 schools shown in both cohorts, {clear} have a change")
    one = numbers.attempt(va.fit_joint_slopes, records, [2031], random=["prior_score"])
    assert one is None and "needs two focal cohorts" in numbers.pairs(one, va.cell_sizes(records), 5).sentences[0]
