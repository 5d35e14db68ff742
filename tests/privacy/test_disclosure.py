"""Suppression of small cells, and the reader who tries to undo it with all that is published.

The attacker knows: how many students and schools a cohort has, the fixed rule, the effects and sizes of the schools
shown, both variance components. Two equations bind the effects held back: their sum, and, at the maximum of the
likelihood, sum_j (u_j^2 + v(n_j)) = J tau2.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from hypothesis import given, settings
from hypothesis import strategies as st

from valib import fit_benchmark, fit_joint, fit_relative
from valib.effects.baseline import fit_baseline
from valib.effects.ranking import rank_effects
from valib.errors import ValibWarning
from valib.pages import notebook as nb
from valib.pages.report import compute
from valib.records.disclosure import HIDDEN, cells, few, few_of_total, public, shown, shown_in_all, whole
from valib.study import tables as results
from valib.study.params import Params
from valib.sums.design import say_left_out

MINIMUM = 5


def world(seed: int, small=(2, 30, 41, 52), others: int = 20) -> pd.DataFrame:
    """Records of one cohort with schools of these sizes and of ``others`` larger ones."""
    rng = np.random.default_rng(seed)
    frame = simulate(rng, schools=len(small) + others, size=(60, 60))
    sizes = dict(zip([f"S{k:04d}" for k in range(len(small))], small, strict=True))
    place = frame.groupby("school").cumcount()
    return frame[place < frame["school"].map(sizes).fillna(60)].reset_index(drop=True)


def known(fit, mask: np.ndarray) -> dict[str, float]:
    """What follows from the tables for the schools held back: number, students, sum of effects, and J tau2's rest."""
    table = fit.school_effects
    public = table[mask]
    variance = fit.tau2 * (1 - public["shrinkage"])
    return {
        "schools": len(table) - len(public),
        "students": int(fit.n_students - public["n"].sum()),
        "sum": -float(public["effect"].sum()),
        "squares": float(len(table) * fit.tau2 - (public["effect"] ** 2 + variance).sum()),
        "largest": int(public["n"].min()),
    }


def sizes_possible(told: dict[str, float]) -> list[tuple[int, ...]]:
    """Sizes the schools held back may have: one or more below the minimum, none larger than the smallest shown."""
    tops = range(1, told["largest"] + 1)
    return [
        n
        for n in itertools.combinations_with_replacement(tops, told["schools"])
        if sum(n) == told["students"] and n[0] < MINIMUM
    ]


def squares(fit, told: dict[str, float], sizes: tuple[int, ...]) -> float:
    """The sum of squares of the effects held back, if they have these sizes."""
    theta = fit.tau2 / fit.sigma2
    return told["squares"] - sum(fit.tau2 * (1 - n * theta / (1 + n * theta)) for n in sizes)


@pytest.mark.parametrize("seed", range(5))
def test_what_the_attacker_recovers_when_one_two_and_three_schools_are_held_back(seed):
    fit = fit_relative(world(seed), 2015)
    effects, n = fit.school_effects["effect"], fit.school_effects["n"]
    order = n.sort_values(kind="stable").index
    assert n[order[0]] < MINIMUM <= n[order[1]]

    alone = known(fit, ~n.index.isin(order[:1]))  # primary suppression only: size and effect are plain
    assert sizes_possible(alone) == [(n[order[0]],)]
    assert alone["sum"] == pytest.approx(effects[order[0]], abs=1e-7)

    pair = known(fit, ~n.index.isin(order[:2]))  # two: a handful of candidates, one of them the truth
    candidates = []
    for sizes in sizes_possible(pair):
        radius = squares(fit, pair, sizes) / 2 - pair["sum"] ** 2 / 4
        candidates += [pair["sum"] / 2 + side * np.sqrt(radius) for side in (-1, 1) if radius >= 0]
    assert len(candidates) <= 2 * (MINIMUM - 1)
    assert np.abs(np.array(candidates) - effects[order[0]]).min() < 0.01 * np.sqrt(fit.tau2)

    mask = shown(n, MINIMUM)
    told = known(fit, mask)
    assert told["schools"] == HIDDEN == 3
    possible = sizes_possible(told)
    assert len(possible) > 10 and len({sizes[0] for sizes in possible}) > 1
    truth = effects[~mask].to_numpy()
    total = squares(fit, told, tuple(n[~mask]))
    assert total == pytest.approx((truth**2).sum(), rel=1e-4, abs=1e-3 * fit.tau2)
    # Each point of a circle obeys both equations, and the smallest school's effect runs over a whole range.
    centre, radius = told["sum"] / 3, np.sqrt(total - told["sum"] ** 2 / 3)
    a, b = np.array([2, -1, -1]) / np.sqrt(6), np.array([0, 1, -1]) / np.sqrt(2)
    around = np.linspace(0, 2 * np.pi, 400)[:, None]
    others = centre + radius * (np.cos(around) * a + np.sin(around) * b)
    assert np.allclose(others.sum(axis=1), told["sum"]) and np.allclose((others**2).sum(axis=1), total)
    assert np.ptp(others[:, 0]) > np.ptp(truth) > 0


