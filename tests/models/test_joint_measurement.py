"""Errors of measurement in joint models: dense algebra, derivatives, single cohorts, simulated truth, posterior, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from worlds import in_error

import valib as va
from valib.effects.joint import cohort_moments
from valib.errors import ModelError
from valib.models.joint_fit import JointProblem
from valib.models.joint_likelihood import evaluate, stack_moments
from valib.models.measurement import error_vector
from valib.models.structures import make_structure
from valib.sums.streams import stream_records

YEARS, R80 = [2015, 2016], {"prior_score": 0.8}
CONTEXT = "score ~ prior_score + school_mean(prior_score)"


@pytest.fixture(scope="module")
def records():
    """30 schools of 30 students a cohort, some gone from one; a prior with reliability .8."""
    frame = in_error((2015, 2016, 2019), 30, 5)
    gone = (frame["school"] < sorted(frame["school"].unique())[5]) & (frame["cohort"] == 2016)
    return frame[~gone].groupby(["school", "cohort"]).head(12).reset_index(drop=True)


def stacked(records, formula, s2m):
    parts, _ = cohort_moments(records, YEARS, formula, by_cell=True)
    errors = [error_vector(m, {"prior_score": s}) for m, s in zip(parts, s2m, strict=True)]
    return parts, errors, stack_moments(parts, [np.zeros(m.n_fixed) for m in parts], errors)


@pytest.mark.parametrize("formula", ["score ~ prior_score", CONTEXT])
def test_what_is_taken_off_is_what_the_dense_model_expects(records, formula):
    """X'V^-1X - E[M'V^-1M], the errors M of covariance s2m between a student and itself, s2m / n within a school mean."""
    s2m, omega, sigma2 = (300.0, 500.0), np.array([[200.0, 120.0], [120.0, 260.0]]), np.array([1900.0, 2100.0])
    _, _, data = stacked(records, formula, s2m)
    at = evaluate(data, omega, sigma2)
    F = data.back @ at.factor
    used = records[records["cohort"].isin(YEARS)].sort_values("cohort", kind="stable")
    year = used["cohort"].eq(2016).to_numpy().astype(int)
    school = used["school"].factorize()[0]
    V = omega[np.ix_(year, year)] * (school[:, None] == school) + np.diag(sigma2[year])
    cell = school * 2 + year
    n = np.bincount(cell)[cell]
    x, s = used["prior_score"].to_numpy(), np.asarray(s2m)[year]
    columns = [np.ones(len(x)), x] + ([np.bincount(cell, x)[cell] / n] if formula == CONTEXT else [])
    X = np.column_stack([(c * (year == t)) for t in (0, 1) for c in columns])
    same, own = (cell[:, None] == cell) / n * s, np.diag(s)  # Cov of two means, or of a score and a mean; of scores
    inverse, p = np.linalg.inv(V), len(columns)
    want = X.T @ inverse @ X
    for t in (0, 1):
        there = np.outer(year == t, year == t)
        k = p * t + 1
        want[k, k] -= (inverse * own * there).sum()
        if formula == CONTEXT:
            mean = (inverse * same * there).sum()
            want[k + 1, k + 1] -= mean
            want[k, k + 1] -= mean
            want[k + 1, k] -= mean
    np.testing.assert_allclose(np.linalg.inv(F @ F.T), want, rtol=1e-7, atol=1e-9 * np.abs(want).max())


@pytest.mark.parametrize("reml", [False, True])
def test_derivatives_are_those_of_the_corrected_deviance(records, reml):
    data = stacked(records, CONTEXT, (300.0, 500.0))[2]
    problem = JointProblem(data, make_structure("unstructured", data.cohorts, np.array([14.0, 15.0])), False, reml)
    x = np.concatenate([[0.9, 0.4, 0.7], np.log([1900.0, 2300.0])])
    gradient, hessian = problem.derivatives(x, problem.value(x))
    steps = 1e-5 * np.eye(len(x))

    def slope(of):
        return np.array([(np.asarray(of(x + h)) - np.asarray(of(x - h))) / 2e-5 for h in steps])

    np.testing.assert_allclose(gradient, slope(lambda z: problem.value(z).deviance), atol=1e-6 * np.abs(gradient).max())
    by_steps = slope(lambda z: problem.derivatives(z, problem.value(z))[0])
    np.testing.assert_allclose(hessian, by_steps, atol=1e-6 * np.abs(hessian).max())


@pytest.mark.parametrize("formula", ["score ~ prior_score", CONTEXT])
def test_independent_cohorts_are_the_relative_models(records, formula):
    """Coefficients, variances, effects; clustered errors but for N - p, which the joint model counts over all cohorts."""
    joint = va.fit_joint(records, YEARS, formula, "independent", reliability=R80)
    for cohort in YEARS:
        one = va.fit_relative(records, cohort, formula, reliability=R80)
        mine = joint.school_effects.xs(cohort, level="cohort").loc[one.school_effects.index]
        assert abs(one.school_effects["effect"].sum()) < 1e-8 and abs(mine["effect"].sum()) < 1e-8
        assert joint.fixed_effects[cohort].to_numpy() == pytest.approx(one.fixed_effects.to_numpy(), rel=1e-7)
        assert [joint.tau2[cohort], joint.sigma2[cohort]] == pytest.approx([one.tau2, one.sigma2], rel=1e-7)
        assert mine["effect"].to_numpy() == pytest.approx(one.school_effects["effect"].to_numpy(), abs=1e-6)
        shared = joint.school_effects.xs(cohort, level="cohort")["n"].gt(0).sum() / joint.n_schools
        ratio = np.diag(joint.vcov.loc[cohort, cohort]) / np.diag(one.vcov)
        assert ratio == pytest.approx(1.0, abs=0.02 + (1 - shared) / 20)
        limits = joint.limits().xs(cohort, level="cohort").loc[one.school_effects.index]
        assert limits["lower"].to_numpy() == pytest.approx(one.school_effects["lower"].to_numpy(), abs=0.05)


def test_the_truth_comes_back():
    """Slope .8, the variances of schools and what is recorded about the true line, each within 4 Monte Carlo
    errors of 10 panels; without the correction slope and residual variance far outside."""
    found = []
    for seed in range(10):
        frame = in_error((2015, 2016, 2019), 60, seed)
        for r in (None, R80):
            joint = va.fit_joint(frame, YEARS, reliability=r)
            found.append([*joint.fixed_effects.xs("prior_score", level="term"), *joint.tau2, *joint.sigma2])
    both = np.array(found).reshape(10, 2, 6)
    spread = both.std(axis=0, ddof=1) / np.sqrt(10)
    away = (both.mean(axis=0) - [0.8, 0.8, 225.0, 225.0, *[45.0**2 + 0.64 * 1125] * 2]) / spread
    assert (np.abs(away[1]) < 4).all() and (np.abs(away[0, [0, 1, 4, 5]]) > 4).all(), away


def test_school_means_and_a_column_of_standard_errors():
    """A true school mean that counts .3, errors of each student's own size: both coefficients within 4 Monte Carlo errors."""
    from test_school_mean_errors import BETWEEN, SLOPE, world

    found = []
    for seed in range(8):
        frame = world(seed, 100)
        for r in (None, {"prior_score": {"se": "prior_se"}}):
            fixed = va.fit_joint(frame, YEARS, CONTEXT, reliability=r).fixed_effects
            found.append([*fixed.loc[2015].iloc[1:], *fixed.loc[2016].iloc[1:]])
    both = np.array(found).reshape(8, 2, 4)
    away = (both.mean(axis=0) - [SLOPE, BETWEEN] * 2) / (both.std(axis=0, ddof=1) / np.sqrt(8))
    assert (np.abs(away[1]) < 5).all() and (np.abs(away[0]) > 3.5).all(), away


