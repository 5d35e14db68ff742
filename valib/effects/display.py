"""How a fit shows itself: a table of some twelve lines in print, the same as HTML in a notebook, one line as ``repr``.

Nothing of a single school or student stands in any of them.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..names import readable
from .findings import Finding

WIDTH = 78
LONGEST = 200  # characters of a formula or name
MOST_TERMS = 12  # coefficients shown,
MOST_COLUMNS = 4  # and those, and correlations, beside each other


@dataclass(frozen=True, slots=True)
class Table:
    """What a fit shows: title, facts (label, value), one row a quantity (its name first) under heads, and notes."""

    title: str
    facts: Sequence[tuple[str, str]]
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """Facts in two columns, the rows flush right, notes wrapped."""
        rows = [list(map(str, row)) for row in (self.heads, *self.rows)]
        sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(sizes[0]), *map(str.rjust, row[1:], sizes[1:])]) for row in rows]
        facts = [f"{label}: {value}" for label, value in self.facts]
        half = WIDTH // 2
        long, short = ([f for f in facts if (len(f) > half - 2) == is_long] for is_long in (True, False))
        pairs = zip(short[::2], [*short[1::2], ""], strict=False)
        facts = [*long, *(left.ljust(half) + right for left, right in pairs)]
        width = max(WIDTH, *map(len, lines))
        notes = [line for note in self.notes for line in textwrap.wrap(note, width, subsequent_indent="  ")]
        parts = [self.title, "=" * width, *facts, "-" * width, *lines, "-" * width, *notes]
        return "\n".join(line.rstrip() for line in parts)

    def html(self) -> str:
        """The same as one table and paragraphs, every text escaped."""
        told, escaped = [], html.escape
        for label, value in self.facts:
            told.append(f"<b>{escaped(label)}</b> {escaped(value)}")
        head = "".join(f"<th>{escaped(h)}</th>" for h in self.heads)
        body = "".join(
            f"<tr><th>{escaped(row[0])}</th>{''.join(f'<td>{escaped(v)}</td>' for v in row[1:])}</tr>"
            for row in self.rows
        )
        notes = "".join(f"<p>{escaped(note)}</p>" for note in self.notes)
        return (
            f"<div><p><b>{escaped(self.title)}</b></p><p>{'<br>'.join(told)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}</div>"
        )


class Shown:
    """A fit that shows itself through its ``_table`` and, in one line, its ``_line``."""

    __slots__ = ()

    def _table(self) -> Table:
        raise NotImplementedError

    def _line(self) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        return self._table().text()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._line()}>"

    def _repr_html_(self) -> str:
        return self._table().html()


def one_line(text: str) -> str:
    """A formula or name on one line, of a length that can be read."""
    return readable(text, LONGEST)


def estimate(name: str, value: float, se: float | None = None) -> list[str]:
    """A row of name, estimate and standard error, both to three digits of the error; no error: a blank."""
    if se is None or not np.isfinite(se) or se <= 0:
        return [one_line(name), f"{value:.4f}", ""]
    places = int(np.clip(2 - np.floor(np.log10(se)), 0, 10))
    return [one_line(name), f"{value:.{places}f}", f"{se:.{places}f}"]


def standard_deviation(name: str, variance: float, variance_se: float | None = None) -> list[str]:
    """The row of a standard deviation; its error by the delta method, Var(s) = Var(s^2) / (4 s^2)."""
    sd = float(np.sqrt(variance))
    return estimate(name, sd, variance_se / (2 * sd) if variance_se is not None and sd > 0 else None)


def coefficient_rows(values: Iterable[tuple[str, float, float]]) -> list[list[str]]:
    """A row a coefficient (name, value, standard error); of many the first, and how many more there are."""
    rows = [estimate(*value) for value in values]
    more = len(rows) - MOST_TERMS
    return rows if more <= 0 else [*rows[:MOST_TERMS], [f"and {more} more", "", ""]]


def interval_text(value: float, se: float, limits: tuple[float, float], level: float) -> str:
    """An estimate with its error and interval, in words."""
    lower, upper = limits
    return f"{value:.2f} (std. error {se:.2f}; {100 * level:g}% interval {lower:.2f} to {upper:.2f})"


def joint_rows(
    cohorts: Sequence[int],
    coefficients: pd.Series,
    errors: pd.Series,
    tau2: pd.Series,
    sigma2: pd.Series,
    correlation: pd.DataFrame,
) -> tuple[list[str], list[list[str]]]:
    """Heads and one row a cohort: coefficients with errors in brackets, both SDs, correlations with earlier cohorts.

    coefficients, errors: by cohort and term. Of many terms the first, of many cohorts no correlations.
    """
    terms = list(dict.fromkeys(coefficients.index.get_level_values(1)))
    shown, earlier = terms[:MOST_COLUMNS], list(cohorts[:-1]) if len(cohorts) <= MOST_COLUMNS else []
    more = [f"and {len(terms) - len(shown)} more"] if len(terms) > len(shown) else []
    heads = ["cohort", *map(one_line, shown), *more, "SD schools", "SD residuals", *(f"r {c}" for c in earlier)]
    rows: list[list[str]] = []
    for cohort in cohorts:
        own = [
            estimate("", coefficients[cohort, t], errors[cohort, t])[1:] if (cohort, t) in errors else None
            for t in shown
        ]
        rows.append(
            [
                str(cohort),
                *("" if pair is None else f"{pair[0]} ({pair[1]})" for pair in own),
                *([""] if more else []),
                f"{np.sqrt(tau2[cohort]):.2f}",
                f"{np.sqrt(sigma2[cohort]):.2f}",
                *(f"{correlation[c][cohort]:.2f}" if c < cohort else "" for c in earlier),
            ]
        )
    return heads, rows


def found(findings: Sequence[Finding]) -> list[str]:
    """What would mislead, a note each."""
    return [f"Note: {sentence(item.published)}" for item in findings] or ["Findings: none"]


def sentence(text: str) -> str:
    """A sentence without line ends or other signs that cannot be seen."""
    return readable(text, 2000)
