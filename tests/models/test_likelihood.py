"""The likelihood on many data sets at once: small inverses, the grid of slopes, and data sets that do not matter to
each other."""

from __future__ import annotations

import numpy as np
import pytest

from valib.models.likelihood import _grid_slopes, _take, compress, maximise, profile
from valib.models.linalg import LARGEST, invert
from valib.simulation.draw import draw
from valib.simulation.methods import split
from valib.simulation.worlds import scenario

RNG = np.random.default_rng(4)
EXACT = 1e-11  # relative; two ways of inverting the same matrices and adding the same numbers


@pytest.mark.parametrize("p", [1, 2, 3, LARGEST, LARGEST + 1, 14])
def test_inverses_and_determinants_are_lapack_s(p):
    root = RNG.standard_normal((5, 7, p, p + 2))
    stacked = root @ np.swapaxes(root, -1, -2)
    inverse, logdet = invert(np.moveaxis(stacked, (-2, -1), (0, 1)))
    np.testing.assert_allclose(np.moveaxis(inverse, (0, 1), (-2, -1)), np.linalg.inv(stacked), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(stacked)[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("p", [2, LARGEST + 1])
def test_only_the_matrix_that_is_not_positive_definite_has_no_determinant(p):
    matrices = np.repeat(np.eye(p)[:, :, None], 3, axis=2)
    matrices[0, 0, 1] = -1.0
    matrices[:, :, 2] = 0.0
    inverse, logdet = invert(matrices)
    assert logdet[0] == 0.0 and np.isnan(logdet[1:]).all()
    assert (inverse[:, :, 0] == np.eye(p)).all() and not np.isfinite(inverse[:, :, 2]).any()


@pytest.fixture(scope="module")
def data():
    """Eleven data sets of 40 schools with 3 columns, so that a block does not hold them all."""
    worlds = draw(scenario("missing students", schools=40, tau=6.0), [np.random.default_rng(i) for i in range(11)])
    return compress(split(worlds, context=True)[0])


@pytest.mark.parametrize("reml", [False, True])
def test_the_grid_holds_the_derivatives_of_the_likelihood(data, reml, monkeypatch):
    monkeypatch.setattr("valib.models.likelihood.BLOCK", 4 * 16 * 3)  # four data sets a block
    theta = np.array([1e-6, 0.02, 5.0])
    wanted = [t * profile(data, np.full(11, t), reml).gradient for t in theta]
    np.testing.assert_allclose(_grid_slopes(data, theta, reml), wanted, rtol=EXACT, atol=1e-9)


@pytest.mark.parametrize("reml", [False, True])
def test_a_data_set_is_fitted_the_same_alone_and_among_others(data, reml):
    together = maximise(data, reml)
    alone = [maximise(_take(data, slice(r, r + 1)), reml)[0] for r in range(11)]
    np.testing.assert_allclose(together, alone, rtol=EXACT)
    assert len(set(together)) > 8
