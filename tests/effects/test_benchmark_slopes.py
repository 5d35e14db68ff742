"""Benchmark value added at named values: recovery, coverage, links, streams, the kept benchmark, the commands."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from typer.testing import CliRunner

import valib as va
from valib.command import cli
from valib.effects.artefact import checksum
from valib.effects.baseline import Benchmark
from valib.errors import BenchmarkError, ModelError, ValibWarning
from valib.sums.equating import Link, ScaleBreak

pytestmark = pytest.mark.filterwarnings("ignore:The shift of cohort", "ignore:The change of the mean prior_score")
SLOPES = 0.12  # SD of slopes in the world below
SHIFT = -9.0


def world(seed: int, schools: int = 50, size=(15, 40), slopes: float = SLOPES) -> pd.DataFrame:
    """Records of three cohorts whose schools differ in level and slope, anew in each; v: the slope, about 480."""
    rng = np.random.default_rng(seed)
    frame = simulate(rng, schools, size, (2015, 2016, 2021), tau=12, sigma=40, shift={2021: SHIFT})
    cell = frame.groupby(["cohort", "school"]).ngroup().to_numpy()
    v = slopes * rng.standard_normal(cell.max() + 1)[cell]
    return frame.assign(v=v, score=frame["score"] + v * (frame["prior_score"] - 480))


@pytest.fixture(scope="module")
def records():
    return world(4)


@pytest.fixture(scope="module")
def bench(records):
    return va.fit_baseline(records, [2015, 2016], random=["prior_score"])


@pytest.fixture(scope="module")
def fit(records, bench):
    return va.fit_benchmark(records, 2021, bench, equating_se=1.0)


def columns_of(records: pd.DataFrame) -> pd.DataFrame:
    return records[["student", "school", "cohort", "score", "prior_score"]]


def test_truth_is_recovered_and_covered():
    """Lines of schools at 400, 480 and 560: limits hold about 95 of 100 (450 of them, which share errors by cohort), plug-in
    ones as well with 50 schools, and benchmark VA has the shift in it."""
    inside, n, gone = {"integrated": 0, "plugin": 0}, 0, []
    for seed in range(3):
        frame = world(seed)
        benchmark = va.fit_baseline(frame, [2015, 2016], random=["prior_score"])
        truth = frame[frame["cohort"] == 2021].groupby("school")[["u", "v"]].first()
        for intervals in inside:
            found = va.fit_benchmark(frame, 2021, benchmark, intervals=intervals)
            table = va.va_at(found, prior_score=[400, 480, 560]).reset_index("prior_score")
            at = truth.reindex(table.index)
            true = SHIFT + at["u"] + at["v"] * (table["prior_score"] - 480)
            inside[intervals] += int(((table["lower"] <= true) & (true <= table["upper"])).sum())
        n += len(table)
        gone.append((found.shift, *np.sqrt(np.diag(found.slopes.G))))
    assert n == 450
    for count in inside.values():
        assert 0.92 < count / n < 0.981  # three binomial errors are .031
    shift, level, slope = np.mean(gone, axis=0)
    assert shift == pytest.approx(SHIFT, abs=3 * 12 / np.sqrt(50 * 3) * 1.6)
    assert level == pytest.approx(12, abs=2.7) and slope == pytest.approx(SLOPES, abs=0.03)


class TestTheBenchmark:
    def test_it_keeps_the_random_part(self, bench, tmp_path):
        """The covariance is about the baseline means; a file gives it back, exactly or as it may be published."""
        assert bench.random == ("prior_score",) and list(bench.random_covariance) == ["Intercept", "prior_score"]
        assert bench.tau2 == bench.random_covariance.iloc[0, 0]
        assert "SD of slopes of prior_score" in str(bench)
        exact = Benchmark.load(bench.save(tmp_path / "exact.json", exact=True))
        pd.testing.assert_frame_equal(exact.random_covariance, bench.random_covariance)
        kept = Benchmark.load(bench.save(tmp_path / "kept.json"))
        np.testing.assert_allclose(kept.random_covariance, bench.random_covariance, rtol=0.006)

    def test_a_saved_one_scores_the_same(self, records, bench, fit, tmp_path):
        exact = Benchmark.load(bench.save(tmp_path / "exact.json", exact=True))
        again = va.fit_benchmark(records, 2021, exact, equating_se=1.0)
        pd.testing.assert_frame_equal(va.va_at(again), va.va_at(fit))
        kept = Benchmark.load(bench.save(tmp_path / "kept.json"))
        carried = [va.fit_benchmark(records, 2021, b, variances="baseline").school_effects for b in (bench, kept)]
        assert ((carried[0]["effect"] - carried[1]["effect"]).abs() < 0.02 * carried[0]["se"]).all()

    def test_own_shifts_are_those_of_its_cohorts(self, records, bench):
        """Against the benchmark of the other cohort, what a fit to it says."""
        other = va.fit_baseline(records, [2016], random=["prior_score"])
        told = va.fit_benchmark(records, 2015, other, intervals="plugin")
        assert bench.own_shifts[2015]["leave_one_out"] == pytest.approx(told.shift, abs=1e-9)
        assert bench.own_shifts[2015]["leave_one_out_se"] == pytest.approx(told.shift_se, rel=1e-9)

    def test_what_no_fit_has_written_is_refused(self, bench, tmp_path):
        """One entry of the random part changed, with a checksum that fits."""
        path = bench.save(tmp_path / "kept.json")
        content = json.loads(path.read_text(encoding="utf-8"))
        del content["checksum"]
        G = content["random_covariance"]
        wrong = [
            {"random": None}, {"random": []}, {"random": ["ses"]}, {"random": ["Intercept"]}, {"random": [["prior_score"]]},
            {"random": ["prior_score"] * 2}, {"random_covariance": None}, {"random_covariance": [[1.0]]},
            {"random_covariance": [[G[0][0], 0.0], [0.0, -1e-4]]}, {"random_covariance": [[2 * G[0][0], 0.0], [0.0, 1e-4]]},
            {"random_covariance": [[G[0][0], 0.0], [0.0, 1e6]]}, {"random_covariance": [[G[0][0], "x"], ["x", 1e-4]]},
            {"random_covariance": [[G[0][0], 9.0], [9.0, 1e-4]]}, {"estimator": "ols"},
        ]  # fmt: skip
        for change in wrong:
            new = content | change
            path.write_text(json.dumps(new | {"checksum": checksum(new)}), encoding="utf-8")
            with pytest.raises(BenchmarkError, match="is damaged"):
                Benchmark.load(path)
        for gone in ("random", "random_covariance"):
            new = {k: v for k, v in content.items() if k != gone}
            path.write_text(json.dumps(new | {"checksum": checksum(new)}), encoding="utf-8")
            with pytest.raises(BenchmarkError, match="is damaged"):
                Benchmark.load(path)


class TestTheFit:
    def test_effects_are_those_at_the_mean(self, records, fit):
        mean = float(records.loc[records["cohort"] == 2021, "prior_score"].mean())
        at = va.va_at(fit, prior_score=[mean])
        for name in ("effect", "se_conditional", "se_comparative", "se", "lower", "upper"):
            np.testing.assert_allclose(at[name], fit.school_effects[name], atol=1e-8)

    def test_readers_of_slopes_read_it(self, fit, bench):
        gap = va.va_gap(fit, "prior_score", 400, 500)
        wide = va.va_at(fit, prior_score=[400, 500])["effect"].unstack()
        np.testing.assert_allclose(gap["gap"], wide[500] - wide[400], atol=1e-9)
        np.testing.assert_allclose(gap["whole_gap"] - gap["gap"], 100 * bench.coefficients["prior_score"])
        assert va.fifths_at(fit, "prior_score").to_numpy().sum() == 50
        ranks = fit.ranks(seed=1)
        assert ranks["expected_rank"].corr(fit.school_effects["effect"], method="spearman") < -0.97

    def test_the_test_is_twice_the_gain(self, records, bench, fit):
        less = va.fit_benchmark(records, 2021, bench, random=[], intervals="plugin")
        row = va.slope_test(fit).loc["prior_score"]
        assert less.slopes is None and row["statistic"] == pytest.approx(2 * (fit.loglik - less.loglik), abs=1e-7)
        assert row["p"] < 1e-3
        carried = va.fit_benchmark(records, 2021, bench, variances="baseline")
        assert np.isnan(va.slope_test(carried).loc["prior_score", "statistic"])

    def test_variances_of_the_baseline_are_carried(self, records, bench):
        carried = va.fit_benchmark(records, 2021, bench, variances="baseline")
        assert carried.sigma2 == pytest.approx(bench.sigma2, rel=1e-12)
        assert carried.random_covariance.iloc[1, 1] == pytest.approx(bench.random_covariance.iloc[1, 1], rel=1e-9)

    def test_links_move_lines(self, records, bench):
        """The error of a link is the change of a line, at the same variances, for one of its standard errors."""
        link = ScaleBreak(2020, "prior_score", Link(1.0, 0.0, 0.002, 3.0))
        plain = va.fit_benchmark(records, 2021, bench, variances="baseline")
        linked = va.fit_benchmark(records, 2021, bench, variances="baseline", scale_breaks=[link])
        moved = []
        for a, b in ((0.0, 3.0), (0.002, 0.0)):
            other = ScaleBreak(2020, "prior_score", Link(1.0 + a, b))
            moved.append(va.fit_benchmark(records, 2021, bench, variances="baseline", scale_breaks=[other]))
        for value in (420, 520):
            line = va.va_at(plain, prior_score=[value])
            added = va.va_at(linked, prior_score=[value])["se_comparative"] ** 2 - line["se_comparative"] ** 2
            errors = [va.va_at(one, prior_score=[value])["effect"] - line["effect"] for one in moved]
            np.testing.assert_allclose(added, sum(e**2 for e in errors), rtol=0.06)  # steps are finite there

    def test_parts_of_the_shift(self, fit, bench):
        """What schools, coefficients and the scale add up to; with the schools' own contributions it is less."""
        part = va.shift_parts([fit], bench).iloc[0]
        whole = part["se_schools"] ** 2 + part["se_coefficients"] ** 2 + 1.0
        assert part["se_cautious"] ** 2 == pytest.approx(whole) and part["se"] == fit.shift_se

    def test_without_the_schools_the_error_is_cautious(self, records, bench):
        found = va.fit_benchmark(records, 2021, replace(bench, influence=None), equating_se=1.0, intervals="plugin")
        part = va.shift_parts([found], bench).iloc[0]
        assert found.shift_error == "cautious" and part["se_cautious"] == pytest.approx(found.shift_se, rel=1e-10)

    def test_a_stream_is_the_same(self, records, bench, fit, tmp_path):
        columns_of(records).to_parquet(tmp_path / "rows.parquet")
        stream = va.stream_records(tmp_path / "rows.parquet")
        other = va.fit_baseline(stream, [2015, 2016], random=["prior_score"])
        np.testing.assert_allclose(other.random_covariance, bench.random_covariance, rtol=1e-6)
        again = va.fit_benchmark(stream, 2021, other, equating_se=1.0)
        np.testing.assert_allclose(va.va_at(again)["effect"], va.va_at(fit)["effect"], atol=1e-6)

    def test_a_system_whose_slope_has_moved_is_told(self, records, bench):
        """Three tenths of a point more for each point of prior score above 480: no school's doing alone."""
        later = records["cohort"] == 2021
        moved = records.assign(score=records["score"] + 0.3 * later * (records["prior_score"] - 480))
        with pytest.warns(ValibWarning, match=r"slope in cohort 2021 has moved .* prior_score by \+0\.[23]"):
            found = va.fit_benchmark(moved, 2021, bench, intervals="plugin")
        assert [f.code for f in found.findings].count("slope_moved") == 1
        still = va.fit_benchmark(records, 2021, bench, intervals="plugin")
        assert "slope_moved" not in [f.code for f in still.findings]

    def test_slopes_alike_are_told(self):
        frame = world(6, schools=30, slopes=0.0)
        frame["score"] += 4.0 * np.random.default_rng(1).standard_normal(len(frame))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            benchmark = va.fit_baseline(frame, [2015, 2016], random=["prior_score"])
            found = va.fit_benchmark(frame, 2021, benchmark)
        assert found.slopes.boundary == any("boundary" in str(w.message) for w in said)
        limits = va.va_at(found)
        assert np.isfinite(limits["lower"]).all() and (limits["upper"] > limits["lower"]).all()


