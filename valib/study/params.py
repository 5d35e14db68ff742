"""The study's parameters: their defaults, their validation, and params.yml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import ModelError, ParamsError
from ..records.bundle import bundle_root
from ..records.pseudonyms import replace_schools
from ..records.sources import anchor_url, data_name, is_query, is_url
from ..sums.equating import ScaleBreak
from .params_file import read_params, sentence

if TYPE_CHECKING:
    import pandas as pd

FILE_NAME = "params.yml"


def _formula(text: str) -> str:
    """Check that a formula parses and explains the score by something else than the score."""
    from ..sums.formula import columns_of, parse

    try:
        parsed = parse(text)
    except ModelError as error:
        raise ValueError(f"a formula such as 'score ~ prior_score' ({str(error).removesuffix('.')})") from None
    if [str(term) for term in parsed.lhs] != ["score"]:
        raise ValueError("a formula with score alone on the left of ~")
    if "score" in columns_of(parsed.rhs):
        raise ValueError("a formula without score on the right of ~")
    return text


def _distinct(values: list) -> list:
    """Refuse a list that names something twice."""
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"each entry once, but {', '.join(map(str, twice))} stands there more than once")
    return values


def _one_by_one(breaks: list[ScaleBreak]) -> list[ScaleBreak]:
    """Refuse two breaks of one column with one cohort."""
    _distinct([f"{b.column} with cohort {b.cohort}" for b in breaks])
    return breaks


FormulaText = Annotated[str, AfterValidator(_formula)]
Cohorts = Annotated[list[int], Field(min_length=1), AfterValidator(_distinct)]


class Params(BaseModel):
    """A study: its records, its cohorts, its model and how it is reported. The defaults are the demo study.

    ``data`` is the name of a bundled data set, a database's URL or, once loaded by :func:`load`, an absolute path.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    title: str = Field("School value added against a benchmark", min_length=1, description="Title of the book")
    data: str = Field("demo", min_length=1, description="Student records")
    table: str | None = Field(None, min_length=1, description="Table of the source")
    columns: dict[str, str] = Field({}, description="Columns of the source")
    baseline_cohorts: Cohorts = Field([2015, 2016, 2017], description="Baseline cohorts")
    focal_cohorts: Cohorts = Field([2019, 2021, 2023, 2024], description="Focal cohorts")
    formula: FormulaText = Field("score ~ prior_score", description="Formula of the value-added model")
    further_formulas: Annotated[list[FormulaText], AfterValidator(_distinct)] = Field([
        "score ~ prior_score + school_mean(prior_score)",
        "score ~ prior_score + female + ses + school_mean(prior_score)",
    ], description="Further formulas, for sensitivity")
    estimator: Literal["mixed", "ols", "within"] = Field("mixed", description="Estimator of the baseline coefficients")
    shift: Literal["estimated", "absorbed"] = Field("estimated", description="System shift")
    variances: Literal["focal", "baseline"] = Field("focal", description="Variances taken from")
    method: Literal["ML", "REML"] = Field("ML", description="Likelihood")
    level: float = Field(0.95, gt=0, lt=1, description="Level of the intervals")
    equating_se: float = Field(0.0, ge=0, description="Standard error of equating (score points)")
    scale_breaks: Annotated[list[ScaleBreak], AfterValidator(_one_by_one)] = Field(
        [], description="Declared breaks of a test's scale, with their links")
    min_students: int = Field(5, ge=1, description="Smallest school shown (students in a cohort)")
    school: str | None = Field(None, description="School followed through the recipes")
    pseudonym_key: str | None = Field(None, min_length=1, description="Key file of the schools' pseudonyms")
    seed: int = Field(20150512, ge=0, description="Seed")
    bootstrap_replicates: int = Field(200, ge=2, description="Bootstrap replicates")
    simulation_replicates: int = Field(500, ge=20, description="Replicates of each simulated scenario")

    @model_validator(mode="after")
    def _cohorts_apart(self) -> Params:
        shared = sorted(set(self.baseline_cohorts) & set(self.focal_cohorts))
        if shared:
            cohorts = ", ".join(map(str, shared))
            raise ValueError(
                f"baseline_cohorts and focal_cohorts both hold {cohorts}: a cohort cannot be its own benchmark"
            )
        return self

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
        return records if self.pseudonym_key is None else replace_schools(records, self.pseudonym_key)

    def _read_named(self) -> pd.DataFrame:
        from ..records import datasets
        from ..records import reading as records

        if self.data in datasets.names():
            if self.table is not None:
                raise ParamsError(f"The data set {self.data} is one table: leave table out.")
            return datasets.load_records(self.data)
        return records.read_records(self.data, columns=self.columns or None, table=self.table)


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
        ``data``: other data leave it behind.

    Raises
    ------
    ParamsError
        If the file cannot be read or a value is unusable; the sentence names file, line, key and value.
    """
    file = locate(path)
    values, lines = read_params(file)
    given = {key: value for key, value in overrides.items() if value is not None}
    if "data" in given:
        given["data"] = _anchor(given["data"], Path.cwd())
        values.pop("table", None)
    if "data" in values:
        values["data"] = _anchor(values["data"], file.parent)
    for some, folder in ((given, Path.cwd()), (values, file.parent)):
        if isinstance(some.get("pseudonym_key"), str) and some["pseudonym_key"]:
            some["pseudonym_key"] = str((folder / os.path.expanduser(some["pseudonym_key"])).resolve())
    for key in given:
        lines.pop(key, None)
    try:
        return Params(**{**values, **given})
    except ValidationError as error:
        told = error.errors(include_url=False)
        raise ParamsError(sentence(told, file, lines, Params.model_fields)) from None


def parse_cohorts(text: str | None, option: str) -> list[int] | None:
    """Turn '2015,2016,2017' into a list of cohorts; None stays None. ``option`` is named in the error."""
    if text is None:
        return None
    try:
        cohorts = [int(part) for part in text.split(",")]
    except ValueError:
        raise ParamsError(f"{option} is '{text}', expected cohorts such as 2015,2016,2017.") from None
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
