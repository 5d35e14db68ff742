"""Several years of a school in the chapter on stability: counted by hand, of schools that may be shown, each in its words."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import simulate

import valib as va
from valib.pages.chapters import over_years
from valib.pages.prose import as_text

YEARS = [2030, 2031, 2033]
STRUCTURES = ["unstructured", "compound_symmetry"]


def records(turned: int | None = None):
    """Forty schools, one with three students in a cohort; turned: the cohort whose effects are upside down."""
    rows = simulate(np.random.default_rng(4), schools=40, size=(12, 30), cohorts=YEARS, rho=0.6, tau=15.0)
    rows.loc[rows["cohort"] == turned, "score"] -= 2 * rows["u"]
    small = rows.index[(rows["school"] == "S0002") & (rows["cohort"] == 2031)]
    return rows.drop(columns="u").drop(small[3:])


@pytest.fixture(scope="module")
def fitted():
    rows = records()
    models = va.fit_structures(rows, YEARS, covariances=STRUCTURES)
    fits = [va.fit_relative(rows, t, intervals="plugin") for t in YEARS]
    return fits, models


def test_the_mean_stands_beside_its_years_and_counts_whom_it_shows(fitted):
    fits, models = fitted
    averages = va.average_va(models["unstructured"], intervals="plugin")
    found = over_years.mean_of_years(fits, averages, models["unstructured"], 5, False)
    table, saved = found.tables["tab-05-years"].set_index("Effect"), found.files["averages.csv"]
    assert "S0002" not in set(saved["school"]) and len(saved) == 37, "two more are held back with it"
    assert (saved["averaged"] == "2030, 2031, 2033").all() and "lasting" not in saved
    mean = table.loc["Mean of 2030, 2031 and 2033"]
    shown = averages.loc[saved["school"]]
    assert mean[["Schools", "Above", "Below"]].tolist() == [37, (shown["lower"] > 0).sum(), (shown["upper"] < 0).sum()]
    assert mean["SE (median)"] == shown["se"].median() < table["SE (median)"].iloc[:3].min()
    own = va.only_shown(fits[1].school_effects, 5)
    assert table.loc["2031", ["Schools", "Above"]].tolist() == [37, (own["lower"] > 0).sum()]
    (said,) = over_years.errors_added(models["unstructured"]).sentences
    assert (
        f"{as_text(float((averages['se_independent'] / averages['se']).median()), '.2f')} times the right one" in said
    )
    assert not over_years.mean_of_years(fits, averages, models["unstructured"], 5, True).files


def test_the_lasting_part_has_its_own_variance_sides_and_test(fitted):
    fits, models = fitted
    nested = models["compound_symmetry"]
    lasting = va.lasting_va(nested)
    found = over_years.lasting_part(lasting, models, 5, False)
    omega = nested.omega.to_numpy()
    saved = found.files["lasting.csv"]
    shown = lasting.loc[saved["school"]]
    assert "S0002" not in set(saved["school"]) and len(saved) == 37 and "average" not in saved
    said = found.sentences[0]
    assert f"{as_text(omega[0, 1] / omega[0, 0], '.0%')} of the variance lasts. Of 37 schools" in said
    assert f"above zero for {(shown['lower'] > 0).sum()} and below zero for {(shown['upper'] < 0).sum()}." in said
    p = va.compare_joint(models.values())["p_value"].iloc[1]
    assert len(found.sentences) == 2 and p > 0.05 and f"(p = {p:.3f})" in found.sentences[1]
    assert "does not reject" in found.sentences[1] and "mean of" not in " ".join(found.sentences)


def test_where_nothing_lasts_it_is_said_and_no_table_is_written():
    models = va.fit_structures(records(turned=2033), [2030, 2033], covariances=STRUCTURES)
    found = over_years.lasting_part(va.lasting_va(models["compound_symmetry"]), models, 5, False)
    assert not found.files and len(found.sentences) == 1 and "cannot be told apart" in found.sentences[0]


def test_the_focal_years_are_averaged_or_else_the_last_two():
    assert over_years.years_of([2030, 2031, 2033], [2031, 2033]) == [2031, 2033]
    assert (
        over_years.years_of([2030, 2031, 2033], [2033]) == over_years.years_of([2030, 2031, 2033], []) == [2031, 2033]
    )
