# The public names, by question: the only list of them. lazy_loader reads it when valib is imported, type checkers too.

# records
from .records.datasets import load as load
from .records.datasets import load_records as load_records
from .records.reading import left_out as left_out
from .records.reading import read_records as read_records
from .records.reading import summarise as summarise
from .sums.streams import moments_from_source as moments_from_source
from .sums.streams import stream_records as stream_records

# sums
from .models.blup import predict_blup as predict_blup
from .models.blup import shrinkage as shrinkage
from .models.mixed import fit_moments as fit_moments
from .sums.design import build_design as build_design
from .sums.moments import compute_moments as compute_moments

# one cohort
from .effects.cap import Capped as Capped
from .effects.cap import capped_va as capped_va
from .effects.cohort_fit import CohortFit as CohortFit
from .effects.multiplicity import false_discoveries as false_discoveries
from .effects.multiplicity import side_counts as side_counts
from .effects.late import score_like as score_like
from .effects.relative import fit_formulas as fit_formulas
from .effects.relative import fit_mixed as fit_mixed
from .effects.relative import fit_relative as fit_relative
from .effects.relative import school_residuals as school_residuals
from .effects.relative import student_residuals as student_residuals
from .models.blup import overlap_multiplier as overlap_multiplier
from .study.tables import school_effects as school_effects

# benchmark
from .effects.baseline import Benchmark as Benchmark
from .effects.baseline import fit_baseline as fit_baseline
from .effects.benchmark import check_prior as check_prior
from .effects.benchmark import fit_benchmark as fit_benchmark
from .effects.benchmark import population_mean_va as population_mean_va
from .effects.bootstrap import bootstrap_benchmark as bootstrap_benchmark
from .records.prior_check import looks_standardised as looks_standardised

# recipes
from .effects.side_by_side import agreement_by_cohort as agreement_by_cohort
from .effects.side_by_side import fit_estimators as fit_estimators
from .effects.side_by_side import follow_school as follow_school
from .effects.side_by_side import mean_va_error as mean_va_error
from .effects.side_by_side import school_to_follow as school_to_follow
from .effects.side_by_side import shift_sensitivity as shift_sensitivity
from .effects.side_by_side import spread_of_va as spread_of_va

# groups of schools
from .effects.groups import group_va as group_va
from .effects.groups import similar_schools as similar_schools
from .records.groups import school_groups as school_groups

# test scales
from .sums.equating import Link as Link
from .sums.equating import ScaleBreak as ScaleBreak
from .sums.equating import carry_back as carry_back

# the system
from .effects.shift import mean_change as mean_change
from .effects.shift import relative_to_school as relative_to_school
from .effects.shift import shift_difference as shift_difference
from .effects.shift import shift_in_context as shift_in_context
from .effects.shift import shift_parts as shift_parts
from .effects.shift_profile import prior_sensitivity as prior_sensitivity
from .effects.shift_profile import shift_at as shift_at
from .effects.shift_profile import shift_over_prior as shift_over_prior
from .effects.shift_profile import split_shift as split_shift
from .effects.system_change import change_on_benchmark as change_on_benchmark
from .effects.system_change import system_change as system_change
from .effects.verdict import shift_verdicts as shift_verdicts

# persistence
from .effects.persistence import adjusted_associations as adjusted_associations
from .effects.persistence import forecast_calibration as forecast_calibration
from .effects.persistence import forecast_va as forecast_va
from .effects.persistence import persistence as persistence
from .effects.persistence import temporal_models as temporal_models
from .effects.persistence import with_previous_mean as with_previous_mean

# quantiles
from .effects.quantiles import QuantileFit as QuantileFit
from .effects.quantiles import fit_quantile as fit_quantile
from .effects.quantiles import share_below as share_below

# weak and strong students
from .effects.differential import fifths_at as fifths_at
from .effects.differential import slope_test as slope_test
from .effects.differential import va_at as va_at
from .effects.differential import va_gap as va_gap
from .effects.slope_pairs import JointSlopes as JointSlopes
from .effects.slope_pairs import fit_joint_slopes as fit_joint_slopes

# students who vary more
from .effects.residual import residual_variances as residual_variances
from .effects.residual import variance_test as variance_test

