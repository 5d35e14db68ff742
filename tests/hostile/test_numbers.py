"""Numbers, codes and categories at the edges: exact, or refused in one sentence before memory or time go."""

from __future__ import annotations

import json
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from conftest import simulate

import valib as va
from valib.errors import ModelError, RecordsError
from valib.study.writing import as_json
from valib.sums.covariates import LARGEST, WIDEST, check_width
from valib.sums.formula import parse


@pytest.fixture
def frame() -> pd.DataFrame:
    return simulate(np.random.default_rng(4), schools=9, size=(6, 16), cohorts=(2015, 2016, 2021)).drop(columns="u")


def refused(compute, kind) -> str:
    with warnings.catch_warnings(), pytest.raises(kind) as caught:
        warnings.simplefilter("error", RuntimeWarning)
        compute()
    said = str(caught.value)
    assert said.endswith(".") and said.isprintable() and len(said) < 500
    return said


CODES = [
    ("int64", 2**31),
    ("int64", 2**53),
    ("uint64", 2**63),
    ("uint64", 2**64 - 100),
    ("int64", -(2**63)),
    ("object", 2**70),
    ("float64", 2**31),
    ("float64", 2**52),
    ("Int64", 2**53),
    ("uint8", 0),
]


@pytest.mark.parametrize(("kind", "first"), CODES, ids=str)
def test_large_codes_are_exact(kind, first, frame):
    number = frame["school"].str[1:].astype(int)
    codes = pd.Series([first + int(k) for k in number], dtype=object).astype(kind)
    records = va.read_records(frame.assign(school=codes))
    assert list(records["school"]) == [str(first + int(k)) for k in number]
    fit = va.fit_relative(records, 2015)
    np.testing.assert_allclose(fit.tau2, va.fit_relative(va.read_records(frame), 2015).tau2, rtol=1e-6, atol=1e-6)


BAD_CODES = [
    2.0**53,
    1e300,
    -(2.0**60),
    np.inf,
    -np.inf,
    10**400,
    Decimal("1E+999999999"),
    Decimal("sNaN"),
    True,
    b"S1",
    (1, 2),
    [1],
    1 + 2j,
    pd.Timestamp("2020-01-01"),
    "\ud800",
    object(),
]


