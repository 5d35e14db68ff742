"""Odd text files in memory and in a stream: the same numbers, warnings and refusals, sentence for sentence."""

from __future__ import annotations

import csv
import warnings

import numpy as np
import pandas as pd
import pytest

from valib.errors import ValibError, ValibWarning
from valib.sums.streams import moments_from_source

ROWS = 12_000  # the first 10,000 tell a stream what its columns are


def table(n: int = ROWS, **columns) -> pd.DataFrame:
    """Students of 40 schools with a covariate, and some columns as given."""
    rng = np.random.default_rng(n)
    prior = rng.normal(500, 60, n).round(1)
    plain = {
        "student": np.arange(n),
        "school": [f"{k:03d}" for k in rng.integers(0, 40, n)],
        "cohort": 2024,
        "score": (prior + rng.normal(0, 30, n)).round(1),
        "prior_score": prior,
        "ses": rng.normal(size=n).round(2),
    }
    return pd.DataFrame({**plain, **columns})


def csv_of(frame: pd.DataFrame, **options) -> str:
    return frame.to_csv(index=False, **options)


def with_lines(text: str, **lines: str) -> str:
    """A text with some of its lines, counted from 1, put in another way."""
    split = text.split("\n")
    for number, line in lines.items():
        split[int(number[1:]) - 1] = line
    return "\n".join(split)


def late(first, then) -> list:
    """A column whose last thousand rows are of another kind."""
    return [*(first(k) for k in range(ROWS - 1000)), *(then(k) for k in range(1000))]


def grouped(k: int) -> str:
    return f"{1000 + k % 300:,}".replace(",", ".")


def quoted(n: int, first: int, last: int, column: str) -> str:
    """A field of a column opens a quotation mark, and that of a later row closes it."""
    lines = csv_of(table(n)).split("\n")
    at = lines[0].split(",").index(column)
    for k, mark in ((first, '"{}'), (last, '{}"')):
        fields = lines[k].split(",")
        fields[at] = mark.format(fields[at])
        lines[k] = ",".join(fields)
    return "\n".join(lines)


SMALL, STEPS = table(60), [str(700 + k % 300) for k in range(ROWS)]
CASES = {  # text, and what is said of it ("" if nothing is)
    "a score with points between thousands": (
        csv_of(table(600, score=[*STEPS[:300], *map(grouped, range(300))])),
        "holds '1.000' (line 302), which may be 1.000 or 1000; write",
    ),
    "points between thousands after the first rows": (
        csv_of(table(score=late(lambda k: STEPS[k], grouped))),
        "holds '1.000' (line 11002), which may be",
    ),
    "commas between thousands": (csv_of(table(60, prior_score=["1,234"] * 60), sep=";"), "holds '1,234' (line 2)"),
    "a covariate with points between thousands": (
        csv_of(table(60, ses=["900", "800", "1.234"] * 20)),
        "holds numbers stored as text",
    ),
    "such a covariate after the first rows": (
        csv_of(table(ses=late(lambda k: STEPS[k % 7], lambda k: "1.234"))),
        "holds numbers stored as text",
    ),
    "spaces beside them": (csv_of(table(600, score=[*STEPS[:299], " . ", *map(grouped, range(300))])), "(line 302)"),
    "decimals after the first rows": (csv_of(table(score=late(lambda k: STEPS[k], lambda k: f"{k}.25"))), ""),
    "decimal commas after the first rows": (
        csv_of(
            table(score=late(lambda k: STEPS[k], lambda k: f"{k},25"), ses=late(lambda k: k % 7, lambda k: f"{k},5"))
        ),
        "",
    ),
    "points and commas after the first rows": (
        csv_of(table(score=late(lambda k: STEPS[k], lambda k: "1.5" if k == 500 else "2,5"))),
        "must hold numbers",
    ),
    "three decimals in a semicolon file": (
        csv_of(table(600, score=[f"{k / 1000:.3f}" for k in range(4001, 4601)]), sep=";"),
        "three digits after the point in every row, first '4.001'",
    ),
    "three decimals in a comma file": (csv_of(table(600, score=[f"{k / 1000:.3f}" for k in range(4001, 4601)])), ""),
    "decimals below one": (csv_of(table(600, score=[f"{k / 1000:.3f}" for k in range(600)])), ""),
    "a whole number of 1000 or more": (csv_of(table(600, score=["1234", *STEPS[:299], *map(grouped, range(300))])), ""),
    "a few thousands among many hundreds": (csv_of(table(score=late(lambda k: STEPS[0], lambda k: "1.234"))), "1.234"),
    "short rows": (
        with_lines(csv_of(SMALL), _9="9,003,2024,510.5", _12="9,003,2024,510.5,480", _40="x"),
        "3 rows have fewer fields than the header (lines 9, 12 and 40)",
    ),
    "short rows in quotation marks": (
        with_lines(csv_of(SMALL, quoting=csv.QUOTE_ALL), _9='"9","003","2024","5"'),
        "1 row has fewer fields than the header (line 9)",
    ),
    "an empty last field": (csv_of(SMALL.assign(ses=SMALL.ses.where(SMALL.index % 3 > 0))), ""),
    "many short rows": (csv_of(table()).replace(".5,48", "\n"), "more)"),
    "a long row": (
        with_lines(csv_of(SMALL), _9="9,003,2024,510.5,480,1,2"),
        "line 9 has 7 fields where the header has 6",
    ),
    "lines of spaces": (with_lines(csv_of(SMALL), _9="   ", _12=" ", _30=""), ""),
    "a code that swallows rows": (
        quoted(60, 10, 30, "school"),
        "a field of column 'school' runs over 20 line breaks and holds whole rows (line 11)",
    ),
    "another field that swallows rows": (quoted(60, 10, 30, "ses"), "must hold numbers, but 1 row does not (line 11"),
    "an unused field that swallows rows": (quoted(60, 10, 30, "ses").replace("ses", "note"), "are not read"),
    "an open quotation mark": (with_lines(csv_of(SMALL), _9='9,"003,2024,510.5,480,1'), "may not be closed"),
    "a title above the header": ("Extract of 2024\n\n" + csv_of(SMALL), "line 3 is taken as the header"),
    "a title of two lines": ('\n"Reading,\nyear 5"\nMay\n' + csv_of(SMALL), "line 5 is taken as the header"),
    "sep= above the header": ("sep=;\n" + csv_of(SMALL, sep=";"), ""),
    "codes with .0": (csv_of(table(60, school=np.arange(60) % 9 + 1.0)), ""),
    "codes with .0 but for a row without a score": (
        with_lines(csv_of(table(60, school=np.arange(60) % 9 + 1.0)), _7="5,6,2024,,480,1"),
        "",
    ),
    "such codes after the first rows": (
        with_lines(csv_of(table(school=np.arange(ROWS) % 9 + 1.0)), _11500="11498,6,2024,,480,1"),
        "",
    ),
}


