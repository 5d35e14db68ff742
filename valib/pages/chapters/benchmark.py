"""The numbers of the chapter on benchmark value added: recipes, shifts and their errors, choices and their consequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ...effects.baseline import Benchmark
from ...effects.benchmark import fit_benchmark
from ...effects.multiplicity import side_counts
from ...effects.relative import CohortFit
from ...effects.verdict import ABOVE, BELOW, SCHOOLS, UNCLEAR, YEAR, shift_verdicts
from ...records.disclosure import only_shown
from ...study.params import Params
from .. import figures, prose
from ..figures.style import percent
from ..findings import Findings, check, formats
from ..prose import as_text, code, direction, escape
from .shift_context import which_is_wider

NO_BREAK = "\N{NO-BREAK SPACE}"
BY = {SCHOOLS: "over schools", YEAR: f"of {YEAR}", "": "that is not known"}


def slope_name(benchmark: Benchmark) -> str:
    """The coefficient that the chapter follows: that of the prior score, or of a term that holds it, or the last."""
    names = list(benchmark.coefficients.index)
    return "prior_score" if "prior_score" in names else next((c for c in names if "prior_score" in c), names[-1])


def _by_recipe(spread: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.Series]:
    """SD, mean and shrinkage by cohort and recipe, and the SD that an absorbed shift leads one to expect."""
    sd, mean, lam = (spread.pivot(index="cohort", columns="recipe", values=c) for c in ("sd", "mean", "shrinkage"))
    return sd, mean, lam, np.hypot(sd["ols_shift"], mean["ols_shift"])


def _correlation(r: float) -> str:
    """A correlation in the prose, of which one that would round to 1 without being 1 is told apart."""
    if r != r:
        return "undefined, since no difference between schools is found"
    return "above 0.999" if 0.9995 <= r < 1 else as_text(float(r), ".3f")


def study_names(relative: Sequence[CohortFit], baseline: Sequence[int], level: float) -> Findings:
    """Cohorts, level, and the last cohort by relative value added."""
    last, focal = relative[-1].cohort, [f.cohort for f in relative]
    P = formats(*(f.student_sd for f in relative)).plain
    check(
        all(abs(f.school_effects["effect"].mean()) < 1e-6 * f.student_sd for f in relative),
        "relative value added has mean zero in every cohort",
    )
    found = Findings().record("last_cohort", last, "d")
    found.record("baseline_cohorts", baseline)
    found.record("focal_cohorts", focal)
    found.record("level", percent(level))
    found.record("relative_sd", relative[-1].tau2 ** 0.5, P)
    found.record("last_schools", relative[-1].n_schools)
    return found.record("last_students", relative[-1].n_students)


def question_recipe(
    records: pd.DataFrame, ols: Benchmark, question: Sequence[CohortFit], method: str, level: float
) -> Findings:
    """The question's recipe: ML and REML agree, and the slope has a larger error when clustered."""
    other = fit_benchmark(
        records,
        question[-1].cohort,
        ols,
        shift="absorbed",
        variances="focal",
        method="REML" if method == "ML" else "ML",
        level=level,
        intervals="plugin",
    )
    check(
        abs(other.tau2 - question[-1].tau2) <= 1e-8 * other.sigma2 and abs(other.loglik - question[-1].loglik) < 1e-6,
        "without fixed effects ML and REML are the same",
    )
    slope = slope_name(ols)
    found = Findings().record("ols_slope_name", prose.name(slope))
    found.record("ols_slope", ols.coefficients[slope], ".3f")
    found.record("ols_slope_se", ols.se[slope], ".4f")
    return found.record("ols_slope_se_plain", ols.vcov_model.loc[slope, slope] ** 0.5, ".4f")


