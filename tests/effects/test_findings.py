"""A fit says what `valib check` knows: one sentence, as a warning, in the fit and in fits.json."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, simulate
from typer.testing import CliRunner

import valib as va
from valib.command.cli import app
from valib.effects import findings
from valib.errors import ValibWarning
from valib.study.account import check_records

pytestmark = pytest.mark.usefixtures("no_pictures")

CASES = ROOT / "tests" / "cases"
BASELINE, FOCAL = (2015, 2016), 2021


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = simulate(rng, schools=25, size=(15, 25), cohorts=(*BASELINE, FOCAL), tau=25.0)
    return rows.drop(columns="u")


def focal(frame: pd.DataFrame) -> pd.Series:
    return frame["cohort"] == FOCAL


def repeated(frame: pd.DataFrame, share: float) -> pd.DataFrame:
    """The focal cohort's students are, to this share, those of the first cohort."""
    rows = frame.copy()
    first = rows.loc[rows["cohort"] == BASELINE[0], "student"].to_numpy()
    at = rows.index[focal(rows)][: int(share * len(first))]
    rows.loc[at, "student"] = first[: len(at)]
    return rows


DAMAGES = {
    "scale": lambda f: f.assign(score=f["score"].where(~focal(f), 3 * f["score"])),
    "same_test": lambda f: f.assign(score=f["score"].where(~focal(f), f["prior_score"] + pd.factorize(f["school"])[0])),
    "correlation": lambda f: f.assign(
        prior_score=f["prior_score"].where(~focal(f), f["prior_score"].sample(frac=1, random_state=1).to_numpy())
    ),
    "several_cohorts": lambda f: repeated(f, 0.65),
    "mixed_grades": lambda f: f.assign(GRADE=5 - (focal(f) & (np.arange(len(f)) % 4 == 0))),
    "mixed_subjects": lambda f: f.assign(subject=np.where(focal(f) & (np.arange(len(f)) % 3 == 0), "maths", "reading")),
    "prior_drift": lambda f: f.assign(prior_score=f["prior_score"] + 40 * focal(f)),
}


def told_by(fit, caught) -> dict[str, str]:
    """The findings of a fit, each of which was a warning with the same sentence."""
    said = [str(w.message) for w in caught if issubclass(w.category, ValibWarning)]
    assert {item.text for item in fit.findings} <= set(said)
    return {item.code: item.text for item in fit.findings}


def fitted(records) -> dict[str, str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return told_by(va.fit_benchmark(records, FOCAL, va.fit_baseline(records, BASELINE)), caught)


def test_ordinary_records_give_no_finding(frame):
    records = va.read_records(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        benchmark = va.fit_baseline(records, BASELINE)
        assert va.fit_benchmark(records, FOCAL, benchmark).findings == ()
        assert va.fit_relative(records, FOCAL).findings == ()


@pytest.mark.parametrize("code", DAMAGES)
def test_check_and_the_fit_say_the_same(frame, code):
    rows = DAMAGES[code](frame)
    records = va.read_records(rows)
    account = {item.code: item.text for item in check_records(records, BASELINE, (FOCAL,)).findings}
    fit = fitted(records)
    assert code in fit and fit[code] == account[code]


def test_a_stream_says_it_too(frame, tmp_path):
    from valib.sums.streams import stream_records

    rows = frame
    for code in ("scale", "several_cohorts", "mixed_grades", "mixed_subjects"):
        rows = DAMAGES[code](rows)
    rows.to_parquet(tmp_path / "records.parquet")
    assert fitted(stream_records(tmp_path / "records.parquet")) == fitted(va.read_records(rows))


def test_a_joint_model_and_a_baseline_tell_of_students_who_come_back(frame):
    rows = repeated(frame, 0.65)
    with pytest.warns(ValibWarning, match="stand in more than one cohort"):
        joint = va.fit_joint(va.read_records(rows), [BASELINE[0], FOCAL], covariance="compound_symmetry")
    assert "several_cohorts" in [item.code for item in joint.findings]
    with pytest.warns(ValibWarning, match="stand in more than one cohort"):
        va.fit_baseline(va.read_records(rows), [BASELINE[0], FOCAL])


def test_few_repeaters_are_not_told(frame):
    rows = repeated(frame, 0.01)
    assert "several_cohorts" not in fitted(va.read_records(rows))


def test_a_boundary_fit_is_said_in_words_and_has_no_width_of_nothing(tmp_path):
    """Issue: effects 0, errors 0, intervals 0 to 0, without a word. lme4: SD 0, "boundary (singular) fit"."""
    case = CASES / "10-boundary-fit"
    for intervals in ("integrated", "plugin"):
        out = tmp_path / intervals
        done = CliRunner().invoke(
            app,
            [
                "fit",
                "--params",
                str(case / "study.yml"),
                *"--model relative --intervals".split(),
                intervals,
                "--out",
                str(out),
            ],
        )
        assert done.exit_code == 0 and done.output.count("cannot be told apart") == 2
        table = pd.read_csv(out / "school_effects.csv")
        assert (table["effect"] == 0).all() and table["se_comparative"].isna().all()
        width = table["upper"] - table["lower"]
        assert width.isna().all() if intervals == "plugin" else (width > 1).all()
        for fit in json.loads((out / "fits.json").read_text()):
            assert fit["singular"] and [one["code"] for one in fit["findings"]] == ["boundary"]
            assert fit["findings"][0]["text"] in done.output


def test_other_scales_by_hand():
    means, sds = np.array([500.0, 510.0, 490.0]), np.array([80.0, 90.0, 100.0])
    assert not findings.is_other_scale(589.0, 90.0, means, sds) and findings.is_other_scale(591.0, 90.0, means, sds)
    assert not findings.is_other_scale(500.0, 134.0, means, sds) and findings.is_other_scale(500.0, 136.0, means, sds)
    assert not findings.is_other_scale(500.0, 61.0, means, sds) and findings.is_other_scale(500.0, 59.0, means, sds)
    assert not findings.is_other_scale(1.0, 1.0, np.array([]), np.array([]))


@pytest.mark.parametrize(("several", "told"), [(0, None), (10, None), (11, "repeaters"), (201, "follow students")])
def test_shares_of_repeated_students(several, told):
    item = findings.several_cohorts(several, 1000, [2016])
    assert (item is None) if told is None else (told in item.text and f": {several:,} (" in item.text)
