"""Moments: sums by hand, additivity, reweighting, and digits kept when scores lie far from zero."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from hypothesis import given, settings
from hypothesis import strategies as st

from valib.errors import ModelError
from valib.sums.design import build_design, make_cells
from valib.sums.moments import CHUNK, Moments, compute_moments, moments_from_arrays

SUM = 1e-12  # relative; sums of a few hundred doubles, differing only in the order of addition


def by_hand(X, y, cells, cohort_of_row):
    """Counts, sums and cross-products of the raw columns, in extended precision, cell by cell and
    cohort by cohort."""
    Z = np.column_stack([X, y]).astype(np.longdouble)
    sums = np.stack([Z[cells.code == c].sum(axis=0) for c in range(len(cells.n))])
    cross = np.stack([Z[cohort_of_row == t].T @ Z[cohort_of_row == t] for t in cells.cohorts])
    return sums, cross


@pytest.fixture(scope="module")
def design():
    rng = np.random.default_rng(11)
    world = simulate(rng, schools=12, size=(1, 15), cohorts=(2015, 2016, 2019))
    world = world[
        ~((world.school == "S0003") & (world.cohort == 2016)) & ~((world.school == "S0005") & (world.cohort != 2019))
    ]
    return build_design(world.sample(frac=1, random_state=5), "score ~ prior_score + np.log(prior_score)")


def same(a: Moments, b: Moments, rtol=1e-9):
    b = b.reshift(a.shift)
    np.testing.assert_array_equal(a.schools, b.schools)
    np.testing.assert_array_equal(a.cohorts, b.cohorts)
    for field in ("cell_school", "cell_cohort", "n", "weight"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field), err_msg=field)
    scale = np.sqrt(np.einsum("tkk->k", a.cross))
    np.testing.assert_allclose(b.sums / scale, a.sums / scale, atol=rtol)
    np.testing.assert_allclose(b.cross / np.outer(scale, scale), a.cross / np.outer(scale, scale), atol=rtol)
    assert (a.cell_cross is None) == (b.cell_cross is None)
    if a.cell_cross is not None:
        np.testing.assert_allclose(
            b.cell_cross / np.outer(scale, scale), a.cell_cross / np.outer(scale, scale), atol=rtol
        )


def rows_of(design, rows):
    """Moments of some rows of a design, with cells of their own, as a reader of chunks would make them."""
    data = design.data.iloc[rows]
    cells = make_cells(data.school, data.cohort)
    return moments_from_arrays(design.X[rows], design.y[rows], cells, design.names, "score", by_cell=True)


class TestSums:
    @pytest.mark.parametrize("by_cell", [False, True])
    def test_against_sums_by_hand(self, design, by_cell):
        m = compute_moments(design, by_cell).reshift(np.zeros(4))
        sums, cross = by_hand(design.X, design.y, design.cells, design.data.cohort.to_numpy())
        np.testing.assert_allclose(m.sums, sums.astype(float), rtol=SUM)
        np.testing.assert_allclose(m.cross, cross.astype(float), rtol=SUM)
        np.testing.assert_allclose(m.pooled(), cross.sum(axis=0).astype(float), rtol=SUM)
        assert m.n_students == len(design.y) and m.names == ("Intercept", "prior_score", "np.log(prior_score)", "score")
        labels = list(zip(m.schools[m.cell_school], m.cohorts[m.cell_cohort], strict=True))
        counts = design.data.groupby(["school", "cohort"]).size()
        assert labels == list(counts.index) and list(m.n) == list(counts)

    def test_cross_products_by_cell_add_up_to_those_by_cohort(self, design):
        m = compute_moments(design, by_cell=True)
        for t in range(3):
            np.testing.assert_allclose(m.cell_cross[m.cell_cohort == t].sum(axis=0), m.cross[t], rtol=1e-10, atol=1e-6)
        plain = compute_moments(design)
        np.testing.assert_allclose(plain.cross, m.cross, rtol=1e-10, atol=1e-6)

    def test_means_are_those_of_the_raw_columns(self, design):
        m = compute_moments(design)
        np.testing.assert_allclose(m.means[:, -1], design.data.groupby(["school", "cohort"]).score.mean(), rtol=1e-12)

    def test_the_intercept_is_never_shifted(self, design):
        m = compute_moments(design)
        assert m.shift[m.intercept] == 0 and (m.sums[:, m.intercept] == m.n).all()
        assert m.shift[1] == pytest.approx(design.X[:, 1].mean(), rel=0.05)

    def test_without_an_intercept_nothing_is_shifted(self, design):
        m = moments_from_arrays(design.X[:, 1:], design.y, design.cells, design.names[1:])
        assert m.intercept is None and not m.shift.any()


class TestAdditivity:
    @given(seed=st.integers(0, 10_000), pieces=st.integers(2, 9))
    @settings(max_examples=15, deadline=None)
    def test_chunks_in_any_order_add_up(self, design, seed, pieces):
        """Each chunk has its own cells and its own shift; cells cut in two by a chunk's edge are merged."""
        whole = compute_moments(design, by_cell=True)
        order = np.random.default_rng(seed).permutation(len(design.y))
        parts = [rows_of(design, rows) for rows in np.array_split(order, pieces)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        same(whole, total)

    def test_adding_the_other_way_round_gives_the_same(self, design):
        a, b = rows_of(design, np.arange(0, 60)), rows_of(design, np.arange(60, len(design.y)))
        same(a + b, b + a)

    def test_another_shift_and_back(self, design):
        m = compute_moments(design, by_cell=True)
        same(m, m.reshift(np.array([0.0, 10.0, -3.0, 900.0])).reshift(m.shift))

    def test_other_columns_cannot_be_added(self, design):
        a = compute_moments(design)
        b = moments_from_arrays(design.X[:, :2], design.y, design.cells, design.names[:2], "score")
        with pytest.raises(ModelError, match="log"):
            a + b


class TestSelection:
    def test_one_cohort_is_the_moments_of_its_rows(self, design):
        whole = compute_moments(design, by_cell=True).select([2019])
        same(whole, rows_of(design, np.flatnonzero(design.data.cohort == 2019)))

    def test_two_cohorts_pooled_are_the_moments_of_schools(self, design):
        """A school that is absent from both cohorts is gone; the others have one cell."""
        pooled = compute_moments(design, by_cell=True).select([2015, 2016]).pool_cohorts()
        data = design.data[design.data.cohort != 2019]
        rows = np.flatnonzero(design.data.cohort != 2019)
        alone = moments_from_arrays(
            design.X[rows], design.y[rows], make_cells(data.school), design.names, "score", by_cell=True
        )
        assert "S0005" not in pooled.schools
        np.testing.assert_array_equal(pooled.n, alone.n)
        alone = alone.reshift(pooled.shift)
        np.testing.assert_allclose(pooled.sums, alone.sums, atol=1e-8)
        np.testing.assert_allclose(pooled.pooled(), alone.pooled(), rtol=1e-10, atol=1e-6)

    def test_an_absent_cohort_is_named(self, design):
        with pytest.raises(ModelError, match="2018"):
            compute_moments(design).select([2015, 2018])

    def test_residuals_about_given_coefficients_without_a_second_pass(self, design):
        b = np.array([110.0, 0.8, -0.5])
        m = compute_moments(design, by_cell=True)
        matrix = np.zeros((4, 2))
        matrix[0, 0], matrix[:3, 1], matrix[3, 1] = 1, -b, 1
        r = m.transform(matrix, ("Intercept", "residual"))
        direct = moments_from_arrays(
            np.ones((len(design.y), 1)), design.y - design.X @ b, design.cells, ("Intercept",), "residual", by_cell=True
        )
        same(direct, r)


class TestReweighting:
    def test_a_weight_is_a_school_standing_in_the_data_that_often(self, design):
        rng = np.random.default_rng(2)
        weight = rng.multinomial(12, np.full(12, 1 / 12))
        m = compute_moments(design, by_cell=True).reweight(weight)
        school = np.searchsorted(m.schools, design.data.school.to_numpy(dtype=object))
        repeat = weight[school]
        rows = np.repeat(np.arange(len(design.y)), repeat)
        Z = np.column_stack([design.X, design.y])[rows] - m.shift
        cohort = design.data.cohort.to_numpy()[rows]
        for t, label in enumerate(m.cohorts):
            np.testing.assert_allclose(m.cross[t], Z[cohort == label].T @ Z[cohort == label], rtol=1e-9, atol=1e-6)
        assert m.n_students == len(rows)

    def test_pooling_and_reweighting_in_either_order(self, design):
        weight = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12))
        m = compute_moments(design, by_cell=True)
        same(m.reweight(weight).pool_cohorts(), m.pool_cohorts().reweight(weight))

    def test_equal_weights_change_nothing(self, design):
        m = compute_moments(design, by_cell=True)
        same(m, m.reweight(np.ones(12)))

    def test_without_cross_products_by_cell_it_is_refused(self, design):
        with pytest.raises(ModelError, match="by_cell"):
            compute_moments(design).reweight(np.ones(12))

    def test_reweighted_moments_are_not_added(self, design):
        m = compute_moments(design, by_cell=True)
        with pytest.raises(ModelError, match="[Rr]eweighted"):
            m.reweight(np.full(12, 2.0)) + m