def lasting_effects(
    relative: Sequence[CohortFit], mixed: Benchmark, lasting: Benchmark, baseline: Sequence[int]
) -> Findings:
    """The SD between schools with an effect a cohort, and with one effect a school."""
    P = formats(*(f.student_sd for f in relative)).plain
    found = Findings().record("tau_cell", mixed.tau2**0.5, P)
    found.record("tau_school", lasting.tau2**0.5, P)
    found.say(
        "Over the baseline cohorts the standard deviation between schools is {glue:text}`tau_cell` score points with "
        "an effect for each school and cohort, and {glue:text}`tau_school` with one effect for each school.",
        when=len(baseline) > 1,
    )
    return found.say("This baseline is one cohort, so the two definitions coincide.", when=len(baseline) == 1)


def copy(benchmark: Benchmark, estimated: Sequence[CohortFit], params: Params, crossed: bool) -> Findings:
    """What this copy does differently from the default recipe; crossed: the records cross a declared break of a scale."""
    check(
        all(abs(f.school_effects["effect"].mean() - f.shift) < 1e-6 * f.student_sd for f in estimated),
        "the mean of benchmark value added over schools is the shift",
    )
    found = Findings().say(
        f"In this copy the coefficients of step 3 and of all that follows come from the estimator "
        f"`{benchmark.estimator}`, "
        "as its parameters ask.",
        when=benchmark.estimator != "mixed",
    )
    found.say(
        "The records cross a declared break of a test's scale. The error of its link enters these variances in the "
        "same way as that of equating, and every interval below counts it.",
        when=crossed,
    )
    return found.say(
        "The results saved beside the pages follow the parameters of this copy, which differ from the default recipe: "
        f"shift {params.shift}, variances {params.variances}.",
        when=(params.shift, params.variances) != ("estimated", "focal"),
    )


def followed(
    relative: Sequence[CohortFit],
    estimated: Sequence[CohortFit],
    recipes: pd.DataFrame,
    followed: str,
    by_name: bool,
    is_demo: bool,
) -> Findings:
    """One school under each recipe; by_name: the parameters name it."""
    S = formats(*(f.student_sd for f in relative)).signed
    found = Findings().record("school_name", prose.name(followed))
    found.record("school_n", int(estimated[-1].school_effects.loc[followed, "n"]))
    found.record(
        "school_how",
        "named in the parameters"
        if by_name
        else "chosen by a rule, from a simulated panel that was made to hold a school like that of the question"
        if is_demo
        else "chosen by a rule",
    )
    effect = recipes.set_index("recipe")["effect"]
    for key, row in zip(["school_relative", "school_seed", "school_answer", "school_benchmark"], effect, strict=True):
        found.record(key, float(row), S)
    found.record("school_benchmark_lower", float(recipes["lower"].iloc[-1]), S)
    found.record("school_benchmark_upper", float(recipes["upper"].iloc[-1]), S)
    return found.record("school_shrinkage", float(recipes["shrinkage"].iloc[-1]), ".2f")


def recipes_table(relative: Sequence[CohortFit], recipes: pd.DataFrame) -> Findings:
    """The table of one school under each recipe."""
    P, S, E, _ = formats(*(f.student_sd for f in relative))
    words = {
        "recipe": "Recipe",
        "residual": "Mean residual",
        "shrinkage": r"$\lambda_j$",
        "effect": "Value added",
        "se": "SE",
        "lower": "Lower",
        "upper": "Upper",
    }
    return Findings().table(
        recipes.rename(columns=words),
        "School {glue:text}`school_name` in cohort {glue:text}`last_cohort` "
        "({glue:text}`school_n` students) under each recipe, in score points, with {glue:text}`level` limits. The "
        "mean residual is before shrinking, against each recipe's own coefficients.",
        "tab-04-recipes",
        formats={
            words[c]: s
            for c, s in [("residual", S), ("shrinkage", ".2f"), ("effect", S), ("se", P), ("lower", S), ("upper", S)]
        },
        index=False,
    )


