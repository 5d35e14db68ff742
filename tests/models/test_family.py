"""The one family of estimators beside the two that it takes the place of, on the same sums."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from worlds import moments_of

from valib.effects import baseline as single
from valib.effects.benchmark import fit_residuals, predict_benchmark
from valib.effects.resampling import compress_samples
from valib.models import estimators as many
from valib.models import family
from valib.models.blup import predict
from valib.models.likelihood import compress, optimise
from valib.models.measurement import fit_corrected, remove_error
from valib.simulation.draw import draw
from valib.simulation.methods import split
from valib.simulation.worlds import scenario
from valib.sums.moments import Moments

SAME = 1e-12  # relative to the largest of a kind; the same sums in another order
ERRORS = np.array([0.0, 150.0])


def close(found, wanted, tolerance=SAME):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


@pytest.fixture(scope="module", params=["all schools", "absent schools"])
def world(request):
    n = np.random.default_rng(3).integers(4, 30, (25, 4))
    if request.param == "absent schools":
        n[0, 3] = n[1, 0] = n[2, :3] = 0
    s = scenario("combined", student_df=None, cells=tuple(map(tuple, n.tolist())))
    return s, draw(s, [np.random.default_rng(i) for i in range(4)])


def as_moments(data, cohorts) -> Moments:
    R, C, k = data.sums.shape
    J = C // cohorts
    return Moments(
        ("Intercept", "prior_score", "score"),
        np.zeros(k),
        np.arange(J),
        np.arange(cohorts),
        np.tile(np.arange(J), cohorts),
        np.repeat(np.arange(cohorts), J),
        data.n.astype(float),
        data.sums,
        data.cross.reshape(R, cohorts, J, k, k).sum(axis=2),
        data.cross,
        np.ones(C),
    )


@pytest.mark.parametrize("errors", [np.zeros(2), ERRORS], ids=["plain", "corrected"])
@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("groups", ["school_cohort", "school"])
@pytest.mark.parametrize("estimator", ["mixed", "ols", "within"])
def test_baselines_are_those_of_both_older_ways(world, estimator, groups, reml, errors):
    s, w = world
    base, focal = split(w)
    found = family.fit_baselines(as_moments(base, 3), estimator, groups, reml, errors)
    old = many.fit_baselines(base, 3, estimator, groups, reml, errors[1])
    for name in ("b", "vcov", "tau2", "sigma2"):
        close(getattr(found, name), getattr(old, name), 1e-11)  # to which both search theta
    one = moments_of(s, w, 2).select(s.baseline)
    one = one.reshift(np.array([0.0, 3.0, -7.0]))
    grouped = one.pool_cohorts() if groups == "school" else one
    mixed = fit_corrected(grouped, errors, "REML" if reml else "ML")
    b, influence, model = single.estimate(grouped, estimator, mixed, errors)
    alone = family.fit_baselines(one, estimator, groups, reml, errors, mixed.optimum.theta)
    close(alone.b[0], b)
    close(alone.influence[0], influence, 1e-11)  # of a difference between nearly equal numbers
    close(alone.vcov[0], single.clustered(influence, one.n_students))
    close(alone.vcov_model[0], model)
    close(found.b[2], alone.b[0], 1e-10)  # about another shift

    here = (w.n[2, :-1] > 0).any(axis=0)
    close(found.influence[2, here], alone.influence[0], 1e-9)


@pytest.mark.parametrize("variances", ["focal", "baseline"])
@pytest.mark.parametrize("shift", ["estimated", "absorbed"])
def test_benchmark_effects_are_those_of_both_older_ways(world, shift, variances):
    s, w = world
    base, focal = split(w)
    old_base = many.fit_baselines(base, 3, "mixed", "school_cohort", False)
    old = many.benchmark_va(focal, old_base, shift, variances, False, 2.0)
    moments = as_moments(focal, 1)
    kept = (old_base.tau2, old_base.sigma2) if variances == "baseline" else None
    fit = family.fit_residuals(compress(moments), old_base.b, kept, 0 if shift == "estimated" else None, False)
    blup, moved = family.benchmark_va(
        moments.n, moments.means, old_base.b, old_base.vcov, fit.tau2, fit.sigma2, shift, 2.0
    )
    found = family.Predictions(blup, old_base.b, old_base.vcov, fit.tau2, fit.sigma2, moved)
    close(fit.tau2, old.tau2, 1e-9)  # the sums are compressed before r is formed: the optimum's own tolerance
    close(blup.effect, old.effect, 1e-9)
    close(blup.var_comparative, old.full, 1e-9)
    close(family.known_errors(found).blup.var_comparative, old.known, 1e-9)
    one = moments_of(s, w, 1).select([s.focal])
    spec = SimpleNamespace(
        coefficients=SimpleNamespace(to_numpy=lambda: old_base.b[1]), tau2=old_base.tau2[1], sigma2=old_base.sigma2[1]
    )
    mixed = fit_residuals(one, spec, shift, variances, "ML")
    links = np.random.default_rng(0).standard_normal((len(one.n), 2))
    arguments = (old_base.b[1], old_base.vcov[1], mixed.tau2, mixed.sigma2, shift, 2.0, links)
    wanted, variance = predict_benchmark(one, *arguments)
    alone, moved = family.benchmark_va(one.n, one.means, *arguments)
    for name in ("effect", "shrinkage", "residual", "var_conditional", "var_comparative", "var_diagnostic"):
        close(getattr(alone, name), getattr(wanted, name))
    if shift == "estimated":
        close(moved.var, variance)
        close(family.known_errors(found).shift.var, old.shift_known, 1e-9)
        assert moved.influence.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("errors", [np.zeros(2), ERRORS], ids=["plain", "corrected"])
def test_relative_effects_are_those_of_both_older_ways(world, errors):
    s, w = world
    _, focal = split(w)
    old = many.relative_va(focal, True, errors[1])
    moments = as_moments(focal, 1)
    fit = optimise(remove_error(compress(moments), errors), True)
    found = family.relative_va(moments, fit, True, errors)
    for name, wanted in (("effect", old.effect), ("var_comparative", old.full), ("var_conditional", old.own)):
        close(getattr(found.blup, name), wanted)
    one = moments_of(s, w, 1).select([s.focal]).reshift(np.array([0.0, 3.0, -7.0]))
    mixed = fit_corrected(one, errors, "REML")
    alone = family.relative_va(one, mixed.optimum, True, errors)
    if not errors.any():
        xbar, residual = one.means[:, :-1], one.means[:, -1] - one.means[:, :-1] @ mixed.coefficients
        wanted = predict(one.n, residual, mixed.tau2, mixed.sigma2, xbar, mixed.vcov)
        close(alone.blup.effect[0], wanted.effect)
        close(alone.blup.var_comparative[0], wanted.var_comparative)
    close(found.blup.effect[1][w.n[1, -1] > 0], alone.blup.effect[0], 1e-8)  # two optima


def test_compressed_sums_are_those_of_the_older_ways(world):
    _, w = world
    base, _ = split(w)
    weights = np.random.default_rng(1).multinomial(25, np.full(25, 1 / 25), size=(4, 6)).astype(float)
    for found, old in (
        (compress(as_moments(base, 3)), many.compress_sums(base)),
        (compress(as_moments(base, 3), weights), compress_samples(base, weights)),
    ):
        for name in ("sizes", "counts", "outer", "cross", "n"):
            close(getattr(found, name), getattr(old, name))
