"""Correlating school effects over years: six ways, and what each is expected to give.

Two-step correlations take predictions of separate models and correlate them; the joint model estimates the correlation
of the effects themselves. Source: Leckie (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models import blup as _blup
from ..models.joint_fit import fit_all, fit_joint_moments, stack_sums
from ..models.likelihood import THETA_RANGE, compress, optimise
from ..models.mixed import fit_moments
from ..models.options import Intervals, Method
from ..sums.moments import Moments, moments_of_sums
from .cohort_fit import CohortFit
from .joint import JointFit

SOUND = 1e-6  # share of a column's or the response's square that must be left for a data set to be fitted with others
WAYS = ("eb", "unshrunken", "reflated", "disattenuated", "joint_eb", "joint_model")


@dataclass(frozen=True, slots=True, eq=False)
class TwoStep:
    """Predictions of T separate models side by side, for J schools; nan where a school misses a cohort.

    effects, shrinkage (J, T); tau2, sigma2 (T,): of each cohort's own model; n (J, T) students, 0 where absent.
    They may be those of R data sets, with R in front; then so are the correlations.
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
        return np.asarray(self.effects / self.shrinkage)

    @property
    def reflated(self) -> np.ndarray:
        """(J, T) effects scaled, one factor a cohort, so that their variance about the mean (J - 1) is tau2."""
        return np.asarray(self.effects * np.sqrt(self.tau2 / np.nanvar(self.effects, axis=-2, ddof=1))[..., None, :])


def two_step(fits: Sequence[CohortFit]) -> TwoStep:
    """Collect separate relative fits of several cohorts, school by school.

    Parameters
    ----------
    fits : sequence of CohortFit
        Relative fits, one a cohort.

    Returns
    -------
    TwoStep
        Arrays of J schools and T cohorts: ``effects``, ``unshrunken``, ``reflated``, ``shrinkage``, ``n``; nan where a
        school misses a cohort.

    Raises
    ------
    ModelError
        When a fit is of a benchmark, or has no school variance (its predictions are all zero).

    Notes
    -----
    unshrunken is effect / shrinkage, the mean residual; reflated are effects scaled, one factor a cohort, so that their
    variance about the mean (divisor J - 1) is tau2. Source: Leckie (2018).

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> data = va.two_step([va.fit_relative(records, c) for c in (2023, 2024)])
    >>> data.effects.shape
    (194, 2)
    """
    fits = sorted(fits, key=lambda f: f.cohort or 0)
    if any(f.model != "relative" for f in fits):
        raise ModelError("Two-step correlations are of relative fits: a benchmark's effects hold the shift.")
    flat = [f.cohort for f in fits if f.singular]
    if flat:
        raise ModelError(
            f"The between-school variance of cohort {flat[0]} is zero: its school effects cannot be correlated."
        )
    schools = sorted(set().union(*(f.school_effects.index for f in fits)))
    tables = [f.school_effects.reindex(schools) for f in fits]

    def column(name: str) -> np.ndarray:
        return np.column_stack([t[name].to_numpy(dtype=np.float64) for t in tables])

    return TwoStep(
        np.asarray(schools, dtype=object),
        np.array([f.cohort for f in fits]),
        np.nan_to_num(column("n")),
        column("effect"),
        column("shrinkage"),
        np.array([f.tau2 for f in fits]),
        np.array([f.sigma2 for f in fits]),
    )


def pairwise_correlation(effects: np.ndarray) -> np.ndarray:
    """Pearson correlations over the schools present in both cohorts.

    Parameters
    ----------
    effects : ndarray (..., J, T)
        Effects of J schools in T cohorts, nan where a school misses one.

    Returns
    -------
    ndarray (..., T, T)
        nan where fewer than two schools are shared or the effects do not vary.

    Notes
    -----
    sum (a - abar)(b - bbar) / sqrt(sum (a - abar)^2 sum (b - bbar)^2) with sums and means over the shared schools.

    Examples
    --------
    >>> import numpy as np
    >>> import valib as va
    >>> va.pairwise_correlation(np.array([[1.0, 2.0], [2.0, 4.0], [3.0, np.nan], [4.0, 5.0]])).round(2)
    array([[1.  , 0.93],
           [0.93, 1.  ]])
    """
    T = effects.shape[-1]
    out = np.zeros((*effects.shape[:-2], T, T)) + np.eye(T)
    for t in range(T):
        for s in range(t):
            out[..., t, s] = out[..., s, t] = _pearson(effects[..., t], effects[..., s])
    return out


