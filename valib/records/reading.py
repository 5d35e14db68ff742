"""Student records: reading, checking, and what was left out.

A record is one student in one cohort: ``student``, ``school``, ``cohort`` (the calendar year in which the outcome
test was sat), ``score``, ``prior_score``, and any covariates. Everything that cannot be used is either refused in
one sentence or left out and counted; nothing is dropped silently.
"""

from __future__ import annotations

import numbers
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import pandas as pd

from ..errors import RecordsError, ValibWarning
from ..names import LONGEST, example, readable
from . import coverage
from .prior import Prior, link_prior, linkage, need, prior_of
from .reshape import numbered, reshaped
from .sources import Source, all_grouped, as_codes, as_numbers, can_be_codes, check_width, may_be_grouped, open_source
from .sources.content import ODD, odd_values
from .sources.source import EXACT
from .where import select_rows
from .years import MUST, say_years, split_columns, starts_of


def _are_codes(column: pd.Series) -> pd.Series:
    return pd.Series(can_be_codes(column), index=column.index)


def _are_numbers(column: pd.Series) -> pd.Series:
    return pd.Series(~as_numbers(column)[1], index=column.index)


def _are_without_groups(column: pd.Series) -> pd.Series:
    """False for texts with points that may stand between thousands: 1.234 beside 999."""
    if not pd.api.types.is_numeric_dtype(column.dtype) and may_be_grouped(values := as_numbers(column)[0]):
        marked = column.astype(str).str.contains(".", regex=False) & ~np.isnan(values)
        if all_grouped(column[marked].astype(str), "."):
            return ~marked
    return pd.Series(True, index=column.index)


def _are_years(column: pd.Series) -> pd.Series:
    values, bad = as_numbers(column)
    whole = np.isnan(values) | ((values == np.floor(values)) & (np.abs(values) < EXACT))
    return pd.Series(whole & ~bad, index=column.index)


Judge = Callable[[pd.Series], pd.Series]  # which values of a column pass, by its index
_CODES: dict[str, Judge] = {"must hold codes (text or numbers)": _are_codes}
_SCORES: dict[str, Judge] = {
    "must hold numbers": _are_numbers,
    "must hold numbers without points between thousands": _are_without_groups,
    "must hold finite numbers": lambda column: pd.Series(~np.isinf(as_numbers(column)[0]), index=column.index),
}
# What the canonical columns may hold in a source, before conversion, in the order in which faults are told; other columns
# are not looked at.
CHECKS: dict[str, dict[str, Judge]] = {
    "student": _CODES,
    "school": _CODES,
    "cohort": {"must hold whole numbers": _are_years},
    "score": _SCORES,
    "prior_score": _SCORES,
}


CANONICAL = ("student", "school", "cohort", "score", "prior_score")
ALIASES = {"student_id": "student", "school_id": "school", "year": "cohort"}
WHOLE = r"-?\d+\.0"  # a code of a text file that was an integer once
# A row that lacks several of these is counted once, under the first.
_REASONS = ("cohort", "school", "student", "score", "prior_score")
MOST_YEARS = 1_000  # from the first cohort to the last, of cohorts that are years


