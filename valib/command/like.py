"""`valib fit --like`: late students and corrected data, scored by a fit that is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import ParamsError
from ..names import about, listed
from .options import Model
from .study import check_unchanged, open_records, stamp

if TYPE_CHECKING:
    from ..effects.cohort_fit import CohortFit
    from ..effects.late import SavedFit
    from ..study.params import Params


def refuse_choices(**given: Any) -> None:
    """Raise ParamsError for a choice that the saved fit has made already."""
    for name, value in given.items():
        if value is not None:
            option = name.replace("_", "-")
            raise ParamsError(f"--like scores by a fit with choices of its own: leave --{option} out.")


def score(
    study: Params,
    params: str | None,
    like: Path,
    model: Model | None,
    out: Path,
    cohorts_text: str | None,
    engine: str | None,
    exact: bool,
) -> None:
    """Hold the folder for this run, score the schools of the records by the fits in ``like``, and write them."""
    from ..effects.late import load_fits
    from ..records.pseudonyms import check_outside
    from ..records.school_names import school_names, with_names
    from ..study import writing as output
    from ..study.publishing import as_files, publish

    check_outside(study.pseudonym_key, out)
    saved = {one.cohort: one for one in load_fits(like)}
    _check_same(study, params, like, model, next(iter(saved.values())), exact)
    mark = [output.NOT_FOR_PUBLICATION] if exact else []
    book = "results.xlsx" if study.excel else ""
    made = ["school_effects.csv", "about.csv", "columns.csv", *mark, *([book] if book else [])]
    with output.claim(out):
        output.refuse_foreign(out, "fit", made)
        before = stamp(study)
        records = open_records(study, engine, next(iter(saved.values())).state.formula)
        cohorts = _cohorts(like, saved, records, cohorts_text)
        _tell_other_rows(like, cohorts, records)
        effects, held_back = _effects(study, like, [saved[c] for c in cohorts], records)
        check_unchanged(study, records, before)
        effects = with_names(effects, school_names(records))
        one = saved[cohorts[0]]
        told = {"model": one.model, "cohorts": cohorts, "formula": one.state.formula}
        files = as_files(publish({"school_effects.csv": effects}, study, exact, **told), study, book)
        output.write_folder(out, "fit", files | dict.fromkeys(mark, output.WHY_NOT))
    hidden = (
        f"; {held_back} not shown: fewer than {study.min_students} students, or not among those that {like} shows"
        if held_back
        else ""
    )
    typer.echo(
        f"{out}: {len(effects):,} effects of schools in cohorts {listed(cohorts)}, scored by the fit in {like}{hidden}"
        + ("; exact figures, not for publication." if exact else ".")
    )


def _check_same(
    study: Params, params: str | None, like: Path, model: Model | None, saved: SavedFit, exact: bool
) -> None:
    """Raise ParamsError where the study asks for another fit than the folder holds."""
    from ..study.params import FILE_NAME

    if model is not None and model.value != saved.model:
        raise ParamsError(f"{like} holds a {saved.model} fit, not a {model.value} one: leave --model out.")
    own = params is not None or Path(FILE_NAME).is_file()
    if own and study.formula != saved.state.formula:
        raise ParamsError(
            f"{like} was fitted with the formula '{saved.state.formula}', the study has '{study.formula}': fit the study anew, "
            "or take the params file that the fit was made with."
        )
    if exact and saved.schools is None:
        raise ParamsError(
            f"{like} holds rounded figures, from which none are exact: leave --exact out, or fit it with --exact."
        )


def _tell_other_rows(like: Path, cohorts: list[int], records: Any) -> None:
    """Warn where the rows or their prior scores are chosen otherwise than those of the fit, as its folder tells them."""
    from ..effects.findings import tell
    from ..effects.long_records import other_rows
    from ..records.told import rows_chosen

    try:
        fits = json.loads((like / "fits.json").read_text(encoding="utf-8"))
        known = {one["cohort"]: rows_chosen(one) for one in fits}
    except (OSError, ValueError, LookupError, TypeError):  # the folder's fit is in another file, which is whole
        return
    tell(other_rows(t, known[t], rows_chosen(records.attrs), "fit") for t in cohorts if t in known)


def _cohorts(like: Path, saved: dict[int, SavedFit], records: Any, text: str | None) -> list[int]:
    """The cohorts to score: those named, or all of the records that the folder has a fit of."""
    from ..study.params import parse_cohorts
    from ..sums.students import cohorts_of

    asked, there = parse_cohorts(text, "--cohorts"), cohorts_of(records)
    if asked is not None and (other := [c for c in asked if c not in saved]):
        raise ParamsError(f"--cohorts names {other[0]}, and {like} holds fits of cohorts {listed(sorted(saved))} only.")
    found = asked or [c for c in there if c in saved]
    if not found:
        raise ParamsError(f"{like} holds fits of cohorts {listed(sorted(saved))}, the records hold {listed(there)}.")
    return found


def _effects(study: Params, like: Path, saved: list[SavedFit], records: Any) -> tuple[Any, int]:
    """The table of the schools scored that may be shown, and how many others there are."""
    from ..records.disclosure import told_coverage
    from ..study import tables as results

    fits, held_back = [], 0
    for one in saved:
        with about(records, [one.cohort]):
            fit = one.score(records)
        mask = _may_be_shown(study, like, one, fit)
        held_back += int((~mask).sum())
        fits.append(replace(fit, school_effects=told_coverage(fit.school_effects, mask, study.min_students)))
    return results.school_effects(fits)[0], held_back


def _may_be_shown(study: Params, like: Path, saved: SavedFit, fit: CohortFit) -> Any:
    """Which schools are large enough, and were either shown with the fit or, for sure, not part of it.

    One that was held back beside the fit would, shown here, give away those that were held back with it.
    """
    import pandas as pd

    from ..records.coverage import LOW
    from ..records.disclosure import counted
    from ..study.earlier import read_table

    path = like / "school_effects.csv"
    try:
        table = read_table(path)[["cohort", "school"]]
    except (OSError, ValueError, KeyError) as error:
        raise ParamsError(f"{path}, the schools shown with the fit, cannot be read ({type(error).__name__}).") from None
    listed_there = set(table.loc[table["cohort"] == saved.cohort, "school"])
    codes = fit.school_effects.index
    there = pd.Series([code in listed_there for code in codes], codes)
    if saved.schools is not None:
        there |= ~codes.isin(saved.schools)
    elif len(listed_there) == saved.n_schools:  # none was held back, so that any other is new
        there[:] = True
    may = there & (counted(fit.school_effects) >= study.min_students)
    return (may & ~fit.school_effects[LOW] if LOW in fit.school_effects.columns else may).to_numpy()
