"""The account as text for a terminal or a file, from the very content of its JSON, so that both tell the same."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ...names import percent

LONGEST_NAME = 40  # characters of a name from the data


def number(value: float, decimals: int = 2) -> str:
    """Return a number with thousands separators; huge ones with four digits; what is missing as a dash."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.3e}" if abs(value) >= 1e9 else f"{round(value, decimals) + 0.0:,.{decimals}f}"


def plain(value: float) -> str:
    """Return a number with the digits it has, up to six: 999, 4.5, -0.125."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e9 else f"{value:.6g}"


def decimals(spread: float) -> int:
    """Return how many decimals show three digits of a spread."""
    if not (math.isfinite(spread) and spread > 0):
        return 2
    return min(max(2 - math.floor(math.log10(spread)), 0), 6)


def printable(text: object, longest: int | None = None) -> str:
    """Return text from the data on one line: control and direction characters as '?', cut where it is long."""
    shown = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in str(text))
    return shown if longest is None or len(shown) <= longest else f"{shown[: longest - 3]}..."


WIDTH = 100  # of the tables where the output is no terminal
NARROWEST = 40  # of a terminal that tables are fitted to
ROWS = 30  # of a table, before the rest is only counted

Row = Sequence[str]


def account_text(content: dict[str, Any], study: str, width: int = WIDTH, problems: bool = True) -> str:
    """Return an account as text.

    content: :meth:`valib.study.account.Account.to_dict`. study: names the params file in force. width: columns that
    tables may take; sentences are one line each, however long. problems: also tell what stops the study.
    """
    parts = [_head(content, study)]
    for title, header, rows, note in _tables(content):
        if rows:
            parts.append(f"{title}\n{_table(header, rows, max(width, NARROWEST))}{note}")
    parts += [" ".join(_sentences(content)), _verdict(content, problems)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(content: dict[str, Any], study: str) -> str:
    out, read = content["rows_left_out"], content["rows_read"]
    return (
        f"Records: {content['source']}. Study: {printable(study)}.\n"
        f"{_chosen(content)}"
        f"{read:,} rows read, {content['rows_used']:,} used, {out:,} ({percent(out / read)}) left out.\n"
        f"{_count(content['students'], 'student code')}, {_count(content['schools'], 'school')}, "
        f"{_count(content['cohorts_in_data'], 'cohort')}."
    )


def _chosen(content: dict[str, Any]) -> str:
    """Which rows were read and how their prior scores were found, a line each."""
    lines, where, prior = [], content["where"], content["prior_linkage"]
    floor = content["study"]["min_students"]
    if where:
        lines.append(
            f"Of {where['rows']:,} rows, {_size(where['left_out'], floor)} are left out by where: "
            f"{printable(where['expression'], 200)}."
        )
    if prior:
        lines.append(
            f"Prior scores from {printable(prior['from'], 60)}: {_size(prior['linked'], floor)} rows linked, "
            f"{_size(prior['unlinked'], floor)} unlinked, {_size(prior['ambiguous'], floor)} with more than one earlier row."
        )
        share = {
            row["school"]: row["linked"] / (row["linked"] + row["unlinked"] + row["ambiguous"])
            for row in prior["by_school"]
            if None not in row.values()
        }
        lowest = sorted(share, key=lambda school: share[school])[:3]
        told = [f"{printable(school, 30)} ({percent(share[school])})" for school in lowest]
        if told:
            lines.append(f"Schools with the lowest share linked: {', '.join(told)}.")
        steps = [f"{row['step']:g} ({_size(row['rows'], floor)} rows)" for row in prior["grade_steps"]]
        if steps:
            lines.append(
                f"Grades moved up since the earlier row, expected {prior['grade_step']:g}: {', '.join(steps[:8])}."
            )
    return "".join(f"{line}\n" for line in lines)


def _verdict(content: dict[str, Any], problems: bool) -> str:
    """Return warnings, problems and the last word, a line each."""
    lines = [f"Warning: {printable(item['text'])}" for item in content["warnings"]] or ["No warning."]
    if not content["problems"]:
        lines.append(
            "The benchmark of this study can be fitted on these records."
            if content["study"]["baseline_cohorts"]
            else "The relative models of this study can be fitted on these records. It names no baseline cohorts, so there is "
            "no benchmark: what needs one is left out."
        )
    elif problems:
        lines += [
            "The study cannot be fitted on these records:",
            *(f"Problem: {printable(text)}" for text in content["problems"]),
        ]
    return "\n".join(lines)


def _sentences(content: dict[str, Any]) -> list[str]:
    """Return what needs no table: student codes that stand once, and schools of baseline and focal cohorts."""
    said, there = [], content["school_presence"]
    if not any(_codes(row) for row in content["codes"]):
        said.append("Every student code stands once in the records.")
    elif several := content["students_in_several_cohorts"]:
        said.append(f"Student codes in several cohorts: {several:,}.")
    if content["school_changes"] and content["study"]["baseline_cohorts"]:
        floor = content["study"]["min_students"]
        told = {part: _size(there[f"{part}_students"], floor) for part in ("baseline_only", "focal_only")}
        said.append(
            f"Schools in both baseline and focal cohorts: {there['both']:,}; in the baseline only: "
            f"{there['baseline_only']:,} ({told['baseline_only']} students); in focal cohorts only: "
            f"{there['focal_only']:,} ({told['focal_only']} students)."
        )
    return said


def _tables(content: dict[str, Any]) -> Iterable[tuple[str, Row, list[Row], str]]:
    """Yield title, header, rows and a note of each table; a cut one says in the note how many rows it lacks."""
    own = [*content["study"]["baseline_cohorts"], *content["study"]["focal_cohorts"]]
    limits = content["limits"]
    yield ("Rows by cohort", *_row_table(content))
    yield ("Students with a score, and how many of them have a prior score", *_linkage_table(content, own))
    yield ("Schools and their students", *_school_table(content, own))
    yield (
        f"Schools from cohort to cohort (missing: seen before and later; grown, shrunk: over {limits['size_factor']:g} times)",
        *_move_table(content, own),
    )
    yield ("Schools that change most", *_change_table(content))
    yield ("Coverage: schools by the share of tested students that are linked", *_coverage_table(content, own))
    few = f"(few: under {content['study']['min_students']} are, or are not)"
    yield (f"Schools of which least are linked, or otherwise than by chance {few}", *_covered_table(content))
    yield ("Student codes that stand more than once", *_code_table(content, own))
    for column, title in (("score", "Scores"), ("prior_score", "Prior scores")):
        yield (f"{title} (points)", *_score_table([r for r in content["scores"] if r["column"] == column], own))
    low, high = limits["variance_ratio_limits"]
    yield (
        f"Prior score of the focal cohorts against the baseline (limits: {limits['smd_limit']:g} SD, {low:g} to {high:g})",
        *_prior_table(content, own),
    )
    yield ("Covariates: share missing", *_covariate_table(content, own))
    yield (
        "What one student does to the effect of a school (score points; the largest of each cohort)",
        *_influence_table(content, own),
    )


def _linkage_table(content: dict[str, Any], own: list[int]) -> tuple[Row, list[Row], str]:
    header = (
        "cohort",
        "role",
        "with a\nscore",
        "with prior\nas well",
        "share",
        "mean score: with\nprior less all",
        "correlation\nwith prior",
    )
    rows = [
        (
            _cohort(row),
            row["role"],
            f"{row['scored']:,}",
            f"{row['linked']:,}",
            percent(row["share"]),
            number(row["score_difference"]),
            number(row["correlation"]),
        )
        for row in content["linkage"]
    ]
    return header, *_cut_rows(rows, own)


def _move_table(content: dict[str, Any], own: list[int]) -> tuple[Row, list[Row], str]:
    header = (
        "cohort",
        "since",
        "new",
        "gone",
        "missing",
        "back",
        "grown",
        "shrunk",
        "students in schools\nnot in the baseline",
    )
    rows = [
        (
            _cohort(row),
            str(row["previous"]),
            *(f"{row[name]:,}" for name in ("new", "gone", "missing", "returned", "grown", "shrunk")),
            percent(row["not_in_baseline"]),
        )
        for row in content["school_changes"]
    ]
    return header, *_cut_rows(rows, own)


def _code_table(content: dict[str, Any], own: list[int]) -> tuple[Row, list[Row], str]:
    header = (
        "cohort",
        "again in the\nsame school",
        "again in\nanother school",
        "students in\ntwo schools",
        "also in an\nearlier cohort",
    )
    names = ("same_school", "other_school", "students_in_two_schools", "seen_before")
    rows = [(_cohort(row), *(f"{row[name]:,}" for name in names)) for row in content["codes"] if _codes(row)]
    return header, *_cut_rows(rows, own)


def _prior_table(content: dict[str, Any], own: list[int]) -> tuple[Row, list[Row], str]:
    rows = [
        (_cohort(row), number(row["smd"]), number(row["variance_ratio"]), "yes" if row["ok"] else "no")
        for row in content["prior"]
    ]
    return ("cohort", "mean difference\nin SDs", "variance\nratio", "within\nlimits"), *_cut_rows(rows, own)


def _row_table(content: dict[str, Any]) -> tuple[Row, list[Row], str]:
    """Rows by cohort: used, and left out by reason, with a last row for all."""
    reasons = list(dict.fromkeys(row["reason"] for row in content["left_out"]))
    used = {row["cohort"]: row["students"] for row in content["cohorts"]}
    role = {row["cohort"]: row["role"] for row in content["cohorts"]} | {
        row["cohort"]: row["role"] for row in content["linkage"]
    }
    out = {(row["cohort"], row["reason"]): row["rows"] for row in content["left_out"]}
    known = sorted({t for t in [*used, *(t for t, _ in out)] if t is not None})
    rows = []
    for cohort in [*known, *([None] if any(t is None for t, _ in out) else [])]:
        lost = [out.get((cohort, reason), 0) for reason in reasons]
        there = used.get(cohort, 0)
        rows.append(
            (
                "unknown" if cohort is None else str(cohort),
                role.get(cohort, ""),
                f"{there + sum(lost):,}",
                f"{there:,}",
                *(f"{n:,}" for n in lost),
            )
        )
    shown, note = _cut_rows(rows, [*content["study"]["baseline_cohorts"], *content["study"]["focal_cohorts"]])
    totals = [sum(n for (_, why), n in out.items() if why == reason) for reason in reasons]
    shown.append(("all", "", f"{content['rows_read']:,}", f"{content['rows_used']:,}", *(f"{n:,}" for n in totals)))
    return ("cohort", "role", "rows", "used", *reasons), shown, note


def _school_table(content: dict[str, Any], own: list[int]) -> tuple[Row, list[Row], str]:
    floor = content["study"]["min_students"]
    rows = [
        (
            _cohort(row),
            row["role"],
            f"{row['schools']:,}",
            f"{row['students']:,}",
            *(_size(row[f"{which}_school"], floor) for which in ("smallest", "median", "largest")),
            f"{row['tiny_schools']:,}",
            f"{row['one_student_schools']:,}",
        )
        for row in content["cohorts"]
    ]
    header = (
        "cohort",
        "role",
        "schools",
        "students",
        "smallest\nschool",
        "median",
        "largest",
        f"schools of\nunder {floor}",
        "of one\nstudent",
    )
    return header, *_cut_rows(rows, own)


def _coverage_table(content: dict[str, Any], own: list[int]) -> tuple[Row, list[Row], str]:
    names = ("schools", "full", "under_warned", "under_least", "none", "differing")
    rows = [(_cohort(row), row["role"], *(f"{row[name]:,}" for name in names)) for row in content["coverage"]]
    least = f"{100 * content['study']['min_linked_share']:g}%"
    full = f"{100 * content['limits']['coverage_full']:g}%"
    header = (
        "cohort",
        "role",
        "schools",
        "all\nlinked",
        f"under\n{full}",
        f"under\n{least}",
        "none\nlinked",
        "beyond\nchance",
    )
    return header, *_cut_rows(rows, own)


def _covered_table(content: dict[str, Any]) -> tuple[Row, list[Row], str]:
    whole, rows = content["coverage_list"], []
    for row in whole["shown"]:
        numbers = ["few"] * 3
        if row["tested"] is not None:
            numbers = [f"{row['tested']:,}", f"{row['linked']:,}", percent(row["linked_share"])]
        name = printable(row["school"], LONGEST_NAME)
        rows.append((name, str(row["cohort"]), *numbers, "yes" if row["differs"] else "no"))
    more = whole["total"] - len(rows)
    note = f"\nand {_count(more, 'more school')}" if more > 0 else ""
    return ("school", "in cohort", "tested", "linked", "share", "beyond\nchance"), rows, note


def _change_table(content: dict[str, Any]) -> tuple[Row, list[Row], str]:
    floor, whole = content["study"]["min_students"], content["school_list"]
    rows = [
        (
            printable(row["school"], LONGEST_NAME),
            row["change"],
            str(row["cohort"]),
            _size(row["before"], floor),
            _size(row["after"], floor),
        )
        for row in whole["shown"]
    ]
    more = whole["total"] - len(rows)
    note = f"\nand {_count(more, 'more change')}" if more > 0 else ""
    return ("school", "change", "in cohort", "students\nbefore", "students\nafter"), rows, note


def _score_table(scores: list[dict[str, Any]], own: list[int]) -> tuple[Row, list[Row], str]:
    spreads = [row["sd"] for row in scores if row["sd"]]
    digits = decimals(min(spreads)) if spreads else 2
    rows = [
        (
            _cohort(row),
            *(number(row[name], digits) for name in ("mean", "sd", "min", "p1", "median", "p99", "max")),
            f"{row['values']:,}",
            percent(row["at_min"]),
            percent(row["at_max"]),
        )
        for row in scores
    ]
    header = ("cohort", "mean", "SD", "min", "1%", "median", "99%", "max", "values", "at min", "at max")
    return header, *_cut_rows(rows, own)


def _covariate_table(content: dict[str, Any], own: list[int]) -> tuple[Row, list[Row], str]:
    share = {(row["column"], row["cohort"]): percent(row["share"]) for row in content["covariates"]}
    columns = list(dict.fromkeys(row["column"] for row in content["covariates"]))
    known = list(dict.fromkeys(row["cohort"] for row in content["covariates"]))
    rows = [(str(t), *(share[column, t] for column in columns)) for t in known]
    return ("cohort", *(printable(column, LONGEST_NAME) for column in columns)), *_cut_rows(rows, own)


def _influence_table(content: dict[str, Any], own: list[int]) -> tuple[Row, list[Row], str]:
    rows = [
        (
            _cohort(row),
            printable(row["school"], LONGEST_NAME),
            f"{row['students']:,}",
            number(row["change"]),
            number(row["se"]),
        )
        for row in content["influence"]
    ]
    return ("cohort", "school", "students", "points", "standard error\nof the effect"), *_cut_rows(rows, own)


def _cut_rows(rows: list[Row], own: list[int]) -> tuple[list[Row], str]:
    """Return ROWS rows at most, those of the study's cohorts first, in their order, and a note on the rest."""
    if len(rows) <= ROWS:
        return rows, ""
    names = {str(cohort) for cohort in own}
    first = sorted(range(len(rows)), key=lambda k: (rows[k][0] not in names, k))[:ROWS]
    return [rows[k] for k in sorted(first)], f"\nand {_count(len(rows) - ROWS, 'more cohort')} (--json has them)"


