"""The data that come with valib: where they are from, what their columns mean, how to load them.

This registry is the one home of these facts; ``data/README.md`` is written from it by `readme`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ..errors import RecordsError, ValibError
from .reading import read_records

_PACKAGE = Path(__file__).resolve().parents[1]


def bundle_root() -> Path:
    """Return the folder that holds params.yml, data/, chapters/ and _toc.yml.

    An installed wheel carries them in ``valib/_bundle``; a checkout of the repository has them at its top.

    Raises
    ------
    ValibError
        If neither folder has them (a damaged installation).
    """
    for folder in (_PACKAGE / "_bundle", _PACKAGE.parent):
        if (folder / "params.yml").is_file() and (folder / "data").is_dir():
            return folder
    raise ValibError("The files that come with valib (params.yml, data/, chapters/) are missing: reinstall valib.")


_GPL = "GPL, version 2 or later (the licence of the package)"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A bundled table.

    Attributes
    ----------
    name, title : how it is called in code and in words.
    rows, schools : counts; schools is None where the groups are not schools.
    source, licence, citation : who published the file, on what terms, and the study it comes from.
    columns : column -> meaning.
    sha256 : checksum of the CSV file.
    codes : columns that are codes and load as text.
    canonical : canonical name -> column, for `load_records`; empty if the table holds no student records.
    note : what a user should know before using it.
    """

    name: str
    title: str
    rows: int
    schools: int | None
    source: str
    licence: str
    citation: str
    columns: Mapping[str, str]
    sha256: str
    codes: tuple[str, ...]
    canonical: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


