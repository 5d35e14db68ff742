"""Value added at named values: lme4's lines, groups of students, tests, fifths, streams, refusals."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import reference

import valib as va
from valib.errors import ModelError, ValibWarning

SAME = 1e-9  # two ways to the same sums
LME4 = 1e-6  # case 2 is polished


@pytest.fixture(scope="module")
def fit(exam):
    return va.fit_relative(exam, random=["prior_score"])


def groups(seed: int = 1, gap: float = 4.0) -> pd.DataFrame:
    """Records whose schools differ in the gap between two groups by an SD of ``gap``."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(60), 40)
    female = rng.integers(0, 2, len(code))
    prior = rng.normal(0, 10, len(code))
    u, v = 5 * rng.standard_normal(60), gap * rng.standard_normal(60)
    score = 50 + prior + 3 * female + u[code] + v[code] * female + 8 * rng.standard_normal(len(code))
    frame = pd.DataFrame({"school": [f"S{k:02d}" for k in code], "cohort": 2024, "score": score, "prior_score": prior})
    frame["student"] = [f"P{k}" for k in range(len(frame))]
    return frame.assign(female=female.astype(float), sex=np.where(female == 1, "F", "B"), gap=v[code], u=u[code])


class TestAgainstLme4:
    def test_lines_of_schools(self, fit):
        told = reference("case2_exam")["random_slope_ML"]
        r = told["ranef"]
        lines = pd.DataFrame(r["b"], index=r["group"])
        for value in (-1.5, 0.0, 2.0):
            expected = lines["(Intercept)"] + value * lines["standLRT"]
            found = va.va_at(fit, prior_score=[value])["effect"].droplevel("prior_score")
            np.testing.assert_allclose(found, expected.reindex(found.index), atol=LME4)
        at_0 = va.va_at(fit, prior_score=[0])["se_conditional"].droplevel("prior_score")
        own = pd.Series(np.sqrt(r["condvar"]["(Intercept)"]), r["group"])
        np.testing.assert_allclose(at_0, own.reindex(at_0.index), rtol=LME4)

    def test_the_covariance_stands_as_lme4_has_it(self, fit):
        told = reference("case2_exam")["random_slope_ML"]
        assert list(fit.random_covariance.columns) == ["Intercept", "prior_score"]
        np.testing.assert_allclose(fit.random_covariance, told["G"]["matrix"], rtol=LME4)

    def test_sleepstudy_by_the_other_door(self, sleepstudy):
        told = reference("case11_slopes")["sleepstudy_REML"]
        fit = va.fit_mixed(va.load("sleepstudy"), "Reaction ~ Days + (Days | Subject)", "Subject", "REML")
        assert fit.loglik == pytest.approx(told["logLik"], abs=1e-7)
        np.testing.assert_allclose(fit.random_covariance, told["G"], rtol=1e-5)


class TestSurface:
    def test_a_formula_says_the_same_as_names(self, exam, fit):
        other = va.fit_relative(exam, formula="score ~ prior_score + (1 + prior_score | school)")
        assert other.loglik == fit.loglik and other.formula == fit.formula
        pd.testing.assert_frame_equal(other.school_effects, fit.school_effects)

    def test_a_fit_on_disk_is_the_same(self, exam, fit, tmp_path):
        exam[["student", "school", "cohort", "score", "prior_score"]].to_parquet(tmp_path / "exam.parquet")
        other = va.fit_relative(va.stream_records(tmp_path / "exam.parquet"), random=["prior_score"])
        assert other.loglik == pytest.approx(fit.loglik, abs=1e-8)
        np.testing.assert_allclose(other.random_covariance, fit.random_covariance, rtol=1e-7)
        a, b = (va.va_at(f, prior_score=[-1, 1])["effect"] for f in (other, fit))
        np.testing.assert_allclose(a, b, atol=1e-8)

    def test_effects_of_schools_are_those_at_the_mean(self, exam, fit):
        at = va.va_at(fit, prior_score=[float(exam["prior_score"].mean())])
        for name in ("effect", "se_conditional", "se_comparative", "se", "lower", "upper"):
            np.testing.assert_allclose(at[name], fit.school_effects[name], atol=SAME)
        assert fit.tau2 == pytest.approx(fit.slopes.G[0, 0])

    def test_effects_sum_to_zero_at_every_value(self, fit):
        """The normal equations of intercept and slope, G common: so they rank schools at each value."""
        for _, part in va.va_at(fit, prior_score=[-2, 0, 3]).groupby(level="prior_score"):
            assert abs(part["effect"].sum()) < 1e-8

    def test_defaults_are_round_and_from_the_records(self, exam, fit):
        values = va.va_at(fit).index.get_level_values("prior_score").unique()
        mean, sd = exam["prior_score"].mean(), exam["prior_score"].std(ddof=0)
        np.testing.assert_allclose(values, [mean - sd, mean, mean + sd], atol=0.006)

    def test_plugin_limits_are_comparative(self, exam):
        fit = va.fit_relative(exam, random=["prior_score"], intervals="plugin")
        table = va.va_at(fit, prior_score=[1])
        np.testing.assert_allclose(table["upper"] - table["effect"], 1.959963985 * table["se_comparative"], rtol=1e-8)
        assert fit.ranks(seed=1).shape[0] == 65

    def test_ranks_begin_with_the_variances(self, fit):
        ranks = fit.ranks(seed=1)
        assert ranks["expected_rank"].corr(fit.school_effects["effect"]) < -0.97
        pd.testing.assert_frame_equal(ranks, fit.ranks(seed=1))

    def test_the_summary_tells_the_random_part(self, fit):
        told = fit.summary()
        assert told["random"] == ["prior_score"] and told["random_sd"]["prior_score"] == pytest.approx(
            0.12056, abs=1e-5
        )
        assert "SD of slopes of prior_score" in str(fit)


