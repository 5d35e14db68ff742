"""Errors of measurement in school means, and in columns of standard errors: expectation, equations, truth, streams."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import valib as va
from valib.models.estimators import fit_baselines
from valib.models.likelihood import compress, profile
from valib.models.measurement import error_vector, noise, remove_error
from valib.sums.design import make_cells
from valib.sums.moments import moments_from_arrays

CONTEXT = "score ~ prior_score + school_mean(prior_score)"
SLOPE, BETWEEN, S2M = 0.8, 0.3, 900.0  # coefficients of the true score and of its school mean; error variance


def world(seed: int, schools: int = 150, cohorts=(2015, 2016)) -> pd.DataFrame:
    """Schools of 5 to 25 students whose true prior's mean has an effect of its own; each prior has an error of its own
    standard deviation about 30, which a column gives."""
    rng = np.random.default_rng(seed)
    parts = []
    for cohort in cohorts:
        code = np.repeat(np.arange(schools), rng.integers(5, 26, schools))
        true = 480 + 25 * rng.standard_normal(schools)[code] + 55 * rng.standard_normal(len(code))
        mean = (np.bincount(code, true) / np.bincount(code))[code]
        u, e = 12 * rng.standard_normal(schools)[code], 40 * rng.standard_normal(len(code))
        prior_se = np.sqrt(S2M * rng.uniform(0.5, 1.5, len(code)))
        recorded = true + prior_se * rng.standard_normal(len(code))
        score = 100 + SLOPE * true + BETWEEN * mean + u + e
        part = {"cohort": cohort, "score": score, "prior_score": recorded, "prior_se": prior_se}
        parts.append(pd.DataFrame({"school": [f"S{k:03d}" for k in code], **part}))
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(student=[f"P{k:05d}" for k in range(len(frame))])


def sums(x: np.ndarray, y: np.ndarray, school: pd.Series):
    """Moments of 1, x and its school mean."""
    cells = make_cells(school)
    mean = (np.bincount(cells.code, x) / cells.n)[cells.code]
    names = ("Intercept", "prior_score", "school_mean(prior_score)")
    X = np.column_stack([np.ones(len(x)), x, mean])
    return moments_from_arrays(X, y, cells, names, "score", by_cell=True, shift=np.zeros(4))


def test_what_is_taken_off_is_what_errors_add_on_average():
    """A and c of the true scores, from 1,000 draws of errors, each entry within 4.5 Monte Carlo errors; theta 0 and .5."""
    rng = np.random.default_rng(2)
    school = pd.Series(np.repeat(list("abcdef"), [1, 2, 3, 3, 5, 7]))
    true, y = rng.normal(0, 12, 21) + np.repeat(rng.normal(0, 40, 6), [1, 2, 3, 3, 5, 7]), rng.normal(0, 10, 21)
    for theta in (0.0, 0.5):
        want = np.linalg.inv(profile(compress(sums(true, y, school)), np.array([theta]), False).A_inverse[0])
        found = []
        for _ in range(1000):
            data = compress(moments := sums(true + 5 * rng.standard_normal(21), y, school))
            w = theta / (1 + theta * data.sizes)
            off = remove_error(data, error_vector(moments, {"prior_score": 25.0}))
            found.append((off.cross[0] - np.einsum("d,dij->ij", w, off.outer[0]))[:3, :3])
        spread = np.std(found, axis=0) / np.sqrt(len(found))
        assert (np.abs(np.mean(found, axis=0) - want)[1:, 1:] < 4.5 * spread[1:, 1:]).all()
        np.testing.assert_allclose(np.mean(found, axis=0)[0, 0], want[0, 0])


@pytest.mark.parametrize("estimator", ["mixed", "ols"])
def test_the_equations_are_solved(estimator):
    """The influences of schools add up to nothing: they are the terms of the corrected equations at their solution."""
    frame = world(3, 40)
    moments = va.compute_moments(va.build_design(frame, CONTEXT), by_cell=True)
    errors = error_vector(moments, {"prior_score": S2M})
    found = fit_baselines(moments, estimator, errors=errors)
    total, size = found.influence[0].sum(axis=0), np.abs(found.influence[0]).sum(axis=0)
    assert (np.abs(total) < 1e-8 * size).all()
    b = found.b[0]
    assert noise(found.b, errors)[0] == pytest.approx((b[1] + b[2]) ** 2 * S2M)


def test_least_squares_is_errors_in_variables_regression():
    """(X'X - S)^-1 X'y with S the sum of the errors' covariances, written out row by row (eivreg of R's eivtools)."""
    frame = world(4, 40)
    got = va.fit_baseline(frame, [2015, 2016], CONTEXT, "ols", reliability={"prior_score": {"se": "prior_se"}})
    design = va.build_design(frame, CONTEXT)
    s2m, C = float((frame["prior_se"] ** 2).mean()), len(design.cells.n)
    S = np.array([[0, 0, 0], [0, len(frame) * s2m, C * s2m], [0, C * s2m, C * s2m]])
    want = np.linalg.solve(design.X.T @ design.X - S, design.X.T @ design.y)
    assert got.coefficients.to_numpy() == pytest.approx(want, rel=1e-8)
    assert got.error_variance == pytest.approx({"prior_score": s2m})


def test_without_a_mean_least_squares_takes_off_each_student_s_own():
    frame = world(4, 40)
    got = va.fit_baseline(frame, [2015, 2016], estimator="ols", reliability={"prior_score": {"se": "prior_se"}})
    X = np.column_stack([np.ones(len(frame)), frame["prior_score"]])
    own = np.diag([0.0, (frame["prior_se"] ** 2).sum()])
    assert got.coefficients.to_numpy() == pytest.approx(np.linalg.solve(X.T @ X - own, X.T @ frame["score"]), rel=1e-8)


def test_the_true_coefficients_come_back():
    """Slope .8 and between-school .3 of the true scores within 5 Monte Carlo errors (t, 7 df: one in 600) of 8 worlds;
    without the correction far outside."""
    found = []
    for seed in range(8):
        frame = world(seed)
        for r in (None, {"prior_score": {"se": "prior_se"}}):
            base = va.fit_baseline(frame, [2015, 2016], CONTEXT, reliability=r).coefficients
            own = va.fit_relative(frame, 2016, CONTEXT, reliability=r, intervals="plugin").fixed_effects
            found.append([*base.iloc[1:], *own.iloc[1:]])
    both = np.array(found).reshape(8, 2, 4)
    away = (both.mean(axis=0) - [SLOPE, BETWEEN] * 2) / (both.std(axis=0, ddof=1) / np.sqrt(8))
    assert (np.abs(away[1]) < 5).all() and (np.abs(away[0]) > 3.5).all(), away


def test_a_stream_gives_the_same(tmp_path):
    frame = world(5, 40)
    frame.to_parquet(tmp_path / "rows.parquet")
    stream, r = va.stream_records(tmp_path / "rows.parquet"), {"prior_score": {"se": "prior_se"}}
    for find in (
        lambda source: va.fit_relative(source, 2016, CONTEXT, reliability=r).fixed_effects,
        lambda source: va.fit_baseline(source, [2015, 2016], CONTEXT, reliability=r).coefficients,
    ):
        assert find(stream).to_numpy() == pytest.approx(find(frame).to_numpy(), rel=1e-8)


def test_a_bootstrap_takes_them_off_too():
    """Samples of schools scatter about the corrected coefficients, not about those as recorded."""
    frame = world(6, 80, (2015, 2016, 2021))
    base = va.fit_baseline(frame, [2015, 2016], CONTEXT, reliability={"prior_score": {"se": "prior_se"}})
    boot = va.bootstrap_benchmark(frame, base, [2021], replicates=60, seed=1)
    drawn = np.asarray(boot.coefficients)
    assert np.abs(drawn.mean(axis=0) - base.coefficients)[1:].to_numpy() == pytest.approx([0, 0], abs=0.03)