def _pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(...,) correlations over the last axis of what is finite in both a and b (..., J); nan where undefined."""
    both = np.isfinite(a) & np.isfinite(b)
    count, varies, deviations = np.maximum(both.sum(axis=-1), 1), np.ones(both.shape[:-1], dtype=bool), []
    for values in (a, b):
        varies &= np.where(both, values, -np.inf).max(axis=-1) > np.where(both, values, np.inf).min(axis=-1)
        centre = np.where(both, values, 0.0).sum(axis=-1) / count
        deviations.append(np.where(both, values - centre[..., None], 0.0))
    da, db = deviations
    size = np.sqrt((da**2).sum(axis=-1) * (db**2).sum(axis=-1))
    r = np.divide((da * db).sum(axis=-1), size, out=np.full(size.shape, np.nan), where=varies)
    return np.asarray(r.clip(-1, 1))


def reflate_matrix(effects: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """Predictions of several cohorts moved so that their covariance is that of a model exactly.

    Parameters
    ----------
    effects : ndarray (J, T)
        Predictions of schools that are present in all cohorts.
    omega : ndarray (T, T)
        The covariance wanted, positive definite.

    Returns
    -------
    ndarray (J, T)
        V with V'V / J = omega.

    Raises
    ------
    numpy.linalg.LinAlgError
        When one of the two covariances is not positive definite.

    Notes
    -----
    With S = U'U / J and L the lower Cholesky factors, V = U (L_omega L_S^-1)'. Its correlation is the model's own by
    construction and adds nothing to it. Source: Carpenter, Goldstein and Rasbash (2003).

    Examples
    --------
    >>> import numpy as np
    >>> import valib as va
    >>> moved = va.reflate_matrix(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]), np.eye(2))
    >>> (moved.T @ moved / 3).round(6) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """
    S = effects.T @ effects / len(effects)
    return effects @ (np.linalg.cholesky(omega) @ np.linalg.inv(np.linalg.cholesky(S))).T


def mean_reliability(data: TwoStep) -> np.ndarray:
    """Means of the shrinkage factor over the schools that two cohorts share.

    Parameters
    ----------
    data : TwoStep
        Of :func:`valib.two_step`.

    Returns
    -------
    ndarray (..., T, T)
        [t, s] is cohort t's over the schools that it shares with s.

    Notes
    -----
    Their root divides the correlation of unshrunken effects where it is disattenuated (Spearman 1904).

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> data = va.two_step([va.fit_relative(records, c) for c in (2023, 2024)])
    >>> va.mean_reliability(data).round(2)
    array([[0.75, 0.75],
           [0.78, 0.78]])
    """
    present = (data.n > 0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        shrunken = np.swapaxes(np.nan_to_num(data.shrinkage) * present, -1, -2) @ present
        return np.asarray(shrunken / (np.swapaxes(present, -1, -2) @ present))


def two_step_correlations(
    data: TwoStep, joint_eb: np.ndarray, level: float
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Estimate, lower and upper limit of every way but joint_model, (..., T, T) each.

    joint_eb (..., J, T): EB predictions of the joint model, those of absent schools ignored. Intervals: Fisher's, with
    the shared schools as the sample, as they would be reported; the disattenuated ones are scaled like the estimate.
    """
    present = data.n > 0
    shared = np.swapaxes(present.astype(np.int64), -1, -2) @ present
    values = {
        "eb": data.effects,
        "unshrunken": data.unshrunken,
        "reflated": data.reflated,
        "joint_eb": np.where(present, joint_eb, np.nan),
    }
    found = {}
    for way, effects in values.items():
        r = pairwise_correlation(effects)
        found[way] = r, *_blup.correlation_interval(r, _blup.fisher_error(shared), level)
    mean = mean_reliability(data)
    found["disattenuated"] = tuple(v / np.sqrt(mean * np.swapaxes(mean, -1, -2)) for v in found["unshrunken"])
    return found


