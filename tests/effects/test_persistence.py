"""Persistence, adjusted associations and forecasts: hand values, dense algebra, modernVA's interval, simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ROOT, simulate

import valib as va
from valib.errors import ModelError


@pytest.fixture(scope="module")
def panel():
    """The reference panel of the project."""
    columns = {"school": "school_id", "cohort": "year", "student": "student_id"}
    return va.read_records(ROOT / "tests" / "reference" / "data" / "panel_sim.csv", columns=columns)


@pytest.fixture(scope="module")
def three():
    data = simulate(np.random.default_rng(3), schools=150, size=(15, 40), cohorts=(2017, 2019, 2020), rho=0.8, tau=15.0)
    return va.fit_joint(data, [2017, 2019, 2020])


def test_persistence_is_covariance_over_variance(three):
    table = va.persistence(three)
    omega = three.omega
    assert table["before"].tolist() == [2017, 2019] and table["years"].tolist() == [2, 1]
    for row in table.itertuples():
        phi = omega.loc[row.before, row.cohort] / omega.loc[row.before, row.before]
        new = omega.loc[row.cohort, row.cohort] - phi**2 * omega.loc[row.before, row.before]
        assert row.persistence == pytest.approx(phi, rel=1e-12)
        assert row.new_sd == pytest.approx(np.sqrt(new), rel=1e-10)
        assert row.correlation == pytest.approx(three.correlation.loc[row.before, row.cohort])


def test_on_the_reference_panel_it_lies_in_the_interval_of_modernva(panel):
    """modernVA 0.1.3, tdVA(model = 1), 20,000 draws, cohorts 2016 and 2017: phi .803 [.666, .895], slopes .793 and .827,
    sigma2 1,924 and 2,036. Its own Monte Carlo error is below a hundredth of the interval."""
    joint = va.fit_joint(panel, [2016, 2017])
    table = va.persistence(joint)
    assert 0.666 < table.loc[0, "persistence"] < 0.895
    slopes = joint.fixed_effects.xs("prior_score", level="term")
    assert slopes.to_numpy() == pytest.approx([0.793, 0.827], abs=0.01)
    assert joint.sigma2.to_numpy() == pytest.approx([1924, 2036], rel=0.03)


def test_two_cohorts_of_antedependence_are_the_unrestricted_model(panel):
    free, ante = (va.fit_joint(panel, [2016, 2017], covariance=c) for c in ("unstructured", "antedependence"))
    assert ante.loglik == pytest.approx(free.loglik, abs=1e-6)
    assert va.persistence(ante).loc[0, "persistence"] == pytest.approx(
        va.persistence(free).loc[0, "persistence"], rel=1e-4
    )


def test_associations_are_the_regression_of_the_effects(three):
    table = va.adjusted_associations(three, 2020)
    omega = three.omega.to_numpy()
    beta = np.linalg.inv(omega[:2, :2]) @ omega[:2, 2]
    np.testing.assert_allclose(table["coefficient"], beta, rtol=1e-10)
    assert table.attrs["r_squared"] == pytest.approx(omega[2, :2] @ beta / omega[2, 2])
    assert table.attrs["residual_sd"] ** 2 == pytest.approx(omega[2, 2] - omega[2, :2] @ beta)


def test_the_delta_method_is_that_of_the_correlation_where_variances_are_one(three):
    """d log phi = d log cov - d log var: the error by the stored covariance of Omega, written out for one pair."""
    table = va.adjusted_associations(three, 2020, [2019], intervals="plugin")
    V, T = three.arrays.variance_vcov, 3
    w_ts, w_ss = three.omega.iloc[2, 1], three.omega.iloc[1, 1]
    at = [2 * T + 1, 1 * T + 1]  # of omega_ts and omega_ss in vec Omega
    gradient = np.array([1 / w_ss, -w_ts / w_ss**2])
    assert table.loc[2019, "se"] == pytest.approx(np.sqrt(gradient @ V[np.ix_(at, at)] @ gradient), rel=1e-5)


def test_intervals_of_persistence_cover_what_was_simulated():
    """24 panels of 40 schools, rho = phi = .7: at 95% the number covered is at least 19 in 998 of 1,000 runs."""
    rng, covered, centre = np.random.default_rng(11), 0, []
    for _ in range(24):
        data = simulate(rng, schools=40, size=(15, 40), cohorts=(2019, 2020), rho=0.7, tau=15.0)
        row = va.persistence(va.fit_joint(data, [2019, 2020])).iloc[0]
        covered += row["lower"] <= 0.7 <= row["upper"]
        centre.append(row["persistence"])
    assert covered >= 19
    assert np.mean(centre) == pytest.approx(0.7, abs=4 * np.std(centre) / np.sqrt(24) + 0.03)


def dense_forecast(data, joint, school, cohort):
    """E(u_t | y) of one school by the whole covariance matrix of its scores, and the variance of its error."""
    rows = data[(data["school"] == school) & data["cohort"].isin(joint.cohorts)]
    at = rows["cohort"].map(joint.cohorts.index).to_numpy()
    X = np.zeros((len(rows), len(joint.fixed_effects)))
    X[np.arange(len(rows)), 2 * at], X[np.arange(len(rows)), 2 * at + 1] = 1.0, rows["prior_score"]
    omega, years = joint.omega.to_numpy(), np.array(joint.cohorts)
    V = omega[np.ix_(at, at)] + np.diag(joint.sigma2.to_numpy()[at])
    rho = (omega[0, 1] / omega[0, 0]) ** (1 / (years[1] - years[0]))
    k = omega[0, 0] * rho ** np.abs(years - cohort)[at]
    weight = np.linalg.solve(V, k)
    reach = weight @ X
    variance = omega[0, 0] - weight @ k + reach @ joint.vcov.to_numpy() @ reach
    return float(weight @ (rows["score"] - X @ joint.fixed_effects.to_numpy())), float(variance)


def test_a_forecast_is_that_of_dense_algebra():
    data = simulate(np.random.default_rng(5), schools=30, size=(4, 12), cohorts=(2015, 2017, 2018), rho=0.8, tau=15.0)
    joint = va.fit_joint(data, [2015, 2017, 2018], covariance="ar1")
    assert [term for _, term in joint.fixed_effects.index[:2]] == ["Intercept", "prior_score"]
    table = va.forecast_va(joint, 2020)
    for school in table.index[:4]:
        effect, variance = dense_forecast(data, joint, school, 2020)
        assert table.loc[school, "forecast"] == pytest.approx(effect, rel=1e-6, abs=1e-6)
        assert table.loc[school, "se"] ** 2 == pytest.approx(variance, rel=1e-8)
    exchangeable = va.forecast_va(va.fit_joint(data, [2015, 2017, 2018], covariance="compound_symmetry"), 2020)
    assert exchangeable.index.equals(table.index)


def test_forecasts_of_effects_that_last_are_calibrated():
    """200 schools, correlation .8 of any two cohorts: every slope within 3.5 errors of 1; the pooled one within 2.5."""
    data = simulate(
        np.random.default_rng(8), schools=200, size=(15, 40), cohorts=(2015, 2016, 2017, 2018), rho=0.8, tau=15.0
    )
    table = va.forecast_calibration(data, [2015, 2016, 2017, 2018], covariance="compound_symmetry")
    assert (abs(table["slope"] - 1) < 3.5 * table["se"]).all() and len(table) == 4
    w = 1 / table["se"] ** 2
    assert abs((w @ table["slope"]) / w.sum() - 1) < 2.5 / np.sqrt(w.sum())


def test_the_four_models_are_those_that_their_names_say(panel):
    table, fits = va.temporal_models(panel, 2016, 2017)
    assert table.loc["persistent", "loglik"] >= table.loc["independent", "loglik"]
    assert table.loc["both", "loglik"] >= max(table.loc[["persistent", "previous mean"], "loglik"]) - 1e-6
    both = set(panel.loc[panel["cohort"] == 2016, "school"]) & set(panel.loc[panel["cohort"] == 2017, "school"])
    kept = panel[panel["school"].isin(both)]
    alone = [va.fit_relative(kept, t).loglik for t in (2016, 2017)]
    assert table.loc["independent", "loglik"] == pytest.approx(sum(alone), abs=1e-6)
    rows = va.with_previous_mean(kept, 2017, 2016)
    own = va.fit_relative(rows, 2017, "score ~ prior_score + previous_mean")
    assert table.loc["previous mean", "previous"] == pytest.approx(own.fixed_effects["previous_mean"], rel=1e-6)
    assert table.loc["previous mean", "loglik"] == pytest.approx(alone[0] + own.loglik, abs=1e-6)
    assert fits["both"].n_schools == len(both)


def test_conditioning_on_the_previous_mean_takes_the_lasting_part_away():
    """Effects that last almost whole: what the model with the previous mean calls an effect is much less than the effect."""
    data = simulate(np.random.default_rng(6), schools=150, size=(30, 60), cohorts=(2019, 2020), rho=0.95, tau=30.0)
    table, _ = va.temporal_models(data, 2019, 2020)
    assert table.loc["previous mean", "sd"] < 0.75 * table.loc["independent", "sd"]
    assert table.loc["persistent", "sd"] == pytest.approx(table.loc["independent", "sd"], rel=0.1)


def test_the_previous_mean_is_of_the_school_and_missing_for_new_ones():
    data = simulate(np.random.default_rng(6), schools=5, size=(3, 6), cohorts=(2019, 2020))
    data = data[~((data["school"] == data["school"].iloc[0]) & (data["cohort"] == 2019))]
    rows = va.with_previous_mean(data, 2020, 2019)
    first = rows.iloc[0]["school"]
    assert rows.loc[rows["school"] == first, "previous_mean"].isna().all()
    for school, one in rows[rows["school"] != first].groupby("school"):
        mean = data.loc[(data["school"] == school) & (data["cohort"] == 2019), "score"].mean()
        assert one["previous_mean"].tolist() == pytest.approx([mean] * len(one))


def test_what_cannot_be_asked_is_refused(three):
    for cohort, given, words in (
        (2021, None, "not \\[2021\\]"),
        (2020, [2020], "given itself"),
        (2020, [1999], "1999"),
    ):
        with pytest.raises(ModelError, match=words):
            va.adjusted_associations(three, cohort, given)
    with pytest.raises(ModelError, match="does not say"):
        va.forecast_va(three, 2021)
    data = simulate(np.random.default_rng(6), schools=12, size=(5, 9), cohorts=(2019, 2020))
    with pytest.raises(ModelError, match="is in the fit"):
        va.forecast_va(va.fit_joint(data, [2019, 2020], covariance="ar1"), 2020)
    with pytest.raises(ModelError, match="three cohorts or more"):
        va.forecast_calibration(data, [2019, 2020])


def test_schools_that_do_not_vary_can_neither_explain_nor_be_explained():
    data = simulate(np.random.default_rng(2), schools=20, size=(10, 20), cohorts=(2019, 2020), tau=15.0)
    flat = data["cohort"] == 2020
    data.loc[flat, "score"] -= data[flat].groupby("school")["score"].transform("mean")
    joint = va.fit_joint(data, [2019, 2020], "score ~ 1")
    assert joint.tau2[2020] == 0
    with pytest.raises(ModelError, match="do not vary"):
        va.persistence(joint)
    table, _ = va.temporal_models(data, 2019, 2020, "score ~ 1")
    assert np.isfinite(table["loglik"]).all() and np.isnan(table.loc["persistent", "persistence"])
