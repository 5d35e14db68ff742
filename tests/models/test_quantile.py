"""Draws of a conditional quantile: against brute-force integration, other packages' distributions, simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats
from statsmodels.regression.quantile_regression import QuantReg

from valib.errors import ModelError
from valib.models.quantile import calibrated_scale, empirical_offset, inverse_gaussian_mixture, marginal_offset, sample

P = (0.25, 0.5, 0.75)


def laplace(e, sigma, p):
    """The asymmetric Laplace density, written out."""
    return p * (1 - p) / sigma * np.exp(-e * (p - (e < 0)) / sigma)


@pytest.mark.parametrize("p", P)
@pytest.mark.parametrize(("s", "sigma"), [(12.0, 9.0), (0.01, 4.0), (40.0, 0.5)])
def test_the_marginal_offset_is_that_of_numerical_integration(p, s, sigma):
    """Quadrature of the density of a + e up to m; 1e-7 is quad's own error over the kink."""
    (m,) = marginal_offset(np.array([s]), np.array([sigma]), p)

    def below(a):
        x = m - a
        cdf = p * np.exp((1 - p) * x / sigma) if x < 0 else 1 - (1 - p) * np.exp(-p * x / sigma)
        return cdf * stats.norm.pdf(a, 0, s)

    area, _ = integrate.quad(below, -9 * s, 9 * s, points=[m], limit=200)
    assert area == pytest.approx(p, abs=1e-7)
    assert np.sign(m) == np.sign(p - 0.5) or (p == 0.5 and abs(m) < 1e-9)


def test_the_offset_of_residuals_is_that_of_a_closed_form():
    """Normal residuals: the p-quantile of the sum less that of the residuals is z_p (sqrt(s2 + sigma2) - sigma); 801
    points of the distribution stand for it, which is good to a thousandth of sigma."""
    residuals = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000) * 45
    for p in P:
        found = empirical_offset(np.array([15.0, 30.0]), residuals, p)
        exact = stats.norm.ppf(p) * (np.hypot([15.0, 30.0], 45) - 45)
        assert found == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("p", P)
@pytest.mark.parametrize("e", [0.0, 0.3, -8.0])
def test_the_mixing_variable_has_the_distribution_of_scipy(p, e):
    """GIG(1/2, chi, b) of scipy; the distance of Kolmogorov at 20,000 draws is below 1.95 / sqrt(n) in 999 of 1,000."""
    sigma, theta, psi2 = 1.7, (1 - 2 * p) / (p * (1 - p)), 2 / (p * (1 - p))
    v = inverse_gaussian_mixture(np.full(20_000, e), np.full(20_000, sigma), theta, psi2, np.random.default_rng(4))
    b, chi = (theta**2 / psi2 + 2) / sigma, e**2 / (psi2 * sigma)
    if chi:
        law = stats.geninvgauss(0.5, np.sqrt(b * chi), scale=np.sqrt(chi / b))
    else:
        law = stats.gamma(0.5, scale=2 / b)
    assert stats.kstest(v, law.cdf).statistic < 1.95 / np.sqrt(len(v))


def dense(y, school, p, sizes=(80, 60, 50)):
    """Mean and standard deviation of (b, s, sigma) by brute force: a grid of three, and one of b + a_j in each school."""
    b = np.linspace(np.median(y) - 8, np.median(y) + 8, sizes[0])
    log_s = np.linspace(-6, 3.5, sizes[1])
    log_sigma = np.linspace(-2.5, 1.0, sizes[2])
    c = np.linspace(y.min() - 4, y.max() + 4, 1500)
    between = stats.norm.pdf(c, b[:, None, None], np.maximum(np.exp(log_s), 0.02)[:, None]) * (c[1] - c[0])
    log = np.zeros(sizes)
    for j in np.unique(school):
        e = y[school == j][:, None] - c
        loss, n = (e * (p - (e < 0))).sum(axis=0), (school == j).sum()
        within = np.exp(-(loss[:, None] - loss.min()) / np.exp(log_sigma))
        inside = between.reshape(-1, len(c)) @ within
        log += np.log(inside + 1e-300).reshape(sizes) - loss.min() / np.exp(log_sigma) - n * log_sigma
    log += log_s[:, None]  # flat in s; 1 / sigma on sigma is flat in its logarithm, in which the grid is even
    mass = np.exp(log - log.max())
    mass /= mass.sum()
    values = b[:, None, None], np.exp(log_s)[:, None], np.exp(log_sigma)
    means = [float((mass * x).sum()) for x in values]
    return means, [float(np.sqrt((mass * (x - m) ** 2).sum())) for x, m in zip(values, means, strict=True)]


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_the_posterior_is_that_of_dense_integration(p):
    """Eight schools of six: an s that the data know. The means of b and sigma agree within five Monte Carlo errors
    (effective samples of at least a fifteenth) and the grid's own error, a fiftieth of a standard deviation."""
    rng = np.random.default_rng(12)
    school = np.repeat(np.arange(8), 6)
    y = rng.normal(0, 1.5, 8)[school] + rng.normal(0, 1, 48)
    means, sds = dense(y, school, p)
    found = sample(np.repeat(y[None], 8, 0), np.ones((48, 1)), school, p, 2500, 300, 5)
    for draws, mean, sd in zip((found.coefficients[..., 0], found.school_sd, found.scale), means, sds, strict=True):
        error = sd * (5 / np.sqrt(draws.size / 15) + 0.02)
        assert draws.mean() == pytest.approx(mean, abs=error)
        assert draws.std() == pytest.approx(sd, rel=0.12)


