"""Random slopes of two cohorts: dense matrices, a closed form, nlme and lme4, the boundary, the posterior's parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import REFERENCE, ROOT, reference
from oracle import assert_derivatives, indicators
from scipy.linalg import block_diag

from valib.errors import ModelError
from valib.models.joint_fit import fit_joint_moments
from valib.models.slope_pairs import PairProblem, fit_pair
from valib.models.slope_pairs_posterior import PairPosterior, _residuals, integrate_pair
from valib.models.slope_posterior import outer_products
from valib.sums.design import make_cells
from valib.sums.moments import moments_from_arrays

DENSE = 1e-8  # relative; inverting a 300 x 300 covariance and Henderson's equations loses half of sixteen digits
NLME = 2e-5  # relative to the largest of its kind; nlme's search ends 1e-7 of the log-likelihood from the optimum
HIGHER = 1e-6  # of a log-likelihood: as far from the optimum may nlme's be


def cohort(X, y, school, year):
    """Moments of one cohort by school; the second column is the prior score."""
    names = ("Intercept", "prior", "dummy")[: X.shape[1]]
    cells = make_cells(pd.Series(school), pd.Series(np.full(len(y), year)))
    return moments_from_arrays(X, y, cells, names, "score", by_cell=True)


def problem(seed, sizes=None, G=None, sigma=(8.0, 10.0), offset=0.0):
    """Two cohorts of 16 schools, some in one cohort only; an intercept, a prior score, a dummy: dense and as moments."""
    rng = np.random.default_rng(seed)
    J = 16
    sizes = rng.integers(2, 15, (J, 2)) if sizes is None else sizes
    sizes = sizes * np.array([[1, 1]] * (J - 3) + [[1, 0], [0, 1], [1, 0]])
    G = np.diag([60.0, 9.0, 50.0, 12.0]) + 6.0 if G is None else G
    g = rng.multivariate_normal(np.zeros(4), G, J)
    parts = []
    for c in (0, 1):
        code = np.repeat(np.arange(J), sizes[:, c])
        prior, dummy = offset + rng.standard_normal(len(code)), rng.integers(0, 2, len(code)).astype(float)
        X = np.column_stack([np.ones(len(code)), prior, dummy])
        y = 10 + 5 * c + 5 * prior + g[code, 2 * c] + g[code, 2 * c + 1] * (prior - offset)
        parts.append((X, y + sigma[c] * rng.standard_normal(len(code)), np.array([f"S{k:02d}" for k in code])))
    return parts, [cohort(*part, 2030 + c) for c, part in enumerate(parts)]


class Written:
    """The model with every matrix written out; G (4, 4) of effects about 0, sigma2 (2,)."""

    def __init__(self, parts, G, sigma2):
        X = block_diag(*(part[0] for part in parts))
        y, school = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
        S, Z = indicators(school)[1], block_diag(*(part[0][:, :2] for part in parts))
        J, self.N, self.p = S.shape[1], len(y), X.shape[1]
        big, prior = np.einsum("ij,iq->ijq", S, Z).reshape(len(y), -1), np.kron(np.eye(J), G)
        V = big @ prior @ big.T + np.diag(np.repeat(sigma2, [len(part[1]) for part in parts]))
        Vi = np.linalg.inv(V)
        A = X.T @ Vi @ X
        self.vcov = np.linalg.inv(A)
        self.b = self.vcov @ X.T @ Vi @ y
        r = y - X @ self.b
        self.rss, self.logdet, self.logdet_A = r @ Vi @ r, np.linalg.slogdet(V)[1], np.linalg.slogdet(A)[1]
        reach = prior @ big.T @ Vi
        self.effects = (reach @ r).reshape(J, 4)
        error = prior - reach @ big @ prior + reach @ X @ self.vcov @ X.T @ reach.T
        self.error = error.reshape(J, 4, J, 4)[np.arange(J), :, np.arange(J), :]

    def loglik(self, method):
        p = self.p if method == "REML" else 0
        return -0.5 * (
            (self.N - p) * np.log(2 * np.pi) + self.logdet + self.rss + (self.logdet_A if method == "REML" else 0.0)
        )


class TestAgainstDenseMatrices:
    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize("offset", [0.0, 480.0])
    def test_every_number_of_a_fit(self, method, offset):
        parts, moments = problem(4, offset=offset)
        fit = fit_pair(moments, [[1], [1]], method)
        raw = fit.to_raw @ fit.G @ fit.to_raw.T
        written = Written(parts, raw, fit.sigma2)
        assert fit.converged and fit.loglik == pytest.approx(written.loglik(method), rel=DENSE)
        np.testing.assert_allclose(fit.coefficients, written.b, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(fit.vcov, written.vcov, rtol=1e-5, atol=1e-6)
        z = (
            np.array([-1.0, -0.7, 1.0, 0.4]) - np.array([0, -1, 0, 1]) * fit.centre
        )  # -(1, .7) and (1, .4) about the centres
        effect, error = fit.at(z)
        w = z @ np.linalg.inv(fit.to_raw)
        np.testing.assert_allclose(
            effect, written.effects @ w, atol=1e-3 if offset else 1e-5
        )  # dense: of prior scores of 480
        np.testing.assert_allclose(error, np.einsum("a,jab,b->j", w, written.error, w), rtol=1e-5)

    @pytest.mark.parametrize("reml", [False, True])
    def test_derivatives(self, reml):
        """By central differences, which leave 1e-6 of the largest."""
        one = PairProblem(fit_pair(problem(5)[1], [[1], [1]]).sums, reml)
        assert_derivatives(one, np.append(np.linspace(0.5, -0.3, 10), [0.1, -0.2]))

    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_errors_of_variances_by_differences(self, method):
        """The observed information of (G, sigma2), b profiled out, by second differences of the dense likelihood."""
        parts, moments = problem(1, sizes=np.full((16, 2), 20), sigma=(4.0, 5.0))
        fit = fit_pair(moments, [[1], [1]], method)
        assert not fit.boundary
        rows, columns = np.tril_indices(4)

        def loglik(x):
            G = np.zeros((4, 4))
            G[rows, columns] = G[columns, rows] = x[:10]
            return Written(parts, fit.to_raw @ G @ fit.to_raw.T, x[10:]).loglik(method)

        sd = np.sqrt(np.diag(fit.G))
        x, size = np.append(fit.G[rows, columns], fit.sigma2), 2e-3 * np.append((sd[rows] * sd[columns]), fit.sigma2)
        steps, H = np.diag(size), np.empty((12, 12))
        for i, j in zip(*np.tril_indices(12), strict=True):
            a, b = steps[i], steps[j]
            H[i, j] = H[j, i] = loglik(x + a + b) - loglik(x + a - b) - loglik(x - a + b) + loglik(x - a - b)
        vcov = np.linalg.inv(-H / (4 * np.outer(size, size)))
        errors = np.sqrt(np.diag(vcov))
        np.testing.assert_allclose(fit.G_se[rows, columns], errors[:10], rtol=2e-3)
        np.testing.assert_allclose(fit.sigma2_se, errors[10:], rtol=2e-3)
        a, b = np.array([1.0, 0.8, 0, 0]), np.array([0, 0, 1.0, -0.5])

        def correlation(x):
            G = np.zeros((4, 4))
            G[rows, columns] = G[columns, rows] = x[:10]
            return a @ G @ b / np.sqrt(a @ G @ a * (b @ G @ b))

        slope = np.array([(correlation(x + s) - correlation(x - s)) / (2 * s.sum()) for s in steps])
        r, se = fit.correlation(a, b)
        assert r == pytest.approx(correlation(x)) and se == pytest.approx(np.sqrt(slope @ vcov @ slope), rel=5e-3)


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_closed_form_of_balanced_records(method):
    """The same Z in every school: b is the mean of schools' own regressions, G their covariance less sigma2_c (Z'Z)^-1."""
    rng = np.random.default_rng(2)
    J, z = 40, np.column_stack([np.ones(12), np.linspace(-1.5, 2, 12)])
    g = rng.multivariate_normal([5, 2, 6, 1], np.diag([9.0, 4, 8, 5]) + 1.5, J)
    school, moments, own, sigma2 = np.repeat(np.arange(J), 12), [], [], []
    for c, sigma in enumerate((2.0, 3.0)):
        y = g[:, 2 * c : 2 * c + 2] @ z.T + sigma * rng.standard_normal((J, 12))
        moments.append(cohort(np.tile(z, (J, 1)), y.ravel(), school, 2030 + c))
        own.append(np.linalg.lstsq(z, y.T, rcond=None)[0].T)
        sigma2.append(((y - own[c] @ z.T) ** 2).sum() / (J * 10))
    fit, own = fit_pair(moments, [[1], [1]], method), np.hstack(own)
    spread = np.cov(own.T, ddof=1 if method == "REML" else 0)
    np.testing.assert_allclose(fit.coefficients, own.mean(axis=0), rtol=1e-8)
    np.testing.assert_allclose(fit.sigma2, sigma2, rtol=1e-8)
    expected = spread - block_diag(*(s * np.linalg.inv(z.T @ z) for s in sigma2))
    np.testing.assert_allclose(fit.to_raw @ fit.G @ fit.to_raw.T, expected, atol=1e-7)


def exam():
    """Exam's students by their row in the school, odd and even, as two cohorts, moved as case14.R moves them."""
    raw = pd.read_csv(ROOT / "data" / "exam.csv", dtype={"school": str})
    row, place = raw.groupby("school").cumcount(), raw["school"].map(int).rank(method="dense").astype(int) - 1
    moved = 0.6 * (place * 37 % 65 / 65 - 0.5) + 0.3 * (place * 23 % 65 / 65 - 0.5) * raw["standLRT"]
    return raw["normexam"] + (row % 2) * moved, raw["standLRT"], raw["school"], row % 2


