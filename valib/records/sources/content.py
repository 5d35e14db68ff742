"""What a column of text holds: numbers, some of them written wrongly, or categories. One judge for every source.

Records in memory and streams ask :func:`numbers_meant`, so that a file means the same to both. The rule, of the values
that are there (:func:`classify` says what each of them is):

* whole numbers with leading zeros, such as 01, are codes: the zeros stay, and they count as no numbers but in the last
  but one of these rules, which does not hold for a column of nothing but whole numbers that its source calls text;
* in a text file, or where numbers and text are mixed, a column is numeric if nearly all (:data:`NEARLY`) of its values
  are numbers, those with a foreign sign among them: 45%, 1 234, a minus of Unicode. Marks such as "-" or "?" count
  neither for it nor against it;
* any column is numeric if numbers are half of its values and more of them differ than categories do (:data:`FEW`);
* everything else is a category.

Where numbers are meant, the values that are none are named by their rows and nothing is computed; ``C(column)`` in a
formula takes any column as a category.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import numpy as np
import pandas as pd

from .source import MISSING, are_bare

ODD = "odd_values"  # the attribute with what is wrong in columns of text that are meant to hold numbers
NEARLY = 0.9  # share of a numeric column's values that are numbers, at least
FEW = 10  # more different numbers than this are no categories
# Both patterns are read alike by Python, RE2 (DuckDB) and Java (Spark).
NUMBER = r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?"
PADDED = r"0[0-9]+"
_LETTER = re.compile("[A-DF-Za-df-z]")  # in no number
_FOREIGN = re.compile(r"[\s%‰€$£¥'*<>≤≥~≈()\u066a\u066b\u066c_]")
_MINUS = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")


def classify(text: str) -> str:
    """What a value is, without the white space around it.

    "number": as a program writes it; "padded": a whole number with a leading zero; "foreign": a number with a sign that
    programs do not write (45%, 1 234, −5, <5); "mark": no letter and no digit; "word": anything else.
    """
    if _LETTER.search(text):
        return "word"
    if re.fullmatch(PADDED, text):
        return "padded"
    if re.fullmatch(NUMBER, text):
        return "number"
    plain = unicodedata.normalize("NFKC", _MINUS.sub("-", text))
    if not any(character.isalnum() for character in plain):
        return "mark"
    digits = "".join(str(unicodedata.decimal(c, c)) for c in plain)
    bare = _FOREIGN.sub("", digits).rstrip("+-")
    return "foreign" if re.fullmatch(rf"({NUMBER}|[+-]?[0-9]{{1,3}}([.,][0-9]{{3}})+([.,][0-9]+)?)", bare) else "word"


def numbers_meant(different: int, rows: int, padded: Mapping[str, int], others: Mapping[str, int], typed: bool) -> bool:
    """Whether a column of text is meant to hold numbers.

    different, rows: its different texts that are numbers, and their rows; padded, others: its other texts, with leading
    zeros or not numbers at all, each with its rows. typed: whether its source keeps types and calls it text, as Parquet
    does and a CSV file cannot.
    """
    kinds = {text: classify(text) for text in others}
    foreign = [text for text, kind in kinds.items() if kind == "foreign"]
    words = sum(n for text, n in others.items() if kinds[text] == "word")
    numbers = rows + sum(others[text] for text in foreign)
    zeros = sum(padded.values())
    filled = numbers + zeros + words
    if typed and padded and not others:
        return False
    if not typed and numbers and numbers >= NEARLY * filled:
        return True
    return 2 * (numbers + zeros) >= filled and different + len(foreign) + len(padded) > FEW


def odd_values(column: pd.Series, typed: bool) -> np.ndarray | None:
    """Positions of the values that are no numbers in a column that is meant to hold some; None for a category.

    column: text, or numbers and text mixed; a number is one. typed: as for :func:`numbers_meant`. Empty where all are
    numbers that only their type calls text.
    """
    column = as_text(column)
    if {"number", "padded", "foreign"}.isdisjoint(classify(text.strip()) for text in column.dropna().unique()):
        return None
    codes, texts = pd.factorize(column.str.strip())
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    kinds = np.array(["missing" if text in MISSING else classify(text) for text in texts])
    number, padded = kinds == "number", kinds == "padded"
    other = ~number & ~padded & (kinds != "missing")
    marks = {"," if "," in text else "." for text in texts[number] if "," in text or "." in text}
    by = [dict(zip(texts[some], counts[some].tolist(), strict=True)) for some in (padded, other)]
    if not numbers_meant(int(number.sum()), int(counts[number].sum()), *by, typed):
        return None
    odd = padded | other
    if len(marks) == 2:  # decimal points and commas in one column: those of the rarer kind are odd
        comma = number & np.array(["," in text for text in texts])
        point = number & np.array(["." in text for text in texts])
        odd |= comma if counts[comma].sum() <= counts[point].sum() else point
    return np.flatnonzero(np.append(odd, False)[codes])


def has_padded(texts: pd.Series) -> bool:
    """Whether some of a column's texts are whole numbers with leading zeros, all others being whole numbers too."""
    told = texts.dropna() if are_bare(texts) else texts.dropna().str.strip()
    if not told.str.startswith("0").any():
        return False  # as of most columns
    told = told[~told.isin(MISSING)]
    return bool(told.str.fullmatch(PADDED).any() and told.str.fullmatch("[0-9]+").all())


def as_text(column: pd.Series) -> pd.Series:
    """The values of a column as text, a whole number as its digits: 1.0 is "1"; missing ones stay missing."""
    if pd.api.types.is_string_dtype(column.dtype) and column.dtype != object:
        return column.astype("str")
    return column.astype(object).map(level_text, na_action="ignore").astype("str")


def level_text(value: object) -> str:
    """A level as text, by which those of two files are the same: 1 of one and "1" or 1.0 of another."""
    if isinstance(value, (float, np.floating)) and np.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)
