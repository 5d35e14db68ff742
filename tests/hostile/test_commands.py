"""The commands about hostile records: what they print steers no terminal, and the counts of all that was tried."""

from __future__ import annotations

import hostile_names
import pytest
import test_formulas
import test_names
import test_numbers
import test_properties
import test_spreadsheet
import yaml
from test_hostile_book import hostile_study
from typer.testing import CliRunner

from valib.command.cli import app


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("commands")
    params = hostile_study(root)
    values = params.model_dump(
        include={
            "title",
            "data",
            "columns",
            "baseline_cohorts",
            "focal_cohorts",
            "formula",
            "further_formulas",
            "school",
        }
    )
    (root / "study.yml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return root


ORDERS = [
    ["check"],
    ["check", "--json"],
    ["fit", "--model", "relative", "--out", "OUT"],
    ["fit", "--model", "benchmark", "--out", "OUT"],
    ["baseline", "--out", "OUT.json"],
    ["check", "--formula", "score ~ prior_score + `\x1b[31m`"],
    ["check", "--focal-cohorts", "2044"],
    ["fit", "--model", "relative", "--out", "OUT", "--formula", "score ~ prior_score + open('SENTINEL', 'w')"],
    ["fit", "--model", "relative", "--out", "OUT", "--column", "school=\u202eno such\x1b]0;title\x07"],
]


@pytest.mark.parametrize("order", ORDERS, ids=range(len(ORDERS)))
def test_what_a_command_prints_steers_no_terminal(order, study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*order, "--params", str(study / "study.yml")])
    assert done.exit_code in (0, 2) and done.output, done.output
    assert "Traceback" not in done.output and "valib failed" not in done.output
    for line in (done.stdout + done.stderr).splitlines():
        assert all(c.isprintable() or c in "\t\u200d\u3000\u00a0" for c in line), repr(line)
    assert {p.name for p in tmp_path.iterdir()} <= {"OUT", "OUT.json"}


def test_the_counts_of_what_was_tried(record_property, capsys):
    tried = {
        "formulas refused": len(test_formulas.HOSTILE),
        "useful formulas": len(test_formulas.USEFUL),
        "tampered benchmarks": len(test_formulas.TAMPERED),
        "cells for a spreadsheet": len(test_spreadsheet.FORMULAS)
        + len(test_spreadsheet.PLAIN)
        + len(test_spreadsheet.REPLACED),
        "codes": len(test_numbers.CODES) + 2 * len(test_numbers.BAD_CODES),
        "covariates": len(test_numbers.COVARIATES),
        "scores and shapes": len(test_numbers.EXTREMES) + len(test_numbers.SHAPES),
        "names": len(test_names.EVERY),
        "schools in the book": len(hostile_names.SCHOOLS),
        "odd cells": len(test_properties.ODD),
        "generated tables": sum(test_properties.FEW.values()),
        "commands": len(ORDERS),
    }
    for what, count in tried.items():
        record_property(what, count)
    with capsys.disabled():
        print("\nHostile inputs tried: " + ", ".join(f"{count} {what}" for what, count in tried.items()))
    assert sum(tried.values()) == 1365
