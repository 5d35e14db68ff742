"""The posterior of one cohort: dense integration over (tau, sigma), closed forms, MCMC, the plug-in limit, and edges."""

from __future__ import annotations

import emcee
import numpy as np
import pytest
from conftest import simulate
from scipy import integrate as quadrature
from scipy import stats

import valib as va
from valib.errors import ModelError, ValibWarning
from valib.models import posterior as module
from valib.models.likelihood import compress, compress_cells
from valib.models.posterior import check_proper, integrate, known_variances, posterior
from valib.sums.design import build_design
from valib.sums.moments import compute_moments

DENSE = 1e-6  # of a probability and, relatively, of means and standard deviations: what the issue asks for


def moments_of(frame, formula="score ~ prior_score"):
    return compute_moments(build_design(frame, formula, "school", cohort=None))


def of_moments(moments, target="relative", loadings=None):
    nodes = integrate(compress(moments))
    means = moments.sums / moments.n[:, None]
    return posterior(nodes, moments.n[None], means[None], target, loadings)


class Dense:
    """The same posterior by the trapezoidal rule over (log tau, log sigma), from the students, V_j inverted by hand."""

    def __init__(self, X, y, code, log_tau=(-20.0, 16.0), n_tau=600, n_sigma=90):
        J, (N, p) = code.max() + 1, X.shape
        sd = np.sqrt(np.mean((y - X @ np.linalg.lstsq(X, y, rcond=None)[0]) ** 2))
        tau, sigma = np.meshgrid(
            np.exp(np.linspace(*log_tau, n_tau)) * sd / 50,
            sd * np.exp(np.linspace(-1.0, 1.0, n_sigma) * min(3.0, 14 / np.sqrt(N))),
        )
        tau, sigma = tau.ravel(), sigma.ravel()
        value, A, c = np.zeros(len(tau)), np.zeros((len(tau), p, p)), np.zeros((len(tau), p))
        self.parts = []
        for j in range(J):
            Xj, yj = X[code == j], y[code == j]
            n, s, t = len(yj), Xj.sum(axis=0), yj.sum()
            Xc, yc = Xj - s / n, yj - t / n  # about the school's means, so that nothing cancels for a large tau
            left = sigma**2 / (sigma**2 + n * tau**2)
            value += n * np.log(sigma**2) - np.log(left) + (yc @ yc + left * t * t / n) / sigma**2
            A += (Xc.T @ Xc + left[:, None, None] * np.outer(s, s) / n) / sigma[:, None, None] ** 2
            c += (Xc.T @ yc + left[:, None] * s * t / n) / sigma[:, None] ** 2
            self.parts.append((s / n, t / n, 1 - left))
        self.tau, self.vcov = tau, np.linalg.inv(A) if p else A
        self.b = np.einsum("gij,gj->gi", self.vcov, c)
        log = -0.5 * (value - (self.b * c).sum(axis=1) + (np.linalg.slogdet(A)[1] if p else 0.0)) + np.log(tau)
        self.weight = np.exp(log - log.max())
        self.weight /= self.weight.sum()

    def normals(self, j, keep=0.0, shared=0.0):
        """Mean and variance of the target of school j at every node; shared: variance of errors from elsewhere."""
        xbar, ybar, lam = self.parts[j]
        reach = (keep - lam)[:, None] * xbar
        mean = lam * ybar + (reach * self.b).sum(axis=1)
        return mean, self.tau**2 * (1 - lam) + np.einsum("gi,gij,gj->g", reach, self.vcov, reach) + shared

    def summary(self, x, mean, variance):
        """P(target <= x), its mean and standard deviation."""
        centre = self.weight @ mean
        below = self.weight @ stats.norm.cdf((x - mean) / np.sqrt(variance))
        return below, centre, np.sqrt(self.weight @ (variance + (mean - centre) ** 2))


def check_against(dense, post, keep=0.0, shared=None, pair=None, moments=True):
    mixture = post.effects()
    lower, upper = mixture.interval(0.95)
    mean, sd, above = mixture.expectation(), mixture.sd(), mixture.above()
    for j in range(post.n.shape[1]):
        normals = dense.normals(j, keep, 0.0 if shared is None else shared)
        assert dense.summary(lower[0, j], *normals)[0] == pytest.approx(0.025, abs=DENSE)
        assert dense.summary(upper[0, j], *normals)[0] == pytest.approx(0.975, abs=DENSE)
        below, centre, spread = dense.summary(0.0, *normals)
        assert above[0, j] == pytest.approx(1 - below, abs=DENSE)
        if moments:
            assert mean[0, j] == pytest.approx(centre, rel=DENSE, abs=DENSE * spread)
            assert sd[0, j] == pytest.approx(spread, rel=DENSE)


