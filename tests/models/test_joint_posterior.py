"""The posterior of several cohorts: where it factorises, against draws of another kind, MCMC, and its diagnostics."""

from __future__ import annotations

import emcee
import numpy as np
import pytest
from conftest import simulate
from scipy import stats

import valib as va
from valib.effects import joint as joint_module
from valib.errors import ModelError, ValibWarning
from valib.models import importance
from valib.models import joint_posterior as module
from valib.models.importance import pareto_k
from valib.models.joint_likelihood import stack_moments
from valib.models.joint_posterior import integrate_joint
from valib.models.likelihood import compress
from valib.models.mixed import fit_moments
from valib.models.posterior import integrate, posterior
from valib.sums.students import sum_students

GRID = 5e-4  # of a probability: the error of the grid and of one t for the nodes of sigma
DRAWN = 0.006  # the same of weighted draws: thrice what is seen at some thousand effective ones


def panel(seed, schools=14, size=(3, 12), cohorts=(2019, 2021), **world):
    return simulate(np.random.default_rng(seed), schools=schools, size=size, cohorts=cohorts, **world)


def moments_by_cohort(frame):
    cohorts = sorted(frame.cohort.unique())
    return [sum_students(frame, [c], "score ~ prior_score").moments for c in cohorts]


def stacked(frame):
    parts = moments_by_cohort(frame)
    return stack_moments(parts, [fit_moments(m).coefficients for m in parts])


def apart(frame):
    """Every cohort with schools of its own."""
    return frame.assign(school=frame.school + frame.cohort.astype(str))


class TestCohortsThatShareNoSchool:
    """Then nothing is known of the correlations, and every cohort has the posterior that it has alone."""

    @pytest.mark.parametrize(("cohorts", "close"), [((2019, 2021), GRID), ((2019, 2020, 2021), DRAWN)])
    @pytest.mark.parametrize("tau", [4.0, 25.0])
    def test_effects_are_those_of_the_cohort_alone(self, cohorts, close, tau):
        frame = apart(panel(1, tau=tau, cohorts=cohorts))
        data, parts = stacked(frame), moments_by_cohort(frame)
        nodes = integrate_joint(data)
        assert nodes.trusted and (nodes.angles is not None) == (len(cohorts) == 2)
        for t, m in enumerate(parts):
            one = posterior(integrate(compress(m)), m.n[None], (m.sums / m.n[:, None])[None]).effects()
            here = np.flatnonzero(data.n[:, t])
            assert list(data.schools[here]) == list(m.schools[m.cell_school])
            both = nodes.contrast(np.eye(len(cohorts))[t], here)
            for p in (0.025, 0.5, 0.975):
                np.testing.assert_allclose(one.cdf(both.quantile(p)), p, atol=close)
            np.testing.assert_allclose(both.sd(), one.sd(), rtol=0.02)

    def test_correlations_are_as_the_prior_has_them(self):
        """Flat over matrices: for two cohorts flat, for three (1 + r) / 2 ~ Beta(3/2, 3/2), whose variance is 1/4."""
        nodes = integrate_joint(stacked(apart(panel(2))))
        mean, sd, lower, upper = nodes.correlation(0, 1)
        assert (mean, sd) == (pytest.approx(0, abs=1e-3), pytest.approx(1 / np.sqrt(3), abs=1e-3))
        assert (lower, upper) == (pytest.approx(-0.95, abs=1e-3), pytest.approx(0.95, abs=1e-3))
        nodes = integrate_joint(stacked(apart(panel(3, tau=25.0, cohorts=(2019, 2020, 2021)))))
        wanted = 2 * stats.beta(1.5, 1.5).ppf(0.975) - 1
        for pair in ((0, 1), (0, 2), (1, 2)):
            mean, sd, lower, upper = nodes.correlation(*pair)
            assert mean == pytest.approx(0, abs=0.04) and sd == pytest.approx(0.5, abs=0.02)
            assert upper == pytest.approx(wanted, abs=0.03) and lower == pytest.approx(-wanted, abs=0.03)


