"""The joint likelihood, its derivatives, the covariance structures and the search, each against another way."""

from __future__ import annotations

import numpy as np
import pytest

from valib.errors import ModelError
from valib.models import joint_fit as multivariate_fit
from valib.models.joint_fit import JointProblem, fit_joint_moments
from valib.models.joint_likelihood import derivatives, evaluate, stack_moments
from valib.models.mixed import fit_moments
from valib.models.newton import minimise
from valib.models.structures import STRUCTURES, correlation, make_structure, pivot
from valib.sums.design import Cells
from valib.sums.moments import Moments, moments_from_arrays

DENSE = 1e-9  # double precision through the inverse of a matrix of some hundred rows
DIFFERENCE = 1e-6  # central differences of a smooth function, relative
COHORTS = np.array([2015, 2016, 2019, 2024])


class Panel:
    """Students of a few schools in several cohorts, as arrays for the dense answer; cohort t has t % 2 + 2 columns."""

    def __init__(
        self,
        seed: int,
        schools: int = 7,
        T: int = 3,
        size=(1, 6),
        missing: float = 0.2,
        tau: float = 8.0,
        rho: float = 0.6,
        shift: float = 500.0,
    ):
        rng = np.random.default_rng(seed)
        self.cohorts, self.J = (COHORTS if T == 4 else 2015 + np.arange(T)), schools
        self.labels = np.array([f"S{j:02d}" for j in range(schools)], dtype=object)
        R = rho ** np.abs(np.subtract.outer(np.arange(T), np.arange(T)))
        self.u = rng.multivariate_normal(np.zeros(T), tau**2 * R, schools)
        self.school, self.X, self.y = [], [], []
        for t in range(T):
            there = np.flatnonzero(rng.random(schools) >= missing)
            code = np.repeat(there, rng.integers(size[0], size[1] + 1, len(there)))
            x = rng.normal(shift, 60, (len(code), t % 2 + 1))
            self.school.append(code)
            self.X.append(np.column_stack([np.ones(len(code)), x]))
            self.y.append(100 + x @ np.full(x.shape[1], 0.7) + self.u[code, t] + rng.normal(0, 20, len(code)))

    @property
    def parts(self) -> list[Moments]:
        out = []
        for t, (code, X, y) in enumerate(zip(self.school, self.X, self.y, strict=True)):
            used, at = np.unique(code, return_inverse=True)
            cells = Cells(
                self.labels[used],
                self.cohorts[t : t + 1],
                at,
                np.arange(len(used)),
                np.zeros(len(used), dtype=int),
                np.bincount(at),
            )
            out.append(moments_from_arrays(X, y, cells, ("Intercept", *(f"x{k}" for k in range(X.shape[1] - 1)))))
        return out

    def data(self):
        """Stacked about coefficients that are near but not at the answer."""
        return stack_moments(self.parts, [np.full(X.shape[1], 0.6) for X in self.X])


