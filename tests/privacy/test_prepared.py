"""The file of records that notebooks read: what is in it, who may read it, and that results do not depend on it."""

from __future__ import annotations

import stat

import numpy as np
import pandas as pd
import pytest
from conftest import simulate

from valib import fit_relative
from valib.pages import notebook as nb
from valib.pages.build.execute import kernel_environment
from valib.pages.build.staging import prepare_records
from valib.records.reading import left_out, read_records
from valib.study.params import Params


@pytest.fixture
def study(tmp_path):
    records = simulate(np.random.default_rng(3), cohorts=(2030, 2031, 2033)).drop(columns="u")
    records["student"] = [f"ID-{k * 7919 % 10007:05d}" for k in range(len(records))]
    records.loc[:40, "student"] = records["student"].iloc[-41:].to_numpy()  # some stand in two cohorts
    records["Surname"] = [f"Name{k}" for k in range(len(records))]
    records["female"] = np.arange(len(records)) % 2
    records["score"] = records["score"].mask(np.arange(len(records)) % 50 == 0)
    records.to_csv(tmp_path / "secret place.csv", index=False)
    return Params(
        data=str(tmp_path / "secret place.csv"),
        baseline_cohorts=[2030, 2031],
        focal_cohorts=[2033],
        further_formulas=["score ~ prior_score + female"],
    )


def test_student_codes_become_numbers_and_nothing_else_changes(study, tmp_path):
    source = study.read_records()
    path = prepare_records(study, tmp_path)
    records = read_records(path)
    assert list(records.columns) == ["student", "school", "cohort", "score", "prior_score", "female"]
    pd.testing.assert_frame_equal(records.drop(columns="student"), source[records.columns].drop(columns="student"))
    pairs = set(zip(source["student"], records["student"], strict=True))
    assert len(pairs) == source["student"].nunique() == records["student"].nunique() < len(records)
    assert set(records["student"]) == {str(k) for k in range(1, len(pairs) + 1)}
    ordered = [int(number) for _, number in sorted(pairs)]
    assert abs(np.corrcoef(ordered, np.arange(len(ordered)))[0, 1]) < 0.2  # nor does the order tell the codes
    first_seen = [int(number) for number in records["student"].drop_duplicates()]
    assert abs(np.corrcoef(first_seen, np.arange(len(first_seen)))[0, 1]) < 0.2
    assert left_out(records).equals(left_out(source)) and len(left_out(records)) == 3
    assert records.attrs["source"] == "secret place.csv" and records.attrs["rows_read"] == source.attrs["rows_read"]
    whole, prepared = (fit_relative(frame, 2033, "score ~ prior_score + female") for frame in (source, records))
    pd.testing.assert_frame_equal(whole.school_effects, prepared.school_effects)


def test_what_a_parameter_names_comes_along_and_nothing_else(study, tmp_path):
    """Subgroups, groups, similar schools and slopes of the study are chapters' business as formulas are."""
    table = pd.read_csv(study.data)
    table["district"], table["ses"], table["size"], table["boy"] = "D", 1.5, 3, 0
    table.to_csv(study.data, index=False)
    named = {"groups": "district", "similar": ["log(ses)"], "random": ["size"], "subgroups": ["boy"]}
    prepare_records(study.model_copy(update=named), tmp_path)
    assert set(pd.read_parquet(tmp_path / "records.parquet").columns) == {
        *("student", "school", "cohort", "score", "prior_score", "female", "district", "ses", "size", "boy")
    }


def test_only_its_owner_may_read_it_and_it_holds_no_code(study, tmp_path):
    path = prepare_records(study, tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    for word in (b"ID-0", b"Name", b"Surname", str(tmp_path).encode()):
        assert word not in content
    with pytest.raises(FileExistsError):
        prepare_records(study, tmp_path)


def test_a_chapter_reads_the_prepared_file_and_never_the_source(study, tmp_path, monkeypatch):
    path = prepare_records(study, tmp_path)
    (tmp_path / "secret place.csv").unlink()
    monkeypatch.setenv("VALIB_RECORDS", str(path))
    chapter = nb.setup("x", data="secret place.csv", baseline_cohorts=[2030, 2031], focal_cohorts=[2033])
    assert set(chapter.records["student"].str.isdigit()) == {True}
    assert chapter.records.attrs["source"] == "secret place.csv"


def test_no_password_key_or_path_of_the_data_reaches_a_kernel(monkeypatch, tmp_path):
    secrets = {
        "PGPASSWORD": "a",
        "DATABASE_URL": "b",
        "AWS_SECRET_ACCESS_KEY": "c",
        "GITHUB_TOKEN": "d",
        "MY_KEY": "e",
        "VALIB_DATA_DIR": "f",
        "db_url": "g",
        "SMTP_PASS": "h",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = kernel_environment(tmp_path)
    assert not set(secrets) & set(environment) and len(secrets) == 8
    assert environment["LANG"] == "C.UTF-8" and environment["VALIB_RECORDS"] == str(tmp_path / "records.parquet")
