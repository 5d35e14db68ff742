"""The attacker: solves for the sums of the schools held back with all that is published of the others.

A fit sees the students of a cohort only through n, sum x and sum y of every school and the cohort's sums of squares and
products (:mod:`valib.sums.moments`). What is published of a fit is a function of these. So the attacker writes down an
unknown n, mean of x and mean of y for each school held back and three unknown sums of squares and products within
schools, runs the library itself on them (its source is public), and looks for the values at which every published
figure comes out as printed. Three schools in one cohort make twelve unknowns; two models give some thirty figures that
depend on them, beside those of the schools shown.

Two attackers are played.

:func:`from_files` has the files of an output folder alone. It solves for the means of the schools shown from their two
effects, then for those held back by least squares from many starts. In full precision that succeeds, to .05 points.

:meth:`World.extent` measures what *any* attacker could know, one who besides knows the means of all schools shown
exactly (they may stand in a newspaper), and, if so asked, the sizes of the schools held back. Each published figure is
then an interval, its value and half a unit of its last place on both sides; all data that lie in all intervals cannot
be told from one another. The extent of a school's mean is the largest less the smallest value of it in that set: two
linear programs, about the truth. An attacker with unlimited time and the best method does not get below it.

"Learns nothing" of a figure then means: its extent is at least as wide as what is known without the tables, the range
of plus and minus one standard deviation of that figure among schools of such a size. What remains known is what
:mod:`valib.records.disclosure` concedes: sums over the schools held back, and the spread of their effects.

The linear extent may leave the set where the figures bend. :meth:`World.other_data` therefore walks to data of another
mean and shows that their tables are the same to the last letter.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares, linprog

from valib.effects.average import average_va, lasting_va
from valib.effects.baseline import Benchmark
from valib.effects.benchmark import benchmark_from_moments
from valib.effects.cap import capped_va
from valib.effects.groups import group_va
from valib.effects.joint import joint_from_moments
from valib.effects.late import NODES, SavedFit
from valib.effects.relative import relative_from_moments
from valib.models.mixed import fit_moments
from valib.records.disclosure import cells, whole
from valib.records.precision import kept, kept_fit, published
from valib.study import tables
from valib.sums.moments import Moments
from valib.sums.students import Summed, sum_students

FORMULA = "score ~ prior_score"
FARTHEST = 400.0  # score points: no mean of a school lies farther from the truth than that
SOLVED = 1e-27  # sum of squares of equations, about that of rounding in double precision
PIECES = ("n", "x", "y")

Contents = list  # of tables and summaries, as they would be written
Model = Callable[[dict[int, Summed]], Contents]


def relative(cohorts: Sequence[int]) -> Model:
    """What `valib fit --model relative` writes."""
    return lambda sums: one_cohort_files([relative_from_moments(sums[c], "ML", 0.95, c) for c in cohorts])


def benchmark(cohorts: Sequence[int], against: Benchmark) -> Model:
    """What `valib fit --model benchmark` writes."""
    return lambda sums: one_cohort_files([benchmark_from_moments(sums[c], c, against) for c in cohorts])


def one_cohort_files(fits: list) -> Contents:
    """The tables and summaries of fits of one cohort each."""
    made = [tables.school_effects(fits)[0], tables.fixed_effects(fits), *tables.summaries(fits)]
    return made + ([tables.shifts(fits)] if fits[0].shift is not None else [])


def joint(cohorts: Sequence[int], hidden: Iterable[str], covariance: str = "unstructured") -> Model:
    """What `valib fit --model joint` writes, tables of several years included.

    hidden: the schools that it holds back in all cohorts.
    """
    apart = set(hidden)

    def run(sums: dict[int, Summed]) -> Contents:
        fit = joint_from_moments([sums[c].moments for c in cohorts], FORMULA, covariance)
        fixed = fit.fixed_effects.rename("estimate").reset_index().assign(se=np.sqrt(np.diag(fit.vcov)))
        effects = tables.joint_effects(fit)[0]
        several = [average_va(fit, intervals="plugin")]
        if covariance == "compound_symmetry":
            several.append(lasting_va(fit))
        several = [table[~table.index.isin(apart)].reset_index() for table in several]
        return [
            effects[~effects["school"].isin(apart)], *several, fixed, fit.correlations("plugin"), *tables.summaries([fit])
        ]  # fmt: skip

    return run


def artefact(cohorts: Sequence[int]) -> Model:
    """What `valib baseline` writes of the baseline, less the clustered covariance, which needs every student's sums."""

    def run(sums: dict[int, Summed]) -> Contents:
        parts = [sums[c].moments for c in cohorts]
        pooled = parts[0]
        for part in parts[1:]:
            pooled = pooled + part
        fit = fit_moments(pooled)
        scores = {c: described(m)[1] for c, m in zip(cohorts, parts, strict=True)}
        prior, score = described(pooled)
        told = {"coefficients": fit.coefficients.tolist(), "vcov": fit.vcov.tolist(), "tau2": fit.tau2,
                "vcov_model": fit.vcov.tolist(), "sigma2": fit.sigma2, "column_means": [1.0, prior["mean"]],
                "summaries": {"score_by_cohort": scores, "columns": {"prior_score": prior, "score": score}}}  # fmt: skip
        return [Kept(told)]

    return run


