"""The numbers of the chapter that predicts a school effect by hand: each claim of equality, and the tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...effects.baseline import Benchmark
from ...effects.relative import CohortFit, fit_relative
from ...models.blup import Blup
from ...records.datasets import load
from ...records.disclosure import only_shown
from ...sums.design import Design
from .. import figures, prose
from ..findings import Findings, check
from ..prose import AS_ERROR, as_text, direction, to_error


def _digits(fit: CohortFit) -> str:
    """The format of this chapter's score points, for numbers that a reader computes again."""
    return ".2f" if fit.student_sd > 10 else ".4f"


def _lme4() -> pd.DataFrame:
    """Predictions and their variances of the subjects of sleepstudy, as lme4 gives them."""
    return load("sleepstudy_lme4").set_index("Subject")


def _schools_of(records: pd.DataFrame, cohorts: Sequence[int]) -> set[str]:
    """The schools that have students in any of the cohorts."""
    return set(records.loc[records["cohort"].isin(cohorts), "school"])


def study_names(level: float, last: int, baseline: Sequence[int]) -> Findings:
    """Level, last focal cohort and baseline, as the prose names them."""
    found = Findings().record("level", f"{100 * level:g}%")
    found.record("last", last, "d")
    return found.record("baseline", baseline)


def one_school(by_matrix: float, by_formula: float, n: int, tau2: float, sigma2: float) -> Findings:
    """Hold that a school of n students has the same prediction and variance by the inverse matrix and by formula."""
    found = Findings()
    ones = np.ones(n)
    V = sigma2 * np.eye(n) + tau2 * np.outer(ones, ones)
    check(np.isclose(by_matrix, by_formula, rtol=1e-12), "the inverse by hand is the inverse")
    variance_by_matrix = tau2 - tau2 * ones @ np.linalg.inv(V) @ ones * tau2
    check(
        np.isclose(variance_by_matrix, tau2 * sigma2 / (n * tau2 + sigma2), rtol=1e-12),
        "the conditional variance by formula is the one by matrix",
    )
    return found


def sleepstudy_fit(fm: CohortFit, lme4_prints: Sequence[float]) -> Findings:
    """The fit of sleepstudy beside what lme4 prints."""
    here = [*fm.fixed_effects, np.sqrt(fm.tau2), np.sqrt(fm.sigma2)]
    check(np.allclose(here, lme4_prints, rtol=2e-5), "the fit of sleepstudy is lme4's")
    return Findings().table(
        pd.DataFrame(
            {
                "Quantity": [
                    "Intercept (ms)",
                    "Days (ms a day)",
                    "SD between subjects (ms)",
                    "SD within a subject (ms)",
                ],
                "valib": here,
                "lme4": lme4_prints,
            }
        ),
        "The fit of `Reaction ~ Days + (1 | Subject)` by REML: estimates of this library, and what lme4 prints.",
        "tab-03-sleepstudy",
        formats={"valib": ".3f", "lme4": ".3f"},
        index=False,
    )


def one_subject(b_i: float, rbar_i: float, n_i: int, sigma2_b: float, sigma2: float) -> Findings:
    """Subject 308 by hand is lme4's."""
    lme4 = _lme4()
    check(np.isclose(b_i, lme4.loc["308", "blup"], rtol=1e-6), "subject 308 by hand is lme4's ranef")
    found = Findings().record("b_308", b_i, ".2f")
    found.record("b_308_lme4", lme4.loc["308", "blup"], ".2f")
    found.record("rbar_308", rbar_i, ".2f")
    found.record("n_308", n_i)
    return found.record("lambda_308", n_i * sigma2_b / (n_i * sigma2_b + sigma2), ".3f")


def every_subject(fm: CohortFit, rbar: pd.Series, by_hand: pd.Series) -> Findings:
    """All subjects by hand, by the library and by lme4."""
    lme4, library = _lme4(), fm.school_effects["effect"]
    check(list(by_hand.index) == list(library.index) == list(lme4.index), "the subjects are the same")
    check(np.allclose(by_hand, library, rtol=1e-9), "by hand is the library for all subjects")
    check(np.allclose(by_hand, lme4["blup"], rtol=1e-6), "by hand is lme4 for all subjects")
    check((by_hand - lme4["blup"]).abs().max() < 1e-6, "no subject differs from lme4 by a millionth of a millisecond")
    return Findings().table(
        pd.DataFrame(
            {
                "Subject": by_hand.index,
                "Mean residual": rbar.to_numpy(),
                "By hand": by_hand.to_numpy(),
                "Library": library.to_numpy(),
                "lme4": lme4["blup"].to_numpy(),
                "Hand − lme4": (by_hand - lme4["blup"]).to_numpy(),
            }
        ),
        "Predicted intercepts of the 18 subjects of sleepstudy, 10 days each, in milliseconds: by {eq}`eq-03-blup` by "
        "hand, by `fit_mixed`, and by lme4's `ranef`. No difference reaches a millionth of a millisecond.",
        "tab-03-byhand",
        formats={"Mean residual": ".4f", "By hand": ".4f", "Library": ".4f", "lme4": ".4f", "Hand − lme4": ".6f"},
        index=False,
    )


