"""Every figure of the book: results (tables, arrays) in, a matplotlib Figure out; nothing is fitted here."""

from valib.plotting.density import relative_vs_benchmark, va_density
from valib.plotting.ranked import caterpillar, change_in_va, rank_intervals
from valib.plotting.report import school_intake, school_place, school_va
from valib.plotting.schools import byhand_blup, recipes, shrinkage, type_ab
from valib.plotting.simulation import bias, coverage, measured, over_parameter
from valib.plotting.speed import scaling
from valib.plotting.stability import correlation_by_gap, correlation_matrix, quintile_transitions, shift_split
from valib.plotting.students import cohort_scores, growth, prior_shift, residual_checks, school_sizes
from valib.plotting.style import COLOURS, STYLE, WIDTH, safe_name, save, use_style
from valib.plotting.system import bootstrap_vs_analytic, shift_over_prior, shifts
from valib.plotting.ways import attenuation, correlation_ways

__all__ = [
    "COLOURS", "STYLE", "WIDTH", "attenuation", "bias", "bootstrap_vs_analytic", "byhand_blup", "caterpillar",
    "change_in_va", "cohort_scores", "correlation_by_gap", "correlation_matrix", "correlation_ways", "coverage",
    "growth", "measured", "over_parameter", "prior_shift", "quintile_transitions", "rank_intervals", "recipes",
    "relative_vs_benchmark", "residual_checks", "safe_name", "save", "scaling", "school_intake",
    "school_place", "school_sizes", "school_va", "shift_over_prior", "shift_split",
    "shifts", "shrinkage", "type_ab", "use_style", "va_density",
]
