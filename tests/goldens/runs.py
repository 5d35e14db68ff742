"""Frozen results of the command line: what each run writes, as a digest that is small and misses nothing.

``python tests/goldens/runs.py`` writes ``tests/goldens/*.json`` anew. Do that only where results are meant to change,
and say in the commit which ones and why.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

import valib as valib_package

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CODES = ("school", "cohort_pair", "world")
FITS = ("relative", "benchmark", "joint")


def studies(folder: Path) -> dict[str, Path]:
    """A params file for each study: the demo, a real panel and three awkward files."""
    egsingle = {
        "data": str(ROOT / "tests/reference/data/egsingle_cohorts.csv"),
        "columns": {"student": "student_id", "school": "school_id", "cohort": "year"},
        "formula": "score ~ prior_score + female",
        "baseline_cohorts": [2, 3],
        "focal_cohorts": [4, 5, 6],
    }
    awkward = folder / "awkward.csv"
    awkward_records().to_csv(awkward, sep=";", decimal=",", index=False)
    made = {
        "demo": {},
        "egsingle": egsingle,
        "boundary": {
            "data": str(ROOT / "tests/cases/10-boundary-fit/records.csv"),
            "baseline_cohorts": [2016, 2017],
            "focal_cohorts": [2019, 2021],
        },
        "padded": {
            "data": str(ROOT / "tests/cases/05-zero-padded-category/records.csv"),
            "formula": "score ~ prior_score + C(region)",
            "baseline_cohorts": [2016, 2017],
            "focal_cohorts": [2019, 2021],
        },
        "awkward": {
            "data": str(awkward),
            "formula": "score ~ prior_score + C(kind) + school_mean(prior_score)",
            "baseline_cohorts": [1998, 2001],
            "focal_cohorts": [2002, 2005],
        },
    }
    paths = {}
    for name, params in made.items():
        paths[name] = folder / f"{name}.yml"
        paths[name].write_text(yaml.safe_dump(params), encoding="utf-8")
    return paths


def awkward_records() -> pd.DataFrame:
    """Schools of one student and of two hundred, some in some cohorts only, with missing values and odd names."""
    rng = np.random.default_rng(77)
    rows = []
    for j in range(30):
        for cohort in (1998, 2001, 2002, 2005):
            if (j + cohort) % 7 == 0:
                continue
            n = 1 if j < 3 else 200 if j == 3 else int(rng.integers(2, 25))
            prior = rng.normal(400, 70, n)
            score = 150 + 0.8 * prior + rng.normal(0, 12) + rng.normal(0, 40, n)
            kind = rng.choice(["a", "b", "çé"], n)
            for i in range(n):
                rows.append((f"École «{j:03d}»", f"{j}-{cohort}-{i}", cohort, score[i], prior[i], kind[i]))
    table = pd.DataFrame(rows, columns=["school", "student", "cohort", "score", "prior_score", "kind"]).round(2)
    table.loc[table.index % 41 == 5, "prior_score"] = np.nan
    return table


def valib(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run one command."""
    return subprocess.run(
        [sys.executable, "-m", "valib", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def digest(folder: Path) -> dict:
    """Every table and JSON file of a folder, by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name in ("about.csv", "columns.csv", "simulation_columns.csv"):  # words about the results
            continue
        if path.suffix == ".csv":
            found[path.name] = digest_table(pd.read_csv(path, dtype=dict.fromkeys(CODES, "str")))
        elif path.suffix == ".json" and path.name != "scoring.json":  # its own tests hold it to the full run's rows
            found[path.name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def digest_table(table: pd.DataFrame) -> dict:
    """Number of rows; of a numeric column missing values, sum, sum weighted by place and some rows; of texts some."""
    columns = {}
    places = sorted({k * max(len(table) - 1, 0) // 6 for k in range(7)}) if len(table) else []
    for name in table.columns:
        column = table[name]
        shown = [None if pd.isna(v) else v for v in column.iloc[places].tolist()]
        columns[name] = {"rows": shown}
        if pd.api.types.is_numeric_dtype(column) and column.dtype != bool:
            values = column.to_numpy(dtype=float)
            there = np.nan_to_num(values)
            weight = np.linspace(1, 2, len(values)) if len(values) else values
            columns[name] |= {
                "missing": int(np.isnan(values).sum()),
                "size": float(np.abs(there).sum()),
                "sum": float(there.sum()),
                "weighted": float(there @ weight),
            }
    return {"length": len(table), "columns": columns}


def results(study: str, params: Path, folder: Path) -> dict:
    """What the commands write for one study."""
    told = {}
    for model in FITS:
        out = folder / study / model
        done = valib(
            "fit", "--params", str(params), "--model", model, "--exact", "--no-figures", "--out", str(out), cwd=folder
        )
        told[f"fit {model}"] = digest(out) if done.returncode == 0 else f"exit {done.returncode}"
    out = folder / study / "baseline.json"
    done = valib("baseline", "--params", str(params), "--exact", "--out", str(out), cwd=folder)
    failed = f"exit {done.returncode}"
    told["baseline"] = failed if done.returncode else json.loads(out.read_text(encoding="utf-8"))
    if not done.returncode:
        del told["baseline"]["checksum"]  # of the last digits too
    if study == "demo":
        out = folder / study / "simulation"
        valib("simulate", "--fast", "--scenarios", "drift,sorting", "--out", str(out), cwd=folder)
        told["simulate"] = digest(out)
    return told


def public_names() -> dict[str, str]:
    """Every public name with its signature."""
    return {name: signature(getattr(valib_package, name)) for name in sorted(valib_package.__all__)}


def signature(thing: object) -> str:
    try:
        return str(inspect.signature(thing))
    except (TypeError, ValueError):
        return type(thing).__name__


def main() -> None:
    names = json.dumps(public_names(), indent=1, sort_keys=True)
    (HERE / "public_names.json").write_text(names + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for study, params in studies(folder).items():
            text = json.dumps(results(study, params, folder), indent=1, ensure_ascii=False, sort_keys=True)
            (HERE / f"{study}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
