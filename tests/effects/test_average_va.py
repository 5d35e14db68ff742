"""Tables of several years: against lme4's nested model, the posterior's grid, simulated truth; what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import reference, simulate

from valib import load_records
from valib.effects.average import average_va, lasting_va
from valib.effects.joint import fit_joint, posterior_of
from valib.errors import ModelError
from valib.models import joint_posterior
from valib.models.average import predict_lasting

LME4 = reference("case10_lasting")
NESTED = {"covariance": "compound_symmetry", "residual": "common"}


@pytest.fixture(scope="module")
def demo():
    return load_records("demo")


@pytest.fixture(scope="module")
def few():
    """Two cohorts of 25 small schools, one of which misses a cohort: the posterior is a grid."""
    data = simulate(np.random.default_rng(3), schools=25, size=(4, 12), cohorts=(2019, 2021), rho=0.7, tau=15.0)
    return fit_joint(data[~((data.school == "S0003") & (data.cohort == 2019))], [2019, 2021])


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_the_lasting_part_is_that_of_lme4(demo, method):
    """lme4's search ends within 1e-5 of a standard deviation; its errors are those with known coefficients."""
    told = LME4[method]
    fit = fit_joint(demo, [2021, 2023, 2024], method=method, **NESTED)
    assert fit.loglik == pytest.approx(told["logLik"], abs=1e-6) and fit.n_students == told["rows"]
    a, tau2 = fit.omega.iloc[0, 1], fit.omega.iloc[0, 0]
    found = np.sqrt([a, tau2 - a, fit.sigma2.iloc[0]])
    assert found == pytest.approx([told["sd_school"], told["sd_school_year"], told["sd_student"]], rel=1e-5)
    table = lasting_va(fit).loc[told["school"]]
    np.testing.assert_allclose(table["lasting"], told["lasting"], atol=2e-5)
    known = predict_lasting(fit.arrays).conditional
    at = np.searchsorted(fit.arrays.data.schools, told["school"])
    np.testing.assert_allclose(np.sqrt(known[at]), told["condsd"], rtol=1e-5)


def test_an_average_is_the_mean_of_the_effects_with_its_own_error(demo):
    fit = fit_joint(demo, [2019, 2021, 2023])
    table = average_va(fit, [2019, 2023], {2019: 3, 2023: 1}, intervals="plugin")
    effect, n = (fit.school_effects[name].unstack() for name in ("effect", "n"))
    np.testing.assert_allclose(table["average"], (0.75 * effect[2019] + 0.25 * effect[2023]).loc[table.index])
    assert (table["n"] == (n[2019] + n[2023]).loc[table.index]).all() and table["n"].min() > 0
    for school in table.index[:5]:
        V = fit.error_covariance(school).loc[[2019, 2023], [2019, 2023]].to_numpy()
        w = np.array([0.75, 0.25])
        assert table.loc[school, "se"] ** 2 == pytest.approx(w @ V @ w)
        assert table.loc[school, "se_independent"] ** 2 == pytest.approx(w**2 @ np.diag(V))
    sd = np.sqrt(0.75 * fit.student_sd[2019] ** 2 + 0.25 * fit.student_sd[2023] ** 2)
    np.testing.assert_allclose(table["effect_size"], table["average"] / sd)


def test_integrated_limits_are_those_of_the_posterior_and_wider_than_plugin(few):
    table, plugin = average_va(few), average_va(few, intervals="plugin")
    mixture = posterior_of(few).contrast(np.array([0.5, 0.5]))
    lower, upper = mixture.interval(few.level)
    np.testing.assert_allclose(table["lower"], lower[0])
    np.testing.assert_allclose(table["upper"], upper[0])
    np.testing.assert_allclose(table["average"], plugin["average"])
    assert (table.attrs["intervals"], plugin.attrs["intervals"]) == ("integrated", "plugin")
    assert (table["se"] > plugin["se"]).mean() > 0.9
    assert table.loc["S0003", "cohorts"] == 1 and table.loc["S0003", "se"] > table["se"].median()


