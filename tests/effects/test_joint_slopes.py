"""Random slopes of several cohorts, pair by pair: streams, limits, the boundary in words, and one cohort's own lines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import valib as va


def rows(schools: int = 30, n: int = 25, slope: float = 0.2, seed: int = 3) -> pd.DataFrame:
    """Three cohorts; schools' levels and slopes are correlated .7 between any two; two schools miss a cohort each."""
    rng = np.random.default_rng(seed)
    common, parts = rng.standard_normal((schools, 2)), []
    for cohort in (2021, 2022, 2023):
        g = (np.sqrt(0.7) * common + np.sqrt(0.3) * rng.standard_normal((schools, 2))) * [15, slope]
        code = np.repeat(np.arange(schools), n)
        prior = rng.normal(430, 75, len(code))
        score = 100 + 0.8 * prior + g[code, 0] + g[code, 1] * (prior - 430) + rng.normal(0, 40, len(code))
        parts.append(
            pd.DataFrame({"school": np.char.mod("S%02d", code), "cohort": cohort, "prior_score": prior, "score": score})
        )
    frame = pd.concat(parts, ignore_index=True)
    frame["student"] = np.char.mod("P%d", np.arange(len(frame)))
    gone = ((frame["school"] == "S03") & (frame["cohort"] == 2022)) | (
        (frame["school"] == "S04") & (frame["cohort"] == 2021)
    )
    return frame[~gone]


@pytest.fixture(scope="module")
def records():
    return va.read_records(rows())


@pytest.fixture(scope="module")
def slopes(records):
    return va.fit_joint_slopes(records, [2021, 2022, 2023], random=["prior_score"])


def test_every_pair_is_fitted_and_shown(slopes):
    assert list(slopes.pairs) == [(2021, 2022), (2021, 2023), (2022, 2023)]
    text = str(slopes)
    assert "Pairs of cohorts: 3" in text and "2021, 2023" in text and "r of slopes" in text
    assert repr(slopes).startswith("<JointSlopes: cohorts 2021") and len(slopes.summary()["pairs"]) == 3
    covariances = slopes.covariances().set_index(["first", "second", "cohort", "term", "other", "other_term"])
    fit = slopes.pair(2021, 2023)
    key = (2021, 2023, 2021, "prior_score", 2023, "prior_score")
    assert covariances.loc[key, "covariance"] == fit.G[1, 3] and covariances.loc[key, "se"] == pytest.approx(
        fit.G_se[1, 3], nan_ok=True
    )
    with pytest.raises(va.ModelError, match=r"no pair of cohorts 2023 and 2021; there are 2021 and 2022"):
        slopes.pair(2023, 2021)


def test_a_school_keeps_the_line_of_its_own_model_where_cohorts_are_many_students(records):
    """With 400 students a school its lines hardly lean on the other cohort: value added is that of fit_relative."""
    many = rows(14, 400).query("school not in ('S03', 'S04')")  # all in both cohorts
    many = va.read_records(many)
    pair = va.fit_joint_slopes(many, [2021, 2023], random=["prior_score"])
    table = pair.changes(2021, 2023, {"prior_score": [350, 500]}, intervals="plugin")
    assert len(table) == 2 * 12
    for year, name in ((2021, "va_first"), (2023, "va_second")):
        own = va.va_at(va.fit_relative(many, year, random=["prior_score"], intervals="plugin"), prior_score=[350, 500])
        alone = own["effect"].rename_axis(["school", "at"]).reindex(table.index.droplevel("column"))
        assert np.abs(alone.to_numpy() - table[name].to_numpy()).max() < 1.5
    np.testing.assert_allclose(table["change"], table["va_second"] - table["va_first"])


def test_correlations_and_changes_have_limits_of_the_posterior(slopes):
    told = slopes.correlations()
    assert told["of"].tolist() == (["value added"] * 3 + ["slope"]) * 3 and told["schools"].tolist()[::4] == [
        28,
        29,
        29,
    ]
    assert ((told["lower"] < told["upper"]) & (told["lower"] > -1) & (told["upper"] < 1)).all()
    assert (told["lower"] < 0.7).all() and (told["upper"] > 0.7).all()  # the truth, at every value
    change = slopes.changes(2021, 2023)
    assert change.attrs["intervals"] == "integrated" and (change["se"] > 0).all()
    up = change["p_up"] > 0.975
    assert (up == (change["lower"] > 0)).all()
    plugin = slopes.changes(2021, 2023, intervals="plugin")
    assert plugin["lower"].isna().all() == slopes.pair(2021, 2023).boundary
    np.testing.assert_array_equal(plugin["change"], change["change"])


def test_the_boundary_is_said_in_words():
    with pytest.warns(va.ValibWarning, match="In the pairs of cohorts 2021 and 2022 a variance of schools' slopes"):
        flat = va.fit_joint_slopes(va.read_records(rows(15, 12, 0.0, 5)), [2021, 2022], random=["prior_score"])
    assert flat.pair(2021, 2022).boundary and "Note: In the pairs of cohorts 2021 and 2022" in str(flat)
    plugin = flat.correlations(intervals="plugin")
    assert plugin["lower"].isna().all() and flat.covariances()["se"].isna().all()


def test_the_formula_may_have_the_random_part(records, slopes):
    other = va.fit_joint_slopes(records, [2021, 2022], "score ~ prior_score + (1 + prior_score | school)")
    np.testing.assert_array_equal(other.pair(2021, 2022).G, slopes.pair(2021, 2022).G)
    assert other.formula == "score ~ prior_score"


@pytest.mark.parametrize(
    ("cohorts", "random", "said"),
    [([2021], ["prior_score"], "needs two cohorts"), ([2021, 2022], ["ses"], "'ses' has no column")],
)
def test_refusals(records, cohorts, random, said):
    with pytest.raises(va.ModelError, match=said):
        va.fit_joint_slopes(records, cohorts, random=random)
