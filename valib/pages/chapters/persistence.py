"""The numbers of the chapter on how long school effects last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...effects.joint import JointFit
from ...effects.relative import CohortFit, school_residuals
from ...models.blup import quantile
from .. import figures
from ..figures.style import percent
from ..findings import Findings, formats
from ..prose import as_text, in_words

TIE = 2  # of AIC, up to which models are not told apart (Burnham and Anderson 2002)
NAMES = {"independent": "Independent", "persistent": "Persistent", "previous mean": "Previous mean", "both": "Both"}


def study_names(before: int, cohort: int, cohorts: Sequence[int], level: float) -> Findings:
    """Cohorts and level as the prose names them."""
    found = Findings().record_all(
        ("before", before, "d"), ("cohort", cohort, "d"), ("years_apart", cohort - before, "d")
    )
    found.record("cohorts", list(cohorts))
    return found.record("level", percent(level))


def models(table: pd.DataFrame, fits: dict[str, JointFit], level: float) -> Findings:
    """The four models side by side, and what they say of persistence and of the estimand."""
    f = formats(float(next(iter(fits.values())).student_sd.iloc[-1]))
    shown = pd.DataFrame(
        {
            "Model": [NAMES[name] for name in table.index],
            "Log-likelihood": table["loglik"],
            "AIC": table["aic"],
            "Persistence": table["persistence"],
            "Interval": [_interval(a, b, ".2f") for a, b in zip(table["lower"], table["upper"], strict=True)],
            "Previous mean": table["previous"],
            "SE": table["previous_se"],
            "SD between schools": table["sd"],
            "Agreement": table["agreement"],
        }
    )
    found = Findings().table(
        shown,
        "Cohorts {glue:text}`before` and {glue:text}`cohort` under four models: persistence of school effects with its "
        "{glue:text}`level` interval, the coefficient of the school's mean score in cohort {glue:text}`before`, the standard "
        "deviation of what is called the school's effect in cohort {glue:text}`cohort` (score points), and its correlation "
        "over schools with the effect of the independent model.",
        "tab-persistence-models",
        formats={
            **{"Log-likelihood": ".1f", "AIC": ".1f", "Persistence": ".2f", "Previous mean": ".2f", "SE": ".2f"},
            **{"SD between schools": f.plain, "Agreement": ".2f"},
        },
        index=False,
    )
    row = table.loc["persistent"]
    limits = _interval(row["lower"], row["upper"], ".2f")
    value = as_text(float(row["persistence"]), ".2f") if np.isfinite(row["persistence"]) else "not known"
    found.record("front_persistence", value + (f" ({limits})" if limits else ""))
    return found.say(
        "{numref}`tab-persistence-models` compares the four models. "
        f"{_best(table['aic'])} {_persists(row)} {_smaller(table)}"
    )


def _best(aic: pd.Series) -> str:
    """Which model describes the cohorts best; those within :data:`TIE` of the best are not told apart."""
    near = [f"*{NAMES[str(name)].lower()}*" for name in aic.index[aic <= aic.min() + TIE]]
    if len(near) == 1:
        return f"By AIC the model {near[0]} describes these two cohorts best."
    return f"AIC does not tell the models {in_words(near)} apart in these two cohorts: they differ by {TIE} or less."


def _interval(low: float, high: float, spec: str) -> str:
    return f"{as_text(float(low), spec)} to {as_text(float(high), spec)}" if np.isfinite(low) else ""


def _persists(row: pd.Series) -> str:
    """What the interval of phi says."""
    if not np.isfinite(row["lower"]):
        return (
            "Persistence cannot be told apart from any other value here, because the schools of a cohort do not vary."
        )
    told = (
        f"Persistence is {as_text(float(row['persistence']), '.2f')} ({_interval(row['lower'], row['upper'], '.2f')}): "
    )
    if row["lower"] > 0:
        full = row["upper"] >= 1
        return told + (
            "schools keep some of their effect, and these two cohorts do not rule out that they keep all of it."
            if full
            else "schools keep some of their effect and lose some of it."
        )
    return told + "these two cohorts do not show that schools keep any of their effect."


def _smaller(table: pd.DataFrame) -> str:
    """What conditioning on the previous mean does to the spread and to the order of schools."""
    ratio = float(table.loc["previous mean", "sd"] / table.loc["independent", "sd"])
    if not np.isfinite(ratio):
        return ""
    agreement = float(table.loc["previous mean", "agreement"])
    return (
        f"Once the previous mean is in the model, what is called a school's effect varies {as_text(ratio, '.2f')} times as "
        f"much between schools as in the independent model, and the two order schools with a correlation of "
        f"{as_text(agreement, '.2f')}."
    )


def from_omega(joint: JointFit, before: int, cohort: int) -> Findings:
    """The exercise that takes persistence and correlation from the covariance matrix of the joint model."""
    found, w = Findings(), joint.omega.loc[[before, cohort], [before, cohort]].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        found.record("solved_persistence", float(w[0, 1] / w[0, 0]), ".2f")
        found.record("solved_correlation", float(w[0, 1] / np.sqrt(w[0, 0] * w[1, 1])), ".2f")
    return found


def associations(table: pd.DataFrame, cohort: int, level: float) -> Findings:
    """The regression of the last cohort's effects on those of all earlier ones."""
    shown = table.reset_index().rename(columns={"cohort": "Cohort", "coefficient": "Coefficient", "se": "SE"})
    shown["Interval"] = [_interval(a, b, ".2f") for a, b in zip(table["lower"], table["upper"], strict=True)]
    found = Findings().table(
        shown[["Cohort", "Coefficient", "SE", "Interval"]],
        "Regression of the effects of cohort {glue:text}`cohort` on those of the others, from the covariances of the joint "
        "model, with {glue:text}`level` intervals.",
        "tab-persistence-associations",
        formats={"Coefficient": ".2f", "SE": ".2f"},
        index=False,
    )
    clear = [str(t) for t, row in table.iterrows() if row["lower"] > 0 or row["upper"] < 0]
    return found.say(
        "{numref}`tab-persistence-associations` gives the coefficients. Together the earlier cohorts explain "
        f"{as_text(float(table.attrs['r_squared']), '.0%')} of the variance of the effects of cohort "
        f"{cohort}. "
        + (
            f"Given the others, the interval of cohort {in_words(clear)} excludes zero."
            if len(clear) == 1
            else f"Given the others, the intervals of cohorts {in_words(clear)} exclude zero."
            if clear
            else "Given the others, no single cohort's interval excludes zero."
        )
    )


