"""Reports about single schools: one page a school, from results of the study that are computed once.

records -> results by school -> a notebook a school, executed -> pages, and a PDF a school -> moved into place
"""

from .assemble import ReportResult, build
from .page import SchoolPage, read_page, school_page
from .results import StudyResults, compute
from .words import percent

__all__ = ["ReportResult", "SchoolPage", "StudyResults", "build", "compute", "percent", "read_page", "school_page"]
