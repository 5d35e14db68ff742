"""The command line: what it writes, what it says, its exit codes, and that a failed run leaves no trace."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import run
from conftest import simulate

import valib
import valib as va
from valib.effects.average import average_va
from valib.effects.baseline import Benchmark, fit_baseline
from valib.effects.benchmark import fit_benchmark
from valib.effects.joint import fit_joint
from valib.effects.relative import fit_relative
from valib.records.precision import published
from valib.records.reading import read_records
from valib.study import tables
from valib.study.folder import digest
from valib.sums.equating import Link, ScaleBreak

COHORTS = (2015, 2016, 2019, 2021)
STUDY = {"baseline_cohorts": [2015, 2016], "focal_cohorts": [2019, 2021], "further_formulas": [], "figures": False}
COMMANDS = {
    "check": ["check"],
    "relative": ["fit", "--model", "relative", "--out", "results"],
    "benchmark": ["fit", "--model", "benchmark", "--out", "results"],
    "joint": ["fit", "--model", "joint", "--out", "results"],
    "baseline": ["baseline", "--out", "results/baseline.json"],
    "book": ["book", "--quiet", "--out", "results"],
}


def told(done) -> str:
    """What a command says of errors; that a shift of these twelve schools is of few is true in every test."""
    lines = done.stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("Warning: The shift of cohort"))


@pytest.fixture(scope="module")
def good() -> pd.DataFrame:
    frame = simulate(np.random.default_rng(3), schools=12, size=(3, 20), cohorts=COHORTS).drop(columns="u")
    return frame.assign(female=np.arange(len(frame)) % 2)


@pytest.fixture
def here(tmp_path, monkeypatch, good) -> Path:
    """A working directory with a study, its records my.csv, and results of an earlier run."""
    monkeypatch.chdir(tmp_path)
    good.to_csv("my.csv", index=False)
    Path("params.yml").write_text(yaml.safe_dump(STUDY | {"data": "my.csv"}), encoding="utf-8")
    Path("results").mkdir()
    made = {"fit": {}, "book": {}}
    for name in ("school_effects.csv", "fits.json", "shifts.csv", "baseline.json"):
        Path("results", name).write_text(f"earlier {name}\n", encoding="utf-8")
        made["book" if name == "baseline.json" else "fit"][name] = digest(Path("results", name))
    Path("results/.made-by-valib").write_text(json.dumps(made), encoding="utf-8")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


# What it writes


def test_fit_relative_writes_what_the_library_finds(here, good):
    done = run(
        *("fit", "--model", "relative", "--cohorts", "2016,2021", "--min-students", "1"),
        *("--exact", "--figures", "--out", "new/folder"),
    )
    assert done.exit_code == 0, done.stderr
    fit = fit_relative(read_records(good), 2021)
    effects = pd.read_csv("new/folder/school_effects.csv", dtype={"school": "str"})
    ours = effects.query("cohort == 2021").set_index("school")
    columns = fit.school_effects.columns.tolist()
    pd.testing.assert_frame_equal(ours[columns], fit.school_effects, check_exact=False, rtol=1e-14)
    np.testing.assert_allclose(ours["effect_size"], ours["effect"] / good.query("cohort == 2021")["score"].std())
    assert effects["model"].unique().tolist() == ["relative"]
    assert effects["cohort"].unique().tolist() == [2016, 2021]
    fixed = pd.read_csv("new/folder/fixed_effects.csv").query("cohort == 2021")
    np.testing.assert_allclose(fixed["estimate"], fit.fixed_effects)
    np.testing.assert_allclose(fixed["se"] ** 2, np.diag(fit.vcov))
    summary = json.loads(Path("new/folder/fits.json").read_text(encoding="utf-8"))
    assert [item["cohort"] for item in summary] == [2016, 2021]
    assert summary[1]["loglik"] == fit.loglik
    pictures = ["figures", *(f"figures/school_effects_{c}.{end}" for c in (2016, 2021) for end in ("png", "svg"))]
    beside = ["about.csv", "columns.csv", *pictures]
    results = ["fits.json", "fixed_effects.csv", "school_effects.csv", "scoring.json"]
    written = [".made-by-valib", "NOT_FOR_PUBLICATION.txt", *beside, *results]
    assert list(contents(here / "new" / "folder")) == written and "not for publication" in done.stdout
    assert run("fit", "--model", "relative", "--cohorts", "2021", "--figures", "--out", "new/folder").exit_code == 0
    rounded = pd.read_csv("new/folder/school_effects.csv", dtype={"school": "str"}).set_index("school")
    pd.testing.assert_frame_equal(rounded, published(tables.school_effects([fit], 5)[0]).set_index("school"))
    left = [name for name in written if "2016" not in name and "NOT_FOR" not in name]
    assert list(contents(here / "new" / "folder")) == left, (
        "the mark goes with the exact figures, 2016 with its picture"
    )


def test_fit_benchmark_writes_the_shift_with_every_option_in_force(here, good):
    options = [
        *"--estimator ols --variances baseline --method REML --level 0.9 --equating-se 2".split(),
        "--formula",
        "score ~ prior_score + female",
    ]
    done = run("fit", "--model", "benchmark", *options, "--exact", "--out", "results")
    assert done.exit_code == 0, done.stderr
    records = read_records(good)
    benchmark = fit_baseline(records, [2015, 2016], "score ~ prior_score + female", estimator="ols", method="REML")
    fit = fit_benchmark(records, 2021, benchmark, variances="baseline", method="REML", equating_se=2.0, level=0.9)
    shift = pd.read_csv("results/shifts.csv").set_index("cohort").loc[2021]
    np.testing.assert_allclose(
        shift[["shift", "se", "lower", "upper"]].astype(float), [fit.shift, fit.shift_se, *fit.shift_interval]
    )
    context = pd.read_csv("results/shift_in_context.csv").set_index("cohort")
    wanted = va.shift_in_context([fit], benchmark)
    np.testing.assert_allclose(context.loc[wanted.index].iloc[:, 1:], wanted.iloc[:, 1:])
    assert f"2021: shift {fit.shift:+.1f}, " in done.stdout and "without equating error" not in done.stdout
    effects = pd.read_csv("results/school_effects.csv", dtype={"school": "str"}).query("cohort == 2021")
    hidden = fit.school_effects["n"].nsmallest(3)  # some are too small, the others hide them
    assert 1 <= (hidden < 5).sum() < 3
    shown = fit.school_effects.drop(index=hidden.index)
    np.testing.assert_allclose(effects["upper"], shown["upper"])
    assert effects["school"].tolist() == shown.index.tolist()


def test_a_baseline_with_influences_gives_a_later_year_the_error_by_school(here, good):
    """Without the baseline's students, as they will not be at hand; and what is not known is said."""
    good[good.cohort == 2021].to_csv("later.csv", index=False)
    for name, more in (("kept", ["--influences"]), ("bare", ["--exact"])):
        assert run("baseline", *more, "--out", f"{name}.json").exit_code == 0
        done = run(
            *"fit later.csv --model benchmark --benchmark".split(),
            f"{name}.json",
            *"--cohorts 2021 --exact --out".split(),
            name,
        )
        assert done.exit_code == 0, done.stderr
        assert "without equating error" in done.stdout
    fit = fit_benchmark(read_records(good), 2021, fit_baseline(read_records(good), [2015, 2016]))
    told = {name: pd.read_csv(f"{name}/shifts.csv").iloc[0] for name in ("kept", "bare")}
    assert (told["kept"]["error"], told["bare"]["error"]) == ("schools", "cautious")
    assert told["kept"]["se"] == pytest.approx(fit.shift_se) and np.isnan(told["kept"]["equating_se"])
    assert "S0001" in Path("kept.json").read_text() and "S0001" not in Path("bare.json").read_text()


