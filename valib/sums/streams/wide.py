"""A stream of wide records, a row a student: turned into a row for each student and cohort by the engine.

Every row of the source is joined to the cohorts, and takes its columns of each; see :mod:`valib.records.reshape`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import RecordsError
from ...names import CODES, LONGEST, readable
from ...records.reshape import ROW_NUMBER, parts_of_cohorts
from .layout import JOINED, Column, Engine


def number_rows(engine: Engine) -> None:
    """Give the engine's rows a column of their numbers; in Spark, whose rows have no order, of different numbers."""
    at = f"c{len(engine.columns)}"
    column = Column(ROW_NUMBER, at, "number", whole=True, original=ROW_NUMBER)
    number = engine.sql.row_number()
    engine.derive(
        lambda table: f"SELECT *, {number} AS {at} FROM {table} AS numbered",
        [*engine.columns, column],
        [*engine.names, ROW_NUMBER],
    )


def reshape_rows(engine: Engine, reshape: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    """Give the engine a row for each student and cohort. columns: this library's names of the new columns.

    Raises RecordsError as :func:`valib.records.reshape.reshaped`, and where a new column would hold texts and numbers.
    """
    parts, shared = parts_of_cohorts(engine.name, engine.names, reshape)
    by_name = {column.name: column for column in engine.columns}
    codes = {columns.get(name, name) for name in CODES}
    start, made, there, values = len(engine.columns), [], [], []
    cohorts = list(next(iter(parts.values())))
    for k, (name, part) in enumerate(parts.items()):
        held = [by_name[part[cohort]] for cohort in cohorts]
        kinds = {column.kind for column in held}
        if len(kinds) > 1:
            raise RecordsError(
                f"{engine.name}: reshape puts columns of different kinds into '{readable(name, LONGEST)}', which a stream "
                "cannot: take --engine memory."
            )
        whole = all(column.whole for column in held)
        double = not whole and held[0].kind == "number" and len({column.whole for column in held}) > 1
        cases = [
            f"WHEN {i} THEN {f'CAST({column.sql} AS DOUBLE)' if double else column.sql}"
            for i, column in enumerate(held)
        ]
        x = f"CASE k.i {' '.join(cases)} END"
        values.append(f"{x} AS c{start + k}")
        there.append(_there(engine, held[0], x, name in codes))
        made.append(Column(name, f"c{start + k}", held[0].kind, whole, held[0].words, held[0].decimal, name))
    last = f"c{start + len(made)}"
    numbered = ", ".join(f"({i}, {cohort})" for i, cohort in enumerate(cohorts))
    made.append(Column("cohort", last, "number", whole=True, original="cohort"))
    engine.derive(
        lambda table: (
            f"SELECT w.*, {', '.join(values)}, k.cohort AS {last} FROM {table} AS w CROSS JOIN "
            f"(VALUES {numbered}) AS k(i, cohort) WHERE {' OR '.join(there)}"
        ),
        [*(by_name[name] for name in shared), *made],
        [*shared, *parts, "cohort"],
    )


def with_joined(engine: Engine) -> None:
    """Give the engine's rows an empty column for prior scores, which a join fills later."""
    engine.derive(
        lambda table: f"SELECT *, CAST(NULL AS DOUBLE) AS {JOINED} FROM {table} AS rows_", engine.columns, engine.names
    )


def _there(engine: Engine, column: Column, x: str, is_code: bool) -> str:
    """Whether a value is there, as memory sees it when it reads the wide rows."""
    if column.words:
        own = engine.sql.trimmed(f"({x})")
        return f"coalesce({x}, '') <> ''" if is_code else f"NOT coalesce({engine.sql.listed(own)}, true)"
    if column.kind == "number" and not column.whole:
        return f"NOT isnan(coalesce(CAST({x} AS DOUBLE), CAST('NaN' AS DOUBLE)))"
    return f"{x} IS NOT NULL"
