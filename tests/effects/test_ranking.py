"""Ranks: draws with the right covariance, exact cases, and coverage of simulated ranks."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import simulate
from scipy import stats

from valib.effects.ranking import draw_effects, rank_effects
from valib.effects.relative import fit_relative
from valib.errors import ModelError


class TestDraws:
    def test_they_have_the_mean_and_the_whole_covariance(self):
        rng = np.random.default_rng(1)
        effect, own = np.array([5.0, 0.0, -3.0]), np.array([4.0, 1.0, 0.25])
        common = np.array([[1.0, 0.5], [0.2, -1.0], [0.0, 2.0]])
        drawn = draw_effects(effect, own, common, 200_000, rng)
        wanted = np.diag(own) + common @ common.T
        np.testing.assert_allclose(drawn.mean(axis=0), effect, atol=4 * np.sqrt(np.diag(wanted).max() / 200_000))
        np.testing.assert_allclose(np.cov(drawn.T), wanted, atol=4 * 1.5 * wanted.max() / np.sqrt(200_000))

    def test_a_common_error_alone_changes_no_rank(self):
        """What is the same for every school (a shift, an equating error) cannot move a rank."""
        effect, own = np.linspace(10, -10, 9), np.full(9, 9.0)
        a = rank_effects(effect, own, np.zeros((9, 1)), 3, 4000)
        b = rank_effects(effect, own, np.full((9, 1), 100.0), 3, 4000)
        np.testing.assert_allclose(a.expected, b.expected, atol=0.15)


class TestExactCases:
    def test_two_schools(self):
        """P(the first stands above) = Phi(difference / sd of the difference)."""
        draws = 100_000
        r = rank_effects(np.array([3.0, 0.0]), np.array([4.0, 5.0]), np.zeros((2, 0)), 5, draws)
        p = stats.norm.cdf(1.0)
        np.testing.assert_allclose(r.expected, [2 - p, 1 + p], atol=4 * 0.5 / np.sqrt(draws))

    def test_known_effects_rank_without_doubt(self):
        effect = np.array([1.0, 7.0, -2.0, 4.0, 0.0])
        r = rank_effects(effect, np.zeros(5), np.zeros((5, 0)), 1, 50)
        for field in (r.expected, r.lower, r.upper):
            np.testing.assert_array_equal(field, [3, 1, 5, 2, 4])
        np.testing.assert_array_equal(r.p_top, [0, 1, 0, 0, 0])
        np.testing.assert_array_equal(r.p_bottom, [0, 0, 1, 0, 0])

    def test_expected_ranks_from_pairs(self):
        """E rank_j = 1 + sum over k of P(u_k > u_j): a closed form for any covariance."""
        rng = np.random.default_rng(2)
        effect, own, common = rng.normal(0, 3, 12), rng.uniform(1, 5, 12), rng.normal(0, 1, (12, 2))
        V = np.diag(own) + common @ common.T
        sd = np.sqrt(np.add.outer(np.diag(V), np.diag(V)) - 2 * V)
        np.fill_diagonal(sd, 1)
        above = stats.norm.cdf((effect[None, :] - effect[:, None]) / sd)
        np.fill_diagonal(above, 0)
        r = rank_effects(effect, own, common, 7, 40_000)
        np.testing.assert_allclose(r.expected, 1 + above.sum(axis=1), atol=4 * 3 / np.sqrt(40_000))

    @pytest.mark.parametrize("J", [5, 7, 12, 200])
    def test_probabilities_of_a_fifth_add_up_to_whole_schools(self, J):
        rng = np.random.default_rng(J)
        r = rank_effects(rng.normal(0, 3, J), np.full(J, 4.0), np.zeros((J, 0)), 1, 500)
        assert r.p_top.sum() == pytest.approx(J // 5) and r.p_bottom.sum() == pytest.approx(J // 5)
        assert r.expected.sum() == pytest.approx(J * (J + 1) / 2)

    def test_schools_that_cannot_be_told_apart_share_all_ranks(self):
        """Nothing is known and nothing varies (school variance on its boundary 0): the order of rows is
        no ranking."""
        r = rank_effects(np.zeros(10), np.zeros(10), np.zeros((10, 2)), 1, 20_000)
        np.testing.assert_allclose(r.expected, 5.5, atol=4 * 2.9 / np.sqrt(20_000))
        np.testing.assert_array_equal(r.lower, 1)
        np.testing.assert_array_equal(r.upper, 10)
        np.testing.assert_allclose(r.p_top, 0.2, atol=4 * 0.4 / np.sqrt(20_000))

    def test_a_seed_repeats_and_a_generator_goes_on(self):
        effect, own, none = np.arange(6.0), np.full(6, 4.0), np.zeros((6, 0))
        a, b = (rank_effects(effect, own, none, 11, 300) for _ in range(2))
        np.testing.assert_array_equal(a.expected, b.expected)
        rng = np.random.default_rng(11)
        c, d = (rank_effects(effect, own, none, rng, 300) for _ in range(2))
        np.testing.assert_array_equal(a.expected, c.expected)
        assert (c.expected != d.expected).any()

    def test_memory_blocks_do_not_change_the_statistics(self):
        effect, own, none = np.arange(6.0), np.full(6, 4.0), np.zeros((6, 0))
        a, b = (rank_effects(effect, own, none, 11, 20_000, block=k) for k in (64, 20_000))
        np.testing.assert_allclose(a.expected, b.expected, atol=0.06)


class TestOfAFit:
    def test_columns_index_and_agreement_with_the_effects(self):
        frame = simulate(np.random.default_rng(3), schools=20, size=(30, 60), tau=40)
        fit = fit_relative(frame)
        ranks = fit.ranks(seed=1, draws=1000)
        assert list(ranks.index) == list(fit.school_effects.index)
        assert {"effect", "expected_rank", "rank_lower", "rank_upper", "p_bottom_quintile", "p_top_quintile"} <= set(
            ranks.columns
        )
        assert stats.spearmanr(ranks.expected_rank, ranks.effect)[0] < -0.97
        sure = 0.05  # a rank that is held with more than the level has an interval of one place, the mean just outside
        assert (ranks.rank_lower - sure <= ranks.expected_rank).all()
        assert (ranks.expected_rank <= ranks.rank_upper + sure).all()

    def test_rank_intervals_cover_the_true_ranks(self):
        """2,000 true ranks; ranks are discrete, so intervals cover a little more than their level,
        never much less."""
        rng = np.random.default_rng(4)
        inside = []
        for _ in range(50):
            frame = simulate(rng, schools=40, size=(10, 40), tau=20, sigma=45)
            ranks = fit_relative(frame, method="REML").ranks(seed=rng, draws=400)
            truth = frame.groupby("school").u.first().loc[ranks.index].rank(ascending=False)
            inside.append(((ranks.rank_lower <= truth) & (truth <= ranks.rank_upper)).mean())
        assert 0.93 < np.mean(inside) < 0.985


def test_one_school_has_no_rank():
    with pytest.raises(ModelError, match="two schools"):
        rank_effects(np.zeros(1), np.ones(1), np.zeros((1, 0)), 1)