def test_fit_joint_writes_what_the_library_finds(here, good):
    options = ["--covariance", "ar1", "--residual", "common", "--method", "REML", "--level", "0.9"]
    good[~((good.school == "S0001") & (good.cohort == 2019))].to_csv("my.csv", index=False)
    done = run("fit", "--model", "joint", *options, "--cohorts", "2021,2016,2019", "--exact", "--out", "results")
    assert done.exit_code == 0, done.stderr
    assert not Path("results/shifts.csv").exists()
    records = read_records("my.csv")
    fit = fit_joint(records, [2016, 2019, 2021], covariance="ar1", residual="common", method="REML", level=0.9)
    effects = pd.read_csv("results/school_effects.csv", dtype={"school": "str"})
    assert effects["model"].unique().tolist() == ["joint"] and effects["cohort"].is_monotonic_increasing
    ours = effects.set_index(["school", "cohort"])
    assert ("S0001", 2019) not in ours.index and ours["n"].min() >= 5
    whole = fit.school_effects.query("n > 0")
    hidden = whole.groupby(level="cohort")["n"].nsmallest(3).droplevel(0)  # two cohorts have one or more too small
    hidden = hidden[hidden.groupby(level="cohort").transform("min") < 5]
    everywhere = whole.index.get_level_values("school").isin(hidden.index.get_level_values("school"))
    shown, hidden = whole[~everywhere], whole[everywhere]  # a school held back in one cohort is in all
    assert len(ours) == len(shown) > 0
    pd.testing.assert_frame_equal(ours[shown.columns], shown.loc[ours.index], check_exact=False, rtol=1e-12)
    sd = records.groupby("cohort").score.std()
    np.testing.assert_allclose(effects["effect_size"], effects["effect"] / sd.loc[effects["cohort"]].to_numpy())
    assert (
        len(hidden) > 3
        and f"{len(hidden)} not shown: fewer than 5 students or under 50% of the tested linked" in done.stdout
    )
    fixed = pd.read_csv("results/fixed_effects.csv").set_index(["cohort", "term"])
    np.testing.assert_allclose(fixed["estimate"], fit.fixed_effects)
    np.testing.assert_allclose(fixed["se"] ** 2, np.diag(fit.vcov))
    pd.testing.assert_frame_equal(pd.read_csv("results/correlations.csv"), fit.correlations(), check_dtype=False)
    omega = pd.read_csv("results/omega.csv")
    for row in omega.itertuples():
        assert row.covariance == pytest.approx(fit.omega.loc[row.cohort, row.other])
        assert row.se == pytest.approx(fit.omega_se.loc[row.cohort, row.other])
    assert len(omega) == 6
    summary = json.loads(Path("results/fits.json").read_text(encoding="utf-8"))
    assert summary[0]["model"] == "joint" and summary[0]["loglik"] == fit.loglik
    assert run("fit", "--model", "relative", "--out", "results").exit_code == 0
    assert not Path("results/omega.csv").exists() and not Path("results/correlations.csv").exists()


