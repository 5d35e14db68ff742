"""The numbers of the chapter on relative value added: the London records, every focal cohort, and the last one in detail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ...effects.multiplicity import count_sides, false_discoveries
from ...effects.relative import CohortFit
from ...effects.verdict import ABOVE, BELOW
from ...models.mixed import MixedFit
from ...records.disclosure import only_shown
from ...study import tables
from ...sums.design import INTERCEPT
from .. import figures
from ..findings import Findings, check, formats
from ..prose import AS_ERROR, as_text, code, escape, estimate, to_error


def _with_intercept(fit: CohortFit) -> bool:
    return INTERCEPT in fit.fixed_effects.index


def _mean_scores(records: pd.DataFrame, fits: Sequence[CohortFit]) -> pd.Series:
    """The mean score of each fitted cohort."""
    return pd.Series({f.cohort: records.loc[records["cohort"] == f.cohort, "score"].mean() for f in fits})


def _expected(fits: Sequence[CohortFit]) -> list[float]:
    """In each cohort, the expected score of the average student of the first: x_ref' b_t."""
    first = fits[0]
    mean = np.average(first.moments.means[:, :-1], axis=0, weights=first.moments.n)
    reference = pd.Series(mean, index=first.fixed_effects.index)
    return [float(reference @ fit.fixed_effects.reindex(reference.index)) for fit in fits]


def exam_models(null: CohortFit, type_a: CohortFit, level: float) -> Findings:
    """Two models of the London scores: without and with the prior score."""
    slope = type_a.fixed_effects["prior_score"], type_a.vcov.loc["prior_score", "prior_score"] ** 0.5
    found = Findings().table(
        pd.DataFrame(
            [
                {
                    "Model": name,
                    "Slope of the prior score (SE)": estimate(*b, ".3f~") if b else "",
                    r"$\hat\tau^2$ (SE)": estimate(fit.tau2, fit.tau2_se, ".3f~"),
                    r"$\hat\sigma^2$ (SE)": estimate(fit.sigma2, fit.sigma2_se, ".3f~"),
                    "VPC": as_text(fit.vpc, ".1%"),
                    "Log-likelihood": as_text(fit.loglik, ".1f"),
                }
                for name, fit, b in [("Null model", null, None), ("With the prior score", type_a, slope)]
            ]
        ),
        "Two models of the inner London examination scores. SE: standard error; variances in squared student SD.",
        "tab-02-exam",
        index=False,
        raw=True,
    )
    check(
        type_a.tau2 < null.tau2 and type_a.sigma2 < null.sigma2 and type_a.vpc < null.vpc,
        "the prior score explains part of both variances of the London scores",
    )
    found.record("method", type_a.method)
    found.record("level", f"{100 * level:g}%")
    found.record("exam_students", null.n_students)
    found.record("exam_schools", null.n_schools)
    found.record("exam_vpc_null", null.vpc, ".0%")
    found.record("exam_vpc", type_a.vpc, ".0%")
    found.record("exam_slope", slope[0], ".2f")
    found.record("exam_tau", type_a.tau2**0.5, ".2f")
    found.record("exam_tau_null", null.tau2**0.5, ".2f")
    found.record("exam_explained_school", 1 - type_a.tau2 / null.tau2, ".0%")
    return found.record("exam_explained_student", 1 - type_a.sigma2 / null.sigma2, ".0%")


def halves(together: MixedFit, type_a: CohortFit) -> Findings:
    """Hold that moments of two halves, added, give the fit of the whole."""
    check(
        np.allclose([together.tau2, together.sigma2], [type_a.tau2, type_a.sigma2], rtol=1e-7),
        "moments of halves, added, give the fit of the whole",
    )
    found = Findings().record("tau2_whole", type_a.tau2, ".6f")
    return found.record("tau2_halves", together.tau2, ".6f")


