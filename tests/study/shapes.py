"""Tables of the shapes in which records come, with made-up values."""

from __future__ import annotations

import numpy as np
import pandas as pd


def _panel(seed: int, students: int, years: int, schools: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Ability by student and year (a school's effect in it), and each student's school."""
    rng = np.random.default_rng(seed)
    school = rng.integers(0, schools, students)
    growth = rng.normal(0, 0.2, schools)[school]
    ability = rng.normal(0, 1, students)[:, None] + np.cumsum(
        growth[:, None] + rng.normal(0.3, 0.3, (students, years)), 1
    )
    return ability, school, rng


def state_long(seed: int = 1) -> pd.DataFrame:
    """A state's file: a row a student, year and subject; schools change their names."""
    ability, school, rng = _panel(seed, 1200, 4, 20)
    rows = []
    for student, year in np.ndindex(*ability.shape):
        grade = 3 + student % 3 + year - 1
        if not 3 <= grade <= 6:
            continue
        for subject, shift in (("MATHEMATICS", 0), ("READING", 9)):
            score = 500 + shift + 60 * ability[student, year] + 10 * rng.normal()
            name = f"School {school[student]}" + (" Academy" if year > 1 else "")
            rows.append(
                ("VALID_CASE", subject, f"{2020 + year}_{2021 + year}", f"{1000 + student:07d}", "LAST", grade)
                + (round(score, 1), round(18 + rng.normal(), 1), f"{school[student]:04d}", name)
            )
    names = ("VALID_CASE", "CONTENT_AREA", "YEAR", "ID", "LAST_NAME", "GRADE", "SCALE_SCORE", "SCALE_SCORE_CSEM")
    return pd.DataFrame(rows, columns=[*names, "SCHOOL_NUMBER", "SCHOOL_NAME"]).sample(frac=1, random_state=seed)


def state_wide(seed: int = 2) -> pd.DataFrame:
    """The same a row a student, with a column for each year."""
    ability, school, rng = _panel(seed, 900, 4, 15)
    table = {"ID": np.arange(len(school)) + 1000, "SCHOOL_NUMBER": school + 100}
    for year in range(4):
        table[f"GRADE_{2022 + year}"] = 3 + np.arange(len(school)) % 2 + year
        table[f"SS_{2022 + year}"] = (500 + 60 * ability[:, year] + 10 * rng.normal(size=len(school))).round(1)
    return pd.DataFrame(table)


def read_wide(seed: int = 3) -> pd.DataFrame:
    """A reading test every other year."""
    ability, school, rng = _panel(seed, 600, 4, 15)
    table = {
        "pupil": [f"P{k:04d}" for k in range(len(school))],
        "school": school,
        "girl": rng.integers(0, 2, len(school)),
    }
    return pd.DataFrame(table | {f"read_{2017 + 2 * k}": (500 + 60 * ability[:, k]).round(1) for k in range(4)})


def lagged(seed: int = 4) -> pd.DataFrame:
    """Scores beside their lags, each with its error of measurement."""
    ability, school, rng = _panel(seed, 900, 3, 20)
    n = len(school)
    table = {
        "stuid": np.arange(n) + 5000,
        "schoolid": school,
        "grade": 4 + np.arange(n) % 2,
        "year": 2021 + np.arange(n) % 3,
    }
    for subject in ("math", "read"):
        now = ability[:, 2] + 0.3 * rng.normal(size=n)
        before = ability[:, 1] + 0.3 * rng.normal(size=n)
        earliest = ability[:, 0] + 0.3 * rng.normal(size=n)
        for name, value in ((subject, now), (f"{subject}_lag1", before), (f"{subject}_lag2", earliest)):
            table[name] = value.round(3)
            table[f"{name}_csem"] = (0.2 + 0.05 * np.abs(value) + 0.01 * rng.normal(size=n)).round(4)
    return pd.DataFrame(table)


def dutch(seed: int = 5) -> pd.DataFrame:
    """Two pre-tests and two post-tests; no year."""
    ability, school, rng = _panel(seed, 700, 2, 25)
    n = len(school)
    return pd.DataFrame(
        {
            "schoolNR": school + 1,
            "pupilNR": np.arange(n) + 17001,
            "IQ.verb": (12 + 2 * ability[:, 0] + rng.normal(size=n)).round(1),
            "langPRET": (34 + 8 * ability[:, 0]).round(),
            "langPOST": (41 + 9 * ability[:, 1]).round(),
            "aritPRET": (12 + 4 * (ability[:, 0] + 0.5 * rng.normal(size=n))).round(),
            "aritPOST": (19 + 6 * (ability[:, 1] + 0.5 * rng.normal(size=n))).round(),
            "ses": rng.integers(10, 50, n),
        }
    )


def tennessee(seed: int = 6) -> pd.DataFrame:
    """An experiment from kindergarten to third grade; children change schools; no code of the child."""
    ability, school, rng = _panel(seed, 800, 4, 20)
    n, table = len(school), {"gender": rng.choice(["female", "male"], len(school))}
    for k, stage in enumerate("k123"):
        table[f"star{stage}"] = rng.choice(["regular", "small"], n)
        table[f"read{stage}"] = (440 + 30 * k + 30 * ability[:, k]).round()
        table[f"math{stage}"] = (480 + 30 * k + 35 * (ability[:, k] + 0.4 * rng.normal(size=n))).round()
        table[f"lunch{stage}"] = rng.choice(["free", "non-free"], n)
        table[f"school{stage}"] = rng.choice(["rural", "urban"], n)
        table[f"experience{stage}"] = rng.integers(0, 30, n).astype(float)
        table[f"schoolid{stage}"] = np.where(rng.random(n) < 0.1 * k, rng.integers(0, 20, n), school) + 1
    return pd.DataFrame(table)


def scottish(seed: int = 7) -> pd.DataFrame:
    """Children who go from primary to secondary schools; no code of the child."""
    ability, school, rng = _panel(seed, 900, 2, 18)
    n = len(school)
    return pd.DataFrame(
        {
            "verbal": (12 * ability[:, 0] + 3 * rng.normal(size=n)).round(),
            "attain": np.clip((5 + 2 * ability[:, 1]).round(), 1, 10),
            "primary": rng.integers(1, 60, n),
            "sex": rng.integers(0, 2, n),
            "social": rng.choice([0, 1, 20, 31], n),
            "second": school + 1,
        }
    )


def panel_at_zero(seed: int = 8) -> pd.DataFrame:
    """A panel in logits, its years counted from the middle."""
    ability, school, rng = _panel(seed, 600, 6, 20)
    rows = [
        (
            school[s] + 2000,
            s + 270000,
            y - 2.5,
            y if s % 9 else max(y - 1, 0),
            round(ability[s, y] - 3 + y, 3),
            int(s % 2),
        )
        for s, y in np.ndindex(*ability.shape)
        if rng.random() < 0.8
    ]
    return pd.DataFrame(rows, columns=["schoolid", "childid", "year", "grade", "math", "female"])


SHAPES = {
    "state_long": state_long,
    "state_wide": state_wide,
    "read_wide": read_wide,
    "lagged": lagged,
    "dutch": dutch,
    "tennessee": tennessee,
    "scottish": scottish,
    "panel_at_zero": panel_at_zero,
}
