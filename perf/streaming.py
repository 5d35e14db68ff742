"""Records larger than memory: valib's stream beside DuckDB's own aggregate of the same sums, and Spark.

    python perf/streaming.py [ROWS ...]    # 6,000,000 and 60,000,000 by default; a row of perf's table each

As ``streaming.py worker NAME FOLDER`` it is a contender of timing.py.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from large import COHORTS, write_parts
from rows import PASSES, row
from timing import Contender, Timed, clock, in_turn, serve

HERE = Path(__file__).resolve()
COLUMNS = ("score", "prior_score", "female", "ses", "age")
FORMULA = "score ~ prior_score + female + ses + age"
TARGET_ROWS = 60_000_000
MOST_SECONDS, MOST_MIB = 2.5, 2048  # of DuckDB's own aggregate; of memory in all


def rows(
    folder: Path,
    sizes: Sequence[int] = (6_000_000, TARGET_ROWS),
    rounds: int = 3,
    budget: float = 120.0,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[dict]:
    """One row a size and contender; the Parquet parts are written into ``folder`` and deleted after their turn."""
    spark = importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None
    for number, size in enumerate(sizes):
        say(f"streaming, {size:,} rows")
        parts = write_parts(folder / f"large-{size}", size)
        names = ["duckdb", "aggregate", *(["spark"] if spark and number == 0 else [])]
        try:
            timed = _timed(parts, names, rounds, budget)
        finally:
            shutil.rmtree(parts, ignore_errors=True)
        ours, what = timed["duckdb"], f"{size:,} rows in Parquet parts, {len(COLUMNS)} columns"
        note = (
            f"{size / ours.median / 1e6:.1f} million rows a second, peak {ours.peak:,.0f} MiB in all"
            if ours.seconds and ours.peak
            else ""
        )
        yield row(
            "streaming",
            what,
            "sums of a stream",
            ours,
            "DuckDB's own aggregate",
            timed["aggregate"],
            ratio_of=PASSES,
            at_most=MOST_SECONDS if size == TARGET_ROWS else None,
            note=note,
        )
        if "spark" in timed:
            yield row("streaming", what, "sums of a stream", ours, "the same with Spark, local", timed["spark"])


def _timed(parts: Path, names: Sequence[str], rounds: int, budget: float) -> dict[str, Timed]:
    with ExitStack() as stack:
        contenders = {
            name: (stack.enter_context(Contender([sys.executable, HERE, "worker", name, parts])), name)
            for name in names
        }
        return in_turn(contenders, rounds, budget)


def aggregate(folder: str) -> Callable[[], object]:
    """What DuckDB takes for the bare sums and products by school and cohort."""
    import duckdb

    con = duckdb.connect()
    products = [f"sum({a} * {b})" for a, b in itertools.combinations_with_replacement(COLUMNS, 2)]
    sums = ", ".join([f"sum({c})" for c in COLUMNS] + products)
    query = f"SELECT school, cohort, count(*), {sums} FROM read_parquet('{folder}/*.parquet') GROUP BY school, cohort"
    return lambda: con.sql(query).to_arrow_table()


def stream(folder: str, engine: str) -> Callable[[], object]:
    """valib: open, check and sum, all cohorts."""
    from valib.sums.streams import stream_records
    from valib.sums.students import sum_students

    def work():
        opened = stream_records(folder, engine=engine, formula=FORMULA)
        summed = sum_students(opened, COHORTS, FORMULA)
        opened.close()
        return summed

    return work


def worker(name: str, folder: str) -> None:
    """Run once a line; see timing.py."""
    work = aggregate(folder) if name == "aggregate" else stream(folder, name)
    serve(lambda _: (clock(work)[0], {}))


def main(sizes: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="valib-streaming-") as folder:
        for found in rows(Path(folder), sizes, say=lambda text: print(text, file=sys.stderr)):
            print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(*sys.argv[2:])
    else:
        main([int(n) for n in sys.argv[1:]] or (6_000_000, TARGET_ROWS))
