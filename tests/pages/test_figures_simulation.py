"""Figures of the simulation checks: what is drawn equals what was handed in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_figures import png

from valib.errors import ValibError
from valib.pages import figures as plotting
from valib.pages import notebook as nb
from valib.simulation import runs as montecarlo


def measured() -> pd.DataFrame:
    rows = [
        (panel, label, series, 0.9 + 0.01 * k, 0.004 + 0.001 * k)
        for panel in ("Schools", "System")
        for label in ("plain", "serial")
        for k, series in enumerate(("with", "without"))
    ]
    return pd.DataFrame(rows, columns=["panel", "label", "series", "value", "mcse"])


def drawn(fig, number: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Marks of a panel by series: places and half-lengths of their intervals (along x)."""
    found = {}
    for bars in fig.axes[number].containers:
        (segments,) = [c.get_segments() for c in bars.lines[2]]
        half = np.array([np.ptp(s, axis=0) / 2 for s in segments])
        found[bars.get_label()] = bars.lines[0].get_xdata(orig=False), half
    return found


def test_coverage_draws_values_monte_carlo_intervals_and_the_nominal_level():
    table = measured()
    fig = plotting.coverage(table, level=0.9)
    for number, panel in enumerate(("Schools", "System")):
        marks = drawn(fig, number)
        for series in ("with", "without"):
            rows = table[(table["panel"] == panel) & (table["series"] == series)]
            np.testing.assert_allclose(marks[series][0], rows["value"])
            np.testing.assert_allclose(marks[series][1][:, 0], 1.96 * rows["mcse"])
        (line,) = [x for x in fig.axes[number].lines if x.get_gid() == "reference"]
        assert set(line.get_xdata(orig=False)) == {0.9}
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["plain", "serial"]


def test_more_series_than_colours_are_still_told_apart():
    names = [f"method {k}" for k in range(16)]
    table = pd.DataFrame({"label": "a", "series": names, "value": 0.9, "mcse": 0.01})
    bars = plotting.coverage(table).axes[0].containers
    assert [b.get_label() for b in bars] == names
    assert len({(b.lines[0].get_color(), b.lines[0].get_marker()) for b in bars}) == 16


def test_bias_is_read_against_zero_and_what_is_unknown_is_left_out():
    table = pd.DataFrame({"label": ["a", "b", "c"], "value": [-1.5, np.nan, 2.0], "mcse": [0.1, np.nan, 0.2]})
    fig = plotting.bias(table)
    (ax,) = fig.axes
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xdata(orig=False), [-1.5, 2.0])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "c"]
    assert set(next(x for x in ax.lines if x.get_gid() == "reference").get_xdata(orig=False)) == {0.0}


def test_over_parameter_draws_the_simulation_and_the_formula():
    table = pd.DataFrame(
        {
            "panel": "mean",
            "series": ["seed"] * 3 + ["answer"] * 3,
            "x": [0, -7, -14] * 2,
            "value": [0, -6, -12, 0, -5, -10.7],
            "mcse": 0.1,
        }
    )
    formula = pd.DataFrame(
        {
            "panel": "mean",
            "series": ["seed", "seed", "truth", "truth"],
            "x": [0, -14, 0, -14],
            "value": [0.0, -12.1, 0.0, -14.0],
        }
    )
    fig = plotting.over_parameter(table, formula, label_x="True shift", labels_y={"mean": "Mean"})
    (ax,) = fig.axes
    bars = {c.get_label(): c for c in ax.containers}
    for name in ("seed", "answer"):
        rows = table[table["series"] == name]
        np.testing.assert_allclose(bars[name].lines[0].get_ydata(orig=False), rows["value"])
        np.testing.assert_allclose(bars[name].lines[0].get_xdata(orig=False), rows["x"], atol=0.2)
    lines = {x.get_gid(): list(x.get_ydata(orig=False)) for x in ax.lines if x.get_gid()}
    assert lines["formula seed"] == [0.0, -12.1] and lines["formula truth"] == [0.0, -14.0]
    assert {t.get_text() for t in fig.legends[0].get_texts()} == {"seed", "answer", "truth"}


def test_a_legend_of_long_names_stays_within_the_figure():
    names = ["coefficients as known", "full, analytic", "bootstrap of schools", "full, with equating error"]
    table = pd.concat([measured().iloc[:1].assign(series=name) for name in names])
    fig = plotting.coverage(table)
    fig.canvas.draw()
    box = fig.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= fig.bbox.width


def test_equal_figures_have_equal_bytes():
    assert png(plotting.coverage(measured())) == png(plotting.coverage(measured()))


@pytest.mark.parametrize("draw", [plotting.coverage, plotting.bias])
def test_a_table_without_its_columns_is_refused(draw):
    with pytest.raises(ValibError, match="needs the column"):
        draw(pd.DataFrame({"label": ["a"], "value": [1.0]}))


def test_measured_and_simulated_take_the_values_of_a_run():
    run = montecarlo.simulate(["plain", "drift"], ["seed", "default"], replicates=20, seed=1)
    table = plotting.measured(
        run, "bias", ["shift", "va"], {"drift": "Drift"}, {"default": "Estimated"}, {"shift": "System", "va": "Schools"}
    )
    assert table[["label", "series", "panel"]].to_numpy().tolist() == [
        ["Drift", "Estimated", "System"],
        ["Drift", "Estimated", "Schools"],
    ]
    for row, estimand in zip(table.itertuples(), ("shift", "va"), strict=True):
        assert row.value == run.get("drift", "default", estimand, "bias")
        assert row.mcse == run.mcse("drift", "default", estimand, "bias")
    frame = nb.simulated(
        run,
        {"A": ("drift", "seed"), "B": ("drift", "default")},
        {"Shift": ("shift", "bias", ".2f"), "Mean": ("mean_va", "mean", "+.1f")},
    )
    assert frame.index.tolist() == ["A", "B"] and frame.loc["A", "Shift"] == ""
    key = ("drift", "default", "mean_va", "mean")
    assert run.get(*key) < 0
    assert frame.loc["B", "Mean"] == nb.estimate(run.get(*key), run.mcse(*key), ".1f")  # no sign on the error
