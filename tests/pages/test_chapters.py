"""The rules that every chapter keeps: parameters as in params.yml, no outputs, short cells, no year typed in."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from valib.pages.build.staging import toc_files
from valib.records.datasets import bundle_root
from valib.study.params import Params

ROOT = bundle_root()
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
STUDY = yaml.safe_load((ROOT / "params.yml").read_text(encoding="utf-8"))
DERIVES_IN_VIEW = {"03_blup"}  # shows its computation in the chapter, so its cells may be longer
LONGEST_CELL = 15
WIDEST_LINE = 75  # characters of code that a page shows without scrolling in a window 1200 pixels wide
FAMILIAR = r"\{[\w:]+\}`[^`]*`|```\{bibliography\}.*?```|\]\([^)]*\)"  # roles and links: their keys may hold years
DEMO_YEARS = {str(year) for year in STUDY["baseline_cohorts"] + STUDY["focal_cohorts"]}


def cells(path: Path, kind: str) -> list[tuple[str, list[str]]]:
    """Source and tags of the cells of one kind."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [("".join(c["source"]), c["metadata"].get("tags", [])) for c in notebook["cells"] if c["cell_type"] == kind]


def parameters(path: Path) -> dict:
    """What the chapter's parameters cell assigns; nothing for a chapter that is not about the study's records."""
    sources = [text for text, tags in cells(path, "code") if "parameters" in tags]
    if not any("nb.setup(" in text for text, _ in other_code(path)):
        assert not sources
        return {}
    (source,) = sources
    assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    assert len(assigned) == len(ast.parse(source).body), "the parameters cell holds assignments only"
    return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned}


def other_code(path: Path) -> list[tuple[str, list[str]]]:
    return [(text, tags) for text, tags in cells(path, "code") if "parameters" not in tags]


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request) -> Path:
    return request.param


def test_there_are_chapters_and_the_table_of_contents_lists_them_all():
    listed = set(toc_files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))
    there = {f"chapters/{path.stem}" for path in (ROOT / "chapters").glob("*.*") if path.suffix in (".ipynb", ".md")}
    assert len(CHAPTERS) >= 4
    assert listed == there


def test_a_chapter_is_committed_without_outputs_and_runs_anywhere(chapter):
    notebook = json.loads(chapter.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert notebook["metadata"]["language_info"]["name"] == "python"  # papermill asks for it
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


def test_the_parameters_are_those_of_params_yml(chapter):
    declared = parameters(chapter)
    assert declared == {name: STUDY[name] for name in declared}


def test_params_yml_is_the_default_study():
    assert Params(**STUDY) == Params()


def test_a_chapter_uses_what_it_declares_and_declares_what_it_uses(chapter):
    nodes = [node for text, _ in other_code(chapter) for node in ast.walk(ast.parse(text))]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    own = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    used = {node.id for node in names} - own
    used |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value).endswith("study.params")}
    declared = set(parameters(chapter))
    assert used & set(Params.model_fields) <= declared
    assert declared <= used or "globals" in used  # the appendix on the build names all parameters at once


def test_what_setup_gets_is_what_is_declared(chapter):
    calls = [
        node
        for text, _ in other_code(chapter)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "nb.setup"
    ]
    if not calls:
        assert not parameters(chapter)
        return
    (call,) = calls
    assert call.args[0].value == chapter.stem
    names = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if None not in names:  # appendix_build passes everything at once
        assert names == {name: name for name in parameters(chapter)}


def test_cells_are_short_and_define_no_function(chapter):
    for text, _ in other_code(chapter):
        assert chapter.stem in DERIVES_IN_VIEW or len(text.splitlines()) <= LONGEST_CELL, text
        functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
        assert chapter.stem in DERIVES_IN_VIEW or not functions, text


def test_what_a_chapter_asks_of_the_library_is_there(chapter):
    """Every name that a chapter imports from valib, and every attribute it takes from a module of valib, exists."""
    tree = ast.parse("\n".join(text for text, _ in cells(chapter, "code")))
    known, asked = {}, 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {a.asname: importlib.import_module(a.name) for a in node.names if a.name.split(".")[0] == "valib"}
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "valib":
            for alias in node.names:
                source = importlib.import_module(node.module)
                known[alias.asname or alias.name] = (
                    getattr(source, alias.name)
                    if hasattr(source, alias.name)
                    else importlib.import_module(f"{node.module}.{alias.name}")
                )
    for node in ast.walk(tree):
        chain, root = [], node
        while isinstance(root, ast.Attribute):
            chain, root = [root.attr, *chain], root.value
        if isinstance(root, ast.Name) and chain and isinstance(known.get(root.id), ModuleType):
            thing = known[root.id]
            for name in chain:
                if isinstance(thing, ModuleType):
                    assert hasattr(thing, name), f"{root.id}.{'.'.join(chain)}"
                    thing, asked = getattr(thing, name), asked + 1
    assert asked


@pytest.mark.parametrize("page", sorted((ROOT / "chapters").glob("*.*")), ids=lambda path: path.stem)
def test_code_that_readers_see_fits_the_page(page):
    hidden, notebook = {"remove-cell", "remove-input"}, page.suffix == ".ipynb"
    seen = [text for text, tags in cells(page, "code") if not hidden & set(tags)] if notebook else []
    for prose in [t for t, _ in cells(page, "markdown")] if notebook else [page.read_text(encoding="utf-8")]:
        seen += re.findall(r"```(?:python|r|stata|bash)\n(.*?)```", prose, re.DOTALL)
    assert [line for text in seen for line in text.splitlines() if len(line) > WIDEST_LINE] == []


def test_a_figure_appears_once(chapter):
    """nb.figure shows the figure in the notebook; on the page it comes from the directive with number and caption."""
    for text, tags in other_code(chapter):
        if "nb.figure(" in text:
            assert {"remove-cell", "remove-output"} & set(tags), text


def test_every_figure_has_a_number_and_words_for_who_cannot_see_it(chapter):
    for text, _ in cells(chapter, "markdown"):
        for block in re.findall(r"^`{3,}\{glue:figure\}.*?^`{3,}", text, re.MULTILINE | re.DOTALL):
            assert re.search(r"^:name: fig-\S+$", block, re.MULTILINE), block
            assert re.search(r"^:alt: \S.{20,}", block, re.MULTILINE), block


@pytest.mark.parametrize("page", sorted((ROOT / "chapters").glob("[i0-9]*")), ids=lambda path: path.stem)
def test_no_year_of_the_demo_study_stands_in_prose(page):
    """Prose must stay true of any records: years come from the parameters."""
    texts = [page.read_text(encoding="utf-8")] if page.suffix == ".md" else [t for t, _ in cells(page, "markdown")]
    for text in texts:
        plain = re.sub(FAMILIAR, "", text, flags=re.DOTALL)
        assert not DEMO_YEARS & set(re.findall(r"\b\d{4}\b", plain)), plain


def test_the_account_of_a_copy_knows_every_parameter():
    assert set(parameters(ROOT / "chapters" / "appendix_build.ipynb")) == set(Params.model_fields)
