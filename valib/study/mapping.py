"""The ``columns`` of a params file: names of columns, and of cohorts which year of a school year is meant."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer, WrapValidator

from ..records.years import split_columns


def _checked(columns: dict[str, Any]) -> dict[str, Any]:
    split_columns(columns)
    return columns


_Name = Annotated[
    str,
    WrapValidator(lambda given, name: given if isinstance(given, dict) else name(given)),
    PlainSerializer(lambda given: given),
]
Columns = Annotated[dict[str, _Name], AfterValidator(_checked)]
