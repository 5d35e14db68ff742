"""Names as they are shown: one line, nothing that disturbs a page, nothing that MyST takes for markup."""

from __future__ import annotations

import ast
import unicodedata

import pytest
from hostile_names import COLUMNS, FILE, LEVELS, SCHOOLS, TITLE
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from valib.names import BLANK, LONGEST, readable
from valib.pages import notebook as nb
from valib.pages.build.staging import as_source, with_values
from valib.pages.build.titlepage import tex
from valib.pages.figures import safe_name

EVERY = [*SCHOOLS, *LEVELS, *COLUMNS.values(), FILE, TITLE, "\ud800", "", " ", "\x00", "\U000e0041tag", "\uffff"]


def test_how_many_names_are_tried():
    assert len(EVERY) == 148 and len(set(EVERY)) == 147  # one is a school and a level


def disturbs(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in "\u200c\u200d\u0600")


@pytest.mark.parametrize("name", EVERY, ids=range(len(EVERY)))
def test_a_name_is_one_line_without_what_disturbs_a_page(name):
    shown = readable(name)
    assert shown and shown == shown.strip() and not any(map(disturbs, shown)) and shown.encode("utf-8")
    assert len(readable(name, LONGEST)) <= LONGEST and readable(shown) == shown
    assert len(safe_name(name)) <= 32 + name.count("$") + 1
    if name.isprintable() and "  " not in name and name == name.strip() and name.isascii() and name:
        assert shown == name, "plain names stay as they are"


@pytest.mark.parametrize(
    "name", ["", " ", "\n", "\u200b", "\u200b\u200c", "\u3164", "\u2800", "\ufeff", "\u202e\u202c"]
)
def test_what_looks_empty_is_said_to_be_blank(name):
    assert readable(name) == BLANK


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb\tc", "a b c"),
        ("\u202eabc\u202c", "abc"),
        ("zero\u200bwidth", "zerowidth"),
        ("a" + "\u0300" * 60, "a" + "\u0300" * 3),
        ("x\x1b[31my", "x\ufffd[31my"),
        ("x" * 500, "x" * 39 + "…" + "x" * 20),
        ("שלום", "שלום"),
        ("👩‍🏫", "👩‍🏫"),
    ],
)
def test_names_by_hand(name, shown):
    assert readable(name, LONGEST) == shown


@pytest.mark.parametrize("name", EVERY, ids=range(len(EVERY)))
def test_markdown_takes_an_escaped_name_for_text(name):
    for before in ("", "| a | ", "- ", "x "):
        tokens = MarkdownIt("commonmark").enable("table").parse(f"{before}{nb.escape(name)}")
        inside = [child for token in tokens if token.type == "inline" for child in token.children]
        assert {child.type for child in inside} <= {"text", "text_special"}, nb.escape(name)
    text = "".join(child.content for child in inside)
    assert text == f"x {readable(name)}"


@pytest.mark.parametrize("name", EVERY, ids=range(len(EVERY)))
def test_a_parameter_is_a_literal_in_the_cell_that_shows_it(name):
    source = as_source(name)
    assert ast.literal_eval(source) == name and source.isprintable()
    cell = with_values("# the study\ntitle = 'x'  # shown\nseed = 1\n", {"title": name, "seed": 7})
    assert [type(node).__name__ for node in ast.parse(cell).body] == ["Assign", "Assign"]
    assert ast.literal_eval(ast.parse(cell).body[0].value) == name


@pytest.mark.parametrize("name", EVERY, ids=range(len(EVERY)))
def test_latex_prints_a_title_and_does_nothing_with_it(name):
    text = tex(name)
    for command in (
        "\\textbackslash{}",
        "\\textasciitilde{}",
        "\\textasciicircum{}",
        "\\textless{}",
        "\\textgreater{}",
        "\\textquotedbl{}",
        "\\{",
        "\\}",
        "\\$",
        "\\&",
        "\\#",
        "\\%",
        "\\_",
    ):
        text = text.replace(command, "")
    assert not set(text) & set("\\{}$&#%_~^") and "\n" not in text


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.text(max_size=80))
def test_any_text_is_made_readable_and_escaped(name):
    shown = readable(name, 40)
    assert 0 < len(shown) <= 40 and not any(disturbs(c) for c in shown if ord(c) < 0x600 or 0x2000 <= ord(c) < 0x2070)
    (paragraph, inline, end) = MarkdownIt("commonmark").parse("x" + nb.escape(name))
    assert {child.type for child in inline.children} <= {"text", "text_special"}
