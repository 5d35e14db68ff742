"""Reading a params file: plain YAML only, and the words for a value that is refused."""

from __future__ import annotations

import re
import reprlib
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from ..errors import ParamsError

QUESTION = "?"  # what `valib init` leaves for a value, with the question in the comment behind it
_ASKED = re.compile(r"^\s*['\"]?([^:#]+?)['\"]?\s*:\s*['\"]\?['\"]\s*#\s*(.+?)\s*$")

LARGEST = 1_000_000  # bytes; a params file has a page or two
DEEPEST = 20  # lists and mappings inside each other
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxlong = _brief.maxother = 80
_brief.maxlist = _brief.maxdict = 8
_brief.maxlevel = 3


def read_params(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the values of a params file and the line on which each key stands.

    Only plain YAML is read: no tags, which could name Python objects, and no aliases, with which a few lines can stand
    for billions. Raises ParamsError that names the file and the line.
    """
    text = file_text(file)
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


def file_text(file: Path) -> str:
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
                raise ParamsError(f"{file}, line {line}: {quoted(key.value)} is given a second time.")
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
            f"{file}, line {node.start_mark.line + 1}: {quoted(key.value)} holds what looks like a number "
            "or a date and cannot be one: put text in quotes."
        ) from None


def _place(file: Path, error: yaml.YAMLError) -> str:
    """The file, and the line of a YAML error."""
    mark = getattr(error, "problem_mark", None)
    return f"{file}, line {mark.line + 1}" if mark else str(file)


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


def quoted(text: str) -> str:
    """A name as it stands, or in quotes and shortened if it is none."""
    return text if text.isidentifier() and len(text) <= 60 else _brief.repr(text)


def yaml_value(text: str) -> Any:
    """A value in plain YAML."""
    _plain_yaml(text, Path("the value"))
    return yaml.load(text, Loader=yaml.SafeLoader)


def refuse_questions(values: dict[str, Any], file: Path, text: str) -> None:
    """Raise ParamsError, in its own words, for every value that is still a question mark; text: what the file holds."""
    columns = values.get("columns")
    inner = columns.items() if isinstance(columns, dict) else ()
    open_ones = [name for name, value in (*values.items(), *inner) if value == QUESTION]
    if not open_ones:
        return
    told = []
    for number, line in enumerate(text.splitlines(), start=1):
        if (found := _ASKED.match(line)) and found[1] in open_ones:
            told.append(f"line {number}: {found[1]} is not answered: {found[2].removesuffix('.')}")
    told = told or [f"{name} is not answered" for name in open_ones]
    asked = "; ".join(told)
    end = "" if asked.endswith("?") else "."
    raise ParamsError(f"{file}, {asked}{end} Write the answer in place of the question mark.")
