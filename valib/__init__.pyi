# The public names, by question: the only list of them. lazy_loader reads it when valib is imported, type checkers too.

# records
from .records.reading import left_out as left_out
from .records.reading import read_records as read_records
from .records.reading import summarise as summarise
from .records.datasets import load as load
from .records.datasets import load_records as load_records
from .sums.streams import moments_from_source as moments_from_source
from .sums.streams import stream_records as stream_records

# one cohort
from .effects.cohort_fit import CohortFit as CohortFit
from .effects.relative import fit_mixed as fit_mixed
from .effects.relative import fit_relative as fit_relative

# benchmark
from .effects.baseline import Benchmark as Benchmark
from .effects.baseline import fit_baseline as fit_baseline
from .effects.benchmark import check_prior as check_prior
from .effects.benchmark import fit_benchmark as fit_benchmark
from .effects.benchmark import population_mean_va as population_mean_va
from .effects.bootstrap import bootstrap_benchmark as bootstrap_benchmark
from .records.prior_check import looks_standardised as looks_standardised

# test scales
from .sums.equating import Link as Link
from .sums.equating import ScaleBreak as ScaleBreak
from .sums.equating import carry_back as carry_back

# the system
from .effects.system_change import change_on_benchmark as change_on_benchmark
from .effects.shift import mean_change as mean_change
from .effects.shift_profile import prior_sensitivity as prior_sensitivity
from .effects.shift import relative_to_school as relative_to_school
from .effects.shift_profile import shift_at as shift_at
from .effects.shift import shift_difference as shift_difference
from .effects.shift import shift_in_context as shift_in_context
from .effects.shift_profile import shift_over_prior as shift_over_prior
from .effects.shift import shift_parts as shift_parts
from .effects.shift_profile import split_shift as split_shift
from .effects.system_change import system_change as system_change
from .effects.verdict import shift_verdicts as shift_verdicts

# several cohorts
from .effects.bootstrap import bootstrap_joint as bootstrap_joint
from .effects.joint import JointFit as JointFit
from .effects.joint import compare_joint as compare_joint
from .effects.joint import fit_joint as fit_joint
from .effects.joint import fit_structures as fit_structures

# stability
from .effects.change import change_in_va as change_in_va
from .effects.change import quintile_transitions as quintile_transitions
from .effects.change import which_improved as which_improved
from .effects.stability import attenuation_curves as attenuation_curves
from .effects.stability import correlations as correlations
from .effects.stability import expected_correlations as expected_correlations
from .effects.stability import pairwise_correlation as pairwise_correlation
from .effects.stability import reflate_matrix as reflate_matrix
from .effects.stability import two_step as two_step

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
    "CohortFit",
    "JointFit",
    "Link",
    "ModelError",
    "ParamsError",
    "RecordsError",
    "ScaleBreak",
    "ValibError",
    "ValibWarning",
    "attenuation_curves",
    "bootstrap_benchmark",
    "bootstrap_joint",
    "carry_back",
    "change_in_va",
    "change_on_benchmark",
    "check_prior",
    "compare_joint",
    "correlations",
    "expected_correlations",
    "fit_baseline",
    "fit_benchmark",
    "fit_joint",
    "fit_mixed",
    "fit_relative",
    "fit_structures",
    "left_out",
    "load",
    "load_records",
    "looks_standardised",
    "mean_change",
    "moments_from_source",
    "pairwise_correlation",
    "population_mean_va",
    "prior_sensitivity",
    "quintile_transitions",
    "read_records",
    "reflate_matrix",
    "relative_to_school",
    "shift_at",
    "shift_difference",
    "shift_in_context",
    "shift_over_prior",
    "shift_parts",
    "shift_verdicts",
    "split_shift",
    "stream_records",
    "summarise",
    "system_change",
    "two_step",
    "which_improved",
]
