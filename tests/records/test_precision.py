"""To how many digits a figure is published: by name, beside its error, in tables, summaries and kept benchmarks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valib.records.precision import ERROR_DIGITS, kept, last_place, published, round_to

TABLE = pd.DataFrame(
    {
        "school": ["a", "b", "c"],
        "n": [12, 40, 9],
        "effect": [-9.27002486, 0.04499, 104.951],
        "effect_size": [-0.12111, 0.00059, 1.37118],
        "shrinkage": [0.799549, 0.9, 0.1],
        "se_comparative": [7.709481, 9.96, 10.04],
        "lower": [-24.38033, -19.4763, 85.2726],
        "level": [0.951234, 0.951234, 0.951234],
    }
)


def test_a_table_of_schools_has_errors_of_two_digits_and_estimates_to_the_place_of_the_smallest():
    told = published(TABLE)
    assert told["effect"].tolist() == [-9.3, 0.0, 105.0] and told["lower"].tolist() == [-24.4, -19.5, 85.3]
    assert told["se_comparative"].tolist() == [7.7, 10.0, 10.0]
    assert told["effect_size"].tolist() == [-0.12, 0.0, 1.37] and told["shrinkage"].tolist() == [0.8, 0.9, 0.1]
    assert told["n"].tolist() == [12, 40, 9] and told["level"].tolist() == TABLE["level"].tolist()
    assert TABLE["effect"][0] == -9.27002486, "the table given is not changed"


def test_a_table_of_coefficients_is_rounded_row_by_row():
    told = published(
        pd.DataFrame({"term": ["Intercept", "x"], "estimate": [173.94026, 0.7789382], "se": [3.6054, 0.00771732]})
    )
    assert told["estimate"].tolist() == [173.9, 0.7789] and told["se"].tolist() == [3.6, 0.0077]


def test_estimates_without_an_error_have_three_digits():
    told = published(
        pd.DataFrame({"estimate": [173.94026, 12.3456], "se": [np.nan, 0.0], "other": [1234.5, 0.00123456]})
    )
    assert told["estimate"].tolist() == [174.0, 12.3] and told["other"].tolist() == [1230.0, 0.00123]
    assert np.isnan(told["se"][0]) and told["se"][1] == 0


def test_means_go_by_their_standard_deviation():
    told = published(pd.DataFrame({"prior_mean": [430.532, -0.00123, 12.3456], "prior_sd": [76.556, 1.0004, np.nan]}))
    assert told["prior_mean"].tolist() == [430.5, -0.001, 12.3]
    assert told["prior_sd"].tolist()[:2] == [76.6, 1.0]


def test_columns_may_have_any_name_even_twice():
    table = pd.DataFrame([[1.23456, 2.34567, 3]], columns=["x", "x", 2019])
    assert published(table).to_numpy().tolist() == [[1.23, 2.35, 3.0]]
    assert published(pd.DataFrame({2019: [0.123456]}))[2019].tolist() == [0.123]
    assert published(pd.DataFrame({"x": pd.array([1.23456, None], "Float64")}))["x"].tolist()[0] == 1.23
    assert published(TABLE.iloc[:0]).equals(TABLE.iloc[:0])


def test_a_summary_is_rounded_by_the_errors_that_stand_beside_its_figures():
    summary = {
        "cohort": 2019, "loglik": -32081.992, "tau2": 289.3249, "tau2_se": 37.725, "vpc": 0.1375967, "singular": False,
        "level": 0.95, "shift": None, "omega": [[288.8697, 218.18]], "omega_se": [[36.946, 29.12]],
        "fixed_effects": {"Intercept": 173.94026, "mean": 0.7789}, "fixed_effects_se": {"Intercept": 3.605, "mean": 0.00772},
        "sigma2": {"2019": 1813.376}, "sigma2_se": {"2019": 33.152},
    }  # fmt: skip
    assert published([summary]) == [
        {
            "cohort": 2019, "loglik": -32082.0, "tau2": 289.0, "tau2_se": 38.0, "vpc": 0.138, "singular": False,
            "level": 0.95, "shift": None, "omega": [[289.0, 218.0]], "omega_se": [[37.0, 29.0]],
            "fixed_effects": {"Intercept": 173.9, "mean": 0.7789}, "fixed_effects_se": {"Intercept": 3.6, "mean": 0.0077},
            "sigma2": {"2019": 1813.0}, "sigma2_se": {"2019": 33.0},
        }
    ]  # fmt: skip


def test_a_kept_benchmark_has_coefficients_to_four_digits_of_their_errors_and_its_covariance_exactly():
    vcov = [[4.862583685415559, -0.0082], [-0.0082, 2.0289150475917888e-05]]
    content = {
        "format": "x", "design": {"knots": [1.23456789]}, "coefficients": [171.50742477907073, 0.7762927284984069],
        "vcov": vcov, "vcov_model": vcov, "tau2": 284.71146, "column_means": [1.0, 430.5323],
        "summaries": {"columns": {"prior_mean": {"n": 3, "mean": 430.53233, "sd": 76.55634}}}, "n_students": 19121,
    }  # fmt: skip
    told = kept(content)
    assert told["coefficients"] == [171.507, 0.776293] and told["vcov"] == vcov and told["vcov_model"][0][0] == 4.86
    assert told["tau2"] == 285.0 and told["column_means"] == [1.0, 431.0] and told["design"] == content["design"]
    assert told["summaries"] == {"columns": {"prior_mean": {"n": 3, "mean": 430.5, "sd": 76.6}}}


@given(st.floats(1e-12, 1e12), st.integers(1, 9))
def test_a_figure_of_so_many_digits_has_so_many(value, digits):
    place = last_place(np.array(value), digits)
    rounded = float(round_to(np.array(value), place))
    assert abs(rounded - value) <= 0.5000001 * 10.0 ** -float(place)
    assert rounded == pytest.approx(float(f"{value:.{digits - 1}e}"), rel=10.0 ** (1 - digits) * 1.01)
    written = np.format_float_scientific(rounded, trim="-")  # the shortest text that is this number, as files have it
    assert len(written.split("e")[0].replace(".", "")) <= digits


def test_the_last_place_of_a_figure_that_gains_a_digit_is_that_of_the_rounded_one():
    assert last_place(np.array([9.94, 9.96, 0.0, np.nan]), ERROR_DIGITS).tolist() == [1, 0, 0, 0]