@pytest.mark.parametrize("p", P)
def test_without_schools_that_differ_it_is_the_quantile_regression_of_statsmodels(p):
    """The posterior mean and the minimiser of the same loss differ by a part of the standard error, here a half."""
    rng = np.random.default_rng(3)
    school = np.repeat(np.arange(25), 80)
    x = rng.normal(430, 75, len(school))
    y = 120 + 0.8 * x + rng.normal(0, 45, len(school))
    X = np.column_stack([np.ones(len(x)), x])
    found = sample(np.repeat(y[None], 4, 0), X, school, p, 600, 200, 1)
    other = QuantReg(y, X).fit(q=p)
    assert np.all(np.abs(found.coefficients.mean(axis=(0, 1)) - other.params) < other.bse / 2)
    assert found.school_sd.mean() < 0.2 * 45


def test_the_scale_of_laplace_errors_is_their_own_and_of_normal_ones_the_sparsity():
    rng = np.random.default_rng(8)
    for p in P:
        v = rng.exponential(9.0, 60_000)
        e = (1 - 2 * p) / (p * (1 - p)) * v + np.sqrt(2 / (p * (1 - p)) * 9.0 * v) * rng.standard_normal(60_000)
        assert calibrated_scale(e, p) == pytest.approx(9.0, rel=0.06)
        z = stats.norm.ppf(p)
        exact = p * (1 - p) * 45 / stats.norm.pdf(z)
        assert calibrated_scale(45 * (rng.standard_normal(60_000) - z), p) == pytest.approx(exact, rel=0.06)


def test_the_same_seed_gives_the_same_draws_and_another_gives_others():
    rng = np.random.default_rng(1)
    school = np.repeat(np.arange(10), 5)
    y, X = rng.normal(size=(2, 50)), np.ones((50, 1))
    first, second, other = (sample(y, X, school, 0.5, 20, 5, seed).effects for seed in (1, 1, 2))
    assert np.array_equal(first, second) and not np.array_equal(first, other)


def test_shifting_and_scaling_scores_shifts_and_scales_the_draws():
    rng = np.random.default_rng(1)
    school = np.repeat(np.arange(12), 8)
    x = rng.normal(size=96)
    y, X = rng.normal(size=(2, 96)) + x, np.column_stack([np.ones(96), x])
    one = sample(y, X, school, 0.25, 50, 50, 3)
    two = sample(500 + 45 * y, X, school, 0.25, 50, 50, 3)
    np.testing.assert_allclose(two.coefficients, 45 * one.coefficients + [500, 0], rtol=1e-6)
    np.testing.assert_allclose(two.effects, 45 * one.effects, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("y", "X", "school", "words"),
    [
        (np.arange(20.0), np.ones((20, 2)), np.arange(20) % 5, "collinear"),
        (np.arange(20.0), np.ones((20, 1)), np.arange(20) % 2, "needs 3 schools"),
        (np.full(20, 3.0), np.ones((20, 1)), np.arange(20) % 5, "does not vary"),
        (np.arange(20.0), np.column_stack([np.ones(20), np.arange(20)]), np.arange(20) % 5, "does not vary"),
    ],
)
def test_what_has_no_quantiles_is_refused(y, X, school, words):
    with pytest.raises(ModelError, match=words):
        sample(y[None], X, school, 0.5, 5, 5)


def test_schools_that_do_not_differ_at_all_and_schools_of_one_student():
    """Nothing is divided by a standard deviation of 0; lone students shrink towards the others."""
    rng = np.random.default_rng(2)
    school = np.concatenate([np.arange(30), np.repeat(np.arange(30, 40), 30)])
    y = rng.normal(0, 1, len(school))
    found = sample(np.repeat(y[None], 2, 0), np.ones((len(y), 1)), school, 0.5, 400, 200, 1)
    assert np.isfinite(found.effects).all()
    alone = np.abs(found.effects.mean(axis=(0, 1)))[:30]
    assert alone.mean() < 0.25 * np.abs(y[:30]).mean()
