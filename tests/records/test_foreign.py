"""A refusal says what the file is, and what can be read."""

import bz2
import gzip
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import valib as va
from valib.errors import RecordsError

ENDINGS = ".csv .gz .feather .xlsx .xls .ods .rda .rds .dta .sav .zsav .por .sas7bdat .xpt".split()
TABLE = b"student,school,cohort,score,prior_score\n" + b"1,A,2024,5,5\n" * 50


def zipped(*names, mimetype=None):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            if mimetype:
                archive.writestr("mimetype", mimetype)
            for name in names:
                archive.writestr(name, TABLE)

    return write


def holding(content):
    return lambda path: path.write_bytes(content)


def sqlite(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE a (b)")
    connection.close()


def ducked(path):
    duckdb.connect(str(path)).close()


def tarred(path):
    (path.parent / "inner.csv").write_bytes(TABLE)
    with tarfile.open(path, "w") as archive:
        archive.add(path.parent / "inner.csv", "inner.csv")


def streamed(path):
    table = pa.table({"a": [1]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)


def office(*streams):
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + b"".join(name.encode("utf-16-le") for name in streams)


JET = b"\x00\x01\x00\x00Standard %s DB\x00" + bytes(3000)
LINK = json.dumps({"url": "https://docs.google.com/open?id=1", "doc_id": "1"}).encode()
ODT = "application/vnd.oasis.opendocument.text"
FILES = {
    "a.accdb": (holding(JET % b"ACE"), "is a database of Access"),
    "a.mdb": (holding(JET % b"Jet"), "is a database of Access"),
    "a.sqlite": (sqlite, "is a database of SQLite: name it as sqlite:///FILE"),
    "a.duckdb": (ducked, "is a database of DuckDB: name it as duckdb:///FILE"),
    "a.zip": (zipped("this.csv"), "is an archive of one file: unpack it first"),
    "b.zip": (zipped("this.csv", "last.csv"), "is an archive of 2 files"),
    "a.7z": (holding(b"7z\xbc\xaf\x27\x1c" + bytes(500)), "is an archive"),
    "a.tar": (tarred, r"is an archive \(tar\)"),
    "a.csv.bz2": (lambda path: path.write_bytes(bz2.compress(TABLE)), "is a file compressed by bzip2"),
    "a.csv.xz": (lambda path: path.write_bytes(lzma.compress(TABLE)), "is a file compressed by xz"),
    "a.docx": (zipped("word/document.xml"), "is a document of Word"),
    "a.pptx": (zipped("ppt/presentation.xml"), "is slides of PowerPoint"),
    "a.odt": (zipped("content.xml", mimetype=ODT), "is a document of OpenOffice, and no workbook"),
    "a.numbers": (zipped("Index/Document.iwa"), "is a sheet of Numbers, which can export .csv or .xlsx"),
    "a.doc": (holding(office("WordDocument")), "is a document of an old Office program, and no workbook"),
    "locked.xlsx": (holding(office("EncryptedPackage")), "is a workbook or document with a password"),
    "a.pdf": (holding(b"%PDF-1.7\n" + bytes(500)), "is a PDF document"),
    "a.rtf": (holding(b"{\\rtf1\\ansi " + TABLE), "is a text document"),
    "a.json": (holding(b'[{"student": 1, "school": 2}]'), "is JSON, not a table"),
    "a.jsonl": (holding(b'{"student": 1}\n{"student": 2}\n'), "is JSON, not a table"),
    "a.gsheet": (holding(LINK), "is a link to a Google Sheet, which can be downloaded as .csv or .xlsx"),
    "a.xml": (holding(b'<?xml version="1.0"?><students><student/></students>'), "is HTML or XML, not a table"),
    "export.xls": (
        holding(b"<html><table><tr><td>1,2</td></tr></table></html>"),
        "is HTML or XML, not a table, whatever",
    ),
    "a.h5": (holding(b"\x89HDF\r\n\x1a\n" + bytes(500)), "is an HDF5 file"),
    "a.npy": (lambda path: np.save(path, np.arange(9)), "is an array of NumPy"),
    "a.pkl": (lambda path: path.write_bytes(pickle.dumps([1, 2])), "is a pickle of Python"),
    "a.arrows": (streamed, "is an Arrow stream"),
    "a.png": (holding(b"\x89PNG\r\n\x1a\n" + bytes(500)), "is a picture"),
    "a.orc": (holding(b"ORC\x0a\x00" + bytes(500)), "is an ORC file"),
    "a.mat": (holding(b"MATLAB 5.0 MAT-file" + bytes(500)), "is a file of MATLAB"),
    "a.bin": (
        holding(bytes(range(256)) * 8),
        "is neither text in UTF-8, UTF-16 or Windows-1252 nor of another known format",
    ),
    "a.tar.gz": (lambda path: path.write_bytes(gzip.compress(bytes(range(256)) * 8)), "is neither text"),
    "folder": (lambda path: path.mkdir(), "is a folder without Parquet files"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_refusal_says_what_a_file_is_and_what_can_be_read(tmp_path, name):
    write, told = FILES[name]
    write(path := tmp_path / name)
    for read in (va.read_records, lambda path: va.moments_from_source(path).moments):
        with pytest.raises(RecordsError, match=told) as caught:
            read(path)
        said = str(caught.value)
        assert name in said and "\n" not in said and said.endswith(".")
        assert all(ending in said for ending in ENDINGS)


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
def test_an_empty_file_is_called_empty(tmp_path, engine):
    (tmp_path / "a.csv").touch()
    with pytest.raises(RecordsError, match="a.csv: the file is empty"):
        va.moments_from_source(tmp_path / "a.csv", engine=engine)


@pytest.mark.parametrize(
    "first", ["ORC", "MZ", "GIF8", "MATLAB", "FEA1", "<5", "II*", "[x]", "{x}", "PK", "BZh91", "Obj", "7z", "Rar!"]
)
def test_a_text_whose_header_begins_like_another_format_is_text(tmp_path, first):
    header = f"{first},student,school,cohort,score,prior_score\n"
    (tmp_path / "a.csv").write_text(header + "".join(f"x,{k},A,2024,5,{k}\n" for k in range(30)))
    assert va.read_records(tmp_path / "a.csv").shape == (30, 6)
