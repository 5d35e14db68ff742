"""valib: school value added, relative and against a benchmark. ``import valib as va`` gives these names:

records       read_records, load_records, load (bundled tables), stream_records (larger than memory), summarise,
              left_out, moments_from_source
one cohort    fit_relative, fit_mixed (any table), CohortFit
benchmark     fit_baseline, Benchmark, fit_benchmark, population_mean_va, bootstrap_benchmark, check_prior,
              looks_standardised
test scales   ScaleBreak, Link, carry_back
the system    shift_in_context, shift_verdicts, shift_parts, shift_difference, mean_change, shift_at, split_shift,
              shift_over_prior, relative_to_school,
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
    "read_records": "records.reading",
    "left_out": "records.reading",
    "summarise": "records.reading",
    "load": "records.datasets",
    "load_records": "records.datasets",
    "stream_records": "sums.streams",
    "moments_from_source": "sums.streams",
    "fit_relative": "effects.relative",
    "fit_mixed": "effects.relative",
    "CohortFit": "effects.relative",
    "fit_baseline": "effects.baseline",
    "Benchmark": "effects.baseline",
    "fit_benchmark": "effects.benchmark",
    "check_prior": "effects.benchmark",
    "population_mean_va": "effects.benchmark",
    "fit_joint": "effects.joint",
    "fit_structures": "effects.joint",
    "compare_joint": "effects.joint",
    "JointFit": "effects.joint",
    "bootstrap_joint": "effects.bootstrap",
    "bootstrap_benchmark": "effects.bootstrap",
    "looks_standardised": "records.prior_check",
    "Link": "sums.equating",
    "ScaleBreak": "sums.equating",
    "carry_back": "sums.equating",
    "shift_parts": "effects.shift",
    "shift_at": "effects.shift",
    "split_shift": "effects.shift",
    "shift_over_prior": "effects.shift",
    "relative_to_school": "effects.shift",
    "prior_sensitivity": "effects.shift",
    "shift_difference": "effects.shift",
    "shift_in_context": "effects.shift",
    "shift_verdicts": "effects.verdict",
    "mean_change": "effects.shift",
    "system_change": "effects.shift",
    "change_on_benchmark": "effects.shift",
    "two_step": "effects.stability",
    "pairwise_correlation": "effects.stability",
    "reflate_matrix": "effects.stability",
    "correlations": "effects.stability",
    "expected_correlations": "effects.stability",
    "attenuation_curves": "effects.stability",
    "change_in_va": "effects.change",
    "which_improved": "effects.change",
    "quintile_transitions": "effects.change",
    "ValibError": "errors",
    "RecordsError": "errors",
    "ParamsError": "errors",
    "ModelError": "errors",
    "BenchmarkError": "errors",
    "ValibWarning": "errors",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module 'valib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
