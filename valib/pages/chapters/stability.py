"""The numbers of the chapter on how stable school effects are: correlations in six ways, structures, changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ...effects.bootstrap import JointBootstrap
from ...effects.findings import REPEATED_SHARE
from ...effects.joint import JointFit
from ...effects.relative import CohortFit, fit_relative
from ...effects.stability import TwoStep, attenuation_curves
from ...errors import ModelError
from ...records.datasets import load_records
from ...simulation.correlations import usable_cohorts
from ...study.params import Params
from .. import figures
from ..figures.style import percent
from ..findings import Findings, check
from ..notebook import Study
from ..prose import as_text, escape

WAYS = {
    "eb": "EB, separate models",
    "unshrunken": "Unshrunken",
    "reflated": "Reflated",
    "disattenuated": "Disattenuated",
    "joint_eb": "EB, joint model",
    "joint_model": "**Joint model itself**",
}
STRUCTURES = {
    "unstructured": "Unstructured",
    "compound_symmetry": "Compound symmetry",
    "ar1": "AR(1), calendar",
    "antedependence": "Antedependence",
    "toeplitz": "Toeplitz",
    "independent": "Independent",
}


def correlatable(study: Study) -> tuple[Study, str | None]:
    """The study if the effects of two of its cohorts or more can be correlated, else the demo study and the reason.

    The stand-in keeps the method, the level, the smallest school and the seed.
    """
    params, demo = study.params, Params()
    cohorts = sorted([*study.baseline, *study.focal])
    try:
        fits = [fit_relative(study.records, t, params.formula, params.method, params.level) for t in cohorts]
        usable_cohorts(fits)
    except ModelError as error:
        theirs = ("data", "table", "columns", "baseline_cohorts", "focal_cohorts", "formula", "further_formulas")
        params = params.model_copy(update={name: getattr(demo, name) for name in theirs})
        return replace(study, params=params, records=load_records("demo"), scale_breaks=()), str(error)
    return study, None


def _fade(structures: Mapping[str, JointFit]) -> pd.DataFrame:
    """The correlation of the autoregressive model by the years between two cohorts (gap)."""
    fade = structures["ar1"].correlations("plugin")
    fade["gap"] = fade["other"] - fade["cohort"]
    return fade.drop_duplicates("gap").sort_values("gap")


def stand_in_notice(refusal: str | None, left_out: Mapping[int, str]) -> Findings:
    """What the chapter is about if these records do not do, and which cohorts are left out.

    refusal: why the records' effects cannot be correlated, None if they can; left_out: reasons by cohort.
    """
    found = Findings().say(
        ":::{important}\nThe school effects of these records cannot be correlated over years. "
        + escape(refusal or "")
        + " So that the methods can be read all the same, everything below is about the simulated demo panel that comes "
        "with the library, not about these records; nothing of it is saved with the results.\n:::",
        when=refusal is not None,
    )
    return found.say(
        "Left out of this chapter: " + "; ".join(f"cohort {c} ({why})" for c, why in left_out.items()) + ".",
        when=bool(left_out),
    )


def study_names(cohorts: Sequence[int], level: float) -> Findings:
    """Cohorts, their number and the number of pairs, as the prose names them."""
    start, first, second = cohorts[0], cohorts[-2], cohorts[-1]
    T = len(cohorts)
    found = Findings().record("level", percent(level))
    for key, value in [
        ("start", start),
        ("first", first),
        ("second", second),
        ("n_cohorts", T),
        ("n_pairs", T * (T - 1) // 2),
        ("omega_size", T * (T + 1) // 2),
    ]:
        found.record(key, value, "d")
    return found.record("cohorts", cohorts)


def same_students(records: pd.DataFrame, cohorts: Sequence[int]) -> Findings:
    """A warning where student codes stand in several cohorts."""
    codes = records[records["cohort"].isin(cohorts)].groupby("student")["cohort"].nunique()
    again = float((codes > 1).mean())
    found = Findings().record("again", again, ".0%" if again >= 0.01 else ".2%")
    found.say(
        ":::{warning}\nOf the student codes in these cohorts, {glue:text}`again` occur in more than one of them. If "
        "they are the same students, a central assumption of this chapter fails: that cohorts consist of different "
        "students. What a student carries from one cohort to the next, ability or luck in a test that is the outcome "
        "of one and the prior of the next, makes the sampling errors of a school's two means depend on each other. "
        "Every correlation below, that of the joint model too, then mixes this with the stability of schools. Read "
        "the results as an illustration of the methods.\n:::",
        when=again > REPEATED_SHARE,
    )
    return found.say(
        "Of the student codes in these cohorts, {glue:text}`again` occur in more than one of them: students who repeated "
        "a year, it may be, and too few to matter to what follows.",
        when=0 < again <= REPEATED_SHARE,
    )


def reflating(eb: np.ndarray, reflated: np.ndarray, reliability: np.ndarray) -> Findings:
    """Reflating changes no correlation; reliabilities over schools."""
    check(np.allclose(eb, reflated, atol=1e-10, equal_nan=True), "reflating changes no correlation")
    own = np.diag(reliability)
    found = Findings().record("reliability_low", own.min(), ".2f")
    found.record("reliability_high", own.max(), ".2f")
    found.record("reliability_mean", own.mean(), ".2f")
    return found.record("seen_of_true", 0.8 * own.mean(), ".2f")  # of a correlation of 0.8, by eq-05-attenuation


def neighbours(
    cohorts: Sequence[int],
    separate: TwoStep,
    eb: np.ndarray,
    reflated: np.ndarray,
    unshrunken: np.ndarray,
    disattenuated: np.ndarray,
) -> Findings:
    """Correlations of neighbouring cohorts from separate models; separate holds their effects."""
    T = len(cohorts)
    at = np.arange(T - 1)
    shared = [int(((separate.n[:, t] > 0) & (separate.n[:, t + 1] > 0)).sum()) for t in at]
    shown = pd.DataFrame(
        {
            "Cohort": cohorts[:-1],
            "and": [str(c) for c in cohorts[1:]],
            "Schools": shared,
            "EB": eb[at, at + 1],
            "Reflated": reflated[at, at + 1],
            "Unshrunken": unshrunken[at, at + 1],
            "Disattenuated": disattenuated[at, at + 1],
        }
    )
    return Findings().table(
        shown,
        "Correlations of school effects of neighbouring cohorts from separate models, over the schools with students "
        "in both.",
        "tab-05-separate",
        index=False,
        formats=dict.fromkeys(["EB", "Reflated", "Unshrunken", "Disattenuated"], ".3f"),
    )


def joint_model(fits: Sequence[CohortFit], joint: JointFit) -> Findings:
    """Schools, students and correlations of the joint model."""
    T = len(fits)
    there = joint.arrays.data.n > 0
    found = Findings().record("joint_schools", joint.n_schools)
    found.record("joint_students", joint.n_students)
    found.record("complete", int(there.all(axis=1).sum()))
    found.record("absent", int((~there).sum()))
    found.record("absent_share", float((~there).mean()), ".0%")
    check(
        abs(joint.arrays.data.n.sum() - sum(f.n_students for f in fits)) < 0.5,
        "joint and separate models see the same students",
    )
    values = joint.correlation.to_numpy()[np.triu_indices(T, 1)]
    found.record("rho_low", float(np.nanmin(values)) if np.isfinite(values).any() else float("nan"), ".2f")
    found.record("rho_high", float(np.nanmax(values)) if np.isfinite(values).any() else float("nan"), ".2f")
    return found.figure("matrix", figures.correlation_matrix(joint.correlation, joint.correlation_se))


def absent(joint: JointFit) -> Findings:
    """What the models do with schools that lack a cohort."""
    there = joint.arrays.data.n > 0
    found = Findings().say(
        "Of the schools, {glue:text}`complete` have students in every cohort; {glue:text}`absent` combinations of "
        "school and cohort ({glue:text}`absent_share`) have none. The two-step correlations of a pair of cohorts use "
        "the schools that both have. The joint model uses all schools: a school with one cohort helps to estimate the "
        "variances, and a school with two helps with their covariance. It assumes that whether a cohort is missing depends on "
        "what is in the records and not on the missing effect itself. Schools that close because of poor results that no "
        "record shows would violate this.",
        when=not there.all(),
    )
    return found.say("Every school has students in every cohort.", when=bool(there.all()))


def expected(wide: pd.DataFrame) -> Findings:
    """Expected correlations by true correlation and reliability, all schools of one size."""
    rho, lam = (wide.index.get_level_values(k).to_numpy() for k in ("rho", "reliability"))
    check(
        np.allclose(wide["joint_eb"], rho * (2 - lam * (1 + rho**2)) / (1 + rho**2 - 2 * lam * rho**2)),
        "the closed form is what the general formula gives",
    )
    check(
        np.allclose(wide["eb"], rho * lam)
        and np.allclose(wide["eb"], wide["unshrunken"])
        and np.allclose(wide["eb"], wide["reflated"]),
        "EB, unshrunken and reflated agree in the balanced case",
    )
    check((wide["joint_eb"] > rho).all() and (wide["eb"] < rho).all(), "one too high, the other too low")
    shown = pd.DataFrame(
        {
            r"$\rho$": rho,
            r"$\lambda$": lam,
            "EB, unshrunken, reflated": wide["eb"].to_numpy(),
            "EB of the joint model": wide["joint_eb"].to_numpy(),
            "Disattenuated; joint model": wide["joint_model"].to_numpy(),
        }
    )
    return Findings().table(
        shown,
        r"Expected correlation of school effects in two cohorts by the true correlation $\rho$ and the reliability "
        r"$\lambda$, all schools of one size.",
        "tab-05-expected",
        index=False,
        formats={r"$\rho$": ".1f", r"$\lambda$": ".1f", **dict.fromkeys(shown.columns[2:], ".3f")},
    )


def attenuation(reliability: np.ndarray) -> Findings:
    """The figure of expected correlations, at the mean reliability of these schools."""
    return Findings().figure(
        "attenuation", figures.attenuation(attenuation_curves([0.5, 0.7, 0.9]), at=float(np.diag(reliability).mean()))
    )


def matrix_reflating(
    joint: JointFit, moved: np.ndarray, pair: np.ndarray, possible: bool, first: int, second: int
) -> Findings:
    """Effects reflated by matrix have the covariance that was put in: pair is that of the joint model."""
    check(not possible or np.allclose(moved.T @ moved / len(moved), pair), "matrix reflating returns Omega")
    second_moment = moved.T @ moved / len(moved)
    found = Findings().record(
        "matrix_out", second_moment[0, 1] / np.sqrt(second_moment[0, 0] * second_moment[1, 1]), ".3f"
    )
    found.record("matrix_in", joint.correlation.loc[first, second], ".3f")
    found.say(
        "For cohorts {glue:text}`first` and {glue:text}`second` the joint model's correlation is "
        "{glue:text}`matrix_in`, and that of the moved predictions (about zero) {glue:text}`matrix_out`. Moving them adds "
        "no information, because the result was put in.",
        when=bool(possible),
    )
    return found.say(
        "For cohorts {glue:text}`first` and {glue:text}`second` the estimated correlation lies on its boundary, so "
        "the matrix cannot be formed.",
        when=not possible,
    )


def boundary(joint: JointFit) -> Findings:
    """Whether the covariance of the joint model is singular, its intervals exist and the optimiser has converged."""
    found = Findings().say(
        ":::{important}\nThe estimated $\\boldsymbol\\Omega$ of these records is *singular*: a variance is zero, or "
        "the effects of some cohorts are an exact combination of those of others, such as a correlation of one. This "
        "can happen in maximum likelihood. As a rule it is a sign of too few schools or students for so many parameters "
        "and not of perfect stability. On the boundary the delta method does not hold: its standard errors and "
        "intervals are left out below. Those that average over what is not known of $\\boldsymbol\\Omega$ remain, unless "
        "there are too many cohorts to draw from it. Use fewer cohorts or a simpler structure.\n:::",
        when=joint.singular,
    )
    exist = bool(np.isfinite(joint.correlations("plugin")["lower"]).all())
    found.say(
        "The estimated $\\boldsymbol\\Omega$ of these records is not singular, and the delta method has an interval for every "
        "pair. Were it on a boundary, with a variance of zero or a correlation of one, this page would say so and "
        "leave its intervals out: a correlation of exactly one is as a rule a sign of too few schools, not of perfect "
        "stability.",
        when=not joint.singular and exist,
    )
    found.say(
        "The likelihood is too flat at its maximum to give every pair an interval; those are left out.",
        when=not joint.singular and not exist,
    )
    return found.say(
        "The optimiser did not meet its own criterion of convergence; take the joint model's numbers with care.",
        when=not joint.converged,
    )


def one_pair(ways: pd.DataFrame, first: int, second: int, stand_in: bool) -> Findings:
    """The last two cohorts in six ways; the table of every pair is saved unless it is the stand-in's."""
    found = Findings().save(ways.round(4), "stability_correlations.csv", when=not stand_in)
    one = ways[(ways["cohort"] == first) & (ways["other"] == second)].set_index("way")
    found.record("pair_schools", int(one["schools"].iloc[0]))
    for way, key in [("eb", "pair_eb"), ("joint_eb", "pair_joint_eb"), ("joint_model", "pair_rho")]:
        found.record(key, one.loc[way, "correlation"], ".2f")
    shown = one.reset_index()[["way", "correlation", "lower", "upper", "expected"]].replace({"way": WAYS})
    shown = shown.map(lambda v: "–" if isinstance(v, float) and np.isnan(v) else v)
    shown.columns = ["Way", "Correlation", "Lower", "Upper", "Expected"]
    return found.table(
        shown,
        "School effects of cohorts {glue:text}`first` and {glue:text}`second` ({glue:text}`pair_schools` shared "
        "schools): the correlation in six ways with {glue:text}`level` limits, and what to expect of each if the "
        "joint model's estimates were the truth.",
        "tab-05-pair",
        index=False,
        raw=True,
        formats=dict.fromkeys(shown.columns[1:], ".3f"),
    )


