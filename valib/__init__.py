"""valib: school value added, relative and against a benchmark. ``import valib as va`` gives these names:

records       read_records, load_records, load (bundled tables), stream_records (larger than memory), summarise,
              left_out, moments_from_source
one cohort    fit_relative, fit_mixed (any table), CohortFit
benchmark     fit_baseline, Benchmark, fit_benchmark, population_mean_va, bootstrap_benchmark, check_prior,
              looks_standardised
test scales   ScaleBreak, Link, carry_back
the system    shift_parts, shift_difference, mean_change, shift_at, split_shift, shift_over_prior, relative_to_school,
              prior_sensitivity, system_change, change_on_benchmark
several cohorts   fit_joint, JointFit, fit_structures, compare_joint, bootstrap_joint
stability     correlations, expected_correlations, attenuation_curves, two_step, pairwise_correlation, reflate_matrix,
              change_in_va, which_improved, quintile_transitions
errors        ValibError and its kinds RecordsError, ParamsError, ModelError, BenchmarkError; ValibWarning

``help(valib.fit_relative)`` says what a function takes, returns and raises. A name is loaded when first used, so that
the command line starts quickly.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOME = {
    "read_records": "records", "left_out": "records", "summarise": "records",
    "load": "datasets", "load_records": "datasets",
    "stream_records": "engines", "moments_from_source": "engines",
    "fit_relative": "relative", "fit_mixed": "relative", "CohortFit": "relative",
    "fit_baseline": "baseline", "Benchmark": "baseline",
    "fit_benchmark": "benchmark", "check_prior": "benchmark", "population_mean_va": "benchmark",
    "fit_joint": "joint", "fit_structures": "joint", "compare_joint": "joint", "JointFit": "joint",
    "bootstrap_joint": "joint_bootstrap",
    "bootstrap_benchmark": "bootstrap", "looks_standardised": "comparability",
    "Link": "scale", "ScaleBreak": "scale", "carry_back": "scale",
    "shift_parts": "drift", "shift_at": "drift", "split_shift": "drift", "shift_over_prior": "drift",
    "relative_to_school": "drift", "prior_sensitivity": "drift", "shift_difference": "drift", "mean_change": "drift",
    "system_change": "drift", "change_on_benchmark": "drift",
    "two_step": "stability", "pairwise_correlation": "stability", "reflate_matrix": "stability",
    "correlations": "stability", "expected_correlations": "stability", "attenuation_curves": "stability",
    "change_in_va": "moves", "which_improved": "moves", "quintile_transitions": "moves",
    "ValibError": "errors", "RecordsError": "errors", "ParamsError": "errors", "ModelError": "errors",
    "BenchmarkError": "errors", "ValibWarning": "errors",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module 'valib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
