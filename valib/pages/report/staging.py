"""The sources of the report as Jupyter Book takes them: the book's configuration and style, a notebook a school."""

from __future__ import annotations

import hashlib
import html
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import yaml

from ...names import readable
from ..build.staging import FONTS, with_values
from ..build.titlepage import LONGEST_TITLE
from ..prose import escape
from .page import shown_name
from .results import SHOWN, StudyResults

LONGEST = 40  # letters of the readable part
DIGITS = 12  # of the digest, where there is one
# The empty name, those that Windows keeps for itself, and what looks like a name with a digest.
UNUSABLE = re.compile(rf"|con|prn|aux|nul|com\d|lpt\d|(.*-)?[0-9a-f]{{{DIGITS}}}")


def slugs(schools: Iterable[str]) -> dict[str, str]:
    """Return a file name without ending for each school: lower-case letters a-z, digits and hyphens only.

    A name that would lose more than case, or be that of two schools, gets a part of the code's SHA-256 behind it; so
    names stay apart also where a file system does not tell upper from lower case.
    """
    schools = list(dict.fromkeys(schools))
    plain = {school: plain_name(school) for school in schools}
    count = Counter(plain.values())
    names = {}
    for school, name in plain.items():
        if name != school.lower() or count[name] > 1 or UNUSABLE.fullmatch(name):
            digest = hashlib.sha256(school.encode("utf-8", "surrogatepass")).hexdigest()
            name = f"{name}-{digest[:DIGITS]}".lstrip("-")
        names[school] = name
    return names


def plain_name(school: str) -> str:
    """The letters and digits of a code, marks of accents taken off, the rest as single hyphens."""
    letters = unicodedata.normalize("NFKD", school).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:LONGEST].strip("-")


PAGES = "schools"  # the folder of the schools' pages
LATEX = {
    "papersize": "a4paper",
    "pointsize": "10pt",
    "fncychap": "",
    "preamble": r"\input{preamble.tex}",
    "maketitle": r"\reporttitle",
    "tableofcontents": "",
    "printindex": "",
    "figure_align": "H",
    "extraclassoptions": "oneside",
}


def stage(results: StudyResults, files: Mapping[str, str], sources: Path, folder: Path, pdf: bool) -> None:
    """Make the folder with the sources of a report.

    files: the file name of every school that gets a page. sources: the folder that holds _config.yml and chapters/.
    """
    folder.mkdir()
    (folder / PAGES).mkdir()
    report = sources / "chapters" / "_report"
    shutil.copytree(sources / "chapters" / "_static", folder / "_static")
    for name, where in (("report.css", folder / "_static"), ("preamble.tex", folder)):
        shutil.copyfile(report / name, where / name)
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for font in FONTS:
        shutil.copyfile(fonts / font, folder / font)
    title = readable(results.study["title"], LONGEST_TITLE)
    _write_yaml(folder / "_config.yml", _config(sources, title))
    chapters = [{"file": f"{PAGES}/{name}"} for name in files.values()]
    _write_yaml(folder / "_toc.yml", {"format": "jb-book", "root": "index", "chapters": chapters})
    template = nbformat.read(report / "school.ipynb", as_version=4)
    for school, name in files.items():
        nbformat.write(school_notebook(template, school, results.study.get("names")), folder / PAGES / f"{name}.ipynb")
    (folder / "index.md").write_text(_index(results, files, pdf), encoding="utf-8")


def school_notebook(template: Any, school: str, names: Mapping[str, str] | None = None) -> Any:
    """The notebook of one school: its name in the title and in the cell of parameters."""
    notebook = nbformat.from_dict(template)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "title" in tags:
            cell.source = f"# Value added: {escape(shown_name(school, names))}"
        if "parameters" in tags:
            cell.source = with_values(cell.source, {"school": school})
    return notebook


def _config(sources: Path, title: str) -> dict[str, Any]:
    """The book's configuration with what is different here: no bibliography, no list of schools beside a page."""
    config = yaml.safe_load((sources / "_config.yml").read_text(encoding="utf-8"))
    for name in ("bibtex_bibfiles", "html", "latex"):
        config.pop(name, None)
    config |= {"title": title, "author": "", "latex": {"latex_engine": "xelatex", "use_jupyterbook_latex": False}}
    sphinx = config["sphinx"]
    sphinx["extra_extensions"] = ["valib.pages.report.sphinx_extension"]
    own = sphinx["config"]
    for name in [n for n in own if n.startswith(("bibtex_", "mathjax", "autodoc_", "napoleon_"))]:
        del own[name]
    options = {
        "logo": {"text": html.escape(title)},
        "search_bar_text": "Search the reports",
        "show_prev_next": False,
        "use_download_button": False,
        "use_fullscreen_button": False,
        "navbar_persistent": [],
        "article_header_start": [],
        "show_toc_level": 1,
        "footer_content_items": [],
    }
    own |= {
        "html_theme_options": options,
        "html_sidebars": {"**": []},
        "numfig_secnum_depth": 0,
        "html_static_path": ["_static"],
        "html_css_files": ["book.css", "report.css"],
        "latex_elements": LATEX,
        "html_copy_source": False,
        "latex_additional_files": [
            "preamble.tex",
            *(name for name in own["latex_additional_files"] if name.endswith(".ttf")),
        ],
    }
    return config


def _index(results: StudyResults, files: Mapping[str, str], pdf: bool) -> str:
    """The first page: what the reports are, and the list of schools with their years."""
    cells = results.cells[results.cells["state"] == SHOWN]
    years = cells.groupby("school")["cohort"].agg(lambda c: ", ".join(str(v) for v in c))
    rows = []
    for school, name in sorted(files.items(), key=lambda item: (plain_name(item[0]), item[0])):
        text = html.escape(shown_name(school, results.study.get("names")))
        links = f'<td><a href="../pdf/{name}.pdf">PDF</a></td>' if pdf else ""
        rows.append(f'<tr><td><bdi><a href="{PAGES}/{name}.html">{text}</a></bdi></td><td>{years[school]}</td>{links}')
    head = "<th>School</th><th>Years with a figure</th>" + ("<th>To print</th>" if pdf else "")
    table = (
        f'<div class="schools-table" data-rows="schools"><table><thead><tr>{head}</tr></thead><tbody>'
        + "</tr>\n".join(rows)
        + "</tr></tbody></table></div>"
    )
    study = results.study
    return "\n".join(
        [
            "# Value added of single schools",
            "",
            f"**Study:** {escape(study['title'])}. **Made on** {study['day']}.",
            "",
            "Each page is about one school and names no other. It tells how the progress of the school's students compares "
            "with that of students elsewhere who had the same earlier scores, how sure that is, and what it cannot say.",
            "",
            "```{raw} html",
            table,
            "```",
            "",
            "A school has no figure for a year in which it had too few students, and no page if it has no figure at all.",
            "",
        ]
    )


def _write_yaml(path: Path, content: Any) -> None:
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
