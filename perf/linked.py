"""A long file, a row a student, year and subject, whose prior scores are rows of last year: valib's stream beside DuckDB's
own self-join of the same rows.

    python perf/linked.py [ROWS ...]    # 20,000,000 by default; a row of perf's table each

As ``linked.py worker NAME FILE`` it is a contender of timing.py.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rows import PASSES, row
from timing import Contender, clock, in_turn, serve

HERE = Path(__file__).resolve()
YEARS, SUBJECTS = (2019, 2020, 2021, 2022, 2023), ("mathematics", "reading")
PRIOR = {"years_before": 1, "match": ["subject"]}
FORMULA = "score ~ prior_score"
ROWS = 20_000_000
MOST_RATIO = 3.0  # of DuckDB's own self-join


def write_long(file: Path, rows: int, schools: int = 3_000, seed: int = 20191123) -> Path:
    """Write ``rows`` rows as one Parquet file, one group of rows a year and subject, its students in a new order each time.

    A student is in grade 3 to 7 of five years running; nine in ten have a row of each. Codes have leading zeros.
    """
    rng = np.random.default_rng(seed)
    students = rows // (len(YEARS) * len(SUBJECTS)) * 10 // 9
    school = rng.integers(0, schools, students)
    names = pa.array([f"S{k:05d}" for k in range(schools)])
    ability = rng.normal(0, 50, students)
    schema = pa.schema(
        [("student", "string"), ("school", "string"), ("cohort", "int32"), ("subject", "string"), ("grade", "int8")]
        + [("score", "float64")]
    )
    with pq.ParquetWriter(file, schema) as out:
        for t, year in enumerate(YEARS):
            for subject in SUBJECTS:
                there = rng.permutation(students)[: rows // (len(YEARS) * len(SUBJECTS))]
                codes = np.char.zfill(there.astype("U9"), 9)
                score = 400 + 30 * t + ability[there] + rng.normal(0, 30, len(there))
                columns = {
                    "student": pa.array(codes),
                    "school": names.take(pa.array(school[there])),
                    "cohort": pa.array(np.full(len(there), year, np.int32)),
                    "subject": pa.array([subject]).take(pa.array(np.zeros(len(there), np.int64))),
                    "grade": pa.array(np.full(len(there), 3 + t, np.int8)),
                    "score": pa.array(score.round(1)),
                }
                out.write_table(pa.table(columns, schema=schema), row_group_size=250_000)
    return file


def rows(
    folder: Path,
    sizes: Sequence[int] = (ROWS,),
    rounds: int = 3,
    budget: float = 120.0,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[dict]:
    """One row a size, of all rows linked; the file is written into ``folder`` and deleted after its turn."""
    for size in sizes:
        say(f"linking, {size:,} rows")
        file = write_long(folder / f"long-{size}.parquet", size)
        try:
            with ExitStack() as stack:
                contenders = {
                    name: (stack.enter_context(Contender([sys.executable, HERE, "worker", name, file])), name)
                    for name in ("linked", "joined")
                }
                timed = in_turn(contenders, rounds, budget)
        finally:
            file.unlink()
        ours = timed["linked"]
        yield row(
            "linking",
            f"{size:,} rows of a long Parquet file, prior scores in the same file",
            "linked and summed by a stream",
            ours,
            "DuckDB's own self-join and sums",
            timed["joined"],
            ratio_of=PASSES,
            at_most=MOST_RATIO if size == ROWS else None,
            note=f"peak {ours.peak:,.0f} MiB in all" if ours.peak else "",
        )


def joined(file: str) -> Callable[[], object]:
    """What DuckDB takes to join the rows to last year's and to sum by school and cohort."""
    import duckdb

    con = duckdb.connect()
    query = f"""
        SELECT l.school, l.cohort, count(*), sum(l.score), sum(p.score), sum(l.score * l.score), sum(l.score * p.score),
        sum(p.score * p.score) FROM '{file}' AS l JOIN '{file}' AS p
        ON l.student = p.student AND l.subject = p.subject AND p.cohort = l.cohort - 1
        GROUP BY l.school, l.cohort"""
    return lambda: con.sql(query).to_arrow_table()


def linked(file: str) -> Callable[[], object]:
    """valib: open, check, link, count the linkage by school, and sum for a model, all cohorts."""
    from valib.sums.streams import stream_records

    def work():
        opened = stream_records(file, formula=FORMULA, prior=PRIOR)
        opened.close()
        return opened.attrs["prior"]

    return work


def worker(name: str, file: str) -> None:
    """Run once a line; see timing.py."""
    work = joined(file) if name == "joined" else linked(file)
    serve(lambda _: (clock(work)[0], {}))


def main(sizes: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="valib-linked-") as folder:
        for found in rows(Path(folder), sizes, say=lambda text: print(text, file=sys.stderr)):
            print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(*sys.argv[2:])
    else:
        main([int(n) for n in sys.argv[1:]] or (ROWS,))
