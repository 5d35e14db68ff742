"""The numbers that the solutions of chapters 5 to 11 give, and coverage for a given school."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import simulate

import valib as va
from valib.pages.chapters import changes, covered, persistence, practice, quantiles, shift, simulated_study

COHORTS = [2031, 2034, 2035]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return va.read_records(simulate(np.random.default_rng(5), schools=30, size=(8, 30), cohorts=tuple(COHORTS)))


@pytest.fixture(scope="module")
def joint(rows):
    return va.fit_joint(rows, COHORTS)


def test_a_constant_of_a_cohort_changes_no_correlation(rows, joint):
    assert changes.moved_scores(rows, joint, "score ~ prior_score", "ML").values["moved_difference"] == "0.0000"


def test_persistence_from_the_covariance_matrix(joint):
    values, w = persistence.from_omega(joint, 2034, 2035).values, joint.omega
    cov, first, second = w.loc[2034, 2035], w.loc[2034, 2034], w.loc[2035, 2035]
    assert float(values["solved_persistence"].replace("−", "-")) == pytest.approx(cov / first, abs=0.0051)
    assert float(values["solved_correlation"].replace("−", "-")) == pytest.approx(
        cov / (first * second) ** 0.5, abs=0.0051
    )


def test_an_easier_prior_test_moves_the_shift_by_its_slope(rows):
    typical = va.fit_baseline(rows, [2031])
    fit = va.fit_benchmark(rows, 2035, typical)
    answer = shift.easier_prior(rows, fit, typical, [], {}).values["easier_answer"]
    expected = fit.shift + 2 * typical.coefficients["prior_score"]
    assert f"{expected:+.1f}".replace("-", "−") in answer
    declared = [va.ScaleBreak(2035, "prior_score", va.Link())]
    assert "further terms" in shift.easier_prior(rows, fit, typical, declared, {}).values["easier_answer"]


def test_the_means_of_two_measures(rows):
    values = practice.two_means(rows, [2031], 2035, "score ~ prior_score", "ML").values
    fit = va.fit_benchmark(rows, 2035, va.fit_baseline(rows, [2031]))
    assert values["solved_relative"] == "0.0"
    mean = float(fit.school_effects["effect"].mean())
    assert values["solved_benchmark"] == f"{mean:+.1f}".replace("-", "−")


def test_more_points_leave_fewer_below_the_line(rows):
    typical = {0.25: va.fit_quantile(rows, 2031, quantile=0.25, draws=60, warmup=60, seed=1)}
    values = quantiles.moved_up(rows, 2035, typical).values
    assert float(values["share_moved"].rstrip("%")) < float(values["share_as_is"].rstrip("%"))


def test_coverage_for_a_given_school_is_what_draws_of_its_students_give():
    table = covered.conditional(0.95).tables["tab-10-conditional"]
    rng, reliability, draws = np.random.default_rng(3), 0.8, 40_000
    for k in range(4):  # effects of k standard deviations; tau is 1
        mean = k + rng.normal(0, ((1 - reliability) / reliability) ** 0.5, draws)
        held = abs(reliability * mean - k) < 1.959964 * (1 - reliability) ** 0.5
        error = (held.mean() * (1 - held.mean()) / draws) ** 0.5
        assert table.loc["0.8", f"effect {k} SD"] == pytest.approx(held.mean(), abs=4 * error)


def test_a_weak_shift_is_shown_by_every_recipe():
    methods = [va.Method("answer", shift="absorbed", variances="baseline", intervals="known"), va.Method("estimated")]
    values = simulated_study.weaker(methods, 20, 1).values
    assert values["weak_truth"] == "−2.0" and "by *answer*" in values["weak_means"] and "(0." in values["weak_means"]
