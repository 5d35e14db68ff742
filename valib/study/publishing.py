"""What goes beside results and in which form: how they were made, what their columns mean, CSV for Excel, a workbook.

``about.csv`` and ``columns.csv`` stand in every folder of results; a workbook has the same tables as sheets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from .. import __version__
from ..records.precision import published
from ..sums.formula import is_in_points
from .dictionary import with_columns
from .params import Params
from .writing import as_csv

AGAINST = ("estimator", "shift", "variances", "equating_se", "cohort_sd")  # settings of a benchmark alone
EVERY = ("method", "level", "intervals", "min_students")
UNKNOWN = {"equating_se": "not known", "cohort_sd": "not declared"}
EXACT = "exact, not for publication"


def _of_measurement(name: str, value: float | dict[str, str]) -> str:
    """What is known of the errors in a covariate."""
    return f"{name} by the standard errors in {value['se']}" if isinstance(value, dict) else f"{name} {value:g}"


def about(study: Params, exact: bool = False, **facts: Any) -> pd.DataFrame:
    """How results were made, one row a setting: the records, what of the study was in force, and the version.

    facts: further rows, such as the cohorts of a fit, and what replaces a setting of the study; None leaves it out. A
    condition for rows or a query may name a student and is told only to be there.
    """
    told: dict[str, Any] = {"title": study.title, "records": study.data_name}
    told |= {name: "given" for name in ("where", "prior", "reshape", "scale_breaks") if getattr(study, name)}
    told |= {"table": study.table_name} if study.table_name else {}
    told |= {"reliability": ", ".join(_of_measurement(*item) for item in study.reliability.items()) or None}
    told |= {"formula": study.formula} | facts
    settings = (*AGAINST, *EVERY) if facts.get("baseline") else EVERY
    told |= {name: told.get(name, getattr(study, name)) for name in settings}
    told |= {name: text for name, text in UNKNOWN.items() if name in told and told[name] is None}
    told |= {"pseudonyms": "yes"} if study.pseudonym_key else {}
    told |= {"digits": EXACT if exact else "rounded to what may be published", "valib": __version__}
    rows = [(name, _value(value, study.decimal)) for name, value in told.items() if value is not None]
    return pd.DataFrame(rows, columns=["setting", "value"], dtype="str")


def _value(value: Any, decimal: str) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:.10g}".replace(".", decimal) if isinstance(value, float) else str(value)


def publish(
    tables: Mapping[str, pd.DataFrame], study: Params, exact: bool = False, **facts: Any
) -> dict[str, pd.DataFrame]:
    """The tables as they may be published, or exact, and about.csv and columns.csv beside them.

    facts: as for :func:`about`.
    """
    formula = facts.get("formula", study.formula)
    shown = {name: table if exact else published(table) for name, table in tables.items()}
    shown["about.csv"] = about(study, exact, **facts)
    return with_columns(shown, "score points" if is_in_points(formula) else "units of the outcome")


def as_files(tables: Mapping[str, pd.DataFrame], study: Params, workbook: str = "") -> dict[str, str | bytes]:
    """Tables that :func:`publish` has made as CSV files in the study's form, and as a workbook where a name is given."""
    files: dict[str, str | bytes] = {name: as_csv(table, True, study.csv_form) for name, table in tables.items()}
    if workbook:
        from .workbook import as_workbook

        files[workbook] = as_workbook(tables, study.title)
    return files
