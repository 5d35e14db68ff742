"""Search for what must not be told: in every file of a folder, also inside archives, tables, pictures and PDFs."""

from __future__ import annotations

import contextlib
import getpass
import gzip
import io
import re
import shutil
import socket
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

MARK = "zqxvplant"  # in every planted code, name and address: letters that chance does not put together
RARE = ("4.918273645", "602.7182818", "387.1415926")  # a covariate, a score and a prior score of one student each


def plant(records: pd.DataFrame) -> pd.DataFrame:
    """Records whose students can be recognised wherever they appear: codes, names, addresses and rare numbers."""
    number = pd.Series([f"{k:06d}" for k in range(len(records))], records.index)
    marked = records.assign(
        student=MARK + number,
        Surname=MARK.title() + number,
        Mail=MARK + number + "@example.org",
        ses=np.random.default_rng(1).standard_normal(len(records)),
    )
    for k, (column, value) in enumerate(zip(("ses", "score", "prior_score"), RARE, strict=True)):
        marked.loc[marked.index[10 + k], column] = float(value)
    return marked


def places() -> list[str]:
    """Paths and names of this machine and its user that no page may hold; short names, common words, are left out."""
    root = Path(__file__).resolve().parents[1]
    paths = [str(Path.home()) + "/", str(root) + "/", "/ipykernel_", tempfile.gettempdir() + "/pytest"]
    names = [name for name in (getpass.getuser(), socket.gethostname()) if len(name) > 5]
    return paths + names


def search(folder: Path, words: list[str]) -> tuple[int, list[str]]:
    """How many files were read, and where a word was found: "file (in what): word"; case does not count."""
    pattern = re.compile("|".join(re.escape(word) for word in words).encode(), re.IGNORECASE)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    found = []
    for path in files:
        for what, content in contents(path.name, path.read_bytes()):
            found += [f"{path.relative_to(folder)} ({what}): {hit.decode()}" for hit in set(pattern.findall(content))]
        found += [
            f"{path.relative_to(folder)} (name): {hit.decode()}"
            for hit in set(pattern.findall(str(path.relative_to(folder)).encode()))
        ]
    return len(files), found


def contents(name: str, raw: bytes) -> Iterator[tuple[str, bytes]]:
    """A file's bytes, and what is packed in them."""
    yield "bytes", raw
    if raw[:2] == b"\x1f\x8b":
        yield from contents(name.removesuffix(".gz"), gzip.decompress(raw))
    elif raw[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for member in archive.namelist():
                yield from ((f"{member}, {what}", inner) for what, inner in contents(member, archive.read(member)))
    elif raw[:4] == b"PAR1":
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(raw))
        yield "metadata", str(table.schema.metadata).encode()
        yield "rows", table.to_pandas().to_csv().encode()
    elif raw[:8] == b"\x89PNG\r\n\x1a\n":
        yield from ((f"chunk {kind.decode()}", text) for kind, text in _png_texts(raw))
    elif raw[:5] == b"%PDF-":
        yield from _pdf(raw)
    elif name == "objects.inv":
        yield "inventory", zlib.decompress(raw.split(b"\n", 4)[4])


def _png_texts(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The text chunks of a PNG picture, unpacked."""
    at = 8
    while at < len(raw):
        size, kind = int.from_bytes(raw[at : at + 4]), raw[at + 4 : at + 8]
        body = raw[at + 8 : at + 8 + size]
        if kind in (b"tEXt", b"iTXt", b"eXIf"):
            yield kind, body
        elif kind == b"zTXt":
            yield kind, zlib.decompress(body.split(b"\0", 1)[1][1:])
        at += 12 + size


def _pdf(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The unpacked streams of a PDF, and its text where pdftotext is installed."""
    for number, stream in enumerate(re.findall(rb"stream\r?\n(.*?)endstream", raw, re.DOTALL)):
        with contextlib.suppress(zlib.error):
            yield f"stream {number}", zlib.decompressobj().decompress(stream)
    if shutil.which("pdftotext"):
        yield "text", subprocess.run(["pdftotext", "-", "-"], input=raw, capture_output=True, check=True).stdout
