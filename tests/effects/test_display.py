"""What print, repr and a notebook show of a fit: exact text of a case each; nothing of a school; HTML escaped."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

import valib as va

SLEEP = """\
Random-intercept model
==============================================================================
Formula: Reaction ~ Days               Method: ML
Students: 180                          Groups: 18
Log-likelihood: -897.0                 VPC: 0.576
Intervals of schools: integrated
------------------------------------------------------------------------------
                 estimate  std. error
Intercept          251.41        9.51
Days               10.467       0.802
SD of groups        36.01        6.45
SD of residuals     30.90        1.72
------------------------------------------------------------------------------
Findings: none"""

BENCHMARK = """\
Benchmark, baseline cohorts 2021, 2023
==============================================================================
Formula: score ~ prior_score           Method: ML
Students: 13,705                       Schools: 196
Estimator: mixed                       Random intercepts: school and cohort
------------------------------------------------------------------------------
                 estimate  std. error
Intercept          160.73        2.43
prior_score       0.77523     0.00514
SD of schools     16.2229
SD of residuals   43.8260
------------------------------------------------------------------------------
Standard errors are clustered by school."""
JOINT = """\
Joint value added, cohorts 2021, 2023, 2024
==================================================================================
Formula: score ~ prior_score           Method: ML
Students: 20,233                       Schools: 196
Covariance of schools: unstructured    Residual variance: by_cohort
Log-likelihood: -105539.1              Parameters: 15
----------------------------------------------------------------------------------
cohort      Intercept        prior_score  SD schools  SD residuals  r 2021  r 2023
2021    159.52 (3.49)  0.77802 (0.00748)       16.95         44.06
2023    163.31 (3.16)  0.76972 (0.00689)       14.74         43.64    0.92
2024    153.26 (3.49)  0.77586 (0.00752)       16.26         44.01    0.79    0.93
----------------------------------------------------------------------------------
Findings: none"""


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    """Codes of schools that are no numbers, so that they would be seen."""
    records = va.load_records("demo").query("cohort in (2021, 2023, 2024)")
    return records.assign(school="Q" + records["school"])


@pytest.fixture(scope="module")
def sleep():
    return va.fit_mixed(va.load("sleepstudy"), "Reaction ~ Days", "Subject")


@pytest.fixture(scope="module")
def benchmark(records):
    return va.fit_baseline(records, [2021, 2023])


@pytest.fixture(scope="module")
def joint(records):
    return va.fit_joint(records, [2021, 2023, 2024])


def test_one_cohort(sleep):
    """Standard errors of the SDs: lme4's profile gives 36.01 and 30.90 as estimates, the errors by the delta method."""
    assert str(sleep) == SLEEP
    assert repr(sleep) == "<CohortFit: relative, Reaction ~ Days, 180 students, 18 schools>"


def test_a_benchmark_fit_tells_its_shift_with_its_interval(sleep):
    """-14.3 -+ 1.96 x 2 = -18.22, -10.38."""
    fit = replace(sleep, model="benchmark", cohort=2024, shift=-14.3, shift_se=2.0)
    lines = str(fit).splitlines()
    assert lines[0] == "Benchmark value added, cohort 2024"
    assert lines[-2] == "System shift: -14.30 (std. error 2.00; 95% interval -18.22 to -10.38)"
    assert "of the benchmark  estimate  std. error" in lines
    assert "Schools: 18" in str(fit)


def test_benchmark(benchmark):
    assert str(benchmark) == BENCHMARK
    assert (
        repr(benchmark) == "<Benchmark: cohorts 2021, 2023, score ~ prior_score, mixed, 13,705 students, 196 schools>"
    )


def test_joint(joint):
    assert str(joint) == JOINT
    assert (
        repr(joint)
        == "<JointFit: cohorts 2021, 2023, 2024, score ~ prior_score, unstructured, 20,233 students, 196 schools>"
    )


@pytest.mark.parametrize("kind", ["benchmark", "joint"])
def test_nothing_of_a_single_school_is_shown(kind, request, records):
    fit = request.getfixturevalue(kind)
    shown = str(fit) + repr(fit) + fit._repr_html_()
    assert not [code for code in records["school"].unique() if code in shown]


def test_names_are_escaped_in_html_and_stay_on_their_line(sleep):
    """A column's name is text from elsewhere."""
    hostile = '<script>alert("x")</script>\nnext & more'
    moved = sleep.fixed_effects.rename({"Days": hostile})
    fit = replace(sleep, fixed_effects=moved, formula=hostile)
    page = fit._repr_html_()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; next &amp; more") == 2
    assert len(str(fit).splitlines()) == len(SLEEP.splitlines())
    assert "\n" not in repr(fit)


def test_the_page_has_the_numbers_of_the_text(sleep):
    page = sleep._repr_html_()
    assert page.startswith("<div>")
    assert "<tr><th>Days</th><td>10.467</td><td>0.802</td></tr>" in page
    assert "<b>Groups</b> 18" in page


def test_of_many_coefficients_the_first_are_shown(sleep):
    names = [f"x{k}" for k in range(30)]
    many = pd.Series(range(30), index=names, dtype=float)
    fit = replace(sleep, fixed_effects=many, vcov=pd.DataFrame(0.0, index=names, columns=names))
    assert "and 18 more" in str(fit)
    assert "x12" not in str(fit)


def test_findings_are_told(records):
    with pytest.warns(va.ValibWarning):
        fit = va.fit_relative(
            records.assign(prior_score=records["prior_score"].sample(frac=1, random_state=1).values), 2024
        )
    assert str(fit).count("Note: ") == len(fit.findings) >= 1
    assert fit.findings[0].text.split()[0] in str(fit)
