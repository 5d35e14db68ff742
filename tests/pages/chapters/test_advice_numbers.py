"""The checklist and the measures side by side, on records made so that each sign is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import simulate

import valib as va
from valib.pages.chapters import advice, practice


def study(schools=60, cohorts=(2031, 2032, 2033, 2036), baseline=(2031, 2032, 2033), move=0.0, prior=0.0, **more):
    rng = np.random.default_rng(6)
    rows = simulate(rng, schools=schools, size=(15, 40), cohorts=cohorts, rho=0.8, tau=15.0, shift={2036: move})
    late = rows["cohort"] == 2036
    rows.loc[late, "prior_score"] += prior
    records = va.read_records(rows)
    benchmark = va.fit_baseline(records, baseline)
    fits = [va.fit_benchmark(records, 2036, benchmark, **more)]
    checks = [va.check_prior(records, 2036, benchmark)]
    return records, benchmark, fits, va.shift_in_context(fits, benchmark), checks


def signs(table):
    return dict(zip(table["question"].str.split().str[:2].str.join(" "), table["sign"], strict=True))


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_each_stop_sign_stands_where_it_should():
    _, benchmark, fits, context, checks = study()
    good = signs(advice.checklist(fits, benchmark, context, checks, []))
    assert list(good.values()).count("stop") == 0 and good["How many"] == "go"
    _, benchmark, fits, context, checks = study(schools=12)
    assert signs(advice.checklist(fits, benchmark, context, checks, []))["Are there"] == "stop"
    _, benchmark, fits, context, checks = study(baseline=(2033,))
    assert signs(advice.checklist(fits, benchmark, context, checks, []))["How many"] == "stop"
    _, benchmark, fits, context, checks = study(prior=30.0)
    table = advice.checklist(fits, benchmark, context, checks, [va.ScaleBreak(2035, link=va.Link())])
    assert signs(table)["Is the"] == "stop" and signs(table)["Is there"] == "go"
    told = advice.signs(table).sentences[0]
    assert told.startswith("One of the 6 questions says stop") and "should not be published" in told


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_an_equating_error_that_is_known_needs_no_care():
    _, benchmark, fits, context, checks = study(equating_se=1.5)
    row = advice.checklist(fits, benchmark, context, checks, []).iloc[1]
    assert row["sign"] == "go" and row["here"] == "1.5 points"
    assert "not known" not in advice.sentences(fits[-1], context, 0.95).sentences[0]


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_a_loss_of_students_is_seen():
    _, benchmark, fits, context, checks = study()
    used = pd.Series({2031: 0.97, 2032: 0.97, 2033: 0.97, 2036: 0.85})
    row = advice.checklist(fits, benchmark, context, checks, [], used).iloc[-1]
    assert row["sign"] == "take care" and "97.0%" in row["here"] and "85.0% in 2036" in row["here"]
    assert advice.linked_shares(va.load_records("demo")).between(0.9, 1).all()


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
@pytest.mark.parametrize(
    ("move", "words"), [(-30.0, "points less than"), (30.0, "points more than"), (0.0, "measurably otherwise")]
)
def test_the_printed_sentence_follows_the_verdict(move, words):
    *_, fits, context, _ = study(move=move)
    assert words in advice.sentences(fits[-1], context, 0.95).sentences[0]


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_measures_that_take_their_zero_from_the_year_cannot_move():
    records, *_ = study(move=-20.0)
    table = practice.measures(records, (2031, 2032, 2033), 2036, "score ~ prior_score", 5, (2032, 2033))
    means = table.mean()
    assert abs(means[["groups", "relative", "standardised"]]).max() < 1.5
    assert means["benchmark"] == pytest.approx(-20, abs=6)
    np.testing.assert_allclose(table["relative"], table["standardised"], atol=1e-6)
    assert table["relative"].corr(table["benchmark"]) > 0.99
    found = practice.side_by_side(table, records, 2036)
    assert len(found.tables["tab-practice-measures"]) == len(practice.ROWS)
    assert 0 <= float(practice.rank_moves(table).values["moved_groups"].rstrip("%")) < 60


def test_prior_groups_compare_like_with_like():
    """Two groups written out: each student less the mean of the group, averaged over the school."""
    rows = pd.DataFrame({"school": list("ABAB"), "prior_score": [1, 2, 9, 8], "score": [10.0, 20, 50, 40]})
    found = practice.prior_groups(rows, 2)
    assert found.to_dict() == {"A": 0.0, "B": 0.0}
    rows["score"] = [10.0, 20, 60, 40]
    assert practice.prior_groups(rows, 2).to_dict() == {"A": 2.5, "B": -2.5}
