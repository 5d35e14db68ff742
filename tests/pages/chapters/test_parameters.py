"""A parameter means the same from a params file, the command line, papermill's -p, -y, -f and -r, and an edited cell.

Every parameter, every way, in every chapter: what papermill puts into the notebook runs there, and the chapter's own
call of `setup` reads it.
"""

from __future__ import annotations

import ast
import copy
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import papermill.cli
import pytest
import typer
import typer.testing
import yaml
from click.testing import CliRunner
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

import valib as va
from valib.command import cli
from valib.errors import ParamsError
from valib.pages import notebook
from valib.study.params import Params, load

ROOT = Path(__file__).parents[3]
CHAPTERS = sorted(p for p in (ROOT / "chapters").glob("*.ipynb") if "nb.setup(" in p.read_text(encoding="utf-8"))
LINK = {"slope": 1.02, "intercept": -9.5, "slope_se": 0.01, "intercept_se": 5.2, "covariance": -0.05}
VALUES = {  # parameter: how it may be spelt on a command line, each with the same meaning as the value in YAML
    "title": ("Schools: a 'study'", ["Schools: a 'study'"]),
    "data": ("my.csv", ["my.csv"]),
    "table": ("Sheet 1", ["Sheet 1"]),
    "columns": ({"school": "SchoolCode"}, ["{school: SchoolCode}", '{"school": "SchoolCode"}']),
    "reshape": (
        {"cohort": [2021, 2023], "columns": {"score": "read_{cohort}"}},
        ["{cohort: [2021, 2023], columns: {score: 'read_{cohort}'}}"],
    ),
    "year_zero": (2002.5, ["2002.5"]),
    "where": ("subject == 'reading' and grade == 5", ["subject == 'reading' and grade == 5"]),
    "prior": (
        {"years_before": 1, "column": "score", "match": ["subject"]},
        ["years_before=1,column=score,match=subject", "{years_before: 1, column: score, match: [subject]}"],
    ),
    "baseline_cohorts": ([2016, 2017], ["[2016, 2017]", "2016,2017"]),
    "focal_cohorts": ([2024], ["[2024]", "2024"]),
    "formula": ("score ~ prior_score + C(female)", ["score ~ prior_score + C(female)"]),
    "further_formulas": (["score ~ female"], ["score ~ female", "['score ~ female']"]),
    "estimator": ("ols", ["ols"]),
    "shift": ("absorbed", ["absorbed"]),
    "variances": ("baseline", ["baseline"]),
    "method": ("REML", ["REML"]),
    "level": (0.9, ["0.9", "9e-1"]),
    "intervals": ("plugin", ["plugin"]),
    "equating_se": (2.0, ["2", "2.0"]),
    "cohort_sd": (1.5, ["1.5"]),
    "scale_breaks": (
        [{"cohort": 2023, "column": "score", "link": LINK}],
        [f"[{{cohort: 2023, column: score, link: {LINK}}}]", str([{"cohort": 2023, "column": "score", "link": LINK}])],
    ),
    "min_students": (7, ["7"]),
    "school": ("0531 a", ["0531 a"]),
    "pseudonym_key": ("keys/key", ["keys/key"]),
    "seed": (12, ["12"]),
    "excel": (True, ["True", "true"]),
    "figures": (False, ["False", "false"]),
    "decimal": (",", [","]),
    "byte_order_mark": (True, ["True"]),
    "groups": ("district", ["district"]),
    "group_weights": ("students", ["students"]),
    "min_schools": (4, ["4"]),
    "similar": (["ses", "female"], ["ses,female", "[ses, female]"]),
    "neighbours": (8, ["8"]),
    "cap": (2.5, ["2.5"]),
    "quantiles": ([0.5], ["0.5", "[0.5]"]),
    "quantile_draws": (700, ["700"]),
    "bootstrap_replicates": (50, ["50"]),
    "min_linked_share": (0.25, ["0.25", ".25"]),
    "fdr": (0.05, ["0.05"]),
    "random": (["prior_score"], ["prior_score", "[prior_score]"]),
    "residual": ("by_school", ["by_school"]),
    "subgroups": (["female", "ses_high"], ["[female, ses_high]", "female,ses_high"]),
    "reliability": ({"prior_score": 0.9}, ["{prior_score: 0.9}", "prior_score=0.9"]),
    "simulation_replicates": (20, ["20"]),
}
NONE = [name for name in VALUES if type(None) in getattr(Params.model_fields[name].annotation, "__args__", ())]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@cache
def by_papermill(*options: str) -> dict:
    """The parameters that papermill's own command line passes on; a file that it reads has the same name and content."""
    passed: list[dict] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papermill.cli, "execute_notebook", lambda **given: passed.append(given["parameters"]))
        done = CliRunner().invoke(papermill.cli.papermill, ["in.ipynb", "out.ipynb", *options])
    assert done.exit_code == 0, done.output
    return passed[0]