class Kept(dict):
    """A benchmark's content, published to more digits than a table."""


class KeptFit(dict):
    """What a fit leaves to score schools by."""


def left_to_score(model: Callable[[Summed, int], Any], cohort: int) -> Model:
    """scoring.json of a fit, given the fit of a cohort's sums."""

    def run(sums: dict[int, Summed]) -> Contents:
        return [KeptFit(SavedFit.of(model(sums[cohort], cohort)).to_json(NODES))]

    return run


def grouped(model: Callable[[Summed, int], Any], cohort: int, groups: pd.Series, visible: Iterable[str]) -> Model:
    """groups.csv of a fit, given the fit of a cohort's sums: the groups that are shown, both ways of weighting."""

    def run(sums: dict[int, Summed]) -> Contents:
        fit = model(sums[cohort], cohort)
        both = [group_va(fit, groups, weights) for weights in ("equal", "students")]
        return [table.loc[list(visible)].reset_index() for table in both]

    return run


def capped(model: Callable[[Summed, int], Any], cohort: int, records: pd.DataFrame, distance: float) -> Model:
    """What capped.csv adds: the fit of a cohort's sums with scores capped. What the cap took off is known to the attacker,
    so that the second fit has no unknowns of its own: no student of the schools held back is capped in these worlds."""
    full = sum_students(records, [cohort], FORMULA)
    against = model.keywords["against"] if isinstance(model, functools.partial) else None
    less = capped_va(records, model(full, cohort), distance, against).fit.own_moments.reshift(full.moments.shift)
    sums, cross = less.sums - full.moments.sums, less.cross - full.moments.cross
    names = {"effect": "capped", **{name: f"capped_{name}" for name in ("se", "lower", "upper")}}

    def run(known: dict[int, Summed]) -> Contents:
        m = known[cohort].moments
        fit = model(replace(known[cohort], moments=replace(m, sums=m.sums + sums, cross=m.cross + cross)), cohort)
        table = fit.school_effects[list(names)].rename(columns=names).rename_axis("school").reset_index()
        return [table.assign(cohort=cohort)]

    return run


def rounded(content: object, how: Any = None) -> Any:
    """The content as it is published; how: what is done to each figure and its number of decimals."""
    rule = kept if isinstance(content, Kept) else kept_fit if isinstance(content, KeptFit) else published
    return rule(content) if how is None else rule(content, how)


def described(moments: Moments) -> list[dict]:
    """Mean and standard deviation of the prior score and of the score over the students."""
    n, total = moments.n_students, moments.sums.sum(axis=0)
    spread = np.diag(moments.pooled()) - total**2 / n
    return [{"mean": float(total[c] / n + moments.shift[c]), "sd": float(np.sqrt(spread[c] / (n - 1)))} for c in (1, 2)]


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """One cohort to the attacker: schools (index), their n, x, y, and which are shown; sums within schools of squares."""

    sums: Summed
    table: pd.DataFrame
    hidden: np.ndarray
    within: np.ndarray

    @property
    def unknown(self) -> np.ndarray:
        """n, x, y of the schools held back, then xx, xy, yy within schools a student."""
        return np.concatenate([*(self.table[c].to_numpy()[self.hidden] for c in PIECES), self.within])

    def moments(self, unknown: np.ndarray) -> Summed:
        """The cohort's sums with these unknowns."""
        H, m = len(self.hidden), self.sums.moments
        n, means = self.table["n"].to_numpy(copy=True), self.table[["x", "y"]].to_numpy(copy=True)
        n[self.hidden] = unknown[:H]
        means[self.hidden] = unknown[H : 3 * H].reshape(2, H).T
        means = np.column_stack([np.ones(len(n)), means - m.shift[1:]])
        within = np.zeros((3, 3))
        within[1:, 1:] = unknown[[3 * H, 3 * H + 1, 3 * H + 1, 3 * H + 2]].reshape(2, 2)
        cross = within * n.sum() + (means.T * n) @ means
        return replace(self.sums, moments=replace(m, n=n, sums=n[:, None] * means, cross=cross[None]))


