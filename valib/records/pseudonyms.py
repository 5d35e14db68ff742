"""Pseudonyms for schools: the same name and key give the same code, in every run and year; without the key, no name.

A code is the start of HMAC-SHA256 of the name under the key, written with consonants and digits that cannot be taken
for one another, such as ``K7Q2-9MTB``. Who has the key can find the name by trying all names, so the key stays with
those who may know the names. A code hides a name and nothing else: sizes and results can tell which school it is.

Source: Krawczyk, Bellare and Canetti (1997), HMAC: Keyed-Hashing for Message Authentication, RFC 2104.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..errors import ParamsError, ValibWarning
from . import coverage
from .school_names import SCHOOL_NAME

LETTERS = "BCDFGHJKMNPQRSTVWXZ"  # no vowels: no words; no L, O, I, U, Y: nothing that looks like another or a digit
SYMBOLS = LETTERS + "23456789"
GROUP, SHORT, LONGEST = 4, 2, 12  # symbols in a group; groups in a code, and at most
HEAD = (
    "# A key for the pseudonyms of schools (valib). Who has it can find out the names.\n"
    "# Keep it: with another key all pseudonyms change.\n"
)


def make_key(file: Path) -> None:
    """Write a new key, 32 random bytes as text, to a file that its owner alone can read.

    Raises ParamsError if the file is there already or cannot be written: a key that is lost cannot be made again.
    """
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ParamsError(
            f"{file} is there already and a key is not replaced: its pseudonyms could not be made "
            "again. Name another file."
        ) from None
    except OSError as error:
        raise ParamsError(f"The key cannot be written to {file}: {error.strerror}.") from None
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(HEAD + secrets.token_hex(32) + "\n")


def read_key(file: str | Path) -> bytes:
    """Return the key in a file, 32 bytes; warn if other users of the machine can read the file.

    Raises ParamsError if there is no such file or it holds no key; the sentence shows nothing of what it holds.
    """
    try:
        mode = os.stat(file).st_mode
        with open(file, encoding="ascii") as stream:
            lines = [line.strip() for line in stream.read(4096).splitlines() if not line.startswith("#")]
        key = bytes.fromhex("".join(lines))
    except FileNotFoundError:
        raise ParamsError(f"There is no key file {file}: `valib key {file}` makes one.") from None
    except OSError as error:
        raise ParamsError(f"The key file {file} cannot be read: {error.strerror}.") from None
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ParamsError(f"{file} is not a key file, expected 64 hexadecimal digits as `valib key` writes them.")
    if stat.S_IMODE(mode) & 0o077:
        warnings.warn(
            f"Other users of this machine can read the key file {file}: `chmod 600` keeps it to its owner.",
            ValibWarning,
            stacklevel=2,
        )
    return key


def check_outside(file: str | Path | None, out: str | Path) -> None:
    """Raise ParamsError if the key file lies in the folder whose content is given away."""
    if file is None:
        return
    folder, path = Path(out).resolve(), Path(file).resolve()
    if path.is_relative_to(folder):
        raise ParamsError(
            f"The key file {file} lies in the output folder {out}: whoever gets the one would get the "
            "other. Move it elsewhere."
        )


def code(name: str, key: bytes, groups: int = SHORT) -> str:
    """Return the pseudonym of one school: ``groups`` groups of four symbols, the first of them a letter."""
    number = int.from_bytes(hmac.new(key, b"school\0" + name.encode("utf-8", "surrogatepass"), hashlib.sha256).digest())
    number, first = divmod(number, len(LETTERS))
    symbols = LETTERS[first]
    while len(symbols) < GROUP * groups:
        number, place = divmod(number, len(SYMBOLS))
        symbols += SYMBOLS[place]
    return "-".join(symbols[i : i + GROUP] for i in range(0, len(symbols), GROUP))


def codes(names: Iterable[str], key: bytes) -> dict[str, str]:
    """Return the pseudonym of each name. Names whose codes are equal get longer ones: no two names share a code."""
    found = {name: code(name, key, SHORT) for name in sorted(set(names))}
    for groups in range(SHORT + 1, LONGEST + 1):
        often = Counter(found.values())
        if len(often) == len(found):
            return found
        found |= {name: code(name, key, groups) for name, one in found.items() if often[one] > 1}
    raise ParamsError("Two schools have the same pseudonym under this key: make another with `valib key`.")


def replace_schools(records: pd.DataFrame, file: str | Path) -> pd.DataFrame:
    """Return the records with schools by their pseudonyms under the key in a file, without names; ``attrs`` come with them."""
    table = codes(records["school"].unique(), read_key(file))
    records = records.drop(columns=SCHOOL_NAME, errors="ignore")
    changed = records.assign(school=records["school"].map(table).astype(records["school"].dtype))
    changed.attrs = dict(records.attrs)
    if prior := changed.attrs.get("prior"):  # a school none of whose rows can be used has no pseudonym
        named = [row | {"school": table[row["school"]]} for row in prior["by_school"] if row["school"] in table]
        changed.attrs["prior"] = prior | {"by_school": named}
    changed.attrs |= coverage.renamed(changed.attrs, table)
    return changed


def resolve(school: str | None, records: pd.DataFrame, file: str | Path | None) -> str | None:
    """Return a school as the records have it now: by its pseudonym if it is given by name, else as it is given."""
    if school is None or file is None:
        return school
    key, there = read_key(file), set(records["school"])
    longer = (code(school, key, groups) for groups in range(SHORT, LONGEST + 1))
    return next((one for one in longer if one in there), school)
