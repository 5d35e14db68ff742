"""Reads a sheet of a workbook in a process of its own, with limits of time and memory: a program, not imported.

A damaged or hostile workbook can make its reader run for ever or ask for all memory (a few hundred bytes may declare
billions of cells), and nothing inside the same process can stop it. Arguments: the file, the sheet's name or "",
whether one is asked for, seconds, bytes. Writes a pickle: the names of the sheets, the one taken, its rows.
"""

from __future__ import annotations

import contextlib
import pickle
import sys


def main(path: str, table: str, asked: str, seconds: str, memory: str) -> None:
    """Read, and write the answer to standard output."""
    import python_calamine

    with contextlib.suppress(ImportError):  # where there are no such limits, who waits has one of time
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open(path, "rb") as stream:
            book = python_calamine.CalamineWorkbook.from_filelike(stream)
            names = [str(name) for name in book.sheet_names]
            sheet = table if asked == "1" else next(iter(names), "")
            rows = book.get_sheet_by_name(sheet).to_python(skip_empty_area=False) if sheet in names else []
        answer = {"names": names, "rows": rows}
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        answer = {"problem": str(error)}
    pickle.dump(answer, sys.stdout.buffer, protocol=pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main(*sys.argv[1:])