def correlations(fits: Sequence[CohortFit], joint: JointFit, intervals: Intervals = "integrated") -> pd.DataFrame:
    """Every pair of cohorts in all six ways: estimate, interval, and what the fitted joint model leads to expect.

    Parameters
    ----------
    fits : sequence of CohortFit
        Relative fits, one a cohort.
    joint : JointFit
        The joint model of the same cohorts.
    intervals : {"integrated", "plugin"}
        Of the joint model's correlation: as for its own ``correlations``.

    Returns
    -------
    DataFrame
        Columns ``cohort``, ``other``, ``way``, ``correlation``, ``lower``, ``upper``, ``expected``, ``schools``.

    Raises
    ------
    ModelError
        As :func:`valib.two_step`, and for a joint fit of other cohorts.

    Notes
    -----
    The six ways: "eb" (shrunken predictions), "unshrunken", "reflated", "disattenuated" (unshrunken over the root of the mean
    reliabilities), "joint_eb" and "joint_model". Intervals are Fisher's, with the shared schools as the sample, as they would
    be reported; of the joint model as ``intervals`` says. Expected values: see
    :func:`valib.expected_correlations`. Source: Leckie (2018).

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> fits = [va.fit_relative(records, c) for c in (2023, 2024)]
    >>> table = va.correlations(fits, va.fit_joint(records, [2023, 2024]))
    >>> table[["way", "correlation", "expected"]].round(1).tail(2)
               way  correlation  expected
    4     joint_eb          1.0       1.0
    5  joint_model          0.9       0.9
    """
    data = two_step(fits)
    if data.cohorts.tolist() != list(joint.cohorts):
        raise ModelError(f"The separate fits are of {data.cohorts.tolist()}, the joint fit of {list(joint.cohorts)}.")
    eb = joint.school_effects["effect"].unstack().reindex(index=data.schools, columns=data.cohorts).to_numpy()
    found = two_step_correlations(data, eb, joint.level)
    expected = expected_correlations(data.n, joint.omega.to_numpy(), joint.sigma2.to_numpy())
    model = joint.correlations(intervals).set_index(["cohort", "other"])
    shared = joint.arrays.data.shared
    rows = []
    for t, s in zip(*np.triu_indices(len(data.cohorts), 1), strict=True):
        pair = (data.cohorts[t], data.cohorts[s])
        for way in WAYS:
            values = (
                model.loc[pair, ["correlation", "lower", "upper"]]
                if way == "joint_model"
                else [v[t, s] for v in found[way]]
            )
            rows.append((*pair, way, *values, expected[way][t, s], shared[t, s]))
    columns = ["cohort", "other", "way", "correlation", "lower", "upper", "expected", "schools"]
    return pd.DataFrame(rows, columns=columns)


