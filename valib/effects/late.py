"""One school, late students, corrected data: schools scored by a fit that is there already, without its students.

With coefficients, variances and shift given, nothing is estimated: value added is the formula.

    u_hat_j = lambda_j rbar_j (relative)     VA_j = delta + lambda_j (rbar_j - delta)     or lambda_j rbar_j (absorbed)

A saved fit holds what the formula and its errors need besides the students of the school: b and Var(b), tau2, sigma2; of an
estimated shift delta, its variance and xbar_w; and for integrated limits the posterior of (tau, sigma, b) on its nodes.
No sum of a single school is in it. A school's students are given whole: a late one with those who were there before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import CubicSpline

from ..errors import ModelError
from ..models import blup as _blup
from ..models.estimators import benchmark_va, predict_shifted
from ..models.posterior import Nodes, Posterior
from ..models.slope_posterior import SlopePosterior
from ..models.unequal_posterior import UnequalPosterior
from ..records.precision import kept_fit
from ..sums.arrays import FloatArray
from ..sums.design import FormulaState
from ..sums.moments import Moments
from ..sums.students import Records, Summed, sum_students
from .artefact import checksum, numbers, parsed
from .cohort_fit import CohortFit
from .relative import effects_table

FORMAT = "valib-fits-1"
FILE = "scoring.json"
NODES = 4  # of a posterior that is published: Gauss quadrature, exact for polynomials of degree 7 in the shrinkage
FEW = ("phi", "weight", "s2")  # what is published of a posterior
WORDS: dict[str, tuple[Any, ...]] = {
    "model": ("relative", "benchmark"),
    "method": ("ML", "REML"),
    "intervals": ("integrated", "plugin"),
    "shift_mode": (None, "estimated", "absorbed"),
    "variances_from": ("focal", "baseline"),
    "coefficient_source": ("focal", "mixed", "ols", "within"),
    "shift_error": (None, "schools", "cautious"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A posterior's nodes in axes that need no students: b (M, q) and A^-1 (M, q, q) of columns about ``origin``.

    phi, weight, s2 (M,); df, order: as in :class:`valib.models.posterior.Nodes`. q: the p columns of a relative model, the
    shift of a benchmark model, or none. centre (M, p): of an estimated shift, xbar weighted by a_j at each node.
    """

    phi: FloatArray
    weight: FloatArray
    s2: FloatArray
    b: FloatArray
    A_inverse: FloatArray
    centre: FloatArray
    df: float
    order: float

    @property
    def nodes(self) -> Nodes:
        """As the posterior of one data set."""
        return Nodes(
            self.phi[None],
            (self.weight / self.weight.sum())[None],
            self.s2[None],
            np.array([self.df]),
            self.b[None],
            self.A_inverse[None],
            np.eye(self.b.shape[1])[None],
            np.array([self.order]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class SavedFit:
    """What a fit of one cohort leaves for schools that come later. Score points; variances are score points squared.

    vcov (p, p): of the coefficients about ``origin`` (k,), which is taken off the columns [X, y]; of a benchmark fit as they
    are (origin 0). shift, shift_var, centre (p,): of an estimated shift. scale_se: of equating and ordinary years.
    schools: their codes, where the file is not for publication.
    """

    cohort: int
    model: str
    method: str
    intervals: str
    state: FormulaState
    coefficients: FloatArray
    vcov: FloatArray
    origin: FloatArray
    tau2: float
    tau2_se: float
    sigma2: float
    sigma2_se: float
    singular: bool
    student_sd: float
    level: float
    n_students: int
    n_schools: int
    shift: float | None
    shift_se: float | None
    shift_error: str | None
    shift_var: float | None
    centre: FloatArray | None
    scale_se: float
    equating_se: float | None
    cohort_sd: float | None
    coefficient_source: str
    shift_mode: str | None
    variances_from: str
    grid: Grid | None
    schools: tuple[str, ...] | None = None

    @classmethod
    def of(cls, fit: CohortFit, schools: bool = False) -> SavedFit:
        """What is kept of a fit; schools: with their codes. ModelError for what a formula cannot score."""
        moments, scale = fit.own_moments, fit.scale_loadings
        if fit.cohort is None or fit.state is None:
            raise ModelError("Only a fit of one cohort of records can score other students.")
        if fit.slopes is not None or isinstance(fit.posterior, SlopePosterior):
            raise ModelError("A fit with random slopes is not kept for scoring: fit all schools again.")
        if fit.unequal is not None or isinstance(fit.posterior, UnequalPosterior):
            raise ModelError("A fit with unequal residual variances is not kept for scoring: fit all schools again.")
        if scale is not None and scale.shape[1] > 1:
            raise ModelError(
                f"The fit of cohort {fit.cohort} has crossed a scale break, and the errors of its link are not kept: "
                "score its schools by fitting all of them again."
            )
        origin = np.zeros(len(fit.vcov) + 1)
        if fit.model == "relative":  # any point near the middle will do
            origin = np.array([float(f"{value:.3g}") for value in moments.shift])
        b, V = _about(fit.fixed_effects.to_numpy(), fit.vcov.to_numpy(), moments.intercept, origin)
        own: dict[str, Any] = {"shift_var": None, "centre": None}
        if fit.shift is not None:
            a = _blup.precision(moments.n, fit.theta)
            own = {"shift_var": float(fit.sigma2 / a.sum()), "centre": a @ moments.means[:, :-1] / a.sum()}
        own |= {"coefficients": b, "vcov": V, "origin": origin}
        own["scale_se"] = 0.0 if scale is None else float(scale[0, 0])
        own["grid"] = None if fit.posterior is None else _grid(fit.posterior, moments, origin, fit.shift is not None)
        own["schools"] = tuple(map(str, moments.schools)) if schools else None
        return cls(**{f.name: own[f.name] if f.name in own else getattr(fit, f.name) for f in fields(cls)})

    def score(self, records: Records) -> CohortFit:
        """The schools of the cohort in records, as the fit would have them; see :func:`score_like`."""
        students = sum_students(records, [self.cohort], self.state)
        moments = students.moments
        means, n = moments.means - self.origin, moments.n
        xbar, residual = means[:, :-1], means @ np.append(-self.coefficients, 1.0)
        scale = np.full((len(n), 1), self.scale_se)
        if self.model == "relative":
            blup = _blup.predict_blup(n, residual, self.tau2, self.sigma2, xbar, self.vcov)
        elif self.shift is None:
            blup, _ = benchmark_va(
                n, means, self.coefficients, self.vcov, self.tau2, self.sigma2, "absorbed", self.scale_se
            )
        else:
            F, one = _blup.factor(self.vcov), np.array([[self.scale_se]])
            moved = self.shift, np.array([self.shift_var])
            loads = xbar @ F, np.asarray(self.centre)[None] @ F
            blup = predict_shifted(n, residual, self.tau2, self.sigma2, moved, loads, (scale, one))
        return self._fit(students, blup, self._posterior(moments, means, scale))

    def _posterior(self, moments: Moments, means: FloatArray, scale: FloatArray) -> Posterior | None:
        """The saved posterior of these schools: what they share comes from the fit, what is theirs from their students."""
        if self.grid is None:
            return None
        nodes, n = self.grid.nodes, moments.n[None]
        if self.model == "relative":
            J, (M, q) = len(moments.n), self.grid.b.shape
            none = np.zeros((1, J, 0)), np.zeros((1, M, q, 0))
            return Posterior(nodes, n, means[None, :, :-1], means[None, :, -1], 0.0, *none)
        F, q = _blup.factor(self.vcov), self.grid.b.shape[1]
        residual = means @ np.append(-self.coefficients, 1.0)
        L = np.hstack([means[:, :-1] @ F, scale])
        L_b = np.hstack([self.grid.centre @ F, np.full((len(self.grid.phi), 1), self.scale_se)])[:, None] if q else None
        shared = np.zeros((1, len(self.grid.phi), 0, L.shape[1])) if L_b is None else L_b[None]
        return Posterior(nodes, n, np.ones((1, len(residual), q)), residual[None], 1.0, L[None], shared)

    def _fit(self, students: Summed, blup: _blup.Blup, over: Posterior | None) -> CohortFit:
        """The schools scored as a fit; what was not estimated here is missing."""
        moments, names = students.moments, list(self.state.names)
        back = -self.origin
        b, V = _about(self.coefficients, self.vcov, moments.intercept, back)
        table = effects_table(moments, blup, self.level, over, students)
        if self.singular and over is None:
            table[["lower", "upper"]], table["side"] = np.nan, ""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name in CohortFit.__slots__}
        own = {
            "formula": self.state.formula,
            "fixed_effects": pd.Series(b, index=names, name="coefficient"),
            "vcov": pd.DataFrame(V, index=names, columns=names),
            "loglik": np.nan,
            "n_students": round(moments.n_students),
            "n_schools": len(moments.schools),
            "school_effects": table,
            "common": blup.common,
            "left_out": students.left_out,
            "min_linked_share": students.least,
            "posterior": over,
            "moments": moments,
            "shift_df": None if self.shift is None else self.n_schools - 1,
            "scale_loadings": None if self.model == "relative" else np.full((len(table), 1), self.scale_se),
        }
        return CohortFit(**{**kept, **own})

    @property
    def _size(self) -> float:
        return self.n_students / self.n_schools

    def _about_optimum(self, content: Mapping[str, Any]) -> Grid:
        """Nodes of (tau, sigma) with the coefficients, or the shift, of the optimum at each.

        Their covariance is that of the optimum times (theta + 1/n) / (theta_hat + 1/n), n the mean size: what the means
        of schools vary by. For what a file that is published says of it besides would tell of the schools held back.
        """
        one, df, order = _read_nodes(content)
        if self.model == "relative":
            b, A = self.coefficients, self.vcov / self.sigma2
        else:
            b = np.array([] if self.shift is None else [self.shift])
            A = np.full((len(b), len(b)), (self.shift_var or 0.0) / self.sigma2)
        spread = (one["phi"] ** 2 + 1 / self._size) / (self.tau2 / self.sigma2 + 1 / self._size)
        M = len(spread)
        centre = np.zeros(0) if self.centre is None else self.centre
        return Grid(
            one["phi"],
            one["weight"],
            one["s2"],
            np.tile(b, (M, 1)),
            spread[:, None, None] * A,
            np.tile(centre, (M, 1)),
            df,
            order,
        )

    def to_json(self, nodes: int | None = None) -> dict[str, Any]:
        """Plain JSON types, exact. nodes: the posterior of (tau, sigma) alone, on so many; see :meth:`_about_optimum`."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                value = value.tolist()
            out[f.name] = list(value) if isinstance(value, tuple) else value
        out["state"] = self.state.to_json()
        for name in ("tau2_se", "sigma2_se", "shift_se"):
            out[name] = None if out[name] is None or not np.isfinite(out[name]) else float(out[name])
        out["vcov"] = _errors(self.vcov)
        if self.grid is not None:
            told = {f.name: np.asarray(getattr(self.grid, f.name)).tolist() for f in fields(Grid)}
            out["grid"] = {**told, "A_inverse": _errors(self.grid.A_inverse)}
            if nodes is not None:
                few = dict(zip(FEW, thinned(self.grid, self._size, nodes), strict=True))
                out["grid"] = {
                    name: few[name].tolist() if name in few else told[name] for name in (*FEW, "df", "order")
                }
        return out

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SavedFit:
        """The inverse of :meth:`to_json`; ValueError for what no fit can have left."""
        if set(content) != {f.name for f in fields(cls)}:
            raise ValueError("the entries of a fit are not valib's")
        for name, words in WORDS.items():
            if content[name] not in words:
                raise ValueError(f"{name} is none of valib's")
        state = FormulaState.from_json(content["state"])
        p, moved = len(state.names), content["shift_mode"] == "estimated"
        read: dict[str, Any] = {"state": state, "vcov": _covariances(content["vcov"], (), p), **_plain(content, moved)}
        read["coefficients"] = numbers(content["coefficients"], (p,), "the coefficients")
        read["origin"] = numbers(content["origin"], (p + 1,), "the origin")
        if moved != (content["shift"] is not None):
            raise ValueError("a shift is there that was not estimated, or lacks")
        read["centre"] = numbers(content["centre"], (p,), "the centre") if moved else None
        codes = content["schools"]
        read["schools"] = None if codes is None else tuple(str(code) for code in codes)
        q, grid = p if content["model"] == "relative" else int(moved), content["grid"]
        full = grid is not None and set(grid) != {*FEW, "df", "order"}
        read["grid"] = _read_grid(grid, p, q, moved) if full else None
        if (grid is None) != (content["intervals"] == "plugin"):
            raise ValueError("the posterior lacks, or is of intervals that have none")
        saved = cls(**{**content, **read})
        return saved if grid is None or full else replace(saved, grid=saved._about_optimum(grid))


def _plain(content: Mapping[str, Any], moved: bool) -> dict[str, Any]:
    """The single numbers of a saved fit; ValueError for what they cannot be."""
    needed = ("tau2", "sigma2", "student_sd", "level", "scale_se", *(("shift", "shift_var") if moved else ()))
    known = [n for n in ("tau2_se", "sigma2_se", "shift_se", "equating_se", "cohort_sd") if content[n] is not None]
    read: dict[str, Any] = {name: float(numbers([content[name]], (1,), name)[0]) for name in (*needed, *known)}
    if read["tau2"] < 0 or read["sigma2"] <= 0 or read["student_sd"] <= 0 or not 0 < read["level"] < 1:
        raise ValueError("a variance is negative, or the level is none")
    if min(read[name] for name in (*known, "scale_se", *(("shift_var",) if moved else ()))) < 0:
        raise ValueError("an error is negative")
    if not all(type(content[name]) is int for name in ("cohort", "n_students", "n_schools")):
        raise ValueError("a count or the cohort is no whole number")
    if type(content["singular"]) is not bool:
        raise ValueError("singular is neither true nor false")
    return {"tau2_se": np.nan, "sigma2_se": np.nan, **read}


def _about(b: FloatArray, V: FloatArray, intercept: int | None, origin: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coefficients and their covariance (..., p), (..., p, p) after ``origin`` (k,) is taken off the columns [X, y]."""
    move = np.eye(b.shape[-1])
    if intercept is None or not origin.any():
        return b, V
    move[intercept] += origin[:-1]
    moved = b @ move.T
    moved[..., intercept] -= origin[-1]
    return moved, move @ V @ move.T


def _grid(over: Posterior, moments: Moments, origin: FloatArray, moved: bool) -> Grid:
    """The nodes of a fit's posterior about another origin, with xbar weighted as each node weights it."""
    nodes = over.nodes
    turn = nodes.turn[0]
    b, A = nodes.b[0] @ turn.T, turn @ nodes.A_inverse[0] @ turn.T
    if origin.any():
        b, A = _about(b, A, moments.intercept, origin - moments.shift)
    a = _blup.precision(moments.n, nodes.theta[0][:, None])
    centre = a @ moments.means[:, :-1] / a.sum(axis=1, keepdims=True) if moved else np.zeros((len(b), 0))
    return Grid(nodes.phi[0], nodes.weight[0], nodes.s2[0], b, A, centre, float(nodes.df[0]), float(nodes.order[0]))


def thinned(grid: Grid, size: float, count: int = NODES) -> tuple[FloatArray, FloatArray, FloatArray]:
    """phi, weight and s2 (count,) of few nodes for the same posterior: Gauss quadrature of x = theta n / (1 + theta n) at
    n = ``size``.

    Shrinkage factors of schools of any size are smooth in x, which lies between 0 and 1, so that a few nodes give the means
    and variances of what depends on them; s2 is a spline in log phi. Source: Golub and Welsch (1969).
    """
    keep = grid.weight > 1e-12 * grid.weight.max()
    x, w, log_phi = _share(grid.phi[keep], size), grid.weight[keep], np.log(grid.phi[keep])
    if len(x) <= count:
        return grid.phi, grid.weight, grid.s2
    at, weight = _gauss(x, w / w.sum(), count)
    phi = np.sqrt(at / (1 - at) / size)
    return phi, weight, CubicSpline(log_phi, grid.s2[keep])(np.log(phi))


def _share(phi: FloatArray, size: float) -> FloatArray:
    return phi**2 * size / (1 + phi**2 * size)


def _gauss(x: FloatArray, w: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of the Gauss rule of a discrete measure, by the recurrence of its orthogonal polynomials."""
    diagonal, off = np.zeros(count), np.zeros(count)
    before, now, norm = np.zeros(len(x)), np.ones(len(x)), 1.0
    for k in range(count):
        total = float(w @ now**2)
        diagonal[k] = w @ (x * now**2) / total
        off[k] = total / norm if k else 1.0
        before, now, norm = now, (x - diagonal[k]) * now - (off[k] * before if k else 0.0), total
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(np.sqrt(off[1:]), 1) + np.diag(np.sqrt(off[1:]), -1))
    return np.clip(values, 1e-12, 1 - 1e-12), vectors[0] ** 2


def _errors(V: FloatArray) -> dict[str, Any]:
    """Covariances (..., p, p) as standard errors and correlations, which are rounded apart."""
    se = np.sqrt(np.maximum(np.diagonal(V, axis1=-2, axis2=-1), 0.0))
    size = np.where(se > 0, se, 1.0)
    r = V / size[..., :, None] / size[..., None, :]
    own = np.arange(r.shape[-1])
    r[..., own, own] = 1.0
    return {"se": se.tolist(), "correlation": r.tolist()}


def _covariances(content: Any, lead: tuple[int, ...], p: int) -> FloatArray:
    """The inverse of :func:`_errors`; rounding may have left a matrix a little outside, and takes nothing from inside."""
    if set(content) != {"se", "correlation"}:
        raise ValueError("a covariance: no errors and correlations")
    if not p:
        return np.zeros((*lead, 0, 0))
    se = numbers(content["se"], (*lead, p), "errors")
    r = numbers(content["correlation"], (*lead, p, p), "correlations")
    if (se < 0).any() or (np.abs(r) > 1 + 1e-9).any():
        raise ValueError("an error is negative, or a correlation beyond 1")
    V = se[..., :, None] * r * se[..., None, :]
    flat = V.reshape(-1, p, p)
    for k, one in enumerate(flat):
        if np.linalg.eigvalsh(r.reshape(-1, p, p)[k]).min() < 0:
            F = _blup.factor(one)
            flat[k] = F @ F.T
    return np.asarray(flat.reshape(*lead, p, p))


def _read_grid(content: Any, p: int, q: int, moved: bool) -> Grid:
    """Nodes with q coefficients; moved: with the centre (p) of a shift."""
    if not isinstance(content, dict) or set(content) != {f.name for f in fields(Grid)}:
        raise ValueError("the posterior's entries are not valib's")
    one, df, order = _read_nodes(content)
    M = len(one["phi"])
    centre = numbers(content["centre"], (M, p), "centre") if moved else np.zeros((M, 0))
    b = numbers(content["b"], (M, q), "b") if q else np.zeros((M, 0))
    A = _covariances(content["A_inverse"], (M,), q)
    return Grid(one["phi"], one["weight"], one["s2"], b, A, centre, df, order)


def _read_nodes(content: Mapping[str, Any]) -> tuple[dict[str, FloatArray], float, float]:
    """phi, weight and s2, degrees of freedom, and the order of moments."""
    one = {name: numbers(content[name], (len(content["phi"]),), name) for name in FEW}
    if min(one["phi"].min(), one["weight"].min()) < 0 or one["s2"].min() <= 0 or not one["weight"].sum() > 0:
        raise ValueError("the posterior's weights or variances are negative")
    df, order = numbers([content["df"], content["order"]], (2,), "degrees of freedom")
    return one, float(df), float(order)


def save_fits(fits: Sequence[CohortFit], exact: bool = False) -> str | None:
    """The text of :data:`FILE` for fits of one cohort each; None where one of them cannot be kept: across a linked scale
    break, and, unless exact, without an intercept (the posterior's nodes then differ too much in their coefficients).

    As it may be published (:func:`valib.records.precision.kept_fit`): posteriors on :data:`NODES` nodes, no school named.
    exact: in full, with the schools' codes, for the analyst.
    """
    if not exact and any(fit.model == "relative" and fit.own_moments.intercept is None for fit in fits):
        return None
    try:
        saved = [SavedFit.of(fit, schools=exact) for fit in fits]
    except ModelError:
        return None
    told = []
    for one in saved:
        told.append(one.to_json() if exact else kept_fit(one.to_json(NODES)))
    content: dict[str, Any] = {"format": FORMAT, "fits": told}
    if exact:
        content["publication"] = "not for publication: exact, with every school"
    content["checksum"] = checksum(content)
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def load_fits(folder: str | os.PathLike[str]) -> list[SavedFit]:
    """The fits that `valib fit` has left in a folder. ModelError says what is wrong with one that holds none."""
    path = Path(folder) / FILE
    try:
        content = parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{folder} holds no fits to score by ({FILE}: {error.strerror}): give the folder of a relative or benchmark fit."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a JSON file ({error}).") from error
    try:
        if content["format"] != FORMAT:
            raise ValueError("it is of another version of valib")
        if content["checksum"] != checksum({k: v for k, v in content.items() if k != "checksum"}):
            raise ValueError("it was changed after it was written")
        return [SavedFit.from_json(one) for one in content["fits"]]
    except (ModelError, LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"The fits in {path} cannot be used ({type(error).__name__}: {error}).") from error


def score_like(records: Records, saved: CohortFit | str | os.PathLike[str], cohort: int | None = None) -> CohortFit:
    """Score schools by a fit that is there already: one school, late students, corrected data.

    Parameters
    ----------
    records : DataFrame or stream
        All students of the schools to be scored, in the fit's cohort; other schools and cohorts may be there.
    saved : CohortFit, str or path
        A relative or benchmark fit of one cohort, or a folder that `valib fit` has written.
    cohort : int, optional
        Which of a folder's fits; may be left out where it holds one.

    Returns
    -------
    CohortFit
        With ``school_effects`` of the schools in the records. What nobody has estimated here (``loglik``) is missing;
        coefficients, variances and shift are those of the saved fit.

    Raises
    ------
    ModelError
        For a folder without such a fit, a cohort that it lacks, a fit across a linked scale break, and columns or levels that
        do not fit the formula.
    RecordsError
        For records without the cohort.

    Notes
    -----
    Nothing is estimated: with lambda_j = n_j tau2 / (n_j tau2 + sigma2) and everything but the school's own means given::

        relative   u_hat_j = lambda_j rbar_j
        benchmark  VA_j = delta + lambda_j (rbar_j - delta), or lambda_j rbar_j where the shift was absorbed

    with the fit's errors, and limits from its posterior. A school that was in the fit with the same students gets the row
    that it has there; one that was not is taken as one more of the same distribution, of variance tau2. The school means
    of a formula are of the students given, so give a school whole. From a folder that may be published the figures are the
    same to about a unit of the last place published, from an exact one to the last digits.

    Examples
    --------
    >>> import valib as va
    >>> exam = va.load_records("exam")
    >>> fit = va.fit_relative(exam)
    >>> late = va.score_like(exam[exam["school"] == "1"], fit)
    >>> late.school_effects[["n", "effect", "lower", "upper"]].round(3)
             n  effect  lower  upper
    school
    1       73   0.374  0.193  0.558
    """
    if isinstance(saved, CohortFit):
        one = SavedFit.of(saved)
        if cohort is not None and cohort != one.cohort:
            raise ModelError(f"The fit is of cohort {one.cohort}, not of {cohort}.")
        return one.score(records)
    fits = {one.cohort: one for one in load_fits(saved)}
    if cohort is None and len(fits) > 1:
        raise ModelError(f"Name the cohort: {saved} holds fits of {sorted(fits)}.")
    if cohort is not None and cohort not in fits:
        raise ModelError(f"{saved} holds no fit of cohort {cohort}; it has {sorted(fits)}.")
    return fits[next(iter(fits)) if cohort is None else cohort].score(records)
