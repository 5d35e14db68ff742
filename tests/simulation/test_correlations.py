"""Which cohorts can be correlated; and the six ways by simulation, against what the formulas lead to expect."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import valib as va
from valib.effects import stability
from valib.effects.stability import correlate_all
from valib.errors import ModelError
from valib.simulation.correlations import _draw, simulate_ways, usable_cohorts

OMEGA = np.array([[200.0, 130.0, 60.0], [130.0, 260.0, 150.0], [60.0, 150.0, 230.0]])
SIGMA2 = np.array([2000.0, 1500.0, 2500.0])


def sizes(schools: int, seed: int) -> np.ndarray:
    """Unbalanced cells of three cohorts, some empty."""
    rng = np.random.default_rng(seed)
    return rng.integers(5, 60, (schools, 3)) * (rng.random((schools, 3)) > 0.15)


def records(seed: int) -> tuple[tuple, pd.DataFrame]:
    """Sums of one draw, and student records that have exactly these sums (even cells, students at +-a)."""
    n = 2.0 * (sizes(60, seed) // 2)
    n[:3, 0] = 0
    sums, cross = _draw(np.linalg.cholesky(OMEGA), SIGMA2, n, np.random.default_rng(seed))
    rows = []
    for t in range(3):
        mean = sums[t, :, 1] / np.maximum(n[:, t], 1)
        a = np.sqrt((cross[t, 1, 1] - n[:, t] @ mean**2) / n[:, t].sum())
        cell = np.repeat(np.arange(len(n)), n[:, t].astype(int))
        sign = np.where(np.arange(len(cell)) % 2, 1.0, -1.0)
        rows.append(
            pd.DataFrame(
                {
                    "school": [f"{s:03d}" for s in cell],
                    "cohort": 2001 + t,
                    "score": mean[cell] + a * sign,
                    "prior_score": 0.0,
                }
            )
        )
    frame = pd.concat(rows, ignore_index=True)
    return (n.T, sums, cross), va.read_records(frame.assign(student=frame.index.astype(str)))


def test_a_draw_goes_through_the_same_models_as_records():
    """Fits, correlations and intervals of a replicate are those of valib's own functions on students."""
    sums, students = records(3)
    fits = [va.fit_relative(students, t, "score ~ 1") for t in (2001, 2002, 2003)]
    joint = va.fit_joint(students, (2001, 2002, 2003), "score ~ 1")
    wanted = stability.correlations(fits, joint, intervals="plugin")[["correlation", "lower", "upper"]].to_numpy()
    found = correlate_all(np.arange(3), *(values[None] for values in sums), 0.95)[0]
    assert np.allclose(found.reshape(wanted.shape), wanted, atol=1e-7)


def test_every_way_gives_what_is_expected_and_only_the_model_covers():
    """Unbalanced schools, unequal variances, missing cells: means within four Monte Carlo errors of the formulas."""
    table = simulate_ways(OMEGA, SIGMA2, sizes(500, 1), 60, seed=2)
    assert len(table) == 3 * 6
    assert (abs(table["mean"] - table["expected"]) < 4 * table["mc_se"]).all()
    by_way = table.set_index("way")
    assert (by_way.loc[["eb", "unshrunken", "joint_eb"], "coverage"] < 0.75).all()
    assert (abs(by_way.loc["joint_model", "coverage"] - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 60)).all()
    rho = OMEGA / np.sqrt(np.outer(np.diag(OMEGA), np.diag(OMEGA)))
    assert np.allclose(by_way.loc["eb", "rho"], [rho[0, 1], rho[0, 2], rho[1, 2]])


def test_wrong_expectations_would_be_seen():
    """The check has power: the simulated means are not within four errors of the expectations at another rho."""
    n = np.full((500, 2), 30)
    table = simulate_ways(OMEGA[:2, :2], SIGMA2[:2], n, 60, seed=5).set_index("way")
    other = OMEGA[:2, :2] * [[1, 0.93], [0.93, 1]]
    expected = stability.expected_correlations(n, other, SIGMA2[:2])
    for way in stability.WAYS:
        assert abs(table.loc[way, "mean"] - expected[way][0, 1]) > 4 * table.loc[way, "mc_se"], way


def test_the_seed_fixes_the_draws():
    n = np.full((40, 2), 25)
    a, b, c = (simulate_ways(OMEGA[:2, :2], SIGMA2[:2], n, 3, seed) for seed in (1, 1, 2))
    assert a.equals(b) and not a["mean"].equals(c["mean"])


def test_draws_are_fitted_in_blocks_of_any_size_and_undefined_ones_drawn_again(monkeypatch):
    """Six schools, where a variance is often estimated as 0: the same draws count, however many are fitted at once."""
    n = np.full((6, 2), 6)
    arguments = (np.diag([20.0, 20.0]), np.full(2, 400.0), n, 12, 3)
    whole = simulate_ways(*arguments)
    monkeypatch.setattr("valib.simulation.correlations.BLOCK", 1)
    drawn = []
    monkeypatch.setattr("valib.simulation.correlations._draw", lambda *a: drawn.append(_draw(*a)) or drawn[-1])
    pd.testing.assert_frame_equal(simulate_ways(*arguments), whole, rtol=1e-9)
    assert len(drawn) > 12


def test_no_variance_between_schools_is_refused():
    with pytest.raises(ModelError, match="variance between schools was estimated as 0"):
        simulate_ways(np.zeros((5, 5)), np.ones(5), np.full((12, 5), 4), 30, seed=1)


def test_cohorts_that_cannot_be_correlated_are_named():
    _, students = records(4)
    fits = [va.fit_relative(students, t, "score ~ 1") for t in (2001, 2002, 2003)]
    assert usable_cohorts(fits) == ([2001, 2002, 2003], {})

    level = students["score"] - students.groupby(["school", "cohort"])["score"].transform("mean")
    flat = students.assign(score=students["score"].where(students["cohort"] != 2002, level))
    fits[1] = va.fit_relative(flat, 2002, "score ~ 1")
    assert fits[1].singular
    kept, reasons = usable_cohorts(fits)
    assert kept == [2001, 2003] and list(reasons) == [2002] and "variance" in reasons[2002]

    elsewhere = students[students["cohort"] == 2003].assign(school=lambda d: "x" + d["school"])
    fits[2] = va.fit_relative(elsewhere, 2003, "score ~ 1")
    with pytest.raises(ModelError, match="shares fewer than 4 schools.* cohort 2002: the estimated variance"):
        usable_cohorts(fits)


def test_the_cohort_that_shares_no_school_is_the_one_left_out():
    _, students = records(6)
    fits = [va.fit_relative(students, t, "score ~ 1") for t in (2001, 2002)]
    elsewhere = students[students["cohort"] == 2003].assign(school=lambda d: "x" + d["school"])
    fits.append(va.fit_relative(elsewhere, 2003, "score ~ 1"))
    kept, reasons = usable_cohorts(fits)
    assert kept == [2001, 2002] and list(reasons) == [2003]


def test_cohorts_that_share_three_schools_have_no_fisher_interval():
    """As in the table of the records: an interval from fewer than four schools is not given, and covers nothing."""
    n = np.zeros((14, 2))
    n[:9, 0], n[6:, 1] = 40, 40
    found = simulate_ways(np.array([[400.0, 200.0], [200.0, 400.0]]), np.array([900.0, 900.0]), n, 5, 3)
    found = found.set_index("way")["coverage"]
    assert (found.drop("joint_model") == 0).all() and found["joint_model"] > 0