def cohort_of(records: pd.DataFrame, cohort: int, hidden: Iterable[str]) -> Cohort:
    """The cohort as it is: the truth that the attacker wants."""
    sums = replace(
        sum_students(records, [cohort], FORMULA), tested=None
    )  # what is printed of it stays, whatever is tried
    m = sums.moments
    table = pd.DataFrame(m.means[:, 1:], index=m.schools, columns=["x", "y"]).assign(n=m.n)
    within = (m.cross[0] - (m.sums.T / m.n) @ m.sums) / m.n.sum()
    return Cohort(sums, table, np.flatnonzero(table.index.isin(list(hidden))), within[[1, 1, 2], [1, 2, 2]])


class World:
    """Cohorts of which some schools are held back, and models that were published of them.

    unknown: of all cohorts one after the other; labels: (cohort, piece, school) of each. figures: all numbers of all
    tables at the truth; half: half a unit of the last place of each.
    """

    def __init__(self, cohorts: dict[int, Cohort], models: Sequence[Model], digits: int | None = None) -> None:
        """digits: significant digits of every figure; None: as the library publishes."""
        self.cohorts, self.models = cohorts, models
        self.truth = np.concatenate([c.unknown for c in cohorts.values()])
        self.labels = [label for year, c in cohorts.items() for label in self._labels(year, c)]
        self.scale = np.array([{"n": 1.0, "x": 20.0, "y": 20.0, "within": 50.0}[piece] for _, piece, _ in self.labels])
        self.shown = {
            (year, school)
            for year, c in cohorts.items()
            for k, school in enumerate(c.table.index)
            if k not in set(c.hidden)
        }
        made = self.contents(self.truth)
        self.figures = flat(made)
        half = self._halves(made, digits)
        self.half = np.where(half > 0, half, 1.0)  # what a study declares, as an equating error of 0, tells nothing

    @staticmethod
    def _labels(year: int, c: Cohort) -> list[tuple[int, str, str]]:
        names = list(c.table.index[c.hidden])
        return [(year, p, s) for p in PIECES for s in names] + [(year, "within", s) for s in ("xx", "xy", "yy")]

    def contents(self, unknown: np.ndarray) -> Contents:
        """What would be published, unrounded, if the unknowns were these."""
        sums, start = {}, 0
        for year, c in self.cohorts.items():
            size = 3 * len(c.hidden) + 3
            sums[year], start = c.moments(unknown[start : start + size]), start + size
        return [self._rows(one) for model in self.models for one in model(sums)]

    def _rows(self, content: object) -> object:
        """A table of schools without those held back."""
        if not isinstance(content, pd.DataFrame) or not {"school", "cohort"} <= set(content):
            return content
        keys = zip(content["cohort"], content["school"], strict=True)
        return content[[key in self.shown for key in keys]]

    def _halves(self, made: Contents, digits: int | None) -> np.ndarray:
        def half(values, places):
            return 0.5 * 10.0 ** -np.asarray(places, dtype=np.float64)

        if digits is not None:
            return significant(self.figures, digits)
        parts = [flat([rounded(one, half)]) for one in made]
        return np.concatenate(parts)

    def slopes(self, at: np.ndarray) -> np.ndarray:
        """(figures, unknowns): how each figure moves with each unknown, in half units of its last place a scale."""
        columns = []
        for k, scale in enumerate(self.scale):
            step = np.zeros(len(at))
            if self.labels[k][1] == "n":  # one student more: a size is a whole number
                step[k] = 1.0
                columns.append(flat(self.contents(at + step)) - flat(self.contents(at)))
                continue
            step[k] = 1e-3 * scale
            columns.append((flat(self.contents(at + step)) - flat(self.contents(at - step))) / 2e-3)
        return np.column_stack(columns) / self.half[:, None]

    def _totals(self, free: list[int]) -> list[np.ndarray]:
        """The numbers of students of each cohort are printed: the sizes of those held back sum to what is left."""
        of = [(year, piece) for year, piece, _ in (self.labels[k] for k in free)]
        return [np.array([1e3 * (one == (year, "n")) for one in of]) for year in self.cohorts if (year, "n") in of]

    def extent(self, know_sizes: bool, slopes: np.ndarray | None = None) -> pd.Series:
        """How far each n, x and y of a school held back may lie from its other end, all figures as printed."""
        A = self.slopes(self.truth) if slopes is None else slopes
        free = [k for k, (_, piece, _) in enumerate(self.labels) if not (know_sizes and piece == "n")]
        A = A[:, free]
        A = np.vstack([A[np.abs(A).sum(axis=1) > 1e-9], np.diag(self.scale[free] / FARTHEST), *self._totals(free)])
        found = {}
        for position, k in enumerate(free):
            if self.labels[k][1] != "within":
                found[self.labels[k]] = 2 * self.scale[k] * largest(A, np.ones(len(A)), position)
        return pd.Series(found)

    def other_data(self, label: tuple[int, str, str], distance: float, steps: int = 8) -> np.ndarray | None:
        """Unknowns whose tables are those of the truth to the last digit, with this one moved by a distance, or None."""
        printed = flat([rounded(one) for one in self.contents(self.truth)])
        k, z = self.labels.index(label), self.truth.copy()
        for step in range(3 * steps):
            r = (flat(self.contents(z)) - printed) / self.half
            if z[k] == self.truth[k] + distance and np.abs(r).max() < 1:
                return z
            left = self.truth[k] + distance - z[k]
            move = left / max(steps - step, 1) / self.scale[k]
            free = [piece != "n" for _, piece, _ in self.labels]  # the same sizes: of those the attacker knows the sum
            z = z + self.scale * _nearest(self.slopes(z), r, k, move, free)
            z[k] = self.truth[k] + distance if step >= steps - 1 else z[k]
        return None


