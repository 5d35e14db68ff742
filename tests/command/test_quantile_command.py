"""`valib fit --model quantile`: the library's numbers, disclosure, what the chains say, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import said
from conftest import simulate

import valib as va
from valib.study.params import Params

FEW = ("--quantile-draws", "60", "--quantile", ".25,.75", "--no-figures")
STUDY = ("--baseline-cohorts", "2015,2016", "--cohorts", "2021")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Twelve schools, one of which has three students in 2021."""
    rows = simulate(np.random.default_rng(3), 12, (8, 14), (2015, 2016, 2021), shift={2021: -9.0}).drop(columns="u")
    small = (rows["school"] == "S0004") & (rows["cohort"] == 2021)
    rows = rows.drop(rows.index[small][3:]).round(1)
    path = tmp_path_factory.mktemp("quantile") / "my.csv"
    rows.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def written(source) -> dict[str, Path]:
    out = {}
    for name, words in {
        "quantile": ("--model", "quantile", "--exact", "--cohorts", "2021"),
        "quantile-benchmark": ("--model", "quantile-benchmark", *STUDY),
    }.items():
        out[name] = source.parent / name
        run("fit", source, *words, *FEW, "--out", out[name])
    return out


def run(*words, code: int = 0) -> str:
    return " ".join(said(*words, code=code).split())


def test_the_numbers_are_the_library_s(source, written):
    """Exact figures of the command, with the study's seed and draws, to the last digit of a CSV."""
    seed = Params().seed
    fit = va.fit_quantile(va.read_records(source), 2021, quantile=0.75, draws=60, warmup=200, seed=seed)
    table = pd.read_csv(written["quantile"] / "quantile_effects.csv", dtype={"school": str})
    part = table[table["quantile"] == 0.75].set_index("school")
    want = fit.school_effects.loc[part.index]
    for name in ("effect", "se", "lower", "upper"):
        np.testing.assert_allclose(part[name], want[name], rtol=1e-12)
    told = pd.read_csv(written["quantile"] / "quantiles.csv").set_index("quantile").loc[0.75]
    assert told["rhat"] == pytest.approx(fit.diagnostics["rhat"].max())
    assert told["ess_bulk"] == pytest.approx(fit.diagnostics["ess_bulk"].min())
    assert "shift" not in told.index and told["converged"] == fit.converged


def test_against_the_baseline_a_shift_is_told(written):
    told = pd.read_csv(written["quantile-benchmark"] / "quantiles.csv")
    assert told["quantile"].tolist() == [0.25, 0.75] and (told["lower"] < told["shift"]).all()
    assert (told["shift"] < told["upper"]).all() and told["shift"].between(-40, 20).all()
    about = pd.read_csv(written["quantile-benchmark"] / "about.csv").set_index("setting")["value"]
    assert about["baseline"] == "2015, 2016" and "method" not in about.index and about["draws"] == "60"


def test_a_small_school_is_in_no_file(written):
    """Held back as in other tables: neither its code nor a row of it."""
    for folder in written.values():
        effects = pd.read_csv(folder / "quantile_effects.csv", dtype={"school": str})
        assert "S0004" not in set(effects["school"]) and (effects.groupby("quantile")["n"].min() >= 5).all()
        assert all("S0004" not in path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file())


def test_chains_that_cannot_be_read_are_told(written):
    """Sixty draws are too few: said in fits.json, and every column is explained."""
    for folder in written.values():
        fits = json.loads((folder / "fits.json").read_text(encoding="utf-8"))
        assert [one["quantile"] for one in fits] == [0.25, 0.75]
        assert all(one["converged"] == (not one["findings"]) for one in fits)
        columns = pd.read_csv(folder / "columns.csv", keep_default_na=False)
        assert columns["meaning"].ne("").all(), columns[columns["meaning"] == ""]
        assert {"quantile_effects.csv", "quantiles.csv"} <= set(columns["file"])
    assert any(one["findings"] for one in fits)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--model", "quantile", "--quantile", "1.5"), "each between 0 and 1, but 1.5"),
        (("--model", "quantile", "--random", "prior_score"), "--random is for models of the mean"),
        (("--model", "quantile", "--estimator", "ols"), "--estimator is for models of the mean"),
        (("--model", "relative", "--quantile", "0.5"), "--quantile is for --model quantile"),
        (("--model", "quantile", "--engine", "duckdb", "--cohorts", "2021"), "read the records into memory"),
        (("--model", "quantile-benchmark", "--cohorts", "2021"), "names no baseline cohorts"),
        (
            ("--model", "quantile-benchmark", "--baseline-cohorts", "2015,2016", "--cohorts", "2016"),
            "its own benchmark",
        ),
        (("--model", "quantile", "--benchmark", "b.json"), "--benchmark is for --model benchmark"),
    ],
)
def test_each_refusal_in_a_sentence(source, words, part):
    out = source.parent / "no"
    assert part in run("fit", source, *words, "--out", out, code=2)
    assert not out.exists()