def egsingle():
    raw = pd.read_csv(REFERENCE / "data" / "egsingle_cohorts.csv", dtype={"school_id": str})
    raw = raw[raw["year"].isin([3, 4])]
    return raw["score"], raw["prior_score"], raw["school_id"], raw["year"] - 3


class TestOtherPackages:
    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize("data", [exam, egsingle])
    def test_nlme_with_own_variances_and_lme4_with_one(self, data, method):
        y, prior, school, c = data()
        moments = []
        for k in (0, 1):
            X = np.column_stack([np.ones(int((c == k).sum())), prior[c == k]])
            moments.append(cohort(X, y[c == k].to_numpy(), school[c == k].to_numpy(), 2030 + k))
        fit, told = fit_pair(moments, [[1], [1]], method), reference("case14_slope_pairs")
        free, common = (told[f"{data.__name__}_{kind}_{method}"] for kind in ("free", "common"))
        assert fit.loglik >= free["logLik"] - 1e-9 and fit.loglik == pytest.approx(free["logLik"], abs=HIGHER)
        np.testing.assert_allclose(fit.coefficients, list(free["fixef"].values()), atol=NLME)
        np.testing.assert_allclose(fit.vcov, free["vcov"], atol=NLME * np.abs(free["vcov"]).max())
        np.testing.assert_allclose(fit.sigma2, free["sigma2"], rtol=NLME)
        G, scale = fit.to_raw @ fit.G @ fit.to_raw.T, np.sqrt(np.diag(free["G"]))
        np.testing.assert_allclose(G / np.outer(scale, scale), free["G"] / np.outer(scale, scale), atol=20 * NLME)
        at = [list(fit.schools).index(code) for code in free["group"]]
        np.testing.assert_allclose((fit.effects @ fit.to_raw.T)[at] / scale, free["effects"] / scale, atol=20 * NLME)
        assert not fit.boundary and fit.loglik >= common["logLik"] - 1e-9
        gamma = fit.sums.size / np.sqrt(common["sigma2"])  # of one sigma2, the log-likelihood of lme4's estimates
        back = np.linalg.inv(fit.to_raw @ fit.sums.to_points(gamma))
        L = np.linalg.cholesky(back @ np.array(common["G"]) @ back.T)
        one = PairProblem(fit.sums, method == "REML")
        x = np.append(L[np.tril_indices(4)], np.log(gamma))
        lower = 0.5 * (one.value(x).deviance - fit.profile.deviance)
        assert fit.loglik - lower == pytest.approx(common["logLik"], abs=1e-7)


