"""Scenarios: the parameters of simulated studies, one mechanism at a time or combined.

What the parameters mean stands in :mod:`valib.simulation.draw`, which draws the worlds.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace

from ..errors import ParamsError

_POSITIVE = tuple("tau sigma prior_sd intake_sd equating_se hetero_prior hetero_school cohort_sd slope_sd".split())
_LIMITS = {
    "schools": (2, 100_000),
    "sorting": (-1, 1),
    "rho": (0, 1),
    "missing": (0, 0.9),
    **dict.fromkeys(_POSITIVE, (0, math.inf)),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """The parameters of a simulated study; score points unless said otherwise. They are its truth.

    Attributes
    ----------
    name : str
        The scenario's name; together with the seed it sets the random numbers.
    about : str
        What it is for, in one line.
    baseline, focal : tuple of int, int
        Calendar years of the baseline cohorts and of the cohort that is judged.
    schools : int
        Number of schools.
    sizes : tuple of int, int
        Lowest and highest number of students of a school, uniform over the whole numbers between, the same in every cohort.
    cells : tuple or None
        Students of each school and cohort, rows of (baseline..., focal), 0 where absent; overrules the former two.
    slope, slope_change : float
        Points of score per point of true prior score, and its change in the focal cohort.
    tau, sigma : float
        SD of school effects and of students.
    delta : float
        The system's shift in the focal cohort, for a student at the baseline mean of the prior.
    rho : float
        Correlation of a school's effects one calendar year apart.
    sorting : float
        Correlation of a school's intake with its effect.
    prior_sd, intake_sd : float
        SD of true prior scores over all students, and between schools.
    intake_change : float
        Change of the mean true prior score in the focal cohort.
    reliability, focal_reliability : float
        Share of the recorded prior's variance that is not error; None: as in the baseline.
    prior_easier : float
        Points by which recorded prior scores of the focal cohort are higher for the same knowledge.
    student_df, school_df : float or None
        Degrees of freedom of a t distribution of students, schools; None: normal. The SD stays.
    hetero_prior, hetero_school : float
        SD of the log of a student's SD, over the prior score and between schools.
    missing, missing_slope, missing_baseline : float, float, bool
        Share of students without a score, change of its log-odds per SD of the student's residual (negative: the weaker are
        missing), and whether baseline cohorts suffer it as well.
    equating_se : float
        SD of the error that the focal cohort's test scale carries as a whole.
    cohort_sd : float
        SD of what an ordinary year does to all students of a cohort alike, in every cohort.
    slope_sd : float
        SD between schools of the slope within them, about the school's expected prior score; a school keeps it.
    floor, ceiling : float or None
        Lowest and highest score that the outcome test can give, points about the baseline's mean; None: no limit. The
        truth is that of the scores without limits.

    Notes
    -----
    The model behind it stands in :mod:`valib.simulation.draw`.

    Examples
    --------
    >>> import valib as va
    >>> va.Scenario("mine", schools=40, delta=-10.0).tau
    15.0
    """

    name: str
    about: str = ""
    baseline: tuple[int, ...] = (2015, 2016, 2017)
    focal: int = 2019
    schools: int = 200
    sizes: tuple[int, int] = (10, 60)
    cells: tuple[tuple[int, ...], ...] | None = None
    slope: float = 0.8
    slope_change: float = 0.0
    tau: float = 15.0
    sigma: float = 45.0
    delta: float = 0.0
    rho: float = 0.0
    sorting: float = 0.0
    prior_sd: float = 75.0
    intake_sd: float = 25.0
    intake_change: float = 0.0
    reliability: float = 1.0
    focal_reliability: float | None = None
    prior_easier: float = 0.0
    student_df: float | None = None
    school_df: float | None = None
    hetero_prior: float = 0.0
    hetero_school: float = 0.0
    missing: float = 0.0
    missing_slope: float = 0.0
    missing_baseline: bool = False
    equating_se: float = 0.0
    cohort_sd: float = 0.0
    slope_sd: float = 0.0
    floor: float | None = None
    ceiling: float | None = None

    def __post_init__(self) -> None:
        """Refuse parameters that describe no world.

        Raises
        ------
        ParamsError
            Names the scenario, the parameter and what it must be.
        """

        def check(holds: bool, what: str) -> None:
            if not holds:
                raise ParamsError(f"Scenario '{self.name}': {what}.")

        for name, (low, high) in _LIMITS.items():
            check(low <= getattr(self, name) <= high, f"{name} must lie between {low:g} and {high:g}")
        ordered = bool(self.baseline) and list(self.baseline) == sorted({*self.baseline})
        check(ordered and self.focal not in self.baseline, "baseline must be years in ascending order, focal another")
        check(1 <= self.sizes[0] <= self.sizes[1], "sizes must be two whole numbers, the smaller first")
        check(self.intake_sd <= self.prior_sd, "intake_sd must not exceed prior_sd")
        for value in (self.reliability, self.focal_reliability):
            check(value is None or 0 < value <= 1, "a reliability must lie above 0 and not above 1")
        for value in (self.student_df, self.school_df):
            check(value is None or value > 2, "degrees of freedom must exceed 2, or there is no variance")
        ends = (-math.inf if self.floor is None else self.floor, math.inf if self.ceiling is None else self.ceiling)
        check(ends[0] < ends[1], "floor must lie below ceiling")
        check(
            self.cells is None or {len(row) for row in self.cells} == {len(self.cohorts)},
            "cells needs one number for every cohort in every row",
        )

    @property
    def cohorts(self) -> tuple[int, ...]:
        """Baseline cohorts and, last, the focal one."""
        return (*self.baseline, self.focal)

    @property
    def n_schools(self) -> int:
        """Number of schools."""
        return self.schools if self.cells is None else len(self.cells)

    @property
    def shift(self) -> float:
        """The true system shift: what the focal cohort's students gain on the baseline's line, on average."""
        return self.delta + self.slope_change * self.intake_change

    @property
    def error_variances(self) -> tuple[float, float]:
        """Variance of the measurement error of the prior score in the baseline and in the focal cohort."""
        focal = self.reliability if self.focal_reliability is None else self.focal_reliability
        return tuple((1 / r - 1) * self.prior_sd**2 for r in (self.reliability, focal))

    @property
    def is_normal(self) -> bool:
        """Whether sums can be drawn without students."""
        whole = self.floor is None and self.ceiling is None and not self.missing
        return whole and self.student_df is None and not (self.hetero_prior or self.hetero_school)

    @property
    def effect_correlation(self) -> float:
        """Correlation of the school effects of the last baseline cohort and the focal one."""
        return self.rho ** abs(self.focal - self.baseline[-1])

    def parameters(self) -> dict:
        """The parameters that make the world, for a key and for tables."""
        return asdict(self) | {"shift": self.shift}


PLAIN = Scenario("plain", "200 schools, nothing changes: every model is right")

# Mechanisms one at a time; each differs from PLAIN only in what its line says.
SCENARIOS = {
    s.name: s
    for s in (
        PLAIN,
        replace(PLAIN, name="drift", about="the system falls by 14 points", delta=-14.0),
        replace(PLAIN, name="slope change", about="the slope is .1 flatter in the focal cohort", slope_change=-0.1),
        replace(PLAIN, name="sorting", about="better intakes in better schools (correlation .78)", sorting=0.78),
        replace(
            PLAIN,
            name="drift and sorting",
            about="both, and an intake that is 10 points better",
            delta=-14.0,
            sorting=0.78,
            intake_change=10.0,
        ),
        replace(
            PLAIN,
            name="measurement error",
            about="the prior's reliability is .85; the intake falls by 20 points",
            reliability=0.85,
            intake_change=-20.0,
        ),
        replace(
            PLAIN,
            name="reliability change",
            about="the prior's reliability falls from .90 to .75",
            reliability=0.9,
            focal_reliability=0.75,
        ),
        replace(
            PLAIN, name="easier prior", about="prior scores 10 points higher for equal knowledge", prior_easier=10.0
        ),
        replace(PLAIN, name="small schools", about="3 to 15 students a school", sizes=(3, 15)),
        replace(PLAIN, name="unbalanced schools", about="2 to 150 students a school", sizes=(2, 150)),
        replace(PLAIN, name="few schools", about="15 schools", schools=15),
        replace(PLAIN, name="ten schools", about="10 schools", schools=10),
        replace(PLAIN, name="twenty schools", about="20 schools", schools=20),
        replace(
            PLAIN,
            name="low reliability",
            about="40 schools that differ little (SD 5), 10 to 30 students each",
            schools=40,
            sizes=(10, 30),
            tau=5.0,
        ),
        replace(
            PLAIN,
            name="common shocks",
            about="an ordinary year moves all schools alike, SD 3; five baseline cohorts",
            baseline=(2013, 2014, 2015, 2016, 2017),
            cohort_sd=3.0,
        ),
        replace(PLAIN, name="random slopes", about="slopes differ between schools (SD .1)", slope_sd=0.1),
        replace(PLAIN, name="floor", about="scores below -80 points are recorded as -80", floor=-80.0),
        replace(PLAIN, name="ceiling", about="scores above 80 points are recorded as 80", ceiling=80.0),
        replace(
            PLAIN,
            name="heavy tails",
            about="students and schools t with 4 degrees of freedom",
            student_df=4.0,
            school_df=4.0,
        ),
        replace(
            PLAIN,
            name="heteroscedastic",
            about="students' spread varies with the prior and between schools",
            hetero_prior=0.25,
            hetero_school=0.25,
        ),
        replace(
            PLAIN,
            name="missing students",
            about="10% of the focal students miss the test, the weaker more often",
            missing=0.1,
            missing_slope=-1.0,
        ),
        replace(PLAIN, name="equating error", about="the focal scale carries an error with SD 3", equating_se=3.0),
        replace(PLAIN, name="lasting", about="school effects last: correlation .7 a year", rho=0.7),
        replace(PLAIN, name="serial", about="school effects last: correlation .9 a year", rho=0.9),
        replace(
            PLAIN,
            name="combined",
            about="drift, sorting, lasting effects, error in the prior, heavy tails",
            delta=-14.0,
            sorting=0.3,
            rho=0.9,
            reliability=0.9,
            intake_change=-5.0,
            student_df=5.0,
        ),
    )
}


def scenario(name: str, **changes) -> Scenario:
    """A named scenario, with parameters changed.

    Parameters
    ----------
    name : str
        One of :data:`valib.simulation.worlds.SCENARIOS`.
    **changes
        Parameters of :class:`valib.Scenario`.

    Returns
    -------
    Scenario
        The world.

    Raises
    ------
    ParamsError
        For unknown names.

    Notes
    -----
    A scenario whose parameters are changed keeps its name, and so its random numbers.

    Examples
    --------
    >>> import valib as va
    >>> va.scenario("drift", schools=50).schools
    50
    """
    if name not in SCENARIOS:
        raise ParamsError(f"There is no scenario '{name}'; there are {', '.join(SCENARIOS)}.")
    unknown = sorted(set(changes) - {f.name for f in fields(Scenario)})
    if unknown:
        raise ParamsError(f"A scenario has no parameter {unknown[0]}.")
    return replace(SCENARIOS[name], **changes)


def combine(name: str, *names: str, **changes) -> Scenario:
    """One scenario with what each of the named ones changes; a later one overrules an earlier one.

    Parameters
    ----------
    name : str
        Of the new scenario.
    *names : str
        Those to combine.
    **changes
        Parameters of :class:`valib.Scenario`.

    Returns
    -------
    Scenario
        The world.

    Raises
    ------
    ParamsError
        For unknown names.

    Notes
    -----
    What a scenario changes is told from the scenario "plain".

    Examples
    --------
    >>> import valib as va
    >>> va.combine("both", "drift", "few schools").about
    'drift + few schools'
    """
    merged = {}
    for part in names:
        one = scenario(part)
        merged |= {
            f.name: getattr(one, f.name)
            for f in fields(Scenario)
            if f.name not in ("name", "about") and getattr(one, f.name) != getattr(PLAIN, f.name)
        }
    return replace(PLAIN, **{"name": name, "about": " + ".join(names), **merged, **changes})
