"""Correlations of school effects over years: closed forms, dense algebra, R's values, and simulation."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import reference, simulate
from scipy import stats
from worlds import moments_of

from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import fit_benchmark
from valib.effects.change import _cross_fifths as cross_fifths
from valib.effects.change import change_in_va, quintile_transitions
from valib.effects.joint import fit_joint, joint_from_moments
from valib.effects.relative import fit_relative, relative_from_design
from valib.effects.stability import (
    WAYS,
    TwoStep,
    _of_one,
    attenuation_curves,
    correlate_all,
    correlations,
    expected_correlations,
    fit_cohorts,
    mean_reliability,
    pairwise_correlation,
    reflate_matrix,
    two_step,
    two_step_correlations,
)
from valib.errors import ModelError
from valib.models.blup import correlation_interval, delta_error, predict_blup
from valib.models.joint_fit import fit_all, fit_joint_moments, stack_sums
from valib.models.mixed import fit_moments
from valib.simulation.draw import draw
from valib.simulation.worlds import scenario
from valib.sums.design import build_design
from valib.sums.moments import compute_moments

R = 1e-8  # R's variance components were polished to about 1e-10; correlations inherit it
EXACT = 1e-9  # double precision through the inverse of a matrix of some hundred rows
FORMULA = "score ~ prior_score"
YEARS = [2015, 2016, 2017, 2019, 2021, 2024]
NORMAL = stats.norm.ppf(0.975)


@pytest.fixture(scope="module")
def sim():
    return reference("case8_two_step_correlations")["sim"]


@pytest.fixture(scope="module")
def separate(panel):
    return [fit_relative(panel, year) for year in YEARS]


@pytest.fixture(scope="module")
def joint(panel):
    return fit_joint(panel, YEARS)


def pair_of(matrix: dict, t: int, s: int) -> float:
    return matrix["matrix"][YEARS.index(t)][YEARS.index(s)]


class TestAgainstR:
    """lme4's separate models and the joint model of the reference panel, all fifteen pairs of cohorts."""

    def test_two_step_correlations(self, sim, separate):
        data = two_step(separate)
        unshrunken, mean = pairwise_correlation(data.unshrunken), mean_reliability(data)
        for name, ours in (
            ("shrunken", pairwise_correlation(data.effects)),
            ("unshrunken", unshrunken),
            ("reflated", pairwise_correlation(data.reflated)),
            ("disattenuated", unshrunken / np.sqrt(mean * mean.T)),
        ):
            theirs = np.array(sim["correlation"][name]["matrix"])
            off = ~np.eye(6, dtype=bool)
            assert abs(ours - theirs)[off].max() < R, name

    def test_what_the_predictions_spread(self, sim, separate):
        data = two_step(separate)
        factor = np.nanmean(data.reflated / data.effects, axis=0)
        for name, ours in (
            ("var_shrunken_Jminus1", np.nanvar(data.effects, axis=0, ddof=1)),
            ("var_unshrunken_Jminus1", np.nanvar(data.unshrunken, axis=0, ddof=1)),
            ("reflation_factor_Jminus1", factor),
            ("sigma2_b", data.tau2),
            ("sigma2", data.sigma2),
            ("mean_lambda", np.nanmean(data.shrinkage, axis=0)),
        ):
            np.testing.assert_allclose(ours, [sim[name][str(y)] for y in YEARS], rtol=R, err_msg=name)
        np.testing.assert_allclose(np.nanvar(data.reflated, axis=0, ddof=1), data.tau2, rtol=1e-12)

    @pytest.mark.parametrize("residual", ["common", "by_cohort"])
    def test_joint_correlations_and_the_table(self, panel, sim, separate, joint, residual):
        fit = joint if residual == "by_cohort" else fit_joint(panel, YEARS, residual=residual)
        theirs = sim["joint_common_residual" if residual == "common" else "joint_year_specific_residual"]
        table = correlations(separate, fit)
        assert len(table) == 15 * 6 and table["way"].tolist() == list(WAYS) * 15
        apart = sim["correlation"]
        for way, matrix in (
            ("joint_model", theirs["model_correlation"]),
            ("eb", apart["shrunken"]),
            ("joint_eb", theirs["eb_correlation_present"]),
            ("disattenuated", apart["disattenuated"]),
        ):
            for row in table[table["way"] == way].itertuples():
                assert row.correlation == pytest.approx(pair_of(matrix, row.cohort, row.other), abs=R), way
                assert row.schools == pair_of(sim["n_schools_shared"], row.cohort, row.other)


