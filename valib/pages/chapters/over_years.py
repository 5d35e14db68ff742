"""The numbers of the chapter on stability that are about several years of a school: their mean, and the part that lasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ...effects.average import average_va
from ...effects.joint import JointFit
from ...effects.relative import CohortFit
from ...effects.structures_compared import compare_joint
from ...effects.verdict import ABOVE, BELOW
from ...records.disclosure import only_shown
from ...study.tables import named_years
from ..findings import Findings, formats
from ..prose import as_text, in_words

SMALL_P = 0.05  # of the test between the two models of the years


def years_of(cohorts: Sequence[int], focal: Sequence[int]) -> list[int]:
    """The cohorts that are averaged: those of the study's focal ones that can be correlated, or else the last two."""
    own = [cohort for cohort in cohorts if cohort in focal]
    return own if len(own) > 1 else list(cohorts[-2:])


def mean_of_years(
    fits: Sequence[CohortFit], averages: pd.DataFrame, joint: JointFit, min_students: int, stand_in: bool
) -> Findings:
    """The mean over the years of the joint model beside each year by itself, and the table of schools for the results.

    averages: of :func:`valib.average_va`. fits: every year's own model. Schools that are not shown are not counted.
    """
    found, years = Findings(), [str(c) for c in joint.cohorts]
    told = named_years(joint, averages, min_students)
    saved = told.copy()
    saved.insert(1, "averaged", ", ".join(years))
    found.save(saved, "averages.csv", when=not stand_in and len(saved))
    E = formats(*(f.student_sd for f in fits)).fine
    tables = {str(f.cohort): only_shown(f.school_effects, min_students) for f in fits if f.cohort in joint.cohorts}
    tables[f"Mean of {in_words(years)}"] = told.rename(columns={"average": "effect"})
    rows = [
        {
            "Effect": name,
            "Schools": len(table),
            "SD of predictions": table["effect"].std(),
            "SE (median)": table["se"].median(),
            "Above": int((table["side"] == ABOVE).sum()),
            "Below": int((table["side"] == BELOW).sum()),
        }
        for name, table in tables.items()
    ]
    found.table(
        pd.DataFrame(rows),
        "Value added of single years, each by its own model, and the mean of the years by the joint model, of the schools that "
        "may be shown: spread over schools and median standard error in score points, and schools whose {glue:text}`level` "
        "interval lies above or below zero.",
        "tab-05-years",
        index=False,
        formats={"SD of predictions": E, "SE (median)": E},
    )
    found.say("{numref}`tab-05-years` sets the mean of the years beside the single years.")
    return found


def errors_added(joint: JointFit) -> Findings:
    """What the standard error of a mean would be if the errors of the years were independent, over what it is."""
    found, plain = Findings(), average_va(joint, intervals="plugin")
    ratio = float((plain["se_independent"] / plain["se"]).median())
    found.say(
        f"With the variances taken as known, the standard error of the school in the middle would come out at "
        f"{as_text(ratio, '.2f')} times the right one.",
        when=np.isfinite(ratio),
    )
    return found


def lasting_part(lasting: pd.DataFrame, models: Mapping[str, JointFit], min_students: int, stand_in: bool) -> Findings:
    """The variances of the two parts, the schools told apart, whether the model holds, and the table for the results.

    lasting: of :func:`valib.lasting_va`. models: "unstructured" and "compound_symmetry", of the same years. Schools that
    are not shown are not counted.
    """
    found, fit = Findings(), models["compound_symmetry"]
    told = named_years(fit, lasting, min_students)
    if not lasting["lower"].notna().any():
        found.say(
            "In these records the variances of the two parts cannot be told apart: one of them is estimated at nothing, and "
            "the errors of the lasting part are not known."
        )
        return found
    found.save(told, "lasting.csv", when=not stand_in and len(told))
    E = formats(*fit.student_sd).fine
    lasts = float(fit.omega.iloc[0, 1])
    year = float(fit.omega.iloc[0, 0]) - lasts
    sizes = [as_text(float(np.sqrt(v)), E) for v in (lasts, year)]
    above, below = (int((told["side"] == side).sum()) for side in (ABOVE, BELOW))
    found.say(
        f"Here the lasting part has a standard deviation of {sizes[0]} score points over schools, and the part of a single "
        f"year one of {sizes[1]}: {as_text(lasts / (lasts + year), '.0%')} of the variance lasts. Of {len(told):,} schools "
        f"that may be shown, the interval of the lasting part lies above zero for {above} and below zero for {below}."
    )
    flexible = models["unstructured"]
    p = float("nan") if flexible.singular else float(compare_joint([flexible, fit])["p_value"].iloc[1])
    p_text = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    found.say(
        f"A likelihood ratio test prefers the unstructured model ({p_text}): in these records the years differ in their "
        "variances, or pairs of years in their correlations, so that one part for all years is a simplification.",
        when=p < SMALL_P,
    )
    found.say(
        f"A likelihood ratio test does not reject this model against the unstructured one ({p_text}).",
        when=p >= SMALL_P,
    )
    return found
