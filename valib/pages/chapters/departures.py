"""The numbers of the simulation checks about departures from the model: priors, sizes, correlations, shapes, missing."""

from __future__ import annotations

from collections.abc import Sequence

from ...simulation.runs import MonteCarlo
from ...simulation.verdicts import nearer
from ...simulation.worlds import scenario
from .. import figures
from ..figures.ways import WAYS
from ..findings import Findings
from ..prose import as_text, direction, in_words, simulated
from .simulation import told_coverage

BOTH = {"estimated": "estimated", "corrected": "corrected for reliability"}
SMALL = {"b known": "coefficients as known", "estimated": "full, ML", "REML": "full, REML", "bootstrap": "bootstrap"}
LASTS = {"serial": "10 to 60 students", "small and lasting": "3 to 15 students"}
SHAPES = ("plain", "heavy tails", "heteroscedastic")
GONE = ("plain", "missing by chance", "missing students", "missing always")


def prior_figure(run: MonteCarlo, priors: Sequence[str]) -> Findings:
    """Bias of the shift with a changed or unreliable prior."""
    return Findings().figure(
        "fig_prior",
        figures.bias(figures.measured(run, "bias", ["shift"], {k: k for k in priors}, BOTH), label="Bias of the shift"),
    )


def prior_table(run: MonteCarlo, priors: Sequence[str]) -> Findings:
    """The same with and without the correction for reliability."""
    table = simulated(
        run,
        {f"{v}, *{s}*": (s, k) for s in priors for k, v in BOTH.items()},
        {
            "Slope": ("slope", "mean", ".3f"),
            "Bias of shift": ("shift", "bias", "+.2f"),
            "Coverage, shift": ("shift", "coverage", ".3f"),
            "Gradient": ("gradient", "mean", "+.3f"),
            "Coverage, schools": ("va", "coverage", ".3f"),
        },
    )
    return Findings().table(
        table.rename_axis("Method, world"),
        "A changed or unreliable prior test (true slope .8, gradient 0 is fair; Monte Carlo "
        "standard errors in brackets).",
        "tab-10-prior",
        raw=True,
    )


def prior(run: MonteCarlo, priors: Sequence[str]) -> Findings:
    """The same in words: what the correction leaves of each bias."""
    value, error = run.get, run.mcse
    b = {(s, k): value(s, k, "shift", "bias") for s in priors for k in BOTH}
    undone = {
        s: direction(
            b[s, "corrected"],
            "leaves a bias of",
            "leaves a bias of",
            "takes it to within Monte Carlo error of zero:",
            1.96 * error(s, "corrected", "shift", "bias"),
        )
        for s in priors
    }
    signed = {k: as_text(v, "+.2f") for k, v in b.items()}
    found = Findings().say(
        f"A prior test that is 10 points easier moves the shift by {signed['easier prior', 'estimated']} points, "
        f"about the slope times the ten points, with the sign reversed; the correction {undone['easier prior']} "
        f"{signed['easier prior', 'corrected']}. An unreliable prior with a weaker intake moves it by "
        f"{signed['measurement error', 'estimated']}; the correction {undone['measurement error']} "
        f"{signed['measurement error', 'corrected']}. A change of the reliability alone moves it by "
        f"{signed['reliability change', 'estimated']} (corrected: {signed['reliability change', 'corrected']}). The "
        f"corrected interval of the shift covers {value('measurement error', 'corrected', 'shift', 'coverage'):.1%} "
        f"in *measurement error*."
    )
    return found.say(
        "**Act on it:** if the publisher states a reliability, the correction repairs what random error does. It cannot "
        "repair a prior test that became easier or harder, and nothing else in the records can. Ask the testing authority "
        "before the shift is published."
    )


def sizes_figure(run: MonteCarlo, sizes: Sequence[str], level: float) -> Findings:
    """Coverage by numbers and sizes of schools."""
    return Findings().figure(
        "fig_size",
        figures.coverage(
            figures.measured(
                run, "coverage", ["va", "shift"], {k: k for k in sizes}, SMALL, {"va": "Schools", "shift": "System"}
            ),
            level=level,
        ),
    )


def _reml_is_nearer(run: MonteCarlo) -> bool:
    """Whether the SD between few schools has less bias by REML than by ML, beyond Monte Carlo error."""
    bias = [[f("few schools", m, "tau", "bias") for f in (run.get, run.mcse)] for m in ("REML", "estimated")]
    return nearer(*map(tuple, bias), 0.0) == -1


