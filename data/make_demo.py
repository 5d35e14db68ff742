"""Write demo.csv, demo_truth.csv and README.md: ``python data/make_demo.py [FOLDER]`` (default: this folder)."""

from __future__ import annotations

import sys
from pathlib import Path

from valib.records import datasets
from valib.simulation.panel import DEMO, DEMO_SEED, simulate_panel


def main(folder: Path) -> None:
    """Draw the demo panel and write it; the same bytes on every run."""
    panel = simulate_panel(DEMO, DEMO_SEED)
    truth = panel.truth.round({"u": 4, "intake": 4, "slope": 4, "shock": 4, "sigma": 4})
    for name, table in (("demo", panel.records), ("demo_truth", truth)):
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    (folder / "README.md").write_text(datasets.readme(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
