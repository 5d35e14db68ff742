"""Residual variances as tables: what `valib fit --residual` writes beside the effects of schools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..effects.residual import BY_SCHOOL, residual_variances, variance_test
from ..errors import ModelError, ParamsError
from ..records.disclosure import shown

if TYPE_CHECKING:
    from ..effects.cohort_fit import CohortFit

SDS, TESTS = FILES = ("residual_sds.csv", "variance_tests.csv")


def residual_tables(
    fits: Sequence[CohortFit], min_students: int, names: Callable[[pd.DataFrame], pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Return the two tables of fits with unequal residual variances; none of others. names: adds schools' names.

    residual_sds.csv has a row for each school that may be shown, or for each group of students; variance_tests.csv one for
    each test. Raises ParamsError for a group of students that is too small to be shown.
    """
    sds, tests = [], []
    for fit in (fit for fit in fits if fit.unequal is not None):
        first = {"model": fit.model, "cohort": fit.cohort, "residual": fit.residual}
        table = residual_variances(fit)
        if fit.residual == BY_SCHOOL:
            part = names(
                table[np.asarray(shown(fit.school_effects, min_students))].reset_index().assign(cohort=fit.cohort)
            )
        else:
            _check_sizes(fit, table["n"], min_students)
            part = table.rename_axis("group").reset_index()
            part["group"] = [f"{value:g}" if isinstance(value, float) else str(value) for value in part["group"]]
        sds.append(part.assign(**first)[[*first, *(c for c in part.columns if c not in first)]])
        tests.append(_tests(fit).assign(**first)[[*first, "test", "statistic", "df", "p"]])
    return {SDS: pd.concat(sds, ignore_index=True), TESTS: pd.concat(tests, ignore_index=True)} if sds else {}


def _tests(fit: CohortFit) -> pd.DataFrame:
    """The tests of one fit; without a statistic where none can be made."""
    try:
        return variance_test(fit).reset_index()
    except ModelError:  # the students of a school fit perfectly
        return pd.DataFrame({"test": ["Bartlett"], "statistic": [np.nan], "df": [fit.n_schools - 1], "p": [np.nan]})


def _check_sizes(fit: CohortFit, n: pd.Series, min_students: int) -> None:
    """Refuse a group of students that is smaller than what may be shown."""
    if (n < min_students).any():
        raise ParamsError(
            f"Cohort {fit.cohort} has {n.min()} students whose {fit.residual} is {n.idxmin()!r}, fewer than the {min_students} "
            "of whom figures may be shown: join them with another group, or leave residual out."
        )
