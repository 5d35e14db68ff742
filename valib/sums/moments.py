"""Moments: the sums per school and cohort through which a random-intercept model sees the students.

With the columns Z = [X, y] of a design, the likelihood of methods "mixed" and "multivariate" depends on the students
only through, for every cell (a school in a cohort), the count n and the sum of Z, and for every cohort the pooled
cross-product Z'Z. They are additive over rows: compute them in chunks, in any order, and add.

Every column is shifted by a fixed value near its mean before products are taken, or the sums of squares of scores
near 500 would lose the digits that the variances need; the shift is undone where results are reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from ..errors import ModelError
from .algebra import outcome_of
from .arrays import BoolArray, FloatArray
from .design import INTERCEPT, Cells, Design

LEFT = 1e-10  # of a sum of squares about the shift: with less left about the mean, six digits of it are noise
CHUNK = 16_384  # rows a block: the shifted copy of a block stays in the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sums of the k = p + 1 columns [X, y] by cell, for C cells of J schools and T cohorts.

    names: k column names, the response last. shift (k,): subtracted from every column before summing (0 for the
    intercept). schools (J,), cohorts (T,): labels. cell_school (C,), cell_cohort (C,): positions in them.
    n (C,): students. sums (C, k): sums of shifted columns. cross (T, k, k): pooled shifted cross-products by cohort.
    cell_cross (C, k, k) or None: the same by cell, needed for reweighting schools and for clustered errors.
    weight (C,): how often each cell counts (1, or a bootstrap multiplicity).

    They may be those of R data sets with the same cells: then n, sums, cross and cell_cross have R in front, and a cell
    that a data set lacks has n = 0 there.
    """

    names: tuple[str, ...]
    shift: FloatArray
    schools: np.ndarray
    cohorts: np.ndarray
    cell_school: np.ndarray
    cell_cohort: np.ndarray
    n: FloatArray
    sums: FloatArray
    cross: FloatArray
    cell_cross: FloatArray | None
    weight: FloatArray

    @property
    def n_fixed(self) -> int:
        """p, the number of fixed-effects columns."""
        return len(self.names) - 1

    @property
    def n_students(self) -> Any:
        """Students, each counted as often as its cell; (R,) of R data sets."""
        return self.n @ self.weight

    @property
    def intercept(self) -> int | None:
        """Position of the intercept among the columns, or None."""
        return self.names.index(INTERCEPT) if INTERCEPT in self.names else None

    @property
    def means(self) -> FloatArray:
        """(C, k) cell means of the unshifted columns; the shift where there are no students."""
        return self.sums / np.maximum(self.n, 1)[..., None] + self.shift

    @property
    def batch(self) -> Moments:
        """The same as a batch of data sets: of one, if they are those of one."""
        if self.n.ndim > 1:
            return self
        cell = None if self.cell_cross is None else self.cell_cross[None]
        return replace(self, n=self.n[None], sums=self.sums[None], cross=self.cross[None], cell_cross=cell)

    def take(self, rows: slice | np.ndarray) -> Moments:
        """Some of R data sets."""
        cell = None if self.cell_cross is None else self.cell_cross[rows]
        return replace(self, n=self.n[rows], sums=self.sums[rows], cross=self.cross[rows], cell_cross=cell)

    @property
    def present(self) -> Any:
        """Schools that have students; (R,) of R data sets."""
        return (self.by_school(self.n[..., None])[..., 0] > 0).sum(axis=-1)

    @property
    def response_sd(self) -> float:
        """Standard deviation of the response over students; nan of one."""
        n, total = self.n_students, float(self.weight @ self.sums[:, -1])
        if n < 2:
            return float("nan")
        return float(np.sqrt((self.pooled()[-1, -1] - total**2 / n) / (n - 1)))

    def pooled(self) -> FloatArray:
        """(k, k) shifted cross-product over all cohorts."""
        pooled: FloatArray = self.cross.sum(axis=-3)
        return pooled

    def by_school(self, values: FloatArray) -> FloatArray:
        """(..., J, m): sums over the cells of each school; values (..., C, m)."""
        out = np.zeros((*values.shape[:-2], len(self.schools), values.shape[-1]))
        for t in range(len(self.cohorts)):
            cells = np.flatnonzero(self.cell_cohort == t)
            out[..., self.cell_school[cells], :] += values[..., cells, :]
        return out

    def __add__(self, other: Moments) -> Moments:
        """Moments of the rows of both: cells with the same school and cohort are merged."""
        if self.names != other.names:
            raise ModelError(f"Moments of the columns {self.names} and {other.names} cannot be added.")
        if not (self.weight == 1).all() or not (other.weight == 1).all():
            raise ModelError("Reweighted moments cannot be added.")
        other = other.reshift(self.shift)
        schools = np.unique(np.concatenate([self.schools, other.schools]))
        cohorts = np.unique(np.concatenate([self.cohorts, other.cohorts]))
        where = [
            np.searchsorted(schools, m.schools)[m.cell_school] * len(cohorts)
            + np.searchsorted(cohorts, m.cohorts)[m.cell_cohort]
            for m in (self, other)
        ]
        used, code = np.unique(np.concatenate(where), return_inverse=True)
        cross = np.zeros((len(cohorts), *self.cross.shape[1:]))
        for m in (self, other):
            cross[np.searchsorted(cohorts, m.cohorts)] += m.cross
        cell_cross = None
        if self.cell_cross is not None and other.cell_cross is not None:
            cell_cross = _merge(code, self.cell_cross, other.cell_cross)
        return replace(
            self,
            schools=schools,
            cohorts=cohorts,
            cell_school=used // len(cohorts),
            cell_cohort=used % len(cohorts),
            n=_merge(code, self.n, other.n),
            sums=_merge(code, self.sums, other.sums),
            cross=cross,
            cell_cross=cell_cross,
            weight=np.ones(len(used)),
        )

    def reshift(self, shift: FloatArray) -> Moments:
        """The same moments about another shift."""
        d = self.shift - np.asarray(shift, dtype=np.float64)
        if not d.any():
            return self
        n_cohort = weighted_count(self.cell_cohort, self.weight * self.n, len(self.cohorts))
        s_cohort = np.zeros((len(self.cohorts), len(d)))
        np.add.at(s_cohort, self.cell_cohort, self.weight[:, None] * self.sums)
        cell = None if self.cell_cross is None else _recentre(self.cell_cross, self.sums, self.n, d)
        return replace(
            self,
            shift=self.shift - d,
            sums=self.sums + self.n[:, None] * d,
            cross=_recentre(self.cross, s_cohort, n_cohort, d),
            cell_cross=cell,
        )

    def transform(self, matrix: FloatArray, names: tuple[str, ...]) -> Moments:
        """Moments of the columns Z @ matrix (k, m), for example residuals y - X b about a benchmark."""
        cell = None if self.cell_cross is None else matrix.T @ self.cell_cross @ matrix
        return replace(
            self,
            names=names,
            shift=self.shift @ matrix,
            sums=self.sums @ matrix,
            cross=matrix.T @ self.cross @ matrix,
            cell_cross=cell,
        )

    def select(self, cohorts: Iterable[int]) -> Moments:
        """The cells of some cohorts; schools without a cell in them are gone."""
        wanted = np.asarray(sorted(set(cohorts)))
        absent = [c for c in wanted.tolist() if c not in self.cohorts.tolist()]
        if absent:
            raise ModelError(f"There are no moments of cohort {absent[0]}; there are {self.cohorts.tolist()}.")
        at = np.searchsorted(self.cohorts, wanted)
        keep = np.isin(self.cell_cohort, at)
        used, school = np.unique(self.cell_school[keep], return_inverse=True)
        return replace(
            self,
            schools=self.schools[used],
            cohorts=wanted,
            cell_school=school,
            cell_cohort=np.searchsorted(at, self.cell_cohort[keep]),
            n=self.n[..., keep],
            sums=self.sums[..., keep, :],
            cross=self.cross[..., at, :, :],
            weight=self.weight[keep],
            cell_cross=None if self.cell_cross is None else self.cell_cross[..., keep, :, :],
        )

    def pool_cohorts(self) -> Moments:
        """One cell a school: the cohorts of a school are merged (a school effect constant over cohorts)."""
        J, k = len(self.schools), len(self.names)
        weight = np.ones(J)
        weight[self.cell_school] = self.weight
        cell = None
        if self.cell_cross is not None:
            flat = self.by_school(self.cell_cross.reshape(*self.n.shape, k * k))
            cell = flat.reshape(*flat.shape[:-1], k, k)
        return replace(
            self,
            cohorts=self.cohorts[:1],
            cell_school=np.arange(J),
            cell_cohort=np.zeros(J, dtype=np.intp),
            n=self.by_school(self.n[..., None])[..., 0],
            sums=self.by_school(self.sums),
            cross=self.pooled()[..., None, :, :],
            cell_cross=cell,
            weight=weight,
        )

    def reweight(self, weight: FloatArray) -> Moments:
        """Count every cell of school j weight[j] times, as if the school stood in the data that often; weight (J,)."""
        if self.cell_cross is None:
            raise ModelError("Reweighting needs the cross-products by cell: compute the moments with by_cell=True.")
        w = np.asarray(weight, dtype=np.float64)[self.cell_school]
        cross = sum_by(self.cell_cohort, w[:, None, None] * self.cell_cross, len(self.cohorts))
        return replace(self, weight=w, cross=cross)


