"""Minimise a smooth deviance by Newton's method on its exact Hessian.

The sizes of the Hessian's eigenvalues are taken, so that a saddle repels, and damping is added where a step does not
lower the deviance. A point is accepted only if the Hessian is positive semi-definite there: at a singular covariance
matrix the gradient can vanish without a minimum, and only the curvature shows it.

:func:`minimise_all` takes many problems of one kind down the plain road at once: full steps, each lowering the
deviance, on Hessians that are safely positive definite. A problem that leaves it is for :func:`minimise`.

Sources: Nocedal and Wright (2006, chapters 3 and 4); Dauphin et al. (2014) for the saddle-free step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from ..sums.arrays import BoolArray, FloatArray

MAX_STEPS = 30
MAX_HALVINGS = 40
LONGEST_STEP = 1.0  # of any parameter; parameters are of order one
DECREMENT = 1e-11  # g'H^-1 g, twice what a Newton step would gain; one more step then squares the error
ROUNDING = 1e-13  # share of the deviance that its own rounding may be
FLAT = 1e-11  # share of the largest curvature below which a direction counts as flat
SADDLE = 1e-7  # curvature below minus this share of the largest is a saddle


class Value(Protocol):
    """What a problem gives at a point: at least the deviance, (R,) of R problems, some of which can be taken."""

    @property
    def deviance(self) -> Any: ...

    def take(self, rows: Any) -> Self: ...


class OneValue:
    """What a problem gives at a point where there is one data set: nothing to be taken of it."""

    __slots__ = ()

    def take(self, rows: Any) -> Self:
        """Itself."""
        return self


At = TypeVar("At", bound=Value)


class Problem(Protocol[At]):
    """A deviance to be minimised in x (k,)."""

    def value(self, x: FloatArray) -> At:
        """The deviance at x and whatever its derivatives need; LinAlgError where it cannot be computed."""

    def derivatives(self, x: FloatArray, at: At) -> tuple[FloatArray, FloatArray]:
        """Gradient (k,) and Hessian (k, k) at x."""


class Problems(Problem[At], Protocol[At]):
    """R problems: x (R, k), deviances (R,), nan where one cannot be computed, and so on."""

    def take(self, rows: Any) -> Self:
        """Some of them."""


One = TypeVar("One", bound=Problem[Any])
Many = TypeVar("Many", bound=Problems[Any])


@dataclass(frozen=True, slots=True, eq=False)
class End(Generic[One]):
    """Where a search ended: x, the model and the Hessian there, and whether it converged."""

    problem: One
    x: FloatArray
    at: Value
    hessian: FloatArray
    converged: bool


def minimise(problem: One, x: FloatArray) -> End[One]:
    """From x to a minimum of the deviance."""
    at, damping = problem.value(x), 0.0
    for _ in range(MAX_STEPS):
        gradient, hessian = problem.derivatives(x, at)
        newton = Quadratic.of(gradient, hessian)
        if newton.decrement < DECREMENT:
            away = _leave_saddle(problem, x, at, newton.downhill)
            if away is None:
                return _polish(End(problem, x, at, hessian, True), newton.step(0.0))
            x, at = away
            continue
        for _ in range(MAX_HALVINGS):
            step = newton.step(damping)
            step *= min(1.0, LONGEST_STEP / np.abs(step).max())
            new = _value(problem, x - step)
            if new is not None and new.deviance <= at.deviance + ROUNDING * abs(at.deviance):
                break
            damping = max(4 * damping, 0.05)
        else:
            break
        x, at, damping = x - step, new, damping / 8 if damping > 0.01 else 0.0
    return End(problem, x, at, hessian, bool(newton.decrement < np.sqrt(DECREMENT)))


def minimise_all(problems: Many, x: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Minima (R, k) from the starts x (R, k), and which problems got there (R,) on the plain road."""
    end, there, rows = x.copy(), np.zeros(len(x), dtype=bool), np.arange(len(x))
    with np.errstate(all="ignore"):
        at = problems.value(x)
        for _ in range(MAX_STEPS):
            step, decrement = _plain_steps(*problems.derivatives(x, at))
            safe = np.isfinite(decrement)
            if not safe.all():
                problems, rows, at = problems.take(safe), rows[safe], at.take(safe)
                x, step, decrement = x[safe], step[safe], decrement[safe]
            if not len(rows):
                break
            arrived = decrement < DECREMENT
            longest = np.abs(step).max(axis=1, initial=LONGEST_STEP)
            new = x - step * np.where(arrived, 1.0, LONGEST_STEP / longest)[:, None]
            after = problems.value(new)
            lower = after.deviance <= at.deviance + ROUNDING * np.abs(at.deviance)
            end[rows[arrived]] = np.where(lower[:, None], new, x)[arrived]
            there[rows[arrived]] = True
            going = ~arrived & lower
            if not going.any():
                break
            problems, rows, x = problems.take(going), rows[going], new[going]
            at = after.take(going)
    return end, there


