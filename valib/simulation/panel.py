"""Student records drawn from a stated world, and the truth behind them.

The world of `PanelDesign`, for student i of school j in cohort t:

    prior_ijt  = prior_mean + prior_shift_t + m_jt + prior_spread_t * within_sd * z_ijt          (true prior score)
    score_ijt  = score_mean + b_t (prior_ijt - prior_mean) + f female_ijt + s ses_ijt + c (schoolmean_jt - prior_mean)
                 + drift_t + v_t + u_jt + e_ijt, b_t = slope + slope_change_t,       e_ijt ~ N(0, sigma_j^2)
    v_t        ~ N(0, cohort_sd^2), an ordinary year's own part;   log sigma_j ~ N(log sigma, sigma_log_sd^2)
    u_jt       = tau a_jt,     a_jt stationary AR(1) over the calendar: Cov(a_jt, a_js) = rho^|t - s|
    m_jt       = intake_sd (k a_jt + sqrt(1 - k^2) z_j),     k = sorting = Corr(m_jt, u_jt)

within_sd^2 = reliability prior_sd^2 - intake_sd^2. The prior score on record is the true one plus an error of variance
(1 - reliability) prior_sd^2. Every cohort has new students; they belong together only through their school.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..errors import ParamsError

_SHARES = (
    "rho",
    "reliability",
    "ses_school_sd",
    "open_late",
    "close_early",
    "cell_missing",
    "mobility",
    "missing_prior",
    "missing_score",
)
_RANGES = {
    **dict.fromkeys(("schools", "size", "size_median"), (1, np.inf)),
    **dict.fromkeys(("tau", "sigma", "prior_sd", "intake_sd", "size_log_sd", "size_change"), (0, np.inf)),
    **dict.fromkeys(("cohort_sd", "sigma_log_sd"), (0, np.inf)),
    **dict.fromkeys(("sorting", "ses_intake", "ses_prior"), (-1, 1)),
    **dict.fromkeys(_SHARES, (0, 1)),
}


@dataclass(frozen=True, slots=True)
class PanelDesign:
    """The parameters of a simulated panel; scores in points. `valib.simulation.panel` has the equations.

    Attributes
    ----------
    cohorts : calendar years in which an outcome test was sat, ascending.
    schools : number of schools.
    size : students in every school and cohort; None: sizes are drawn.
    size_median, size_log_sd : a school's usual size is log-normal with this median and SD of the log.
    size_change : SD of the log of a cohort's size about the school's usual one.
    size_limits : smallest and largest cohort of a school.
    score_mean : expected score in a cohort without drift at the mean prior score, for female = 0 and ses = 0.
    slope : points of score per point of (true) prior score.
    drift : cohort -> points added to every score (the system's shift); 0 where not named.
    slope_change : cohort -> change of the slope; 0 where not named.
    female_effect, ses_effect : points for girls, and per SD of ses.
    context_effect : points per point of the mean recorded prior score of the school's cohort.
    cohort_sd : SD of what an ordinary year adds to every score of its cohort; drawn once, it is in the truth as shock.
    tau, sigma : SD of school effects and of students' residuals.
    sigma_log_sd : SD between schools of the log of their students' residual SD, whose median is sigma.
    rho : correlation of a school's effects one calendar year apart.
    sorting : correlation of a school's intake (mean prior score) with its effect, from -1 to 1.
    prior_mean, prior_sd : of the prior score on record, over all students.
    intake_sd : SD between schools of the expected prior score.
    reliability : share of the variance of the recorded prior score that is not measurement error.
    prior_shift : cohort -> points by which the true prior scores lie higher; 0 where not named.
    prior_spread : cohort -> factor on their spread within schools; 1 where not named.
    ses_school_sd : SD between schools of ses (whose variance is 1 over all students).
    ses_intake, ses_prior : correlation of ses with the prior score, between and within schools.
    open_late, close_early : share of schools that miss the first cohorts, or the last (how many is drawn).
    cell_missing : share of the other school-cohort cells that are missing at random.
    mobility : share of students who changed school between the tests; their score carries half of the effect of
        their school and half of that of another.
    missing_prior, missing_score : share of students without a prior score, or a score, at random.
    digits : decimals of the scores; None: not rounded.
    """

    cohorts: tuple[int, ...] = (2023, 2024)
    schools: int = 100
    size: int | None = None
    size_median: float = 30.0
    size_log_sd: float = 0.6
    size_change: float = 0.12
    size_limits: tuple[int, int] = (1, 10_000)
    score_mean: float = 500.0
    slope: float = 0.8
    drift: Mapping[int, float] = field(default_factory=dict)
    slope_change: Mapping[int, float] = field(default_factory=dict)
    female_effect: float = 0.0
    ses_effect: float = 0.0
    context_effect: float = 0.0
    cohort_sd: float = 0.0
    tau: float = 15.0
    sigma: float = 45.0
    sigma_log_sd: float = 0.0
    rho: float = 0.9
    sorting: float = 0.0
    prior_mean: float = 430.0
    prior_sd: float = 75.0
    intake_sd: float = 25.0
    reliability: float = 1.0
    prior_shift: Mapping[int, float] = field(default_factory=dict)
    prior_spread: Mapping[int, float] = field(default_factory=dict)
    ses_school_sd: float = 0.5
    ses_intake: float = 0.6
    ses_prior: float = 0.3
    open_late: float = 0.0
    close_early: float = 0.0
    cell_missing: float = 0.0
    mobility: float = 0.0
    missing_prior: float = 0.0
    missing_score: float = 0.0
    digits: int | None = None

    def __post_init__(self) -> None:
        """Refuse parameters that describe no world.

        Raises
        ------
        ParamsError
            Names the parameter and what it must be.
        """
        if not self.cohorts or list(self.cohorts) != sorted(set(self.cohorts)):
            raise ParamsError("cohorts must be calendar years in ascending order, each once.")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ParamsError(f"{name} must lie between {low:g} and {high:g}, but is {value}.")
        if not 1 <= self.size_limits[0] <= self.size_limits[1]:
            raise ParamsError("size_limits must be two numbers of students, the smaller first and at least 1.")
        if self.intake_sd**2 > self.reliability * self.prior_sd**2:
            raise ParamsError("intake_sd^2 must not exceed reliability x prior_sd^2, the variance of true priors.")
        for name in ("drift", "slope_change", "prior_shift", "prior_spread"):
            if unknown := sorted(set(getattr(self, name)) - set(self.cohorts)):
                raise ParamsError(f"{name} names cohort {unknown[0]}, which is not among the cohorts.")


# The demo study: reading, Year 3 to Year 5, on a scale like that of Australia's national tests. A cohort is named by
# the year of its Year 5 test; its Year 3 test was two years before. No test was sat in 2020, so no cohort 2020 has an
# outcome and no cohort 2022 a prior score. The school-mean prior score has no effect of its own here.
DEMO_SEED = 2024269
DEMO = PanelDesign(
    cohorts=(2015, 2016, 2017, 2018, 2019, 2021, 2023, 2024),
    schools=200,
    size_median=29.0,
    size_log_sd=0.65,
    size_limits=(3, 180),
    score_mean=498.0,
    slope=0.76,
    drift={2018: 2.0, 2019: 4.0, 2021: -8.0, 2023: -11.0, 2024: -14.9},
    female_effect=4.0,
    ses_effect=3.0,
    cohort_sd=1.5,
    tau=15.6,
    sigma=43.0,
    sigma_log_sd=0.1,
    rho=0.9,
    sorting=0.3,
    prior_mean=426.0,
    prior_sd=75.0,
    intake_sd=26.0,
    prior_shift={2023: -5.0},
    prior_spread={2023: 1.05},
    open_late=0.04,
    close_early=0.04,
    cell_missing=0.015,
    mobility=0.04,
    missing_prior=0.03,
    missing_score=0.01,
    digits=1,
)


__all__ = ["DEMO", "DEMO_SEED", "Panel", "PanelDesign", "simulate_panel"]


@dataclass(frozen=True, slots=True)
class Panel:
    """What `simulate_panel` returns.

    Attributes
    ----------
    records : DataFrame, one row a student, sorted by year and codes: student_id, school_id, year, score, prior_score,
        female (0/1), ses. Ready for `valib.records.reading.read_records`.
    truth : DataFrame, one row a school and cohort that has students: school, cohort, drift, shock (v), slope, sigma,
        n (students drawn), u (school effect), intake (m).
    """

    records: pd.DataFrame
    truth: pd.DataFrame


def simulate_panel(design: PanelDesign, seed: int | np.random.Generator) -> Panel:
    """Draw the records of a panel from ``design``; the same seed gives the same panel.

    Parameters
    ----------
    design : the world.
    seed : an integer, or a numpy Generator (which is advanced).
    """
    rng = np.random.default_rng(seed)
    standard = _serial_effects(design, rng)  # (schools, cohorts), as are the next three
    present = _presence(design, rng)
    sizes = _sizes(design, rng) * present
    intake = design.intake_sd * (
        design.sorting * standard + np.sqrt(1 - design.sorting**2) * rng.standard_normal((design.schools, 1))
    )
    effects = design.tau * standard

    cell_school, cell_cohort = np.nonzero(sizes)
    n = sizes[cell_school, cell_cohort]
    cell = np.repeat(np.arange(n.size), n)  # the cell of each student
    school, cohort = cell_school[cell], cell_cohort[cell]
    students = _students(design, rng, intake[school, cohort], cohort, cell, school)
    score = students.pop("expected") + _carried_effect(design, rng, effects, school, cohort)
    noise = rng.standard_normal(cell.size)
    shock, sigma = _ordinary_years(design, rng), _spreads(design, rng)
    score += shock[cohort] + sigma[school] * noise

    school_codes = _codes(rng, design.schools, digits=4)
    years = np.asarray(design.cohorts)
    records = pd.DataFrame(
        {
            "student_id": "P" + pd.Series(_codes(rng, cell.size, digits=6)),
            "school_id": school_codes[school],
            "year": years[cohort],
            "score": _tested(score, design.missing_score, design.digits, rng),
            "prior_score": _tested(students.pop("prior"), design.missing_prior, design.digits, rng),
            **students,
        }
    )
    truth = _truth(design, school_codes, cell_school, cell_cohort)
    truth["shock"], truth["sigma"] = shock[cell_cohort], sigma[cell_school]
    truth["n"], truth["u"], truth["intake"] = n, effects[cell_school, cell_cohort], intake[cell_school, cell_cohort]
    return Panel(
        records.sort_values(["year", "school_id", "student_id"], ignore_index=True),
        truth.sort_values(["cohort", "school"], ignore_index=True),
    )


def _truth(design: PanelDesign, school_codes: np.ndarray, school: np.ndarray, cohort: np.ndarray) -> pd.DataFrame:
    """The codes and the cohort's parameters of each cell (arrays over cells)."""
    return pd.DataFrame(
        {
            "school": school_codes[school],
            "cohort": np.asarray(design.cohorts)[cohort],
            "drift": _by_cohort(design, design.drift, 0.0)[cohort],
            "slope": design.slope + _by_cohort(design, design.slope_change, 0.0)[cohort],
        }
    )


def _serial_effects(design: PanelDesign, rng: np.random.Generator) -> np.ndarray:
    """Standard normal effects (schools, cohorts), AR(1) over calendar years."""
    draws = rng.standard_normal((design.schools, len(design.cohorts)))
    effects = draws.copy()
    for t, gap in enumerate(np.diff(design.cohorts), start=1):
        kept = design.rho ** float(gap)
        effects[:, t] = kept * effects[:, t - 1] + np.sqrt(1 - kept**2) * draws[:, t]
    return effects


def _ordinary_years(design: PanelDesign, rng: np.random.Generator) -> np.ndarray:
    """What each year adds to every score of its cohort, by nothing that schools or students do (cohorts,)."""
    count = len(design.cohorts)
    return design.cohort_sd * rng.standard_normal(count) if design.cohort_sd else np.zeros(count)


def _spreads(design: PanelDesign, rng: np.random.Generator) -> np.ndarray:
    """Residual SD of each school's students (schools,)."""
    if not design.sigma_log_sd:
        return np.full(design.schools, design.sigma)
    return design.sigma * np.exp(design.sigma_log_sd * rng.standard_normal(design.schools))


def _presence(design: PanelDesign, rng: np.random.Generator) -> np.ndarray:
    """Which school has students in which cohort (schools, cohorts); every school has some in at least one."""
    shape = (design.schools, len(design.cohorts))
    present = rng.random(shape) >= design.cell_missing
    order = np.arange(shape[1])
    first = np.where(rng.random(shape[0]) < design.open_late, rng.integers(0, shape[1], shape[0]), 0)
    last = np.where(rng.random(shape[0]) < design.close_early, rng.integers(0, shape[1], shape[0]), shape[1] - 1)
    span = (order >= first[:, None]) & (order <= last[:, None])
    present &= span
    empty = ~present.any(axis=1)
    present[empty, first[empty]] = True
    return present


def _sizes(design: PanelDesign, rng: np.random.Generator) -> np.ndarray:
    """Students of each school and cohort (schools, cohorts), before absent cells are emptied."""
    shape = (design.schools, len(design.cohorts))
    if design.size is not None:
        return np.full(shape, design.size)
    usual = np.log(design.size_median) + design.size_log_sd * rng.standard_normal((design.schools, 1))
    drawn = np.exp(usual + design.size_change * rng.standard_normal(shape))
    return np.clip(np.rint(drawn), *design.size_limits).astype(np.int64)


def _students(design, rng, intake, cohort, cell, school) -> dict[str, np.ndarray]:
    """Recorded prior score, female, ses, and the score expected before the school's effect (arrays over students)."""
    shift = _by_cohort(design, design.prior_shift, 0.0)[cohort]
    spread = _by_cohort(design, design.prior_spread, 1.0)[cohort]
    within_sd = np.sqrt(design.reliability * design.prior_sd**2 - design.intake_sd**2)
    z = rng.standard_normal(cell.size)
    true_prior = design.prior_mean + shift + intake + spread * within_sd * z
    error_sd = np.sqrt(1 - design.reliability) * design.prior_sd
    prior = true_prior + error_sd * rng.standard_normal(cell.size)

    standard_intake = intake / design.intake_sd if design.intake_sd > 0 else np.zeros(cell.size)
    school_part = design.ses_intake * standard_intake + (
        np.sqrt(1 - design.ses_intake**2) * rng.standard_normal(design.schools)[school]
    )
    own_part = design.ses_prior * z + np.sqrt(1 - design.ses_prior**2) * rng.standard_normal(cell.size)
    ses = np.round(design.ses_school_sd * school_part + np.sqrt(1 - design.ses_school_sd**2) * own_part, 2)
    female = rng.integers(0, 2, cell.size)

    school_mean = (np.bincount(cell, prior) / np.bincount(cell))[cell]
    slope = design.slope + _by_cohort(design, design.slope_change, 0.0)[cohort]
    expected = (
        design.score_mean
        + slope * (true_prior - design.prior_mean)
        + design.female_effect * female
        + design.ses_effect * ses
        + design.context_effect * (school_mean - design.prior_mean)
        + _by_cohort(design, design.drift, 0.0)[cohort]
    )
    return {"prior": prior, "female": female, "ses": ses, "expected": expected}


def _carried_effect(design, rng, effects, school, cohort) -> np.ndarray:
    """The school effect in each student's score: the own school's, or half and half after a move."""
    own = effects[school, cohort]
    moved = rng.random(school.size) < design.mobility
    other = effects[rng.integers(0, design.schools, school.size), cohort]
    return np.where(moved, (own + other) / 2, own)


def _tested(values: np.ndarray, missing: float, digits: int | None, rng: np.random.Generator) -> np.ndarray:
    values = np.where(rng.random(values.size) < missing, np.nan, values)
    return values if digits is None else np.round(values, digits)


def _by_cohort(design: PanelDesign, values: Mapping[int, float], default: float) -> np.ndarray:
    return np.array([values.get(cohort, default) for cohort in design.cohorts], dtype=float)


def _codes(rng: np.random.Generator, count: int, digits: int) -> np.ndarray:
    """Different codes in random order, as text with leading zeros."""
    digits = max(digits, len(str(count)))
    numbers = rng.choice(10**digits - 1, count, replace=False) + 1
    return np.array([f"{number:0{digits}d}" for number in numbers], dtype=object)
