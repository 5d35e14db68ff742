"""Correlating school effects over years: six ways, what each is expected to give, and who moved.

Two-step correlations take predictions of separate models and correlate them; the joint model estimates the correlation
of the effects themselves. Source: Leckie (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from .blup import shrinkage
from .errors import ModelError
from .joint import JointFit
from .relative import CohortFit

WAYS = ("eb", "unshrunken", "reflated", "disattenuated", "joint_eb", "joint_model")


@dataclass(frozen=True, slots=True, eq=False)
class TwoStep:
    """Predictions of T separate models side by side, for J schools; nan where a school misses a cohort.

    effects, shrinkage (J, T); tau2, sigma2 (T,): of each cohort's own model; n (J, T) students, 0 where absent.
    """

    schools: np.ndarray
    cohorts: np.ndarray
    n: np.ndarray
    effects: np.ndarray
    shrinkage: np.ndarray
    tau2: np.ndarray
    sigma2: np.ndarray

    @property
    def unshrunken(self) -> np.ndarray:
        """(J, T) mean residuals: effect / shrinkage."""
        return self.effects / self.shrinkage

    @property
    def reflated(self) -> np.ndarray:
        """(J, T) effects scaled, one factor a cohort, so that their variance about the mean (J - 1) is tau2."""
        return self.effects * np.sqrt(self.tau2 / np.nanvar(self.effects, axis=0, ddof=1))


def two_step(fits: Sequence[CohortFit]) -> TwoStep:
    """Collect separate relative fits; ModelError when one has no school variance (its predictions are all zero)."""
    fits = sorted(fits, key=lambda f: f.cohort)
    if any(f.model != "relative" for f in fits):
        raise ModelError("Two-step correlations are of relative fits: a benchmark's effects hold the shift.")
    flat = [f.cohort for f in fits if f.singular]
    if flat:
        raise ModelError(f"The between-school variance of cohort {flat[0]} is zero: its school effects cannot be "
                         "correlated.")
    schools = sorted(set().union(*(f.school_effects.index for f in fits)))
    tables = [f.school_effects.reindex(schools) for f in fits]

    def column(name):
        return np.column_stack([t[name].to_numpy(dtype=np.float64) for t in tables])

    return TwoStep(np.asarray(schools, dtype=object), np.array([f.cohort for f in fits]), np.nan_to_num(column("n")),
                   column("effect"), column("shrinkage"), np.array([f.tau2 for f in fits]),
                   np.array([f.sigma2 for f in fits]))


def pairwise_correlation(effects: np.ndarray) -> np.ndarray:
    """(T, T) Pearson correlations over the schools present (not nan) in both cohorts; effects (J, T).

    nan where fewer than two schools are shared or the effects do not vary.
    """
    T = effects.shape[1]
    out = np.eye(T)
    for t in range(T):
        for s in range(t):
            both = effects[np.isfinite(effects[:, [t, s]]).all(axis=1)][:, [t, s]]
            defined = len(both) > 1 and (np.ptp(both, axis=0) > 0).all()
            out[t, s] = out[s, t] = np.corrcoef(both.T)[0, 1] if defined else np.nan
    return out


def reflate_matrix(effects: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """U (L_Omega L_S^-1)': predictions (J, T) moved so that U'U / J is Omega exactly; S = U'U / J, L lower Cholesky.

    Its correlation is the model's own by construction and adds nothing to it. Schools must be present in all cohorts.
    """
    S = effects.T @ effects / len(effects)
    return effects @ (np.linalg.cholesky(omega) @ np.linalg.inv(np.linalg.cholesky(S))).T


def mean_reliability(data: TwoStep) -> np.ndarray:
    """(T, T) means of lambda_jt over the schools that cohorts t and s share; [t, s] is cohort t's."""
    present = (data.n > 0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return (np.nan_to_num(data.shrinkage) * present).T @ present / (present.T @ present)


def correlations(fits: Sequence[CohortFit], joint: JointFit) -> pd.DataFrame:
    """Every pair of cohorts in all six ways: estimate, interval, and what the fitted joint model leads to expect.

    Columns: cohort, other, way, correlation, lower, upper, expected, schools. Intervals of Pearson correlations by
    Fisher's z with the shared schools as the sample (the disattenuated ones scaled alike), as they would be reported;
    of the joint model by the delta method on that scale. Expected values: :func:`expected_correlations`.
    """
    data = two_step(fits)
    if data.cohorts.tolist() != list(joint.cohorts):
        raise ModelError(f"The separate fits are of {data.cohorts.tolist()}, the joint fit of {list(joint.cohorts)}.")
    present = np.where(data.n > 0, 1.0, np.nan)
    eb = joint.school_effects["effect"].unstack().reindex(index=data.schools, columns=data.cohorts).to_numpy()
    mean = mean_reliability(data)
    scale = np.sqrt(mean * mean.T)
    observed = {"eb": pairwise_correlation(data.effects), "unshrunken": pairwise_correlation(data.unshrunken),
                "reflated": pairwise_correlation(data.reflated), "joint_eb": pairwise_correlation(eb * present)}
    observed["disattenuated"] = observed["unshrunken"] / scale
    expected = expected_correlations(data.n, joint.omega.to_numpy(), joint.sigma2.to_numpy())
    model = joint.correlations().set_index(["cohort", "other"])
    z = stats.norm.ppf(0.5 + joint.level / 2)
    rows = []
    for t in range(len(data.cohorts)):
        for s in range(t + 1, len(data.cohorts)):
            pair, shared = (data.cohorts[t], data.cohorts[s]), int(((data.n[:, t] > 0) & (data.n[:, s] > 0)).sum())
            for way in WAYS:
                if way == "joint_model":
                    estimate, lower, upper = model.loc[pair, ["correlation", "lower", "upper"]]
                else:
                    stretch = scale[t, s] if way == "disattenuated" else 1.0
                    estimate = observed[way][t, s]
                    lower, upper = (v / stretch for v in _fisher(estimate * stretch, shared, z))
                rows.append((*pair, way, estimate, lower, upper, expected[way][t, s], shared))
    columns = ["cohort", "other", "way", "correlation", "lower", "upper", "expected", "schools"]
    return pd.DataFrame(rows, columns=columns)


def expected_correlations(n: np.ndarray, omega: np.ndarray, sigma2: np.ndarray) -> dict[str, np.ndarray]:
    """What each way gives in the long run over such schools when Omega and sigma2 are true; (T, T) each.

    n (J, T) students, 0 where absent; omega (T, T), sigma2 (T,). Over the schools shared by t and s, lambda at Omega:
    eb, reflated   mean(lambda_t lambda_s) Omega_ts / sqrt(mean(lambda_t Omega_tt) mean(lambda_s Omega_ss))
    unshrunken     Omega_ts / sqrt(mean(Omega_tt / lambda_t) mean(Omega_ss / lambda_s))
    disattenuated  unshrunken / sqrt(mean lambda_t mean lambda_s)
    joint_eb       from mean over schools of Cov(u_hat) = Omega H_j Omega, H_j = D^1/2 (I + D^1/2 Omega D^1/2)^-1 D^1/2,
                   D = diag(n / sigma2); joint_model rho itself. The error of the fixed effects is left out.
    nan for cohorts that share no school (all but joint_model) and where a variance of Omega is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return _expected(n, omega, sigma2)


def _expected(n: np.ndarray, omega: np.ndarray, sigma2: np.ndarray) -> dict[str, np.ndarray]:
    T, var = len(sigma2), np.diag(omega)
    lam = np.column_stack([shrinkage(n[:, t], var[t], sigma2[t]) for t in range(T)])
    root = np.sqrt(n / sigma2)
    inner = np.linalg.inv(np.eye(T) + root[:, :, None] * omega * root[:, None, :])
    joint = omega @ (root[:, :, None] * inner * root[:, None, :]) @ omega
    out = {way: np.eye(T) for way in WAYS}
    for t in range(T):
        for s in range(t):
            both = (n[:, t] > 0) & (n[:, s] > 0)
            if not both.any():
                for way in WAYS[:-1]:
                    out[way][t, s] = out[way][s, t] = np.nan
                continue
            a, b, c = lam[both, t], lam[both, s], joint[both].mean(axis=0)
            rho = omega[t, s] / np.sqrt(var[t] * var[s])
            unshrunken = rho / np.sqrt((1 / a).mean() * (1 / b).mean())
            eb = (a * b).mean() * rho / np.sqrt(a.mean() * b.mean())
            values = {"eb": eb, "unshrunken": unshrunken, "reflated": eb,
                      "disattenuated": unshrunken / np.sqrt(a.mean() * b.mean()),
                      "joint_eb": c[t, s] / np.sqrt(c[t, t] * c[s, s])}
            for way, value in values.items():
                out[way][t, s] = out[way][s, t] = value
    out["joint_model"] = omega / np.sqrt(np.outer(var, var))
    return out


def attenuation_curves(rhos: Sequence[float], reliabilities: np.ndarray | None = None) -> pd.DataFrame:
    """Expected correlations of two cohorts in every way when all schools have one reliability lambda.

    Columns: rho, reliability, way, expected. reliabilities: values in (0, 1), by default 0.02 to 0.98.
    The closed forms are rho lambda for eb, unshrunken and reflated, rho for disattenuated and joint_model, and for
    joint_eb the correlation of Omega (Omega + (1 / lambda - 1) I)^-1 Omega, Omega = [[1, rho], [rho, 1]].
    """
    grid = np.linspace(0.02, 0.98, 49) if reliabilities is None else np.asarray(reliabilities, dtype=np.float64)
    rows = []
    for rho in rhos:
        omega = np.array([[1.0, rho], [rho, 1.0]])
        for lam in grid:
            expected = expected_correlations(np.ones((1, 2)), omega, np.full(2, 1 / lam - 1))
            rows += [(float(rho), float(lam), way, expected[way][0, 1]) for way in WAYS]
    return pd.DataFrame(rows, columns=["rho", "reliability", "way", "expected"])


def _fisher(r: float, n: int, z: float) -> tuple[float, float]:
    if n < 4 or not abs(r) < 1:
        return np.nan, np.nan
    return tuple(np.tanh(np.arctanh(r) + np.array([-1, 1]) * z / np.sqrt(n - 3)))


def draw_joint(joint: JointFit, cohorts: Sequence[int], seed: int | np.random.Generator, draws: int) -> np.ndarray:
    """(draws, J, m) draws of the true effects of schools present in all the given cohorts, given the data.

    Normal about the joint EB predictions with each school's full error covariance; the error of the fixed effects is
    drawn once a draw, common to all schools.
    """
    here, arrays = present_schools(joint, cohorts), joint.arrays
    at = [list(joint.cohorts).index(c) for c in cohorts]
    rng = np.random.default_rng(seed)
    conditional = arrays.conditional[here][:, at][:, :, at]
    values, vectors = np.linalg.eigh(conditional)
    factor = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    values, vectors = np.linalg.eigh(arrays.vcov)
    fixed = vectors * np.sqrt(np.maximum(values, 0.0))
    own = np.einsum("jab,djb->dja", factor, rng.standard_normal((draws, here.sum(), len(at))))
    shared = rng.standard_normal((draws, fixed.shape[1])) @ fixed.T
    return arrays.effects[here][:, at] + own + np.einsum("jap,dp->dja", arrays.sensitivity[here][:, at], shared)


def present_schools(joint: JointFit, cohorts: Sequence[int]) -> np.ndarray:
    """(J,) which schools of the joint fit have students in all the given cohorts."""
    absent = [c for c in cohorts if c not in joint.cohorts]
    if absent:
        raise ModelError(f"Cohort {absent[0]} is not in the joint fit; it has {list(joint.cohorts)}.")
    at = [list(joint.cohorts).index(c) for c in cohorts]
    return (joint.arrays.data.n[:, at] > 0).all(axis=1)


def change_in_va(joint: JointFit, first: int, second: int) -> pd.DataFrame:
    """Change of every school's relative effect between two cohorts, for schools with students in both.

    change = u_hat_j,second - u_hat_j,first. se: from the T x T error covariance, Var + Var - 2 Cov.
    se_independent: what it would be if the two errors were independent, for comparison. p_up: probability that the
    effect went up. One row a school (index): n_first, n_second, change, se, se_independent, lower, upper, p_up.
    """
    here, arrays = present_schools(joint, (first, second)), joint.arrays
    at = [list(joint.cohorts).index(c) for c in (first, second)]
    S = arrays.sensitivity[here][:, at]
    error = arrays.conditional[here][:, at][:, :, at] + S @ arrays.vcov @ S.transpose(0, 2, 1)
    separate = error[:, 0, 0] + error[:, 1, 1]
    se = np.sqrt(np.maximum(separate - 2 * error[:, 0, 1], 0.0))
    change = arrays.effects[here][:, at[1]] - arrays.effects[here][:, at[0]]
    z = stats.norm.ppf(0.5 + joint.level / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_up = np.where(se > 0, stats.norm.cdf(change / se), 0.5)
    n = arrays.data.n[here][:, at].astype(np.int64)
    return pd.DataFrame({"n_first": n[:, 0], "n_second": n[:, 1], "change": change, "se": se,
                         "se_independent": np.sqrt(separate), "lower": change - z * se, "upper": change + z * se,
                         "p_up": p_up}, index=pd.Index(arrays.data.schools[here], name="school"))


def which_improved(joint: JointFit, first: int, second: int, school: str, other: str) -> dict[str, float]:
    """Did ``school`` change more than ``other`` between two cohorts? Difference of changes, se, probability.

    The errors the two schools share through the fixed effects are taken into account.
    """
    if school == other:
        raise ModelError(f"Two schools are compared; both named are '{school}'.")
    here = present_schools(joint, (first, second))
    labels, arrays = joint.arrays.data.schools, joint.arrays
    at = [list(joint.cohorts).index(c) for c in (first, second)]
    rows = []
    for name in (school, other):
        row = np.flatnonzero((labels == name) & here)
        if not len(row):
            raise ModelError(f"School '{name}' has no students in both of cohorts {first} and {second}.")
        rows.append(row[0])
    contrast = np.array([-1.0, 1.0])
    difference = float(np.subtract(*[contrast @ arrays.effects[r, at] for r in rows]))
    own = sum(float(contrast @ arrays.conditional[r][np.ix_(at, at)] @ contrast) for r in rows)
    shared = np.subtract(*[contrast @ arrays.sensitivity[r][at] for r in rows])
    se = float(np.sqrt(own + shared @ arrays.vcov @ shared))
    return {"difference": difference, "se": se, "probability": float(stats.norm.cdf(difference / se)) if se else 0.5}


def quintile_transitions(joint: JointFit, first: int, second: int, seed: int | np.random.Generator,
                         draws: int = 1000) -> pd.DataFrame:
    """How schools move between fifths: per cent of the schools of each fifth in ``first`` by fifth in ``second``.

    Fifths are counted among schools with students in both cohorts, in draws of the true effects, so that the table is
    about the effects and not about their noise. Columns: from, to (1 lowest), share (mean over draws), lower, upper,
    plugin (the table of the EB predictions themselves, which understates movement).
    """
    drawn = draw_joint(joint, (first, second), seed, draws)
    J = drawn.shape[1]
    if J < 5:
        raise ModelError(f"A table of fifths needs five schools in both cohorts; there are {J}.")
    tables = np.stack([_cross_fifths(d) for d in drawn])
    here = present_schools(joint, (first, second))
    at = [list(joint.cohorts).index(c) for c in (first, second)]
    plugin = _cross_fifths(joint.arrays.effects[here][:, at])
    tail = (1 - joint.level) / 2
    lower, upper = np.quantile(tables, [tail, 1 - tail], axis=0)
    index = [(a + 1, b + 1) for a in range(5) for b in range(5)]
    frame = pd.DataFrame(index, columns=["from", "to"])
    for name, table in (("share", tables.mean(axis=0)), ("lower", lower), ("upper", upper), ("plugin", plugin)):
        frame[name] = table.ravel()
    return frame


def _cross_fifths(effects: np.ndarray) -> np.ndarray:
    """(5, 5) shares by row of a cross-table of fifths; effects (J, 2)."""
    J = len(effects)
    fifth = np.argsort(np.argsort(effects, axis=0, kind="stable"), axis=0, kind="stable") * 5 // J
    counts = np.zeros((5, 5))
    np.add.at(counts, (fifth[:, 0], fifth[:, 1]), 1.0)
    return counts / counts.sum(axis=1, keepdims=True)
