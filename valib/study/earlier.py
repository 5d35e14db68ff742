"""Results of an earlier `valib fit`, read back from their folder as they were published."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import ParamsError
from .writing import read_back

TEXTS = ("model", "school", "school_name", "role", "error", "term", "setting", "value", "averaged", "group")
NEEDED = ("school_effects.csv", "about.csv", "fits.json")


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """Published results. tables: by file name, as they are written. fits: the summaries of fits.json."""

    tables: dict[str, pd.DataFrame]
    fits: list[dict[str, Any]]

    @property
    def about(self) -> dict[str, str]:
        """The settings of about.csv by name."""
        return dict(self.tables["about.csv"].itertuples(index=False))


def read_table(path: Path) -> pd.DataFrame:
    """A table that valib has written, in either form of CSV: codes and texts as they were, numbers as numbers."""
    text = path.read_text(encoding="utf-8-sig")
    comma = next(csv.reader(text.splitlines()[:1], delimiter=";"), [])
    divided = {"sep": ";", "decimal": ","} if len(comma) > 1 else {}
    rows = pd.read_csv(path, encoding="utf-8-sig", dtype="str", keep_default_na=False, **divided)
    sign = divided.get("decimal", ".")
    for name in rows.columns:
        if name in TEXTS:
            rows[name] = rows[name].map(read_back)
        else:
            rows[name] = _numbers(rows[name], sign)
    return rows


def _numbers(column: pd.Series, sign: str) -> pd.Series:
    """Numbers and empty fields as numbers; what holds other texts as it is."""
    try:
        return pd.to_numeric(column.str.replace(sign, ".", regex=False).replace("", None))
    except ValueError:
        return column


def read_results(folder: Path) -> Results:
    """The results in a folder that `valib fit` has made.

    Raises ParamsError for a folder without them, and for a file among them that is none of valib's.
    """
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise ParamsError(f"{folder} has no {missing[0]}: expected a folder that `valib fit` has made.")
    try:
        tables = {path.name: read_table(path) for path in sorted(folder.glob("*.csv"))}
        fits = json.loads((folder / "fits.json").read_text(encoding="utf-8"))
        found = Results(tables, fits)
        if found.about["model"] and {"cohort", "school", "effect", "lower", "upper"} <= set(
            tables["school_effects.csv"]
        ):
            return found
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ParamsError(f"{folder} holds what `valib fit` has not written: {error}.") from None
    raise ParamsError(f"{folder} holds a school_effects.csv that `valib fit` has not written.")