class TestGroups:
    def test_recovers_gaps(self):
        """Predicted gaps follow the true ones, and integrated limits hold about 95 of 100."""
        records = groups()
        fit = va.fit_relative(records, formula="score ~ prior_score + female", random=["female"])
        gaps, truth = va.va_gap(fit, "female"), records.groupby("school")["gap"].first()
        assert np.corrcoef(gaps["gap"], truth)[0, 1] > 0.75
        assert ((gaps["lower"] <= truth) & (truth <= gaps["upper"])).mean() > 0.88  # three binomial errors below 0.95
        assert 2.5 < np.sqrt(fit.slopes.G[1, 1]) < 5.5
        np.testing.assert_allclose(gaps["whole_gap"], gaps["gap"] + fit.fixed_effects["female"])

    def test_a_category_is_its_indicator(self):
        records = groups()
        number = va.fit_relative(records, formula="score ~ prior_score + female", random=["female"])
        category = va.fit_relative(records, formula="score ~ prior_score + sex", random=["sex"])
        assert category.loglik == pytest.approx(number.loglik, abs=1e-9)
        a = va.va_at(number, female=[0, 1]).rename(index={0: "B", 1: "F"}, level="female")
        b = va.va_at(category, sex=["B", "F"])
        np.testing.assert_allclose(a["effect"], b["effect"], atol=1e-8)
        gap = va.va_gap(category, "sex", "B", "F")
        wide = b["effect"].unstack("sex")
        np.testing.assert_allclose(gap["gap"], wide["F"] - wide["B"], atol=1e-9)
        np.testing.assert_allclose(gap["high"], wide["F"], atol=1e-9)

    def test_the_gap_is_surer_than_two_effects_apart(self):
        fit = va.fit_relative(groups(), formula="score ~ prior_score + female", random=["female"], intervals="plugin")
        table = va.va_at(fit, female=[0, 1])["se_comparative"].unstack()
        gap = va.va_gap(fit, "female")
        G = fit.slopes.G
        assert (gap["se"] < np.sqrt(G[1, 1])).all()
        assert (gap["se"] < np.hypot(table[0], table[1])).all()

    def test_several_columns_are_combined(self, exam):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ValibWarning)
            fit = va.fit_relative(
                exam, formula="score ~ prior_score + sex", random=["prior_score", "sex"], intervals="plugin"
            )
        table = va.va_at(fit, sex=["F", "M"], prior_score=[-1, 1])
        assert len(table) == 4 * 65 and table.index.names == ["school", "sex", "prior_score"]
        a = va.va_at(fit, {"sex[T.M]": [1], "prior_score": [1]})["effect"].to_numpy()
        np.testing.assert_allclose(a, table.xs(("M", 1), level=("sex", "prior_score"))["effect"], atol=1e-12)