def three_errors(
    fm: CohortFit, b_i: float, z: float, conditional: float, estimated_b: float, comparative: float, diagnostic: float
) -> Findings:
    """The three errors of subject 308; each variance is given as computed by hand, z is the multiple of the intervals."""
    by_library = fm.school_effects.loc["308"]
    errors = np.sqrt([conditional, comparative, diagnostic])
    from_library = by_library[["se_conditional", "se_comparative", "se_diagnostic"]].to_numpy(dtype=float)
    check(np.allclose(errors, from_library, rtol=1e-9), "the three errors by hand are the library's")
    check(np.isclose(conditional, _lme4().loc["308", "var_conditional"], rtol=1e-6), "conditional = lme4's condVar")
    check(np.isclose(comparative + diagnostic, fm.tau2), "comparative + diagnostic = tau2")
    check(comparative > conditional, "the estimated b adds")
    ends = [[as_text(b_i + sign * z * error, ".2f") for error in errors[:2]] + ["–"] for sign in (-1, 1)]
    found = Findings().table(
        pd.DataFrame(
            {
                "Error": ["conditional", "comparative", "diagnostic"],
                "Equation": ["{eq}`eq-03-condvar`", "{eq}`eq-03-comparative`", "{eq}`eq-03-diagnostic`"],
                "By hand": errors,
                "Library": from_library,
                "Lower limit": ends[0],
                "Upper limit": ends[1],
            }
        ),
        "Subject 308: the three standard errors and the limits of {glue:text}`level` intervals around the predicted "
        "intercept, in milliseconds. The diagnostic error is not an error of prediction and gives no limits.",
        "tab-03-errors",
        formats={"By hand": ".4f", "Library": ".4f"},
        index=False,
        raw=True,
    )
    found.record("share_b_308", estimated_b / comparative, ".0%")
    found.record("se_conditional_308", errors[0], ".2f")
    return found.record("se_comparative_308", errors[1], ".2f")


def subjects_figure(fm: CohortFit, rbar: pd.Series, level: float) -> Findings:
    """The subjects before and after shrinkage."""
    limits = fm.school_effects.rename_axis("subject")[["effect", "lower", "upper"]].rename(columns={"effect": "blup"})
    return Findings().figure("byhand", figures.byhand_blup(limits.assign(raw=rbar), highlight="308", level=level))


def edges() -> Findings:
    """The edge cases of the predictor, in symbols."""
    return Findings().table(
        pd.DataFrame(
            {
                "Case": ["one student", "many students", "no variance between schools", "no student in the data"],
                "Value": ["$n_j = 1$", r"$n_j \to \infty$", r"$\tau^2 = 0$", "$n_j = 0$"],
                r"$\lambda_j$": [r"$\tau^2/(\tau^2 + \sigma^2)$", r"$\to 1$", "0", "0"],
                r"$\hat u_j$": [r"$\lambda_j r_{1j}$", r"$\to \bar r_j$", "0", "0"],
                r"$\mathrm{Var}(u_j \mid \mathbf y_j)$": [
                    r"$\tau^2 \sigma^2/(\tau^2 + \sigma^2)$",
                    r"$\to 0$",
                    "0",
                    r"$\tau^2$",
                ],
            }
        ),
        "Edge cases of {eq}`eq-03-blup` and {eq}`eq-03-condvar`. With one student $\\lambda_j$ is the variance "
        "partition coefficient of {numref}`chapter {number} <ch-relative>`, and $r_{1j}$ the student's residual.",
        "tab-03-edges",
        index=False,
        raw=True,
    )