def recipes_figure(recipes: pd.DataFrame, level: float) -> Findings:
    """The figure of one school under each recipe."""
    return Findings().figure("recipes", figures.recipes(recipes, level=level))


def followed_over_cohorts(
    relative: Sequence[CohortFit], estimated: Sequence[CohortFit], followed: str, min_students: int
) -> Findings:
    """One school over the focal cohorts, where it may be shown."""
    S = formats(*(f.student_sd for f in relative)).signed
    rows = [
        {
            "Cohort": f.cohort,
            "Students": int(f.school_effects.loc[followed, "n"]),
            "Relative": r.school_effects.loc[followed, "effect"],
            "Benchmark": f.school_effects.loc[followed, "effect"],
            "Lower": f.school_effects.loc[followed, "lower"],
            "Upper": f.school_effects.loc[followed, "upper"],
            "Shift of all": f.shift,
        }
        for r, f in zip(relative, estimated, strict=True)
        if followed in only_shown(f.school_effects, min_students).index
    ]
    return Findings().table(
        pd.DataFrame(rows),
        "School {glue:text}`school_name` over the focal cohorts: relative value added, benchmark "
        "value added with its {glue:text}`level` limits, and the system shift that the latter contains (score points).",
        "tab-04-followed",
        index=False,
        formats=dict.fromkeys(["Relative", "Benchmark", "Lower", "Upper", "Shift of all"], S),
    )


def spread(relative: Sequence[CohortFit], spread: pd.DataFrame) -> Findings:
    """SD between schools and mean value added under each recipe."""
    P, S, E, _ = formats(*(f.student_sd for f in relative))
    sd, mean, _, predicted = _by_recipe(spread)
    shown = pd.DataFrame(
        {
            "Cohort": sd.index,
            "SD, shift estimated": sd["estimated"],
            "SD, question": sd["question"],
            r"SD, $\sqrt{\tau^2 + \delta^2}$": predicted,
            "Mean, shift estimated": mean["estimated"],
            "Mean, question": mean["question"],
            "Mean, answer": mean["answer"],
        }
    )
    return Findings().table(
        shown,
        "Standard deviation between schools, and mean value added over schools, under each recipe (score points). The "
        "third column of standard deviations is what {eq}`eq-04-absorbed` leads one to expect of the question's "
        "recipe, from the same coefficients with the shift estimated.",
        "tab-04-spread",
        index=False,
        formats={c: S if c.startswith("Mean") else P for c in shown.columns[1:]},
    )


def spread_values(relative: Sequence[CohortFit], spread: pd.DataFrame) -> Findings:
    """The same of the last cohort for the prose, and the table of every recipe for the results."""
    P, S, E, _ = formats(*(f.student_sd for f in relative))
    last = relative[-1].cohort
    sd, mean, lam, predicted = _by_recipe(spread)
    found = Findings()
    for name, key in [("question", "seed"), ("answer", "answer"), ("estimated", "estimated")]:
        found.record(f"{key}_sd", sd.loc[last, name], P)
        found.record(f"{key}_mean", mean.loc[last, name], S)
        found.record(f"{key}_shrinkage", lam.loc[last, name], ".2f")
    found.record("predicted_sd", predicted.loc[last], P)
    found.record("ols_shift", mean.loc[last, "ols_shift"], S)
    return found.save(spread.query("recipe != 'ols_shift'"), "recipes.csv")


