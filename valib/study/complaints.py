"""What is wrong with the values of a study, in one sentence that names the file, its lines and the parameter."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import ValibError
from ..sums.equating import Link, ScaleBreak
from .plain_yaml import quoted, shown

MOST = 5  # faults that are told
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


def _complaint(item: dict[str, Any], known: Iterable[str]) -> str:
    """Say what is wrong with one parameter."""
    kind, value, loc = item["type"], item["input"], item["loc"]
    if not loc:
        return str(item["ctx"]["error"])
    if kind == "extra_forbidden":
        return f"there is no parameter {quoted(str(loc[0]))} (the parameters are {', '.join(known)})"
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
        return f"{_parameter(loc[:-1])} has no {quoted(str(loc[-1]))} (it has {', '.join(names)})"
    if kind == "missing":
        return f"{_parameter(loc[:-1])} lacks its {loc[-1]}"
    if kind == "dataclass_type":
        form = "{cohort: 2023, column: score, link: null}" if len(loc) == 2 else "{slope: 1.0, intercept: 0.0}"
        return f"{_parameter(loc)} is {shown(item['input'])}, expected a mapping such as {form}"
    return None


def _parameter(loc: tuple[str | int, ...]) -> str:
    """A parameter, or a part of it: scale_breaks[0].link."""
    first, *rest = loc
    return str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{quoted(str(part))}" for part in rest)