def _nearest(A: np.ndarray, r: np.ndarray, k: int, move: float, free: list[bool]) -> np.ndarray:
    """The shortest step with this move of unknown k for which abs(r + A step) stays below .9, or as little above as
    can be; free: the unknowns that may move."""
    reach = np.abs(A).sum(axis=1)
    A, r = A[reach + np.abs(r) > 0.9], r[reach + np.abs(r) > 0.9]
    A, r = A[np.abs(A).sum(axis=1) > 1e-3], r[np.abs(A).sum(axis=1) > 1e-3]
    over, m = -np.ones((len(A), 1)), A.shape[1]
    bounds = [
        (max(side * move, 0.0),) * 2 if j == k else (0.0, float(f)) for side in (1, -1) for j, f in enumerate(free)
    ]
    done = linprog(np.append(np.full(2 * m, 1e-3), 10.0), np.vstack([np.hstack([A, -A, over]), np.hstack([-A, A, over])]),
                   np.concatenate([0.9 - r, 0.9 + r]), bounds=[*bounds, (0.0, None)], method="highs")  # fmt: skip
    assert done.x is not None, done.message
    return done.x[:m] - done.x[m:-1]


def largest(A: np.ndarray, bound: np.ndarray, position: int) -> float:
    """The largest z[position] of all z with -bound <= A z <= bound, in coordinates in which A is orthonormal."""
    Q, R = np.linalg.qr(A)
    cost = -np.linalg.solve(R.T, np.eye(A.shape[1])[position])
    size = np.abs(cost).max()
    done = linprog(cost / size, np.vstack([Q, -Q]), np.tile(bound, 2), bounds=(None, None), method="highs")
    assert done.x is not None, done.message
    return float(-done.fun * size)


def flat(contents: Contents) -> np.ndarray:
    """All numbers of tables and summaries that are not whole, one after the other; missing ones as 0."""
    out: list = []
    for one in contents:
        if isinstance(one, pd.DataFrame):
            out.append(one.select_dtypes("float").to_numpy().ravel())
        else:
            out.append(np.array(list(_numbers(one)), dtype=np.float64))
    return np.nan_to_num(np.concatenate(out))


