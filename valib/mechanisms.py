"""Data-generating mechanisms: simulated worlds with known truth, drawn as sums per school and cohort.

For student i of school j in cohort t, the prior score x and the score y in points about their baseline means:

    x_ijt  = c_t + m_jt + within_sd z_ijt          true prior score; within_sd^2 = prior_sd^2 - intake_sd^2
    y_ijt  = delta_t + b_t x_ijt + u_jt + e_ijt + q_t
    u_jt   = tau a_jt,      a_jt stationary AR(1) over the calendar: Cov(a_jt, a_js) = rho^|t - s|
    m_jt   = intake_sd (k a_jt + sqrt(1 - k^2) z_j),    k = sorting

delta_t, c_t (a changed intake) and b_t - slope are those of the scenario in the focal cohort and 0 in the baseline;
q_t ~ N(0, equating_se^2) is one number for the whole focal cohort. What is recorded instead of x is
x + h_t + N(0, (1 / r_t - 1) prior_sd^2), with reliability r_t and h_t the points by which the prior test became easier.

The models see students only through sums, so that with normal students the sums themselves are drawn (normal means,
Wishart products about them); otherwise students are drawn and added. Both are the same world.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from .errors import ParamsError

_POSITIVE = ("tau", "sigma", "prior_sd", "intake_sd", "equating_se", "hetero_prior", "hetero_school")
_LIMITS = {"schools": (2, 100_000), "sorting": (-1, 1), "rho": (0, 1), "missing": (0, 0.9),
           **dict.fromkeys(_POSITIVE, (0, math.inf))}
QUADRATURE = 40  # nodes of the normal integral that sets the share of missing students


@dataclass(frozen=True, slots=True)
class Scenario:
    """The parameters of a simulated study; score points unless said otherwise. They are its truth.

    Attributes
    ----------
    name : the scenario's name; together with the seed it sets the random numbers.
    about : what it is for, in one line.
    baseline, focal : calendar years of the baseline cohorts and of the cohort that is judged.
    schools : number of schools.
    sizes : (lowest, highest) students of a school, uniform over the whole numbers between, the same in every cohort.
    cells : students of each school and cohort, rows of (baseline..., focal), 0 where absent; overrules the former two.
    slope, slope_change : points of score per point of true prior score, and its change in the focal cohort.
    tau, sigma : SD of school effects and of students.
    delta : the system's shift in the focal cohort, for a student at the baseline mean of the prior.
    rho : correlation of a school's effects one calendar year apart.
    sorting : correlation of a school's intake with its effect.
    prior_sd, intake_sd : SD of true prior scores over all students, and between schools.
    intake_change : change of the mean true prior score in the focal cohort.
    reliability, focal_reliability : share of the recorded prior's variance that is not error; None: as in the baseline.
    prior_easier : points by which recorded prior scores of the focal cohort are higher for the same knowledge.
    student_df, school_df : degrees of freedom of a t distribution of students, schools; None: normal. The SD stays.
    hetero_prior, hetero_school : SD of the log of a student's SD, over the prior score and between schools.
    missing, missing_slope, missing_baseline : share of students without a score, change of its log-odds per SD of the
        student's residual (negative: the weaker are missing), and whether baseline cohorts suffer it as well.
    equating_se : SD of the error that the focal cohort's test scale carries as a whole.
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
        check(self.cells is None or {len(row) for row in self.cells} == {len(self.cohorts)},
              "cells needs one number for every cohort in every row")

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
        return self.student_df is None and not (self.hetero_prior or self.hetero_school or self.missing)

    @property
    def effect_correlation(self) -> float:
        """Correlation of the school effects of the last baseline cohort and the focal one."""
        return self.rho ** abs(self.focal - self.baseline[-1])

    def parameters(self) -> dict:
        """The parameters that make the world, for a key and for tables."""
        return asdict(self) | {"shift": self.shift}


@dataclass(frozen=True, slots=True, eq=False)
class Worlds:
    """R draws of a scenario: T cohorts (the focal one last), J schools, columns 1, prior score, score.

    n (R, T, J): students with a score. sums (R, T, J, 3) and cross (R, T, J, 3, 3): of the recorded columns, in points
    about the baseline's expectation. effects (R, T, J): u. va (R, J): true benchmark VA in the focal cohort, the mean
    over all of a school's students of what they gain on the baseline's line. intake (R, J): expected true prior score
    of the focal cohort.
    """

    n: np.ndarray
    sums: np.ndarray
    cross: np.ndarray
    effects: np.ndarray
    va: np.ndarray
    intake: np.ndarray


def draw(scenario: Scenario, rngs: list[np.random.Generator]) -> Worlds:
    """One world for each generator."""
    one = _draw_sums if scenario.is_normal else _draw_students
    drawn = [one(scenario, rng) for rng in rngs]
    return Worlds(*(np.stack([d[i] for d in drawn]) for i in range(6)))


