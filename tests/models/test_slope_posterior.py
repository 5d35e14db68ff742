"""The posterior with random slopes: a dense grid, its own draws, coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_slopes import problem

from valib.errors import ModelError
from valib.models.slope_posterior import integrate_slopes
from valib.models.slopes import fit_slopes
from valib.sums.design import make_cells
from valib.sums.moments import moments_from_arrays

Z = np.array([[1.0, 0.0], [1.0, 1.5], [0.0, 1.0]])  # about the means: at the mean, above it, the slope
DRAWN = 0.06  # of a standard deviation: a thousand draws have means known to 0.03 of it


def dense_grid(X, y, school, centre, z):
    """Means and standard deviations (J, m) of z'g_j by a grid of (phi0, phi1, rho), every matrix written out."""
    X = X.copy()
    labels, code = np.unique(school, return_inverse=True)
    J, (N, p) = len(labels), X.shape
    size = np.array([1.0, X[:, 1].std()])
    Zs = np.column_stack([np.ones(N), X[:, 1] - centre]) / size
    big = np.einsum("ij,iq->ijq", np.eye(J)[code], Zs).reshape(N, -1)
    nu = N - p - 2
    angles, gauss = np.polynomial.legendre.leggauss(10)
    density, means, seconds = [], [], []
    rows = z / size
    for a in (np.arange(22) + 0.5) * 0.18:
        for b in (np.arange(18) + 0.5) * 0.16:
            for rho, share in zip(angles, gauss, strict=True):
                Lambda = np.array([[a * a, rho * a * b], [rho * a * b, b * b]])
                prior = np.kron(np.eye(J), Lambda)
                V = np.eye(N) + big @ prior @ big.T
                Vi = np.linalg.inv(V)
                A = X.T @ Vi @ X
                beta = np.linalg.solve(A, X.T @ Vi @ y)
                r = y - X @ beta
                rss = r @ Vi @ r
                density.append(
                    np.log(share) - 0.5 * (np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1] + nu * np.log(rss))
                )
                reach = prior @ big.T @ Vi
                error = prior - reach @ big @ prior + reach @ X @ np.linalg.solve(A, X.T @ reach.T)
                g = (reach @ r).reshape(J, 2)
                C = error.reshape(J, 2, J, 2)[np.arange(J), :, np.arange(J), :]
                means.append(g @ rows.T)
                seconds.append(rss / (nu - 2) * np.einsum("ma,jab,mb->jm", rows, C, rows) + means[-1] ** 2)
    weight = np.exp(np.array(density) - max(density))
    weight /= weight.sum()
    mean = np.einsum("g,gjm->jm", weight, np.array(means))
    return mean, np.sqrt(np.einsum("g,gjm->jm", weight, np.array(seconds)) - mean**2)


def test_means_and_errors_are_those_of_a_dense_grid():
    """Eight schools, where plug-in errors are far too small: to a few per cent of a standard deviation."""
    X, y, school, moments = problem(7, sizes=[5, 8, 6, 7, 4, 9, 6, 5], slope=5)
    fit = fit_slopes(moments, [1])
    found = integrate_slopes(fit, random=1)
    assert found.trusted
    mean, sd = dense_grid(X, y, school, fit.centre[1], Z)
    for k, z in enumerate(Z):
        mixture = found.at(z)
        np.testing.assert_allclose(mixture.expectation()[0] / sd[:, k], mean[:, k] / sd[:, k], atol=DRAWN)
        np.testing.assert_allclose(mixture.sd()[0], sd[:, k], rtol=DRAWN)


def test_draws_are_those_of_the_mixture():
    _, _, _, moments = problem(7, sizes=[12] * 20, slope=5)
    found = integrate_slopes(fit_slopes(moments, [1]), random=1)
    drawn = found.draw(6000, np.random.default_rng(2), Z)
    for k, z in enumerate(Z):
        mixture = found.at(z)
        sd = mixture.sd()[0]
        assert (np.abs(drawn[..., k].mean(axis=0) - mixture.expectation()[0]) < 5 * sd / np.sqrt(6000)).all()
        np.testing.assert_allclose(drawn[..., k].std(axis=0), sd, rtol=0.05)
    np.testing.assert_array_equal(found.draw(3, np.random.default_rng(2)), found.draw(3, np.random.default_rng(2)))


def test_many_schools_are_nearly_plug_in():
    """With 400 schools the variances are known: the errors agree with comparative ones to a few per cent."""
    rng = np.random.default_rng(1)
    code = np.repeat(np.arange(400), 30)
    x, g = rng.standard_normal(12_000), rng.standard_normal((400, 2)) * [6, 3]
    y = g[code, 0] + (2 + g[code, 1]) * x + 9 * rng.standard_normal(12_000)
    X = np.column_stack([np.ones(12_000), x])
    fit = fit_slopes(moments_from_arrays(X, y, make_cells(pd.Series(code)), ("Intercept", "x"), by_cell=True), [1])
    found = integrate_slopes(fit)
    for z in Z:
        effect, _, variance = fit.at(z[None])
        mixture = found.at(z)
        np.testing.assert_allclose(mixture.expectation()[0], effect[:, 0], atol=0.04 * np.sqrt(variance).max())
        np.testing.assert_allclose(mixture.sd()[0], np.sqrt(variance[:, 0]), rtol=0.05)


def test_limits_cover_where_plug_in_ones_do_not():
    """Ten schools of 15: of 40 worlds, 400 effects above the mean. Plug-in limits fall short; integrated ones cover
    0.95 within what 40 worlds can tell (schools of a world are alike, so three errors of world means)."""
    rng, inside, plugin = np.random.default_rng(5), [], []
    for _ in range(40):
        code = np.repeat(np.arange(10), 15)
        x, g = rng.standard_normal(150), rng.standard_normal((10, 2)) * [2.5, 2.0]
        y = g[code, 0] + g[code, 1] * x + 6 * rng.standard_normal(150)
        X = np.column_stack([np.ones(150), x])
        fit = fit_slopes(moments_from_arrays(X, y, make_cells(pd.Series(code)), ("Intercept", "x"), by_cell=True), [1])
        z = np.array([1.0, 1.0 - fit.centre[1]])
        truth = g.sum(axis=1)
        lower, upper = (limit[0] for limit in integrate_slopes(fit, rng).at(z).interval(0.95))
        inside.append(((lower <= truth) & (truth <= upper)).mean())
        effect, _, variance = fit.at(z[None])
        plugin.append((np.abs(effect - truth[:, None]) <= 1.96 * np.sqrt(variance)).mean())
    error = np.std(inside, ddof=1) / np.sqrt(40)
    assert abs(np.mean(inside) - 0.95) < max(3 * error, 0.02)
    assert np.mean(plugin) < np.mean(inside) - 0.02


def test_too_few_schools_are_refused():
    _, _, _, moments = problem(2, sizes=[20, 25, 30, 20])
    with pytest.raises(ModelError, match="4 schools with 2 random effects"):
        integrate_slopes(fit_slopes(moments, [1]))
