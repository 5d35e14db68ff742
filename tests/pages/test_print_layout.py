"""What makes the PDF fit to be printed: columns no wider than the page; what stands out or refers to nothing is refused."""

from __future__ import annotations

import os
import re
import shutil
from types import SimpleNamespace

import pytest
from docutils import nodes

from valib.errors import BookError
from valib.pages.build.children import Children
from valib.pages.build.latex import log_faults, make_pdf
from valib.pages.build.letters import appendices, letter
from valib.pages.build.print_layout import SENTENCE, lines, long_columns

LOG = r"""
Overfull \hbox (172.50797pt too wide) in alignment at lines 21197--21212
Overfull \hbox (172.50797pt too wide) in alignment at lines 21197--21212
Overfull \hbox (4.99pt too wide) in paragraph at lines 3--4
Overfull \vbox (12.0pt too high) has occurred while \output is active []
Underfull \hbox (badness 10000) in paragraph at lines 5--6
LaTeX Warning: Hyper reference `chapters/references::doc' on page 4 undefined on input line 377.
LaTeX Warning: Reference `ex:one' on page 7 undefined on input line 8.
LaTeX Font Warning: Font shape `TU/a/b/n' undefined
"""


def table(*rows: tuple[str, ...]) -> nodes.table:
    body = nodes.tbody(
        "", *(nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in row)) for row in rows)
    )
    return nodes.table("", nodes.tgroup("", body, cols=len(rows[0])))


def widths(spec: str) -> list[float]:
    return [float(width) for width in re.findall(r"\\[YZ]\{([\d.]+)\}", spec)]


def test_what_a_reader_would_see_is_a_fault():
    assert log_faults(LOG) == [
        "a line is 172.50797 points too wide (in alignment at lines 21197--21212)",
        r"a page is 12.0 points too high (has occurred while \output is active [])",
        "hyper reference chapters/references::doc on page 4 is undefined",
        "reference ex:one on page 7 is undefined",
    ]


@pytest.mark.skipif(not shutil.which("latexmk"), reason="needs LaTeX")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (r"\noindent\rule{\dimexpr\linewidth+6pt}{1pt}", "a line is 6.0 points too wide"),
        (r"See \ref{nowhere}.", "reference nowhere on page 1 is undefined"),
        (r"\noindent\rule{\dimexpr\linewidth+4pt}{1pt}", None),
    ],
)
def test_a_pdf_with_a_fault_is_refused(tmp_path, body, words):
    text = r"\documentclass{article}\pagestyle{empty}\begin{document}" + body + r"\end{document}"
    (tmp_path / "valib.tex").write_text(text)
    with Children() as children:
        if words is None:
            assert make_pdf(tmp_path, children, os.environ).is_file()
        else:
            with pytest.raises(BookError, match=words):
                make_pdf(tmp_path, children, os.environ)
            if words.endswith("wide"):  # a user's own name that cannot be broken costs no PDF
                assert make_pdf(tmp_path, children, os.environ, strict=False).is_file()


def test_a_long_table_fits_the_line():
    """The word that cannot be broken gets its width, the sentence what is left; a table with little in it stays narrow."""
    spec = long_columns(table(("a_long_name_of_a_column_x", "word " * 60, "points"), ("b", "c", "d")), [False] * 3)
    first, second, third = widths(spec)
    assert first + second + third <= 1.0001 and second > 0.5 and first > 25 * 1.15 / 92 and third < 0.15
    assert sum(widths(long_columns(table(("a", "b"), ("c", "d")), [False, False]))) < 0.2


def test_numbers_of_a_long_table_stand_flush_right():
    spec = long_columns(table(("0012", "−1.25"), ("0013", "10.5")), [False, True])
    assert re.fullmatch(r"\\Y\{0\.\d+\}\\Z\{0\.\d+\}", spec)
    spread = ("SD between schools", *["0.803 (0.001)"] * 6)  # heads break, and so do entries where the line is full
    assert sum(widths(long_columns(table(spread, spread), [False] + [True] * 6))) <= 1.0001


def test_the_list_of_figures_has_first_sentences():
    assert SENTENCE.split("Effects of 2019. The line is zero.")[0] == "Effects of 2019."
    assert SENTENCE.split("Rank 1 to 2.5 of vs. all, e.g. these.") == ["Rank 1 to 2.5 of vs. all, e.g. these."]


def test_appendices_are_lettered(tmp_path):
    """The first number of what they hold becomes a letter; what has no number keeps none; chapters keep theirs."""
    methods = "- caption: Methods\n  chapters: [{file: one}]\n"
    toc = f"root: intro\nparts:\n{methods}- caption: Appendices\n  chapters: [{{file: a}}, {{file: b}}]\n"
    (tmp_path / "_toc.yml").write_text(toc)
    assert appendices(tmp_path) == ["a", "b"]
    env = SimpleNamespace(
        toc_secnumbers={"one": {"": (1,)}, "a": {"": (2,), "#s": (2, 1), "#t": None}, "b": {"": (3,)}},
        tocs={name: nodes.bullet_list("", nodes.reference(secnumber=[2, 1]), nodes.reference()) for name in "ab"},
        titles={name: nodes.title(secnumber=[2]) for name in "ab"},
    )
    letter(env, ["a", "b"])
    assert env.toc_secnumbers == {"one": {"": (1,)}, "a": {"": ("A",), "#s": ("A", 1), "#t": None}, "b": {"": ("B",)}}
    assert env.titles["b"]["secnumber"] == ["B"] and env.tocs["a"][0]["secnumber"] == ["A", 1]
    assert "secnumber" not in env.tocs["a"][1]


def test_the_lines_of_a_table_are_those_of_its_fullest_cells():
    assert lines(table(("a", "b"), ("c", "d"), ("e", "f")), 2) == 3
    full = table(("a" * 10, "b" * 10), ("c" * 10, "d" * 300))  # 10 characters, and 83.2 of 300
    assert lines(full, 2) == 1 + 4
    assert lines(table(*[("0.852 (0.000)",) * 8] * 3), 8) == 6  # which has 86 / 8 characters to a column
