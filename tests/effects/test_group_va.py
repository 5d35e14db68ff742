"""Means of groups of schools and schools beside schools like them, against dense matrices, by hand and at the edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import simulate

import valib as va
from valib.errors import ModelError

pytestmark = pytest.mark.filterwarnings("ignore:The change of the mean prior_score")
EXACT = 1e-8  # of score points: two ways of the same algebra


@pytest.fixture(scope="module")
def world() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    frame = simulate(rng, 24, (1, 12), (2015, 2016, 2021), tau=15, rho=0.6, shift={2021: -9.0})
    return frame.assign(district=frame["school"].str[-1].astype(int) % 4, ses=rng.normal(size=len(frame)))


@pytest.fixture(scope="module")
def groups(world) -> pd.Series:
    return va.school_groups(world, "district", 2021)


def dense(world, fit) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """y, X, Z (students by school) and n of the cohort, row by row."""
    rows = world[world["cohort"] == fit.cohort]
    Z = (rows["school"].to_numpy()[:, None] == fit.school_effects.index.to_numpy()[None]).astype(float)
    X = np.column_stack([np.ones(len(rows)), rows["prior_score"]])
    return rows["score"].to_numpy(), X, Z, Z.sum(axis=0)


def weights_of(groups: pd.Series, fit, n: np.ndarray | None) -> np.ndarray:
    label = groups.reindex(fit.school_effects.index).to_numpy()
    w = np.array([(label == g) * (1.0 if n is None else n) for g in sorted(set(label))])
    return w / w.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["equal", "students"])
def test_a_relative_group_is_that_of_the_covariance_matrix_of_all_schools(world, groups, kind):
    """V = tau2 I - tau2^2 Z'PZ, P of all students, N by N: the covariance of u_hat - u (Henderson 1975)."""
    fit = va.fit_relative(world, 2021)
    y, X, Z, n = dense(world, fit)
    inverse = np.linalg.inv(fit.sigma2 * np.eye(len(y)) + fit.tau2 * Z @ Z.T)
    P = inverse - inverse @ X @ np.linalg.inv(X.T @ inverse @ X) @ X.T @ inverse
    V = fit.tau2 * np.eye(len(n)) - fit.tau2**2 * Z.T @ P @ Z
    w = weights_of(groups, fit, n if kind == "students" else None)
    found = va.group_va(fit, groups, kind, intervals="plugin")
    np.testing.assert_allclose(found["effect"], w @ (fit.tau2 * Z.T @ P @ y), atol=EXACT)
    np.testing.assert_allclose(found["se"], np.sqrt(np.diag(w @ V @ w.T)), atol=EXACT)
    assert found["n"].sum() == len(y) and found["schools"].sum() == len(n)
    assert "shift" not in found and found.attrs["intervals"] == "plugin"


@pytest.mark.parametrize("shift", ["estimated", "absorbed"])
def test_a_benchmark_group_has_the_errors_of_benchmark_and_equating_in_full(world, groups, shift):
    """VA_hat = H r with r = y - X b_B, so that the errors of b_B and of equating enter as H X F and H 1 s."""
    bench = va.fit_baseline(world, [2015, 2016])
    fit = va.fit_benchmark(world, 2021, bench, shift=shift, equating_se=2.0)
    y, X, Z, n = dense(world, fit)
    inverse = np.linalg.inv(fit.sigma2 * np.eye(len(y)) + fit.tau2 * Z @ Z.T)
    one = np.ones((len(y), 1))
    G = fit.tau2 * Z.T @ inverse  # u_hat = G (r - delta)
    H, V = G, fit.tau2 * np.eye(len(n)) - fit.tau2 * G @ Z
    if shift == "estimated":
        var_delta = 1 / float((one.T @ inverse @ one)[0, 0])
        D = var_delta * one.T @ inverse
        left = np.ones((len(n), 1)) - G @ one
        H, V = G + left @ D, V + var_delta * left @ left.T
    V = V + H @ (X @ bench.vcov.to_numpy() @ X.T + 4.0 * one @ one.T) @ H.T
    w = weights_of(groups, fit, None)
    found = va.group_va(fit, groups, intervals="plugin")
    np.testing.assert_allclose(found["effect"], w @ H @ (y - X @ bench.coefficients.to_numpy()), atol=1e-6)
    np.testing.assert_allclose(found["se"], np.sqrt(np.diag(w @ V @ w.T)), atol=1e-6)
    assert ("shift" in found) == (shift == "estimated")


