"""The numbers on residual variances: schools that differ, that do not, few, none; groups; what may be shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import valib as va
from valib.pages.chapters import residual as numbers

pytestmark = pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")


def rows(schools: int, spread: float, boys: float = 1.0, seed: int = 3, students: int = 30) -> pd.DataFrame:
    """Records whose schools' residual standard deviations are 40 exp(spread z), boys' times ``boys``."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(schools), students)
    prior, female = rng.normal(430, 75, len(code)), rng.integers(0, 2, len(code))
    sd = 40 * np.exp(spread * rng.standard_normal(schools))[code] * np.where(female == 1, 1.0, boys)
    score = 110 + 0.8 * prior + 15 * rng.standard_normal(schools)[code] + sd * rng.standard_normal(len(code))
    frame = pd.DataFrame({"school": np.char.mod("W%03d", code), "cohort": 2031, "prior_score": prior, "female": female})
    return frame.assign(score=score, student=np.char.mod("P%d", np.arange(len(code))))


def fits(records: pd.DataFrame):
    plain = va.fit_relative(records, 2031)
    return plain, numbers.attempt(va.fit_relative, records, 2031, residual="by_school")


@pytest.fixture(scope="module")
def differing():
    records = va.read_records(rows(40, 0.4, 1.5))
    return records, *fits(records)


def test_schools_that_differ_are_told_as_such(differing):
    records, _, fit = differing
    by_sex = va.fit_relative(records, 2031, residual="female")
    found = numbers.tests(fit, {"female": by_sex, "gone": None}, 2031)
    (table,) = found.tables.values()
    assert table["Test"].tolist() == ["schools: Bartlett", "schools: likelihood ratio", "female: likelihood ratio"]
    assert table["Statistic"].tolist() == pytest.approx(
        [*va.variance_test(fit)["statistic"], *va.variance_test(by_sex)["statistic"]]
    )
    assert table["df"].tolist() == [39, 1, 1] and (table["p"] == "below 0.001").all()
    assert "The test rejects that all schools have it" in found.sentences[0]
    assert "by `female` differ" in found.sentences[-1] and len(found.sentences) == 2


def test_equal_variances_are_told_as_such():
    records = va.read_records(rows(12, 0.0, seed=4))
    _, fit = fits(records)
    found = numbers.tests(fit, {"female": va.fit_relative(records, 2031, residual="female")}, 2031)
    assert "does not reject" in found.sentences[0] and "There are 12 schools" in found.sentences[1]
    assert "are not told apart" in found.sentences[2]


def test_what_own_variances_change(differing):
    """The lengths and probabilities of the table are those of the fits; intervals shorten where students differ little."""
    _, plain, fit = differing
    found = numbers.consequences(fit, plain, 5, 7)
    (table,) = found.tables.values()
    smallest, largest, every = (row for _, row in table.iterrows())
    assert (smallest["Schools"], largest["Schools"], every["Schools"]) == (10, 10, 40)
    lengths = [(f.school_effects["upper"] - f.school_effects["lower"]).mean() for f in (plain, fit)]
    assert every[["Interval, one variance", "Interval, own variances"]].tolist() == pytest.approx(lengths)
    assert smallest["Interval, own variances"] < smallest["Interval, one variance"]
    assert largest["Interval, own variances"] > largest["Interval, one variance"]
    tops = [f.ranks(7, min_students=5)["p_top_quintile"] for f in (plain, fit)]
    change = (tops[1] - tops[0]).abs()
    assert every.iloc[-1] == pytest.approx(change.mean())
    sides = (plain.school_effects["side"] != fit.school_effects["side"]).sum()
    assert (
        f"for {(change > 0.1).sum()} of the 40" in found.sentences[0] and f"For {sides} of them" in found.sentences[0]
    )


def test_the_figure_shows_the_schools_that_may_be_shown(differing):
    records, _, fit = differing
    figure = numbers.sds_figure(fit, 5, 0.95).figures["fig_residual_sds"]
    assert sum(len(line.get_xdata()) for line in figure.axes[0].lines if line.get_gid() == "own") == 40
    few = records[~((records["school"] < "W003") & (records.groupby("school").cumcount() > 3))]
    part = va.fit_relative(few, 2031, residual="by_school")
    figure = numbers.sds_figure(part, 5, 0.95).figures["fig_residual_sds"]
    assert sum(len(line.get_xdata()) for line in figure.axes[0].lines if line.get_gid() == "own") == 37


def test_records_that_cannot_bear_it_say_so():
    """Two schools; and schools of two students, of whom nothing is compared where effects do not vary."""
    records = va.read_records(rows(2, 0.3))
    plain, fit = fits(records)
    assert fit is None and "too few schools" in numbers.tests(fit, {}, 2031).sentences[0]
    assert "fig_residual_sds" in numbers.sds_figure(fit, 5, 0.95).figures
    assert not numbers.consequences(fit, plain, 5, 1).shown
    records = va.read_records(rows(6, 0.3))
    plain, fit = fits(records)
    assert "nothing is compared" in numbers.consequences(fit, plain, 5, 1).sentences[0]
