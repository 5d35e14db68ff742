"""The methods that a simulation compares: every option of the library by name, applied to many data sets at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy import stats

from ..effects.bootstrap import draw_weights, resample
from ..effects.stability import WAYS, correlate_all
from ..errors import ParamsError
from ..models.estimators import (
    Baseline,
    Predictions,
    benchmark_va,
    fit_baselines,
    known_errors,
    optimise_residuals,
    relative_va,
    school_variance,
)
from ..models.likelihood import compress, optimise
from ..models.measurement import remove_error
from ..models.posterior import Posterior
from ..sums.moments import Moments, moments_of_sums
from . import intervals
from .draw import Worlds
from .measures import scalar_values, school_values
from .worlds import Scenario

MODELS = ("relative", "benchmark", "correlation", "shift", "to_a_school", "ranks", "change")
INTERVALS = ("full", "integrated", "known", "bootstrap")
CHOICES = {
    "model": MODELS,
    "intervals": INTERVALS,
    "estimator": ("mixed", "ols", "within"),
    "shift": ("estimated", "absorbed"),
    "variances": ("focal", "baseline"),
    "groups": ("school_cohort", "school"),
    "likelihood": ("ML", "REML"),
    "way": WAYS,
}


@dataclass(frozen=True, slots=True)
class Method:
    """One way of estimating.

    Attributes
    ----------
    name : str
        How tables call it.
    model : str
        "relative", "benchmark", "correlation" (of the school effects of the last baseline and the focal cohort), or the
        benchmark's "shift" in all its forms, VA relative "to_a_school", "ranks" and fifths by benchmark VA, "change" of
        relative VA since the last baseline cohort (:mod:`valib.simulation.intervals`).
    estimator, groups, shift, variances, likelihood : str
        As in :func:`valib.fit_baseline` and :func:`valib.fit_benchmark`.
    intervals : str
        "full" (with the error of the coefficients, the variances taken as known), "integrated" (over the variances too,
        for schools), "known" (not even with the error of the coefficients) or "bootstrap" (of schools).
    context : bool
        With the school mean of the prior in the formula.
    corrected : bool
        With the prior's error of measurement taken off, its reliability being known.
    equating : bool
        With the equating error in the intervals, its SD being known.
    way : str
        Which correlation.
    draws : int
        Bootstrap samples, or draws of ranks, for each data set.
    replicates : int or None
        The most replicates it is applied to (None: all), for what takes long.

    Notes
    -----
    The methods of the library by name are :data:`valib.simulation.methods.METHODS`.

    Examples
    --------
    >>> import valib as va
    >>> va.Method("least squares", estimator="ols").shift
    'estimated'
    """

    name: str
    model: str = "benchmark"
    estimator: str = "mixed"
    groups: str = "school_cohort"
    shift: str = "estimated"
    variances: str = "focal"
    likelihood: str = "ML"
    intervals: str = "full"
    context: bool = False
    corrected: bool = False
    equating: bool = False
    way: str = "joint_model"
    draws: int = 100
    replicates: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a method of the library.

        Raises
        ------
        ParamsError
            Names the method and the choice.
        """
        for key, allowed in CHOICES.items():
            if getattr(self, key) not in allowed:
                raise ParamsError(
                    f"Method '{self.name}': {key} must be one of {', '.join(allowed)}, not {getattr(self, key)!r}."
                )
        if self.intervals == "bootstrap" and (self.model != "benchmark" or self.context):
            raise ParamsError(f"Method '{self.name}': here only a benchmark without a school mean can be bootstrapped.")
        if self.model in ("shift", "to_a_school", "ranks", "change"):
            self._check_published()
        if self.intervals == "integrated" and (self.corrected or self.variances == "baseline"):
            raise ParamsError(
                f"Method '{self.name}': integrated intervals are of the focal cohort's own recorded scores."
            )
        if self.context and self.estimator == "within":
            raise ParamsError(f"Method '{self.name}': a school mean does not vary within schools.")
        if self.context and self.corrected:
            raise ParamsError(f"Method '{self.name}': the error of a school mean is not corrected for.")
        if self.draws < 2:
            raise ParamsError(f"Method '{self.name}': a bootstrap needs two draws or more.")

    def _check_published(self) -> None:
        """Refuse options that the further intervals do not have here."""
        allowed = ("full", "integrated") if self.model in ("ranks", "change") else ("full",)
        if self.intervals not in allowed:
            raise ParamsError(f"Method '{self.name}': {self.model} has the intervals {' or '.join(allowed)}.")
        if self.shift != "estimated" or self.context or self.corrected:
            raise ParamsError(f"Method '{self.name}': {self.model} is of the recorded prior and an estimated shift.")


