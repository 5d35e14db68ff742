"""Random slopes: dense matrices, the closed form of balanced records, lme4 on real sets, the boundary, simulated truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import reference
from oracle import assert_derivatives, indicators

from valib.errors import ModelError
from valib.models.mixed import fit_moments
from valib.models.slopes import SlopeProblem, derivatives_in_lambda, fit_slopes, mixture_p, slope_loglik
from valib.sums.design import build_design, make_cells
from valib.sums.moments import compute_moments, moments_from_arrays

DENSE = 1e-8  # relative; inverting a 200 x 200 covariance and Henderson's equations loses half of sixteen digits
CLOSED = 1e-8  # relative; the search ends where the gradient is zero to this
LME4 = 1e-5  # relative to the largest of its kind; bobyqa ends about 1e-6 from the optimum
POLISHED = 1e-7  # of case 2, whose optimum was polished by Newton steps
HIGHER = 1e-7  # of a log-likelihood: rounding of sums over 31,000 students


def problem(seed: int, q: int = 2, sizes=None, slope: float = 3.0, tau: float = 8.0, offset: float = 0.0):
    """Unbalanced records, small enough for dense matrices: an intercept, a prior score, a dummy and a school's mean."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 18, 18) if sizes is None else np.asarray(sizes)
    code = np.repeat(np.arange(len(sizes)), sizes)
    prior, dummy = rng.standard_normal(len(code)), rng.integers(0, 2, len(code)).astype(float)
    X = np.column_stack([np.ones(len(code)), offset + prior, dummy, rng.standard_normal(len(sizes))[code]])
    g = rng.standard_normal((len(sizes), 3)) * [tau, slope, slope]
    y = 10 + 5 * prior + (g[code] * np.column_stack([np.ones(len(code)), prior, dummy]))[:, :q].sum(axis=1)
    y += 9 * rng.standard_normal(len(code))
    school = np.array([f"S{k:02d}" for k in code], dtype=object)
    names = ("Intercept", "prior", "dummy", "context")
    return X, y, school, moments_from_arrays(X, y, make_cells(pd.Series(school)), names, "score", by_cell=True)


class Written:
    """The model with every matrix written out: V (N, N) and Henderson's equations."""

    def __init__(self, X, y, Z, school, G, sigma2):
        S = indicators(school)[1]
        self.big = np.einsum("ij,iq->ijq", S, Z).reshape(len(y), -1)
        J, q = S.shape[1], Z.shape[1]
        prior = np.kron(np.eye(J), G)
        V = self.big @ prior @ self.big.T + sigma2 * np.eye(len(y))
        Vi = np.linalg.inv(V)
        self.vcov = np.linalg.inv(X.T @ Vi @ X)
        self.b = self.vcov @ X.T @ Vi @ y
        r = y - X @ self.b
        self.quadratic, self.logdet = r @ Vi @ r, np.linalg.slogdet(V)[1]
        self.logdet_A, self.size = np.linalg.slogdet(X.T @ Vi @ X)[1], X.shape
        self.effects = (prior @ self.big.T @ Vi @ r).reshape(J, q)
        reach = prior @ self.big.T @ Vi
        conditional = prior - reach @ self.big @ prior
        comparative = conditional + reach @ X @ self.vcov @ X.T @ reach.T
        at = np.arange(J)
        self.conditional, self.comparative = (m.reshape(J, q, J, q)[at, :, at, :] for m in (conditional, comparative))

    def loglik(self, method):
        p = self.size[1] if method == "REML" else 0
        value = -0.5 * ((self.size[0] - p) * np.log(2 * np.pi) + self.logdet + self.quadratic)
        return value - (0.5 * self.logdet_A if method == "REML" else 0.0)


