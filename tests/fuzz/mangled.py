"""Mangled files of every kind, and what the readers make of them: the same numbers, or the same sentence.

    python tests/fuzz/mangled.py --minutes 10 --seed 1 --keep FOLDER --record

counts the outcomes by kind of file and keeps every file that is read differently or ends in no sentence; --record adds
the counts to ``runs.json`` beside it, which a test reads. The same seed draws the same files.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyreadstat

sys.path.insert(0, str(Path(__file__).parents[1]))
from workbooks import ods, xlsx  # noqa: E402

from valib.errors import ValibError  # noqa: E402
from valib.sums.streams import moments_from_source  # noqa: E402

DATA, RUNS = Path(__file__).parents[1] / "data", Path(__file__).with_name("runs.json")
SHARES = {"text": 8.0, "parquet": 4.0, "workbook": 1.0, "rdata": 2.0, "sqlite": 2.0, "arrow": 2.0, "labelled": 1.0}
KINDS = tuple(SHARES)
STREAMED = ("text", "parquet")
PIECES = [
    *('"', '""', '"\n', ",", ";", "\t", "|", "\r", "\n", "\r\n", "\ufeff", " ", "\xa0", "'", "=", "-", "\u2212", "%"),
    *("\u0663", "\u0967\u0968", "1e400", "NaN", "nan", "-nan", "inf", "NA", ".", "1_0", "+-5", "0x1A", "1,5", "1.234"),
    *("\x00", "\x1a", "\u2028", "\x0b", "é", "ß", "007", "1.0", "True", "\n\n", "\n \n", '\n"\n', '\n"\n"\n"\n', ",,,"),
]
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-16-le")


def table(rng: np.random.Generator) -> pd.DataFrame:
    """Students of six schools in two cohorts."""
    n = int(rng.integers(20, 90))
    prior = rng.normal(500, 60, n).round(1)
    return pd.DataFrame(
        {
            "student": [f"P{k:04d}" for k in range(n)],
            "school": [f"{k:03d}" for k in rng.integers(0, 6, n)],
            "cohort": rng.choice([2016, 2019], n),
            "score": (prior + rng.normal(0, 30, n)).round(1),
            "prior_score": prior,
            "note": rng.choice(["north", "south, east", 'an "old" one', "two\nlines"], n),
        }
    )


def draw(rng: np.random.Generator, folder: Path, kind: str) -> Path:
    """Write a mangled file of a kind."""
    return DRAWS[kind](rng, folder)


def _text(rng: np.random.Generator, folder: Path) -> Path:
    ends = rng.choice(["\n", "\r\n", "\r"], p=[0.7, 0.2, 0.1])
    frame = table(rng).drop(columns=["note"] if rng.random() < 0.5 else [])
    text = frame.to_csv(
        index=False,
        sep=str(rng.choice([",", ";", "\t", "|"])),
        quoting=int(rng.choice([0, 1])),
        lineterminator=str(ends),
    )
    for _ in range(int(rng.integers(0, 4))):
        at, piece = int(rng.integers(0, len(text) + 1)), str(rng.choice(PIECES))
        end = at + int(rng.choice([0, 0, 1, 3]))
        text = text[:at] + piece + text[end:]
    if rng.random() < 0.15:  # two extracts, one after the other
        text += text.replace("\n", "\r\n")[int(rng.integers(0, len(text))) :]
    if rng.random() < 0.1:
        text = str(rng.choice(["Extract\n\n", "sep=,\n", "\ufeff", "\n \n", "a,b,c,d,e\n"])) + text
    content = text.encode(str(rng.choice(ENCODINGS)), "replace")
    if rng.random() < 0.1:
        content = _damaged(rng, content)
    path = folder / "mangled.csv"
    path.write_bytes(gzip.compress(content) if rng.random() < 0.1 else content)
    return path


def _damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """Bytes changed, taken out or cut off."""
    raw = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(0, len(raw)))
        raw[at : at + int(rng.choice([1, 1, 4]))] = rng.bytes(int(rng.choice([0, 1, 1, 4])))
    return bytes(raw[: int(rng.integers(1, len(raw)))] if rng.random() < 0.2 else raw)


def _parquet(rng: np.random.Generator, folder: Path) -> Path:
    frame, path = _odd_value(rng, table(rng)), folder / "mangled.parquet"
    if rng.random() < 0.2:
        frame["Note"] = 1
    frame.to_parquet(path, index=False, compression=None)
    if rng.random() < 0.5:
        path.write_bytes(_damaged(rng, path.read_bytes()))
    return path


def _sqlite(rng: np.random.Generator, folder: Path) -> Path:
    path = folder / "mangled.sqlite"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        table(rng).to_sql("records", connection, index=False)
    connection.close()
    path.write_bytes(_damaged(rng, path.read_bytes()))
    return path


def _rdata(rng: np.random.Generator, folder: Path) -> Path:
    """One of the small files of the tests that R wrote, damaged."""
    names = ["schools.rda", "schools.rds", "kinds.rda", "forms_plain.rds", "grouped.rda"]
    stored = DATA / str(rng.choice(names))
    path = folder / f"mangled{stored.suffix}"
    content = stored.read_bytes()
    if content[:2] == b"\x1f\x8b" and rng.random() < 0.7:
        content = gzip.compress(_damaged(rng, gzip.decompress(content)))
    path.write_bytes(_damaged(rng, content) if rng.random() < 0.7 else content)
    return path


def _workbook(rng: np.random.Generator, folder: Path) -> Path:
    """A workbook with an odd cell, or damaged: the archive of a new one, or a part inside it."""
    path = folder / f"mangled.{rng.choice(['xls', 'xlsx', 'ods'])}"
    if path.suffix == ".xls":
        path.write_bytes(_damaged(rng, (DATA / "schools.xls").read_bytes()))
        return path
    frame = table(rng)
    rows = [tuple(frame.columns), *frame.itertuples(index=False, name=None)]
    at = int(rng.integers(0, len(rows)))
    odd = [*rows[at]]
    odd[int(rng.integers(0, len(odd)))] = "".join(c for c in str(rng.choice(PIECES)) if c.isprintable())
    rows[at] = tuple(odd)
    (ods if path.suffix == ".ods" else xlsx)(path, {"Records": rows})
    if rng.random() < 0.5:
        parts = {name: zipfile.ZipFile(path).read(name) for name in zipfile.ZipFile(path).namelist()}
        chosen = str(rng.choice(list(parts)))
        parts[chosen] = _damaged(rng, parts[chosen])
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
    if rng.random() < 0.3:
        path.write_bytes(_damaged(rng, path.read_bytes()))
    return path


def _arrow(rng: np.random.Generator, folder: Path) -> Path:
    frame, path = _odd_value(rng, table(rng)), folder / "mangled.feather"
    frame.to_feather(path, compression=str(rng.choice(["uncompressed", "lz4"])))
    if rng.random() < 0.7:
        path.write_bytes(_damaged(rng, path.read_bytes()))
    return path


def _labelled(rng: np.random.Generator, folder: Path) -> Path:
    """A file of Stata, SPSS or SAS."""
    frame = _odd_value(rng, table(rng))
    frame = frame.replace(r"[^\x20-\x7e]", "?", regex=True)
    path = folder / f"mangled.{rng.choice(['dta', 'sav', 'xpt'])}"
    write = {".dta": pyreadstat.write_dta, ".sav": pyreadstat.write_sav, ".xpt": pyreadstat.write_xport}[path.suffix]
    write(frame, path)
    if rng.random() < 0.7:
        path.write_bytes(_damaged(rng, path.read_bytes()))
    return path


def _odd_value(rng: np.random.Generator, frame: pd.DataFrame) -> pd.DataFrame:
    """The table with an odd text in a column, half the time."""
    if rng.random() < 0.5:
        name = str(rng.choice(frame.columns[1:]))
        frame[name] = frame[name].astype(str)
        frame.loc[int(rng.integers(0, len(frame))), name] = str(rng.choice(PIECES)).replace("\x00", "")
    return frame


DRAWS = {
    "text": _text,
    "parquet": _parquet,
    "workbook": _workbook,
    "rdata": _rdata,
    "sqlite": _sqlite,
    "arrow": _arrow,
    "labelled": _labelled,
}


def outcome(path: Path, kind: str, engine: str) -> tuple[str, object]:
    """ "numbers" with students, schools and means; "refused" with the sentence; "failed" with what came instead."""
    source = f"sqlite:///{path}" if kind == "sqlite" else path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = moments_from_source(source, engine=engine).moments
        except ValibError as error:
            return "refused", str(error)
        except Exception as error:
            return "failed", f"{type(error).__name__}: {str(error)[:200]}"
    mean = found.sums.sum(axis=0) / found.n_students + found.shift
    return "numbers", (found.n_students, tuple(found.schools), tuple(float(f"{m:.9g}") for m in mean))


def judge(path: Path, kind: str) -> tuple[str, object]:
    """The outcome in memory, or "differs" where a stream has another; a refusal in other words is one too."""
    ours = outcome(path, kind, "memory")
    unread = (
        kind == "parquet" and ours[0] == "refused" and "cannot be read" in ours[1]
    )  # in a column of no use, perhaps
    if kind not in STREAMED or ours[0] == "failed" or unread:
        return ours
    theirs = outcome(path, kind, "duckdb")
    same = ours == theirs or (ours[0] == theirs[0] == "refused" and _alike(ours[1], theirs[1], path))
    return ours if same else (theirs if theirs[0] == "failed" else ("differs", (ours, theirs)))


def _alike(ours: object, theirs: object, path: Path) -> bool:
    """Whether two refusals are of one fault; an open quotation mark may be met before or after the names are looked at."""
    return _plain(ours, path) == _plain(theirs, path) or str(theirs).endswith("a quotation mark may not be closed.")


def _plain(sentence: object, path: Path) -> str:
    """A refusal without the file's name, and without the words of two libraries about the same damage."""
    told = str(sentence).removeprefix(f"{path.name}: ")
    told = re.sub(r"first: '[^']*'", "first", told)  # a decimal comma is shown as it was read
    return "cannot be read" if told.startswith("cannot be read") and path.suffix == ".parquet" else told


