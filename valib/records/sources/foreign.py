"""Formats that are not read, so that a refusal can say what a file is."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

READABLE = (
    "what can be read is text (.csv, .tsv, also .gz), Parquet, Arrow (.feather), a workbook (.xlsx, .xls, .ods), a file of R"
    " (.rda, .rds), Stata (.dta), SPSS (.sav, .zsav, .por) or SAS (.sas7bdat, .xpt), and a database by its URL; save the table"
    " as one of these"
)
_WRITTEN = {rb"%PDF-": "a PDF document", rb"\{\\rtf": "a text document (RTF)"}
_BEGINNINGS = {  # of files that hold bytes which no text holds
    rb"(?s)....Standard (Jet|ACE) DB": "a database of Access",
    rb"SQLite format 3\0": "a database of SQLite: name it as sqlite:///FILE",
    rb"(?s).{8}DUCK": "a database of DuckDB: name it as duckdb:///FILE",
    rb"7z\xbc\xaf|Rar!\x1a": "an archive",
    rb"(?s).{257}ustar": "an archive (tar)",
    rb"BZh[1-9]1AY&SY": "a file compressed by bzip2",
    rb"\xfd7zXZ": "a file compressed by xz",
    rb"\x28\xb5\x2f\xfd": "a file compressed by zstd",
    rb"\x89HDF": "an HDF5 file",
    rb"\x93NUMPY": "an array of NumPy",
    rb"\x80[\x02-\x05]": "a pickle of Python, which nothing here opens",
    rb"Obj\x01": "an Avro file",
    rb"ORC": "an ORC file",
    rb"FEA1": "a Feather file of version 1",
    rb"\xff\xff\xff\xff..\0\0": "an Arrow stream",
    rb"MATLAB ": "a file of MATLAB",
    rb"\xff\xff\0\0\x07\0\0\0": "a file of JMP",
    rb"\x89PNG|\xff\xd8\xff|GIF8|II\*\0|MM\0\*": "a picture",
    rb"\x7fELF|MZ": "a program",
}
_ZIPPED = {  # what a name in a zip archive tells of it; a workbook is none of these
    r"xl/|content\.xml$": "",
    r"word/": "a document of Word",
    r"ppt/": "slides of PowerPoint",
    r"Index(/.*\.iwa|\.zip)$": "a sheet of Numbers, which can export .csv or .xlsx",
}
_OFFICE, _SHEET = b"\xd0\xcf\x11\xe0", re.compile(b"W\0o\0r\0k\0b\0o\0o\0k\0|B\0o\0o\0k\0")
_MARKUP = re.compile(r"\ufeff?\s*<(\?xml|!doctype|html|table|[\w:]*workbook)\b", flags=re.IGNORECASE)
_JSON = re.compile(r'\ufeff?\s*[\[{]\s*["\[{\]}]')


def foreign_kind(path: Path) -> str:
    """What a file is that is no table, nor text; "" if that cannot be told by its first bytes."""
    with open(path, "rb") as stream:
        start = stream.read(512)
        if start.startswith(_OFFICE):
            content = start + stream.read(1 << 26)
            if b"E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g\0e\0" in content:
                return "a workbook or document with a password"
            return "" if _SHEET.search(content) else "a document of an old Office program, and no workbook"
    if start.startswith(b"PK\x03\x04"):
        return _zipped(path)
    known = _WRITTEN | _BEGINNINGS if re.search(rb"[\0-\x08]", start) else _WRITTEN
    return next((kind for begins, kind in known.items() if re.match(begins, start)), "")


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            told = archive.read("mimetype")[:80].decode("latin-1") if "mimetype" in names else ""
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError):
        return ""  # the reader of workbooks says what is wrong with it
    if told.startswith("application/vnd.oasis.opendocument.") and "spreadsheet" not in told:
        return "a document of OpenOffice, and no workbook"
    for name, kind in _ZIPPED.items():
        if any(re.match(name, one) for one in names):
            return kind
    return "an archive of one file: unpack it first" if len(names) == 1 else f"an archive of {len(names)} files"


def foreign_text(text: str) -> str:
    """What a text is that is no table; "" for a table."""
    if _MARKUP.match(text):
        return "HTML or XML, not a table" + (", whatever its name says" if "<table" in text.lower() else "")
    if _JSON.match(text):
        is_link = re.search(r'"(doc_id|url)"', text[:1000]) and "google" in text[:1000]
        return "a link to a Google Sheet, which can be downloaded as .csv or .xlsx" if is_link else "JSON, not a table"
    return ""
