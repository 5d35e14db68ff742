"""Shrinkage and shift in one picture: the static form of the figure that chapters/_static/sliders.js makes movable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ...models.blup import predict_blup
from .style import BLUE, INK, MUTED, PALE, VERMILLION, canvas, number, on_white, styled, write

START = {"n": 25.0, "tau": 15.0, "sigma": 45.0, "delta": -12.0, "residual": -27.0}  # as in sliders.js; a test compares
REACH = 60.0  # score points to either side of the baseline


class Predicted(NamedTuple):
    """What follows for schools of one size; score points but for ``shrinkage``.

    shrinkage: lambda. se: conditional standard error of a prediction. sd_residual, sd_predicted: over schools, of mean
    residuals and of predictions. mean_absorbed, mean_estimated: of the predictions. absorbed, estimated: of one school.
    """

    shrinkage: float
    se: float
    sd_residual: float
    sd_predicted: float
    mean_absorbed: float
    mean_estimated: float
    absorbed: float
    estimated: float


def predicted(n: float, tau: float, sigma: float, delta: float, residual: float) -> Predicted:
    """Predictions for schools of ``n`` students whose true effects have mean ``delta`` and standard deviation ``tau``.

    residual: mean residual of one school. Absorbed, it is shrunk towards 0; estimated, towards the shift.
    """
    sizes, residuals = np.full(3, n), np.array([residual, residual - delta, delta])
    blup = predict_blup(sizes, residuals, tau**2, sigma**2)
    factor, se = float(blup.shrinkage[0]), float(np.sqrt(blup.var_conditional[0]))
    return Predicted(
        factor,
        se,
        float(np.hypot(tau, sigma / n**0.5)),
        tau * factor**0.5,
        float(blup.effect[2]),
        delta,
        float(blup.effect[0]),
        delta + float(blup.effect[1]),
    )


@styled
def shrinkage_and_shift(values: Mapping[str, float] = START) -> Figure:
    """Densities over schools of true effects, mean residuals and predictions, and below them one school's.

    values: n, tau, sigma, delta, residual, as :func:`predicted` takes them.
    """
    at, grid = predicted(**values), np.linspace(-REACH, REACH, 601)
    fig, (ax, one) = canvas(3.6, rows=2, sharex=True, height_ratios=[3.4, 1])
    series = [
        ("true effects", values["delta"], values["tau"], PALE, "-", 4.0),
        ("mean residuals", values["delta"], at.sd_residual, INK, (0, (5, 4)), 1.1),
        ("predictions, shift absorbed", at.mean_absorbed, at.sd_predicted, BLUE, (0, (9, 3)), 1.8),
        ("predictions, shift estimated", at.mean_estimated, at.sd_predicted, VERMILLION, "-", 1.8),
    ]
    for label, mean, sd, colour, line, width in series:
        sd = max(sd, 1.2)
        ax.plot(grid, np.exp(-(((grid - mean) / sd) ** 2) / 2) / sd, color=colour, ls=line, lw=width, label=label)
    for axes in (ax, one):
        axes.axvline(0.0, color=MUTED, lw=0.8, ls=":")
        axes.axvline(values["delta"], color=MUTED, lw=0.8, ls=":")
        axes.set_yticks([])
    top = ax.get_ylim()[1]
    ax.set_ylim(0, top)
    write(ax, "baseline", (0.0, top), (3, -6), color=MUTED)
    write(ax, "shift", (values["delta"], top), (-3, -6), ha="right", color=MUTED)
    marks = [("mean residual", values["residual"], "white", INK), ("absorbed", at.absorbed, BLUE, BLUE)]
    marks.append(("estimated", at.estimated, VERMILLION, VERMILLION))
    for k, (label, x, face, edge) in enumerate(marks):
        one.plot([values["residual"], x], [-k, -k], color=edge, lw=1.2)
        one.plot([x], [-k], "o", mfc=face, mec=edge, ms=5, gid=label)
        write(one, f"{label} {number(x, 1, sign=True)}", (x, -k), (8, 0), bbox=on_white())
    one.set(ylim=(-2.7, 0.7), xlabel="Against the baseline (score points)", ylabel="one\nschool")
    ax.set(ylabel="Density over schools", xlim=(-REACH, REACH))
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, borderpad=0)
    return fig