def by_hand(
    fit: CohortFit, students: Design, rbar: pd.Series, by_hand: pd.Series, school: str, min_students: int
) -> Findings:
    """All schools of the last cohort by hand; students is the design of the cohort, school the one followed."""
    effects = fit.school_effects
    check(list(by_hand.index) == list(effects.index), "the schools are the same")
    scale = effects["effect"].abs().max()
    check(np.allclose(by_hand, effects["effect"], rtol=1e-7, atol=1e-9 * scale), "by hand is fit_relative, all schools")
    check((by_hand.abs() <= rbar.abs() + 1e-12).all(), "every effect lies between zero and the mean residual")
    big = only_shown(effects, min_students)
    own = effects.loc[school]
    x_j = students.X[(students.data["school"] == school).to_numpy()].mean(axis=0)
    added = (own["shrinkage"] ** 2) * x_j @ fit.vcov.to_numpy() @ x_j
    check(
        np.isclose(np.sqrt(fit.tau2 * (1 - own["shrinkage"]) + added), own["se_comparative"], rtol=1e-7),
        "the school's comparative error by hand",
    )
    found = Findings().record("n_schools", len(effects))
    found.record("school", prose.name(school))
    found.record(
        "share_b",
        float((1 - effects["se_conditional"] ** 2 / effects["se_comparative"] ** 2).mean()) if fit.tau2 > 0 else 0.0,
        ".1%",
    )
    found.record("lambda_min", float(big["shrinkage"].min()), ".2f")
    found.record("lambda_max", float(big["shrinkage"].max()), ".2f")
    return found.figure("shrinkage", figures.shrinkage(effects, rbar, min_n=min_students))


def steps(
    fit: CohortFit, students: Design, rbar: pd.Series, lam: pd.Series, by_hand: pd.Series, school: str
) -> Findings:
    """One school from its mean residual to its effect and limits."""
    digits, own = _digits(fit), fit.school_effects.loc[school]
    here = (students.data["school"] == school).to_numpy()
    x_j, y_j = students.X[here].mean(axis=0), students.y[here].mean()
    steps = [
        ("students", "$n_j$", as_text(int(own["n"]))),
        ("mean outcome", r"$\bar y_j$", as_text(float(y_j), digits)),
        (
            "mean of the fixed part",
            r"$\bar{\mathbf x}_j'\hat{\mathbf b}$",
            as_text(float(x_j @ fit.fixed_effects), digits),
        ),
        ("mean residual", r"$\bar r_j$", as_text(float(rbar[school]), digits)),
        ("variance between schools", r"$\tau^2$", to_error(fit.tau2, fit.tau2_se, digits + AS_ERROR)),
        ("variance within schools", r"$\sigma^2$", to_error(fit.sigma2, fit.sigma2_se, digits + AS_ERROR)),
        ("shrinkage factor", r"$\lambda_j$", as_text(float(lam[school]), ".2f")),
        ("effect", r"$\hat u_j$", as_text(float(by_hand[school]), digits)),
        ("conditional standard error", "{eq}`eq-03-condvar`", as_text(float(own["se_conditional"]), digits + AS_ERROR)),
        (
            "comparative standard error",
            "{eq}`eq-03-comparative`",
            as_text(float(own["se_comparative"]), digits + AS_ERROR),
        ),
        ("lower limit", r"$\hat u_j - z\,\mathrm{SE}$", as_text(float(own["lower"]), digits)),
        ("upper limit", r"$\hat u_j + z\,\mathrm{SE}$", as_text(float(own["upper"]), digits)),
    ]
    return Findings().table(
        pd.DataFrame(steps, columns=["Step", "Symbol", "Value"]),
        "School {glue:text}`school` in cohort {glue:text}`last`, from the mean residual to the effect and its "
        "{glue:text}`level` limits (comparative error), in score points (variances: squared).",
        "tab-03-school",
        index=False,
        raw=True,
    )


def carried(
    records: pd.DataFrame, baseline: Sequence[int], carried: Sequence[CohortFit], rbar: pd.Series, by_hand: pd.Series
) -> Findings:
    """The last cohort by the baseline's coefficients and variances, by hand and by the library."""
    there = carried[-1].school_effects
    check(list(by_hand.index) == list(there.index), "the schools are the same")
    check(
        np.allclose(by_hand, there["effect"], rtol=1e-7, atol=1e-9 * there["effect"].abs().max()),
        "by hand is the library's recipe, all schools",
    )
    check((by_hand.abs() <= rbar.abs() + 1e-12).all(), "each prediction lies between zero and the residual")
    seen = _schools_of(records, baseline)
    new = [school for school in there.index if school not in seen]
    found = Findings().record("n_last", len(there))
    return found.record("n_new", len(new))