def test_fit_joint_writes_averages_on_request_and_the_lasting_part_of_a_model_that_has_one(here, good):
    options = ["--cohorts", "2016,2019,2021", "--average", "2021,2016", "--exact", "--out", "results"]
    assert run("fit", "--model", "joint", *options).exit_code == 0
    told = pd.read_csv("results/averages.csv", dtype={"school": "str"})
    fit = fit_joint(read_records(good), [2016, 2019, 2021])
    ours = average_va(fit, [2016, 2021])
    assert 0 < len(told) < len(ours) and (told["averaged"] == "2016, 2021").all()
    pd.testing.assert_frame_equal(
        told.set_index("school")[ours.columns], ours.loc[told["school"]], check_dtype=False, rtol=1e-12
    )
    shown = pd.read_csv("results/school_effects.csv", dtype={"school": "str"})["school"]
    assert set(told["school"]) == set(shown) and not Path("results/lasting.csv").exists()
    assert run("fit", "--model", "joint", "--covariance", "compound_symmetry", "--out", "results").exit_code == 0
    lasting = pd.read_csv("results/lasting.csv", dtype={"school": "str"})
    assert "lasting" in lasting and "average" not in lasting and not Path("results/averages.csv").exists()


def test_a_joint_fit_on_the_boundary_is_written_and_said(here, good):
    residual = good.score - 0.8 * good.prior_score
    flat = good.score - 0.999 * residual.groupby([good.school, good.cohort]).transform("mean")
    good.assign(score=flat).to_csv("my.csv", index=False)
    done = run("fit", "--model", "joint", "--covariance", "compound_symmetry", "--out", "results")
    assert done.exit_code == 0 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("Warning: The school effects of a cohort do not vary")
    assert pd.read_csv("results/correlations.csv")["correlation"].isna().all()


