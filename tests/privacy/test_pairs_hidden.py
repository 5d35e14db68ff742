"""What `valib fit --model joint --random` writes: schools held back are in no file, and the equations leave them open."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from test_slopes_hidden import records, run

import valib as va

FILES = ("change_at.csv", "slope_correlations.csv", "slope_covariances.csv")


def moved() -> pd.DataFrame:
    """The records of test_slopes_hidden, with a school that is small in one of two cohorts alone."""
    rows = records()
    return rows[
        ~((rows["school"] == "S010") & (rows["cohort"] == 2024) & (rows.groupby(["school", "cohort"]).cumcount() > 1))
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    moved().to_csv(folder / "records.csv", index=False)
    words = ("--model", "joint", "--cohorts", "2023,2024", "--random", "prior_score")
    for engine in ("memory", "duckdb"):
        run("fit", folder / "records.csv", *words, "--engine", engine, "--no-figures", "--out", folder / engine)
    return folder


def test_the_files_say_what_the_library_does_and_streams_agree(made):
    slopes = va.fit_joint_slopes(va.read_records(moved()), [2023, 2024])
    out = made / "memory"
    told = pd.read_csv(out / "change_at.csv", dtype={"school": str}).set_index(["school", "column", "at"])
    exact = slopes.changes(2023, 2024).reindex(told.index)
    places = 0.6 * 10.0 ** -told["change"].astype(str).str.partition(".")[2].str.len().max()
    for name in ("change", "lower", "upper"):
        np.testing.assert_allclose(told[name], exact[name], atol=places)
    np.testing.assert_allclose(told["se"], exact["se"], rtol=0.051)
    r = pd.read_csv(out / "slope_correlations.csv")
    np.testing.assert_allclose(r["correlation"], slopes.correlations()["correlation"], atol=0.06)
    assert r["of"].tolist() == ["value added"] * 3 + ["slope"] and len(pd.read_csv(out / "slope_covariances.csv")) == 10
    fits = json.loads((out / "fits.json").read_text())
    assert [f["model"] for f in fits] == ["joint", "joint slopes"] and fits[1]["random"] == ["prior_score"]
    for name in FILES:
        assert (made / "duckdb" / name).read_text() == (out / name).read_text()
    columns = pd.read_csv(out / "columns.csv")
    assert columns.loc[columns["file"].isin(FILES), "meaning"].notna().all()


def test_schools_held_back_in_one_cohort_are_in_no_file(made):
    held = {"S000", "S001", "S002", "S010"}
    for file in (made / "memory").iterdir():
        if file.suffix in (".csv", ".json"):
            text = file.read_text()
            assert not any(code in text for code in held), file.name
    assert pd.read_csv(made / "memory" / "change_at.csv")["school"].nunique() == 40 - len(held)


def test_the_equations_of_the_model_leave_hidden_schools_on_a_circle():
    """An attacker who knows every other school's four effects exactly, and G, has the hidden ones' sums (zero over schools)
    and, with their error covariances, their products: all that is left is turned about the mean of three."""
    fit = va.fit_joint_slopes(va.read_records(records()), [2023, 2024]).pair(2023, 2024)
    np.testing.assert_allclose(fit.effects.sum(axis=0), 0, atol=1e-6)
    products = (fit.effects[:, :, None] * fit.effects[:, None] + fit.conditional).sum(axis=0)
    scale = np.sqrt(np.diag(fit.G))
    np.testing.assert_allclose(
        products / np.outer(scale, scale), len(fit.n) * fit.G / np.outer(scale, scale), atol=1e-3
    )
    hidden = fit.effects[:3]
    axis = np.ones(3) / np.sqrt(3)
    other = (2 * np.outer(axis, axis) - np.eye(3)) @ hidden  # half a turn
    np.testing.assert_allclose(other.sum(axis=0), hidden.sum(axis=0), atol=1e-9)
    np.testing.assert_allclose(other.T @ other, hidden.T @ hidden, rtol=1e-9, atol=1e-12)
    assert (np.abs(other - hidden)[:, 0] > 0.3 * np.abs(hidden[:, 0] - hidden[:, 0].mean())).all()


def test_a_second_run_without_slopes_leaves_none_of_their_files(made):
    run(
        "fit",
        made / "records.csv",
        "--model",
        "joint",
        "--cohorts",
        "2023,2024",
        "--no-figures",
        "--out",
        made / "duckdb",
    )
    assert not any((made / "duckdb" / name).exists() for name in FILES)