class TestGrid:
    @pytest.mark.parametrize("world", [{"tau": 5.0}, {"tau": 20.0, "rho": 0.9}])
    def test_a_finer_grid_agrees(self, world, monkeypatch):
        data = stacked(panel(4, **world))
        coarse = integrate_joint(data)
        for name, value in (("STEP", 0.2), ("ANGLES", 32), ("DROP", 20.0), ("LEFT_OUT", 1e-8), ("FEWEST", 26)):
            monkeypatch.setattr(module, name, value)
        fine = integrate_joint(data).change(0, 1)
        for p in (0.025, 0.5, 0.975):
            np.testing.assert_allclose(fine.cdf(coarse.change(0, 1).quantile(p)), p, atol=GRID)

    def test_one_t_stands_for_the_nodes_of_sigma(self):
        rng = np.random.default_rng(5)
        share = rng.dirichlet(np.full(9, 5.0), 4)[:, :, None]
        variance = np.exp(0.1 * rng.standard_normal((4, 9, 6)))  # as of a hundred degrees of freedom
        mean = 0.03 * rng.standard_normal((4, 9, 6))
        centre, scale2, df = module._one_component(mean, variance, share)
        for x in (-2.0, 0.3, 2.0):
            exact = (share * stats.norm.cdf((x - mean) / np.sqrt(variance))).sum(axis=1)
            np.testing.assert_allclose(stats.t.cdf((x - centre) / np.sqrt(scale2), df), exact, atol=1e-3)

    def test_weighted_draws_of_two_cohorts_agree_with_the_grid(self):
        data = stacked(panel(6, schools=20, size=(8, 20), tau=12.0, rho=0.6))
        grid = integrate_joint(data)
        alone = [module._cohort(data, t) for t in range(2)]
        centre = np.concatenate([module.place(one)[0] for one in alone])
        drawn = module._draw(data, centre, 18.0, 1)
        assert drawn.trusted and drawn.effective > 500
        for p in (0.025, 0.5, 0.975):
            np.testing.assert_allclose(grid.change(0, 1).cdf(drawn.change(0, 1).quantile(p)), p, atol=DRAWN)
        assert drawn.correlation(0, 1)[0] == pytest.approx(grid.correlation(0, 1)[0], abs=0.03)

    def test_some_schools_are_those_of_all(self):
        nodes = integrate_joint(stacked(panel(7)))
        rows = np.array([2, 5, 11])
        np.testing.assert_allclose(nodes.change(0, 1, rows).quantile(0.1), nodes.change(0, 1).quantile(0.1)[:, rows])


def cells(frame):
    """By cohort: positions of the students' schools, X and y."""
    names = np.unique(frame.school)
    out = []
    for c in sorted(frame.cohort.unique()):
        rows = frame[frame.cohort == c]
        X = np.column_stack([np.ones(len(rows)), (rows.prior_score - 480) / 60])
        out.append((np.searchsorted(names, rows.school), X, rows.score.to_numpy() - 500))
    return len(names), out


