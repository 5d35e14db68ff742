"""The numbers of the chapter on value added at a quantile."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ...effects.cohort_fit import CohortFit
from ...effects.quantiles import QuantileFit, share_below
from ...models.blup import quantile as normal_quantile
from ...records.datasets import bundle_root
from .. import figures
from ..figures.style import percent
from ..findings import Findings, formats
from ..prose import as_text, direction, in_words

STORED = Path("tests") / "coverage" / "quantiles.json"
Fits = Mapping[float, QuantileFit]


def study_names(quantiles: Sequence[float], cohort: int, baseline: Sequence[int], level: float) -> Findings:
    """Cohorts, quantiles and level as the prose names them."""
    found = Findings().record("cohort", cohort, "d")
    found.record("quantiles", in_words([f"{p:g}" for p in quantiles]))
    found.record("low", f"{min(quantiles):g}")
    found.record("high", f"{max(quantiles):g}")
    found.record("level", percent(level))
    if baseline:
        found.record("baseline_cohorts", baseline)
    return found


def covered() -> Findings:
    """Coverage of school effects in the stored run of the simulator of the library's tests, with 40 schools."""
    found = Findings()
    stored = pd.DataFrame(json.loads((bundle_root() / STORED).read_text(encoding="utf-8"))["worlds"])
    other = stored[(stored["schools"] == stored["schools"].max()) & (stored["errors"] != "laplace")]
    for way in ("calibrated", "laplace"):
        found.record(f"least_{way}", 100 * float(other[way].min()), ".1f")
        found.record(f"most_{way}", 100 * float(other[way].max()), ".1f")
    return found.record("replicates", int(stored["replicates"].min()))


def relative(fits: Fits, mean: CohortFit) -> Findings:
    """Each quantile of one cohort: coefficients, spread, what it centres on, and how far the chains can be trusted."""
    found, f = Findings(), formats(mean.student_sd)
    rows = []
    for p, fit in sorted(fits.items()):
        table = fit.school_effects
        clear = ((table["lower"] > 0) | (table["upper"] < 0)).mean()
        slope = fit.fixed_effects.get("prior_score", float("nan"))
        offset = -fit.offset
        rows.append((f"{p:g}", slope, fit.school_sd, offset, clear, *_worst(fit)))
    heads = ["Quantile", "Slope of prior score", "SD between schools", "Mean VA", "Interval off 0", "R-hat", "ESS"]
    columns = {
        **{heads[1]: ".3f", heads[2]: f.plain, heads[3]: f.signed},
        **{heads[4]: ".0%", heads[5]: ".3f", heads[6]: ".0f"},
    }
    found.table(
        pd.DataFrame(rows, columns=heads),
        "Value added at quantiles of cohort {glue:text}`cohort`, one fit a quantile: the slope of the prior score, the "
        "standard deviation between schools and the mean quantile value added (score points), the share of schools whose "
        "{glue:text}`level` interval lies off zero, and the worst R-hat and effective sample size (ESS) of the draws.",
        "tab-quantiles-relative",
        formats=columns,
        index=False,
    )
    short = [f"{p:g}" for p, fit in sorted(fits.items()) if not fit.converged]
    found.say(
        f"The chains of quantile {in_words(short)} have not met well enough to be read: R-hat should be below 1.05 and the "
        "effective sample above 100. Run the chapter with more draws.",
        when=bool(short),
    )
    return found


def _worst(fit: QuantileFit) -> tuple[float, float]:
    return float(fit.diagnostics["rhat"].max()), float(fit.diagnostics[["ess_bulk", "ess_tail"]].min().min())


def contrast_figure(fits: Fits, min_students: int) -> Findings:
    """Schools at the lowest and at the highest of the quantiles."""
    low, high = min(fits), max(fits)
    return Findings().figure(
        "fig_quantile_schools",
        figures.type_ab(
            fits[low].school_effects,
            fits[high].school_effects,
            f"VA at quantile {low:g}",
            f"VA at quantile {high:g}",
            min_n=min_students,
        ),
    )


def contrast(fits: Fits, level: float) -> Findings:
    """How many schools do otherwise by their weak than by their strong results."""
    a, b = fits[min(fits)].school_effects, fits[max(fits)].school_effects
    apart = (b["effect"] - b["effect"].mean()) - (a["effect"] - a["effect"].mean())
    far = np.abs(apart) > normal_quantile(level) * np.hypot(a["se"], b["se"])
    expected = (1 - level) * len(far)
    beyond = stats.binom.sf(far.sum() - 1, len(far), 1 - level) < 0.05
    return Findings().say(
        f"In {int(far.sum())} of {len(far)} schools the two values lie further apart than the errors of both explain, after "
        f"the mean difference over schools is taken off. If no school differed, about {expected:.0f} or fewer would, because "
        "the two errors are taken as independent. "
        + (
            "More schools differ than chance would make: the mean hides something in this cohort."
            if beyond
            else "That is no more than chance would make, so these records give no reason to read quantiles of single "
            "schools instead of the mean."
        )
    )