_DEMO = Dataset(
    name="demo",
    title="Demo panel: reading, Year 3 to Year 5 (simulated)",
    rows=56_242,
    schools=200,
    source="Simulated by `data/make_demo.py` from `valib.simulation.panel.DEMO` with a fixed seed; no real student or school.",
    licence="That of valib",
    citation="None: made for this project.",
    columns={
        "student_id": "student's code; every student is in one cohort only",
        "school_id": "code of the school in which the outcome test was sat; text, some with a leading zero",
        "year": "calendar year of the outcome test (Year 5): 2015 to 2019, 2021, 2023, 2024",
        "score": "reading score in Year 5, in points, one decimal; blank if absent",
        "prior_score": "reading score in Year 3, two years before, same scale; blank if absent",
        "female": "1 for girls, 0 for boys",
        "ses": "socio-economic status, standardised over all students",
    },
    sha256="39ded4a717e8f9192510a94f2bd90d7061f5c422c9187ff1b290a45706a15205",
    codes=("student_id", "school_id"),
    canonical={"student": "student_id", "school": "school_id", "cohort": "year"},
    note=(
        "No test was sat in 2020: there is no outcome in 2020 and no prior score for 2022, so neither cohort exists. "
        "The cohort of 2023 sat its prior test in the disturbed year 2021. Some schools open, close or miss a cohort; "
        "some students lack a score or changed school between the tests. Every year adds to all scores a little of its "
        "own (SD 1.5 points), as ordinary years do, and schools differ in how much their students scatter. Level, drift "
        "and the spread of school effects, and then the seed, were chosen so that a school like School A of the question "
        "is among them: by the question's own recipe it has -13 relative and -27.4 against the benchmark in 2024. The "
        "truth behind the scores is in `demo_truth.csv`, one row a school and cohort (school, cohort, drift, slope, "
        "shock the year's own part, sigma the SD of its students' residuals, n students drawn, u the school effect, "
        "intake the school's expected prior score less the overall mean); "
        "chapters 1 to 8 never read it."
    ),
)
_EXAM = Dataset(
    name="exam",
    title="Examination results in inner London",
    rows=4_059,
    schools=65,
    source="`Exam` in the R package mlmRev 1.0.8",
    licence=_GPL,
    citation=(
        "Goldstein, H., Rasbash, J., Yang, M., Woodhouse, G., Pan, H., Nuttall, D. and Thomas, S. (1993). A multilevel "
        "analysis of school examination results. Oxford Review of Education 19(4), 425-433."
    ),
    columns={
        "school": "school's code",
        "normexam": "examination score at 16, normalised: the outcome",
        "schgend": "pupils of the school: mixed, boys, girls",
        "schavg": "mean intake score of the school",
        "vr": "student's band in verbal reasoning at intake: bottom 25%, mid 50%, top 25%",
        "intake": "band of the student's intake score: bottom 25%, mid 50%, top 25%",
        "standLRT": "London Reading Test at 11, standardised: the prior score",
        "sex": "student's sex: F, M",
        "type": "type of school: Mxd (mixed), Sngl (single sex)",
        "student": "student's code, within the school",
    },
    sha256="dc599b3dcab6c7fe3693219fd9a742ed156ac20b0992690d71050b9369c50926",
    codes=("school", "student"),
    canonical={"score": "normexam", "prior_score": "standLRT"},
    note="One cohort. Four student codes occur twice within their school, as in the package.",
)
_CHEM97 = Dataset(
    name="chem97",
    title="A-level chemistry, Britain 1997",
    rows=31_022,
    schools=2_410,
    source="`Chem97` in the R package mlmRev 1.0.8",
    licence=_GPL,
    citation=(
        "Fielding, A., Yang, M. and Goldstein, H. (2003). Multilevel ordinal models for examination grades. "
        "Statistical Modelling 3(2), 127-153."
    ),
    columns={
        "lea": "code of the local education authority (131)",
        "school": "school's code",
        "student": "student's code",
        "score": "points in A-level chemistry, 0 to 10 in steps of 2: the outcome",
        "gender": "student's gender: M, F",
        "age": "age in months less 222 (18.5 years)",
        "gcsescore": "mean score in the GCSE examinations",
        "gcsecnt": "the same less its mean over all students: the prior score",
    },
    sha256="1910f7d44d540c8980f72c5286a5d9171f66a01aada204df998d086e66c7fcaa",
    codes=("lea", "school", "student"),
    canonical={"prior_score": "gcsecnt"},
    note=(
        "One cohort. The outcome takes six values only, so a normal model is a test of arithmetic rather than an "
        "analysis. The package's help page counts 2,280 schools; the file has 2,410 school codes."
    ),
)
_SLEEPSTUDY = Dataset(
    name="sleepstudy",
    title="Reaction times in a sleep deprivation study",
    rows=180,
    schools=None,
    source="`sleepstudy` in the R package lme4 1.1.31",
    licence=_GPL,
    citation=(
        "Belenky, G., Wesensten, N. J., Thorne, D. R., Thomas, M. L., Sing, H. C., Redmond, D. P., Russo, M. B. and "
        "Balkin, T. J. (2003). Patterns of performance degradation and restoration during sleep restriction and "
        "subsequent recovery: a sleep dose-response study. Journal of Sleep Research 12(1), 1-12."
    ),
    columns={
        "Reaction": "mean reaction time of the day, in milliseconds",
        "Days": "day of the study, 0 to 9",
        "Subject": "subject's code (18 subjects)",
    },
    sha256="2918bbddf750e78003059efa97b94885b85c4d7927c22a19c29f7fa5a184c59d",
    codes=("Subject",),
    note="No student records: subjects stand where schools stand elsewhere, for the predictor by hand.",
)
_SLEEPSTUDY_LME4 = Dataset(
    name="sleepstudy_lme4",
    title="What lme4 predicts for the subjects of sleepstudy",
    rows=18,
    schools=None,
    source="`ranef(lmer(Reaction ~ Days + (1 | Subject), sleepstudy), condVar = TRUE)`, lme4 1.1.31 (REML)",
    licence="That of valib",
    citation=(
        "Bates, D., Mächler, M., Bolker, B. and Walker, S. (2015). Fitting linear mixed-effects models using lme4. "
        "Journal of Statistical Software 67(1), 1-48."
    ),
    columns={
        "Subject": "subject's code",
        "blup": "predicted random intercept, in milliseconds",
        "var_conditional": "its conditional variance (lme4's condVar), in square milliseconds",
    },
    sha256="c83d9cb22b6c63fc5abbb3a3c46e029ba8c7960efb826ac6599ac78f864f1a33",
    codes=("Subject",),
    note="Results of another program, to hold the predictor by hand against.",
)
_REGISTRY = {dataset.name: dataset for dataset in (_DEMO, _EXAM, _CHEM97, _SLEEPSTUDY, _SLEEPSTUDY_LME4)}


