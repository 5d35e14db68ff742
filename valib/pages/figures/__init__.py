"""Every figure of the book: results (tables, arrays) in, a matplotlib Figure out; nothing is fitted here."""

from valib.pages.figures.density import relative_vs_benchmark, va_density
from valib.pages.figures.idea import benchmark_idea
from valib.pages.figures.practice import measures_beside, release_steps
from valib.pages.figures.quantiles import quantile_shifts
from valib.pages.figures.ranked import caterpillar, change_in_va, rank_intervals
from valib.pages.figures.report import school_intake, school_place, school_va
from valib.pages.figures.schools import byhand_blup, recipes, shrinkage, type_ab
from valib.pages.figures.simulation import bias, coverage, measured, over_parameter
from valib.pages.figures.sliders import shrinkage_and_shift
from valib.pages.figures.slopes import nothing, residual_sds, school_gaps, school_lines
from valib.pages.figures.speed import scaling
from valib.pages.figures.stability import (
    correlation_by_gap,
    correlation_matrix,
    mean_change,
    quintile_transitions,
    shift_split,
)
from valib.pages.figures.students import cohort_scores, growth, prior_shift, residual_checks, school_sizes
from valib.pages.figures.style import COLOURS, STYLE, WIDTH, safe_name, save, use_style
from valib.pages.figures.system import bootstrap_vs_analytic, shift_over_prior, shifts
from valib.pages.figures.ways import attenuation, correlation_ways

__all__ = [
    "COLOURS",
    "STYLE",
    "WIDTH",
    "attenuation",
    "benchmark_idea",
    "bias",
    "bootstrap_vs_analytic",
    "byhand_blup",
    "caterpillar",
    "change_in_va",
    "cohort_scores",
    "correlation_by_gap",
    "correlation_matrix",
    "correlation_ways",
    "coverage",
    "growth",
    "mean_change",
    "measured",
    "measures_beside",
    "nothing",
    "over_parameter",
    "prior_shift",
    "quantile_shifts",
    "quintile_transitions",
    "rank_intervals",
    "recipes",
    "relative_vs_benchmark",
    "release_steps",
    "residual_checks",
    "residual_sds",
    "safe_name",
    "save",
    "scaling",
    "school_gaps",
    "school_intake",
    "school_lines",
    "school_place",
    "school_sizes",
    "school_va",
    "shift_over_prior",
    "shift_split",
    "shifts",
    "shrinkage",
    "shrinkage_and_shift",
    "type_ab",
    "use_style",
    "va_density",
]