def main() -> None:
    """Draw and judge files until the time is over."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--minutes", type=float, default=1.0)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--keep", type=Path, default=Path("fuzz-kept"))
    asked.add_argument("--kinds", default=",".join(KINDS))
    asked.add_argument("--record", action="store_true")
    asked = asked.parse_args()
    counts, end, number = Counter(), time.monotonic() + 60 * asked.minutes, 0
    kinds = asked.kinds.split(",")
    weights = np.array([SHARES[kind] for kind in kinds])
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            rng = np.random.default_rng([asked.seed, number])
            kind = str(rng.choice(kinds, p=weights / weights.sum()))
            path = draw(rng, Path(folder), kind)
            found, what = judge(path, kind)
            counts[kind, found] += 1
            if found in ("differs", "failed"):
                asked.keep.mkdir(exist_ok=True)
                shutil.copy(path, asked.keep / f"{number}-{path.name}")
                print(number, kind, found, ascii(what)[:500], file=sys.stderr, flush=True)
            number += 1
    for (kind, found), n in sorted(counts.items()):
        print(f"{kind:10}{found:10}{n:8}")
    if asked.record:
        runs = json.loads(RUNS.read_text(encoding="utf-8")) if RUNS.exists() else []
        found = {kind: {f: n for (k, f), n in sorted(counts.items()) if k == kind} for kind in kinds}
        used = os.times()
        cpu = round((used.user + used.system + used.children_user + used.children_system) / 60, 1)
        runs.append({"seed": asked.seed, "minutes": asked.minutes, "processor": cpu, "files": number, "found": found})
        RUNS.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
