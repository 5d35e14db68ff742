"""The checks of a rendered book find what they are for, and nothing where nothing is."""

from __future__ import annotations

import check_site
import pytest

GOOD = """<!DOCTYPE html><html lang="en"><head><title>Good</title></head><body><main id="top"><h1>Good</h1>
<p><a href="other.html#there">There</a> <a href="#top">up</a> <a href="https://example.org">away</a>
<img src="dot.png" alt="A dot"></p></main></body></html>"""
OTHER = """<!DOCTYPE html><html lang="en"><head><title>Other</title></head><body><main><h1 id="there">Here</h1></main>
</body></html>"""
BAD = {
    '<a href="none.html">x</a>': "the link to none.html leads nowhere",
    '<a href="other.html#nowhere">x</a>': "no 'nowhere' on the page of other.html",
    '<i id="a"></i><i id="a"></i>': "the id 'a' stands 2 times",
    '<img src="dot.png">': "dot.png has no alt text",
    '<script src="https://example.org/x.js"></script>': "loads https://example.org/x.js from elsewhere",
}


@pytest.fixture
def html(tmp_path):
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "other.html").write_text(OTHER)
    (tmp_path / "dot.png").write_bytes(b"")
    return tmp_path


def test_a_good_book_has_no_fault(html):
    assert list(check_site.read_faults(html)) == []


@pytest.mark.parametrize(("part", "words"), BAD.items())
def test_each_kind_of_fault_is_found(html, part, words):
    (html / "index.html").write_text(GOOD.replace("</main>", f"{part}</main>"))
    (fault,) = check_site.read_faults(html)
    assert fault.startswith("index.html: ") and words in fault


@pytest.mark.skipif(not check_site.chromium(), reason="needs a Chromium")
def test_a_browser_finds_what_only_it_can_see(html):
    part = """<p style="color: #999; background: #fff">pale</p><div style="width: 500px">wide</div>
    <p><a href="#top" style="width: 90vw"></a></p><script>console.error("gone wrong"); nosuch()</script>
    <math tabindex="0"><mi>x</mi></math>"""
    (html / "other.html").write_text(OTHER.replace("</main>", f"{part}</main>"))
    (html / "heavy.css").write_text("a{}" * 400_000)
    (html / "index.html").write_text(GOOD.replace("</head>", '<link rel="stylesheet" href="heavy.css"></head>'))
    found = {"index.html": set(), "other.html": set()}
    weights = {}
    for name, _, seen in check_site.visits(html, check_site.chromium()):
        found[name].update(seen.faults)
        weights[name] = seen.weight
    text = "\n".join(found["other.html"])
    for words in (
        "color-contrast (serious)",
        "link-name (serious)",
        "gone wrong",
        "nosuch",
        "sideways",
        "1 formulas are tab",
    ):
        assert words in text
    assert not found["index.html"] and weights["index.html"] > check_site.HEAVIEST > weights["other.html"]