BREAK = {"cohort": 2020, "column": "score", "link": {"slope": 1.25, "intercept": -80.0, "intercept_se": 6.0}}


def declare(**changed):
    """Write a study with a break of the score's scale before 2021."""
    study = STUDY | {"data": "my.csv", "scale_breaks": [BREAK | changed]}
    Path("params.yml").write_text(yaml.safe_dump(study), encoding="utf-8")


def test_a_linked_break_is_carried_into_the_benchmark_and_said_by_check(here, good):
    declare()
    done = run("fit", "--model", "benchmark", "--exact", "--out", "results")
    assert done.exit_code == 0, done.stderr
    shifts = pd.read_csv("results/shifts.csv").set_index("cohort")
    records = read_records(good)
    benchmark = fit_baseline(records, [2015, 2016])
    link = ScaleBreak(2020, "score", Link(1.25, -80.0, 0.0, 6.0))
    for cohort, breaks in ((2019, []), (2021, [link])):
        fit = fit_benchmark(records, cohort, benchmark, scale_breaks=breaks)
        np.testing.assert_allclose(shifts.loc[cohort, ["shift", "se"]].astype(float), [fit.shift, fit.shift_se])
    assert fit.shift_se > 6
    assert run("baseline", "--influences", "--out", "kept.json").exit_code == 0
    assert run("fit", "--model", "benchmark", "--benchmark", "kept.json", "--exact", "--out", "again").exit_code == 0
    assert Path("again/shifts.csv").read_bytes() == Path("results/shifts.csv").read_bytes()
    said = " ".join(run("check").stdout.split())
    assert (
        "The scale of score changes with cohort 2020: cohort 2021 carried back by old = -80 + 1.25 new; the link's "
        "error enters shift and benchmark value added."
    ) in said


@pytest.mark.parametrize("command", [["check"], ["fit", "--model", "benchmark", "--out", "results"]])
def test_a_break_without_a_link_is_refused(here, command):
    declare(link=None)
    before = contents(here)
    done = run(*command)
    assert done.exit_code == 2 and told(done).count("\n") == 1
    assert "changes with cohort 2020, between the baseline 2015 to 2016 and cohort 2021" in done.stderr
    assert contents(here) == before
    for other in (
        ["fit", "--model", "relative"],
        ["fit", "--model", "joint"],
        ["fit", "--model", "benchmark", "--cohorts", "2019"],
    ):
        assert run(*other, "--out", "other").exit_code == 0


@pytest.mark.parametrize("command", ["check", "benchmark", "baseline"])
def test_a_break_inside_the_baseline_is_refused_even_with_a_link(here, command):
    declare(cohort=2016)
    before = contents(here)
    done = run(*COMMANDS[command])
    assert done.exit_code == 2 and "changes with cohort 2016, inside the baseline 2015 to 2016" in done.stderr
    assert contents(here) == before


