"""Calibration: records from a known world lead back to that world."""

from __future__ import annotations

import numpy as np
import pytest

import valib as va
from valib.errors import ModelError
from valib.simulation.calibrate import calibrate
from valib.simulation.panel import PanelDesign, simulate_panel

WORLD = PanelDesign(
    cohorts=(2015, 2016, 2017, 2019),
    schools=600,
    size=40,
    rho=0.8,
    sorting=0.4,
    reliability=0.8,
    drift={2019: -9.0},
    prior_shift={2019: -6.0},
    prior_sd=75,
    intake_sd=25,
    cell_missing=0.05,
)


@pytest.fixture(scope="module")
def records():
    return va.read_records(simulate_panel(WORLD, 5).records)


def test_the_world_is_found_again(records):
    s = calibrate(records, [2017, 2015, 2016], 2019, reliability=0.8)
    # tolerances: about three standard errors at 600 schools and 90,000 students
    assert s.slope == pytest.approx(0.8, abs=0.01)
    assert s.tau == pytest.approx(15, abs=0.9)
    assert s.sigma == pytest.approx(45, abs=0.6)
    assert s.sorting == pytest.approx(0.4, abs=0.06)
    assert s.rho == pytest.approx(0.8, abs=0.06)
    assert s.intake_sd == pytest.approx(25, abs=1.5)
    assert s.prior_sd == pytest.approx(75 * np.sqrt(0.8), abs=1)
    assert s.shift == pytest.approx(-9, abs=2.4)
    assert s.intake_change == pytest.approx(-6, abs=2.2)
    assert s.baseline == (2015, 2016, 2017) and s.reliability == 0.8


def test_without_a_stated_reliability_the_shift_is_the_benchmark_s(records):
    s = calibrate(records, [2015, 2016, 2017], 2019)
    benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    assert s.shift == pytest.approx(va.fit_benchmark(records, 2019, benchmark).shift, abs=0.01)  # rounded
    within = 0.8 * 75**2 - 25**2  # of true scores; the slope on record is flatter by the reliability within schools
    assert s.slope == pytest.approx(0.8 * within / (within + 0.2 * 75**2), abs=0.01)


def test_cells_and_absent_schools_are_those_of_the_records(records):
    s = calibrate(records, [2015, 2016, 2017], 2019)
    cells = np.array(s.cells)
    summary = va.summarise(records)
    assert cells.sum(axis=0).tolist() == summary["students"].tolist()
    assert (cells > 0).sum(axis=0).tolist() == summary["schools"].tolist()
    assert (cells == 0).any()


@pytest.mark.parametrize(("reliability", "part"), [(0.05, "vary within"), (0.3, "too low"), (1.2, "above 0")])
def test_a_reliability_that_the_records_contradict_is_refused(records, reliability, part):
    with pytest.raises(ModelError, match=part):
        calibrate(records, [2015, 2016, 2017], 2019, reliability=reliability)
