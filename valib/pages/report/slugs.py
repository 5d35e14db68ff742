"""File names for schools: readable where the code allows it, and never the same for two schools."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

LONGEST = 40  # letters of the readable part
DIGITS = 12  # of the digest, where there is one
# The empty name, those that Windows keeps for itself, and what looks like a name with a digest.
UNUSABLE = re.compile(rf"|con|prn|aux|nul|com\d|lpt\d|(.*-)?[0-9a-f]{{{DIGITS}}}")


def slugs(schools: Iterable[str]) -> dict[str, str]:
    """Return a file name without ending for each school: lower-case letters a-z, digits and hyphens only.

    A name that would lose more than case, or be that of two schools, gets a part of the code's SHA-256 behind it; so
    names stay apart also where a file system does not tell upper from lower case.
    """
    schools = list(dict.fromkeys(schools))
    plain = {school: plain_name(school) for school in schools}
    count = Counter(plain.values())
    names = {}
    for school, name in plain.items():
        if name != school.lower() or count[name] > 1 or UNUSABLE.fullmatch(name):
            digest = hashlib.sha256(school.encode("utf-8", "surrogatepass")).hexdigest()
            name = f"{name}-{digest[:DIGITS]}".lstrip("-")
        names[school] = name
    return names


def plain_name(school: str) -> str:
    """The letters and digits of a code, marks of accents taken off, the rest as single hyphens."""
    letters = unicodedata.normalize("NFKD", school).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:LONGEST].strip("-")