def test_intervals_hold_the_truth_and_the_two_estimands_are_different():
    """u_jt = l_j + d_jt drawn; 16 systems of 150 schools, where variances are nearly known: coverage within 4 Monte Carlo
    errors (schools of a system share little), and each prediction is nearer to its own estimand than the other is."""
    rng, a, c, sigma, T = np.random.default_rng(8), 150.0, 100.0, 40.0, 3
    hits, miss = np.zeros(2), np.zeros((2, 2))
    for _ in range(16):
        last = rng.normal(0, np.sqrt(a), 150)
        u = last[:, None] + rng.normal(0, np.sqrt(c), (150, T))
        n = rng.integers(10, 40, (150, T))
        school, cohort = (np.repeat(at.ravel(), n.ravel()) for at in np.indices((150, T)))
        prior = rng.normal(400, 60, len(school))
        score = 100 + 0.8 * prior + u[school, cohort] + rng.normal(0, sigma, len(school))
        data = pd.DataFrame(
            {"school": [f"S{s:03d}" for s in school], "cohort": 2021 + cohort, "score": score, "prior_score": prior}
        )
        fit = fit_joint(data, [2021, 2022, 2023], **NESTED)
        truths = u.mean(axis=1), last
        tables = average_va(fit), lasting_va(fit)
        for k, (table, truth) in enumerate(zip(tables, truths, strict=True)):
            hits[k] += ((table["lower"] <= truth) & (truth <= table["upper"])).mean() / 16
            for m, name in enumerate(("average", "lasting")):
                miss[k, m] += ((tables[m][name] - truth) ** 2).mean() / 16
    assert abs(hits - 0.95).max() < 4 * np.sqrt(0.95 * 0.05 / 2400)
    assert miss[0, 0] < miss[0, 1] and miss[1, 1] < miss[1, 0]


def test_on_a_boundary_the_errors_are_not_known():
    data = simulate(np.random.default_rng(5), schools=20, size=(20, 30), cohorts=(2019, 2021), rho=0.9)
    data["score"] -= 2 * data["u"].where(data.cohort == 2021, 0.0)  # now -0.9
    table = lasting_va(fit_joint(data, [2019, 2021], covariance="compound_symmetry"))
    assert (table["lasting"] == 0).all() and table[["se", "lower", "upper"]].isna().all(axis=None)
    data = simulate(np.random.default_rng(4), schools=15, size=(4, 9), cohorts=(2019, 2021), rho=1.0)
    fit = fit_joint(data, [2019, 2021], covariance="compound_symmetry")
    assert fit.singular and average_va(fit)[["se", "lower", "upper"]].isna().all(axis=None)


WRONG = {
    "a cohort that is not there": (
        {"cohorts": [2019, 2030]},
        r"Cohort 2030 is not in the joint fit; it has \[2019, 2021",
    ),
    "one cohort": ({"cohorts": [2019]}, r"two or more different cohorts, not of \[2019\]"),
    "one cohort twice": ({"cohorts": [2019, 2019]}, "two or more different cohorts"),
    "weights of others": (
        {"weights": {2019: 1.0}},
        r"weights are of the cohorts \[2019\], the average of \[2019, 2021\]",
    ),
    "a weight of zero": ({"weights": {2019: 1.0, 2021: 0.0}}, "must be positive numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_averaged_is_named(few, case):
    options, sentence = WRONG[case]
    with pytest.raises(ModelError, match=sentence):
        average_va(few, **options)
    with pytest.raises(ModelError, match="defined by covariance='compound_symmetry'; this fit is unstructured"):
        lasting_va(few)


def test_five_schools_have_limits_though_the_grid_begins_where_nothing_can_be_inverted(monkeypatch):
    """The same as from ends of the grid half as far out, where every node can be: the mass is between."""
    records = simulate(np.random.default_rng(7), schools=5, size=(20, 30), cohorts=(2030, 2031, 2033))
    fit = fit_joint(records, [2031, 2033])
    table = average_va(fit)
    near = joint_posterior.place

    def nearer(alone):
        centre, low, high, order = near(alone)
        return centre, (centre + low) / 2, (centre + high) / 2, order

    monkeypatch.setattr(joint_posterior, "place", nearer)
    nodes = joint_posterior.integrate_joint(fit.arrays.data)
    lower, upper = nodes.contrast(np.array([0.5, 0.5])).interval(0.95)
    width = (table["upper"] - table["lower"]).to_numpy()
    assert np.isfinite(width).all() and fit.singular
    np.testing.assert_allclose(table["lower"], lower[0], atol=2e-3 * width.max())  # two grids
    np.testing.assert_allclose(table["upper"], upper[0], atol=2e-3 * width.max())
