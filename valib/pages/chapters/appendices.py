"""The tables of the appendices: what a study is made of, how this copy was made, and how fast the computations are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ...records import datasets
from ...records.disclosure import few, few_of_total
from ...study import dictionary
from ...study.params import Params
from .. import figures, speed
from ..build import account
from ..findings import Findings
from ..prose import escape

TIMED = {
    "relative": ("Relative fit beside other packages: seconds, median and range.", ["relative"]),
    "sums": ("Sums of the students beside one product: seconds, median and range.", ["sums"]),
    "joint": ("Joint fit, and integrated intervals: seconds, median and range.", ["joint", "posterior"]),
    "rest": (
        "School bootstrap, reading, large files and reports: seconds, median and range.",
        ["bootstrap", "reading", "streaming", "spark", "reports"],
    ),
}


def parameters() -> Findings:
    """Every parameter of a study and what it means."""
    rows = [(f"`{name}`", Params.model_fields[name].description) for name in Params.names()]
    frame = pd.DataFrame(rows, columns=["Parameter", "Meaning"])
    return Findings().table(frame, "Parameters of a study", "tab-data-parameters", index=False, raw=True)


def written_files(command: str) -> Findings:
    """The files of results that a command writes, and what a row of each is."""
    rows = [(f"`{name}`", told) for name, told in dictionary.FILES[command].items()]
    frame = pd.DataFrame(rows, columns=["File", "Holds"])
    caption = f"Files of results that `valib {command}` writes"
    return Findings().table(frame, caption, f"tab-data-files-{command}", index=False, raw=True)


def columns(part: int, of: int) -> Findings:
    """One part, of so many, of the columns of all files by name, with meaning and unit, as columns.csv has them."""
    told = {(name, ""): text for name, text in dictionary.COLUMNS.items()}
    told |= {(name, file): text for (file, name), text in dictionary.ELSEWHERE.items()}
    rows = [
        (f"`{name}`" + (f" in `{file}`" if file else ""), escape(text), unit.replace("points", "score points"))
        for (name, file), (text, unit) in sorted(told.items())
    ]
    each = -(-len(rows) // of)
    frame = pd.DataFrame(rows[part * each : (part + 1) * each], columns=["Column", "Meaning", "Unit"])
    caption = f"Columns of the files, part {part + 1} of {of}"
    return Findings().table(frame, caption, f"tab-data-columns-{part + 1}", index=False, raw=True)


def bundled_data() -> Findings:
    """The data sets that come with the library, with their licences."""
    known = [datasets.describe(name) for name in datasets.names()]
    rows = [(f"`{d.name}`", escape(d.title), escape(d.licence)) for d in known]
    frame = pd.DataFrame(rows, columns=["Name", "Data", "Licence"])
    return Findings().table(frame, "Data that come with the library", "tab-data-bundled", index=False, raw=True)


def records(records: pd.DataFrame, summary: pd.DataFrame, lost: pd.DataFrame) -> Findings:
    """How many rows, schools and cohorts the records of this copy have."""
    found = Findings().record("source", records.attrs["source"])
    found.record("rows_read", records.attrs["rows_read"])
    found.record("rows_used", len(records))
    found.record("rows_lost", int(lost["rows"].sum()))
    found.record("schools", records["school"].nunique())
    return found.record("cohorts", len(summary))


def chosen(records: pd.DataFrame) -> Findings:
    """Which rows were asked for, and how many have a prior score by cohort; counts of few students are not there."""
    found = Findings()

    def said(count: int | None) -> str:
        return "not shown" if count is None else f"{count:,}"

    if where := records.attrs.get("where"):
        rows = [(escape(where["expression"]), f"{where['rows']:,}", said(where["left_out"]))]
        frame = pd.DataFrame(rows, columns=["Expression", "Rows", "Left out"])
        found.table(frame, "The rows that the study asks for.", "tab-build-where", index=False, raw=True)
    if prior := records.attrs.get("prior"):
        names = ("linked", "unlinked", "ambiguous")
        rows = [(str(row["cohort"]), *(said(row[name]) for name in names)) for row in prior["by_cohort"]]
        caption = f"Rows whose prior score was found ({escape(prior['from'])}), and those with two earlier rows."
        frame = pd.DataFrame(rows, columns=["Cohort", *(name.capitalize() for name in names)])
        found.table(frame, caption, "tab-build-linkage", index=False)
    return found


def cohorts(summary: pd.DataFrame, lost: pd.DataFrame, min_students: int) -> Findings:
    """Students and schools of each cohort, and what was left out; counts of few students are masked."""
    counts = summary[["students", "schools", "smallest_school", "median_school", "largest_school"]]
    counts = counts.assign(smallest_school=[few(n, min_students) for n in counts["smallest_school"]])
    counts = counts.rename(columns=lambda name: name.replace("_", " ").capitalize()).rename_axis("Cohort")
    caption = "Students and schools in each cohort, and the number of students in a school."
    found = Findings().say("{numref}`tab-build-cohorts` counts the students and schools of each cohort.")
    found.table(counts, caption, "tab-build-cohorts", formats={"Median school": ",.0f"})
    if len(lost):
        found.say("{numref}`tab-build-left-out` says which rows were left out.")
        shown = lost.assign(rows=few_of_total(lost["rows"], min_students)).rename(columns=str.capitalize)
        found.table(
            shown.assign(Cohort=shown["Cohort"].astype("str").fillna("unknown")),
            "Rows left out, by cohort and what they lack. Counts of few students are not shown, "
            "nor those that would give them away.",
            "tab-build-left-out",
            index=False,
        )
    return found.say("No row was left out.", when=lost.empty)


def times() -> Findings:
    """How long each chapter took in the run that this page is part of."""
    found = Findings()
    times = account.times().rename(columns=str.capitalize)
    if len(times):
        caption = "Time that each chapter took, in seconds."
        found.say("{numref}`tab-build-times` has the time that each chapter took.")
        found.table(times, caption, "tab-build-times", formats={"Seconds": ".1f"}, index=False)
    return found.say("This page was made alone: it knows no times of other chapters.", when=times.empty)


def versions() -> Findings:
    """Versions of what this copy was made with."""
    versions = account.versions().rename(columns=str.capitalize)
    found = Findings().say("{numref}`tab-build-versions` lists the software.")
    caption = "Versions of the software behind figures and pages."
    return found.table(versions, caption, "tab-build-versions", index=False)


def machine(result: Mapping[str, Any]) -> Findings:
    """The machine on which the performance was measured; result as :func:`valib.pages.speed.load` gives it."""
    found, machine = Findings(), result["machine"]
    found.record("date", result["date"])
    found.record("cpu", machine["cpu"])
    found.record("cores", machine["cores"])
    found.record("threads", machine["threads"])
    found.record("memory", machine["memory_gib"] or float("nan"), ".0f")
    found.record("minutes", result["minutes"], ".0f")
    return found


def note(result: Mapping[str, Any]) -> Findings:
    """What the run says of itself, if anything."""
    return Findings().say(escape(result.get("note", "")), when="note" in result)


def timed(result: Mapping[str, Any], what: str) -> Findings:
    """One table of times; what: a key of :data:`TIMED`."""
    caption, cases = TIMED[what]
    return Findings().table(
        speed.comparisons(result, *cases), caption, f"tab-performance-{what}", index=False, raw=True
    )


def agreement(result: Mapping[str, Any]) -> Findings:
    """Whether the packages that were timed give the same answers."""
    caption = "Agreement of the fits, and peak memory of each process."
    return Findings().table(speed.agreement(result), caption, "tab-performance-agreement", index=False, raw=True)


def growth(result: Mapping[str, Any]) -> Findings:
    """How time and memory grow with students, schools, covariates and cohorts."""
    grown = speed.growth(result)
    held = grown[grown["along"] == "Schools"].iloc[0]
    found = Findings().record("held_students", int(held["students"]))
    found.record("held_covariates", int(held["covariates"]))
    found.record("held_schools", int(grown[grown["along"] == "Students"]["schools"].max()))
    return found.figure("growth", figures.scaling(grown))


def verdicts(result: Mapping[str, Any]) -> Findings:
    """The targets, and whether they were met."""
    return Findings().say("\n".join(f"- {escape(sentence)}" for sentence in speed.verdicts(result)))


def measured_versions(result: Mapping[str, Any]) -> Findings:
    """Versions of what was measured."""
    versions = pd.DataFrame(result["versions"].items(), columns=["Package", "Version"])
    return Findings().table(versions, "Versions of what was measured.", "tab-performance-versions", index=False)
