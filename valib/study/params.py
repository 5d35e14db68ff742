"""The study's parameters: their defaults, their validation, and params.yml."""

from __future__ import annotations

import ast
import os
import re
import reprlib
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import ModelError, ParamsError, RecordsError, ValibError
from ..names import listed_cohorts
from ..records.coverage import MIN_LINKED_SHARE
from ..records.datasets import bundle_root
from ..records.pseudonyms import replace_schools
from ..records.reshape import columns_by_cohort
from ..records.sources import anchor_url, data_name, is_query, is_url
from ..sums.equating import Link, ScaleBreak
from .mapping import Columns
from .questions import refuse_questions

LARGEST = 1_000_000  # bytes; a params file has a page or two
MOST = 5  # faults that are told
DEEPEST = 20  # lists and mappings inside each other
YES_NO = " (YAML reads yes, no, on and off as true or false: put text in quotes)"
EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text (put it in quotes), which papermill takes by -r",
    "bool_type": "true or false",
    "list_type": "a list such as [one, another]",
    "dict_type": "a mapping such as {school: SchoolCode}",
    "too_short": "one cohort or more",
    "string_too_short": "some text",
}
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxlong = _brief.maxother = 80
_brief.maxlist = _brief.maxdict = 8
_brief.maxlevel = 3


