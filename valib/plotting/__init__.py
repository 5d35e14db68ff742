"""Every figure of the book. A function takes results (tables, arrays), returns a matplotlib Figure, and never fits."""

from valib.plotting.schools import byhand_blup, caterpillar, rank_intervals, recipes, shrinkage, type_ab
from valib.plotting.students import cohort_scores, growth, prior_shift, residual_checks, school_sizes
from valib.plotting.style import COLOURS, STYLE, WIDTH, safe_name, save, use_style
from valib.plotting.system import (
    bootstrap_vs_analytic,
    relative_vs_benchmark,
    shift_over_prior,
    shifts,
    va_density,
)

__all__ = [
    "COLOURS",
    "STYLE",
    "WIDTH",
    "bootstrap_vs_analytic",
    "byhand_blup",
    "caterpillar",
    "cohort_scores",
    "growth",
    "prior_shift",
    "rank_intervals",
    "recipes",
    "relative_vs_benchmark",
    "residual_checks",
    "safe_name",
    "save",
    "school_sizes",
    "shift_over_prior",
    "shifts",
    "shrinkage",
    "type_ab",
    "use_style",
    "va_density",
]
