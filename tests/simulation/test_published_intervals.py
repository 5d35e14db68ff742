"""Each method of a simulation gives on one data set what the library's own fit gives: the students are made to have
exactly the sums that were drawn. And each interval does in a world what theory says of it."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import valib as va
from valib.effects.shift import relative_to_school, shift_in_context, shift_parts
from valib.effects.shift_profile import shift_over_prior
from valib.errors import ParamsError, ValibWarning
from valib.simulation import runs
from valib.simulation.draw import draw
from valib.simulation.measures import VALUES, calibration, calibration_values
from valib.simulation.methods import METHODS, Fits, Method
from valib.simulation.worlds import scenario

SEED = 3
S = scenario("lasting", schools=12, sizes=(5, 14), delta=-6.0, slope_change=-0.05)
SAME = {"rel": 1e-6, "abs": 1e-6}  # students are built from the sums by a square root: some digits are lost


def students(w, s) -> pd.DataFrame:
    """Records with the sums and cross-products of the first data set: an orthonormal basis times a Cholesky factor."""
    rng, rows = np.random.default_rng(1), []
    for t, cohort in enumerate(s.cohorts):
        for j, n in enumerate(w.n[0, t]):
            mean = w.sums[0, t, j, 1:] / n
            about = w.cross[0, t, j, 1:, 1:] - n * np.outer(mean, mean)
            Q = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, 2))]))[0][:, 1:]
            values = mean + Q @ np.linalg.cholesky(about).T
            rows.append(
                pd.DataFrame(values, columns=["prior_score", "score"]).assign(school=f"S{j:02d}", cohort=cohort)
            )
    records = pd.concat(rows, ignore_index=True)
    return records.assign(student=[f"P{i}" for i in range(len(records))])


@pytest.fixture(scope="module")
def one():
    seeds = [np.random.SeedSequence(SEED)]
    w = draw(S, [np.random.default_rng(seeds[0])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValibWarning)
        records = va.read_records(students(w, S))
        benchmark = va.fit_baseline(records, S.baseline)
        fit = va.fit_benchmark(records, S.focal, benchmark)
    return Fits(S, w, seeds, 0.95), w, records, benchmark, fit


def told(fits, name) -> dict[str, dict[str, float]]:
    return {e: dict(zip(VALUES, v[0], strict=True)) for e, v in fits.apply(METHODS[name]).items()}


@pytest.mark.parametrize(("name", "intervals"), [("default (integrated)", "integrated"), ("default", "plugin")])
def test_intervals_of_benchmark_va(one, name, intervals):
    fits, w, records, benchmark, _ = one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValibWarning)
        table = va.fit_benchmark(records, S.focal, benchmark, intervals=intervals).school_effects
    found, truth = told(fits, name)["va"], w.va[0]
    assert found["estimate"] == pytest.approx(table["effect"].mean(), **SAME)
    assert found["width"] == pytest.approx((table["upper"] - table["lower"]).mean(), **SAME)
    assert found["covered"] == ((table["lower"] <= truth) & (truth <= table["upper"])).mean()


@pytest.mark.parametrize(("name", "intervals"), [("relative (integrated)", "integrated"), ("relative", "plugin")])
def test_intervals_of_relative_va(one, name, intervals):
    fits, w, records, _, _ = one
    table = va.fit_relative(records, S.focal, intervals=intervals).school_effects
    found, truth = told(fits, name)["effect"], w.effects[0, -1]
    assert found["width"] == pytest.approx((table["upper"] - table["lower"]).mean(), **SAME)
    assert found["covered"] == ((table["lower"] <= truth) & (truth <= table["upper"])).mean()


def test_the_shift_in_all_its_forms(one):
    fits, _, records, benchmark, fit = one
    found = told(fits, "shift")
    context = shift_in_context([fit], benchmark).loc[S.focal]
    for estimand, low, high in (("shift", "lower", "upper"), ("year", "year_lower", "year_upper")):
        assert found[estimand]["estimate"] == pytest.approx(context["shift"], **SAME)
        assert found[estimand]["width"] == pytest.approx(context[high] - context[low], **SAME)
    assert fit.shift_error == "schools"
    cautious = shift_parts([fit], benchmark)["se_cautious"][0]
    assert found["shift_cautious"]["width"] / found["shift"]["width"] == pytest.approx(cautious / fit.shift_se, **SAME)
    relative = va.fit_relative(records, S.focal, influences=True)
    table = shift_over_prior(relative, benchmark, np.array([-75.0, 75.0]))
    for row, estimand in enumerate(("shift_low", "shift_high")):
        assert found[estimand]["estimate"] == pytest.approx(table["shift"][row], abs=0.05)
        assert found[estimand]["width"] == pytest.approx((table["upper"] - table["lower"])[row], **SAME)
        assert found[estimand]["truth"] == pytest.approx(-6.0 - 0.05 * (-75.0, 75.0)[row])


def test_va_relative_to_a_school(one):
    fits, w, records, benchmark, fit = one
    table = relative_to_school(records, fit, benchmark, "S00", S.baseline[-1]).drop("S00")
    found, truth = told(fits, "to a school")["to_a_school"], (w.va[0] - w.effects[0, -2, 0])[1:]
    assert found["estimate"] == pytest.approx(table["effect"].mean(), **SAME)
    assert found["width"] == pytest.approx((table["upper"] - table["lower"]).mean(), **SAME)
    assert found["covered"] == ((table["lower"] <= truth) & (truth <= table["upper"])).mean()


@pytest.mark.parametrize(("name", "intervals"), [("change", "integrated"), ("change (plug-in)", "plugin")])
def test_changes_in_va(one, name, intervals):
    fits, w, records, _, _ = one
    years = [S.baseline[-1], S.focal]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValibWarning)
        table = va.change_in_va(va.fit_joint(records, years), *years, intervals=intervals)
    found, truth = told(fits, name), w.effects[0, -1] - w.effects[0, -2]
    close = {"rel": 1e-4, "abs": 1e-4}  # both have gone through an optimiser
    assert found["change"]["width"] == pytest.approx((table["upper"] - table["lower"]).mean(), nan_ok=True, **close)
    assert found["change"]["truth"] == pytest.approx(truth.mean())
    assert found["p_up"]["estimate"] == pytest.approx(table["p_up"].mean(), nan_ok=True, **close)


def test_ranks(one):
    fits, w, _, _, fit = one
    found = told(fits, "ranks")
    table = fit.ranks(seed=1, draws=4000)
    assert found["top_fifth"]["estimate"] == pytest.approx(2 / 12)  # two of twelve, whatever the draws
    width = (table["rank_upper"] - table["rank_lower"]).mean()
    assert found["rank"]["width"] == pytest.approx(width, abs=0.35)  # limits of 1,000 draws are whole ranks
    assert found["rank"]["estimate"] == pytest.approx(6.5)


class TestCalibration:
    def test_by_hand(self):
        P, true = np.array([0.1, 0.3, 0.8]), np.array([0, 1, 1])
        values = dict(zip(VALUES, calibration_values(P, true)[0], strict=True))
        # m = .4: P - m is -.3, -.1, .4 and I - m is -.4, .6, .6
        slope = (-0.3 * -0.4 + -0.1 * 0.6 + 0.4 * 0.6) / (0.09 + 0.01 + 0.16)
        told = {name: value for name, value, *_ in calibration({k: np.array([v]) for k, v in values.items()})}
        assert told["mean"] == pytest.approx(0.4) and told["truth"] == pytest.approx(2 / 3)
        assert told["calibration"] == pytest.approx(slope)

    @pytest.mark.parametrize(("sure", "slope"), [(1.0, 1.0), (2.0, 0.5)])
    def test_probabilities_too_sure_have_a_slope_below_one(self, sure, slope):
        rng = np.random.default_rng(5)
        p = rng.uniform(0.3, 0.7, (400, 30))
        outcome = rng.random(p.shape) < p
        given = 0.5 + sure * (p - 0.5)
        rows = np.concatenate([calibration_values(*pair) for pair in zip(given, outcome, strict=True)])
        _, found, se, n = calibration(dict(zip(VALUES, rows.T, strict=True)))[-1]
        assert abs(found - slope) < 4 * se and n == 400 and 0 < se < 0.05


class TestInWorlds:
    """What the intervals do where theory says what they must; 4 Monte Carlo errors."""

    def test_only_the_interval_of_an_ordinary_year_knows_of_shocks(self):
        run = runs.simulate(["common shocks"], ["shift"], replicates=400, seed=11)
        year, error = (f("common shocks", "shift", "year", "coverage") for f in (run.get, run.mcse))
        assert year > 0.95 - 4 * error
        assert run.get("common shocks", "shift", "shift", "coverage") < 0.8
        spread = run.get("common shocks", "shift", "shift", "emp_se")
        plain = runs.simulate(["plain"], ["shift"], replicates=400, seed=11).get("plain", "shift", "shift", "emp_se")
        # a shock of the focal year, and the mean of those of five baseline years
        assert spread == pytest.approx(np.sqrt(plain**2 + 9 * (1 + 1 / 5)), rel=4 / np.sqrt(800))

    def test_effects_that_last_are_known_to_the_closed_form_alone(self):
        run = runs.simulate(["serial"], ["shift"], replicates=300, seed=12)
        closed, two = (run.get("serial", "shift", e, "width") for e in ("shift", "shift_cautious"))
        spread, error = (f("serial", "shift", "shift", "emp_se") for f in (run.get, run.mcse))
        assert closed / (2 * 1.97) == pytest.approx(spread, abs=4 * error)
        assert two > 1.3 * closed
        assert run.get("serial", "shift", "shift_cautious", "coverage") > 0.985

    def test_integrated_intervals_hold_where_plug_in_ones_do_not(self):
        methods = ["relative", "relative (integrated)"]
        run = runs.simulate(["low reliability"], methods, replicates=200, seed=13)
        plugin, ours = (run.get("low reliability", m, "effect", "coverage") for m in methods)
        assert plugin < 0.8 and 0.92 < ours < 0.97

    def test_the_slope_of_the_shift_is_found(self):
        run = runs.simulate(["slope change"], ["shift"], replicates=200, seed=14)
        for estimand, truth in (("shift_low", 7.5), ("shift_high", -7.5)):
            found, error = (f("slope change", "shift", estimand, "mean") for f in (run.get, run.mcse))
            assert abs(found - truth) < 4 * error and run.get("slope change", "shift", estimand, "coverage") > 0.89


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "shift", "intervals": "integrated"},
        {"model": "change", "intervals": "bootstrap"},
        {"model": "to_a_school", "shift": "absorbed"},
        {"model": "ranks", "corrected": True},
        {"intervals": "integrated", "variances": "baseline"},
        {"intervals": "integrated", "corrected": True},
    ],
)
def test_combinations_that_are_not_there_are_refused(arguments):
    with pytest.raises(ParamsError, match="Method 'm'"):
        Method("m", **arguments)


def test_where_the_posterior_is_improper_the_variances_are_taken_as_known_as_the_library_does():
    """Two schools: no posterior of their effects; with the plug-in ones the intervals are those of plain methods."""
    tiny = scenario("plain", schools=2, sizes=(8, 8))
    run = runs.simulate([tiny], ["relative", "relative (integrated)"], replicates=4, seed=1)
    a, b = (run.get("plain", m, "effect", "width") for m in ("relative", "relative (integrated)"))
    assert a == b
