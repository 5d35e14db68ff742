"""Generated tables through reading and every fit: a refusal in one sentence, or a finite result that is true.

Every example is small enough for dense matrices, which the results are compared with. `make test` runs a fixed sequence
of examples; the tests marked long run a longer one.
"""

from __future__ import annotations

import datetime
import math
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

import valib as va
from valib.errors import ValibError, ValibWarning

FEW = {"read": 150, "relative": 200, "benchmark": 120, "joint": 40, "same": 50}
MANY = 3  # times as many in the long test
ODD = [
    math.inf,
    -math.inf,
    1e308,
    -1e308,
    1e-320,
    1e200,
    1e-200,
    "512,5",
    "512.5",
    " 7 ",
    "1e400",
    "",
    "nan",
    "NA",
    True,
    False,
    None,
    math.nan,
    pd.NA,
    pd.NaT,
    Decimal("1.5"),
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("1E+999999"),
    b"5",
    [1, 2],
    (1,),
    {"a": 1},
    1 + 2j,
    2**31 + 1,
    2**53 + 1,
    2**63 + 1,
    2**64 + 1,
    10**400,
    -5,
    0,
    2.5,
    2.0**60,
    2015.0,
    "2015",
    "\ud800",
    "\x00",
    "S1",
    "=1+1",
    "<b>",
    datetime.date(2020, 1, 1),
    pd.Timestamp("2020-01-01"),
    np.timedelta64(1, "D"),
    np.float32(1.5),
    np.int8(-3),
    object(),
]
FORMULAS = [
    "score ~ prior_score",
    "score ~ 1",
    "score ~ prior_score + region",
    "score ~ prior_score + C(grade)",
    "score ~ prior_score + x",
    "score ~ prior_score * region",
    "score ~ 0 + prior_score",
    "score ~ region - 1",
    "score ~ prior_score + school_mean(prior_score)",
    "score ~ poly(prior_score, 2)",
    "score ~ center(x) + prior_score",
    "score ~ prior_score + I(x ** 2)",
    "score ~ bs(prior_score, df=4)",
    "score ~ np.log(prior_score)",
    "score ~ prior_score + constant",
    "score ~ prior_score + twin",
    "score ~ prior_score + unique",
]


@st.composite
def tables(draw, cohorts=(2015, 2016, 2019), schools=6):
    """Records of a few schools with unbalanced sizes, ties, missing values and covariates of every kind."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(0, 9), min_size=len(cohorts) * schools, max_size=len(cohorts) * schools))
    cell = np.repeat(np.arange(len(sizes)), sizes)
    n, school, cohort = len(cell), cell % schools, np.asarray(cohorts)[cell // schools]
    prior = 300 + 60 * rng.standard_normal(n) + 20 * rng.standard_normal(schools)[school]
    effect = draw(st.sampled_from([0.0, 5.0, 30.0])) * rng.standard_normal(schools)[school]
    noise = draw(st.sampled_from([40.0, 40.0, 1.0, 1e-4, 0.0])) * rng.standard_normal(n)
    score = draw(st.sampled_from([0.0, 0.8])) * prior + effect + noise
    shape = draw(st.sampled_from(["plain", "plain", "plain", "rounded", "two values", "constant"]))
    if n and shape != "plain":
        score = {
            "rounded": np.round(score, -1),
            "two values": (score > np.median(score)) * 1.0,
            "constant": np.full(n, 7.0),
        }[shape]
    score = score * draw(st.sampled_from([1.0, 1.0, 1e-12, 1e12, 1e28, 1e-28, 1e200, 1e-200])) + draw(
        st.sampled_from([0.0, 0.0, 1e4, -1e6])
    )
    frame = pd.DataFrame(
        {
            "student": [f"p{i}" for i in range(n)],
            "school": [f"S{k}" for k in school],
            "cohort": cohort,
            "score": score,
            "prior_score": prior,
            "region": rng.choice(["north", "süd", "<b>"], n),
            "grade": rng.integers(0, 3, n),
            "x": rng.standard_normal(n),
            "constant": 1.0,
            "twin": 2 * prior + 1,
            "unique": [f"u{i}" for i in range(n)],
        }
    )
    for column in draw(st.lists(st.sampled_from(["score", "prior_score", "region", "x", "school"]), max_size=2)):
        frame[column] = frame[column].where(rng.random(n) > 0.15, None)
    if draw(st.booleans()):
        frame = frame.assign(
            region=frame["region"].astype("category").cat.add_categories(["never"]),
            grade=frame["grade"].astype("uint8"),
            x=frame["x"].astype("float32"),
        )
    return frame


@st.composite
def spoilt(draw):
    """The same with a few cells, columns or names that nobody expects."""
    frame = draw(tables(cohorts=(2015, 2016), schools=3))
    for _ in range(draw(st.integers(0, 3))):
        column = draw(st.sampled_from(["student", "school", "cohort", "score", "prior_score"]))
        values = frame[column].astype(object).tolist()
        for row in draw(st.lists(st.integers(0, max(len(values) - 1, 0)), max_size=3)) if values else []:
            values[row] = draw(st.sampled_from(ODD))
        frame[column] = pd.Series(values, dtype=object, index=frame.index)
    change = draw(st.sampled_from(["none", "drop", "twice", "rename", "rows twice", "all missing", "number names"]))
    if change == "drop":
        frame = frame.drop(columns=draw(st.sampled_from(["school", "cohort", "score"])))
    elif change == "twice":
        frame = pd.concat([frame, frame[["score"]]], axis=1)
    elif change == "rename":
        frame = frame.rename(columns={"score": draw(st.sampled_from(["Score", "score ", "=score", "\u202escore"]))})
    elif change == "rows twice":
        frame = pd.concat([frame, frame.head(3)])
    elif change == "all missing":
        frame["score"] = None
    elif change == "number names":
        frame = frame.rename(columns={"x": 5, "grade": (1, 2)})
    return frame


def attempt(compute):
    """The result, or None if valib refuses in one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValibWarning)
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return compute()
        except ValibError as error:
            said = str(error)
            assert said.endswith(".") and said.isprintable() and len(said) < 2000, said
            return None