def every_pair(ways: pd.DataFrame, level: float) -> Findings:
    """The figure of six ways over all pairs, and on which side of the joint model they lie."""
    found = Findings().figure("ways", figures.correlation_ways(ways, level=level))
    last = ways.iloc[-1]
    pair = (int(last["cohort"]), int(last["other"]))
    found.figure("pair", figures.correlation_ways(ways, pair=pair, level=level))
    wide = ways.pivot(index=["cohort", "other"], columns="way", values="correlation")
    found.record("eb_nearer", int((wide["eb"].abs() < wide["joint_model"].abs()).sum()), "d")
    return found.record("joint_eb_farther", int((wide["joint_eb"].abs() > wide["joint_model"].abs()).sum()), "d")


def by_gap(ways: pd.DataFrame, many: bool) -> Findings:
    """Correlations by the years between cohorts; many: more than two cohorts."""
    found = Findings()
    by_gap = ways.assign(gap=ways["other"] - ways["cohort"]).pivot_table(
        index="gap", columns="way", values="correlation"
    )
    shown = pd.DataFrame(
        {
            "Years apart": by_gap.index,
            "Pairs": (ways["other"] - ways["cohort"]).value_counts().sort_index().to_numpy() // 6,
            "EB, reflated": by_gap["eb"].to_numpy(),
            "Unshrunken": by_gap["unshrunken"].to_numpy(),
            "Disattenuated": by_gap["disattenuated"].to_numpy(),
            "EB, joint": by_gap["joint_eb"].to_numpy(),
            "Joint model": by_gap["joint_model"].to_numpy(),
        }
    )
    if many:
        found.table(
            shown,
            "Correlations of school effects by the number of years between cohorts, averaged over pairs.",
            "tab-05-gap",
            index=False,
            formats=dict.fromkeys(shown.columns[2:], ".3f"),
        )
    found.say(
        "{numref}`tab-05-gap` shows the same for all pairs, by the years between them. The EB correlation lies nearer to zero "
        "than the joint model's in {glue:text}`eb_nearer` of the {glue:text}`n_pairs` pairs, and that of the joint model's "
        "EB predictions lies farther from zero in {glue:text}`joint_eb_farther`. Every pair is in "
        "`stability_correlations.csv`.",
        when=many,
    )
    return found.say("These records have two cohorts, so there is one pair.", when=not many)


