"""The result that every model of one cohort returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models import blup as _blup
from ..models.options import Intervals, Method
from ..models.posterior import Posterior
from ..models.residual_variance import GroupVariances
from ..models.school_variance import SchoolVariances
from ..models.slope_posterior import SlopePosterior
from ..models.slopes import SlopesFit
from ..models.unequal_posterior import UnequalPosterior
from ..records.coverage import LEAST
from ..records.disclosure import shown
from ..sums.design import FormulaState
from ..sums.moments import Moments
from .display import Shown, Table, coefficient_rows, found, interval_text, one_line, standard_deviation
from .findings import Finding
from .ranking import rank_draws, rank_effects

PLAIN = (  # attributes that stand in a summary as they are
    *("cohort", "model", "formula", "method", "tau2", "tau2_se", "sigma2", "sigma2_se", "theta", "vpc", "loglik"),
    *("singular", "n_students", "n_schools", "student_sd", "level", "shift", "shift_se", "shift_error"),
    *(
        "shift_se_students",
        "equating_se",
        "cohort_sd",
        "coefficient_source",
        "shift_mode",
        "variances_from",
        "intervals",
    ),
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CohortFit(Shown):
    """One cohort's fitted value-added model. Score points throughout; variances are score points squared.

    Attributes
    ----------
    cohort : int or None
        The cohort; None for a table without cohorts (:func:`valib.fit_mixed`).
    model : {"relative", "benchmark"}
        Which question was asked.
    formula, method : str
        As they were given.
    fixed_effects, vcov : Series (p,), DataFrame (p, p)
        Coefficients and their covariance: estimated on this cohort, or the benchmark's.
    tau2, sigma2 : float
        Variance between schools and of students within them.
    tau2_se, sigma2_se : float
        From the observed information; nan on the boundary or when the variances were carried over.
    loglik : float
        The maximum of the log-likelihood, restricted for REML.
    singular : bool
        Whether tau2 is on the boundary, 0.
    n_students, n_schools : int
        What the model was fitted to.
    student_sd : float
        Standard deviation of the outcome over the cohort's students, the divisor of effect sizes.
    level : float
        Coverage of the intervals.
    school_effects : DataFrame
        One row a school (index, sorted): ``n`` (rows), ``students`` (only where some stand in several rows), ``tested``
        (those with an outcome score) and ``linked_share``, n / tested (both missing where they are not known),
        ``low_coverage`` (only where there is any: the share is below the study's ``min_linked_share``), ``effect``,
        ``shrinkage``, ``se_conditional``, ``se_comparative``, ``se_diagnostic``, ``se``, ``lower``, ``upper``, ``side``.
        ``se`` is the standard deviation of what lower and upper are limits of, and ``side`` where the interval lies to 0:
        "above", "below" or "not told apart" ("" without limits). ``effect`` is the BLUP for a relative model and the
        benchmark VA for a benchmark model.
    common : ndarray (n_schools, m)
        Loadings of the errors that schools share.
    scale_loadings : ndarray (n_schools, m) or None
        Of a benchmark fit, what the errors of equating (with ordinary years) and of links do to the schools' mean residuals.
    left_out : mapping of str to int
        Rows dropped for a missing covariate, by column.
    shift, shift_se : float or None
        The system shift and its standard error; None unless it was estimated.
    shift_error : str or None
        Which error shift_se is: "schools" (the same schools take part in baseline and cohort, methods of
        :mod:`valib.effects.shift`) or "cautious" (the benchmark does not carry what its schools add, so the two are taken
        as independent).
    shift_df, shift_se_students : int, float or None
        Degrees of freedom of its interval, schools less one; the error for these very schools, students alone being drawn
        (nan where the benchmark does not know it). All of them with equating, links and cohort_sd.
    shift_influence : Series or None
        What each school adds to the error.
    equating_se : float or None
        None where the error of equating is not known, which is not 0.
    cohort_sd : float or None
        Standard deviation of ordinary years that was declared.
    coefficient_source, shift_mode, variances_from : str
        The benchmark's estimator, or "focal"; "estimated", "absorbed" or None; "focal" or "baseline".
    intervals : {"integrated", "plugin"}
        "integrated" where lower and upper come from the posterior, the variances not known
        (:mod:`valib.models.posterior`); "plugin" where they are effect -+ z se_comparative, which takes the estimated
        variances as known, and missing where the effects are 0 on the boundary.
    posterior : Posterior, SlopePosterior, UnequalPosterior or None
        That posterior.
    moments, state
        The sums by school; the design's state, so that other students can be scored.
    influence : DataFrame or None
        Of a relative fit, what each school adds to the coefficients; None unless it was asked for.
    slopes : SlopesFit or None
        Of a fit with random slopes (:mod:`valib.models.slopes`); tau2, the effects and their errors are then those at the
        mean of every random column, and :func:`valib.va_at` has them elsewhere.
    residual, unequal : str, GroupVariances or SchoolVariances; or None
        Of a fit with unequal residual variances, what they follow and the model (:mod:`valib.models.residual_variance`,
        :mod:`valib.models.school_variance`); sigma2 is then their mean over students, of schools the common one.
    findings : tuple of Finding
        What would mislead in the fit.
    min_linked_share : float
        Share of a school's tested students that must be linked for it to be shown.

    Notes
    -----
    The model is y_ij = x_ij' b + u_j + e_ij, Var(u_j) = tau2, Var(e_ij) = sigma2. ``print(fit)`` shows a table of it, of no
    single school. Sources: Goldstein (1997); Robinson (1991) for the prediction of u_j.

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_relative(va.load_records("exam"))
    >>> round(fit.vpc, 3)
    0.14
    >>> fit.ranks(seed=1).columns.tolist()[2:5]
    ['expected_rank', 'rank_lower', 'rank_upper']
    """

    cohort: int | None
    model: str
    formula: str
    method: Method
    fixed_effects: pd.Series
    vcov: pd.DataFrame
    tau2: float
    sigma2: float
    tau2_se: float
    sigma2_se: float
    loglik: float
    singular: bool
    n_students: int
    n_schools: int
    student_sd: float
    level: float
    school_effects: pd.DataFrame
    common: np.ndarray = field(repr=False)
    left_out: Mapping[str, int]
    shift: float | None = None
    shift_se: float | None = None
    equating_se: float | None = 0.0
    coefficient_source: str = "focal"
    shift_mode: str | None = None
    variances_from: str = "focal"
    intervals: Intervals = "plugin"
    posterior: Posterior | SlopePosterior | UnequalPosterior | None = field(default=None, repr=False)
    moments: Moments | None = field(default=None, repr=False)
    state: FormulaState | None = field(default=None, repr=False)
    shift_error: str | None = None
    shift_df: int | None = None
    shift_se_students: float | None = None
    shift_influence: pd.Series | None = field(default=None, repr=False)
    cohort_sd: float | None = None
    influence: pd.DataFrame | None = field(default=None, repr=False)
    scale_loadings: np.ndarray | None = field(default=None, repr=False)
    findings: tuple[Finding, ...] = ()
    slopes: SlopesFit | None = field(default=None, repr=False)
    min_linked_share: float = LEAST
    residual: str | None = None
    unequal: GroupVariances | SchoolVariances | None = field(default=None, repr=False)

    @property
    def theta(self) -> float:
        """tau2 / sigma2."""
        return self.tau2 / self.sigma2

    @property
    def vpc(self) -> float:
        """Variance partition coefficient tau2 / (tau2 + sigma2)."""
        return self.tau2 / (self.tau2 + self.sigma2)

    @property
    def random_covariance(self) -> pd.DataFrame:
        """Covariance of the random effects, of the columns as they are (about 0), as lme4 gives it; of a fit without
        slopes, tau2 alone."""
        if self.slopes is None:
            return pd.DataFrame([[self.tau2]], index=["Intercept"], columns=["Intercept"])
        names = list(self.slopes.random)
        return pd.DataFrame(self.slopes.raw, index=names, columns=names)

    def refuse_slopes(self, what: str) -> None:
        """Raise ModelError where ``what`` is not offered for a fit with random slopes or unequal residual variances."""
        if self.slopes is not None:
            raise ModelError(f"{what} a random-intercept model; fit it without random slopes.")
        if self.unequal is not None:
            raise ModelError(f"{what} a model with one residual variance; fit it without residual={self.residual!r}.")

    @property
    def own_moments(self) -> Moments:
        """The moments that were fitted; ModelError where the fit does not carry them."""
        if self.moments is None:
            raise ModelError(f"The fit of cohort {self.cohort} does not carry the sums that it was made of.")
        return self.moments

    @property
    def shift_interval(self) -> tuple[float, float] | None:
        """Interval of the system shift at the fit's level; None unless the shift was estimated."""
        if self.shift is None:
            return None
        lower, upper = _blup.interval(self.shift, self.shift_se, self.level, self.shift_df)
        return float(lower), float(upper)

    def ranks(self, seed: int | np.random.Generator, draws: int = 2000, min_students: int = 1) -> pd.DataFrame:
        """Expected rank, its interval, and the probabilities of the lowest and highest fifth (rank 1 is highest).

        They are places among the schools that may be shown with ``min_students`` (:mod:`valib.records.disclosure`),
        by default all: places among all schools would tell of those held back. With integrated intervals every draw
        begins with the variances.
        """
        mask = shown(self.school_effects, min_students)
        table = self.school_effects[mask]
        if self.posterior is not None:
            drawn = self.posterior.draw
            r = rank_draws(lambda size, rng: drawn(size, rng)[:, mask], len(table), seed, draws, self.level)
        else:
            effect, own = table["effect"].to_numpy(), table["se_conditional"].to_numpy() ** 2
            r = rank_effects(effect, own, self.common[mask], seed, draws, self.level)
        return pd.DataFrame(
            {
                "n": table["n"],
                "effect": table["effect"],
                "expected_rank": r.expected,
                "rank_lower": r.lower,
                "rank_upper": r.upper,
                "p_bottom_quintile": r.p_bottom,
                "p_top_quintile": r.p_top,
            },
            index=table.index,
        )

    @property
    def _n_tested(self) -> int | None:
        tested = self.school_effects["tested"]
        return None if tested.isna().any() else int(tested.sum())

    def summary(self) -> dict[str, Any]:
        """The fit in plain numbers, for tables and JSON (no school, no student)."""
        plain = {name: getattr(self, name) for name in PLAIN}
        if self.slopes is not None:
            plain["random"] = list(self.slopes.random[1:])
            plain["random_sd"] = dict(zip(self.slopes.random, np.sqrt(np.diag(self.slopes.G)).tolist(), strict=True))
        plain |= {**self._residual_summary(), "n_tested": self._n_tested, "left_out": dict(self.left_out)}
        plain["findings"] = [item.summary() for item in self.findings]
        plain["fixed_effects"] = {k: float(v) for k, v in self.fixed_effects.items()}
        errors = np.sqrt(np.diag(self.vcov))
        plain["fixed_effects_se"] = {k: float(v) for k, v in zip(self.fixed_effects.index, errors, strict=True)}
        return {k: (None if isinstance(v, float) and not np.isfinite(v) else v) for k, v in plain.items()}

    def _table(self) -> Table:
        groups, title = "Schools", f"{self.model.capitalize()} value added, cohort {self.cohort}"
        if self.cohort is None:
            groups, title = "Groups", "Random-intercept model"
        facts = [
            ("Formula", one_line(self.formula)),
            ("Method", self.method),
            ("Students", f"{self.n_students:,}"),
            (groups, f"{self.n_schools:,}"),
            ("Log-likelihood", f"{self.loglik:.1f}"),
            ("VPC", f"{self.vpc:.3f}"),
            ("Intervals of schools", self.intervals),
        ]
        errors = np.sqrt(np.diag(self.vcov))
        rows = coefficient_rows(zip(self.fixed_effects.index, self.fixed_effects, errors, strict=True))
        where = "" if self.slopes is None else " at the mean"
        rows.append(standard_deviation(f"SD of {groups.lower()}{where}", self.tau2, self.tau2_se))
        if (slopes := self.slopes) is not None:
            found_sds = zip(slopes.random, np.diag(slopes.G), np.diag(slopes.G_se), strict=True)
            rows += [standard_deviation(f"SD of slopes of {name}", v, se) for name, v, se in list(found_sds)[1:]]
        rows += self._residual_rows()
        moved = []
        if self.shift is not None and self.shift_se is not None and self.shift_interval is not None:
            moved = [f"System shift: {interval_text(self.shift, self.shift_se, self.shift_interval, self.level)}"]
        heads = ("of the benchmark" if self.model == "benchmark" else "", "estimate", "std. error")
        return Table(title, facts, heads, rows, [*moved, *found(self.findings)])

    def _residual_summary(self) -> dict[str, Any]:
        """What unequal residual variances follow, and their sizes."""
        unequal = self.unequal
        if unequal is None:
            return {}
        if isinstance(unequal, GroupVariances):
            sds = dict(zip(map(str, unequal.groups), unequal.sd.tolist(), strict=True))
        else:
            sds = {"common": unequal.s, "spread": unequal.spread}
        return {"residual": self.residual, "residual_sd": sds}

    def _residual_rows(self) -> list[list[str]]:
        """The rows of residual standard deviations."""
        unequal = self.unequal
        if isinstance(unequal, GroupVariances):
            errors = 2 * unequal.sd**2 * np.sqrt(np.diag(unequal.log_sd_vcov))
            found = zip(unequal.groups, unequal.sd**2, errors, strict=True)
            return [standard_deviation(f"SD of residuals, {g}", v, se) for g, v, se in found]
        if unequal is not None:
            common = standard_deviation("SD of residuals, common", unequal.s**2, unequal.sigma2_se)
            return [common, ["Spread of schools' log SD", f"{unequal.spread:.3f}", ""]]
        return [standard_deviation("SD of residuals", self.sigma2, self.sigma2_se)]

    def _line(self) -> str:
        cohort = "" if self.cohort is None else f"cohort {self.cohort}, "
        return (
            f"{self.model}, {cohort}{one_line(self.formula)}, {self.n_students:,} students, {self.n_schools:,} schools"
        )