METHODS = {
    m.name: m
    for m in (
        Method("seed", estimator="ols", shift="absorbed", intervals="known"),
        Method("answer", shift="absorbed", variances="baseline", intervals="known"),
        Method("default"),
        Method("default (integrated)", intervals="integrated", replicates=500),
        Method("default (b known)", intervals="known"),
        Method("default (bootstrap)", intervals="bootstrap", replicates=200),
        Method("default (corrected)", corrected=True),
        Method("default (equating)", equating=True),
        Method("default (school mean)", context=True),
        Method("default (one effect a school)", groups="school"),
        Method("default (REML)", likelihood="REML"),
        Method("relative", "relative"),
        Method("relative (integrated)", "relative", intervals="integrated", replicates=500),
        Method("shift", "shift"),
        Method("to a school", "to_a_school"),
        Method("ranks", "ranks", intervals="integrated", draws=1000, replicates=200),
        Method("ranks (plug-in)", "ranks", draws=1000, replicates=200),
        Method("change", "change", intervals="integrated", replicates=100),
        Method("change (plug-in)", "change", replicates=100),
        Method("relative (b known)", "relative", intervals="known"),
        Method("relative (corrected)", "relative", corrected=True),
        Method("relative (school mean)", "relative", context=True),
        *(
            Method(f"{e} / {s} / {v}", estimator=e, shift=s, variances=v)
            for e, s, v in product(CHOICES["estimator"], CHOICES["shift"], CHOICES["variances"])
        ),
        *(Method(way, "correlation", way=way, replicates=500) for way in WAYS),
    )
}


def method(name: str) -> Method:
    """A named method; ParamsError for unknown names."""
    if name not in METHODS:
        raise ParamsError(f"There is no method '{name}'; there are {', '.join(METHODS)}.")
    return METHODS[name]