def compute_moments(design: Design, by_cell: bool = False, shift: FloatArray | None = None) -> Moments:
    """The sums of a design by school and cohort: all that a random-intercept model needs of the students.

    Parameters
    ----------
    design : Design
        Of :func:`valib.build_design`.
    by_cell : bool
        Also keep cross-products by cell, needed for reweighting schools and for clustered errors.
    shift : ndarray (p + 1,), optional
        Subtracted from every column before summing; by default numbers near the means, for accuracy.

    Returns
    -------
    Moments
        ``n`` (C,), ``sums`` (C, p + 1) and ``cross`` (T, p + 1, p + 1) of the columns [X, y].

    Raises
    ------
    ModelError
        For numbers so large that their squares cannot be held.

    Notes
    -----
    By cell: n_j, sum_i [x_ij, y_ij]; by cohort: sum_ij [x_ij, y_ij][x_ij, y_ij]'. Moments of two sets of students add up.

    Examples
    --------
    >>> import valib as va
    >>> moments = va.compute_moments(va.build_design(va.load_records("exam"), "score ~ prior_score"))
    >>> moments.names, len(moments.n)
    (('Intercept', 'prior_score', 'score'), 65)
    """
    response = outcome_of(design.state.formula)
    return moments_from_arrays(design.X, design.y, design.cells, design.names, response, by_cell, shift)