def read_records(
    source,
    columns: Mapping[str, Any] | None = None,
    table: str | None = None,
    where: str | None = None,
    prior: Mapping[str, Any] | None = None,
    reshape: Mapping | None = None,
    year_zero: float | None = None,
) -> pd.DataFrame:
    """Read student records and check them.

    Parameters
    ----------
    source : path, URL or DataFrame
        A CSV, gzipped CSV, Parquet, Excel, .rda, Stata, SPSS or SAS file; a folder of Parquet files; a database's URL; or
        a pandas DataFrame (which is not changed).
    columns : mapping of str to str, optional
        This library's name -> the source's name, for those that differ: ``{"school": "SchoolCode"}``. ``student_id``,
        ``school_id`` and ``year`` are recognised unasked. Covariates can be renamed too.
        The cohort of a school year such as 2018/19 is the year in which it ends, and a warning says so;
        ``{"cohort": {"column": "year", "year": "start"}}`` takes the year in which it begins.
    table : str, optional
        The sheet of a workbook, the data frame of an .rda, the table of a database or a SELECT.
    where : str, optional
        Which rows are read, such as ``"subject == 'reading' and grade == 5"``: columns (by this library's names),
        numbers, texts in quotes, comparisons, ``in``, ``and``, ``or``, ``not``, ``is missing``, arithmetic and the
        functions of formulas that look at one row (``log``, ``np.abs``, ...). A comparison with a missing value is false.
    prior : mapping, optional
        Where prior scores are, if no column of the row has them: ``{"years_before": 1, "column": "score", "match":
        ["subject"]}`` takes them from the student's row of an earlier cohort, before ``where`` leaves rows out;
        ``{"file": "last_year.csv", "columns": {"student": "ID", "score": "SCORE"}}`` from another file.
    reshape : mapping, optional
        For records with one row a student and a column for each year: the cohorts, and the columns that they have,
        ``{"cohort": [2021, 2023], "columns": {"score": "read_{cohort}", "prior_score": "read_{cohort-2}"}}``. In place of
        a pattern a column can be named for each cohort, ``{2021: "read_21", 2023: "R23"}``. A student of whom all columns
        of a cohort are empty has no row in it. ``columns`` maps what stands in the reshaped rows.
    year_zero : float, optional
        The calendar year that is 0 in a column of cohorts that counts from elsewhere: 2002.5 for -2.5, -1.5, ...

    Returns
    -------
    DataFrame
        A RangeIndex and the columns ``student``, ``school`` (text), ``cohort`` (int64), ``score``, ``prior_score``
        (float64), then all other columns as the source has them.

    Raises
    ------
    RecordsError
        If the source is not a table, a column is missing, mapped wrongly or named twice, a score is text or
        infinite, a cohort is not a whole number, or no row is left. Names the file, the column and the rows.

    Notes
    -----
    ``columns={"student": "row_number"}`` numbers the students where the source has no code for them and every row is
    another student. A column ``school_name`` is shown beside the school's code; the latest cohort's name is taken.

    Codes keep their leading zeros; a code ``NA`` is a code; whole numbers stored as floats become ``"1"``, not ``"1.0"``.
    Without a cohort column every student is in cohort 0, and a warning says so.

    ``attrs`` holds ``left_out`` (rows that lack a cohort, school, student, score or prior score, counted by cohort
    and reason; see :func:`valib.left_out`), ``odd_values`` (what a formula that takes a column of text for numbers is
    told; see :mod:`valib.records.sources.content`), ``score_by_cohort`` (n, mean, sd over all rows with a score),
    ``source`` (file name), ``rows_read`` and ``unlinked`` (students with a score who lack something else, by cohort and
    school; :mod:`valib.records.coverage`). ``min_linked_share``, where it is set there, is the share of a school's tested
    students below which :func:`valib.only_shown` holds it back, .5 if not. With ``where`` it also holds ``where`` (the
    ``expression``, the ``rows`` of the source and how many were ``left_out``, which ``rows_read`` does not count); with
    ``prior`` also ``prior`` (rows ``linked``, ``unlinked`` and ``ambiguous``, by cohort and by school). A row with two
    earlier rows is ambiguous, and has no prior score. Records that come from here pass through again unchanged.

    Examples
    --------
    >>> import pandas as pd
    >>> import valib as va
    >>> table = pd.DataFrame({
    ...     "student_id": ["a", "b"], "SchoolCode": ["007", "007"], "year": [2024, 2024],
    ...     "score": [510.0, 498.5], "prior_score": [430.0, 421.0],
    ... })
    >>> va.read_records(table, columns={"school": "SchoolCode"})
      student school  cohort  score  prior_score
    0       a    007    2024  510.0        430.0
    1       b    007    2024  498.5        421.0
    """
    wanted, (columns, year) = None if prior is None else prior_of(prior), split_columns(columns)
    opened = reshaped(numbered(open_source(source, table), columns), reshape)
    names = resolve_names(opened.name, opened.columns, columns)
    there = {names.get(name, name) for name in opened.columns}
    if wanted and "prior_score" in there:
        raise RecordsError(
            f"{opened.name}: has a column for prior_score, and prior asks for another: take one of them."
        )
    there |= {"prior_score"} if wanted else set()
    is_empty = opened.frame is not None and opened.frame.empty
    if not is_empty and (missing := [name for name in CANONICAL if name not in there and name != "cohort"]):
        raise no_column(opened.name, missing, opened.columns)
    codes = [name for name in opened.columns if names.get(name, name) in ("student", "school")]
    numbers = [name for name in opened.columns if names.get(name, name) in ("cohort", "score", "prior_score")]
    frame = opened.read(text_columns=codes, number_columns=numbers)
    earlier = frame.attrs
    frame = frame.rename(columns=names)
    if frame.empty:
        raise RecordsError(f"{opened.name}: holds no rows.")
    if year_zero is not None and "cohort" in frame.columns:
        years, bad = as_numbers(frame["cohort"])
        frame["cohort"] = frame["cohort"] if bad.any() else years + year_zero
    without_cohort = "cohort" not in frame.columns
    if without_cohort:
        frame["cohort"] = 0
    if wanted:
        frame["prior_score"] = np.nan
    original = {canonical: name for name, canonical in names.items()}
    starts = starts_of(frame["cohort"], asked=year is not None)
    _check(frame, opened, original, starts)
    _settle_cohorts(frame, opened.name, original.get("cohort", "cohort"), starts, year, without_cohort)
    odd = _odd_values(frame, opened, original, earlier.get(ODD, {}))
    frame, told = _chosen(frame, opened, where, wanted)
    complete = _complete(_convert(frame, from_text=opened.dialect is not None), opened, earlier)
    complete.attrs |= {ODD: odd, **told}
    return complete


