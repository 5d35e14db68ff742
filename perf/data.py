"""Records for the measurements, the same for the same seed, and the files that R reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

COHORTS = (2015, 2016, 2017, 2019, 2021, 2023, 2024)


def one_cohort(students: int, schools: int, covariates: int, seed: int = 1) -> pd.DataFrame:
    """Records of one cohort with ``covariates`` covariates, the prior score among them."""
    rng = np.random.default_rng(seed)
    school, effect = rng.integers(0, schools, students), rng.normal(0, 15, schools)
    data = {
        "student": pd.Series(np.arange(students)).astype("str"),
        "school": _codes(school),
        "cohort": np.full(students, 2024),
        "prior_score": rng.normal(430, 70, students),
    }
    data |= {f"x{k}": rng.normal(size=students) for k in range(1, covariates)}
    score = 120 + 0.8 * data["prior_score"] + effect[school] + rng.normal(0, 45, students)
    return pd.DataFrame(data | {"score": score})


def with_slopes(students: int, schools: int, seed: int = 1) -> pd.DataFrame:
    """Records of one cohort whose schools have slopes of the standardised prior score, SD 5 points."""
    records, rng = one_cohort(students, schools, 1, seed), np.random.default_rng(seed + 1)
    records["prior"] = (records["prior_score"] - 430) / 70
    slopes = rng.normal(0, 5, schools)
    records["score"] += slopes[records["school"].str[1:].astype(int)] * records["prior"]
    return records


def several_cohorts(students: int, schools: int, cohorts: int, seed: int = 1) -> pd.DataFrame:
    """Records of several cohorts, 200 students a school on average; effects are AR(1) in calendar years."""
    rng = np.random.default_rng(seed)
    years = np.array(COHORTS[:cohorts] if cohorts <= len(COHORTS) else range(2013, 2013 + cohorts))
    u = rng.multivariate_normal(np.zeros(cohorts), 225 * 0.85 ** np.abs(np.subtract.outer(years, years)), schools)
    school, t = rng.integers(0, schools, students), rng.integers(0, cohorts, students)
    prior = rng.normal(500, 60, students)
    score = 100 + 0.8 * prior + u[school, t] + rng.normal(0, 45, students)
    return pd.DataFrame(
        {
            "student": pd.Series(np.arange(students)).astype("str"),
            "school": _codes(school),
            "cohort": years[t],
            "score": score,
            "prior_score": prior,
        }
    )


def with_background(records: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    """The records with two columns of words and one of whole numbers, as a ministry's files have."""
    rng, n = np.random.default_rng(seed), len(records)
    words = {"gender": ["f", "m"], "language": ["German", "French", "Turkish", "other"]}
    return records.assign(
        **{name: pd.Series(rng.choice(levels, n), dtype="str") for name, levels in words.items()},
        age=rng.integers(9, 13, n),
    )


def formula(covariates: int) -> str:
    """The formula of :func:`one_cohort`."""
    return "score ~ " + " + ".join(["prior_score", *(f"x{k}" for k in range(1, covariates))])


def write_for_r(records: pd.DataFrame, file: Path) -> list[str]:
    """Write numbers column by column as doubles, schools as running numbers; the names of the columns, in order."""
    columns = {c: records[c].to_numpy(dtype=np.float64) for c in records if c not in ("student", "school")}
    columns["school"] = pd.factorize(records["school"], sort=True)[0] + 1.0
    with open(file, "wb") as stream:
        for values in columns.values():
            stream.write(np.ascontiguousarray(values).tobytes())
    return list(columns)


def _codes(school: np.ndarray) -> pd.Series:
    return pd.Series(np.char.mod("S%05d", np.arange(school.max() + 1))[school], dtype="str")