def test_schools_below_the_minimum_are_held_back_and_counted(here, good):
    sizes = good.query("cohort in [2019, 2021]").groupby(["cohort", "school"]).size()
    tiny = int((sizes < 8).sum())
    assert tiny > 0
    done = run("fit", "--model", "relative", "--min-students", "8", "--out", "results")
    effects = pd.read_csv("results/school_effects.csv")
    assert effects["n"].min() >= 8
    assert len(effects) == len(sizes) - tiny
    assert f"{tiny} not shown: fewer than 8 students or under 50% of the tested linked" in done.stdout


def test_a_run_replaces_an_earlier_one_and_leaves_other_files(here):
    assert run("fit", "--model", "relative", "--out", "results").exit_code == 0
    assert not Path("results/shifts.csv").exists()
    assert Path("results/baseline.json").read_text(encoding="utf-8") == "earlier baseline.json\n"
    assert Path("results/fits.json").read_text(encoding="utf-8").startswith("[")
    assert not list(Path("results").glob(".valib-*"))


def test_a_saved_benchmark_scores_a_later_cohort_without_the_baseline_students(here, good):
    assert run("baseline", "--estimator", "within", "--exact", "--out", "kept/baseline.json").exit_code == 0
    assert Benchmark.load("kept/baseline.json").estimator == "within"
    assert run("fit", "--model", "benchmark", "--estimator", "within", "--exact", "--out", "whole").exit_code == 0
    good.query("cohort == 2021").to_csv("later.csv", index=False)
    done = run(
        *"fit later.csv --model benchmark --benchmark kept/baseline.json --cohorts 2021".split(),
        *"--exact --out later".split(),
    )
    assert done.exit_code == 0, done.stderr
    whole = pd.read_csv("whole/school_effects.csv").query("cohort == 2021")
    later = pd.read_csv("later/school_effects.csv").query("cohort == 2021")
    np.testing.assert_allclose(later["effect"], whole["effect"], rtol=1e-9)
    np.testing.assert_allclose(later["se_comparative"], whole["se_comparative"], rtol=1e-9)
    assert json.loads(Path("kept/baseline.json").read_text())["publication"] == "not for publication: exact"
    assert run("baseline", "--estimator", "within", "--out", "kept/rounded.json").exit_code == 0
    again = ["--model", "benchmark", "--benchmark", "kept/rounded.json", "--cohorts", "2021", "--exact"]
    done = run("fit", "later.csv", *again, "--out", "later")
    assert done.exit_code == 0, done.stderr
    later = pd.read_csv("later/school_effects.csv")
    np.testing.assert_allclose(later["effect"], whole["effect"], atol=5e-3)  # digits kept: a 10,000th of their errors
    np.testing.assert_allclose(later["se_comparative"], whole["se_comparative"], atol=1e-3)


def test_check_says_what_is_there(here, good):
    done = run("check", "--focal-cohorts", "2021")
    assert done.exit_code == 0
    assert f"{len(good):,} rows read, {len(good):,} used" in done.stdout
    assert re.search(r"2021 +focal", done.stdout) and not re.search(r"2019 +focal", done.stdout)
    content = json.loads(run("check", "--json").stdout)
    assert content["rows_read"] == len(good) and content["problems"] == []


def test_columns_of_other_names(here, good):
    Path("other").mkdir()
    good.rename(columns={"school": "School Code", "cohort": "Sat"}).to_csv("other/my.csv", index=False)
    renamed = ["--column", "school=School Code", "--column", "cohort=Sat"]
    assert run("fit", "other/my.csv", *renamed, "--model", "relative", "--out", "theirs").exit_code == 0
    assert run("fit", "--model", "relative", "--out", "mine").exit_code == 0
    assert contents(here / "theirs") == contents(here / "mine")


def test_warnings_are_one_line_on_stderr(here, good):
    good.drop(columns="cohort").to_csv("one.csv", index=False)
    done = run("fit", "one.csv", "--model", "relative", "--cohorts", "0", "--out", "results")
    assert done.exit_code == 0
    assert done.stderr == "Warning: one.csv: no column for cohort, so all students are taken as one cohort, 0.\n"


