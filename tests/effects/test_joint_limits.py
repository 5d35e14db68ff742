"""What rests on several cohorts, integrated over the variances: dense plug-in algebra at one node, draws, and truths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import simulate

from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import population_mean_va
from valib.effects.change import (
    change_in_va,
    draw_joint,
    over_cohorts,
    present_schools,
    quintile_transitions,
    which_improved,
)
from valib.effects.joint import fit_joint, posterior_of
from valib.effects.relative import fit_relative
from valib.effects.system_change import change_on_benchmark, system_change
from valib.errors import ModelError
from valib.models.joint_posterior import JointNodes
from valib.models.likelihood import compress
from valib.models.posterior import known_variances, posterior
from valib.study.tables import joint_effects

YEARS = 2019, 2021
PROFILE = pd.Series([1.0, 460.0], index=["Intercept", "prior_score"])
DRAWS = 20_000


def panel(seed, schools=12, size=(3, 12), tau=9.0, **world):
    return simulate(np.random.default_rng(seed), schools=schools, size=size, cohorts=YEARS, tau=tau, **world)


@pytest.fixture(scope="module")
def joint():
    return next(fit for seed in range(50) if not (fit := fit_joint(panel(seed, size=(8, 20), rho=0.3), YEARS)).singular)


def at_the_estimates(joint) -> JointNodes:
    """One node: the variances of the fit, as if they were known."""
    sd, one = np.sqrt(joint.sigma2.to_numpy()), np.ones(1)
    omega = joint.omega.to_numpy() / np.outer(sd, sd)
    return JointNodes(joint.arrays.data, omega[None], one, one[None], sd[None, None], np.inf)


class TestOneNodeIsThePlugInForm:
    """The plug-in errors are held to dense algebra elsewhere; a posterior of one point has to give them."""

    def test_change_on_a_fixed_scale_and_of_the_system(self, joint):
        nodes, c = at_the_estimates(joint), over_cohorts(joint, *YEARS)
        k = np.array([-1.0, -460.0, 1.0, 460.0])
        known = change_on_benchmark(joint, *YEARS, PROFILE, intervals="plugin")
        here = np.flatnonzero((joint.arrays.data.n > 0).all(axis=1))
        own = nodes.combination(c, here, k=k)
        np.testing.assert_allclose(own.expectation()[0], known["change"], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(own.sd()[0], known["se"], rtol=1e-6)
        system, one = system_change(joint, *YEARS, PROFILE, intervals="plugin"), nodes.combination(0 * c, here[:1], k=k)
        assert one.expectation()[0, 0] == pytest.approx(system["change"], rel=1e-6)
        assert one.sd()[0, 0] == pytest.approx(system["se"], rel=1e-6)

    def test_two_schools_that_are_compared(self, joint):
        names = joint.arrays.data.schools[[2, 9]]
        known = which_improved(joint, *YEARS, *names, intervals="plugin")
        pair = at_the_estimates(joint).combination(over_cohorts(joint, *YEARS), np.array([2]), np.array([9]))
        assert pair.expectation()[0, 0] == pytest.approx(known["difference"], abs=1e-6)
        assert pair.sd()[0, 0] == pytest.approx(known["se"], rel=1e-6)
        assert pair.above()[0, 0] == pytest.approx(known["probability"], abs=1e-6)

    def test_draws(self, joint):
        """Means and covariances of draws, within five Monte Carlo errors."""
        drawn = at_the_estimates(joint).draw(DRAWS, np.random.default_rng(1), np.arange(5))
        V = joint.arrays.comparative[:5]
        sd = np.sqrt(np.einsum("jtt->jt", V))
        assert (np.abs(drawn.mean(axis=0) - joint.arrays.effects[:5]) < 5 * sd / np.sqrt(DRAWS)).all()
        centred = drawn - drawn.mean(axis=0)
        cross = (centred[:, :, 0] * centred[:, :, 1]).mean(axis=0)
        assert (np.abs(cross - V[:, 0, 1]) < 5 * np.sqrt(2) * sd.prod(axis=1) / np.sqrt(DRAWS)).all()


class TestIntegrated:
    def test_draws_and_mixtures_are_of_one_posterior(self):
        """Shares of draws below the mixtures' limits: of changes, a difference of two, and of every level."""
        joint = fit_joint(panel(5), YEARS)
        drawn = draw_joint(joint, YEARS, 7, DRAWS)
        change, table = drawn[:, :, 1] - drawn[:, :, 0], change_in_va(joint, *YEARS)
        error = 5 * np.sqrt(0.025 * 0.975 / DRAWS)
        for p, limit in ((0.025, "lower"), (0.975, "upper")):
            assert (np.abs((change < table[limit].to_numpy()).mean(axis=0) - p) < error).all()
            level = joint.limits()[limit].unstack().loc[table.index].to_numpy()
            assert (np.abs((drawn < level).mean(axis=0) - p) < error).all()
        found = which_improved(joint, *YEARS, *table.index[:2])
        assert (change[:, 0] > change[:, 1]).mean() == pytest.approx(found["probability"], abs=5 * 0.5 / np.sqrt(DRAWS))

    def test_without_a_profile_it_is_the_change_of_the_schools(self):
        joint = fit_joint(panel(6), YEARS)
        here = np.flatnonzero((joint.arrays.data.n > 0).all(axis=1))
        nodes = posterior_of(joint)
        one, other = nodes.combination(over_cohorts(joint, *YEARS), here), nodes.change(0, 1, here)
        np.testing.assert_allclose(one.interval(0.95), other.interval(0.95), rtol=1e-8, atol=1e-8)

    def test_a_singular_fit_is_integrated_and_its_plug_in_form_missing(self):
        joint = next(fit for seed in range(50) if (fit := fit_joint(panel(seed, tau=6.0), YEARS)).singular)
        names = joint.arrays.data.schools[:2]
        for kind, there in (("integrated", True), ("plugin", False)):
            found = [
                which_improved(joint, *YEARS, *names, intervals=kind)["se"],
                system_change(joint, *YEARS, PROFILE, intervals=kind)["lower"],
                *change_on_benchmark(joint, *YEARS, PROFILE, intervals=kind)["upper"],
                *quintile_transitions(joint, *YEARS, 1, 50, kind)["share"],
                *joint.limits(kind)["se"],
            ]
            assert (np.isfinite(found) == there).all()
        assert (joint.limits()["se"] > 0).all()

    def test_plug_in_draws_of_a_singular_fit_are_refused(self):
        joint = next(fit for seed in range(50) if (fit := fit_joint(panel(seed, tau=6.0), YEARS)).singular)
        with pytest.raises(ModelError, match="lies on a boundary"):
            draw_joint(joint, YEARS, 1, 10, "plugin")
        assert np.isfinite(draw_joint(joint, YEARS, 1, 10)).all()

    def test_truths_are_held_as_often_as_is_said(self):
        """Sixteen worlds of twelve small schools, 95 percent: at least .90 of the schools' changes (Monte Carlo error
        .02), and the system's in twelve (fewer come once in a thousand times)."""
        hits, system = [], []
        for seed in range(100, 116):
            frame = panel(seed, rho=0.7, shift={2021: -8.0})
            joint = fit_joint(frame, YEARS)
            u = frame.groupby(["school", "cohort"]).u.first().unstack()
            table = change_on_benchmark(joint, *YEARS, PROFILE)
            truth = (u[2021] - u[2019] - 8.0).loc[table.index]
            hits.append(truth.between(table["lower"], table["upper"]).mean())
            whole = system_change(joint, *YEARS, PROFILE)
            system.append(whole["lower"] <= -8.0 <= whole["upper"])
        assert np.mean(hits) > 0.90 and np.sum(system) >= 12


