"""What the columns of written files mean: the one home for columns.csv, for the workbook's sheet and for the book.

A column has one meaning wherever its name stands (:data:`COLUMNS`) unless a file gives it another (:data:`ELSEWHERE`).
Units: "points" is the unit of the outcome, score points as a rule.
"""

from __future__ import annotations

import csv
import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from ..simulation.worlds import Scenario

POINTS, STUDENTS, SCHOOLS, YEAR, SD, SHARE, TEXT = "points", "students", "schools", "year", "SD", "0 to 1", ""
HEADS = ["file", "column", "meaning", "unit"]

FILES = {  # what a command writes, and what a row of it is
    "fit": {
        "school_effects.csv": "one row a school and cohort: its value added",
        "shifts.csv": "one row a focal cohort: how far the system has moved since the baseline",
        "shift_in_context.csv": "one row a cohort: its shift beside the baseline cohorts' own",
        "groups.csv": "one row a group of schools and cohort: its mean value added",
        "similar.csv": "one row a school and cohort: beside the schools most like it",
        "capped.csv": "one row a school and cohort: its value added with extreme scores capped",
        "averages.csv": "one row a school: its average over several cohorts",
        "lasting.csv": "one row a school: what it keeps from cohort to cohort",
        "va_at.csv": "one row a school, cohort and value of a column: value added there",
        "slopes.csv": "one row a cohort and column: how its slope differs between schools",
        "change_at.csv": "one row a school, pair of cohorts and value of a column: change of its value added there",
        "slope_correlations.csv": "one row a pair of cohorts and value of a column: how value added there correlates",
        "slope_covariances.csv": "one row a pair of cohorts and two effects of schools: their covariance",
        "quantile_effects.csv": "one row a school, cohort and quantile: its value added there",
        "quantiles.csv": "one row a cohort and quantile: spread, shift, and what the chains say of themselves",
        "residual_sds.csv": "one row a cohort and school, or group of students: how much its students differ",
        "variance_tests.csv": "one row a cohort and test that residual variances are equal",
        "fixed_effects.csv": "one row a coefficient of the model",
        "correlations.csv": "one row a pair of cohorts: how school effects correlate",
        "omega.csv": "one row a pair of cohorts: variances and covariances of school effects",
        "about.csv": "one row a setting: how the results were made",
        "columns.csv": "one row a column of a file: this list",
    },
    "report": {
        "report.csv": "one row a school and cohort: the figures of its page",
        "changes.csv": "one row a school and pair of cohorts: its change",
        "report_averages.csv": "one row a school: the mean of its value added over the focal cohorts",
        "report_lasting.csv": "one row a school: what it keeps from cohort to cohort",
        "report_about.csv": "one row a setting: how the results were made",
        "report_columns.csv": "one row a column of a file: this list",
    },
    "simulate": {
        "performance.csv": "one row a measure of a method in a scenario",
        "scenarios.csv": "one row a scenario: its parameters, which are the truth",
        "replicates.parquet": "one row a simulated data set and estimand",
    },
    "book": {
        "relative_effects.csv": "one row a school and cohort: against its year",
        "benchmark_effects.csv": "one row a school and cohort: against the baseline",
        "relative_fixed_effects.csv": "one row a coefficient",
        "benchmark_fixed_effects.csv": "one row a coefficient",
        "shifts.csv": "one row a focal cohort",
        "shift_in_context.csv": "one row a cohort",
        "shift_parts.csv": "one row a focal cohort: the parts of its error",
        "relative_to_school.csv": "one row a school: against a named one",
        "recipes.csv": "one row a recipe and cohort",
        "change_in_va.csv": "one row a school",
        "averages.csv": "one row a school: its average over several cohorts",
        "lasting.csv": "one row a school: what it keeps from cohort to cohort",
        "groups.csv": "one row a group of schools: its mean value added",
        "similar.csv": "one row a school: beside the schools most like it",
        "quintile_transitions.csv": "one row a move between fifths",
        "stability_correlations.csv": "one row a way to correlate and pair of cohorts",
        "simulation.csv": "one row a measure",
        "simulation_calibrated.csv": "one row a measure, in the world after this study",
    },
}