@pytest.mark.long
class TestAgainstMcmc:
    @pytest.mark.parametrize("T", [2, 3])
    def test_changes_and_the_correlation(self, T):
        """emcee in (b, log tau, log sigma, R), R flat over correlation matrices; u from its conditional normal."""
        frame = panel(8 + T, schools=12, size=(4, 10), cohorts=(2019, 2020, 2021)[:T], tau=18.0, rho=0.5)
        J, students = cells(frame)
        n = np.stack([np.bincount(code, minlength=J) for code, _, _ in students], axis=1)
        sums = [
            (np.stack([np.bincount(code, x, J) for x in X.T], axis=1), np.bincount(code, y, J))
            for code, X, y in students
        ]
        pairs = np.triu_indices(T, 1)

        def parts(theta):
            b = theta[:, : 2 * T].reshape(-1, T, 2)
            tau, sigma2 = np.exp(theta[:, 2 * T : 3 * T]), np.exp(2 * theta[:, 3 * T : 4 * T])
            R = np.zeros((len(theta), T, T)) + np.eye(T)
            R[:, pairs[0], pairs[1]] = R[:, pairs[1], pairs[0]] = theta[:, 4 * T :]
            left = np.stack([y - b[:, t] @ x.T for t, (x, y) in enumerate(sums)], axis=2)  # (walkers, J, T)
            return b, tau, sigma2, R, left

        def log_density(theta):
            b, tau, sigma2, R, left = parts(theta)
            size = theta[:, 2 * T : 3 * T]  # beyond these ends lies a mass of 1e-9, and rounding rules
            good = (np.linalg.eigvalsh(R)[:, 0] > 1e-9) & ((size > -20) & (size < 8)).all(axis=1)
            R = np.where(good[:, None, None], R, np.eye(T))
            omega = tau[:, :, None] * tau[:, None, :] * R
            value = theta[:, 2 * T : 3 * T].sum(axis=1) + 0.0
            for t, (_, X, y) in enumerate(students):
                value -= 0.5 * len(y) * np.log(sigma2[:, t])
                value -= 0.5 * ((y - b[:, t] @ X.T) ** 2).sum(axis=1) / sigma2[:, t]
            D = n / sigma2[:, None]  # Woodbury by way of (I + Omega D): Omega may be nearly singular
            M = np.eye(T) + omega[:, None] @ (D[..., None] * np.eye(T))
            value -= 0.5 * np.linalg.slogdet(M)[1].sum(axis=1)
            s = left / sigma2[:, None]
            u = np.linalg.solve(M, (omega[:, None] @ s[..., None]))[..., 0]
            return np.where(good, value + 0.5 * (s * u).sum(axis=(1, 2)), -np.inf)

        rng = np.random.default_rng(T)
        d = 4 * T + len(pairs[0])
        middle = np.concatenate([np.tile([0.0, 48.0], T), np.full(T, 2.7), np.full(T, 3.8), np.full(d - 4 * T, 0.3)])
        start = middle + 0.1 * rng.standard_normal((6 * d, d))
        moves = [(emcee.moves.DEMove(), 0.8), (emcee.moves.DESnookerMove(), 0.2)]
        sampler = emcee.EnsembleSampler(*start.shape, log_density, vectorize=True, moves=moves)
        sampler.random_state = np.random.RandomState(T).get_state()
        sampler.run_mcmc(start, 6000)
        chain = sampler.get_chain(discard=1500)
        time = float(np.max(emcee.autocorr.integrated_time(chain, tol=10, quiet=True)))
        thin = chain[:: max(1, int(time / 2))].reshape(-1, d)
        effective = chain[..., 0].size / time
        assert effective > 1000, f"the chain is too short: {effective:.0f}"
        _, tau, sigma2, R, left = parts(thin)
        omega = tau[:, :, None] * tau[:, None, :] * R
        D = n / sigma2[:, None]
        M = np.eye(T) + omega[:, None] @ (D[..., None] * np.eye(T))
        mean = np.linalg.solve(M, omega[:, None] @ (left / sigma2[:, None])[..., None])[..., 0]
        spread = np.linalg.solve(M, np.broadcast_to(omega[:, None], M.shape))
        c = np.zeros(T)
        c[0], c[-1] = -1.0, 1.0
        sd = np.sqrt(np.maximum(np.einsum("s,wjst,t->wj", c, spread, c), 1e-12))  # rounding, at correlations near 1
        nodes = integrate_joint(stacked(frame))
        mixture = nodes.change(0, T - 1)
        for p in (0.025, 0.5, 0.975):
            below = stats.norm.cdf((mixture.quantile(p)[0] - mean @ c) / sd)
            error = below.std(axis=0) / np.sqrt(effective)
            assert (np.abs(below.mean(axis=0) - p) < 4.5 * error + (GRID if T == 2 else DRAWN)).all()
        r = thin[:, 4 * T + (0 if T == 2 else 1)]
        rho = nodes.correlation(0, T - 1)
        assert abs(r.mean() - rho[0]) < 4.5 * r.std() / np.sqrt(effective) + (0.001 if T == 2 else 0.02)
        assert abs((r < rho[2]).mean() - 0.025) < 4.5 * np.sqrt(0.025 * 0.975 / effective) + DRAWN


class TestParetoK:
    @pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
    def test_the_shape_of_a_pareto_tail_is_found(self, k):
        w = stats.genpareto(k).rvs(200_000, random_state=np.random.default_rng(1))
        assert pareto_k(np.log(w)) == pytest.approx(k, abs=0.1)

    def test_light_tails_and_equal_weights(self):
        assert pareto_k(np.log(np.random.default_rng(2).uniform(1, 2, 4000))) < 0
        assert pareto_k(np.zeros(4000)) == -np.inf


