"""The words that an option may be, for type checkers; what is given is checked where it is used."""

from __future__ import annotations

from typing import Literal

Method = Literal["ML", "REML"]
Estimator = Literal["mixed", "ols", "within"]
Groups = Literal["school_cohort", "school"]
ShiftMode = Literal["estimated", "absorbed"]
Variances = Literal["focal", "baseline"]
Intervals = Literal["integrated", "plugin"]
Covariance = Literal["unstructured", "compound_symmetry", "ar1", "antedependence", "toeplitz", "independent"]
Residual = Literal["by_cohort", "common"]