@cache
def loaded(path: Path):
    """A chapter up to the cell that sets up its study."""
    book = load_notebook_node(str(path))
    end = next(k for k, cell in enumerate(book.cells) if cell.cell_type == "code" and "nb.setup(" in cell.source)
    book.cells = [cell for cell in book.cells[: end + 1] if cell.cell_type == "code"]
    return book


def in_chapter(path: Path, parameters: dict | None = None, edit: dict | None = None) -> Params:
    """The study that a chapter sets up, after papermill's injection or an edit of its parameters cell."""
    book = copy.deepcopy(loaded(path))
    cell = next(c for c in book.cells if "parameters" in c.metadata.get("tags", []))
    for name, value in (edit or {}).items():
        cell.source += f"\n{name} = {value!r}"
    book = parameterize_notebook(book, parameters) if parameters is not None else book
    names: dict = {"nb": SimpleNamespace(setup=None), "Params": Params, "names": list(Params.model_fields)}
    found: list[Params] = []
    names["nb"].setup = lambda chapter, **values: found.append(notebook.given_study(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns=names))
        for cell in book.cells:
            tags = cell.metadata.get("tags", [])
            if "parameters" in tags or "injected-parameters" in tags:
                exec(compile(cell.source, path.name, "exec"), names)  # noqa: S102
            elif call := re.search(r"^study = (nb\.setup\(.*?\))$", cell.source, re.MULTILINE | re.DOTALL):
                exec(compile(ast.parse(call[1]), path.name, "exec"), names)  # noqa: S102
                return found[0]
    raise AssertionError(f"{path.name} sets up no study")