def _plain_steps(gradient: FloatArray, hessian: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Newton steps (R, k) and decrements (R,), nan where the Hessian is not safely positive definite."""
    curve = np.abs(np.diagonal(hessian, axis1=1, axis2=2))
    scale = 1 / np.sqrt(np.maximum(curve, FLAT * curve.max(axis=1, keepdims=True)))
    scaled, slope = hessian * scale[:, :, None] * scale[:, None, :], gradient * scale
    step, decrement = np.full(slope.shape, np.nan), np.full(len(slope), np.nan)
    good = np.flatnonzero(np.isfinite(scaled).all(axis=(1, 2)) & np.isfinite(slope).all(axis=1))
    good = good[np.linalg.eigvalsh(scaled[good])[:, 0] > SADDLE]
    solved = np.linalg.solve(scaled[good], slope[good, :, None])[..., 0]
    step[good], decrement[good] = scale[good] * solved, (slope[good] * solved).sum(axis=1)
    return step, decrement


@dataclass(frozen=True, slots=True, eq=False)
class Quadratic:
    """Steps H^-1 g in parameters scaled to unit curvature; decrement: g'H^-1 g.

    factor: of H by Cholesky where it is safely positive definite; otherwise eigenvalues (their sizes) and eigenvectors.
    downhill: a direction of negative curvature, None if there is none.
    """

    scale: FloatArray
    slope: FloatArray
    scaled: FloatArray
    size: FloatArray | None
    vectors: FloatArray | None
    decrement: float
    downhill: FloatArray | None

    @classmethod
    def of(cls, gradient: FloatArray, hessian: FloatArray) -> Quadratic:
        """Read the gradient (k,) and the Hessian (k, k)."""
        curve = np.abs(np.diag(hessian))
        scale = 1 / np.sqrt(np.maximum(curve, FLAT * curve.max()))
        scaled, slope = hessian * scale[:, None] * scale, gradient * scale
        try:
            lower = np.linalg.cholesky(scaled)
            if np.diag(lower).min() ** 2 > SADDLE:
                return cls(scale, slope, scaled, None, None, float(slope @ np.linalg.solve(scaled, slope)), None)
        except np.linalg.LinAlgError:
            pass
        values, vectors = np.linalg.eigh(scaled)
        size = np.maximum(np.abs(values), FLAT * np.abs(values).max())
        downhill = scale * vectors[:, 0] if values[0] < -SADDLE * values[-1] else None
        return cls(scale, slope, scaled, size, vectors, float(((vectors.T @ slope) ** 2 / size).sum()), downhill)

    def step(self, damping: float) -> FloatArray:
        """(k,): to be taken off the parameters."""
        if self.size is None or self.vectors is None:
            return self.scale * np.linalg.solve(self.scaled + damping * np.eye(len(self.scale)), self.slope)
        return self.scale * (self.vectors @ (self.vectors.T @ self.slope / (self.size + damping)))


def _value(problem: Problem[At], x: FloatArray) -> At | None:
    """The model at x; None where it cannot be computed."""
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            at = problem.value(x)
        except np.linalg.LinAlgError:
            return None
    return at if np.isfinite(at.deviance) else None


def _polish(end: End[One], step: FloatArray) -> End[One]:
    """The last Newton step squares the error; it is too short to be judged by the deviance."""
    new = _value(end.problem, end.x - step)
    if new is None or new.deviance > end.at.deviance + ROUNDING * abs(end.at.deviance):
        return end
    return replace(end, x=end.x - step, at=new, hessian=end.problem.derivatives(end.x - step, new)[1])


def _leave_saddle(
    problem: Problem[At], x: FloatArray, at: At, direction: FloatArray | None
) -> tuple[FloatArray, At] | None:
    """A point with a lower deviance on either side along a direction of negative curvature, or None."""
    if direction is None:
        return None
    direction = direction / np.abs(direction).max()
    for length in (0.5, 0.1, 0.02, 0.004):
        for side in (length, -length):
            new = _value(problem, x + side * direction)
            if new is not None and new.deviance < at.deviance - 10 * ROUNDING * abs(at.deviance):
                return x + side * direction, new
    return None
