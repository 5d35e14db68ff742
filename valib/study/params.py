"""The study's parameters: their defaults, their validation, and params.yml."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WrapValidator,
    model_validator,
)

from ..errors import ModelError, ParamsError, RecordsError
from ..names import listed_cohorts
from ..records.coverage import MIN_LINKED_SHARE
from ..records.datasets import bundle_root
from ..records.pseudonyms import replace_schools
from ..records.reshape import columns_by_cohort
from ..records.sources import anchor_url, data_name, is_query, is_url
from ..records.years import split_columns
from ..sums.equating import ScaleBreak
from .complaints import EXPECTED, sentence
from .plain_yaml import file_text, read_params, refuse_questions, yaml_value
from .writing import CsvForm

if TYPE_CHECKING:
    import pandas as pd

FILE_NAME = "params.yml"


@lru_cache(maxsize=64)
def _formula(text: str) -> str:
    """Check that a formula parses and explains the score, or what is made of it, by something else than the score."""
    from ..sums.formula import columns_of, parse

    try:
        parsed = parse(text)
    except ModelError as error:
        raise ValueError(f"a formula such as 'score ~ prior_score' ({str(error).removesuffix('.')})") from None
    if "score" not in columns_of(parsed.lhs):
        raise ValueError("a formula with score, or arithmetic with it, on the left of ~")
    if "score" in columns_of(parsed.rhs):
        raise ValueError("a formula without score on the right of ~")
    return text


def _distinct(values: list) -> list:
    """Refuse a list that names something twice."""
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"each entry once, but {', '.join(map(str, twice))} stands there more than once")
    return values


def _shares(values: list[float]) -> list[float]:
    """Refuse what does not lie between 0 and 1."""
    if outside := [value for value in values if not 0 < value < 1]:
        raise ValueError(f"each between 0 and 1, but {outside[0]:g} does not lie there")
    return values


def _one_by_one(breaks: list[ScaleBreak]) -> list[ScaleBreak]:
    """Refuse two breaks of one column with one cohort."""
    _distinct([f"{b.column} with cohort {b.cohort}" for b in breaks])
    return breaks


def _reshape(given: dict[str, Any] | None) -> dict[str, Any] | None:
    """Check the form of a reshape."""
    if given is not None:
        columns_by_cohort(given)
    return given


NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
NULL = ("", "~", "null", "Null", "NULL", "None")
COLUMN_LISTS = ("random", "subgroups", "similar")  # text names columns, with commas between them


def understood(name: str, value: Any) -> Any:
    """A parameter's value as it is meant, from wherever it comes: params file, command line, papermill or a cell.

    Text stands for what it spells: ``"2024"``, ``"[2024]"``, ``"2019, 2024"`` for cohorts, ``"0.9"`` for a number,
    ``"null"`` or ``"None"`` for none, ``"ses, female"`` for columns, a list or mapping in YAML, JSON or Python. One
    entry stands for a list of one, a tuple for a list. What cannot be read surely is returned as it is, for the
    validation to refuse.
    """
    field = Params.model_fields.get(name)
    if field is None:
        return value
    some = [part for part in get_args(field.annotation) if part is not type(None)]
    optional = type(None) in get_args(field.annotation)
    annotation = some[0] if optional else field.annotation
    kind = get_origin(annotation) or annotation
    if isinstance(value, str):
        if optional and value.strip() in NULL[1:]:
            return None
        if name == "prior":
            spelt = _spelt(value.strip(), dict, ())
            return _pairs(spelt) if isinstance(spelt, str) else spelt
        if name == "reliability":
            value = _numbers_by_name(value.strip())
        if name in COLUMN_LISTS and not value.strip().startswith("["):
            return [part.strip() for part in value.split(",") if part.strip()]
        if kind is bool:
            return {"true": True, "false": False}.get(value.strip().lower(), value)
        value = (
            _spelt(value.strip(), kind, get_args(annotation))
            if kind in (int, float, list, dict) and name != "reliability"
            else value
        )
    if kind is list and isinstance(value, (int, float, str, dict)) and not isinstance(value, bool):
        value = [value]
    if kind is list and isinstance(value, (tuple, range, list)) and (number := _number(get_args(field.annotation))):
        return [_spelt(e.strip(), number, ()) if isinstance(e, str) else e for e in value]
    return list(value) if kind is list and isinstance(value, tuple) else value


def _number(parts: tuple[Any, ...]) -> type | None:
    """The kind of number that a list of these parts holds; None for others."""
    return next((kind for kind in (int, float) if kind in parts), None)


def _spelt(text: str, kind: type, parts: tuple[Any, ...]) -> Any:
    """The number, list or mapping that a text spells; the text itself if it spells none."""
    if kind in (int, float):
        return kind(text) if (WHOLE if kind is int else NUMBER).fullmatch(text) else text
    if number := _number(parts):  # read by hand: YAML takes 010 for eight
        inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        entries = [entry.strip().strip("'\"") for entry in inner.split(",")] if inner.strip() else []
        found = [_spelt(e, number, ()) for e in entries]
        return text if any(isinstance(e, str) for e in found) else found
    if not text.startswith("{" if kind is dict else ("[", "{")):
        return text
    for read in (ast.literal_eval, yaml_value):
        try:
            found = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, ParamsError, yaml.YAMLError):
            continue
        if isinstance(found, (list, dict)):
            return found
    return text


def _where(text: str) -> str:
    """Check the form of an expression for rows."""
    from ..records.where import parse_where

    try:
        parse_where(text)
    except RecordsError as error:
        raise ValueError(f"an expression such as subject == 'reading' ({str(error).removesuffix('.')})") from None
    return text


def _prior(given: dict[str, Any]) -> dict[str, Any]:
    """Check the form of a prior."""
    from ..records.prior import prior_of

    try:
        prior_of(given)
    except RecordsError as error:
        raise ValueError(f"a mapping ({str(error).removesuffix('.')})") from None
    return given


def _pairs(text: str) -> Any:
    """years_before=1,match=subject+grade as a mapping; the text itself if it is none."""
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if not all(key and mark and value for key, mark, value in pairs) or len({p[0] for p in pairs}) < len(pairs):
        return text
    found: dict[str, Any] = {key.strip(): value.strip() for key, _, value in pairs}
    columns = {key.removeprefix("columns."): found.pop(key) for key in list(found) if key.startswith("columns.")}
    if columns:
        found["columns"] = columns
    if WHOLE.fullmatch(found.get("years_before", "")):
        found["years_before"] = int(found["years_before"])
    if "match" in found:
        found["match"] = found["match"].split("+")
    return found


def _numbers_by_name(text: str) -> Any:
    """prior_score=0.9,ses=0.8, or a mapping that is spelt, as numbers by name; the text itself if it is none."""
    pairs = [[part.strip() for part in item.partition("=")] for item in text.split(",")]
    plain = all(key and mark and value for key, mark, value in pairs) and len({p[0] for p in pairs}) == len(pairs)
    found = {key: value for key, _, value in pairs} if plain else _spelt(text, dict, ())
    if not isinstance(found, dict):
        return text
    return {k: _reliability(v) if isinstance(v, str) else v for k, v in found.items()}


def _reliability(text: str) -> Any:
    """0.9 as a number, se:COLUMN as {"se": COLUMN}; the text itself if it is neither."""
    kind, mark, column = text.partition(":")
    return {"se": column.strip()} if mark and kind.strip() == "se" and column.strip() else _spelt(text, float, ())


def _reliabilities(given: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is no reliability and names no column of standard errors."""
    for name, value in given.items():
        if type(value) in (int, float):
            if not 0 < value <= 1:
                raise ValueError(f"reliabilities above 0 and not above 1, but that of {name} is {value:g}")
        elif not (isinstance(value, dict) and set(value) == {"se"} and isinstance(value["se"], str) and value["se"]):
            raise ValueError(
                f"reliabilities, or {{se: column}} with standard errors of measurement, but that of {name} is {value!r}"
            )
    return given


