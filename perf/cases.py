"""The measurements: which contenders, on which records, against which target."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from linked import rows as linked_rows
from rows import PASSES, row, spread
from streaming import rows as streaming_rows
from timing import Contender, Timed, in_turn

from data import formula, one_cohort, several_cohorts, with_background, with_slopes, write_for_r

HERE = Path(__file__).resolve().parent
PANEL = HERE.parent / "tests" / "reference" / "data" / "panel_sim.csv"
COVARIATES = 5
SAMPLED = ("quadrature", "emcee")
TARGET_SIZE = 600_000  # students at which the targets hold
JOINT = "score ~ 0 + cohort + cohort:prior_score, (0 + cohort | school)"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure and how long: folder for data, sizes, runs a contender, its budget and the longest run (s)."""

    folder: Path
    students: tuple[int, ...]
    schools: int
    rounds: int
    budget: float
    limit: float
    say: Callable[[str], None]
    joint_students: int = 600_000
    replicates: int = 1_000
    panel_cohorts: tuple[int, ...] = (2015, 2016, 2017, 2019, 2021, 2024)
    streamed: tuple[int, ...] = (6_000_000, 60_000_000)
    linked: tuple[int, ...] = (20_000_000,)
    reported: int = 3_000

    def schools_of(self, students: int) -> int:
        """The usual number of schools, or fewer where each would have under 20 students."""
        return min(self.schools, max(students // 20, 20))


def python(name: str, **arguments) -> Contender:
    """A contender of worker.py."""
    return Contender([sys.executable, HERE / "worker.py", name, json.dumps(arguments, default=str)])


def rscript(script: str, *arguments) -> Contender:
    """A contender in R."""
    return Contender(["Rscript", HERE / script, HERE, *arguments])


def has_r(package: str) -> bool:
    """Whether R is there with a package."""
    asked = ["Rscript", "-e", f'quit(status = !requireNamespace("{package}", quietly = TRUE))']
    return shutil.which("Rscript") is not None and subprocess.run(asked, capture_output=True).returncode == 0


def relative(plan: Plan) -> Iterator[dict]:
    """The relative fit at several sizes beside lme4, GPBoost and MixedLM; the sums beside X'X."""
    model = formula(COVARIATES)
    known: dict[str, list[tuple[int, float]]] = {}
    for students in plan.students:
        plan.say(f"relative fit, {students:,} students")
        file, binary = plan.folder / f"{students}.parquet", plan.folder / f"{students}.bin"
        records = one_cohort(students, plan.schools_of(students), COVARIATES)
        records.to_parquet(file)
        columns = ",".join(write_for_r(records, binary))
        del records
        makers = {
            "lme4 (lmer)": lambda a=(binary, columns, model): rscript("lme4_relative.R", *a),
            "GPBoost (fit alone)": lambda f=file: python("gpboost", file=f, model=model),
            "statsmodels MixedLM": lambda f=file: python("mixedlm", file=f, model=model),
        }
        absent = {"lme4 (lmer)": not has_r("lme4"), "GPBoost (fit alone)": not importlib.util.find_spec("gpboost")}
        notes = {name: "not installed" for name in makers if absent.get(name)}
        notes |= {name: said for name in makers if (said := too_long(known.get(name, []), students, plan.limit))}
        with ExitStack() as stack:
            there = {"valib": (stack.enter_context(python("relative", file=file, model=model)), "fit")}
            there |= {n: (stack.enter_context(make()), "fit") for n, make in makers.items() if n not in notes}
            if "GPBoost (fit alone)" in there:
                there["GPBoost (with its set-up)"] = (there["GPBoost (fit alone)"][0], "model and fit")
            timed = in_turn(there, plan.rounds, plan.budget)
        for name in there:
            known.setdefault(name, []).extend((students, timed[name].median) for _ in timed[name].seconds[:1])
        # from a DataFrame to the fit on both sides; GPBoost alone can be asked for a part of that
        targets = {"lme4 (lmer)": 60, "GPBoost (with its set-up)": 10, "statsmodels MixedLM": 200}
        for name in [*makers, *(n for n in there if n not in makers and n != "valib")]:
            yield row(
                "relative",
                f"{students:,} students, {COVARIATES} covariates",
                "valib from a DataFrame",
                timed["valib"],
                name,
                timed.get(name),
                note=notes.get(name, ""),
                at_least=targets.get(name) if students == TARGET_SIZE else None,
            )
        yield from sums(plan, file, students)


def slopes(plan: Plan) -> Iterator[dict]:
    """The relative fit with a random slope beside lme4, point estimates and plug-in errors on both sides."""
    students, model = min(max(plan.students), TARGET_SIZE), "score ~ prior"
    plan.say(f"random slopes, {students:,} students")
    file, binary = plan.folder / "slopes.parquet", plan.folder / "slopes.bin"
    records = with_slopes(students, plan.schools_of(students))
    records.to_parquet(file)
    columns = ",".join(write_for_r(records, binary))
    with ExitStack() as stack:
        ours = stack.enter_context(python("slopes", file=file, model=model))
        there = {"plugin": (ours, "plugin"), "integrated": (ours, "fit")}
        if has_r("lme4"):
            there["lme4"] = (stack.enter_context(rscript("lme4_slopes.R", binary, columns, model)), "fit")
        timed = in_turn(there, plan.rounds, plan.budget)
    what = f"{students:,} students, a slope of every school"
    at_least = 40 if students == TARGET_SIZE else None
    yield row("slopes", what, "plug-in intervals, from a DataFrame", timed["plugin"], "lme4 (lmer)", timed.get("lme4"),
              at_least=at_least, note="" if "lme4" in there else "not installed")  # fmt: skip
    yield row("slopes", what, "integrated intervals, from a DataFrame", timed["integrated"])


def sums(plan: Plan, file: Path, students: int) -> Iterator[dict]:
    """Moments of arrays in passes of X'X over them."""
    with python("arrays", file=file, model=formula(COVARIATES)) as one:
        timed = in_turn({"moments": (one, "moments"), "product": (one, "product")}, 3 * plan.rounds, plan.budget)
    yield row(
        "sums",
        f"{students:,} students, {COVARIATES} covariates",
        "sums of arrays",
        timed["moments"],
        "one pass of X'X",
        timed["product"],
        ratio_of=PASSES,
        at_most=5 if students == TARGET_SIZE else None,
    )


def too_long(known: list[tuple[int, float]], students: int, limit: float) -> str:
    """Why a contender is not run: what its growth at smaller sizes says it would take; empty if it is run."""
    if not known:
        return ""
    (n, last), power = known[-1], 1.0
    if len(known) > 1:
        power = max(1.0, math.log(last / known[-2][1]) / math.log(n / known[-2][0]))
    expected = last * (students / n) ** power
    return "" if expected <= limit else f"not run: would take about {duration(expected)}"


def duration(seconds: float) -> str:
    """A time in words, roughly."""
    for size, word in ((3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{seconds:.0f} seconds"


def joint(plan: Plan) -> Iterator[dict]:
    """The joint model: a small panel beside lme4 and nlme, and many schools after their sums."""
    plan.say("joint fit")
    three = tuple(plan.panel_cohorts[k] for k in (0, len(plan.panel_cohorts) // 2, -1))
    pairs = (
        ("lme4", "lme4_joint.R", plan.panel_cohorts, "common", JOINT),
        ("nlme", "nlme_joint.R", three, "by_cohort", f"{JOINT}, residual variance a cohort"),
    )
    for package, script, cohorts, residual, model in pairs:
        panel = pd.read_csv(PANEL).dropna(subset=["score", "prior_score"])
        panel = panel.rename(columns={"student_id": "student", "school_id": "school", "year": "cohort"})
        panel, binary = panel[panel["cohort"].isin(cohorts)], plan.folder / f"panel_{package}.bin"
        columns, what = ",".join(write_for_r(panel, binary)), f"{len(panel):,} students, {len(cohorts)} cohorts"
        with ExitStack() as stack:
            ours = stack.enter_context(python("joint", file=PANEL, cohorts=list(cohorts), residual=residual))
            there = {"valib": (ours, "fit")}
            if has_r(package):
                there["other"] = (stack.enter_context(rscript(script, binary, columns)), "fit")
            timed = in_turn(there, plan.rounds, plan.budget)
        note = model if "other" in there else f"{model}; not installed"
        yield row("joint", what, "valib from a DataFrame", timed["valib"], package, timed.get("other"), note=note)
    schools = plan.schools_of(plan.joint_students)
    what = f"{plan.joint_students:,} students, {schools:,} schools, 6 cohorts"
    with python("joint_large", students=plan.joint_students, schools=schools, cohorts=6) as one:
        timed = in_turn({"moments": (one, "moments"), "fit": (one, "fit")}, plan.rounds, plan.budget)
    yield row("joint", what, "sums from a DataFrame", timed["moments"])
    yield row("joint", what, "unstructured fit after the sums", timed["fit"], seconds_at_most=1.0)


def posterior(plan: Plan) -> Iterator[dict]:
    """Integrated intervals of 100 schools beside a sampler of the same model, and of the largest fit beside plug-in ones."""
    plan.say("posterior of 100 schools")
    with ExitStack() as stack:
        there = {
            name: (stack.enter_context(python("posterior", students=4_000, schools=100)), name) for name in SAMPLED
        }
        timed = in_turn(there, plan.rounds, plan.budget)
    ours, other = (timed[name] for name in SAMPLED)
    apart = max(abs(a - b) for a, b in zip(ours.found["limits"], other.found["limits"], strict=True))
    wide = statistics.mean(ours.found["limits"][100:]) - statistics.mean(ours.found["limits"][:100])
    note = (
        f"{other.found['effective']:.0f} effective draws of the variances; limits differ by {apart / wide:.1%} of an "
        "interval's width at most"
    )
    yield row(
        "posterior",
        "100 schools, 4,000 students",
        "quadrature, after the sums",
        ours,
        "emcee, after the sums",
        other,
        seconds_at_most=0.05,
        note=note,
    )
    students, model = min(max(plan.students), TARGET_SIZE), formula(COVARIATES)
    plan.say(f"integrated and plug-in fit, {students:,} students")
    file = plan.folder / f"intervals-{students}.parquet"
    one_cohort(students, plan.schools_of(students), COVARIATES).to_parquet(file)
    with python("relative", file=file, model=model) as one:
        timed = in_turn({name: (one, name) for name in ("fit", "plugin")}, 3 * plan.rounds, plan.budget)
    yield row(
        "posterior",
        f"{students:,} students, {COVARIATES} covariates",
        "integrated intervals, from a DataFrame",
        timed["fit"],
        "plug-in intervals",
        timed["plugin"],
        ratio_of=PASSES,
        at_most=1.5 if students == TARGET_SIZE else None,
    )


def quantile(plan: Plan) -> Iterator[dict]:
    """Draws of quantile value added, on records of a size that other packages are shown with."""
    plan.say("quantile value added")
    students, schools, draws = 1_546, 60, 2_100
    with python("quantile", students=students, schools=schools, draws=draws) as one:
        timed = in_turn({"fit": (one, "fit")}, plan.rounds, plan.budget)["fit"]
    worth = timed.found["effective"]
    yield row(
        "quantile",
        f"{students:,} students, {schools} schools, {draws:,} draws",
        "relative, calibrated, diagnostics included",
        timed,
        seconds_at_most=5,
        note=f"at least {worth:.0f} effective draws, {worth / (timed.median or 1):,.0f} a second",
    )


def bootstrap(plan: Plan) -> Iterator[dict]:
    """Replicates of the school bootstrap beside refits of resampled records."""
    plan.say(f"school bootstrap, {plan.replicates:,} replicates")
    schools = plan.schools_of(plan.joint_students)
    what = f"{plan.replicates:,} replicates, {plan.joint_students:,} students, {schools:,} schools, 7 cohorts"
    arguments = {"students": plan.joint_students, "schools": schools, "replicates": plan.replicates}
    with ExitStack() as stack:
        timed = in_turn(
            {
                name: (stack.enter_context(python("bootstrap", **arguments)), name)
                for name in ("from moments", "refits", "from records")
            },
            plan.rounds,
            plan.budget,
        )
    refits = timed["refits"]
    scaled = Timed([s * plan.replicates for s in refits.seconds], refits.found, note=refits.note)
    note = "the time of one refit, taken as often as there are replicates; shifts of the first replicate compared"
    yield row(
        "bootstrap",
        what,
        "replicates from the sums",
        timed["from moments"],
        "refits of resampled records",
        scaled,
        seconds_at_most=5.0,
        note=note,
    )
    yield row("bootstrap", what, "all, from a DataFrame", timed["from records"])


def reading(plan: Plan) -> Iterator[dict]:
    """Reading and checking records."""
    students = plan.joint_students
    plan.say(f"reading, {students:,} students")
    csv, file = plan.folder / "reading.csv", plan.folder / "reading.parquet"
    records = several_cohorts(students, plan.schools_of(students), 7)
    with_background(records).to_csv(csv, index=False)
    records.to_parquet(file)
    with ExitStack() as stack:
        timed = in_turn(
            {
                name: (stack.enter_context(python("reading", csv=csv, file=file)), name)
                for name in ("csv", "plain", "typed", "frame")
            },
            plan.rounds,
            plan.budget,
        )
    what = f"{students:,} students"
    yield row(
        "reading",
        what,
        "read and check a CSV file",
        timed["csv"],
        "pandas.read_csv, unchecked, codes as numbers",
        timed["plain"],
        ratio_of=PASSES,
        at_most=1.5,
    )
    yield row(
        "reading",
        what,
        "read and check a CSV file",
        timed["csv"],
        "pandas.read_csv, unchecked, codes as text",
        timed["typed"],
        ratio_of=PASSES,
    )
    yield row("reading", what, "check a DataFrame", timed["frame"])


def streaming(plan: Plan) -> Iterator[dict]:
    """Records on disk beside DuckDB's own aggregate, and Spark."""
    yield from streaming_rows(plan.folder, plan.streamed, min(plan.rounds, 3), plan.budget, plan.say)


def linking(plan: Plan) -> Iterator[dict]:
    """Prior scores out of the same long file beside DuckDB's own self-join."""
    yield from linked_rows(plan.folder, plan.linked, min(plan.rounds, 3), plan.budget, plan.say)


def reports(plan: Plan) -> Iterator[dict]:
    """A page and a PDF for every school."""
    plan.say(f"reports of {plan.reported:,} schools")
    file = plan.folder / "reported.parquet"
    several_cohorts(240 * plan.reported, plan.reported, 6).to_parquet(file)
    with python("reports", file=file, out=plan.folder / "reports") as one:
        timed = in_turn({"valib": (one, "made")}, 1, plan.budget)["valib"]
    found = timed.found
    note = (
        f"{found['processor']:.0f} s of processor in all; a process that makes pages has {found['first_mib']:.0f} MiB at most "
        f"in the first half of the run and {found['second_mib']:.0f} MiB in the second"
        if found
        else ""
    )
    yield row(
        "reports",
        f"{plan.reported:,} schools, 6 cohorts, 2 processes",
        "a page and a PDF a school",
        timed,
        seconds_at_most=300.0 if plan.reported >= 3_000 else None,
        note=note,
    )


CASES = {
    f.__name__: f
    for f in (relative, slopes, joint, posterior, quantile, bootstrap, reading, streaming, linking, reports)
}
GROWTH = {  # a quantity: the values it takes while the others stay at their usual ones
    "students": (20_000, 60_000, 200_000, 600_000, 2_000_000, 6_000_000),
    "schools": (30, 300, 3_000, 30_000, 100_000),
    "covariates": (1, 2, 5, 10, 20, 40),
    "cohorts": (2, 4, 6, 9, 12),
}
USUAL = {"students": 600_000, "schools": 3_000, "covariates": 5, "cohorts": 1}


def growth(plan: Plan, share: float = 1.0) -> Iterator[dict]:
    """Time and memory of a fit from a DataFrame against one quantity at a time; share: of the usual students."""
    for along, values in GROWTH.items():
        plan.say(f"growth with {along}")
        for value in values:
            size = {**USUAL, "schools": int(USUAL["schools"] * share), along: value}
            size["students"] = int(size["students"] * share)
            if size["schools"] * 4 > size["students"]:
                continue
            with python("growth", **size) as one:
                timed = in_turn({"fit": (one, "fit")}, min(plan.rounds, 3), plan.budget)["fit"]
            yield {"along": along, **size, **spread(timed.seconds), "memory_mib": timed.peak}
