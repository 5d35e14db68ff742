"""The same in R and Stata: one home of the code, in the tabs of the chapters and in the appendix; the R gives the library's
numbers."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

import valib as va

CHAPTERS = ROOT / "chapters"
TOPICS = {"relative": "02_relative", "blup": "03_blup", "benchmark": "04_benchmark", "joint": "05_stability"}
BASELINE, FOCAL = (2015, 2016, 2017), 2021
WIDEST = 75  # as in the code that pages show


@functools.cache
def has_packages() -> bool:
    if not shutil.which("Rscript"):
        return False
    ask = "q(status = !all(sapply(c('lme4', 'nlme'), requireNamespace, quietly = TRUE)))"
    return subprocess.run(["Rscript", "-e", ask], capture_output=True).returncode == 0


RUN = r"""
args <- commandArgs(TRUE)
all <- read.csv(args[1], colClasses = c(school = "character"))
baseline <- c(2015, 2016, 2017); focal_cohort <- 2021
say <- function(name, x, at = names(x)) {
  cat(sprintf("%s,%s,%.15g\n", name, if (is.null(at)) seq_along(x) else at, as.numeric(x)), sep = "")
}
sink(stderr())
d <- all; source(file.path(args[2], "relative.R")); source(file.path(args[2], "blup.R"))
answer <- u; source(file.path(args[2], "benchmark.R"))
d <- subset(all, cohort %in% baseline); source(file.path(args[2], "joint.R"))
sink()
say("coefficients", fixef(rel), c("Intercept", "prior_score"))
say("variances", as.data.frame(VarCorr(rel))$vcov)
say("relative", ranef(rel)$school[[1]], rownames(ranef(rel)$school))
say("answer", answer)
say("question", ranef(q)$school[[1]], rownames(ranef(q)$school))
say("shift", fixef(s), "all")
say("benchmark", va, rownames(ranef(s)$school))
say("omega", omega[lower.tri(omega, TRUE)])
"""


@pytest.fixture(scope="module")
def from_r(panel, tmp_path_factory) -> dict[str, pd.Series]:
    folder = tmp_path_factory.mktemp("r")
    panel.dropna(subset=["score", "prior_score"]).to_csv(folder / "d.csv", index=False)
    (folder / "run.R").write_text(RUN, encoding="utf-8")
    order = ["Rscript", str(folder / "run.R"), str(folder / "d.csv"), str(CHAPTERS / "r")]
    done = subprocess.run(order, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = pd.DataFrame([line.split(",") for line in done.stdout.splitlines()], columns=["what", "at", "value"])
    rows["value"] = rows["value"].astype(float)
    return {what: part.set_index("at")["value"] for what, part in rows.groupby("what")}


@pytest.mark.skipif(not has_packages(), reason="needs R with lme4 and nlme")
@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_the_r_gives_the_numbers_of_the_library(panel, from_r):
    """lmer and lme stop at about 1e-4 of a variance (tests/reference/README.md), so variances are compared to 1e-3 of
    themselves and effects, whose SD is about 12 points, to 0.01 point."""
    formula = "score ~ prior_score"
    relative = va.fit_relative(panel, FOCAL, formula, "ML", intervals="plugin")
    for name, b in from_r["coefficients"].items():
        np.testing.assert_allclose(b, relative.fixed_effects[name], rtol=1e-4)
    np.testing.assert_allclose(from_r["variances"], [relative.tau2, relative.sigma2], rtol=1e-3)
    ols = va.fit_baseline(panel, BASELINE, formula, estimator="ols")
    lasting = va.fit_baseline(panel, BASELINE, formula, groups="school")
    default = va.fit_benchmark(panel, FOCAL, va.fit_baseline(panel, BASELINE, formula))
    ours = {
        "relative": relative,
        "question": va.fit_benchmark(panel, FOCAL, ols, shift="absorbed", variances="focal"),
        "answer": va.fit_benchmark(panel, FOCAL, lasting, shift="absorbed", variances="baseline"),
        "benchmark": default,
    }
    for name, fit in ours.items():
        effects = fit.school_effects["effect"]
        assert set(from_r[name].index) == set(effects.index)
        np.testing.assert_allclose(from_r[name].reindex(effects.index), effects, atol=0.01, err_msg=name)
    np.testing.assert_allclose(from_r["shift"]["all"], default.shift, atol=0.01)
    joint = va.fit_joint(panel, list(BASELINE), formula)
    omega = np.asarray(joint.omega)
    np.testing.assert_allclose(from_r["omega"], omega[np.triu_indices(3)], rtol=5e-3)


@pytest.mark.parametrize("topic", TOPICS)
def test_each_piece_of_code_has_one_home_and_stands_in_the_appendix_and_beside_the_python(topic):
    appendix = (CHAPTERS / "appendix_r_stata.md").read_text(encoding="utf-8")
    chapter = (CHAPTERS / f"{TOPICS[topic]}.ipynb").read_text(encoding="utf-8")
    for file in (f"r/{topic}.R", f"stata/{topic}.do"):
        lines = (CHAPTERS / file).read_text(encoding="utf-8").splitlines()
        assert lines and max(map(len, lines)) <= WIDEST
        for page in (appendix, chapter):
            assert page.count("{literalinclude} " + file) == 1
    assert not re.search(r"^```(?:r|stata)$", appendix, re.MULTILINE)
