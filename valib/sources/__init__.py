"""Tables from files, databases and DataFrames: their rows, where each row stands, their columns as numbers or codes."""

from .opening import open_source
from .source import Dialect, Source
from .text import TextSource
from .values import MISSING, as_codes, as_numbers, can_be_codes

__all__ = ["MISSING", "Dialect", "Source", "TextSource", "as_codes", "as_numbers", "can_be_codes", "open_source"]