def estimators(
    relative: Sequence[CohortFit], baselines: Mapping[str, Benchmark], draws: Mapping[str, pd.DataFrame]
) -> Findings:
    """Benchmark coefficients by estimator; draws: their bootstrap replicates, of the same schools."""
    P, S, E, _ = formats(*(f.student_sd for f in relative))
    mixed = baselines["mixed"]
    slope = slope_name(mixed)
    shown = pd.DataFrame(
        [
            {
                "Estimator": f"`{name}`",
                "Intercept": b.coefficients.iloc[0],
                "SE ": b.se.iloc[0],
                code(slope): b.coefficients[slope],
                "SE": b.se[slope],
                "Less `mixed`": b.coefficients[slope] - mixed.coefficients[slope] if name != "mixed" else float("nan"),
                "SE of that": (draws[name][slope] - draws["mixed"][slope]).std() if name != "mixed" else float("nan"),
            }
            for name, b in baselines.items()
        ]
    )
    return Findings().table(
        shown,
        "Benchmark coefficients by estimator, with standard errors clustered by school. The last columns compare "
        f"the coefficient of {code(slope)} with that of `mixed`; the error of the difference is from a bootstrap in "
        f"which "
        "both see the same schools.",
        "tab-04-estimators",
        index=False,
        raw=True,
        formats={
            "Intercept": P,
            "SE ": E,
            code(slope): ".3f",
            "SE": ".4f",
            "Less `mixed`": "+.4f",
            "SE of that": ".4f",
        },
    )


def estimators_in_words(
    baselines: Mapping[str, Benchmark], draws: Mapping[str, pd.DataFrame], refused: Mapping[str, str], level: float
) -> Findings:
    """Whether the slope by least squares differs from that of the mixed model by more than chance."""
    ols, mixed = baselines["ols"], baselines["mixed"]
    slope = slope_name(mixed)
    found = Findings().say(
        "\n".join(f"- `{name}` is left out: {escape(why)}" for name, why in refused.items()), when=bool(refused)
    )
    gap = ols.coefficients[slope] - mixed.coefficients[slope]
    gap_se = (draws["ols"][slope] - draws["mixed"][slope]).std()
    found.record("slope_mixed", mixed.coefficients[slope], ".3f")
    found.record("slope_gap", gap, "+.3f")
    found.record("slope_gap_se", gap_se, ".4f")
    return found.say(
        "Here the coefficient of {glue:text}`ols_slope_name` is {glue:text}`ols_slope` by least squares and "
        "{glue:text}`slope_mixed` by the mixed model; the difference of {glue:text}`slope_gap` has a standard error "
        "of {glue:text}`slope_gap_se`. "
        + (
            "That is more than chance explains: intakes are sorted on what schools add, or the context of the intake "
            "matters, or the prior is measured with error, or several of these. The difference does not say which."
            if abs(gap) > stats.norm.ppf(0.5 + level / 2) * gap_se
            else "That is within what chance allows."
        )
    )


def shifts(
    relative: Sequence[CohortFit],
    every: pd.DataFrame,
    errors: pd.DataFrame,
    context: pd.DataFrame,
    level: float,
    min_students: int,
) -> Findings:
    """The densities, the shifts, and the last shift in numbers.

    errors, context: the tables of :func:`valib.shift_parts` and :func:`valib.shift_in_context`.
    """
    P, S, E, _ = formats(*(f.student_sd for f in relative))
    found, verdicts = Findings(), shift_verdicts(context)
    found.figure("density", figures.va_density(every, min_n=min_students))
    found.figure("shifts", figures.shifts(context.reset_index(), level=level))
    end, last = errors.iloc[-1], verdicts.iloc[-1]
    found.record_all(
        ("last_shift", end["shift"], S),
        ("last_shift_se", end["se"], E),
        ("last_shift_lower", last["lower"], S),
        ("last_shift_upper", last["upper"], S),
        ("coef_error_se", end["se_coefficients"], E),
        ("last_shift_size", end["effect_size"], "+.2f"),
        ("coef_error_share", end["share_coefficients"], ".0%"),
        ("last_shift_abs", abs(end["shift"]), P),
    )
    found.record("last_shift_direction", direction(end["shift"], "above", "below", "level with"))
    found.record("last_shift_interval", BY[last["interval"]])
    found.record("last_shift_told", f"{last['side']} from zero" if last["side"] == UNCLEAR else f"{last['side']} zero")
    for key, side in (("clear_above", ABOVE), ("clear_below", BELOW), ("clear_neither", UNCLEAR)):
        found.record(key, [int(c) for c in verdicts.index[verdicts["side"] == side]] or "none")
    return found


