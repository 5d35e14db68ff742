"""Execute the notebooks of several schools, one after the other, in one warm kernel.

``python -m valib.pages.report.worker ORDER``, a process of its own. ORDER is a JSON file: notebooks (pairs of school
and file
name in the working directory), hidden (texts that must not stand in the outputs, each with what stands instead) and
report (a file that gets a line of JSON for each notebook: school, error or null, notes). It stops at the first error.
Every notebook begins with an empty namespace.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ..build.chapter import ANSI, DIED, START_TIMEOUT, clean

CELL_TIMEOUT = 300  # seconds that one cell may take
ENGINE = "warm"
RESET = "%reset -f"


def main(order: dict[str, Any]) -> None:
    """Execute the notebooks and report."""
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import run_sync

    manager = AsyncKernelManager(kernel_name="python3")
    register(manager)
    try:
        with open(order["report"], "w", encoding="utf-8", buffering=1) as report:
            for school, notebook in order["notebooks"]:
                told = {"school": school} | execute(Path(notebook), order["hidden"])
                report.write(json.dumps(told) + "\n")
                if told["error"]:
                    break
    finally:
        if manager.has_kernel:
            run_sync(manager.shutdown_kernel)(now=True)


def register(manager: Any) -> None:
    """Give papermill an engine that leaves this manager's kernel running for the next notebook."""
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import Engine, papermill_engines

    class Warm(Engine):
        client: Any = None

        @classmethod
        def execute_managed_notebook(
            cls,
            nb_man: Any,
            kernel_name: str,
            start_timeout: int = START_TIMEOUT,
            execution_timeout: int | None = None,
            **_: Any,
        ) -> Any:
            runner = PapermillNotebookClient(
                nb_man, km=manager, kernel_name=kernel_name, timeout=execution_timeout, startup_timeout=start_timeout
            )
            runner.kc = cls.client
            try:
                return runner.execute()
            finally:
                cls.client = runner.kc

    papermill_engines.register(ENGINE, Warm)


def execute(path: Path, hidden: dict[str, str]) -> dict[str, Any]:
    """Execute one notebook in place; return error (name, text, traceback; or None) and notes."""
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(RESET, id="reset"))
    try:
        done = papermill.execute_notebook(
            notebook,
            None,
            engine_name=ENGINE,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            start_timeout=START_TIMEOUT,
            execution_timeout=CELL_TIMEOUT,
        )
    except papermill.PapermillExecutionError as error:
        return _error(error.ename, error.evalue, "\n".join(error.traceback))
    except DeadKernelError:
        return _error("", DIED)
    except Exception as error:  # a cell that hangs, a file that is no notebook
        return _error(type(error).__name__, str(error))
    done.cells = [cell for cell in done.cells if cell.id != "reset"]
    nbformat.write(done, path)
    return {"error": None, "notes": clean(path, hidden)}


def _error(name: str, text: str, traceback: str = "") -> dict[str, Any]:
    lines = [line.strip() for line in ANSI.sub("", text).splitlines() if line.strip()]
    return {
        "error": {"name": name, "text": lines[0] if lines else "no message", "traceback": ANSI.sub("", traceback)},
        "notes": [],
    }


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
