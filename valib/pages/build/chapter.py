"""Execute one notebook in place and report: ``python -m valib.pages.build.chapter ORDER``, a process of its own.

ORDER is JSON: notebook (path), cwd (the kernel's folder) and hidden (texts that must not stand in the outputs, such as
folders of this machine, each with what stands instead). The report is the last line printed, after :data:`REPORT`: that
works on a full disk too.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ANSI = re.compile(r"\x1b\[[0-9;]*m")
TEXT = ("text/plain", "text/html", "text/markdown", "text/latex")
REPORT = "\x1e valib reports: "
DIED = "the kernel died (out of memory, or ended by the code or from outside)"
NOISE = re.compile(r"Matplotlib (is building|created) |Could not save (the )?font")  # of no use to anybody
START_TIMEOUT = 180  # seconds that a kernel may take to start on a busy machine


def main(order: dict[str, Any]) -> None:
    """Execute the notebook and print the report: error (or None) and notes."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    path = Path(order["notebook"])
    report: dict[str, Any] = {"error": None, "notes": []}
    try:
        papermill.execute_notebook(
            str(path),
            str(path),
            kernel_name="python3",
            language="python",
            cwd=order["cwd"],
            progress_bar=False,
            start_timeout=START_TIMEOUT,
        )
    except papermill.PapermillExecutionError as error:
        report["error"] = {
            "name": error.ename,
            "text": _first_line(error.evalue),
            "where": f"code cell {error.exec_count}",
            "traceback": ANSI.sub("", "\n".join(error.traceback)),
        }
    except DeadKernelError:
        report["error"] = {"name": "", "text": DIED, "where": reached(path), "traceback": ""}
    except Exception as error:  # a full disk, a file that is no notebook: all is told in the report
        report["error"] = {
            "name": type(error).__name__,
            "text": _first_line(str(error)),
            "where": reached(path),
            "traceback": "",
        }
    else:
        report["notes"] = clean(path, {text: instead for text, instead in order["hidden"].items() if len(text) > 1})
    print(f"\n{REPORT}{json.dumps(report)}", flush=True)


def reached(path: Path) -> str:
    """Say how far the execution of a notebook has got: papermill writes it down before and after every cell."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, LookupError):  # it was killed while writing
        return "in a cell that is not known"
    started = [k for k, cell in enumerate(cells) if cell["metadata"].get("papermill", {}).get("start_time")]
    number = sum(cell["cell_type"] == "code" for cell in cells[: started[-1] + 1]) if started else 0
    return f"code cell {number}" if number else "at start"


def clean(path: Path, hidden: dict[str, str]) -> list[str]:
    """Take out of an executed notebook what a reader has no use for; return the notes on what was taken out.

    That is: papermill's metadata, which hold paths; what went to stderr; and the texts in ``hidden``.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    notes = []
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        said = [_last_line(output.text) for output in cell.outputs if output.get("name") == "stderr"]
        notes += [line for line in said if not NOISE.search(line)]
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            _hide(output, hidden)
    nbformat.write(notebook, path)
    return notes


def _hide(output: Any, hidden: dict[str, str]) -> None:
    """Replace the hidden texts in the text of an output."""
    parts = output.get("data", {})
    for text, instead in sorted(hidden.items(), key=lambda item: -len(item[0])):
        pattern = re.compile(re.escape(text) + r"(?:/|(?![\w.-]))")
        for key in TEXT:
            if isinstance(parts.get(key), str):
                parts[key] = pattern.sub(instead, parts[key])
        if isinstance(output.get("text"), str):
            output["text"] = pattern.sub(instead, output["text"])


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return ANSI.sub("", lines[0]) if lines else "no message"


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return ANSI.sub("", lines[-1]).strip() if lines else ""


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
