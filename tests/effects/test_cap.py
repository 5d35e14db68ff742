"""Value added with scores capped at a distance from the fitted line, against scores capped by hand and at the edges."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import simulate

import valib as va
from valib.errors import ModelError
from valib.sums.equating import Link, ScaleBreak

pytestmark = pytest.mark.filterwarnings("ignore:The change of the mean prior_score")
CLOSE = 1e-7  # of score points: the same fit from capped rows read anew; optimum of theta to 1e-11 of its logarithm


@pytest.fixture(scope="module")
def world() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    frame = simulate(rng, 30, (3, 25), (2015, 2016, 2021), tau=15, rho=0.6, shift={2021: -9.0}).drop(columns="u")
    far = rng.choice(len(frame), 12, replace=False)
    frame.loc[far, "score"] += rng.choice([-400, 400], 12)
    return frame


def by_hand(rows: pd.DataFrame, b, shift: float, limit: float) -> pd.DataFrame:
    """One student after the other."""
    out = rows.copy()
    for k in rows.index:
        line = b[0] + b[1] * rows.at[k, "prior_score"] + shift
        out.at[k, "score"] = min(max(rows.at[k, "score"], line - limit), line + limit)
    return out


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_relative_value_added_of_scores_capped_by_hand(world, method):
    fit = va.fit_relative(world, 2021, method=method)
    found = va.capped_va(world, fit, 2.0)
    rows = world[world["cohort"] == 2021]
    limit = 2.0 * np.sqrt(fit.tau2 + fit.sigma2)
    capped = by_hand(rows, fit.fixed_effects.to_numpy(), 0.0, limit)
    again = va.fit_relative(capped, 2021, method=method)
    assert found.points == pytest.approx(limit) and found.n_capped == (capped["score"] != rows["score"]).sum() > 3
    np.testing.assert_allclose(found.table["capped"], again.school_effects["effect"], atol=CLOSE)
    np.testing.assert_allclose(found.table["capped_lower"], again.school_effects["lower"], atol=1e-5)
    np.testing.assert_allclose(found.table["effect"], fit.school_effects["effect"], atol=0)
    np.testing.assert_allclose(found.table["move"], found.table["capped"] - found.table["effect"], atol=0)


@pytest.mark.parametrize(
    ("shift", "variances"), [("estimated", "focal"), ("absorbed", "focal"), ("estimated", "baseline")]
)
def test_benchmark_value_added_of_scores_capped_by_hand(world, shift, variances):
    """The benchmark stays as it is: what is typical is not a matter of this cohort's extremes."""
    bench = va.fit_baseline(world, [2015, 2016])
    choices = {"shift": shift, "variances": variances, "equating_se": 2.0, "cohort_sd": 1.0}
    fit = va.fit_benchmark(world, 2021, bench, **choices)
    found = va.capped_va(world, fit, 2.0, bench)
    limit = 2.0 * np.sqrt(fit.tau2 + fit.sigma2)
    rows = world[world["cohort"] == 2021]
    capped = by_hand(rows, bench.coefficients.to_numpy(), fit.shift or 0.0, limit)
    again = va.fit_benchmark(capped, 2021, bench, **choices)
    np.testing.assert_allclose(found.table["capped"], again.school_effects["effect"], atol=CLOSE)
    np.testing.assert_allclose(found.table["capped_se"], again.school_effects["se"], rtol=1e-6)


def test_a_cap_beyond_all_scores_changes_nothing(world):
    fit = va.fit_relative(world, 2021)
    found = va.capped_va(world, fit, 1e3)
    assert (found.n_capped, found.changed_side, found.changed_fifth) == (0, 0, 0)
    assert found.table["move"].abs().max() == 0
    assert "(0 of" in found.sentence


def test_one_extreme_score_moves_its_school_and_the_count_says_so():
    """A score 600 points too high in a school of four lifts it into the highest fifth; capped, it falls back."""
    frame = simulate(np.random.default_rng(3), 40, (4, 12), (2021,), tau=20).drop(columns="u")
    target = frame.index[frame["school"] == frame["school"].value_counts().idxmin()][0]
    school = frame.at[target, "school"]
    frame.at[target, "score"] += 600
    found = va.capped_va(frame, va.fit_relative(frame), 3.0, min_students=4)
    assert found.table["move"].abs().idxmax() == school and f"(school {school})" in found.sentence
    assert found.table.at[school, "move"] < -5
    assert found.changed_fifth == (found.table["fifth"] != found.table["capped_fifth"]).sum() > 0
    assert found.n_capped < 4 and "(fewer than 4 of" in found.sentence


