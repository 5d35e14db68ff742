"""Schools in two cohorts of the joint model: draws, changes and moves between fifths, against dense algebra."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from scipy import stats

from valib.effects.change import _cross_fifths as cross_fifths
from valib.effects.change import change_in_va, draw_joint, quintile_transitions, which_improved
from valib.effects.joint import fit_joint
from valib.errors import ModelError

NORMAL = stats.norm.ppf(0.975)


@pytest.fixture(scope="module")
def mid(small):
    """A joint fit of three cohorts small enough for dense matrices, Omega inside, with schools that miss cohorts."""
    fit = fit_joint(small, [2015, 2016, 2021], covariance="compound_symmetry")
    assert not fit.singular and (fit.arrays.data.n == 0).any()
    return fit


def dense_errors(records: pd.DataFrame, fit) -> tuple[np.ndarray, dict[tuple[str, int], int]]:
    """Covariance of u_hat - u over all schools and cohorts, from the linear map of (u, e); and where each stands."""
    keys = [(s, c) for s in fit.arrays.data.schools for c in fit.cohorts]
    at = {key: k for k, key in enumerate(keys)}
    data = records[records.cohort.isin(fit.cohorts)]
    Z = np.eye(len(keys))[[at[key] for key in zip(data.school, data.cohort, strict=True)]]
    x = np.column_stack([np.ones(len(data)), data.prior_score])
    X = np.column_stack([(data.cohort == c).to_numpy()[:, None] * x for c in fit.cohorts])
    omega = np.kron(np.eye(len(fit.arrays.data.schools)), fit.omega.to_numpy())
    noise = np.diag(fit.sigma2.loc[data.cohort].to_numpy())
    Vi = np.linalg.inv(Z @ omega @ Z.T + noise)
    K = omega @ Z.T @ Vi @ (np.eye(len(data)) - X @ np.linalg.inv(X.T @ Vi @ X) @ X.T @ Vi)
    E = K @ Z - np.eye(len(keys))
    return E @ omega @ E.T + K @ noise @ K.T, at


class TestDraws:
    def test_moments_are_those_of_dense_algebra(self, small, mid):
        """Mean the EB predictions; covariances within and between schools those of the prediction errors."""
        errors, at = dense_errors(small, mid)
        draws = draw_joint(mid, (2015, 2021), 3, 40_000)
        there = (mid.arrays.data.n[:, [0, 2]] > 0).all(axis=1)
        schools = mid.arrays.data.schools[there]
        assert draws.shape == (40_000, len(schools), 2)
        keys = [at[s, c] for s in schools for c in (2015, 2021)]
        V = errors[np.ix_(keys, keys)]
        flat = draws.reshape(len(draws), -1)
        effects = mid.arrays.effects[there][:, [0, 2]].ravel()
        assert (abs(flat.mean(axis=0) - effects) < 5 * np.sqrt(np.diag(V) / len(flat))).all()
        spread = np.sqrt((np.outer(np.diag(V), np.diag(V)) + V**2) / len(flat))
        assert (abs(np.cov(flat.T) - V) < 5 * spread).all()

    def test_the_seed_decides(self, mid):
        a, b, c = (draw_joint(mid, (2015, 2016), seed, 3) for seed in (1, np.random.default_rng(1), 2))
        assert (a == b).all() and (a != c).any()

    def test_a_cohort_that_is_not_there_is_named(self, mid):
        with pytest.raises(ModelError, match=r"Cohort 2030 is not in the joint fit; it has \[2015, 2016, 2021\]"):
            draw_joint(mid, (2015, 2030), 1, 10)


class TestChange:
    def test_change_and_its_error_by_dense_algebra(self, small, mid):
        errors, at = dense_errors(small, mid)
        table = change_in_va(mid, 2015, 2021, intervals="plugin")
        effect = mid.school_effects["effect"]
        counts = small.groupby(["school", "cohort"]).size()
        for school, row in table.iterrows():
            keys = [at[school, 2015], at[school, 2021]]
            V = errors[np.ix_(keys, keys)]
            assert row.change == pytest.approx(effect[school, 2021] - effect[school, 2015])
            assert row.se**2 == pytest.approx(V[0, 0] + V[1, 1] - 2 * V[0, 1], rel=1e-8)
            assert row.se_independent**2 == pytest.approx(V[0, 0] + V[1, 1], rel=1e-8)
            assert row.p_up == pytest.approx(stats.norm.cdf(row.change / row.se))
            assert (row.n_first, row.n_second) == (counts[school, 2015], counts[school, 2021])
        np.testing.assert_allclose(table["upper"] - table["lower"], 2 * NORMAL * table["se"])
        shared = set(small[small.cohort == 2015].school) & set(small[small.cohort == 2021].school)
        assert set(table.index) == shared and "S0002" not in table.index and "S0004" not in table.index

    def test_backwards_is_the_opposite(self, mid):
        there, back = change_in_va(mid, 2015, 2021), change_in_va(mid, 2021, 2015)
        np.testing.assert_allclose(there["change"], -back["change"])
        np.testing.assert_allclose(there["p_up"], 1 - back["p_up"])
        assert there["se"].tolist() == pytest.approx(back["se"].tolist())

    def test_which_of_two_improved_by_dense_algebra(self, small, mid):
        errors, at = dense_errors(small, mid)
        found = which_improved(mid, 2015, 2021, "S0001", "S0008")
        keys = [at["S0001", 2015], at["S0001", 2021], at["S0008", 2015], at["S0008", 2021]]
        c = np.array([-1, 1, 1, -1])
        change = change_in_va(mid, 2015, 2021)["change"]
        assert found["difference"] == pytest.approx(change["S0001"] - change["S0008"])
        assert found["se"] ** 2 == pytest.approx(c @ errors[np.ix_(keys, keys)] @ c, rel=1e-8)
        assert found["probability"] == pytest.approx(stats.norm.cdf(found["difference"] / found["se"]))
        other = which_improved(mid, 2015, 2021, "S0008", "S0001")
        assert other["probability"] == pytest.approx(1 - found["probability"])

    def test_what_cannot_be_compared_is_named(self, mid):
        with pytest.raises(ModelError, match="School 'S0002' has no students in both of cohorts 2015 and 2021"):
            which_improved(mid, 2015, 2021, "S0001", "S0002")
        with pytest.raises(ModelError, match="both named are 'S0001'"):
            which_improved(mid, 2015, 2021, "S0001", "S0001")
        with pytest.raises(ModelError, match="Cohort 2022 is not in the joint fit"):
            change_in_va(mid, 2015, 2022)

    def test_at_a_perfect_correlation_with_equal_variances_nothing_has_changed(self):
        """Omega of rank one: the two years are one effect, and what error is left is that of the fixed effects."""
        rng = np.random.default_rng(4)
        data = simulate(rng, schools=15, size=(4, 9), cohorts=(2019, 2021), rho=1.0)
        fit = fit_joint(data, [2019, 2021], covariance="compound_symmetry")
        assert fit.singular and fit.correlation.iloc[0, 1] == pytest.approx(1, abs=1e-6)
        table = change_in_va(fit, 2019, 2021)
        assert abs(table["change"]).max() < 1e-3
        assert table[["se", "lower", "upper", "p_up"]].isna().all(axis=None)  # an estimate on the boundary: not known
        found = which_improved(fit, 2019, 2021, "S0001", "S0002")
        assert np.isnan(found["se"]) and np.isnan(found["probability"])
        assert quintile_transitions(fit, 2019, 2021, 1, 20)[["share", "lower", "upper"]].isna().all(axis=None)
        assert fit.limits().isna().all(axis=None) and fit.school_effects["lower"].isna().all()

    def test_on_the_boundary_of_no_school_variance_nothing_moves(self):
        rng = np.random.default_rng(8)
        data = simulate(rng, schools=10, size=(5, 9), cohorts=(2019, 2021), tau=0.0)
        residual = data.score - 0.8 * data.prior_score
        data["score"] -= 0.999 * residual.groupby([data.school, data.cohort]).transform("mean")
        fit = fit_joint(data, [2019, 2021], covariance="compound_symmetry")
        assert fit.singular and (fit.tau2 == 0).all()
        table = change_in_va(fit, 2019, 2021)
        assert (table["change"] == 0).all() and table[["se", "lower", "upper", "p_up"]].isna().all(axis=None)
        assert np.isnan(which_improved(fit, 2019, 2021, "S0001", "S0002")["probability"])


class TestQuintiles:
    def test_cross_table_by_hand(self):
        first = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9.0])
        second = np.array([0, 9, 2, 3, 4, 5, 6, 7, 8, 1.0])
        table = cross_fifths(np.column_stack([first, second]))
        expected = np.eye(5)
        expected[[0, 4], [0, 4]], expected[[0, 4], [4, 0]] = 0.5, 0.5
        np.testing.assert_allclose(table, expected)
        np.testing.assert_allclose(cross_fifths(np.arange(5.0)[:, None] * [1, -1]), np.eye(5)[::-1])
        seven = cross_fifths(np.random.default_rng(1).normal(size=(7, 2)))
        np.testing.assert_allclose(seven.sum(axis=1), 1.0)

    def test_well_measured_schools_are_where_their_predictions_are(self):
        rng = np.random.default_rng(2)
        data = simulate(rng, schools=20, size=(400, 400), cohorts=(2019, 2021), tau=200.0, sigma=20.0, rho=0.5)
        table = quintile_transitions(fit_joint(data, [2019, 2021]), 2019, 2021, 1, 200)
        u = data.groupby(["school", "cohort"]).u.first().unstack()
        np.testing.assert_allclose(table["plugin"], cross_fifths(u.to_numpy()).ravel())
        assert abs(table["share"] - table["plugin"]).max() < 0.1
        assert table[["from", "to"]].to_numpy().tolist() == [[a, b] for a in range(1, 6) for b in range(1, 6)]

    def test_draws_and_limits(self, mid):
        table = quintile_transitions(mid, 2015, 2021, 5, 400)
        drawn = np.array([cross_fifths(d) for d in draw_joint(mid, (2015, 2021), 5, 400)]).reshape(400, 25)
        np.testing.assert_allclose(table["share"], drawn.mean(axis=0))
        np.testing.assert_allclose(table[["lower", "upper"]].T, np.quantile(drawn, [0.025, 0.975], axis=0), atol=1e-12)
        np.testing.assert_allclose(table.groupby("from")["share"].sum(), 1.0)

    def test_fewer_than_five_schools_have_no_fifths(self, mid):
        few = np.zeros_like(mid.arrays.data.n)
        few[:4] = 1
        data = replace(mid.arrays.data, n=few)
        with pytest.raises(ModelError, match="needs five schools in both cohorts; there are 4"):
            quintile_transitions(replace(mid, arrays=replace(mid.arrays, data=data)), 2015, 2021, 1)
