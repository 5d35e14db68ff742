"""The working copy of the book's sources: this study's title, and its parameters in the cells that declare them."""

from __future__ import annotations

import ast
import html
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import nbformat
import numpy as np
import pandas as pd
import yaml

from ...errors import BookError
from ...names import readable
from ...records.reading import CANONICAL
from ...records.school_names import SCHOOL_NAME
from ...records.sources.content import ODD
from ...records.told import published
from ...sums.design import required_columns

if TYPE_CHECKING:
    from ...study.params import Params

FONTS = tuple(f"DejaVuSansMono{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique"))
NEED_BASELINE = (
    "03_blup",
    "04_benchmark",
    "06_shift",
    "09_quantiles",
    "10_simulation",
    "11_practice",
    "12_advice",
    "appendix_teaching",
    "schools",
)
WIDTH = 72  # a value longer than this in the parameters cell is put on several lines


@dataclass(frozen=True, slots=True)
class Staged:
    """A staged book: its folder (a copy of the sources) and the notebooks of _toc.yml in order, relative, no suffix."""

    folder: Path
    notebooks: tuple[PurePosixPath, ...]


def stage(params: Params, sources: Path, work: Path) -> Staged:
    """Copy the sources of the book into ``work/book``, with the study's title and parameters put in.

    Raises BookError if _toc.yml lists a file that is not there.
    """
    from .titlepage import titlepage

    folder = work / "book"
    folder.mkdir()
    for name in ("_config.yml", "_toc.yml", "references.bib"):
        shutil.copyfile(sources / name, folder / name)
    shutil.copytree(sources / "chapters", folder / "chapters", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    notebooks = []
    for name in toc_files(yaml.safe_load((folder / "_toc.yml").read_text(encoding="utf-8"))):
        if (folder / f"{name}.ipynb").is_file():
            notebooks.append(PurePosixPath(name))
        elif not (folder / f"{name}.md").is_file():
            raise BookError(f"_toc.yml lists {name}, but there is neither {name}.ipynb nor {name}.md")
    for name in notebooks:
        put_parameters(folder / f"{name}.ipynb", demo_instead(params) if stands_in(name.name, params) else params)
    if not params.baseline_cohorts:
        _tell_stand_ins(folder / "chapters" / "intro.md", params)
    _configure(folder / "_config.yml", params.title)
    (folder / "titlepage.tex").write_text(titlepage(params), encoding="utf-8")
    _copy_fonts(folder)
    return Staged(folder, tuple(notebooks))


def stands_in(chapter: str, params: Params) -> bool:
    """Whether a chapter is about the demo panel, since it needs a baseline and the study has none."""
    return not params.baseline_cohorts and chapter in NEED_BASELINE


def demo_instead(params: Params) -> Params:
    """The demo study, with what the study in force says of the computations and not of its records."""
    kept = (
        "level",
        "min_students",
        "min_linked_share",
        "fdr",
        "seed",
        "quantiles",
        "quantile_draws",
        "bootstrap_replicates",
        "simulation_replicates",
    )
    return type(params)(**{name: getattr(params, name) for name in kept})


def _tell_stand_ins(path: Path, params: Params) -> None:
    """Say at the head of the introduction which chapters are about the demo panel."""
    cohorts = ", ".join(map(str, params.focal_cohorts))
    note = (
        f"\n:::{{important}}\nThis copy is about records of cohort{'s' * (len(params.focal_cohorts) > 1)} {cohorts}, and no "
        "baseline was named. What needs a baseline is therefore shown for the simulated demo panel that comes with the "
        "library; each such chapter says so at its head, and the picture and the numbers of these chapters that this page "
        "shows, cohorts among them, are the demo panel's and not of these records.\n:::\n"
    )
    head, _, rest = path.read_text(encoding="utf-8").partition("\n")
    while not head.rstrip().splitlines()[-1].startswith("# "):
        more, _, rest = rest.partition("\n")
        head += "\n" + more
    path.write_text(f"{head}\n{note}{rest}", encoding="utf-8")


def prepare_records(params: Params, work: Path, records: pd.DataFrame | None = None) -> Path:
    """Write the study's records as its notebooks may have them to ``work/records.parquet``; return that file.

    records: as ``params.read_records()`` gives them, which reads them if they are left out. Student codes become
    running numbers: equal ones stay equal, and their order is drawn (from the study's seed). Columns that the study
    does not name, a student's name perhaps, stay behind. What the records carry along (attrs) comes with them.
    The file is readable by its owner alone; ``work`` should be too.
    """
    records = params.read_records() if records is None else records
    terms = [f"score ~ {' + '.join(part)}" for part in (params.random, params.similar) if part]
    formulas = (params.formula, *params.further_formulas, *terms)
    named = {name for formula in formulas for name in required_columns(formula)} | {params.groups, *params.subgroups}
    kept = records[[name for name in records.columns if name in (*CANONICAL, SCHOOL_NAME) or name in named]].copy()
    code, found = pd.factorize(kept["student"])
    numbers = np.random.default_rng(params.seed).permutation(len(found)) + 1
    kept["student"] = pd.Series(numbers[code], kept.index).astype("str")
    odd = {name: said for name, said in records.attrs.get(ODD, {}).items() if name in kept}
    kept.attrs = {**records.attrs, ODD: odd}  # of other columns not even the name
    for name in ("where", "prior"):  # an expression may name a student, and the linkage tells of small schools
        kept.attrs.pop(name, None)
    kept.attrs |= published(records.attrs, params.min_students)
    path = work / "records.parquet"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        kept.to_parquet(file, index=False)
    return path


def toc_files(toc: Any) -> Iterator[str]:
    """Give the files that a table of contents lists, in order."""
    if isinstance(toc, dict):
        for key, value in toc.items():
            if key in ("root", "file"):
                yield value
            else:
                yield from toc_files(value)
    elif isinstance(toc, list):
        for entry in toc:
            yield from toc_files(entry)


def _configure(path: Path, title: str) -> None:
    """Put the study's title into the configuration."""
    from .titlepage import LONGEST_TITLE, tex

    title = readable(title, LONGEST_TITLE)
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["title"] = title
    config["sphinx"]["config"]["html_theme_options"]["logo"] = {"text": html.escape(title)}  # the theme does not escape
    config.setdefault("latex", {}).setdefault("latex_documents", {})["title"] = tex(title)
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")


def _copy_fonts(folder: Path) -> None:
    """Put the PDF's typewriter font beside the sources: matplotlib carries it, so nothing need be installed for it."""
    package = Path(importlib.util.find_spec("matplotlib").origin).parent  # importing it would look for its settings
    fonts = package / "mpl-data" / "fonts" / "ttf"
    for font in FONTS:
        shutil.copyfile(fonts / font, folder / font)


def put_parameters(path: Path, params: Params) -> None:
    """Write the study's values over the defaults in a notebook's parameters cell.

    Only what the cell declares is put in, so that a chapter never gets a name it does not use, and the page shows the
    values in force; but for a study's reliability, of which a chapter that leaves it out is to tell. Data and key are given
    by their file's name alone: the kernel reads the prepared records.
    """
    notebook = nbformat.read(path, as_version=4)
    values = params.model_dump()
    values |= {"data": params.data_name, "table": params.table_name}
    values |= {
        "where": None,
        "prior": None,
    }  # the prepared records have what they give; an expression may name a student
    values["pseudonym_key"] = params.pseudonym_key and Path(params.pseudonym_key).name
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", []):
            cell.source = with_values(cell.source, values)
            if params.reliability and "reliability" not in map(_assigned, ast.parse(cell.source).body):
                cell.source += f"\nreliability = {as_source(params.reliability)}  # left out here, and setup says so"
    nbformat.write(notebook, path)


def with_values(source: str, values: dict[str, Any]) -> str:
    """Return Python source with the values of its top-level assignments replaced; comments keep their column.

    An assignment whose literal equals the value, or whose name has no value, is left as it stands.
    """
    lines = source.encode().splitlines(keepends=True)  # ast counts columns in UTF-8 bytes
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    text = source.encode()
    for node in reversed(ast.parse(source).body):
        name = _assigned(node)
        if name not in values or _literal(node.value) == (values[name],):
            continue
        start = starts[node.value.lineno - 1] + node.value.col_offset
        end = starts[node.value.end_lineno - 1] + node.value.end_col_offset
        text = _replaced(text, start, end, as_source(values[name]).encode())
    return text.decode()


def _replaced(text: bytes, start: int, end: int, new: bytes) -> bytes:
    """Replace a part of the text; blanks before a comment on the line make up for what the line grew or shrank."""
    rest = text[end:]
    blanks = len(rest) - len(rest.lstrip(b" "))
    if rest[blanks:].startswith(b"#") and b"\n" not in text[start:end] + new:
        wanted = blanks + len(text[start:end].decode()) - len(new.decode())
        rest = b" " * max(wanted, 2) + rest[blanks:]
    return text[:start] + new + rest


def _assigned(node: ast.stmt) -> str | None:
    """Return the name that a statement assigns to, or None if it is no plain assignment."""
    target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
    target = node.target if isinstance(node, ast.AnnAssign) and node.value else target
    return target.id if isinstance(target, ast.Name) else None


def _literal(node: ast.expr) -> tuple[Any, ...]:
    """Return the value of a literal in a tuple, or an empty tuple if it is none."""
    try:
        return (ast.literal_eval(node),)
    except ValueError:
        return ()


def as_source(value: Any) -> str:
    """Return Python source of a parameter's value: texts in double quotes, what is long one entry a line."""
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in quoted)
    if not isinstance(value, (dict, list)):
        return repr(value)
    if isinstance(value, dict):
        items = [f"{as_source(key)}: {as_source(item)}" for key, item in value.items()]
    else:
        items = [as_source(item) for item in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    short = first + ", ".join(items) + last
    if len(short) <= WIDTH:
        return short
    return "\n    ".join([first, *(item.replace("\n", "\n    ") + "," for item in items)]) + f"\n{last}"