def _settle_cohorts(
    frame: pd.DataFrame, source: str, column: str, starts: np.ndarray | None, year: str | None, without: bool
) -> None:
    """Turn school years into cohorts, and say so; or say that there is no column of cohorts.

    starts: the years in which they begin, if they are school years; year: which of its years is the cohort, if that is said.
    """
    if starts is not None:
        frame["cohort"] = starts + say_years(source, column, year)
    if without:
        warnings.warn(
            f"{source}: no column for cohort, so all students are taken as one cohort, 0.", ValibWarning, stacklevel=3
        )


def _chosen(
    frame: pd.DataFrame, source: Source, where: str | None, prior: Prior | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows that ``where`` keeps, with their prior scores out of all rows, and what is told of both."""
    told: dict[str, Any] = {}
    linked = None
    if prior:
        codes = code_labels(frame["student"], source.dialect is not None)
        linked = link_prior(frame, prior, codes, source.name, other_file(prior))
        frame["prior_score"] = linked.scores
    kept = np.ones(len(frame), dtype=bool) if where is None else select_rows(frame, where, source.name)
    if prior and linked:
        schools = code_labels(frame["school"], source.dialect is not None)
        counted = linked.counts(as_numbers(frame["cohort"])[0], schools, kept)
        told["prior"] = linkage(prior, counted, source.name)
    if where is not None:
        told["where"] = {"expression": where, "rows": len(frame), "left_out": int((~kept).sum())}
    return (frame if kept.all() else frame[kept].reset_index(drop=True)), told


def other_file(prior: Prior) -> tuple[pd.DataFrame, pd.Series, str] | None:
    """The rows of the file that a prior names, by this library's names, its codes of students and its name."""
    if prior.file is None:
        return None
    opened = open_source(prior.file)
    names = resolve_names(opened.name, opened.columns, dict(prior.columns or {}))
    codes = [name for name in opened.columns if names.get(name, name) == "student"]
    scores = [name for name in opened.columns if names.get(name, name) == "score"]
    frame = opened.read(text_columns=codes, number_columns=scores).rename(columns=names)
    need(frame.columns, ["student", "score", *prior.match], opened.name)
    if not can_be_codes(frame["student"]).all():
        raise RecordsError(f"{opened.name}: column 'student' must hold codes (text or numbers).")
    return frame, code_labels(frame["student"], opened.dialect is not None), opened.name


def _odd_values(
    frame: pd.DataFrame, source: Source, original: dict[str, str], earlier: dict[str, str]
) -> dict[str, str]:
    """What to say of columns of text, besides the canonical ones, that are meant to hold numbers; "" for categories.

    earlier: what was said of these columns when they were first read, from a source whose types are forgotten by now.
    """
    told = {}
    for name in frame.columns:
        if name in CANONICAL or not is_text(frame[name]):
            continue
        if source.dialect is not None and original.get(name, name) in earlier:  # the reader has seen all of them
            told[name] = ""
            continue
        typed = source.dialect is None and frame[name].dtype != object and not earlier.get(name)
        odd = odd_values(frame[name], typed)
        if odd is None:
            told[name] = ""
        elif earlier.get(name):
            told[name] = earlier[name]
        else:
            first = frame[name].iloc[odd[0]] if len(odd) else frame[name].dropna().iloc[0]
            where = source.where(odd) if len(odd) else ""
            said = complaint(original.get(name, name), name, len(odd), len(frame), where, first)
            told[name] = f"{source.name}: {said}"
    return told


def complaint(original: str, name: str, odd: int, rows: int, where: str, first: object) -> str:
    """What to say of a column of text, of so many rows, that is meant to hold numbers.

    odd: how many values are none; where: the first of them; first: its value, or any value where all are numbers.
    """
    if not odd:
        return f"{_described(original, name)} holds numbers stored as text"
    return fault(original, name, "must hold numbers", odd, rows, where, first)


def is_text(column: pd.Series) -> bool:
    """Whether a column holds text, or text and numbers mixed, and is no category."""
    if isinstance(column.dtype, pd.CategoricalDtype) or not (
        column.dtype == object or pd.api.types.is_string_dtype(column.dtype)
    ):
        return False
    kinds = {type(value) for value in column.dropna()} if column.dtype == object else {str}
    return str in kinds and all(issubclass(kind, (str, numbers.Real)) and kind is not bool for kind in kinds)


def left_out(records: pd.DataFrame) -> pd.DataFrame:
    """Rows that :func:`valib.read_records` could not use.

    Parameters
    ----------
    records : DataFrame
        Records that were read by :func:`valib.read_records`.

    Returns
    -------
    DataFrame
        Columns ``cohort`` (Int64, missing if unknown), ``reason`` and ``rows``.

    Raises
    ------
    RecordsError
        If the records carry no such count, because they were not read by valib.

    Notes
    -----
    A row that lacks several things is counted once, under the first of cohort, school, student, score, prior score.

    Examples
    --------
    >>> import valib as va
    >>> va.left_out(va.load_records("demo")).query("cohort == 2024")
        cohort          reason  rows
    14    2024  no prior score   197
    15    2024        no score    69
    """
    if "left_out" not in records.attrs:
        raise RecordsError("These records carry no count of left-out rows: read them with valib.read_records.")
    table = pd.DataFrame(records.attrs["left_out"], columns=["cohort", "reason", "rows"])
    return table.astype({"cohort": "Int64", "reason": "str", "rows": "int64"})


def summarise(records: pd.DataFrame) -> pd.DataFrame:
    """Describe each cohort, in order: students, schools, school sizes, mean and SD of score and prior score.

    Parameters
    ----------
    records : DataFrame
        Checked student records.

    Returns
    -------
    DataFrame
        One row a cohort (index): ``students``, ``schools``, ``smallest_school``, ``median_school``, ``largest_school``
        (students), ``score_mean``, ``score_sd``, ``prior_mean``, ``prior_sd`` (score points).

    Raises
    ------
    KeyError
        If a column of records is missing, because the table was not read by :func:`valib.read_records`.

    Notes
    -----
    Standard deviations have the divisor n - 1. Only rows that can be used count; for the others see
    :func:`valib.left_out`.

    Examples
    --------
    >>> import valib as va
    >>> table = va.summarise(va.load_records("demo"))
    >>> table.loc[[2015, 2024], ["students", "schools", "score_mean", "score_sd"]].round(1)
            students  schools  score_mean  score_sd
    cohort
    2015        6706      192       501.6      75.5
    2024        6528      188       487.4      76.0
    """
    by_cohort = records.groupby("cohort", sort=True)
    sizes = records.groupby(["cohort", "school"], sort=True).size().groupby("cohort")
    return pd.DataFrame(
        {
            "students": by_cohort.size(),
            "schools": sizes.size(),
            "smallest_school": sizes.min(),
            "median_school": sizes.median(),
            "largest_school": sizes.max(),
            "score_mean": by_cohort["score"].mean(),
            "score_sd": by_cohort["score"].std(),
            "prior_mean": by_cohort["prior_score"].mean(),
            "prior_sd": by_cohort["prior_score"].std(),
        }
    )


def select(records: pd.DataFrame, cohorts: int | Iterable[int]) -> pd.DataFrame:
    """Return the records of one cohort or of several, in their order, with a fresh RangeIndex.

    Raises
    ------
    RecordsError
        If no cohort is asked for, or one is not in the data; names the cohorts that are.
    """
    wanted = [cohorts] if isinstance(cohorts, numbers.Integral) else list(cohorts)
    cohort = records["cohort"]
    present = cohort.iloc[:1] if len(cohort) and (cohort == cohort.iat[0]).all() else cohort.unique()
    check_cohorts(wanted, present)
    if set(present) <= set(wanted):
        return records.reset_index(drop=True)  # pandas copies nothing until somebody writes
    return records[cohort.isin(wanted) if len(wanted) > 1 else cohort == wanted[0]].reset_index(drop=True)


def check_cohorts(wanted: Sequence[int], present: Iterable[int]) -> None:
    """Raise RecordsError if no cohort is wanted, or one that is not among those present."""
    present = sorted(present)
    absent = [cohort for cohort in wanted if cohort not in present]
    if absent or not wanted:
        asked = f"Cohort {_listed(absent)} is not in the data" if absent else "No cohort was asked for"
        raise RecordsError(f"{asked}; the cohorts there are {_listed(present)}.")


def resolve_names(source: str, there: Sequence, columns: dict[str, str]) -> dict:
    """Which of a source's columns get which new name; refuses a mapping that cannot be meant."""
    there = list(there)
    check_width(source, len(there))
    doubled = sorted(str(name) for name, count in Counter(there).items() if count > 1)
    if doubled:
        raise RecordsError(f"{source}: more than one column is named {_listed(doubled, quote=True)}.")
    asked = list(columns.values())
    absent = [str(name) for name in asked if name not in there]
    if absent:
        raise RecordsError(
            f"{source}: the column mapping names {_listed(absent, quote=True)}, which is not among the columns"
            f" {_listed(there)}."
        )
    shared = sorted({str(name) for name in asked if asked.count(name) > 1})
    if shared:
        raise RecordsError(f"{source}: the column mapping uses {_listed(shared, quote=True)} more than once.")
    names = {name: canonical for canonical, name in columns.items()}
    kept = [name for name in there if name not in names]
    clash = [canonical for canonical in columns if canonical in kept]
    if clash:
        raise RecordsError(
            f"{source}: {_listed(clash, quote=True)} is mapped from another column but is also the name of a"
            " column there; map or rename that one too."
        )
    for alias, canonical in ALIASES.items():
        if alias in kept and canonical not in kept and canonical not in columns:
            names[alias] = canonical
    return names


def _check(frame: pd.DataFrame, source: Source, original: dict[str, str], starts: np.ndarray | None) -> None:
    """Check all columns and tell every fault in one sentence; a missing value passes.

    starts: the years in which the cohorts begin if they are school years.
    """
    faults = []
    years: dict[str, Judge] = {MUST: lambda there: pd.Series(starts[there.index] >= 0, index=there.index)}
    for column, checks in (CHECKS if starts is None else CHECKS | {"cohort": years}).items():
        name, values = original.get(column, column), frame[column]
        if checks is CHECKS[column] and _is_sound(column, values):
            continue
        there = None
        for check, judge in checks.items():
            try:
                there = values.notna().to_numpy(dtype=bool) if there is None else there
                good = judge(values if there.all() else values[there]).to_numpy(dtype=bool)
                bad = np.flatnonzero(there)[~good] if not good.all() else ()
            except (
                Exception
            ) as error:  # the check itself comes to grief, as over half a surrogate pair or a Decimal sNaN
                kind = type(error).__name__
                faults.append(f"{_described(name, column)} {check}, but holds values that cannot be read ({kind})")
                continue
            if len(bad):
                first = source.written(bad[0], name, values.iloc[bad[0]])
                faults.append(fault(name, column, check, len(bad), len(frame), source.where(bad), first))
    if faults:
        raise RecordsError(f"{source.name}: {'; '.join(faults)}.")


def _is_sound(column: str, values: pd.Series) -> bool:
    """Whether a column passes its checks at a glance, as nearly all do."""
    kind = values.dtype
    if column in ("student", "school"):
        return kind == np.int64 or isinstance(kind, pd.StringDtype)
    if column == "cohort":
        return bool(kind == np.int64 and len(values) and -EXACT < values.min() and values.max() < EXACT)
    return bool(kind == np.int64 or (kind == np.float64 and not np.isinf(values.to_numpy()).any()))


def no_column(source: str, missing: Iterable, there: Iterable) -> RecordsError:
    """The error where columns are not there."""
    return RecordsError(f"{source}: no column for {_listed(missing)}; the columns there are {_listed(there)}.")


def fault(original: str, column: str, check: str, count: int, rows: int, where: str, first: object) -> str:
    """What to say of ``count`` of the ``rows`` rows that fail a check; where: the first of them, first: its value."""
    told = f"{count} rows do not" if count > 1 else "1 row does not"
    return f"{_described(original, column)} {check}, but {told} ({where}{example(first, count, rows, column)})"


def _described(original: str, column: str) -> str:
    """A column by the source's name for it, and by this library's if that is another."""
    name = readable(original, LONGEST)
    return f"column '{name}'" + ("" if name == column else f" ({column})")


def no_row_left(source: str, left_out: list[dict]) -> RecordsError:
    """The error where no row can be used; left_out: counts ("rows") by "reason" and cohort."""
    reasons = pd.DataFrame(left_out).groupby("reason", sort=False)["rows"].sum()
    told = "; ".join(f"{rows} with {reason}" for reason, rows in reasons.items())
    return RecordsError(f"{source}: no row can be used ({told}).")


def _convert(frame: pd.DataFrame, from_text: bool) -> pd.DataFrame:
    """Canonical columns first, in their types; a cohort that may be missing is float."""
    columns = {name: code_labels(frame[name], from_text) for name in ("student", "school")}
    for name in ("cohort", "score", "prior_score"):
        kept = frame[name].dtype == np.float64 or (name == "cohort" and frame[name].dtype == np.int64)
        columns[name] = frame[name] if kept else as_numbers(frame[name])[0]
    columns |= {name: frame[name] for name in frame.columns if name not in columns}
    return pd.DataFrame(columns, index=frame.index, copy=False)


def code_labels(column: pd.Series, from_text: bool) -> pd.Series:
    """The codes of a column as text; from_text: of a text file, where 12.0 is an integer that pandas wrote as float."""
    codes = as_codes(column)
    if not from_text or not (whole := codes.dropna()).size or not re.fullmatch(WHOLE, whole.iat[0]):
        return codes
    return codes.str.removesuffix(".0") if whole.str.fullmatch(WHOLE).all() else codes


def _complete(records: pd.DataFrame, source: Source, earlier: dict) -> pd.DataFrame:
    """Leave out the rows that lack something, and count them by cohort and reason."""
    rows_read = len(records)
    years = _numbered(records["cohort"].to_numpy())
    with ThreadPoolExecutor(1) as pool:
        scored = pool.submit(_moments, years, records["score"].to_numpy())
        lacks = {name: records[name].isna().to_numpy() for name in _REASONS}
        bad = reduce(or_, lacks.values())
        scored_here = ~(lacks["cohort"] | lacks["school"] | lacks["score"])
        covered = coverage.of_rows(years, records["school"], scored_here, ~bad)
    counted = []
    if bad.any():
        first = np.array([mask[bad] for mask in lacks.values()]).argmax(axis=0)
        reasons = np.array([f"no {name.replace('_', ' ')}" for name in _REASONS])[first]
        lost = pd.DataFrame({"cohort": records["cohort"].to_numpy()[bad], "reason": reasons})
        for (cohort, reason), rows in lost.groupby(["cohort", "reason"], dropna=False).size().items():
            counted.append({"cohort": None if pd.isna(cohort) else int(cohort), "reason": reason, "rows": int(rows)})
        records = records[~bad].reset_index(drop=True)
    if records.empty:
        raise no_row_left(source.name, counted)
    records["cohort"] = records["cohort"].astype("int64")
    with np.errstate(over="ignore", invalid="ignore"):
        as_read = [len(records), *(float(records[c].to_numpy().sum()) for c in ("score", "prior_score"))]
    if earlier.get("as_read") == as_read:  # these very rows were read before: what was said of them then still holds
        records.attrs = {**earlier, "score_by_cohort": {int(t): v for t, v in earlier["score_by_cohort"].items()}}
        return records
    records.attrs = {
        "source": source.name,
        "rows_read": rows_read,
        "left_out": counted,
        "score_by_cohort": scored.result(),
        "as_read": as_read,
        coverage.UNLINKED: covered,
    }
    return records


def _numbered(cohort: np.ndarray) -> tuple[np.ndarray, pd.Index]:
    """The number of each row's cohort, -1 where it is missing, and the cohorts in order, with others that no row has."""
    first, last = np.fmin.reduce(cohort), np.fmax.reduce(cohort)
    if not last - first < MOST_YEARS:
        t, cohorts = pd.factorize(cohort, sort=True)
        return t, pd.Index(cohorts)
    missing = np.isnan(cohort)
    t = (np.where(missing, first - 1, cohort) if missing.any() else cohort) - first
    return t.astype(np.int64, copy=False), pd.Index(np.arange(first, last + 1))


def _moments(years: tuple[np.ndarray, pd.Index], score: np.ndarray) -> dict[int, dict[str, float]]:
    """n, mean and SD of the scores by cohort (its number in each row, and the cohorts); no missing score counts, nor one
    without a cohort."""
    t, cohorts = years
    there = (t >= 0) & ~np.isnan(score)
    t, y = (t, score) if there.all() else (t[there], score[there])
    n = np.bincount(t, minlength=len(cohorts))
    with np.errstate(all="ignore"):  # scores of 1e308: a model refuses them in a sentence
        mean = np.bincount(t, weights=y, minlength=len(cohorts)) / n
        apart = mean[t]
        np.square(np.subtract(y, apart, out=apart), out=apart)
        ss = np.bincount(t, weights=apart, minlength=len(cohorts))
        sd = np.sqrt(ss / np.where(n > 1, n - 1, np.nan))
    return {
        int(cohorts[k]): {"n": int(n[k]), "mean": float(mean[k]), "sd": float(sd[k])} for k in range(len(n)) if n[k]
    }


def _listed(names: Iterable, quote: bool = False) -> str:
    shown = [f"'{readable(name, LONGEST)}'" if quote else readable(name, LONGEST) for name in names]
    return ", ".join(shown if len(shown) <= 30 else [*shown[:30], f"and {len(shown) - 30} more"])
