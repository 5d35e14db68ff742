"""A school over several cohorts: average and lasting part against dense algebra, by hand and on the boundary."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import simulate

from valib.effects.joint import fit_joint
from valib.errors import ModelError
from valib.models.average import predict_average, predict_lasting

COHORTS = (2019, 2021, 2022)
DENSE = 1e-8  # inverses of matrices of a few hundred rows


@pytest.fixture(scope="module")
def records():
    """Unequal sizes, one student included; three schools miss a cohort."""
    data = simulate(np.random.default_rng(12), schools=14, size=(1, 9), cohorts=COHORTS, rho=0.6, tau=15.0)
    absent = data.school.isin(["S0002", "S0005"]) & (data.cohort == 2021) | (data.school == "S0007") & (
        data.cohort != 2019
    )
    return data[~absent]


def dense(records, fit, g: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions of effects g of a school, their errors' covariance with known and with estimated coefficients.

    g (T, q): effects in the students of each cohort; covariance (q, q). All (J, q) or (J, q, q), matrices written out.
    """
    schools, q = fit.arrays.data.schools, g.shape[1]
    cohort = np.array([fit.cohorts.index(c) for c in records.cohort])
    school = np.searchsorted(schools, records.school)
    Z = np.zeros((len(records), len(schools), q))
    Z[np.arange(len(records)), school] = g[cohort]
    Z = Z.reshape(len(records), -1)
    X = (
        np.eye(len(fit.cohorts))[cohort][:, :, None]
        * np.stack([np.ones(len(records)), records.prior_score], axis=1)[:, None]
    )
    X = X.reshape(len(records), -1)
    G = np.kron(np.eye(len(schools)), covariance)
    Vi = np.linalg.inv(Z @ G @ Z.T + np.diag(fit.sigma2.to_numpy()[cohort]))
    vcov = np.linalg.inv(X.T @ Vi @ X)
    K = G @ Z.T @ Vi
    left = records.score.to_numpy() - X @ (vcov @ X.T @ Vi @ records.score.to_numpy())
    known = G - K @ Z @ G
    blocks = [np.s_[k * q : (k + 1) * q] for k in range(len(schools))]
    whole = known + K @ X @ vcov @ X.T @ K.T
    found = np.array([known[b, b] for b in blocks]), np.array([whole[b, b] for b in blocks])
    return (K @ left).reshape(-1, q), *found


@pytest.mark.parametrize("covariance", ["unstructured", "compound_symmetry"])
def test_an_average_is_that_of_dense_algebra(records, covariance):
    fit = fit_joint(records, COHORTS, covariance=covariance)
    w = np.array([0.2, 0.5, 0.3])
    value, known, whole = dense(records, fit, np.eye(3), fit.omega.to_numpy())
    given = predict_average(fit.arrays, w)
    np.testing.assert_allclose(given.value, value @ w, rtol=DENSE, atol=DENSE)
    np.testing.assert_allclose(given.conditional, np.einsum("t,jts,s->j", w, known, w), rtol=DENSE)
    np.testing.assert_allclose(given.comparative, np.einsum("t,jts,s->j", w, whole, w), rtol=DENSE)
    assert given.variance == pytest.approx(w @ fit.omega.to_numpy() @ w)


@pytest.mark.parametrize("residual", ["common", "by_cohort"])
def test_the_lasting_part_is_that_of_the_nested_model_written_out(records, residual):
    """One effect of a school and one of every school and cohort, each with its own variance, as lme4 has it."""
    fit = fit_joint(records, COHORTS, covariance="compound_symmetry", residual=residual)
    a, tau2 = fit.omega.iloc[0, 1], fit.omega.iloc[0, 0]
    assert 0 < a < tau2
    design = np.column_stack([np.ones(3), np.eye(3)])
    value, known, whole = dense(records, fit, design, np.diag([a, *[tau2 - a] * 3]))
    given = predict_lasting(fit.arrays)
    np.testing.assert_allclose(given.value, value[:, 0], rtol=DENSE, atol=DENSE)
    np.testing.assert_allclose(given.conditional, known[:, 0, 0], rtol=DENSE)
    np.testing.assert_allclose(given.comparative, whole[:, 0, 0], rtol=DENSE)
    average = predict_average(fit.arrays, np.full(3, 1 / 3))
    assert (given.reliability < average.reliability).all() and (abs(given.value) < abs(average.value)).all()


def test_where_cohorts_of_a_school_are_one_effect_both_are_that_effect():
    data = simulate(np.random.default_rng(4), schools=15, size=(4, 9), cohorts=(2019, 2021), rho=1.0)
    fit = fit_joint(data, [2019, 2021], covariance="compound_symmetry")
    assert fit.correlation.iloc[0, 1] == pytest.approx(1, abs=1e-6)
    lasting, average = predict_lasting(fit.arrays), predict_average(fit.arrays, np.array([0.5, 0.5]))
    np.testing.assert_allclose(lasting.value, average.value, atol=1e-4)
    np.testing.assert_allclose(lasting.conditional, average.conditional, atol=1e-3)


def test_where_cohorts_covary_negatively_nothing_lasts():
    data = simulate(np.random.default_rng(5), schools=20, size=(20, 30), cohorts=(2019, 2021), rho=0.9)
    data["score"] -= 2 * data["u"].where(data.cohort == 2021, 0.0)  # now -0.9
    fit = fit_joint(data, [2019, 2021], covariance="compound_symmetry")
    assert fit.omega.iloc[0, 1] < 0
    lasting = predict_lasting(fit.arrays)
    assert (lasting.value == 0).all() and lasting.variance == 0 and (lasting.reliability == 0).all()


def test_another_structure_has_no_lasting_part(records):
    with pytest.raises(ModelError, match="by covariance='compound_symmetry'; this fit is ar1"):
        predict_lasting(fit_joint(records, COHORTS, covariance="ar1").arrays)