def _numbers(content: object):
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from _numbers(value)
    elif isinstance(content, float):
        yield content


def significant(values: np.ndarray, digits: int) -> np.ndarray:
    """Half a unit of the last of so many significant digits."""
    size = np.abs(values)
    return np.where(size > 0, 0.5 * 10.0 ** (np.floor(np.log10(np.where(size > 0, size, 1.0))) + 1 - digits), 1e-12)


def held_back(records: pd.DataFrame, cohorts: Sequence[int], min_students: int, together: bool = False) -> dict:
    """The schools that are not shown, by cohort; together: in what a model of all these cohorts says."""
    used = records[records["cohort"].isin(cohorts)].dropna(subset=["prior_score"])
    sizes = used.groupby(["cohort", "school"]).size()
    mask = whole(sizes, min_students) if together else cells(sizes, min_students)
    return {c: [s for (year, s), ok in mask.items() if year == c and not ok] for c in cohorts}


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """What files gave away: the schools held back (rows) with n, x and y; misfit: how badly the equations are solved,
    the largest error in any in the units they are published in, at the best solution."""

    table: pd.DataFrame
    misfit: float


def from_files(folder: Path, cohort: int, min_students: int = 5, starts: int = 30, seed: int = 1) -> Guess:
    """Solve for the schools held back with the files alone: `relative/`, `benchmark/` and `baseline.json` in a folder.

    The two log-likelihoods give the sizes, whole numbers of a known sum. Then each model gives its normal equations, its
    residual sum of squares, the score equation of its variances, and its errors: for nine unknowns.
    """
    own, against = (_read(folder / model, cohort) for model in ("relative", "benchmark"))
    students = Benchmark.load(folder / "baseline.json").vcov_students  # None in a file that is published
    vcov = None if students is None else students.to_numpy()
    visible = _means_shown(own, against)
    best = None
    rng = np.random.default_rng(seed)
    centre, spread = visible[["x", "y"]].mean().to_numpy(), visible[["x", "y"]].std().to_numpy()
    for sizes in _sizes(own, against, visible, min_students):
        n = np.append(visible["n"], sizes)
        for _ in range(starts):
            start = np.append(rng.normal(0, 1.5, 2 * len(sizes)), _within(own["fit"], visible) / spread[[0, 0, 1]] ** 2)

            def misfit(z, n=n):
                hidden = centre + spread * z[:-3].reshape(-1, 2)
                means = np.vstack([visible[["x", "y"]].to_numpy(), hidden])
                within = z[-3:] * spread[[0, 0, 1]] ** 2
                return np.concatenate([_equations(f, n, means - centre, within, centre, vcov) for f in (own, against)])

            slopes = functools.partial(_complex_step, misfit)
            found = least_squares(misfit, start, slopes, method="lm", x_scale="jac", xtol=1e-15, ftol=1e-15, gtol=1e-15)
            if best is None or found.cost < best[0].cost:
                best = found, sizes, centre + spread * found.x[:-3].reshape(-1, 2)
            if best[0].cost < SOLVED:
                break
    table = pd.DataFrame({"n": best[1], "x": best[2][:, 0], "y": best[2][:, 1]})
    return Guess(table.sort_values("n", ignore_index=True), float(np.abs(best[0].fun).max()))


def _complex_step(function: Callable[[np.ndarray], np.ndarray], z: np.ndarray) -> np.ndarray:
    """The Jacobian to the last digit: differences lose half of them, and the valley of the equations is too narrow then."""
    return np.column_stack([function(z + 1e-30j * e).imag / 1e-30 for e in np.eye(len(z))])


