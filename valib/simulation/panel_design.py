"""The parameters of a simulated world, and those of the demo study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import ParamsError

_SHARES = ("rho", "reliability", "ses_school_sd", "open_late", "close_early", "cell_missing", "mobility",
           "missing_prior", "missing_score")  # fmt: skip
_RANGES = {
    **dict.fromkeys(("schools", "size", "size_median"), (1, np.inf)),
    **dict.fromkeys(("tau", "sigma", "prior_sd", "intake_sd", "size_log_sd", "size_change"), (0, np.inf)),
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
    tau, sigma : SD of school effects and of students' residuals.
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
    tau: float = 15.0
    sigma: float = 45.0
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
DEMO_SEED = 2024024
DEMO = PanelDesign(
    cohorts=(2015, 2016, 2017, 2018, 2019, 2021, 2023, 2024),
    schools=200,
    size_median=29.0,
    size_log_sd=0.65,
    size_limits=(5, 180),
    score_mean=498.0,
    slope=0.76,
    drift={2018: 2.0, 2019: 4.0, 2021: -8.0, 2023: -11.0, 2024: -13.7},
    female_effect=4.0,
    ses_effect=3.0,
    tau=15.6,
    sigma=43.0,
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
