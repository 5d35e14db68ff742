"""Bootstrap samples of many simulated data sets at once against the library's bootstrap of each by itself."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from worlds import moments_of

from valib.effects import resampling
from valib.effects.bootstrap import refit_weighted
from valib.effects.resampling import draw_weights, resample
from valib.errors import BenchmarkError
from valib.simulation.draw import draw
from valib.simulation.methods import split
from valib.simulation.worlds import scenario

SAME = 1e-9  # relative; the same sums in another order
SEEDS = [np.random.SeedSequence(3, spawn_key=(r,)) for r in range(5)]
DEFAULT = {"estimator": "mixed", "groups": "school_cohort", "shift": "estimated", "variances": "focal", "reml": False}


def cells(kind: str):
    """Sizes of 18 schools in four cohorts; some absent, one of them from every cohort."""
    n = np.random.default_rng(2).integers(3, 20, (18, 4))
    if kind == "absent schools":
        n[0, 3] = n[1, 0] = n[2, :3] = n[3] = 0
    return tuple(map(tuple, n.tolist()))


@pytest.fixture(scope="module", params=["absent schools", "all schools"])
def worlds(request):
    """Five data sets of an incomplete world, so that sizes differ between them."""
    s = scenario("missing students", cells=cells(request.param), missing_baseline=True, reliability=0.9)
    return s, draw(s, [np.random.default_rng(q) for q in SEEDS])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"groups": "school", "shift": "absorbed"},
        {"estimator": "ols", "reml": True},
        {"variances": "baseline"},
        {"estimator": "within"},
        {"estimator": "within", "reml": True, "s2m": 200.0},
        {"s2m": 400.0},
    ],
    ids=str,
)
def test_every_sample_is_the_library_s_own_refit(worlds, changes, monkeypatch):
    monkeypatch.setattr(resampling, "SAMPLES", 24)  # two data sets at once
    s, w = worlds
    o = DEFAULT | changes
    present = (w.n > 0).any(axis=1)
    weights = draw_weights(present, 12, SEEDS)
    delta, spread = resample(*split(w), weights, cohorts=3, **o)
    for r in range(5):
        spec = SimpleNamespace(
            cohorts=s.baseline,
            estimator=o["estimator"],
            groups=o["groups"],
            method="REML" if o["reml"] else "ML",
            error_variance={"prior_score": o.get("s2m", 0.0)},
        )
        _, one, _, va = refit_weighted(
            moments_of(s, w, r), spec, [s.focal], weights[r][:, present[r]], o["shift"], o["variances"], spec.method
        )
        here = w.n[r, -1] > 0
        np.testing.assert_allclose(delta[r], one[0], rtol=SAME)
        np.testing.assert_allclose(spread[r, here], va[0].var(axis=0, ddof=1), rtol=SAME)
        assert (spread[r, ~here] == 0).all()


def test_weights_are_samples_of_the_schools_there_are_whoever_else_is_drawn(worlds):
    _, w = worlds
    present = (w.n > 0).any(axis=1)
    weights = draw_weights(present, 30, SEEDS)
    assert (weights.sum(axis=2) == present.sum(axis=1)[:, None]).all() and not weights[
        ~present[:, None].repeat(30, axis=1)
    ].any()
    assert (draw_weights(present[3:4], 30, SEEDS[3:4])[0] == weights[3]).all()
    assert weights.max() > 2 and len(np.unique(weights.reshape(150, -1), axis=0)) == 150


def test_samples_that_leave_the_slope_undetermined_are_refused():
    s = scenario("plain", schools=2, sizes=(1, 1))
    w = draw(s, [np.random.default_rng(1)])
    weights = np.array([[[2.0, 0.0], [1.0, 1.0]]])
    w.cross[:, :-1, 0] = w.cross[:, :1, 0]  # the first school's students are one student three times
    with pytest.raises(BenchmarkError, match="too few"):
        resample(*split(w), weights, cohorts=3, **DEFAULT)
