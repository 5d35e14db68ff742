"""Reads a sheet of a workbook, or a file of Stata, SPSS or SAS, in a process of its own, with limits of time and memory: a
program, not imported.

A damaged or hostile file can make its reader run for ever, ask for all memory (a few hundred bytes may declare billions
of cells) or break down, and nothing inside the same process can stop it. Arguments: the file, seconds, bytes, then
"sheet", the sheet's name or "", whether one is asked for; or the name of pyreadstat's reader. Writes a pickle: the names
of the sheets, the one taken, its rows; or the table, its value labels and the encoding that had to be taken, if any.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from typing import Any


def main(path: str, seconds: str, memory: str, *what: str) -> None:
    """Read, and write the answer to standard output."""
    with contextlib.suppress(ImportError):  # where there are no such limits, who waits has one of time
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = _sheet(path, *what[1:]) if what[0] == "sheet" else _labelled(path, what[0])
    pickle.dump(answer, sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)


def _sheet(path: str, table: str, asked: str) -> dict[str, Any]:
    import python_calamine

    try:
        with open(path, "rb") as stream:
            book = python_calamine.CalamineWorkbook.from_filelike(stream)
            names = [str(name) for name in book.sheet_names]
            sheet = table if asked == "1" else next(iter(names), "")
            rows = book.get_sheet_by_name(sheet).to_python(skip_empty_area=False) if sheet in names else []
        return {"names": names, "rows": rows}
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        return {"problem": str(error)}


def _labelled(path: str, reader: str) -> dict[str, Any]:
    """A file read by pyreadstat; in Windows-1252 if its text is not in the encoding that it names or is taken to have."""
    import pyreadstat

    problem = ""
    for encoding in (None, "WINDOWS-1252") if reader != "read_por" else (None,):
        try:
            frame, meta = getattr(pyreadstat, reader)(path, **({"encoding": encoding} if encoding else {}))
            return {"frame": frame, "labels": meta.variable_value_labels, "encoding": encoding}
        except MemoryError:
            raise
        except Exception as error:  # a foreign format: whatever the reader stumbles over, the file cannot be read
            problem = problem or str(error)
            if not isinstance(error, UnicodeDecodeError) and "convert" not in str(error):
                break
    return {"problem": problem}


if __name__ == "__main__":
    main(*sys.argv[1:])