COLUMNS: dict[str, tuple[str, str]] = {
    "at": ("the value of the column, other columns at their mean", "that of the column"),
    "sd_se": ("standard error of that standard deviation", "points per unit of the column"),
    "residual": ("what residual variances follow: by_school, or a column of groups of students", TEXT),
    "own_sd": ("residual standard deviation of the school's students alone", POINTS),
    "test": ("which test", TEXT),
    "statistic": ("likelihood-ratio statistic of the test that slopes do not differ", TEXT),
    "p": ("p-value of the test", SHARE),
    "changed_fifth": ("share of the schools shown in another fifth at the highest value than at the lowest", SHARE),
    "model": ("what the school is compared with: relative, benchmark, joint, quantile or quantile-benchmark", TEXT),
    "quantile": ("the quantile of the scores at which value added is taken", SHARE),
    "school_sd": ("standard deviation of schools at the quantile", POINTS),
    "rhat": ("largest R-hat of all quantities: above 1.05 the chains have not met", TEXT),
    "ess_bulk": ("smallest effective number of draws, for means", "draws"),
    "ess_tail": ("smallest effective number of draws, for limits", "draws"),
    "converged": ("whether R-hat and effective draws are such that the row can be told", "true or false"),
    "study": ("the study that the row is from", TEXT),
    "cohort": ("calendar year of the outcome test", YEAR),
    "of": ("what is correlated: value added, or slopes of schools", TEXT),
    "other_term": ("the same of the other effect", TEXT),
    "other": ("the other cohort of the pair; in omega.csv the same one for a variance", YEAR),
    "first": ("the earlier cohort", YEAR),
    "second": ("the later cohort", YEAR),
    "groups": ("column of the records that groups the schools", TEXT),
    "group": ("the group, such as a district", TEXT),
    "school": ("code or pseudonym of the school; text", TEXT),
    "school_name": ("latest name of the school", TEXT),
    "file": ("name of the file, without its ending for a school's page", TEXT),
    "role": ("baseline, or focal: judged against it", TEXT),
    "state": ("shown, held back, or absent: without students in the cohort", TEXT),
    "n": ("students who enter the model (rows of the records)", STUDENTS),
    "students": ("different students, where some stand in several rows", STUDENTS),
    "tested": ("students with an outcome score; empty: not known, or it would tell of few not linked", STUDENTS),
    "linked_share": ("share of the tested who enter the model; empty likewise", SHARE),
    "low_coverage": ("whether it is held back since too few of its tested students are linked", "true or false"),
    "side": ("where the interval lies to 0: above, below or not told apart", TEXT),
    "side_fdr": ("the same with the false discovery rate held among the schools shown of the cohort", TEXT),
    "relative_side": ("where its interval lies to 0, or the side with the false discovery rate held", TEXT),
    "benchmark_side": ("where its interval lies to 0, or the side with the false discovery rate held", TEXT),
    "above": ("schools shown that are above the average of the cohort", SCHOOLS),
    "below": ("schools shown that are below the average of the cohort", SCHOOLS),
    "by_chance": ("schools expected above or below if none differed, at most", SCHOOLS),
    "n_first": ("students in the earlier cohort", STUDENTS),
    "n_second": ("students in the later cohort", STUDENTS),
    "n_students": ("students of the cohort who enter the model", STUDENTS),
    "n_schools": ("schools of the cohort, those held back too", SCHOOLS),
    "schools": ("schools of the cohort, or in both cohorts of a pair, those held back too", SCHOOLS),
    "ranked": ("schools shown, among which places are counted", SCHOOLS),
    "effect": ("value added of the school, drawn towards the average school (BLUP)", POINTS),
    "effect_size": ("the same over the standard deviation of students' scores", SD),
    "shrinkage": ("shrinkage factor of the school, its reliability: 1 is not drawn towards the average", SHARE),
    "reliability": ("share of the variance of the estimate that is not error", SHARE),
    "se": ("standard error, by which lower and upper are set", POINTS),
    "se_conditional": ("standard error given the coefficients (posterior)", POINTS),
    "se_comparative": ("standard error for comparing schools, coefficients estimated", POINTS),
    "se_diagnostic": ("standard deviation of the estimate itself, for finding outliers", POINTS),
    "se_independent": ("standard error if the errors of the cohorts were independent, for comparison", POINTS),
    "se_students": ("standard error of the shift for these very schools", POINTS),
    "se_schools": ("part of the cautious error: schools and students of the focal cohort", POINTS),
    "se_coefficients": ("part of the cautious error: the baseline's coefficients", POINTS),
    "se_scale": ("part of the error: equating, links and ordinary years", POINTS),
    "se_cautious": ("standard error with the schools of baseline and cohort taken as different ones", POINTS),
    "error": ("kind of the standard error: schools, or cautious", TEXT),
    "lower": ("lower limit of the interval", POINTS),
    "upper": ("upper limit of the interval", POINTS),
    "level": ("level of the intervals", SHARE),
    "shift": ("how far the average school lies from what was typical of the baseline", POINTS),
    "shift_lower": ("lower limit of the widest known interval of the shift", POINTS),
    "shift_upper": ("upper limit of the widest known interval of the shift", POINTS),
    "shift_by": ("which interval that is: over schools, or of a further ordinary year", TEXT),
    "own_shift": ("shift of the baseline cohort against the whole baseline", POINTS),
    "leave_one_out": ("shift of the baseline cohort against the other baseline cohorts", POINTS),
    "wobble_sd": ("standard deviation of the baseline cohorts' own shifts: what ordinary years do", POINTS),
    "year_lower": ("lower limit of the interval of a further ordinary year", POINTS),
    "year_upper": ("upper limit of the interval of a further ordinary year", POINTS),
    "break_even": ("standard deviation of ordinary years at which the shift would no longer be told from none", POINTS),
    "prior_part": ("what of the shift the change of the prior test's mean alone would make", POINTS),
    "equating_se": ("standard error of the equating of the tests; empty: not known", POINTS),
    "share_coefficients": ("share of the cautious variance that is from the baseline's coefficients", SHARE),
    "shift_se": ("standard error of the shift", POINTS),
    "similar": ("mean value added of the schools most like it", POINTS),
    "difference": ("its value added less theirs", POINTS),
    "neighbours": ("codes of these schools, the nearest first", TEXT),
    "fifth": ("fifth of the schools, 1 the lowest", "fifth"),
    "capped": ("value added with extreme scores capped", POINTS),
    "capped_se": ("its standard error", POINTS),
    "capped_lower": ("lower limit of its interval", POINTS),
    "capped_upper": ("upper limit of its interval", POINTS),
    "capped_side": ("its side", TEXT),
    "capped_fifth": ("its fifth of the schools", "fifth"),
    "move": ("value added with capped scores less that without", POINTS),
    "linked": ("those of them with a prior score", STUDENTS),
    "averaged": ("the cohorts that are averaged", TEXT),
    "cohorts": ("number of the fit's cohorts in which the school has students", "cohorts"),
    "average": ("average value added of the school over the cohorts named", POINTS),
    "lasting": ("part of the school's value added that it keeps from cohort to cohort", POINTS),
    "term": ("term of the model", TEXT),
    "estimate": ("estimated coefficient", "points per unit of the term"),
    "correlation": ("correlation of school effects between the cohorts", "-1 to 1"),
    "covariance": ("covariance of school effects, a variance where both cohorts are the same", "points squared"),
    "change": ("change of the school's relative value added from the earlier to the later cohort", POINTS),
    "joint": ("whether the change comes from the model of all cohorts", "true or false"),
    "p_up": ("probability that the school's value added rose", SHARE),
    "prior_mean": ("mean prior score of the school's students", POINTS),
    "prior_sd": ("standard deviation of their prior scores", POINTS),
    "relative": ("value added compared with the average school of the cohort", POINTS),
    "relative_se": ("its standard error", POINTS),
    "relative_lower": ("lower limit of its interval", POINTS),
    "relative_upper": ("upper limit of its interval", POINTS),
    "benchmark": ("value added compared with what was typical of the baseline", POINTS),
    "benchmark_se": ("its standard error", POINTS),
    "benchmark_lower": ("lower limit of its interval", POINTS),
    "benchmark_upper": ("upper limit of its interval", POINTS),
    "expected_rank": ("expected place among the schools shown, 1 the highest, by the relative value added", "place"),
    "rank_lower": ("lower limit of the place", "place"),
    "rank_upper": ("upper limit of the place", "place"),
    "p_bottom": ("probability of the lowest fifth of the schools", SHARE),
    "p_top": ("probability of the highest fifth of the schools", SHARE),
    "benchmark_rank": ("expected place by the benchmark value added", "place"),
    "benchmark_rank_lower": ("lower limit of that place", "place"),
    "benchmark_rank_upper": ("upper limit of that place", "place"),
    "above_lower": ("share of the baseline's schools that it stands above, lower limit", SHARE),
    "above_upper": ("share of the baseline's schools that it stands above, upper limit", SHARE),
    "singular": ("whether schools of the cohort cannot be told apart", "true or false"),
    "benchmark_singular": ("whether they cannot be told apart against the baseline", "true or false"),
    "setting": ("name of the setting", TEXT),
    "value": ("its value", TEXT),
    "column": ("name of the column", TEXT),
    "meaning": ("what the column holds", TEXT),
    "unit": ("its unit", TEXT),
    "recipe": ("the recipe by which value added is computed", TEXT),
    "sd": ("standard deviation of value added over schools", POINTS),
    "mean": ("mean of value added over schools", POINTS),
    "reference": ("the school and cohort that the others are compared with", TEXT),
    "from": ("fifth of the schools in the earlier cohort, 1 the lowest", "fifth"),
    "to": ("fifth in the later cohort", "fifth"),
    "share": ("share of the schools of the first fifth that make this move", SHARE),
    "plugin": ("the same counted from the estimates alone", SHARE),
    "way": ("how the correlation is computed", TEXT),
    "expected": ("what this way gives on average if the model holds", "-1 to 1"),
    "scenario": ("name of the simulated world", TEXT),
    "method": ("name of the method", TEXT),
    "estimand": ("what is estimated", TEXT),
    "measure": ("measure of performance: bias, emp_se, rmse, coverage and others", TEXT),
    "mcse": ("Monte Carlo standard error of the value", "that of the value"),
    "replicates": ("simulated data sets behind the value", "data sets"),
    "replicate": ("number of the simulated data set", TEXT),
    "truth": ("true value", "that of the estimand"),
    "square": ("squared error", "that of the estimand, squared"),
    "covered": ("share of intervals that hold the truth", SHARE),
    "width": ("width of the interval", "that of the estimand"),
    "spearman": ("rank correlation of estimates and truths over schools", "-1 to 1"),
    "misclassified": ("share of schools put into a wrong fifth", SHARE),
}

