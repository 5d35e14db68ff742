"""The lecturer's page: the wrong report and its mending on records whose answers are known."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from conftest import ROOT, simulate
from scipy import stats

import valib as va
from valib.pages.chapters import teaching
from valib.pages.slides import PLAN, read_plan

COHORTS, LAST = (2031, 2032, 2033, 2036), 2036
PAGE = json.loads((ROOT / "chapters" / "appendix_teaching.ipynb").read_text(encoding="utf-8"))
TEXT = "\n".join("".join(cell["source"]) for cell in PAGE["cells"] if cell["cell_type"] == "markdown")


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(8)
    records = va.read_records(simulate(rng, 60, (15, 40), COHORTS, rho=0.8, shift={LAST: 20.0}))
    benchmark = va.fit_baseline(records, COHORTS[:3])
    fit, relative = va.fit_benchmark(records, LAST, benchmark), va.fit_relative(records, LAST)
    higher = teaching.raised(records, fit)
    moved = va.fit_benchmark(higher, LAST, benchmark)
    context = va.shift_in_context([fit], benchmark)
    return records, fit, relative, moved, context


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_the_wrong_report_says_what_its_numbers_are(found):
    """Each value by hand from the tables of the fits; the naive error is SD/sqrt(J)."""
    records, fit, relative, moved, context = found
    ranks = relative.ranks(1)
    values = teaching.wrong_report(relative, fit, moved, ranks, context, 5).values
    effects, own = fit.school_effects, relative.school_effects
    naive = effects["effect"].std() / np.sqrt(60)
    assert float(values["se_naive"]) == pytest.approx(naive, rel=0.05)
    assert naive != pytest.approx(fit.shift_se, rel=0.1)  # it knows nothing of the benchmark and of who made it
    assert values["schools"] == "60" and int(values["below"]) == (own["effect"] < 0).sum()
    assert int(values["off"]) == (effects["lower"] > 0).sum() + (effects["upper"] < 0).sum()
    assert int(values["off_relative"]) == (own["side"] != "not told apart").sum() < int(values["off"])
    best = own["effect"].idxmax()
    low, high = ranks.loc[best, ["rank_lower", "rank_upper"]]
    assert values["best"] == best and values["best_ranks"] == f"{low:.0f} to {high:.0f}" and values["ranked"] == "60"
    assert values["verdict"] == "lies above zero"
    assert float(values["correlation"]) == pytest.approx(own["effect"].corr(effects["effect"]), abs=5e-4)


def test_raising_every_score_moves_the_shift_and_no_correlation(found):
    records, fit, relative, moved, context = found
    assert moved.shift - fit.shift == pytest.approx(fit.student_sd, abs=1e-6)
    one, other = (x.school_effects["effect"].corr(relative.school_effects["effect"]) for x in (fit, moved))
    assert one == pytest.approx(other, abs=1e-9)
    earlier = records[records["cohort"] != LAST]
    np.testing.assert_array_equal(earlier["score"], teaching.raised(records, fit).loc[earlier.index, "score"])


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_what_is_known_stands_in_the_table_and_the_sentence(found):
    _, fit, _, _, context = found
    facts = teaching.known(fit, context, 0.95).tables["tab-teaching-known"].set_index("What")["Here"]
    z = stats.t.ppf(0.975, fit.shift_df)
    low, high = fit.shift - z * fit.shift_se, fit.shift + z * fit.shift_se
    assert facts["95% interval over schools"] == f"{low:+.1f} to {high:+.1f}".replace("-", "\N{MINUS SIGN}")
    assert facts["Standard error of equating"] == "not known" and facts["Baseline cohorts"] == "2031, 2032, 2033"
    sentence = teaching.names(fit, context, 0.95).values["sentence"]
    assert sentence.startswith("Students of cohort 2036 scored ") and "points more than" in sentence
    single = va.fit_baseline(found[0], [2031])
    against = va.fit_benchmark(found[0], LAST, single)
    told = (
        teaching.known(against, va.shift_in_context([against], single), 0.95)
        .tables["tab-teaching-known"]
        .set_index("What")["Here"]
    )
    assert told["95% interval of a further ordinary year"] == "not known from one baseline cohort"


def test_the_slides_show_commands_of_the_page_alone():
    """Those of the page are run by tests/command/test_readme.py."""
    typed = set(re.findall(r"^(valib .*)$", "\n".join(re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)), re.MULTILINE))
    plan = read_plan(ROOT / "chapters" / PLAN)
    live = {line for session in plan for slide in session.slides for line in slide.live.splitlines()}
    assert live and live <= typed


def test_no_number_of_a_study_is_typed_into_the_page():
    """Digits stand in code, labels, options of exercises, and the numbers of sessions, ranks of lists and pages alone."""
    plain = re.sub(
        r"```bash.*?```|\{[\w:-]+\}`[^`]*`|`[^`]*`|^:.*?$|<a .*?</a>", "", TEXT, flags=re.DOTALL | re.MULTILINE
    )
    plain = re.sub(r"^## Session \d:|^\d\. |\{(?:exercise|solution)\}.*$", "", plain, flags=re.MULTILINE)
    assert re.findall(r"\d+", plain) == []
