"""Unstructured joint model of six cohorts side by side with lme4 in one run, and at 600,000 students.

    python perf/joint_fit.py [--students 600000] [--schools 3000] [--repeats 5]

Small: the reference panel of tests/reference (60 schools, 9,527 students, common residual variance, the model that lme4
can fit), from a DataFrame, by valib.fit_joint and, if Rscript with lme4 is installed, by lmer with its default
optimiser. Large: simulated records, residual variance by cohort, split into moments and fit. Never part of the tests.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

import valib as va
from valib.joint import cohort_moments, joint_from_moments

PANEL = Path(__file__).resolve().parents[1] / "tests" / "reference" / "data" / "panel_sim.csv"
COHORTS = [2015, 2016, 2017, 2019, 2021, 2024]
FORMULA = "score ~ prior_score"
R_SCRIPT = """
suppressPackageStartupMessages(library(lme4)); a <- commandArgs(TRUE)
d <- read.csv(a[1], colClasses = c(school = "character")); d$cohort <- factor(d$cohort)
cat(suppressWarnings(system.time(lmer(
  score ~ 0 + cohort + cohort:prior_score + (0 + cohort | school), d, REML = FALSE)))[["elapsed"]], "\\n")
"""


def make_records(students: int, schools: int, seed: int) -> pd.DataFrame:
    """Student records of six cohorts; school effects are AR(1) in calendar years."""
    rng = np.random.default_rng(seed)
    gap = np.abs(np.subtract.outer(COHORTS, COHORTS))
    u = rng.multivariate_normal(np.zeros(len(COHORTS)), 225 * 0.85**gap, schools)
    school, t = rng.integers(0, schools, students), rng.integers(0, len(COHORTS), students)
    prior = rng.normal(500, 60, students)
    score = 100 + 0.8 * prior + u[school, t] + rng.normal(0, 45, students)
    return pd.DataFrame({"school": pd.Series(np.char.mod("S%05d", school), dtype="str"),
                         "cohort": np.array(COHORTS)[t], "score": score, "prior_score": prior})


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of ``repeats`` runs after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def lme4_seconds(records: pd.DataFrame) -> float | None:
    """Wall time of lmer on the same records, reading them not counted; None without R and lme4."""
    if shutil.which("Rscript") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        csv, script = Path(folder, "records.csv"), Path(folder, "fit.R")
        records[["school", "cohort", "score", "prior_score"]].to_csv(csv, index=False)
        script.write_text(R_SCRIPT)
        done = subprocess.run(["Rscript", script, csv], capture_output=True, text=True)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("students", 600_000), ("schools", 3_000), ("repeats", 5), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    panel = va.read_records(PANEL)
    ours = seconds(lambda: va.fit_joint(panel, COHORTS, residual="common"), args.repeats)
    large = make_records(args.students, args.schools, args.seed)
    parts, _ = cohort_moments(large, COHORTS, FORMULA)
    rows_large = [("moments from a DataFrame", seconds(lambda: cohort_moments(large, COHORTS, FORMULA), args.repeats)),
                  ("fit of the moments", seconds(lambda: joint_from_moments(parts, FORMULA), args.repeats))]
    console = Console()
    for heading, rows, base in (
            ("Reference panel", [("valib.fit_joint", ours), ("lme4 lmer (Rscript)", lme4_seconds(panel))], ours),
            (f"{args.students:,} students, {args.schools:,} schools; {os.cpu_count()} cores, numpy {np.__version__}",
             rows_large, rows_large[1][1])):
        table = Table("what", "seconds", "ratio", title=heading)
        for what, took in rows:
            table.add_row(what, *(("not installed", "") if took is None else (f"{took:.4f}", f"{took / base:.1f}")))
        console.print(table)


if __name__ == "__main__":
    main()