def read_params(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the values of a params file and the line on which each key stands.

    Only plain YAML is read: no tags, which could name Python objects, and no aliases, with which a few lines can stand
    for billions. Raises ParamsError that names the file and the line.
    """
    text = _text(file)
    try:
        _plain_yaml(text, file)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ParamsError(
            f"{file}, line {line}: this is not YAML: it holds the control character U+{error.character:04X}."
        ) from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{_place(file, error)}: this is not YAML: {getattr(error, 'problem', error)}.") from None
    if tree is None or (isinstance(tree, yaml.ScalarNode) and tree.tag == "tag:yaml.org,2002:null"):
        return {}, {}
    if not isinstance(tree, yaml.MappingNode):
        found = "list" if isinstance(tree, yaml.SequenceNode) else "text"
        raise ParamsError(
            f"{file}, line {tree.start_mark.line + 1}: expected one 'name: value' a line, found a {found}."
        )
    _no_key_twice(tree, file)
    values = {key.value: _value(key, node, file) for key, node in tree.value}
    return values, {key.value: key.start_mark.line + 1 for key, _ in tree.value}


def sentence(errors: Iterable[dict[str, Any]], file: Path, lines: dict[str, int], known: Iterable[str]) -> str:
    """Turn pydantic's account into one sentence: file, line, key, what was given, what was expected.

    lines: of the keys that stand in the file; what else is wrong was given otherwise, and the file is not blamed.
    """
    ours, theirs = [], []
    for item in errors:
        keys = [str(item["loc"][0])] if item["loc"] else ["baseline_cohorts", "focal_cohorts"]
        line = max(lines.get(key, 0) for key in keys)
        (theirs if line else ours).append((line, _complaint(item, known)))
    told = [f"line {line}: {text}" for line, text in sorted(theirs)]
    told = told[:MOST] + [f"and {len(told) - MOST:,} more like these"] * (len(told) > MOST)
    return "; ".join([text for _, text in ours] + ([f"{file}, {'; '.join(told)}"] if told else [])) + "."


def _text(file: Path) -> str:
    """Read the file, unless it is too large or not text."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise ParamsError(f"The params file {file} is larger than {LARGEST:,} bytes: perhaps it is the data.")
        return raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise ParamsError(f"There is no params file {file}.") from None
    except OSError as error:
        raise ParamsError(f"The params file {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ParamsError(f"The params file {file} cannot be read: it is not UTF-8 text (line {line}).") from None


def _plain_yaml(text: str, file: Path) -> None:
    """Refuse aliases, tags and deep nesting before anything is built of them."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise ParamsError(
                f"{file}, line {line}: *{_brief.repr(event.anchor)[1:-1]} stands for a value elsewhere: "
                "write the value itself."
            )
        if getattr(event, "tag", None) is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise ParamsError(
                f"{file}, line {line}: the tag {_brief.repr(tag)} is not read here: write the value alone."
            )
        if isinstance(event, yaml.ScalarEvent) and "\0" in event.value:
            raise ParamsError(f"{file}, line {line}: a value holds the character NUL.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ParamsError(f"{file}, line {line}: more than {DEEPEST} brackets or levels inside each other.")


def _no_key_twice(node: yaml.Node, file: Path) -> None:
    """Refuse a name that stands twice in one mapping: YAML would keep the last in silence."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ParamsError(f"{file}, line {line}: expected 'name: value', found a name that is no text.")
            if key.value in seen:
                raise ParamsError(f"{file}, line {line}: {_name(key.value)} is given a second time.")
            seen.add(key.value)
            _no_key_twice(value, file)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _no_key_twice(value, file)


def _value(key: yaml.Node, node: yaml.Node, file: Path) -> Any:
    """Return the value of a node; ParamsError for what looks like a number or a date and cannot be one."""
    try:
        return yaml.SafeLoader("").construct_document(node)
    except (ValueError, OverflowError, TypeError, yaml.YAMLError):
        raise ParamsError(
            f"{file}, line {node.start_mark.line + 1}: {_name(key.value)} holds what looks like a number "
            "or a date and cannot be one: put text in quotes."
        ) from None


def _place(file: Path, error: yaml.YAMLError) -> str:
    """The file, and the line of a YAML error."""
    mark = getattr(error, "problem_mark", None)
    return f"{file}, line {mark.line + 1}" if mark else str(file)


def _complaint(item: dict[str, Any], known: Iterable[str]) -> str:
    """Say what is wrong with one parameter."""
    kind, value, loc = item["type"], item["input"], item["loc"]
    if not loc:
        return str(item["ctx"]["error"])
    if kind == "extra_forbidden":
        return f"there is no parameter {_name(str(loc[0]))} (the parameters are {', '.join(known)})"
    if loc[0] == "scale_breaks" and (told := _break_complaint(item)):
        return told
    if kind == "value_error":
        expected = str(item["ctx"]["error"])
    elif kind in EXPECTED:
        expected = EXPECTED[kind]
    else:
        expected = item["msg"].removeprefix("Input should be ")
        expected = f"a number {expected}" if expected.startswith(("less", "greater")) else expected
    return f"{_parameter(loc)} is {shown(value)}, expected {expected}" + (YES_NO if isinstance(value, bool) else "")


def _break_complaint(item: dict[str, Any]) -> str | None:
    """Say what is wrong with the form of a scale break or its link; None for a wrong value like any other."""
    kind, loc = item["type"], item["loc"]
    if kind == "value_error" and isinstance(error := item["ctx"]["error"], ValibError):
        told = str(error).removesuffix(".")
        return f"{_parameter(loc)} is {shown(item['input'])}: {told[0].lower()}{told[1:]}"
    if kind == "unexpected_keyword_argument":
        names = ScaleBreak.__dataclass_fields__ if len(loc) == 3 else Link.__dataclass_fields__
        return f"{_parameter(loc[:-1])} has no {_name(str(loc[-1]))} (it has {', '.join(names)})"
    if kind == "missing":
        return f"{_parameter(loc[:-1])} lacks its {loc[-1]}"
    if kind == "dataclass_type":
        form = "{cohort: 2023, column: score, link: null}" if len(loc) == 2 else "{slope: 1.0, intercept: 0.0}"
        return f"{_parameter(loc)} is {shown(item['input'])}, expected a mapping such as {form}"
    return None


def shown(value: Any) -> str:
    """A value in a few words, on one line."""
    if value is None:
        return "empty"
    if isinstance(value, date):
        return f"the date {value}"
    try:
        return _brief.repr(value)
    except ValueError:  # a whole number of more digits than Python writes out
        return "a number of thousands of digits"


def _name(text: str) -> str:
    """A name as it stands, or in quotes and shortened if it is none."""
    return text if text.isidentifier() and len(text) <= 60 else _brief.repr(text)


def _parameter(loc: tuple[str | int, ...]) -> str:
    """A parameter, or a part of it: scale_breaks[0].link."""
    first, *rest = loc
    return str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{_name(str(part))}" for part in rest)


if TYPE_CHECKING:
    import pandas as pd

FILE_NAME = "params.yml"


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


def understood(name: str, value: Any) -> Any:
    """A parameter's value as it is meant, from wherever it comes: params file, command line, papermill or a cell.

    Text stands for what it spells: ``"2024"``, ``"[2024]"``, ``"2019, 2024"`` for cohorts, ``"0.9"`` for a number,
    ``"null"`` or ``"None"`` for none, a list or mapping in YAML, JSON or Python. One entry stands for a list of one, a
    tuple for a list. What cannot be read surely is returned as it is, for the validation to refuse.
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
        value = _spelt(value.strip(), kind, get_args(annotation)) if kind in (int, float, list, dict) else value
    if kind is list and isinstance(value, (int, float, str, dict)) and not isinstance(value, bool):
        value = [value]
    if kind is list and isinstance(value, (tuple, range, list)) and int in get_args(field.annotation):
        return [int(e) if isinstance(e, str) and WHOLE.fullmatch(e.strip()) else e for e in value]
    return list(value) if kind is list and isinstance(value, tuple) else value


def _spelt(text: str, kind: type, parts: tuple[Any, ...]) -> Any:
    """The number, list or mapping that a text spells; the text itself if it spells none."""
    if kind in (int, float):
        return kind(text) if (WHOLE if kind is int else NUMBER).fullmatch(text) else text
    if int in parts:  # read by hand: YAML takes 010 for eight
        inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        entries = [entry.strip().strip("'\"") for entry in inner.split(",")] if inner.strip() else []
        return [int(e) for e in entries] if all(WHOLE.fullmatch(e) for e in entries) else text
    if not text.startswith("{" if kind is dict else ("[", "{")):
        return text
    for read in (ast.literal_eval, _yaml_value):
        try:
            found = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, ParamsError, yaml.YAMLError):
            continue
        if isinstance(found, (list, dict)):
            return found
    return text


def _yaml_value(text: str) -> Any:
    """A value in plain YAML."""
    _plain_yaml(text, Path("the value"))
    return yaml.load(text, Loader=yaml.SafeLoader)


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


WhereText = Annotated[str, AfterValidator(_where)]
PriorMapping = Annotated[dict[str, Any], AfterValidator(_prior)]
FormulaText = Annotated[str, AfterValidator(_formula)]
Cohorts = Annotated[list[int], AfterValidator(_distinct)]
DEMO = "demo"


class Params(BaseModel):
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
    min_students: int = Field(5, ge=1, description="Smallest school shown (students in a cohort)")
    min_linked_share: float = Field(0.5, ge=0, le=1, description="Least share of tested students linked")
    fdr: float | None = Field(None, gt=0, lt=1, description="False discovery rate of sides; empty: not controlled")
    school: str | None = Field(None, description="School followed through the recipes")
    pseudonym_key: str | None = Field(None, min_length=1, description="Key file of the schools' pseudonyms")
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
        """Raise ParamsError for a formula whose outcome is not in score points, the unit of the book and the reports."""
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
        given["data"] = _anchor(given["data"], Path.cwd())
        for key in ("table", "where", "prior"):  # they belong to the file's data
            values.pop(key, None)
        if values.get("data", None) == DEMO and given["data"] != DEMO:  # its cohorts are those of its data
            values = {k: v for k, v in values.items() if k not in ("baseline_cohorts", "focal_cohorts")}
    if "data" in values:
        values["data"] = _anchor(values["data"], file.parent)
    for some, folder in ((given, Path.cwd()), (values, file.parent)):
        if isinstance(some.get("pseudonym_key"), str) and some["pseudonym_key"]:
            some["pseudonym_key"] = str((folder / os.path.expanduser(some["pseudonym_key"])).resolve())
        if isinstance(some.get("prior"), dict) and "file" in some["prior"]:
            some["prior"] = {**some["prior"], "file": _anchor(some["prior"]["file"], folder)}
    refuse_questions({**values, **given}, file, _text(file))
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
