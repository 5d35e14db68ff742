"""What stands beneath a figure of the pages: a table of what is drawn, no finer than the picture, and the code."""

from __future__ import annotations

import hashlib
import io
from base64 import b64encode

import nbformat
import numpy as np
import pandas as pd
import pytest
import test_figures
import test_figures_stability
from myst_nb.ext import glue

from valib.pages import figures as plotting
from valib.pages import notebook
from valib.pages.build.beneath import added, of_chapters
from valib.pages.build.lists import listed
from valib.pages.figures.plotted import COLUMNS, plotted

FIGURES = {**test_figures.FIGURES, **test_figures_stability.FIGURES}
del FIGURES["release_steps"]  # words alone


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_table_whose_numbers_say_what_they_are(name):
    table = plotted(FIGURES[name]())
    assert list(table) == COLUMNS and len(table) and (table["series"] != "").all()
    numbers = table[["x", "y", "x_to", "y_to"]]
    assert numbers.map(lambda text: text == "" or np.isfinite(float(text))).all(axis=None)
    assert (numbers != "").any(axis=1).all() and table["x_axis"].iloc[0] + table["y_axis"].iloc[0] or "matrix" in name


def test_a_school_has_its_name_its_estimate_and_its_interval_as_drawn():
    frame = test_figures.effects()
    table = plotted(plotting.caterpillar(frame, min_n=5))
    points = table[table["shape"] == "point"].set_index("name")["y"].astype(float)
    bars = table[table["shape"] == "interval"].set_index("name")[["y", "y_to"]].astype(float)
    shown = frame[frame["n"] >= 5]
    shown.index = [" ".join(name.split()) for name in shown.index]
    assert set(points.index) == set(bars.index) == set(shown.index) < {" ".join(name.split()) for name in frame.index}
    assert np.abs(points - shown["effect"]).max() < 0.0501 and np.abs(bars["y_to"] - shown["upper"]).max() < 0.0501


def test_no_number_is_finer_than_tables_print_it_and_no_count_of_students_is_told():
    frame = test_figures.effects()
    for fig in (plotting.caterpillar(frame), plotting.type_ab(frame, test_figures.effects(seed=2), "A", "B")):
        assert plotted(fig)["y"].map(lambda text: len(text.partition(".")[2])).max() <= 1
    assert set(plotted(FIGURES["growth"]())["series"]) == {"line", "band"}


def test_cells_have_their_ticks_and_what_is_written_in_them():
    table = plotted(FIGURES["quintiles"]())
    assert len(table) == 25 and set(table["shape"]) == {"cell"} and table["name"].str.contains("lowest").sum() == 9
    assert table["series"].str.fullmatch(r"\d+% \d+ to \d+").all()


def chapter(folder, fig, monkeypatch) -> str:
    """A chapter that shows one figure, as executed; returns the name of the picture's file."""
    made: list = []
    monkeypatch.setattr(glue, "ipy_display", lambda data, metadata, raw: made.append((data, metadata)))
    notebook.figure("fig_lines", fig)
    data = {
        kind: b64encode(value).decode() if isinstance(value, bytes) else value for kind, value in made[0][0].items()
    }
    output = nbformat.v4.new_output("display_data", data, metadata=made[0][1])
    cell = nbformat.v4.new_code_cell("nb.keep(numbers.lines(fit))", outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "08_own.ipynb")
    return hashlib.sha256(fig._repr_png_()).hexdigest()


def test_a_page_links_the_table_and_folds_the_code(tmp_path, monkeypatch):
    picture = chapter(tmp_path, plotting.shifts(test_figures.shift_table()), monkeypatch)
    known = of_chapters(tmp_path)
    assert list(known) == [picture] and known[picture].name == "08_own-lines.csv"
    assert list(pd.read_csv(io.StringIO(known[picture].csv))) == COLUMNS
    body = '<figure id="a"><img src="../_images/{}.png"/><figcaption><p>Shifts.</p></figcaption></figure>'
    page = added(body.format(picture), known, "../_figures")
    assert page.endswith("</details></div></figcaption></figure>")
    assert 'href="../_figures/08_own-lines.csv"' in page and "nb.keep(numbers.lines(fit))" in page
    assert "def shifts(" in page and "ax.vlines" in page
    assert added(body.format("0" * 64), known, "..") == body.format("0" * 64)


def test_figures_and_tables_are_listed_by_the_first_sentence_of_their_captions():
    caption = '<span class="caption-number">{} 4.1 </span><span class="caption-text">{}</span><a class="headerlink" href="#{}"'
    body = caption.format("Fig.", 'Shifts <a href="x.html">by <span id="q">cohort</span></a>. Grey: others.', "fig-a")
    body += caption.format("Table", "Means.", "tab-b")
    figure, table = listed(body)
    assert figure == ("Fig.", "4.1", "Shifts by <span>cohort</span>.", "fig-a")
    assert table == ("Table", "4.1", "Means.", "tab-b")


def test_what_is_drawn_of_nothing_gives_no_rows():
    """Of records with few cohorts or schools a figure may have a series without points."""
    fig = plotting.style.canvas(3)[0]
    (ax,) = fig.axes
    ax.plot([], [], label="line")
    ax.plot([], [], "o", gid="points", ls="none")
    ax.scatter([], [], label="cloud")
    ax.vlines([], [], [], gid="interval")
    ax.fill_between([], [], [], label="band")
    ax.errorbar([], [], yerr=[], label="bars")
    assert plotted(fig).empty


def test_words_alone_give_no_table():
    assert plotted(plotting.release_steps()).empty