def test_each_refusal_in_a_sentence(records, bench, fit):
    plain = va.fit_baseline(records, [2015, 2016])
    with pytest.raises(BenchmarkError, match="no variances of slopes of prior_score"):
        va.fit_benchmark(records, 2021, plain, variances="baseline", random=["prior_score"])
    with pytest.raises(ModelError, match="'ses' has no column"):
        va.fit_benchmark(records, 2021, plain, random=["ses"])
    for choice in ({"estimator": "ols"}, {"estimator": "within"}, {"reliability": {"prior_score": 0.9}}):
        with pytest.raises(ModelError, match="Slopes of schools are those of the estimator 'mixed'"):
            va.fit_baseline(records, [2015, 2016], random=["prior_score"], **choice)
    for refused in (
        lambda: va.relative_to_school(records, fit, bench, "S0001", 2015),
        lambda: va.capped_va(records, fit, benchmark=bench),
        lambda: va.group_va(fit, pd.Series("a", index=fit.school_effects.index), benchmark=bench),
        lambda: va.similar_schools(records, fit, ["prior_score"]),
    ):
        with pytest.raises(ModelError, match="random-intercept model"):
            refused()
    # b_B of a baseline without slopes will do where the variances are the focal ones
    assert va.fit_benchmark(records, 2021, plain, random=["prior_score"], intervals="plugin").slopes is not None


