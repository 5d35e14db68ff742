"""The faults that are tried, and which test tries each: so many tried, so many survived."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from test_changed import CHANGES
from test_changed import COMMANDS as STREAMED
from test_disk import COMMANDS, PLACES
from test_kernel import KERNELS
from test_kill import INTERRUPTS, MOMENTS, STAGES
from test_params_files import BROKEN, OTHERS
from test_sources_kept import OVER
from test_surroundings import VARIABLES
from test_twice import RENAMES

# What is tried, how many times, and the test that fails if a result is lost, a rerun fails or a process is left.
FAULTS = [
    ("book killed at a stage", len(STAGES), "test_kill.py::test_a_book_killed_at_each_stage"),
    ("book killed at a moment by chance", MOMENTS, "test_kill.py::test_a_book_killed_at_moments_by_chance"),
    ("real book killed", 2, "test_kill.py::test_the_killed_book_of_the_demo_study"),
    ("book interrupted", len(INTERRUPTS), "test_kill.py::test_an_interrupted_book"),
    ("fit killed", 3, "test_kill.py::test_a_killed_fit"),
    ("simulation killed, then resumed", 3, "test_kill.py::test_a_killed_simulation_goes_on_and_ends_in_the_same_bytes"),
    ("simulation interrupted", 1, "test_kill.py::test_an_interrupted_simulation"),
    ("kernel dies, hangs or runs out", len(KERNELS), "test_kernel.py::test_a_kernel"),
    ("Jupyter Book or LaTeX hangs", 2, "test_kernel.py::test_a_tool_that_hangs_is_stopped"),
    ("orphan, late process", 2, "test_kernel.py::test_the_guard_ends_what_is_late"),
    ("second run into one place", 4, "test_twice.py::test_a_second_run_is_refused_and_touches_nothing"),
    ("eight claims at once", 1, "test_twice.py::test_of_many_claims_at_once_one_is_granted"),
    ("no locks", 1, "test_twice.py::test_without_locks_the_run_goes_on"),
    (
        "a rename fails or is interrupted",
        2 * RENAMES,
        "test_twice.py::test_a_rename_that_fails_puts_back_what_was_there",
    ),
    ("killed between renames", RENAMES, "test_twice.py::test_a_run_killed_between_two_renames_is_undone_by_the_next"),
    ("full disk", len(COMMANDS), "test_disk.py::test_a_full_disk"),
    ("file that may not grow", len(COMMANDS), "test_disk.py::test_files_that_may_not_grow"),
    (
        "place that cannot be written to",
        len(COMMANDS) * len(PLACES),
        "test_disk.py::test_a_place_that_cannot_be_written_to",
    ),
    ("read-only disk", len(COMMANDS), "test_disk.py::test_a_read_only_disk"),
    ("full disk under the library", 2, "test_disk.py::test_the_library_says_so_too"),
    (
        "no home, cache, temporary folder",
        5,
        "test_surroundings.py::test_a_book_without_home_caches_and_temporary_folder",
    ),
    ("full home and temporary folder", 1, "test_surroundings.py::test_a_book_beside_a_full_home_and_temporary_folder"),
    ("broken params file", len(BROKEN), "test_params_files.py::test_a_broken_file_is_one_plain_sentence"),
    ("params that are no file", len(OTHERS), "test_params_files.py::test_what_is_no_file"),
    ("data that are not there", 5, "test_params_files.py::test_data_that_are_not_there"),
    (
        "streamed records that change",
        len(STREAMED) * len(CHANGES),
        "test_changed.py::test_records_that_change_while_they_are_read",
    ),
    (
        "result over what the study is read from",
        len(OVER),
        "test_sources_kept.py::test_no_result_goes_over_what_the_study_is_read_from",
    ),
]
HERE = Path(__file__).parent


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[0])
def test_each_fault_has_its_test(fault):
    file, _, name = fault[2].partition("::")
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert len(found) == 1 and fault[1] > 0
    told = ast.dump(found[0])
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(found[0]))
    assert asserts or "survive" in told or "killed_alive" in told


def test_the_count(record_property):
    tried = sum(number for _, number, _ in FAULTS)
    assert (len(FAULTS), tried, len(VARIABLES)) == (27, 212, 17)
    record_property("faults tried", tried)
    print(f"{len(FAULTS)} kinds of fault, {tried} tried: where every test passes all were survived and nothing lost")
