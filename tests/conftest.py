"""Data and reference values that several test files share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from valib.pages import progress

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "tests" / "reference"
LONGEST = (  # files of tests that take minutes; begun first, so that at the end no process waits for the other
    *("test_real_book", "test_hostile_book", "test_shapes_book", "test_attacker", "test_kill", "test_readme"),
    *(
        "test_pictures_hidden",
        "test_measured",
        "test_book",
        "test_report_build",
        "test_chapter_numbers",
        "test_stability",
    ),
)
CODES = {"school": "str", "student": "str", "Subject": "str", "school_id": "str", "student_id": "str", "lea": "str"}


def read_table(path: Path) -> pd.DataFrame:
    """A CSV file with its codes as text; read here by pandas alone, so that the proof does not lean on
    valib."""
    header = pd.read_csv(path, nrows=0).columns
    return pd.read_csv(path, dtype={c: t for c, t in CODES.items() if c in header})


def reference(name: str) -> dict:
    """One JSON file of tests/reference."""
    return json.loads((REFERENCE / f"{name}.json").read_text())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def patience() -> None:
    """What a command says depends on no clock: a slow machine would add that it reads."""
    progress.PATIENCE = 1e6


@pytest.fixture
def no_pictures(monkeypatch) -> None:
    """A fit by command leaves its pictures out, which take most of its time: tests/pages/test_pictures.py looks at them."""
    monkeypatch.setattr("valib.pages.pictures.pictures", lambda *_, **__: {})


@pytest.fixture(scope="session")
def sleepstudy() -> pd.DataFrame:
    raw = read_table(ROOT / "data" / "sleepstudy.csv")
    return pd.DataFrame(
        {
            "student": [str(i) for i in range(len(raw))],
            "school": raw.Subject,
            "cohort": 0,
            "score": raw.Reaction,
            "prior_score": raw.Days.astype(float),
        }
    )


@pytest.fixture(scope="session")
def exam() -> pd.DataFrame:
    raw = read_table(ROOT / "data" / "exam.csv")
    return raw.assign(cohort=0, score=raw.normexam, prior_score=raw.standLRT)


@pytest.fixture(scope="session")
def chem97() -> pd.DataFrame:
    raw = read_table(ROOT / "data" / "chem97.csv")
    return raw.assign(cohort=0, score=raw.score.astype(float), prior_score=raw.gcsecnt)


@pytest.fixture(scope="session")
def panel() -> pd.DataFrame:
    raw = read_table(REFERENCE / "data" / "panel_sim.csv")
    return raw.rename(columns={"student_id": "student", "school_id": "school", "year": "cohort"})


def simulate(
    rng: np.random.Generator,
    schools: int = 30,
    size=(5, 40),
    cohorts=(2015,),
    tau: float = 15.0,
    sigma: float = 45.0,
    slope: float = 0.8,
    shift: dict | None = None,
    rho: float = 0.0,
    sorting: float = 0.0,
) -> pd.DataFrame:
    """Records of a plain random-intercept world, a fresh draw of students in each cohort.

    rho is the correlation of a school's effects between any two cohorts; ``u`` (the school's effect in that
    cohort, without the shift) is kept as a column so that a test can look the truth up.
    """
    names = np.array([f"S{k:04d}" for k in range(schools)])
    lasting = rng.standard_normal(schools)
    out = []
    for cohort in cohorts:
        u = tau * (np.sqrt(rho) * lasting + np.sqrt(1 - rho) * rng.standard_normal(schools))
        n = rng.integers(size[0], size[1] + 1, schools)
        code = np.repeat(np.arange(schools), n)
        prior = 480 + sorting * u[code] + 20 * rng.standard_normal(schools)[code] + 60 * rng.standard_normal(len(code))
        score = 110 + slope * prior + (shift or {}).get(cohort, 0.0) + u[code] + sigma * rng.standard_normal(len(code))
        out.append(
            pd.DataFrame({"school": names[code], "cohort": cohort, "score": score, "prior_score": prior, "u": u[code]})
        )
    frame = pd.concat(out, ignore_index=True)
    return frame.assign(student=[f"P{k:06d}" for k in range(len(frame))])


@pytest.fixture(scope="session")
def small() -> pd.DataFrame:
    """Two baseline cohorts and a focal one, small enough for dense matrices; one school is new, one is
    gone."""
    rng = np.random.default_rng(7)
    frame = simulate(
        rng,
        schools=12,
        size=(2, 14),
        cohorts=(2015, 2016, 2021),
        tau=20,
        sigma=30,
        rho=0.5,
        shift={2021: -14.0},
        sorting=0.5,
    )
    frame["female"] = rng.integers(0, 2, len(frame))
    return frame[
        ~((frame.school == "S0002") & (frame.cohort < 2021)) & ~((frame.school == "S0004") & (frame.cohort == 2021))
    ]