class TestBoundary:
    @pytest.mark.parametrize("seed", range(3))
    def test_slopes_that_do_not_vary_and_cohorts_that_are_one(self, seed):
        """No slopes and one height for both cohorts: a legal end, never below the models it holds, nor any random place."""
        a = np.array([1.0, 0, 1, 0])
        parts, moments = problem(seed, G=40 * np.outer(a, a))
        fit = fit_pair(moments, [[1], [1]])
        assert fit.boundary and np.isnan(fit.G_se).all() and np.isfinite(fit.effects).all()
        assert fit.loglik >= sum(one.loglik for one in fit.alone) - 1e-9
        assert fit.loglik >= fit_joint_moments(moments).loglik - 1e-9
        raw = fit.to_raw @ fit.G @ fit.to_raw.T
        assert fit.loglik == pytest.approx(Written(parts, raw, fit.sigma2).loglik("ML"), rel=DENSE)
        one, rng = PairProblem(fit.sums, False), np.random.default_rng(seed)
        start = np.log(fit.profile.gamma)
        others = [one.value(np.append(x, start)).deviance for x in rng.standard_normal((300, 10)) * 0.3]
        assert fit.profile.deviance <= min(others)

    def test_schools_that_do_not_differ(self):
        rng = np.random.default_rng(1)
        x, e = rng.standard_normal(10), rng.standard_normal(10)
        X = np.column_stack([np.ones(60), np.tile(x, 6)])
        school = np.repeat([f"S{k}" for k in range(6)], 10)
        fit = fit_pair([cohort(X, np.tile((2 + c) * x + e, 6), school, 2030 + c) for c in (0, 1)], [[1], [1]])
        np.testing.assert_allclose(fit.G, 0, atol=1e-10)
        np.testing.assert_allclose(fit.effects, 0, atol=1e-10)
        assert fit.boundary and np.isnan(fit.correlation(np.eye(4)[0], np.eye(4)[2])[1])


