"""A proposal as the text of a params.yml, with a comment on every value."""

from __future__ import annotations

from collections.abc import Iterator

from ...records.reading import CANONICAL
from .columns import scalar
from .proposal import Proposal


def params_text(proposal: Proposal, data: str, table: str | None = None) -> str:
    """Return a params.yml that `valib.study.params.load` reads; names from the data are quoted, so nothing in them
    acts.

    data, table : where the records are, as the params file is to say it.
    """
    lines = [
        "# The study. `valib init` has proposed this file from the records; `valib check` says what is in them.",
        "# What is not said here is as in the demo study, but for cohorts: `valib COMMAND --help` lists the options.",
        *_unsure(proposal),
        "",
        f"title: {scalar(proposal.params.get('title', 'School value added'))}",
        f"data: {scalar(data)}",
    ]
    if table is not None:
        lines.append(f"table: {scalar(table)}")
    lines += ["", *_columns(proposal)]
    for name, value in proposal.params.items():
        if name in ("columns", "title"):
            continue
        lines += ["", *_comment(proposal.reasons.get(name))]
        if name == "further_formulas":
            lines += [f"{name}:", *(f"  - {scalar(formula)}" for formula in value)]
        else:
            lines.append(f"{name}: {scalar(value)}")
    for name in proposal.questions.keys() - {*CANONICAL}:
        lines += ["", _question(name, proposal.questions[name])]
    if "focal_cohorts" not in proposal.params:
        lines += ["", "# baseline_cohorts: those that define what is typical; all others are focal_cohorts"]
    elif "baseline_cohorts" not in proposal.params:
        lines += ["", "# baseline_cohorts: []    # there is one cohort: nothing can be a benchmark"]
    return "\n".join(lines) + "\n"


def _unsure(proposal: Proposal) -> Iterator[str]:
    if proposal.unsure:
        yield "#"
        yield "# Unsure of:"
        yield from (f"#   - {sentence}" for sentence in proposal.unsure)


def _columns(proposal: Proposal) -> Iterator[str]:
    """The mapping, with commented lines for what is named as valib names it and for what was not found."""
    mapping = proposal.params["columns"]
    yield "# This library's name: the name in the records."
    asked = {*proposal.missing, *(proposal.questions.keys() & {*CANONICAL})}
    yield "columns:" if mapping or asked else "columns: {}"
    for role in dict.fromkeys([*CANONICAL, *mapping]):
        reason = proposal.reasons.get(f"columns.{role}")
        if role in mapping:
            yield f"  {scalar(role)}: {scalar(mapping[role])}" + (f"    # {reason}" if reason else "")
        elif role in proposal.questions:
            yield "  " + _question(role, proposal.questions[role])
        elif role in proposal.missing:
            yield "  " + _question(
                role, f"which column holds the {role.replace('_', ' ')}?{_candidates(proposal.missing[role])}"
            )
        elif reason and reason.startswith("made by"):
            yield f"  # {role}: {reason}"
        elif reason:
            yield f"  # {role} is named so"
        else:
            yield f"  # there is no {role}"


def _candidates(names: tuple[str, ...]) -> str:
    return f" Perhaps {', '.join(map(scalar, names[:10]))}" if names else ""


def _question(name: str, words: str) -> str:
    """A line that `check` and `fit` refuse with its words until its value is no question mark."""
    return f'{scalar(name)}: "?"    # {words}'


def _comment(reason: str | None) -> list[str]:
    return [f"# {reason}"] if reason else []
