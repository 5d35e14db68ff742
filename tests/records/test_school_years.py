"""Cohorts that are school years: which year they stand for, in memory and streamed."""

import warnings

import numpy as np
import pandas as pd
import pytest

import valib as va
from valib.errors import ParamsError, RecordsError
from valib.study.params import load

READERS = {"memory": va.read_records, "duckdb": va.stream_records}
FORMS = ["{}/{:02d}", "{}-{:02d}", "{}/20{:02d}", "{}-20{:02d}", "{}_20{:02d}", "{}_{:02d}", "{}–{:02d}", "{} / {:02d}"]


def table(form="{}"):
    rng = np.random.default_rng(3)
    years = np.tile([2017, 2018, 2099], 100)
    prior = rng.normal(size=300)
    return pd.DataFrame(
        {
            "student": [f"s{k}" for k in range(300)],
            "school": np.repeat([f"{k:02d}" for k in range(10)], 30),
            "SJ": [form.format(year, (year + 1) % 100) for year in years],
            "score": prior + rng.normal(size=300),
            "prior_score": prior,
        }
    )


@pytest.fixture(params=["csv", "parquet", "category"])
def write(request, tmp_path):
    def written(frame):
        path = tmp_path / f"records.{request.param}"
        if request.param == "csv":
            frame.to_csv(path, index=False)
        else:
            (frame if request.param == "parquet" else frame.astype({"SJ": "category"})).to_parquet(path)
        return path

    return written


@pytest.mark.parametrize("form", FORMS)
def test_memory_and_stream_take_the_year_in_which_a_school_year_ends(write, form):
    if "20{" in form:
        form = form.replace("20{:02d}", "{:d}")
    frame = table(form).assign(SJ=lambda f: f["SJ"])
    starts = np.tile([2017, 2018, 2099], 100)
    if "{:d}" in form:
        frame["SJ"] = [form.format(year, year + 1) for year in starts]
    path = write(frame)
    said = "column 'SJ' holds school years; the cohort is the year in which each ends, 2019 for 2018/19"
    fits = {}
    for engine, read in READERS.items():
        with pytest.warns(va.ValibWarning, match=said) as told:
            records = read(path, columns={"cohort": "SJ"})
        assert len(told) == 1
        fits[engine] = va.fit_relative(records, 2019)
        if engine == "memory":
            assert records["cohort"].tolist() == (starts + 1).tolist()
        else:
            assert list(records.cohorts) == [2018, 2019, 2100]
            records.close()
    by_hand = va.fit_relative(va.read_records(frame.assign(SJ=starts + 1), columns={"cohort": "SJ"}), 2019)
    for fit in fits.values():
        np.testing.assert_allclose(fit.school_effects["effect"], by_hand.school_effects["effect"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("engine", READERS)
def test_the_year_that_is_asked_for_is_taken_without_a_word(write, engine):
    path = write(table("{}/{:02d}"))
    for year, cohorts in (("start", [2017, 2018, 2099]), ("end", [2018, 2019, 2100])):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            records = READERS[engine](path, columns={"cohort": {"column": "SJ", "year": year}})
        assert sorted(set(records["cohort"]) if engine == "memory" else records.cohorts) == cohorts
        if engine == "duckdb":
            records.close()


@pytest.mark.parametrize("engine", READERS)
@pytest.mark.parametrize("odd", ["2018-20", "2018/17", "2018", "2018/2018", "spring"])
def test_what_is_no_school_year_is_refused_with_its_rows(write, engine, odd):
    frame = table("{}/{:02d}")
    frame.loc[[3, 7], "SJ"] = odd
    path = write(frame)
    rows = "lines 5 and 9" if path.suffix == ".csv" else "rows 4 and 8"
    with pytest.raises(RecordsError) as caught:
        READERS[engine](path, columns={"cohort": "SJ"})
    said = f"column 'SJ' (cohort) must hold school years such as 2018/19, but 2 rows do not ({rows}; first: '{odd}')."
    assert str(caught.value) == f"{path.name}: {said}"


@pytest.mark.parametrize("engine", READERS)
def test_a_missing_school_year_is_counted(write, engine):
    frame = table("{}/{:02d}")
    frame["SJ"] = frame["SJ"].astype(object).where(frame.index != 5, None)
    with pytest.warns(va.ValibWarning, match="school years"):
        records = READERS[engine](write(frame), columns={"cohort": "SJ"})
    assert records.attrs["left_out"] == [{"cohort": None, "reason": "no cohort", "rows": 1}]
    if engine == "duckdb":
        records.close()


@pytest.mark.parametrize("engine", READERS)
def test_plain_years_are_no_school_years(write, engine):
    frame = table()
    path, asked = write(frame), {"cohort": {"column": "SJ", "year": "start"}}
    with pytest.raises(RecordsError, match="must hold school years such as 2018/19, but 300 rows do not"):
        READERS[engine](path, columns=asked)
    frame.loc[2, "SJ"] = "2031/32"
    with pytest.raises(RecordsError, match="must hold whole numbers, but 1 row does not .*first: '2031/32'"):
        READERS[engine](write(frame), columns={"cohort": "SJ"})


def test_a_mapping_that_cannot_be_meant_is_refused():
    for columns in (
        {"cohort": {"column": "SJ", "year": "middle"}},
        {"cohort": {"column": "SJ"}},
        {"score": {"column": "SJ", "year": "start"}},
    ):
        with pytest.raises(RecordsError, match=r"must be a name or, for cohorts, columns: \{cohort"):
            va.read_records(table(), columns=columns)


def test_a_study_says_which_year_is_the_cohort(tmp_path):
    table("{}/{:02d}").to_csv(tmp_path / "a.csv", index=False)
    study = tmp_path / "study.yml"
    study.write_text("data: a.csv\ncolumns: {cohort: {column: SJ, year: start}}\nbaseline_cohorts: [2017]\n")
    assert sorted(set(load(study).read_records()["cohort"])) == [2017, 2018, 2099]
    study.write_text("data: a.csv\ncolumns: {cohort: {column: SJ, year: begin}}\n")
    with pytest.raises(ParamsError, match="line 2: columns .*must be a name or, for cohorts"):
        load(study)
