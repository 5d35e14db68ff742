"""The options that several commands share."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer


class Model(str, Enum):
    """The models that `valib fit` offers."""

    relative = "relative"
    benchmark = "benchmark"
    joint = "joint"
    quantile = "quantile"
    quantile_benchmark = "quantile-benchmark"


Data = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="Student records: a CSV, CSV.gz, Parquet, Excel, R, Stata, SPSS or SAS file, a folder of Parquet "
        "files, a database's URL, or a bundled name such as demo. Default: the study's data.",
    ),
]
Table = Annotated[
    str | None,
    typer.Option(
        "--table",
        metavar="NAME",
        help="A workbook's sheet, an .rda's data frame, a database's table or a SELECT. Default: the only one.",
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="TEXT",
        show_default=False,
        help="The rows that are read, such as \"subject == 'reading' and grade == 5\". Default: all.",
    ),
]
PriorScores = Annotated[
    str | None,
    typer.Option(
        "--prior",
        metavar="TEXT",
        show_default=False,
        help="Prior scores in other rows, as in years_before=1,match=subject, or in another file, as in "
        "file=last_year.csv,columns.score=SCORE.",
    ),
]
ParamsFile = Annotated[
    str | None,
    typer.Option(
        "--params", metavar="FILE", help="The study's parameters. Default: ./params.yml if there, else the demo study."
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=SOURCE",
        help="A column's name in your records, such as school=SchoolCode; once for each column that differs.",
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option("--baseline-cohorts", metavar="2015,2016,...", help="The cohorts that define what is typical."),
]
Focal = Annotated[
    str | None,
    typer.Option("--focal-cohorts", metavar="2019,2021,...", help="The cohorts that are judged against the baseline."),
]
Formula = Annotated[
    str | None, typer.Option("--formula", metavar="TEXT", help="The model, such as 'score ~ prior_score'.")
]
Estimator = Annotated[
    str | None,
    typer.Option("--estimator", metavar="mixed|ols|within", help="How the benchmark coefficients are estimated."),
]
Shift = Annotated[
    str | None,
    typer.Option(
        "--shift", metavar="estimated|absorbed", help="Whether the system's shift since the baseline is estimated."
    ),
]
Variances = Annotated[
    str | None,
    typer.Option(
        "--variances", metavar="focal|baseline", help="Where a benchmark fit takes its variance components from."
    ),
]
Method = Annotated[str | None, typer.Option("--method", metavar="ML|REML", help="Likelihood that is maximised.")]
Level = Annotated[float | None, typer.Option("--level", help="Level of the intervals, such as 0.95.")]
Intervals = Annotated[
    str | None,
    typer.Option(
        "--intervals",
        metavar="integrated|plugin",
        help="Intervals of schools: over what is not known of the variances, or taking their estimates as known.",
    ),
]
EquatingSe = Annotated[
    float | None,
    typer.Option("--equating-se", help="Standard error of the test equating, in score points. Default: not known."),
]
CohortSd = Annotated[
    float | None,
    typer.Option("--cohort-sd", help="Standard deviation of ordinary years, in score points. Default: not declared."),
]
Covariance = Annotated[
    str | None,
    typer.Option(
        "--covariance",
        metavar="unstructured|ar1|...",
        show_default=False,
        help="Joint model: how school effects vary and covary over cohorts; unstructured (the default), "
        "compound_symmetry, ar1, antedependence, toeplitz or independent.",
    ),
]
Residual = Annotated[
    str | None,
    typer.Option(
        "--residual",
        metavar="by_school|COLUMN|by_cohort|common",
        show_default=False,
        help="Relative model: residual variances by_school, or by a column of groups of students; writes residual_sds.csv "
        "and variance_tests.csv. Joint model: a student variance for each cohort (by_cohort, the default), or common.",
    ),
]
Average = Annotated[
    str | None,
    typer.Option(
        "--average",
        metavar="2021,2023,...",
        show_default=False,
        help="Joint model: write averages.csv, every school's average over these cohorts.",
    ),
]
Reliability = Annotated[
    str | None,
    typer.Option(
        "--reliability",
        metavar="NAME=0.9,...",
        show_default=False,
        help="Covariates with errors of measurement, and their reliability among the students of the fit, or NAME=se:COLUMN, "
        "the column of their standard errors: the errors are taken off (relative and joint models, baseline).",
    ),
]
Random = Annotated[
    str | None,
    typer.Option(
        "--random",
        metavar="NAME,NAME,...",
        show_default=False,
        help="Columns of the formula whose slope varies over schools; a fit then writes va_at.csv and slopes.csv, or of a "
        "joint model change_at.csv, slope_correlations.csv and slope_covariances.csv.",
    ),
]
Quantiles = Annotated[
    str | None,
    typer.Option(
        "--quantile",
        metavar="0.25,0.5,...",
        show_default=False,
        help="Quantile models: the quantiles of the scores at which value added is taken. Default: 0.25, 0.5 and 0.75.",
    ),
]
QuantileDraws = Annotated[
    int | None,
    typer.Option(
        "--quantile-draws", help="Quantile models: draws of each of four chains. Default: 600.", show_default=False
    ),
]
MinStudents = Annotated[
    int | None, typer.Option("--min-students", help="Schools with fewer students in a cohort are not shown.")
]
MinLinkedShare = Annotated[
    float | None,
    typer.Option(
        "--min-linked-share",
        help="Schools are not shown of whose tested students a smaller share is linked. Default: 0.5.",
    ),
]
Fdr = Annotated[
    float | None,
    typer.Option(
        "--fdr", help="Also call schools above or below at this false discovery rate, such as 0.05 (column side_fdr)."
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="auto|memory|duckdb|spark",
        show_default=False,
        help="Where the sums over students are made: in memory, or streamed from files larger than memory. "
        "auto (the default) chooses by size.",
    ),
]
Groups = Annotated[
    str | None,
    typer.Option(
        "--groups",
        metavar="COLUMN",
        show_default=False,
        help="Also write groups.csv, the mean of every group of schools, such as district. Default: none.",
    ),
]
GroupWeights = Annotated[
    str | None,
    typer.Option("--group-weights", metavar="equal|students", help="Weights of the schools in a group's mean."),
]
MinSchools = Annotated[
    int | None, typer.Option("--min-schools", help="Groups of fewer schools in a cohort are not shown.")
]
Similar = Annotated[
    str | None,
    typer.Option(
        "--similar",
        metavar="prior_score,ses,...",
        show_default=False,
        help="Also write similar.csv, every school beside those most like it in the school means of these.",
    ),
]
Neighbours = Annotated[int | None, typer.Option("--neighbours", help="How many similar schools each is set beside.")]
Cap = Annotated[
    float | None,
    typer.Option(
        "--cap",
        metavar="3",
        show_default=False,
        help="Also write capped.csv: what changes if scores are capped so many residual SDs from the fitted line.",
    ),
]
Pseudonyms = Annotated[
    str | None,
    typer.Option(
        "--pseudonyms", metavar="KEYFILE", help="Show schools by pseudonyms under this key; `valib key` makes one."
    ),
]
Exact = Annotated[
    bool, typer.Option("--exact", help="Write exact figures, which are not for publication, and say so beside them.")
]
Excel = Annotated[
    bool | None,
    typer.Option("--excel/--no-excel", show_default=False, help="Also one workbook for Excel and LibreOffice."),
]
Figures = Annotated[
    bool | None,
    typer.Option(
        "--figures/--no-figures", show_default=False, help="Pictures beside the results; made unless told not."
    ),
]
Decimal = Annotated[
    str | None,
    typer.Option(
        "--decimal",
        metavar=".|,",
        show_default=False,
        help="Decimal sign of CSV files; with a comma, fields are divided by semicolons.",
    ),
]
ByteOrderMark = Annotated[
    bool | None,
    typer.Option(
        "--byte-order-mark/--no-byte-order-mark",
        show_default=False,
        help="Begin CSV files with a byte-order mark, by which Excel tells umlauts; a decimal comma brings it along.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of every random draw.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