def moments_from_arrays(
    X: FloatArray,
    y: FloatArray,
    cells: Cells,
    names: tuple[str, ...] | None = None,
    response: str = "y",
    by_cell: bool = False,
    shift: FloatArray | None = None,
) -> Moments:
    """Sum [X, y] over cells, in one pass over the rows.

    X (N, p), y (N,), cells of the N rows. names: of the columns of X; a column named "Intercept" must be all ones and
    is never shifted, and without one nothing is shifted. by_cell: also keep cross-products by cell.
    shift (k,): give the same one to every chunk of a larger table (adding reshifts otherwise).
    """
    names = tuple(names) if names is not None else tuple(f"x{k}" for k in range(X.shape[1]))
    if not (X.flags.c_contiguous or X.flags.f_contiguous):
        X = np.ascontiguousarray(X)
    if shift is None:
        shift = near_mean(X, y, names)
    n = cells.n.astype(np.float64)
    if by_cell:
        sums, cell_cross = _by_cell(X, y, cells, shift)
        cross = sum_by(cells.cohort, cell_cross, len(cells.cohorts))
    else:
        ones = names.index(INTERCEPT) if INTERCEPT in names else None
        sums, cell_cross = _sums(X, y, cells, shift, ones), None
        cross = _by_cohort(X, y, cells, shift)
    return Moments(
        (*names, response),
        shift,
        cells.schools,
        cells.cohorts,
        cells.school,
        cells.cohort,
        n,
        sums,
        cross,
        cell_cross,
        np.ones(len(n)),
    )


