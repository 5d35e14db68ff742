"""Large records for measurements: Parquet parts written in chunks, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COHORTS = (2016, 2017, 2019, 2021, 2023, 2024)


def write_parts(folder: Path, rows: int, schools: int = 9_000, seed: int = 20160501, part: int = 1_000_000) -> Path:
    """Write ``rows`` students into ``folder`` as Parquet files of ``part`` rows; one part is in memory at a time.

    Columns: student, school (text codes), cohort, score, prior_score, female, ses, age.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    codes = pa.array([f"S{k:05d}" for k in range(schools)])
    effects = rng.normal(0, 15, (schools, len(COHORTS)))
    for number, start in enumerate(range(0, rows, part)):
        n = min(part, rows - start)
        school, cohort = rng.integers(0, schools, n), rng.integers(0, len(COHORTS), n)
        ses, female = rng.standard_normal(n), rng.integers(0, 2, n).astype(np.int8)
        age, prior = rng.normal(11, 0.3, n), rng.normal(430, 75, n) + 10 * ses
        score = 160 + 0.8 * prior + 4 * female + 3 * ses + age + effects[school, cohort] + rng.normal(0, 45, n)
        table = pa.table(
            {
                "student": pa.array(np.arange(start, start + n)).cast(pa.string()),
                "school": codes.take(pa.array(school)),
                "cohort": pa.array(np.array(COHORTS, dtype=np.int32)[cohort]),
                "score": score.round(1),
                "prior_score": prior.round(1),
                "female": female,
                "ses": ses.round(3),
                "age": age.round(2),
            }
        )
        pq.write_table(table, folder / f"part-{number:04d}.parquet")
    return folder