WORLDS = {
    "eight schools, little between them": {"schools": 8, "size": (4, 12), "tau": 3},
    "twelve schools": {"schools": 12, "size": (3, 30), "tau": 12},
    "far apart": {"schools": 9, "size": (5, 9), "tau": 90},
}


class TestAgainstDenseIntegration:
    @pytest.mark.parametrize("world", WORLDS)
    @pytest.mark.parametrize("seed", [1, 2])
    def test_relative_effects(self, world, seed):
        frame = simulate(np.random.default_rng(seed), **WORLDS[world])
        code = np.unique(frame.school, return_inverse=True)[1]
        X = np.column_stack([np.ones(len(frame)), frame.prior_score - 480])
        check_against(Dense(X, frame.score.to_numpy() - 500, code), of_moments(moments_of(frame)))

    def test_with_a_school_level_covariate(self):
        frame = simulate(np.random.default_rng(4), schools=10, size=(3, 12), tau=10)
        code = np.unique(frame.school, return_inverse=True)[1]
        own = frame.prior_score.to_numpy() - 480
        mean = (np.bincount(code, own) / np.bincount(code))[code]
        X = np.column_stack([np.ones(len(frame)), own, mean])
        post = of_moments(moments_of(frame, "score ~ prior_score + school_mean(prior_score)"))
        assert post.nodes.order[0] == 10 - 2 - 1
        check_against(Dense(X, frame.score.to_numpy() - 500, code), post)

    @pytest.mark.parametrize("estimated", [True, False])
    @pytest.mark.parametrize("schools", [8, 40])
    def test_benchmark_value_added_with_errors_from_elsewhere(self, estimated, schools):
        """Forty schools have more than 400 degrees of freedom, where t plus normal is taken as a matched t."""
        frame = simulate(np.random.default_rng(5), schools=schools, size=(4, 30), tau=8)
        code, n = np.unique(frame.school, return_inverse=True)[1], frame.groupby("school").size().to_numpy()
        r = frame.score.to_numpy() - 110 - 0.8 * frame.prior_score.to_numpy() - 6
        sums = np.column_stack([n, np.bincount(code, r)])[:, 0 if estimated else 1 :]
        Z = np.column_stack([np.ones(len(r)), r])[:, 0 if estimated else 1 :]
        nodes = integrate(compress_cells(n[None], sums[None], (Z.T @ Z)[None]))
        L = np.random.default_rng(6).normal(0, 2, (schools, 3))
        post = posterior(nodes, n[None], (sums / n[:, None])[None], "benchmark", L[None])
        assert (nodes.df[0] > module.MATCHED) == (schools == 40)
        dense = Dense(np.ones((len(r), int(estimated))), r, code, n_tau=400)
        lam = np.stack([part[2] for part in dense.parts])
        a = n[:, None] * (1 - lam)
        centre = np.einsum("jg,jm->gm", a / a.sum(axis=0), L) if estimated else np.zeros((lam.shape[1], 3))
        mixture = post.effects()
        for j in range(0, schools, 3):
            shared = ((lam[j][:, None] * L[j] + (1 - lam[j])[:, None] * centre) ** 2).sum(axis=1)
            normals = dense.normals(j, 1.0, shared)
            for p in (0.025, 0.975):
                assert dense.summary(mixture.quantile(p)[0, j], *normals)[0] == pytest.approx(p, abs=DENSE)
            assert mixture.sd()[0, j] == pytest.approx(dense.summary(0.0, *normals)[2], rel=DENSE)
        if estimated:
            shift = post.coefficient(np.ones((1, 1)))
            normals = dense.b[:, 0], dense.vcov[:, 0, 0] + (centre**2).sum(axis=1)
            assert dense.summary(shift.quantile(0.975)[0, 0], *normals)[0] == pytest.approx(0.975, abs=DENSE)
            assert shift.expectation()[0, 0] == pytest.approx(dense.weight @ dense.b[:, 0], rel=DENSE)

    def test_differences_of_two_schools(self):
        frame = simulate(np.random.default_rng(7), schools=8, size=(4, 12), tau=6)
        code = np.unique(frame.school, return_inverse=True)[1]
        X = np.column_stack([np.ones(len(frame)), frame.prior_score - 480])
        dense, post = Dense(X, frame.score.to_numpy() - 500, code), of_moments(moments_of(frame))
        first, second = np.array([0, 3, 5]), np.array([1, 2, 5])
        mixture = post.differences(first[:2], second[:2])
        for k, (i, j) in enumerate(zip(first[:2], second[:2], strict=True)):
            (xi, yi, left), (xj, yj, right) = dense.parts[i], dense.parts[j]
            load = right[:, None] * xj - left[:, None] * xi
            mean = left * yi - right * yj + (load * dense.b).sum(axis=1)
            variance = dense.tau**2 * (2 - left - right) + np.einsum("gi,gij,gj->g", load, dense.vcov, load)
            assert dense.summary(mixture.quantile(0.9)[0, k], mean, variance)[0] == pytest.approx(0.9, abs=DENSE)

    def test_tau_and_sigma(self):
        frame = simulate(np.random.default_rng(8), schools=9, size=(3, 9), tau=15)
        code = np.unique(frame.school, return_inverse=True)[1]
        X = np.column_stack([np.ones(len(frame)), frame.prior_score - 480])
        dense = Dense(X, frame.score.to_numpy() - 500, code, n_tau=4000)
        tau = of_moments(moments_of(frame)).nodes.variance_interval()[0][:, 0]
        # the step of the grid, a hundredth of the logarithm, is what the sum over nodes below a limit can be wrong by
        for limit, p in zip(tau, (0.025, 0.975), strict=True):
            assert dense.weight[dense.tau < limit].sum() == pytest.approx(p, abs=0.005)


