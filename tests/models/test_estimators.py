"""The methods on many data sets at once against the library's own fits of the same students."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from worlds import moments_of

import valib as va
from valib.simulation.draw import draw
from valib.simulation.methods import METHODS, Fits, Method
from valib.simulation.worlds import scenario

SAME = 2e-6  # relative: two optimisers' stopping rules, and sums against students
PRIOR, SCORE = 430.0, 500.0  # the sums are about the baseline's expectation; records are not


@pytest.fixture(scope="module", params=["all schools", "absent schools"])
def world(request):
    """Two worlds of 25 schools as sums, and the second as records with exactly these sums."""
    cells = np.random.default_rng(3).integers(4, 30, (25, 4))
    if request.param == "absent schools":
        cells[0, 3] = cells[1, 0] = cells[2, :3] = 0
    s = scenario("combined", student_df=None, equating_se=2.0, cells=tuple(map(tuple, cells.tolist())))
    seeds = [np.random.SeedSequence(7, spawn_key=(i,)) for i in range(2)]
    worlds = draw(s, [np.random.default_rng(q) for q in seeds])
    return s, Fits(s, worlds, seeds, 0.95), records_of(s, worlds, 1)


def records_of(s, worlds, r):
    """Students whose sums are exactly those of world r: means plus orthonormal contrasts times a root of the rest."""
    rng, parts = np.random.default_rng(0), []
    for t, cohort in enumerate(s.cohorts):
        for j in range(s.n_schools):
            n = int(worlds.n[r, t, j])
            if not n:
                continue
            mean = worlds.sums[r, t, j, 1:] / n
            rest = worlds.cross[r, t, j, 1:, 1:] - n * np.outer(mean, mean)
            Q = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, 2))]))[0][:, 1:]
            values = mean + Q @ np.linalg.cholesky(rest).T
            parts.append(
                pd.DataFrame(
                    {
                        "school": f"{j:03d}",
                        "cohort": cohort,
                        "prior_score": PRIOR + values[:, 0],
                        "score": SCORE + values[:, 1],
                    }
                )
            )
    frame = pd.concat(parts, ignore_index=True)
    return va.read_records(frame.assign(student=[f"s{i}" for i in range(len(frame))]))


def fit_by_library(records, s, m):
    formula = "score ~ prior_score" + (" + school_mean(prior_score)" if m.context else "")
    if m.model == "relative":
        errors = {"prior_score": s.error_variances[1]} if m.corrected else None
        return va.fit_relative(records, s.focal, formula, m.likelihood, error_variance=errors)
    errors = {"prior_score": s.error_variances[0]} if m.corrected else None
    benchmark = va.fit_baseline(records, s.baseline, formula, m.estimator, m.groups, m.likelihood, errors)
    return va.fit_benchmark(
        records, s.focal, benchmark, m.shift, m.variances, m.likelihood, s.equating_se if m.equating else 0.0
    )


ANALYTIC = [m for m in METHODS.values() if m.model != "correlation" and m.intervals == "full"]


@pytest.mark.parametrize(
    "m",
    [
        *ANALYTIC,
        Method("relative (REML)", "relative", likelihood="REML"),
        Method("within, REML", estimator="within", likelihood="REML"),
        Method("within, corrected", estimator="within", corrected=True),
        Method("ols, corrected", estimator="ols", corrected=True, variances="baseline"),
    ],
    ids=lambda m: m.name,
)
@pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")
def test_the_library_gives_the_same_on_the_same_students(world, m):
    s, fits, records = world
    found, library = fits._predict(*fits._key(m)), fit_by_library(records, s, m)
    table, here = library.school_effects, fits.worlds.n[1, -1] > 0
    assert found.blup.effect[1][here] == pytest.approx(table["effect"].to_numpy(), rel=SAME, abs=1e-5)
    assert np.sqrt(found.blup.var_comparative[1][here]) == pytest.approx(table["se_comparative"].to_numpy(), rel=SAME)
    assert found.blup.var_conditional[1][here] == pytest.approx(table["se_conditional"].to_numpy() ** 2, rel=SAME)
    assert found.tau2[1] == pytest.approx(library.tau2, rel=SAME)
    assert found.b[1, 1] == pytest.approx(library.fixed_effects["prior_score"], rel=SAME)
    assert found.vcov[1, 1, 1] == pytest.approx(library.vcov.loc["prior_score", "prior_score"], rel=SAME)
    if library.shift is not None:
        assert found.shift.delta[1] == pytest.approx(library.shift, rel=SAME)
        assert np.sqrt(found.shift.var[1]) == pytest.approx(library.shift_se, rel=SAME)


@pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")
def test_known_coefficients_leave_their_error_out(world):
    s, fits, records = world
    shift = fits.apply(METHODS["default (b known)"])["shift"][1]
    moments, library = moments_of(s, fits.worlds, 1).select([s.focal]), fit_by_library(records, s, METHODS["default"])
    a = moments.n / (1 + moments.n * library.theta)
    z = 1.959963984540054
    assert shift[5] == pytest.approx(2 * z * np.sqrt(library.sigma2 / a.sum()), rel=SAME)


@pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")
def test_correlations_are_those_of_the_library(world):
    s, fits, records = world
    cohorts = [s.baseline[-1], s.focal]
    table = va.correlations(
        [va.fit_relative(records, c) for c in cohorts], va.fit_joint(records, cohorts), intervals="plugin"
    )
    table = table.set_index("way")
    for way in table.index:
        values = fits.apply(METHODS[way])["rho"][1]
        assert values[0] == pytest.approx(table.loc[way, "correlation"], rel=1e-4)  # of the joint optimiser
        assert values[5] == pytest.approx(table.loc[way, "upper"] - table.loc[way, "lower"], rel=1e-3)


def test_the_bootstrap_is_the_library_s(world):
    """The spread over samples of schools is the library's own, up to the samples drawn."""
    s, fits, records = world
    m = Method("boot", intervals="bootstrap", draws=300)
    width = fits.apply(m)["shift"][1][5]
    benchmark = va.fit_baseline(records, s.baseline)
    boot = va.bootstrap_benchmark(records, benchmark, [s.focal], seed=1, replicates=300).shift_table()
    assert width == pytest.approx((boot["upper"] - boot["lower"]).iloc[0], rel=0.2)
    assert fits.apply(m, 1)["shift"][0][5] == fits.apply(m)["shift"][0][5]
