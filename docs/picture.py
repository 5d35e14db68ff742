"""Draw the picture of README.md: relative and benchmark value added of the demo study. Run: python docs/picture.py"""

from __future__ import annotations

from pathlib import Path

import valib as va
from valib.pages import figures
from valib.study.params import Params

PICTURE = Path(__file__).with_name("value_added.png")


def draw(path: Path) -> None:
    """Write the figure that the book's first page shows, for the demo study."""
    study = Params()
    records = study.read_records()
    options = {"method": study.method, "level": study.level}
    benchmark = va.fit_baseline(records, study.baseline_cohorts, study.formula, study.estimator, method=study.method)
    relative = [va.fit_relative(records, t, study.formula, **options) for t in study.focal_cohorts]
    against = [va.fit_benchmark(records, t, benchmark, **options) for t in study.focal_cohorts]
    effects, _ = va.school_effects([*relative, *against])
    figures.save(figures.va_density(effects, min_n=study.min_students), path)


if __name__ == "__main__":
    draw(PICTURE)