def test_by_hand_in_a_balanced_world():
    """n students in each of J schools, no covariate: lambda (ybar_g - ybar), and
    tau2 (1 - lambda) / J_g + lambda^2 (tau2 + sigma2 / n) / J."""
    rng = np.random.default_rng(2)
    J, n = 12, 8
    school = np.repeat([f"{k:02d}" for k in range(J)], n)
    score = 500 + 10 * np.repeat(rng.standard_normal(J), n) + 30 * rng.standard_normal(J * n)
    rows = pd.DataFrame({"school": school, "score": score, "prior_score": 0.0, "cohort": 2024, "student": range(J * n)})
    fit = va.fit_relative(rows, 2024, "score ~ 1")
    assert fit.tau2 > 0
    lam = n * fit.tau2 / (n * fit.tau2 + fit.sigma2)
    labels = {s: "A" if s < "03" else "B" for s in np.unique(school)}
    found = va.group_va(fit, labels, intervals="plugin")
    mean = rows["score"].groupby(rows["school"].map(labels)).mean()
    np.testing.assert_allclose(found["effect"], lam * (mean - rows["score"].mean()), atol=1e-9)
    shared = lam**2 * (fit.tau2 + fit.sigma2 / n) / J
    np.testing.assert_allclose(found["se"] ** 2, fit.tau2 * (1 - lam) / np.array([3, 9]) + shared, rtol=1e-9)


def test_integrated_limits_are_those_of_draws_of_all_schools_at_once(world, groups):
    """The posterior's own draws (phi, sigma2, b, shared errors, then every u) averaged over the group."""
    bench = va.fit_baseline(world, [2015, 2016])
    fit = va.fit_benchmark(world, 2021, bench, equating_se=3.0)
    w = weights_of(groups, fit, None)
    size = 40_000
    drawn = fit.posterior.draw(size, np.random.default_rng(5)) @ w.T
    found = va.group_va(fit, groups)
    assert found.attrs["intervals"] == "integrated"
    mcse = found["se"] / np.sqrt(size)
    assert (np.abs(drawn.std(axis=0) - found["se"]) < 5 * mcse).all()
    for limit, p in (("lower", 0.025), ("upper", 0.975)):  # a quantile's error is about 2.7 of a mean's
        assert (np.abs(np.quantile(drawn, p, axis=0) - found[limit]) < 14 * mcse).all()


def test_one_school_is_its_own_group_and_a_pair_is_a_difference(world):
    fit = va.fit_benchmark(world, 2021, va.fit_baseline(world, [2015, 2016]))
    effects = fit.school_effects
    for intervals, columns in (("integrated", ["effect", "se", "lower", "upper"]), ("plugin", ["effect"])):
        alone = va.group_va(fit, {s: s for s in effects.index}, intervals=intervals)
        np.testing.assert_allclose(alone[columns], effects[columns], atol=1e-7)
        if intervals == "plugin":
            np.testing.assert_allclose(alone["se"], effects["se_comparative"], atol=1e-9)
    pair = np.zeros((1, len(effects)))
    pair[0, [3, 7]] = 1, -1
    ours, theirs = fit.posterior.combinations(pair), fit.posterior.differences(np.array([3]), np.array([7]))
    np.testing.assert_allclose(ours.mean, theirs.mean, atol=1e-10)
    np.testing.assert_allclose(ours.scale, theirs.scale, rtol=1e-10)