def told(path, engine: str, formula: str):
    """The moments, or the refusal, and the warnings of an engine."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ValibWarning)
        try:
            found = moments_from_source(path, formula, engine=engine)
        except ValibError as error:
            found = str(error)
    return found, sorted(str(w.message) for w in caught if w.category is ValibWarning)


def assert_same_means(ours, theirs) -> None:
    """Both summed the same numbers of the same schools."""
    a, b = ours.moments, theirs.moments
    assert a.names == b.names and a.n_students == b.n_students > 20 and a.schools.tolist() == b.schools.tolist()
    np.testing.assert_allclose(a.shift + a.sums.sum(0) / a.n_students, b.shift + b.sums.sum(0) / b.n_students, 1e-9)


def assert_alike(path, engine: str, expected: str) -> str:
    """Both engines say what is expected, and the same, and sum alike; which of the two it was."""
    formula = "score ~ prior_score" + " + ses" * ("ses" in path.read_text()[:200])
    (theirs, said), (ours, also) = (told(path, e, formula) for e in ("memory", engine))
    assert isinstance(theirs, str) == isinstance(ours, str), (theirs, ours)
    assert also == said
    if isinstance(theirs, str):
        assert ours == theirs and expected and expected in theirs
        return "refused"
    assert any(expected in message for message in said) if expected else said == []
    assert_same_means(ours, theirs)
    return "warned" if said else "summed"


@pytest.mark.parametrize("case", CASES)
def test_a_stream_says_what_memory_says(tmp_path, case):
    text, expected = CASES[case]
    path = tmp_path / "records.csv"
    path.write_text(text, newline="")
    assert_alike(path, "duckdb", expected)


def test_there_are_30_texts():
    assert len(CASES) == 30


def test_texts_in_a_parquet_file(tmp_path):
    """Such points are refused there too, with the rows; other texts are numbers."""
    path = tmp_path / "records.parquet"
    for then, refused in ((grouped, True), (lambda k: f"{k % 300}.25", False)):
        table(score=late(lambda k: STEPS[k], then)).to_parquet(path)
        (theirs, _), (ours, _) = (told(path, engine, "score ~ prior_score") for engine in ("memory", "duckdb"))
        if refused:
            assert ours == theirs and "'score' must hold numbers without points between thousands" in ours
            assert "1000 rows do not (rows 11001, " in ours
        else:
            assert_same_means(ours, theirs)