def _equations(
    model: dict, n: np.ndarray, means: np.ndarray, within: np.ndarray, centre: np.ndarray, vcov: np.ndarray | None
) -> np.ndarray:
    """The equations of one fit, 0 at the truth; means (J, 2) about centre, within (3,): xx, xy, yy a student."""
    fit, theta, N = model["fit"], model["fit"]["tau2"] / model["fit"]["sigma2"], n.sum()
    b = np.array(list(fit["fixed_effects"].values()))
    relative = fit["shift"] is None
    level = b[0] + b[1] * centre[0] - centre[1] + (0.0 if relative else fit["shift"])
    Z = np.column_stack([np.ones(len(n)), means])
    W = np.zeros((3, 3), dtype=np.result_type(means, within))
    W[1:, 1:] = np.array(within)[[0, 1, 1, 2]].reshape(2, 2)
    a = n / (1 + n * theta)
    M = N * W + (Z.T * a) @ Z  # Z'Z less what the school effects take up
    contrast = np.array([-level, -b[1], 1.0])
    residual = means[:, 1] - b[1] * means[:, 0] - level
    score = a.sum() - (a**2) @ residual**2 / fit["sigma2"]
    out = [M[0] @ contrast / N, (contrast @ M @ contrast) / N / fit["sigma2"] - 1, score / N]
    total = N * W + (Z.T * n) @ Z
    out.append(np.sqrt((total[2, 2] - total[0, 2] ** 2 / N) / (N - 1)) / fit["student_sd"] - 1)
    if relative:
        out.append(M[1] @ contrast / N / 100)
        V = fit["sigma2"] * np.linalg.inv(M[:2, :2])
        V0 = V[0, 0] - 2 * centre[0] * V[0, 1] + centre[0] ** 2 * V[1, 1]
        out += [np.sqrt(V0) / model["se"][0] - 1, np.sqrt(V[1, 1]) / model["se"][1] - 1]
    else:
        weighted = np.array([1.0, a @ means[:, 0] / a.sum() + centre[0]])
        own = fit["sigma2"] * (a**2 / n).sum() / a.sum() ** 2
        if vcov is not None:  # the error for these very schools; that by school is a sum that nobody can split
            out.append((own + weighted @ vcov @ weighted) / fit["shift_se_students"] ** 2 - 1)
    return np.array(out)


def _sizes(own: dict, against: dict, visible: pd.DataFrame, min_students: int) -> list[tuple[int, ...]]:
    """The sizes that fit both log-likelihoods best: the few candidates whose error is not ten times the best."""
    held, left = int(own["fit"]["n_schools"] - len(visible)), int(own["fit"]["n_students"] - visible["n"].sum())
    top = int(visible["n"].min())
    every = [
        s
        for s in itertools.combinations_with_replacement(range(1, top + 1), held)
        if sum(s) == left and s[0] < min_students
    ]
    error = np.zeros(len(every))
    for model in (own, against):
        f, N = model["fit"], own["fit"]["n_students"]
        theta = f["tau2"] / f["sigma2"]
        logs = -2 * f["loglik"] - N * np.log(2 * np.pi * f["sigma2"]) - N - np.log1p(visible["n"] * theta).sum()
        error += np.abs([np.log1p(np.array(s) * theta).sum() - logs for s in every])
    return [every[k] for k in np.argsort(error)[:4] if error[k] <= 10 * error.min() + 1e-9]


def _read(folder: Path, cohort: int) -> dict:
    """One model's files: the schools' table, the summary, the errors of the fixed effects."""
    effects, fixed = (
        pd.read_csv(folder / f"{name}.csv", dtype={"school": "str"}) for name in ("school_effects", "fixed_effects")
    )
    fit = next(f for f in json.loads((folder / "fits.json").read_text()) if f["cohort"] == cohort)
    return {
        "effects": effects[effects["cohort"] == cohort].set_index("school"),
        "fit": fit,
        "se": fixed.loc[fixed["cohort"] == cohort, "se"].to_numpy(),
    }


def _means_shown(own: dict, against: dict) -> pd.DataFrame:
    """Mean x and y of the schools shown, from their two effects: two linear equations a school."""
    a, b = own["effects"], against["effects"]
    first, shift = a["effect"] / a["shrinkage"], against["fit"]["shift"]
    second = (b["effect"] - shift * (1 - b["shrinkage"])) / b["shrinkage"]
    (i0, s0), (i1, s1) = (list(f["fit"]["fixed_effects"].values()) for f in (own, against))
    x = (second - first + i1 - i0) / (s0 - s1)
    return pd.DataFrame({"x": x, "y": first + i0 + s0 * x, "n": a["n"].astype(float)})


def _within(fit: dict, visible: pd.DataFrame) -> np.ndarray:
    """A guess of the sums of squares and products within schools, a student, from residual variance and total SD."""
    slope = list(fit["fixed_effects"].values())[1]
    yy = fit["student_sd"] ** 2 - float(np.var(visible["y"]))
    xx = max(yy - fit["sigma2"], 1.0) / slope**2
    return np.array([xx, slope * xx, yy])