def intervals(joint: JointFit, two: JointFit, boot: JointBootstrap, first: int, second: int) -> Findings:
    """The correlation of the last two cohorts by the delta method and by bootstrap."""
    b, alone, c = two.correlations("plugin").iloc[0], two.correlations().iloc[0], boot.correlations().iloc[0]
    shown = pd.DataFrame(
        {
            "Interval": [
                "All cohorts, delta method",
                "These two alone, delta method",
                "These two alone, bootstrap",
                "These two alone, integrated",
            ],
            "Correlation": [b["correlation"]] * 4,
        }
    )
    rows = [joint.correlations("plugin").set_index(["cohort", "other"]).loc[(first, second)], b, c, alone]
    for label, column in [("SE", "se"), ("Lower", "lower"), ("Upper", "upper")]:
        shown[label] = [float(r[column]) for r in rows]
    shown.loc[0, "Correlation"] = rows[0]["correlation"]
    shown = shown.map(lambda v: "–" if isinstance(v, float) and np.isnan(v) else v)
    found = Findings().record("replicates", int(c["replicates"]))
    limits = [as_text(float(alone[k]), ".2f") for k in ("lower", "upper")]
    found.record("two_rho", float(alone["correlation"]), ".2f")
    found.record(
        "two_interval", "from {} to {}".format(*limits) if np.isfinite(alone["lower"]) else "without an interval"
    )
    return found.table(
        shown,
        "Cohorts {glue:text}`first` and {glue:text}`second`: the joint model's correlation with {glue:text}`level` "
        "limits by the delta method, from {glue:text}`replicates` draws of schools, and from its posterior (of more than 300 "
        "schools, whose fit is not singular, by the delta method as well).",
        "tab-05-bootstrap",
        index=False,
        formats=dict.fromkeys(shown.columns[1:], ".3f"),
    )