def shift_figure(benchmarked: Fits, mean: CohortFit, level: float) -> Findings:
    """The shift of each quantile beside that of the mean."""
    found, moved = Findings(), None
    if mean.shift is not None and mean.shift_interval is not None:
        moved = (mean.shift, *mean.shift_interval)
    table, S = shift_table(benchmarked), formats(mean.student_sd).signed
    found.record_all(
        ("low_shift", float(table["shift"].iloc[0]), S),
        ("high_shift", float(table["shift"].iloc[-1]), S),
        ("mean_shift", float("nan") if mean.shift is None else float(mean.shift), S),
    )
    found.figure("fig_quantile_shift", figures.quantile_shifts(table, moved, level=level))
    return found


def shift(benchmarked: Fits, mean: CohortFit, shares: Mapping[float, tuple[float, float]], level: float) -> Findings:
    """How far each quantile has moved since the baseline, as a table and in words."""
    found, f = Findings(), formats(mean.student_sd)
    table = shift_table(benchmarked)
    shown = pd.DataFrame(
        {
            "Quantile": [f"{p:g}" for p in table["quantile"]],
            "Shift": table["shift"],
            "SE": table["se"],
            "Interval": [
                f"{as_text(a, f.signed)} to {as_text(b, f.signed)}"
                for a, b in zip(table["lower"].tolist(), table["upper"].tolist(), strict=True)
            ],
            "Below the baseline's line": [shares[p][0] for p in table["quantile"]],
            "SE of the share": [shares[p][1] for p in table["quantile"]],
        }
    )
    found.table(
        shown,
        "Shift of each quantile of cohort {glue:text}`cohort` against that of the baseline (score points, with "
        "{glue:text}`level` intervals), and the share of its students who score below the baseline's line for that "
        "quantile. Had nothing changed, the share would be the quantile.",
        "tab-quantiles-shift",
        formats={"Shift": f.signed, "SE": f.fine, "Below the baseline's line": ".1%", "SE of the share": ".1%"},
        index=False,
    )
    low, high = table.iloc[0], table.iloc[-1]
    apart, se = float(high["shift"] - low["shift"]), float(np.hypot(high["se"], low["se"]))
    word = direction(
        apart,
        "the high scores have moved up against the low ones, so the spread of scores has grown",
        "the high scores have moved down against the low ones, so the spread of scores has shrunk",
        "the two cannot be told apart, so these records give no reason to report quantiles beside the mean",
        tolerance=normal_quantile(level) * se,
    )
    found.say(
        "{numref}`tab-quantiles-shift` gives the shifts with their errors. "
        f"Quantile {low['quantile']:g} has shifted by {as_text(float(low['shift']), f.signed)} points and quantile "
        f"{high['quantile']:g} by {as_text(float(high['shift']), f.signed)}, a difference of {as_text(apart, f.signed)} "
        f"(standard error at most {as_text(se, f.fine)}): {word}. {_in_percentiles(shares)}"
    )
    return found


def _in_percentiles(shares: Mapping[float, tuple[float, float]]) -> str:
    """The share below the baseline's middle line, in the words of growth percentiles."""
    p = min(sorted(shares), key=lambda p: abs(p - 0.5))
    share, se = shares[p]
    return (
        f"In growth percentiles that refer to the baseline, {as_text(share, '.1%')} of these students (standard error "
        f"{as_text(se, '.1%')}) are below percentile {100 * p:g}, where {100 * p:g}% were in the baseline."
    )


def shift_table(benchmarked: Fits) -> pd.DataFrame:
    """One row a quantile: quantile, shift, se, lower, upper."""
    rows = []
    for p, fit in sorted(benchmarked.items()):
        assert fit.shift_interval is not None
        rows.append((p, fit.shift, fit.shift_se, *fit.shift_interval))
    return pd.DataFrame(rows, columns=["quantile", "shift", "se", "lower", "upper"])


def moved_up(records: pd.DataFrame, cohort: int, typical: Fits) -> Findings:
    """The exercise with ten points more for the last cohort: the share below the baseline's lowest line, before and after."""
    found, lowest = Findings(), typical[min(typical)]
    moved = records.copy()
    moved.loc[moved["cohort"] == cohort, "score"] += 10
    moved.attrs.clear()
    found.record("share_as_is", share_below(lowest, records, cohort)[0], ".1%")
    found.record("share_moved", share_below(lowest, moved, cohort)[0], ".1%")
    return found
