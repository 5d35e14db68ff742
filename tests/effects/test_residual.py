"""Unequal residual variances through the public face: tables, tests, streams, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import valib as va
from valib.effects.late import SavedFit
from valib.errors import ModelError, RowsLeftOut, ValibWarning
from valib.models.residual_variance import fit_groups
from valib.sums.student_groups import sum_groups

SAME = 1e-8  # relative; two ways to the same sums, and where a search ends


def rows(seed: int = 1, schools: int = 40, spread: float = 0.4, boys: float = 1.6) -> pd.DataFrame:
    """Records of schools whose standard deviations differ, and of boys who vary more than girls."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(schools), rng.integers(3, 40, schools))
    female, prior = rng.integers(0, 2, len(code)), rng.normal(430, 75, len(code))
    sd = 20 * np.exp(spread * rng.standard_normal(schools))[code] * np.where(female == 1, 1.0, boys)
    score = 110 + 0.8 * prior + 12 * rng.standard_normal(schools)[code] + sd * rng.standard_normal(len(code))
    frame = pd.DataFrame({"school": np.char.mod("S%02d", code), "student": np.char.mod("P%d", np.arange(len(code)))})
    region = np.where(code % 3 == 0, "north", "south")
    return frame.assign(cohort=2031, score=score, prior_score=prior, female=female, region=region)


@pytest.fixture(scope="module")
def records():
    return va.read_records(rows())


@pytest.fixture(scope="module")
def by_school(records):
    return va.fit_relative(records, residual="by_school")


class TestBySchool:
    def test_the_fit_stands_where_others_do(self, records, by_school):
        plain = va.fit_relative(records)
        table, own = by_school.school_effects, by_school.unequal
        assert list(table.index) == list(plain.school_effects.index) and list(table) == list(plain.school_effects)
        assert by_school.loglik > plain.loglik and by_school.residual == "by_school"
        assert by_school.sigma2 == own.s**2 and by_school.vpc == pytest.approx(own.tau2 / (own.tau2 + own.s**2))
        assert by_school.summary()["residual_sd"] == {"common": own.s, "spread": own.spread}
        assert "SD of residuals, common" in str(by_school) and "Spread of schools' log SD" in str(by_school)
        assert by_school.intervals == "integrated" and (table["lower"] < table["upper"]).all()

    def test_shrunken_standard_deviations_lie_between_own_and_common(self, by_school):
        table = va.residual_variances(by_school)
        common = table.attrs["common"]
        apart = (table["own_sd"] - common).abs() > 0.3 * common
        assert apart.sum() > 5
        between = (table["sd"] - common) / (table["own_sd"] - common)
        assert between[apart].between(0, 1).all()
        assert between[apart & (table["n"] > 25)].mean() > between[apart & (table["n"] < 12)].mean()
        assert (table["lower"] < table["sd"]).all() and (table["sd"] < table["upper"]).all()
        wider = va.residual_variances(by_school, 0.99)
        assert (wider["lower"] < table["lower"]).all() and (table["upper"] < wider["upper"]).all()

    def test_intervals_follow_the_own_variance(self, records, by_school):
        """Schools that vary less than the common SD have shorter intervals than under one variance, the others longer."""
        plain = va.fit_relative(records).school_effects
        ours, sds = by_school.school_effects, va.residual_variances(by_school)
        ratio = (ours["upper"] - ours["lower"]) / (plain["upper"] - plain["lower"])
        sigma = np.sqrt(va.fit_relative(records).sigma2)
        assert ratio[sds["sd"] < 0.7 * sigma].max() < 1 < ratio[sds["sd"] > 1.4 * sigma].min()
        assert np.corrcoef(np.log(ratio), np.log(sds["sd"]))[0, 1] > 0.9

    def test_ranks_and_groups_follow(self, by_school):
        first, second = (by_school.ranks(seed=3) for _ in range(2))
        pd.testing.assert_frame_equal(first, second)
        assert first["p_top_quintile"].sum() == pytest.approx(8)
        schools = by_school.school_effects.index
        means = va.group_va(by_school, {s: s[-1] for s in schools})
        assert (means["lower"] < means["effect"]).all() and (means["effect"] < means["upper"]).all()
        assert va.false_discoveries(by_school, 0.05)["side_fdr"].isin(["above", "below", "not told apart"]).all()

    def test_the_tests(self, by_school, records):
        found = va.variance_test(by_school)
        assert list(found.index) == ["Bartlett", "likelihood ratio"] and (found["p"] < 1e-8).all()
        assert found.loc["likelihood ratio", "statistic"] == pytest.approx(
            2 * (by_school.loglik - va.fit_relative(records).loglik)
        )
        equal = va.fit_relative(va.read_records(rows(5, spread=0.0, boys=1.0)), residual="by_school")
        assert (va.variance_test(equal)["p"] > 0.05).all()

    def test_streamed(self, by_school, tmp_path):
        rows().to_csv(tmp_path / "a.csv", index=False)
        stream = va.stream_records(tmp_path / "a.csv")
        fit = va.fit_relative(stream, residual="by_school")
        assert fit.loglik == pytest.approx(by_school.loglik, rel=SAME)
        np.testing.assert_allclose(
            fit.school_effects["effect"], by_school.school_effects["effect"], rtol=1e-5, atol=1e-5
        )

    def test_plug_in_intervals_where_there_are_too_few_schools(self):
        few = va.read_records(rows(2, schools=3))
        few["mean"] = few.groupby("school")["prior_score"].transform("mean")
        with pytest.warns(ValibWarning, match="take the estimated variances as known"):
            fit = va.fit_relative(few, formula="score ~ prior_score + mean", residual="by_school")
        assert fit.intervals == "plugin"


