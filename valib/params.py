"""The study's parameters: their defaults, their validation, and params.yml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .bundle import bundle_root
from .errors import ModelError, ParamsError, ValibError
from .pseudonyms import replace_schools
from .scale import Link, ScaleBreak
from .sources import anchor_url, data_name, is_query, is_url

FILE_NAME = "params.yml"


def _formula(text: str) -> str:
    """Check that a formula parses and explains the score by something else than the score."""
    from .formula import columns_of, parse

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

    def read_records(self):
        """Return the study's records as ``valib.records.read_records`` gives them, schools by pseudonym if so asked."""
        records = self._read_named()
        return records if self.pseudonym_key is None else replace_schools(records, self.pseudonym_key)

    def _read_named(self):
        from . import datasets, records

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
    values, lines = _read_yaml(file)
    given = {key: value for key, value in overrides.items() if value is not None}
    if "data" in given:
        given["data"] = _anchor(given["data"], Path.cwd())
        values.pop("table", None)
    if "data" in values:
        values["data"] = _anchor(values["data"], file.parent)
    for some, folder in ((given, Path.cwd()), (values, file.parent)):
        if isinstance(some.get("pseudonym_key"), str) and some["pseudonym_key"]:
            some["pseudonym_key"] = str((folder / Path(some["pseudonym_key"]).expanduser()).resolve())
    for key in given:
        lines.pop(key, None)
    try:
        return Params(**{**values, **given})
    except ValidationError as error:
        raise ParamsError(_sentence(error, file, lines)) from None


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
    from . import datasets

    if not isinstance(data, (str, Path)) or not str(data) or str(data) in datasets.names():
        return data
    if is_url(data):
        return anchor_url(data, folder)
    return str((folder / Path(data).expanduser()).resolve())


def _read_yaml(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the values of a params file and the line on which each key stands."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise ParamsError(f"There is no params file {file}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"The params file {file} cannot be read: {_reason(error)}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ParamsError(f"{file}{line}: this is not YAML: {_reason(error)}.") from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ParamsError(f"{file}: expected one 'name: value' a line, found a {type(values).__name__}.")
    lines: dict[str, int] = {}
    for key, _ in tree.value:
        if key.value in lines:
            raise ParamsError(f"{file}, line {key.start_mark.line + 1}: {key.value} is given a second time.")
        lines[key.value] = key.start_mark.line + 1
    return {str(key): value for key, value in values.items()}, lines


def _reason(error: Exception) -> str:
    """Return the short reason that an error carries."""
    return getattr(error, "problem", None) or getattr(error, "strerror", None) or "it is not UTF-8 text"


def _sentence(error: ValidationError, file: Path, lines: dict[str, int]) -> str:
    """Turn pydantic's account into one sentence: file, line, key, what was given, what was expected."""
    ours, theirs = [], []
    for item in error.errors(include_url=False):
        keys = [str(item["loc"][0])] if item["loc"] else ["baseline_cohorts", "focal_cohorts"]
        line = max(lines.get(key, 0) for key in keys)
        (theirs if line else ours).append((line, _complaint(item, keys[0] if item["loc"] else "")))
    told = "; ".join(f"line {line}: {text}" for line, text in sorted(theirs))
    return "; ".join([text for _, text in ours] + ([f"{file}, {told}"] if told else [])) + "."


def _complaint(item: dict[str, Any], key: str) -> str:
    """Say what is wrong with one parameter."""
    kind, context = item["type"], item.get("ctx", {})
    if not key:
        return str(context["error"])
    if kind == "extra_forbidden":
        return f"there is no parameter {key} (the parameters are {', '.join(Params.model_fields)})"
    if key == "scale_breaks" and (told := _break_complaint(item)):
        return told
    if kind == "value_error":
        expected = str(context["error"])
    elif key == "school" or (kind == "string_type" and key in ("title", "data", "table", "formula")):
        expected = "text (put it in quotes)"
    else:
        expected = item["msg"].removeprefix("Input should be ").removeprefix("a valid ")
        expected = f"a number {expected}" if expected.startswith(("less", "greater")) else expected
        expected = expected.replace("List should have at least 1 item after validation, not 0", "one cohort or more")
        expected = expected.replace("String should have at least 1 character", "some text")
        expected = expected.replace("dictionary", "mapping such as {school: SchoolCode}")
        expected = expected.split(", unable")[0]
    return f"{_place(item['loc'])} is {item['input']!r}, expected {expected}"


def _break_complaint(item: dict[str, Any]) -> str | None:
    """Say what is wrong with the form of a scale break or its link; None for a wrong value like any other."""
    kind, loc = item["type"], item["loc"]
    if kind == "value_error" and isinstance(error := item["ctx"]["error"], ValibError):
        sentence = str(error).removesuffix(".")
        return f"{_place(loc)} is {item['input']!r}: {sentence[0].lower()}{sentence[1:]}"
    if kind == "unexpected_keyword_argument":
        names = ScaleBreak.__dataclass_fields__ if len(loc) == 3 else Link.__dataclass_fields__
        return f"{_place(loc[:-1])} has no {loc[-1]} (it has {', '.join(names)})"
    if kind == "missing":
        return f"{_place(loc[:-1])} lacks its {loc[-1]}"
    if kind == "dataclass_type":
        form = "{cohort: 2023, column: score, link: null}" if len(loc) == 2 else "{slope: 1.0, intercept: 0.0}"
        return f"{_place(loc)} is {item['input']!r}, expected a mapping such as {form}"
    return None


def _place(loc: tuple[str | int, ...]) -> str:
    """A parameter, or a part of it: scale_breaks[0].link."""
    return str(loc[0]) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc[1:])
