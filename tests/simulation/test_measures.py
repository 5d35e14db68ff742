"""Performance measures and their Monte Carlo standard errors, against hand calculation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valib.simulation.measures import VALUES, measures, scalar_values, school_values, summarise

ESTIMATE = np.array([1.0, 3.0, 2.0, 6.0])  # mean 3; about the truth 2: errors -1, 1, 0, 4
EXACT = 1e-12  # arithmetic of a few terms


def by_name(values, by_school=False):
    rows = measures(dict(zip(VALUES, values.T, strict=True)), by_school)
    return {name: (value, error, n) for name, value, error, n in rows}


def test_one_estimate_a_replicate_by_hand():
    found = by_name(scalar_values(ESTIMATE, 2.0, np.array([1.5, 0.5, 1.0, 5.0])))
    assert found["mean"][0] == 3.0 and found["truth"][0] == 2.0
    # squares about the mean: 4 + 0 + 1 + 9 = 14
    assert found["bias"] == pytest.approx((1.0, np.sqrt(14 / (4 * 3)), 4), abs=EXACT)
    assert found["emp_se"] == pytest.approx((np.sqrt(14 / 3), np.sqrt(14 / 3) / np.sqrt(6), 4), abs=EXACT)
    # squared errors 1, 1, 0, 16: mean 4.5, squares about it 12.25 + 12.25 + 20.25 + 132.25 = 177
    mse_error = np.sqrt(177 / (4 * 3))
    assert found["rmse"] == pytest.approx((np.sqrt(4.5), mse_error / (2 * np.sqrt(4.5)), 4), abs=EXACT)
    # |errors| 1, 1, 0, 4 within 1.5, .5, 1, 5: three of four
    assert found["coverage"] == pytest.approx((0.75, np.sqrt(0.75 * 0.25 / 4), 4), abs=EXACT)
    assert found["width"][0] == pytest.approx(4.0, abs=EXACT)
    assert "spearman" not in found and "misclassified" not in found


def test_undefined_replicates_are_left_out_and_counted():
    found = by_name(scalar_values(np.append(ESTIMATE, np.nan), 2.0, np.array([1.5, 0.5, 1.0, 5.0, np.nan])))
    assert found["bias"][2] == found["coverage"][2] == 4 and found["coverage"][0] == 0.75


def test_no_interval_no_coverage():
    assert not {"coverage", "width"} & set(by_name(scalar_values(ESTIMATE, 2.0)))


def test_limits_of_an_interval_that_is_not_symmetric():
    found = by_name(scalar_values(ESTIMATE, 2.0, limits=(ESTIMATE - 3, ESTIMATE + 0.5)))
    assert found["coverage"][0] == 0.5  # 2 lies in (-2, 1.5)? no; (0, 3.5) yes; (-1, 2.5) yes; (3, 6.5) no


@pytest.fixture
def schools():
    """Two replicates of five schools, the fifth of the second absent."""
    truth = np.array([[1.0, 2, 3, 4, 5], [1, 2, 3, 4, 99]])
    estimate = np.array([[2.0, 1, 3, 4, 7], [1, 2, 3, 5, -50]])
    return estimate, truth, np.full((2, 5), 1.0), np.array([[True] * 5, [True] * 4 + [False]])


def test_many_schools_a_replicate_by_hand(schools):
    values = dict(zip(VALUES, school_values(*schools).T, strict=True))
    assert values["error"] == pytest.approx([2 / 5, 1 / 4], abs=EXACT)
    assert values["square"] == pytest.approx([6 / 5, 1 / 4], abs=EXACT)
    assert values["covered"] == pytest.approx([4 / 5, 1.0], abs=EXACT)
    assert values["width"] == pytest.approx([2.0, 2.0], abs=EXACT)
    assert values["spearman"] == pytest.approx([1 - 6 * 2 / (5 * 24), 1.0], abs=EXACT)
    assert values["misclassified"] == pytest.approx([2 / 5, 0.0], abs=EXACT)


def test_replicates_are_the_units_of_school_measures(schools):
    found = by_name(school_values(*schools), by_school=True)
    assert found["coverage"] == pytest.approx((0.9, 0.1, 2), abs=EXACT)  # SD of .8 and 1 over sqrt 2
    bias = (2 / 5 + 1 / 4) / 2
    parts = np.array([6 / 5 - 2 * bias * 2 / 5, 1 / 4 - 2 * bias / 4]) + bias**2
    expected = np.sqrt(parts.mean())
    assert found["emp_se"] == pytest.approx((expected, np.ptp(parts) / 2 / (2 * expected), 2), abs=EXACT)


def test_effects_without_variation_rank_nobody():
    values = school_values(np.zeros((1, 10)), np.arange(10.0)[None], np.ones((1, 10)), np.ones((1, 10), dtype=bool))
    assert values[0, VALUES.index("spearman")] == 0.0


def test_monte_carlo_errors_are_those_of_repeated_simulations():
    """The stated errors of a run of 50 against the spread of the measures over 4,000 such runs."""
    rng = np.random.default_rng(5)
    runs = [by_name(scalar_values(e, 0.0, np.full(50, 1.5))) for e in 0.3 + rng.standard_normal((4000, 50))]
    for name in ("bias", "emp_se", "rmse", "coverage"):
        value, error = np.array([r[name][:2] for r in runs]).T
        assert error.mean() == pytest.approx(value.std(), rel=0.06), name


def test_the_tidy_table():
    part = pd.DataFrame(scalar_values(ESTIMATE, 2.0), columns=list(VALUES))
    draws = pd.concat([part.assign(scenario="a", method="m", estimand=e, replicate=range(4)) for e in ("shift", "tau")])
    table = summarise(draws)
    assert list(table.columns) == ["scenario", "method", "estimand", "measure", "value", "mcse", "replicates"]
    assert table.groupby("estimand")["measure"].apply(list).to_dict() == dict.fromkeys(
        ("shift", "tau"), ["mean", "truth", "bias", "emp_se", "rmse"]
    )
