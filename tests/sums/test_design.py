"""Formulas to matrices: categories, interactions, school means, states that are learned once, and clear
refusals."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from valib.errors import ModelError, ValibWarning
from valib.sums.covariates import as_covariates
from valib.sums.design import INTERCEPT, FormulaState, build_design, make_cells, parse, plain_matrix, required_columns


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    n = 120
    return pd.DataFrame(
        {
            "student": [str(i) for i in range(n)],
            "school": rng.choice(list("DBAC"), n),
            "cohort": rng.choice([2015, 2016], n),
            "score": rng.normal(500, 60, n),
            "prior_score": rng.normal(480, 60, n),
            "region": rng.choice(["north", "south", "west"], n),
            "female": rng.integers(0, 2, n),
            "the ses": rng.normal(size=n),
        }
    )


def column(design, name):
    return design.X[:, design.names.index(name)]


class TestMatrix:
    def test_plain_columns(self, rows):
        d = build_design(rows, "score ~ prior_score + female")
        assert d.names == ("Intercept", "prior_score", "female")
        np.testing.assert_array_equal(d.X, np.column_stack([np.ones(120), rows.prior_score, rows.female]))
        np.testing.assert_array_equal(d.y, rows.score)

    def test_text_is_a_category_with_the_first_level_as_reference(self, rows):
        d = build_design(rows, "score ~ prior_score + region")
        assert d.names == ("Intercept", "prior_score", "region[T.south]", "region[T.west]")
        np.testing.assert_array_equal(column(d, "region[T.west]"), rows.region == "west")

    def test_numbers_become_categories_by_C_and_interactions_multiply(self, rows):
        d = build_design(rows, "score ~ C(female) * prior_score")
        np.testing.assert_array_equal(column(d, "C(female)[T.1]:prior_score"), rows.female * rows.prior_score)

    def test_a_column_name_with_a_space_is_written_in_backticks(self, rows):
        d = build_design(rows, "score ~ prior_score + `the ses`")
        np.testing.assert_array_equal(d.X[:, 2], rows["the ses"])
        assert required_columns("score ~ prior_score + `the ses`") == ["prior_score", "score", "the ses"]

    def test_without_intercept(self, rows):
        assert build_design(rows, "score ~ 0 + prior_score").names == ("prior_score",)

    def test_powers_and_functions(self, rows):
        d = build_design(rows, "score ~ prior_score + I(prior_score ** 2) + np.log(prior_score)")
        np.testing.assert_allclose(d.X[:, 2:], np.column_stack([rows.prior_score**2, np.log(rows.prior_score)]))

    def test_school_mean_is_of_the_school_in_the_cohort(self, rows):
        d = build_design(rows, "score ~ prior_score + school_mean(prior_score) + school_mean(female)")
        group = rows.groupby(["school", "cohort"])
        np.testing.assert_allclose(
            column(d, "school_mean(prior_score)"), group.prior_score.transform("mean"), rtol=1e-13
        )
        np.testing.assert_allclose(column(d, "school_mean(female)"), group.female.transform("mean"), rtol=1e-13)

    def test_school_mean_inside_an_interaction(self, rows):
        d = build_design(rows, "score ~ female:school_mean(prior_score)")
        mean = rows.groupby(["school", "cohort"]).prior_score.transform("mean")
        np.testing.assert_allclose(column(d, "female:school_mean(prior_score)"), rows.female * mean, rtol=1e-13)

    def test_school_mean_is_over_the_students_who_enter_the_model(self, rows):
        rows.loc[:9, "the ses"] = np.nan
        with pytest.warns(ValibWarning, match="10 of 120"):
            d = build_design(rows, "score ~ school_mean(prior_score) + `the ses`")
        kept = rows.iloc[10:]
        np.testing.assert_allclose(
            column(d, "school_mean(prior_score)"),
            kept.groupby(["school", "cohort"]).prior_score.transform("mean"),
            rtol=1e-13,
        )
        assert d.left_out == {"the ses": 10} and len(d.y) == 110


class TestCells:
    def test_cells_are_numbered_by_school_then_cohort(self, rows):
        cells = make_cells(rows.school, rows.cohort)
        counts = rows.groupby(["school", "cohort"]).size()
        assert list(cells.schools) == ["A", "B", "C", "D"] and list(cells.cohorts) == [2015, 2016]
        assert [(cells.schools[s], cells.cohorts[t]) for s, t in zip(cells.school, cells.cohort, strict=True)] == list(
            counts.index
        )
        np.testing.assert_array_equal(cells.n, counts)
        assert (cells.schools[cells.school][cells.code] == rows.school.to_numpy()).all()

    def test_a_missing_cell_has_no_number(self, rows):
        rows = rows[~((rows.school == "B") & (rows.cohort == 2016))]
        cells = make_cells(rows.school, rows.cohort)
        assert len(cells.n) == 7 and cells.n.min() > 0 and cells.code.max() == 6

    def test_one_cohort_is_the_same_as_none(self, rows):
        one = make_cells(rows.school, pd.Series(2015, index=rows.index))
        none = make_cells(rows.school)
        np.testing.assert_array_equal(one.code, none.code)


STATEFUL = [
    "center(prior_score)",
    "scale(prior_score)",
    "poly(prior_score, 3)",
    "bs(prior_score, df=5)",
    "scale(prior_score):C(region)",
    "C(region, contr.treatment('west'))",
    "C(region, contr.sum)",
    "poly(prior_score, 2):female + region",
    "center(school_mean(prior_score))",
]


class TestState:
    @pytest.mark.parametrize("term", STATEFUL)
    def test_columns_of_later_rows_are_those_of_the_first_ones(self, rows, term):
        """Reapplied to a part of the same rows, the state gives the same numbers, also after JSON; a
        new one would not."""
        rows["school"] = [f"{s}{c}" for s, c in zip(rows.school, rows.cohort, strict=True)]
        first = build_design(rows, f"score ~ {term}")
        part = rows[(rows.school < "C")]
        state = FormulaState.from_json(json.loads(json.dumps(first.state.to_json())))
        for s in (first.state, state):
            later = build_design(part, s)
            assert later.names == first.names
            np.testing.assert_allclose(later.X, first.X[(rows.school < "C").to_numpy()], rtol=1e-12, atol=1e-12)

    def test_a_centre_is_the_baseline_s_and_not_the_later_cohort_s(self, rows):
        first = build_design(rows, "score ~ center(prior_score)")
        later = build_design(rows.assign(prior_score=rows.prior_score + 25), first.state)
        assert later.X[:, 1].mean() == pytest.approx(25, rel=1e-9)

    def test_a_level_that_is_absent_later_keeps_its_column(self, rows):
        first = build_design(rows, "score ~ region")
        later = build_design(rows[rows.region != "west"], first.state)
        assert later.names == first.names and not later.X[:, 2].any()

    def test_the_reference_level_may_be_absent_later(self, rows):
        first = build_design(rows, "score ~ region")
        later = build_design(rows[rows.region == "west"], first.state)
        np.testing.assert_array_equal(later.X, np.tile([1, 0, 1], (len(later.y), 1)))

    @pytest.mark.parametrize(
        "formula",
        [
            "score ~ region",
            "score ~ C(region)",
            "score ~ prior_score * region",
            "score ~ C(region, contr.treatment('west'))",
        ],
    )
    def test_an_unseen_level_is_named_with_its_column(self, rows, formula):
        state = build_design(rows, formula).state
        rows.loc[5, "region"] = "east"
        with pytest.raises(ModelError, match="'region'.*'east'"):
            build_design(rows, state)

    def test_an_unseen_number_of_a_category_is_named(self, rows):
        state = build_design(rows, "score ~ C(female)").state
        with pytest.raises(ModelError, match="'female'.*'2'"):
            build_design(rows.assign(female=2), state)

    def test_a_category_that_became_a_number_is_refused(self, rows):
        """Regions written as text in the baseline and as numbers later are no known levels."""
        state = build_design(rows, "score ~ region").state
        with pytest.raises(ModelError, match="region"):
            build_design(rows.assign(region=1), state)


class TestRefusals:
    def test_absent_columns_are_named(self, rows):
        with pytest.raises(ModelError, match="'eal', 'fsm'"):
            build_design(rows, "score ~ prior_score + fsm + eal")

    def test_an_absent_column_inside_school_mean_is_named(self, rows):
        with pytest.raises(ModelError, match="'fsm'"):
            build_design(rows, "score ~ school_mean(fsm)")

    @pytest.mark.parametrize(
        "formula",
        ["~ prior_score", "prior_score", "score ~ prior_score +", "score ~ (prior_score", "score + ~ female", ""],
    )
    def test_an_unreadable_formula_is_quoted(self, rows, formula):
        with pytest.raises(ModelError, match="formula|response"):
            build_design(rows, formula)

    def test_a_response_of_text_is_refused(self, rows):
        with pytest.raises(ModelError):
            build_design(rows, "region ~ prior_score")

    def test_infinite_values_name_their_column(self, rows):
        rows.loc[3, "the ses"] = np.inf
        with pytest.raises(ModelError, match="the ses"):
            build_design(rows, "score ~ prior_score + `the ses`")

    def test_a_function_that_does_not_exist_is_named(self, rows):
        with pytest.raises(ModelError, match="logg"):
            build_design(rows, "score ~ logg(prior_score)")

    def test_no_row_left_is_said(self, rows):
        with pytest.warns(ValibWarning), pytest.raises(ModelError, match="fsm"):
            build_design(rows.assign(fsm=np.nan), "score ~ fsm")

    def test_missing_covariates_are_counted_by_column(self, rows):
        rows.loc[:4, "region"] = None
        rows.loc[3:9, "female"] = np.nan
        with pytest.warns(ValibWarning, match="5 without 'region'"):
            d = build_design(rows, "score ~ region + female")
        assert d.left_out == {"region": 5, "female": 7} and len(d.y) == 110


class TestPatterns:
    """A line for each pattern of what is known of a student."""

    FORMULA = "score ~ prior_score * known(maths) + if_known(maths)"

    @pytest.fixture
    def some(self, rows):
        """Records of which some lack a second prior score."""
        maths = np.where(np.arange(len(rows)) % 3 == 0, np.nan, 0.5 * rows["prior_score"] + np.arange(len(rows)) % 7)
        return rows.assign(maths=maths)

    @pytest.mark.parametrize("dtype", ["float64", "Int64", "boolean", "object"])
    def test_it_is_the_design_with_indicators_by_hand(self, some, dtype):
        values = some["maths"].round()
        if dtype != "float64":
            values = (values > 240).where(values.notna(), pd.NA) if dtype != "Int64" else values
            values = values.astype(dtype)
        by_hand = some.assign(k=values.notna() * 1.0, m=values.astype("Float64").fillna(0).astype(float))
        with pytest.warns(ValibWarning, match="40 of 120 students have no 'maths': the formula gives them a line"):
            found = build_design(some.assign(maths=values), self.FORMULA)
        expected = build_design(by_hand, "score ~ prior_score * k + m")
        np.testing.assert_array_equal(found.X, expected.X)
        assert found.left_out == {} and len(found.y) == len(some)

    def test_least_squares_are_those_of_each_pattern_alone(self, some):
        """Closed form: without school effects the patterns have no parameter in common."""
        design = build_design(some, self.FORMULA)
        b = dict(zip(design.names, np.linalg.lstsq(design.X, design.y, rcond=None)[0], strict=True))
        for there in (False, True):
            part = some[some["maths"].notna() == there]
            alone = build_design(part, "score ~ prior_score + maths" if there else "score ~ prior_score")
            own = np.linalg.lstsq(alone.X, alone.y, rcond=None)[0]
            line = [
                b["Intercept"] + there * b["known(maths)"],
                b["prior_score"] + there * b["prior_score:known(maths)"],
            ]
            np.testing.assert_allclose(own, [*line, b["if_known(maths)"]] if there else line, rtol=1e-7)

    def test_a_column_that_is_needed_elsewhere_is_needed(self, some):
        with pytest.warns(ValibWarning, match="40 without 'maths'"):
            design = build_design(some, "score ~ prior_score + maths + known(maths)")
        assert len(design.y) == 80

    @pytest.mark.parametrize("term", ["known(log(maths))", "if_known(1)", "known(maths + 1)", "C(known(maths))"])
    def test_something_else_than_a_column_is_refused(self, some, term):
        with pytest.raises(ModelError, match="something else than a column"):
            build_design(some, f"score ~ prior_score + {term}")

    def test_an_outcome_is_known(self, some):
        with pytest.raises(ModelError, match="every student has an outcome"):
            build_design(some, "if_known(score) ~ prior_score")


@pytest.mark.parametrize(
    ("formula", "columns"),
    [
        ("score ~ center(x) + scale(z)", ["score", "x", "z"]),
        ("score ~ bs(x, df=3) + poly(z, 2)", ["score", "x", "z"]),
        ("score ~ np.log(x) + I(z ** 2) + C(g, contr.treatment('a'))", ["g", "score", "x", "z"]),
        ("score ~ `my column` + school_mean(x)", ["my column", "score", "x"]),
        ("score ~ 1", ["score"]),
    ],
)
def test_required_columns_are_found_inside_transforms(formula, columns):
    assert required_columns(formula) == columns


def test_a_missing_value_inside_a_transform_is_left_out_and_said():
    data = pd.DataFrame({"score": [1.0, 2.0, 4.0, 3.0], "x": [1.0, np.nan, 2.0, 5.0], "school": list("aabb")})
    with pytest.warns(ValibWarning, match="1 of 4 rows .* 1 without 'x'"):
        design = build_design(data, "score ~ center(x)", cohort=None)
    assert design.left_out == {"x": 1} and len(design.y) == 3


def formulaic_alone(monkeypatch):
    monkeypatch.setattr("valib.sums.design.plain_matrix", lambda *_: None)


@pytest.mark.parametrize(
    "rhs",
    [
        "prior_score",
        "1",
        "0 + prior_score",
        "prior_score - 1",
        "ses + prior_score",
        "prior_score + prior_score",
        "ses + school_mean(prior_score) + prior_score",
        "school_mean( ses )",
        "prior_score + whole",
        "`two words` + ses",
        "small + short",
        "maybe + ses",
        "truth + ses",
    ],
)
def test_a_plain_design_is_formulaics_own(rhs, monkeypatch):
    data = numbers_of_all_kinds()
    plain = plain_matrix(as_covariates(data, parse(f"score ~ {rhs}")), parse(f"score ~ {rhs}"), np.sign, INTERCEPT)
    assert plain is not None
    ours = build_design(data, f"score ~ {rhs}")
    formulaic_alone(monkeypatch)
    theirs = build_design(data, f"score ~ {rhs}")
    assert ours.state.to_json() == theirs.state.to_json()
    np.testing.assert_array_equal(ours.X, theirs.X)
    np.testing.assert_array_equal(ours.y, theirs.y)


@pytest.mark.parametrize(
    "formula",
    [
        "score ~ prior_score:ses",
        "score ~ C(group)",
        "score ~ group",
        "np.log(score) ~ prior_score",
        "score ~ center(prior_score)",
        "score ~ school_mean(np.log(prior_score))",
        "score - prior_score ~ ses",
    ],
)
def test_what_is_not_plain_is_left_to_formulaic(formula):
    covariates = as_covariates(numbers_of_all_kinds(), parse(formula))
    assert plain_matrix(covariates, parse(formula), np.sign, INTERCEPT) is None


def numbers_of_all_kinds():
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "school": pd.Series(list("abbcacb"), dtype="str"),
            "cohort": [1, 1, 2, 2, 2, 1, 1],
            "score": rng.normal(size=7),
            "prior_score": rng.normal(9, 1, size=7),
            "ses": rng.normal(size=7),
            "two words": rng.normal(size=7),
            "whole": np.arange(7),
            "small": np.arange(7, dtype=np.int8),
            "short": np.arange(7, dtype=np.float32) / 3,
            "maybe": pd.array(range(7), dtype="Int64"),
            "group": pd.Series(list("xyxyxyx"), dtype="str"),
            "truth": [True, False] * 3 + [True],
            "Intercept": rng.normal(size=7),
        }
    )
