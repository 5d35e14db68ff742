"""What a column's name and values say about it, before anybody has said what it is."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import pandas as pd
import yaml

from ...records.sources import as_numbers, can_be_codes
from ...records.years import starts_of

CALENDAR = (1900, 2100)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column of the source.

    Attributes
    ----------
    name : as the source has it.
    words : its name in small letters without accents, taken apart: "Y5Reading" -> ("y", "5", "reading").
    numbers : float64, NaN where missing; None if a value is no number.
    keys : an integer for each distinct value, -1 where missing.
    distinct : distinct values. missing : share of rows without a value.
    odd : values that are text, where most are numbers; else 0.
    whole : all numbers are whole. code : all values can be codes: text, or numbers that are exact.
    """

    name: object
    words: tuple[str, ...]
    numbers: np.ndarray | None
    keys: np.ndarray
    distinct: int
    missing: float
    odd: int
    whole: bool
    code: bool

    def has(self, *hints: str) -> bool:
        """Whether a word of the name is one of the hints, or begins or ends with one that is long enough."""
        return any(
            word == hint or (len(hint) >= 5 and word.startswith(hint)) or (len(hint) >= 4 and word.endswith(hint))
            for word in self.words
            for hint in hints
        )


def describe(name: object, column: pd.Series) -> Column:
    """Look at one column."""
    numbers, bad = as_numbers(column)
    starts = starts_of(column) if bad.all() else None
    if starts is not None and not (starts < 0).any():  # school years, by the year in which they end
        numbers, bad = starts + 1, np.zeros(len(starts), dtype=bool)
    try:
        keys, levels = pd.factorize(column)
    except TypeError:  # lists and the like, which cannot be told apart by a hash
        keys, levels = pd.factorize(column.where(column.isna(), column.astype(str)))
    missing = np.isnan(numbers) if not bad.any() else keys < 0
    numeric = not bad.any() and not missing.all()
    told = numbers[~missing] if numeric else np.empty(0)
    return Column(
        name=name,
        words=words(str(name)),
        numbers=numbers if numeric else None,
        keys=keys,
        distinct=len(levels),
        missing=float(missing.mean()) if len(column) else 1.0,
        odd=int(bad.sum()) if 2 * bad.sum() < (~np.isnan(numbers)).sum() else 0,
        whole=bool(numeric and np.isfinite(told).all() and (told == np.floor(told)).all()),
        code=bool(can_be_codes(column).all()) and not (numeric and (told != np.floor(told)).any()),
    )


def words(name: str) -> tuple[str, ...]:
    """A name taken apart where letters, digits, capitals and marks meet; small letters without accents."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return tuple(part.lower() for part in _WORD.findall(bare))


def same_but_for_a_number(a: Column, b: Column) -> tuple[int, int] | None:
    """The numbers in which two names differ, if they differ in one number alone: Y5Reading and Y3Reading, 5 and 3."""
    if len(a.words) != len(b.words):
        return None
    pairs = [(x, y) for x, y in zip(a.words, b.words, strict=True) if x != y]
    if len(pairs) == 1 and pairs[0][0].isdecimal() and pairs[0][1].isdecimal():
        return int(pairs[0][0]), int(pairs[0][1])
    return None


def correlation(a: Column, b: Column) -> float:
    """The correlation of two columns of numbers over the rows that have both; 0 if there is none."""
    both = np.isfinite(a.numbers) & np.isfinite(b.numbers)
    x, y = a.numbers[both], b.numbers[both]
    if len(x) < 10 or x.min() == x.max() or y.min() == y.max():
        return 0.0
    value = float(np.corrcoef(x / np.abs(x).max(), y / np.abs(y).max())[0, 1])
    return value if np.isfinite(value) else 0.0


def varies_within(column: Column, groups: Column) -> float:
    """The share of groups of two rows or more in which a column takes more than one value."""
    table = pd.DataFrame({"group": groups.keys, "value": column.keys})
    by_group = table[(table["group"] >= 0) & (table["value"] >= 0)].groupby("group")["value"]
    several = by_group.nunique()[by_group.size() > 1]
    return float((several > 1).mean()) if len(several) else 1.0


def distinct_within(column: Column, groups: np.ndarray) -> float:
    """Distinct values of a column, counted group by group, for each row that has a value."""
    told = column.keys >= 0
    if not told.any():
        return 0.0
    table = pd.DataFrame({"group": groups[told], "value": column.keys[told]})
    return len(table.drop_duplicates()) / len(table)


def scalar(value: object) -> str:
    """One value, or a list or mapping of them, as YAML on one line; what is not plain text is in quotes and escaped."""

    def dump(**style) -> str:
        text = yaml.safe_dump(
            value, width=float("inf"), allow_unicode=True, default_flow_style=True, sort_keys=False, **style
        )
        return text.removesuffix("\n").removesuffix("\n...")

    text = dump()
    return text if len(text.splitlines()) == 1 else dump(default_style='"')