def test_both_kinds_of_intervals_agree_where_schools_are_many():
    """Integrated limits, changes and the change of the system are near the plug-in ones at 150 schools."""
    frame = in_error((2015, 2016, 2019), 150, 2).groupby(["school", "cohort"]).head(12)
    joint = va.fit_joint(frame, YEARS, reliability=R80)
    limits, plain = joint.limits(), joint.limits("plugin")
    assert limits["se"].to_numpy() == pytest.approx(plain["se"].to_numpy(), rel=0.1)
    profile = pd.Series({"Intercept": 1.0, "prior_score": 480.0})
    for find in (
        lambda kind: va.change_in_va(joint, *YEARS, intervals=kind)["se"].to_numpy(),
        lambda kind: va.change_on_benchmark(joint, *YEARS, profile, intervals=kind)["se"].to_numpy(),
        lambda kind: va.system_change(joint, *YEARS, profile, intervals=kind)["se"],
        lambda kind: va.average_va(joint, intervals=kind)["se"].to_numpy(),
    ):
        assert find("integrated") == pytest.approx(find("plugin"), rel=0.12)
    wide = va.system_change(joint, *YEARS, profile)
    assert (wide["lower"] + wide["upper"]) / 2 == pytest.approx(wide["change"], abs=0.1 * wide["se"])
    moves = va.quintile_transitions(joint, *YEARS, seed=1, draws=300)
    assert moves.groupby("from")["share"].sum().to_numpy() == pytest.approx(1.0)


