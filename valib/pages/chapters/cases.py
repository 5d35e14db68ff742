"""The numbers of the appendix on two real data sets: Exam, inner London, and Chem97, A-level chemistry."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from ...effects.cohort_fit import CohortFit
from ...effects.multiplicity import side_counts
from ...records.disclosure import only_shown
from ...sums.design import build_design
from .. import figures
from ..findings import Findings
from ..prose import as_text, in_words

FIFTHS = 5


def variances(fits: Mapping[str, CohortFit], name: str, caption: str) -> Findings:
    """Spread between and within schools by model, and how many schools can be told from the average."""
    counts = side_counts(list(fits.values()))
    return Findings().table(
        pd.DataFrame(
            {
                "Model": list(fits),
                "SD between schools": [fit.tau2**0.5 for fit in fits.values()],
                "SD within": [fit.sigma2**0.5 for fit in fits.values()],
                "Share between": [fit.vpc for fit in fits.values()],
                "Schools above": counts["above"].array,
                "below": counts["below"].array,
                "not told apart": counts["unclear"].array,
            }
        ),
        caption,
        name,
        formats={"SD between schools": ".3f", "SD within": ".3f", "Share between": ".1%"},
        index=False,
    )


def coefficients(fit: CohortFit, words: Mapping[str, str], name: str, caption: str) -> Findings:
    """Coefficients of a fit in words, with their standard errors and limits at the fit's level."""
    se = pd.Series(np.sqrt(np.diag(fit.vcov)), fit.fixed_effects.index)
    z = stats.norm.ppf(0.5 + fit.level / 2)
    rows = [(label, b, s, b - z * s, b + z * s) for label, b, s in _named(fit, se, words)]
    return Findings().table(
        pd.DataFrame(rows, columns=["Covariate", "Coefficient", "SE", "Lower", "Upper"]),
        caption,
        name,
        formats=".3f",
        index=False,
    )


def _named(fit: CohortFit, se: pd.Series, words: Mapping[str, str]) -> list[tuple[str, float, float]]:
    return [(words[k], float(b), float(se[k])) for k, b in fit.fixed_effects.items() if k in words]


def against(fit: CohortFit, level: str, reference: str) -> tuple[float, float]:
    """The difference of two coefficients of a fit and its standard error, which counts their covariance."""
    names = list(fit.fixed_effects.index)
    weights = np.zeros(len(names))
    weights[names.index(level)] += 1.0
    weights[names.index(reference)] -= 1.0
    return float(weights @ fit.fixed_effects.to_numpy()), float(np.sqrt(weights @ np.asarray(fit.vcov) @ weights))


def exam_order(fits: Mapping[str, CohortFit]) -> Findings:
    """How the order of London's schools changes from one model to the next: correlation, and changes of fifth."""
    found, names = Findings(), list(fits)
    effects = {name: fit.school_effects["effect"] for name, fit in fits.items()}
    fifth = {name: pd.qcut(e.rank(method="first"), FIFTHS, labels=False) for name, e in effects.items()}
    rows = [
        (f"{a} to {b}", effects[a].corr(effects[b]), int((fifth[a] != fifth[b]).sum()))
        for a, b in zip(names[:-1], names[1:], strict=True)
    ]
    found.table(
        pd.DataFrame(rows, columns=["From model to model", "Correlation of effects", "Schools in another fifth"]),
        f"What each step changes in the order of the {len(effects[names[0]])} schools.",
        "tab-cases-exam-order",
        formats={"Correlation of effects": ".2f"},
        index=False,
    )
    return found


def exam_figure(fit: CohortFit) -> Findings:
    """London's schools with their intervals."""
    return Findings().figure(
        "exam_schools", figures.caterpillar(fit.school_effects, fit.level, unit="standard deviations")
    )