class TestExpected:
    @pytest.mark.parametrize(("rho", "eb", "joint_eb"), [(0.5, 0.400, 0.588), (0.7, 0.560, 0.801), (0.9, 0.720, 0.967)])
    def test_the_closed_numbers_of_balanced_schools(self, rho, eb, joint_eb):
        """lambda = .8: 20 students, tau2 = 1, sigma2 = 5; also on another scale and with other schools of that kind."""
        for J, scale in ((1, 1.0), (7, 225.0)):
            omega = scale * np.array([[1, rho], [rho, 1]])
            found = expected_correlations(np.full((J, 2), 20.0), omega, np.full(2, 5 * scale))
            values = {way: found[way][0, 1] for way in WAYS}
            assert {w: round(v, 3) for w, v in values.items()} == {
                "eb": eb,
                "unshrunken": eb,
                "reflated": eb,
                "disattenuated": rho,
                "joint_eb": joint_eb,
                "joint_model": rho,
            }

    def test_unequal_reliabilities_by_the_formula_of_the_specification(self):
        """Balanced schools, lambda .8 and .5: rho sqrt(lambda_1 lambda_2), and Omega (Omega + N^-1)^-1 Omega."""
        omega = np.array([[4.0, 3.0], [3.0, 9.0]])
        n, sigma2 = np.full((3, 2), 10.0), 10 * np.array([4 / 4, 9 / 1])
        found = expected_correlations(n, omega, sigma2)
        assert found["eb"][0, 1] == pytest.approx(0.5 * np.sqrt(0.8 * 0.5))
        C = omega @ np.linalg.inv(omega + np.diag(sigma2 / 10)) @ omega
        assert found["joint_eb"][0, 1] == pytest.approx(C[0, 1] / np.sqrt(C[0, 0] * C[1, 1]))

    def test_unbalanced_schools_that_miss_cohorts_by_dense_algebra(self):
        """Covariances of every prediction from V = Z Omega Z' + S written out, averaged over the shared schools."""
        rng = np.random.default_rng(3)
        L = rng.normal(0, 5, (3, 3))
        omega, sigma2 = L @ L.T, np.array([300.0, 200.0, 400.0])
        n = rng.integers(1, 12, (8, 3)) * (rng.random((8, 3)) > 0.25)
        covs = {"eb": [], "unshrunken": [], "joint_eb": []}
        lam = np.zeros((8, 3))
        for j, sizes in enumerate(n):
            who = np.repeat(np.arange(3), sizes)
            Z = np.eye(3)[who]
            V = Z @ omega @ Z.T + np.diag(sigma2[who])
            joint = omega @ Z.T @ np.linalg.inv(V)
            means = (Z / np.maximum(sizes, 1)).T
            own = np.zeros((3, len(who)))
            for t in np.flatnonzero(sizes):
                k = who == t
                own[t, k] = omega[t, t] * np.ones(k.sum()) @ np.linalg.inv(V[np.ix_(k, k)])
                lam[j, t] = own[t, k].sum()
            for way, K in (("eb", own), ("unshrunken", means), ("joint_eb", joint)):
                covs[way].append(K @ V @ K.T)
        found = expected_correlations(n, omega, sigma2)
        for t, s in ((0, 1), (0, 2), (1, 2)):
            both = (n[:, t] > 0) & (n[:, s] > 0)
            values = {}
            for way, per_school in covs.items():
                C = np.mean(np.array(per_school)[both], axis=0)
                values[way] = C[t, s] / np.sqrt(C[t, t] * C[s, s])
            values |= {"reflated": values["eb"], "joint_model": omega[t, s] / np.sqrt(omega[t, t] * omega[s, s])}
            values["disattenuated"] = values["unshrunken"] / np.sqrt(lam[both, t].mean() * lam[both, s].mean())
            for way in WAYS:
                assert found[way][t, s] == found[way][s, t] == pytest.approx(values[way], rel=EXACT), way

    def test_the_boundary_and_cohorts_without_a_shared_school_have_no_value_and_no_warning(self, recwarn):
        n = np.array([[5, 0, 3], [0, 4, 2], [0, 6, 1.0]])
        omega = np.array([[4, 2, 0], [2, 4, 0], [0, 0, 0.0]])
        found = expected_correlations(n, omega, np.full(3, 9.0))
        for way in WAYS[:-1]:
            assert np.isnan(found[way][0, 1]) and np.isnan(found[way][1, 2])
        assert found["joint_model"][0, 1] == 0.5 and np.isnan(found["joint_model"][0, 2])
        assert not len(recwarn)

    def test_attenuation_curves_are_the_closed_forms(self):
        table = attenuation_curves([0.3, 0.9], [0.2, 0.8])
        assert len(table) == 2 * 2 * len(WAYS)
        for row in table.itertuples():
            N = (1 / row.reliability - 1) * np.eye(2)
            omega = np.array([[1, row.rho], [row.rho, 1]])
            C = omega @ np.linalg.inv(omega + N) @ omega
            closed = {"eb": row.rho * row.reliability, "disattenuated": row.rho, "joint_eb": C[0, 1] / C[0, 0]}
            closed |= {"unshrunken": closed["eb"], "reflated": closed["eb"], "joint_model": row.rho}
            assert row.expected == pytest.approx(closed[row.way], rel=1e-12)
        assert attenuation_curves([0.5])["reliability"].agg(["min", "max"]).tolist() == [0.02, 0.98]