def what_structures_are(many: bool) -> Findings:
    """Simpler structures of the covariance, in words."""
    found = Findings().say(
        "With {glue:text}`n_cohorts` cohorts $\\boldsymbol\\Omega$ has {glue:text}`omega_size` parameters. Simpler "
        "*structures* restrict what it may look like. *Compound symmetry* has one variance and the same correlation for "
        "every pair of cohorts, as if a school had a lasting part and a new part each year. *First-order "
        "autoregression*, AR(1), has one variance and the correlation $\\rho^{|t-s|}$, which fades by a constant factor a "
        "year; $|t-s|$ counts calendar years, so that a year without a cohort still counts. *Toeplitz* has one variance "
        "and a correlation for every distance in the sequence of cohorts. *Antedependence* has a variance for each cohort; "
        "each cohort depends on the one before, with a correlation of its own for each step. *Independent* has a variance "
        "for each cohort and no correlation. {cite:t}`chetty2014` let the value added of teachers change slowly in the "
        "same way. {numref}`tab-05-structures` compares the structures.",
        when=many,
    )
    return found.say(
        "Two cohorts have one correlation, so how correlations fade with the years cannot be shown here. The structures of "
        "$\\boldsymbol\\Omega$ that describe it need at least three cohorts.",
        when=not many,
    )