def test_the_commands_write_lines(records, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = columns_of(records)
    small = rows.index[(rows["school"] == "S0003") & (rows["cohort"] == 2021)]
    rows.drop(small[3:]).to_csv("my.csv", index=False)  # three students: never shown
    run = CliRunner().invoke
    made = run(cli.app, "baseline my.csv --baseline-cohorts 2015,2016 --random prior_score --out kept.json".split())
    assert made.exit_code == 0 and "slopes of schools of prior_score" in made.output
    for place, words in enumerate(("--benchmark kept.json", "--baseline-cohorts 2015,2016 --random prior_score")):
        found = run(cli.app, f"fit my.csv --model benchmark --cohorts 2021 {words} --out r{place} --no-figures".split())
        assert found.exit_code == 0, found.output
        slopes = pd.read_csv(f"r{place}/slopes.csv")
        assert slopes["model"].tolist() == ["benchmark"] and slopes["p"].iloc[0] < 0.01
        written = {path.name: path for path in (tmp_path / f"r{place}").iterdir() if path.is_file()}
        assert {"va_at.csv", "shift_in_context.csv"} <= set(written)
        lines = pd.read_csv(written["va_at.csv"], dtype={"school": str})
        assert lines["school"].nunique() >= 46 and all("S0003" not in path.read_text() for path in written.values())
    both = "fit my.csv --model joint --cohorts 2015,2016 --random prior_score --reliability prior_score=0.9 --out r3"
    refused = run(cli.app, both.split())
    assert refused.exit_code == 2 and "reliability" in refused.output


def test_no_warning_but_of_the_model(records, bench):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", ValibWarning)
        va.fit_benchmark(records, 2021, bench, shift="absorbed", method="REML")