WhereText = Annotated[str, AfterValidator(_where)]
PriorMapping = Annotated[dict[str, Any], AfterValidator(_prior)]
FormulaText = Annotated[str, AfterValidator(_formula)]
Cohorts = Annotated[list[int], AfterValidator(_distinct)]
Covariate = Annotated[str, Field(min_length=1)]
Quantiles = Annotated[list[float], Field(min_length=1), AfterValidator(_distinct), AfterValidator(_shares)]
DEMO = "demo"


def _columns(columns: dict[str, Any]) -> dict[str, Any]:
    """Check names of columns, and of cohorts which year of a school year is meant."""
    split_columns(columns)
    return columns


_Name = Annotated[
    str,
    WrapValidator(lambda given, name: given if isinstance(given, dict) else name(given)),
    PlainSerializer(lambda given: given),
]
Columns = Annotated[dict[str, _Name], AfterValidator(_columns)]


class Publishing(BaseModel):
    """The parameters of a study that say in which form results are written, and change none of them."""

    excel: bool = Field(False, description="Also one workbook for Excel and LibreOffice")
    figures: bool = Field(True, description="Pictures beside the results of a fit (PNG and SVG)")
    decimal: Literal[".", ","] = Field(".", description="Decimal sign of CSV files; with a comma, fields end in ;")
    byte_order_mark: bool = Field(False, description="Byte-order mark before CSV files, for Excel")

    @classmethod
    def names(cls) -> list[str]:
        """All parameters, those of this class last."""
        last = list(Publishing.model_fields)
        return [name for name in cls.model_fields if name not in last] + last

    @property
    def csv_form(self) -> CsvForm:
        """How the study's CSV files are written."""
        return CsvForm(self.decimal, self.byte_order_mark)


