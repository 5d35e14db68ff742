"""The contenders in Python: ``worker.py NAME ARGUMENTS`` (JSON) gets ready and runs once a line; see timing.py."""

from __future__ import annotations

import json
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from timing import clock, serve

import valib as va
from data import formula, one_cohort, several_cohorts
from valib.effects.bootstrap import bootstrap_from_moments
from valib.effects.joint import cohort_moments, joint_from_moments
from valib.pages import report
from valib.study.params import Params
from valib.sums.design import build_design
from valib.sums.moments import moments_from_arrays
from valib.sums.students import sum_students

Runs = dict[str, Callable[[], tuple[float, dict]]]


def relative(file: str, model: str) -> Runs:
    """valib from a validated DataFrame, with integrated intervals (the default) and with plug-in ones."""
    records = va.read_records(pd.read_parquet(file))

    def fit(intervals: str = "integrated"):
        seconds, f = clock(lambda: va.fit_relative(records, formula=model, intervals=intervals))
        return seconds, {
            "loglik": f.loglik,
            "tau2": f.tau2,
            "sigma2": f.sigma2,
            "coefficients": f.fixed_effects.tolist(),
            "errors": [f.tau2_se, f.sigma2_se, *np.sqrt(np.diag(f.vcov)).tolist()],
        }

    return {"fit": fit, "plugin": lambda: fit("plugin")}


def reports(file: str, out: str) -> Runs:
    """valib report --all --pdf of a file with six cohorts; the peak of memory is that of the process that leads.

    Found besides: seconds of processor of all processes, and the largest of those that make pages in MiB, in the first and
    in the second half of the run.
    """
    cohorts = sorted(int(c) for c in pd.read_parquet(file, columns=["cohort"])["cohort"].unique())
    study = Params(data=file, baseline_cohorts=cohorts[:3], focal_cohorts=cohorts[3:], further_formulas=[])

    def made():
        with Family() as family:
            seconds, result = clock(lambda: report.build(study, Path(out), pdf=True, jobs=2, progress=False))
        return seconds, {"schools": len(result.files), **family.found()}

    return {"made": made}


class Family:
    """Watches this process and its children while it is entered."""

    def __enter__(self) -> Family:
        self._sizes, self._cpu, self._over = [], {}, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        before = sum(me.cpu_times()[:2])
        while not self._over.wait(0.5):
            largest = 0
            for one in me.children(recursive=True):
                try:
                    self._cpu[one.pid], largest = sum(one.cpu_times()[:2]), max(largest, one.memory_info().rss)
                except psutil.Error:  # it has ended
                    continue
            self._sizes.append(largest)
            self._cpu[me.pid] = sum(me.cpu_times()[:2]) - before

    def found(self) -> dict:
        """What was seen."""
        half = len(self._sizes) // 2
        first, second = (max(part, default=0) / 2**20 for part in (self._sizes[:half], self._sizes[half:]))
        return {"processor": sum(self._cpu.values()), "first_mib": first, "second_mib": second}


def slopes(file: str, model: str) -> Runs:
    """valib with a random slope from a validated DataFrame, with integrated intervals (the default) and plug-in ones."""
    records = va.read_records(pd.read_parquet(file))

    def fit(intervals: str = "integrated"):
        seconds, f = clock(lambda: va.fit_relative(records, formula=model, random=["prior"], intervals=intervals))
        variances = np.sqrt(np.diag(f.vcov)).tolist()
        return seconds, {
            "loglik": f.loglik,
            "tau2": np.diag(f.random_covariance).tolist(),
            "sigma2": f.sigma2,
            "coefficients": f.fixed_effects.tolist(),
            "errors": [*np.diag(f.slopes.G_se).tolist(), f.sigma2_se, *variances],
        }

    return {"fit": fit, "plugin": lambda: fit("plugin")}


def arrays(file: str, model: str) -> Runs:
    """The sums of arrays that lie row by row, as a user has them, and the product X'X of the same numbers."""
    design = build_design(va.read_records(pd.read_parquet(file)), model)
    X, y, cells, names = np.ascontiguousarray(design.X), design.y.copy(), design.cells, design.names
    Z = np.column_stack([X, y])
    return {
        "moments": lambda: (clock(lambda: moments_from_arrays(X, y, cells, names))[0], {}),
        "product": lambda: (clock(lambda: Z.T @ Z)[0], {}),
    }


def gpboost(file: str, model: str) -> Runs:
    """GPBoost with grouped random effects, Gaussian likelihood, ML: the fit alone, or with the set-up of the model."""
    import gpboost as gpb

    design = build_design(va.read_records(pd.read_parquet(file)), model)
    X, y, group = np.ascontiguousarray(design.X), design.y.copy(), design.cells.code

    def grouped():
        return gpb.GPModel(group_data=group, likelihood="gaussian")

    def found(m):
        sigma2, tau2 = m.get_cov_pars().to_numpy().ravel()[:2].tolist()
        return {
            "loglik": -m.get_current_neg_log_likelihood(),
            "tau2": tau2,
            "sigma2": sigma2,
            "coefficients": m.get_coef().to_numpy()[0].tolist(),
        }

    def fit():
        m = grouped()
        return clock(lambda: m.fit(y=y, X=X))[0], found(m)

    def both():
        seconds, m = clock(lambda: grouped().fit(y=y, X=X))
        return seconds, found(m)

    return {"fit": fit, "model and fit": both}


