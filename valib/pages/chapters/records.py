"""The numbers of the chapter on records: rows left out, cohorts, sizes of schools, and the growth regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy import stats

from ...effects.baseline import Benchmark
from ...records import disclosure
from ...records.coverage import CELL, FULL, ROUNDING, tested
from .. import figures
from ..findings import Findings, check
from ..prose import AS_ERROR, as_text, direction, to_error


def _digits(records: pd.DataFrame) -> str:
    """The format of score points: a digit after the point, or two for standardised scores."""
    return ".1f" if records["score"].std() > 10 else ".2f"


def bundled(is_demo: bool) -> Findings:
    """What the bundled panel is."""
    return Findings().say(
        "The bundled panel is simulated: reading scores in points, the prior test in Year 3, the outcome in Year 5, "
        "two years later, on one scale. No real student or school is in it. It also holds `female` and `ses`, a "
        "measure of socio-economic status.",
        when=is_demo,
    )


def rows(lost: pd.DataFrame, rows_read: int, rows_used: int) -> Findings:
    """How many rows were read, used and left out; lost is the table of :func:`valib.left_out`."""
    rows_lost = int(lost["rows"].sum())
    found = Findings().record("rows_read", rows_read)
    found.record("rows_used", rows_used)
    found.record("rows_lost", rows_lost)
    found.record("share_lost", rows_lost / rows_read, ".1%")
    check(rows_read == rows_used + rows_lost, "every row is used or counted as left out")
    found.say(
        "Of the {glue:text}`rows_read` rows that were read, {glue:text}`rows_used` are used. "
        "{glue:text}`rows_lost` ({glue:text}`share_lost`) were left out, for the reasons in {numref}`tab-01-left-out`.",
        when=rows_lost > 0,
    )
    return found.say(
        "All {glue:text}`rows_read` rows that were read can be used: none lacks a code, a score or a prior score.",
        when=rows_lost == 0,
    )


def left_out(lost: pd.DataFrame, summary: pd.DataFrame, min_students: int) -> Findings:
    """Rows used and left out by cohort and reason, counts of few students masked."""
    if lost.empty:
        return Findings()
    named = lost.assign(
        cohort=[as_text(int(t), "d") if pd.notna(t) else "unknown" for t in lost["cohort"]],
        told=disclosure.few_of_total(lost["rows"], min_students),
    )
    by_cohort, told = (named.pivot(index="cohort", columns="reason", values=c) for c in ("rows", "told"))
    used = summary["students"].rename(index=lambda t: as_text(int(t), "d"))
    table = pd.DataFrame({"Used": used}).join(told, how="outer").fillna({"Used": 0}).astype({"Used": int}).fillna("0")
    gone = by_cohort.sum(axis=1).reindex(table.index, fill_value=0)
    masked = (
        told.isin([disclosure.few(1, min_students), "not shown"]).any(axis=1).reindex(table.index, fill_value=False)
    )
    table["Left out"] = (gone / (gone + table["Used"])).map("{:.1%}".format).mask(masked, "not shown")
    return Findings().table(
        table.rename_axis("Cohort").rename(columns=str.capitalize),
        "Rows used and rows left out, by cohort and reason. A row that lacks several things is counted once. Counts "
        "of few students are not shown, nor those that would give them away.",
        "tab-01-left-out",
    )


def scored_apart(records: pd.DataFrame, min_students: int) -> Findings:
    """Mean score of the rows that have one but are not used, beside that of the rows used."""
    scored = pd.DataFrame(records.attrs["score_by_cohort"]).T
    n_scored = int(scored["n"].sum())
    n_apart = n_scored - len(records)
    enough = n_apart >= max(min_students, 5)
    mean_used = float(records["score"].mean())
    mean_apart = (float(scored["n"] @ scored["mean"]) - len(records) * mean_used) / n_apart if enough else mean_used
    digits = _digits(records)
    found = Findings().record("n_apart", n_apart)
    found.record("mean_used", mean_used, digits)
    found.record("mean_apart", mean_apart, digits)
    gap = round(mean_apart - mean_used, int(digits[1]))
    found.record("apart_word", direction(gap, "higher than", "lower than", "the same as"))
    return found.say(
        "Of the rows left out, {glue:text}`n_apart` have a score. Their mean score is {glue:text}`mean_apart` points, "
        "{glue:text}`apart_word` the {glue:text}`mean_used` of the rows that are used.",
        when=enough,
    )


def coverage(records: pd.DataFrame, cohort: int, min_linked_share: float) -> Findings:
    """How many schools of a cohort have few of their tested students linked; nothing where that is not known."""
    linked = records[records["cohort"] == cohort].groupby(CELL, observed=True).size()
    every, found = tested(records.attrs, linked), Findings()
    if every is None:
        return found
    share = linked / every
    found.record("covered_schools", len(share))
    found.record("covered_all", int((share == 1).sum()))
    found.record("covered_under", int((share < FULL - ROUNDING).sum()))
    found.record("covered_low", int((share < min_linked_share - ROUNDING).sum()))
    found.record("covered_cohort", int(cohort))
    found.record("covered_share", linked.sum() / every.sum(), ".1%")
    found.record("covered_full", FULL, ".0%")
    found.record("covered_least", min_linked_share, ".0%")
    found.say(
        "In cohort {glue:text}`covered_cohort`, {glue:text}`covered_share` of the students with a score are used. Schools "
        "differ in it: of {glue:text}`covered_schools` schools, {glue:text}`covered_all` have all their tested students in, "
        "{glue:text}`covered_under` fewer than {glue:text}`covered_full` of them, and {glue:text}`covered_low` fewer than "
        "{glue:text}`covered_least`. A school of this last kind is held back in all that follows, because the value added of "
        "the students who are left is not that of the school."
    )
    return found


def cohorts(summary: pd.DataFrame, baseline: Sequence[int], focal: Sequence[int], min_students: int) -> Findings:
    """The cohorts of the records and the part each plays in the study."""
    role = {**dict.fromkeys(baseline, "baseline"), **dict.fromkeys(focal, "focal")}
    shown = summary.reset_index()
    shown.insert(1, "role", [role.get(t, "not used") for t in shown["cohort"]])
    shown["smallest_school"] = [disclosure.few(n, min_students) for n in shown["smallest_school"]]
    names = {
        "cohort": "Cohort",
        "role": "Role",
        "students": "Students",
        "schools": "Schools",
        "smallest_school": "Smallest school",
        "median_school": "Median school",
        "largest_school": "Largest school",
    }
    return Findings().table(
        shown[list(names)].rename(columns=names),
        "Cohorts of the study: students who can be used, schools, and students of the smallest, median and largest "
        "school.",
        "tab-01-cohorts",
        formats={"Median school": ".1f"},
        index=False,
    )


def gaps(summary: pd.DataFrame, baseline: Sequence[int], focal: Sequence[int], is_demo: bool) -> Findings:
    """Cohorts that are there and idle, and years without one."""
    cohorts = summary.index.tolist()
    idle = [t for t in cohorts if t not in (*baseline, *focal)]
    missing = sorted(set(range(cohorts[0], cohorts[-1] + 1)) - set(cohorts)) if cohorts[-1] - cohorts[0] < 200 else []
    years = cohorts[0] >= 1900 and cohorts[-1] <= 2100
    found = Findings().record("cohorts", cohorts)
    found.record("idle", idle)
    found.record("missing", missing)
    found.say("In the records, but neither baseline nor focal: {glue:text}`idle`.", when=bool(idle))
    found.say(
        "Two cohorts do not exist. No test was sat in 2020, so 2020 has no outcome, and the students who would have "
        "been the cohort of 2022 have no prior score. No model can fill these gaps, so that figures over the years "
        "show them.",
        when=is_demo,
    )
    return found.say(
        "Between the first and the last cohort the records hold none for {glue:text}`missing`. If no test was sat in a "
        "year, two cohorts are as a rule lost: the one whose outcome it was, and the one whose prior score it was.",
        when=bool(missing) and years and not is_demo,
    )


def sizes(records: pd.DataFrame, summary: pd.DataFrame, min_students: int) -> Findings:
    """Sizes of schools in a cohort, with the figures of sizes and scores."""
    sizes = records.groupby(["cohort", "school"]).size()
    small = int((sizes < min_students).sum())
    found = Findings().record("cells", len(sizes))
    found.record("cells_small", small)
    found.record("min_students", min_students)
    found.record("median_cell", float(sizes.median()), ".0f")
    found.record(
        "top_tenth", float(sizes.sort_values(ascending=False).head(max(len(sizes) // 10, 1)).sum() / sizes.sum()), ".0%"
    )
    found.figure("sizes", figures.school_sizes(records, min_n=min_students))
    return found.figure("scores", figures.cohort_scores(summary))


def scores(records: pd.DataFrame, summary: pd.DataFrame) -> Findings:
    """Mean and SD of outcome and prior score by cohort, and their correlation."""
    digits = _digits(records)
    r = records.groupby("cohort")[["score", "prior_score"]].corr().iloc[0::2, 1].droplevel(1)
    scores = pd.DataFrame(
        {
            "Score, mean": summary["score_mean"],
            "Score, SD": summary["score_sd"],
            "Prior score, mean": summary["prior_mean"],
            "Prior score, SD": summary["prior_sd"],
            "Correlation": r,
        }
    ).rename_axis("Cohort")
    return Findings().table(
        scores,
        "Outcome and prior score by cohort: mean and standard deviation (SD) over the students, in score points, "
        "and the correlation of the two.",
        "tab-01-scores",
        formats={**dict.fromkeys(scores.columns[:4], digits), "Correlation": ".2f"},
    )


def growth(
    records: pd.DataFrame,
    typical: pd.DataFrame,
    classical: Any,
    clustered: Any,
    baseline: Sequence[int],
    level: float,
    min_students: int,
) -> Findings:
    """The growth regression: typical holds its students, classical and clustered its fits with either error."""
    digits = _digits(records)
    b0, b1 = (float(v) for v in classical.params)
    mean_prior = float(typical["prior_score"].mean())
    z = stats.norm.ppf(0.5 + level / 2)
    x = np.linspace(*typical["prior_score"].quantile([0.01, 0.99]), 80)
    rows = np.column_stack([np.ones_like(x), x])
    half = z * np.sqrt(np.einsum("ij,jk,ik->i", rows, clustered.cov_params(), rows))
    found = Findings().figure(
        "growth",
        figures.growth(
            typical["prior_score"],
            typical["score"],
            min_n=min_students,
            line=(x, rows @ [b0, b1], rows @ [b0, b1] - half, rows @ [b0, b1] + half),
        ),
    )
    found.record("baseline", baseline)
    found.record("n_typical", len(typical))
    found.record("J_typical", int(typical["school"].nunique()))
    found.record("b0", b0, digits)
    found.record("b1", b1, ".3f")
    found.record("mean_prior", mean_prior, digits)
    found.record("mean_score", float(typical["score"].mean()), digits)
    found.record("level", f"{100 * level:g}%")
    found.record("r2", float(classical.rsquared), ".0%")
    found.record("higher", direction(b1, "higher", "lower", "the same"))
    return found.record("b1_size", abs(b1), ".3f")


def standard_errors(
    records: pd.DataFrame,
    typical: pd.DataFrame,
    classical: Any,
    clustered: Any,
    moulton: tuple[float, float],
    rho_e: float,
    rho_x: float,
    n_tilde: float,
) -> Findings:
    """Classical and clustered errors of the growth regression, and the design effects that Moulton's formula expects.

    moulton: design effects of slope and level by the formula.
    """
    digits = _digits(records)
    b0, b1 = (float(v) for v in classical.params)
    mean_prior = float(typical["prior_score"].mean())
    at_mean = np.array([1.0, mean_prior])
    V = [classical.cov_params().to_numpy(), clustered.cov_params()]
    level_se = [float(np.sqrt(at_mean @ v @ at_mean)) for v in V]
    fine = ".2f" if digits == ".1f" else ".4f"
    lines = [
        ("intercept (prior score 0)", b0, *(float(np.sqrt(v[0, 0])) for v in V), fine, None),
        ("slope", b1, *(float(np.sqrt(v[1, 1])) for v in V), ".4f", moulton[0]),
        ("expected score at the mean prior score", b0 + b1 * mean_prior, *level_se, fine, moulton[1]),
    ]
    found = Findings().table(
        pd.DataFrame(
            [
                {
                    "Coefficient": c,
                    "Estimate": to_error(e, k, f + AS_ERROR),
                    "Classical SE": as_text(s, f + AS_ERROR),
                    "Clustered SE": as_text(k, f + AS_ERROR),
                    "Design effect": as_text((k / s) ** 2, ".1f"),
                    "By {eq}`eq-01-moulton`": "–" if m is None else as_text(float(m), ".1f"),
                }
                for c, e, s, k, f, m in lines
            ]
        ),
        "The growth regression on the baseline cohorts: estimates, classical standard errors (SE) and standard errors "
        "clustered by school, the design effect (their ratio, squared), and what the formula expects of it.",
        "tab-01-growth",
        index=False,
        raw=True,
    )
    deff_slope, deff_level = ((k / s) ** 2 for _, _, s, k, _, _ in lines[1:])
    found.record_all(("deff_slope", deff_slope, ".1f"), ("deff_level", deff_level, ".1f"), ("rho_x", rho_x, ".3f"))
    found.record_all(("rho_e", rho_e, ".3f"), ("rho_e_percent", rho_e, ".0%"), ("n_tilde", n_tilde, ".0f"))
    found.record("factor_level", deff_level**0.5, ".1f")
    return found.record("n_equivalent", int(round(len(typical) / deff_level)))


def same_as_statsmodels(growth: Benchmark, classical: Any, clustered: Any) -> Findings:
    """Hold that the library's baseline by least squares is that of statsmodels, with both errors."""
    found = Findings()
    check(np.allclose(growth.coefficients, classical.params, rtol=1e-8), "fit_baseline = statsmodels: coefficients")
    check(np.allclose(growth.se, clustered.bse, rtol=1e-7), "fit_baseline = statsmodels: clustered errors")
    check(np.allclose(np.sqrt(np.diag(growth.vcov_model)), classical.bse, rtol=1e-7), "and the classical ones")
    return found


