"""What the page of one school shows: its tables, and the sentences that its intervals allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ...errors import ValibError
from ...names import readable
from ...records.coverage import FULL
from ..figures.style import digits_for
from ..prose import as_text, code, escape, in_words
from . import words
from .over_years import OverYears
from .results import ABSENT, HELD_BACK, SHOWN, StudyResults
from .words import Estimate, Place

LONGEST_NAME, LONGEST_WORD = 100, 40  # letters of a school's name in a title, and of a word in it
NONE = "\N{EN DASH}"  # stands where there is no figure
NOT_SHOWN = {HELD_BACK: "not shown", ABSENT: "no students"}


@dataclass(frozen=True, eq=False)  # without slots: what several texts need is computed once
class SchoolPage:
    """One school of a study.

    school: its code. cells: its rows of the study's results, index cohort, with those of the study's cohorts beside
    them. changes: its changes between years. over_years: its mean over years and its lasting part. study: what the results
    say of the study. digits: decimals of values in score points, by the spread of the students' scores.
    """

    school: str
    cells: pd.DataFrame
    changes: pd.DataFrame
    over_years: OverYears
    study: dict[str, Any] = field(repr=False)
    digits: int

    @property
    def level(self) -> float:
        """Level of the intervals."""
        return self.study["settings"]["level"]

    def by_chance(self) -> str:
        """How often an exactly average school is called above or below in the years of the page that have a figure."""
        return words.by_chance(self.level, sum(c not in self.singular for c in self.shown.index))

    @cached_property
    def rows(self) -> dict[int, dict[str, Any]]:
        """The rows of cells by cohort, as plain values: a page reads hundreds of them one by one."""
        return self.cells.to_dict("index")

    @cached_property
    def shown(self) -> pd.DataFrame:
        """The cohorts in which the school is shown."""
        return self.cells[self.cells["state"] == SHOWN]

    @property
    def shown_rows(self) -> list[tuple[int, dict[str, Any]]]:
        """The cohorts in which the school is shown, with their rows."""
        return [(cohort, row) for cohort, row in self.rows.items() if row["state"] == SHOWN]

    @property
    def last(self) -> int:
        """The last cohort in which the school is shown."""
        return int(self.shown.index[-1])

    @cached_property
    def singular(self) -> list[int]:
        """The cohorts in which the differences between schools are no larger than chance."""
        return self.cells.index[self.cells["singular"].astype(bool)].tolist()

    def estimate(self, cohort: int, model: str) -> Estimate:
        """Value added and interval, model "relative", "benchmark" or "shift"."""
        row = self.rows[cohort]
        return Estimate(*(float(row[f"{model}{end}"]) for end in ("", "_lower", "_upper")))

    def opening(self) -> str:
        """The study, the years and the day in one line."""
        baseline, focal = (in_words([str(c) for c in self.study[role]]) for role in ("baseline", "focal"))
        years = f"{baseline} (baseline), {focal}" if self.study["baseline"] else focal
        return (
            f"**School:** {escape(shown_name(self.school, self.study.get('names')))}. "
            f"**Study:** {escape(self.study['title'])}. "
            f"**Years:** {years}. **Made on** {self.study['day']}."
        )

    def about(self) -> str:
        """What the page is, in two sentences."""
        same = "the same earlier scores"
        if self.study["covariates"]:
            same += f" and the same values of {escape(in_words(self.study['covariates']))}"
        return (
            f"This page tells how far the students of this school came, compared with students elsewhere who had "
            f"{same}: this difference, averaged over the school's students, is its *value added*. Each figure is "
            f"an estimate with a {words.percent(self.level)} interval, the range of values that fit the records; "
            "where it is wide, little can be said."
        )

    def in_short(self) -> list[str]:
        """The sentences that matter most: the last year against both yardsticks, change, and place."""
        row, last = self.rows[self.last], self.last
        said = [words.relative(last, self.estimate(last, "relative"), self.level, self.digits, row["singular"])]
        focal = [c for c in self.shown.index if c in self.study["focal"]]
        if not self.study["baseline"]:
            said.append(words.NO_BASELINE)
        else:
            said.append(self.against_baseline(focal[-1]) if focal else words.NO_FOCAL_YEAR)
        return [*said, self._place(last), *self.change()]

    def against_baseline(self, cohort: int) -> str:
        """The benchmark value added of a focal cohort, and what of it is common to all schools."""
        row = self.rows[cohort]
        text = words.benchmark(
            cohort,
            self.estimate(cohort, "benchmark"),
            self.study["baseline"],
            self.level,
            self.digits,
            row["benchmark_singular"],
        )
        equated = self.study["settings"]["equating_se"] is not None
        shift = self.estimate(cohort, "shift")
        common = words.system(cohort, shift, self.level, self.digits, row["shift_by"], equated)
        parts = [text, "" if row["benchmark_singular"] else common, words.PRIOR_MOVED if row["prior_moved"] else ""]
        return " ".join(part for part in parts if part)

    def several_years(self) -> list[str]:
        """The mean over the years judged and the lasting part, each with its interval, or why it is not given."""
        found, focal = self.over_years, sorted(self.study["focal"])
        said = []
        for table, name, why in (
            (found.averages, "average", found.why_no_average),
            (found.lasting, "lasting", found.why_no_lasting),
        ):
            if table.empty:
                why = why or ("held_back" if (self.cells["state"] == HELD_BACK).any() else "absent")
                said.append(words.no_mean(why, focal) if name == "average" else words.no_lasting(why))
                continue
            row = table.iloc[0]
            estimate = Estimate(*(float(row[c]) for c in (name, "lower", "upper")))
            told = (estimate, self.level, self.digits)
            said.append(words.mean(focal, int(row["cohorts"]), *told) if name == "average" else words.lasting(*told))
        return said

    def about_several_years(self) -> str:
        """How the figures of several years are to be read; empty if there is none."""
        found = self.over_years
        return words.several_years(not found.averages.empty, not found.lasting.empty, found.fits_worse)

    def over_the_years(self) -> str:
        """In which years it was above or below, by both yardsticks, and which years have no figure."""
        own, against = (
            {int(c): self.estimate(c, model) for c in self.shown.index} for model in ("relative", "benchmark")
        )
        flat = self.cells.index[self.cells["benchmark_singular"].astype(bool)].tolist()
        state = self.cells["state"]
        settings, low = self.study["settings"], self.cells["low_coverage"].astype(bool)
        gaps = words.gaps(
            state.index[(state == HELD_BACK) & ~low].tolist(),
            state.index[state == ABSENT].tolist(),
            settings["min_students"],
            low.index[low].tolist(),
            settings["min_linked_share"],
        )
        new = bool(self.study["baseline"]) and {"focal"} == set(self.shown["role"])
        alike = words.alike(*([c for c in self.shown.index if c in years] for years in (self.singular, flat)))
        said = (
            words.years(own, self.singular),
            words.years(against, flat, words.THE_BASELINE),
            alike,
            gaps,
            words.NO_BASELINE_YEAR if new else "",
        )
        return " ".join(text for text in said if text)

    def change(self) -> list[str]:
        """From the first and from the previous year shown to the last, or why a change cannot be said."""
        *earlier, last = self.shown.index.tolist()
        if not earlier:
            return [words.ONE_YEAR]
        said = []
        for first in dict.fromkeys([earlier[0], earlier[-1]]):
            found = self.changes[(self.changes["first"] == first) & (self.changes["second"] == last)]
            values = found[["change", "lower", "upper"]].to_numpy(dtype=float)
            estimate = Estimate(*values[0]) if len(values) else Estimate(np.nan, np.nan, np.nan)
            said.append(words.change(first, last, estimate, self.level, self.digits, self.singular))
        return said

    def about_change(self) -> str:
        """Where the changes come from; empty if none is given."""
        if self.changes.empty:
            return ""
        return words.JOINT if self.changes["joint"].all() else words.apart(self.study["why_not_joint"] or "held_back")

    def value_added_table(self) -> pd.DataFrame:
        """One row a cohort: students, both kinds of value added, each with its interval and side in words."""
        rows = []
        for cohort, row in self.rows.items():
            texts = [NOT_SHOWN.get(row["state"], "")] + [NONE] * 6
            if row["state"] == SHOWN:
                texts = [as_text(int(row["n"]))]
                for model in ("relative", "benchmark"):
                    estimate = self.estimate(cohort, model)
                    there = estimate.side != "missing"
                    texts += [
                        words.points(estimate, self.digits) if there else NONE,
                        words.interval(estimate, self.digits) if there else NONE,
                        row[f"{model}_side"] or NONE if there else NONE,
                    ]
            rows.append([self._year(cohort), *texts])
        interval = f"{words.percent(self.level)} interval"
        heads = ["Year", "Students", "Against its year", interval, "Side", "Against the baseline", interval, "Side"]
        return pd.DataFrame(rows, columns=heads)

    def place_table(self) -> pd.DataFrame:
        """One row a cohort with a place: schools shown, expected place, interval, highest and lowest fifth, by the
        relative value added; and expected place and interval by the benchmark value added."""
        rows = []
        for cohort, row in self.shown_rows:
            own, against = (
                _place_of(row, *names)
                for names in (
                    ("expected_rank", "rank_lower", "rank_upper"),
                    ("benchmark_rank", "benchmark_rank_lower", "benchmark_rank_upper"),
                )
            )
            if own is None and against is None:
                continue
            fifths = [words.chance(row[p], short=True) if own else NONE for p in ("p_top", "p_bottom")]
            rows.append(
                [
                    self._year(cohort),
                    as_text(int(row["ranked"])),
                    *(own or [NONE] * 2),
                    *fifths,
                    *(against or [NONE] * 2),
                ]
            )
        interval = f"{words.percent(self.level)} interval"
        return pd.DataFrame(
            rows,
            columns=[
                "Year",
                "Schools",
                "Expected place",
                interval,
                "Highest fifth",
                "Lowest fifth",
                "By the baseline",
                interval,
            ],
        )

    def intake_table(self) -> pd.DataFrame:
        """One row a cohort in which it is shown: students, those tested, the share linked, mean and SD of the prior score,
        here and in all schools."""
        columns = ["prior_mean", "all_prior_mean", "prior_sd", "all_prior_sd"]
        digits = digits_for(self.cells["all_prior_mean"])
        rows = [
            [
                self._year(cohort),
                as_text(int(row["n"])),
                _number(row["tested"], 0),
                words.share(row["linked_share"]) if np.isfinite(row["linked_share"]) else NONE,
                *(_number(row[c], digits) for c in columns),
            ]
            for cohort, row in self.shown_rows
        ]
        heads = [
            "Year",
            "Students",
            "Tested",
            "Linked",
            "Mean",
            "Mean, all schools",
            "Spread (SD)",
            "Spread, all schools",
        ]
        return pd.DataFrame(rows, columns=heads)

    def coverage(self) -> str:
        """The years in which fewer than FULL of the tested students are linked; empty if in none."""
        share = self.shown["linked_share"]
        return words.coverage({int(c): float(v) for c, v in share[share < FULL].items()})

    def analyst_table(self) -> pd.DataFrame:
        """One row a cohort in which it is shown: standard errors, reliability, effect size, and the system's shift."""
        rows = []
        for cohort, row in self.shown_rows:
            shift = self.estimate(cohort, "shift")
            told = f"{words.points(shift, self.digits)} ({words.interval(shift, self.digits)})"
            rows.append(
                [
                    self._year(cohort),
                    _number(row["relative_se"], self.digits + 1),
                    _number(row["reliability"], 2),
                    _number(row["effect_size"], 2, "+"),
                    _number(row["benchmark_se"], self.digits + 1),
                    _number(row["vpc"], 3),
                    NONE if shift.side == "missing" else told,
                ]
            )
        return pd.DataFrame(
            rows, columns=["Year", "SE, its year", "Reliability", "Effect size", "SE, baseline", "VPC", "System shift"]
        )

    def settings(self) -> str:
        """The model and its settings in one paragraph."""
        s = self.study["settings"]
        shift = "no shift of the system" if s["shift"] == "absorbed" else "the shift of the system estimated"
        equating = "not known" if s["equating_se"] is None else f"{s['equating_se']:g}"
        scale = "" if s["equating_se"] else ", so the intervals take the tests of all years to be on one scale"
        if self.study["linked"]:
            scale += f". Carried back over a link, whose error the intervals hold: {in_words(self.study['linked'])}"
        taken = words.taken_off({escape(name): known for name, known in s["reliability"].items()})
        return (
            f"Records: {escape(self.study['source'])}. Model: {code(s['formula'])}, random intercept for schools, "
            f"{s['method']}. {taken}Baseline coefficients: {s['estimator']}; {shift}; variances of the {s['variances']} "
            f"cohorts. Standard error of equating: {equating}{scale}. Smallest school shown: "
            f"{s['min_students']} students, {words.share(s['min_linked_share'])} of the tested linked. "
            f"{words.sides_by(s['fdr'])}Seed of the ranks: {s['seed']}. {words.VARIANCES[s['intervals']]}"
        )

    def warnings(self) -> list[str]:
        """What valib warned of when it fitted the study's models."""
        return [escape(text) for text in self.study["warnings"]]

    def _place(self, cohort: int) -> str:
        row = self.rows[cohort]
        place = Place(
            row["expected_rank"],
            row["rank_lower"],
            row["rank_upper"],
            row["p_top"],
            row["p_bottom"],
            int(row["ranked"]),
        )
        above = words.standing(cohort, (row["above_lower"], row["above_upper"]), self.study["baseline"], self.level)
        return f"{words.position(cohort, place, self.level, row['singular'])} {above}".strip()

    def _year(self, cohort: int) -> str:
        return f"{cohort}*" if cohort in self.study["baseline"] else str(cohort)