# several cohorts
from .effects.average import average_va as average_va
from .effects.average import lasting_va as lasting_va
from .effects.bootstrap import bootstrap_joint as bootstrap_joint
from .effects.joint import JointFit as JointFit
from .effects.structures_compared import compare_joint as compare_joint
from .effects.joint import fit_joint as fit_joint
from .effects.joint import fit_structures as fit_structures

# stability
from .effects.change import change_in_va as change_in_va
from .effects.change import present_schools as present_schools
from .effects.change import quintile_transitions as quintile_transitions
from .effects.change import which_improved as which_improved
from .effects.stability import attenuation_curves as attenuation_curves
from .effects.stability import correlations as correlations
from .effects.stability import expected_correlations as expected_correlations
from .effects.stability import mean_reliability as mean_reliability
from .effects.stability import pairwise_correlation as pairwise_correlation
from .effects.stability import reflate_matrix as reflate_matrix
from .effects.stability import two_step as two_step
from .simulation.correlations import usable_cohorts as usable_cohorts

# simulation
from .simulation.calibrate import calibrate as calibrate
from .simulation.correlations import simulate_ways as simulate_ways
from .simulation.methods import Method as Method
from .simulation.runs import MonteCarlo as MonteCarlo
from .simulation.runs import simulate as simulate
from .simulation.worlds import Scenario as Scenario
from .simulation.worlds import combine as combine
from .simulation.worlds import scenario as scenario

# what may be shown
from .records.disclosure import cell_sizes as cell_sizes
from .records.disclosure import only_shown as only_shown
from .records.disclosure import shown_in_all as shown_in_all

# errors
from .errors import BenchmarkError as BenchmarkError
from .errors import ModelError as ModelError
from .errors import ParamsError as ParamsError
from .errors import RecordsError as RecordsError
from .errors import ValibError as ValibError
from .errors import ValibWarning as ValibWarning

__version__: str
__all__ = [
    "__version__",
    "Benchmark",
    "BenchmarkError",
    "Capped",
    "CohortFit",
    "JointFit",
    "JointSlopes",
    "Link",
    "Method",
    "ModelError",
    "MonteCarlo",
    "ParamsError",
    "QuantileFit",
    "RecordsError",
    "ScaleBreak",
    "Scenario",
    "ValibError",
    "ValibWarning",
    "adjusted_associations",
    "agreement_by_cohort",
    "attenuation_curves",
    "average_va",
    "bootstrap_benchmark",
    "bootstrap_joint",
    "build_design",
    "calibrate",
    "capped_va",
    "carry_back",
    "cell_sizes",
    "change_in_va",
    "change_on_benchmark",
    "check_prior",
    "combine",
    "compare_joint",
    "compute_moments",
    "correlations",
    "expected_correlations",
    "false_discoveries",
    "fifths_at",
    "fit_baseline",
    "fit_benchmark",
    "fit_estimators",
    "fit_formulas",
    "fit_joint",
    "fit_joint_slopes",
    "fit_mixed",
    "fit_moments",
    "fit_quantile",
    "fit_relative",
    "fit_structures",
    "follow_school",
    "group_va",
    "forecast_calibration",
    "forecast_va",
    "lasting_va",
    "left_out",
    "load",
    "load_records",
    "looks_standardised",
    "mean_change",
    "mean_reliability",
    "mean_va_error",
    "moments_from_source",
    "only_shown",
    "overlap_multiplier",
    "pairwise_correlation",
    "persistence",
    "population_mean_va",
    "predict_blup",
    "present_schools",
    "prior_sensitivity",
    "quintile_transitions",
    "read_records",
    "reflate_matrix",
    "relative_to_school",
    "residual_variances",
    "scenario",
    "school_effects",
    "school_groups",
    "school_residuals",
    "school_to_follow",
    "score_like",
    "share_below",
    "shift_at",
    "shift_difference",
    "shift_in_context",
    "shift_over_prior",
    "shift_parts",
    "shift_sensitivity",
    "shift_verdicts",
    "shown_in_all",
    "shrinkage",
    "side_counts",
    "similar_schools",
    "simulate",
    "simulate_ways",
    "slope_test",
    "split_shift",
    "spread_of_va",
    "stream_records",
    "student_residuals",
    "summarise",
    "system_change",
    "temporal_models",
    "two_step",
    "usable_cohorts",
    "va_at",
    "va_gap",
    "variance_test",
    "which_improved",
    "with_previous_mean",
]