class TestIndependentCohorts:
    """Each has the posterior of its own fit, also where the other lies on the boundary."""

    @pytest.fixture(scope="class")
    def frame(self):
        frames = (panel(seed, tau=6.0) for seed in range(50))
        return next(
            f for f in frames if (fit_joint(f, YEARS, covariance="independent").tau2 > 0).tolist() == [True, False]
        )

    @pytest.fixture(scope="class")
    def joint(self, frame):
        return fit_joint(frame, YEARS, covariance="independent")

    def test_limits_are_those_of_the_cohort_alone(self, frame, joint):
        for year in YEARS:
            alone = fit_relative(frame, year).school_effects
            ours = joint.limits().xs(year, level="cohort").loc[alone.index]
            np.testing.assert_allclose(ours, alone[["se", "lower", "upper"]], rtol=1e-7)

    def test_draws_are_of_those_posteriors(self, joint):
        drawn, table = draw_joint(joint, YEARS, 3, DRAWS), joint.limits()
        names = joint.arrays.data.schools[present_schools(joint, YEARS)]
        for p, limit in ((0.025, "lower"), (0.975, "upper")):
            level = table[limit].unstack().loc[names].to_numpy()
            assert (np.abs((drawn < level).mean(axis=0) - p) < 5 * np.sqrt(0.025 * 0.975 / DRAWS)).all()
        with pytest.raises(ModelError, match="lies on a boundary"):
            draw_joint(joint, YEARS, 1, 10, "plugin")
        assert draw_joint(joint, YEARS[:1], 1, 10, "plugin").shape == (10, 12, 1)  # the other cohort is not asked for