def _place_of(row: Mapping[str, Any], expected: str, lower: str, upper: str) -> list[str] | None:
    """The place and its interval as texts; None if there is no place."""
    if not np.isfinite(row[expected]):
        return None
    return [as_text(float(row[expected]), ".0f"), f"{row[lower]:.0f} to {row[upper]:.0f}"]


def shown_name(school: str, names: Mapping[str, str] | None = None) -> str:
    """A school's code for a title, with its name behind it if it has one; without a place to break, cut to a line."""
    text = readable(school, LONGEST_NAME)
    code = text if max(map(len, text.split())) <= LONGEST_WORD else readable(school, LONGEST_WORD)
    name = (names or {}).get(school)
    return f"{code}, {shown_name(name)}" if name else code


def school_page(results: StudyResults, school: str) -> SchoolPage:
    """One school's page from the results of a study.

    Raises ValibError for a school that is not among the results or may not be shown in any cohort.
    """
    cells = results.cells[results.cells["school"] == school].drop(columns="school").set_index("cohort")
    if not (cells["state"] == SHOWN).any():
        raise ValibError(f"School '{school}' may not be shown in any cohort of the study, or is not in its records.")
    about = results.cohorts.rename(columns={"prior_mean": "all_prior_mean", "prior_sd": "all_prior_sd"})
    changes = results.changes[results.changes["school"] == school].drop(columns="school")
    digits, several = digits_for(results.cohorts["student_sd"]), results.over_years.of({school})
    return SchoolPage(school, cells.join(about), changes, several, results.study, digits)


def _number(value: float, digits: int, sign: str = "") -> str:
    return as_text(float(value), f"{sign}.{digits}f") if np.isfinite(value) else NONE
