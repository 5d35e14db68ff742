"""A kept benchmark that is damaged although its checksum fits: what agrees with nothing else in it is refused."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import valib as va
from valib.command import cli
from valib.effects.artefact import checksum
from valib.effects.baseline import Benchmark, fit_baseline
from valib.errors import BenchmarkError
from valib.records.reading import read_records

pytestmark = pytest.mark.usefixtures("no_pictures")

CHANGES = {
    "sign": lambda v: -v,
    "zero": lambda v: 0,
    "tenfold": lambda v: 10 * v,
    "a tenth": lambda v: v / 10 if isinstance(v, float) else v // 10,
}
OTHER = {"blank": None, "text": "x", "list": []}
# What no other entry tells: numbers of their own, within wide bounds, and counts that only weigh.
PLAUSIBLE = {
    "vcov": {"tenfold"},
    "vcov_model": {"tenfold"},
    "tau2": {"a tenth"},
    "sigma2": {"a tenth"},
    "n_schools": {"tenfold", "a tenth"},
    "summaries": {"tenfold"},
    "own_shifts": {"sign", "zero", "tenfold", "a tenth"},
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> dict[str, Any]:
    """The demo's benchmark as `valib baseline` publishes it."""
    path = tmp_path_factory.mktemp("kept") / "kept.json"
    fit_baseline(va.load_records("demo"), [2015, 2016, 2017]).save(path)
    return json.loads(path.read_text(encoding="utf-8"))


def leaves(content: Any, at: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    if isinstance(content, (dict, list)):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from leaves(value, (*at, key))
    else:
        yield at, content


def changed(content: dict[str, Any], at: tuple, value: Any) -> dict[str, Any]:
    """The content with another value in one place, and a checksum that fits."""
    new = copy.deepcopy({k: v for k, v in content.items() if k != "checksum"})
    part: Any = new
    for key in at[:-1]:
        part = part[key]
    part[at[-1]] = value
    return new | {"checksum": checksum(new)}


def test_every_entry_changed_in_every_way_is_refused_or_plausible(kept, tmp_path):
    counts, accepted = Counter(), set()
    for at, value in leaves({k: v for k, v in kept.items() if k not in ("checksum", "format")}):
        ways = {**OTHER, **({k: change(value) for k, change in CHANGES.items()} if type(value) in (int, float) else {})}
        for way, new in ways.items():
            if new == value and type(new) is type(value):
                continue
            path = tmp_path / "changed.json"
            path.write_text(json.dumps(changed(kept, at, new)), encoding="utf-8")
            try:
                Benchmark.load(path)
            except BenchmarkError as error:
                assert str(error).startswith(f"The benchmark '{path}' ") and "\n" not in str(error)
                counts["refused"] += 1
            else:
                counts["accepted"] += 1
                accepted.add((at[0], way))
    assert accepted <= {(entry, way) for entry, ways in PLAUSIBLE.items() for way in ways}
    # before the entries were held against each other, 100 of these 343 were accepted
    assert sum(counts.values()) == 343 and counts["accepted"] == 56, counts


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (("tau2",), -274.0, "negative"),
        (("tau2",), 274_000.0, "variances"),
        (("sigma2",), 193_000.0, "variances"),
        (("vcov_model",), [[4.08, 0.5], [0.5, 1.9e-5]], "positive semidefinite"),
        (("vcov_model",), [[4.08, -0.00811], [-0.0081, -1.9e-5]], "negative"),
        (("vcov_model",), [[4.08e-3, -8.11e-6], [-8.11e-6, 1.9e-8]], "errors of the coefficients"),
        (("own_shifts", "2015", "se"), None, "without its error"),
        (("own_shifts", "2015", "shift"), 9000.0, "beyond the spread"),
        (("own_shifts",), {"2015": {}}, "without '2016'"),
        (("summaries", "columns", "score", "mean"), 900.0, "do not agree with those of its cohorts"),
        (("summaries", "score_by_cohort", "2016", "mean"), 5014.0, "do not agree with those of its cohorts"),
        (("summaries", "columns", "prior_score", "n"), 7, "counts of students"),
        (("summaries", "columns", "prior_score", "mean"), 43.03, "is not that of the summaries"),
        (("column_means", 1), 43.0, "mean of"),
        (("design", "names", 1), "x", "names of its columns"),
        (("design", "formula"), "score ~ C(prior_score)", "benchmark"),
    ],
)
def test_the_command_says_one_sentence_and_ends_with_2(kept, tmp_path, monkeypatch, at, value, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept.json").write_text(json.dumps(changed(kept, at, value)), encoding="utf-8")
    asked = ["fit", "demo", "--model", "benchmark", "--benchmark", "kept.json", "--cohorts", "2024", "--out", "o"]
    done = CliRunner().invoke(cli.app, asked)
    assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("Error: The benchmark 'kept.json' ") and not (tmp_path / "o").exists()


FORMULAS = (
    "score ~ 1",
    "score - prior_score ~ 1",
    "log(score) ~ prior_score",
    "score ~ bs(prior_score, df=4)",
    "score ~ scale(prior_score) + C(g):x",
    "score ~ prior_score + I(prior_score**2) + school_mean(prior_score)",
    "score ~ center(prior_score) + C(g) + x",
)


@pytest.mark.parametrize("formula", FORMULAS)
def test_what_a_fit_has_written_is_never_refused(tmp_path, formula):
    """Few students and many, lone scores, unequal cohorts and schools, covariates that lack rows, every estimator."""
    tried = Counter()
    for seed in range(6):
        rng = np.random.default_rng([11, seed])
        n, schools = int(rng.choice([25, 60, 400])), int(rng.choice([4, 20]))
        prior, school = rng.normal(500, rng.choice([5, 60]), n), np.minimum(rng.geometric(0.3, n), schools)
        frame = pd.DataFrame(
            {
                "student": np.arange(n).astype(str),
                "school": school.astype(str),
                "cohort": 2000 + np.minimum(rng.geometric(0.6, n), 3) * (np.arange(n) > 0),
                "score": 400 + 0.5 * prior + rng.normal(0, 30, schools + 1)[school] + rng.normal(0, 20, n),
                "prior_score": prior,
                "g": rng.integers(0, 3, n),
                "x": rng.normal(0, 1, n),
            }
        )
        frame.loc[rng.random(n) < 0.1, "prior_score"] = np.nan
        records = read_records(frame)
        estimator, groups = ("mixed", "ols", "within")[seed % 3], ("school", "school_cohort")[seed % 2]
        try:
            found = fit_baseline(records, sorted(set(records["cohort"])), formula, estimator=estimator, groups=groups)
        except va.ValibError:
            tried["no fit"] += 1
            continue
        for exact in (True, False):
            loaded = Benchmark.load(found.save(tmp_path / "kept.json", exact=exact))
            np.testing.assert_allclose(loaded.coefficients, found.coefficients, rtol=0.5 * (not exact), atol=0.5)
        tried["kept"] += 1
    assert tried["kept"] >= 2, tried