def profile(
    shares: np.ndarray, held: Sequence[MixedFit], above: np.ndarray, inside: np.ndarray, level: float
) -> Findings:
    """Fits with the variance partition coefficient held at shares; above: twice the log-likelihood lost."""
    check((above >= -1e-9).all(), "the fit has the highest likelihood of all values of theta")
    return Findings().table(
        pd.DataFrame(
            {
                "VPC, held": shares,
                r"$\theta$": shares / (1 - shares),
                "Slope": [fit.coefficients[1] for fit in held],
                r"$\hat\sigma$": [fit.sigma2**0.5 for fit in held],
                r"$-2\ell$ above its minimum": above,
                "Inside the interval": np.where(inside, "yes", "no"),
            }
        ),
        f"The examination scores with the variance ratio held at seven values. The {100 * level:g}% profile interval of "
        r"the VPC holds the values for which $-2\ell$ is less than the chi-squared quantile (1 degree of freedom) "
        r"above its minimum.",
        "tab-02-profile",
        index=False,
        formats={
            **{"VPC, held": ".2f", r"$\theta$": ".3f", "Slope": ".4f", r"$\hat\sigma$": ".4f"},
            r"$-2\ell$ above its minimum": ".1f",
        },
    )


def likelihoods(both: Mapping[str, CohortFit]) -> Findings:
    """The London model by ML and by REML."""
    check(both["REML"].tau2 > both["ML"].tau2, "REML gives the larger school variance on these records")
    return Findings().table(
        pd.DataFrame(
            [
                {
                    "Method": m,
                    "Slope (SE)": estimate(f.fixed_effects["prior_score"], f.vcov.iloc[1, 1] ** 0.5, ".4f~"),
                    r"$\hat\tau^2$ (SE)": estimate(f.tau2, f.tau2_se, ".4f~"),
                    r"$\hat\sigma^2$ (SE)": estimate(f.sigma2, f.sigma2_se, ".4f~"),
                    "VPC": as_text(f.vpc, ".2%"),
                }
                for m, f in both.items()
            ]
        ),
        "The inner London model by two likelihoods.",
        "tab-02-reml",
        index=False,
        raw=True,
    )


def random_deals(dealt: Sequence[CohortFit]) -> Findings:
    """Fits of students dealt to schools at random: how often the school variance is exactly zero."""
    check(
        any(f.singular for f in dealt), "some random deal of students to schools has a school variance of exactly zero"
    )
    check(
        all((f.school_effects["effect"] == 0).all() for f in dealt if f.singular),
        "on the boundary all effects are zero",
    )
    found = Findings().record("dealt", len(dealt))
    found.record("dealt_zero", sum(f.singular for f in dealt))
    return found.record("dealt_largest", max(fit.tau2 for fit in dealt) ** 0.5, ".2f")


def rich_model(rich: CohortFit) -> Findings:
    """Coefficients with sex, type of school and the school's mean prior score."""
    names = {
        "Intercept": "intercept: a girl in a mixed school",
        "prior_score": "slope of the prior score, girls",
        "sex[T.M]": "boys less girls, at the average prior score",
        "prior_score:sex[T.M]": "slope of boys less slope of girls",
        "school_mean(prior_score)": "mean prior score of the school",
    }
    coefficients = tables.fixed_effects([rich])
    gender = coefficients["term"].str.extract(r"\[T\.(boys|girls)\]")[0]
    meaning = coefficients["term"].map(names).fillna(gender + "' school less mixed school")
    found = Findings().table(
        pd.DataFrame({"Coefficient": meaning, "Estimate (SD)": coefficients["estimate"], "SE": coefficients["se"]}),
        "Inner London: coefficients with sex, type of school and the school's mean prior score.",
        "tab-02-rich",
        index=False,
        formats=".3f",
    )
    at = coefficients.set_index(meaning)["estimate"]
    se = coefficients.set_index(meaning)["se"]["slope of boys less slope of girls"]
    check(abs(at["slope of boys less slope of girls"]) < 2 * se, "the interaction is small against its standard error")
    check(at["mean prior score of the school"] > 0, "the contextual coefficient is positive")
    found.record("rich_boys", at["boys less girls, at the average prior score"], ".2f")
    found.record("rich_context", at["mean prior score of the school"], ".2f")
    return found.record("rich_tau", rich.tau2**0.5, ".2f")


def two_types(type_a: CohortFit, type_b: CohortFit, composition: pd.Series) -> Findings:
    """Effects that count the context of the intake as the school's, and effects that do not."""
    a, b = type_a.school_effects["effect"], type_b.school_effects["effect"]
    found = Findings().figure(
        "type_ab", figures.type_ab(type_a.school_effects, type_b.school_effects, "Type A", "Type B", unit="SD")
    )
    check(
        abs(b @ composition) < 1e-8 * len(b) and abs(b.sum()) < 1e-8,
        "type B effects sum to zero and are uncorrelated with the school mean that was controlled",
    )
    found.record("corr_a", a.corr(composition), ".2f")
    found.record("corr_b", b.corr(composition), ".2f")
    found.record("corr_ab", a.corr(b), ".2f")
    found.record("moved", int(((a.rank() - b.rank()).abs() >= 10).sum()))
    return found.record("tau_b", type_b.tau2**0.5, ".2f")


