"""A simulated world with the parameters of the study in hand, so that the checks speak about these very records."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pandas as pd

from ..effects.baseline import fit_baseline
from ..effects.benchmark import fit_benchmark
from ..effects.joint import fit_joint
from ..errors import ModelError, ValibWarning
from ..models.measurement import error_variance
from ..models.mixed import fit_moments
from ..records.disclosure import cell_sizes, cells
from ..records.precision import KEPT_DIGITS, last_place, round_to
from ..records.reading import select
from ..sums.design import build_design
from ..sums.moments import compute_moments
from .worlds import Scenario

PRIOR = "prior_score"
FORMULA = f"score ~ {PRIOR} + school_mean({PRIOR})"
LARGEST_SORTING = 0.99


def calibrate(
    records: pd.DataFrame,
    baseline: Sequence[int],
    focal: int,
    name: str = "this study",
    reliability: float = 1.0,
    min_students: int = 1,
) -> Scenario:
    """The world whose parameters are the estimates from records; change any by ``dataclasses.replace``.

    Parameters
    ----------
    records : DataFrame
        Checked student records.
    baseline : sequence of int
        The baseline cohorts.
    focal : int
        The focal cohort.
    name : str
        Of the scenario.
    reliability : float
        Of the recorded prior score over all students, as its publisher states it; the slope, the spreads and the sorting are
        then those of true scores.
    min_students : int
        Schools with fewer in a cohort, and those that hide them, get their mean size: a world is published with its seed, and
        who repeats the draws could tell each size. Parameters are rounded to four significant digits for the same reason.

    Returns
    -------
    Scenario
        For :func:`valib.simulate`.

    Raises
    ------
    ModelError, BenchmarkError
        For what cannot be fitted.

    Notes
    -----
    Taken from the records: cell sizes and absent schools as they are; the slope within schools and its change; tau, sigma
    (baseline mixed model), sorting from the coefficient of the school mean (freed of the chance in school means); the shift of
    the focal cohort (``score ~ prior_score``, estimated); rho from the joint model with the structure ar1 (0 if it is estimated
    below 0); spread of the prior between and within schools and its change of mean. The estimates' own errors are not in the
    world, an effect of the school mean of its own counts as sorting, and the world is normal: add other mechanisms to see what
    else could be.

    Examples
    --------
    >>> import valib as va
    >>> world = va.calibrate(va.load_records("demo"), [2015, 2016], 2024)
    >>> round(world.delta, 1)
    -14.8
    """
    baseline = tuple(sorted(int(c) for c in baseline))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValibWarning)  # about the study; `valib check` tells of them
        context = fit_baseline(records, baseline, FORMULA)
        plain = fit_baseline(records, baseline)
        fit = fit_benchmark(records, focal, plain, intervals="plugin")
        later = fit_baseline(records, [focal], FORMULA)
    intake_sd, within_sd = _spread(records, baseline)
    slopes = [float(b.coefficients[PRIOR]) for b in (context, later)]
    cells = _cells(records, (*baseline, int(focal)), min_students)
    between, apart = _sorted_part(
        float(context.coefficients[f"school_mean({PRIOR})"]), intake_sd, within_sd, np.array(cells)[:, :-1]
    )
    tau = float(np.hypot(np.sqrt(context.tau2), apart))
    change = float(_mean_prior(records, [focal]) - _mean_prior(records, baseline))
    world = Scenario(
        name,
        f"as estimated from the records, cohort {focal} against {', '.join(map(str, baseline))}",
        baseline,
        int(focal),
        cells=cells,
        slope=slopes[0],
        slope_change=slopes[1] - slopes[0],
        tau=tau,
        sigma=float(np.sqrt(context.sigma2)),
        delta=float(fit.shift) - (slopes[1] - slopes[0]) * change,
        rho=_yearly_correlation(records, (*baseline, int(focal))),
        sorting=_share(between, tau),
        prior_sd=float(np.hypot(intake_sd, within_sd)),
        intake_sd=intake_sd,
        intake_change=change,
    )
    return _rounded(world if reliability == 1 else _true_scores(world, reliability))


def _sorted_part(coefficient: float, intake_sd: float, within_sd: float, n: np.ndarray) -> tuple[float, float]:
    """What the coefficient of the school mean says: Cov(intake, effect) / intake_sd, and the SD it takes from effects.

    A mean of n students has the reliability l = intake_sd^2 / (intake_sd^2 + within_sd^2 / n) as a measure of the
    intake, so that the coefficient is l times that of the intake itself, and the residual effects keep 1 - l of it.
    """
    if intake_sd == 0:
        return 0.0, 0.0
    seen = float(np.mean(intake_sd**2 / (intake_sd**2 + within_sd**2 / n[n > 0])))
    return coefficient * intake_sd / seen, coefficient * intake_sd / float(np.sqrt(seen))


def _share(part: float, whole: float) -> float:
    return float(np.clip(part / whole, -LARGEST_SORTING, LARGEST_SORTING)) if whole > 0 else 0.0


def _spread(records: pd.DataFrame, baseline: Sequence[int]) -> tuple[float, float]:
    """SD of the recorded prior score between school-cohort cells and within them."""
    moments = compute_moments(build_design(select(records, baseline), f"score ~ {PRIOR}"))
    at = [moments.names.index(c) for c in ("Intercept", PRIOR)]
    prior = moments.transform(np.eye(len(moments.names))[:, at], ("Intercept", PRIOR))
    fit = fit_moments(prior)
    return float(np.sqrt(fit.tau2)), float(np.sqrt(fit.sigma2))


def _mean_prior(records: pd.DataFrame, cohorts: Sequence[int]) -> float:
    return float(select(records, cohorts)[PRIOR].mean())


def _rounded(world: Scenario) -> Scenario:
    """The world with its parameters to four significant digits, but for the reliability, which was given."""
    names = [f.name for f in fields(world) if f.name != "reliability" and isinstance(getattr(world, f.name), float)]
    values = np.array([getattr(world, name) for name in names])
    rounded = round_to(values, last_place(values, KEPT_DIGITS)).tolist()
    return replace(world, **dict(zip(names, rounded, strict=True)))


def _cells(records: pd.DataFrame, cohorts: tuple[int, ...], min_students: int) -> tuple[tuple[int, ...], ...]:
    """Students of every school by cohort, in the order of the cohorts; of those held back, their mean."""
    data = select(records, cohorts)
    table = data.groupby(["school", "cohort"]).size().unstack(fill_value=0)
    show = cells(cell_sizes(records), min_students).unstack("cohort").reindex(index=table.index)
    for cohort in cohorts:
        sizes = table[cohort].to_numpy(copy=True)
        hidden = (sizes > 0) & ~show[cohort].eq(True).to_numpy()
        if hidden.any():
            whole, more = divmod(int(sizes[hidden].sum()), int(hidden.sum()))
            sizes[hidden] = whole + (np.arange(hidden.sum()) < more)
            table[cohort] = sizes
    return tuple(tuple(int(n) for n in row) for row in table[list(cohorts)].to_numpy())


def _yearly_correlation(records: pd.DataFrame, cohorts: tuple[int, ...]) -> float:
    joint = fit_joint(records, cohorts, f"score ~ {PRIOR}", covariance="ar1")
    years, R = list(joint.cohorts), joint.correlation.to_numpy()
    gap = years[1] - years[0]
    return float(np.clip(R[0, 1], 0.0, 1.0) ** (1 / gap)) if np.isfinite(R[0, 1]) else 0.0


def _true_scores(s: Scenario, reliability: float) -> Scenario:
    """The world behind recorded scores with measurement error: spreads, slopes and sigma of true prior scores.

    With the recorded variance V = intake_sd^2 + W, the error is s2m = (1 - r) V; within schools the slope is flatter by
    (W - s2m) / W, and sigma^2 on record holds b^2 s2m (W - s2m) / W. Between schools the error averages out, so that
    what the flatter slope leaves there had counted as sorting.
    """
    recorded = s.prior_sd**2 - s.intake_sd**2
    error = error_variance(reliability, s.prior_sd**2)
    if error >= recorded:
        raise ModelError(f"With a reliability of {reliability} the prior score would not vary within schools at all.")
    kept = (recorded - error) / recorded
    slope, change = s.slope / kept, s.slope_change / kept
    sigma2 = s.sigma**2 - slope**2 * error * kept
    if sigma2 <= 0:
        raise ModelError(f"A reliability of {reliability} is too low for these records: no residual would be left.")
    between = s.sorting * s.tau - (slope - s.slope) * s.intake_sd
    tau = float(np.hypot(s.tau * np.sqrt(1 - s.sorting**2), between))
    artefact = (slope - s.slope) * s.intake_change  # of a changed intake and a slope that is too flat
    return replace(
        s,
        tau=tau,
        sorting=_share(between, tau),
        slope=slope,
        slope_change=change,
        sigma=float(np.sqrt(sigma2)),
        reliability=reliability,
        prior_sd=float(np.sqrt(s.prior_sd**2 - error)),
        delta=s.shift - artefact - change * s.intake_change,
    )