def test_the_shift_of_a_group_by_hand_and_of_all_schools(world, groups):
    bench = va.fit_baseline(world, [2015, 2016])
    fit = va.fit_benchmark(world, 2021, bench)
    rows = world[world["cohort"] == 2021]
    r = rows["score"] - bench.coefficients.iloc[0] - bench.coefficients.iloc[1] * rows["prior_score"]
    by = r.groupby(rows["school"]).agg(["mean", "size"])
    a = by["size"] / (1 + by["size"] * fit.theta)
    label = groups.reindex(by.index)
    expected = (a * by["mean"]).groupby(label).sum() / a.groupby(label).sum()
    found = va.group_va(fit, groups, benchmark=bench)
    np.testing.assert_allclose(found["shift"], expected, atol=1e-7)
    psi, d = bench.influence, {}
    for school in sorted(set(by.index) | set(psi.index)):  # what each school adds, one by one
        d[school] = 0.0
    g = "1"
    inside = label.index[label == g]
    share = a[inside] / a[inside].sum()
    prior = rows["prior_score"].groupby(rows["school"]).mean()
    centre = np.array([1.0, share @ prior[inside]])
    for school in d:
        d[school] -= float(psi.loc[school].to_numpy() @ centre) if school in psi.index else 0.0
        d[school] += share[school] * (by["mean"][school] - expected[g]) if school in inside else 0.0
    own = sum(v**2 for k, v in d.items() if k in inside) * len(inside) / (len(inside) - 1)
    rest = sum(v**2 for k, v in d.items() if k not in inside) * len(d) / (len(d) - 1)
    assert found.loc[g, "shift_se"] == pytest.approx(np.sqrt(own + rest), rel=1e-7)
    every = va.group_va(fit, dict.fromkeys(by.index, "all"), benchmark=bench).loc["all"]
    assert every["shift"] == pytest.approx(fit.shift, abs=1e-7)
    assert every["shift_se"] == pytest.approx(fit.shift_se, rel=0.01)
    cautious = va.group_va(fit, dict.fromkeys(by.index, "all"))
    two = va.fit_benchmark(world, 2021, replace(bench, influence=None))
    assert cautious.attrs["shift_error"] == "cautious" == two.shift_error
    assert cautious.loc["all", "shift_se"] == pytest.approx(two.shift_se, rel=1e-9)
    assert cautious.loc["all", "shift_lower"] == pytest.approx(two.shift_interval[0], rel=1e-7)


def test_a_group_of_one_school_has_no_error_by_school(world, groups):
    bench = va.fit_baseline(world, [2015, 2016])
    fit = va.fit_benchmark(world, 2021, bench)
    alone = va.group_va(fit, {fit.school_effects.index[0]: "one"}, benchmark=bench).loc["one"]
    assert np.isfinite(alone["se"]) and np.isnan(alone["shift_se"]) and np.isnan(alone["shift_lower"])


def test_where_schools_do_not_vary_only_integrated_limits_say_something():
    frame = simulate(np.random.default_rng(1), 12, (3, 6), (2021,), tau=0.0)
    frame["score"] -= frame.groupby("school")["score"].transform("mean") * 0.9
    with pytest.warns(va.ValibWarning, match="cannot be told apart"):
        fit = va.fit_relative(frame, 2021)
    assert fit.singular
    labels = {s: s[-1] for s in fit.school_effects.index}
    assert va.group_va(fit, labels, intervals="plugin")[["se", "lower", "upper"]].isna().all(axis=None)
    assert np.isfinite(va.group_va(fit, labels)[["se", "lower", "upper"]]).all(axis=None)


def test_carried_variances_have_plug_in_limits(world, groups):
    fit = va.fit_benchmark(world, 2021, va.fit_baseline(world, [2015, 2016]), variances="baseline")
    found = va.group_va(fit, groups)
    assert found.attrs["intervals"] == "plugin" and np.isfinite(found["lower"]).all()


def test_what_cannot_be_a_group_is_refused(world, groups):
    fit = va.fit_relative(world, 2021)
    with pytest.raises(ModelError, match="must be one of equal, students, not 'size'"):
        va.group_va(fit, groups, "size")
    with pytest.raises(ModelError, match="None of the schools of cohort 2021 is in a group"):
        va.group_va(fit, {"elsewhere": "A"})
    some = groups.iloc[:5]  # the others are in no group
    assert va.group_va(fit, some)["schools"].sum() == 5


