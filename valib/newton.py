"""Minimise a smooth deviance by Newton's method on its exact Hessian.

The sizes of the Hessian's eigenvalues are taken, so that a saddle repels, and damping is added where a step does not
lower the deviance. A point is accepted only if the Hessian is positive semi-definite there: at a singular covariance
matrix the gradient can vanish without a minimum, and only the curvature shows it.

Sources: Nocedal and Wright (2006, chapters 3 and 4); Dauphin et al. (2014) for the saddle-free step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

MAX_STEPS = 30
MAX_HALVINGS = 40
LONGEST_STEP = 1.0     # of any parameter; parameters are of order one
DECREMENT = 1e-11      # g'H^-1 g, twice what a Newton step would gain; one more step then squares the error
ROUNDING = 1e-13       # share of the deviance that its own rounding may be
FLAT = 1e-11           # share of the largest curvature below which a direction counts as flat
SADDLE = 1e-7          # curvature below minus this share of the largest is a saddle


class Value(Protocol):
    """What a problem gives at a point: at least the deviance."""

    deviance: float


class Problem(Protocol):
    """A deviance to be minimised in x (k,)."""

    def value(self, x: np.ndarray) -> Value:
        """The deviance at x and whatever its derivatives need; LinAlgError where it cannot be computed."""

    def derivatives(self, x: np.ndarray, at: Value) -> tuple[np.ndarray, np.ndarray]:
        """Gradient (k,) and Hessian (k, k) at x."""


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """Where a search ended: x, the model and the Hessian there, and whether it converged."""

    problem: Problem
    x: np.ndarray
    at: Value
    hessian: np.ndarray
    converged: bool


def minimise(problem: Problem, x: np.ndarray) -> End:
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


@dataclass(frozen=True, slots=True, eq=False)
class Quadratic:
    """Steps H^-1 g in parameters scaled to unit curvature; decrement: g'H^-1 g.

    factor: of H by Cholesky where it is safely positive definite; otherwise eigenvalues (their sizes) and eigenvectors.
    downhill: a direction of negative curvature, None if there is none.
    """

    scale: np.ndarray
    slope: np.ndarray
    scaled: np.ndarray
    size: np.ndarray | None
    vectors: np.ndarray | None
    decrement: float
    downhill: np.ndarray | None

    @classmethod
    def of(cls, gradient: np.ndarray, hessian: np.ndarray) -> Quadratic:
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

    def step(self, damping: float) -> np.ndarray:
        """(k,): to be taken off the parameters."""
        if self.size is None:
            return self.scale * np.linalg.solve(self.scaled + damping * np.eye(len(self.scale)), self.slope)
        return self.scale * (self.vectors @ (self.vectors.T @ self.slope / (self.size + damping)))


def _value(problem: Problem, x: np.ndarray) -> Value | None:
    """The model at x; None where it cannot be computed."""
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            at = problem.value(x)
        except np.linalg.LinAlgError:
            return None
    return at if np.isfinite(at.deviance) else None


def _polish(end: End, step: np.ndarray) -> End:
    """The last Newton step squares the error; it is too short to be judged by the deviance."""
    new = _value(end.problem, end.x - step)
    if new is None or new.deviance > end.at.deviance + ROUNDING * abs(end.at.deviance):
        return end
    return replace(end, x=end.x - step, at=new, hessian=end.problem.derivatives(end.x - step, new)[1])


def _leave_saddle(problem: Problem, x: np.ndarray, at: Value,
                  direction: np.ndarray | None) -> tuple[np.ndarray, Value] | None:
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
