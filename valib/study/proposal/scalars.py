"""Values as YAML on one line, so that a name from the data can neither end a line nor a comment."""

from __future__ import annotations

import yaml


def scalar(value: object) -> str:
    """One value, or a list or mapping of them, as YAML on one line; what is not plain text is in quotes and escaped."""
    def dump(**style) -> str:
        text = yaml.safe_dump(value, width=float("inf"), allow_unicode=True, default_flow_style=True, sort_keys=False,
                              **style)  # fmt: skip
        return text.removesuffix("\n").removesuffix("\n...")

    text = dump()
    return text if len(text.splitlines()) == 1 else dump(default_style='"')
