"""The appendix on Exam and Chem97: its numbers are lme4's (tests/reference), and its counts those of a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import reference

import valib as va
from valib.pages.chapters import cases


@pytest.fixture(scope="module")
def exam_fits():
    exam = va.load_records("exam")
    formulas = ["score ~ 1", "score ~ prior_score", "score ~ prior_score + schavg + sex + schgend"]
    return {f: va.fit_relative(exam, formula=f) for f in formulas}


@pytest.fixture(scope="module")
def chem():
    records = va.load_records("chem97")
    return records, va.fit_relative(records, formula="score ~ prior_score + gender + age")


def test_exam_s_models_are_lme4_s(exam_fits):
    """lme4's stored values are polished to 1e-9 of the log-likelihood; variances agree to 1e-6 of themselves."""
    table = cases.variances(exam_fits, "tab-x", "A caption.").tables["tab-x"]
    for row, key in zip(table.to_dict("records"), ("null_ML", "standLRT_ML", "cov_schgend_ML"), strict=True):
        theirs = reference("case2_exam")[key]
        np.testing.assert_allclose(
            [row["SD between schools"], row["SD within"], row["Share between"]],
            [theirs["sigma_b"], theirs["sigma"], theirs["icc"]],
            rtol=1e-6,
        )
        assert row["Schools above"] + row["below"] + row["not told apart"] == 65


def test_girls_and_boys_schools_against_mixed_ones_are_lme4_s_coefficients(exam_fits):
    """lme4's reference is the mixed school, ours the boys' school: a difference of two coefficients, with its error."""
    fit = list(exam_fits.values())[-1]
    theirs = reference("case2_exam")["cov_schgend_ML"]
    difference, se = cases.against(fit, "schgend[T.girls]", "schgend[T.mixed]")
    np.testing.assert_allclose(difference, theirs["fixef"]["schgendgirls"], rtol=1e-6)
    np.testing.assert_allclose(se, theirs["se_fixef"]["schgendgirls"], rtol=1e-6)
    said = cases.exam_single_sex(fit).values
    for kind in ("girls", "boys"):
        b, e = (theirs[part][f"schgend{kind}"] for part in ("fixef", "se_fixef"))
        low, high = (f"{b + s * 1.959964 * e:+.2f}".replace("-", "\N{MINUS SIGN}") for s in (-1, 1))
        assert said[f"{kind}_said"] == f"{b:+.2f} (interval {low} to {high}, which holds zero)"
    order = cases.exam_order(exam_fits).tables["tab-cases-exam-order"]
    assert (order["Schools in another fifth"] <= 65).all() and (order["Correlation of effects"] < 1).all()


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_chem97_is_lme4_s_and_its_sizes_are_counted(chem, chem97):
    records, fit = chem
    theirs = reference("case3_chem97")["ML"]
    np.testing.assert_allclose([fit.tau2, fit.sigma2], [theirs["sigma2_b"], theirs["sigma2"]], rtol=1e-6)
    words = {"prior_score": "GCSE", "gender[T.M]": "Boy", "age": "Age"}
    table = cases.coefficients(fit, words, "tab-x", "A caption.").tables["tab-x"].set_index("Covariate")
    np.testing.assert_allclose(
        table.loc["GCSE", ["Coefficient", "SE"]], [2.56920385543913, 0.0171116493810757], rtol=1e-6
    )
    found = cases.chem_sizes(fit, 5)
    sizes = chem97.groupby("school").size()
    rows = found.tables["tab-cases-chem-sizes"].set_index("Students")["Schools"]
    assert rows["1"] == (sizes == 1).sum() and rows["2 to 4"] == sizes.between(2, 4).sum()
    assert rows["50 or more"] == (sizes >= 50).sum() and rows.sum() == 2410
    assert found.values["chem_held"] == str((sizes < 5).sum())
    told = cases.chem_told(fit, va.false_discoveries(fit, 0.05)).values
    assert int(told["chem_fdr"]) < int(told["chem_apart"]) and told["chem_chance"] in (
        "120",
        "121",
    )  # 2410 (1 - .95), a tie


def test_what_is_left_of_chem97_s_scores_is_what_numpy_leaves(chem):
    records, fit = chem
    table = cases.chem_shape(records, fit, fit).tables["tab-cases-chem-shape"]
    b, u = fit.fixed_effects, records["school"].map(fit.school_effects["effect"])
    expected = b["Intercept"] + b["prior_score"] * records["prior_score"] + b["age"] * records["age"]
    expected += b["gender[T.M]"] * (records["gender"] == "M") if "gender[T.M]" in b else 0.0
    left = (records["score"] - expected - u).astype(float)
    cut = np.argsort(np.argsort(records["prior_score"].to_numpy(), kind="stable"), kind="stable") * 5 // len(left)
    np.testing.assert_allclose(table["Mean, line"], left.groupby(cut).mean(), atol=2e-3)  # ties at the bounds
    np.testing.assert_allclose(table["Mean, line"], table["Mean, curve"])