def structures(comparison: pd.DataFrame, many: bool) -> Findings:
    """AIC, BIC and likelihood-ratio tests of the structures."""
    found = Findings()
    shown = pd.DataFrame(
        {
            "Structure": comparison["covariance"].map(STRUCTURES),
            "Parameters": comparison["n_parameters"],
            "AIC": comparison["aic"] - comparison["aic"].min(),
            "BIC": comparison["bic"] - comparison["bic"].min(),
            "LR": ["–" if np.isnan(v) else f"{v:.1f}" for v in comparison["lr"]],
            "df": ["–" if np.isnan(v) else f"{v:.0f}" for v in comparison["df"]],
            "p": ["–" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}" for p in comparison["p_value"]],
        }
    )
    if many:
        found.table(
            shown,
            "Structures of $\\boldsymbol\\Omega$: AIC and BIC (with the number of students) less the smallest in "
            "the table (0 is best), and the likelihood-ratio test against the unstructured model.",
            "tab-05-structures",
            index=False,
            raw=True,
            formats={"AIC": ".1f", "BIC": ".1f"},
        )
    return found


def fading(
    joint: JointFit, structures: Mapping[str, JointFit], comparison: pd.DataFrame, level: float, many: bool
) -> Findings:
    """The best structure, and how correlations fade with the years between."""
    check(
        set(comparison.loc[comparison["within"].notna(), "within"]) <= {"unstructured, by_cohort"} or not many,
        "every likelihood-ratio test is against the unstructured model",
    )
    best_aic, best_bic = (STRUCTURES[comparison.loc[comparison[k].idxmin(), "covariance"]] for k in ("aic", "bic"))
    found = Findings().record("best_aic", best_aic)
    found.record("best_bic", best_bic)
    fade = _fade(structures)
    found.record("fade_gap", int(fade["gap"].iloc[0]), "d")
    found.record("fade_rho", fade["correlation"].iloc[0], ".2f")
    if many:
        found.figure(
            "gap",
            figures.correlation_by_gap(
                joint.correlations("plugin"), fade[["gap", "correlation", "lower", "upper"]], level=level
            ),
        )
    return found


