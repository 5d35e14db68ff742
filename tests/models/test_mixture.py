"""Mixtures of t's: against SciPy's distributions, a root finder of its own kind, and in awkward places."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from valib.errors import ModelError
from valib.models.mixture import Mixture

EXACT = 1e-11  # of a probability; Newton's last step leaves about 1e-13, Hill's expansion 2e-12


def mixture(weight, mean, scale, df=np.inf, order=np.inf) -> Mixture:
    weight, mean, scale = (np.atleast_2d(np.asarray(a, dtype=float)) for a in (weight, mean, scale))
    return Mixture(weight, mean[None], scale[None], np.asarray(df, dtype=float).reshape(1, 1, -1), np.array([order]))


class TestOneComponent:
    @pytest.mark.parametrize("df", [1.0, 2.5, 7.0, 29.9, 30.0, 64.0, 1e3, 1e7, np.inf])
    @pytest.mark.parametrize("p", [1e-9, 0.025, 0.5, 0.9, 0.999999])
    def test_quantiles_and_probabilities_are_those_of_t(self, df, p):
        one = mixture([1.0], [3.0], [2.0], df)
        other = stats.norm(3, 2) if np.isinf(df) else stats.t(df, 3, 2)
        x = float(one.quantile(p)[0, 0])
        assert other.cdf(x) == pytest.approx(p, abs=EXACT, rel=1e-6)
        assert float(one.cdf(other.ppf(p))[0, 0]) == pytest.approx(p, abs=EXACT)

    def test_moments(self):
        one = mixture([1.0], [3.0], [2.0], 5.0)
        assert float(one.expectation()[0, 0]) == 3.0
        assert float(one.sd()[0, 0]) == pytest.approx(2 * np.sqrt(5 / 3), rel=1e-14)
        assert np.isinf(mixture([1.0], [3.0], [2.0], 2.0).sd()).all()

    def test_moments_that_do_not_exist_are_not_given(self):
        assert np.isnan(mixture([1.0], [3.0], [2.0], 50.0, order=1.0).expectation()).all()
        assert np.isinf(mixture([1.0], [3.0], [2.0], 50.0, order=2.0).sd()).all()


class TestSeveral:
    def test_quantiles_are_the_roots_of_the_distribution_function(self):
        rng = np.random.default_rng(1)
        for _ in range(30):
            M = int(rng.integers(2, 12))
            w, m, s = rng.dirichlet(np.ones(M)), rng.normal(0, 5, M), np.exp(rng.normal(0, 1.5, M))
            df = np.exp(rng.uniform(0.5, 8, M))
            p = float(rng.uniform(0.001, 0.999))
            x = float(mixture(w, m, s, df).quantile(p)[0, 0])
            root = optimize.brentq(lambda v, w=w, m=m, s=s, df=df, p=p: w @ stats.t.cdf((v - m) / s, df) - p, -1e6, 1e6)
            assert w @ stats.t.cdf((x - m) / s, df) == pytest.approx(p, abs=EXACT)
            assert x == pytest.approx(root, abs=1e-6)

    @pytest.mark.parametrize("gap", [10.0, 1e3, 1e6])
    def test_quantiles_between_two_peaks_far_apart(self, gap):
        """Between the peaks the distribution function is flat and Newton's step leaves the bracket."""
        two = mixture([0.3, 0.7], [0.0, gap], [1.0, 1.0])
        for p in (0.025, 0.2999, 0.31, 0.975):
            x = float(two.quantile(p)[0, 0])
            assert 0.3 * stats.norm.cdf(x) + 0.7 * stats.norm.cdf(x - gap) == pytest.approx(p, abs=EXACT)

    def test_scales_over_twenty_orders_of_magnitude(self):
        scale = 10.0 ** np.arange(-10, 11)
        w = np.full(21, 1 / 21)
        many = mixture(w, np.zeros(21), scale)
        for p in (0.4, 0.5, 0.6, 0.999):
            assert w @ stats.norm.cdf(many.quantile(p)[0, 0] / scale) == pytest.approx(p, abs=EXACT)

    def test_mean_and_sd_by_integration(self):
        w, m, s, df = np.array([0.2, 0.8]), np.array([-1.0, 4.0]), np.array([2.0, 0.5]), np.array([9.0, 40.0])
        one = mixture(w, m, s, df)

        def moment(k):
            return integrate.quad(lambda x: x**k * (w @ stats.t.pdf(x, df, m, s)), -300, 300, points=[-1, 4])[0]

        assert float(one.expectation()[0, 0]) == pytest.approx(moment(1), rel=1e-8)
        assert float(one.sd()[0, 0]) == pytest.approx(
            np.sqrt(moment(2) - moment(1) ** 2), rel=1e-6
        )  # its tails cut off

    def test_data_sets_do_not_touch_each_other(self):
        rng = np.random.default_rng(2)
        weight, mean = rng.dirichlet(np.ones(6), 3), rng.normal(size=(3, 5, 6))
        scale, df = np.exp(rng.normal(size=(3, 5, 6))), np.array([20.0, 50.0, 900.0]).reshape(3, 1, 1)
        batch = Mixture(weight, mean, scale, df, np.full(3, np.inf))
        for r in range(3):
            alone = Mixture(weight[r : r + 1], mean[r : r + 1], scale[r : r + 1], df[r : r + 1], np.full(1, np.inf))
            np.testing.assert_allclose(batch.quantile(0.1)[r], alone.quantile(0.1)[0], rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 95.0])
    def test_a_level_that_is_none_is_refused(self, level):
        with pytest.raises(ModelError, match="between 0 and 1"):
            mixture([1.0], [0.0], [1.0]).interval(level)
        with pytest.raises(ModelError, match="between 0 and 1"):
            mixture([1.0], [0.0], [1.0]).quantile(level)


class TestWidened:
    def test_normal_components_exactly(self):
        wide = mixture([0.3, 0.7], [0.0, 2.0], [1.0, 3.0]).widened(4.0)
        np.testing.assert_allclose(wide.scale[0, 0], np.hypot([1.0, 3.0], 4.0))
        assert wide.sd()[0, 0] ** 2 == pytest.approx(mixture([0.3, 0.7], [0, 2], [1, 3]).sd()[0, 0] ** 2 + 16)

    @pytest.mark.parametrize("df", [12.0, 60.0])
    def test_t_components_against_convolution(self, df):
        """Error in probability of order 1 / df^2: 0.06 / df^2 is seen."""
        wide = mixture([1.0], [0.5], [2.0], df).widened(1.5)
        for x in (-4.0, 0.0, 3.0, 6.0):
            whole = integrate.quad(lambda e, x=x: stats.norm.pdf(e, 0, 1.5) * stats.t.cdf(x - e, df, 0.5, 2), -12, 12)[
                0
            ]
            assert float(wide.cdf(x)[0, 0]) == pytest.approx(whole, abs=0.1 / df**2)

    def test_nothing_added_changes_nothing(self):
        one = mixture([1.0], [0.5], [2.0], 9.0)
        assert one.widened(0.0) is one