def test_the_effects_of_a_cohort_sum_to_zero_or_to_the_shift_in_every_model():
    """Why one school held back is given away: true of each of the three models, whatever the formula."""
    rng = np.random.default_rng(4)
    records = simulate(rng, schools=25, size=(2, 40), cohorts=(2015, 2016, 2018), rho=0.6, shift={2018: -9.0})
    formula = "score ~ prior_score + school_mean(prior_score)"
    relative = fit_relative(records, 2018, formula)
    assert abs(relative.school_effects["effect"].sum()) < 1e-6
    against = fit_benchmark(records, 2018, fit_baseline(records, [2015, 2016], formula))
    assert against.school_effects["effect"].sum() == pytest.approx(25 * against.shift, abs=1e-6)
    joint = fit_joint(records, [2015, 2016, 2018])
    assert joint.school_effects["effect"].groupby(level="cohort").sum().abs().max() < 1e-5


def rotated(effects: np.ndarray, points: int) -> np.ndarray:
    """(points, 3) effects with the sum and the sum of squares of these three; the first row is these three."""
    centre = effects.mean()
    start, across = effects - centre, np.cross(np.ones(3) / np.sqrt(3), effects - centre)
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)[:, None]
    return centre + np.cos(turn) * start + np.sin(turn) * across


@pytest.mark.parametrize("seed", range(3))
def test_places_among_all_schools_give_away_the_effects_held_back_and_places_among_those_shown_do_not(seed):
    """The seed of the draws stands on the page: the attacker draws the same and sees which effects fit the places."""
    fit = fit_relative(world(seed), 2015, intervals="plugin")
    table = fit.school_effects
    mask = shown(table["n"], MINIMUM)
    every = fit.ranks(seed=7)["expected_rank"].to_numpy()
    candidates = rotated(table["effect"][~mask].to_numpy(), 40)
    missed = []
    for guess in candidates:
        effect = table["effect"].to_numpy(copy=True)
        effect[~mask] = guess
        own = table["se_conditional"].to_numpy() ** 2
        missed.append(np.abs(rank_effects(effect, own, fit.common, 7).expected[mask] - every[mask]).max())
    assert missed[0] == 0 and min(missed[1:]) > 0, "of all that fit the tables, only the truth fits the places"

    ranks = fit.ranks(seed=7, min_students=MINIMUM)
    assert list(ranks.index) == list(table.index[mask])
    alone = rank_effects(
        table["effect"][mask].to_numpy(), table["se_conditional"][mask].to_numpy() ** 2, fit.common[mask], 7
    )
    np.testing.assert_array_equal(ranks["expected_rank"], alone.expected)
    assert ranks["expected_rank"].sum() == pytest.approx(mask.sum() * (mask.sum() + 1) / 2)


