"""Relative fit side by side with other packages in one run: ratios, not single times.

    python perf/relative_fit.py [--students 600000] [--schools 3000] [--covariates 5] [--repeats 5]

Prints (1) valib.fit_relative from a DataFrame in memory against statsmodels MixedLM and, if Rscript with lme4 is
installed, lme4 on the same data; (2) moments from arrays against X'X of the same arrays. Never part of the tests.
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
import statsmodels
from rich.console import Console
from rich.table import Table

import valib as va
from valib.design import build_design
from valib.moments import compute_moments

R_SCRIPT = """
suppressPackageStartupMessages(library(lme4)); a <- commandArgs(TRUE)
d <- read.csv(a[1], colClasses = c(school = "character"))
cat(system.time(lmer(as.formula(a[2]), d, REML = FALSE))[["elapsed"]], "\n")
"""


def make_records(students: int, schools: int, covariates: int, seed: int) -> pd.DataFrame:
    """Student records with `covariates` covariates, the prior score among them."""
    rng = np.random.default_rng(seed)
    school, effect = rng.integers(0, schools, students), rng.normal(0, 15, schools)
    data = pd.DataFrame({"student": np.arange(students).astype(str), "school": np.char.mod("S%05d", school),
                         "cohort": 2024, "prior_score": rng.normal(430, 70, students)})
    for k in range(1, covariates):
        data[f"x{k}"] = rng.normal(size=students)
    data["score"] = 120 + 0.8 * data["prior_score"] + effect[school] + rng.normal(0, 45, students)
    return va.read_records(data)


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Median wall time after one warm-up."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def lme4_seconds(records: pd.DataFrame, formula: str) -> float | None:
    """Wall time of lmer on the same records, reading them not counted; None without R and lme4."""
    if shutil.which("Rscript") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        csv, script = Path(folder, "records.csv"), Path(folder, "fit.R")
        records.drop(columns=["student", "cohort"]).to_csv(csv, index=False)
        script.write_text(R_SCRIPT)
        done = subprocess.run(["Rscript", script, csv, f"{formula} + (1 | school)"], capture_output=True, text=True)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def statsmodels_seconds(records: pd.DataFrame, formula: str) -> float:
    """Wall time of MixedLM on the same records, once (it is slow)."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    start = time.perf_counter()
    MixedLM.from_formula(formula, records, groups=records["school"]).fit(reml=False)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("students", 600_000), ("schools", 3_000), ("covariates", 5), ("repeats", 5), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    records = make_records(args.students, args.schools, args.covariates, args.seed)
    formula = "score ~ " + " + ".join(["prior_score", *(f"x{k}" for k in range(1, args.covariates))])
    ours = seconds(lambda: va.fit_relative(records, 2024, formula), args.repeats)
    rows = [("valib.fit_relative", ours), ("statsmodels MixedLM", statsmodels_seconds(records, formula)),
            ("lme4 lmer (Rscript)", lme4_seconds(records, formula))]
    design = build_design(records, formula)
    Z = np.column_stack([design.X, design.y])
    product = seconds(lambda: Z.T @ Z, 3 * args.repeats)
    rows_moments = [("one pass of X'X", product), ("moments from arrays", seconds(
        lambda: compute_moments(design), args.repeats))]
    title = (f"{args.students:,} students, {args.schools:,} schools, {args.covariates} covariates; "
             f"{os.cpu_count()} cores, numpy {np.__version__}, statsmodels {statsmodels.__version__}")
    console = Console()
    for heading, part, base in ((title, rows, ours), ("Moments of the same arrays", rows_moments, product)):
        table = Table("what", "seconds", "ratio", title=heading)
        for what, took in part:
            table.add_row(what, *(("not installed", "") if took is None else (f"{took:.4f}", f"{took / base:.1f}")))
        console.print(table)


if __name__ == "__main__":
    main()