def _schools(s: Scenario, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n, effects and expected true prior scores, each (T, J)."""
    J, T = s.n_schools, len(s.cohorts)
    if s.cells is None:
        n = np.tile(rng.integers(s.sizes[0], s.sizes[1] + 1, J), (T, 1))
    else:
        n = np.array(s.cells).T
    noise = _standard(s.school_df, rng, (T, J))
    a = noise.copy()
    order = np.argsort(s.cohorts)
    for before, t in zip(order[:-1], order[1:], strict=True):
        kept = s.rho ** (s.cohorts[t] - s.cohorts[before])
        a[t] = kept * a[before] + math.sqrt(1 - kept**2) * noise[t]
    own = rng.standard_normal(J)
    intake = s.intake_sd * (s.sorting * a + math.sqrt(1 - s.sorting**2) * own)
    intake[-1] += s.intake_change
    return n, s.tau * a, intake


def _by_cohort(s: Scenario, baseline: float, focal: float) -> np.ndarray:
    """(T, 1): one value for the baseline cohorts, another for the focal one."""
    return np.array([baseline] * len(s.baseline) + [focal])[:, None]


def _draw_sums(s: Scenario, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """One world without students: cell means, and Wishart products about them by Bartlett's decomposition."""
    n, effects, intake = _schools(s, rng)
    vx, error = s.prior_sd**2 - s.intake_sd**2, _by_cohort(s, *s.error_variances)
    slope = _by_cohort(s, s.slope, s.slope + s.slope_change)
    root = np.sqrt(np.maximum(n, 1))
    z = rng.standard_normal((3, *n.shape)) / root
    true = intake + math.sqrt(vx) * z[0]
    x = true + np.sqrt(error) * z[1] + _by_cohort(s, 0.0, s.prior_easier)
    y = slope * true + effects + _by_cohort(s, 0.0, s.delta + s.equating_se * rng.standard_normal()) + s.sigma * z[2]
    l11 = np.sqrt(vx + error)
    l21 = np.divide(slope * vx, l11, out=np.zeros_like(l11), where=l11 > 0)
    l22 = np.sqrt(np.maximum(slope**2 * vx + s.sigma**2 - l21**2, 0.0))
    c1 = np.sqrt(2 * rng.standard_gamma(np.maximum(n - 1, 0) / 2))
    c2 = np.sqrt(2 * rng.standard_gamma(np.maximum(n - 2, 0) / 2))
    g = np.where(n > 1, rng.standard_normal(n.shape), 0.0)
    dx, dy1, dy2 = l11 * c1, l21 * c1 + l22 * g, l22 * c2
    sums = n[..., None] * np.stack([np.ones_like(x), x, y], axis=-1)
    cross = _products(n, x, y, n * x**2 + dx**2, n * x * y + dx * dy1, n * y**2 + dy1**2 + dy2**2)
    return n, sums, cross, effects, _true_va(s, effects[-1], true[-1]), intake[-1]


def _draw_students(s: Scenario, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """One world from students, for what is not normal or not complete."""
    n, effects, intake = _schools(s, rng)
    T, J = n.shape
    cell = np.repeat(np.arange(T * J), n.ravel())
    focal, school = cell >= (T - 1) * J, cell % J
    within = math.sqrt(s.prior_sd**2 - s.intake_sd**2)
    true = intake.ravel()[cell] + within * rng.standard_normal(len(cell))
    log_sd = s.hetero_school * rng.standard_normal(J)[school]
    if s.hetero_prior:
        log_sd = log_sd + s.hetero_prior * true / s.prior_sd
    shape = _standard(s.student_df, rng, len(cell))
    e = s.sigma * np.exp(log_sd - s.hetero_prior**2 - s.hetero_school**2) * shape
    system = s.delta + s.equating_se * rng.standard_normal()
    y = (s.slope + s.slope_change * focal) * true + effects.ravel()[cell] + system * focal + e
    error = np.sqrt(np.where(focal, s.error_variances[1], s.error_variances[0]))
    x = true + error * rng.standard_normal(len(cell)) + s.prior_easier * focal
    n_all, totals = n, np.bincount(cell, weights=true, minlength=T * J).reshape(T, J)[-1]
    means = np.divide(totals, n_all[-1], out=np.zeros(J), where=n_all[-1] > 0)
    va = _true_va(s, effects[-1], means)
    if s.missing:
        gone = rng.random(len(cell)) < _missing_chance(s, e / s.sigma)
        kept = ~(gone & (focal | s.missing_baseline))
        cell, x, y = cell[kept], x[kept], y[kept]

    def total(values):
        return np.bincount(cell, weights=values, minlength=T * J).reshape(T, J)

    n = np.bincount(cell, minlength=T * J).reshape(T, J)
    sx, sy = total(x), total(y)
    mean = [np.divide(v, n, out=np.zeros((T, J)), where=n > 0) for v in (sx, sy)]
    cross = _products(n, *mean, total(x * x), total(x * y), total(y * y))
    return n, np.stack([n.astype(float), sx, sy], axis=-1), cross, effects, va, intake[-1]


def _products(n, x, y, xx, xy, yy) -> np.ndarray:
    """(T, J, 3, 3) cross-products of the columns 1, x, y from cell means x, y and raw products."""
    cross = np.empty((*n.shape, 3, 3))
    cross[..., 0, 0], cross[..., 1, 1], cross[..., 2, 2] = n, xx, yy
    cross[..., 0, 1] = cross[..., 1, 0] = n * x
    cross[..., 0, 2] = cross[..., 2, 0] = n * y
    cross[..., 1, 2] = cross[..., 2, 1] = xy
    return cross


def _true_va(s: Scenario, u: np.ndarray, mean_prior: np.ndarray) -> np.ndarray:
    return s.delta + u + s.slope_change * mean_prior


def _standard(df: float | None, rng: np.random.Generator, shape) -> np.ndarray:
    """Draws with mean 0 and variance 1, normal or t."""
    if df is None:
        return rng.standard_normal(shape)
    return rng.standard_t(df, shape) * math.sqrt((df - 2) / df)


def _missing_chance(s: Scenario, residual: np.ndarray) -> np.ndarray:
    """Chance of each student to be missing: logistic in the residual, s.missing on average over normal ones."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE)
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        share = weights @ (1 / (1 + np.exp(-middle - s.missing_slope * nodes))) / weights.sum()
        low, high = (middle, high) if share < s.missing else (low, middle)
    return 1 / (1 + np.exp(-low - s.missing_slope * residual))


PLAIN = Scenario("plain", "200 schools, nothing changes: every model is right")

# Mechanisms one at a time; each differs from PLAIN only in what its line says.
SCENARIOS = {s.name: s for s in (
    PLAIN,
    replace(PLAIN, name="drift", about="the system falls by 14 points", delta=-14.0),
    replace(PLAIN, name="slope change", about="the slope is .1 flatter in the focal cohort", slope_change=-0.1),
    replace(PLAIN, name="sorting", about="better intakes in better schools (correlation .78)", sorting=0.78),
    replace(PLAIN, name="drift and sorting", about="both, and an intake that is 10 points better", delta=-14.0,
            sorting=0.78, intake_change=10.0),
    replace(PLAIN, name="measurement error", about="the prior's reliability is .85; the intake falls by 20 points",
            reliability=0.85, intake_change=-20.0),
    replace(PLAIN, name="reliability change", about="the prior's reliability falls from .90 to .75",
            reliability=0.9, focal_reliability=0.75),
    replace(PLAIN, name="easier prior", about="prior scores 10 points higher for equal knowledge", prior_easier=10.0),
    replace(PLAIN, name="small schools", about="3 to 15 students a school", sizes=(3, 15)),
    replace(PLAIN, name="unbalanced schools", about="2 to 150 students a school", sizes=(2, 150)),
    replace(PLAIN, name="few schools", about="15 schools", schools=15),
    replace(PLAIN, name="heavy tails", about="students and schools t with 4 degrees of freedom", student_df=4.0,
            school_df=4.0),
    replace(PLAIN, name="heteroscedastic", about="students' spread varies with the prior and between schools",
            hetero_prior=0.25, hetero_school=0.25),
    replace(PLAIN, name="missing students", about="10% of the focal students miss the test, the weaker more often",
            missing=0.1, missing_slope=-1.0),
    replace(PLAIN, name="equating error", about="the focal scale carries an error with SD 3", equating_se=3.0),
    replace(PLAIN, name="serial", about="school effects last: correlation .9 a year", rho=0.9),
    replace(PLAIN, name="combined", about="drift, sorting, lasting effects, error in the prior, heavy tails",
            delta=-14.0, sorting=0.3, rho=0.9, reliability=0.9, intake_change=-5.0, student_df=5.0),
)}


def scenario(name: str, **changes) -> Scenario:
    """A named scenario, with parameters changed: ``scenario("drift", schools=50)``; ParamsError for unknown names."""
    if name not in SCENARIOS:
        raise ParamsError(f"There is no scenario '{name}'; there are {', '.join(SCENARIOS)}.")
    unknown = sorted(set(changes) - {f.name for f in fields(Scenario)})
    if unknown:
        raise ParamsError(f"A scenario has no parameter {unknown[0]}.")
    return replace(SCENARIOS[name], **changes)


def combine(name: str, *names: str, **changes) -> Scenario:
    """One scenario with what each of the named ones changes; a later one overrules an earlier one."""
    merged = {}
    for part in names:
        one = scenario(part)
        merged |= {f.name: getattr(one, f.name) for f in fields(Scenario)
                   if f.name not in ("name", "about") and getattr(one, f.name) != getattr(PLAIN, f.name)}
    return replace(PLAIN, **{"name": name, "about": " + ".join(names), **merged, **changes})
