"""The figure with sliders: what the script computes is what the library computes, and it works in a browser from a file."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess

import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import ROOT

from valib.pages.figures import shrinkage_and_shift
from valib.pages.figures.sliders import START, predicted

STATIC = ROOT / "chapters" / "_static"
NODE = shutil.which("node")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NAMES = {
    "lambda": "shrinkage",
    "se": "se",
    "sdResidual": "sd_residual",
    "sdPredicted": "sd_predicted",
    "meanAbsorbed": "mean_absorbed",
    "meanEstimated": "mean_estimated",
    "absorbed": "absorbed",
    "estimated": "estimated",
}
CASES = [
    dict(zip(START, values, strict=True))
    for values in itertools.product((1, 25, 200), (0.0, 7.5, 30.0), (5.0, 45.0, 80.0), (-30.0, 0.0, 12.0), (-50.0, 8.0))
]


def test_what_the_picture_shows_is_the_conditional_mean_by_a_dense_computation():
    """E(u | y) with V = sigma2 I + tau2 J inverted, about a prior mean of 0 and of delta; variances from the same V."""
    n, tau, sigma, delta, residual = 7, 6.0, 20.0, -9.0, 14.0
    one = np.ones(n)
    weights = tau**2 * one @ np.linalg.inv(sigma**2 * np.eye(n) + tau**2 * np.outer(one, one))
    found = predicted(n, tau, sigma, delta, residual)
    np.testing.assert_allclose(found.absorbed, weights @ (residual * one), rtol=1e-12)
    np.testing.assert_allclose(found.estimated, delta + weights @ ((residual - delta) * one), rtol=1e-12)
    np.testing.assert_allclose(found.mean_absorbed, weights @ (delta * one), rtol=1e-12)
    np.testing.assert_allclose(found.se**2, tau**2 - weights @ one * tau**2, rtol=1e-12)
    np.testing.assert_allclose(found.sd_residual**2, one @ (sigma**2 * np.eye(n) + tau**2) @ one / n**2, rtol=1e-12)
    np.testing.assert_allclose(found.sd_predicted**2, weights @ one * tau**2, rtol=1e-12)


@pytest.mark.skipif(not NODE, reason="needs node")
def test_the_script_computes_what_the_library_computes():
    """Differences are of rounding alone: 1e-12 of a number, and 1e-11 where the true value is 0."""
    code = "const s = require(process.argv[1]); const cases = JSON.parse(process.argv[2]);"
    code += "console.log(JSON.stringify([s.START, s.CONTROLS, cases.map(s.shrinkageAndShift)]))"
    done = subprocess.run(
        [NODE, "-e", code, str(STATIC / "sliders.js"), json.dumps(CASES)], capture_output=True, text=True, check=True
    )
    start, controls, found = json.loads(done.stdout)
    assert start == START and [c["name"] for c in controls] == list(START)
    assert all(c["min"] <= START[c["name"]] <= c["max"] for c in controls)
    for case, numbers in zip(CASES, found, strict=True):
        ours = predicted(**case)._asdict()
        for theirs, name in NAMES.items():
            np.testing.assert_allclose(numbers[theirs], ours[name], rtol=1e-12, atol=1e-11, err_msg=str((case, name)))
        np.testing.assert_allclose(numbers["lost"], case["delta"] - ours["mean_absorbed"], rtol=1e-12, atol=1e-11)


TRY = """window.addEventListener("load", function () {
  var field = document.querySelector("input[id$='-n']");
  field.stepUp(75);
  field.dispatchEvent(new Event("input", {bubbles: true}));
});"""


@pytest.mark.skipif(not BROWSER, reason="needs a browser")
def test_a_browser_shows_it_from_a_file_with_labels_and_moves_it(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<!doctype html><html lang=en><title>Sliders</title>"
        f"<script>{(STATIC / 'sliders.js').read_text(encoding='utf-8')}</script><script>{TRY}</script>"
        '<figure id="fig-03-sliders"><a href="a.png"><img src="a.png" alt="Still."></a><figcaption>A</figcaption></figure>',
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            BROWSER,
            *"--headless --no-sandbox --disable-gpu --virtual-time-budget=2000 --dump-dom".split(),
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    shown = BeautifulSoup(done.stdout, "html.parser").find(id="fig-03-sliders")
    fields = shown.select("input[type=range]")
    assert len(fields) == len(START)
    assert {f["id"] for f in fields} == {label["for"] for label in shown.select("label")}
    assert all(f["aria-valuetext"] for f in fields) and shown.svg["role"] == "img" and shown.svg["aria-label"]
    assert "sliders-still" in shown.a["class"]  # the static picture is kept for print
    assert len(shown.select("polyline")) == 4 and len(shown.select("circle")) == 3
    now = predicted(**{**START, "n": START["n"] + 75})
    said = [cell.get_text() for cell in shown.select(".sliders-said td")]
    minus = "\N{MINUS SIGN}"
    told = [f"\u03bb = {now.shrinkage:.3f}", *(f"{x:+.1f}" for x in (now.mean_absorbed, now.mean_estimated))]
    told += [
        f"{START['delta'] - now.mean_absorbed:+.1f}",
        f"{now.absorbed:+.1f}",
        f"{now.estimated:+.1f}",
        f"{now.se:.1f}",
    ]
    assert said == [text.replace("-", minus) for text in told]


def test_every_page_carries_the_script_and_nothing_is_fetched():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    assert "sliders.js" in config["html_js_files"] and "sliders.css" in config["html_css_files"]
    for name in ("sliders.js", "sliders.css"):
        text = (STATIC / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not any(word in text for word in ("http:", "https:", "fetch(", "XMLHttpRequest", "import("))


def test_the_static_picture_draws_all_four_distributions():
    fig = shrinkage_and_shift()
    curves = fig.axes[0].lines[:4]
    for curve, mean in zip(curves, (-12.0, -12.0, predicted(**START).mean_absorbed, -12.0), strict=True):
        x, y = curve.get_data()
        assert abs(x[np.argmax(y)] - mean) <= 0.2  # the grid's step
    assert {t.get_text() for t in fig.axes[0].get_legend().get_texts()} >= {
        "true effects",
        "predictions, shift absorbed",
    }
    shrinkage_and_shift({**START, "tau": 0.0})
