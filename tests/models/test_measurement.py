"""The correction for errors of measurement: by hand, by simulation, and nothing where there is no error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from worlds import in_error

import valib as va
from valib.errors import ModelError
from valib.models.likelihood import compress, profile
from valib.models.measurement import error_variance, error_vector, fit_corrected, remove_error
from valib.models.mixed import fit_moments
from valib.sums.design import make_cells
from valib.sums.moments import moments_from_arrays

COHORTS = [2015, 2016, 2017]
EXACT = 1e-12


@pytest.fixture(scope="module")
def records():
    """A prior with reliability .8: error variance 1125 of 5625; within schools 1125 of 5000."""
    return in_error((2015, 2016, 2017, 2019), 300, 11)


def small():
    rng = np.random.default_rng(2)
    school = pd.Series(list("aabbb"))
    x, y = rng.normal(0, 10, 5), rng.normal(0, 10, 5)
    return (
        x,
        y,
        moments_from_arrays(
            np.column_stack([np.ones(5), x]),
            y,
            make_cells(school),
            ("Intercept", "prior_score"),
            "score",
            by_cell=True,
            shift=np.zeros(3),
        ),
    )


def test_what_is_taken_off_by_hand():
    _, _, moments = small()
    data = compress(moments)
    left = remove_error(data, np.array([0.0, 2.0]))
    # theta = 1/2: w = 1/4 and 1/5 for schools of 2 and 3; n (1 - w) sums to 2 * 3/4 + 3 * 4/5 = 3.9
    before, after = (np.linalg.inv(profile(d, np.array([0.5]), False).A_inverse[0]) for d in (data, left))
    assert before - after == pytest.approx(np.array([[0, 0], [0, 2 * 3.9]]), abs=1e-9)


def test_least_squares_slope_by_hand():
    x, y, moments = small()
    at = profile(remove_error(compress(moments), np.array([0.0, 2.0])), np.array([0.0]), False)
    dx, dy = x - x.mean(), y - y.mean()
    assert at.b[0, 1] == pytest.approx(dx @ dy / (dx @ dx - 5 * 2.0), rel=EXACT)


def test_a_reliability_of_one_changes_nothing(records):
    plain = va.fit_baseline(records, COHORTS)
    same = va.fit_baseline(records, COHORTS, error_variance={"prior_score": error_variance(1.0, 5625.0)})
    assert same.to_json() == plain.to_json()
    _, _, moments = small()
    data = compress(moments)
    assert remove_error(data, np.zeros(2)) is data
    assert fit_corrected(moments, np.zeros(2)).coefficients.tolist() == fit_moments(moments).coefficients.tolist()


@pytest.mark.filterwarnings("ignore:The distribution of prior_score")  # the intake did change
@pytest.mark.parametrize("estimator", ["mixed", "ols", "within"])
def test_the_true_slope_and_the_true_shift_come_back(records, estimator):
    settings = {"estimator": estimator}
    raw = va.fit_baseline(records, COHORTS, **settings)
    corrected = va.fit_baseline(records, COHORTS, **settings, error_variance={"prior_score": 1125.0})
    share = 0.8 if estimator == "ols" else 3875 / 5000
    assert raw.coefficients["prior_score"] == pytest.approx(0.8 * share, abs=0.02)
    assert corrected.coefficients["prior_score"] == pytest.approx(0.8, abs=0.02)
    assert corrected.tau2 == pytest.approx(15**2, rel=0.15)
    # what is recorded scatters about the true line with sigma^2 and slope^2 times the error's variance
    assert corrected.sigma2 == pytest.approx(45**2 + 0.64 * 1125, rel=0.03)
    shifts = [va.fit_benchmark(records, 2019, b).shift for b in (raw, corrected)]
    assert shifts[0] - shifts[1] == pytest.approx(-20 * 0.8 * (1 - share), abs=0.9)


def test_the_relative_model_is_corrected_as_well(records):
    raw, corrected = (va.fit_relative(records, 2019, error_variance=e) for e in (None, {"prior_score": 1125.0}))
    assert raw.fixed_effects["prior_score"] == pytest.approx(0.8 * 3875 / 5000, abs=0.03)
    assert corrected.fixed_effects["prior_score"] == pytest.approx(0.8, abs=0.04)
    assert corrected.sigma2 == pytest.approx(45**2 + 0.64 * 1125, rel=0.05) and np.isnan(corrected.sigma2_se)
    none = va.fit_relative(records, 2019, error_variance={"prior_score": 0.0})
    pd.testing.assert_frame_equal(none.school_effects, raw.school_effects, check_exact=True)


def test_errors_grow_with_the_correction(records):
    raw, corrected = (va.fit_baseline(records, COHORTS, error_variance=e) for e in (None, {"prior_score": 1125.0}))
    assert corrected.se["prior_score"] > raw.se["prior_score"] / 0.8


def test_the_artefact_keeps_what_was_taken_off(records, tmp_path):
    corrected = va.fit_baseline(records, COHORTS, error_variance={"prior_score": 1125.0})
    again = va.Benchmark.load(corrected.save(tmp_path / "b.json", exact=True))
    assert again.error_variance == {"prior_score": 1125.0} and again.to_json() == corrected.to_json()


def test_the_bootstrap_corrects_as_well(records):
    corrected = va.fit_baseline(records, COHORTS, error_variance={"prior_score": 1125.0})
    boot = va.bootstrap_benchmark(records, corrected, [2019], seed=1, replicates=60)
    assert boot.coefficients["prior_score"].mean() == pytest.approx(corrected.coefficients["prior_score"], abs=0.004)
    assert boot.coefficients["prior_score"].std() == pytest.approx(corrected.se["prior_score"], rel=0.35)


@pytest.mark.parametrize(
    ("variances", "part"),
    [
        ({"ses": 1.0}, "no column 'ses'"),
        ({"Intercept": 1.0}, "no column"),
        ({"prior_score": -1.0}, "zero or positive"),
        ({"prior_score": np.nan}, "zero or positive"),
        ({"prior_score": 4900.0}, "nearly all"),
    ],
)
def test_what_cannot_be_corrected_is_refused(records, variances, part):
    with pytest.raises(ModelError, match=part):
        va.fit_baseline(records, COHORTS, error_variance=variances)


def test_a_mean_over_other_schools_than_the_effects_is_refused(records):
    formula = "score ~ prior_score + school_mean(prior_score)"
    with pytest.raises(ModelError, match="not the same for all rows of a school"):
        va.fit_baseline(records, COHORTS, formula, groups="school", error_variance={"prior_score": 100.0})
    with pytest.raises(ModelError, match="nearly all of the variation of its school means"):  # 625 + 5000 / 30
        va.fit_baseline(records, COHORTS, formula, error_variance={"prior_score": 30 * 780.0})


def test_error_variance_by_hand():
    assert error_variance(0.9, 5625.0) == pytest.approx(562.5)
    with pytest.raises(ModelError, match="above 0"):
        error_variance(0.0, 1.0)
    _, _, moments = small()
    assert error_vector(moments, {"prior_score": 3.0}).tolist() == [0.0, 3.0]