def test_fifths_and_sides_are_of_the_schools_shown(world):
    fit = va.fit_relative(world, 2021)
    found = va.capped_va(world, fit, 2.0, min_students=6)
    kept = va.only_shown(fit.school_effects, 6)
    assert list(found.table.index) == list(kept.index) and len(kept) < 30
    place = kept["effect"].rank()
    assert (found.table["fifth"] == np.ceil(place / len(kept) * 5)).all()
    assert found.table["fifth"].value_counts().max() - found.table["fifth"].value_counts().min() <= 1
    side = np.where(kept["lower"] > 0, "above", np.where(kept["upper"] < 0, "below", "not told apart"))
    assert (found.table["side"] == side).all()


def test_schools_that_are_not_told_apart_share_a_fifth():
    frame = simulate(np.random.default_rng(1), 12, (3, 6), (2021,), tau=0.0).drop(columns="u")
    frame["score"] -= frame.groupby("school")["score"].transform("mean") * 0.9
    with pytest.warns(va.ValibWarning, match="cannot be told apart"):
        fit = va.fit_relative(frame, 2021)
    found = va.capped_va(frame, fit, 2.0)
    assert found.table["fifth"].nunique() == 1 and (found.table["side"] == "not told apart").all()
    with pytest.warns(va.ValibWarning, match="cannot be told apart"):
        fit = va.fit_relative(frame, 2021, intervals="plugin")
    found = va.capped_va(frame, fit, 2.0)
    assert (found.table["side"] == "").all() and found.changed_side == 0, "no interval is known, so no side is"
    assert "no school's side is known and 0 of 12 change fifth" in found.sentence


def test_a_link_of_scales_is_carried_into_the_capped_fit(world):
    bench = va.fit_baseline(world, [2015, 2016])
    breaks = [ScaleBreak(2020, "score", Link(1.1, -20.0, 0.01, 4.0, 0.0))]
    moved = world.assign(score=np.where(world["cohort"] == 2021, (world["score"] + 20) / 1.1, world["score"]))
    fit = va.fit_benchmark(moved, 2021, bench, scale_breaks=breaks, intervals="plugin")
    found = va.capped_va(moved, fit, 1e3, bench, breaks)
    np.testing.assert_allclose(found.table["capped_se"], fit.school_effects["se"], rtol=1e-9)
    with pytest.raises(va.BenchmarkError):  # a break without a link is refused here as in the fit
        va.capped_va(moved, fit, 3.0, bench, [ScaleBreak(2020, "score", None)])


def test_what_cannot_be_capped_is_refused(world, tmp_path):
    fit = va.fit_relative(world, 2021)
    world.to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(ModelError, match="streams give sums: take --engine memory"):
        va.capped_va(va.stream_records(str(tmp_path / "r.csv")), fit)
    for distance in (0.0, -1.0, float("nan")):
        with pytest.raises(ModelError, match="must be positive"):
            va.capped_va(world, fit, distance)
    with pytest.raises(ModelError, match="not the records, or not the choices"):
        va.capped_va(world.iloc[5:].assign(cohort=2021), fit)
    changed = world.copy()
    changed.loc[changed["cohort"] == 2021, "score"] *= 1.01
    with pytest.raises(ModelError, match="not the records, or not the choices"):
        va.capped_va(changed, fit)
    corrected = va.fit_relative(world, 2021, error_variance={"prior_score": 200.0})
    with pytest.raises(ModelError, match="not the records, or not the choices"):
        va.capped_va(world, corrected)
    bench = va.fit_baseline(world, [2015, 2016])
    with pytest.raises(ModelError, match="with its benchmark"):
        va.capped_va(world, va.fit_benchmark(world, 2021, bench))
    with pytest.raises(ModelError, match="with its benchmark"):
        va.capped_va(world, fit, 3.0, bench)