class Dense:
    """The joint model written out: V (N, N) in full, no sums, no Woodbury identity."""

    def __init__(self, panel: Panel, omega: np.ndarray, sigma2: np.ndarray):
        T, J = len(panel.y), panel.J
        sizes = [len(y) for y in panel.y]
        cohort = np.repeat(np.arange(T), sizes)
        self.y = np.concatenate(panel.y)
        self.X = np.zeros((len(self.y), sum(X.shape[1] for X in panel.X)))
        column = 0
        for t, X in enumerate(panel.X):
            self.X[cohort == t, column : column + X.shape[1]] = X
            column += X.shape[1]
        self.Z = np.eye(J * T)[np.concatenate(panel.school) * T + cohort]
        self.O = np.kron(np.eye(J), omega)
        self.V = self.Z @ self.O @ self.Z.T + np.diag(np.asarray(sigma2)[cohort])
        self.Vi = np.linalg.inv(self.V)
        self.vcov = np.linalg.inv(self.X.T @ self.Vi @ self.X)
        self.b = self.vcov @ self.X.T @ self.Vi @ self.y
        self.shape = (J, T)

    def loglik(self, reml: bool) -> float:
        r, (N, P) = self.y - self.X @ self.b, self.X.shape
        ll = -0.5 * (np.linalg.slogdet(self.V)[1] + r @ self.Vi @ r + (N - reml * P) * np.log(2 * np.pi))
        return ll + 0.5 * reml * np.linalg.slogdet(self.vcov)[1]

    def predictions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """u_hat (J, T), Var(u_hat - u) and Cov(u_hat - u, b_hat - b) from the linear map of (u, e)."""
        J, T = self.shape
        hat = self.vcov @ self.X.T @ self.Vi
        K = self.O @ self.Z.T @ self.Vi @ (np.eye(len(self.y)) - self.X @ hat)
        E = K @ self.Z - np.eye(J * T)
        noise = self.V - self.Z @ self.O @ self.Z.T
        error = E @ self.O @ E.T + K @ noise @ K.T
        with_b = E @ self.O @ (hat @ self.Z).T + K @ noise @ hat.T
        blocks = error.reshape(J, T, J, T)[np.arange(J), :, np.arange(J), :]
        return (K @ self.y).reshape(J, T), blocks, with_b.reshape(J, T, -1)


def some_omega(T: int, seed: int, rank: int | None = None) -> np.ndarray:
    L = 6 * np.random.default_rng(seed).standard_normal((T, rank or T + 2))
    return L @ L.T


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("rank", [None, 1, 0])
@pytest.mark.parametrize("seed", [1, 2])
def test_likelihood_and_fixed_effects_are_those_of_dense_algebra(seed, rank, reml):
    """Also at an Omega of rank one and at Omega = 0, with schools that miss cohorts and cells of one student."""
    panel = Panel(seed)
    omega = np.zeros((3, 3)) if rank == 0 else some_omega(3, seed, rank)
    sigma2 = np.array([300.0, 410.0, 520.0])
    data, dense = panel.data(), Dense(panel, omega, sigma2)
    assert (data.n == 0).any() and (data.n == 1).any()
    at = evaluate(data, omega, sigma2, reml)
    assert -0.5 * at.deviance == pytest.approx(dense.loglik(reml), rel=DENSE)
    assert data.offset + data.back @ at.delta == pytest.approx(dense.b, rel=DENSE)
    F = data.back @ at.factor
    assert np.abs(F @ F.T - dense.vcov).max() < DENSE * np.abs(dense.vcov).max()


