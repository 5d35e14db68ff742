"""What `valib fit` writes beside the effects of schools, and schools scored by a fit that is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import said
from conftest import simulate

import valib as va
from valib.records.precision import last_place

pytestmark = pytest.mark.usefixtures("no_pictures")

COHORTS = ["--baseline-cohorts", "2015,2016", "--cohorts", "2021"]


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    """Forty schools in four districts; of the three smallest two are in district 0 and one is in district 1."""
    frame = simulate(np.random.default_rng(5), 40, (12, 30), (2015, 2016, 2021), rho=0.6, shift={2021: -9.0})
    frame = frame.drop(columns="u").assign(district=frame["school"].str[-1].astype(int) % 4)
    small = frame["school"].map({"S0000": 2, "S0004": 6, "S0001": 7}).fillna(99)
    place = frame.groupby(["cohort", "school"]).cumcount()
    return frame[(place < small) | (frame["cohort"] != 2021)].reset_index(drop=True)


@pytest.fixture
def here(records, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    records.to_csv("my.csv", index=False)
    return tmp_path


def run(*words: str) -> str:
    return said("fit", *words)


def refused(*words: str) -> str:
    return " ".join(said("fit", *words, code=2).split())


def read(path: str) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"school": "str", "group": "str"})


@pytest.mark.filterwarnings("ignore")
def test_groups_similar_schools_and_a_cap_are_written_and_said(here, records):
    asked = ["--groups", "district", "--similar", "prior_score", "--neighbours", "3", "--cap", "2.5"]
    said = run("my.csv", "--model", "benchmark", *COHORTS, *asked, "--out", "res")
    bench = va.fit_baseline(records, [2015, 2016])
    fit = va.fit_benchmark(records, 2021, bench)
    groups = read("res/groups.csv")
    full = va.group_va(fit, va.school_groups(records, "district", 2021), benchmark=bench)
    assert groups["group"].tolist() == ["2", "3"], "0 has two schools held back, 1 has one"
    assert "2021: 2 groups not shown" in said
    for name, error in (("effect", "se"), ("lower", "se"), ("shift", "shift_se"), ("shift_upper", "shift_se")):
        unit = 10.0 ** -last_place(full.loc[groups["group"], error].to_numpy(), 2).astype(float)
        assert (np.abs(groups[name].to_numpy() - full.loc[groups["group"], name]) <= 0.51 * unit).all(), name
    assert set(groups["groups"]) == {"district"} and set(groups["schools"]) == {8}
    shown = set(read("res/school_effects.csv")["school"])
    assert not shown & {"S0000", "S0001", "S0004"}
    similar, capped = read("res/similar.csv"), read("res/capped.csv")
    assert set(similar["school"]) == shown == set(capped["school"]) and "distance" not in similar
    assert {s for row in similar["neighbours"] for s in row.split("; ")} <= shown
    expected = va.capped_va(records, fit, 2.5, bench, min_students=5)
    assert expected.sentence in " ".join(said.split())
    assert "students_capped" not in capped and (capped["capped_side"] == expected.table["capped_side"].to_numpy()).all()
    weighted = run("my.csv", "--model", "relative", "--cohorts", "2021", "--groups", "district",
                   "--group-weights", "students", "--min-schools", "20", "--out", "res")  # fmt: skip
    assert "4 groups not shown" in weighted and read("res/groups.csv").empty
    assert not Path("res/capped.csv").exists(), "of an earlier run"


def test_the_study_asks_for_them_too(here):
    Path("study.yml").write_text(
        "data: my.csv\nbaseline_cohorts: [2015, 2016]\nfocal_cohorts: [2021]\ngroups: district\ngroup_weights: students\n"
        "min_schools: 2\nsimilar: [prior_score]\nneighbours: 2\ncap: 4\n",
        encoding="utf-8",
    )
    run("--params", "study.yml", "--model", "relative", "--out", "res")
    assert {path.name for path in Path("res").glob("*.csv")} >= {"groups.csv", "similar.csv", "capped.csv"}


def test_what_cannot_be_grouped_or_capped_is_refused(here, records):
    records.assign(female=np.arange(len(records)) % 2).to_csv("mixed.csv", index=False)
    told = refused("mixed.csv", "--model", "relative", "--cohorts", "2021", "--groups", "female", "--out", "res")
    assert "column 'female' is not one group for each school in cohort 2021: students of school S0000" in told
    told = refused("my.csv", "--model", "relative", "--cohorts", "2021", "--groups", "sector", "--out", "res")
    assert "has no column 'sector' for groups of schools" in told
    stream = ["my.csv", "--model", "relative", "--cohorts", "2021", "--engine", "duckdb", "--out", "res"]
    assert "take --engine memory" in refused(*stream, "--cap", "3")
    assert "take --engine memory" in refused(*stream, "--groups", "district")
    assert "cap is -1" in refused("my.csv", "--model", "relative", "--cohorts", "2021", "--cap", "-1", "--out", "res")
    for option, value in (("groups", "district"), ("similar", "prior_score"), ("cap", "3")):
        told = refused("my.csv", "--model", "joint", "--cohorts", "2015,2021", f"--{option}", value, "--out", "res")
        assert f"--{option} is for a model of one cohort" in told
    assert not Path("res").exists()


# --like


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", ["relative", "benchmark"])
def test_like_the_exact_folder_to_every_digit_and_the_published_one_to_its_last_place(here, records, model):
    words = ["my.csv", "--model", model, *COHORTS[(2 if model == "relative" else 0) :]]
    run(*words, "--exact", "--out", "exact")
    run(*words, "--out", "public")
    records[records["school"].isin(["S0010", "S0011"])].to_csv("late.csv", index=False)
    said = run("late.csv", "--like", "exact", "--exact", "--out", "late-exact")
    assert "2 effects of schools in cohorts 2021, scored by the fit in exact; exact figures" in " ".join(said.split())
    assert Path("late-exact/NOT_FOR_PUBLICATION.txt").exists() and not Path("public/NOT_FOR_PUBLICATION.txt").exists()
    full, late = (read(f"{folder}/school_effects.csv").set_index("school") for folder in ("exact", "late-exact"))
    pd.testing.assert_frame_equal(late, full.loc[late.index], atol=1e-10, rtol=0)
    run("my.csv", "--like", "public", "--out", "late")
    full, late = (read(f"{folder}/school_effects.csv") for folder in ("public", "late"))
    assert list(full["school"]) == list(late["school"]) and sorted(p.name for p in Path("late").glob("[a-z]*")) == [
        *("about.csv", "columns.csv", "school_effects.csv")
    ]
    for name in ("effect", "lower", "upper"):  # half a unit of either table beside what test_late.py measures
        unit = 10.0 ** -last_place(np.array([full["se"].min()]), 2)[0].astype(float)
        assert (full[name] - late[name]).abs().max() < 2.1 * unit


def test_like_shows_no_school_that_the_fit_has_held_back(here, records):
    """S0004 has six students and is held back for the sake of S0000: shown here, it would give the others away."""
    for folder, more in (("public", []), ("exact", ["--exact"])):
        run("my.csv", "--model", "relative", "--cohorts", "2021", *more, "--out", folder)
    some = records[records["school"].isin(["S0004", "S0010"])]
    new = records[records["school"] == "S0012"].assign(school="S9999")
    pd.concat([some, new]).to_csv("late.csv", index=False)
    said = run("late.csv", "--like", "public", "--out", "late")
    assert list(read("late/school_effects.csv")["school"]) == ["S0010"]
    assert "2 not shown: fewer than 5 students, or not among those that public shows" in " ".join(said.split())
    run("late.csv", "--like", "exact", "--out", "late")  # which knows that S9999 is new
    assert list(read("late/school_effects.csv")["school"]) == ["S0010", "S9999"]
    few = records[(records["school"] == "S0010") & (records["cohort"] == 2021)].head(4)
    few.to_csv("few.csv", index=False)
    run("few.csv", "--like", "exact", "--out", "late")
    assert read("late/school_effects.csv").empty


def test_a_new_school_is_shown_where_none_was_held_back(here, records):
    records[records["cohort"].ne(2021) | ~records["school"].isin(["S0000"])].to_csv("my.csv", index=False)
    run("my.csv", "--model", "relative", "--cohorts", "2021", "--out", "public")
    records[records["school"] == "S0012"].assign(school="S9999").to_csv("late.csv", index=False)
    run("late.csv", "--like", "public", "--out", "late")
    assert list(read("late/school_effects.csv")["school"]) == ["S9999"]


def test_like_refuses_what_is_another_fit(here, records):
    run("my.csv", "--model", "relative", "--cohorts", "2021", "--out", "res")
    before = Path("res/school_effects.csv").read_bytes()
    like = ["my.csv", "--like", "res"]
    assert "leave --formula out" in refused(*like, "--formula", "score ~ 1", "--out", "x")
    assert "leave --benchmark out" in refused(*like, "--benchmark", "b.json", "--out", "x")
    assert "leave --baseline-cohorts out" in refused(*like, "--baseline-cohorts", "2015", "--out", "x")
    assert "holds a relative fit, not a benchmark one" in refused(*like, "--model", "benchmark", "--out", "x")
    assert "holds rounded figures" in refused(*like, "--exact", "--out", "x")
    assert "names 2016, and res holds fits of cohorts 2021" in refused(*like, "--cohorts", "2016", "--out", "x")
    assert "is read for the study and would be replaced" in refused(*like, "--out", "res")
    assert "holds no fits to score by" in refused("my.csv", "--like", "nowhere", "--out", "x")
    assert "--model is missing" in refused("my.csv", "--out", "x")
    records[records["cohort"] == 2015].to_csv("other.csv", index=False)
    assert "holds fits of cohorts 2021, the records hold 2015" in refused("other.csv", "--like", "res", "--out", "x")
    Path("study.yml").write_text("data: my.csv\nformula: score ~ prior_score + district\n", encoding="utf-8")
    told = refused("--params", "study.yml", "--like", "res", "--out", "x")
    assert (
        "res was fitted with the formula 'score ~ prior_score', the study has 'score ~ prior_score + district'" in told
    )
    content = json.loads(Path("res/scoring.json").read_text(encoding="utf-8"))
    content["fits"][0]["tau2"] += 1
    Path("res/scoring.json").write_text(json.dumps(content), encoding="utf-8")
    assert "it was changed after it was written" in refused(*like, "--out", "x")
    assert Path("res/school_effects.csv").read_bytes() == before and not Path("x").exists()


def test_a_joint_model_leaves_nothing_to_score_by(here):
    run("my.csv", "--model", "joint", "--cohorts", "2016,2021", "--out", "joint")
    assert "holds no fits to score by" in refused("my.csv", "--like", "joint", "--out", "x")