class TestTable:
    def test_intervals_by_hand(self, separate, joint):
        table = correlations(separate, joint).set_index(["cohort", "other", "way"])
        row = table.loc[2015, 2024, "unshrunken"]
        limits = np.tanh(np.arctanh(row.correlation) + np.array([-1, 1]) * NORMAL / np.sqrt(row.schools - 3))
        np.testing.assert_allclose([row.lower, row.upper], limits)
        lam = two_step(separate).shrinkage[:, [0, 5]]
        scale = np.sqrt(np.prod(lam[np.isfinite(lam).all(axis=1)].mean(axis=0)))
        wide = table.loc[2015, 2024, "disattenuated"]
        np.testing.assert_allclose(wide[["correlation", "lower", "upper"]], [row.correlation / scale, *limits / scale])
        model = joint.correlations().set_index(["cohort", "other"]).loc[2015, 2024]
        ours = table.loc[2015, 2024, "joint_model"]
        assert ours[["correlation", "lower", "upper"]].tolist() == model[["correlation", "lower", "upper"]].tolist()
        n = two_step(separate).n
        expected = expected_correlations(n, joint.omega.to_numpy(), joint.sigma2.to_numpy())
        for way in WAYS:
            assert table.loc[2015, 2024, way].expected == expected[way][0, 5]

    def test_reflating_changes_no_correlation_and_eb_is_below_the_model(self, separate, joint):
        wide = correlations(separate, joint).pivot(index=["cohort", "other"], columns="way", values="correlation")
        np.testing.assert_allclose(wide["reflated"], wide["eb"], rtol=1e-12)
        expected = correlations(separate, joint).pivot(index=["cohort", "other"], columns="way", values="expected")
        assert (abs(expected["eb"]) < abs(expected["joint_model"])).all()

    def test_two_cohorts_are_one_pair_in_any_order_of_the_fits(self, panel, separate):
        pair = fit_joint(panel, [2019, 2024])
        table = correlations([separate[5], separate[3]], pair)
        assert (table["cohort"] == 2019).all() and (table["other"] == 2024).all() and len(table) == 6
        assert np.isfinite(table.drop(columns="way")).all().all()

    def test_cohorts_that_share_no_school_have_a_model_correlation_only(self, panel):
        names = panel.school.unique()
        apart = panel[
            ~((panel.cohort == 2016) & panel.school.isin(names[:30]))
            & ~((panel.cohort == 2024) & panel.school.isin(names[30:]))
        ]
        years = [2016, 2019, 2024]
        joint = fit_joint(apart, years, covariance="ar1", residual="common")
        table = correlations([fit_relative(apart, y) for y in years], joint)
        gone = table[(table.cohort == 2016) & (table.other == 2024)].set_index("way")
        assert (gone["schools"] == 0).all()
        numbers = gone.drop(columns=["cohort", "other", "schools"])
        assert numbers.drop("joint_model").isna().all().all() and numbers.loc["joint_model"].notna().all()
        rest = table[(table.cohort != 2016) | (table.other != 2024)]
        assert rest[["correlation", "expected"]].notna().all().all()

    def test_few_shared_schools_have_no_fisher_interval(self):
        effects = np.array([[1.0, 2, np.nan], [2, 1, 5], [4, 3, 6], [np.nan, 2, 7]])
        found = pairwise_correlation(effects)
        assert found[0, 2] == pytest.approx(1.0) and found[0, 1] == pytest.approx(np.corrcoef(effects[:3, :2].T)[0, 1])
        lone = pairwise_correlation(np.array([[1.0, np.nan], [2, 3]]))
        flat = pairwise_correlation(np.array([[1.0, 5], [2, 5], [3, 5]]))
        assert np.isnan(lone[0, 1]) and np.isnan(flat[0, 1])

    def test_at_a_perfect_correlation_the_model_has_no_interval(self):
        data = simulate(np.random.default_rng(4), schools=15, size=(4, 9), cohorts=(2019, 2021), rho=1.0)
        fit = fit_joint(data, [2019, 2021], covariance="compound_symmetry")
        assert fit.singular and fit.correlation.iloc[0, 1] == pytest.approx(1, abs=1e-6)
        table = correlations([fit_relative(data, c) for c in (2019, 2021)], fit).set_index("way")
        assert np.isnan(table.loc["joint_model", ["lower", "upper"]].astype(float)).all()
        assert table.loc["joint_eb", "expected"] == pytest.approx(1, abs=1e-6)

    def test_what_cannot_be_correlated_is_refused(self, small, panel, separate, joint):
        with pytest.raises(ModelError, match=r"are of \[2015, 2016\], the joint fit of \[2015, 2016, 2017"):
            correlations(separate[:2], joint)
        flat = replace(separate[2], singular=True)
        with pytest.raises(ModelError, match="between-school variance of cohort 2017 is zero"):
            two_step([separate[0], flat])
        benchmark = fit_baseline(small, [2015, 2016])
        with pytest.raises(ModelError, match="are of relative fits"):
            two_step([fit_relative(small, 2016), fit_benchmark(small, 2021, benchmark)])

    def test_matrix_reflation_reproduces_omega_and_so_the_model(self, panel):
        whole = panel.groupby("school").cohort.nunique() == len(YEARS)
        fit = fit_joint(panel[panel.school.map(whole)], YEARS, covariance="compound_symmetry")
        moved = reflate_matrix(fit.arrays.effects, fit.omega.to_numpy())
        np.testing.assert_allclose(moved.T @ moved / len(moved), fit.omega, rtol=1e-9)
        assert abs(np.corrcoef(moved.T)[0, 1] - fit.correlation.iloc[0, 1]) < 1e-3  # about 0, not about the mean