# similar schools


def test_similar_schools_by_hand(world):
    fit = va.fit_relative(world, 2021)
    found = va.similar_schools(world, fit, ["prior_score", "ses"], k=3)
    means = world[world["cohort"] == 2021].groupby("school")[["prior_score", "ses"]].mean()
    z = (means - means.mean()) / means.std(ddof=1)
    for school, row in found.iterrows():
        distance = np.sqrt(((z - z.loc[school]) ** 2).sum(axis=1)).drop(school).sort_values()
        nearest = list(distance.index[:3])
        assert row["neighbours"] == "; ".join(nearest)
        assert row["distance"] == pytest.approx(distance.iloc[2])
        assert row["similar"] == pytest.approx(fit.school_effects.loc[nearest, "effect"].mean(), abs=1e-9)
        w = (fit.school_effects.index == school) * 1.0 - fit.school_effects.index.isin(nearest) / 3
        mixture = fit.posterior.combinations(w[None])
        assert row["difference"] == pytest.approx(row["effect"] - row["similar"], abs=1e-9)
        assert row["se"] == pytest.approx(mixture.sd()[0, 0], rel=1e-10)
        assert row["lower"] == pytest.approx(mixture.quantile(0.025)[0, 0], rel=1e-9)


def test_a_school_held_back_stands_beside_nobody(world):
    fit = va.fit_relative(world, 2021)
    kept = va.only_shown(fit.school_effects, 5).index
    found = va.similar_schools(world, fit, ["prior_score"], k=2, min_students=5)
    assert list(found.index) == list(kept) and len(kept) < len(fit.school_effects)
    assert {s for row in found["neighbours"] for s in row.split("; ")} <= set(kept)
    moved = world.copy()  # nothing of a school that is not shown decides who is near
    hidden = ~moved["school"].isin(kept)
    moved.loc[hidden & (moved["cohort"] == 2021), "ses"] += 100.0
    by = {"by": ["ses"], "k": 2, "min_students": 5}
    pd.testing.assert_frame_equal(va.similar_schools(world, fit, **by), va.similar_schools(moved, fit, **by))


def test_categories_streams_and_blocks_of_schools(tmp_path):
    rng = np.random.default_rng(4)
    frame = simulate(rng, 300, (3, 6), (2021,)).drop(columns="u")
    frame["kind"] = rng.choice(["a", "b", "c"], len(frame))
    frame.to_csv(tmp_path / "r.csv", index=False)
    fit = va.fit_relative(frame, 2021)
    found = va.similar_schools(frame, fit, ["prior_score", "kind"], k=4)
    assert len(found) == 300
    stream = va.stream_records(str(tmp_path / "r.csv"))
    again = va.similar_schools(stream, fit, ["prior_score", "kind"], k=4)
    pd.testing.assert_series_equal(found["neighbours"], again["neighbours"])
    w = np.zeros((1, 300))
    at = found.index.get_indexer([found.index[280], *found["neighbours"].iloc[280].split("; ")])
    w[0, at] = [1, *[-0.25] * 4]
    assert found["se"].iloc[280] == pytest.approx(fit.posterior.combinations(w).sd()[0, 0], rel=1e-9)


def test_what_schools_cannot_be_similar_by_is_refused(world):
    fit = va.fit_relative(world, 2021)
    with pytest.raises(ModelError, match="'flat' does not vary between schools"):
        va.similar_schools(world.assign(flat=1.0), fit, ["flat"])
    with pytest.raises(ModelError, match="needs column 'nothing'"):
        va.similar_schools(world, fit, ["nothing"])
    with pytest.raises(ModelError, match="beside 24 others needs more than 24 schools; there are 24"):
        va.similar_schools(world, fit, ["prior_score"], k=24)
    with pytest.raises(ModelError, match="one covariate or more"):
        va.similar_schools(world, fit, [])
