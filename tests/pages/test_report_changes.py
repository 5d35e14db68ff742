"""Changes between years on a school's page: from the model of all years, or from separate years where that fails."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_report import STUDY, a_school, panel, params_for

import valib as va
from valib.errors import ModelError
from valib.pages import report
from valib.pages.report import words
from valib.pages.report.changes import NOT_FITTED, SINGULAR, changes, fit_years
from valib.pages.report.results import HELD_BACK, SHOWN, compute

COHORTS = sorted(STUDY["baseline_cohorts"] + STUDY["focal_cohorts"])
PAIRS = list(itertools.combinations(COHORTS, 2))


def simulated(
    rng: np.random.Generator,
    schools: int,
    rho: float,
    tau: float = 15.0,
    students: int = 12,
    cohorts: tuple[int, ...] = (2031, 2032),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records of schools whose effects in any two cohorts have the correlation rho, and the true effects."""
    correlation = np.full((len(cohorts), len(cohorts)), rho) + (1 - rho) * np.eye(len(cohorts))
    effects = tau * rng.multivariate_normal(np.zeros(len(cohorts)), correlation, schools)
    index = np.repeat(np.arange(schools), students)
    parts = []
    for t, cohort in enumerate(cohorts):
        prior = rng.normal(400, 60, len(index))
        score = 100 + 0.8 * prior + effects[index, t] + rng.normal(0, 40, len(index))
        parts.append(
            pd.DataFrame(
                {
                    "student": [f"p{cohort}-{i}" for i in range(len(index))],
                    "school": [f"s{j:03d}" for j in index],
                    "cohort": cohort,
                    "score": score,
                    "prior_score": prior,
                }
            )
        )
    truth = pd.DataFrame(effects, index=[f"s{j:03d}" for j in range(schools)], columns=list(cohorts))
    return pd.concat(parts, ignore_index=True), truth


def results_of(tmp_path: Path, rows: pd.DataFrame, **settings):
    params = params_for(tmp_path, rows, **settings)
    return params, compute(params, params.read_records())


def test_changes_are_those_of_the_joint_model_for_schools_shown_in_both_cohorts(tmp_path):
    params, results = results_of(tmp_path, panel(60))
    assert results.study["why_not_joint"] is None
    joint = va.fit_joint(params.read_records(), COHORTS, params.formula)
    state = results.cells.pivot(index="school", columns="cohort", values="state")
    held = set(state.index[(state == HELD_BACK).any(axis=1)])
    from_joint = 0
    for first, second in PAIRS:
        mine = results.changes[(results.changes["first"] == first) & (results.changes["second"] == second)]
        assert set(mine["school"]) == set(state.index[(state[[first, second]] == SHOWN).all(axis=1)])
        assert set(mine.loc[~mine["joint"], "school"]) <= held
        mine = mine[mine["joint"]]
        assert not held & set(mine["school"])
        want = va.change_in_va(joint, first, second).loc[mine["school"]]
        np.testing.assert_array_equal(mine[["change", "se", "lower"]], want[["change", "se", "lower"]])
        from_joint += len(mine)
    assert from_joint > 100
    page = report.school_page(results, a_school(results))
    assert page.about_change() == words.JOINT


@pytest.mark.parametrize("why", [SINGULAR, NOT_FITTED, "not converged"])
def test_without_the_joint_model_a_change_is_the_difference_of_two_years(tmp_path, monkeypatch, why):
    from valib.effects.joint import joint_from_moments as fit

    def other(parts, formula, covariance="unstructured", **how):
        if covariance == "independent":
            return fit(parts, formula, covariance, **how)
        if why == NOT_FITTED:
            raise ModelError("no")
        made = fit(parts, formula, covariance, **how)
        object.__setattr__(made, *(("singular", True) if why == SINGULAR else ("converged", False)))
        return made

    monkeypatch.setattr("valib.effects.joint.joint_from_moments", other)
    _, results = results_of(tmp_path, panel(40))
    assert results.study["why_not_joint"] == (why if why == SINGULAR else NOT_FITTED)
    compared = 0
    for row in results.changes.itertuples():
        cells = results.cells[results.cells["school"] == row.school].set_index("cohort")
        a, b = cells.loc[row.first], cells.loc[row.second]
        assert not row.joint
        np.testing.assert_allclose(row.change, b["relative"] - a["relative"], atol=1e-4)  # another optimiser
        np.testing.assert_allclose(row.se, np.hypot(a["relative_se"], b["relative_se"]), rtol=1e-4)
        compared += 1
    assert compared > 100
    page = report.school_page(results, a_school(results))
    assert page.about_change() == words.apart(results.study["why_not_joint"])
    assert not any("cannot be said" in text for text in page.change())