for _name in ("read_records", "fit_relative", "fit_baseline", "fit_benchmark", "fit_joint", "Benchmark"):
    getattr(va, _name)  # imported before warnings become errors


def records_of(frame):
    return attempt(lambda: va.read_records(frame))


def check_read(frame):
    before = frame.copy(deep=True)
    records = records_of(frame)
    assert all(
        list(map(id, a)) == list(map(id, b)) if a.dtype == object else a.equals(b)
        for (_, a), (_, b) in zip(frame.items(), before.items(), strict=True)
    ), "the caller's table was changed"
    if records is None:
        return
    assert len(records) + int(va.left_out(records)["rows"].sum()) == len(frame)
    assert list(records.columns[:5]) == ["student", "school", "cohort", "score", "prior_score"]
    assert records["cohort"].dtype == np.int64 and records["score"].dtype == records["prior_score"].dtype == np.float64
    assert np.isfinite(records[["score", "prior_score"]].to_numpy()).all()
    assert not records.isna()[["student", "school"]].any().any() and (records["school"].str.strip() != "").all()
    attempt(lambda: va.fit_relative(records, int(records["cohort"].iloc[0])))


def finite(fit) -> None:
    of_cohort = hasattr(fit, "intervals")
    limits = ["se", "lower", "upper"] if of_cohort else ["lower", "upper"] if fit.singular else []
    numbers = [
        fit.fixed_effects,
        fit.vcov,
        fit.school_effects.drop(columns=["n", "tested", "linked_share", "side", *limits]),
        fit.student_sd,
    ]
    numbers += [fit.tau2, fit.loglik] if hasattr(fit, "tau2") else [fit.omega, fit.sigma2, fit.loglik]
    assert all(np.isfinite(np.asarray(x, dtype=float)).all() for x in numbers)
    assert np.all(np.asarray(fit.sigma2) > 0) and (fit.school_effects["se_comparative"] >= 0).all()
    assert not any(isinstance(v, float) and not math.isfinite(v) for v in fit.summary().values())
    if of_cohort:
        limits_are_known_where_they_can_be(fit)


def limits_are_known_where_they_can_be(fit) -> None:
    """Limits are missing only on the boundary of a fit that takes the variances as known; an error has no bound only where
    a posterior of so few schools has no second moment."""
    table = fit.school_effects
    if fit.posterior is None and not (table["shrinkage"].any() or table["effect"].any()):
        assert fit.singular and table[["lower", "upper"]].isna().all(axis=None)
    else:
        assert np.isfinite(table[["lower", "upper"]]).all(axis=None)
        assert ((table["lower"] <= table["effect"]) & (table["effect"] <= table["upper"])).all()
    few = fit.posterior is not None and fit.n_schools < len(fit.fixed_effects) + 4
    assert table["se"].notna().all() and (few or np.isfinite(table["se"]).all())