class Fits:
    """The fits of one chunk of worlds, each made once however many methods use it.

    scenario, worlds: the chunk; seeds: one SeedSequence a world, for the bootstrap. level: of the intervals.
    """

    def __init__(self, scenario: Scenario, worlds: Worlds, seeds: list[np.random.SeedSequence], level: float) -> None:
        self.scenario, self.worlds, self.seeds = scenario, worlds, seeds
        self.z = float(stats.norm.ppf(0.5 + level / 2))
        self.level = level
        self._kept: dict[tuple, object] = {}

    def apply(self, method: Method, first: int | None = None) -> dict[str, np.ndarray]:
        """(R, 8) values (:data:`valib.simulation.measures.VALUES`) by estimand, of the ``first`` worlds only."""
        R = len(self.seeds) if first is None else first
        if method.model == "correlation":
            return {"rho": self._once(self._correlations, method.likelihood, R)[method.way]}
        if method.intervals == "bootstrap":
            return self._bootstrap(method, R)
        if method.model in ("shift", "to_a_school", "ranks", "change"):
            return self._published(method, R)
        return {estimand: values[:R] for estimand, values in self._analytic(method).items()}

    def _analytic(self, method: Method) -> dict[str, np.ndarray]:
        """What needs no resampling, of all worlds."""
        found = self._once(self._predict, *self._key(method))
        if method.intervals == "known":
            found = known_errors(found)
        return self._values(found, method)

    def _benchmark(self, method: Method) -> tuple[Baseline, Predictions]:
        m = replace(method, model="benchmark")
        base = self._once(self._baseline, m.estimator, m.groups, m.likelihood, m.context, m.corrected)
        return base, self._once(self._predict, *self._key(m))

    def _posterior(self, m: Method) -> Posterior | None:
        """Of the effects of a relative or benchmark model; None where the variances are taken as known."""
        if m.intervals != "integrated":
            return None
        _, focal = self._once(self._sums, m.context)
        if m.model == "relative":
            return intervals.relative_posterior(focal)
        base, _ = self._benchmark(m)
        equating_se = self.scenario.equating_se if m.equating else 0.0
        return intervals.benchmark_posterior(focal, base, m.shift, equating_se)

    def _published(self, m: Method, R: int) -> dict[str, np.ndarray]:
        """The further intervals, of the first R worlds."""
        w, s = self.worlds, self.scenario
        if m.model == "change":
            kind = "integrated" if m.intervals == "integrated" else "plugin"
            years = s.baseline[-1], s.focal
            pairs = [
                tuple(one_cohort(w, r, t, year) for t, year in zip((-2, -1), years, strict=True)) for r in range(R)
            ]
            return intervals.changes(w, pairs, kind, self.level)
        base, found = self._benchmark(m)
        if m.model == "ranks":
            here, seeds = w.n[:, -1] > 0, [_child(seed, 2) for seed in self.seeds[:R]]
            return intervals.ranks(found, self._posterior(m), w.va, here, m.draws, seeds, self.level)
        cohorts = [split_cohorts(w, slice(t, t + 1)) for t in range(w.n.shape[1])]
        if m.model == "shift":
            told = intervals.shifts(s, cohorts, base, found, self._schools, self.level)
        else:
            told = {
                "to_a_school": intervals.to_a_school(
                    w, cohorts[-2], cohorts[-1], base, found, self._schools, self.level
                )
            }
        return {estimand: values[:R] for estimand, values in told.items()}

    def _once(self, make, *key):
        if (make.__name__, *key) not in self._kept:
            self._kept[make.__name__, *key] = make(*key)
        return self._kept[make.__name__, *key]

    @staticmethod
    def _key(m: Method) -> tuple:
        return m.model, m.estimator, m.groups, m.shift, m.variances, m.likelihood, m.context, m.corrected, m.equating

    @property
    def _schools(self) -> np.ndarray:
        """(R,): schools with students in any cohort."""
        return (self.worlds.n > 0).any(axis=1).sum(axis=1)

    def _sums(self, context: bool):
        return split(self.worlds, context)

    def _errors(self, context: bool, corrected: bool, focal: bool) -> np.ndarray:
        """(p,): error variances of the columns that are known to a method."""
        s2m = self.scenario.error_variances[focal] if corrected else 0.0
        return np.array([0.0, s2m] + [0.0] * context)

    def _baseline(self, estimator, groups, likelihood, context, corrected) -> Baseline:
        base, _ = self._once(self._sums, context)
        return fit_baselines(base, estimator, groups, likelihood == "REML", self._errors(context, corrected, False))

    def _predict(self, model, estimator, groups, shift, variances, likelihood, context, corrected, equating):
        _, focal = self._once(self._sums, context)
        data, reml = compress(focal), likelihood == "REML"
        if model == "relative":
            errors = self._errors(context, corrected, True)
            return relative_va(focal, optimise(remove_error(data, errors), reml), reml, errors)
        base = self._once(self._baseline, estimator, groups, likelihood, context, corrected)
        kept = (base.tau2, base.sigma2) if variances == "baseline" else None
        fit = optimise_residuals(data, base.b, kept, 0 if shift == "estimated" else None, reml)
        equating_se = self.scenario.equating_se if equating else 0.0
        blup, moved = benchmark_va(focal.n, focal.means, base.b, base.vcov, fit.tau2, fit.sigma2, shift, equating_se)
        if moved is not None:  # the schools of baseline and cohort are the same, and absent ones add nothing
            var = school_variance(moved.by_school(base.influence)[..., None], self._schools[:, None, None])
            moved = replace(moved, var=var[:, 0, 0] + moved.var_scale)
        return Predictions(blup, base.b, base.vcov, fit.tau2, fit.sigma2, moved)

    def _values(self, found: Predictions, method: Method) -> dict[str, np.ndarray]:
        """Estimands of a relative or benchmark model against their truth."""
        s, w, here = self.scenario, self.worlds, self.worlds.n[:, -1] > 0
        relative = method.model == "relative"
        truth = w.effects[:, -1] if relative else w.va
        slope = s.slope + s.slope_change if relative else s.slope
        effect, post = found.blup.effect, self._posterior(method)
        half = self.z * np.sqrt(found.blup.var_comparative)
        limits = None if post is None else post.effects().interval(self.level)
        out = {
            "effect" if relative else "va": school_values(effect, truth, half, here, limits),
            "tau": scalar_values(np.sqrt(found.tau2), s.tau),
            "slope": scalar_values(found.b[:, 1], slope, self.z * np.sqrt(found.vcov[:, 1, 1])),
            "gradient": scalar_values(_gradient(effect - truth, w.intake, here), 0.0),
        }
        if not relative:
            out["mean_va"] = scalar_values(_mean(effect, here), _mean(truth, here))
        if found.shift is not None:
            q = self.z if method.intervals == "known" else stats.t.ppf(0.5 + self.level / 2, self._schools - 1)
            out["shift"] = scalar_values(found.shift.delta, s.shift, q * np.sqrt(found.shift.var))
        return out

    def _bootstrap(self, m: Method, R: int) -> dict[str, np.ndarray]:
        """Intervals from samples of schools: percentiles for the shift, normal ones for schools.

        A school's variance is that with known coefficients, tau2 (1 - lambda), plus that of its VA over the samples.
        """
        found = self._once(self._predict, *self._key(m))
        n = self.worlds.n[:R]
        here, tail = n[:, -1] > 0, (1 - self.level) / 2
        base, focal = (d.take(slice(R)) for d in self._once(self._sums, False))
        weights = draw_weights((n > 0).any(axis=1), m.draws, [_child(seed) for seed in self.seeds[:R]])
        delta, spread = resample(
            base,
            focal,
            weights,
            estimator=m.estimator,
            groups=m.groups,
            shift=m.shift,
            variances=m.variances,
            reml=m.likelihood == "REML",
            errors=self._errors(False, m.corrected, False),
        )
        half = self.z * np.sqrt(found.blup.var_conditional[:R] + spread)
        out = {"va": school_values(found.blup.effect[:R], self.worlds.va[:R], half, here)}
        if found.shift is not None:
            limits = np.quantile(delta, [tail, 1 - tail], axis=1)
            out["shift"] = scalar_values(found.shift.delta[:R], self.scenario.shift, limits=(limits[0], limits[1]))
        return out

    def _correlations(self, likelihood: str, R: int) -> dict[str, np.ndarray]:
        """(R, 8) of every way of correlating the last baseline cohort with the focal one; nan where undefined."""
        cohorts = np.array([self.scenario.baseline[-1], self.scenario.focal])
        order, w = np.argsort(cohorts), self.worlds
        at = np.array([-2, -1])[order]  # the last baseline cohort and the focal one stand last
        found = correlate_all(
            cohorts[order], w.n[:R, at], w.sums[:R, at], w.cross[:R, at].sum(axis=2), self.level, likelihood
        )[:, 0]
        rho = self.scenario.effect_correlation
        return {
            way: scalar_values(found[:, k, 0], rho, limits=(found[:, k, 1], found[:, k, 2]))
            for k, way in enumerate(WAYS)
        }