class Params(Publishing):
    """A study: its records, its cohorts, its model and how it is reported. The defaults are the demo study.

    Cohorts are the demo's for its data only. Of other data no cohort is a baseline that is not named so, and the focal
    cohorts, where none is named, are all others that the records have (:meth:`settled`); both are empty until then.
    ``data`` is the name of a bundled data set, a database's URL or, once loaded by :func:`load`, an absolute path.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    title: str = Field("School value added against a benchmark", min_length=1, description="Title of the book")
    data: str = Field("demo", min_length=1, description="Student records")
    table: str | None = Field(None, min_length=1, description="Table of the source")
    columns: Columns = Field({}, description="Columns of the source")
    reshape: Annotated[dict[str, Any] | None, AfterValidator(_reshape)] = Field(
        None, description="Cohorts and columns of records with a column for each year"
    )
    year_zero: float | None = Field(None, description="Calendar year that is 0 in the cohort's column")
    where: WhereText | None = Field(None, min_length=1, description="Rows of the source that are read")
    prior: PriorMapping | None = Field(None, description="Where prior scores are, if in other rows or another file")
    baseline_cohorts: Cohorts = Field([2015, 2016, 2017], description="Baseline cohorts")
    focal_cohorts: Cohorts = Field([2019, 2021, 2023, 2024], description="Focal cohorts")
    formula: FormulaText = Field("score ~ prior_score", description="Formula of the value-added model")
    further_formulas: Annotated[list[FormulaText], AfterValidator(_distinct)] = Field(
        [
            "score ~ prior_score + school_mean(prior_score)",
            "score ~ prior_score + female + ses + school_mean(prior_score)",
        ],
        description="Further formulas, for sensitivity",
    )
    estimator: Literal["mixed", "ols", "within"] = Field("mixed", description="Estimator of the baseline coefficients")
    shift: Literal["estimated", "absorbed"] = Field("estimated", description="System shift")
    variances: Literal["focal", "baseline"] = Field("focal", description="Variances taken from")
    method: Literal["ML", "REML"] = Field("ML", description="Likelihood")
    level: float = Field(0.95, gt=0, lt=1, description="Level of the intervals")
    intervals: Literal["integrated", "plugin"] = Field("integrated", description="Variances behind the intervals")
    equating_se: float | None = Field(
        None, ge=0, description="Standard error of equating (score points); empty: not known"
    )
    cohort_sd: float | None = Field(
        None, ge=0, description="Standard deviation of ordinary years (score points); empty: not declared"
    )
    scale_breaks: Annotated[list[ScaleBreak], AfterValidator(_one_by_one)] = Field(
        [], description="Declared breaks of a test's scale, with their links"
    )
    reliability: Annotated[dict[str, Any], AfterValidator(_reliabilities)] = Field(
        {},
        description="Reliability of covariates, or the column of their standard errors of measurement, taken off in fits",
    )
    random: Annotated[list[str], AfterValidator(_distinct)] = Field(
        [], description="Columns whose slope varies over schools, in relative and benchmark fits"
    )
    residual: str | None = Field(
        None,
        min_length=1,
        description="What residual variances follow in relative fits: by_school or a column; empty: one for all",
    )
    subgroups: Annotated[list[str], AfterValidator(_distinct)] = Field(
        ["female"], description="Indicators of groups whose value added is set side by side"
    )
    min_students: int = Field(5, ge=1, description="Smallest school shown (students in a cohort)")
    min_linked_share: float = Field(0.5, ge=0, le=1, description="Least share of tested students linked")
    fdr: float | None = Field(None, gt=0, lt=1, description="False discovery rate of sides; empty: not controlled")
    groups: str | None = Field(None, min_length=1, description="Column of the groups of schools, such as a district")
    group_weights: Literal["equal", "students"] = Field("equal", description="Weights of schools in a group's mean")
    min_schools: int = Field(3, ge=1, description="Smallest group shown (schools in a cohort)")
    similar: Annotated[list[Covariate], AfterValidator(_distinct)] = Field(
        [], description="Covariates by which schools are similar"
    )
    neighbours: int = Field(10, ge=1, description="Similar schools beside each school")
    cap: float | None = Field(None, gt=0, description="Distance of capped scores (residual SDs); empty: no cap")
    school: str | None = Field(None, description="School followed through the recipes")
    pseudonym_key: str | None = Field(None, min_length=1, description="Key file of the schools' pseudonyms")
    quantiles: Quantiles = Field([0.25, 0.5, 0.75], description="Quantiles at which value added is taken")
    quantile_draws: int = Field(600, ge=50, description="Draws of each chain, at a quantile")
    seed: int = Field(20150512, ge=0, description="Seed")
    bootstrap_replicates: int = Field(200, ge=2, description="Bootstrap replicates")
    simulation_replicates: int = Field(500, ge=20, description="Replicates of each simulated scenario")

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, values: Any) -> Any:
        """Values as they are meant; a study of one's own data has no cohorts of the demo's."""
        if not isinstance(values, dict):
            return values
        values = {k: understood(k, v) for k, v in values.items()}
        own = values.get("data", DEMO) != DEMO
        return {"baseline_cohorts": [], "focal_cohorts": [], **values} if own else values

    @model_validator(mode="after")
    def _cohorts_apart(self) -> Params:
        for name in ("baseline_cohorts", "focal_cohorts"):
            if self.data == DEMO and not getattr(self, name):
                raise ValueError(f"{name} is [], expected {EXPECTED['too_short']}")
        shared = sorted(set(self.baseline_cohorts) & set(self.focal_cohorts))
        if shared:
            cohorts = ", ".join(map(str, shared))
            raise ValueError(
                f"baseline_cohorts and focal_cohorts both hold {cohorts}: a cohort cannot be its own benchmark"
            )
        return self

    def settled(self, cohorts: Iterable[int]) -> Params:
        """The study with its focal cohorts: where none is named, all ``cohorts`` of the records but the baseline's.

        Raises ParamsError if none is left.
        """
        if self.focal_cohorts:
            return self
        there = sorted({int(t) for t in cohorts})
        focal = [t for t in there if t not in self.baseline_cohorts]
        if not focal:
            raise ParamsError(
                f"{self.data_name}: the records hold {listed_cohorts(there)} only, all of the baseline: name baseline_cohorts "
                "that leave one to be judged."
            )
        return self.model_copy(update={"focal_cohorts": focal})

    def need_baseline(self, cohorts: Iterable[int], instead: str = "") -> None:
        """Raise ParamsError, naming the cohorts of the records, if the study names no baseline cohort."""
        if not self.baseline_cohorts:
            raise ParamsError(
                f"{self.data_name}: the study names no baseline cohorts, and a benchmark needs them; the records hold "
                f"{listed_cohorts(sorted({int(t) for t in cohorts}))}: give --baseline-cohorts, those that define what is "
                f"typical{instead}."
            )

    def require_points(self) -> None:
        """Raise ParamsError for what the book and the reports do not show: outcomes in other units."""
        from ..sums.formula import is_in_points

        for formula in (self.formula, *self.further_formulas):
            if not is_in_points(formula):
                raise ParamsError(
                    f"The book and the school reports speak of score points, and the outcome of '{formula}' is in "
                    "another unit: take `valib fit`, or an outcome such as score - prior_score."
                )

    @property
    def data_name(self) -> str:
        """What may be shown of the source: a file's name, or a database's without its user, host or password."""
        return data_name(self.data)

    @property
    def table_name(self) -> str | None:
        """What may be shown of the table: its name; of a query, which may name a student, only that it is one."""
        return "a query" if self.table is not None and is_query(self.table) else self.table

    def __repr_args__(self):
        """Show a database without its user, host or password."""
        shown = {"data": self.data_name} if is_url(self.data) else {}
        return [(name, shown.get(name, value)) for name, value in super().__repr_args__()]

    def read_records(self) -> pd.DataFrame:
        """Return the study's records as ``valib.records.reading.read_records`` gives them, schools by pseudonym if so asked."""
        records = self._read_named()
        records.attrs[MIN_LINKED_SHARE] = self.min_linked_share
        return records if self.pseudonym_key is None else replace_schools(records, self.pseudonym_key)

    def _read_named(self) -> pd.DataFrame:
        from ..records import datasets
        from ..records import reading as records

        if self.data in datasets.names():
            if self.table is not None:
                raise ParamsError(f"The data set {self.data} is one table: leave table out.")
            if self.where is not None or self.prior is not None:
                raise ParamsError(f"The data set {self.data} is bundled as records: leave where and prior out.")
            return datasets.load_records(self.data)
        return records.read_records(
            self.data,
            columns=self.columns or None,
            table=self.table,
            where=self.where,
            prior=self.prior,
            reshape=self.reshape,
            year_zero=self.year_zero,
        )


