"""The school bootstrap against refits on repeated schools, the analytic errors, and what theory says of
serial correlation."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from worlds import moments_of

from valib.effects import bootstrap
from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import fit_benchmark
from valib.effects.bootstrap import (
    Spread,
    bootstrap_benchmark,
    bootstrap_from_moments,
    draw_weights,
    refit_weighted,
    resample,
)
from valib.effects.shift import shift_parts
from valib.errors import BenchmarkError
from valib.simulation.draw import draw
from valib.simulation.methods import split
from valib.simulation.worlds import scenario
from valib.sums.students import sum_students

BASELINE, FOCAL = (2015, 2016, 2017), 2021


@pytest.fixture(scope="module")
def world() -> pd.DataFrame:
    """One school is gone in the focal cohort, one is new."""
    frame = simulate(
        np.random.default_rng(8),
        schools=25,
        size=(4, 25),
        cohorts=(2015, 2016, 2021),
        tau=20,
        rho=0.5,
        shift={2021: -10.0},
    )
    gone = (frame.school == "S0003") & (frame.cohort == 2021)
    new = (frame.school == "S0007") & (frame.cohort < 2021)
    return frame[~gone & ~new]


def mean_effect_by_hand(rows, coefficients, shift, tau2, sigma2) -> float:
    """Benchmark VA of every focal school, drawn or not, at a replicate's coefficients and variances; their mean."""
    residual = rows.score - coefficients["Intercept"] - coefficients["prior_score"] * rows.prior_score
    mean, n = residual.groupby(rows.school).mean(), rows.groupby("school").size()
    return (shift + n * tau2 / (n * tau2 + sigma2) * (mean - shift)).mean()


@pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")
@pytest.mark.parametrize(
    ("estimator", "groups", "shift", "variances", "method"),
    [
        ("mixed", "school_cohort", "estimated", "focal", "ML"),
        ("mixed", "school", "absorbed", "baseline", "REML"),
        ("mixed", "school_cohort", "absorbed", "focal", "REML"),
        ("ols", "school_cohort", "estimated", "focal", "REML"),
        ("ols", "school_cohort", "absorbed", "focal", "ML"),
        ("within", "school_cohort", "estimated", "baseline", "ML"),
    ],
)
def test_a_replicate_is_the_fit_to_schools_repeated(world, estimator, groups, shift, variances, method):
    """Students are repeated physically, a school drawn twice gets two codes, and both steps are fitted
    again."""
    options = {"estimator": estimator, "groups": groups, "method": method}
    benchmark = fit_baseline(world, [2015, 2016], **options)
    result = bootstrap_benchmark(
        world, benchmark, [2021], seed=4, replicates=3, shift=shift, variances=variances, method=method
    )
    schools = np.unique(world.school)
    weights = np.random.default_rng(4).multinomial(25, np.full(25, 1 / 25), size=3)
    for r in range(3):
        parts = [
            world[world.school == s].assign(school=f"{s}-{copy}")
            for s, w in zip(schools, weights[r], strict=True)
            for copy in range(w)
        ]
        repeated = pd.concat(parts, ignore_index=True)
        again = fit_baseline(repeated, [2015, 2016], **options)
        fit = fit_benchmark(repeated, 2021, again, shift, variances, method)
        np.testing.assert_allclose(result.coefficients.iloc[r], again.coefficients, rtol=1e-6)
        assert result.tau2.loc[r, 2021] == pytest.approx(fit.tau2, rel=1e-6)
        if shift == "estimated":
            assert result.shift.loc[r, 2021] == pytest.approx(fit.shift, abs=1e-5)
        else:
            assert np.isnan(result.shift.loc[r, 2021])
        by_hand = mean_effect_by_hand(
            world[world.cohort == 2021], again.coefficients, fit.shift or 0.0, fit.tau2, fit.sigma2
        )
        assert result.mean_effect.loc[r, 2021] == pytest.approx(by_hand, abs=1e-5)


def errors_of_the_shift(rho: float, flip: bool = False, worlds: int = 6):
    """Mean standard errors of the shift, by bootstrap and as of two samples, and its spread over 60 worlds."""
    rng = np.random.default_rng(31)
    shifts, analytic, bootstrap = [], [], []
    for k in range(60):
        frame = simulate(rng, schools=60, size=(20, 30), cohorts=(*BASELINE, FOCAL), tau=25, sigma=40, rho=rho)
        if flip:  # the focal effect is the opposite of the lasting one
            frame["score"] -= 2 * frame.u * (frame.cohort == FOCAL)
        benchmark = fit_baseline(frame, BASELINE)
        fit = fit_benchmark(frame, FOCAL, benchmark)
        shifts.append(fit.shift)
        analytic.append(shift_parts([fit], benchmark)["se_cautious"][0])
        if k < worlds:
            bootstrap.append(
                bootstrap_benchmark(frame, benchmark, [FOCAL], seed=k, replicates=300).shift_table().loc[FOCAL, "se"]
            )
    return np.mean(bootstrap), np.mean(analytic), np.std(shifts, ddof=1)


@pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")
class TestErrorOfTheShift:
    def test_independent_cohorts_give_both_the_same(self):
        bootstrap, analytic, spread = errors_of_the_shift(0.0)
        assert bootstrap == pytest.approx(analytic, rel=0.08)
        assert bootstrap == pytest.approx(spread, rel=0.28)  # 60 worlds: three Monte Carlo standard errors

    def test_effects_that_last_make_the_bootstrap_smaller(self):
        """delta_hat is a difference of two means over the same schools: what lasts cancels."""
        bootstrap, analytic, spread = errors_of_the_shift(0.9)
        assert bootstrap < 0.5 * analytic
        assert bootstrap == pytest.approx(spread, rel=0.28)

    def test_effects_that_turn_round_make_it_larger(self):
        bootstrap, analytic, spread = errors_of_the_shift(0.9, flip=True)
        assert bootstrap > 1.2 * analytic
        assert bootstrap == pytest.approx(spread, rel=0.28)


@pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")
class TestResult:
    def test_a_seed_repeats(self, world):
        benchmark = fit_baseline(world, [2015, 2016])
        a, b = (bootstrap_benchmark(world, benchmark, [2021], seed=1, replicates=20) for _ in range(2))
        pd.testing.assert_frame_equal(a.shift, b.shift)
        assert (a.shift[2021] != bootstrap_benchmark(world, benchmark, [2021], seed=2, replicates=20).shift[2021]).any()

    def test_school_table_stands_about_the_fit_itself(self, world):
        benchmark = fit_baseline(world, [2015, 2016])
        fit = fit_benchmark(world, 2021, benchmark)
        table = bootstrap_benchmark(world, benchmark, [2021], seed=1, replicates=200).school_effects.set_index("school")
        np.testing.assert_allclose(table.effect, fit.school_effects.effect, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(table.se_analytic, fit.school_effects.se_comparative, rtol=1e-9)
        assert (table.se_bootstrap >= fit.school_effects.se_conditional).all()
        assert (table.se_bootstrap / table.se_analytic).between(0.7, 1.5).all()

    def test_more_replicates_than_a_block_holds(self, world):
        benchmark = fit_baseline(world, [2015, 2016])
        result = bootstrap_benchmark(world, benchmark, [2021], seed=1, replicates=600)
        assert len(result.shift) == 600 and result.shift[2021].nunique() > 590
        assert np.isfinite(result.shift.to_numpy()).all()

    def test_an_equating_error_widens_the_shift(self, world):
        benchmark = fit_baseline(world, [2015, 2016])
        result = bootstrap_benchmark(world, benchmark, [2021], seed=1, replicates=100)
        a, b = result.shift_table().loc[2021], result.shift_table(equating_se=5.0).loc[2021]
        assert b.se**2 - a.se**2 == pytest.approx(25.0, rel=1e-9)
        assert b.upper - b.lower == pytest.approx((a.upper - a.lower) * b.se / a.se, rel=1e-9)

    @pytest.mark.parametrize(
        ("what", "options"),
        [("shift", {"shift": "free"}), ("variances", {"variances": "x"}), ("two replicates", {"replicates": 1})],
    )
    def test_other_options(self, world, what, options):
        with pytest.raises(BenchmarkError, match=what):
            bootstrap_benchmark(world, fit_baseline(world, [2015]), [2021], seed=1, **options)

    def test_too_few_schools_are_refused(self, world):
        few = world[world.school.isin(["S0001", "S0002"])].assign(ses=lambda d: (d.school == "S0001").astype(float))
        few["other"] = np.random.default_rng(1).normal(size=len(few))
        benchmark = fit_baseline(few, [2015, 2016], "score ~ prior_score + ses")
        with pytest.raises(BenchmarkError, match="few"):
            bootstrap_benchmark(few, benchmark, [2021], seed=1, replicates=50)


def test_blocks_of_any_size_give_the_same_errors(world, monkeypatch):
    """The spread of the schools' effects is put together from blocks; 25 schools x 8 entries force blocks of 2."""
    benchmark = fit_baseline(world, [2015, 2016])
    moments = sum_students(world, [2015, 2016, 2021], benchmark.state, by_cell=True).moments
    whole = bootstrap_from_moments(moments, benchmark, (2021,), seed=2, replicates=9)
    monkeypatch.setattr("valib.effects.bootstrap.ENTRIES", 8)
    parts = bootstrap_from_moments(moments, benchmark, (2021,), seed=2, replicates=9)
    pd.testing.assert_frame_equal(parts.school_effects, whole.school_effects, rtol=1e-9)
    pd.testing.assert_frame_equal(parts.shift, whole.shift, rtol=1e-9)
    pd.testing.assert_frame_equal(parts.mean_effect, whole.mean_effect, rtol=1e-9)


def test_spread_is_the_variance_of_all_blocks():
    values = np.random.default_rng(0).normal(1e6, 1, (11, 4))
    spread = Spread()
    for block in (values[:2], values[2:3], values[3:]):
        spread.add(block)
    np.testing.assert_allclose(spread.variance, values.var(axis=0, ddof=1), rtol=1e-9)


# Many data sets at once, against the bootstrap of each by itself.

SUMS = 1e-9  # relative; the same sums in another order
SEEDS = [np.random.SeedSequence(3, spawn_key=(r,)) for r in range(5)]
DEFAULT = {
    "estimator": "mixed",
    "groups": "school_cohort",
    "shift": "estimated",
    "variances": "focal",
    "reml": False,
    "errors": np.zeros(2),
}


def some_cells(kind: str):
    """Sizes of 18 schools in four cohorts; some absent, one of them from every cohort."""
    n = np.random.default_rng(2).integers(3, 20, (18, 4))
    if kind == "absent schools":
        n[0, 3] = n[1, 0] = n[2, :3] = n[3] = 0
    return tuple(map(tuple, n.tolist()))


@pytest.fixture(scope="module", params=["absent schools", "all schools"])
def worlds(request):
    """Five data sets of an incomplete world, so that sizes differ between them."""
    s = scenario("missing students", cells=some_cells(request.param), missing_baseline=True, reliability=0.9)
    return s, draw(s, [np.random.default_rng(q) for q in SEEDS])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"groups": "school", "shift": "absorbed"},
        {"estimator": "ols", "reml": True},
        {"variances": "baseline"},
        {"estimator": "within"},
        {"estimator": "within", "reml": True, "errors": np.array([0.0, 200.0])},
        {"errors": np.array([0.0, 400.0])},
    ],
    ids=str,
)
def test_every_sample_is_the_library_s_own_refit(worlds, changes, monkeypatch):
    monkeypatch.setattr(bootstrap, "SAMPLES", 24)  # two data sets at once
    s, w = worlds
    o = DEFAULT | changes
    present = (w.n > 0).any(axis=1)
    weights = draw_weights(present, 12, SEEDS)
    delta, spread = resample(*split(w), weights, **o)
    for r in range(5):
        spec = SimpleNamespace(
            cohorts=s.baseline,
            estimator=o["estimator"],
            groups=o["groups"],
            method="REML" if o["reml"] else "ML",
            error_variance={"prior_score": o["errors"][1]},
        )
        _, one, _, va = refit_weighted(
            moments_of(s, w, r), spec, [s.focal], weights[r][:, present[r]], o["shift"], o["variances"], spec.method
        )
        here = w.n[r, -1] > 0
        np.testing.assert_allclose(delta[r], one[0], rtol=SUMS)
        np.testing.assert_allclose(spread[r, here], va[0].var(axis=0, ddof=1), rtol=SUMS)
        assert (spread[r, ~here] == 0).all()


def test_weights_are_samples_of_the_schools_there_are_whoever_else_is_drawn(worlds):
    _, w = worlds
    present = (w.n > 0).any(axis=1)
    weights = draw_weights(present, 30, SEEDS)
    assert (weights.sum(axis=2) == present.sum(axis=1)[:, None]).all() and not weights[
        ~present[:, None].repeat(30, axis=1)
    ].any()
    assert (draw_weights(present[3:4], 30, SEEDS[3:4])[0] == weights[3]).all()
    assert weights.max() > 2 and len(np.unique(weights.reshape(150, -1), axis=0)) == 150


def test_samples_that_leave_the_slope_undetermined_are_refused():
    s = scenario("plain", schools=2, sizes=(1, 1))
    w = draw(s, [np.random.default_rng(1)])
    weights = np.array([[[2.0, 0.0], [1.0, 1.0]]])
    w.cross[:, :-1, 0] = w.cross[:, :1, 0]  # the first school's students are one student three times
    with pytest.raises(BenchmarkError, match="too few"):
        resample(*split(w), weights, **DEFAULT)