class World:
    """Two cohorts of the same schools and students' priors, new effects and scores at each draw; fits from arrays."""

    def __init__(self, sizes: np.ndarray, tau: float, sigma: float, rho: float):
        rng = np.random.default_rng(99)
        self.sigma, self.L = sigma, tau * np.linalg.cholesky([[1, rho], [rho, 1]])
        self.omega, self.J = self.L @ self.L.T, len(sizes)
        names = np.array([f"S{j:03d}" for j in range(self.J)])
        self.designs, self.school = [], [np.repeat(np.arange(self.J), sizes[:, t]) for t in range(2)]
        for t, year in enumerate((2019, 2021)):
            frame = pd.DataFrame({"school": names[self.school[t]], "cohort": year, "score": 0.0})
            frame["prior_score"] = rng.normal(480, 60, len(frame))
            self.designs.append(build_design(frame, FORMULA))

    def draw(self, rng: np.random.Generator) -> SimpleNamespace:
        u = rng.standard_normal((self.J, 2)) @ self.L.T
        drawn = [
            replace(d, y=100 + 0.8 * d.X[:, 1] + u[who, t] + self.sigma * rng.standard_normal(len(who)))
            for t, (d, who) in enumerate(zip(self.designs, self.school, strict=True))
        ]
        fits = [relative_from_design(d, "ML", 0.95, year) for d, year in zip(drawn, (2019, 2021), strict=True)]
        return SimpleNamespace(u=u, fits=fits, joint=joint_from_moments([compute_moments(d) for d in drawn], FORMULA))


