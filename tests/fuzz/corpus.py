"""Text files that were hard to read alike, each with its outcome: students counted, or words of the refusal."""

from __future__ import annotations

ROWS = [f"P{k:03d},{k % 4:03d},2019,{480 + 7 * (k % 11)}.5,{470 + 5 * (k % 13)}.5" for k in range(40)]
HEADER = "student,school,cohort,score,prior_score"


def text(end: str = "\n", header: str = HEADER, rows: list[str] | None = None) -> str:
    return end.join([header, *(ROWS if rows is None else rows), ""])


def changed(k: int, row: str) -> str:
    return text(rows=[*ROWS[:k], row, *ROWS[k + 1 :]])


def with_column(values: list[str]) -> str:
    return text(header=HEADER + ",note", rows=[f"{r},{v}" for r, v in zip(ROWS, values, strict=True)])


LONE = '"\n'
CORPUS: dict[str, tuple[bytes, int | str]] = {
    "mixed line ends": ((text("\r\n") + "\n".join(ROWS).replace("P0", "Q0")).encode(), 80),
    "carriage returns": (text("\r").encode(), 40),
    "three lines of a lone quotation mark": (
        "\n".join([HEADER, *ROWS[:9], '"', *ROWS[9:20], '"', *ROWS[20:30], '"', *ROWS[30:], ""]).encode(),
        "a quotation mark may not be closed",
    ),
    "two lines of a lone quotation mark": (
        "\n".join([HEADER, *ROWS[:9], '"', *ROWS[9:20], '"', *ROWS[20:], ""]).encode(),
        "holds whole rows",
    ),
    "byte order marks twice": (b"\xef\xbb\xbf\xef\xbb\xbf" + text().encode(), 40),
    "a byte order mark between two extracts": (text().encode() + b"\xef\xbb\xbfQ1,001,2019,500,500\n", 41),
    "digits of another alphabet in a column nobody uses": (with_column(["\u0663"] * 40).encode(), 40),
    "a score in digits of another alphabet": (
        changed(5, "P5,001,2019,\u0663,500").encode(),
        "'score' must hold numbers",
    ),
    "a year cut off, a cohort of one student": (changed(5, "P5,001,201,432.6,468.1").encode(), 40),
    "a sign too many": (changed(5, "P5,001,2019,+-5,500").encode(), "'score' must hold numbers"),
    "a number that is not one in another spelling": (changed(5, "P5,001,2019,-nan,500").encode(), "must hold numbers"),
    "a score in base sixteen": (
        text(rows=[f"P{k:03d},{k % 4:03d},2019,{480 + k},470" for k in range(40)]).replace("485", "0x1E5").encode(),
        "'score' must hold numbers",
    ),
    "a year in base sixteen": (changed(5, "P5,001,0x7E3,500,470").encode(), "'cohort' must hold whole numbers"),
    "a hard space beside a number": (changed(5, "P5,001,2019,500.5\xa0,500").encode(), 40),
    "quotation marks inside a field": (with_column(['5" pipe'] * 40).encode(), 40),
    "a zero byte": (changed(30, "P5,001,2019,5\x0000,500").encode(), "neither text"),
    "Windows-1252": (with_column(["Süd"] * 40).encode("cp1252"), 40),
    "UTF-16": (text().encode("utf-16"), 40),
    "UTF-16 unannounced": (text().encode("utf-16-le"), "neither text in UTF-8"),
    "columns in capitals too": (text(header=HEADER + ",Score", rows=[f"{r},1" for r in ROWS]).encode(), 40),
    "a field of 200,000 characters": (with_column(["y" * 200_000, *["x"] * 39]).encode(), 40),
    "a line of 3 million characters": (
        with_column(["y" * 3_000_000, *["x"] * 39]).encode(),
        "more than 2,000,000 bytes",
    ),
    "a row too long": (changed(30, ROWS[30] + ",1").encode(), "line 32 has 6 fields where the header has 5"),
    "lines of spaces": (changed(30, "  \n\t\n\xa0").encode(), 39),
    "codes with a line break": (changed(5, '"P\n5",001,2019,500,500').encode(), 40),
    "JSON": (b'[{"student": 1, "school": 2}]', "is JSON, not a table"),
    "a header of 20,000 columns": (",".join(f"c{k}" for k in range(20_000)).encode(), "20,000 columns"),
}
