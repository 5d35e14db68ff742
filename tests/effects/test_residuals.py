"""Residuals of a relative fit, by hand from dense matrices; several formulas, those that cannot be fitted too."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import simulate

from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import fit_benchmark
from valib.effects.relative import fit_formulas, fit_relative, school_residuals, student_residuals
from valib.errors import ModelError, ValibWarning


@pytest.fixture(scope="module")
def world():
    return simulate(np.random.default_rng(3), schools=9, size=(2, 12), cohorts=(2015, 2021))


def dense(world, fit):
    """X, y, Z, V and Var(b) of the cohort, written out."""
    rows = world[world.cohort == fit.cohort]
    X = np.column_stack([np.ones(len(rows)), rows.prior_score])
    Z = (rows.school.to_numpy()[:, None] == fit.school_effects.index.to_numpy()[None]).astype(float)
    V = fit.tau2 * Z @ Z.T + fit.sigma2 * np.eye(len(rows))
    return X, rows.score.to_numpy(), Z, V


def test_school_residuals_have_the_variance_of_their_formula(world):
    fit = fit_relative(world, 2021)
    X, y, Z, V = dense(world, fit)
    mean = (Z / Z.sum(0)).T
    b = np.linalg.solve(X.T @ np.linalg.solve(V, X), X.T @ np.linalg.solve(V, y))
    var = mean @ (V - X @ np.linalg.inv(X.T @ np.linalg.solve(V, X)) @ X.T) @ mean.T
    table = school_residuals(fit)
    np.testing.assert_allclose(table["residual"], mean @ (y - X @ b), atol=1e-8)
    np.testing.assert_allclose(table["standardised"], mean @ (y - X @ b) / np.sqrt(np.diag(var)), rtol=1e-8)


def test_standardised_residuals_are_effects_over_diagnostic_errors(world):
    fit = fit_relative(world, 2015)
    ratio = fit.school_effects["effect"] / fit.school_effects["se_diagnostic"]
    np.testing.assert_allclose(school_residuals(fit)["standardised"], ratio, rtol=1e-9)


def test_standardised_residuals_exist_where_schools_do_not_differ(world):
    """Every school the same mean residual nearly: the boundary, where effect and diagnostic error are both 0."""
    alike = world[world.cohort == 2015].copy()
    mean = alike.groupby("school").score.transform("mean") - 0.8 * alike.groupby("school").prior_score.transform("mean")
    alike["score"] -= mean
    fit = fit_relative(alike, 2015)
    assert fit.singular and (fit.school_effects["effect"] == 0).all()
    standardised = school_residuals(fit)["standardised"]
    assert np.isfinite(standardised).all() and 0 < standardised.std() < 1


def test_student_residuals_are_what_the_fit_leaves(world):
    """In the given order of rows; and by the mixed model equations Z'e = sigma2/tau2 u, X'e = 0."""
    shuffled = world.sample(frac=1, random_state=1)
    fit = fit_relative(shuffled, 2021)
    X, y, Z, V = dense(shuffled, fit)
    e = student_residuals(shuffled, fit)
    np.testing.assert_allclose(e, y - X @ fit.fixed_effects.to_numpy() - Z @ fit.school_effects["effect"], atol=1e-8)
    np.testing.assert_allclose(Z.T @ e, fit.sigma2 / fit.tau2 * fit.school_effects["effect"], atol=1e-6)
    np.testing.assert_allclose(X.T @ e / np.abs(X).sum(0), 0, atol=1e-8)


def test_student_residuals_leave_out_rows_that_lack_a_covariate(world):
    gappy = world.assign(ses=np.random.default_rng(1).standard_normal(len(world)))
    gappy.loc[gappy.index[::7], "ses"] = np.nan
    with pytest.warns(ValibWarning, match="'ses'"):
        fit = fit_relative(gappy, 2015, "score ~ prior_score + ses")
        e = student_residuals(gappy, fit)
    assert len(e) == fit.n_students == gappy[gappy.cohort == 2015].ses.notna().sum()


def test_student_residuals_of_a_model_with_the_benchmark_s_centre(world):
    """The columns are those of the fit, centred where the baseline was; the cohort's own centre is another."""
    benchmark = fit_baseline(world.assign(prior_score=world.prior_score + 30), [2015], "score ~ center(prior_score)")
    fit = fit_relative(world, 2021, benchmark.state)
    plain = fit_relative(world, 2021)
    assert abs(fit.fixed_effects["Intercept"] - plain.fixed_effects["Intercept"]) > 10
    np.testing.assert_allclose(student_residuals(world, fit), student_residuals(world, plain), atol=1e-6)


def test_residuals_of_another_table_or_model_are_refused(world):
    fit = fit_relative(world, 2015)
    with pytest.raises(ModelError, match="not the records"):
        student_residuals(world.iloc[1:], fit)
    benchmark = fit_benchmark(world, 2021, fit_baseline(world, [2015]))
    for refused in (lambda: student_residuals(world, benchmark), lambda: school_residuals(benchmark)):
        with pytest.raises(ModelError, match="relative model"):
            refused()


def test_formulas_that_cannot_be_fitted_are_returned_with_the_reason(world):
    constant = world.assign(female=1.0)
    fits, refused = fit_formulas(constant, 2015, ["score ~ prior_score", "score ~ prior_score + female"])
    assert list(fits) == ["score ~ prior_score"] and list(refused) == ["score ~ prior_score + female"]
    assert "'female'" in refused["score ~ prior_score + female"]
    assert fits["score ~ prior_score"].tau2 == fit_relative(world, 2015).tau2