@pytest.fixture(scope="module")
def recovered():
    """80 draws of 80 schools of 9 students, tau 15, sigma 22.5 (lambda = .8), rho = .7: the balanced design."""
    world, rng = World(np.full((80, 2), 9), 15.0, 22.5, 0.7), np.random.default_rng(7)
    tables, hits, changes, quintiles = [], [], [], []
    for k in range(80):
        d = world.draw(rng)
        table = correlations(d.fits, d.joint).set_index("way")
        tables.append(table["correlation"])
        hits.append(table.loc["joint_model", "lower"] < 0.7 < table.loc["joint_model", "upper"])
        change = change_in_va(d.joint, 2019, 2021, intervals="plugin")
        z = (change["change"] - (d.u[:, 1] - d.u[:, 0])).to_numpy()
        changes.append([(z / change["se"]).to_numpy(), (z / change["se_independent"]).to_numpy()])
        if k < 40:
            shares = quintile_transitions(d.joint, 2019, 2021, rng, 60)
            quintiles.append([shares["share"], shares["plugin"], cross_fifths(d.u).ravel()])
    return SimpleNamespace(
        world=world,
        ways=pd.DataFrame(tables),
        hits=np.array(hits),
        changes=np.array(changes),
        quintiles=np.array(quintiles),
    )