# What it refuses


def _constant(frame, column, cohorts=COHORTS):
    return frame.assign(**{column: frame[column].where(~frame["cohort"].isin(cohorts), 500.0)})


BAD = {
    "missing column": (lambda f: f.drop(columns="prior_score"), [], r"my\.csv: no column for prior_score"),
    "text in the score": (
        lambda f: f.assign(score=f["score"].astype(object).where(f.index != 7, "absent")),
        [],
        r"my\.csv: column 'score' .*line 9.*'absent'",
    ),
    "empty file": (lambda f: None, [], r"my\.csv: the file is empty"),
    "no rows": (lambda f: f.iloc[:0], [], r"my\.csv: holds no rows"),
    "one school": (
        lambda f: f.assign(school="S1"),
        [],
        r"One school only in cohorts|my\.csv, cohorts? [\d, ]+: .*at least two schools",
    ),
    "baseline cohort absent": (lambda f: f, ["--baseline-cohorts", "2014,2015"], r"ohort 2014.* not in the data.*2015"),
    "focal cohort absent": (lambda f: f, ["--focal-cohorts", "2021,2030"], r"ohort 2030.* not in the data.*2015"),
    "constant prior": (lambda f: _constant(f, "prior_score"), [], r"olumn '?prior_score.* (constant|same value)"),
    "all scores equal": (lambda f: _constant(f, "score"), [], r"score (are equal|has the same value)"),
    "baseline equal to focal": (lambda f: f, ["--focal-cohorts", "2016"], r"both hold 2016"),
    "no file": (lambda f: f, ["nowhere.csv"], r"nowhere\.csv: there is no such file"),
    "wrong level": (lambda f: f, ["--params", "wrong.yml"], r"wrong\.yml, line 1: level is 2"),
}
NOT_ITS_BUSINESS = {
    ("baseline", "focal cohort absent"),
    ("relative", "baseline cohort absent"),
    ("joint", "baseline cohort absent"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("command", COMMANDS)
def test_bad_input_is_one_sentence_and_leaves_no_trace(here, good, command, case):
    if (command, case) in NOT_ITS_BUSINESS:
        pytest.skip("this command does not use those cohorts")
    change, options, sentence = BAD[case]
    frame = change(good)
    Path("my.csv").write_text("" if frame is None else frame.to_csv(index=False), encoding="utf-8")
    Path("wrong.yml").write_text("level: 2\n", encoding="utf-8")
    before = contents(here)
    done = run(*COMMANDS[command], *options)
    assert done.exit_code == 2, done.stderr
    assert re.search(sentence, done.stderr)
    assert told(done).startswith("Error: ") and told(done).count("\n") == 1 and told(done).endswith(".\n")
    assert "Traceback" not in done.stderr
    assert contents(here) == before


def test_cohorts_that_a_command_does_not_use_may_be_absent(here):
    assert run("baseline", "--focal-cohorts", "2030", "--out", "b.json").exit_code == 0
    assert run("fit", "--model", "relative", "--baseline-cohorts", "2001", "--out", "r").exit_code == 0


WRONG = {
    "cohort list": (["--focal-cohorts", "2019-2021"], "--focal-cohorts is '2019-2021'"),
    "column": (["--column", "school"], "--column is 'school', expected NAME=SOURCE"),
    "method": (["--method", "MLE"], "method is 'MLE', expected 'ML' or 'REML'"),
    "equating": (["--equating-se", "-1"], "equating_se is -1.0"),
    "out is a file": (["--out", "my.csv"], "--out is my.csv, but my.csv is a file"),
    "baseline as focal": (["--cohorts", "2016"], "Cohort 2016 is in the baseline"),
    "no benchmark": (["--benchmark", "none.json"], "none.json"),
    "not a benchmark": (["--benchmark", "my.csv"], "my.csv"),
    "benchmark and formula": (["--benchmark", "b.json", "--formula", "score ~ 1"], "--benchmark brings its own"),
    "benchmark, relative": (["--benchmark", "b.json", "--model", "relative"], "--benchmark is for --model benchmark"),
    "benchmark, joint": (["--benchmark", "b.json", "--model", "joint"], "--benchmark is for --model benchmark"),
    "covariance, benchmark": (["--covariance", "ar1"], "--covariance is for --model joint; a benchmark model has none"),
    "residual, relative": (["--model", "relative", "--residual", "common"], "--residual is for --model joint"),
    "covariance": (["--model", "joint", "--covariance", "banana"], "must be one of unstructured, compound_symmetry"),
    "residual": (["--model", "joint", "--residual", "none"], "must be one of by_cohort, common, not 'none'"),
    "average, relative": (["--model", "relative", "--average", "2019,2021"], "--average is for --model joint"),
    "average of one": (
        ["--model", "joint", "--average", "2019"],
        "--average is 2019, expected two or more of the cohorts",
    ),
    "average of others": (["--model", "joint", "--average", "2019,2031"], "--average is 2019, 2031, expected two"),
    "one cohort, joint": (["--model", "joint", "--cohorts", "2019"], "my.csv, cohort 2019: A joint model needs"),
    "no such option": (["--models", "relative"], "No such option"),
    "a model that is not offered": (["--model", "median"], "--model"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_end_with_2(here, case):
    options, sentence = WRONG[case]
    before = contents(here)
    done = run(*COMMANDS["benchmark"], *options)
    assert done.exit_code == 2
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert contents(here) == before


def test_a_failure_inside_ends_with_1_and_a_failed_write_keeps_the_earlier_results(here, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("valib.study.writing.os.replace", fail)
    before = contents(here)
    done = run(*COMMANDS["benchmark"])
    assert done.exit_code == 1
    assert "No space left on device" in told(done) and told(done).count("\n") == 1
    assert contents(here) == before
    shown = run(*COMMANDS["benchmark"], "--debug")
    assert shown.exit_code == 1 and isinstance(shown.exception, OSError)


# The command itself


def test_help_of_every_command_has_a_description_and_examples():
    assert set(re.findall(r"^  (\w+)  ", run("--help").stdout.split("Commands:")[1], re.MULTILINE)) == {
        "baseline",
        "book",
        "check",
        "fit",
        "init",
        "key",
        "report",
        "simulate",
        "summary",
    }
    for command in ("check", "fit", "baseline", "book"):
        said = run(command, "--help").stdout
        assert f"Usage: valib {command}" in said and f"valib {command} " in said.split("Examples:")[1]
        for option in ("--params", "--baseline-cohorts", "--focal-cohorts", "--debug"):
            assert option in said


def test_version():
    assert run("--version").stdout == f"valib {valib.__version__}\n"


def test_as_a_module_in_its_own_process(here):
    def module(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "valib", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(Path(valib.__file__).parents[1])},
        )

    done = module("fit", "--model", "relative", "--out", "results")
    assert (done.returncode, done.stderr) == (0, "")
    before = contents(here)
    bad = module("fit", "--model", "relative", "--cohorts", "1999", "--out", "results")
    assert bad.returncode == 2
    assert re.fullmatch(r"Error: my.csv: Cohort 1999 is not in the data; [^\n]*\n", bad.stderr)
    assert contents(here) == before
    problem = module("check", "--focal-cohorts", "1999")
    assert problem.returncode == 2 and "rows read" in problem.stdout


def test_help_loads_no_heavy_module():
    code = (
        "import sys; from typer.testing import CliRunner; from valib.command.cli import app; "
        "CliRunner().invoke(app, ['fit', '--help']); "
        "print([m for m in ('numpy', 'pandas', 'yaml', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(valib.__file__).parents[1])},
    )
    assert done.stdout == "[]\n"