def fading_in_words(
    joint: JointFit, structures: Mapping[str, JointFit], comparison: pd.DataFrame, many: bool
) -> Findings:
    """The place of the figure, and what it shows."""
    fade = _fade(structures)
    best_aic, best_bic = (comparison.loc[comparison[k].idxmin(), "covariance"] for k in ("aic", "bic"))
    found = Findings().say(
        "```{glue:figure} gap\n:name: fig-05-gap\n:alt: Correlation of school effects against the years between two "
        "cohorts, a point a pair with its interval, and the curve of the autoregressive model.\n\nCorrelations of the "
        "unstructured joint model by the years between the cohorts, with {glue:text}`level` limits where these exist. "
        "The line and its band: first-order autoregression on the calendar.\n```",
        when=many,
    )
    found.say(
        (
            "By both AIC and BIC the best structure of {numref}`tab-05-structures` is *{glue:text}`best_aic`*."
            if best_aic == best_bic
            else "By AIC the best structure of {numref}`tab-05-structures` is *{glue:text}`best_aic`*; by BIC, which counts a "
            "parameter more heavily, *{glue:text}`best_bic`*."
        )
        + " Under AR(1) the correlation at a distance of {glue:text}`fade_gap` "
        + ("year" if fade["gap"].iloc[0] == 1 else "years")
        + " is {glue:text}`fade_rho` ({numref}`fig-05-gap`). A structure that fits "
        "gives narrower intervals as a rule, and one that does not fit may give narrow intervals around wrong values. The "
        "unstructured model is the safe choice where there are enough schools.",
        when=many,
    )
    return found.say(
        "The chi-square p-values do not hold here, since the unstructured $\\boldsymbol\\Omega$ is singular.",
        when=many and joint.singular,
    )


def simulated_ways(
    simulated: pd.DataFrame, rho: float, reliability: float, size: int, schools: int, replicates: int
) -> Findings:
    """Simulated correlations beside what the formulas expect."""
    check(
        (abs(simulated["mean"] - simulated["expected"]) < 4 * simulated["mc_se"]).all(),
        "the simulated correlations are those that the formulas lead to expect",
    )
    found = Findings().record_all(
        ("sim_rho", rho, ".1f"),
        ("sim_lambda", reliability, ".1f"),
        ("sim_size", size, "d"),
        ("sim_schools", schools, "d"),
        ("sim_replicates", replicates, "d"),
    )
    shown = simulated[["way", "expected", "mean", "mc_se", "sd", "coverage"]].replace({"way": WAYS})
    shown.columns = ["Way", "Expected", "Mean", "MC SE", "SD", "Coverage"]
    return found.table(
        shown,
        "Simulated correlations: expected value, mean over replicates with its Monte Carlo standard error (MC SE), "
        "standard deviation over replicates, and how often the {glue:text}`level` interval covers the true "
        "correlation of {glue:text}`sim_rho`.",
        "tab-05-simulated",
        index=False,
        raw=True,
        formats={**dict.fromkeys(["Expected", "Mean", "SD"], ".3f"), "MC SE": ".4f", "Coverage": ".0%"},
    )


def calibrated_ways(calibrated: pd.DataFrame | None) -> Findings:
    """The same with the sizes and variances of these schools; None if their model lies on a boundary."""
    found = Findings()
    if calibrated is not None:
        found.record("own_rho", calibrated["rho"].iloc[0], ".3f")
        found.record("own_expected", calibrated.set_index("way").loc["eb", "expected"], ".3f")
        shown = calibrated[["way", "expected", "mean", "mc_se", "sd", "coverage"]].replace({"way": WAYS})
        shown.columns = ["Way", "Expected", "Mean", "MC SE", "SD", "Coverage"]
        found.table(
            shown,
            "The same, over 100 replicates, with the school sizes, variances and correlation ({glue:text}`own_rho`) "
            "of cohorts {glue:text}`first` and {glue:text}`second`.",
            "tab-05-calibrated",
            index=False,
            raw=True,
            formats={**dict.fromkeys(["Expected", "Mean", "SD"], ".3f"), "MC SE": ".4f", "Coverage": ".0%"},
        )
    found.say(
        "In {numref}`tab-05-calibrated` the expected values are those of many schools of these sizes. With few "
        "schools all ways, the joint model among them, can be off by a little more. Coverage also depends on the size of "
        "$\\rho$, because a correlation near zero is hardly shrunk, so that even the wrong interval often covers it.",
        when=calibrated is not None,
    )
    return found.say(
        "The model of these two cohorts lies on a boundary, so it is not taken as the truth of a simulation.",
        when=calibrated is None,
    )
