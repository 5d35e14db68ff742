"""When the account of records warns: every threshold of `valib check`, with its reason.

They are stated in the account itself (``limits`` of its JSON), so that a reader can see what was looked for.
"""

from __future__ import annotations

from ...effects.findings import CORRELATION_HIGH, CORRELATION_LOW, REPEATED_SHARE, REUSED_SHARE, SCALE_MEAN, SCALE_SD
from ...effects.linkage import FAMILY
from ...effects.long_records import AMBIGUOUS, MIXED
from ...records import prior_check as comparability
from ...records.coverage import FULL
from ...records.repeats import MANY_ROWS, MOST_SHARE

__all__ = [
    "CORRELATION_HIGH",
    "CORRELATION_LOW",
    "MANY_ROWS",
    "MOST_SHARE",
    "REPEATED_SHARE",
    "REUSED_SHARE",
    "SCALE_MEAN",
    "SCALE_SD",
    "stated",
]

# Rows. One row in twenty without school, student code or score is more than stray blanks: a whole source may be absent.
# Rows that lack only a prior score are a matter of linkage.
LEFT_OUT_SHARE = 0.05

# Linkage. National studies link nine students in ten or more; below that the linked are no longer the cohort.
LINKED_SHARE = 0.90
# Students without a prior score are often newcomers, with scores 0.3 to 0.5 SD lower. Three points of a cohort then
# move its mean by 0.01 to 0.015 SD, a point on a scale of SD 80: the size of the shifts that a benchmark looks for.
LINKED_CHANGE = 0.03
# The same said in scores: mean of the linked less mean of all scored, focal against baseline, in SDs of the score.
LINKED_SCORE_CHANGE = 0.02
# Of a school, likewise; see valib.records.coverage for what this and min_linked_share are held against.
COVERAGE_FULL = FULL
COVERAGE_FAMILY = FAMILY  # probability of naming any school of a cohort as differing where none does
# Long records: rows outside a cohort's largest grade or subject, or with a prior score of another grade than the others';
# and rows with two earlier rows.
MIXED_SHARE = MIXED
AMBIGUOUS_SHARE = AMBIGUOUS
CHANCE = 3.0  # standard errors; what is smaller is not told apart from chance

# A code in two schools of a cohort is one student where the prior score is the same, in this share of such codes.
ONE_STUDENT = 0.5

# The correlation of score and prior score moves by some hundredths from year to year.
CORRELATION_CHANGE = 0.15

# Schools. Twice the size, or half, is no change of intake but of the school; small schools do so by chance alone, so
# the change must also be beyond chance: more than SIZE_CHANCE times the root of the two sizes' sum (Poisson counts;
# five of these happen once in a million pairs).
SIZE_FACTOR = 2.0
SIZE_CHANCE = 5.0
# One school in five new and one in five gone at once is no turnover of schools but a change of codes.
RECODED_SHARE = 0.20
# One student in ten in a school that the baseline has not seen: the shift then tells of other schools as well.
NEW_TO_BASELINE = 0.10
# A year's births and moves change a cohort by a few per cent: a quarter more or less, beyond chance, is a matter of
# what was delivered.
COHORT_CHANGE = 0.25
# A school 99 or 0 that is larger than this many schools of the usual size may stand for unknown ones.
UNKNOWN_SIZE = 2.0
# One school in ten too small to be shown.
TINY_SHARE = 0.10

# Scores. One student in twenty at the lowest or highest value: their growth beyond it cannot be seen.
EXTREME_SHARE = 0.05
# Fewer values than this make a short scale: any value has many students, and residuals are far from normal.
FEW_VALUES = 20
# A pile: one value with this share of the students, this many of them, and this many times the students of any of its
# HEAP_NEIGHBOURS nearest values on either side. Whole-number scores, and scores made from raw marks, have large counts
# at many neighbouring values and are no piles.
HEAP_SHARE = 0.02
HEAP_STUDENTS = 10
HEAP_FACTOR = 3.0
HEAP_NEIGHBOURS = 10
# Values parted from all others by three SDs (robust: interquartile range / 1.349) are codes such as 999, or slips.
FAR_GAP = 3.0
# Means this near 0 and SDs this near 1 in every cohort are z-scores.
Z_SCORE = comparability.Z_SCORE

# The same for one value at the end of the scale that REPEATED_STUDENTS or more share, REPEATED_FACTOR times as many as
# have the next value: a gap of one SD is enough, which no full marks leave.
REPEATED_GAP = 1.0
REPEATED_STUDENTS = 5
REPEATED_FACTOR = 3.0

# A lone score: see valib.study.account.lone for the rule and what it lets through by chance.
LONE_FEWEST = 60  # students of a cohort, so that a tail can be told
LONE_MOST = 3  # lone scores at one end; more are a pile or a code
LONE_SPACINGS = 30
LONE_RATIO = 12.0
LONE_LOG_RATIO = 7.0
LONE_GAP = 2.0
LONE_DISTANCE = 5.0

# The most influential student of a cohort of normal scores moves a school by about 0.7 of the standard error of its effect,
# of scores with the tails of t with 5 degrees of freedom by 1.1, and by more than 2.5 in one cohort of a hundred.
INFLUENCE = 2.5

# Covariates. Rows without a covariate leave the model: the same one in twenty as for rows left out.
MISSING_SHARE = 0.05
# A text column of more values than this is hardly a grouping; beyond MOST_LEVELS the fit is not tried, since each
# level would be a column of a dense matrix.
MANY_LEVELS = 50
MOST_LEVELS = 1_000

# How much is told.
MOST_COHORTS = 100  # cohorts described one by one; more are hardly years
LISTED = 10  # schools by name


def stated() -> dict[str, float | tuple[float, float]]:
    """Return every threshold by its name in lower case, those of :mod:`valib.records.prior_check` too."""
    own = {name.lower(): value for name, value in globals().items() if name.isupper()}
    own |= {name: getattr(comparability, name.upper()) for name in ("refused", "refused_as_z", "doubtful")}
    return own | {"smd_limit": comparability.SMD_LIMIT, "variance_ratio_limits": comparability.VARIANCE_RATIO_LIMITS}
