"""valib: school value added, relative and against a benchmark. ``import valib as va`` gives these names:

records       read_records, load_records, load (bundled tables), stream_records (larger than memory), summarise,
              left_out, moments_from_source
sums          build_design, compute_moments, fit_moments, predict_blup, shrinkage: the steps of a fit, one by one
one cohort    fit_relative, fit_mixed (any table), CohortFit, fit_formulas, school_residuals, student_residuals,
              overlap_multiplier, school_effects (of several fits in one table), capped_va, Capped (extreme scores),
              score_like (late students, corrected data), side_counts, false_discoveries
benchmark     fit_baseline, Benchmark, fit_benchmark, population_mean_va, bootstrap_benchmark, check_prior,
              looks_standardised
recipes       fit_estimators, shift_sensitivity, school_to_follow, follow_school, spread_of_va, agreement_by_cohort,
              mean_va_error
groups of schools   group_va, school_groups, similar_schools
test scales   ScaleBreak, Link, carry_back
the system    shift_in_context, shift_verdicts, shift_parts, shift_difference, mean_change, shift_at, split_shift,
              shift_over_prior, relative_to_school,
              prior_sensitivity, system_change, change_on_benchmark
persistence   persistence, temporal_models, with_previous_mean, adjusted_associations, forecast_va,
              forecast_calibration
quantiles     fit_quantile, QuantileFit, share_below
weak and strong students   va_at, va_gap, slope_test, fifths_at: of a relative fit with random slopes; fit_joint_slopes,
              JointSlopes: of pairs of cohorts
students who vary more   residual_variances, variance_test: of a relative fit with unequal residual variances
several cohorts   fit_joint, JointFit, fit_structures, compare_joint, bootstrap_joint, average_va, lasting_va
stability     correlations, expected_correlations, attenuation_curves, two_step, pairwise_correlation, reflate_matrix,
              change_in_va, which_improved, quintile_transitions, mean_reliability, present_schools, usable_cohorts
simulation    simulate, MonteCarlo, Scenario, scenario, combine, calibrate, Method, simulate_ways
what may be shown   only_shown, shown_in_all, cell_sizes
errors        ValibError and its kinds RecordsError, ParamsError, ModelError, BenchmarkError; ValibWarning

``help(valib.fit_relative)`` says what a function takes, returns and raises. A name is loaded when first used, so that
the command line starts quickly.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)  # from __init__.pyi
__all__ = ["__version__", *_names]
