"""The numbers of the chapter on persistence, on records of other years."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import simulate

import valib as va
from valib.pages.chapters import persistence as numbers


@pytest.fixture(scope="module")
def rows():
    cohorts = (2031, 2032, 2034)
    return va.read_records(
        simulate(np.random.default_rng(5), schools=60, size=(10, 40), cohorts=cohorts, rho=0.9, tau=15.0)
    )


def test_the_four_models_in_words(rows):
    table, fits = va.temporal_models(rows, 2032, 2034)
    found = numbers.models(table, fits, 0.95)
    (shown,) = found.tables.values()
    assert shown["Model"].tolist() == ["Independent", "Persistent", "Previous mean", "Both"]
    np.testing.assert_allclose(shown["AIC"], table["aic"])
    told = found.sentences[0]
    assert abs(table.loc["persistent", "aic"] - table.loc["both", "aic"]) < 2  # these two were ranked on noise before
    assert "AIC does not tell the models *persistent* and *both* apart" in told
    assert "schools keep some of their effect" in told
    ratio = table.loc["previous mean", "sd"] / table.loc["independent", "sd"]
    assert f"varies {ratio:.2f} times" in told


def test_no_persistence_is_told_as_such(rows):
    fresh = simulate(np.random.default_rng(6), schools=40, size=(5, 12), cohorts=(2031, 2032), tau=8.0)
    table, fits = va.temporal_models(va.read_records(fresh), 2031, 2032)
    told = numbers.models(table, fits, 0.95).sentences[0]
    assert table.loc["persistent", "lower"] < 0 and "do not show that schools keep any" in told


def test_associations_and_calibration(rows):
    joint = va.fit_joint(rows, [2031, 2032, 2034])
    table = va.adjusted_associations(joint, 2034)
    told = numbers.associations(table, 2034, 0.95).sentences[0]
    assert f"explain {table.attrs['r_squared']:.0%} of the variance" in told
    checked = va.forecast_calibration(rows, [2031, 2032, 2034], covariance="compound_symmetry")
    found = numbers.calibration(checked, 0.95)
    assert list(found.tables["tab-persistence-calibration"]["Cohort"]) == [2031, 2032, 2034]
    assert "cannot be checked" in numbers.calibration(numbers.no_calibration(), 0.95).sentences[0]


def test_the_figure_sets_results_against_forecasts(rows):
    fits = [va.fit_relative(rows, t) for t in (2031, 2032, 2034)]
    past = va.fit_joint(rows, [2031, 2032], covariance="ar1")
    for forecast in (va.forecast_va(past, 2034), None):
        found = numbers.forecast_figure(forecast, fits, 2034, 5)
        (axes,) = found.figures["fig_forecast"].axes
        assert ("Forecast" if forecast is not None else "Prediction") in axes.get_xlabel()


def test_models_that_aic_hardly_tells_apart_are_not_ranked(rows):
    table, fits = va.temporal_models(rows, 2032, 2034)
    table["aic"] = [100.0, 90.0, 95.0, 91.5]
    assert (
        "AIC does not tell the models *persistent* and *both* apart" in numbers.models(table, fits, 0.95).sentences[0]
    )
    table["aic"] = [100.0, 90.0, 95.0, 93.0]
    assert "By AIC the model *persistent* describes these two" in numbers.models(table, fits, 0.95).sentences[0]