def sizes(run: MonteCarlo, sizes: Sequence[str], level: float) -> Findings:
    """Numbers and sizes of schools, as a table and in words."""
    value = run.get
    pairs = [(s, k) for s in sizes for k in ("estimated", "REML")]
    table = simulated(
        run,
        {f"{SMALL[k]}, *{s}*": (s, k) for s, k in pairs},
        {
            "Bias of SD between schools": ("tau", "bias", "+.2f"),
            "Coverage, schools": ("va", "coverage", ".3f"),
            "Coverage, shift": ("shift", "coverage", ".3f"),
            "Rank correlation": ("va", "spearman", ".3f"),
            "In a wrong fifth": ("va", "misclassified", ".3f"),
        },
    )
    found = Findings().table(
        table.rename_axis("Method, world"),
        "Numbers and sizes of schools (Monte Carlo standard errors in brackets).",
        "tab-10-size",
        raw=True,
    )
    told = {(s, e): told_coverage(run, s, "estimated", e, level) for s in sizes for e in ("va", "shift")}
    wrong = {s: f"{value(s, 'estimated', 'va', 'misclassified'):.0%}" for s in sizes}
    found.say(
        f"Full ML intervals cover, for schools and for the shift, {told['small schools', 'va']} and "
        f"{told['small schools', 'shift']} with small schools, {told['unbalanced schools', 'va']} and "
        f"{told['unbalanced schools', 'shift']} with unbalanced ones, {told['few schools', 'va']} and "
        f"{told['few schools', 'shift']} with few. The order of schools suffers first: {wrong['plain']} of schools "
        f"are placed in a wrong fifth in the plain world, {wrong['small schools']} where schools are small."
    )
    return found.say(
        "**Act on it:** do not publish fifths or ranks of small schools. With some fifteen schools "
        + ("use REML, whose SD between schools is nearer to the truth, and " if _reml_is_nearer(run) else "")
        + "look at the coverage above before a shift is called significant."
    )


def correlations_figure(run: MonteCarlo) -> Findings:
    """Bias of six ways to correlate school effects two years apart."""
    marks = figures.measured(run, "bias", ["rho"], LASTS, WAYS)
    found = Findings().figure(
        "fig_rho",
        figures.bias(
            marks.rename(columns={"label": "series", "series": "label"}),
            unit="",
            label="Bias of the correlation two years apart",
        ),
    )
    return found.record("rho_true", scenario("serial").effect_correlation, ".2f")


def correlations(run: MonteCarlo) -> Findings:
    """The six ways, as a table and in words."""
    value, error = run.get, run.mcse
    table = simulated(
        run,
        {f"{v}, *{s}*": (s, k) for s in LASTS for k, v in WAYS.items()},
        {
            "Mean": ("rho", "mean", ".3f"),
            "Bias": ("rho", "bias", "+.3f"),
            "Empirical SE": ("rho", "emp_se", ".3f"),
            "Coverage": ("rho", "coverage", ".3f"),
        },
    )
    found = Findings().table(
        table.rename_axis("Way, world"),
        "Correlations over two years; the truth is {glue:text}`rho_true` (Monte Carlo standard errors in brackets).",
        "tab-10-rho",
        raw=True,
    )
    b = {(s, k): (value(s, k, "rho", "bias"), error(s, k, "rho", "bias")) for s in LASTS for k in WAYS}
    near = [v for k, v in WAYS.items() if all(abs(b[s, k][0]) <= 1.96 * b[s, k][1] for s in LASTS)]
    best = [min(WAYS, key=lambda k, s=s: abs(b[s, k][0])) for s in LASTS]
    found.say(
        f"Correlating EB predictions is off by {as_text(b['serial', 'eb'][0], '+.3f')}, and by "
        f"{as_text(b['small and lasting', 'eb'][0], '+.3f')} where schools are small; reflating them gives "
        f"{as_text(b['serial', 'reflated'][0], '+.3f')} and {as_text(b['small and lasting', 'reflated'][0], '+.3f')}; "
        f"the joint model {as_text(b['serial', 'joint_model'][0], '+.3f')} and "
        f"{as_text(b['small and lasting', 'joint_model'][0], '+.3f')}. Within Monte Carlo error of zero in both "
        f"worlds: {in_words([f'*{x}*' for x in near])}. Nearest to the truth on average: *{WAYS[best[0]]}* with "
        f"schools of usual size, *{WAYS[best[1]]}* with small ones."
    )
    return found.say(
        "**Act on it:** report the correlation of the joint model with its interval. A correlation of predictions "
        "depends on the sizes of schools as well as on the stability of their effects, and its interval is about "
        "another number."
    )


