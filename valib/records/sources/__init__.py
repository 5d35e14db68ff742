"""Tables from files, databases and DataFrames: their rows, where each row stands, their columns as numbers or codes."""

from .address import anchor_url, data_name, database_file, is_query, is_url, relative_url, without_password
from .opening import open_source
from .source import MISSING, Dialect, Source, as_codes, as_numbers, can_be_codes, check_width
from .text import TextSource, all_grouped, may_be_grouped

__all__ = [
    "MISSING",
    "Dialect",
    "Source",
    "TextSource",
    "all_grouped",
    "anchor_url",
    "as_codes",
    "as_numbers",
    "can_be_codes",
    "check_width",
    "data_name",
    "database_file",
    "is_query",
    "is_url",
    "may_be_grouped",
    "open_source",
    "relative_url",
    "without_password",
]