def test_a_joint_model_shows_nothing_of_a_school_of_which_one_cohort_is_held_back():
    """Its prediction in one cohort borrows from the other: beside the relative effect it tells what it borrowed."""
    truth, recovered = [], []
    for seed in range(6):
        records = simulate(np.random.default_rng(seed), schools=60, size=(30, 90), cohorts=(2015, 2016), rho=0.6)
        lone = "S0003"  # one student in the second cohort
        place = records.groupby(["school", "cohort"]).cumcount()
        records = records[~((records["school"] == lone) & (records["cohort"] == 2016) & (place >= 1))]
        alone, joint = fit_relative(records, 2015), fit_joint(records, [2015, 2016])
        ours, theirs = alone.school_effects.loc[lone], joint.school_effects.loc[(lone, 2015)]
        omega, sigma2 = joint.omega.to_numpy(), joint.sigma2.to_numpy()
        borrowed = omega @ np.linalg.inv(omega + np.diag(sigma2 / [ours["n"], 1]))
        raw = ours["effect"] / ours["shrinkage"]
        recovered.append((theirs["effect"] - borrowed[0, 0] * raw) / borrowed[0, 1])
        student = records[(records["school"] == lone) & (records["cohort"] == 2016)].iloc[0]
        intercept, slope = joint.fixed_effects.loc[2016]
        truth.append(student["score"] - intercept - slope * student["prior_score"])

        sizes = joint.school_effects["n"]
        told, held = results.joint_effects(joint, MINIMUM)
        hidden = cells(sizes, MINIMUM)
        kept_apart = set(hidden.index.get_level_values("school")[~hidden])
        assert lone in kept_apart and len(kept_apart) >= HIDDEN
        assert not kept_apart & set(told["school"]) and len(told) + held == (sizes > 0).sum()
        assert not shown_in_all(sizes, MINIMUM, [2015])[sorted(kept_apart)].any()
    assert np.corrcoef(truth, recovered)[0, 1] > 0.95, "one student's residual, from two tables of large schools"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 12))
def test_what_is_held_back_is_the_least_that_protects(sizes, minimum):
    n = np.array(sizes, dtype=int)
    mask = shown(n, minimum)
    hidden = n[~mask & (n > 0)]
    small = (n > 0) & (n < minimum)
    assert not mask[n == 0].any() and not mask[small].any()
    if not small.any():
        assert hidden.size == 0
        return
    assert mask.sum() == 0 or (hidden.size >= HIDDEN and hidden.sum() >= minimum)
    assert mask.sum() == 0 or hidden.max() <= n[mask].min()
    if hidden.size > max(HIDDEN, small.sum()):  # one fewer would not have done
        assert np.sort(hidden)[:-1].sum() < minimum


def test_ties_fall_by_label_whatever_the_order_of_the_rows():
    n = pd.Series({"d": 9, "b": 9, "a": 2, "c": 9, "e": 9, "f": 30})
    for seed in range(10):
        mixed = n.sample(frac=1, random_state=seed)
        hidden = set(mixed.index[~shown(mixed, 5)])
        assert hidden == {"a", "b", "c"}
    assert shown(n.to_numpy(), 5, n.index).tolist() == [True, False, False, False, True, True]


def test_cells_are_held_back_cohort_by_cohort_and_a_change_needs_both():
    sizes = pd.DataFrame({2015: [3, 6, 8, 20, 30, 40], 2016: [20, 21, 22, 23, 24, 0]}, index=list("abcdef"))
    long = sizes.rename_axis(index="school", columns="cohort").stack()
    mask = cells(long, 5)
    assert mask[2015].to_dict() == dict(zip("abcdef", [False, False, False, True, True, True], strict=True))
    assert mask[2016].to_dict() == dict(zip("abcdef", [True] * 5 + [False], strict=True))
    assert list(mask.index) == [(t, s) for s in "abcdef" for t in (2015, 2016)], "the order of the rows is kept"
    assert whole(long, 5)[2015].to_dict() == mask[2015].to_dict()
    assert whole(long, 5)[2016].to_dict() == dict(zip("abcdef", [False] * 3 + [True] * 2 + [False], strict=True))
    assert list(whole(long, 5).index) == list(mask.index)
    assert shown_in_all(long, 5, [2016]).to_dict() == {"a": False, "b": False, "c": False, "d": True, "e": True}
    assert shown_in_all(long, 5, [2015, 2016]).to_dict() == {"a": False, "b": False, "c": False, "d": True, "e": True}