def sides(estimated: Sequence[CohortFit], min_students: int) -> Findings:
    """Schools shown above and below the benchmark in each focal cohort, and how many by chance."""
    found, counts = Findings(), side_counts(estimated, min_students)
    rows = counts.to_dict("records")
    told = [f"{r['cohort']}: {r['above']} above, {r['below']} below, {r['unclear']} not told apart" for r in rows]
    found.record("va_sides", "; ".join(told))
    found.record("va_by_chance", "; ".join(f"{r['cohort']}: {as_text(r['by_chance'], '.1f')}" for r in rows))
    return found


def front_told(verdicts: pd.DataFrame, signed: str) -> str:
    """The verdict on the last shift, and how many focal cohorts share which verdict, as one sentence.

    verdicts: the table of :func:`valib.effects.verdict.shift_verdicts`. signed: the format of the limits.
    """
    last = verdicts.iloc[-1]
    if not last["side"]:
        return "No interval of this shift is known, so its direction cannot be told."
    lower, upper = (as_text(float(last[end]), signed) for end in ("lower", "upper"))
    side = "cannot be told apart from" if last["side"] == UNCLEAR else f"lies {last['side']}"
    text = f"By the widest interval that is known, from {lower} to {upper}, this shift {side} zero"
    parts: list[str] = []
    for key in (ABOVE, BELOW, UNCLEAR):
        if cohorts := [int(str(c)) for c in verdicts.index[verdicts["side"] == key]]:
            stand = "lies" if len(cohorts) == 1 else "lie"
            place = "cannot be told apart from" if key == UNCLEAR else f"{stand} {key}"
            parts.append(f"{as_text(cohorts)} {place} {'it' if parts else 'the baseline'}")
    return f"{text}; of all focal cohorts, {prose.in_words(parts)}." if len(verdicts) > 1 else f"{text}."


def _verdicts_in_a_row(verdicts: pd.DataFrame) -> str:
    """The verdict of every cohort and the interval by which it is: said once where it is one for all."""
    by = [BY[interval] for interval in verdicts["interval"]]
    told = [f"{cohort}: {side}".replace(" ", NO_BREAK) for cohort, side in verdicts["side"].items()]
    if len(set(by)) > 1:
        return "; ".join(f"{verdict} (by that {interval})" for verdict, interval in zip(told, by, strict=True))
    return f"{'; '.join(told)} ({'each ' * (len(by) > 1)}by that {by[0]})"


