"""Formula to fixed-effects matrix (formulaic), with school-mean terms and a state that survives as JSON.

A value-added formula is written as ``score ~ prior_score + female + C(region) + school_mean(prior_score)``.
``school_mean(x)`` is the mean of ``x`` over the students of the school in that cohort who enter the model; it is
the only syntax valib adds to formulaic's. Stateful transforms (``center``, ``scale``, ``poly``, ``bs``) and the
levels of categorical covariates are learned once and then reapplied, so that a benchmark scores a later cohort
with the baseline's columns and not with columns re-centred on the later cohort.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from formulaic import Formula, ModelSpec, SimpleFormula
from formulaic.errors import FormulaicError
from formulaic.parser.types import Factor

from .errors import ModelError, ValibWarning

INTERCEPT = "Intercept"
FUNCTIONS = {"school_mean", "np"}  # names in a formula that are not columns


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
    transform_state: dict
    levels: dict[str, list]

    def to_json(self) -> dict:
        """The state as plain JSON types."""
        return {"formula": self.formula, "names": list(self.names), "levels": self.levels,
                "transform_state": _pack(self.transform_state)}

    @classmethod
    def from_json(cls, content: dict) -> FormulaState:
        """The inverse of :meth:`to_json`."""
        return cls(content["formula"], tuple(content["names"]), _unpack(content["transform_state"]),
                   dict(content["levels"]))


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
    s, schools = pd.factorize(school, sort=True)
    schools = np.asarray(schools, dtype=object)
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


def parse(formula: str) -> Formula:
    """Parse a formula of one response and one linear predictor, or say in a sentence why it cannot be."""
    try:
        parsed = Formula(formula)
    except (FormulaicError, AttributeError, SyntaxError, TypeError, ValueError) as error:
        raise ModelError(f"The formula {formula!r} cannot be read: write it as 'score ~ prior_score + ...' "
                         f"({_first_line(error)}).") from error
    lhs, rhs = getattr(parsed, "lhs", None), getattr(parsed, "rhs", None)
    if not (isinstance(lhs, SimpleFormula) and isinstance(rhs, SimpleFormula) and len(list(lhs)) == 1):
        raise ModelError(f"The formula {formula!r} must have one response and one linear predictor, "
                         "as in 'score ~ prior_score'.")
    return parsed


def required_columns(formula: str) -> list[str]:
    """The columns of the records that a formula needs, in alphabetical order.

    formulaic leaves out the arguments of its stateful transforms (``center(x)``), so Python factors are read as code:
    every name in them that is neither called nor the module of something called.
    """
    parsed = parse(formula)
    names = {str(v) for v in parsed.required_variables}
    for factor in {f for side in (parsed.lhs, parsed.rhs) for term in side for f in term.factors}:
        if factor.eval_method is Factor.EvalMethod.PYTHON:
            names |= _names_in(str(factor.expr))
    return sorted(names - FUNCTIONS)


def _names_in(expression: str) -> set[str]:
    """Names that an expression uses as values; none if it is no plain Python (columns quoted in backticks)."""
    try:
        nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    except SyntaxError:
        return set()
    used = {id(n.func) for n in nodes if isinstance(n, ast.Call)} | {id(n.value) for n in nodes
                                                                     if isinstance(n, ast.Attribute)}
    return {n.id for n in nodes if isinstance(n, ast.Name) and id(n) not in used}


def build_design(data: pd.DataFrame, formula: str | FormulaState, groups: str = "school",
                 cohort: str | None = "cohort") -> Design:
    """Build y and X from student rows.

    data: one row a student, with the columns the formula names, ``groups`` and, if given, ``cohort``.
    formula: text, or the state learned on other data, which is then reapplied.
    Raises ModelError naming columns that are absent or not finite, and levels that the state does not know.
    Warns (ValibWarning) with the count of rows left out because a covariate is missing.
    """
    state = formula if isinstance(formula, FormulaState) else None
    text = state.formula if state else formula
    parsed = parse(text)
    needed = required_columns(text)
    absent = [c for c in [*needed, groups] if c not in data.columns]
    if absent:
        raise ModelError(f"The formula {text!r} needs column {_quoted(absent)}, which the records do not have; "
                         f"they have {_quoted(list(map(str, data.columns)))}.")
    data, left_out = _drop_missing(data, needed)
    if state:
        _check_levels(data, state)
    cells = make_cells(data[groups], data[cohort] if cohort else None)
    context = {"school_mean": lambda x: _cell_mean(x, cells), "np": np}
    y, X, spec = _materialise(data, parsed, state, context, text)
    fitted = state or FormulaState(text, tuple(spec.column_names), dict(spec.transform_state), _levels(spec))
    if state and tuple(spec.column_names) != state.names:
        raise ModelError(f"The formula {text!r} gives the columns {_quoted(spec.column_names)} on these records, "
                         f"but the benchmark has {_quoted(state.names)}.")
    _check_finite(X, y, fitted.names, text)
    return Design(X, y, fitted, cells, left_out, data)


def _materialise(data, parsed, state, context, text):
    """Run formulaic; return y (N,), X (N, p) and the model spec of the right-hand side."""
    learned = {} if state is None else {
        "transform_state": state.transform_state,
        "encoder_state": {k: (Factor.Kind.CATEGORICAL, {"categories": list(v)}) for k, v in state.levels.items()}}
    how = {"output": "numpy", "na_action": "ignore"}
    try:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # _check_finite says it in a sentence
            y = parsed.lhs.get_model_matrix(data, context=context, **how)
            X = ModelSpec.from_spec(parsed.rhs, **how, **learned).get_model_matrix(data, context=context)
        spec = X.model_spec
        y, X = np.asarray(y, dtype=np.float64), np.ascontiguousarray(X, dtype=np.float64)
    except (FormulaicError, NameError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"The formula {text!r} cannot be applied to these records ({_first_line(error)}).") from error
    if y.shape[1] != 1:
        raise ModelError(f"The response of {text!r} must be one numeric column, not {y.shape[1]} columns.")
    return y[:, 0], X, spec


def _levels(spec: ModelSpec) -> dict[str, list]:
    """The categories that formulaic learned for each categorical factor, as plain Python values."""
    return {name: [v.item() if hasattr(v, "item") else v for v in state["categories"]]
            for name, (kind, state) in spec.encoder_state.items() if "categories" in state}


def _drop_missing(data: pd.DataFrame, needed: list[str]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Leave out rows with a missing covariate, count them by column, and say so."""
    missing = {c: m for c in needed if (m := data[c].isna().to_numpy()).any()}
    if not missing:
        return data, {}
    keep = ~np.logical_or.reduce(list(missing.values()))
    left_out = {c: int(m.sum()) for c, m in missing.items()}
    said = ", ".join(f"{n} without '{c}'" for c, n in left_out.items())
    warnings.warn(f"{int((~keep).sum())} of {len(data)} rows are left out of the model: {said}.", ValibWarning,
                  stacklevel=4)
    if not keep.any():
        raise ModelError(f"No row is left for the model: {said}.")
    return data.loc[keep], left_out