def _table(header: Row, rows: list[Row], width: int) -> str:
    """Return a table as text; columns that do not fit the width go below, with the first one again."""
    from rich.cells import cell_len

    cells = [[*head.split("\n"), *(row[k] for row in rows)] for k, head in enumerate(header)]
    wide = [max(cell_len(text) for text in column) + 3 for column in cells]
    blocks, taken = [[0]], wide[0]
    for k in range(1, len(header)):
        if taken + wide[k] > width and len(blocks[-1]) > 1:
            blocks.append([0])
            taken = wide[0]
        blocks[-1].append(k)
        taken += wide[k]
    return "\n\n".join(_block(header, rows, block) for block in blocks)


def _block(header: Row, rows: list[Row], columns: list[int]) -> str:
    """Return some columns of a table as text."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for k in columns:
        left = k == 0 or header[k] in ("role", "change")
        table.add_column(header[k], justify="left" if left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[k] for k in columns))
    console = Console(file=io.StringIO(), width=1000, markup=False, highlight=False, emoji=False, color_system=None)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip("\n").split("\n"))


def _codes(row: dict[str, Any]) -> int:
    return row["same_school"] + row["other_school"] + row["seen_before"]


def _cohort(row: dict[str, Any]) -> str:
    return str(row["cohort"])


def _size(students: float | None, floor: int) -> str:
    """A number of students; <5 where it is held back; a half where it is the median of an even number of schools."""
    return f"<{floor}" if students is None else f"{students:,.1f}".removesuffix(".0")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