def test_counts_in_words_and_the_total_that_would_give_one_away():
    assert [few(k, 5) for k in (0, 1, 4, 5, 1234)] == ["0", "fewer than 5", "fewer than 5", "5", "1,234"]
    assert few_of_total([3, 0, 12, 70], 5) == ["fewer than 5", "0", "not shown", "70"]
    assert few_of_total([1, 2, 12, 70], 5) == ["fewer than 5", "fewer than 5", "not shown", "70"]
    assert few_of_total([3, 4, 12, 70], 5) == ["fewer than 5", "fewer than 5", "12", "70"]
    assert few_of_total([8, 12], 5) == ["8", "12"] and few_of_total([2], 5) == ["fewer than 5"]


LEFT_OUT = {  # rows that lack a covariate, by column; how many in all; what a page may tell of it
    ((("ses", 3),), 3): "Fewer than 5 of 600 rows are left out of the model: fewer than 5 without 'ses'.",
    (
        (("ses", 1), ("female", 12)),
        12,
    ): "12 of 600 rows are left out of the model: fewer than 5 without 'ses', not shown without 'female'.",
    ((("ses", 12),), 12): "12 of 600 rows are left out of the model: 12 without 'ses'.",
}


@pytest.mark.parametrize(("lost", "told"), LEFT_OUT.items())
def test_a_page_warns_of_few_rows_in_words_and_the_analyst_is_told_how_many(lost, told, tmp_path):
    counts, dropped = dict(lost[0]), lost[1]
    records = world(1, small=()).assign(ses=1.0, female=0.0)[:600]
    for column, count in counts.items():
        records.loc[records.index[:count], column] = np.nan
    with pytest.warns(ValibWarning) as caught:
        say_left_out(counts, dropped, len(records))
    exact = (
        f"{dropped} of 600 rows are left out of the model: "
        + ", ".join(f"{count} without '{column}'" for column, count in counts.items())
        + "."
    )
    assert [str(warning.message) for warning in caught] == [exact]
    assert public(caught[0].message, MINIMUM) == told and public("Another.", MINIMUM) == "Another."


def test_the_pages_of_a_study_hold_no_count_of_few_rows(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(nb, "say", lambda text, when: said.append(text))
    records = simulate(np.random.default_rng(3), schools=20, size=(8, 30), cohorts=(2015, 2016, 2018))
    records["ses"] = np.random.default_rng(4).standard_normal(len(records))
    records.loc[records.index[records["cohort"] == 2018][:3], "ses"] = np.nan
    records.drop(columns="u").to_csv(tmp_path / "r.csv", index=False)
    params = Params(
        data=str(tmp_path / "r.csv"),
        baseline_cohorts=[2015, 2016],
        focal_cohorts=[2018],
        formula="score ~ prior_score + ses",
    )
    with pytest.warns(ValibWarning, match="3 of .* without 'ses'"):
        study = compute(params, params.read_records()).study
    with warnings.catch_warnings():
        chapter = nb.setup("x", **params.model_dump(include={"data", "baseline_cohorts", "focal_cohorts", "formula"}))
        fit_relative(chapter.records, 2018, params.formula)
        nb.show_warnings()
    (page,) = (text for text in said if "without" in text)
    for text in (*study["warnings"], *said):
        assert "3 without" not in text and "3 of" not in text
    assert any("fewer than 5 without 'ses'" in text for text in study["warnings"])
    assert "fewer than 5 without 'ses'" in page.replace("\\", "")


def test_few_rows_without_a_covariate_are_told_in_words():
    records = world(1, small=())
    records["ses"] = np.random.default_rng(1).standard_normal(len(records))
    fits = []
    for lost in (3, 12):
        records.loc[records.index[:lost], "ses"] = np.nan
        with pytest.warns(ValibWarning, match=f"{lost} without 'ses'"):
            fits += [
                fit_relative(records, 2015, "score ~ prior_score + ses"),
                fit_joint(
                    records.assign(cohort=np.where(np.arange(len(records)) % 2, 2015, 2016)),
                    [2015, 2016],
                    "score ~ prior_score + ses",
                ),
            ]
    told = results.summaries(fits, MINIMUM)
    assert [one["left_out"] for one in told] == [
        {"ses": "fewer than 5"},
        {"2015": {"ses": "fewer than 5"}, "2016": {"ses": "fewer than 5"}},
        {"ses": 12},
        {"2015": {"ses": 6}, "2016": {"ses": 6}},
    ]
    assert [one["model"] for one in told] == ["relative", "joint"] * 2