def _child(seed: np.random.SeedSequence, use: int = 1) -> np.random.SeedSequence:
    """A stream of its own for the bootstrap (1) or for ranks (2), the same whenever it is asked for."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, use))


def _mean(values: np.ndarray, here: np.ndarray) -> np.ndarray:
    return np.where(here, values, 0.0).sum(axis=1) / here.sum(axis=1)


def _gradient(error: np.ndarray, intake: np.ndarray, here: np.ndarray) -> np.ndarray:
    """(R,): slope of the schools' errors on their expected true prior score, points per point."""
    x = np.where(here, intake - _mean(intake, here)[:, None], 0.0)
    square = (x**2).sum(axis=1)
    return np.divide((x * error).sum(axis=1), square, out=np.full(len(x), np.nan), where=square > 0)


def split(worlds: Worlds, context: bool = False) -> tuple[Moments, Moments]:
    """Moments of the baseline and of the focal cohort, R in front; context: with the school mean of the prior."""
    n, sums, cross = worlds.n, worlds.sums, worlds.cross
    if context:
        sums, cross = _with_context(n, sums, cross)
    whole = replace(worlds, sums=sums, cross=cross)
    return tuple(split_cohorts(whole, at) for at in (slice(None, -1), slice(-1, None)))


def split_cohorts(w: Worlds, at: slice) -> Moments:
    """Moments of some cohorts, R in front."""
    return moments_of_sums(np.arange(w.n.shape[1])[at], w.n[:, at], w.sums[:, at], cell_cross=w.cross[:, at])


def one_cohort(w: Worlds, r: int, t: int, year: int) -> Moments:
    """Moments of one cohort of one data set, of the schools that it has, called by their positions."""
    here = np.flatnonzero(w.n[r, t])
    one = moments_of_sums(
        np.array([year]), w.n[r, t, here][None], w.sums[r, t, here][None], cell_cross=w.cross[r, t, here][None]
    )
    return replace(one, schools=here)


def _with_context(n, sums, cross):
    """Columns 1, x, school mean of x, y: within a school the third is a multiple of the first."""
    mean = sums[..., 1] / np.maximum(n, 1)
    lift = np.zeros((*n.shape, 3, 4))
    lift[..., 0, 0] = lift[..., 1, 1] = lift[..., 2, 3] = 1.0
    lift[..., 0, 2] = mean
    return (sums[..., None, :] @ lift)[..., 0, :], np.swapaxes(lift, -1, -2) @ cross @ lift
