"""What SECURITY.md says was measured is what is measured, on the demo as it is."""

import pytest
from conftest import ROOT
from measured import DIGITS, cell, extents, row


@pytest.mark.parametrize("digits", [pytest.param(d, marks=[pytest.mark.long] * (d not in (6, None))) for d in DIGITS])
def test_the_table_is_measured_on_the_demo(digits):
    assert row(digits) + "\n" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_as_published_the_means_may_be_anywhere():
    assert min(least for least, _ in extents(None)) > 500


def test_ranges_are_not_narrowed_by_rounding():
    assert cell(0.43, 19.3) == ".4 to 20" and cell(3.3e-7, 1.8e-5) == ".0000003 to .00002"