def unseen(fit: CohortFit, tau2: float, two: Blup, n_j: int, effect: float, z: float) -> Findings:
    """A school before and after its students are known; two holds both predictions, effect the one by hand."""
    check(two.effect[0] == 0 and np.isclose(two.var_conditional[0], tau2), "an unseen school: 0 with tau2")
    check(np.isclose(two.effect[1], effect, rtol=1e-9), "with its students: the same as above")
    se = np.sqrt(two.var_conditional)
    return Findings().table(
        pd.DataFrame(
            {
                "School {glue:text}`school`": ["before it has students", "with its students"],
                "Students": [0, int(n_j)],
                "Shrinkage factor": two.shrinkage,
                "Effect": two.effect,
                "Standard error": se,
                "Lower limit": two.effect - z * se,
                "Upper limit": two.effect + z * se,
            }
        ),
        "What the baseline model says of a school before and after its students of cohort {glue:text}`last` are "
        "known, with {glue:text}`level` limits from the conditional variance {eq}`eq-03-condvar`, in score points.",
        "tab-03-unseen",
        formats={
            "Shrinkage factor": ".2f",
            **dict.fromkeys(["Effect", "Standard error", "Lower limit", "Upper limit"], _digits(fit)),
        },
        index=False,
    )


def means(
    records: pd.DataFrame,
    baseline: Sequence[int],
    carried: Sequence[CohortFit],
    rbar: pd.Series,
    typical: Benchmark,
    formula: str,
    method: str,
) -> Findings:
    """Means over schools of three kinds of effects in each focal cohort; typical is the baseline's model."""
    focal, digits = [c.cohort for c in carried], _digits(carried[-1])
    seen = _schools_of(records, baseline)
    within = [fit_relative(records, t, formula, method) for t in focal]
    check(
        all(abs(w.school_effects["effect"].mean()) < 1e-7 * w.student_sd for w in within), "relative effects sum to 0"
    )
    raw = [c.moments.means[:, -1] - c.moments.means[:, :-1] @ typical.coefficients.to_numpy() for c in carried]
    check(np.allclose(raw[-1], rbar), "the mean residuals are those by hand")
    means = pd.DataFrame(
        {
            "Cohort": focal,
            "Schools": [c.n_schools for c in carried],
            "Not in the baseline": [int((~c.school_effects.index.isin(seen)).sum()) for c in carried],
            "Relative effects, mean": [w.school_effects["effect"].mean() for w in within],
            "Mean residuals, mean": [r.mean() for r in raw],
            "Predictions, mean": [c.school_effects["effect"].mean() for c in carried],
        }
    )
    found = Findings().table(
        means,
        "Means over the schools of each focal cohort, in score points: of the effects of the relative model of "
        "that cohort; of the mean residuals $\\bar r_j$ from the baseline's coefficients; and of the predictions "
        "$\\hat u_j$ with the baseline's coefficients and variances.",
        "tab-03-means",
        formats=dict.fromkeys(["Relative effects, mean", "Mean residuals, mean", "Predictions, mean"], digits),
        index=False,
    )
    found.record("mean_raw", float(means["Mean residuals, mean"].iloc[-1]), digits)
    found.record("mean_carried", float(means["Predictions, mean"].iloc[-1]), digits)
    return found.record("side", direction(means["Predictions, mean"].iloc[-1], "above", "below", "at"))


def exercises(fm: CohortFit, b_i: float, z: float, conditional: float, typical: Benchmark) -> Findings:
    """Answers of the exercises: wrong limits, ANOVA estimates of the balanced data, and how many students are needed."""
    wrong = np.sqrt(fm.tau2 * fm.sigma2 / (fm.tau2 + fm.sigma2))
    found = Findings().record("wrong_lower", b_i - z * wrong, ".2f")
    found.record("wrong_upper", b_i + z * wrong, ".2f")
    found.record("wrong_factor", wrong / np.sqrt(conditional), ".1f")
    found.record("se_difference", np.sqrt(2 * conditional), ".2f")
    sleepstudy = load("sleepstudy")
    y, day, subject = sleepstudy["Reaction"], sleepstudy["Days"], sleepstudy["Subject"]
    y_within = y - y.groupby(subject).transform("mean")
    day_within = day - day.groupby(subject).transform("mean")
    slope = (day_within @ y_within) / (day_within @ day_within)
    anova_sigma2 = ((y_within - slope * day_within) ** 2).sum() / (180 - 18 - 1)
    anova_tau2 = (10 * y.groupby(subject).mean().var(ddof=1) - anova_sigma2) / 10
    check(np.allclose([anova_sigma2, anova_tau2], [fm.sigma2, fm.tau2], rtol=1e-6), "REML = ANOVA in the balanced case")
    found.record("anova_sigma2", anova_sigma2, ".2f")
    found.record("anova_tau2", anova_tau2, ".2f")
    return found.record(
        "n_needed", int(np.ceil(9 * typical.sigma2 / typical.tau2)) if typical.tau2 > 0 else "no finite number of"
    )


def sliders() -> Findings:
    """The picture of shrinkage and shift at its starting values, which the pages make movable."""
    return Findings().figure("sliders", figures.shrinkage_and_shift())