def exam_single_sex(fit: CohortFit) -> Findings:
    """Girls' and boys' schools against mixed ones, in words that hold for what the fit gives."""
    found = Findings()
    z = stats.norm.ppf(0.5 + fit.level / 2)
    for kind in ("girls", "boys"):
        reference = "schgend[T.mixed]"
        if kind == "boys":  # the level that the intercept stands for
            k = list(fit.fixed_effects.index).index(reference)
            b, se = -float(fit.fixed_effects.iloc[k]), float(np.sqrt(np.asarray(fit.vcov)[k, k]))
        else:
            b, se = against(fit, "schgend[T.girls]", reference)
        low, high = b - z * se, b + z * se
        told = "which holds zero" if low <= 0 <= high else "which does not hold zero"
        found.record(
            f"{kind}_said", f"{as_text(b, '+.2f')} (interval {as_text(low, '+.2f')} to {as_text(high, '+.2f')}, {told})"
        )
        found.record(kind, b, "+.3f")
    return found


def chem_sizes(fit: CohortFit, min_students: int) -> Findings:
    """How many students the schools of Chem97 have, and what that does to their reliability."""
    found, table = Findings(), fit.school_effects
    n = table["n"]
    found.record_all(
        ("chem_schools", len(n), None),
        ("chem_students", int(n.sum()), None),
        ("chem_median", float(n.median()), ".0f"),
        ("chem_alone", float((n == 1).mean()), ".0%"),
        ("chem_held", int(len(n) - len(only_shown(table, min_students))), None),
        ("chem_fewest", min_students, "d"),
    )
    bounds = [1, 2, min_students, 10, 20, 50, 10**9]
    rows = []
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        part = table[(n >= low) & (n < high)]
        label = str(low) if high == low + 1 else f"{low} or more" if high == 10**9 else f"{low} to {high - 1}"
        apart = int(((part["lower"] > 0) | (part["upper"] < 0)).sum())
        rows.append((label, len(part), part["shrinkage"].median(), (part["upper"] - part["lower"]).median(), apart))
    found.table(
        pd.DataFrame(
            rows,
            columns=["Students", "Schools", "Median reliability", "Median width of interval", "Told from the average"],
        ),
        "Schools of Chem97 by their number of students; widths in points of the A-level scale.",
        "tab-cases-chem-sizes",
        formats={"Median reliability": ".2f", "Median width of interval": ".2f"},
        index=False,
    )
    return found


def chem_shape(records: pd.DataFrame, fit: CohortFit, curved: CohortFit) -> Findings:
    """Residuals of Chem97 by fifth of the prior score: whether a line fits scores that take six values."""
    values = np.sort(records["score"].unique())
    found = Findings().record("chem_values", in_words([f"{v:g}" for v in values]))
    found.record("chem_top", float((records["score"] == values[-1]).mean()), ".0%")
    rows = []
    for model in (fit, curved):
        design = build_design(records, model.state)
        own = design.data["school"].map(model.school_effects["effect"]).to_numpy()
        residual = pd.Series(design.y - design.X @ model.fixed_effects.to_numpy() - own)
        fifth = pd.qcut(design.data["prior_score"].rank(method="first"), FIFTHS, labels=False).to_numpy()
        rows.append((residual.groupby(fifth).mean(), residual.groupby(fifth).std()))
    found.table(
        pd.DataFrame(
            {
                "Fifth of the prior score": [f"{k + 1}" for k in range(FIFTHS)],
                "Mean, line": rows[0][0].array,
                "Mean, curve": rows[1][0].array,
                "SD, line": rows[0][1].array,
            }
        ),
        "What is left of Chem97's scores within schools, by fifth of the prior score, from the line and from the curve.",
        "tab-cases-chem-shape",
        formats=".2f",
        index=False,
    )
    one, other = (f.school_effects["effect"] for f in (fit, curved))
    found.record("chem_same_order", float(one.corr(other)), ".3f")
    for key, (mean, _) in zip(("chem_off_line", "chem_off_curve"), rows, strict=True):
        found.record(key, float(mean.abs().max()), ".2f")
    spread = rows[0][1]
    return found.record("chem_uneven", float(spread.max() / spread.min()), ".1f")


def chem_told(fit: CohortFit, fdr: pd.DataFrame) -> Findings:
    """How many of Chem97's schools are told from the average, each by itself and with false discoveries held."""
    found, counts = Findings(), side_counts([fit]).iloc[0]
    found.record_all(
        ("chem_apart", int(counts["above"] + counts["below"]), None),
        ("chem_chance", float(counts["by_chance"]), ",.0f"),
        ("chem_fdr", int(fdr["side_fdr"].isin(["above", "below"]).sum()), None),
    )
    return found