class TestAgainstDenseMatrices:
    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize("offset", [0.0, 480.0])
    @pytest.mark.parametrize("G", [[[64, 10], [10, 9]], [[64, 24], [24, 9]], [[0, 0], [0, 9]], [[0, 0], [0, 0]]])
    def test_the_likelihood_at_any_variances(self, G, offset, method):
        X, y, school, moments = problem(1, offset=offset)
        written = Written(X, y, X[:, :2], school, np.array(G), 80.0)
        assert slope_loglik(moments, [1], np.array(G, dtype=float), 80.0, method) == pytest.approx(
            written.loglik(method), rel=1e-8
        )

    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize("q", [2, 3])
    def test_every_number_of_a_fit(self, q, method):
        X, y, school, moments = problem(3, q)
        fit = fit_slopes(moments, range(1, q), method)
        written = Written(X, y, X[:, :q], school, fit.raw, fit.sigma2)
        np.testing.assert_allclose(fit.coefficients, written.b, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(fit.vcov, written.vcov, rtol=1e-6, atol=1e-7)
        assert fit.loglik == pytest.approx(written.loglik(method), rel=DENSE)
        T = fit.to_raw
        np.testing.assert_allclose(fit.effects @ T.T, written.effects, atol=1e-6)
        np.testing.assert_allclose(T @ fit.conditional @ T.T, written.conditional, atol=1e-6)
        np.testing.assert_allclose(T @ fit.comparative @ T.T, written.comparative, atol=1e-6)
        z = np.array([[1.0, 0.7, 1.0][:q]]) - fit.centre
        effect, own, whole = fit.at(z)
        at = np.array([1.0, 0.7, 1.0][:q])
        np.testing.assert_allclose(effect[:, 0], written.effects @ at, atol=1e-6)
        np.testing.assert_allclose(own[:, 0], at @ written.conditional @ at, atol=1e-6)
        np.testing.assert_allclose(whole[:, 0], at @ written.comparative @ at, atol=1e-6)

    @pytest.mark.parametrize("reml", [False, True])
    @pytest.mark.parametrize("q", [2, 3])
    def test_derivatives(self, q, reml):
        """By central differences, which leave 1e-6 of the largest."""
        _, _, _, moments = problem(5, q)
        one = SlopeProblem(fit_slopes(moments, range(1, q)).sums, reml)
        assert_derivatives(one, np.linspace(0.5, -0.3, q * (q + 1) // 2))

    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_errors_of_variances_by_differences(self, method):
        """The observed information of (G, sigma2), b profiled out, by second differences of the dense likelihood."""
        X, y, school, moments = problem(11, sizes=[9] * 18, slope=6)
        fit = fit_slopes(moments, [1], method)
        assert not fit.boundary
        T = fit.to_raw

        def loglik(x):
            G = T @ np.array([[x[0], x[1]], [x[1], x[2]]]) @ T.T
            return Written(X, y, X[:, :2], school, G, x[3]).loglik(method)

        x = np.array([fit.G[0, 0], fit.G[1, 0], fit.G[1, 1], fit.sigma2])
        steps = np.diag(1e-3 * np.abs([fit.G[0, 0], fit.G[1, 1], fit.G[1, 1], fit.sigma2]))
        size = np.diag(steps)
        H = np.array(
            [
                [(loglik(x + a + b) - loglik(x + a - b) - loglik(x - a + b) + loglik(x - a - b)) / 4 for b in steps]
                for a in steps
            ]
        ) / np.outer(size, size)
        errors = np.sqrt(np.diag(np.linalg.inv(-H)))
        found = [fit.G_se[0, 0], fit.G_se[1, 0], fit.G_se[1, 1], fit.sigma2_se]
        np.testing.assert_allclose(found, errors, rtol=1e-3)


class TestClosedForm:
    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_balanced_records(self, method):
        """Schools with the same Z: b is the mean of their own regressions, G their covariance less sigma2 (Z'Z)^-1."""
        rng = np.random.default_rng(2)
        J, z = 40, np.column_stack([np.ones(12), np.linspace(-1.5, 2, 12)])
        g = rng.multivariate_normal([5, 2], [[9, 2], [2, 4]], J)
        y = g @ z.T + 2 * rng.standard_normal((J, 12))
        X, school = np.tile(z, (J, 1)), np.repeat(np.arange(J), 12)
        moments = moments_from_arrays(X, y.ravel(), make_cells(pd.Series(school)), ("Intercept", "x"), by_cell=True)
        own = np.linalg.lstsq(z, y.T, rcond=None)[0].T
        sigma2 = ((y - own @ z.T) ** 2).sum() / (J * 10)
        spread = np.cov(own.T, ddof=1 if method == "REML" else 0)
        fit = fit_slopes(moments, [1], method)
        np.testing.assert_allclose(fit.coefficients, own.mean(axis=0), rtol=CLOSED)
        assert fit.sigma2 == pytest.approx(sigma2, rel=CLOSED)
        np.testing.assert_allclose(fit.raw, spread - sigma2 * np.linalg.inv(z.T @ z), rtol=1e-6)
        np.testing.assert_allclose(fit.vcov, (fit.raw + sigma2 * np.linalg.inv(z.T @ z)) / J, rtol=1e-6)
        shrunk = (own - own.mean(axis=0)) @ np.linalg.solve(spread, fit.raw)
        np.testing.assert_allclose(fit.effects @ fit.to_raw.T, shrunk, atol=1e-6)


class TestAgainstLme4:
    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_exam(self, exam, method):
        told = reference("case2_exam")[f"random_slope_{method}"]
        fit = fit_slopes(compute_moments(build_design(exam, "score ~ prior_score"), by_cell=True), [1], method)
        assert fit.loglik == pytest.approx(told["logLik"], abs=1e-8)
        np.testing.assert_allclose(fit.coefficients, list(told["fixef"].values()), rtol=POLISHED)
        np.testing.assert_allclose(fit.vcov, told["vcov_fixef"]["matrix"], rtol=1e-6)
        np.testing.assert_allclose(fit.raw, told["G"]["matrix"], rtol=POLISHED)
        assert fit.sigma2 == pytest.approx(told["sigma2"], rel=POLISHED)
        at = [list(fit.schools).index(code) for code in told["ranef"]["group"]]
        effects = (fit.effects @ fit.to_raw.T)[at]
        variances = (fit.to_raw @ fit.conditional @ fit.to_raw.T)[at]
        for k, term in enumerate(told["ranef"]["terms"]):
            np.testing.assert_allclose(effects[:, k], told["ranef"]["b"][term], atol=1e-7)
            np.testing.assert_allclose(variances[:, k, k], told["ranef"]["condvar"][term], rtol=1e-6)

    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize(
        ("case", "data", "formula", "random"),
        [
            ("sleepstudy", "sleepstudy", "score ~ prior_score", ["prior_score"]),
            ("chem97", "chem97", "score ~ gcsecnt + gender + age", ["gcsecnt"]),
            ("chem97_gender", "chem97", "score ~ gcsecnt + gender + age", ["gender"]),
            ("chem97_two", "chem97", "score ~ gcsecnt + gender + age", ["gcsecnt", "age"]),  # lme4: singular
        ],
    )
    def test_two_further_sets(self, request, case, data, formula, random, method):
        told = reference("case11_slopes")[f"{case}_{method}"]
        records = request.getfixturevalue(data)
        if "gender" in records:
            records = records.assign(gender=(records["gender"] == "F").astype(float))
        moments = compute_moments(build_design(records, formula), by_cell=True)
        fit = fit_slopes(moments, [moments.names.index(c) for c in random], method)
        assert fit.loglik >= told["logLik"] - HIGHER
        assert fit.loglik == pytest.approx(told["logLik"], abs=1e-4 if case == "chem97_two" else 1e-7)
        b = dict(zip(("(Intercept)", *fit.names[1:]), fit.coefficients, strict=True))
        rename = {"Days": "prior_score", "genderF": "gender"}
        np.testing.assert_allclose(
            [b[rename.get(k, k)] for k in told["fixef"]], list(told["fixef"].values()), rtol=LME4
        )
        assert fit.sigma2 == pytest.approx(told["sigma2"], rel=LME4)
        scale = np.sqrt(np.diag(told["G"]))
        within = 3e-4 if case == "chem97_two" else LME4  # a flat ridge at lme4's boundary
        np.testing.assert_allclose(fit.raw / np.outer(scale, scale), told["G"] / np.outer(scale, scale), atol=within)
        at = [list(fit.schools).index(code) for code in told["group"]]
        np.testing.assert_allclose((fit.effects @ fit.to_raw.T)[at] / scale, told["effects"] / scale, atol=within)
        own = (fit.to_raw @ fit.conditional @ fit.to_raw.T)[at] / np.outer(scale, scale)
        np.testing.assert_allclose(own, np.array(told["condcov"]) / np.outer(scale, scale), atol=within)
        assert fit.boundary == (case == "chem97_two")


class TestBoundary:
    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize("seed", range(4))
    def test_nothing_does_better(self, seed, method):
        """No slopes, in half of the seeds no school effects: the search ends at the highest of 400 random places."""
        _, _, _, moments = problem(seed + 20, q=1, tau=8.0 * (seed % 2))
        fit = fit_slopes(moments, [1], method)
        one, rng = SlopeProblem(fit.sums, method == "REML"), np.random.default_rng(seed)
        others = [one.value(x).deviance for x in rng.standard_normal((400, 3)) * rng.choice([0.01, 0.1, 0.5], (400, 1))]
        assert fit.profile.deviance <= min(others)
        assert fit.loglik >= fit_moments(moments, method).loglik - 1e-9

    def test_schools_that_do_not_differ(self):
        """Every school has the same records: G is 0, effects are 0, nothing is infinite."""
        rng = np.random.default_rng(1)
        x, e = rng.standard_normal(10), rng.standard_normal(10)
        X = np.column_stack([np.ones(60), np.tile(x, 6)])
        moments = moments_from_arrays(
            X,
            np.tile(2 * x + e, 6),
            make_cells(pd.Series(np.repeat(np.arange(6), 10))),
            ("Intercept", "x"),
            by_cell=True,
        )
        fit = fit_slopes(moments, [1])
        assert fit.boundary and np.isnan(fit.G_se).all()
        np.testing.assert_allclose(fit.G, 0, atol=1e-12)
        np.testing.assert_allclose(fit.effects, 0, atol=1e-12)
        assert fit.loglik == pytest.approx(fit_moments(moments).loglik, abs=1e-9)

    def test_slopes_that_follow_the_level_exactly(self):
        """A correlation of one is an answer: the fit says singular, and the likelihood is the dense one there."""
        rng = np.random.default_rng(4)
        code = np.repeat(np.arange(30), 25)
        x, g = rng.standard_normal(len(code)), rng.standard_normal(30)[code]
        y = 3 * g + 1.5 * g * x + 0.5 * rng.standard_normal(len(code))
        X, school = np.column_stack([np.ones(len(code)), x]), np.array([f"S{k:02d}" for k in code], dtype=object)
        moments = moments_from_arrays(X, y, make_cells(pd.Series(school)), ("Intercept", "x"), by_cell=True)
        fit = fit_slopes(moments, [1])
        assert fit.boundary or np.linalg.eigvalsh(fit.G)[0] < 0.01
        assert fit.loglik == pytest.approx(Written(X, y, X, school, fit.raw, fit.sigma2).loglik("ML"), rel=DENSE)

    def test_one_student_schools_count(self):
        """A school of one student has effects shrunk to what one student says; the dense predictor says the same."""
        X, y, school, moments = problem(8, sizes=[1, 1, 1, 12, 14, 9, 2, 16, 11, 10])
        fit = fit_slopes(moments, [1], "REML")
        written = Written(X, y, X[:, :2], school, fit.raw, fit.sigma2)
        np.testing.assert_allclose(fit.effects @ fit.to_raw.T, written.effects, atol=1e-6)


class TestInvariance:
    def test_units_and_origin(self):
        """Another unit and origin of prior score and score change only units: covariances are about the mean."""
        X, y, school, moments = problem(6)
        moved = X * [1, 50, 1, 1] + [0, 480, 0, 0]
        other = moments_from_arrays(
            moved, 400 + 7 * y, make_cells(pd.Series(school)), moments.names[:-1], "score", by_cell=True
        )
        a, b = fit_slopes(moments, [1]), fit_slopes(other, [1])
        unit = np.array([7, 7 / 50])
        np.testing.assert_allclose(b.G, a.G * np.outer(unit, unit), rtol=1e-6)
        np.testing.assert_allclose(b.effects, a.effects * unit, atol=1e-6)
        assert b.loglik == pytest.approx(a.loglik - len(y) * np.log(7), abs=1e-6)

    def test_sums_of_parts(self):
        """Moments of two halves, added, give the fit of the whole."""
        X, y, school, moments = problem(6)
        half = np.arange(len(y)) % 2 == 0
        parts = [
            moments_from_arrays(X[h], y[h], make_cells(pd.Series(school[h])), moments.names[:-1], "score", by_cell=True)
            for h in (half, ~half)
        ]
        a, b = fit_slopes(moments, [1]), fit_slopes(parts[0] + parts[1], [1])
        np.testing.assert_allclose(b.G, a.G, rtol=1e-7)
        assert b.loglik == pytest.approx(a.loglik, abs=1e-8)


class TestRefusals:
    def test_each_in_a_sentence(self):
        X, y, school, moments = problem(1)
        with pytest.raises(ModelError, match="'context' is the same for all students of a school"):
            fit_slopes(moments, [3])
        with pytest.raises(ModelError, match="by_cell"):
            fit_slopes(moments_from_arrays(X, y, make_cells(pd.Series(school)), moments.names[:-1]), [1])
        few = problem(1, sizes=[2] * 9)[3]
        with pytest.raises(ModelError, match="18 students for 2 random effects in each of 9 schools"):
            fit_slopes(few, [1])
        with pytest.raises(ModelError, match="method"):
            fit_slopes(moments, [1], "both")
        exact = moments_from_arrays(
            X, X @ [1.0, 2, 3, 4], make_cells(pd.Series(school)), moments.names[:-1], by_cell=True
        )
        with pytest.raises(ModelError, match="perfectly"):
            fit_slopes(exact, [1])
        none = moments_from_arrays(X[:, 1:], y, make_cells(pd.Series(school)), moments.names[1:-1], by_cell=True)
        with pytest.raises(ModelError, match="must have an intercept"):
            fit_slopes(none, [0])


@pytest.fixture(scope="module")
def simulated():
    """100 worlds of 60 schools with 5 to 30 students: G, sigma2, calibration of the predictions at x = 1."""
    rng = np.random.default_rng(20)
    G, found = np.array([[16.0, 3.0], [3.0, 4.0]]), []
    for _ in range(100):
        n = rng.integers(5, 31, 60)
        code = np.repeat(np.arange(60), n)
        x, g = rng.standard_normal(len(code)), rng.multivariate_normal([0, 0], G, 60)
        y = 2 * x + g[code, 0] + g[code, 1] * x + 6 * rng.standard_normal(len(code))
        X = np.column_stack([np.ones(len(code)), x])
        fit = fit_slopes(
            moments_from_arrays(X, y, make_cells(pd.Series(code)), ("Intercept", "x"), by_cell=True), [1], "REML"
        )
        at = np.array([[1.0, 1.0 - fit.centre[1]]])
        effect, _, variance = fit.at(at)
        error = (effect[:, 0] - g.sum(axis=1)) / np.sqrt(variance[:, 0])
        found.append([*(fit.raw.ravel()[[0, 1, 3]]), fit.sigma2, *fit.coefficients, (error**2).mean()])
    return np.array(found)


class TestRecovery:
    def test_truth_within_its_simulation_error(self, simulated):
        """REML's means; three and a half Monte Carlo errors for six numbers."""
        truth = [16.0, 3.0, 4.0, 36.0, 0.0, 2.0]
        mean, error = simulated[:, :6].mean(axis=0), simulated[:, :6].std(axis=0, ddof=1) / np.sqrt(len(simulated))
        assert (np.abs(mean - truth) < 3.5 * error).all(), (mean, error)

    def test_prediction_errors_are_as_large_as_told(self, simulated):
        """Squared errors over their variance: 1, and a few hundredths more as G is estimated."""
        ratio = simulated[:, 6]
        error = ratio.std(ddof=1) / np.sqrt(len(ratio))
        assert 1 - 3.5 * error < ratio.mean() < 1.05 + 3.5 * error


class TestMixture:
    def test_by_hand(self):
        """The 5% point of the even mixture of chi2 with one and two degrees of freedom is 5.138 (Stram and Lee)."""
        assert mixture_p(5.138, 2) == pytest.approx(0.05, abs=2e-5)
        assert mixture_p(0.0, 2) == 1.0 and mixture_p(-1e-9, 2) == 1.0

    def test_its_level_where_no_slope_varies(self):
        """150 worlds without slopes: the share below 5% is within 3 binomial errors, the mean p near a half."""
        rng, p = np.random.default_rng(3), []
        for _ in range(150):
            code = np.repeat(np.arange(50), 20)
            x = rng.standard_normal(1000)
            y = 2 * rng.standard_normal(50)[code] + 4 * rng.standard_normal(1000)
            X = np.column_stack([np.ones(1000), x])
            m = moments_from_arrays(X, y, make_cells(pd.Series(code)), ("Intercept", "x"), by_cell=True)
            p.append(mixture_p(2 * (fit_slopes(m, [1]).loglik - fit_moments(m).loglik), 2))
        assert abs(np.mean(np.array(p) < 0.05) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 150)
        assert abs(np.mean(p) - 0.5) < 0.12


def test_held_deviance_has_the_same_gradient_at_its_own_sigma2(exam):
    """At the profiled sigma2 the deviance with sigma2 held has the same slope."""
    fit = fit_slopes(compute_moments(build_design(exam, "score ~ prior_score"), by_cell=True), [1])
    moves = np.array([[[1.0, 0], [0, 0]], [[0, 1.0], [1.0, 0]]])
    sigma2 = fit.profile.rss / fit.sums.dof(False)
    free = derivatives_in_lambda(fit.sums, fit.profile, False, moves)[0]
    np.testing.assert_allclose(derivatives_in_lambda(fit.sums, fit.profile, False, moves, sigma2)[0], free, atol=1e-8)
