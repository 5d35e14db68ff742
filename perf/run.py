"""Time valib beside other packages and print one table of ratios; `make perf` runs it.

    python perf/run.py [--quick] [--only relative,slopes,joint,bootstrap,reading,streaming,linking,reports,growth] [--out FILE]

The full run writes perf/results/performance.json, which the book's appendix on performance shows. --quick takes smaller
records and writes nothing unless --out names a file. With --only, the rows of other cases in that file stay, and the new
ones say when they were measured. Data lie in a temporary folder and are made from fixed seeds.
``cases.py`` says what is measured, ``worker.py`` holds the contenders in Python, ``*.R`` those in R, ``timing.py`` lets them
take turns.

Why there is no compiled kernel: for the sums of 600,000 x 7 numbers Numba took 27 ms where blocks through BLAS take 17 to
20, for cross-products by cell 22 ms where NumPy takes 57; it brings 210 MB of packages and half a second of compilation in
every process. Why school codes are not cached: numbering 600,000 text codes takes 12 ms.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cases import CASES, HERE, Plan, growth
from rich.console import Console
from rich.table import Table
from timing import machine, versions

from valib.files import write_file
from valib.pages.speed import FORMAT, load

RESULTS = HERE / "results" / "performance.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller records, fewer runs: under two minutes")
    parser.add_argument("--only", default="", help="some of the measurements, separated by commas")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    parser.add_argument("--students", help="sizes of the relative fit, separated by commas")
    args = parser.parse_args()
    known = [*CASES, "growth"]
    wanted = args.only.split(",") if args.only else known
    if unknown := sorted(set(wanted) - set(known)):
        parser.error(f"--only knows {', '.join(known)}, not {', '.join(unknown)}")
    console, started = Console(stderr=True), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="valib-perf-") as folder:
        plan = make_plan(Path(folder), args, lambda text: console.print(f"[dim]{text} ...[/dim]"))
        rows = [row for name in wanted if name in CASES for row in CASES[name](plan)]
        grown = list(growth(plan, 0.05 if args.quick else 1.0)) if "growth" in wanted else []
    result = {
        "format": FORMAT,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "rows": rows,
        "growth": grown,
    }
    Console(width=None if sys.stdout.isatty() else 170).print(as_table(result))
    out = args.out or (None if args.quick or args.only else RESULTS)
    if out:
        write(beside_others(result, out, wanted) if args.only and out.exists() else result, out)


def make_plan(folder: Path, args: argparse.Namespace, say: Callable[[str], None]) -> Plan:
    """Sizes and patience of a full or a quick run."""
    sizes = (60_000, 600_000) if args.quick else (60_000, 600_000, 6_000_000)
    if args.students:
        sizes = tuple(int(n) for n in args.students.split(","))
    if args.quick:
        return Plan(
            folder,
            sizes,
            schools=3_000,
            rounds=2,
            budget=4.0,
            limit=12.0,
            say=say,
            joint_students=min(60_000, sizes[-1]),
            replicates=100,
            panel_cohorts=(2015, 2019, 2024),
            streamed=(min(600_000, sizes[-1]),),
            linked=(min(600_000, sizes[-1]),),
            reported=20,
        )
    return Plan(folder, sizes, schools=3_000, rounds=5, budget=60.0, limit=180.0, say=say)


def as_table(result: dict) -> Table:
    """The rows as the terminal shows them."""
    m = result["machine"]
    title = (
        f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads for all; {result['date']}; "
        f"{result['minutes']:g} minutes"
    )
    table = Table(
        "what", "valib", "seconds", "beside", "seconds", "ratio", "target", "log-lik.", "estimates", "MiB", title=title
    )
    for r in result["rows"]:
        table.add_row(
            f"{r['case']}: {r['what']}",
            r["ours"],
            timed(r["seconds"]),
            r["other"],
            timed(r["other_seconds"]) or r["note"],
            ratio(r),
            target(r),
            "" if r["loglik"] is None else f"{r['loglik']:+.1e}",
            "" if r["estimates"] is None else f"{r['estimates']:.0e}",
            " / ".join(f"{v:.0f}" for v in (r["memory_mib"], r["other_memory_mib"]) if v is not None),
        )
    for g in result["growth"]:
        table.add_row(
            f"growth: {g['along']} = {g[g['along']]:,}",
            "",
            timed(g),
            "",
            "",
            "",
            "",
            "",
            "",
            "" if g["memory_mib"] is None else f"{g['memory_mib']:.0f}",
        )
    return table


def timed(seconds: dict | None) -> str:
    """Median and range."""
    if seconds is None:
        return ""
    return f"{seconds['median']:.3g} ({seconds['low']:.3g} to {seconds['high']:.3g}, {seconds['runs']} runs)"


def ratio(row: dict) -> str:
    """Ratio and range."""
    r = row["ratio"]
    return "" if r is None else f"{r['median']:.3g} ({r['low']:.3g} to {r['high']:.3g}; {row['ratio_of']})"


def target(row: dict) -> str:
    """The bound and whether it is kept."""
    t = row["target"]
    return "" if t is None else f"{t['of']} {t['sense']} {t['value']:g}: {'met' if row['met'] else 'not met'}"


def beside_others(result: dict, out: Path, measured: Sequence[str]) -> dict:
    """The measurements of a file with those of some cases replaced; the new ones say when they were made."""
    kept = load(out)
    own = {row["case"] for row in result["rows"]}
    for row in result["rows"]:
        row["note"] = "; ".join(filter(None, (row["note"], f"measured on {result['date']}")))
    rows = [row for row in kept["rows"] if row["case"] not in own] + result["rows"]
    order = list(dict.fromkeys([*(row["case"] for row in kept["rows"]), *CASES, *own]))
    rows.sort(key=lambda row: order.index(row["case"]))
    return {**kept, "rows": rows, "growth": result["growth"] if "growth" in measured else kept["growth"]}


def write(result: dict, out: Path) -> None:
    """Written aside and renamed: an earlier file survives a run that fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, json.dumps(result, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