class TestPublishedTable:
    """What the command writes of the schools of a joint fit."""

    def test_its_limits_are_integrated_and_plug_in_ones_an_option(self, joint):
        for kind in ("integrated", "plugin"):
            table = joint_effects(joint, intervals=kind)[0].set_index(["school", "cohort"])
            pd.testing.assert_frame_equal(table[["se", "lower", "upper"]], joint.limits(kind).loc[table.index])
        assert list(table.columns)[-4:] == ["se", "lower", "upper", "side"]
        assert table["lower"].equals(joint.school_effects["lower"].loc[table.index])

    def test_nothing_of_a_singular_fit_is_told_as_known(self):
        joint = next(fit for seed in range(50) if (fit := fit_joint(panel(seed, tau=6.0), YEARS)).singular)
        for kind in ("integrated", "plugin"):
            table = joint_effects(joint, intervals=kind)[0]
            assert table[["se_conditional", "se_comparative", "se_diagnostic"]].isna().all(axis=None)
            assert table[["se", "lower", "upper"]].notna().all(axis=None) == (kind == "integrated")


class TestPopulationMean:
    @pytest.fixture(scope="class")
    def parts(self):
        frame = panel(8, schools=9, tau=8.0)
        benchmark = fit_baseline(frame, [2019])
        return fit_relative(frame, 2021), benchmark

    def test_one_node_is_the_plug_in_form(self, parts):
        relative, benchmark = parts
        m = relative.own_moments
        nodes = known_variances(compress(m), np.array([relative.tau2]), np.array([relative.sigma2]))
        over = posterior(nodes, m.n[None], (m.sums / m.n[:, None])[None])
        known = population_mean_va(relative, benchmark, PROFILE, 1.5, intervals="plugin")
        own = population_mean_va(replace(relative, posterior=over), benchmark, PROFILE, 1.5)
        np.testing.assert_allclose(own[["se", "lower", "upper"]], known[["se", "lower", "upper"]], rtol=1e-6)

    def test_at_a_school_s_own_means_it_is_its_benchmark_form(self, parts):
        """xbar_j'b + u_j is what the posterior of the benchmark kind gives."""
        relative, _ = parts
        over = relative.posterior
        m = relative.own_moments
        whole = posterior(over.nodes, m.n[None], (m.sums / m.n[:, None])[None], "benchmark").effects()
        for j in (0, 4):
            one = over.at_profile((m.sums[j, :-1] / m.n[j])[None])
            np.testing.assert_allclose(
                [x[0, j] for x in one.interval(0.95)], [x[0, j] for x in whole.interval(0.95)], rtol=1e-8
            )
