"""Reliabilities of covariates: dense algebra, simulated truth with its Monte Carlo error, streams, the artefact, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import in_error

import valib as va
from valib.errors import ModelError
from valib.sums.streams import stream_records

BASELINE = [2015, 2016]
R80 = {"prior_score": 0.8}


def panel(seed, schools=60):
    """A prior with reliability .8 within a cohort; the intake of schools goes with their effects (rho), and falls by 2019."""
    return in_error((2015, 2016, 2019), schools, seed)


@pytest.fixture(scope="module")
def records():
    found = panel(5)
    found["ses"] = np.random.default_rng(1).normal(size=len(found)) + found["prior_score"] / 100
    return found


def of_variance(frame, reliability=0.8):
    return (1 - reliability) * frame["prior_score"].var()


def test_least_squares_is_errors_in_variables_regression(records):
    """b = (X'X - N S)^-1 X'y, S of the errors' variances: eivreg of R's eivtools and of Stata (Fuller 1987, 2.2)."""
    used = records[records["cohort"].isin(BASELINE)]
    X = np.column_stack([np.ones(len(used)), used["prior_score"], used["ses"]])
    S = np.diag([0.0, of_variance(used), 0.1 * used["ses"].var()])
    dense = np.linalg.solve(X.T @ X - len(used) * S, X.T @ used["score"].to_numpy())
    got = va.fit_baseline(
        records, BASELINE, "score ~ prior_score + ses", estimator="ols", reliability={"prior_score": 0.8, "ses": 0.9}
    )
    assert got.coefficients.to_numpy() == pytest.approx(dense, rel=1e-8)


def test_it_stands_for_the_variance_of_the_students_of_the_fit(records):
    focal, base = (records[records["cohort"].isin(t)] for t in ([2019], BASELINE))
    one = va.fit_relative(records, 2019, reliability=R80)
    same = va.fit_relative(records, 2019, error_variance={"prior_score": of_variance(focal)})
    assert one.fixed_effects.to_numpy() == pytest.approx(same.fixed_effects.to_numpy(), rel=1e-9)
    assert one.intervals == "integrated" and np.isnan(one.sigma2_se)
    benchmark = va.fit_baseline(records, BASELINE, reliability=R80)
    assert benchmark.error_variance == pytest.approx({"prior_score": of_variance(base)}, rel=1e-9)
    assert va.fit_baseline(records, BASELINE, groups="school", reliability=R80).error_variance == pytest.approx(
        benchmark.error_variance, rel=1e-9
    )


def test_a_reliability_of_one_changes_nothing(records):
    plain, one = (va.fit_relative(records, 2019, reliability=r) for r in (None, {"prior_score": 1}))
    assert one.school_effects.equals(plain.school_effects) and one.intervals == "integrated"
    formula = "score ~ prior_score + school_mean(prior_score)"  # without error there is nothing that a mean could share
    va.fit_relative(records, 2019, formula, reliability={"prior_score": 1.0})


@pytest.mark.filterwarnings("ignore:The distribution of prior_score")  # the intake did change
@pytest.mark.filterwarnings("ignore:The change of the mean prior_score")
def test_the_true_slope_and_shift_come_back_under_sorting():
    """Slope .8 and shift -6, each within 3.5 Monte Carlo errors of 24 panels; without the correction far outside."""
    found = []
    for seed in range(24):
        records = panel(seed, 80)
        for r in (None, R80):
            benchmark = va.fit_baseline(records, BASELINE, reliability=r)
            found.append([benchmark.coefficients["prior_score"], va.fit_benchmark(records, 2019, benchmark).shift])
    both = np.array(found).reshape(24, 2, 2)
    away = (both.mean(axis=0) - [0.8, -6.0]) / (both.std(axis=0, ddof=1) / np.sqrt(24))
    assert (np.abs(away[1]) < 3.5).all(), away
    assert (np.abs(away[0]) > 3.5).all(), away


def test_a_stream_gives_the_same(records, tmp_path):
    path = tmp_path / "records.parquet"
    records.to_parquet(path)
    stream = stream_records(path, engine="duckdb", by_cell=True)
    for find in (
        lambda source: va.fit_relative(source, 2019, reliability=R80).fixed_effects,
        lambda source: va.fit_baseline(source, BASELINE, reliability=R80).coefficients,
    ):
        assert find(stream).to_numpy() == pytest.approx(find(records).to_numpy(), rel=1e-9)


def test_the_artefact_keeps_and_says_it(records, tmp_path):
    benchmark = va.fit_baseline(records, BASELINE, reliability=R80)
    again = va.Benchmark.load(benchmark.save(tmp_path / "b.json", exact=True))
    assert again.error_variance == benchmark.error_variance
    assert "Errors of measurement taken off: prior_score." in str(again)


@pytest.mark.parametrize(
    ("formula", "reliability", "part"),
    [
        ("score ~ prior_score", {"prior_score": 0.0}, "above 0 and not above 1; given was 0.0"),
        ("score ~ prior_score", {"prior_score": 1.1}, "given was 1.1"),
        ("score ~ prior_score", {"prior_score": float("nan")}, "given was nan"),
        ("score ~ prior_score", {"prior_score": "se"}, "given was 'se'"),
        ("score ~ prior_score", {"prior_score": {"sd": "ses"}}, "the column of its standard errors"),
        ("score ~ prior_score", {"prior_score": {"se": "none"}}, "in column 'none' cannot be used"),
        ("score ~ prior_score", {"prior_score": {"se": "student"}}, "in column 'student' cannot be used"),
        ("score ~ prior_score", {"ses": 0.9}, "no column 'ses'"),
        ("score ~ prior_score", {"ses": 1.0}, "no column 'ses'"),
        ("score ~ prior_score", {"Intercept": 0.9}, "no column 'Intercept'"),
        ("score ~ bs(prior_score, df=4)", R80, "only a linear column by itself"),
        ("score ~ prior_score + I(prior_score**2)", R80, "only a linear column by itself"),
        ("score ~ prior_score * ses", R80, "only a linear column by itself"),
        ("score - prior_score ~ prior_score", R80, "only a linear column by itself"),
        ("score ~ prior_score", {"prior_score": 0.05}, "nearly all"),
    ],
)
def test_what_cannot_be_corrected_is_refused(records, formula, reliability, part):
    with pytest.raises(ModelError, match=part):
        va.fit_relative(records, 2019, formula, reliability=reliability)
    with pytest.raises(ModelError, match=part):
        va.fit_baseline(records, BASELINE, formula, reliability=reliability)


def test_not_both_and_not_with_random_slopes(records):
    with pytest.raises(ModelError, match="give one of them"):
        va.fit_relative(records, 2019, error_variance={"prior_score": 1.0}, reliability=R80)
    with pytest.raises(ModelError, match="not offered with random slopes"):
        va.fit_relative(records, 2019, random=["prior_score"], reliability=R80)


def test_a_name_that_only_begins_alike_is_another_column(records):
    more = records.assign(prior_score_2=np.random.default_rng(3).normal(size=len(records)))
    fit = va.fit_relative(more, 2019, "score ~ prior_score + prior_score_2", reliability=R80)
    assert fit.fixed_effects["prior_score"] > va.fit_relative(more, 2019).fixed_effects["prior_score"]