def test_units_and_origins_change_nothing_but_units():
    parts, moments = problem(6)
    other = [cohort(p[0] * [1, 50, 1] + [0, 480, 0], 400 + 7 * p[1], p[2], 2030 + c) for c, p in enumerate(parts)]
    a, b = fit_pair(moments, [[1], [1]]), fit_pair(other, [[1], [1]])
    unit = np.array([7, 7 / 50] * 2)
    np.testing.assert_allclose(b.G, a.G * np.outer(unit, unit), rtol=1e-5, atol=1e-6)
    assert b.loglik == pytest.approx(a.loglik - sum(len(p[1]) for p in parts) * np.log(7), abs=1e-6)


def test_what_cannot_be_fitted_is_said_in_a_sentence():
    parts, moments = problem(6)
    with pytest.raises(
        ModelError, match=r"Cohort 2030 has slopes of prior and cohort 2031 of dummy: a pair needs the same\."
    ):
        fit_pair(moments, [[1], [2]])
    X, y, school = parts[1]
    with pytest.raises(ModelError, match=r"No school has students in both cohort 2030 and cohort 2031"):
        fit_pair([moments[0], cohort(X, y, np.char.add("T", school), 2031)], [[1], [1]])
    with pytest.raises(ModelError, match=r"^Cohort 2031: There are 28 students for 2 random effects"):
        few = np.concatenate([np.flatnonzero(school == label)[:2] for label in np.unique(school)])
        flat = cohort(X[few], y[few], school[few], 2031)
        fit_pair([moments[0], flat], [[1], [1]])


class TestPosterior:
    def test_density_and_effects_at_a_draw_are_the_dense_ones(self):
        """At covariances taken at random: log p(phi, R, log gamma | y) up to one constant, a change's moments."""
        parts, moments = problem(7)
        sums, rng = fit_pair(moments, [[1], [1]]).sums, np.random.default_rng(3)
        products, nu, differences = outer_products(sums), sums.degrees(True) - 2, []
        to_raw = fit_pair(moments, [[1], [1]]).to_raw
        for _ in range(3):
            root = rng.standard_normal((4, 4)) * 0.5
            Lambda, sigma = root @ root.T, rng.uniform(0.5, 1.5, 2)
            penalty, S, b, A_inverse = _residuals(sums, products, Lambda[None])
            gamma = 1 / sigma
            found = -penalty[0] + nu @ np.log(gamma) - 0.5 * gamma @ S[0] @ gamma
            points = sums.to_points(gamma)
            written = Written(parts, to_raw @ points @ Lambda @ points.T @ to_raw.T, (sums.size * sigma) ** 2)
            jacobian = 2 * np.log(sigma).sum()  # standard deviations over sigma, two effects a cohort
            differences.append(found - (-0.5 * (written.logdet + written.logdet_A + written.rss) + jacobian))
            one = PairPosterior(sums, Lambda[None], np.ones(1), b, A_inverse, sigma[None], 1.0, 0.0)
            z = np.array([-1.0, -0.7, 1.0, 0.4])
            mixture, w = one.at(z), z @ np.linalg.inv(to_raw)
            np.testing.assert_allclose(mixture.expectation()[0], written.effects @ w, atol=1e-6)
            np.testing.assert_allclose(mixture.sd()[0] ** 2, np.einsum("a,jab,b->j", w, written.error, w), rtol=1e-6)
        np.testing.assert_allclose(differences, differences[0], atol=1e-6)

    def test_two_seeds_agree_and_one_repeats(self):
        """To what some thousand draws leave; wider than plug-in limits, and so where the fit is on its boundary."""
        fit = fit_pair(problem(12)[1], [[1], [1]])
        a, b, again = (integrate_pair(fit, seed) for seed in (1, 2, 1))
        assert a.trusted and b.trusted
        z, first, second = np.array([-1.0, 0, 1, 0]), np.eye(4)[0], np.eye(4)[2]
        sd = a.at(z).sd()[0]
        np.testing.assert_allclose(b.at(z).sd()[0], sd, rtol=0.06)
        np.testing.assert_allclose(a.correlation(first, second), b.correlation(first, second), atol=0.06)
        np.testing.assert_array_equal(a.at(z).mean, again.at(z).mean)
        assert (sd > 0.97 * np.sqrt(fit.at(z)[1])).mean() > 0.9

    def test_too_few_schools_are_refused(self):
        keep = [f"S{k:02d}" for k in range(3)]
        parts = problem(12, sizes=np.full((16, 2), 30))[0]
        few = [cohort(*(values[np.isin(p[2], keep)] for values in p), 2030 + c) for c, p in enumerate(parts)]
        with pytest.raises(ModelError, match="3 schools with 2 random effects"):
            integrate_pair(fit_pair(few, [[1], [1]]))