def dense(y, Z, X, tau2, sigma2, reml=False):
    """GLS coefficients, BLUPs and log-likelihood by dense matrices; Z (N, J) says who is where."""
    V = sigma2 * np.eye(len(y)) + tau2 * Z @ Z.T
    root = np.linalg.cholesky(V)
    Xw, yw = np.linalg.solve(root, X), np.linalg.solve(root, y)
    b = np.linalg.lstsq(Xw, yw, rcond=None)[0] if X.shape[1] else np.zeros(0)
    r = yw - Xw @ b
    loglik = -0.5 * (len(y) * np.log(2 * np.pi) + 2 * np.log(np.diag(root)).sum() + r @ r)
    if reml:
        loglik += 0.5 * (X.shape[1] * np.log(2 * np.pi) - np.linalg.slogdet(Xw.T @ Xw)[1])
    return b, tau2 * Z.T @ np.linalg.solve(V, y - X @ b), loglik


def rounding(sigma2, y, X, b) -> float:
    """What a log-likelihood from sums can be off by: their rounding, as a share of the variation that is left."""
    squares = np.square(y).mean() + np.square(X * np.asarray(b)).mean(axis=0).sum()
    return 1e-6 + 1e-14 * len(y) ** 2 * float(squares) / float(np.min(sigma2))


def design_of(records, cohort, formula):
    from valib.sums.design import build_design

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        design = build_design(records[records["cohort"] == cohort].reset_index(drop=True), formula)
    return design, np.eye(len(design.cells.n))[design.cells.code]


def check_relative(frame, formula, method):
    records = records_of(frame)
    fit = None if records is None else attempt(lambda: va.fit_relative(records, 2015, formula, method=method))
    if fit is None:
        return
    finite(fit)
    table, (design, Z) = fit.school_effects, design_of(records, 2015, formula)
    used = records[records["cohort"] == 2015]
    assert table["n"].sum() == fit.n_students == len(design.y) <= len(used) and len(table) == fit.n_schools
    assert len(used) - len(design.y) <= sum(fit.left_out.values())
    scale = design.y.std()
    if "Intercept" in design.names:
        assert abs(table["effect"].sum()) <= 1e-7 * scale * len(table)
    b, u, loglik = dense(design.y, Z, design.X, fit.tau2, fit.sigma2, method == "REML")
    fitted, expected = design.X @ fit.fixed_effects.to_numpy(), design.X @ b
    np.testing.assert_allclose(fitted, expected, atol=1e-6 * scale, rtol=1e-9)
    np.testing.assert_allclose(table["effect"], u, atol=1e-6 * scale)
    rounded = rounding(fit.sigma2, design.y, design.X, b)
    np.testing.assert_allclose(fit.loglik, loglik, rtol=1e-7, atol=rounded)
    for theta in (0.0, 1e-3, 0.03, 0.3, 3.0, 30.0):  # no other ratio of variances is likelier
        V = np.eye(len(design.y)) + theta * Z @ Z.T
        root = np.linalg.cholesky(V)
        Xw, yw = np.linalg.solve(root, design.X), np.linalg.solve(root, design.y)
        rss = float(((yw - Xw @ np.linalg.lstsq(Xw, yw, rcond=None)[0]) ** 2).sum())
        s2 = rss / (len(yw) - (design.X.shape[1] if method == "REML" else 0))
        assert dense(design.y, Z, design.X, theta * s2, s2, method == "REML")[2] <= fit.loglik + rounded


def check_benchmark(frame, formula, shift, estimator):
    records = records_of(frame)
    benchmark = (
        None
        if records is None
        else attempt(lambda: va.fit_baseline(records, [2015, 2016], formula, estimator=estimator))
    )
    if benchmark is None:
        return
    again = va.Benchmark._from_json(benchmark.to_json())
    np.testing.assert_array_equal(again.coefficients, benchmark.coefficients)
    fit = attempt(lambda: va.fit_benchmark(records, 2019, again, shift=shift))
    if fit is None:
        return
    finite(fit)
    design, Z = design_of(records, 2019, benchmark.state)
    r, scale = design.y - design.X @ benchmark.coefficients.to_numpy(), design.y.std()
    ones = np.ones((len(r), 1 if shift == "estimated" else 0))
    delta, u, loglik = dense(r, Z, ones, fit.tau2, fit.sigma2)
    value = u + (delta[0] if shift == "estimated" else 0.0)
    tolerance = 1e-6 * max(scale, np.abs(r).max())
    np.testing.assert_allclose(fit.school_effects["effect"], value, atol=tolerance)
    np.testing.assert_allclose(
        fit.loglik, loglik, rtol=1e-7, atol=rounding(fit.sigma2, design.y, design.X, benchmark.coefficients)
    )
    if shift == "estimated":
        assert abs(fit.shift - delta[0]) <= tolerance and fit.shift_se > 0
    assert fit.school_effects["n"].sum() == len(r)


