"""The book from files as they come: `valib init`, `valib check`, `valib book`, with nothing done by hand between them.

That the numbers are those of a table prepared by hand to 1e-9 is shown of `valib fit --exact` in test_shapes.py; the book's
files hold them rounded.
"""

import numpy as np
import pandas as pd
import pytest
from shapes import SHAPES
from typer.testing import CliRunner

from valib.command.cli import app
from valib.effects.relative import fit_relative
from valib.records.reading import read_records


def run(*arguments):
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output
    return done


def by_hand(shape):
    """The rows of the study that is built, prepared without valib."""
    table = SHAPES[shape]()
    if shape == "dutch":
        pairs = table[["pupilNR", "schoolNR", "langPOST", "langPRET"]]
        return pairs.set_axis(["student", "school", "score", "prior_score"], axis=1).assign(cohort=0)
    table = table[table["CONTENT_AREA"] == "READING"].assign(cohort=lambda t: t["YEAR"].str[-4:].astype(int))
    rows = table[["ID", "cohort", "GRADE", "SCHOOL_NUMBER", "SCALE_SCORE"]]
    rows = rows.set_axis(["student", "cohort", "grade", "school", "score"], axis=1)
    before = rows[["student", "cohort", "score"]].assign(cohort=rows["cohort"] + 1)
    before = before.rename(columns={"score": "prior_score"}).drop_duplicates(["student", "cohort"], keep=False)
    return rows[rows["grade"] == 5].merge(before, on=["student", "cohort"], how="left")


@pytest.mark.long
@pytest.mark.parametrize(("shape", "study"), [("dutch", "lang"), ("state_long", "reading_grade_5")])
def test_a_book_is_made_of_a_file_as_it_comes(tmp_path, shape, study):
    SHAPES[shape]().to_csv(tmp_path / "records.csv", index=False)
    run("init", tmp_path / "records.csv", "--out", tmp_path / "study.yml")
    params = tmp_path / "study" / f"{study}.yml"
    run("check", "--params", params)
    with params.open("a", encoding="utf-8") as file:  # fewer draws, so that the test is quicker
        file.write("simulation_replicates: 40\nbootstrap_replicates: 40\nquantile_draws: 60\n")
    run("book", "--params", params, "--out", tmp_path / "book", "--quiet")
    assert (tmp_path / "book" / "html" / "index.html").is_file()
    effects = pd.read_csv(tmp_path / "book" / "results" / "relative_effects.csv", dtype=str, keep_default_na=False)
    records = read_records(by_hand(shape))
    for cohort, own in effects[effects["effect"] != ""].groupby("cohort"):
        fit = fit_relative(records, int(cohort)).school_effects.loc[own["school"]]
        half = [
            0.5 * 10.0 ** -len(shown.partition(".")[2]) for shown in own["effect"]
        ]  # of the last digit that is shown
        assert (np.abs(own["effect"].astype(float).to_numpy() - fit["effect"]) <= np.array(half) + 1e-9).all()
        assert len(own) > 10
