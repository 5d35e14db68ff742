"""The checklist of the last chapter, on the study in hand: may it be benchmarked, and what may be printed?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...effects.baseline import Benchmark
from ...effects.cohort_fit import CohortFit
from ...effects.findings import FEW_SCHOOLS
from ...effects.verdict import ABOVE, BELOW, SCHOOLS, UNCLEAR, shift_verdicts
from ...records.prior_check import PriorCheck
from ...records.reading import left_out
from ...sums.equating import ScaleBreak
from .. import figures
from ..figures.style import percent
from ..findings import Findings, formats
from ..prose import as_text, in_words

GO, CARE, STOP = "go", "take care", "stop"
WIDE_LIMITS = 40  # schools up to which the limits of a shift are wide; below FEW_SCHOOLS a shift warns
RELIABLE, UNRELIABLE = 0.7, 0.5  # median shrinkage factor of schools
LINKED = 0.05  # difference of the shares of students with both scores, baseline to focal


def checklist(
    fits: Sequence[CohortFit],
    benchmark: Benchmark,
    context: pd.DataFrame,
    checks: Sequence[PriorCheck],
    breaks: Sequence[ScaleBreak],
    used: pd.Series | None = None,
) -> pd.DataFrame:
    """One row a question: ``question``, ``here`` (what this study has), ``sign`` (go, take care, stop), ``what to do``.

    fits: against the benchmark, in order of cohorts. context: of :func:`valib.shift_in_context`. checks: of the prior
    score of each focal cohort. breaks: declared. used: share of rows with a score and a prior score, by cohort.
    """
    rows = [
        _scale(breaks),
        _equating(fits),
        _years(context),
        _schools(fits, context),
        _prior(fits, context, checks),
        _reliability(fits),
    ]
    if used is not None:
        rows.append(_linked(used, benchmark, fits))
    return pd.DataFrame(rows, columns=["question", "here", "sign", "what to do"])


def _scale(breaks: Sequence[ScaleBreak]) -> tuple[str, str, str, str]:
    question = "Is there one scale from the baseline to the last cohort?"
    if not breaks:
        do = "Confirm with the testing authority that no scale was reset; no student record shows it."
        return question, "no break declared", CARE, do
    named = in_words([f"{b.column} from {b.cohort}" for b in breaks])
    return question, f"linked: {named}", GO, "State the link and its error beside every shift across it."


def _equating(fits: Sequence[CohortFit]) -> tuple[str, str, str, str]:
    question = "Is the error of equating the tests known?"
    known = [f.equating_se for f in fits if f.equating_se is not None]
    if known:
        return question, f"{known[-1]:g} points", GO, "It is in every interval of a shift."
    do = "Print 'without equating error' beside every shift, and what 2% and 5% of a standard deviation would make of it."
    return question, "not known", CARE, do


def _years(context: pd.DataFrame) -> tuple[str, str, str, str]:
    B = int((context["role"] == "baseline").sum())
    question = "How many baseline cohorts show what an ordinary year is?"
    if B == 1:
        return question, "1", STOP, "Do not call a shift a trend: nothing here tells it from an ordinary year."
    do = (
        "Two years hardly show a spread: read the interval of a further year as a caution."
        if B == 2
        else "Give the interval of a further ordinary year beside the shift."
    )
    return question, str(B), CARE if B == 2 else GO, do


def _schools(fits: Sequence[CohortFit], context: pd.DataFrame) -> tuple[str, str, str, str]:
    fewest = min(f.n_schools for f in fits)
    question = "Are there schools enough for a shift with an error?"
    sign = STOP if fewest < FEW_SCHOOLS else CARE if fewest < WIDE_LIMITS else GO
    do = {
        STOP: "Print no shift of the system; with so few schools its error is hardly known.",
        CARE: "Use integrated intervals and t limits, and say how few schools there are.",
        GO: "No school count stands in the way.",
    }[sign]
    return question, f"{fewest} in the smallest cohort", sign, do


def _prior(fits: Sequence[CohortFit], context: pd.DataFrame, checks: Sequence[PriorCheck]) -> tuple[str, str, str, str]:
    question = "Is the prior test the same measure as in the baseline?"
    part = context.loc[[f.cohort for f in fits], "prior_part"].abs().to_numpy()
    se = np.array([f.shift_se if f.shift_se is not None else np.nan for f in fits])
    large = [str(f.cohort) for f, p, e in zip(fits, part, se, strict=True) if p > e]
    outside = [str(c.cohort) for c in checks if not c.ok]
    if outside:
        here, sign = f"outside the baseline's range in {in_words(outside)}", STOP
    elif large:
        here, sign = f"its change could make more than one SE of the shift in {in_words(large)}", CARE
    else:
        here, sign = "its change could make less than one SE of any shift", GO
    do = {
        STOP: "Find out what happened to the prior test or its sitting before any shift is told.",
        CARE: "Argue from outside the records that the intake changed and not the test, or give the shift with and without.",
        GO: "Say that the prior test was checked.",
    }[sign]
    return question, here, sign, do


def _reliability(fits: Sequence[CohortFit]) -> tuple[str, str, str, str]:
    question = "Can single schools be told apart?"
    median = float(np.median(np.concatenate([f.school_effects["shrinkage"].to_numpy() for f in fits])))
    sign = GO if median >= RELIABLE else CARE if median >= UNRELIABLE else STOP
    do = {
        STOP: "Publish no single school by one cohort; average several.",
        CARE: "Publish intervals, no ranks, and averages of several cohorts beside them.",
        GO: "Publish intervals; still no bare rank.",
    }[sign]
    return question, f"median reliability {as_text(median, '.2f')}", sign, do


def _linked(used: pd.Series, benchmark: Benchmark, fits: Sequence[CohortFit]) -> tuple[str, str, str, str]:
    question = "Are as many students linked as in the baseline?"
    before = float(used.loc[[t for t in benchmark.cohorts if t in used.index]].mean())
    after = {f.cohort: float(used[f.cohort]) for f in fits if f.cohort in used.index}
    worst = max(after, key=lambda t: abs(after[t] - before))  # type: ignore[arg-type,return-value]
    apart = abs(after[worst] - before)
    here = f"{before:.1%} in the baseline, {after[worst]:.1%} in {worst}"
    if apart <= LINKED:
        return question, here, GO, "State the share beside the result."
    return question, here, CARE, "Ask who is missing: a new loss of weak students looks like progress."


def linked_shares(records: pd.DataFrame) -> pd.Series | None:
    """Share of the rows of each cohort that could be used; None where the records carry no count of the others."""
    if "left_out" not in records.attrs:
        return None
    lost = left_out(records).dropna(subset="cohort").groupby("cohort")["rows"].sum()
    used = records.groupby("cohort").size()
    share: pd.Series = used / (used + lost.reindex(used.index, fill_value=0).astype(float))
    return share


def thresholds() -> Findings:
    """The conventions of the checklist, as the prose names them."""
    return Findings().record_all(
        ("fewest", FEW_SCHOOLS, "d"), ("reliable", RELIABLE, "g"), ("unreliable", UNRELIABLE, "g")
    )


def steps() -> Findings:
    """The steps of a release, drawn."""
    return Findings().figure("fig_steps", figures.release_steps())


def signs(table: pd.DataFrame) -> Findings:
    """The checklist as a table, and its sum in words."""
    found = Findings().table(
        table.rename(columns={"question": "Question", "here": "Here", "sign": "Sign", "what to do": "What to do"}),
        "The checklist for this study.",
        "tab-advice-checklist",
        index=False,
        raw=True,
    )
    stops, cares = ((table["sign"] == sign).sum() for sign in (STOP, CARE))
    return found.say(
        f"{_count(stops)} of the {len(table)} questions {'says' if stops < 2 else 'say'} stop, and {_count(cares).lower()} "
        f"{'asks' if cares < 2 else 'ask'} for care. "
        + (
            "What a stop sign is about should not be published from these records."
            if stops
            else "Nothing here forbids a benchmark; what asks for care belongs in the text beside the number."
        )
    )


def _count(n: int) -> str:
    return ("None", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")[int(n)]


def sentences(fit: CohortFit, context: pd.DataFrame, level: float) -> Findings:
    """What may be printed of the last cohort's shift and schools, and what may not, each with its numbers."""
    found, f = Findings(), formats(fit.student_sd)
    side, interval, lower, upper = shift_verdicts(context).loc[fit.cohort]
    shift = float(context.loc[fit.cohort, "shift"])
    how = "schools and coefficients" if interval == SCHOOLS else "ordinary years, and is wider than that over schools"
    equating = (
        "" if fit.equating_se is not None else " It does not count the error of equating the tests, which is not known."
    )
    said = {
        ABOVE: f"scored {as_text(abs(shift), f.plain)} points more than students like them did in the baseline",
        BELOW: f"scored {as_text(abs(shift), f.plain)} points less than students like them did in the baseline",
        UNCLEAR: "did not score measurably otherwise than students like them did in the baseline",
    }[side]
    found.say(
        f"> Students of cohort {fit.cohort} {said} ({percent(level)} interval {as_text(lower, f.signed)} to "
        f"{as_text(upper, f.signed)} points). The interval counts {how}.{equating}"
    )
    effects = fit.school_effects
    above, below = int((effects["lower"] > 0).sum()), int((effects["upper"] < 0).sum())
    rest = len(effects) - above - below
    found.say(
        f"> Of {len(effects)} schools, {above} lie above the benchmark and {below} below it by more than their intervals allow "
        f"for; {rest} cannot be told apart from it. A shift of the whole system is part of each of these distances."
    )
    return found