def shapes_figure(run: MonteCarlo, level: float) -> Findings:
    """Coverage where students or schools are not as the model says."""
    one = {"estimated": "full, analytic"}
    return Findings().figure(
        "fig_tails",
        figures.coverage(
            figures.measured(
                run,
                "coverage",
                ["va", "shift"],
                dict(zip(SHAPES, SHAPES, strict=True)),
                one,
                {"va": "Schools", "shift": "System"},
            ),
            level=level,
        ),
    )


def shapes_table(run: MonteCarlo) -> Findings:
    """Coverage, widths and errors where students or schools are not as the model says."""
    table = simulated(
        run,
        {s: (s, "estimated") for s in SHAPES},
        {
            "Coverage, schools": ("va", "coverage", ".3f"),
            "Width, schools": ("va", "width", ".1f"),
            "Coverage, shift": ("shift", "coverage", ".3f"),
            "Bias of shift": ("shift", "bias", "+.2f"),
            "RMSE, schools": ("va", "rmse", ".2f"),
            "Rank correlation": ("va", "spearman", ".3f"),
        },
    )
    return Findings().table(
        table.rename_axis("World"),
        "Students and schools that are not as the model says, full analytic intervals (Monte Carlo standard errors "
        "in brackets).",
        "tab-10-tails",
        raw=True,
    )


def shapes(run: MonteCarlo, level: float) -> Findings:
    """The same in words, with the largest distance from the nominal level."""
    told = {(s, e): run.judge(s, "estimated", e, level) for s in SHAPES for e in ("va", "shift")}
    far = max(abs(verdict.coverage - level) for verdict in told.values())
    clear = max(verdict.by for verdict in told.values())
    found = Findings().say(
        f"Full intervals cover, for schools and for the shift, {told['heavy tails', 'va']} and "
        f"{told['heavy tails', 'shift']} with heavy tails, {told['heteroscedastic', 'va']} and "
        f"{told['heteroscedastic', 'shift']} with unequal spreads. The largest distance from the nominal level is "
        f"{100 * far:.1f} percentage points. This is an average over schools. A school whose "
        "students are spread more widely than the model's $\\sigma$ has less coverage than that, and another school has more."
    )
    return found.say(
        "**Act on it:** "
        + (
            "departures of this size need no other model for the intervals at large; "
            if clear <= 0.02
            else "departures of this size show in the intervals; give a bootstrap of schools beside them, and "
        )
        + "before a single outlying school is named, look at its students' residuals."
    )


def missing_figure(run: MonteCarlo) -> Findings:
    """Bias of the shift where students are missing."""
    return Findings().figure(
        "fig_missing",
        figures.bias(
            figures.measured(run, "bias", ["shift"], dict(zip(GONE, GONE, strict=True)), {"estimated": "estimated"}),
            label="Bias of the shift",
        ),
    )


def missing(run: MonteCarlo) -> Findings:
    """The same, as a table and in words."""
    value, error = run.get, run.mcse
    table = simulated(
        run,
        {k: (k, "estimated") for k in GONE},
        {
            "Bias of shift": ("shift", "bias", "+.2f"),
            "Coverage, shift": ("shift", "coverage", ".3f"),
            "Coverage, schools": ("va", "coverage", ".3f"),
            "Bias of SD between schools": ("tau", "bias", "+.2f"),
            "Rank correlation": ("va", "spearman", ".3f"),
            "Gradient": ("gradient", "mean", "+.3f"),
        },
    )
    found = Findings().table(
        table.rename_axis("World"),
        "Missing students, recipe *estimated* (score points; Monte Carlo standard errors in brackets).",
        "tab-10-missing",
        raw=True,
    )
    b = {s: (value(s, "estimated", "shift", "bias"), error(s, "estimated", "shift", "bias")) for s in GONE}
    told = {
        s: as_text(x, "+.2f") + " points" + direction(x, "", "", " (within Monte Carlo error of zero)", 1.96 * se)
        for s, (x, se) in b.items()
    }
    found.say(
        f"The bias of the shift is {told['missing by chance']} if a tenth is missing by chance, "
        f"{told['missing students']} if those who do worse than expected are missing more often, and "
        f"{told['missing always']} if that was so in the baseline too."
    )
    return found.say(
        "**Act on it:** before you read a shift, compare the share of students without a score between baseline and focal "
        "cohorts. A steady loss cancels as far as it is the same loss, and a new one looks like progress or decline."
    )