ELSEWHERE: dict[tuple[str, str], tuple[str, str]] = {
    ("va_at.csv", "column"): ("the column with slopes, at a value of which value added is given", TEXT),
    ("change_at.csv", "column"): ("the column with slopes, at a value of which the change is given", TEXT),
    ("change_at.csv", "change"): ("change of the school's relative value added there", POINTS),
    ("slope_correlations.csv", "column"): ("the column with slopes", TEXT),
    ("slope_correlations.csv", "at"): ("the value of the column; empty for slopes", "that of the column"),
    ("slope_correlations.csv", "schools"): ("schools in both cohorts, those held back too", SCHOOLS),
    ("slope_correlations.csv", "se"): ("standard error of the correlation", "-1 to 1"),
    ("slope_correlations.csv", "lower"): ("lower limit of the interval", "-1 to 1"),
    ("slope_correlations.csv", "upper"): ("upper limit of the interval", "-1 to 1"),
    ("slope_covariances.csv", "cohort"): ("cohort of the one effect", YEAR),
    ("slope_covariances.csv", "other"): ("cohort of the other effect", YEAR),
    ("slope_covariances.csv", "term"): ("Intercept: value added at the cohort's means; a column: its slope", TEXT),
    ("slope_covariances.csv", "se"): ("standard error of the covariance", "points squared per unit of the terms"),
    ("slope_covariances.csv", "covariance"): ("covariance over schools, or variance", "points squared per unit of the terms"),
    ("residual_sds.csv", "group"): ("the group of students, or the value of the column", TEXT),
    ("residual_sds.csv", "n"): ("students of the school or group", STUDENTS),
    ("residual_sds.csv", "sd"): ("residual standard deviation; of a school drawn towards the common one", POINTS),
    ("residual_sds.csv", "se"): ("standard error of the standard deviation", POINTS),
    ("residual_sds.csv", "lower"): ("lower limit of the interval of the standard deviation", POINTS),
    ("residual_sds.csv", "upper"): ("upper limit of the interval of the standard deviation", POINTS),
    ("variance_tests.csv", "statistic"): ("statistic of the test that residual variances are equal", TEXT),
    ("variance_tests.csv", "df"): ("its degrees of freedom", TEXT),
    ("slopes.csv", "column"): ("the column whose slope differs between schools", TEXT),
    ("slopes.csv", "sd"): ("standard deviation of the slopes of schools", "points per unit of the column"),
    ("slopes.csv", "correlation"): ("correlation of slopes with value added at the mean", "-1 to 1"),
    ("groups.csv", "schools"): ("schools of the group, those held back too", SCHOOLS),
    ("groups.csv", "n"): ("students of the group", STUDENTS),
    ("groups.csv", "effect"): ("mean value added of the group's schools", POINTS),
    ("groups.csv", "se"): ("standard error of the mean, by which lower and upper are set", POINTS),
    ("groups.csv", "shift"): ("how far the group's schools lie from what was typical of the baseline", POINTS),
    ("groups.csv", "shift_lower"): ("lower limit of the interval of the group's shift", POINTS),
    ("groups.csv", "shift_upper"): ("upper limit of the interval of the group's shift", POINTS),
    ("similar.csv", "se"): ("standard error of the difference, by which lower and upper are set", POINTS),
    ("averages.csv", "n"): ("students in the cohorts averaged", STUDENTS),
    ("lasting.csv", "n"): ("students in all cohorts of the fit", STUDENTS),
    ("averages.csv", "cohorts"): ("number of the averaged cohorts in which the school has students", "cohorts"),
    ("similar.csv", "lower"): ("lower limit of the difference", POINTS),
    ("similar.csv", "upper"): ("upper limit of the difference", POINTS),
    ("capped.csv", "side"): ("above, below or not told apart, without the cap", TEXT),
    ("fixed_effects.csv", "se"): ("standard error of the coefficient", "points per unit of the term"),
    ("relative_fixed_effects.csv", "se"): ("standard error of the coefficient", "points per unit of the term"),
    ("benchmark_fixed_effects.csv", "se"): ("standard error of the coefficient", "points per unit of the term"),
    ("fixed_effects.csv", "cohort"): ("cohort of the fit; a benchmark's coefficients are the same in all", YEAR),
    ("correlations.csv", "se"): ("standard error of the correlation", "-1 to 1"),
    ("correlations.csv", "lower"): ("lower limit of the interval", "-1 to 1"),
    ("correlations.csv", "upper"): ("upper limit of the interval", "-1 to 1"),
    ("stability_correlations.csv", "lower"): ("lower limit of the interval", "-1 to 1"),
    ("stability_correlations.csv", "upper"): ("upper limit of the interval", "-1 to 1"),
    ("quintile_transitions.csv", "lower"): ("lower limit of the interval", SHARE),
    ("quintile_transitions.csv", "upper"): ("upper limit of the interval", SHARE),
    ("omega.csv", "se"): ("standard error of the covariance", "points squared"),
    ("recipes.csv", "shrinkage"): ("mean shrinkage factor of the schools", SHARE),
    ("relative_to_school.csv", "effect"): ("value added less that of the school named", POINTS),
    ("change_in_va.csv", "cohort"): ("the earlier cohort", YEAR),
    ("change_in_va.csv", "other"): ("the later cohort", YEAR),
    ("quintile_transitions.csv", "cohort"): ("the earlier cohort", YEAR),
    ("quintile_transitions.csv", "other"): ("the later cohort", YEAR),
    ("performance.csv", "value"): ("value of the measure", "that of the estimand"),
    ("simulation.csv", "value"): ("value of the measure", "that of the estimand"),
    ("simulation_calibrated.csv", "value"): ("value of the measure", "that of the estimand"),
    ("replicates.parquet", "estimate"): ("estimate, a mean over schools where there is one for each", "of the estimand"),
    ("replicates.parquet", "error"): ("estimate less truth", "that of the estimand"),
}  # fmt: skip


