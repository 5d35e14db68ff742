"""Formulas that try to run code, to leave the machine without memory or time, or to confuse the reader of a formula.

Each is refused in one sentence before anything in it is evaluated; useful formulas give the numbers formulaic gives.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from formulaic import Formula

from valib.effects.artefact import checksum
from valib.effects.baseline import Benchmark, fit_baseline
from valib.errors import BenchmarkError, ModelError, ParamsError
from valib.study.params import load
from valib.sums.design import build_design, required_columns

N = 120
SENTINEL = "made-by-a-formula"
CODE = [  # each writes the sentinel file if it is evaluated
    "__import__('os').system('touch SENTINEL')",
    "__import__('pathlib').Path('SENTINEL').touch()",
    "open('SENTINEL', 'w').write('x')",
    "open('SENTINEL', 'w')",
    'exec(\'open("SENTINEL", "w")\')',
    'eval(\'open("SENTINEL", "w")\')',
    "compile('open(\"SENTINEL\", \"w\")', '', 'exec')",
    "(lambda: open('SENTINEL', 'w'))()",
    "[open('SENTINEL', 'w') for i in (1,)]",
    "{open('SENTINEL', 'w') for i in (1,)}",
    "sum(1 for i in [open('SENTINEL', 'w')])",
    "(f := open('SENTINEL', 'w'))",
    "getattr(np, 'save')('SENTINEL', prior_score)",
    "getattr(__builtins__, 'open')('SENTINEL', 'w')",
    "np.save('SENTINEL', prior_score)",
    "np.savetxt('SENTINEL', prior_score)",
    "np.load('SENTINEL', allow_pickle=True)",
    "np.fromfile('SENTINEL')",
    "np.memmap('SENTINEL', mode='w+', shape=9)",
    "np.lib.format.open_memmap('SENTINEL', mode='w+', shape=(9,))",
    "np.DataSource('SENTINEL').open('x', 'w')",
    "np.f2py.os.system('touch SENTINEL')",
    "np.__builtins__['open']('SENTINEL', 'w')",
    "np.log.__class__.__mro__[1].__subclasses__()",
    "np.log.__self__",
    "np.core.os.system('touch SENTINEL')",
    "np.vectorize(open)('SENTINEL', 'w')",
    "np.apply_along_axis(open, 0, 'SENTINEL')",
    "prior_score.to_csv('SENTINEL')",
    "prior_score.to_pickle('SENTINEL')",
    "prior_score.map(open)",
    "prior_score.apply('to_csv')",
    "prior_score.__class__.__init__.__globals__['os'].system('touch SENTINEL')",
    "prior_score.eval('x')",
    "'{0.__class__}'.format(prior_score)",
    "'{0.__init__.__globals__}'.format(C)",
    "str.format('{0.__class__}', prior_score)",
    'f\'{open("SENTINEL", "w")}\'',
    "I(open('SENTINEL', 'w'))",
    "I(prior_score, open('SENTINEL', 'w'))",
    "I(prior_score if open('SENTINEL', 'w') else 1)",
    "I(prior_score and open('SENTINEL', 'w'))",
    "C(region, open('SENTINEL', 'w'))",
    "C(region, contr.treatment(open('SENTINEL', 'w')))",
    "C(region, contr.custom(open('SENTINEL', 'w')))",
    "C(region, levels=[open('SENTINEL', 'w')])",
    "C(region, levels=[*open('SENTINEL', 'w')])",
    "C(open('SENTINEL', 'w'))",
    "poly(prior_score, degree=open('SENTINEL', 'w'))",
    "bs(prior_score, knots=open('SENTINEL', 'w'))",
    "bs(prior_score, **{'df': open('SENTINEL', 'w')})",
    "bs(*[open('SENTINEL', 'w')])",
    "scale(prior_score, open('SENTINEL', 'w'))",
    "center(open('SENTINEL', 'w'))",
    "school_mean(open('SENTINEL', 'w'))",
    "school_mean.__globals__['warnings']",
    "Q(open('SENTINEL', 'w'))",
    "Q('a\") + open(\\'SENTINEL\\', \\'w\\') #')",
    "Q('a\") + __import__(\\'os\\').system(\\'touch SENTINEL\\') #')",
    "bs(prior_score, extrapolation='a\") + open(1) #')",
    "hashed(open('SENTINEL', 'w'), levels=3)",
    "lag(open('SENTINEL', 'w'))",
    'stateful_eval(\'open("SENTINEL", "w")\')',
    "open('SENTINEL', 'w').write(prior_score)",
    "prior_score[open('SENTINEL', 'w')]",
    "np['save']('SENTINEL')",
    "`prior_score`.to_csv('SENTINEL')",
    "I(`lambda` x: open('SENTINEL', 'w'))",
    "I(`x') + open('SENTINEL', 'w') + ('`)",
    "I(`x\" + open('SENTINEL', 'w') + \"`)",
    "ｏｐｅｎ('SENTINEL', 'w')",
    'ｅｖａｌ(\'open("SENTINEL", "w")\')',
    "np.ｓａｖｅ('SENTINEL', prior_score)",
    "__ｉｍｐｏｒｔ__('os').system('touch SENTINEL')",
    "оpen('SENTINEL', 'w')",
    "globals()",
    "locals()['np'].save('SENTINEL', 1)",
    "__FORMULAIC_STATE__.clear()",
    "I(__FORMULAIC_CONTEXT__)",
    "I(__builtins__)",
    "print(prior_score)",
    "input()",
    "exit()",
    "breakpoint()",
]
BOMBS = [
    "prior_score ** 1000000000",
    "I(prior_score ** 1000000000)",
    "I(9 ** 9 ** 9 ** 9)",
    "I((((10 ** 10) ** 10) ** 10) ** 10)",
    "I(1 << 1000000000)",
    "I('x' * 10000000000)",
    "I([0] * 10000000000)",
    "I(region * 1000000000)",
    "poly(prior_score, 1000000000)",
    "poly(prior_score, degree=1000000000)",
    "poly(prior_score, 10 ** 9)",
    "bs(prior_score, df=1000000000)",
    "bs(prior_score, degree=1000000)",
    "cr(prior_score, df=1000000000)",
    "np.zeros(10 ** 12)",
    "np.arange(1e12)",
    "np.ones((100000, 100000))",
    "np.repeat(prior_score, 1000000000)",
    "hashed(region, levels=1000000000)",
    "(prior_score + female + ses + region) ** 1000000000",
    "(prior_score + female + ses + region) ** 30",
    "(a + b + c + d + e) ** 5",
    " * ".join(f"x{k}" for k in range(40)),
    ":".join(f"x{k}" for k in range(40)),
    "prior_score:female:ses:region:cohort:school",
    " + ".join(f"x{k}" for k in range(400)),
    "(" * 600 + "prior_score" + ")" * 600,
    "I(" * 300 + "prior_score" + ")" * 300,
    "I(" + "-" * 1900 + "prior_score)",
    "I(" + "not " * 400 + "prior_score)",
    "C(student)",
    "student",
    "C(student):C(region)",
    "%x%" * 500,
    "{" * 1000,
    "`" * 1001,
    "'" * 1001,
    "x" * 5000,
    "prior_score" + " " * 100_000,
]
BROKEN = [
    "+",
    "(",
    ")",
    "`prior_score",
    "'prior_score'",
    "{prior_score",
    "I(",
    "I()",
    "C()",
    "poly()",
    "Q()",
    "5",
    "prior_score | female",
    "prior_score ~ female",
    "[female ~ ses] + prior_score",
    ".",
    "prior_score + .",
    "np",
    "log",
    "C",
    "school_mean",
    "prior_score\x00",
    "prior_\u202escore",
    "prior_score\u200b",
    "\ufeffprior_score",
    "1 / 0",
    "I(1 / 0)",
    "I(region + 1)",
    "np.log(region)",
    "school_mean(region)",
    "center(region)",
    "C(C(region))",
    "C(region) + I(C(region))",
    "lag(prior_score)",
    "prior_score.values",
    "prior_score[0]",
    "I(prior_score, 2)",
    "C(prior_score * 2)",
    "np.log(prior_score, out=prior_score)",
    "scale(prior_score, with_mean=True)",
]
LEFT = [
    "open('SENTINEL', 'w') ~ prior_score",
    "Q(open('SENTINEL', 'w')) ~ prior_score",
    "(open('SENTINEL', 'w').write)('x') ~ prior_score",
    "np.save('SENTINEL', score) ~ prior_score",
    "score - open('SENTINEL', 'w') ~ prior_score",
    "(score - open('SENTINEL', 'w')) / 2 ~ prior_score",
    "score) - (prior_score ~ 1",
    "score) + open('SENTINEL', 'w') + (score ~ 1",
    "score - `x) or open('SENTINEL', 'w') or (y` ~ prior_score",
    "score - score.values ~ prior_score",
    "score + ~ prior_score",
    "{open('SENTINEL', 'w')} ~ prior_score",
]
HOSTILE = [
    *(f"score ~ prior_score + {code}" for code in CODE),
    *(f"score ~ {code}" for code in CODE[::7]),
    *(f"score ~ {{{code}}}" for code in CODE[3::5]),
    *(f"score ~ {text}" for text in [*BOMBS, *BROKEN]),
    *LEFT,
]

USEFUL = [
    "1",
    "prior_score",
    "prior_score + female",
    "prior_score * female",
    "prior_score:female",
    "0 + prior_score",
    "prior_score - 1",
    "(prior_score + female + ses) ** 2",
    "region",
    "C(female)",
    "C(female) * prior_score",
    "C(region, contr.treatment('west'))",
    "C(region, contr.sum)",
    "C(region, contr.helmert)",
    "C(region, Treatment('south'))",
    "C(region, levels=['south', 'north', 'west'])",
    "C(region):prior_score",
    "`the ses`",
    "center(`the ses`)",
    "I(prior_score ** 2)",
    "{prior_score ** 2 / 100}",
    "I(prior_score - 480)",
    "np.log(prior_score)",
    "log(prior_score)",
    "np.log1p(prior_score)",
    "np.sqrt(prior_score)",
    "np.exp(ses)",
    "np.abs(ses)",
    "np.maximum(prior_score - 500, 0)",
    "np.minimum(prior_score, 500)",
    "center(prior_score)",
    "scale(prior_score)",
    "standardize(prior_score)",
    "poly(prior_score, 3)",
    "poly(prior_score, degree=2, raw=True)",
    "bs(prior_score, df=5)",
    "bs(prior_score, knots=[450, 500], degree=2, extrapolation='clip')",
    "cr(prior_score, df=4)",
    "cc(prior_score, df=4)",
    "cs(prior_score, df=4, constraints='center')",
    "school_mean(prior_score)",
    "prior_score + school_mean(prior_score) + school_mean(female)",
    "center(school_mean(prior_score))",
    "I(prior_score - school_mean(prior_score))",
    "Q('the ses')",
    "C(Q('region'))",
    "I(prior_score > 500)",
    "C(prior_score > 500)",
    "I(-prior_score / 2 + 3 * ses)",
    "I(prior_score ** 0.5)",
    "poly(prior_score, 2):female + region",
    "Größe",
]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "student": [str(i) for i in range(20_000)],
            "school": rng.choice(list("DBAC"), 20_000),
            "cohort": 2015,
            "score": rng.normal(500, 60, 20_000),
            "prior_score": rng.uniform(300, 700, 20_000),
            "region": rng.choice(["north", "south", "west"], 20_000),
            "female": rng.integers(0, 2, 20_000),
            "ses": rng.normal(size=20_000),
            "the ses": rng.normal(size=20_000),
            "Größe": rng.normal(size=20_000),
        }
    )


def test_how_many_formulas_are_tried():
    assert len(set(HOSTILE)) == len(HOSTILE) == 204 and len(set(USEFUL)) == len(USEFUL) == 52


@pytest.mark.parametrize("formula", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_formula_is_refused_and_nothing_of_it_runs(formula, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    formula = formula.replace("SENTINEL", SENTINEL)
    with pytest.raises(ModelError) as caught:
        build_design(rows, formula)
    said = str(caught.value)
    assert len(said) < 1000 and "\n" not in said and said.endswith(".") and said.isprintable()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("right", USEFUL)
def test_a_useful_formula_gives_the_numbers_of_formulaic(right, rows):
    rows = rows.head(N)

    def school_mean(x):
        return pd.Series(np.asarray(x)).groupby(rows["school"].to_numpy()).transform("mean").to_numpy()

    made = build_design(rows, f"np.log(score) ~ {right}")
    by_hand = Formula(f"np.log(score) ~ {right}").get_model_matrix(
        rows, context={"school_mean": school_mean, "np": np}, output="numpy"
    )
    np.testing.assert_allclose(made.X, np.asarray(by_hand.rhs, dtype=float), rtol=1e-13, atol=1e-12)
    np.testing.assert_array_equal(made.y, np.log(rows["score"]))
    assert set(required_columns(f"score ~ {right}")) <= set(rows.columns)


def test_a_parameters_file_with_a_hostile_formula_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "study.yml"
    hostile = "score ~ prior_score + open('x', 'w')"
    for content in ({"formula": hostile}, {"further_formulas": [hostile]}):
        file.write_text(json.dumps(content))
        with pytest.raises(ParamsError, match=r"the function open\(\)"):
            load(file)
    assert [p.name for p in tmp_path.iterdir()] == ["study.yml"]


def _changed(content: dict, path: list, value) -> dict:
    """A saved benchmark with one part changed and the checksum made to fit, as one who means harm can."""
    content = json.loads(json.dumps(content))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    content["checksum"] = checksum({k: v for k, v in content.items() if k != "checksum"})
    return content


TAMPERED = [
    (["design", "formula"], "score ~ prior_score + open('SENTINEL', 'w')"),
    (["design", "formula"], "score ~ np.load('SENTINEL', allow_pickle=True)"),
    (["design", "formula"], 5),
    (["design", "formula"], None),
    (["design", "formula"], ["score ~ prior_score"]),
    (["design", "levels"], {"open('SENTINEL', 'w')": ["a"]}),
    (["design", "levels"], {"region": ["a"] * 100_000}),
    (["design", "levels"], {"region": {"a": 1}}),
    (["design", "levels"], {"region": [["a"]]}),
    (["design", "names"], [["a"], 3]),
    (["design", "names"], ["a"] * 100_000),
    (["design", "names"], "abc"),
    (["design", "transform_state"], {"items": [["x", {"array": ["a", "b"]}]]}),
    (["design", "transform_state"], {"items": [["x", {"array": [0.0] * 100_000}]]}),
    (["design", "transform_state"], {"items": [[["x"], 1]]}),
    (["design", "transform_state"], {"items": 3}),
    (["design", "transform_state"], {"items": [["x", [[[[[[[[1]]]]]]]]]]}),
    (["coefficients"], [1e400, 2.0]),
    (["coefficients"], ["a", "b"]),
    (["vcov"], [[-1.0, 0.0], [0.0, -1.0]]),
    (["tau2"], -1.0),
    (["sigma2"], 0.0),
    (["sigma2"], None),
    (["cohorts"], 7),
    (["cohorts"], ["x"]),
    (["summaries"], []),
    (["n_students"], -4),
    (["column_means"], [1.0]),
    (["error_variance"], 3),
    (["design"], []),
]


@pytest.mark.parametrize(("path", "value"), TAMPERED, ids=range(len(TAMPERED)))
def test_a_tampered_benchmark_is_refused(path, value, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = small.assign(region=np.where(np.arange(len(small)) % 3, "north", "south"))
    kept = fit_baseline(rows, [2015, 2016], "score ~ center(prior_score) + region").to_json()
    file = tmp_path / "b.json"
    file.write_text(json.dumps(kept))
    assert Benchmark.load(file).formula == "score ~ center(prior_score) + region"
    file.write_text(json.dumps(_changed(kept, path, value)))
    with pytest.raises(BenchmarkError, match="b.json"):
        Benchmark.load(file)
    assert [p.name for p in tmp_path.iterdir()] == ["b.json"] and len(TAMPERED) == 30


def test_a_deeply_nested_file_is_no_benchmark(tmp_path):
    (tmp_path / "b.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(BenchmarkError):
        Benchmark.load(tmp_path / "b.json")


def test_a_changed_state_that_fits_is_applied_as_numbers_only(small, tmp_path):
    """A state of the right form is numbers: what comes of it is a number or a refusal, and nothing else."""
    rows = small.assign(region=np.where(np.arange(len(small)) % 3, "north", "south"))
    kept = fit_baseline(rows, [2015, 2016], "score ~ bs(prior_score, df=4, extrapolation='extend')").to_json()
    key = kept["design"]["transform_state"]["items"][0][0]
    for state in (
        {"items": []},
        {"items": [["knots", [1e308, -1e308]]]},
        {"items": [["knots", "abc"]]},
        {"items": [["lower_bound", None]]},
        {"items": [["upper_bound", "x"]]},
    ):
        content = _changed(kept, ["design", "transform_state"], {"items": [[key, state]]})
        (tmp_path / "b.json").write_text(json.dumps(content))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                X = build_design(rows, Benchmark.load(tmp_path / "b.json").state).X
            except (BenchmarkError, ModelError):
                continue
        assert np.isfinite(X).all()
