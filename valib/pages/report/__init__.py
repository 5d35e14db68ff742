"""Reports about single schools: one page a school, from results of the study that are computed once.

records -> results by school -> the content of a page -> HTML and, by typst, PDF -> moved into place
"""

from .assemble import ReportResult, build
from .page import SchoolPage, school_page
from .results import StudyResults, compute

__all__ = ["ReportResult", "SchoolPage", "StudyResults", "build", "compute", "school_page"]
