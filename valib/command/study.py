"""What the commands share: the study in force, and its benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ParamsError, RecordsError
from ..names import about

if TYPE_CHECKING:
    from ..effects.baseline import Benchmark
    from ..study.params import Params


def load_study(given: Mapping[str, Any]) -> Params:
    """Load the params file and put what the command line gives in place of its values.

    given: a command's options by name; those that the study has as a parameter count, others are the command's own.
    """
    from ..study.params import Params, load, parse_cohorts

    columns = None
    if column := given.get("column"):
        pairs = [item.partition("=") for item in column]
        if bad := ["".join(pair) for pair in pairs if not (pair[0] and pair[2])]:
            raise ParamsError(f"--column is '{bad[0]}', expected NAME=SOURCE such as school=SchoolCode.")
        columns = {name: source for name, _, source in pairs}
    settings = {name: value for name, value in given.items() if name in Params.model_fields}
    for name in ("baseline_cohorts", "focal_cohorts"):
        settings[name] = parse_cohorts(given.get(name), f"--{name.replace('_', '-')}")
    return load(given["params"], **settings, columns=columns, pseudonym_key=given.get("pseudonyms"))


def read_from(study: Params, params: str | None, *more: str | Path | None) -> list[Path]:
    """The files and folders that the study is read from: records, params file, key; and more, where given."""
    from ..records import datasets
    from ..records.sources import database_file, is_url
    from ..study.params import locate

    data = database_file(study.data) if is_url(study.data) else None if study.data in datasets.names() else study.data
    earlier = (study.prior or {}).get("file")
    earlier = database_file(earlier) if earlier and is_url(earlier) else earlier
    return [Path(path) for path in (data, earlier, locate(params), study.pseudonym_key, *more) if path is not None]


def read_whole(study: Params, shown: bool = True) -> Any:
    """The study's records in memory; where that takes long, it is said on stderr, if shown."""
    from ..pages.progress import reading

    with reading(study.data_name, shown):
        return study.read_records()


def open_records(study: Params, engine: str | None, formula: str | None = None, by_cell: bool = False) -> Any:
    """The study's records in memory, or streamed; formula and by_cell: what will be asked of a stream."""
    from ..pages.progress import reading

    with reading(study.data_name):
        return _opened(study, engine, formula, by_cell)


def _opened(study: Params, engine: str | None, formula: str | None, by_cell: bool) -> Any:
    from ..pages.progress import progress_bar
    from ..records import datasets
    from ..records.coverage import MIN_LINKED_SHARE
    from ..sums.streams import can_stream, choose_engine, stream_records

    if study.pseudonym_key is not None:
        if engine not in (None, "auto", "memory"):
            raise ParamsError(f"--engine {engine} reads sums by school and gives no pseudonyms: leave --engine out.")
        return study.read_records()
    bundled, formula = study.data in datasets.names(), formula or study.formula
    chosen = "memory" if (bundled or study.table) and engine in (None, "auto") else choose_engine(study.data, engine)
    if chosen == "memory" or (engine in (None, "auto") and not can_stream(formula)):
        return study.read_records()
    if bundled:
        raise ParamsError(f"The data set {study.data} is bundled and small: leave --engine out.")
    with progress_bar("Reading", quiet=False) as progress:
        records = stream_records(
            study.data,
            study.columns,
            chosen,
            formula,
            by_cell,
            progress,
            where=study.where,
            prior=study.prior,
            reshape=study.reshape,
            year_zero=study.year_zero,
        )
    records.attrs[MIN_LINKED_SHARE] = study.min_linked_share
    return records


def stamp(study: Params) -> dict[str, tuple[int, int, int]]:
    """What would show that a file of the records or of their prior scores, or a part in a folder of them, has changed;
    nothing of a database."""
    from ..records.sources import is_url

    found = {}
    for data in (study.data, (study.prior or {}).get("file")):
        for part in () if data is None or is_url(data) else (Path(data), *Path(data).rglob("*")):
            with suppress(FileNotFoundError, NotADirectoryError):
                told = part.stat()
                found[str(part)] = (told.st_ino, told.st_size, told.st_mtime_ns)
    return found


def check_unchanged(study: Params, records: Any, before: dict[str, tuple[int, int, int]]) -> None:
    """Raise RecordsError if streamed records, which are read more than once, have changed since ``before``."""
    import pandas as pd

    if not isinstance(records, pd.DataFrame) and stamp(study) != before:
        raise RecordsError(
            f"{study.data_name}: has changed while it was read, and results would mix two versions: "
            "run again when it is complete."
        )


def fit_study_baseline(study: Params, records: Any) -> Benchmark:
    """Fit the benchmark of the study."""
    from ..effects.baseline import fit_baseline
    from ..sums.equating import check_baseline
    from ..sums.students import cohorts_of

    study.need_baseline(cohorts_of(records))
    with about(records, study.baseline_cohorts):
        check_baseline(study.scale_breaks, study.baseline_cohorts)
        return fit_baseline(
            records,
            study.baseline_cohorts,
            formula=study.formula,
            estimator=study.estimator,
            method=study.method,
            reliability=study.reliability,
            random=study.random,
        )