@pytest.mark.parametrize("value", BAD_CODES, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("column", ["school", "student"])
def test_what_is_no_code_is_refused(column, value, frame):
    cells = frame[column].astype(object).tolist()
    cells[3] = value
    said = refused(lambda: va.read_records(frame.assign(**{column: pd.Series(cells, dtype=object)})), RecordsError)
    assert f"column '{column}'" in said


def test_floats_that_stand_for_several_codes_are_refused(frame):
    said = refused(lambda: va.read_records(frame.assign(school=2.0**53 + np.arange(len(frame)))), RecordsError)
    assert "column 'school' must hold codes" in said


@pytest.mark.parametrize("file", [False, True])
@pytest.mark.parametrize("column", ["score", "prior_score"])
def test_decimal_commas_in_a_table_are_named(column, file, frame, tmp_path):
    text = frame[column].map(lambda v: f"{v:.1f}".replace(".", ","))
    source = frame.assign(**{column: text})
    if file:
        source.to_parquet(tmp_path / "r.parquet")
        source = tmp_path / "r.parquet"
    said = refused(lambda: va.read_records(source), RecordsError)
    assert f"column '{column}' must hold numbers" in said and "the first has a decimal comma" in said
    assert text.iloc[0] not in said


COVARIATES = {
    "decimal commas": lambda f: [f"{v:.1f}".replace(".", ",") for v in f["prior_score"]],
    "numbers as text": lambda f: [f"{v:.2f}" for v in f["prior_score"]],
    "dates": lambda f: pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(len(f)), "D"),
    "durations": lambda f: pd.to_timedelta(np.arange(len(f)), "D"),
    "periods": lambda f: pd.period_range("2000-01-01", periods=len(f), freq="D"),
    "intervals": lambda f: pd.cut(f["prior_score"], 4),
    "complex": lambda f: np.arange(len(f)) * 1j,
    "bytes": lambda f: [b"a", b"b"] * (len(f) // 2) + [b"a"] * (len(f) % 2),
    "lists": lambda f: [[1]] * len(f),
    "mixed": lambda f: [1, b"a"] * (len(f) // 2) + [1] * (len(f) % 2),
    "huge integers": lambda f: [10**400] * len(f),
    "infinite": lambda f: np.where(np.arange(len(f)) == 3, np.inf, 1.0),
    "1e308": lambda f: f["prior_score"] * 1e300,
    "1e-320": lambda f: f["prior_score"] * 1e-300,
    "objects": lambda f: [object()] * len(f),
    "level a student": lambda f: f["student"],
}


@pytest.mark.parametrize("kind", COVARIATES)
def test_a_covariate_that_is_neither_number_nor_category_is_refused(kind, frame):
    values = COVARIATES[kind](frame)
    records = va.read_records(frame.assign(x=values if hasattr(values, "dtype") else pd.Series(values, dtype=object)))
    refused(lambda: va.fit_relative(records, 2015, "score ~ prior_score + x"), ModelError)


def test_small_integers_do_not_overflow_and_decimals_are_numbers(frame):
    whole = np.arange(len(frame)) % 250
    for values in (
        whole.astype("uint8"),
        whole.astype("float16"),
        pd.array(whole, dtype="Int64"),
        pd.Series([Decimal(int(k)) for k in whole], dtype=object),
    ):
        for term in ("x", "I(x * x)", "I(x - 2 * x)", "x:prior_score"):
            a = va.fit_relative(va.read_records(frame.assign(x=values)), 2015, f"score ~ prior_score + {term}")
            b = va.fit_relative(va.read_records(frame.assign(x=whole * 1.0)), 2015, f"score ~ prior_score + {term}")
            np.testing.assert_allclose(a.fixed_effects, b.fixed_effects, rtol=1e-9)


def test_a_category_with_too_many_levels_is_refused_before_it_is_made(frame):
    many = pd.concat([frame] * 400, ignore_index=True)
    assert len(many) > 100_000
    levels = [f"level {k % 100_000}" for k in range(len(many))]
    for values in (pd.Series(levels), pd.Categorical(levels)):
        records = many.assign(x=values)
        said = refused(lambda records=records: va.fit_mixed(records, "score ~ prior_score + x", "school"), ModelError)
        assert "100,000 levels" in said and f"{WIDEST:,} are the most" in said
    said = refused(lambda: va.fit_mixed(many, "score ~ C(student):C(school)", "school"), ModelError)
    assert "columns of fixed effects" in said


def test_ten_million_categories_that_nobody_is_in_change_nothing(frame):
    categories = pd.RangeIndex(10_000_000)
    codes = np.arange(len(frame)) % 3
    records = va.read_records(frame.assign(x=pd.Categorical.from_codes(codes, categories)))
    plain = va.read_records(frame.assign(x=codes))
    a = va.fit_relative(records, 2015, "score ~ prior_score + x")
    b = va.fit_relative(plain, 2015, "score ~ prior_score + C(x)")
    np.testing.assert_allclose(a.fixed_effects, b.fixed_effects)
    assert list(a.fixed_effects.index) == ["Intercept", "prior_score", "x[T.1]", "x[T.2]"]


def test_a_long_table_takes_fewer_columns():
    """The bound on entries, without making such a table."""

    class Long(pd.DataFrame):
        def __len__(self) -> int:
            return 10_000_000

    rows = Long({"x": [f"{k % 60}" for k in range(120)]})
    with pytest.raises(ModelError, match=f"{LARGEST // 10_000_000} are the most"):
        check_width(rows, parse("score ~ x").rhs)


EXTREMES = {
    "1e200": lambda f: f["score"] * 1e200,
    "1e-200": lambda f: f["score"] * 1e-200,
    "1e308": lambda f: f["score"] * 1e305,
    "denormal": lambda f: f["score"] * 1e-322,
    "one 1e308": lambda f: f["score"].where(f.index != 2, 1e308),
    "constant": lambda f: 5.0,
    "zero": lambda f: 0.0,
    "perfect": lambda f: 2 * f["prior_score"] + 1,
    "by school": lambda f: f["school"].str[1:].astype(float),
    "the prior": lambda f: f["prior_score"],
    "beside 1e15": lambda f: 1e18 + f["score"],
}
SHAPES = {
    "one school": lambda f: f.assign(school="A"),
    "one student a school": lambda f: f.assign(school=f["student"]),
    "two rows": lambda f: f.iloc[:2],
    "three rows": lambda f: f.iloc[:3],
    "one row": lambda f: f.iloc[:1],
    "constant prior": lambda f: f.assign(prior_score=1.0),
    "twin": lambda f: f.assign(x=3 * f["prior_score"]),
}


@pytest.mark.parametrize("kind", [*EXTREMES, *SHAPES])
def test_what_cannot_be_fitted_is_refused_by_every_model(kind, frame):
    bad = frame.assign(score=EXTREMES[kind](frame)) if kind in EXTREMES else SHAPES[kind](frame)
    records, formula = va.read_records(bad), "score ~ prior_score + x" if kind == "twin" else "score ~ prior_score"
    refused(lambda: va.fit_relative(records, 2015, formula), ModelError)
    if kind not in ("two rows", "three rows", "one row"):
        refused(lambda: va.fit_baseline(records, [2015, 2016], formula), va.errors.ValibError)
        refused(lambda: va.fit_joint(records, [2015, 2016, 2021], formula), ModelError)


@pytest.mark.parametrize("unit", [1e25, 1e10, 1e-10, 1e-25])
def test_another_unit_gives_the_same_model(unit, frame):
    a = va.fit_relative(va.read_records(frame), 2015)
    b = va.fit_relative(va.read_records(frame.assign(score=frame["score"] * unit)), 2015)
    np.testing.assert_allclose(b.school_effects["effect"] / unit, a.school_effects["effect"], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(b.school_effects["se_comparative"] / unit, a.school_effects["se_comparative"], rtol=1e-6)


def test_an_error_that_is_not_known_is_null_in_json_and_never_nan(frame):
    within = frame["score"] - frame.groupby(["school", "cohort"])["score"].transform("mean")
    centred = frame["prior_score"] - frame.groupby(["school", "cohort"])["prior_score"].transform("mean")
    records = va.read_records(frame.assign(score=500 + within, prior_score=500 + centred))
    fits = [va.fit_relative(records, cohort) for cohort in (2015, 2016, 2021)]
    singular = [fit for fit in fits if fit.singular]
    assert singular and all(np.isnan(fit.tau2_se) for fit in singular)
    content = json.loads(as_json([fit.summary() for fit in singular]), parse_constant=lambda text: pytest.fail(text))
    assert all(entry["tau2_se"] is None and entry["tau2"] == 0 and entry["sigma2"] > 0 for entry in content)
    joint = va.fit_joint(records, [2015, 2016, 2021])
    json.loads(as_json(joint.summary()), parse_constant=lambda text: pytest.fail(text))


def test_how_many_inputs_are_tried():
    assert (len(CODES), len(BAD_CODES), len(COVARIATES), len(EXTREMES), len(SHAPES)) == (10, 16, 16, 11, 7)
