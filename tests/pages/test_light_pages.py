"""What makes the pages light: formulas that a browser sets itself, icons in place, styles without what nothing names."""

from __future__ import annotations

import re

import pytest

from valib.pages.build import slim
from valib.pages.build.mathml import in_lines, mathml

SCRIPT = (
    'x={"arrow-left":[448,512,[8592],"f060","M1 2"],"moon":[384,512,["crescent"],"f186","M3 4"]};other(code,between);'
    'y={moon:[320,512,[127769],"f186","M5 6"],sun:[512,512,[],"f185","M7 8"]};and(some,more,code);'
    'z={moon:[300,500,[],"f186","M9 9"]}'
)
PYGMENTS = """html[data-theme="light"] .highlight { background: #f2f2f2; color: #080808 }
html[data-theme="light"] .highlight .n { color: #080808 } /* Name */
html[data-theme="light"] .highlight .w { color: #080808 }
html[data-theme="light"] .highlight .k { color: #6730C5 }
"""
STYLES = (
    "@font-face{font-family:Font Awesome 6;src:url(a.woff2)}body{margin:0}.used,.gone{color:red}.gone{color:blue}"
    "@media (min-width:10px){.gone .used{top:0}.used:not(.gone){left:0}}a:is(.gone,.lost){right:0}.by-script{top:1px}"
)


def test_a_formula_becomes_mathml_with_its_source():
    told = mathml(r"\hat u_j = \mathbf{V}^{-1}")
    assert told.startswith("<math") and "<mi>𝐕</mi>" in told and "display=" not in told
    assert r"\hat u_j = \mathbf{V}^{-1}</annotation>" in told
    assert 'display="block"' in mathml("x", block=True)


def test_greek_is_bold_where_it_is_meant_to_be():
    assert "𝜷" in mathml(r"\boldsymbol\beta") and "𝛀" in mathml(r"\boldsymbol\Omega")


def test_a_formula_that_cannot_be_read_is_named():
    with pytest.raises(ValueError, match=r"nosuch.* in the formula"):
        mathml(r"\nosuch{x}")


@pytest.mark.parametrize(
    ("written", "set_as"),
    [
        ("a = b", "a = b"),
        ("a = b\n\nc = d", r"\begin{aligned}a = b\\c = d\end{aligned}"),
        (r"a &= b \\ c &= d", r"\begin{aligned}a &= b \\ c &= d\end{aligned}"),
        (r"\begin{pmatrix} a \\ b \end{pmatrix}", r"\begin{pmatrix} a \\ b \end{pmatrix}"),
        (r"\begin{align} a \\ b \end{align}", r"\begin{align} a \\ b \end{align}"),
    ],
)
def test_lines_stand_under_each_other(written, set_as):
    assert in_lines(written) == set_as
    assert mathml(set_as, block=True).count("<mtr>") in (0, 2)


def test_icons_are_told_apart_by_their_sets():
    drawn = slim.icons(SCRIPT)
    assert drawn["fa-brands", "moon"] == drawn["fa-brands", "crescent"] == ("0 0 384 512", "M3 4")
    assert drawn["fa-regular", "moon"][1] == "M5 6" and drawn["fa-solid", "moon"][1] == "M9 9"


@pytest.fixture
def html(tmp_path):
    """A folder of pages as the theme leaves it."""
    from PIL import Image

    scripts, styles = tmp_path / "_static" / "scripts", tmp_path / "_static" / "styles"
    scripts.mkdir(parents=True)
    styles.mkdir()
    (scripts / "fontawesome.js").write_text(SCRIPT)
    (scripts / "fontawesome.js.map").write_text("{}")
    (scripts / "other.js").write_text('box.classList.add("by-script")')
    (styles / "pydata-sphinx-theme.css").write_text(STYLES)
    (tmp_path / "_static" / "pygments.css").write_text(PYGMENTS)
    Image.new("RGB", (30, 20)).save(tmp_path / "dot.png")
    (tmp_path / "index.html").write_text(
        '<script defer src="_static/scripts/fontawesome.js?digest=1"></script>\n<script src="searchindex.js"></script>'
        '<i data-mode="dark" class="switch fa-solid fa-moon"></i><span class="fa-regular fa-sun"></span>'
        '<i class="fa-solid fa-none"></i><p class="used"><img alt="Dot" src="dot.png"></p>'
        '<table class="docutils align-center"><tr><td>1</td></tr></table>'
        '<p class="caption" role="heading"><span>Methods</span></p>'
        '<div id="jb-print-toc"> <div><h2>Contents</h2></div> <nav><ul><li>One</li></ul></nav> </div><article>One</article>'
        '<pre><span class="n">name</span><span class="w"> </span><span class="k">for</span></pre>'
    )
    (tmp_path / "search.html").write_text('<script src="searchindex.js"></script>')
    slim.slim(tmp_path)
    return tmp_path


def test_pages_load_no_icons_and_no_search(html):
    page = (html / "index.html").read_text()
    assert "<script" not in page and "searchindex" in (html / "search.html").read_text()
    assert not list((html / "_static" / "scripts").glob("fontawesome*"))
    assert re.search(
        r'<svg data-mode="dark" class="svg-inline--fa switch fa-solid fa-moon" [^>]*viewBox="0 0 300 500"', page
    )
    assert '<path fill="currentColor" d="M7 8">' in page, "an icon in a span"
    assert '<i class="fa-solid fa-none"></i>' in page, "one that is not known stays"
    assert "<ul>" not in page and "<article>One</article>" in page  # the list of sections stands once


def test_pictures_tell_their_size_and_tables_can_scroll(html):
    page = (html / "index.html").read_text()
    assert '<img alt="Dot" src="dot.png" width="30" height="20" loading="lazy" decoding="async">' in page
    assert '<div class="table-wrapper"><table class="table docutils align-center">' in page
    assert '<p class="caption" role="heading" aria-level="2">' in page


def test_words_of_code_are_marked_where_they_look_different(html):
    assert '<pre>name <span class="k">for</span></pre>' in (html / "index.html").read_text()


def test_styles_of_what_is_named_stay(html):
    left = (html / "_static" / "styles" / "pydata-sphinx-theme.css").read_text()
    assert left == (
        "body{margin:0}.used,.gone{color:red}@media (min-width:10px){.used:not(.gone){left:0}}"
        "a:is(.gone,.lost){right:0}.by-script{top:1px}"
    )
