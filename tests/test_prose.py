"""The linter of the prose reads sentences and nothing else, and finds what it is for."""

from __future__ import annotations

import prose
import pytest

PAGE = """# A head

Here is $x$ and {glue:text}`key` and the the end.

```{code-cell}
very = unique(unique)
```

:::{table} At the end of the day
:name: tab-one
:::
"""


def test_code_formulas_and_directives_are_no_sentences():
    kept = prose.sentences(PAGE)
    assert kept.splitlines()[2].endswith("and the the end.") and "$" not in kept and "key" not in kept
    assert "very" not in kept and "head" not in kept and "At the end" not in kept


@pytest.mark.parametrize(
    ("text", "words"),
    [("This is the the end.", "'the the'"), ("It is very unique.", "uncomparable"), ("Irregardless of it.", "")],
)
def test_a_fault_is_told_with_its_line(text, words):
    (first, *_) = prose.complaints(iter([("chapters/one.md", f"Good.\n\n{text}\n")]))
    assert first.startswith("chapters/one.md: ") and words in first and first.endswith(text)


def test_plain_statistics_are_no_fault():
    text = 'Of all places, more than half of all are "very" wide (c): School A a little more than School B.'
    assert prose.complaints(iter([("one.md", text)])) == []