class TestRecovery:
    def test_every_way_lands_where_it_is_expected_to_and_not_on_rho(self, recovered):
        """Mean over draws within 4 Monte Carlo SEs of the closed forms; the biased ways are far from .7.

        The allowance of .01 is the bias of order 1/J of a correlation and of ML variances with 80 schools.
        """
        means, mc = recovered.ways.mean(), recovered.ways.std(ddof=1) / np.sqrt(len(recovered.ways))
        expected = {
            "eb": 0.56,
            "unshrunken": 0.56,
            "reflated": 0.56,
            "disattenuated": 0.7,
            "joint_eb": 0.8011,
            "joint_model": 0.7,
        }
        for way, value in expected.items():
            assert abs(means[way] - value) < 4 * mc[way] + 0.01, way
        for way in ("eb", "unshrunken", "reflated", "joint_eb"):
            assert abs(means[way] - 0.7) > 5 * mc[way] + 0.01, way

    def test_the_joint_interval_covers(self, recovered):
        assert abs(recovered.hits.mean() - 0.95) < 3.5 * np.sqrt(0.95 * 0.05 / len(recovered.hits))

    def test_intervals_of_changes_cover_and_the_independent_ones_are_too_wide(self, recovered):
        """Positive correlation: the two errors of a school move together, so their variances must not be added."""
        inside = (abs(recovered.changes) < NORMAL).mean(axis=2)
        mc = inside.std(axis=0, ddof=1) / np.sqrt(len(inside))
        correct, independent = inside.mean(axis=0)
        assert abs(correct - 0.95) < 4 * mc[0] + 0.01  # .01: omega is estimated
        assert independent > 0.95 + 4 * mc[1]

    def test_transitions_of_the_effects_are_right_and_those_of_predictions_are_not(self, recovered):
        """Stayed in the same fifth: share over draws of the effects within Monte Carlo error of the truth's."""
        share, plugin, truth = (recovered.quintiles[:, k].mean(axis=0).reshape(5, 5) for k in range(3))
        stay = recovered.quintiles[:, :, ::6].mean(axis=2)
        for k, too_many in ((0, False), (1, True)):
            gap = stay[:, k] - stay[:, 2]
            mc = gap.std(ddof=1) / np.sqrt(len(gap))
            assert (gap.mean() > 4 * mc) if too_many else (abs(gap.mean()) < 4 * mc)
        assert abs(share - truth).max() < 0.09 < abs(plugin - truth).max()

    def test_with_a_negative_correlation_the_independent_intervals_are_too_narrow(self):
        world, rng, inside = World(np.full((60, 2), 6), 15.0, 30.0, -0.8), np.random.default_rng(3), []
        for _ in range(40):
            d = world.draw(rng)
            table = change_in_va(d.joint, 2019, 2021, intervals="plugin")
            error = abs(table["change"] - (d.u[:, 1] - d.u[:, 0]))
            inside.append([(error < NORMAL * table[c]).mean() for c in ("se", "se_independent")])
        mc = np.std(inside, axis=0, ddof=1) / np.sqrt(len(inside))
        correct, independent = np.mean(inside, axis=0)
        assert abs(correct - 0.95) < 4 * mc[0] + 0.01
        assert independent < 0.95 - 4 * mc[1]

    def test_unbalanced_schools_land_on_their_expected_values(self):
        """2 to 40 students, a fifth of the cells empty: where disattenuation is not exact, the formula still is."""
        rng = np.random.default_rng(13)
        sizes = np.exp(rng.uniform(np.log(2), np.log(40), (120, 2))).astype(int) * (rng.random((120, 2)) > 0.2)
        world = World(sizes[sizes.any(axis=1)], 15.0, 45.0, 0.7)
        ways = pd.DataFrame(
            [
                correlations(d.fits, d.joint, "plugin").set_index("way")["correlation"]  # the same in either kind
                for d in (world.draw(rng) for _ in range(60))
            ]
        )
        expected = expected_correlations(sizes.astype(float), world.omega, np.full(2, 45.0**2))
        mc = ways.std(ddof=1) / np.sqrt(len(ways))
        for way in WAYS:
            assert abs(ways[way].mean() - expected[way][0, 1]) < 4 * mc[way] + 0.015, way
        assert ways["eb"].mean() < 0.55 < 0.75 < ways["joint_eb"].mean()


# Many data sets at once, against the one-by-one fits of the same sums.

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
        blup = predict_blup(m.n, m.means[:, -1] - m.means[:, :-1] @ f.coefficients, f.tau2, f.sigma2)
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
    mine, whole = _of_one(cohorts[1], n[2, 1], sums[2, 1], cross[2, 1]), moments_of(s, w, 2).select([cohorts[1]])
    assert mine.schools.tolist() == whole.schools.tolist() and mine.names[0] == "Intercept"
    for name in ("n", "sums", "cross"):
        assert (getattr(mine, name) == getattr(whole, name)).all()