def doubled(typical: pd.DataFrame, classical: Any, clustered: Any) -> Findings:
    """Every student twice: what happens to estimates and errors (exercise)."""
    double = pd.concat([typical, typical], ignore_index=True)
    twice = smf.ols("score ~ prior_score", double).fit()
    twice_clustered = twice.get_robustcov_results("cluster", groups=np.tile(pd.factorize(typical["school"])[0], 2))
    check(np.allclose(twice.params, classical.params), "the estimates stay when every student is doubled")
    found = Findings().record("twice_classical", float(twice.bse.iloc[1] / classical.bse.iloc[1]), ".3f")
    return found.record("twice_clustered", float(twice_clustered.bse[1] / clustered.bse[1]), ".3f")


def expected(records: pd.DataFrame, typical: pd.DataFrame, first: int, last: int) -> Findings:
    """The expected score of one and the same student in two cohorts (exercise)."""
    digits, alike = _digits(records), pd.DataFrame({"prior_score": [typical["prior_score"].mean()]})
    lines = {t: smf.ols("score ~ prior_score", records[records["cohort"] == t]).fit() for t in (first, last)}
    at = {t: float(line.predict(alike).iloc[0]) for t, line in lines.items()}
    found = Findings().record("first_cohort", first, "d")
    found.record("last_cohort", last, "d")
    found.record("first_expected", at[first], digits)
    found.record("last_expected", at[last], digits)
    return found.record("moved", direction(round(at[last] - at[first], int(digits[1])), "higher", "lower", "the same"))
