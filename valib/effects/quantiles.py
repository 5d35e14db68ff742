"""Quantile value added: how a school moves its weak, middling and strong results, not its mean alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models import quantile as _model
from ..names import listed_cohorts
from ..sums.arrays import FloatArray
from ..sums.design import Design, FormulaState, build_design
from ..sums.students import Records, only_cohort, single_rows
from .display import Shown, Table, coefficient_rows, estimate, interval_text, one_line

Errors = Literal["calibrated", "laplace"]

ERRORS: tuple[Errors, ...] = ("calibrated", "laplace")
PILOT = 150  # draws and warm-up of each of two chains from which the scale is found
IMPUTATIONS = 24  # draws of a benchmark's coefficients that a fit goes through, a chain each
LOWEST_ESS = 100.0  # a chain, of what is published; below it a fit says that it needs more draws
HIGHEST_RHAT = 1.05


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class QuantileFit(Shown):
    """Quantile value added of the schools of one or more cohorts. Score points throughout.

    Attributes
    ----------
    quantile : float
        Which quantile, between 0 and 1.
    cohorts : tuple of int
        The cohorts; several are pooled, with an intercept for each school in each cohort.
    formula, errors : str
        As they were given.
    fixed_effects, vcov : Series (p,), DataFrame (p, p)
        Mean and covariance of the coefficients of the conditional quantile: estimated, or the benchmark's.
    school_sd, scale : float
        Mean standard deviation of school intercepts; sigma of the asymmetric Laplace errors.
    offset : float
        m: how far the marginal quantile lies above x' b, posterior mean.
    shift, shift_se, shift_interval : float, float, tuple or None
        With a benchmark, how far the marginal quantile lies above the benchmark's.
    school_effects : DataFrame
        By school (of several cohorts: by cohort and school): ``n``, ``effect``, ``se``, ``lower``, ``upper``; posterior
        mean, standard deviation and quantiles of the quantile value added.
    diagnostics : DataFrame
        By quantity (the worst of each kind): ``rhat``, ``ess_bulk``, ``ess_tail``.
    level, n_students, n_schools, draws, state
        Coverage of the intervals; counts; the draws; the design's state, so that other students can be scored.
    offsets, value_added : ndarray (chains, draws), (draws, cells)
        The draws of m, and of what school_effects sums up.

    Notes
    -----
    The model is in :mod:`valib.models.quantile`. Sources: Page, San Martín, Orellana and González (2017); Kozumi and
    Kobayashi (2011).

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_quantile(va.load_records("exam"), quantile=0.25, draws=200, warmup=100)
    >>> fit.school_effects.columns.tolist()
    ['n', 'effect', 'se', 'lower', 'upper']
    """

    quantile: float
    cohorts: tuple[int, ...]
    formula: str
    errors: Errors
    fixed_effects: pd.Series
    vcov: pd.DataFrame
    school_sd: float
    scale: float
    offset: float
    shift: float | None
    shift_se: float | None
    shift_interval: tuple[float, float] | None
    school_effects: pd.DataFrame
    diagnostics: pd.DataFrame
    level: float
    n_students: int
    n_schools: int
    draws: _model.QuantileDraws = field(repr=False)
    offsets: FloatArray = field(repr=False)
    value_added: FloatArray = field(repr=False)
    state: FormulaState = field(repr=False)

    @property
    def converged(self) -> bool:
        """Whether R-hat and effective sample sizes are such that the figures can be told."""
        worst = self.diagnostics
        return bool(worst["rhat"].max() <= HIGHEST_RHAT and worst[["ess_bulk", "ess_tail"]].min().min() >= LOWEST_ESS)

    def _table(self) -> Table:
        facts = [
            ("Formula", one_line(self.formula)),
            ("Quantile", f"{self.quantile:g}"),
            ("Students", f"{self.n_students:,}"),
            ("Schools", f"{self.n_schools:,}"),
            ("Errors", self.errors),
            ("Largest R-hat", f"{self.diagnostics['rhat'].max():.3f}"),
            ("Smallest effective sample", f"{self.diagnostics['ess_bulk'].min():.0f}"),
        ]
        errors = np.sqrt(np.diag(self.vcov))
        rows = coefficient_rows(zip(self.fixed_effects.index, self.fixed_effects, errors, strict=True))
        rows += [estimate("SD between schools", self.school_sd), estimate("Marginal quantile above x'b", self.offset)]
        notes = [] if self.converged else ["The chains have not converged: take more draws."]
        if self.shift is not None and self.shift_se is not None and self.shift_interval is not None:
            told = interval_text(self.shift, self.shift_se, self.shift_interval, self.level)
            notes = [f"Shift of the quantile: {told}.", *notes]
        return Table(
            f"Quantile value added, {listed_cohorts(self.cohorts)}", facts, ["", "estimate", "se"], rows, notes
        )

    def _line(self) -> str:
        counts = f"{self.n_students:,} students, {self.n_schools:,} schools"
        return f"quantile {self.quantile:g}, {listed_cohorts(self.cohorts)}, {one_line(self.formula)}, {counts}"


def fit_quantile(
    records: Records,
    cohorts: int | Iterable[int] | None = None,
    formula: str | FormulaState = "score ~ prior_score",
    quantile: float = 0.5,
    benchmark: QuantileFit | None = None,
    errors: Errors = "calibrated",
    draws: int = 1000,
    warmup: int = 500,
    chains: int = 4,
    seed: int | np.random.Generator = 0,
    level: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> QuantileFit:
    """Quantile value added of schools: relative, or against the quantile of a baseline.

    Parameters
    ----------
    records : DataFrame
        Checked student records. Streams are refused: the model needs the students themselves.
    cohorts : int or iterable of int, optional
        One cohort, or several that are pooled, as for a baseline; may be left out when there is only one.
    formula : str or FormulaState
        The conditional quantile; passed over with a benchmark, whose own it is.
    quantile : float
        Between 0 and 1.
    benchmark : QuantileFit, optional
        The fit of the baseline cohorts at the same quantile, whose coefficients are then set; a shift is estimated.
    errors : {"calibrated", "laplace"}
        "laplace" takes the errors to be asymmetric Laplace, as Page and co-authors do. "calibrated" uses their likelihood
        with the scale at which a quantile has its sampling variance, and the errors' own distribution for the marginal
        quantile, so that intervals hold for other errors too.
    draws, warmup, chains : int
        Kept and passed over in each chain. With a benchmark there are 24 chains, each with a draw of its coefficients,
        and as many draws in all.
    seed : int or Generator
        Of the draws.
    level : float
        Coverage of the intervals.
    progress : callable, optional
        Called with the iterations done and those to do.

    Returns
    -------
    QuantileFit
        School effects with intervals, coefficients, diagnostics, draws.

    Raises
    ------
    RecordsError
        For a cohort that is not there.
    ModelError
        For streams, a quantile that is none, a benchmark of another quantile, and what cannot be fitted.

    Notes
    -----
    With q_j(x) = x' b + a_j the conditional p-quantile in school j and q(x) = x' b + m the marginal one, over schools::

        relative   VA_j = a_j - m           the mean over its students of q_j(x) - q(x)
        benchmark  VA_j = d + a_j - m_B     y - x' b_B = d + a_j + e,      shift = d + m - m_B

    Unlike mean value added it does not sum to zero: m is not the mean of the a_j, because the quantile of a mixture is not
    the mixture of quantiles. The errors of benchmark and cohort are taken as independent, which is cautious where schools'
    effects last. Sources: Page, San Martín, Orellana and González (2017); Kozumi and Kobayashi (2011); for "calibrated",
    :mod:`valib.models.quantile`.

    Examples
    --------
    >>> import valib as va
    >>> exam = va.load_records("exam")
    >>> low = va.fit_quantile(exam, quantile=0.25, draws=200, warmup=100)
    >>> high = va.fit_quantile(exam, quantile=0.75, draws=200, warmup=100)
    >>> bool(low.fixed_effects["Intercept"] < high.fixed_effects["Intercept"])
    True
    """
    _check(quantile, benchmark, errors, draws, warmup, chains)
    chosen = _chosen(records, cohorts)
    design = _design(records, chosen, formula if benchmark is None else benchmark.state)
    rng = np.random.default_rng(seed)
    if benchmark is None:
        fit = _sampled(
            design.y[None].repeat(chains, 0), design.X, design, quantile, errors, draws, warmup, rng, progress
        )
        diagnosed = fit
    else:
        b = benchmark.draws.coefficients.reshape(-1, design.X.shape[1])
        at = np.linspace(0, len(b) - 1, IMPUTATIONS).round().astype(int)
        ones = np.ones((len(design.y), 1))
        mean = (design.y - design.X @ b.mean(axis=0))[None].repeat(chains, 0)
        diagnosed = _sampled(mean, ones, design, quantile, errors, draws, warmup, rng, None)
        each = max(1, round(draws * chains / IMPUTATIONS))
        fit = _sampled(*(design.y - b[at] @ design.X.T, ones, design, quantile, errors, each, warmup, rng, progress))
        return _assembled(design, chosen, quantile, errors, level, fit, diagnosed, benchmark, at)
    return _assembled(design, chosen, quantile, errors, level, fit, diagnosed)


def share_below(benchmark: QuantileFit, records: Records, cohort: int) -> tuple[float, float]:
    """Share of a cohort's students who score below the marginal quantile of a baseline, with its standard error.

    Parameters
    ----------
    benchmark : QuantileFit
        Of the baseline cohorts.
    records : DataFrame
        Checked student records.
    cohort : int
        The cohort.

    Returns
    -------
    tuple of float
        The share and its standard error, clustered by school, the baseline's line taken as known.

    Raises
    ------
    RecordsError
        For a cohort that is not there.

    Notes
    -----
    If nothing has changed the share is the quantile itself. A student growth percentile is the quantile whose line passes
    through the student's score; referenced to a baseline (Betebenner 2009), the share of students with a percentile below
    100 p is this share. Its difference from p and the shift of the quantile have opposite signs.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("exam")
    >>> half = va.fit_quantile(records, quantile=0.5, draws=200, warmup=100)
    >>> share, se = va.share_below(half, records, half.cohorts[0])
    >>> bool(abs(share - 0.5) < 3 * se)
    True
    """
    design = _design(records, (cohort,), benchmark.state)
    line = design.X @ benchmark.fixed_effects.to_numpy() + benchmark.offset
    below = (design.y < line).astype(np.float64)
    share = float(below.mean())
    J = len(design.cells.schools)
    sums = np.bincount(design.cells.code, weights=below - share)
    return share, float(np.sqrt(J / max(J - 1, 1) * (sums**2).sum()) / len(below))


def _check(
    quantile: float, benchmark: QuantileFit | None, errors: Errors, draws: int, warmup: int, chains: int
) -> None:
    if not 0 < quantile < 1:
        raise ModelError(f"A quantile lies between 0 and 1, but is {quantile}.")
    if errors not in ERRORS:
        raise ModelError(f"The errors must be one of {', '.join(ERRORS)}, not {errors!r}.")
    if benchmark is not None and benchmark.quantile != quantile:
        raise ModelError(f"The benchmark is of quantile {benchmark.quantile:g}, not {quantile:g}.")
    if min(draws, chains) < 1 or warmup < 0:
        raise ModelError("A fit needs at least one draw of one chain, and a warm-up of 0 or more.")


def _chosen(records: Records, cohorts: int | Iterable[int] | None) -> tuple[int, ...]:
    if not isinstance(records, pd.DataFrame):
        raise ModelError(
            "Quantiles need the students themselves, not their sums: read the records into memory (read_records)."
        )
    if cohorts is None:
        return (only_cohort(records),)
    return tuple(sorted({cohorts} if isinstance(cohorts, (int, np.integer)) else set(cohorts)))


def _design(records: Records, cohorts: Sequence[int], formula: str | FormulaState) -> Design:
    assert isinstance(records, pd.DataFrame)
    return build_design(single_rows(records, cohorts)[0], formula)


def _sampled(
    y: FloatArray,
    X: FloatArray,
    design: Design,
    p: float,
    errors: Errors,
    draws: int,
    warmup: int,
    rng: np.random.Generator,
    progress: Callable[[int, int], None] | None,
) -> tuple[_model.QuantileDraws, FloatArray]:
    """The draws and the offsets m (C, M); y (C, N)."""
    code = design.cells.code
    if errors == "laplace":
        found = _model.sample(y, X, code, p, draws, warmup, rng, progress=progress)
        return found, _model.marginal_offset(found.school_sd, found.scale, p)
    few = y[:: max(1, len(y) // 2)][:2]
    pilot = _model.sample(few, X, code, p, PILOT, PILOT, rng)
    residuals = (few - pilot.coefficients.mean(axis=1) @ X.T - pilot.effects.mean(axis=1)[:, code]).mean(axis=0)
    scale = _model.calibrated_scale(residuals, p)
    found = _model.sample(y, X, code, p, draws, warmup, rng, scale, progress)
    return found, _model.empirical_offset(found.school_sd, residuals, p)


def _assembled(
    design: Design,
    cohorts: tuple[int, ...],
    p: float,
    errors: Errors,
    level: float,
    fit: tuple[_model.QuantileDraws, FloatArray],
    diagnosed: tuple[_model.QuantileDraws, FloatArray],
    benchmark: QuantileFit | None = None,
    at: np.ndarray | None = None,
) -> QuantileFit:
    found, m = fit
    effects, moved = found.effects - m[..., None], None
    if benchmark is not None and at is not None:
        moved = found.coefficients[..., 0] + m - benchmark.offsets.reshape(-1)[at][:, None]
        effects = effects + moved[..., None]
    flat = effects.reshape(-1, effects.shape[2])
    tails = [(1 - level) / 2, (1 + level) / 2]
    lower, upper = np.quantile(flat, tails, axis=0)
    columns = {"n": design.cells.n, "effect": flat.mean(axis=0), "se": flat.std(axis=0), "lower": lower, "upper": upper}
    fixed, vcov = (
        _coefficients(found, list(design.names)) if benchmark is None else (benchmark.fixed_effects, benchmark.vcov)
    )
    low, high = (float(x) for x in np.quantile(flat if moved is None else moved, tails))
    return QuantileFit(
        quantile=p,
        cohorts=cohorts,
        formula=design.state.formula,
        errors=errors,
        fixed_effects=fixed,
        vcov=vcov,
        school_sd=float(found.school_sd.mean()),
        scale=float(found.scale.mean()),
        offset=float(m.mean()),
        shift=None if moved is None else float(moved.mean()),
        shift_se=None if moved is None else float(moved.std()),
        shift_interval=None if moved is None else (low, high),
        school_effects=pd.DataFrame(columns, index=_index(design, cohorts)),
        diagnostics=diagnose(*diagnosed),
        level=level,
        n_students=len(design.y),
        n_schools=len(design.cells.schools),
        draws=found,
        offsets=m,
        value_added=flat,
        state=design.state,
    )


def _coefficients(found: _model.QuantileDraws, names: list[str]) -> tuple[pd.Series, pd.DataFrame]:
    """Mean and covariance of the coefficients over the draws."""
    b = found.coefficients.reshape(-1, len(names))
    vcov = np.atleast_2d(np.cov(b, rowvar=False))
    return pd.Series(b.mean(axis=0), index=names, name="coefficient"), pd.DataFrame(vcov, index=names, columns=names)


def _index(design: Design, cohorts: tuple[int, ...]) -> pd.Index:
    cells = design.cells
    school: pd.Index = pd.Index(cells.schools[cells.school], name="school", dtype="str")
    if len(cohorts) == 1:
        return school
    both: pd.Index = pd.MultiIndex.from_arrays([cells.cohorts[cells.cohort], school], names=["cohort", "school"])
    return both


def diagnose(found: _model.QuantileDraws, m: FloatArray) -> pd.DataFrame:
    """R-hat (rank-normalised, split) and effective sample sizes by kind of quantity, the worst of each kind.

    Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), computed by arviz.
    """
    from arviz_stats import base  # takes a second to load

    stats: Any = base.array_stats  # type: ignore[attr-defined]

    parts = {
        "coefficients": found.coefficients,
        "value added": found.effects - m[..., None],
        "SD between schools": found.school_sd[..., None],
        "offset": m[..., None],
    }
    axes = {"chain_axis": 0, "draw_axis": 1}
    rows = {
        name: {
            "rhat": np.max(stats.rhat(x, **axes)) if len(x) > 1 else np.nan,
            "ess_bulk": np.min(stats.ess(x, **axes)),
            "ess_tail": np.min(stats.ess(x, method="tail", prob=(0.05, 0.95), **axes)),
        }
        for name, x in parts.items()
        if np.ptp(x) > 0
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("quantity")