def calibration(table: pd.DataFrame, level: float) -> Findings:
    """Slopes of results on forecasts, one cohort left out at a time."""
    found = Findings()
    if table.empty:
        found.say(
            "The forecasts cannot be checked on these records: that takes three cohorts with ten schools or more in common, "
            "and schools whose effects vary."
        )
        return found
    found.table(
        table.reset_index().rename(
            columns={
                **{"cohort": "Cohort", "schools": "Schools", "slope": "Slope", "se": "SE"},
                **{"correlation": "Correlation", "explained": "Explained"},
            }
        ),
        "Each cohort's unshrunken results regressed on their forecast from the other cohorts: the slope with its standard "
        "error, the correlation of the two, and the share of the variance between schools that the forecast explains "
        "according to the model. An unbiased forecast has slope 1.",
        "tab-persistence-calibration",
        formats={"Slope": ".2f", "SE": ".2f", "Correlation": ".2f", "Explained": ".0%"},
        index=False,
    )
    off = table[np.abs(table["slope"] - 1) > quantile(level) * table["se"]]
    expected = (1 - level) * len(table)
    return found.say(
        "{numref}`tab-persistence-calibration` gives the slopes. No slope differs from 1 by more than its error explains."
        if off.empty
        else "{numref}`tab-persistence-calibration` gives the slopes. "
        f"The slope of {'cohort' if len(off) == 1 else 'cohorts'} {in_words([str(t) for t in off.index])} differs from 1 "
        f"by more than its own error explains. With {len(table)} cohorts, {as_text(expected, '.1f')} would be expected to do "
        "so by chance alone."
    )


def no_calibration() -> pd.DataFrame:
    """The table of :func:`valib.forecast_calibration` where there are too few cohorts for one."""
    return pd.DataFrame(columns=["schools", "slope", "se", "correlation", "explained"])


def forecast_figure(
    forecast: pd.DataFrame | None, fits: Sequence[CohortFit], cohort: int, min_students: int
) -> Findings:
    """Results of a cohort against their forecast, or, without one, against its own predictions."""
    own = next(fit for fit in fits if fit.cohort == cohort)
    result = school_residuals(own).rename(columns={"residual": "effect"})
    ahead = own.school_effects["effect"] if forecast is None else forecast["forecast"]
    shared = result.index.intersection(ahead.index)
    result = result.loc[shared]
    given = pd.DataFrame({"n": result["n"], "effect": ahead.loc[shared]})
    name = "Prediction" if forecast is None else "Forecast"
    return Findings().figure(
        "fig_forecast", figures.type_ab(given, result, name, "Result, not shrunk", min_n=min_students)
    )
