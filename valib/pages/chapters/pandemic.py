"""The numbers of the study of SGPdata's COVID set (studies/sgpdata): scores with and without a disturbed year."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ...effects.baseline import Benchmark
from ...effects.cohort_fit import CohortFit
from ...effects.verdict import shift_verdicts
from ...records.prior_check import PriorCheck
from ..findings import Findings, Formats, formats
from ..prose import as_text, in_words

WITH, WITHOUT = "as published", "without the disturbance"
KEY = ["student", "school", "cohort"]


def put_in(records: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """By cohort: the mean difference of the scores of the two readings, and of the prior scores (points); students.

    Over the students who stand in both readings with both scores, each once.
    """
    both = (r.dropna(subset=["score", "prior_score"]).drop_duplicates(KEY) for r in (records[WITH], records[WITHOUT]))
    joined = next(both).merge(next(both), on=KEY, suffixes=("", "_without"))
    apart = pd.DataFrame(
        {
            "cohort": joined["cohort"],
            "score": joined["score"] - joined["score_without"],
            "prior": joined["prior_score"] - joined["prior_score_without"],
        }
    )
    table = apart.groupby("cohort").mean()
    return table.assign(students=apart.groupby("cohort").size())


def names(fits: Mapping[str, Sequence[CohortFit]], table: pd.DataFrame, benchmark: Benchmark) -> Findings:
    """The cohorts, for the prose: the one whose scores are disturbed most, and the one whose prior scores are."""
    found, focal = Findings(), [f.cohort for f in fits[WITH]]
    f = formats(fits[WITH][-1].student_sd)
    for key, column in (("score", "score"), ("prior", "prior")):
        cohort = table.loc[focal, column].abs().idxmax()
        found.record(f"{key}_cohort", str(cohort))
        found.record(f"{key}_put_in", float(table.loc[cohort, column]), f.signed)
    found.record("focal", in_words([str(t) for t in focal]))
    found.record("n_baseline", as_text(len(benchmark.cohorts)))
    cohort = table.loc[focal, "prior"].abs().idxmax()
    found.record("from_prior", float(-benchmark.coefficients["prior_score"] * table.loc[cohort, "prior"]), f.signed)
    return found


def expected(table: pd.DataFrame, benchmark: Benchmark) -> pd.Series:
    """By cohort: what the disturbance adds to the shift, its mean in the scores less the slope times that in the priors."""
    slope = float(benchmark.coefficients["prior_score"])
    made: pd.Series = table["score"] - slope * table["prior"]
    return made


def known_answer(
    fits: Mapping[str, Sequence[CohortFit]],
    table: pd.DataFrame,
    benchmark: Benchmark,
    contexts: Mapping[str, pd.DataFrame],
) -> Findings:
    """The shifts of both readings beside what was put in."""
    found, f = Findings(), formats(fits[WITH][-1].student_sd)
    focal = [one.cohort for one in fits[WITH]]
    shift = {name: pd.Series({one.cohort: float(one.shift or 0.0) for one in given}) for name, given in fits.items()}
    apart, should = (shift[WITH] - shift[WITHOUT]).loc[focal], expected(table, benchmark).loc[focal]
    found.table(
        pd.DataFrame(
            {
                "Cohort": focal,
                "Put into the scores": table.loc[focal, "score"].array,
                "into the prior scores": table.loc[focal, "prior"].array,
                "Shift, as published": shift[WITH].loc[focal].array,
                "Shift, without": shift[WITHOUT].loc[focal].array,
                "Difference": apart.array,
                "Should be": should.array,
            }
        ),
        "What was put in, as the mean over students, and what the benchmark makes of it (score points).",
        "tab-pandemic-known",
        formats=f.signed,
        index=False,
    )
    for sentence in _agreement((apart - should).abs(), table, contexts, f):
        found.say(sentence)
    return found


def _agreement(off: pd.Series, table: pd.DataFrame, contexts: Mapping[str, pd.DataFrame], f: Formats) -> Iterator[str]:
    """How near the difference of the shifts comes to what was put in, and the verdicts. off: by focal cohort."""
    most = as_text(float(off.max()), f.fine_signed.replace("+", ""))
    yield (
        f"The last two columns differ by at most {most} points. They would be equal if every student weighed the same in a "
        "shift, which weighs schools, and if the two readings had the same slope."
    )
    cohort = table.loc[off.index, "score"].abs().idxmax()
    se = float(contexts[WITH].loc[cohort, "se"])
    gives = (
        "gives back what was put in to less than" if off[cohort] < se else "differs from what was put in by more than"
    )
    yield f"In cohort {cohort} the benchmark {gives} one standard error of the shift ({as_text(se, f.fine)} points)."
    verdicts = {name: shift_verdicts(context)["side"] for name, context in contexts.items()}
    for cohort in off.index:
        a, b = (verdicts[name].get(cohort, "") or "not known" for name in (WITH, WITHOUT))
        yield f"- Cohort {cohort}: the verdict is *{a}* from the scores as published and *{b}* without the disturbance."


def trap(
    fits: Mapping[str, Sequence[CohortFit]], table: pd.DataFrame, checks: Sequence[PriorCheck], context: pd.DataFrame
) -> Findings:
    """What the cohort with disturbed prior scores looks like to someone who has the published scores alone."""
    found, f = Findings(), formats(fits[WITH][-1].student_sd)
    cohort = int(table.loc[[one.cohort for one in fits[WITH]], "prior"].abs().idxmax())
    one, other = (next(x for x in fits[name] if x.cohort == cohort) for name in (WITH, WITHOUT))
    check = next(c for c in checks if c.cohort == cohort)
    row = context.loc[cohort]
    found.say(
        f"From the published scores cohort {cohort} has a shift of {as_text(float(one.shift or 0.0), f.signed)} points "
        f"(interval over schools {as_text(float(row['lower']), f.signed)} to {as_text(float(row['upper']), f.signed)}). "
        f"Without the disturbance it would be {as_text(float(other.shift or 0.0), f.signed)}."
    )
    limits = "lies inside" if check.ok else "lies outside"
    part, se = as_text(float(row["prior_part"]), f.signed), as_text(float(row["se"]), f.fine)
    found.say(
        f"The check of the prior score {limits} its limits: its mean differs from the baseline's by "
        f"{as_text(check.smd, '+.2f')} standard deviations. The part of the shift that the prior test's change alone would "
        f"make is {part} points, beside a standard error of the shift of {se}."
    )
    moved = one.school_effects["side"] != other.school_effects["side"].reindex(one.school_effects.index)
    found.say(
        f"{as_text(int(moved.sum()))} of {as_text(len(moved))} schools stand on another side of the benchmark (above, below, "
        "not told apart) than they would without the disturbance. The effects of the schools less the shift have a "
        f"correlation of {as_text(_correlation(one, other), '.2f')} with those without the disturbance: what all students of "
        "a cohort have lost alike is taken up by the shift, and only what some have lost more than others moves a school "
        "among its contemporaries."
    )
    return found


def _correlation(one: CohortFit, other: CohortFit) -> float:
    """Of the effects of the schools that stand in both, each less its own shift."""
    a, b = (x.school_effects["effect"] for x in (one, other))
    joined = pd.concat([a, b], axis=1, join="inner").to_numpy()
    return float(np.corrcoef(joined.T)[0, 1]) if (joined.std(axis=0) > 0).all() else float("nan")