def meaning(file: str, column: str) -> tuple[str, str] | None:
    """The meaning and unit of a column of a file; None if it is nowhere explained."""
    if file == "scenarios.csv":
        return _scenario().get(column) or COLUMNS.get(column)
    return ELSEWHERE.get((file.removeprefix("report_"), column)) or COLUMNS.get(column)


def explained(files: Mapping[str, Iterable[object]], unit: str = "score points") -> pd.DataFrame:
    """One row a column of these files, as columns.csv has it: file, column, meaning, unit.

    files: the columns by file name, in order. unit: what stands for points. A column that is not explained, such as a
    covariate of one's own, has no meaning here.
    """
    rows = []
    for file, columns in files.items():
        for column in columns:
            told, measured = meaning(file, str(column)) or ("", "")
            rows.append((file, str(column), told, re.sub(r"\bpoints\b", unit, measured)))
    return pd.DataFrame(rows, columns=HEADS)


def with_columns(
    tables: Mapping[str, pd.DataFrame], unit: str = "score points", name: str = "columns.csv"
) -> dict[str, pd.DataFrame]:
    """The tables by file name and, last, columns.csv (or what it is called), which explains every column, its own too."""
    columns = {file: list(table.columns) for file, table in tables.items()} | {name: HEADS}
    return {**tables, name: explained(columns, unit)}


def explain_folder(folder: Path) -> None:
    """Write columns.csv beside the CSV files of a folder."""
    columns = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as stream:
            columns[path.name] = next(csv.reader(stream), [])
    explained({**columns, "columns.csv": HEADS}).to_csv(folder / "columns.csv", index=False, lineterminator="\n")


def _scenario() -> dict[str, tuple[str, str]]:
    """The parameters of a scenario, explained where they are defined."""
    text = inspect.getdoc(Scenario) or ""
    found = re.findall(r"^(\w[\w, ]*) : [^\n]+\n((?:    [^\n]+\n)+)", text, re.MULTILINE)
    return {
        name: (" ".join(told.split()).removesuffix("."), "")
        for names, told in found
        for name in names.split(", ")
    }  # fmt: skip
