"""Files of Stata, SPSS, SAS and Arrow give the numbers of the CSV."""

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyreadstat
import pytest
from workbooks import ods, xlsx

import valib as va
from valib.errors import RecordsError
from valib.records.sources import limited
from valib.records.sources.labelled import labelled_kind
from valib.sums.streams import choose_engine

DATA = Path(__file__).parents[1] / "data"
BANDS = {1: "niedrig", 2: "mittel", 3: "übrig", 9: "verweigert"}
LABELS = {"BAND": BANDS}
COLUMNS = {"student": "ID", "school": "SCHULE", "cohort": "JAHR", "score": "Y", "prior_score": "X"}


def table():
    """Umlauts, codes with leading zeros, a labelled value for missing, dates, long texts."""
    rng = np.random.default_rng(11)
    n = 240
    prior = rng.normal(500, 100, n)
    return pd.DataFrame(
        {
            "ID": [f"{k:05d}" for k in range(n)],
            "SCHULE": np.repeat(["007", "008", "Köln-Süd " * 20 + "1", "Köln-Süd " * 20 + "2", "NA", "Ä"], n // 6),
            "JAHR": np.tile([2023, 2024], n // 2),
            "X": np.where(np.arange(n) % 17 == 3, np.nan, prior),
            "Y": prior + np.repeat(rng.normal(0, 60, 6), n // 6) + rng.normal(0, 50, n),
            "BAND": rng.choice([1.0, 2.0, 3.0, 9.0], n),
            "FORM": rng.integers(1, 4, n),
            "BORN": [datetime.date(2010, 1, 1) + datetime.timedelta(days=k) for k in range(n)],
        }
    )


def by_hand(frame, labelled):
    """The rows as a CSV would have them, with labels as their words."""
    frame = frame.assign(BAND=frame["BAND"].mask(frame["BAND"] == 9))
    return frame.assign(BAND=frame["BAND"].map(BANDS)) if labelled else frame


def plain(frame):
    """What the writer of portable files can write."""
    return frame.replace({"SCHULE": {"ü": "u", "ö": "o", "Ä": "A"}}, regex=True)


def stata(frame, path, **more):
    pyreadstat.write_dta(frame.assign(BAND=frame["BAND"].astype(object).replace(9.0, "a")), path,
                         variable_value_labels=LABELS, missing_user_values={"BAND": ["a"]}, **more)  # fmt: skip


def old_stata(frame, path):
    """Stata's format before 13, by pandas: its text is in Latin-1."""
    frame = frame.assign(BAND=frame["BAND"].mask(frame["BAND"] == 9), BORN=pd.to_datetime(frame["BORN"]))
    frame.to_stata(path, write_index=False, version=114, value_labels=LABELS, convert_dates={"BORN": "td"})


def spss(frame, path, compress):
    pyreadstat.write_sav(frame, path, variable_value_labels=LABELS, missing_ranges={"BAND": [9]}, compress=compress)


def feather(frame, path):
    """Arrow's own categories stand for labels."""
    words = pd.CategoricalDtype(list(BANDS.values())[:3])
    by_hand(frame, True).astype({"BAND": words, "BORN": "datetime64[s]"}).to_feather(path)


def without_labels(write, **more):
    """A format whose writer has no labels and no declared missing values."""
    return lambda frame, path: write(frame.assign(BAND=frame["BAND"].mask(frame["BAND"] == 9)), path, **more)


def workbook(write):
    """A sheet, in which a blank cell is missing."""

    def written(frame, path):
        frame = frame.assign(BAND=frame["BAND"].mask(frame["BAND"] == 9))
        cells = [
            [None if pd.isna(value) else value for value in row] for row in frame.astype(object).to_numpy().tolist()
        ]
        write(path, {"Sheet": [tuple(frame.columns), *cells]})

    return written


def stored(frame, path):
    """What R wrote of this table: tests/data/make_formats.R."""
    path.write_bytes((DATA / f"formats.{path.name.removeprefix('records.')}").read_bytes())


FORMATS = {  # how each is written, and whether it holds labels
    "dta": (stata, True),
    "old.dta": (old_stata, True),
    "sav": (lambda frame, path: spss(frame, path, False), True),
    "zsav": (lambda frame, path: spss(frame, path, True), True),
    "por": (lambda frame, path: without_labels(pyreadstat.write_por)(plain(frame), path), False),
    "5.xpt": (without_labels(pyreadstat.write_xport, file_format_version=5), False),
    "feather": (feather, True),
    "xlsx": (workbook(xlsx), False),
    "ods": (workbook(ods), False),
    "rda": (stored, True),
    "rds": (stored, True),
    "8.xpt": (without_labels(pyreadstat.write_xport, file_format_version=8), False),
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_numbers_of_the_csv(tmp_path, form):
    (write, labelled), frame = FORMATS[form], table()
    write(frame, path := tmp_path / f"records.{form}")
    plainly = plain(frame) if form == "por" else frame
    by_hand(plainly, labelled).to_csv(tmp_path / "records.csv", index=False)
    ours, theirs = (va.read_records(file, COLUMNS) for file in (path, tmp_path / "records.csv"))
    for name in ("student", "school", "cohort", "FORM"):
        assert ours[name].tolist() == theirs[name].tolist() and ours[name].dtype == theirs[name].dtype
    exact = {"por": 1e-9, "5.xpt": 1e-9, "8.xpt": 1e-9}.get(form, 0)  # base 30 and IBM's floating point
    exact = 1e-15 if form in ("rda", "rds") else exact  # R read the digits of the CSV its own way
    for name in ("score", "prior_score"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=exact)
    assert ours["BORN"].tolist() == pd.to_datetime(theirs["BORN"]).tolist()
    assert ours["BAND"].dropna().tolist() == theirs["BAND"].dropna().tolist()
    assert ours["BAND"].isna().tolist() == theirs["BAND"].isna().tolist() and ours["BAND"].isna().any()
    assert ours.attrs["left_out"] == theirs.attrs["left_out"]
    if labelled:
        assert ours["BAND"].cat.categories.tolist() == ["niedrig", "mittel", "übrig"]
        theirs["BAND"] = theirs["BAND"].astype(ours["BAND"].dtype)
    formula = "score ~ prior_score + C(BAND) + C(FORM)"
    one, two = (va.fit_relative(records, 2024, formula) for records in (ours, theirs))
    assert one.n_students == two.n_students and (one.school_effects["effect"].abs() > 1).all()
    np.testing.assert_allclose(one.school_effects["effect"], two.school_effects["effect"], rtol=0, atol=1e-7)
    if form != "feather":
        assert choose_engine(path) == "memory"
        assert bool(labelled_kind(path)) == (form not in ("xlsx", "ods", "rda", "rds"))


def test_values_without_a_label_of_their_own_stay_numbers(tmp_path):
    frame = table()
    for labels in ({1: "a", 2: "b"}, {1: "a", 2: "b", 3: "a", 9: "c"}):
        pyreadstat.write_sav(frame, tmp_path / "a.sav", variable_value_labels={"BAND": labels, "JAHR": {2023: "x"}})
        records = va.read_records(tmp_path / "a.sav", COLUMNS)
        assert set(records["BAND"]) == {1, 2, 3, 9} and set(records["cohort"]) == {2023, 2024}


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, form):
    path = tmp_path / f"records.{form}"
    FORMATS[form][0](table(), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 200 * 80 + 17])
    with pytest.raises(RecordsError) as caught:
        va.read_records(path, COLUMNS)
    assert str(caught.value).startswith(f"{path.name}: ") and "\n" not in str(caught.value)


def test_a_file_that_takes_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limited, "SECONDS", 0)
    monkeypatch.setattr(limited, "SECONDS_A_MEGABYTE", 0)
    pyreadstat.write_sav(table(), tmp_path / "a.sav")
    with pytest.raises(RecordsError, match=r"a.sav: is a file of SPSS that cannot be read \(not read after 0 seconds"):
        va.read_records(tmp_path / "a.sav", COLUMNS)


def test_a_sas_file_is_known_by_its_content(tmp_path):
    path = Path(tmp_path / "records.bin")
    path.write_bytes(bytes(12) + bytes.fromhex("c2ea8160b31411cfbd92080009c7318c181f1011") + bytes(500))
    with pytest.raises(
        RecordsError, match=r"records.bin: is a file of SAS that cannot be read \(.*\); save the table as"
    ):
        va.read_records(path)


def test_the_refusal_of_an_unknown_file_names_all_that_can_be_read(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 8)
    with pytest.raises(RecordsError) as caught:
        va.read_records(tmp_path / "a.bin")
    for ending in (
        "Parquet",
        "feather",
        "xlsx",
        "xls",
        "ods",
        "rda",
        "rds",
        "dta",
        "sav",
        "zsav",
        "por",
        "sas7bdat",
        "xpt",
    ):
        assert ending in str(caught.value)


def test_a_text_whose_header_begins_like_an_arrow_file_is_text(tmp_path):
    frame = pd.DataFrame({"ARROW1": [1, 2], **table().head(2)})
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert va.read_records(tmp_path / "a.csv", COLUMNS)["ARROW1"].tolist() == [1, 2]
