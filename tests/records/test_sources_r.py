"""R's files in every form in which R writes them, and what lies beside a table in a workspace; tests/data/make_rforms.R."""

import bz2
import gzip
import lzma
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import valib as va
from valib.errors import RecordsError
from valib.records.sources import open_source
from valib.records.sources.robjects import WINDOW, Ascii, Binary, parse

DATA = Path(__file__).parents[1] / "data"
FORMS = sorted(file.name for file in DATA.glob("forms_*.rd*"))
UNPACK = {"gzip": gzip, "bzip2": bz2, "xz": lzma}


@pytest.fixture(scope="module")
def written():
    """The values as R writes them to a CSV file, all as text."""
    return pd.read_csv(DATA / "forms.csv", dtype="str", keep_default_na=False)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_holds_what_r_writes_to_a_csv_file(name, written):
    assert len(FORMS) == 7
    frame = open_source(DATA / name).read(text_columns=["student", "school"])
    assert list(frame.columns) == list(written.columns) and len(frame) == len(written)
    for column in ("student", "school", "written", "latin", "level"):
        there = frame[column].astype(object).where(frame[column].notna(), "NA")
        assert there.tolist() == written[column].tolist(), column
    for column in ("cohort", "up", "down", "whole", "score", "prior_score", "real"):
        given = pd.to_numeric(written[column].replace("NA", ""))
        np.testing.assert_allclose(frame[column].to_numpy(float, na_value=np.nan), given, rtol=1e-14)  # 15 digits
    assert frame["level"].cat.categories.tolist() == ["low", "mid", "high"]
    flags = {True: "TRUE", False: "FALSE", None: "NA"}
    assert [flags[None if pd.isna(one) else bool(one)] for one in frame["flag"]] == written["flag"].tolist()
    for column in ("day", "moment"):
        assert frame[column].tolist() == pd.to_datetime(written[column]).tolist()


def test_the_forms_are_what_they_are_said_to_be():
    for name, unpack in UNPACK.items():
        content = unpack.decompress((DATA / f"forms_{name}.rda").read_bytes())
        for form in (b"deferred_string", b"compact_intseq", b"compact_realseq", b"wrap_real", b"wrap_string"):
            assert form in content, form
    assert gzip.decompress((DATA / "forms_native.rds").read_bytes()).startswith(b"B\n\3\0")
    assert (DATA / "forms_plain.rds").read_bytes().startswith(b"X\n\0\0\0\3")
    assert gzip.decompress((DATA / "forms_version2.rda").read_bytes()).startswith(b"RDX2\nX\n\0\0\0\2")


def test_a_table_among_functions_environments_and_language_is_read():
    with pytest.raises(RecordsError, match="holds 2 data frames; choose one of grouped, labelled by table"):
        va.read_records(DATA / "grouped.rda")
    records = va.read_records(DATA / "grouped.rda", table="grouped")
    assert records["student"].tolist() == [str(k) for k in range(1, 13)]
    assert records["school"].tolist() == ["B", "A", "C"] * 4
    frame = open_source(DATA / "grouped.rda", "grouped").read()
    assert frame["school"].cat.categories.tolist() == ["C", "A", "B"]
    with pytest.raises(RecordsError, match="has no data frame 'things'; its data frames are grouped, labelled"):
        va.read_records(DATA / "grouped.rda", table="things")


def test_labels_of_haven_are_categories_as_those_of_spss_are():
    records = va.read_records(DATA / "grouped.rda", table="labelled")
    assert records["band"].tolist()[:2] == ["high", "low"] and records["band"].isna().tolist() == [False, False, True]
    assert records["band"].cat.categories.tolist() == ["low", "high"]


def texts_of_r(texts, encoding="utf-8", flag=1 << 15):
    """A vector of texts as R writes it."""
    parts = [b"X\n\0\0\0\2" + bytes(8), (16).to_bytes(4, "big"), len(texts).to_bytes(4, "big")]
    for text in texts:
        held = None if text is None else text.encode(encoding)
        flags = 9 | (0 if text is None else 1 << 18 if text.isascii() else flag)
        length = -1 if held is None else len(held)
        parts += [flags.to_bytes(4, "big"), length.to_bytes(4, "big", signed=True), held or b""]
    return b"".join(parts)


def test_many_texts_at_once_are_the_texts_one_by_one():
    """Whatever their lengths, with tabs (the byte of a text's kind), beyond the bytes looked through at a time."""
    chosen = random.Random(5)
    alphabet = ["a", "\t", "é", "9", " "]
    for size in (17, 300, 5000):
        texts = ["".join(chosen.choices(alphabet, k=chosen.choice((0, 1, 8, 9, 9, 10, 30)))) for _ in range(size)]
        texts[3], texts[-1] = None, "\t" * 9
        texts[size // 2] = "ab" * WINDOW
        found, guessed = parse(texts_of_r(texts))
        assert found.value.to_pylist() == texts and not guessed


def test_texts_in_other_encodings():
    texts = [f"Zürich {k}" for k in range(30)]
    assert parse(texts_of_r(texts, "latin-1", 1 << 14))[0].value.to_pylist() == texts
    for encoding, guessed in (("utf-8", False), ("cp1252", True)):  # without a mark, in a file that names no encoding
        found = parse(texts_of_r(texts, encoding, 0))
        assert found[0].value.to_pylist() == texts and found[1] == guessed
    with pytest.raises(UnicodeDecodeError):
        parse(texts_of_r(texts, "latin-1", 1 << 15))  # said to be UTF-8


@pytest.mark.parametrize("name", ["forms_gzip.rda", "grouped.rda"])
def test_a_file_cut_anywhere_is_refused(tmp_path, name):
    content = (lzma if name == "grouped.rda" else gzip).decompress((DATA / name).read_bytes())
    path = tmp_path / "cut.rda"
    for cut in range(8, len(content) - 1, 97):
        path.write_bytes(content[:cut])
        with pytest.raises(RecordsError, match="^cut.rda: cannot be read as R data"):
            va.read_records(path, table="labelled")


def test_a_few_bytes_that_ask_for_much_memory_are_refused():
    for content in (
        b"\0\0\0\x0d\x7f\xff\xff\xff",
        b"\0\0\0\x10\x7f\xff\xff\xff",
        b"\0\0\0\x13\x7f\xff\xff\xff",
        b"\0\0\0\x0e\xff\xff\xff\xff" * 3,
    ):
        with pytest.raises(ValueError):
            parse(b"X\n\0\0\0\2" + bytes(8) + content)
    for reader in (Binary(b"", ">"), Ascii(b"")):
        for part in (reader.wholes, reader.reals, reader.text, reader.texts):
            with pytest.raises((ValueError, IndexError)):
                part(1)