class TestTheTest:
    def test_exam(self, fit):
        """Twice the difference of lme4's log-likelihoods: 40.37; p by hand."""
        told = reference("case2_exam")
        expected = 2 * (told["random_slope_ML"]["logLik"] - told["standLRT_ML"]["logLik"])
        row = va.slope_test(fit).loc["prior_score"]
        assert row["statistic"] == pytest.approx(expected, abs=1e-7)
        assert row["p"] == pytest.approx(9.6e-10, rel=0.01)
        assert row["correlation"] == pytest.approx(0.498, abs=0.001)

    def test_where_groups_are_served_alike(self):
        """No variance of the slope: its estimate is small, the test says so, and effects stay."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ValibWarning)
            fit = va.fit_relative(groups(3, gap=0.0), formula="score ~ prior_score + female", random=["female"])
        assert va.slope_test(fit)["p"].iloc[0] > 0.05
        assert fit.tau2 > 10

    def test_half_of_the_schools_change_fifth_on_exam(self, fit):
        table = va.fifths_at(fit, "prior_score", -1, 1)
        assert table.to_numpy().sum() == 65 and (table.sum(axis=1) == 13).all() and (table.sum(axis=0) == 13).all()
        assert 28 <= 65 - np.trace(table.to_numpy()) <= 37
        few = va.fifths_at(fit, "prior_score", -1, 1, min_students=10)
        assert few.to_numpy().sum() == 62


class TestBoundary:
    def test_it_is_told(self):
        """Slopes that all are the same: a finding that names the column, value added the same everywhere."""
        rng = np.random.default_rng(1)
        x = np.tile(rng.standard_normal(20), 12)
        school = np.repeat(np.arange(12), 20)
        score = 2 * x + np.repeat(rng.standard_normal(12), 20) + np.tile(rng.standard_normal(20), 12)
        records = pd.DataFrame(
            {
                "school": [f"S{s:02d}" for s in school],
                "cohort": 1,
                "student": range(240),
                "score": score,
                "prior_score": x,
            }
        )
        with pytest.warns(ValibWarning, match="not told apart in their slopes of prior_score"):
            fit = va.fit_relative(records.assign(student=records.student.astype(str)), random=["prior_score"])
        wide = va.va_at(fit, prior_score=[-1, 1])["effect"].unstack()
        np.testing.assert_allclose(wide[-1], wide[1], atol=1e-6)
        assert [f.code for f in fit.findings] == ["boundary"]
        limits = va.va_at(fit, prior_score=[1])
        assert (limits["upper"] > limits["lower"]).all()  # what is not known of the variance is in the limits


class TestRefusals:
    def test_each_in_a_sentence(self, exam, fit):
        plain = va.fit_relative(exam, intervals="plugin")
        for refused in (va.va_at, va.slope_test):
            with pytest.raises(ModelError, match="no random slopes"):
                refused(plain)
        with pytest.raises(ModelError, match="'ses' has no random slope; the fit has one of prior_score"):
            va.va_at(fit, ses=[1])
        with pytest.raises(ModelError, match="expected a number"):
            va.va_at(fit, prior_score=["high"])
        with pytest.raises(ModelError, match="'x' has no column"):
            va.fit_relative(exam, random=["x"])
        with pytest.raises(ModelError, match="random-intercept model"):
            va.school_residuals(fit)
        with pytest.raises(ModelError, match="Influences"):
            va.fit_relative(exam, random=["prior_score"], influences=True)
        category = va.fit_relative(groups(), formula="score ~ prior_score + sex", random=["sex"], intervals="plugin")
        with pytest.raises(ModelError, match="'sex' has no level 'M'; it has 'B', 'F'"):
            va.va_at(category, sex=["M"])

    @pytest.mark.parametrize(
        ("part", "said"),
        [
            ("(prior_score | class)", "by 'class', expected 'school'"),
            ("(0 + prior_score | school)", "must have an intercept"),
            ("(1 + prior_score || school)", "cannot be read"),
            ("prior_score | school", "cannot be read"),
        ],
    )
    def test_random_parts_that_are_not_read(self, exam, part, said):
        with pytest.raises(ModelError, match=said.replace("(", r"\(").replace("|", r"\|")):
            va.fit_relative(exam, formula=f"score ~ prior_score + {part}")

    def test_an_intercept_alone_is_the_usual_model(self, exam):
        fit = va.fit_relative(exam, formula="score ~ prior_score + (1 | school)", intervals="plugin")
        assert fit.slopes is None and fit.loglik == va.fit_relative(exam, intervals="plugin").loglik


def test_a_bar_in_a_quoted_name_is_no_random_part():
    """A column may be called anything; only a bar outside of quotes separates slopes from groups."""
    from valib.sums.random_part import random_part

    quoted = "score ~ prior_score + `a | b`"
    assert random_part(quoted) == (quoted, [])
    assert random_part(f"{quoted} + (1 + prior_score | school)") == (quoted, ["prior_score"])
    with pytest.raises(ModelError, match="cannot be read"):
        random_part("score ~ prior_score | school")
