"""How long a school's effect lasts: persistence, associations of one cohort with others, forecasts and their calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models import blup as _blup
from ..models.importance import weighted_limits
from ..models.joint_posterior import JointNodes
from ..models.options import Covariance, Intervals, Method
from ..records.reading import select
from ..sums.arrays import FloatArray
from ..sums.students import Records, sum_students
from .joint import JointFit, fit_joint, joint_from_moments, posterior_of
from .relative import check_intervals, fit_relative, school_residuals

EXTENDS = ("ar1", "compound_symmetry")  # structures that say what the covariance with an unseen cohort is
PREVIOUS = "previous_mean"
FEWEST = 10  # schools of a calibration line


def adjusted_associations(
    joint: JointFit, cohort: int, given: Iterable[int] | None = None, intervals: Intervals = "integrated"
) -> pd.DataFrame:
    """Regression of the school effects of one cohort on those of others, by the covariances that the model estimates.

    Parameters
    ----------
    joint : JointFit
        A joint model of these cohorts.
    cohort : int
        The one that is regressed.
    given : iterable of int, optional
        Those on which; by default all others of the fit.
    intervals : {"integrated", "plugin"}
        Integrated over what is not known of variances and correlations where :func:`valib.effects.joint.posterior_of` does
        so, or by the delta method.

    Returns
    -------
    DataFrame
        By cohort (index): ``coefficient``, ``se``, ``lower``, ``upper``; ``attrs`` holds ``r_squared`` and ``residual_sd``
        (score points) of the regression and ``intervals``, which say what the limits are. Missing where the fit is
        singular and the limits are by the delta method.

    Raises
    ------
    ModelError
        For cohorts that are not in the fit, a cohort given itself, and effects of no variance.

    Notes
    -----
    With S the cohorts given::

        beta = Omega_SS^-1 Omega_St      R2 = Omega_tS beta / Omega_tt

    The delta method takes the covariance of Omega from the observed information. These are associations of the true
    effects, not of predictions: nothing of them is shrunk. Source: Palmer, Macdonald-Wallis, Lawlor and Tilling (2014).

    Examples
    --------
    >>> import valib as va
    >>> joint = va.fit_joint(va.load_records("demo"), [2019, 2021, 2023])
    >>> va.adjusted_associations(joint, 2023)["coefficient"].round(2).to_dict()
    {2019: -0.1, 2021: 0.9}
    """
    check_intervals(intervals)
    t, S = _positions(joint, cohort, given)
    omega = joint.omega.to_numpy()
    if not (np.diag(omega)[S] > 0).all() or omega[t, t] <= 0:
        raise ModelError("The schools of a cohort do not vary, so their effects can neither explain nor be explained.")
    beta = _regression(omega[None], t, S)[0]
    nodes = posterior_of(joint) if intervals == "integrated" else None
    if nodes is None:
        se = _delta(joint, lambda x: _regression(x, t, S))
        lower, upper = _blup.interval(beta, se, joint.level)
    else:
        draws, weight = _omegas(nodes)
        se, lower, upper = _summary(_regression(draws, t, S), weight, joint.level)
    index = pd.Index([joint.cohorts[s] for s in S], name="cohort")
    table = pd.DataFrame({"coefficient": beta, "se": se, "lower": lower, "upper": upper}, index=index)
    explained = float(omega[t, S] @ beta)
    table.attrs = {
        "r_squared": explained / omega[t, t],
        "residual_sd": float(np.sqrt(max(omega[t, t] - explained, 0.0))),
        "intervals": "plugin" if nodes is None else "integrated",
    }
    return table


def persistence(joint: JointFit, intervals: Intervals = "integrated") -> pd.DataFrame:
    """What share of a school's effect is still there in the next cohort of the fit.

    Parameters
    ----------
    joint : JointFit
        A joint model of two or more cohorts.
    intervals : {"integrated", "plugin"}
        As for :func:`valib.adjusted_associations`.

    Returns
    -------
    DataFrame
        One row a pair of neighbouring cohorts: ``before``, ``cohort``, ``years`` between them, ``persistence``, ``se``,
        ``lower``, ``upper``, ``correlation``, ``new_sd`` (standard deviation of what is new, score points).

    Raises
    ------
    ModelError
        For effects of no variance.

    Notes
    -----
    u_t = phi u_s + d, d independent of u_s::

        phi = Omega_ts / Omega_ss       Var(d) = Omega_tt - phi^2 Omega_ss

    For two cohorts this is the first-order autoregression, not stationary, of San Martín and co-authors (the antedependence
    structure); phi differs from the correlation where the variances do. Source: Page, San Martín and co-authors (2024).

    Examples
    --------
    >>> import valib as va
    >>> joint = va.fit_joint(va.load_records("demo"), [2023, 2024])
    >>> va.persistence(joint)[["before", "cohort", "persistence"]].round(2)
       before  cohort  persistence
    0    2023    2024         1.04
    """
    rows = []
    for s, t in zip(joint.cohorts[:-1], joint.cohorts[1:], strict=True):
        table = adjusted_associations(joint, t, [s], intervals)
        found = table.loc[s]
        rows.append((s, t, t - s, *found, joint.correlation.loc[s, t], table.attrs["residual_sd"]))
    names = ["before", "cohort", "years", "persistence", "se", "lower", "upper", "correlation", "new_sd"]
    return pd.DataFrame(rows, columns=names)


def with_previous_mean(records: pd.DataFrame, cohort: int, before: int) -> pd.DataFrame:
    """The rows of a cohort with a column ``previous_mean``: the mean score of the school's students in an earlier cohort.

    Parameters
    ----------
    records : DataFrame
        Checked student records.
    cohort, before : int
        The cohort, and the one whose mean outcome is taken.

    Returns
    -------
    DataFrame
        The rows of ``cohort``; missing for schools without students in ``before``.

    Raises
    ------
    RecordsError
        For a cohort that is not there.

    Notes
    -----
    As a covariate it makes the estimand another one: value added beyond what the school's previous results already told.

    Examples
    --------
    >>> import valib as va
    >>> rows = va.with_previous_mean(va.load_records("demo"), 2024, 2023)
    >>> bool(rows["previous_mean"].between(300, 700).mean() > 0.9)
    True
    """
    mean = select(records, [before]).groupby("school", observed=True)["score"].mean()
    rows = select(records, [cohort])
    return rows.assign(**{PREVIOUS: rows["school"].map(mean).astype("float64")})


def temporal_models(
    records: pd.DataFrame,
    before: int,
    cohort: int,
    formula: str = "score ~ prior_score",
    method: Method = "ML",
    level: float = 0.95,
) -> tuple[pd.DataFrame, dict[str, JointFit]]:
    """Two cohorts under the four models of temporally dependent value added, on schools with students in both.

    Parameters
    ----------
    records : DataFrame
        Checked student records.
    before, cohort : int
        The two cohorts.
    formula : str
        Of each cohort.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood; likelihoods of REML cannot be compared here.
    level : float
        Coverage of the intervals.

    Returns
    -------
    tuple of DataFrame, dict
        By model (index: "independent", "persistent", "previous mean", "both"): ``loglik``, ``n_parameters``, ``aic``,
        ``persistence``, ``lower``, ``upper``, ``previous`` (coefficient of the previous mean), ``previous_se``, ``sd``
        (between schools in ``cohort``, given the covariates), ``agreement`` (correlation of its effects in ``cohort`` with
        those of the independent model); and the fits.

    Raises
    ------
    RecordsError
        For a cohort that is not there.
    ModelError
        For what cannot be fitted.

    Notes
    -----
    "persistent" lets u_t = phi u_s + d; "previous mean" adds the school's mean score in ``before`` to the formula of
    ``cohort``; "both" has both. The last two condition on what the school has reached before, so that their effects are of
    what is new. Source: Page, San Martín and co-authors (2024), whose tdVA has these models for two cohorts.

    Examples
    --------
    >>> import valib as va
    >>> table, fits = va.temporal_models(va.load_records("demo"), 2023, 2024)
    >>> table.index.tolist()
    ['independent', 'persistent', 'previous mean', 'both']
    """
    both = set(select(records, [before])["school"]) & set(select(records, [cohort])["school"])
    kept = records[records["school"].isin(both)]
    rows = with_previous_mean(kept, cohort, before)
    first = sum_students(kept, [before], formula).moments
    parts = {
        False: [first, sum_students(rows, [cohort], formula).moments],
        True: [first, sum_students(rows, [cohort], f"{formula} + {PREVIOUS}").moments],
    }
    kinds: dict[str, tuple[bool, Covariance]] = {
        "independent": (False, "independent"),
        "persistent": (False, "unstructured"),
        "previous mean": (True, "independent"),
        "both": (True, "unstructured"),
    }
    fits = {
        name: joint_from_moments(parts[more], formula, structure, "by_cohort", method, level)
        for name, (more, structure) in kinds.items()
    }
    own = {name: fit.school_effects["effect"].xs(cohort, level="cohort") for name, fit in fits.items()}
    table = pd.DataFrame({name: _temporal(fit, cohort) for name, fit in fits.items()}).T
    with np.errstate(invalid="ignore"):
        table["agreement"] = [np.corrcoef(own[name], own["independent"])[0, 1] for name in fits]
    return table.rename_axis("model"), fits


def _temporal(fit: JointFit, cohort: int) -> dict[str, float]:
    """The row of one model."""
    row = {"loglik": fit.loglik, "n_parameters": fit.n_parameters, "aic": fit.aic}
    row |= dict.fromkeys(("persistence", "lower", "upper", "previous", "previous_se"), float("nan"))
    if fit.covariance != "independent" and (fit.tau2 > 0).all():
        told = persistence(fit).iloc[0]
        row |= {name: float(told[name]) for name in ("persistence", "lower", "upper")}
    if (cohort, PREVIOUS) in fit.fixed_effects.index:
        at = (cohort, PREVIOUS)
        row |= {
            "previous": float(fit.fixed_effects[at]),
            "previous_se": float(np.sqrt(np.diag(fit.vcov)[fit.vcov.index.get_loc(at)])),
        }
    return row | {"sd": float(np.sqrt(fit.tau2[cohort]))}


def forecast_va(joint: JointFit, cohort: int) -> pd.DataFrame:
    """Effects of schools in a cohort that was not fitted, from those that were.

    Parameters
    ----------
    joint : JointFit
        Of covariance "ar1" or "compound_symmetry", whose parameters say what an unseen cohort has in common with others.
    cohort : int
        A calendar year that is not in the fit: a later one, or one left out.

    Returns
    -------
    DataFrame
        One row a school (index): ``n`` (students in the fit's cohorts), ``forecast``, ``se``, ``lower``, ``upper``; limits
        take the variances as known and are missing where the fit is singular.

    Raises
    ------
    ModelError
        For another structure, or a cohort of the fit.

    Notes
    -----
    The best linear predictor: given the effects u_S of the fitted cohorts nothing else of the data bears on u_t, so::

        c' = Omega_tS Omega_SS^-1      forecast_j = c'u_hat_j      Var = Omega_tt - c'Omega_St + c'V_j c

    with V_j the covariance of the prediction errors of u_hat_j. Source: Chetty, Friedman and Rockoff (2014), who estimate
    the covariances by years apart.

    Examples
    --------
    >>> import valib as va
    >>> joint = va.fit_joint(va.load_records("demo"), [2021, 2023], covariance="ar1")
    >>> bool(va.forecast_va(joint, 2024)["forecast"].std() < joint.tau2.iloc[0] ** 0.5)
    True
    """
    if joint.covariance not in EXTENDS:
        raise ModelError(
            f"A forecast needs a joint model of covariance {' or '.join(EXTENDS)}; '{joint.covariance}' does not say "
            "how an unseen cohort goes with the others."
        )
    if cohort in joint.cohorts:
        raise ModelError(f"Cohort {cohort} is in the fit: its effects are estimated, not forecast.")
    omega = joint.omega.to_numpy()
    between = _with_unseen(joint, cohort)
    c = np.linalg.lstsq(omega, between, rcond=None)[0]
    arrays = joint.arrays
    variance = omega[0, 0] - between @ c + np.einsum("s,jst,t->j", c, arrays.comparative, c)
    se = np.sqrt(np.maximum(variance, 0.0))
    effect = arrays.effects @ c
    lower, upper = _blup.interval(effect, np.where(joint.singular, np.nan, se), joint.level)
    return pd.DataFrame(
        {"n": arrays.data.n.sum(axis=1).astype(int), "forecast": effect, "se": se, "lower": lower, "upper": upper},
        index=pd.Index(arrays.data.schools, name="school", dtype="str"),
    )


def forecast_calibration(
    records: Records,
    cohorts: Sequence[int],
    formula: str = "score ~ prior_score",
    covariance: Covariance = "ar1",
    method: Method = "ML",
) -> pd.DataFrame:
    """Each cohort forecast from the others, and its own results set against the forecast.

    Parameters
    ----------
    records : DataFrame or stream
        Checked student records.
    cohorts : sequence of int
        Three or more; each is left out in turn.
    formula : str
        Of each cohort.
    covariance : {"ar1", "compound_symmetry"}
        How effects are taken to fade.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.

    Returns
    -------
    DataFrame
        By cohort left out (index): ``schools`` (with a forecast and students), ``slope`` of unshrunken results on the
        forecast with its ``se``, ``correlation`` of the two, ``explained`` (share of the variance between schools that the
        forecast explains). Cohorts with fewer than ten such schools, or of whose others the forecast does not vary, are
        left out.

    Raises
    ------
    RecordsError
        For a cohort that is not there.
    ModelError
        For fewer than three cohorts, and what cannot be fitted.

    Notes
    -----
    rbar_j = a + slope forecast_j + error, weighted by the inverse of Var(u_j - forecast_j) + sigma2 / n_j; robust standard
    error. An unbiased forecast has slope 1. The cohort itself has no part in its forecast. Source: Chetty, Friedman and
    Rockoff (2014).

    Examples
    --------
    >>> import valib as va
    >>> table = va.forecast_calibration(va.load_records("demo"), [2019, 2021, 2023])
    >>> bool((abs(table["slope"] - 1) < 3 * table["se"]).all())
    True
    """
    cohorts = sorted({int(t) for t in cohorts})
    if len(cohorts) < 3:
        raise ModelError(f"Leaving a cohort out needs three cohorts or more, but there are {len(cohorts)}.")
    rows = {}
    for t in cohorts:
        joint = fit_joint(records, [s for s in cohorts if s != t], formula, covariance, method=method)
        own = fit_relative(records, t, formula, method, intervals="plugin")
        known = forecast_va(joint, t)[["forecast", "se"]]
        known = known.join(school_residuals(own)[["n", "residual"]], how="inner")
        if len(known) >= FEWEST and known["forecast"].std() > 0:
            explained = 1 - (known["se"] ** 2).mean() / joint.tau2.iloc[0]
            rows[t] = (len(known), *_line(known, own.sigma2), known["forecast"].corr(known["residual"]), explained)
    names = ["schools", "slope", "se", "correlation", "explained"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis("cohort")


def _line(known: pd.DataFrame, sigma2: float) -> tuple[float, float]:
    """Weighted slope of residual on forecast with its robust error."""
    w = 1 / (known["se"] ** 2 + sigma2 / known["n"]).to_numpy()
    X = np.column_stack([np.ones(len(known)), known["forecast"]])
    A = np.linalg.inv(X.T @ (X * w[:, None]))
    b = A @ (X.T @ (w * known["residual"].to_numpy()))
    score = X * (w * (known["residual"].to_numpy() - X @ b))[:, None]
    V = len(X) / (len(X) - 2) * A @ score.T @ score @ A
    return float(b[1]), float(np.sqrt(V[1, 1]))


def _with_unseen(joint: JointFit, cohort: int) -> FloatArray:
    """(T,): Omega of an unseen cohort with those of the fit."""
    omega = joint.omega.to_numpy()
    if joint.covariance == "compound_symmetry":
        return np.full(len(omega), omega[0, 1])
    apart = np.abs(np.diff(joint.cohorts[:2]))[0]
    rho = omega[0, 1] / omega[0, 0] if omega[0, 0] > 0 else 0.0
    if rho < 0 and apart > 1:
        raise ModelError(
            "The correlation of neighbouring years is not known: cohorts more than a year apart correlate below 0."
        )
    yearly = np.sign(rho) * np.abs(rho) ** (1 / apart)
    between: FloatArray = omega[0, 0] * yearly ** np.abs(np.array(joint.cohorts) - cohort)
    return between


def _positions(joint: JointFit, cohort: int, given: Iterable[int] | None) -> tuple[int, np.ndarray]:
    chosen = [s for s in joint.cohorts if s != cohort] if given is None else sorted({int(s) for s in given})
    unknown = sorted({cohort, *chosen} - set(joint.cohorts))
    if unknown or not chosen:
        raise ModelError(f"The joint model has the cohorts {list(joint.cohorts)}, not {unknown}.")
    if cohort in chosen:
        raise ModelError(f"Cohort {cohort} cannot be given itself.")
    return joint.cohorts.index(cohort), np.array([joint.cohorts.index(s) for s in chosen])


def _regression(omega: FloatArray, t: int, S: np.ndarray) -> FloatArray:
    """(..., |S|): Omega_SS^-1 Omega_St."""
    return np.asarray(np.linalg.solve(omega[..., S[:, None], S], omega[..., S, t][..., None])[..., 0], dtype=np.float64)


def _delta(joint: JointFit, of: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Standard errors of a function of Omega (..., T, T) by the delta method; nan where the fit is singular."""
    omega = joint.omega.to_numpy()
    T = len(omega)
    if joint.singular:
        return np.full(of(omega[None])[0].shape, np.nan)
    step = 1e-5 * np.sqrt(np.outer(np.diag(omega), np.diag(omega)))
    moves = np.zeros((T * T, T, T))
    moves[np.arange(T * T), np.arange(T * T) // T, np.arange(T * T) % T] = step.ravel()
    J = (of(omega + moves) - of(omega - moves)) / (2 * step.reshape(-1, 1))
    variance: FloatArray = np.einsum("ik,ij,jk->k", J, joint.arrays.variance_vcov[: T * T, : T * T], J)
    return np.sqrt(variance)


def _omegas(nodes: JointNodes) -> tuple[FloatArray, FloatArray]:
    """Omega (G, T, T) at every node of the posterior, with its weight (G,)."""
    sigma, M, T = nodes.sigma, len(nodes.weight), nodes.omega.shape[1]
    whole = nodes.omega[:, None] * sigma[..., :, None] * sigma[..., None, :]
    return whole.reshape(-1, T, T), (nodes.weight[:, None] * nodes.share).reshape(M * sigma.shape[1])


def _summary(values: FloatArray, weight: FloatArray, level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Standard deviation and limits by column of weighted values (G, k)."""
    mean = weight @ values
    sd = np.sqrt(weight @ (values - mean) ** 2)
    lower, upper = np.array([weighted_limits(column, weight, level) for column in values.T]).T
    return sd, lower, upper