def has_cancelled(n: Any, sums: FloatArray, squares: FloatArray, shift: Any, least: float) -> BoolArray:
    """Whether less than a share ``least`` of the squares about a shift is left about the mean.

    n: students; sums, squares: of columns about shift, all of one shape or broadcast. A share r that is left has lost
    log10(1/r) of the 16 digits. A column that is constant to its last digits has lost none that it had.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        left = squares - sums**2 / n
        lost: BoolArray = (left < least * squares) & (squares / n > (1e-13 * (np.abs(shift) + np.abs(sums / n))) ** 2)
        return lost


def check_cancelled(moments: Moments) -> None:
    """Raise ModelError where the sums of squares of a column, or of the response in one cohort, have lost their digits.

    Without an intercept the columns are not centred, and only the response is looked at.
    """
    n = weighted_count(moments.cell_cohort, moments.n, len(moments.cohorts))[:, None]
    sums = sum_by(moments.cell_cohort, moments.sums, len(moments.cohorts))
    squares = np.diagonal(moments.cross, axis1=1, axis2=2)
    lost = has_cancelled(n.sum(), sums.sum(axis=0), squares.sum(axis=0), moments.shift, LEFT)
    lost &= sums.sum(axis=0) ** 2 / n.sum() != squares.sum(axis=0)  # else constant, which a model says
    lost[:-1] &= moments.intercept is not None
    lost[moments.intercept if moments.intercept is not None else slice(0)] = False
    by_cohort = has_cancelled(n[:, 0], sums[:, -1], squares[:, -1], moments.shift[-1], LEFT)
    lost[-1] |= (by_cohort & (n[:, 0] > 1)).any()  # one score has no spread to lose
    if lost.any():
        raise ModelError(
            f"The sums of '{moments.names[int(np.argmax(lost))]}' have lost their digits, as some of its values lie far"
            " from all others: look for a value, or a cohort, on another scale."
        )


def moments_of_sums(
    cohorts: np.ndarray,
    n: FloatArray,
    sums: FloatArray,
    cross: FloatArray | None = None,
    cell_cross: FloatArray | None = None,
) -> Moments:
    """Moments from sums of the columns 1, .., response that are not shifted, of R data sets or of one.

    cohorts (T,); n (..., T, J), sums (..., T, J, k) and the cross-products by cohort, cross (..., T, k, k), or by cell,
    cell_cross (..., T, J, k, k). Schools are called 0 .. J - 1.
    """
    (*lead, T, J), k = n.shape, sums.shape[-1]
    if cross is None:
        assert cell_cross is not None  # one of the two is given
        cross = cell_cross.sum(axis=-3)
    return Moments(
        (INTERCEPT, *(f"x{c}" for c in range(1, k - 1)), "score"),
        np.zeros(k),
        np.arange(J),
        np.asarray(cohorts),
        np.tile(np.arange(J), T),
        np.repeat(np.arange(T), J),
        n.reshape(*lead, T * J).astype(np.float64),
        sums.reshape(*lead, T * J, k),
        cross,
        None if cell_cross is None else cell_cross.reshape(*lead, T * J, k, k),
        np.ones(T * J),
    )


def near_mean(X: FloatArray, y: FloatArray, names: tuple[str, ...]) -> FloatArray:
    """A shift (k,): medians of some thousand rows spread over the table, which no single number moves; 0 for the
    intercept."""
    if INTERCEPT not in names or not len(y):
        return np.zeros(len(names) + 1)
    step = max(1, len(y) // 2048)
    shift = np.append(np.median(X[::step], axis=0), np.median(y[::step]))
    shift[names.index(INTERCEPT)] = 0.0
    return shift


def _sums(X: FloatArray, y: FloatArray, cells: Cells, shift: FloatArray, ones: int | None) -> FloatArray:
    """Shifted sums (C, k) of the columns by cell; the sums of column ``ones`` are the counts."""
    C, N, p = len(cells.n), len(y), X.shape[1]
    step = max(4 * CHUNK, C)  # rows that lie together are read once; a bincount costs C numbers at least
    out, moved = np.zeros((C, p + 1)), np.empty(min(step, N))
    for first in range(0, N, step):
        code = cells.code[first : first + step]
        for c in range(p + 1):
            if c != ones:
                column = X[first : first + step, c] if c < p else y[first : first + step]
                np.subtract(column, shift[c], out=moved[: len(code)])
                out[:, c] += np.bincount(code, weights=moved[: len(code)], minlength=C)
    if ones is not None:
        out[:, ones] = cells.n
    return out


def _by_cohort(X: FloatArray, y: FloatArray, cells: Cells, shift: FloatArray) -> FloatArray:
    """Shifted cross-products (T, k, k) of [X, y] by cohort, block by block."""
    T, k = len(cells.cohorts), len(shift)
    out, block = np.zeros((T, k, k)), np.empty((k, CHUNK))
    order, ends = None, np.array([len(y)])
    if T > 1:
        cohort = cells.cohort[cells.code]
        order, ends = _order(cohort, T), np.cumsum(np.bincount(cohort, minlength=T))
    start = 0
    for t, end in enumerate(ends):
        for first in range(start, end, CHUNK):
            Z = _block(block, X, y, shift, order, first, min(first + CHUNK, end))
            out[t] += Z @ Z.T
        start = end
    return out


def _by_cell(X: FloatArray, y: FloatArray, cells: Cells, shift: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Shifted sums (C, k) and cross-products (C, k, k) by cell, block by block of whole cells."""
    C, k = len(cells.n), len(shift)
    order = None if (cells.code[1:] >= cells.code[:-1]).all() else _order(cells.code, C)
    sums, cross, ends = np.empty((C, k)), np.empty((C, k, k)), np.cumsum(cells.n)
    stops = np.unique(np.minimum(np.searchsorted(ends, np.arange(CHUNK, ends[-1] + CHUNK, CHUNK)) + 1, C))
    block = np.empty((2, k, CHUNK + int(cells.n.max())))
    first = 0
    for stop in stops:
        start, end = ends[first] - cells.n[first], ends[stop - 1]
        starts = ends[first:stop] - cells.n[first:stop] - start
        Z, products = _block(block[0], X, y, shift, order, start, end), block[1][:, : end - start]
        sums[first:stop] = np.add.reduceat(Z, starts, axis=1).T
        for a in range(k):
            np.multiply(Z[a:], Z[a], out=products[a:])
            part = np.add.reduceat(products[a:], starts, axis=1).T
            cross[first:stop, a, a:] = part
            cross[first:stop, a:, a] = part
        first = stop
    return sums, cross