def mixedlm(file: str, model: str) -> Runs:
    """statsmodels MixedLM by formula, ML."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    records = va.read_records(pd.read_parquet(file))

    def fit():
        seconds, f = clock(lambda: MixedLM.from_formula(model, records, groups=records["school"]).fit(reml=False))
        return seconds, {
            "loglik": float(f.llf),
            "tau2": float(f.cov_re.iloc[0, 0]),
            "sigma2": float(f.scale),
            "coefficients": f.fe_params.tolist(),
        }

    return {"fit": fit}


def joint(file: str, cohorts: list[int], residual: str) -> Runs:
    """The joint model of a small panel, from a validated DataFrame."""
    records = va.read_records(file)

    def fit():
        seconds, f = clock(lambda: va.fit_joint(records, cohorts, residual=residual))
        variances = slice(None) if residual == "by_cohort" else slice(1)
        by_term = [t for name in ("Intercept", "prior_score") for t in f.fixed_effects.index if t[1] == name]
        errors = pd.Series(np.sqrt(np.diag(f.vcov)), index=f.fixed_effects.index)
        return seconds, {
            "loglik": f.loglik,
            "tau2": f.tau2.tolist(),
            "sigma2": f.sigma2.tolist()[variances],
            "coefficients": f.fixed_effects[by_term].tolist(),
            "errors": [*np.diag(f.omega_se), *f.sigma2_se.tolist()[variances], *errors[by_term]],
        }

    return {"fit": fit}


def joint_large(students: int, schools: int, cohorts: int) -> Runs:
    """The joint model of many schools: sums of the students, and the fit of the sums."""
    records = several_cohorts(students, schools, cohorts)
    years, formula = sorted(records["cohort"].unique().tolist()), "score ~ prior_score"
    parts, _ = cohort_moments(records, years, formula)
    return {
        "moments": lambda: (clock(lambda: cohort_moments(records, years, formula))[0], {}),
        "fit": lambda: (clock(lambda: joint_from_moments(parts, formula))[0], {}),
    }


def quantile(students: int, schools: int, draws: int) -> Runs:
    """Quantile value added at the lower quartile: draws in all, and what they are worth for the worst of the effects."""
    records = va.read_records(one_cohort(students, schools, 1))

    def fit() -> tuple[float, dict]:
        seconds, f = clock(
            lambda: va.fit_quantile(records, formula=formula(1), quantile=0.25, draws=draws // 4, warmup=draws // 8)
        )
        return seconds, {"effective": f.diagnostics["ess_bulk"].min()}

    return {"fit": fit}


def bootstrap(students: int, schools: int, replicates: int) -> Runs:
    """The school bootstrap of shift and benchmark VA, three baseline cohorts and four focal; one by refits."""
    records = va.read_records(several_cohorts(students, schools, 7))
    years = sorted(records["cohort"].unique().tolist())
    focal = years[3:]
    benchmark = va.fit_baseline(records, years[:3])
    moments = sum_students(records, years, benchmark.state, by_cell=True).moments
    options = {"seed": 1, "replicates": replicates}

    def from_records():
        return clock(lambda: va.bootstrap_benchmark(records, benchmark, focal, **options))

    def from_moments():
        return clock(lambda: bootstrap_from_moments(moments, benchmark, tuple(focal), **options))

    def one_by_one():
        J = len(moments.schools)
        weights = np.random.default_rng(1).multinomial(J, np.full(J, 1 / J))
        seconds, shifts = clock(lambda: refit(records, moments.schools, weights, years[:3], focal))
        return seconds, {"shift": shifts}

    def first(run):
        def timed():
            seconds, b = run()
            return seconds, {"shift": b.shift.iloc[0].tolist()}

        return timed

    return {"from records": first(from_records), "from moments": first(from_moments), "refits": one_by_one}


def refit(
    records: pd.DataFrame, schools: np.ndarray, weights: np.ndarray, baseline: list[int], focal: list[int]
) -> list[float]:
    """Shifts of one bootstrap sample by repeating the students of each drawn school and fitting both steps again."""
    times = weights[pd.Index(schools).get_indexer(records["school"])]
    rows = np.repeat(np.arange(len(records)), times)
    copy = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    sample = records.iloc[rows].reset_index(drop=True)
    sample["school"] = sample["school"] + "-" + pd.Series(copy).astype("str")
    sample.attrs = {}
    again = va.fit_baseline(sample, baseline)
    return [va.fit_benchmark(sample, t, again).shift for t in focal]


def posterior(students: int, schools: int) -> Runs:
    """Limits of all effects of one cohort, the variances not known: by quadrature, and by emcee's ensemble sampler.

    The sampler sees the same sums, in (b, log tau, log sigma) with the same flat priors; effects are then drawn from
    their conditional normal. It starts at the estimates, so that its burn-in is as short as can be.
    """
    import emcee

    from valib.models.likelihood import compress
    from valib.models.posterior import integrate
    from valib.models.posterior import posterior as of_schools
    from valib.sums.moments import compute_moments

    moments = compute_moments(build_design(va.read_records(one_cohort(students, schools, 1)), formula(1)))
    n, means, cross, p = moments.n, moments.sums / moments.n[:, None], moments.cross.sum(axis=0), moments.n_fixed
    fit = va.fit_relative(va.read_records(one_cohort(students, schools, 1)), formula=formula(1), intervals="plugin")
    best = np.linalg.solve(cross[:p, :p], cross[:p, p])

    def quadrature():
        return of_schools(integrate(compress(moments)), n[None], means[None]).effects().interval(0.95)

    def log_density(x: np.ndarray) -> np.ndarray:
        a = np.concatenate([-x[:, :p], np.ones((len(x), 1))], axis=1)
        tau2, sigma2 = (np.exp(2 * x[:, c, None]) for c in (p, p + 1))
        spread = sigma2 + n * tau2
        squares = np.einsum("wi,ij,wj->w", a, cross, a) - (tau2 / spread * (n * (a @ means.T)) ** 2).sum(axis=1)
        within = (n.sum() - len(n)) * np.log(sigma2[:, 0])
        return -0.5 * (within + np.log(spread).sum(axis=1) + squares / sigma2[:, 0]) + x[:, p]

    def sample(steps: int = 5000, walkers: int = 40):
        rng = np.random.default_rng(1)
        centre = np.array([*best, np.log(fit.tau2) / 2, np.log(fit.sigma2) / 2])
        sampler = emcee.EnsembleSampler(walkers, len(centre), log_density, vectorize=True)
        sampler.run_mcmc(centre + 0.02 * rng.standard_normal((walkers, len(centre))), steps)
        chain = sampler.get_chain(discard=steps // 5)
        size = chain[..., 0].size / np.max(emcee.autocorr.integrated_time(chain, tol=10, quiet=True))
        x = chain.reshape(-1, len(centre))[:: max(1, int(chain[..., 0].size / 20_000))]
        tau2, sigma2 = np.exp(2 * x[:, p, None]), np.exp(2 * x[:, p + 1, None])
        lam = n * tau2 / (sigma2 + n * tau2)
        mean = lam * (means[:, p] - x[:, :p] @ means[:, :p].T)
        draws = mean + np.sqrt(tau2 * (1 - lam)) * rng.standard_normal(mean.shape)
        return np.quantile(draws, [0.025, 0.975], axis=0), float(size)

    def by_quadrature():
        seconds, limits = clock(quadrature)
        return seconds, {"limits": np.concatenate([v[0] for v in limits]).tolist()}

    def by_sampling():
        seconds, (limits, size) = clock(sample)
        return seconds, {"limits": limits.ravel().tolist(), "effective": size}

    return {"quadrature": by_quadrature, "emcee": by_sampling}


def reading(csv: str, file: str) -> Runs:
    """Reading and checking records, beside pandas reading the same file without a check.

    By itself pandas takes codes for numbers where they look like some, which loses leading zeros; told that they are text,
    it keeps them.
    """
    frame = pd.read_parquet(file)
    return {
        "csv": lambda: (clock(lambda: va.read_records(csv))[0], {}),
        "plain": lambda: (clock(lambda: pd.read_csv(csv))[0], {}),
        "typed": lambda: (clock(lambda: pd.read_csv(csv, dtype={"student": "str", "school": "str"}))[0], {}),
        "frame": lambda: (clock(lambda: va.read_records(frame))[0], {}),
    }


def growth(students: int, schools: int, covariates: int, cohorts: int) -> Runs:
    """A fit from a DataFrame: relative for one cohort, joint for several."""
    if cohorts == 1:
        records = va.read_records(one_cohort(students, schools, covariates))
        return {"fit": lambda: (clock(lambda: va.fit_relative(records, formula=formula(covariates)))[0], {})}
    records = va.read_records(several_cohorts(students, schools, cohorts))
    years = sorted(records["cohort"].unique().tolist())
    return {"fit": lambda: (clock(lambda: va.fit_joint(records, years))[0], {})}


CONTENDERS = {
    f.__name__: f
    for f in (
        relative,
        slopes,
        arrays,
        gpboost,
        mixedlm,
        joint,
        joint_large,
        posterior,
        quantile,
        bootstrap,
        reading,
        reports,
        growth,
    )
}


def main() -> None:
    warnings.simplefilter("ignore")  # of what getting ready warns, too
    runs = CONTENDERS[sys.argv[1]](**json.loads(sys.argv[2]))
    serve(lambda line: runs[line]())


if __name__ == "__main__":
    main()
