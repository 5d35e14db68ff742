"""What `valib fit --residual` writes: the library's figures, no school or group of students held back, one sentence else."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from commands import said as run

import valib as va

FILES = ("residual_sds.csv", "variance_tests.csv")


def records(seed: int = 3) -> pd.DataFrame:
    """40 schools; three have 3, 4 and 6 students, the others 15 or more; three students are of a group of their own."""
    rng = np.random.default_rng(seed)
    n = np.append([3, 4, 6], rng.integers(15, 40, 37))
    code = np.repeat(np.arange(40), n)
    prior, female = 400 + 60 * rng.standard_normal(len(code)), rng.integers(0, 2, len(code))
    sd = 40 * np.exp(0.3 * rng.standard_normal(40))[code] * (1 + 0.3 * (female == 0))
    score = 100 + 0.8 * prior + 12 * rng.standard_normal(40)[code] + sd * rng.standard_normal(len(code))
    frame = pd.DataFrame({"school": [f"S{k:03d}" for k in code], "cohort": 2024, "score": score, "prior_score": prior})
    tiny = np.where(np.arange(len(code)) % 300 == 50, "few", np.where(female == 1, "F", "M"))
    return frame.assign(student=[f"P{k}" for k in range(len(frame))], female=female, tiny=tiny)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("residuals")
    records().to_csv(folder / "records.csv", index=False)
    words = ("fit", folder / "records.csv", "--model", "relative", "--cohorts", "2024", "--no-figures")
    run(*words, "--residual", "by_school", "--out", folder / "out")
    (folder / "params.yml").write_text(f"data: {folder / 'records.csv'}\nfocal_cohorts: [2024]\nresidual: female\n")
    for engine in ("memory", "duckdb"):
        more = ("--model", "relative", "--engine", engine, "--no-figures", "--out", folder / engine)
        run("fit", "--params", folder / "params.yml", *more)
    return folder


def test_the_files_say_what_the_library_does(made):
    fit = va.fit_relative(va.read_records(records()), 2024, residual="by_school")
    told = pd.read_csv(made / "out" / FILES[0], dtype={"school": str}).set_index("school")
    exact = va.residual_variances(fit).reindex(told.index)
    assert len(told) == 37 and (told["residual"] == "by_school").all()
    for name in ("own_sd", "sd", "lower", "upper"):
        np.testing.assert_allclose(told[name], exact[name], rtol=5e-3, atol=0.06)  # three digits, of SDs a decimal
    tests = pd.read_csv(made / "out" / FILES[1]).set_index("test")
    np.testing.assert_allclose(tests["statistic"], va.variance_test(fit)["statistic"], atol=0.05)
    effects = pd.read_csv(made / "out" / "school_effects.csv", dtype={"school": str}).set_index("school")
    np.testing.assert_allclose(effects["effect"], fit.school_effects["effect"].reindex(effects.index), atol=0.06)
    (summary,) = json.loads((made / "out" / "fits.json").read_text())
    assert summary["residual"] == "by_school" and summary["residual_sd"]["common"] == pytest.approx(
        fit.unequal.s, rel=5e-3
    )
    about = pd.read_csv(made / "out" / "about.csv").set_index("setting")["value"]
    assert about["residual"] == "by_school"
    assert not (made / "out" / "scoring.json").exists()  # late students are not scored by such a fit


def test_schools_held_back_are_in_no_file(made):
    for file in (made / "out").iterdir():
        if file.suffix in (".csv", ".json"):
            assert not any(code in file.read_text() for code in ("S000", "S001", "S002")), file.name


def test_nothing_that_is_written_adds_up_to_schools_held_back(made):
    """sigma2 of fits.json is the common variance and no mean over schools, from which the hidden ones' could be taken; and
    the mean of the published standard deviations is off the common one by more than three hidden schools could tell."""
    fit = va.fit_relative(va.read_records(records()), 2024, residual="by_school")
    (summary,) = json.loads((made / "out" / "fits.json").read_text())
    assert summary["sigma2"] == pytest.approx(fit.unequal.s**2, rel=5e-3)
    table = va.residual_variances(fit)
    hidden = table.index.isin(["S000", "S001", "S002"])
    total = (table["n"] * table["sd"] ** 2).sum()
    share = (table["n"] * table["sd"] ** 2)[hidden].sum() / total
    assert abs(total / table["n"].sum() / fit.sigma2 - 1) > share


def test_groups_of_students_from_the_params_file_in_memory_and_streamed(made):
    fit = va.fit_relative(va.read_records(records()), 2024, residual="female")
    told = pd.read_csv(made / "memory" / FILES[0])
    assert told["group"].tolist() == [0, 1] and told["n"].tolist() == va.residual_variances(fit)["n"].tolist()
    np.testing.assert_allclose(told["sd"], va.residual_variances(fit)["sd"], atol=0.06)
    for name in (*FILES, "school_effects.csv"):
        assert (made / "memory" / name).read_text() == (made / "duckdb" / name).read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "benchmark", "--residual", "by_school"], "--residual is for --model joint or relative"),
        (["--model", "relative", "--residual", "common"], "--residual is for --model joint where it is common"),
        (["--model", "relative", "--residual", "nothing"], "need a column that groups students"),
        (["--model", "relative", "--residual", "tiny"], "fewer than the 5"),
        (["--model", "relative", "--residual", "female", "--random", "prior_score"], "not offered with unequal"),
    ],
)
def test_refusals_have_one_sentence_and_exit_code_two(made, tmp_path, words, said):
    more = ("--cohorts", "2024", "--no-figures", "--out", tmp_path / "o")
    output = run("fit", made / "records.csv", *words, *more, code=2)
    assert said in " ".join(output.split()) and not (tmp_path / "o").exists()