@pytest.mark.parametrize("covariance", ["unstructured", "independent"])
def test_a_fit_on_the_boundary_has_intervals(covariance):
    frame = in_error((2015, 2016, 2019), 8, 3).groupby(["school", "cohort"]).head(8)
    joint = va.fit_joint(frame, YEARS, covariance=covariance, reliability=R80)
    assert joint.limits()["lower"].notna().all()
    assert va.change_in_va(joint, *YEARS)["se"].gt(0).all()


def test_nothing_is_nothing_and_a_stream_is_the_same(records, tmp_path):
    plain, one = (va.fit_joint(records, YEARS, reliability=r) for r in (None, {"prior_score": 1.0}))
    assert one.school_effects.equals(plain.school_effects) and not one.error_variance
    records.to_parquet(tmp_path / "rows.parquet")
    stream = stream_records(tmp_path / "rows.parquet", engine="duckdb", by_cell=True)
    a, b = (va.fit_joint(source, YEARS, CONTEXT, reliability=R80) for source in (records, stream))
    assert b.fixed_effects.to_numpy() == pytest.approx(a.fixed_effects.to_numpy(), rel=1e-8)
    assert np.diag(b.vcov) == pytest.approx(np.diag(a.vcov), rel=1e-6)
    want = 0.2 * records.loc[records["cohort"] == 2016, "prior_score"].var()
    assert a.error_variance[2016]["prior_score"] == pytest.approx(want, rel=1e-9)
    assert "Errors of measurement taken off: prior_score." in str(a)


def test_samples_of_schools_scatter_about_the_corrected_fit(records):
    joint = va.fit_joint(records, YEARS, reliability=R80)
    boot = va.bootstrap_joint(records, joint, seed=1, replicates=60)
    away = (boot.coefficients.mean(axis=0) - joint.fixed_effects.to_numpy()) / np.sqrt(np.diag(joint.vcov))
    assert np.abs(away).max() < 0.5
    assert boot.coefficients.std(axis=0)[1] == pytest.approx(np.sqrt(joint.vcov.to_numpy()[1, 1]), rel=0.35)


def test_what_cannot_be_corrected_is_refused(records):
    with pytest.raises(ModelError, match="Cohort 2015: The error in 'prior_score' is also in"):
        va.fit_joint(records, YEARS, "score ~ bs(prior_score, df=4)", reliability=R80)
    with pytest.raises(ModelError, match="Cohort 2015: The error variance of a covariate is nearly all"):
        va.fit_joint(records, YEARS, error_variance={"prior_score": 5400.0})
    with pytest.raises(ModelError, match="Cohort 2015: With errors of measurement taken off: The model fits"):
        va.fit_joint(records, YEARS, error_variance={"prior_score": 4900.0})
    fits = va.fit_structures(records, YEARS, covariances=["unstructured", "ar1"], reliability=R80)
    with pytest.raises(ModelError, match="have no likelihood to be compared by"):
        va.compare_joint(fits.values())
