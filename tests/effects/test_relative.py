"""One cohort's fit against lme4 (every school), against simulated truth, and at the edges of what data
can be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import reference, simulate
from scipy import stats

from valib.effects.relative import CohortFit, fit_relative
from valib.errors import ModelError, ValibError, ValibWarning

# lme4's optimum was polished until theta was exact to about 1e-10, and both programs work in double
# precision: fixed effects and predictions move with the square root of the error in the likelihood at most,
# variances a little more.
FIXED = 1e-9  # relative to the largest entry of the vector; 5e-11 was seen
PREDICTED = 2e-9  # likewise; 1.3e-10 was seen
VARIANCE = 5e-9  # 3e-10 was seen
LOGLIK = 1e-8  # absolute; 1.3e-10 was seen, on a log-likelihood of 7e4

PANEL_YEARS = [2015, 2016, 2017, 2019, 2021, 2024]


def relative_difference(value, wanted) -> float:
    """Largest difference, relative to the largest wanted entry."""
    wanted = np.asarray(wanted, dtype=float)
    return float(np.abs(np.asarray(value, dtype=float) - wanted).max() / np.abs(wanted).max())


def compare(fit: CohortFit, wanted: dict, names: dict[str, str], missed_by: float = 1e-9) -> None:
    """Every stored number of an lme4 fit; ``names`` maps lme4's coefficient names to valib's."""
    assert fit.loglik == pytest.approx(wanted["logLik"], abs=LOGLIK)
    assert fit.loglik >= wanted["logLik"] - missed_by * abs(wanted["logLik"])  # valib's optimum is no worse
    assert fit.tau2 == pytest.approx(wanted["sigma2_b"], rel=VARIANCE)
    assert fit.sigma2 == pytest.approx(wanted["sigma2"], rel=VARIANCE)
    assert fit.n_students == wanted["nobs"] and fit.n_schools == wanted["n_groups"]
    assert fit.vpc == pytest.approx(wanted["icc"], rel=VARIANCE)
    if wanted["fixef"]:
        order = [names[k] for k in wanted["vcov_fixef"]["names"]]
        assert set(order) == set(fit.fixed_effects.index)
        assert relative_difference(fit.fixed_effects[order], list(wanted["fixef"].values())) < FIXED
        assert relative_difference(fit.vcov.loc[order, order], wanted["vcov_fixef"]["matrix"]) < VARIANCE
    compare_schools(fit.school_effects, wanted["ranef"])


def compare_schools(effects: pd.DataFrame, wanted: dict) -> None:
    """All schools, matched by their codes."""
    assert set(wanted["group"]) == set(effects.index) and len(wanted["group"]) == len(effects)
    mine = effects.loc[wanted["group"]]
    assert list(mine["n"]) == wanted["n"]
    assert relative_difference(mine["effect"], wanted["b"]) < PREDICTED
    assert relative_difference(mine["se_conditional"] ** 2, wanted["condvar"]) < VARIANCE
    for column, key in (("shrinkage", "lambda"), ("se_comparative", "pev"), ("se_diagnostic", "diagnostic_var")):
        if key in wanted:
            power = 1 if column == "shrinkage" else 2
            assert relative_difference(mine[column] ** power, wanted[key]) < VARIANCE, key


EXAM = {
    "null": ("score ~ 1", {"(Intercept)": "Intercept"}),
    "standLRT": ("score ~ prior_score", {"(Intercept)": "Intercept", "standLRT": "prior_score"}),
    "cov_schgend": (
        "score ~ standLRT + schavg + sex + C(schgend, contr.treatment('mixed'))",
        {
            "(Intercept)": "Intercept",
            "standLRT": "standLRT",
            "schavg": "schavg",
            "sexM": "sex[T.M]",
            "schgendboys": "C(schgend, contr.treatment('mixed'))[T.boys]",
            "schgendgirls": "C(schgend, contr.treatment('mixed'))[T.girls]",
        },
    ),
    "cov_type": (
        "score ~ standLRT + schavg + sex + type",
        {
            "(Intercept)": "Intercept",
            "standLRT": "standLRT",
            "schavg": "schavg",
            "sexM": "sex[T.M]",
            "typeSngl": "type[T.Sngl]",
        },
    ),
}


class TestAgainstLme4:
    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_sleepstudy(self, sleepstudy, method):
        fit = fit_relative(sleepstudy, formula="score ~ prior_score", method=method)
        compare(fit, reference("case1_sleepstudy")[method], {"(Intercept)": "Intercept", "Days": "prior_score"})

    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_sleepstudy_interval_of_the_seed_question(self, sleepstudy, method):
        """The limits of the question's last comment use the conditional variance; ours are wider by the
        error of b."""
        wanted = reference("case1_sleepstudy")[method]["byhand"]
        effects = fit_relative(
            sleepstudy, formula="score ~ prior_score", method=method, intervals="plugin"
        ).school_effects
        mine = effects.loc[wanted["subject"]]
        z = stats.norm.ppf(0.975)
        assert relative_difference(mine.effect - z * mine.se_conditional, wanted["lower95_qnorm"]) < PREDICTED
        assert relative_difference(mine.effect + z * mine.se_conditional, wanted["upper95_qnorm"]) < PREDICTED
        assert (mine.lower < np.asarray(wanted["lower95_qnorm"])).all()
        assert (mine.upper > np.asarray(wanted["upper95_qnorm"])).all()
        np.testing.assert_allclose(mine.upper - mine.lower, 2 * z * mine.se_comparative, rtol=1e-12)

    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize("model", EXAM)
    def test_exam(self, exam, model, method):
        formula, names = EXAM[model]
        compare(fit_relative(exam, formula=formula, method=method), reference("case2_exam")[f"{model}_{method}"], names)

    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_chem97(self, chem97, method):
        fit = fit_relative(chem97, formula="score ~ gcsecnt + C(gender, contr.treatment('M')) + age", method=method)
        compare(
            fit,
            reference("case3_chem97")[method],
            {
                "(Intercept)": "Intercept",
                "gcsecnt": "gcsecnt",
                "age": "age",
                "genderF": "C(gender, contr.treatment('M'))[T.F]",
            },
        )

    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize("year", PANEL_YEARS)
    def test_panel(self, panel, year, method):
        fit = fit_relative(panel, year, "score ~ prior_score", method)
        compare(
            fit,
            reference("case5_sim")["relative"][str(year)][method],
            {"(Intercept)": "Intercept", "prior_score": "prior_score"},
        )

    @pytest.mark.parametrize("year", PANEL_YEARS)
    def test_panel_with_covariates(self, panel, year):
        fit = fit_relative(panel, year, "score ~ prior_score + female + ses")
        compare(
            fit,
            reference("case5_sim")["relative"][str(year)]["ML_with_female_ses"],
            {"(Intercept)": "Intercept", "prior_score": "prior_score", "female": "female", "ses": "ses"},
        )

    def test_a_change_of_reference_level_changes_no_prediction(self, exam):
        a = fit_relative(exam, formula=EXAM["cov_schgend"][0])
        b = fit_relative(exam, formula="score ~ standLRT + schavg + sex + schgend")
        assert a.loglik == pytest.approx(b.loglik, abs=1e-8)
        np.testing.assert_allclose(a.school_effects.effect, b.school_effects.effect, atol=1e-9)


class TestResult:
    def test_what_a_fit_says_of_itself(self, panel):
        fit = fit_relative(panel, 2021, "score ~ prior_score", "REML", level=0.9, intervals="plugin")
        rows = panel[panel.cohort == 2021]
        assert (fit.cohort, fit.method, fit.model, fit.level) == (2021, "REML", "relative", 0.9)
        assert fit.shift_se is None and not fit.singular
        assert fit.student_sd == pytest.approx(rows.score.std(), rel=1e-10)
        assert fit.theta == pytest.approx(fit.tau2 / fit.sigma2, rel=1e-12)
        assert list(fit.school_effects.index) == sorted(rows.school.unique())
        assert (fit.school_effects.n == rows.groupby("school").size().sort_index()).all()
        z = stats.norm.ppf(0.95)
        np.testing.assert_allclose(
            fit.school_effects.upper - fit.school_effects.effect, z * fit.school_effects.se_comparative, rtol=1e-12
        )

    def test_the_order_of_the_rows_does_not_matter(self, panel):
        rows = panel[panel.cohort == 2021]
        a = fit_relative(rows, 2021)
        b = fit_relative(rows.sample(frac=1, random_state=3), 2021)
        np.testing.assert_allclose(a.school_effects.effect, b.school_effects.effect, rtol=1e-8, atol=1e-8)
        assert a.loglik == pytest.approx(b.loglik, abs=1e-7)

    def test_the_fit_is_of_the_cohort_asked_for(self, panel):
        whole = fit_relative(panel, 2019)
        alone = fit_relative(panel[panel.cohort == 2019], 2019)
        pd.testing.assert_frame_equal(whole.school_effects, alone.school_effects)

    def test_rescaling_the_scores_rescales_the_answer(self, panel):
        rows = panel[panel.cohort == 2024]
        a = fit_relative(rows, 2024)
        b = fit_relative(rows.assign(score=3 * rows.score - 700), 2024)
        assert b.tau2 == pytest.approx(9 * a.tau2, rel=1e-7)
        np.testing.assert_allclose(b.school_effects.effect, 3 * a.school_effects.effect, rtol=1e-7, atol=1e-7)
        assert b.fixed_effects["Intercept"] == pytest.approx(3 * a.fixed_effects["Intercept"] - 700, rel=1e-8)

    def test_a_large_offset_of_the_scales_costs_no_accuracy(self, panel):
        """Sums of squares of scores near a million would lose ten digits; moments are taken about a
        centre."""
        rows = panel[panel.cohort == 2024]
        a = fit_relative(rows, 2024)
        b = fit_relative(rows.assign(score=rows.score + 1e6, prior_score=rows.prior_score + 1e6), 2024)
        assert b.tau2 == pytest.approx(a.tau2, rel=1e-7)
        assert b.sigma2 == pytest.approx(a.sigma2, rel=1e-8)
        assert b.loglik == pytest.approx(a.loglik, abs=1e-5)
        assert b.fixed_effects["prior_score"] == pytest.approx(a.fixed_effects["prior_score"], rel=1e-8)
        np.testing.assert_allclose(b.school_effects.effect, a.school_effects.effect, atol=1e-6)
        np.testing.assert_allclose(b.school_effects.se_comparative, a.school_effects.se_comparative, rtol=1e-6)

    def test_several_cohorts_need_one_to_be_named(self, panel):
        with pytest.raises(ModelError, match="cohort"):
            fit_relative(panel)

    def test_an_absent_cohort_is_named(self, panel):
        with pytest.raises(ValibError, match="2030"):
            fit_relative(panel, 2030)

    def test_an_unknown_method_is_named(self, panel):
        with pytest.raises(ValueError, match="MLE"):
            fit_relative(panel, 2019, method="MLE")

    def test_an_absent_column_is_named(self, panel):
        with pytest.raises(ModelError, match="parental_income"):
            fit_relative(panel, 2019, "score ~ prior_score + parental_income")


def toy(sizes, rng, tau=10.0, sigma=20.0):
    """Records of schools of the given sizes."""
    code = np.repeat(np.arange(len(sizes)), sizes)
    prior = 500 + 50 * rng.standard_normal(len(code))
    score = 100 + 0.8 * prior + tau * rng.standard_normal(len(sizes))[code] + sigma * rng.standard_normal(len(code))
    return pd.DataFrame(
        {
            "student": [str(i) for i in range(len(code))],
            "school": [f"S{k:04d}" for k in code],
            "cohort": 2020,
            "score": score,
            "prior_score": prior,
        }
    )


def all_finite(fit: CohortFit) -> bool:
    return bool(
        np.isfinite(fit.school_effects.drop(columns=["tested", "linked_share", "side"]).to_numpy(dtype=float)).all()
        and np.isfinite(fit.vcov.to_numpy()).all()
        and np.isfinite([fit.loglik, fit.tau2, fit.sigma2]).all()
    )


class TestEdges:
    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_schools_alike_beyond_chance_give_a_singular_fit(self, method):
        """Each school holds the same spread of residuals: the between mean square is 0, below the within."""
        spread = np.tile([-30.0, -10.0, 10.0, 30.0], 8)
        rng = np.random.default_rng(1)
        prior = np.tile(rng.normal(500, 50, 4), 8)
        frame = pd.DataFrame(
            {
                "student": [str(i) for i in range(32)],
                "school": np.repeat(list("ABCDEFGH"), 4),
                "cohort": 1,
                "score": 0.8 * prior + spread[rng.permutation(4)][np.tile(range(4), 8)],
                "prior_score": prior,
            }
        )
        fit = fit_relative(frame, method=method)
        assert fit.tau2 == 0.0 and fit.theta == 0.0 and fit.singular
        assert (fit.school_effects.effect == 0).all() and (fit.school_effects.shrinkage == 0).all()
        assert (fit.school_effects[["se_conditional", "se_comparative", "se_diagnostic"]] == 0).all(axis=None)
        X = np.column_stack([np.ones(32), prior])
        b, rss = np.linalg.lstsq(X, frame.score, rcond=None)[:2]
        np.testing.assert_allclose(fit.fixed_effects, b, rtol=1e-9)
        sigma2 = rss[0] / (32 if method == "ML" else 30)
        assert fit.sigma2 == pytest.approx(sigma2, rel=1e-9)
        np.testing.assert_allclose(fit.vcov, sigma2 * np.linalg.inv(X.T @ X), rtol=1e-7)
        assert (fit.school_effects["lower"] < 0).all() and (fit.school_effects["upper"] > 0).all()
        known = fit_relative(frame, method=method, intervals="plugin").school_effects
        assert known[["lower", "upper"]].isna().all(axis=None)  # not known, rather than of no width
        assert [item.code for item in fit.findings] == ["boundary"] and fit.vpc == 0
        assert "schools of cohort 1 cannot be told apart" in fit.findings[0].text
        ranks = fit.ranks(seed=1, draws=200)
        assert np.isfinite(ranks.to_numpy(dtype=float)).all()

    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_sizes_from_one_to_two_thousand(self, method):
        sizes = np.r_[np.ones(10, int), np.arange(2, 30), 300, 2000]
        fit = fit_relative(toy(sizes, np.random.default_rng(3)), method=method)
        assert all_finite(fit) and not fit.singular
        big, small = (fit.school_effects[fit.school_effects.n == 2000], fit.school_effects[fit.school_effects.n == 1])
        assert big.shrinkage.min() > 0.99 and small.shrinkage.max() < 0.5
        assert big.se_comparative.max() < small.se_comparative.min()

    def test_one_student_schools_among_others_are_predicted(self):
        fit = fit_relative(toy(np.r_[np.ones(15, int), np.full(15, 12)], np.random.default_rng(4)))
        single = fit.school_effects[fit.school_effects.n == 1]
        np.testing.assert_allclose(single.shrinkage, fit.vpc, rtol=1e-10)
        assert all_finite(fit)

    def test_only_one_student_schools_cannot_tell_school_from_student(self):
        with pytest.raises(ModelError, match="student"):
            fit_relative(toy(np.ones(40, int), np.random.default_rng(5)))

    def test_two_schools(self):
        with pytest.warns(ValibWarning, match="at least 3 schools"):
            fit = fit_relative(toy(np.array([30, 50]), np.random.default_rng(6), tau=30))
        assert fit.n_schools == 2 and all_finite(fit) and fit.intervals == "plugin"

    def test_one_school_is_refused(self):
        with pytest.raises(ModelError, match="school"):
            fit_relative(toy(np.array([30]), np.random.default_rng(6)))

    def test_a_constant_prior_is_named(self):
        with pytest.raises(ModelError, match="prior_score"):
            fit_relative(toy(np.full(10, 10), np.random.default_rng(7)).assign(prior_score=500.0))

    def test_equal_scores_are_refused(self):
        with pytest.raises(ModelError, match="score"):
            fit_relative(toy(np.full(10, 10), np.random.default_rng(7)).assign(score=500.0))

    def test_scores_that_the_prior_explains_wholly_are_refused(self):
        frame = toy(np.full(10, 10), np.random.default_rng(7))
        with pytest.raises(ModelError):
            fit_relative(frame.assign(score=3 + 2 * frame.prior_score))

    def test_a_collinear_column_is_named(self):
        frame = toy(np.full(10, 10), np.random.default_rng(8))
        rng = np.random.default_rng(9)
        frame = frame.assign(ses=rng.normal(size=100), female=rng.integers(0, 2, 100))
        with pytest.raises(ModelError, match="twice"):
            fit_relative(frame.assign(twice=2 * frame.ses + 3), formula="score ~ prior_score + female + ses + twice")

    def test_a_column_that_is_nearly_collinear_is_still_fitted(self):
        """An error is for exact dependence, not for a correlation of .9999."""
        frame = toy(np.full(10, 20), np.random.default_rng(8))
        frame = frame.assign(near=frame.prior_score + np.random.default_rng(9).normal(0, 0.5, 200))
        assert all_finite(fit_relative(frame, formula="score ~ prior_score + near"))

    def test_columns_of_very_different_size_are_not_taken_for_collinear(self):
        frame = toy(np.full(10, 20), np.random.default_rng(8))
        rng = np.random.default_rng(10)
        frame = frame.assign(tiny=1e-6 * rng.normal(size=200), huge=1e9 * rng.normal(size=200))
        a = fit_relative(frame, formula="score ~ prior_score + tiny + huge")
        b = fit_relative(
            frame.assign(tiny=frame.tiny * 1e6, huge=frame.huge * 1e-9), formula="score ~ prior_score + tiny + huge"
        )
        np.testing.assert_allclose(a.school_effects.effect, b.school_effects.effect, rtol=1e-6, atol=1e-7)
        assert a.fixed_effects["tiny"] * 1e-6 == pytest.approx(b.fixed_effects["tiny"], rel=1e-6)

    def test_a_contextual_covariate_is_the_mean_of_the_school_in_the_cohort(self, panel):
        rows = panel[panel.cohort == 2021]
        by_hand = rows.assign(context=rows.groupby("school").prior_score.transform("mean"))
        a = fit_relative(panel, 2021, "score ~ prior_score + school_mean(prior_score)")
        b = fit_relative(by_hand, 2021, "score ~ prior_score + context")
        assert a.loglik == pytest.approx(b.loglik, abs=1e-8)
        np.testing.assert_allclose(a.school_effects.effect, b.school_effects.effect, atol=1e-8)

    def test_interactions_of_categories_and_numbers(self, exam):
        fit = fit_relative(exam, formula="score ~ standLRT * C(sex) + schgend:standLRT")
        girls = (exam.sex == "F").astype(float)
        by_hand = exam.assign(
            m=1 - girls,
            mx=(1 - girls) * exam.standLRT,
            g=(exam.schgend == "girls") * exam.standLRT,
            b=(exam.schgend == "boys") * exam.standLRT,
        )
        plain = fit_relative(by_hand, formula="score ~ standLRT + m + mx + g + b")
        assert fit.loglik == pytest.approx(plain.loglik, abs=1e-7)


@pytest.fixture(scope="module")
def fits():
    """150 simulated worlds (tau2 225, sigma2 2025, slope 0.8) and their fits."""
    rng = np.random.default_rng(20240917)
    worlds = [simulate(rng, schools=40, size=(5, 40)) for _ in range(150)]
    return [(w, fit_relative(w, 2015, method="REML")) for w in worlds]


class TestRecovery:
    """Seeded, so they pass or fail for good; the bands are Monte Carlo standard errors."""

    def test_variances_and_slope_are_unbiased(self, fits):
        for attribute, truth in (("tau2", 225.0), ("sigma2", 2025.0)):
            values = np.array([getattr(f, attribute) for _, f in fits])
            assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(len(values)), attribute
        slopes = np.array([f.fixed_effects["prior_score"] for _, f in fits])
        assert abs(slopes.mean() - 0.8) < 3 * slopes.std() / np.sqrt(len(slopes))

    def test_standard_errors_are_the_spread_of_the_estimates(self, fits):
        """The standard deviation of 150 values has a relative Monte Carlo error of about 6%; three of
        them."""
        for value, se in (
            (lambda f: f.tau2, lambda f: f.tau2_se),
            (lambda f: f.sigma2, lambda f: f.sigma2_se),
            (lambda f: f.fixed_effects["prior_score"], lambda f: f.vcov.loc["prior_score", "prior_score"] ** 0.5),
        ):
            spread = np.std([value(f) for _, f in fits], ddof=1)
            assert np.mean([se(f) for _, f in fits]) == pytest.approx(spread, rel=0.18)

    def test_comparative_intervals_cover_the_school_effects(self, fits):
        inside, total = 0, 0
        for world, fit in fits:
            truth = world.groupby("school").u.first().loc[fit.school_effects.index]
            inside += ((fit.school_effects.lower <= truth) & (truth <= fit.school_effects.upper)).sum()
            total += len(truth)
        # 6,000 intervals, 40 a replicate that share an intercept: 1.5 points covers the Monte Carlo error
        # and the little that is lost because the variances are estimated
        assert inside / total == pytest.approx(0.95, abs=0.015)

    def test_errors_are_a_little_larger_than_stated_because_the_variances_are_estimated(self, fits):
        """With known variances the ratio is 1 (test_blup.py); 40 schools leave tau2 uncertain by a
        quarter."""
        z = np.concatenate(
            [
                ((fit.school_effects.effect - world.groupby("school").u.first()) / fit.school_effects.se_comparative)
                for world, fit in fits
            ]
        )
        assert 1.0 < np.var(z) < 1.15
