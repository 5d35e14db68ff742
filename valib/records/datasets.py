"""The data that come with valib: where they are from, what their columns mean, how to load them.

``data/datasets.yml`` is the one home of these facts; ``data/README.md`` is written from it by `readme`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

from ..errors import RecordsError, ValibError
from .reading import read_records

_PACKAGE = Path(__file__).resolve().parents[1]


def bundle_root() -> Path:
    """Return the folder that holds params.yml, data/, chapters/ and _toc.yml.

    An installed wheel carries them in ``valib/_bundle``; a checkout of the repository has them at its top.

    Raises
    ------
    ValibError
        If neither folder has them (a damaged installation).
    """
    for folder in (_PACKAGE / "_bundle", _PACKAGE.parent):
        if (folder / "params.yml").is_file() and (folder / "data").is_dir():
            return folder
    raise ValibError("The files that come with valib (params.yml, data/, chapters/) are missing: reinstall valib.")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A bundled table.

    Attributes
    ----------
    name, title : how it is called in code and in words.
    rows, schools : counts; schools is None where the groups are not schools.
    source, licence, citation : who published the file, on what terms, and the study it comes from.
    columns : column -> meaning.
    sha256 : checksum of the CSV file.
    codes : columns that are codes and load as text.
    canonical : canonical name -> column, for `load_records`; empty if the table holds no student records.
    note : what a user should know before using it.
    """

    name: str
    title: str
    rows: int
    source: str
    licence: str
    citation: str
    columns: Mapping[str, str]
    sha256: str
    codes: tuple[str, ...]
    canonical: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    schools: int | None = None


@cache
def _registry() -> dict[str, Dataset]:
    """Every bundled table by its name, as ``data/datasets.yml`` describes it."""
    text = (bundle_root() / "data" / "datasets.yml").read_text(encoding="utf-8")
    return {
        name: Dataset(name=name, **facts | {"codes": tuple(facts["codes"])})
        for name, facts in yaml.safe_load(text).items()
    }


def names() -> tuple[str, ...]:
    """Names of the bundled tables."""
    return tuple(_registry())


def describe(name: str) -> Dataset:
    """Return the registry entry of a bundled table.

    Raises
    ------
    RecordsError
        If there is no table of that name.
    """
    if name not in _registry():
        raise RecordsError(f"There are no bundled data named '{name}'; there are {', '.join(names())}.")
    return _registry()[name]


def bundle_path(name: str) -> Path:
    """Return the CSV file of a bundled table."""
    return bundle_root() / "data" / f"{describe(name).name}.csv"


def load(name: str) -> pd.DataFrame:
    """Return a bundled table as it was published, codes as text.

    Parameters
    ----------
    name : str
        "demo", "exam", "chem97", "sleepstudy" or "sleepstudy_lme4".

    Returns
    -------
    DataFrame
        The table; the appendix on data says what its columns mean.

    Raises
    ------
    RecordsError
        If there is no table of that name.

    Notes
    -----
    Sources, licences and checksums stand in ``data/README.md``. The demo panel is simulated; the others are of the R
    packages mlmRev and lme4.

    Examples
    --------
    >>> import valib as va
    >>> va.load("sleepstudy").head(2)
       Reaction  Days Subject
    0  249.5600     0     308
    1  258.7047     1     308
    """
    return pd.read_csv(bundle_path(name), dtype=dict.fromkeys(describe(name).codes, "str"))


def load_records(name: str) -> pd.DataFrame:
    """Return a bundled table as student records, as :func:`valib.read_records` gives them.

    Parameters
    ----------
    name : str
        "demo", "exam" or "chem97".

    Returns
    -------
    DataFrame
        Student records; a table without cohorts is cohort 0.

    Raises
    ------
    RecordsError
        If there is no such table, or it holds no student records.

    Notes
    -----
    The same as ``read_records(load(name), columns)`` with the columns of the registry of bundled tables.

    Examples
    --------
    >>> import valib as va
    >>> exam = va.load_records("exam")
    >>> exam.shape
    (4059, 11)
    >>> list(exam.columns[:5])
    ['student', 'school', 'cohort', 'score', 'prior_score']
    """
    dataset = describe(name)
    if not dataset.canonical:
        raise RecordsError(f"The bundled data '{name}' hold no student records; use load('{name}').")
    table = load(name)
    if "cohort" not in dataset.canonical:
        table["cohort"] = 0
    records = read_records(table, dataset.canonical)
    records.attrs["source"] = bundle_path(name).name
    return records


def readme() -> str:
    """Return the text of ``data/README.md``: every table with its source, licence, dictionary and checksum."""
    parts = ["# Data\n\nWritten by `python data/make_demo.py` from `data/datasets.yml`: change the facts there.\n"]
    for dataset in _registry().values():
        schools = f", {dataset.schools:,} schools" if dataset.schools else ""
        dictionary = "\n".join(f"| `{column}` | {meaning} |" for column, meaning in dataset.columns.items())
        parts.append(
            f"## {dataset.name}.csv: {dataset.title}\n\n{dataset.rows:,} rows{schools}.\n\n"
            f"* Source: {dataset.source}\n* Licence: {dataset.licence}\n* Study: {dataset.citation}\n"
            f"* SHA-256: `{dataset.sha256}`\n\n{dataset.note}\n\n| column | meaning |\n|---|---|\n{dictionary}\n"
        )
    return "\n".join(parts)