def cohort_fits(fits: Sequence[CohortFit]) -> Findings:
    """Fixed effects of each focal cohort."""
    last, focal = fits[-1], [f.cohort for f in fits]
    rows = tables.fixed_effects(fits)[["cohort", "term", "estimate", "se"]]
    kept = focal[-max(1, 20 // len(last.fixed_effects)) :]
    found = Findings().record("focal", focal)
    found.record("first_cohort", focal[0], "d")
    found.record("last_cohort", focal[-1], "d")
    rows["estimate"] = [to_error(b, se, ".3f" + AS_ERROR) for b, se in zip(rows["estimate"], rows["se"], strict=True)]
    return found.table(
        rows[rows["cohort"].isin(kept)].set_axis(["Cohort", "Coefficient", "Estimate", "SE"], axis=1),
        "Fixed effects of the relative model, each cohort fitted by itself"
        + (" (the last cohorts; all of them are in the saved results)." if len(kept) < len(fits) else "."),
        "tab-02-fixed",
        index=False,
        formats=".3f",
    )


def variances(fits: Sequence[CohortFit]) -> Findings:
    """Variances of each focal cohort, and a word on cohorts without differences between schools."""
    last, found = fits[-1], Findings()
    points, squared = formats(last.student_sd).plain, (".1f" if last.student_sd >= 10 else ".3f") + AS_ERROR
    found.table(
        pd.DataFrame(
            [
                {
                    "Cohort": fit.cohort,
                    "Students": fit.n_students,
                    "Schools": fit.n_schools,
                    r"$\hat\tau$": as_text(fit.tau2**0.5, points),
                    r"$\hat\tau^2$ (SE)": estimate(fit.tau2, fit.tau2_se, squared),
                    r"$\hat\sigma^2$ (SE)": estimate(fit.sigma2, fit.sigma2_se, squared),
                    "VPC": as_text(fit.vpc, ".1%"),
                }
                for fit in fits[-20:]
            ]
        ),
        "Variances of the relative model: $\\hat\\tau$ in score points, variances in score points squared. "
        "SE: from the observed information of the two variances.",
        "tab-02-variances",
        index=False,
        raw=True,
    )
    zero = [f for f in fits if f.singular]
    without_limits = zero and zero[-1].school_effects["upper"].isna().all()
    found.say(
        "In cohort "
        + ", ".join(str(f.cohort) for f in zero)
        + " the school variance is estimated as exactly zero: these "
        "records show no difference between schools there, and all school effects are zero. This does not prove that "
        "schools are equal. "
        + (
            "Plug-in limits are not given there, because they would take the variance of zero as known."
            if without_limits
            else "The intervals show how far a school may still lie from the average."
        ),
        when=zero,
    )
    return found


def pairs(
    last: CohortFit, overlap: pd.Series | None, z_pair: float | None, level: float, min_students: int
) -> Findings:
    """The caterpillar, and which pairs of schools can be told apart.

    overlap: half-widths by school, z_pair times the comparative error; both None without differences between schools.
    """
    effects = last.school_effects
    half = np.zeros(len(effects)) if overlap is None else overlap.to_numpy()
    value = effects["effect"].to_numpy()
    apart = [np.abs(value[i + 1 :] - value[i]) > half[i + 1 :] + half[i] for i in range(len(value) - 1)]
    found = Findings().figure("caterpillar", figures.caterpillar(effects, level, overlap=overlap, min_n=min_students))
    found.record("z", stats.norm.ppf(0.5 + level / 2), ".2f")
    found.record("z_pair", float("nan") if z_pair is None else z_pair, ".2f")
    found.record("z_equal", stats.norm.ppf(0.5 + level / 2) / 2**0.5, ".2f")
    return found.record("pairs_apart", np.concatenate(apart).mean(), ".0%")


def last_cohort(last: CohortFit, min_students: int, fdr: float | None = None) -> Findings:
    """The last cohort in numbers; fdr: false discovery rate of schools called above or below with it, .05 if None."""
    shown, points = only_shown(last.school_effects, min_students), formats(last.student_sd).plain
    found, rate = Findings(), 0.05 if fdr is None else fdr
    low, high = (shown["effect"].agg(end) for end in ("min", "max"))
    sides = count_sides(shown["side"], last.level)
    found.record("tau", last.tau2**0.5, points)
    found.record("tau_size", last.tau2**0.5 / last.student_sd, ".2f")
    found.record("vpc", last.vpc, ".1%")
    found.record("schools", last.n_schools)
    found.record("students", last.n_students)
    found.record("below", sides["below"])
    found.record("above", sides["above"])
    found.record("across", sides["unclear"])
    found.record("sided", sides["schools"])
    found.record("by_chance", sides["by_chance"], ".1f")
    found.record("fdr_rate", rate, "g")
    found.record("fdr_called", int(false_discoveries(last, rate, min_students)["side_fdr"].isin([ABOVE, BELOW]).sum()))
    found.record("lowest", low, points)
    found.record("highest", high, points)
    found.record("lowest_size", low / last.student_sd, ".2f")
    found.record("highest_size", high / last.student_sd, ".2f")
    return found


def pairs_apart(last: CohortFit) -> Findings:
    """What overlapping intervals allow to be said of pairs."""
    return Findings().say(
        "Here $z^*$ is {glue:text}`z_pair`, and of all pairs of schools in this cohort {glue:text}`pairs_apart` can "
        "be told apart.",
        when=not last.singular,
    )


def two_intervals(compared: Mapping[tuple[str, str], CohortFit]) -> Findings:
    """Plug-in and integrated limits of the same schools, by sample and kind."""
    found, rows = Findings(), []
    for sample in dict.fromkeys(sample for sample, _ in compared):
        fits = {kind: compared[sample, kind] for kind in ("plugin", "integrated")}
        check(
            fits["plugin"].school_effects["effect"].equals(fits["integrated"].school_effects["effect"]),
            "the prediction is the same with either interval",
        )
        widths = {k: (f.school_effects["upper"] - f.school_effects["lower"]).median() for k, f in fits.items()}
        rows.append((sample, fits["plugin"].tau2 ** 0.5, *widths.values()))
    found.table(
        pd.DataFrame(rows, columns=["Sample", r"$\hat\tau$", "Plug-in", "Integrated"]),
        "Median width of the {glue:text}`level` intervals of relative value added on the Exam data (standard "
        "deviations of the score), by what is done with the variances.",
        "tab-02-intervals",
        formats=".3f",
        index=False,
    )
    return found


def three_errors(last: CohortFit, min_students: int) -> Findings:
    """Conditional, comparative and diagnostic error of the smallest, the middle and the largest school shown."""
    effects = last.school_effects
    check(
        np.allclose(effects["se_comparative"] ** 2 + effects["se_diagnostic"] ** 2, last.tau2, rtol=1e-6, atol=1e-12),
        "comparative and diagnostic variance add up to tau2",
    )
    check((effects["se_comparative"] >= effects["se_conditional"]).all(), "the comparative error is never the smaller")
    by_size = only_shown(effects, min_students).sort_values("n", kind="stable")
    three = by_size.iloc[np.unique([0, len(by_size) // 2, len(by_size) - 1])]
    kinds, places = ("Conditional", "Comparative", "Diagnostic"), ".2f" if last.student_sd >= 10 else ".3f"
    found = Findings().table(
        three[["n", "shrinkage", "se_conditional", "se_comparative", "se_diagnostic"]].set_axis(
            ["Students $n_j$", r"Reliability $\lambda_j$", "Conditional SE", "Comparative SE", "Diagnostic SE"], axis=1
        ),
        "The three standard errors (score points) for the smallest, the middle and the largest school shown.",
        "tab-02-errors",
        index=False,
        formats={r"Reliability $\lambda_j$": ".2f", **dict.fromkeys((f"{k} SE" for k in kinds), places)},
    )
    return found.say(
        "In this cohort the comparative standard error exceeds the conditional one by {glue:text}`ratio` at most.",
        when=not last.singular,
    )


def shrinkage(last: CohortFit, min_students: int) -> Findings:
    """How much predictions are shrunken, and by how much their comparative error exceeds the conditional one."""
    effects = last.school_effects
    by_size = only_shown(effects, min_students)
    ratio = effects["se_comparative"] / effects["se_conditional"].where(effects["se_conditional"] > 0)
    found = Findings().record("ratio", ratio.max() - 1, ".1%")
    found.record("lambda_low", by_size["shrinkage"].min(), ".2f")
    return found.record("lambda_high", by_size["shrinkage"].max(), ".2f")


def residual_checks(
    last: CohortFit, standardised: pd.Series, student: np.ndarray, intake: pd.Series, level: float, min_students: int
) -> Findings:
    """Residuals of schools and students against the normal, and the relation of effects and intake.

    standardised: residuals by school; student: an array of them; intake: mean prior score by school.
    """
    effects = last.school_effects
    by_size = only_shown(effects, min_students).sort_values("n", kind="stable")
    found = Findings().figure("residuals", figures.residual_checks(standardised[by_size.index], student, level=level))
    found.record("outliers", int((standardised.abs() > stats.norm.ppf(0.5 + level / 2)).sum()))
    found.record("outliers_expected", len(standardised) * (1 - level), ".1f")
    found.record("kurtosis", stats.kurtosis(student), "+.2f")
    return found.record("intake_corr", effects["effect"].corr(intake.reindex(effects.index)), ".2f")


def intake(last: CohortFit) -> Findings:
    """The sentence on effects and intake."""
    return Findings().say(
        "The correlation of the school effects with the schools' mean prior score is {glue:text}`intake_corr`.",
        when=not last.singular,
    )


def ranks(ranks: pd.DataFrame, level: float, min_students: int) -> Findings:
    """How wide intervals of ranks are, and who belongs to an extreme fifth for sure."""
    found = Findings().figure("ranks", figures.rank_intervals(ranks, level=level, min_n=min_students))
    span = ranks["rank_upper"] - ranks["rank_lower"]
    found.record("span", span.median(), ",.0f")
    found.record("wide", (span > len(ranks) / 2).mean(), ".0%")
    found.record("sure_low", int((ranks["p_bottom_quintile"] > level).sum()))
    found.record("sure_high", int((ranks["p_top_quintile"] > level).sum()))
    found.record("in_fifth", max(1, len(ranks) // 5))
    return found.record("ranked", len(ranks))


def both_ends(last: CohortFit, ranks: pd.DataFrame, level: float, min_students: int) -> Findings:
    """Both ends of the list of schools, with what belongs beside a rank."""
    points = formats(last.student_sd).plain
    limits = last.school_effects[["lower", "upper"]]
    shown = only_shown(ranks.join(limits), min_students).sort_values("expected_rank", kind="stable")
    ends = shown.iloc[np.unique(np.r_[0:5, -5:0] % len(shown))]
    found = Findings().say(
        "All effects are predicted as zero here: all schools are tied, their order in {numref}`tab-02-ends` is that "
        "of chance draws, and there is no ranking to publish.",
        when=last.singular,
    )
    sure = {"1.00": "> 0.99", "0.00": "< 0.01"}  # 2,000 draws prove no certainty
    return found.table(
        pd.DataFrame(
            [
                {
                    "School": escape(row.Index),
                    "Students": as_text(row.n),
                    "Value added (interval)": "{} ({} to {})".format(
                        *(as_text(v, points) for v in (row.effect, row.lower, row.upper))
                    ),
                    "Effect size": as_text(row.effect / last.student_sd, ".2f"),
                    "Expected rank (interval)": f"{row.expected_rank:.0f} ({row.rank_lower:.0f} to {row.rank_upper:.0f})",
                    "P(lowest fifth)": f"{row.p_bottom_quintile:.2f}",
                    "P(highest fifth)": f"{row.p_top_quintile:.2f}",
                }
                for row in ends.itertuples()
            ]
        ).replace(dict.fromkeys(["P(lowest fifth)", "P(highest fifth)"], sure)),
        f"Both ends of cohort {last.cohort} by expected rank (1 is highest), at most five schools each. Intervals "
        f"have level {100 * level:g}%; effect size: value added over the SD of student scores.",
        "tab-02-ends",
        index=False,
        raw=True,
    )


def formulas(
    last: CohortFit, formula: str, others: Mapping[str, CohortFit], lacking: Sequence[str], refused: Mapping[str, str]
) -> Findings:
    """The same schools under further formulas; lacking: formulas whose columns are not there, refused: why one failed."""
    effects, points = last.school_effects, formats(last.student_sd).plain
    found = Findings().table(
        pd.DataFrame(
            [
                {
                    "Formula": code(text),
                    "Students": as_text(fit.n_students),
                    r"$\hat\tau$": as_text(fit.tau2**0.5, points),
                    "VPC": as_text(fit.vpc, ".1%"),
                    "Correlation with the first": ""
                    if fit.singular or last.singular
                    else as_text(fit.school_effects["effect"].corr(effects["effect"]), ".3f"),
                    "Median change of an effect": as_text(
                        (fit.school_effects["effect"] - effects["effect"]).abs().median(), points
                    ),
                }
                for text, fit in {formula: last, **others}.items()
            ]
        ),
        f"The same schools under each formula, cohort {last.cohort} (score points).",
        "tab-02-formulas",
        index=False,
        raw=True,
    )
    found.say("Left out, because the records lack a column: " + "; ".join(map(code, lacking)) + ".", when=bool(lacking))
    return found.say(
        "Not fitted: " + "; ".join(f"{code(text)} ({escape(why)})" for text, why in refused.items()), when=bool(refused)
    )


def centre(fits: Sequence[CohortFit]) -> Findings:
    """Relative effects sum to zero in every cohort, if the model has an intercept."""
    last, effects = fits[-1], fits[-1].school_effects
    with_intercept = _with_intercept(last)
    largest_sum = max(abs(fit.school_effects["effect"].sum()) for fit in fits)
    check(not with_intercept or largest_sum < 1e-6 * last.student_sd, "relative effects sum to zero in every cohort")
    found = Findings().record("weighted_mean", np.average(effects["effect"], weights=effects["n"]), "+.2f")
    return found.say(
        "The formula of this study has no intercept, so the property does not hold in this copy.",
        when=not with_intercept,
    )


def gain(records: pd.DataFrame, fits: Sequence[CohortFit], change: pd.Series) -> Findings:
    """A gain of all students leaves every effect as it was (change), and moves the expected score."""
    last, points = fits[-1], formats(fits[-1].student_sd).plain
    check(
        not _with_intercept(last) or change.abs().max() < 1e-5 * last.student_sd,
        "a gain of all students changes no relative effect",
    )
    check(
        all(f.school_effects["effect"].std(ddof=0) <= f.tau2**0.5 for f in fits),
        "predictions vary less than the school effects they predict",
    )
    scores, typical = _mean_scores(records, fits), _expected(fits)
    found = Findings().record("typical_change", typical[-1] - typical[0], "+" + points)
    return found.record("score_change", scores.iloc[-1] - scores.iloc[0], "+" + points)


def moved(records: pd.DataFrame, fits: Sequence[CohortFit]) -> Findings:
    """What scores did beside what relative value added shows."""
    points = formats(fits[-1].student_sd).plain
    return Findings().table(
        pd.DataFrame(
            {
                "Cohort": [f.cohort for f in fits],
                "Mean score": _mean_scores(records, fits).to_numpy(),
                "Mean relative VA": [f.school_effects["effect"].mean() for f in fits],
                "SD of relative VA": [f.school_effects["effect"].std(ddof=0) for f in fits],
                "Expected score of the same student": _expected(fits),
            }
        ).tail(20),
        f"Scores move, the mean of relative value added (VA) does not. Last column: $\\mathbf "
        f"x_{{\\mathrm{{ref}}}}'\\hat{{\\mathbf b}}_t$ for the average student of cohort {fits[0].cohort}, in an "
        f"average school of each cohort (score points).",
        "tab-02-centre",
        index=False,
        formats=points,
    )


def moved_in_words(fits: Sequence[CohortFit]) -> Findings:
    """From the first to the last focal cohort, in words."""
    return Findings().say(
        "From cohort {glue:text}`first_cohort` to cohort {glue:text}`last_cohort` the mean score changed by "
        "{glue:text}`score_change` points and the expected score of the same student by {glue:text}`typical_change`. "
        "The mean relative value added is zero in both.",
        when=len(fits) > 1 and _with_intercept(fits[-1]),
    )


def files(fits: Sequence[CohortFit], min_students: int) -> Findings:
    """Effects and coefficients of every focal cohort, for the results folder."""
    found = Findings().save(tables.school_effects(fits, min_students)[0], "relative_effects.csv")
    return found.save(tables.fixed_effects(fits), "relative_fixed_effects.csv")