def test_cohorts_that_share_no_school_do_not_silence_the_others(tmp_path):
    rows, _ = simulated(np.random.default_rng(5), 60, 0.6, cohorts=(2031, 2032, 2033))
    first, last = rows["school"] < "s030", rows["school"] >= "s030"
    rows = rows[~(first & (rows["cohort"] == 2033)) & ~(last & (rows["cohort"] == 2031))]
    _, results = results_of(tmp_path, rows, baseline_cohorts=[2031], focal_cohorts=[2032, 2033])
    assert results.study["why_not_joint"] == NOT_FITTED
    assert results.changes.groupby(["first", "second"]).size().to_dict() == {(2031, 2032): 30, (2032, 2033): 30}
    page = report.school_page(results, "s001")
    assert page.last == 2032 and page.change()[0].startswith("From 2031 to 2032 ") and page.about_change()


def test_cohorts_whose_schools_are_alike_have_no_change_and_leave_the_others_theirs(tmp_path):
    rng = np.random.default_rng(2)
    rows, _ = simulated(rng, 50, 0.5, cohorts=(2031, 2032, 2033, 2034))
    flat = rows["cohort"].isin([2032, 2034])
    rows.loc[flat, "score"] = rows.loc[flat, "prior_score"] + rng.permutation(rng.normal(0, 40, flat.sum()))
    centre = rows.loc[flat, "score"] - rows.loc[flat, "prior_score"]
    rows.loc[flat, "score"] -= centre.groupby([rows["cohort"], rows["school"]]).transform("mean") * 0.9
    _, results = results_of(tmp_path, rows, baseline_cohorts=[2031, 2032], focal_cohorts=[2033, 2034])
    assert results.cohorts.index[results.cohorts["singular"].astype(bool)].tolist() == [2032, 2034]
    assert results.study["why_not_joint"] == SINGULAR
    assert results.changes.groupby(["first", "second"]).size().to_dict() == {(2031, 2033): 50}
    page = report.school_page(results, "s001")
    assert len(page.change()) == 2
    assert "cannot be said: in 2034 the differences" in page.change()[0]
    two = report.school_page(
        results_of(tmp_path, rows[rows["cohort"] < 2034], baseline_cohorts=[2031, 2032], focal_cohorts=[2033])[1],
        "s001",
    )
    told = two.change()
    assert told[0].startswith("From 2031 to 2033 ") and "score points" in told[0]
    assert "cannot be said: in 2032 the differences" in told[1] and two.about_change() == words.apart(SINGULAR)


def test_a_school_held_back_in_a_year_has_its_other_changes_from_separate_years(tmp_path):
    rows = panel(40)
    mine = rows.index[(rows["school_id"] == "S002") & (rows["year"] == 2016)]
    params, results = results_of(tmp_path, rows.drop(mine[3:]))
    assert results.study["why_not_joint"] is None
    states = results.cells[results.cells["school"] == "S002"].set_index("cohort")["state"]
    assert states[2016] == HELD_BACK
    own = results.changes[results.changes["school"] == "S002"]
    assert len(own) and not own["joint"].any() and 2016 not in set(own["first"]) | set(own["second"])
    page = report.school_page(results, "S002")
    assert page.about_change() == words.apart("held_back") and any("score points" in text for text in page.change())
    assert results.changes.loc[
        ~results.changes["school"].isin(results.cells.loc[results.cells["state"] == HELD_BACK, "school"]), "joint"
    ].all()


@pytest.mark.parametrize(("rho", "least", "most"), [(0.0, 0.935, 0.965), (0.6, 0.95, 1.0), (0.95, 0.97, 1.0)])
def test_intervals_of_separate_years_cover_the_true_change_whatever_the_correlation(tmp_path, rho, least, most):
    rng, inside, tried = np.random.default_rng(11), 0, 0
    for _ in range(8):  # 8 x 250 changes: a Monte Carlo standard error of half a per cent
        rows, truth = simulated(rng, 250, rho)
        params = params_for(tmp_path, rows, baseline_cohorts=[2031], focal_cohorts=[2032])
        years = fit_years(params, rows, [2031, 2032])
        shown = truth.rename_axis("school").reset_index().melt("school", var_name="cohort")
        table = changes(type(years)(None, years.apart, SINGULAR), shown, shown[:0], set()).set_index("school")
        true = (truth[2032] - truth[2031]).loc[table.index]
        inside += int(((table["lower"] <= true) & (true <= table["upper"])).sum())
        tried += len(table)
    assert tried == 2000 and least <= inside / tried <= most
