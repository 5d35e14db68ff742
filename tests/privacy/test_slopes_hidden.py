"""What `valib fit --random` writes: schools held back are in no file, and the equations of the model leave them open."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from commands import said as run
from typer.testing import CliRunner

import valib as va
from valib.command.cli import app


def records(seed: int = 3) -> pd.DataFrame:
    """Two cohorts of 40 schools; three have 3, 4 and 6 students, the others 15 or more."""
    rng = np.random.default_rng(seed)
    n = np.append([3, 4, 6], rng.integers(15, 40, 37))
    parts = []
    for cohort in (2023, 2024):
        code = np.repeat(np.arange(40), n)
        prior = 400 + 60 * rng.standard_normal(len(code))
        g = rng.standard_normal((40, 2)) * [12, 0.12]
        score = 100 + 0.8 * prior + g[code, 0] + g[code, 1] * (prior - 400) + 40 * rng.standard_normal(len(code))
        parts.append(pd.DataFrame({"school": [f"S{k:03d}" for k in code], "cohort": cohort, "score": score}))
        parts[-1]["prior_score"] = prior
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(student=[f"P{k}" for k in range(len(frame))])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slopes")
    records().to_csv(folder / "records.csv", index=False)
    run(
        *("fit", folder / "records.csv", "--model", "relative", "--cohorts", "2023,2024"),
        *("--random", "prior_score", "--out", folder / "out"),
    )
    return folder


def test_the_files_say_what_the_library_does(made):
    fit = va.fit_relative(va.read_records(records()), 2024, random=["prior_score"])
    lines = pd.read_csv(made / "out" / "va_at.csv", dtype={"school": str})
    lines = lines[lines["cohort"] == 2024].set_index(["school", "at"])
    exact = va.va_at(fit).rename_axis(["school", "at"]).reindex(lines.index)
    assert len(lines) == 37 * 3 and exact["effect"].notna().all()
    for name in ("effect", "lower", "upper"):
        np.testing.assert_allclose(
            lines[name], exact[name], atol=0.06
        )  # one decimal: the smallest error has two digits
    np.testing.assert_allclose(lines["se"], exact["se"], rtol=0.051)
    spread = pd.read_csv(made / "out" / "slopes.csv")
    row, told = spread[spread["cohort"] == 2024].iloc[0], va.slope_test(fit).iloc[0]
    assert row["sd"] == pytest.approx(told["sd"], rel=0.01) and row["statistic"] == pytest.approx(
        told["statistic"], abs=0.05
    )
    fifths = va.fifths_at(fit, "prior_score", min_students=5).to_numpy()
    assert row["changed_fifth"] == pytest.approx(1 - np.trace(fifths) / fifths.sum(), abs=0.0051)
    fits = json.loads((made / "out" / "fits.json").read_text())
    assert [f["random"] for f in fits] == [["prior_score"], ["prior_score"]]


def test_schools_held_back_are_in_no_file(made):
    for file in (made / "out").iterdir():
        if file.suffix in (".csv", ".json"):
            text = file.read_text()
            assert not any(code in text for code in ("S000", "S001", "S002")), file.name


def test_a_second_run_without_slopes_leaves_none_of_their_files(made, tmp_path):
    for words in (["--random", "prior_score"], []):
        run(*("fit", made / "records.csv", "--model", "relative", "--cohorts", "2024", *words, "--out", tmp_path / "o"))
    assert not (tmp_path / "o" / "va_at.csv").exists() and not (tmp_path / "o" / "slopes.csv").exists()


def test_the_params_file_says_it_too_and_streams_agree(made, tmp_path):
    (tmp_path / "params.yml").write_text(
        f"data: {made / 'records.csv'}\nfocal_cohorts: [2023, 2024]\nrandom: [prior_score]\n"
    )
    for engine in ("memory", "duckdb"):
        run(
            *(
                "fit",
                "--params",
                tmp_path / "params.yml",
                *"--model relative --engine".split(),
                engine,
                "--out",
                tmp_path / engine,
            )
        )
        for name in ("va_at.csv", "slopes.csv"):
            assert (tmp_path / engine / name).read_text() == (made / "out" / name).read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "joint", "--random", "prior_score"], "at least two cohorts"),
        (["--model", "relative", "--random", "ses"], "'ses' has no column"),
    ],
)
def test_refusals_have_one_sentence_and_exit_code_two(made, tmp_path, words, said):
    done = CliRunner().invoke(
        app, ["fit", str(made / "records.csv"), *words, "--cohorts", "2024", "--out", str(tmp_path / "o")]
    )
    assert done.exit_code == 2 and said in done.output and not (tmp_path / "o").exists()


def test_the_equations_of_the_model_leave_hidden_schools_on_a_circle():
    """An attacker who knows every other school's two effects exactly, and G, has the sums of the hidden ones (both are
    zero over all schools) and, with their error covariances, their products. Turning the three about their mean keeps
    all of that and moves each by more than a standard deviation of schools; so nothing tells which it is."""
    frame = va.read_records(records())
    fit = va.fit_relative(frame, 2024, random=["prior_score"], intervals="plugin")
    slopes = fit.slopes
    np.testing.assert_allclose(slopes.effects.sum(axis=0), 0, atol=1e-8)
    products = (slopes.effects[:, :, None] * slopes.effects[:, None] + slopes.conditional).sum(axis=0)
    np.testing.assert_allclose(products, len(slopes.n) * slopes.G, rtol=1e-6)  # the likelihood's own equation
    hidden = slopes.effects[:3]
    axis = np.ones(3) / np.sqrt(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    moved = []
    for angle in np.linspace(0, 2 * np.pi, 25):
        turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
        other = turn @ hidden
        np.testing.assert_allclose(other.sum(axis=0), hidden.sum(axis=0), atol=1e-9)
        np.testing.assert_allclose(other.T @ other, hidden.T @ hidden, rtol=1e-9)
        moved.append(other[:, 0])
    spread = np.ptp(np.array(moved), axis=0)
    assert (spread > np.sqrt(((hidden[:, 0] - hidden[:, 0].mean()) ** 2).sum())).all()
