"""Schools scored by a fit that is there: equal to the full run where students are unchanged, by hand where they are not."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from conftest import simulate

import valib as va
from valib.effects.artefact import checksum
from valib.effects.late import FILE, NODES, SavedFit, save_fits, thinned
from valib.errors import ModelError
from valib.models.mixture import Mixture
from valib.records.precision import last_place, published
from valib.study import tables

pytestmark = pytest.mark.filterwarnings("ignore:The change of the mean prior_score", "ignore:The shift of cohort")
EXACT = 1e-10  # of score points, as methods say: JSON keeps every digit, and the algebra is that of the fit
MIXED = "score ~ prior_score + female + school_mean(prior_score) + center(prior_score):female"


@pytest.fixture(scope="module")
def world() -> pd.DataFrame:
    rng = np.random.default_rng(21)
    frame = simulate(rng, 60, (1, 40), (2015, 2016, 2021), tau=15, rho=0.6, shift={2021: -9.0}).drop(columns="u")
    return frame.assign(female=rng.integers(0, 2, len(frame)), kind=rng.choice(["a", "b", "c"], len(frame)))


@pytest.fixture(scope="module")
def bench(world):
    return va.fit_baseline(world, [2015, 2016])


def fits_of(world, bench) -> dict[str, va.CohortFit]:
    return {
        "relative": va.fit_relative(world, 2021),
        "relative, REML, more columns": va.fit_relative(world, 2021, MIXED, method="REML"),
        "relative, categories": va.fit_relative(world, 2021, "score ~ prior_score + C(kind)"),
        "relative, plug-in": va.fit_relative(world, 2021, intervals="plugin"),
        "relative, no intercept": va.fit_relative(world, 2021, "score ~ 0 + prior_score"),
        "errors of measurement": va.fit_relative(world, 2021, error_variance={"prior_score": 200.0}),
        "benchmark": va.fit_benchmark(world, 2021, bench, equating_se=2.0, cohort_sd=1.0),
        "absorbed": va.fit_benchmark(world, 2021, bench, shift="absorbed", equating_se=2.0),
        "carried": va.fit_benchmark(world, 2021, bench, variances="baseline"),
        "absorbed, carried": va.fit_benchmark(world, 2021, bench, shift="absorbed", variances="baseline"),
    }


@pytest.fixture(scope="module")
def fits(world, bench):
    return fits_of(world, bench)


KINDS = (
    *(
        "relative",
        "relative, REML, more columns",
        "relative, categories",
        "relative, plug-in",
        "relative, no intercept",
    ),
    *("errors of measurement", "benchmark", "absorbed", "carried", "absorbed, carried"),
)


def some_of(world: pd.DataFrame, fit: va.CohortFit) -> pd.DataFrame:
    """The smallest, the largest and a third school, in another order of rows."""
    sizes = fit.school_effects["n"].sort_values()
    chosen = [sizes.index[0], sizes.index[-1], sizes.index[30]]
    return world[world["school"].isin(chosen)].sample(frac=1, random_state=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["memory", "exact"])
def test_a_few_schools_have_the_rows_of_the_full_run(world, fits, tmp_path, kind, how):
    fit = fits[kind]
    (tmp_path / FILE).write_text(save_fits([fit], exact=True), encoding="utf-8")
    found = va.score_like(some_of(world, fit), fit if how == "memory" else tmp_path)
    ours, theirs = found.school_effects, fit.school_effects.loc[found.school_effects.index]
    assert len(ours) == 3
    pd.testing.assert_frame_equal(ours, theirs, atol=EXACT, rtol=0)
    assert found.shift == fit.shift and found.intervals == fit.intervals and found.cohort == 2021
    np.testing.assert_allclose(found.fixed_effects, fit.fixed_effects, rtol=1e-9)
    np.testing.assert_allclose(found.vcov, fit.vcov, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_is_published_gives_the_published_rows_to_a_unit_of_their_last_place(world, fits, tmp_path, kind):
    """Measured: .1 to 1 unit for 30 schools and more."""
    fit = fits[kind]
    if kind == "relative, no intercept":
        assert save_fits([fit]) is None
        return
    (tmp_path / FILE).write_text(save_fits([fit]), encoding="utf-8")
    theirs, ours = (tables.school_effects([one])[0] for one in (fit, va.score_like(world, tmp_path)))
    assert (ours[["school", "n"]] == theirs[["school", "n"]]).all(axis=None)
    unit = 10.0 ** -last_place(theirs["se"].min(), 2)
    most = (
        2 if kind == "errors of measurement" else 1.1
    )  # what is kept is the clustered covariance, not that at each node
    for name in ("effect", "lower", "upper"):
        assert (ours[name] - theirs[name]).abs().max() < most * unit, name
    for name in ("se", "se_conditional", "se_comparative", "se_diagnostic"):
        units = 10.0 ** -last_place(theirs[name].to_numpy(), 2).astype(float)
        assert ((ours[name] - theirs[name]).abs() < 1.1 * units).all(), name
    same = (published(ours)[["effect", "lower", "upper"]] == published(theirs)[["effect", "lower", "upper"]]).to_numpy()
    assert same.mean() > 0.7


def test_a_school_that_changed_by_hand(world, fits):
    """lambda (ybar - xbar'b) of the students given, and delta + lambda (rbar - delta)."""
    rows = world[(world["school"] == "S0007") & (world["cohort"] == 2021)].copy()
    late = rows.head(1).assign(student="late", score=600.0, prior_score=450.0)
    rows = pd.concat([rows, late], ignore_index=True)
    n = len(rows)
    for kind in ("relative", "benchmark", "absorbed"):
        fit = fits[kind]
        r = (rows["score"] - fit.fixed_effects.iloc[0] - fit.fixed_effects.iloc[1] * rows["prior_score"]).mean()
        lam = n * fit.tau2 / (n * fit.tau2 + fit.sigma2)
        delta = fit.shift or 0.0
        row = va.score_like(rows, fit).school_effects.loc["S0007"]
        assert row["n"] == n and row["shrinkage"] == pytest.approx(lam)
        assert row["effect"] == pytest.approx(delta + lam * (r - delta), abs=1e-9)
        assert row["se_conditional"] == pytest.approx(np.sqrt(fit.tau2 * (1 - lam)))


def test_an_unseen_school_and_one_student(world, fits):
    rows = pd.DataFrame(
        {
            "school": ["new"],
            "student": "a",
            "cohort": 2021,
            "score": 700.0,
            "prior_score": 480.0,
            "female": 1,
            "kind": "a",
        }
    )
    for kind, fit in fits.items():
        found = va.score_like(rows, fit).school_effects.loc["new"]
        lam = fit.tau2 / (fit.tau2 + fit.sigma2)
        assert found["shrinkage"] == pytest.approx(lam), kind
        assert np.isfinite(found[["effect", "se", "lower", "upper"]].astype(float)).all(), kind
        assert found["lower"] < found["effect"] < found["upper"], kind
        assert found["se_comparative"] > found["se_conditional"] > 0.9 * np.sqrt(fit.tau2 * (1 - lam)), kind


def test_a_level_that_these_schools_lack_is_no_obstacle_and_a_new_one_is_refused(world, fits):
    rows = world[world["school"].isin(["S0001", "S0007"])].assign(kind="b")
    found = va.score_like(rows, fits["relative, categories"])
    b = fits["relative, categories"].fixed_effects
    mine = rows[rows["cohort"] == 2021].groupby("school")[["score", "prior_score"]].mean()
    r = mine["score"] - b["Intercept"] - b["prior_score"] * mine["prior_score"] - b["C(kind)[T.b]"]
    np.testing.assert_allclose(found.school_effects["effect"], found.school_effects["shrinkage"] * r, atol=1e-9)
    with pytest.raises(ModelError, match="'kind' has the level 'd'"):
        va.score_like(rows.assign(kind="d"), fits["relative, categories"])
    with pytest.raises(ModelError, match="needs column 'kind'"):
        va.score_like(rows.drop(columns="kind"), fits["relative, categories"])


def test_streamed_records_are_scored_alike(world, fits, tmp_path):
    world.to_csv(tmp_path / "r.csv", index=False)
    fit = fits["benchmark"]
    found = va.score_like(va.stream_records(str(tmp_path / "r.csv")), fit)
    columns = ["n", "effect", "shrinkage", "se_diagnostic", "se", "lower", "upper"]
    pd.testing.assert_frame_equal(found.school_effects[columns], fit.school_effects[columns], atol=1e-8, rtol=0)


def test_a_boundary_fit_is_scored_as_it_is():
    frame = simulate(np.random.default_rng(1), 12, (3, 6), (2021,), tau=0.0).drop(columns="u")
    frame["score"] -= frame.groupby("school")["score"].transform("mean") * 0.9
    for intervals in ("integrated", "plugin"):
        with pytest.warns(va.ValibWarning, match="cannot be told apart"):
            fit = va.fit_relative(frame, 2021, intervals=intervals)
        found = va.score_like(frame, fit)
        pd.testing.assert_frame_equal(found.school_effects, fit.school_effects, atol=EXACT, rtol=0)
        part = va.score_like(frame[frame["school"] == "S0003"], fit).school_effects
        pd.testing.assert_frame_equal(part, fit.school_effects.loc[part.index], atol=EXACT, rtol=0)


def test_few_nodes_give_the_moments_and_limits_of_many(fits):
    """A mixture over the shrinkage of a school of any size: its mean, SD and quantiles to a hundredth of an SD."""
    saved = SavedFit.of(fits["relative"])
    many, size = saved.grid, saved.n_students / saved.n_schools
    phi, weight, s2 = thinned(many, size)
    assert len(phi) == NODES and weight.sum() == pytest.approx(1)
    for n in (1.0, 8.0, 60.0):
        told = []
        for p, w, s in ((many.phi, many.weight, many.s2), (phi, weight, s2)):
            lam = n * p**2 / (1 + n * p**2)
            mean, scale = (20 * lam)[None, None], np.sqrt(s * p**2 * (1 - lam))[None, None]
            told.append(Mixture((w / w.sum())[None], mean, scale, np.array([[[many.df]]]), np.array([many.order])))
        sd = told[0].sd()[0, 0]
        assert told[1].expectation()[0, 0] == pytest.approx(told[0].expectation()[0, 0], abs=1e-4 * sd)
        assert told[1].sd()[0, 0] == pytest.approx(sd, rel=1e-3)
        for p in (0.025, 0.975):
            assert told[1].quantile(p)[0, 0] == pytest.approx(told[0].quantile(p)[0, 0], abs=0.01 * sd)


def test_a_published_file_names_no_school_and_an_exact_one_says_what_it_is(fits):
    public = json.loads(save_fits([fits["relative"], fits["benchmark"]]))
    assert [one["schools"] for one in public["fits"]] == [None, None] and "publication" not in public
    assert set(public["fits"][0]["grid"]) == {"phi", "weight", "s2", "df", "order"}
    assert "S0001" not in json.dumps(public)
    exact = json.loads(save_fits([fits["relative"]], exact=True))
    assert exact["publication"].startswith("not for publication") and "S0001" in exact["fits"][0]["schools"]


def test_a_folder_that_cannot_be_used_is_refused(world, fits, tmp_path):
    def refused(text: str | None, match: str) -> None:
        if text is not None:
            (tmp_path / FILE).write_text(text, encoding="utf-8")
        with pytest.raises(ModelError, match=match):
            va.score_like(world, tmp_path)

    refused(None, "holds no fits to score by")
    refused("[1", "is not a JSON file")
    refused("[1]", "cannot be used")
    good = json.loads(save_fits([fits["benchmark"], fits["relative"]], exact=True))

    def changed(**changes) -> str:
        content = {**good, "fits": [{**good["fits"][0], **changes}]}
        content.pop("checksum")
        return json.dumps({**content, "checksum": checksum(content)})

    refused(json.dumps({**good, "format": "valib-fits-0"}), "another version")
    refused(json.dumps({**good, "fits": []}), "changed after it was written")
    for changes in (
        {"tau2": -1.0},
        {"sigma2": 0.0},
        {"sigma2": "1"},
        {"level": 1.5},
        {"model": "other"},
        {"shift": None},
        {"singular": 1},
        {"cohort": 2021.5},
        {"n_schools": "60"},
        {"coefficients": [1.0]},
        {"vcov": {"se": [1.0, 1.0], "correlation": [[1.0, 2.0], [2.0, 1.0]]}},
        {"grid": None},
        {"grid": {"phi": [1.0]}},
        {"grid": {**good["fits"][0]["grid"], "weight": [-1.0] * len(good["fits"][0]["grid"]["weight"])}},
        {"more": 1},
    ):
        refused(changed(**changes), "cannot be used")
    (tmp_path / FILE).write_text(changed(), encoding="utf-8")
    assert len(va.score_like(world, tmp_path).school_effects) == 60


def test_which_cohort_is_asked_for_where_there_are_several(world, bench, tmp_path):
    both = [va.fit_relative(world, 2016), va.fit_relative(world, 2021)]
    (tmp_path / FILE).write_text(save_fits(both, exact=True), encoding="utf-8")
    with pytest.raises(ModelError, match=r"Name the cohort: .* holds fits of \[2016, 2021\]"):
        va.score_like(world, tmp_path)
    with pytest.raises(ModelError, match="holds no fit of cohort 2015"):
        va.score_like(world, tmp_path, 2015)
    with pytest.raises(ModelError, match="The fit is of cohort 2021, not of 2016"):
        va.score_like(world, both[1], 2016)
    found = va.score_like(world, tmp_path, 2016)
    pd.testing.assert_frame_equal(found.school_effects, both[0].school_effects, atol=EXACT, rtol=0)
    with pytest.raises(va.RecordsError, match="2021"):
        va.score_like(world[world["cohort"] != 2021], both[1])


def test_a_fit_across_a_linked_break_is_not_kept(world, bench):
    breaks = [va.ScaleBreak(2020, "score", va.Link(1.1, -20.0, 0.01, 4.0, 0.0))]
    fit = va.fit_benchmark(world, 2021, bench, scale_breaks=breaks)
    with pytest.raises(ModelError, match="has crossed a scale break"):
        va.score_like(world, fit)
    assert save_fits([fit]) is None


# one school against a benchmark, and shifts of few schools


def test_a_benchmark_with_carried_variances_and_absorbed_shift_scores_one_school(world, bench, fits):
    full = fits["absorbed, carried"]
    for school in ("S0007", full.school_effects["n"].idxmin()):
        rows = world[(world["school"] == school) & (world["cohort"] == 2021)]
        alone = va.fit_benchmark(rows, 2021, bench, shift="absorbed", variances="baseline")
        pd.testing.assert_frame_equal(alone.school_effects, full.school_effects.loc[[school]], atol=1e-9, rtol=0)
    assert full.school_effects["n"].min() == 1
    with pytest.raises(ModelError, match="at least two schools"):
        va.fit_benchmark(rows, 2021, bench, variances="baseline")


@pytest.mark.parametrize(("schools", "warns"), [(19, True), (20, False)])
def test_a_shift_of_few_schools_warns_once(world, bench, schools, warns):
    some = world[world["school"] < f"S{schools:04d}"]
    fit = va.fit_benchmark(some, 2021, bench)
    assert fit.n_schools == schools
    told = [one for one in fit.findings if one.code == "few_schools"]
    assert len(told) == warns
    if warns:
        assert f"from {schools} schools, fewer than 20" in told[0].text
    assert not any(one.code == "few_schools" for one in va.fit_benchmark(some, 2021, bench, shift="absorbed").findings)