def from_file(folder: Path, **values: object) -> Params:
    (folder / "study.yml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return load(folder / "study.yml")


def test_every_parameter_is_tried():
    assert set(VALUES) == set(Params.model_fields)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_parameter_means_the_same_however_a_chapter_gets_it(here, path):
    counts = dict.fromkeys(("-p", "-r", "-y", "-f", "cell"), 0)
    for name, (value, spelt) in VALUES.items():
        meant = getattr(from_file(here, **{name: value}), name)
        Path(f"{name}.yml").write_text(yaml.safe_dump({name: value}), encoding="utf-8")
        ways = [(option, by_papermill(option, name, text)) for text in spelt for option in ("-p", "-r")]
        ways += [("-y", by_papermill("-y", yaml.safe_dump({name: value}))), ("-f", by_papermill("-f", f"{name}.yml"))]
        for way, passed in ways:
            assert getattr(in_chapter(path, passed), name) == meant, (name, way, passed)
            counts[way] += 1
        for edit in (value, *spelt):
            assert getattr(in_chapter(path, edit={name: edit}), name) == meant, (name, edit)
            counts["cell"] += 1
    assert counts["-y"] == counts["-f"] == len(VALUES) >= 27
    assert counts["-p"] == counts["-r"] == sum(len(spelt) for _, spelt in VALUES.values()) >= 35


@pytest.mark.parametrize("name", NONE)
def test_none_is_none_however_it_is_given_and_not_what_the_library_came_with(here, name):
    assert getattr(from_file(here, **{name: None}), name) is None
    path = ROOT / "chapters" / "04_benchmark.ipynb"
    for passed in (by_papermill("-p", name, "None"), by_papermill("-y", f"{{{name}: null}}")):
        assert getattr(in_chapter(path, passed), name) is None


def test_a_whole_params_file_goes_into_every_chapter(here):
    """A study's own file by -f: `where`, `table` and the key count in chapters whose cells do not name them, too."""
    study = {name: value for name, (value, _) in VALUES.items()}
    meant = from_file(here, **study)
    for path in CHAPTERS:
        assert in_chapter(path, by_papermill("-f", "study.yml")) == meant, path.stem


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("school", "0531", "school is 531, expected text"),
        ("level", "2", "level is 2"),
        ("focal_cohorts", "[2024", "focal_cohorts[0] is '[2024', expected a whole number"),
        ("focal_cohorts", "2024.5", "focal_cohorts"),
        ("min_students", "None", "min_students is empty, expected a whole number"),
        ("data", "5", "data is 5, expected text"),
        ("method", "reml", "method is 'reml'"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_named(here, name, text, said):
    with pytest.raises(ParamsError) as caught:
        in_chapter(ROOT / "chapters" / "04_benchmark.ipynb", by_papermill("-p", name, text))
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


COMMANDS = {name: part.params for name, part in typer.main.get_command(cli.app).commands.items()}
SPELT = {name: (name, spelt) for name, (_, spelt) in VALUES.items()}
SPELT["columns"] = ("column", ["school=SchoolCode"])
SPELT["pseudonym_key"] = ("pseudonyms", ["keys/key"])


def given(option, name: str, text: str) -> tuple[str, ...]:
    """An option with its value, or the flag that stands for it."""
    if not option.is_flag:
        return option.opts[0], text
    return ((option.opts if VALUES[name][0] else option.secondary_opts)[0],)


OPTIONS = [
    (command, name, *given(option, name, text))
    for command, options in COMMANDS.items()
    for option in options
    for name, (called, spelt) in SPELT.items()
    if option.name == called and option.opts[0].startswith("--") and command not in ("key", "init")
    # the schools that a page is asked of; the error of the prior score in a world that is simulated
    if (command, called) not in {("report", "school"), ("simulate", "reliability")}
    for text in spelt
]


def test_an_option_means_what_the_params_file_means(here, monkeypatch):
    """Every option of every command that has a parameter's name, through the command's own parser."""
    found: list[Params] = []

    def caught(*given, **values):
        found.append(load(*given, **values))
        raise ParamsError("Caught.")

    monkeypatch.setattr("valib.study.params.load", caught)
    assert len({name for _, name, *_ in OPTIONS}) >= 15 and len({command for command, *_ in OPTIONS}) >= 5
    for command, name, *words in OPTIONS:
        model = "quantile" if name in ("quantiles", "quantile_draws") else "relative"
        more = ["--model", model] if command == "fit" else []
        more += ["--all"] if command == "report" else []
        more += ["--out", "o"] if any(p.name == "out" for p in COMMANDS[command]) else []
        done = typer.testing.CliRunner().invoke(cli.app, [command, *words, *more])
        assert done.exit_code == 2 and "Caught." in done.stderr, (command, words, done.output)
        assert getattr(found.pop(), name) == getattr(from_file(here, **{name: VALUES[name][0]}), name), (command, name)


def test_anothers_data_have_none_of_the_demos_cohorts(here, monkeypatch):
    """-p data my.csv alone: the cell's cohorts are the demo's, and the records' own take their place."""
    demo = va.load_records("demo")
    demo[demo["cohort"].isin([2019, 2021])].assign(cohort=lambda f: f["cohort"] + 10).to_csv("my.csv", index=False)
    found = notebook.setup(
        "x", data="my.csv", baseline_cohorts=[2015, 2016, 2017], focal_cohorts=[2019, 2021, 2023, 2024]
    )
    assert (found.baseline, found.focal) == ([], [2029, 2031])
    own = notebook.setup("x", data="my.csv", baseline_cohorts=[2029], focal_cohorts=[2019, 2021, 2023, 2024])
    assert (own.baseline, own.focal) == ([2029], [2031])