class TestByGroup:
    def test_standard_deviations_and_test(self, records):
        fit = va.fit_relative(records, residual="female")
        table, test = va.residual_variances(fit), va.variance_test(fit)
        assert list(table.index) == [0, 1] and table.index.name == "female" and table["n"].sum() == fit.n_students
        ratio = table["sd"].iloc[0] / table["sd"].iloc[1]
        error = np.sqrt(((table["se"] / table["sd"]) ** 2).sum())
        assert abs(np.log(ratio / 1.6)) < 3 * error and test["df"].iloc[0] == 1 and test["p"].iloc[0] < 1e-8
        assert fit.summary()["residual_sd"] == {"0": table["sd"].iloc[0], "1": table["sd"].iloc[1]}
        assert "SD of residuals, 1" in str(fit)

    @pytest.mark.parametrize(
        "formula",
        [
            "score ~ prior_score",
            "score ~ prior_score * C(female) + region",
            "score - prior_score ~ C(`female`) + school_mean(prior_score)",
        ],
    )
    def test_streamed(self, records, formula, tmp_path):
        """The stream's sums, taken from products with the groups, are those of the rows."""
        rows().to_csv(tmp_path / "a.csv", index=False)
        stream = va.stream_records(tmp_path / "a.csv")
        ours, theirs = (sum_groups(r, 2031, formula, "female") for r in (records, stream))
        a, b = (found.moments.reshift(np.zeros(len(found.moments.names))) for found in (ours, theirs))
        assert ours.groups == theirs.groups and a.names == b.names and (a.n == b.n).all()
        np.testing.assert_allclose(a.sums, b.sums, rtol=1e-10, atol=1e-8)
        np.testing.assert_allclose(a.cross, b.cross, rtol=1e-10, atol=1e-6)
        assert ours.students.state == theirs.students.state or ours.students.state.names == theirs.students.state.names
        first, second = (fit_groups(found.moments, found.groups) for found in (ours, theirs))
        assert first.loglik == pytest.approx(second.loglik, rel=SAME)
        np.testing.assert_allclose(first.effects.effect, second.effects.effect, atol=1e-6)

    def test_students_whose_group_is_missing_are_left_out_and_told(self, tmp_path):
        some = rows().assign(female=lambda f: f["female"].astype(float))
        some.loc[some.index % 10 == 0, "female"] = np.nan
        gone = int(some["female"].isna().sum())
        some.to_csv(tmp_path / "a.csv", index=False)
        with pytest.warns(RowsLeftOut):
            fit = va.fit_relative(va.read_records(some), residual="female")
        with pytest.warns(RowsLeftOut):
            streamed = va.fit_relative(va.stream_records(tmp_path / "a.csv"), residual="female")
        for one in (fit, streamed):
            assert one.n_students == len(some) - gone and dict(one.left_out) == {"female": gone}
        assert fit.loglik == pytest.approx(streamed.loglik, rel=SAME)
        assert fit.school_effects["n"].sum() == fit.n_students


class TestAlongAColumn:
    def test_three_values(self, records):
        fit = va.fit_relative(records, residual="exp(prior_score)")
        table, test = va.residual_variances(fit), va.variance_test(fit)
        assert len(table) == 3 and table.index[1] == pytest.approx(records["prior_score"].mean())
        assert table["se"].iloc[1] < table["se"].iloc[0] == pytest.approx(table["se"].iloc[2], rel=0.2)
        assert test["p"].iloc[0] > 0.001 and fit.loglik >= va.fit_relative(records).loglik


class TestRefusals:
    @pytest.mark.parametrize(
        "residual, said",
        [
            ("school", "asked for by 'by_school'"),
            ("nothing", "need a column that groups students"),
            ("prior_score", r"ask for 'exp\(prior_score\)'"),
            ("exp(region)", "needs a numeric column"),
            ("exp(nothing)", "need a column"),
        ],
    )
    def test_columns(self, records, residual, said):
        with pytest.raises(ModelError, match=said):
            va.fit_relative(records, residual=residual)

    def test_streams_have_no_rows(self, tmp_path):
        rows().to_csv(tmp_path / "a.csv", index=False)
        stream = va.stream_records(tmp_path / "a.csv")
        for residual, formula, said in (
            ("exp(prior_score)", "score ~ prior_score", "take --engine memory"),
            ("female", "score ~ 0 + prior_score", "take --engine memory"),
            ("school", "score ~ prior_score", "by_school"),
            ("nothing", "score ~ prior_score", "'nothing'"),
        ):
            with pytest.raises(ModelError, match=said):
                va.fit_relative(stream, formula=formula, residual=residual)

    def test_one_value(self, records):
        with pytest.raises(ModelError, match="has 1 value, expected 2 to 30"):
            va.fit_relative(records.assign(one="a"), residual="one")

    @pytest.mark.parametrize(
        "more", [{"random": ["prior_score"]}, {"influences": True}, {"reliability": {"prior_score": 0.9}}]
    )
    def test_together_with(self, records, more):
        with pytest.raises(ModelError, match="not offered with unequal residual variances"):
            va.fit_relative(records, residual="by_school", **more)

    def test_what_needs_one_variance(self, records, by_school):
        for call in (
            lambda: va.school_residuals(by_school),
            lambda: va.student_residuals(records, by_school),
            lambda: va.capped_va(records, by_school, 3.0),
            lambda: SavedFit.of(by_school),
        ):
            with pytest.raises(ModelError, match="residual"):
                call()

    def test_a_fit_with_one_variance_has_no_others(self, records):
        for ask in (va.residual_variances, va.variance_test):
            with pytest.raises(ModelError, match="has one residual variance"):
                ask(va.fit_relative(records))