def check_joint(frame, formula, covariance, residual):
    records = records_of(frame)
    fit = (
        None
        if records is None
        else attempt(
            lambda: va.fit_joint(records, [2015, 2016, 2019], formula, covariance=covariance, residual=residual)
        )
    )
    if fit is None:
        return
    finite(fit)
    parts = [design_of(records, cohort, formula) for cohort in fit.cohorts]
    assert fit.school_effects["n"].sum() == fit.n_students == sum(len(d.y) for d, _ in parts)
    names = sorted({s for d, _ in parts for s in d.cells.schools})
    y = np.concatenate([d.y for d, _ in parts])
    cohort = np.repeat(np.arange(len(parts)), [len(d.y) for d, _ in parts])
    school = np.concatenate([np.asarray([names.index(s) for s in d.cells.schools])[d.cells.code] for d, _ in parts])
    V = fit.omega.to_numpy()[np.ix_(cohort, cohort)] * (school[:, None] == school) + np.diag(
        fit.sigma2.to_numpy()[cohort]
    )
    coefficients = [fit.fixed_effects.loc[c].to_numpy() for c in fit.cohorts]
    mean = np.concatenate([d.X @ b for b, (d, _) in zip(coefficients, parts, strict=True)])
    direct = stats.multivariate_normal(mean, V, allow_singular=False).logpdf(y)
    rounded = sum(rounding(fit.sigma2, d.y, d.X, b) for b, (d, _) in zip(coefficients, parts, strict=True))
    np.testing.assert_allclose(fit.loglik, direct, rtol=1e-6, atol=10 * rounded)


def check_same(frame, formula, seed):
    """What must not change a fit: the order of rows, the schools' names, a constant; and what must scale it."""
    records = records_of(frame)
    fit = None if records is None else attempt(lambda: va.fit_relative(records, 2015, formula))
    if records is None:
        return
    rng = np.random.default_rng(seed)
    names = {s: f"{rng.integers(10**6)} {s}" for s in records["school"].unique()}
    moved = float(np.abs(records["score"]).max()) or 1.0
    unit = 0.25 if moved > 1 else 4.0  # towards the middle of the sizes that a model takes
    changed = {
        "order": records.sample(frac=1.0, random_state=seed),
        "names": records.assign(school=records["school"].map(names)),
        "constant": records.assign(score=records["score"] + moved),
        "unit": records.assign(score=records["score"] * unit),
    }
    for kind, other in changed.items():
        if kind == "constant" and (fit is None or "Intercept" not in fit.fixed_effects.index or moved > 1e29):
            continue  # the largest size that a model takes is 1e30
        if kind == "unit" and moved > 1e30:
            continue  # refused for its size, which the other unit may bring within the bound
        again = attempt(lambda other=other: va.fit_relative(va.read_records(other), 2015, formula))
        assert (again is None) == (fit is None), kind
        if fit is not None:
            factor = unit if kind == "unit" else 1.0
            table = again.school_effects["effect"]
            expected = fit.school_effects["effect"].rename(index=names if kind == "names" else None) * factor
            np.testing.assert_allclose(table.sort_index(), expected.sort_index(), atol=2e-5 * factor * fit.student_sd)


CHECKS = {
    "read": (check_read, spoilt()),
    "relative": (check_relative, tables(), st.sampled_from(FORMULAS), st.sampled_from(["ML", "REML"])),
    "benchmark": (
        check_benchmark,
        tables(),
        st.sampled_from(FORMULAS),
        st.sampled_from(["estimated", "absorbed"]),
        st.sampled_from(["mixed", "ols", "within"]),
    ),
    "joint": (
        check_joint,
        tables(),
        st.sampled_from(FORMULAS),
        st.sampled_from(["unstructured", "independent", "ar1"]),
        st.sampled_from(["by_cohort", "common"]),
    ),
    "same": (check_same, tables(), st.sampled_from(FORMULAS), st.integers(0, 1000)),
}


def run(name: str, examples: int) -> None:
    check, *drawn = CHECKS[name]
    settled = settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    settled(given(*drawn)(check))()


@pytest.mark.parametrize("name", CHECKS)
def test_a_refusal_in_one_sentence_or_a_true_result(name):
    run(name, FEW[name])


@pytest.mark.long
@pytest.mark.parametrize("name", CHECKS)
def test_the_same_for_many_more_tables(name):
    run(name, MANY * FEW[name])


def test_how_many_tables_are_tried():
    assert FEW.keys() == CHECKS.keys() and sum(FEW.values()) == 560 and len(ODD) == 51 and len(FORMULAS) == 17