class TestChangeInValueAdded:
    def test_many_reliable_schools_have_the_plug_in_intervals(self):
        frame = panel(20, schools=100, size=(80, 120), tau=15.0, rho=0.6)
        joint = va.fit_joint(frame, [2019, 2021])
        own, known = (va.change_in_va(joint, 2019, 2021, intervals=kind) for kind in ("integrated", "plugin"))
        assert (own.attrs["intervals"], known.attrs["intervals"]) == ("integrated", "plugin")
        assert own["change"].equals(known["change"])
        for limit in ("lower", "upper"):  # changes of four standard deviations feel what is not known of rho most
            off = np.abs(own[limit] - known[limit]) / (known["upper"] - known["lower"])
            assert off.median() < 0.01 and off.max() < 0.03

    def test_a_singular_fit_is_not_taken_as_known(self):
        for seed in range(50):
            joint = va.fit_joint(panel(seed, schools=10, tau=8.0, rho=0.7), [2019, 2021])
            if joint.singular:
                break
        own, known = (va.change_in_va(joint, 2019, 2021, intervals=kind) for kind in ("integrated", "plugin"))
        assert joint.singular and (own["se"] > 0).all() and not (own["se"] < known["se"]).any()

    def test_the_same_fit_gives_the_same_limits(self):
        joint = va.fit_joint(panel(21, cohorts=(2019, 2020, 2021), tau=15.0), [2019, 2020, 2021])
        first = va.change_in_va(joint, 2019, 2021)
        joint_module._posterior.cache_clear()
        assert first.equals(va.change_in_va(joint, 2019, 2021))

    def test_independent_cohorts_have_the_change_of_their_own_posteriors(self):
        """Draws of the two cohorts by themselves; where they share no school it is the grid's contrast, too."""
        frame = panel(26, schools=9, size=(3, 12), tau=9.0)
        joint = va.fit_joint(frame, [2019, 2021], covariance="independent")
        table = va.change_in_va(joint, 2019, 2021)
        assert table.attrs["intervals"] == "integrated"
        drawn = [va.fit_relative(frame, c).posterior.draw(200_000, np.random.default_rng(c)) for c in (2019, 2021)]
        change = drawn[1] - drawn[0]
        for limit, p in (("lower", 0.025), ("upper", 0.975)):
            below = (change < table[limit].to_numpy()).mean(axis=0)
            assert (np.abs(below - p) < 4.5 * np.sqrt(p * (1 - p) / 200_000)).all()
        np.testing.assert_allclose(table["se"], change.std(axis=0), rtol=0.02)

    def test_where_the_estimates_are_taken_as_known_the_table_says_so(self):
        frame = panel(22, tau=15.0)
        for joint in (
            va.fit_joint(frame, [2019, 2021], covariance="compound_symmetry"),
            va.fit_joint(frame, [2019, 2021], residual="common"),
        ):
            assert va.change_in_va(joint, 2019, 2021).attrs["intervals"] == "plugin"

    def test_too_few_schools_warn_and_name_the_cohort(self):
        frame = panel(23, schools=4, size=(9, 12), tau=20.0)
        frame = frame[(frame.cohort == 2019) | frame.school.isin(["S0000", "S0001"])]
        joint = va.fit_joint(frame, [2019, 2021])
        with pytest.raises(ModelError, match="Cohort 2021: .* at least 3 schools .* there are 2"):
            integrate_joint(joint.arrays.data)
        with pytest.warns(ValibWarning, match="Cohort 2021"):
            assert va.change_in_va(joint, 2019, 2021).attrs["intervals"] == "plugin"

    def test_draws_that_cannot_be_trusted_warn(self, monkeypatch):
        joint = va.fit_joint(panel(24, cohorts=(2019, 2020, 2021), tau=15.0), [2019, 2020, 2021])
        monkeypatch.setattr(importance, "FEWEST_DRAWS", 1e9)
        joint_module._posterior.cache_clear()
        with pytest.warns(ValibWarning, match="independent ones"):
            va.change_in_va(joint, 2019, 2021)
        joint_module._posterior.cache_clear()

    def test_a_cohort_against_itself_has_not_changed(self):
        joint = va.fit_joint(panel(27, tau=15.0), [2019, 2021])
        table = va.change_in_va(joint, 2021, 2021)
        assert not table[["change", "se"]].any(axis=None)

    def test_another_word_is_refused(self):
        joint = va.fit_joint(panel(25), [2019, 2021])
        with pytest.raises(ModelError, match="integrated, plugin"):
            va.change_in_va(joint, 2019, 2021, intervals="exact")
