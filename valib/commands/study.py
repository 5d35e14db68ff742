"""What the commands share: the study in force, and its benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..console import about
from ..errors import ParamsError

if TYPE_CHECKING:
    from ..baseline import Benchmark
    from ..params import Params


def load_study(params: str | None, data: str | None, column: list[str] | None, baseline_cohorts: str | None,
               focal_cohorts: str | None, **settings: Any) -> Params:
    """Load the params file and put what the command line gives in place of its values."""
    from ..params import load, parse_cohorts

    columns = None
    if column:
        pairs = [item.partition("=") for item in column]
        if bad := ["".join(pair) for pair in pairs if not (pair[0] and pair[2])]:
            raise ParamsError(f"--column is '{bad[0]}', expected NAME=SOURCE such as school=SchoolCode.")
        columns = {name: source for name, _, source in pairs}
    cohorts = {"baseline_cohorts": parse_cohorts(baseline_cohorts, "--baseline-cohorts"),
               "focal_cohorts": parse_cohorts(focal_cohorts, "--focal-cohorts")}
    return load(params, data=data, columns=columns, **cohorts, **settings)


def fit_study_baseline(study: Params, records: Any) -> Benchmark:
    """Fit the benchmark of the study."""
    from ..baseline import fit_baseline
    from ..scale import check_baseline

    with about(records, study.baseline_cohorts):
        check_baseline(study.scale_breaks, study.baseline_cohorts)
        return fit_baseline(records, study.baseline_cohorts, formula=study.formula, estimator=study.estimator,
                            method=study.method)