class TestDigits:
    @pytest.mark.parametrize("offset", [1e4, 1e6, 1e8])
    def test_within_school_variation_survives_a_large_offset(self, design, offset):
        """Residual sums of squares about the mean agree with those of the data moved back to zero."""
        # scores are first rounded to a grid of 2^-20, so that adding the offset is itself exact
        y = np.round(design.y * 2**20) / 2**20 - 480
        moved = moments_from_arrays(design.X[:, :1], y + offset, design.cells, ("Intercept",), "score")
        plain = moments_from_arrays(design.X[:, :1], y, design.cells, ("Intercept",), "score")
        for m in (plain, moved):
            assert m.n_students == len(y)
        rss = [m.cross[:, 1, 1].sum() - (m.sums[:, 1] ** 2 / m.n).sum() for m in (plain, moved)]
        assert rss[1] == pytest.approx(rss[0], rel=1e-16 * offset * 100 + 1e-12)

    def test_scores_far_from_zero_but_without_an_intercept_are_still_summed_rightly(self, design):
        m = moments_from_arrays(design.X[:, 1:2], design.y, design.cells, ("prior_score",), "score")
        assert m.pooled()[0, 1] == pytest.approx(float(design.X[:, 1] @ design.y), rel=1e-12)


@pytest.mark.parametrize("by_cell", [False, True])
@pytest.mark.parametrize("layout", ["rows together", "columns together", "every second row"])
def test_moments_do_not_depend_on_layout_or_order_of_the_rows(layout, by_cell):
    """More rows than a block holds, cells larger and smaller than a block, two cohorts, sorted and not."""
    rng = np.random.default_rng(8)
    N = 2 * CHUNK + 4_321
    school = np.where(rng.random(N) < 0.6, 0, rng.integers(1, 40, N))
    cohort, X = rng.integers(2015, 2017, N), np.column_stack([np.ones(N), rng.normal(480, 60, (N, 2))])
    y = X @ [3.0, 0.8, -0.1] + rng.normal(0, 45, N)
    names = ("Intercept", "a", "b")

    def sums(order, X):
        cells = make_cells(pd.Series(school[order]), pd.Series(cohort[order]))
        return moments_from_arrays(X, y[order], cells, names, by_cell=by_cell), cells

    order = {"every second row": slice(None, None, 2)}.get(layout, slice(None))
    laid = {"rows together": np.ascontiguousarray, "columns together": np.asfortranarray}.get(layout, lambda X: X[::2])
    moments, cells = sums(order, laid(X))
    centred = X[order] - moments.shift[:-1], y[order] - moments.shift[-1]
    expected, cross = by_hand(*centred, cells, cohort[order])
    size = np.sqrt(np.einsum("tkk->k", cross)).astype(float)
    np.testing.assert_allclose(moments.sums / size, (expected / size).astype(float), atol=1e-10)
    np.testing.assert_allclose(
        moments.cross / np.outer(size, size), (cross / np.outer(size, size)).astype(float), atol=SUM
    )
    by_school = np.lexsort([cohort[order], school[order]])
    ordered = np.arange(N)[order][by_school]
    same(moments, sums(ordered, np.asfortranarray(X[ordered]))[0], rtol=SUM)