def _check_levels(data: pd.DataFrame, state: FormulaState) -> None:
    """Refuse categories the state has not seen; a coefficient for them does not exist."""
    for factor, levels in state.levels.items():
        for column in (c for c in required_columns(f"{factor} ~ 1") if c in data.columns):
            if factor not in (column, f"C({column})") and not re.match(rf"C\({re.escape(column)}\s*,", factor):
                continue
            unseen = [v for v in pd.unique(data[column].dropna()) if v not in levels]
            if unseen:
                raise ModelError(f"Column '{column}' has the level {_quoted(sorted(map(str, unseen)))}, which the "
                                 f"baseline does not have; it has {_quoted(list(map(str, levels)))}.")


def _check_finite(X: np.ndarray, y: np.ndarray, names: tuple[str, ...], text: str) -> None:
    """Refuse infinite or undefined values, naming the column (log of a negative number, an infinite covariate)."""
    total = X.sum(axis=0)
    bad = [names[k] for k in np.flatnonzero(~np.isfinite(total)) if not np.isfinite(X[:, k]).all()]
    if not np.isfinite(y).all():
        bad = ["the response", *bad]
    if bad:
        raise ModelError(f"The formula {text!r} gives values that are not finite in {_quoted(bad)}.")


def _cell_mean(x, cells: Cells) -> np.ndarray:
    """Mean of x over the students of each row's school-by-cohort cell, repeated for every row."""
    x = np.asarray(x, dtype=np.float64)
    return (np.bincount(cells.code, weights=x, minlength=len(cells.n)) / cells.n)[cells.code]


def _quoted(names) -> str:
    """Names in quotes, the first eight of them."""
    shown = ", ".join(f"'{n}'" for n in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__


def _pack(value):
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


def _unpack(value):
    """The inverse of :func:`_pack`."""
    if isinstance(value, dict):
        if "array" in value:
            return np.asarray(value["array"])
        return {_unpack(k): _unpack(v) for k, v in value["items"]}
    return [_unpack(v) for v in value] if isinstance(value, list) else value
