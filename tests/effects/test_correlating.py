"""Correlations of many simulated data sets at once against the library's one-by-one fits of the same sums."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import moments_of

from valib.effects.correlating import _moments, correlate_all, fit_cohorts
from valib.effects.stability import WAYS, TwoStep, two_step_correlations
from valib.errors import ModelError
from valib.models.blup import correlation_interval, delta_error, predict
from valib.models.joint_batch import fit_all, stack_sums
from valib.models.joint_fit import fit_joint_moments
from valib.models.mixed import fit_moments
from valib.simulation.draw import draw
from valib.simulation.worlds import scenario

SAME = 1e-9  # absolute for correlations, relative for what has a unit
SCHOOLS = 90
SIZES = np.random.default_rng(5).integers(2, 40, (SCHOOLS, 4))
SIZES[np.random.default_rng(6).random((SCHOOLS, 4)) < 0.15] = 0
SIZES[4] = 0


@pytest.fixture(scope="module", params=[("serial", 15.0), ("plain", 9.0)], ids=["clear", "doubtful"])
def problem(request):
    """12 data sets of three cohorts; in the second world the joint likelihood of most gives trouble."""
    s = scenario(request.param[0], tau=request.param[1], cells=tuple(map(tuple, SIZES.tolist())))
    w = draw(s, [np.random.default_rng(i) for i in range(12)])
    at = [0, 2, 3]
    return s, w, np.array(s.cohorts)[at], (w.n[:, at], w.sums[:, at], w.cross[:, at].sum(axis=2))


def one_by_one(s, w, cohorts, r, method):
    """(pairs, 6, 3) by the library's own functions, None where a variance is 0; and the joint fit."""
    parts = [moments_of(s, w, r).select([c]) for c in cohorts]
    fits = [fit_moments(m) for m in parts]
    if any(f.singular for f in fits):
        return None, None
    n, effects, shrinkage = (np.full((SCHOOLS, len(parts)), v) for v in (0.0, np.nan, np.nan))
    for t, (m, f) in enumerate(zip(parts, fits, strict=True)):
        blup = predict(m.n, m.means[:, -1] - m.means[:, :-1] @ f.coefficients, f.tau2, f.sigma2)
        n[m.schools, t], effects[m.schools, t], shrinkage[m.schools, t] = m.n, blup.effect, blup.shrinkage
    joint, eb = fit_joint_moments(parts, method=method), np.full(n.shape, np.nan)
    eb[joint.data.schools] = joint.effects
    data = TwoStep(
        np.arange(SCHOOLS),
        cohorts,
        n,
        effects,
        shrinkage,
        np.array([f.tau2 for f in fits]),
        np.array([f.sigma2 for f in fits]),
    )
    found = two_step_correlations(data, eb, 0.9)
    R = joint.correlation
    found["joint_model"] = R, *correlation_interval(R, delta_error(R, joint.correlation_se), 0.9)
    pairs = np.triu_indices(len(parts), 1)
    return np.array([found[way] for way in WAYS])[:, :, *pairs].transpose(2, 0, 1), joint


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_every_way_is_that_of_the_one_by_one_functions(problem, method):
    s, w, cohorts, arrays = problem
    found, undefined = correlate_all(cohorts, *arrays, 0.9, method), 0
    for r in range(12):
        wanted, joint = one_by_one(s, w, cohorts, r, method)
        if wanted is None or not np.isfinite(joint.correlation).all():
            assert np.isnan(found[r]).all()
            undefined += 1
        else:
            np.testing.assert_allclose(found[r], wanted, atol=SAME)
    assert undefined < 6


def test_joint_fits_at_once_are_the_one_by_one_fits_and_the_rest_is_left_to_them(problem):
    s, w, cohorts, arrays = problem
    b, tau2, sigma2 = fit_cohorts(cohorts, *arrays, "ML")
    batch = fit_all(stack_sums(cohorts, *arrays, b), tau2, sigma2)
    plain = []
    for r in range(12):
        one = fit_joint_moments([moments_of(s, w, r).select([c]) for c in cohorts])
        plain.append(len(one.deviances) == 1)
        if batch.found[r]:
            for name in ("omega", "correlation", "correlation_se", "sigma2"):
                np.testing.assert_allclose(getattr(batch, name)[r], getattr(one, name), rtol=SAME, atol=SAME)
            np.testing.assert_allclose(batch.effects[r, one.data.schools], one.effects, rtol=SAME, atol=SAME)
    assert not (batch.found & ~np.array(plain)).any()  # an end that is doubtful to the library is not taken
    assert 9 <= batch.found.sum() if s.name == "serial" else 2 <= batch.found.sum() <= 8
    assert np.isnan(batch.omega[~batch.found]).all()


def test_separate_fits_are_the_library_s_and_so_are_its_refusals(problem):
    s, w, cohorts, (n, sums, cross) = problem
    for method in ("ML", "REML"):
        b, tau2, sigma2 = fit_cohorts(cohorts, n, sums, cross, method)
        for r in (0, 7):
            for t, c in enumerate(cohorts):
                one = fit_moments(moments_of(s, w, r).select([c]), method)
                np.testing.assert_allclose(b[r, t], one.coefficients, rtol=SAME)
                np.testing.assert_allclose([tau2[r, t], sigma2[r, t]], [one.tau2, one.sigma2], rtol=SAME)
    one_school = n.copy()
    one_school[3, 1, 1:] = 0
    with pytest.raises(ModelError, match="two schools"):
        fit_cohorts(cohorts, one_school, sums, cross, "ML")
    flat = cross.copy()
    flat[3, 1, 1] = flat[3, 1, :, 1] = 0.0
    with pytest.raises(ModelError, match="constant"):
        fit_cohorts(cohorts, n, sums * np.array([1.0, 0.0, 1.0]), flat, "ML")


def test_a_cohort_as_moments_holds_its_schools_only(problem):
    s, w, cohorts, (n, sums, cross) = problem
    mine, whole = _moments(cohorts[1], n[2, 1], sums[2, 1], cross[2, 1]), moments_of(s, w, 2).select([cohorts[1]])
    assert mine.schools.tolist() == whole.schools.tolist() and mine.names[0] == "Intercept"
    for name in ("n", "sums", "cross"):
        assert (getattr(mine, name) == getattr(whole, name)).all()
