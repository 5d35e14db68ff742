"""SQL as the engines write it: values in quotes, and the few functions that differ between DuckDB and Spark.

Columns are renamed by position (c0, c1, ...) before any SQL names them, so that no column's name is ever part of it;
levels are the only text of the data that is, as escaped literals.
"""

from __future__ import annotations

from ...records.sources import MISSING

LARGEST = 1.7976931348623157e308
SPACES = "".join(c for c in map(chr, range(0x3001)) if c.isspace())  # what str.strip() strips


class DuckSql:
    """The SQL of DuckDB."""

    def text(self, value: str) -> str:
        """A text literal."""
        return "'" + value.replace("'", "''") + "'"

    def number(self, value: float) -> str:
        """A double literal, exact to the last digit."""
        return f"CAST('{float(value)!r}' AS DOUBLE)"

    def trimmed(self, x: str) -> str:
        """Text without the white space around it."""
        return f"trim({x}, {self.text(SPACES)})"

    def is_number_text(self, x: str) -> str:
        """Whether text has none of the spellings that this engine casts to a number and pandas does not."""
        return f"NOT contains({x}, '_')"

    def read_number(self, x: str, decimal: str) -> str:
        """Text as a double; NULL where it is none."""
        plain = f"replace({x}, ',', '.')" if decimal == "," else x
        doubtful = f" AND NOT contains({x}, '.')" if decimal == "," else ""
        return f"CASE WHEN {self.is_number_text(x)}{doubtful} THEN TRY_CAST({plain} AS DOUBLE) END"

    def listed(self, x: str, words: tuple[str, ...] = MISSING) -> str:
        """Whether text is one of some words."""
        return f"{x} IN ({', '.join(map(self.text, words))})"

    def marked(self, x: str) -> str:
        """Whether text has a mark that may be a decimal one."""
        return f"(contains({x}, '.') OR contains({x}, ','))"

    def matches(self, x: str, pattern: str) -> str:
        """Whether all of a text fits a regular expression."""
        return f"regexp_full_match({x}, {self.text(pattern)})"

    def finite(self, x: str) -> str:
        """Whether a double is there and finite; NULL or false otherwise."""
        return f"{x} BETWEEN {self.number(-LARGEST)} AND {self.number(LARGEST)}"

    def infinite(self, x: str) -> str:
        """Whether a double is infinite."""
        return f"(NOT isnan({x}) AND ({x} > {self.number(LARGEST)} OR {x} < {self.number(-LARGEST)}))"


class SparkSql(DuckSql):
    """The SQL of Spark."""

    def text(self, value: str) -> str:
        """A text literal: everything but letters, digits and spaces as an escape, so that nothing is substituted."""
        return "'" + "".join(c if c.isascii() and (c.isalnum() or c == " ") else _escaped(c) for c in value) + "'"

    def trimmed(self, x: str) -> str:
        """Text without the white space around it."""
        return f"trim(BOTH {self.text(SPACES)} FROM {x})"

    def matches(self, x: str, pattern: str) -> str:
        """Whether all of a text fits a regular expression."""
        return f"({x} RLIKE {self.text(f'^(?:{pattern})$')})"

    def is_number_text(self, x: str) -> str:
        """Whether text has none of the spellings that this engine casts to a number and pandas does not."""
        return f"NOT ({x} RLIKE '[_dDfFxX]' AND NOT lower({x}) RLIKE 'inf')"


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
