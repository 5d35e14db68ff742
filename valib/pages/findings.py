"""What a part of a chapter has found, before a page shows it: values for the prose, tables, sentences, figures, files.

The functions of :mod:`valib.pages.chapters` return it, so that a test reads the numbers of a chapter without rendering
one; :func:`valib.pages.notebook.show` and :func:`~valib.pages.notebook.keep` bring it to the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from ..records.precision import is_error
from .prose import AS_ERROR, as_text

ERROR_COLUMN = re.compile(r"\bSE\b|[Ss]tandard error\b")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table with its caption and label, as :func:`valib.pages.notebook.table` shows it."""

    frame: pd.DataFrame
    caption: str
    name: str
    formats: Mapping[str, str] | str | None = None
    index: bool = True
    raw: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Values by key as they stand in the prose; tables and sentences in the order of the page; figures; files by name.

    What adds to it returns it, so that a function that finds one thing is one expression.
    """

    values: dict[str, str] = field(default_factory=dict)
    shown: list[Table | str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    files: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by their label."""
        return {part.name: part.frame for part in self.shown if isinstance(part, Table)}

    @property
    def sentences(self) -> list[str]:
        """The sentences that hold for these records, in order."""
        return [part for part in self.shown if isinstance(part, str)]

    def record(self, key: str, value: Any, spec: str | None = None) -> Findings:
        """Keep a value for the prose as :func:`valib.pages.prose.as_text` writes it, an error as one is published."""
        self.values[key] = as_text(value, as_error(spec) if is_error(key) else spec)
        return self

    def record_all(self, *items: tuple[str, Any, str | None]) -> Findings:
        """Keep several values: (key, value, format) each."""
        for key, value, spec in items:
            self.record(key, value, spec)
        return self

    def table(self, frame: pd.DataFrame, caption: str, name: str, **options: Any) -> Findings:
        """Add a table, its errors as they are published; options as those of :func:`valib.pages.notebook.table`."""
        given = options.pop("formats", None)
        errors = [c for c in frame.columns if ERROR_COLUMN.search(str(c))]
        if errors and given is not None:
            by_column = dict.fromkeys(frame.select_dtypes("float"), given) if isinstance(given, str) else given
            given = {**by_column, **{c: as_error(by_column[c]) for c in errors if c in by_column}}
        self.shown.append(Table(frame, caption, name, given, **options))
        return self

    def say(self, text: str, when: Any = True) -> Findings:
        """Add a sentence (MyST), if its condition holds."""
        if when:
            self.shown.append(text)
        return self

    def figure(self, key: str, fig: Any) -> Findings:
        """Add a figure of :mod:`valib.pages.figures`."""
        self.figures[key] = fig
        return self

    def save(self, frame: pd.DataFrame, name: str, when: Any = True) -> Findings:
        """Add a table that is saved beside the pages, if its condition holds."""
        if when:
            self.files[name] = frame
        return self


class Formats(NamedTuple):
    """Formats of score points: plain, with sign, and with a digit more, for errors (no more digits of these than are
    published) and for small differences, with sign."""

    plain: str
    signed: str
    fine: str
    fine_signed: str


def formats(*sds: float) -> Formats:
    """Formats with as many digits as scores of these standard deviations (score points) bear."""
    from .figures.style import digits_for  # it loads matplotlib, which a book's own process does without

    digits = digits_for(sds)
    return Formats(f".{digits}f", f"+.{digits}f", f".{digits + 1}f{AS_ERROR}", f"+.{digits + 1}f")


def as_error(spec: str | None) -> str | None:
    """The format with no more digits than an error is published to; one that is not of decimals as it is."""
    return spec + AS_ERROR if spec and spec.endswith("f") else spec


def check(condition: Any, message: str) -> None:
    """A claim that the prose makes in words: stop the book if it does not hold."""
    if not bool(condition):
        raise AssertionError(f"A claim of the text does not hold: {message}")
