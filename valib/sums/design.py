"""Formula to fixed-effects matrix (formulaic), with school-mean terms and a state that survives as JSON.

A value-added formula is written as ``score ~ prior_score + female + C(region) + school_mean(prior_score)``.
``school_mean(x)`` is the mean of ``x`` over the students of the school in that cohort who enter the model; it is
the only syntax valib adds to formulaic's. Stateful transforms (``center``, ``scale``, ``poly``, ``bs``) and the
levels of categorical covariates are learned once and then reapplied, so that a benchmark scores a later cohort
with the baseline's columns and not with columns re-centred on the later cohort.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula, ModelSpec
from formulaic.errors import DataMismatchWarning, FormulaicError
from formulaic.parser.types import Factor, Term

from ..errors import ModelError, RowsLeftOut, ValibWarning
from .covariates import WIDEST, as_covariates, as_known, check_named, check_size, check_width
from .formula import categories_of, columns_of, factors, first_line, parse, required_columns, shown

ONES = "1"  # the intercept as formulaic writes the term
_SCHOOL_MEAN = re.compile(r"school_mean\((\w+)\)")


def known(x: Any) -> np.ndarray:
    """1 where a column holds a number, 0 where it is missing."""
    return np.asarray(~np.isnan(np.asarray(x, dtype=np.float64)), dtype=np.float64)


def if_known(x: Any) -> np.ndarray:
    """A column, with 0 where it is missing: beside ``known`` of it, a line of their own for students without it."""
    values = np.asarray(x, dtype=np.float64)
    return np.where(np.isnan(values), 0.0, values)


# What formulaic does not bring of the functions that a formula may hold; school_mean belongs to the records.
FUNCTIONS: dict[str, Any] = {"np": np, "known": known, "if_known": if_known}


def plain_matrix(
    covariates: pd.DataFrame, parsed: Formula, school_mean: Callable[[np.ndarray], np.ndarray], intercept: str
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]] | None:
    """y (N,), X (N, p) by column, and the names of its columns; None where the formula holds anything else.

    covariates: the columns that the parsed formula uses, none missing. school_mean: its function of that name.
    intercept: the name of the column of ones.
    """
    sources = [_source(term, covariates) for term in (*parsed.lhs, *parsed.rhs)]
    names = tuple(intercept if str(term) == ONES else str(term) for term in parsed.rhs)
    there = [source for source in sources if source is not None]
    if len(there) < len(sources) or there[0] == (ONES, False) or len(set(names)) < len(names):
        return None
    columns = [covariates[name].to_numpy() if name != ONES else None for name, _ in there]
    X = np.empty((len(covariates), len(names)), order="F")
    for k, (column, (_, is_mean)) in enumerate(zip(columns[1:], there[1:], strict=True)):
        X[:, k] = 1.0 if column is None else school_mean(column) if is_mean else column
    assert columns[0] is not None  # the response is none of ones
    return columns[0], X, names


def _source(term: Term, covariates: pd.DataFrame) -> tuple[str, bool] | None:
    """The float64 column that a term shows, and whether as its school mean; ONES for the intercept."""
    if str(term) == ONES:
        return ONES, False
    if len(term.factors) != 1:
        return None
    (factor,) = term.factors
    text = str(factor.expr)
    mean = _SCHOOL_MEAN.fullmatch(text) if factor.eval_method is Factor.EvalMethod.PYTHON else None
    name = mean.group(1) if mean else text if factor.eval_method is Factor.EvalMethod.LOOKUP else None
    if name is None or name not in covariates or covariates[name].dtype != np.float64:
        return None
    return name, mean is not None


__all__ = ["INTERCEPT", "Cells", "Design", "FormulaState", "build_design", "make_cells", "parse", "required_columns"]

INTERCEPT = "Intercept"
LONGEST_STATE = 200  # numbers that one transform keeps, knots above all


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Which school-by-cohort cell each student is in.

    schools (J,) sorted labels; cohorts (T,) sorted; code (N,) cell of each row, 0..C-1;
    school (C,) and cohort (C,) positions in ``schools`` and ``cohorts`` of each cell; n (C,) students.
    """

    schools: np.ndarray
    cohorts: np.ndarray
    code: np.ndarray
    school: np.ndarray
    cohort: np.ndarray
    n: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class FormulaState:
    """A formula with what was learned from the data it was first applied to.

    formula: the text; names: the columns of the fixed-effects matrix; transform_state: numbers learned by stateful
    transforms; levels: the categories of each categorical factor, in order.
    """

    formula: str
    names: tuple[str, ...]
    transform_state: dict[Any, Any]
    levels: dict[str, list[Any]]

    def to_json(self) -> dict[str, Any]:
        """The state as plain JSON types."""
        return {
            "formula": self.formula,
            "names": list(self.names),
            "levels": self.levels,
            "transform_state": _pack(self.transform_state),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> FormulaState:
        """The inverse of :meth:`to_json`; ValueError for what no formula can have learned."""
        formula, names, levels = content["formula"], content["names"], dict(content["levels"])
        known = factors(parse(formula).rhs)
        if not levels.keys() <= known.keys() or not all(_are_plain(v, WIDEST) for v in [names, *levels.values()]):
            raise ValueError("the levels are not those of its formula")
        return cls(formula, tuple(map(str, names)), _unpack(content["transform_state"]), levels)


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Response y (N,), fixed-effects matrix X (N, p), the cells of its rows, and what was left out.

    state: the formula with its learned state; left_out: rows dropped because a covariate is missing, by column;
    data: the rows that remain, in the order of X.
    """

    X: np.ndarray
    y: np.ndarray
    state: FormulaState
    cells: Cells
    left_out: dict[str, int]
    data: pd.DataFrame

    @property
    def names(self) -> tuple[str, ...]:
        """The p column names of X."""
        return self.state.names


def make_cells(school: pd.Series, cohort: pd.Series | None = None) -> Cells:
    """Number the school-by-cohort cells, ordered by school label and then by cohort."""
    s, labels = pd.factorize(school, sort=True)
    schools = np.asarray(labels, dtype=object)
    if cohort is None:
        t, cohorts = np.zeros(len(s), dtype=np.intp), np.zeros(1, dtype=np.int64)
    else:
        values = np.asarray(cohort, dtype=np.int64)
        if len(values) and (values == values[0]).all():
            t, cohorts = np.zeros(len(values), dtype=np.intp), values[:1].copy()
        else:
            t, cohorts = pd.factorize(values, sort=True)
    flat = s if len(cohorts) == 1 else s * len(cohorts) + t
    count = np.bincount(flat, minlength=len(schools) * len(cohorts))
    used = np.flatnonzero(count)
    code = flat if len(used) == len(count) else (np.cumsum(count > 0) - 1)[flat]
    return Cells(schools, np.asarray(cohorts), code, used // len(cohorts), used % len(cohorts), count[used])


def build_design(
    data: pd.DataFrame, formula: str | FormulaState, groups: str = "school", cohort: str | None = "cohort"
) -> Design:
    """Build the response y and the matrix X of a formula from student rows.

    Parameters
    ----------
    data : DataFrame
        One row a student, with the columns the formula names, ``groups`` and, if given, ``cohort``.
    formula : str or FormulaState
        Text, or the state learned on other data, which is then reapplied.
    groups : str
        The column of schools.
    cohort : str or None
        The column of cohorts.

    Returns
    -------
    Design
        ``y`` (N,), ``X`` (N, p), ``names``, ``cells``, ``state``, ``left_out``.

    Raises
    ------
    ModelError
        Naming columns that are absent or not finite, and levels that the state does not know.

    Notes
    -----
    Warns (:class:`valib.ValibWarning`) with the count of rows left out because a covariate is missing. Formulas are written
    as in R.

    Examples
    --------
    >>> import valib as va
    >>> design = va.build_design(va.load_records("exam"), "score ~ prior_score")
    >>> design.names, design.X.shape
    (('Intercept', 'prior_score'), (4059, 2))
    """
    state = formula if isinstance(formula, FormulaState) else None
    text = formula.formula if isinstance(formula, FormulaState) else formula
    parsed = parse(text)
    data, left_out = _complete(data, parsed, groups, text)
    covariates = as_covariates(data, parsed)
    check_width(covariates, parsed.rhs, state.levels if state else None)
    if state:
        covariates = as_known(covariates, parsed, state.levels)
        _check_levels(covariates, parsed, state)
    cells = make_cells(data[groups], data[cohort] if cohort else None)

    def school_mean(x: Any) -> np.ndarray:
        return _cell_mean(x, cells)

    plain = plain_matrix(covariates, parsed, school_mean, INTERCEPT)
    if plain:
        y, X, learned = *plain[:2], FormulaState(text, plain[2], {}, {})
    else:
        y, X, learned = materialise(covariates, parsed, state, {"school_mean": school_mean}, text)
    fitted = state or learned
    if learned.names != fitted.names:
        raise ModelError(
            f"The formula {shown(text)} gives the columns {_quoted(learned.names)} on these records, "
            f"but the benchmark has {_quoted(fitted.names)}."
        )
    _check_finite(X, y, fitted.names, text)
    check_size(X, y, fitted.names)
    return Design(X, y, fitted, cells, left_out, data)


def _complete(data: pd.DataFrame, parsed: Formula, groups: str, text: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows that lack none of the formula's columns, and how many lack which. Raises ModelError for one not there."""
    needed = sorted(columns_of(parsed.lhs) | columns_of(parsed.rhs))
    absent = [c for c in [*needed, groups] if c not in data.columns]
    if absent:
        raise ModelError(
            f"The formula {shown(text)} needs column {_quoted(absent)}, which the records do not have; "
            f"they have {_quoted(list(map(str, data.columns)))}."
        )
    must = columns_of(parsed.lhs) | columns_of(parsed.rhs, needed=True)
    kept, left_out = _drop_missing(data, sorted(must))
    for column in sorted(set(needed) - must):
        if lacking := int(kept[column].isna().sum()):
            said = (
                f"{lacking:,} of {len(kept):,} students have no '{column}': the formula gives them a line of their own."
            )
            warnings.warn(said, ValibWarning, stacklevel=4)
    return kept, left_out


# What formulaic and the functions of a formula raise for records that they do not fit.
UNFIT = (
    *(DataMismatchWarning, FormulaicError, NameError, TypeError, ValueError),
    *(LookupError, AttributeError, ArithmeticError, RecursionError),
)


def materialise(
    data: pd.DataFrame, parsed: Formula, state: FormulaState | None, context: Mapping[str, Any], text: str
) -> tuple[np.ndarray, np.ndarray, FormulaState]:
    """Run formulaic; return y (N,), X (N, p) and what it learned for the right-hand side.

    context: what belongs to these records among the functions that a formula may hold, school_mean.
    """
    context = {**FUNCTIONS, **context}
    learned: dict[str, Any] = (
        {}
        if state is None
        else {
            "transform_state": dict(state.transform_state),  # formulaic writes into it
            "encoder_state": {k: (Factor.Kind.CATEGORICAL, {"categories": list(v)}) for k, v in state.levels.items()},
        }
    )
    how = {"output": "numpy", "na_action": "ignore"}
    check_named(data, parsed.rhs)
    try:
        # _check_finite says in a sentence what NumPy warns of
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error", DataMismatchWarning)  # a level that has no column
            y = parsed.lhs.get_model_matrix(data, context=context, **how)
            X = ModelSpec.from_spec(parsed.rhs, **how, **learned).get_model_matrix(data, context=context)
        spec = X.model_spec
        y, X = np.asarray(y, dtype=np.float64), np.asfortranarray(X, dtype=np.float64)
    except UNFIT as error:
        raise ModelError(
            f"The formula {shown(text)} cannot be applied to these records ({first_line(error)})."
        ) from error
    if y.shape[1] != 1:
        raise ModelError(f"The response of {shown(text)} must be one numeric column, not {y.shape[1]} columns.")
    transforms = {k: v for k, v in spec.transform_state.items() if v}
    return y[:, 0], X, FormulaState(text, tuple(spec.column_names), transforms, _levels(spec))


def _levels(spec: ModelSpec) -> dict[str, list[Any]]:
    """The categories that formulaic learned for each categorical factor, as plain Python values."""
    return {
        name: [v.item() if hasattr(v, "item") else v for v in state["categories"]]
        for name, (kind, state) in spec.encoder_state.items()
        if "categories" in state
    }


def _drop_missing(data: pd.DataFrame, needed: list[str]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Leave out rows with a missing covariate, count them by column, and say so."""
    missing = {c: m for c in needed if (m := data[c].isna().to_numpy()).any()}
    if not missing:
        return data, {}
    keep = ~np.logical_or.reduce(list(missing.values()))
    left_out = {c: int(m.sum()) for c, m in missing.items()}
    say_left_out(left_out, int((~keep).sum()), len(data))
    return data.loc[keep], left_out


def say_left_out(counts: dict[str, int], dropped: int, total: int) -> None:
    """Warn how many rows lack a covariate, by column. Raises ModelError if no row is left."""
    said = ", ".join(f"{n} without '{c}'" for c, n in counts.items())
    warnings.warn(RowsLeftOut(counts, dropped, total), stacklevel=5)
    if dropped == total:
        raise ModelError(f"No row is left for the model: {said}.")


def _check_levels(data: pd.DataFrame, parsed: Formula, state: FormulaState) -> None:
    """Refuse categories the state has not seen; a coefficient for them does not exist."""
    for name, factor in factors(parsed.rhs).items():
        levels = state.levels.get(name)
        if levels is None:
            continue
        for column in categories_of(factor):
            check_known(column, set(pd.unique(data[column])), levels)


def check_known(column: str, found: set[Any], levels: Sequence[Any]) -> None:
    """Refuse levels of a column that are not among those known."""
    if unseen := found - set(levels):
        raise ModelError(
            f"Column '{column}' has the level {_quoted(sorted(map(str, unseen)))}, which the "
            f"baseline does not have; it has {_quoted(list(map(str, levels)))}."
        )


def _check_finite(X: np.ndarray, y: np.ndarray, names: tuple[str, ...], text: str) -> None:
    """Refuse infinite or undefined values, naming the column (log of a negative number, an infinite covariate)."""
    finite = np.isfinite(X.sum(axis=0))
    for k in np.flatnonzero(~finite):
        finite[k] = np.isfinite(X[:, k]).all()
    refuse_not_finite(finite, bool(np.isfinite(y).all()), names, text)


def refuse_not_finite(finite: np.ndarray, response: bool, names: tuple[str, ...], text: str) -> None:
    """Raise ModelError if a column (finite (p,)) or the response holds values that are not finite."""
    bad = [*([] if response else ["the response"]), *(names[k] for k in np.flatnonzero(~finite))]
    if bad:
        raise ModelError(f"The formula {shown(text)} gives values that are not finite in {_quoted(bad)}.")


def _cell_mean(x: Any, cells: Cells) -> np.ndarray:
    """Mean of x over the students of each row's school-by-cohort cell, repeated for every row."""
    x = np.asarray(x, dtype=np.float64)
    means = np.bincount(cells.code, weights=x, minlength=len(cells.n)) / cells.n
    return np.asarray(means[cells.code])


def _quoted(names: Sequence[str]) -> str:
    """Names in quotes, the first eight of them."""
    said = ", ".join(f"'{n}'" for n in names[:8])
    return said + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _pack(value: Any) -> Any:
    """Nested transform state to JSON types; dictionaries keep the type of their keys, arrays are marked."""
    if isinstance(value, dict):
        return {"items": [[_pack(k), _pack(v)] for k, v in value.items()]}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist()}
    if isinstance(value, (list, tuple)):
        return [_pack(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ModelError(f"A transform of the formula keeps a {type(value).__name__}, which cannot be saved as JSON.")


def _unpack(value: Any, depth: int = 6) -> Any:
    """The inverse of :func:`_pack`; ValueError for more than transforms keep."""
    if not depth or len(value if isinstance(value, (list, dict)) else ()) > LONGEST_STATE:
        raise ValueError("the state of its formula is not valib's")
    if isinstance(value, dict):
        if "array" in value:
            array = np.asarray(value["array"])
            if array.dtype.kind not in "biuf" or array.size > LONGEST_STATE:
                raise ValueError("the state of its formula holds other things than numbers")
            return array
        if len(value["items"]) > LONGEST_STATE:
            raise ValueError("the state of its formula is not valib's")
        return {_unpack(k, depth - 1): _unpack(v, depth - 1) for k, v in value["items"]}
    return [_unpack(v, depth - 1) for v in value] if isinstance(value, list) else value


def _are_plain(values: Any, most: int) -> bool:
    """Whether values are a list of texts, numbers and truth values, not too long."""
    return isinstance(values, list) and len(values) <= most and all(isinstance(v, (str, int, float)) for v in values)