def _block(
    block: FloatArray, X: FloatArray, y: FloatArray, shift: FloatArray, order: np.ndarray | None, first: int, stop: int
) -> FloatArray:
    """Shifted columns of the rows first .. stop - 1, in that order: (k, stop - first), a view of the block."""
    Z = block[:, : stop - first]
    if order is None:
        part, response = X[first:stop].T, y[first:stop]
    else:
        rows = order[first:stop]
        part = np.take(X.T, rows, axis=1) if X.flags.f_contiguous else np.take(X, rows, axis=0).T
        response = y[rows]
    np.subtract(part, shift[:-1, None], out=Z[:-1])
    np.subtract(response, shift[-1], out=Z[-1])
    return Z


def _order(code: np.ndarray, size: int) -> np.ndarray:
    """Rows in the order of their code 0..size-1, equal codes in the order they stand: SciPy's counting sort."""
    N = len(code)
    ones = (np.ones(N, dtype=np.int8), code, np.arange(N + 1))
    return np.asarray(sparse.csc_array(ones, shape=(size, N)).tocsr().indices)


def weighted_count(code: np.ndarray, weights: FloatArray, size: int) -> FloatArray:
    """(size,): sums of weights by code 0..size-1."""
    return np.asarray(np.bincount(code, weights=weights, minlength=size), dtype=np.float64)


def sum_by(code: np.ndarray, values: FloatArray, size: int) -> FloatArray:
    """Sum rows of values by code 0..size-1."""
    flat = values.reshape(len(values), -1)
    out = np.stack([weighted_count(code, flat[:, c], size) for c in range(flat.shape[1])], axis=1)
    return out.reshape(size, *values.shape[1:])


def _merge(code: np.ndarray, first: FloatArray, second: FloatArray) -> FloatArray:
    return sum_by(code, np.concatenate([first, second]), int(code.max()) + 1)


def _recentre(cross: FloatArray, sums: FloatArray, n: FloatArray, d: FloatArray) -> FloatArray:
    """Cross-products after d (k,) is added to every column: Z'Z + s d' + d s' + n d d', in batches."""
    sd = sums[..., :, None] * d
    return cross + sd + np.swapaxes(sd, -1, -2) + n[..., None, None] * np.outer(d, d)