def expected_correlations(n: np.ndarray, omega: np.ndarray, sigma2: np.ndarray) -> dict[str, np.ndarray]:
    """What each way of correlating gives in the long run over such schools when Omega and sigma2 are true.

    Parameters
    ----------
    n : ndarray (J, T)
        Students, 0 where absent.
    omega : ndarray (T, T)
        Covariance of a school's effects over cohorts.
    sigma2 : ndarray (T,)
        Variance of students by cohort.

    Returns
    -------
    dict of str to ndarray (T, T)
        By way; nan for cohorts that share no school (all but joint_model) and where a variance of Omega is 0.

    Notes
    -----
    Over the schools shared by t and s, lambda at Omega::

        eb, reflated   mean(lambda_t lambda_s) Omega_ts / sqrt(mean(lambda_t Omega_tt) mean(lambda_s Omega_ss))
        unshrunken     Omega_ts / sqrt(mean(Omega_tt / lambda_t) mean(Omega_ss / lambda_s))
        disattenuated  unshrunken / sqrt(mean lambda_t mean lambda_s)
        joint_eb       from mean over schools of Cov(u_hat) = Omega H_j Omega,
                       H_j = D^1/2 (I + D^1/2 Omega D^1/2)^-1 D^1/2, D = diag(n / sigma2)
        joint_model    rho itself

    The error of the fixed effects is left out. Source: Leckie (2018).

    Examples
    --------
    >>> import numpy as np
    >>> import valib as va
    >>> omega = np.array([[250.0, 200.0], [200.0, 250.0]])
    >>> found = va.expected_correlations(np.array([[30, 30], [60, 60]]), omega, np.array([1900.0, 1900.0]))
    >>> {way: round(float(r[0, 1]), 2) for way, r in found.items() if way in ("eb", "joint_model")}
    {'eb': 0.68, 'joint_model': 0.8}
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return _expected(n, omega, sigma2)


def _expected(n: np.ndarray, omega: np.ndarray, sigma2: np.ndarray) -> dict[str, np.ndarray]:
    T, var = len(sigma2), np.diag(omega)
    lam = np.column_stack([_blup.shrinkage(n[:, t], var[t], sigma2[t]) for t in range(T)])
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
            values = {
                "eb": eb,
                "unshrunken": unshrunken,
                "reflated": eb,
                "disattenuated": unshrunken / np.sqrt(a.mean() * b.mean()),
                "joint_eb": c[t, s] / np.sqrt(c[t, t] * c[s, s]),
            }
            for way, value in values.items():
                out[way][t, s] = out[way][s, t] = value
    out["joint_model"] = omega / np.sqrt(np.outer(var, var))
    return out


def attenuation_curves(rhos: Sequence[float], reliabilities: np.ndarray | None = None) -> pd.DataFrame:
    """Expected correlations of two cohorts in every way when all schools have one reliability lambda.

    Parameters
    ----------
    rhos : sequence of float
        True correlations.
    reliabilities : ndarray, optional
        Values in (0, 1), by default 0.02 to 0.98.

    Returns
    -------
    DataFrame
        Columns ``rho``, ``reliability``, ``way``, ``expected``.

    Notes
    -----
    The closed forms are rho lambda for eb, unshrunken and reflated, rho for disattenuated and joint_model, and for
    joint_eb the correlation of Omega (Omega + (1 / lambda - 1) I)^-1 Omega, Omega = [[1, rho], [rho, 1]].
    Source: Leckie (2018).

    Examples
    --------
    >>> import valib as va
    >>> table = va.attenuation_curves([0.8], reliabilities=[0.5])
    >>> dict(zip(table["way"], table["expected"].round(2)))["unshrunken"]
    0.4
    """
    grid = np.linspace(0.02, 0.98, 49) if reliabilities is None else np.asarray(reliabilities, dtype=np.float64)
    rows = []
    for rho in rhos:
        omega = np.array([[1.0, rho], [rho, 1.0]])
        for lam in grid:
            expected = expected_correlations(np.ones((1, 2)), omega, np.full(2, 1 / lam - 1))
            rows += [(float(rho), float(lam), way, expected[way][0, 1]) for way in WAYS]
    return pd.DataFrame(rows, columns=["rho", "reliability", "way", "expected"])


def correlate_all(
    cohorts: np.ndarray, n: np.ndarray, sums: np.ndarray, cross: np.ndarray, level: float, method: Method = "ML"
) -> np.ndarray:
    """(R, pairs, 6, 3): estimate and the limits of its interval, by pair of cohorts and way of :data:`WAYS`.

    cohorts (T,) in calendar order; n (R, T, J), sums (R, T, J, k): students and sums of the columns 1, .., response by
    cell; cross (R, T, k, k): cross-products by cohort. method: of the joint model, the separate ones are fitted by ML.
    nan for a data set with a between-school variance of 0. Raises ModelError for what no model can be fitted to.
    """
    out = np.full((len(n), len(cohorts) * (len(cohorts) - 1) // 2, len(WAYS), 3), np.nan)
    b, tau2, sigma2 = fit_cohorts(cohorts, n, sums, cross, "ML")
    rows = np.flatnonzero((tau2 > 0).all(axis=1))
    if not len(rows):
        return out
    n, sums, cross, b, tau2, sigma2 = (values[rows] for values in (n, sums, cross, b, tau2, sigma2))
    r, se, eb = _joint(cohorts, n, sums, cross, (b, tau2, sigma2), method)
    sizes = np.swapaxes(n, 1, 2).astype(np.float64)
    absent = np.where(sizes > 0, 1.0, np.nan)
    left = (sums[..., -1:] - sums[..., :-1] @ b[..., None])[..., 0]
    residual = np.swapaxes(left, 1, 2) / np.maximum(sizes, 1)
    shrinkage = absent * _blup.shrinkage(sizes, tau2[:, None], sigma2[:, None])
    data = TwoStep(np.arange(n.shape[2]), cohorts, sizes, shrinkage * residual, shrinkage, tau2, sigma2)
    found = two_step_correlations(data, eb, level)
    found["joint_model"] = r, *_blup.correlation_interval(r, _blup.delta_error(r, se), level)
    first, second = np.triu_indices(len(cohorts), 1)
    values = np.array([found[way] for way in WAYS])[..., first, second].transpose(2, 3, 0, 1)
    known = np.isfinite(r).all(axis=(1, 2))
    out[rows[known]] = values[known]
    return out


def fit_cohorts(
    cohorts: np.ndarray, n: np.ndarray, sums: np.ndarray, cross: np.ndarray, method: Method
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """b (R, T, p), tau2 and sigma2 (R, T) of separate models; arguments and errors as of :func:`correlate_all`.

    A cohort that may be beyond a fit is judged by :func:`valib.models.mixed.fit_moments` alone.
    """
    (R, T, J, k), reml = sums.shape, method == "REML"
    sound = _sound(n.reshape(R * T, J), cross.reshape(R * T, k, k))
    b, tau2, sigma2 = np.zeros((R * T, k - 1)), np.zeros(R * T), np.zeros(R * T)
    rows = np.flatnonzero(sound)
    if len(rows):
        parts = (n.reshape(R * T, 1, J), sums.reshape(R * T, 1, J, k), cross.reshape(R * T, 1, k, k))
        data = compress(moments_of_sums(cohorts[:1], *(part[rows] for part in parts)))
        fit = optimise(data, reml)
        b[rows], tau2[rows], sigma2[rows] = fit.at.b, fit.tau2, fit.sigma2
        sound[rows] = (fit.at.rss > SOUND * data.cross[:, -1, -1]) & (fit.theta < 0.1 * THETA_RANGE[1])
    for row in np.flatnonzero(~sound):
        r, t = divmod(row, T)
        one = fit_moments(_of_one(cohorts[t], n[r, t], sums[r, t], cross[r, t]), method)
        b[row], tau2[row], sigma2[row] = one.coefficients, one.tau2, one.sigma2
    return b.reshape(R, T, -1), tau2.reshape(R, T), sigma2.reshape(R, T)


def _sound(n: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """(R,): whether there are schools and students enough, and columns far from collinear."""
    size = np.sqrt(np.diagonal(cross, axis1=1, axis2=2)[:, :-1])
    enough = ((n > 0).sum(axis=1) > 1) & (n.max(axis=1) > 1) & (n.sum(axis=1) > cross.shape[-1] + 1)
    enough &= (size > 0).all(axis=1)
    size[~enough] = 1.0
    scaled = np.where(enough[:, None, None], cross[:, :-1, :-1], 0.0) / (size[:, :, None] * size[:, None, :])
    return np.asarray(enough & (np.linalg.eigvalsh(scaled)[:, 0] > SOUND))


def _joint(
    cohorts: np.ndarray,
    n: np.ndarray,
    sums: np.ndarray,
    cross: np.ndarray,
    start: tuple[np.ndarray, np.ndarray, np.ndarray],
    method: Method,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlations and their errors (R, T, T), effects (R, J, T) of joint fits; start: the separate fits by ML."""
    b, tau2, sigma2 = start if method == "ML" else fit_cohorts(cohorts, n, sums, cross, method)
    found = fit_all(stack_sums(cohorts, n, sums, cross, b), tau2, sigma2, method == "REML")
    r, se, effects = found.correlation, found.correlation_se, found.effects
    for row in np.flatnonzero(~found.found):
        parts = [_of_one(*cell) for cell in zip(cohorts, n[row], sums[row], cross[row], strict=True)]
        one = fit_joint_moments(parts, method=method)
        r[row], se[row], effects[row, one.data.schools] = one.correlation, one.correlation_se, one.effects
    return r, se, effects


def _of_one(cohort: int, n: np.ndarray, sums: np.ndarray, cross: np.ndarray) -> Moments:
    """One cohort of one data set, of the schools that are in it: n (J,), sums (J, k), cross (k, k)."""
    here = np.flatnonzero(n)
    found = moments_of_sums(np.array([cohort]), n[None, here], sums[None, here], cross[None])
    return replace(found, schools=here)