@pytest.mark.parametrize("reml", [False, True])
def test_derivatives_are_those_of_the_dense_likelihood(reml):
    """Gradient and Hessian along random symmetric directions against differences of the dense log-likelihood."""
    panel, rng = Panel(3), np.random.default_rng(3)
    omega, sigma2 = some_omega(3, 5), np.array([300.0, 410.0, 520.0])
    data = panel.data()
    gradient, hessian = derivatives(data, evaluate(data, omega, sigma2, reml), sigma2, reml)

    def along(step):
        return -2 * Dense(panel, omega + step * D, sigma2 + step * d).loglik(reml)

    for _ in range(4):
        D, d = rng.standard_normal((3, 3)), 10 * rng.standard_normal(3)
        D = D + D.T
        v, h = np.append(D.ravel(), d), 0.3
        f = [along(k * h) for k in (-2, -1, 0, 1, 2)]
        first = (f[0] - 8 * f[1] + 8 * f[3] - f[4]) / (12 * h)
        second = (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * h**2)
        assert gradient @ v == pytest.approx(first, rel=1e-5, abs=1e-7)
        assert v @ hessian @ v == pytest.approx(second, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_predictions_and_all_error_covariances_are_those_of_the_linear_map(method):
    panel = Panel(4, schools=12, size=(2, 8))
    fit = fit_joint_moments(panel.parts, "compound_symmetry", "by_cohort", method)
    dense = Dense(panel, fit.omega, fit.sigma2)
    seen = np.isin(panel.labels, fit.data.schools)
    effects, error, with_b = (values[seen] for values in dense.predictions())
    assert fit.loglik == pytest.approx(dense.loglik(method == "REML"), rel=DENSE)
    assert np.abs(fit.effects - effects).max() < 1e-8 * np.abs(effects).max()
    assert np.abs(fit.comparative - error).max() < 1e-8 * np.abs(error).max()
    assert np.abs(fit.sensitivity @ fit.vcov - with_b).max() < 1e-8 * np.abs(with_b).max()
    missing = fit.data.n == 0
    assert missing.any() and np.abs(fit.effects[missing]).min() > 0


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("name", list(STRUCTURES))
def test_the_end_of_the_search_is_a_maximum_of_the_dense_likelihood(name, method):
    """No small change of the parameters raises the dense likelihood, and the reported one is the dense one."""
    panel = Panel(11, schools=16, T=4, size=(3, 6), missing=0.1, tau=30.0, rho=0.4)
    fit = fit_joint_moments(panel.parts, name, "common", method)
    assert fit.converged and not fit.singular
    top = Dense(panel, fit.omega, fit.sigma2).loglik(method == "REML")
    assert fit.loglik == pytest.approx(top, abs=1e-8)
    structure = make_structure(name, panel.cohorts, np.sqrt(np.diag(fit.omega)))
    psi = minimise(
        JointProblem(panel.data(), structure, True, method == "REML"),
        np.append(structure.start(fit.omega), np.log(fit.sigma2[0])),
    ).x
    assert np.abs(structure.omega(psi[:-1]) - fit.omega).max() < 1e-6 * np.abs(fit.omega).max()
    for k in range(len(psi)):
        for step in (-0.02, 0.02):
            x = psi + step * np.eye(len(psi))[k]
            moved = Dense(panel, structure.omega(x[:-1]), np.full(4, np.exp(x[-1])))
            assert moved.loglik(method == "REML") < top


class TestStructures:
    SCALE = np.array([8.0, 10.0, 12.0, 9.0])

    @pytest.mark.parametrize("name", list(STRUCTURES))
    def test_every_parameter_gives_a_covariance_matrix(self, name):
        structure, rng = make_structure(name, COHORTS, self.SCALE), np.random.default_rng(1)
        for _ in range(50):
            omega = structure.omega(3 * rng.standard_normal(structure.size))
            assert np.array_equal(omega, omega.T)
            assert np.linalg.eigvalsh(omega)[0] > -1e-12 * np.trace(omega)

    @pytest.mark.parametrize("name", list(STRUCTURES))
    def test_derivatives_are_those_of_differences(self, name):
        structure, rng = make_structure(name, COHORTS, self.SCALE), np.random.default_rng(2)
        psi, weight = rng.standard_normal(structure.size), rng.standard_normal((4, 4))
        weight = weight + weight.T
        jacobian, curvature = structure.jacobian(psi), structure.curvature(psi, weight)
        h = 1e-4
        for k, e in enumerate(np.eye(structure.size)):
            up, down = structure.omega(psi + h * e), structure.omega(psi - h * e)
            assert np.abs(jacobian[k] - (up - down) / (2 * h)).max() < DIFFERENCE * np.abs(up).max()
            bend = (structure.jacobian(psi + h * e) - structure.jacobian(psi - h * e)) / (2 * h)
            assert curvature[k] == pytest.approx(
                (bend * weight).sum(axis=(1, 2)), rel=1e-5, abs=1e-5 * np.abs(curvature).max()
            )

    @pytest.mark.parametrize("name", list(STRUCTURES))
    def test_a_start_at_a_member_gives_that_member(self, name):
        """Of Toeplitz only the first autocorrelation is taken from the start, so an AR(1) by distance is its member."""
        years = np.arange(2015, 2019)
        rho = 0.6 ** np.abs(np.subtract.outer(years, years))
        R = {"independent": np.eye(4), "compound_symmetry": 0.4 + 0.6 * np.eye(4)}.get(name, rho)
        sd = np.full(4, 10.0) if name in ("ar1", "compound_symmetry", "toeplitz") else self.SCALE
        omega = R * np.outer(sd, sd)
        structure = make_structure(name, years, self.SCALE)
        assert structure.omega(structure.start(omega)) == pytest.approx(omega, rel=1e-12, abs=1e-12)

    def test_closed_forms(self):
        ar1 = make_structure("ar1", COHORTS, np.full(4, 10.0))
        r = correlation(ar1.omega(np.array([1.3, np.arcsin(0.8)])))
        assert r[0] == pytest.approx([1, 0.8, 0.8**4, 0.8**9])
        ante = make_structure("antedependence", COHORTS, self.SCALE)
        omega = ante.omega(np.append(np.ones(4), np.arcsin([0.5, 0.6, -0.7])))
        assert np.sqrt(np.diag(omega)) == pytest.approx(self.SCALE)
        assert correlation(omega)[0] == pytest.approx([1, 0.5, 0.3, -0.21])
        inverse = np.linalg.inv(omega)  # antedependence of the first order: the precision is tridiagonal
        assert np.abs(inverse[0, 2:]).max() < 1e-15 and np.abs(inverse[0, 1]) > 1e-4
        toeplitz = make_structure("toeplitz", COHORTS, np.full(4, 10.0))
        T = toeplitz.omega(np.array([1.0, 0.7, -0.4, 0.9]))
        assert np.ptp(np.diag(T)) == 0 and np.ptp(np.diag(T, 1)) < 1e-13 and np.ptp(np.diag(T, 2)) < 1e-13
        pi1, pi2 = np.sin([0.7, -0.4])
        assert correlation(T)[0, 1:3] == pytest.approx([pi1, pi1**2 + pi2 * (1 - pi1**2)])

    def test_the_boundary_lies_at_finite_parameters(self):
        """A variance of 0 and a correlation of 1 are reached, not approached."""
        assert make_structure("independent", COHORTS, self.SCALE).omega(np.array([1.0, 0, 1, 1]))[1, 1] == 0
        perfect = make_structure("ar1", COHORTS, self.SCALE).omega(np.array([1.0, np.pi / 2]))
        assert correlation(perfect) == pytest.approx(np.ones((4, 4)))
        assert np.isnan(correlation(np.diag([1.0, 0.0]))[1]).all()

    def test_pivoting_changes_the_order_and_not_omega(self):
        L = np.array([[1.0, 0, 0], [0.5, 0, 0], [0.2, 0.7, 0.3]])
        omega = 100 * L @ L.T  # the second pivot is 0
        structure, psi = pivot(make_structure("unstructured", np.arange(3), np.full(3, 10.0)), omega)
        assert structure.omega(psi) == pytest.approx(omega, abs=1e-10)
        assert list(structure.order) != [0, 1, 2] and abs(psi[-1]) < 1e-6
        weight = np.array([[2.0, 1, 0], [1, 3, -1], [0, -1, 1]])
        h, bend = 1e-4, structure.curvature(psi, weight)
        for k, e in enumerate(np.eye(6)):
            up, down = structure.jacobian(psi + h * e), structure.jacobian(psi - h * e)
            assert bend[k] == pytest.approx(((up - down) / (2 * h) * weight).sum(axis=(1, 2)), abs=1e-5)

    def test_unknown_name(self):
        with pytest.raises(ModelError, match="unstructured, .*independent, not 'banana'"):
            make_structure("banana", COHORTS, self.SCALE)


class TestSearch:
    def test_a_saddle_is_left(self):
        """From Omega = 0 every gradient in psi is zero; only the curvature says that it is no maximum."""
        panel = Panel(5, schools=40, size=(5, 15), tau=15.0)
        fit = fit_joint_moments(panel.parts, "unstructured")
        structure = make_structure("unstructured", panel.cohorts, np.full(3, 10.0))
        problem = JointProblem(panel.data(), structure, False, False)
        x = np.append(np.zeros(structure.size), np.log(fit.sigma2))
        gradient, _ = problem.derivatives(x, problem.value(x))
        assert not gradient[: structure.size].any()
        end = minimise(problem, x)
        assert end.converged and -0.5 * end.at.deviance == pytest.approx(fit.loglik, abs=1e-8)

    @pytest.mark.parametrize("name", list(STRUCTURES))
    def test_random_starts_find_nothing_higher(self, name):
        """Small, unbalanced panels with missing cohorts, where most maxima are singular."""
        for seed in range(4):
            panel = Panel(100 + seed, schools=12, size=(1, 9), missing=0.3, rho=0.9, tau=10.0)
            fit = fit_joint_moments(panel.parts, name, "common")
            structure = make_structure(name, panel.cohorts, np.full(3, 10.0))
            problem = JointProblem(panel.data(), structure, True, False)
            rng = np.random.default_rng(seed)
            for _ in range(6):
                x = np.append(rng.standard_normal(structure.size), np.log(fit.sigma2[0]))
                assert -0.5 * minimise(problem, x).at.deviance < fit.loglik + 1e-6
            assert fit.converged

    def test_a_vanishing_pivot_before_the_last_does_not_stop_the_search(self, monkeypatch):
        """In this panel it does, unless the cohorts are taken in another order."""
        panel = Panel(26, schools=25, T=6, size=(3, 15), missing=0.4, tau=12.0, rho=0.3)
        fit = fit_joint_moments(panel.parts)
        assert fit.converged and fit.singular
        monkeypatch.setattr(multivariate_fit, "MAX_PIVOTS", 0)
        crawling = fit_joint_moments(panel.parts)
        assert not crawling.converged and crawling.loglik < fit.loglik - 1e-4


class TestInvariance:
    def test_the_unit_of_the_score_does_not_matter(self):
        a, b = Panel(6, schools=20, size=(3, 9)), Panel(6, schools=20, size=(3, 9))
        b.y = [1000 * y for y in b.y]
        b.X = [np.column_stack([X[:, :1], X[:, 1:] / 1000]) for X in b.X]
        f, g = fit_joint_moments(a.parts), fit_joint_moments(b.parts)
        N = sum(len(y) for y in a.y)
        assert g.omega == pytest.approx(1e6 * f.omega, rel=1e-7)
        assert g.effects == pytest.approx(1e3 * f.effects, rel=1e-6, abs=1e-5)
        assert g.loglik == pytest.approx(f.loglik - N * np.log(1000), abs=1e-7)

    def test_a_far_away_prior_costs_no_digits(self):
        """Prior scores near a million with a spread of 60: the sums of squares must not cancel."""
        near, far = Panel(7, schools=20), Panel(7, schools=20)
        far.X = [np.column_stack([X[:, :1], X[:, 1:] + 1e6]) for X in far.X]
        f, g = fit_joint_moments(near.parts), fit_joint_moments(far.parts)
        assert g.loglik == pytest.approx(f.loglik, abs=1e-7)
        assert g.omega == pytest.approx(f.omega, rel=1e-6, abs=1e-6)
        assert g.comparative == pytest.approx(f.comparative, rel=1e-6, abs=1e-6)

    def test_independent_cohorts_are_separate_models(self):
        """Same likelihood, variances and effects as the one-cohort fits, boundary included."""
        for seed, method in ((9, "ML"), (10, "REML")):
            panel = Panel(seed, schools=9, T=4, size=(2, 7), tau=3.0)
            separate = [fit_moments(m, method) for m in panel.parts]
            fit = fit_joint_moments(panel.parts, "independent", "by_cohort", method)
            assert any(f.singular for f in separate) and fit.singular
            assert fit.loglik == pytest.approx(sum(f.loglik for f in separate), abs=1e-9)
            assert np.diag(fit.omega) == pytest.approx([f.tau2 for f in separate], rel=1e-9)
            assert fit.sigma2 == pytest.approx([f.sigma2 for f in separate], rel=1e-9)
            se = [f.tau2_se for f in separate]
            assert np.diag(fit.omega_se) == pytest.approx(se, rel=1e-6, nan_ok=True)
            assert fit.sigma2_se == pytest.approx([f.sigma2_se for f in separate], rel=1e-6)