def locate(path: str | Path | None = None) -> Path:
    """Return the params file in force: the one named, else ./params.yml, else the demo study's."""
    if path is not None:
        return Path(path)
    here = Path(FILE_NAME)
    return here if here.is_file() else bundle_root() / FILE_NAME


def load(path: str | Path | None = None, **overrides: Any) -> Params:
    """Read a params file, put the overrides in place of its values, and validate.

    Parameters
    ----------
    path : the params file; None takes ./params.yml if there is one, else the demo study's.
    overrides : values by parameter name; None means "not given". A relative ``data`` path in the file
        is relative to the file, in an override to the working directory. The file's ``table`` belongs to its
        ``data``: other data leave it behind, and the cohorts of the demo.

    Raises
    ------
    ParamsError
        If the file cannot be read or a value is unusable; the sentence names file, line, key and value.
    """
    file = locate(path)
    values, lines = read_params(file)
    values = {key: understood(key, value) for key, value in values.items()}
    given = {key: understood(key, value) for key, value in overrides.items() if value is not None}
    if "data" in given:
        for key in ("table", "where", "prior"):  # they belong to the file's data
            values.pop(key, None)
        if values.get("data") == DEMO and str(given["data"]) != DEMO:  # its cohorts are those of its data
            values = {k: v for k, v in values.items() if k not in ("baseline_cohorts", "focal_cohorts")}
    values = {**_placed(values, file.parent), **_placed(given, Path.cwd())}
    refuse_questions(values, file, file_text(file))
    return _built(values, file, {key: line for key, line in lines.items() if key not in given})