class TestClosedForms:
    @pytest.mark.parametrize(("tau", "n"), [(0.0, 5), (20.0, 12), (200.0, 3)])
    def test_balanced_schools_without_covariates(self, tau, n):
        """rss = within + n between / (1 + n theta); with SciPy's adaptive rule for the integral over phi."""
        J, rng = 9, np.random.default_rng(3)
        y = tau * rng.standard_normal((J, 1)) + 40 * rng.standard_normal((J, n))
        mean, df = y.mean(axis=1), J * n - 2
        within, between = ((y - mean[:, None]) ** 2).sum(), ((mean - mean.mean()) ** 2).sum()

        def rss(phi):
            return within + n * between / (1 + n * phi**2)

        def density(phi):
            return (1 + n * phi**2) ** (-(J - 1) / 2) * (rss(phi) / rss(0)) ** (-df / 2)

        def probability(phi, x, j):
            lam = n * phi**2 / (1 + n * phi**2)
            scale = np.sqrt(rss(phi) / df * (phi**2 * (1 - lam) + lam**2 * (1 / n + phi**2) / J))
            return density(phi) * stats.t.cdf((x - lam * (mean[j] - mean.mean())) / scale, df)

        def integral(f, *args):
            edges = [1e-12, 0.01, 0.1, 0.3, 1, 3, 10, 100, 1e4]
            return sum(
                quadrature.quad(f, a, b, args=args, epsabs=0, epsrel=1e-11, limit=200)[0]
                for a, b in zip(edges[:-1], edges[1:], strict=True)
            )

        sums, Z = np.column_stack([np.full(J, n), y.sum(axis=1)]), np.column_stack([np.ones(J * n), y.ravel()])
        sizes = np.full((1, J), n)
        nodes = integrate(compress_cells(sizes, sums[None], (Z.T @ Z)[None]))
        lower, _ = posterior(nodes, sizes, (sums / n)[None]).effects().interval()
        whole = integral(density)
        for j in (0, 4):
            assert integral(probability, lower[0, j], j) / whole == pytest.approx(0.025, abs=1e-9)

    @pytest.mark.parametrize("target", ["relative", "benchmark"])
    def test_known_variances_give_the_normal_intervals_of_the_plug_in_fit(self, small, target):
        if target == "relative":
            fit = va.fit_relative(small, 2021, intervals="plugin")
            moments, loadings = fit.moments, None
        else:
            benchmark = va.fit_baseline(small, [2015, 2016])
            fit = va.fit_benchmark(small, 2021, benchmark, equating_se=2.0, intervals="plugin")
            carried = va.fit_benchmark(small, 2021, benchmark, equating_se=2.0)
            moments, loadings = None, carried.posterior.L
        if moments is not None:
            n, means = moments.n[None], (moments.sums / moments.n[:, None])[None]
            nodes = known_variances(compress(moments), np.array([fit.tau2]), np.array([fit.sigma2]))
        else:
            n = carried.posterior.n
            r = carried.posterior.ybar
            means = np.stack([np.ones_like(r), r], axis=-1)
            cross = np.array([[[n.sum(), (n * r).sum()], [(n * r).sum(), 1e9]]])
            data = compress_cells(n, n[..., None] * means, cross)
            nodes = known_variances(data, np.array([fit.tau2]), np.array([fit.sigma2]))
        mixture = posterior(nodes, n, means, target, loadings).effects()
        table = fit.school_effects
        np.testing.assert_allclose(mixture.expectation()[0], table.effect, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(mixture.sd()[0], table.se_comparative, rtol=1e-8)
        np.testing.assert_allclose(mixture.interval()[1][0], table.upper, rtol=1e-8, atol=1e-7)

    def test_a_finer_grid_changes_nothing(self, monkeypatch):
        frame = simulate(np.random.default_rng(9), schools=14, size=(1, 40), tau=5)
        coarse = of_moments(moments_of(frame))
        monkeypatch.setattr(module, "STEP", module.STEP / 4)
        monkeypatch.setattr(module, "DROP", 40.0)
        fine = of_moments(moments_of(frame))
        assert fine.nodes.phi.shape[1] > 3 * coarse.nodes.phi.shape[1]
        for p in (0.025, 0.5, 0.975):
            np.testing.assert_allclose(coarse.effects().quantile(p), fine.effects().quantile(p), atol=1e-9 * 45, rtol=0)


def run(log_density, start, steps, seed):
    """Draws of an ensemble sampler after burn-in, (steps, walkers, d), and the longest autocorrelation time."""
    sampler = emcee.EnsembleSampler(*start.shape, log_density, vectorize=True)
    sampler.random_state = np.random.RandomState(seed).get_state()
    sampler.run_mcmc(start, steps)
    chain = sampler.get_chain(discard=steps // 5)
    return chain, float(np.max(emcee.autocorr.integrated_time(chain, tol=20, quiet=True)))


def check_draws(draws, time, post, limit=4.5):
    """Draws (steps, walkers, J) of the effects against the quadrature, in Monte Carlo errors."""
    mixture = post.effects()
    flat = draws.reshape(-1, draws.shape[-1])
    effective = len(flat) / time
    assert effective > 1500, f"the chain is too short: {effective:.0f}"
    error = flat.std(axis=0) / np.sqrt(effective)
    assert (np.abs(flat.mean(axis=0) - mixture.expectation()[0]) < limit * error).all()
    for p in (0.025, 0.5, 0.975):
        below = (flat < mixture.quantile(p)[0]).mean(axis=0)
        assert (np.abs(below - p) < limit * np.sqrt(p * (1 - p) / effective)).all()


class TestAgainstMcmc:
    """emcee (Foreman-Mackey et al. 2013), on the model written out; nothing of the library is in the density."""

    def test_exam(self, exam):
        """65 schools, 4,059 students: sampled in (b, log tau, log sigma), u from its conditional normal."""
        code = np.unique(exam.school, return_inverse=True)[1]
        X, y = np.column_stack([np.ones(len(exam)), exam.prior_score]), exam.score.to_numpy()
        n = np.bincount(code)
        xs, ys = np.stack([np.bincount(code, x) for x in X.T], axis=1), np.bincount(code, y)
        XX, Xy, yy = X.T @ X, X.T @ y, y @ y

        def log_density(theta):
            b, tau2, sigma2 = theta[:, :2], np.exp(2 * theta[:, 2]), np.exp(2 * theta[:, 3])
            squares = yy - 2 * b @ Xy + np.einsum("wi,ij,wj->w", b, XX, b)
            sums = ys - b @ xs.T
            spread = sigma2[:, None] + n * tau2[:, None]
            quadratic = squares - (tau2[:, None] / spread * sums**2).sum(axis=1)
            determinant = (len(y) - len(n)) * np.log(sigma2) + np.log(spread).sum(axis=1)
            return -0.5 * (determinant + quadratic / sigma2) + theta[:, 2]

        rng = np.random.default_rng(1)
        start = np.array([0.0, 0.56, np.log(0.3), np.log(0.75)]) + 0.02 * rng.standard_normal((40, 4))
        chain, time = run(log_density, start, 5000, 2)
        b, tau2, sigma2 = chain[..., :2], np.exp(2 * chain[..., 2:3]), np.exp(2 * chain[..., 3:])
        lam = n * tau2 / (sigma2 + n * tau2)
        mean = lam * (ys - b @ xs.T) / n
        draws = mean + np.sqrt(tau2 * (1 - lam)) * rng.standard_normal(mean.shape)
        post = of_moments(moments_of(exam))
        check_draws(draws, time, post)
        tau, sigma = post.nodes.variance_interval()
        effective = chain[..., 0].size / time
        for values, limits in ((chain[..., 2], tau), (chain[..., 3], sigma)):
            for limit, p in zip(limits[:, 0], (0.025, 0.975), strict=True):
                assert abs((values < np.log(limit)).mean() - p) < 4.5 * np.sqrt(p * (1 - p) / effective)

    def test_eight_schools(self, exam):
        """The first eight schools of Exam with six students each, and every school effect sampled: tau near 0 counts."""
        few = exam[exam.school.isin(sorted(exam.school.unique())[:8])].groupby("school").head(6)
        code = np.unique(few.school, return_inverse=True)[1]
        X, y = np.column_stack([np.ones(len(few)), few.prior_score]), few.score.to_numpy()

        def log_density(theta):
            b, tau, sigma, z = theta[:, :2], np.exp(theta[:, 2]), np.exp(theta[:, 3]), theta[:, 4:]
            u = tau[:, None] * z
            left = y - b @ X.T - u[:, code]
            value = -len(y) * theta[:, 3] - 0.5 * (left**2).sum(axis=1) / sigma**2 - 0.5 * (z**2).sum(axis=1)
            return np.where(theta[:, 2] > -25, value + theta[:, 2], -np.inf)

        rng = np.random.default_rng(3)
        start = np.concatenate([[0.0, 0.5, np.log(0.3), np.log(0.8)], np.zeros(8)]) + 0.1 * rng.standard_normal(
            (60, 12)
        )
        chain, time = run(log_density, start, 12_000, 4)
        check_draws(np.exp(chain[..., 2:3]) * chain[..., 4:], time, of_moments(moments_of(few)))


class TestDraws:
    def test_draws_have_the_posterior_they_are_drawn_from(self):
        frame = simulate(np.random.default_rng(10), schools=9, size=(3, 12), tau=8)
        n = frame.groupby("school").size().to_numpy()
        post = of_moments(moments_of(frame))
        shared = np.random.default_rng(11).normal(0, 3, (1, 9, 2))
        r = (frame.score - 110 - 0.8 * frame.prior_score).to_numpy()
        code = np.unique(frame.school, return_inverse=True)[1]
        sums, Z = np.column_stack([n, np.bincount(code, r)]), np.column_stack([np.ones(len(r)), r])
        nodes = integrate(compress_cells(n[None], sums[None], (Z.T @ Z)[None]))
        other = posterior(nodes, n[None], (sums / n[:, None])[None], "benchmark", shared)
        draws = 200_000
        for one in (post, other):
            drawn, mixture = one.draw(draws, np.random.default_rng(12)), one.effects()
            for p in (0.025, 0.5, 0.975):  # 4.5 Monte Carlo errors
                below = (drawn < mixture.quantile(p)[0]).mean(axis=0)
                assert (np.abs(below - p) < 4.5 * np.sqrt(p * (1 - p) / draws)).all()
            pair = one.differences(np.array([0]), np.array([5]))
            below = (drawn[:, 0] - drawn[:, 5] < pair.quantile(0.1)[0, 0]).mean()
            assert abs(below - 0.1) < 4.5 * np.sqrt(0.09 / draws)

    def test_the_same_seed_gives_the_same_draws_and_the_same_data_the_same_limits(self):
        frame = simulate(np.random.default_rng(13), schools=9, size=(3, 12), tau=8)
        a, b = (of_moments(moments_of(frame)) for _ in range(2))
        assert a.effects().quantile(0.1).tobytes() == b.effects().quantile(0.1).tobytes()
        assert a.draw(50, np.random.default_rng(1)).tobytes() == b.draw(50, np.random.default_rng(1)).tobytes()


class TestPlugInLimit:
    def test_a_hundred_reliable_schools_have_the_plug_in_intervals_within_a_hundredth(self):
        frame = simulate(np.random.default_rng(14), schools=100, size=(100, 150), tau=15)
        fit = va.fit_relative(frame)
        known = va.fit_relative(frame, intervals="plugin").school_effects
        own = fit.school_effects
        assert fit.intervals == "integrated" and own.effect.equals(known.effect)
        for limit in ("lower", "upper"):
            assert (np.abs(own[limit] - known[limit]) < 0.01 * (known.upper - known.lower)).all()
        np.testing.assert_allclose(own.se, known.se_comparative, rtol=0.01)

    def test_benchmark_value_added_likewise(self):
        frame = simulate(np.random.default_rng(15), schools=100, size=(100, 150), tau=15, cohorts=(2015, 2016, 2020))
        benchmark = va.fit_baseline(frame, [2015, 2016])
        own, known = (
            va.fit_benchmark(frame, 2020, benchmark, intervals=kind).school_effects for kind in ("integrated", "plugin")
        )
        for limit in ("lower", "upper"):
            assert (np.abs(own[limit] - known[limit]) < 0.01 * (known.upper - known.lower)).all()


class TestEdges:
    def test_no_variance_between_schools_gives_intervals_of_a_width(self):
        frame = simulate(np.random.default_rng(16), schools=15, size=(4, 9), tau=0)
        fit = va.fit_relative(frame)
        while not fit.singular:
            frame = simulate(np.random.default_rng(len(frame)), schools=15, size=(4, 9), tau=0)
            fit = va.fit_relative(frame)
        table = fit.school_effects
        assert (table.effect == 0).all() and (table.se_comparative == 0).all()
        assert (table.lower < 0).all() and (table.upper > 0).all() and (table.upper - table.lower > 1).all()

    def test_one_student_schools_among_others(self):
        frame = simulate(np.random.default_rng(17), schools=20, size=(1, 3), tau=20)
        assert (frame.groupby("school").size() == 1).any()
        code = np.unique(frame.school, return_inverse=True)[1]
        X = np.column_stack([np.ones(len(frame)), frame.prior_score - 480])
        check_against(Dense(X, frame.score.to_numpy() - 500, code), of_moments(moments_of(frame)))

    def test_very_unequal_schools(self):
        rng = np.random.default_rng(18)
        n = np.array([1, 1, 2, 2, 5, 30, 400, 2000])
        code = np.repeat(np.arange(8), n)
        x = rng.normal(0, 50, n.sum())
        y = 0.7 * x + 12 * rng.standard_normal(8)[code] + 45 * rng.standard_normal(n.sum())
        Z = np.column_stack([np.ones(n.sum()), x, y])
        sums = np.stack([np.bincount(code, z) for z in Z.T], axis=1)
        nodes = integrate(compress_cells(n[None], sums[None], (Z.T @ Z)[None]))
        check_against(Dense(Z[:, :2], y, code), posterior(nodes, n[None], (sums / n[:, None])[None]))

    @pytest.mark.parametrize("schools", [3, 4, 5])
    def test_at_the_limit_of_propriety(self, schools):
        """Three schools: the tail of phi is phi^-2, so the limits stand but no mean; four: no variance; five: both."""
        frame = simulate(np.random.default_rng(19), schools=schools, size=(6, 12), tau=10)
        post = of_moments(moments_of(frame))
        code = np.unique(frame.school, return_inverse=True)[1]
        X = np.column_stack([np.ones(len(frame)), frame.prior_score - 480])
        dense = Dense(X, frame.score.to_numpy() - 500, code, log_tau=(-20, 42), n_tau=900)
        check_against(dense, post, moments=False)
        mixture = post.effects()
        assert np.isfinite(mixture.expectation()).all() == (schools > 3)
        assert np.isfinite(mixture.sd()).all() == (schools > 4)

    @pytest.mark.parametrize(
        ("schools", "formula", "needed"),
        [(2, "score ~ prior_score", 3), (3, "score ~ prior_score + school_mean(prior_score)", 4)],
    )
    def test_too_few_schools_are_refused_with_the_number_that_is_needed(self, schools, formula, needed):
        frame = simulate(np.random.default_rng(20), schools=schools, size=(9, 12), tau=10)
        data = compress(moments_of(frame, formula))
        with pytest.raises(ModelError, match=f"at least {needed} schools"):
            integrate(data)
        assert f"there are {schools}" in check_proper(data)
        with pytest.warns(ValibWarning, match=f"at least {needed} schools"):
            fit = va.fit_relative(frame, formula=formula)
        assert fit.intervals == "plugin" and fit.summary()["intervals"] == "plugin"

    def test_too_few_students_within_schools_are_refused(self):
        """Five schools, seven students, intercept and three slopes: the two within schools are used up."""
        n = np.array([[2, 2, 1, 1, 1]])
        Z = np.random.default_rng(21).normal(size=(7, 5))
        Z[:, 0] = 1.0
        sums = np.add.reduceat(Z, [0, 2, 4, 5, 6])
        with pytest.raises(ModelError, match="more students"):
            integrate(compress_cells(n, sums[None], (Z.T @ Z)[None]))

    def test_reliability_near_one(self):
        """Then lambda is 1 and the limits are those of school means with common standard error."""
        rng, J, n = np.random.default_rng(22), 12, 500
        code = np.repeat(np.arange(J), n)
        y = 5000 * rng.standard_normal(J)[code] + rng.standard_normal(J * n)
        Z = np.column_stack([np.ones(J * n), y])
        sums = np.stack([np.bincount(code, z) for z in Z.T], axis=1)
        sizes = np.full((1, J), n)
        nodes = integrate(compress_cells(sizes, sums[None], (Z.T @ Z)[None]))
        mean = sums[:, 1] / n
        pair = posterior(nodes, sizes, (sums / n)[None]).differences(np.array([0]), np.array([1]))
        centre, half = mean[0] - mean[1], stats.norm.ppf(0.975) * np.sqrt(2 / n)
        assert pair.expectation()[0, 0] == pytest.approx(centre, rel=1e-6)
        assert pair.interval()[1][0, 0] - centre == pytest.approx(half, rel=0.05)

    def test_a_school_without_students_has_the_prior_of_one_more_school(self):
        frame = simulate(np.random.default_rng(23), schools=12, size=(10, 30), tau=15)
        moments = moments_of(frame)
        nodes = integrate(compress(moments))
        n, means = np.append(moments.n, 0.0), np.vstack([moments.sums / moments.n[:, None], np.zeros((1, 3))])
        mixture = posterior(nodes, n[None], means[None]).effects()
        lower, upper = mixture.interval()
        assert lower[0, -1] == pytest.approx(-upper[0, -1], rel=1e-9)
        assert mixture.sd()[0, -1] > mixture.sd()[0, :-1].max()

    def test_batches_are_the_data_sets_one_by_one(self):
        frames = [simulate(np.random.default_rng(s), schools=10, size=(2, 30), tau=t) for s, t in ((1, 0), (2, 60))]
        R, J = 2, 10
        n, sums, cross = np.zeros((R, J)), np.zeros((R, J, 3)), np.zeros((R, 3, 3))
        for r, frame in enumerate(frames):
            m = moments_of(frame).reshift(np.array([0.0, 480.0, 500.0]))
            n[r], sums[r], cross[r] = m.n, m.sums, m.pooled()
        both = posterior(integrate(compress_cells(n, sums, cross)), n, sums / n[..., None]).effects().interval()
        for r in range(R):
            one = slice(r, r + 1)
            nodes = integrate(compress_cells(n[one], sums[one], cross[one]))
            alone = posterior(nodes, n[one], sums[one] / n[one][..., None]).effects().interval()
            for a, b in zip(both, alone, strict=True):
                np.testing.assert_allclose(a[r], b[0], rtol=1e-9, atol=1e-9)

    def test_another_target_is_refused(self):
        frame = simulate(np.random.default_rng(1), schools=10)
        moments = moments_of(frame)
        with pytest.raises(ModelError, match="target"):
            posterior(integrate(compress(moments)), moments.n[None], moments.sums[None], "absolute")
