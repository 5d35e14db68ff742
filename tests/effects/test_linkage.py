"""Schools whose students are linked less than others': exact by hand and by SciPy, held under chance, told to the analyst."""

from __future__ import annotations

import warnings
from math import comb

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import valib as va
from valib.effects.linkage import FAMILY, coverage, coverage_differs, differing, linkage_p, of_fit
from valib.errors import SchoolsNamed


def table(linked, tested) -> pd.DataFrame:
    frame = pd.DataFrame({"n": linked, "tested": tested}, index=[f"S{k}" for k in range(len(linked))])
    return frame.assign(linked_share=frame["n"] / frame["tested"])


def test_by_hand_three_of_five_where_nine_of_eleven_are_linked():
    """P(K <= 3) = C(9,3) C(2,2) / C(11,5): with two unlinked in all, both of them among the five."""
    p = linkage_p([3, 6], [5, 6])
    expected = 2 * comb(9, 3) * comb(2, 2) / comb(11, 5)
    np.testing.assert_allclose(p, [expected, expected], rtol=1e-12)


def test_one_tail_is_that_of_fishers_exact_test():
    linked, tested = np.array([20, 9, 30, 18]), np.array([22, 22, 31, 20])
    k, m = linked.sum(), tested.sum()
    for j, p in enumerate(linkage_p(linked, tested)):
        own = [linked[j], tested[j] - linked[j]]
        square = [own, [k - linked[j], (m - k) - own[1]]]
        tails = [stats.fisher_exact(square, side).pvalue for side in ("less", "greater")]
        assert p == pytest.approx(min(1.0, 2 * min(tails)), rel=1e-9)


@pytest.mark.parametrize(
    ("linked", "tested"),
    [([5], [9]), ([0, 0], [4, 5]), ([4, 5], [4, 5]), ([1, 1, 1], [1, 1, 1])],
    ids=["one school", "none linked", "all linked", "one-student schools"],
)
def test_at_the_edges_nothing_differs_from_chance(linked, tested):
    np.testing.assert_array_equal(linkage_p(linked, tested), 1.0)
    assert not differing(table(linked, tested)).any()


def test_of_one_student_schools_no_single_one_differs():
    linked = np.array([1] * 19 + [0])
    np.testing.assert_allclose(linkage_p(linked, np.ones(20)), [*[1.0] * 19, 0.1])  # 2 of 1 in 20
    assert not differing(table(linked, [1] * 20)).any()


def test_what_is_near_the_cohorts_share_is_passed_over_without_loss():
    rng = np.random.default_rng(9)
    for share in (0.03, 0.5, 0.97):
        tested = rng.integers(1, 120, 150)
        linked = rng.binomial(tested, np.clip(rng.normal(share, 0.03, 150), 0, 1))
        expected = 150 * linkage_p(linked, tested) < FAMILY
        np.testing.assert_array_equal(differing(table(linked, tested)), expected)


def test_unknown_coverage_is_never_told():
    unknown = table([5, 6], [9, 9]).assign(tested=np.nan, linked_share=np.nan)
    assert not differing(unknown).any() and of_fit(2024, unknown, 0.5) == []
    assert of_fit(None, table([5, 6], [9, 9]), 0.5) == []


def test_where_no_school_differs_any_is_named_in_at_most_one_cohort_of_twenty():
    rng, J, cohorts = np.random.default_rng(8), 60, 600
    tested = rng.integers(1, 60, J)
    named = 0
    for _ in range(cohorts):
        linked = rng.binomial(tested, 0.93)
        named += differing(table(linked, tested)).any()
    assert named / cohorts <= FAMILY + 3 * np.sqrt(FAMILY * (1 - FAMILY) / cohorts)
    assert named > 0, "the bound is not empty"


def test_a_school_of_the_question_is_named_and_the_public_sentence_names_none():
    """13 of 22 priors blanked: its share is .41 where others have .97."""
    linked, tested = [9, *[29] * 30], [22, *[30] * 30]
    low, differs = of_fit(2024, table(linked, tested), 0.5)
    assert "S0 (40.9%)" in low.text and "1 of 31, 1 of them under 50% and held back" in low.text
    assert "S0 (40.9%)" in differs.text and "exact test, 5% for all schools of a cohort together" in differs.text
    for item in (low, differs):
        assert "S0" not in item.published and "40.9" not in item.published and "1 of 31" in item.published
        assert item.summary()["text"] == item.published


def test_under_nine_in_ten_is_told_where_it_is_more_than_a_few_students():
    frame = table([80, 9, 8, 100], [100, 11, 14, 100])
    told = coverage({2024: frame}, 0.5, floor=5, every=True).text
    assert "S2 (57.1%), S0 (80.0%)" in told and "S1" not in told
    assert coverage({2024: frame.iloc[[3]]}, 0.5, every=True) is None
    assert coverage({2024: frame.assign(n=100, tested=100, linked_share=1.0)}, 0.5) is None
    assert coverage_differs({2024: frame.iloc[[3]]}) is None


def test_the_threshold_itself_is_not_under_it():
    assert coverage({2024: table([11, 200], [22, 200])}, 0.5) is None
    assert coverage({2024: table([9, 200], [10, 200])}, 0.5, every=True) is None


def test_a_fit_names_them_to_the_analyst_and_keeps_what_may_be_published():
    rng = np.random.default_rng(5)
    school = np.repeat([f"S{j:02d}" for j in range(40)], 22)
    x = rng.normal(450, 50, 880)
    rows = pd.DataFrame({"school": school, "student": np.arange(880).astype(str), "cohort": 2024, "prior_score": x})
    rows["score"] = 0.8 * x + np.repeat(rng.normal(0, 15, 40), 22) + rng.normal(0, 30, 880)
    rows.loc[:12, "prior_score"] = np.nan
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit = va.fit_relative(va.read_records(rows), 2024)
    said = [item.message for item in told if isinstance(item.message, SchoolsNamed)]
    assert [item.code for item in fit.findings] == ["coverage", "coverage_differs"]
    assert len(said) == 2 and all("S00 (40.9%)" in str(item) and "S00" not in item.public for item in said)
    assert "S00" not in str(fit.summary()) and "S00" not in str(fit)
    assert fit.school_effects.index[fit.school_effects["low_coverage"]].tolist() == ["S00"]
    assert len(va.only_shown(fit.school_effects, 5)) == 37, "two more go with it"