def study_of(values: dict[str, Any]) -> Params:
    """The study of these values by name, without a file; None is none. Paths count from the working directory."""
    return _built(_placed({key: understood(key, value) for key, value in values.items()}, Path.cwd()), Path(), {})


def _placed(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values with absolute paths, relative ones being relative to the folder."""
    placed = dict(values)
    if "data" in placed:
        placed["data"] = _anchor(placed["data"], folder)
    if isinstance(placed.get("pseudonym_key"), str) and placed["pseudonym_key"]:
        placed["pseudonym_key"] = str((folder / os.path.expanduser(placed["pseudonym_key"])).resolve())
    if isinstance(placed.get("prior"), dict) and "file" in placed["prior"]:
        placed["prior"] = {**placed["prior"], "file": _anchor(placed["prior"]["file"], folder)}
    return placed


def _built(values: dict[str, Any], file: Path, lines: dict[str, int]) -> Params:
    try:
        return Params(**values)
    except ValidationError as error:
        told = error.errors(include_url=False)
        raise ParamsError(sentence(told, file, lines, Params.model_fields)) from None


def parse_cohorts(text: str | None, option: str) -> list[int] | None:
    """Turn '2015,2016,2017' into a list of cohorts; None stays None. ``option`` is named in the error."""
    if text is None:
        return None
    cohorts = understood("focal_cohorts", text)
    if not cohorts or not all(isinstance(cohort, int) for cohort in cohorts):
        raise ParamsError(f"{option} is '{text}', expected cohorts such as 2015,2016,2017.")
    if len(set(cohorts)) < len(cohorts):
        raise ParamsError(f"{option} is '{text}', expected each cohort once.")
    return cohorts


def _anchor(data: Any, folder: Path) -> Any:
    """Make a data path absolute; a bundled name, a server's URL, or what is not text, stays as it is."""
    from ..records import datasets

    if not isinstance(data, (str, Path)) or not str(data) or str(data) in datasets.names():
        return data
    if is_url(data):
        return anchor_url(data, folder)
    return str((folder / os.path.expanduser(data)).resolve())