def names() -> tuple[str, ...]:
    """Names of the bundled tables."""
    return tuple(_REGISTRY)


def describe(name: str) -> Dataset:
    """Return the registry entry of a bundled table.

    Raises
    ------
    RecordsError
        If there is no table of that name.
    """
    if name not in _REGISTRY:
        raise RecordsError(f"There are no bundled data named '{name}'; there are {', '.join(names())}.")
    return _REGISTRY[name]


def bundle_path(name: str) -> Path:
    """Return the CSV file of a bundled table."""
    return bundle_root() / "data" / f"{describe(name).name}.csv"


def load(name: str) -> pd.DataFrame:
    """Return a bundled table as it was published, codes as text.

    Parameters
    ----------
    name : str
        "demo", "exam", "chem97", "sleepstudy" or "sleepstudy_lme4".

    Returns
    -------
    DataFrame
        The table; the appendix on data says what its columns mean.

    Raises
    ------
    RecordsError
        If there is no table of that name.

    Notes
    -----
    Sources, licences and checksums stand in ``data/README.md``. The demo panel is simulated; the others are of the R
    packages mlmRev and lme4.

    Examples
    --------
    >>> import valib as va
    >>> va.load("sleepstudy").head(2)
       Reaction  Days Subject
    0  249.5600     0     308
    1  258.7047     1     308
    """
    return pd.read_csv(bundle_path(name), dtype=dict.fromkeys(describe(name).codes, "str"))


def load_records(name: str) -> pd.DataFrame:
    """Return a bundled table as student records, as :func:`valib.read_records` gives them.

    Parameters
    ----------
    name : str
        "demo", "exam" or "chem97".

    Returns
    -------
    DataFrame
        Student records; a table without cohorts is cohort 0.

    Raises
    ------
    RecordsError
        If there is no such table, or it holds no student records.

    Notes
    -----
    The same as ``read_records(load(name), columns)`` with the columns of the registry of bundled tables.

    Examples
    --------
    >>> import valib as va
    >>> exam = va.load_records("exam")
    >>> exam.shape
    (4059, 11)
    >>> list(exam.columns[:5])
    ['student', 'school', 'cohort', 'score', 'prior_score']
    """
    dataset = describe(name)
    if not dataset.canonical:
        raise RecordsError(f"The bundled data '{name}' hold no student records; use load('{name}').")
    table = load(name)
    if "cohort" not in dataset.canonical:
        table["cohort"] = 0
    records = read_records(table, dataset.canonical)
    records.attrs["source"] = bundle_path(name).name
    return records


def readme() -> str:
    """Return the text of ``data/README.md``: every table with its source, licence, dictionary and checksum."""
    parts = ["# Data\n\nWritten by `python data/make_demo.py` from `valib/datasets.py`: change the facts there.\n"]
    for dataset in _REGISTRY.values():
        schools = f", {dataset.schools:,} schools" if dataset.schools else ""
        dictionary = "\n".join(f"| `{column}` | {meaning} |" for column, meaning in dataset.columns.items())
        parts.append(
            f"## {dataset.name}.csv: {dataset.title}\n\n{dataset.rows:,} rows{schools}.\n\n"
            f"* Source: {dataset.source}\n* Licence: {dataset.licence}\n* Study: {dataset.citation}\n"
            f"* SHA-256: `{dataset.sha256}`\n\n{dataset.note}\n\n| column | meaning |\n|---|---|\n{dictionary}\n"
        )
    return "\n".join(parts)
