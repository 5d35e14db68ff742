"""The pictures of a fit: of published tables and nothing else, in the same bytes, and none where nothing can be drawn."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from typer.testing import CliRunner

from valib.command.cli import app
from valib.pages.pictures import pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Benchmark results of 30 schools, published and exact; in 2019 one school has 2 students."""
    folder = tmp_path_factory.mktemp("pictures")
    records = simulate(np.random.default_rng(5), 30, (12, 25), (2015, 2016, 2019)).drop(columns="u")
    place = records.groupby(["cohort", "school"]).cumcount()
    tiny = (records["school"] == "S0003") & (records["cohort"] == 2019)
    records[~tiny | (place < 2)].to_csv(folder / "my.csv", index=False)
    words = ["fit", str(folder / "my.csv"), *"--model benchmark --baseline-cohorts 2015,2016 --cohorts 2019".split()]
    for name, more in (("published", []), ("again", []), ("exact", ["--exact"])):
        done = CliRunner().invoke(app, [*words, *more, "--out", str(folder / name)])
        assert done.exit_code == 0, done.output
    return folder


def test_pictures_are_of_what_may_be_published_in_the_same_bytes(folder):
    """Exact results have the very pictures of published ones: no digit beyond the tables gets into a picture."""
    made = {name: {p.name: p.read_bytes() for p in (folder / name / "figures").iterdir()} for name in
            ("published", "again", "exact")}  # fmt: skip
    names = [f"{n}.{end}" for n in ("school_effects_2019", "shifts") for end in ("png", "svg")]
    assert sorted(made["published"]) == sorted(names)
    assert made["published"] == made["again"] == made["exact"]


def test_a_picture_has_a_mark_for_each_school_shown_and_none_for_those_held_back(folder):
    shown = pd.read_csv(folder / "published" / "school_effects.csv", dtype={"school": "str"})
    assert len(shown) == 27
    svg = (folder / "published" / "figures" / "school_effects_2019.svg").read_text(encoding="utf-8")
    drawn = sum(len(re.findall(r'd="M', group)) for group in re.findall(r'<g id="interval">(.*?)</g>', svg, re.DOTALL))
    assert drawn == 27
    assert "S0003" not in svg and "zlib" not in svg


def test_a_picture_is_a_function_of_the_tables_as_read_by_anyone(folder):
    """Made from the files alone, with the counts that fits.json has, it is the same."""
    published = folder / "published"
    tables = {p.name: pd.read_csv(p, dtype={"school": "str"}) for p in published.glob("*.csv")}
    for name, content in pictures(tables, 0.95, 5, {2019: 3}).items():
        assert content == (published / name).read_bytes(), name


def test_what_cannot_be_drawn_has_no_picture():
    flat = pd.DataFrame({"cohort": 2019, "school": ["a", "b"], "effect": 0.0, "lower": np.nan, "upper": np.nan})
    assert pictures({"school_effects.csv": flat}, 0.95, 5) == {}
    one = flat.head(1).assign(effect=2.0, lower=-1.0, upper=5.0)
    assert set(pictures({"school_effects.csv": one}, 0.95, 5)) == {
        "figures/school_effects_2019.png", "figures/school_effects_2019.svg"}  # fmt: skip
