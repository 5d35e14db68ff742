"""A params file as text: read strictly, and what is wrong with it told in one sentence with its lines."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from ..errors import ParamsError, ValibError
from ..sums.equating import Link, ScaleBreak

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
    text = text_of(file)
    try:
        plain_yaml(text, file)
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


def text_of(file: Path) -> str:
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


def plain_yaml(text: str, file: Path) -> None:
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