def front_page(relative: Sequence[CohortFit], context: pd.DataFrame, what_if: Mapping[float, CohortFit]) -> Findings:
    """The shifts in context as the front page shows them, a text a row: of each focal cohort, in order.

    what_if: fits of the last cohort by an assumed equating error, as a share of the students' standard deviation.
    """
    P, S, E, D = formats(*(f.student_sd for f in relative))
    focal, verdicts = context[context["role"] == "focal"], shift_verdicts(context)
    found = Findings()

    def keep(key: str, told: Sequence[str]) -> None:  # a line ends between the cohorts, not within one
        found.record(key, "; ".join(one.replace(" ", NO_BREAK) for one in told))

    def row(key: str, values: Sequence[float], spec: str) -> None:
        keep(key, [f"{c}: {as_text(float(v), spec)}" for c, v in zip(focal.index, values, strict=True)])

    def limits(key: str, lower: pd.Series, upper: pd.Series) -> None:
        ends = zip(focal.index, lower, upper, strict=True)
        told = [f"{c}: {as_text(float(a), S)} to {as_text(float(b), S)}" for c, a, b in ends if np.isfinite(a)]
        keep(key, told) if told else found.record(key, "not known from one baseline cohort")

    row("front_shift", focal["shift"], S)
    limits("front_schools", focal["lower"], focal["upper"])
    limits("front_year", focal["year_lower"], focal["year_upper"])
    row("front_even", focal["break_even"], P)
    row("front_prior", focal["prior_part"], D)
    own = context[context["role"] == "baseline"].reset_index()[["cohort", "own_shift", "leave_one_out"]]
    told = [
        f"{int(c)}: {as_text(float(a), S)}" + (f" ({as_text(float(b), S)})" if np.isfinite(b) else "")
        for c, a, b in own.to_numpy()
    ]
    keep("front_own", told) if len(told) > 1 else found.record("front_own", "not known from one baseline cohort")
    known = focal["equating_se"].notna().all()
    found.record("front_without", "equating error counted" if known else "without equating error, which is not known")
    found.record("front_verdict", _verdicts_in_a_row(verdicts))
    found.record("front_told", front_told(verdicts, S))
    found.record("front_wider", which_is_wider(context))
    equating = [
        f"{share:.0%} of the SD of students: {as_text(f.shift_interval[0], S)} to {as_text(f.shift_interval[1], S)}"
        for share, f in what_if.items()
        if share
    ]
    return found.record("front_equating", "; ".join(equating))


def shifts_table(relative: Sequence[CohortFit], errors: pd.DataFrame, context: pd.DataFrame) -> Findings:
    """The shift of each focal cohort with its interval over schools, that of an ordinary year, and the verdict."""
    P, S, E, _ = formats(*(f.student_sd for f in relative))
    focal = context[context["role"] == "focal"]
    shown = pd.DataFrame(
        {
            "Cohort": errors["cohort"].array,
            "Shift": errors["shift"].array,
            "Effect size": errors["effect_size"].array,
            "SE": errors["se"].array,
            "Lower": errors["lower"].array,
            "Upper": errors["upper"].array,
            "Ordinary year: from": focal["year_lower"].array,
            "to": focal["year_upper"].array,
            "Verdict": shift_verdicts(context)["side"].array,
        }
    )
    shown = shown.dropna(axis=1, how="all")
    found = Findings().table(
        shown,
        "System shift of each focal cohort against the baseline, in score points, with {glue:text}`level` limits over "
        "schools and for a further ordinary year; effect size: divided by the standard deviation of the cohort's "
        "scores. The verdict is by the widest interval that is known."
        + (" Without equating error, which is not known." if focal["equating_se"].isna().any() else ""),
        "tab-04-shifts",
        index=False,
        formats={"Effect size": "+.2f", "SE": E}
        | dict.fromkeys(["Shift", "Lower", "Upper", "Ordinary year: from", "to"], S),
    )
    return found.say(which_is_wider(context))


def against(
    relative: Sequence[CohortFit], benchmark: Benchmark, named: pd.DataFrame, agreement: pd.DataFrame
) -> Findings:
    """Relative against benchmark value added: named holds the effects of schools shown."""
    P, S, E, _ = formats(*(f.student_sd for f in relative))
    slope = slope_name(benchmark)
    found = Findings().figure("against", figures.relative_vs_benchmark(named))
    row = agreement.iloc[-1]
    found.record("cor_last", _correlation(row["correlation"]))
    found.record("cor_min", _correlation(agreement["correlation"].min()))
    found.record("sd_difference", row["sd_difference"], E)
    return found.record("slope_change", relative[-1].fixed_effects[slope] - benchmark.coefficients[slope], "+.3f")


def mean_errors(relative: Sequence[CohortFit], typical: float, independent: float, actual: float) -> Findings:
    """The error of a school, and that of the mean of all: if they were independent, and as it is."""
    P, S, E, _ = formats(*(f.student_sd for f in relative))
    found = Findings().record("typical_se", float(typical), E)
    found.record("mean_se_independent", independent, E)
    return found.record("mean_se", actual, E)
