"""Formulas, evaluated for one point after another in float64.

A formula is compiled once into closures. ``mult`` and ``div`` stop at a zero, so that what follows is neither computed
nor missed. (Qdrant's documentation, "Search relevance", has the decay functions and the rules.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vdb.errors import BadRequest
from vdb.model.conditions import Condition, Conditions, Filter
from vdb.model.datetimes import datetime_micros, parse_datetime
from vdb.model.field_index import TextIndexParams
from vdb.model.formula import (
    MIDPOINT_DEFAULT,
    SCALE_DEFAULT,
    AbsExpression,
    DatetimeExpression,
    DatetimeKeyExpression,
    DecayParamsExpression,
    DivExpression,
    DivParams,
    ExpDecayExpression,
    ExpExpression,
    Expression,
    GaussDecayExpression,
    GeoDistance,
    LinDecayExpression,
    LnExpression,
    Log10Expression,
    MultExpression,
    NegExpression,
    PowExpression,
    SqrtExpression,
    SumExpression,
    score_index,
)
from vdb.model.geo import haversine_m, lon_lat
from vdb.model.json_path import JsonPath, parse_path, value_reader
from vdb.query.filter import Matcher, PointFacts, compile_filter

_MICROS: Final = 1e6
_SCORE_DEFAULT: Final = 0.0  # of a point that a prefetch did not find


@dataclass(slots=True)
class Candidate:
    """``scores`` has the point's score in each prefetch, None where the prefetch did not find it."""

    facts: PointFacts
    scores: Sequence[float | None]


Evaluate = Callable[[Candidate], float]


@dataclass(frozen=True, slots=True)
class Formula:
    """``evaluate`` raises BadRequest for a variable that is missing or no number, and for what is not finite.

    The others tell what the facts of a candidate must hold beside its payload.
    """

    evaluate: Evaluate
    needs_id: bool
    needs_vectors: bool


Read = Callable[[Candidate], Any]
Texts = Mapping[JsonPath, TextIndexParams]

_MISSING: Final = object()


def compile_formula(formula: Expression, defaults: Mapping[str, Any], texts: Texts) -> Formula:
    """``texts`` are the text indexes by path (see ``vdb.query.filter.compile_filter``)."""
    matchers: list[Matcher] = []
    evaluate = _Compiler(defaults, texts, matchers).expression(formula)
    return Formula(
        lambda candidate: _finite(evaluate(candidate), "formula"),
        any(matcher.needs_id for matcher in matchers),
        any(matcher.needs_vectors for matcher in matchers),
    )


@dataclass(frozen=True, slots=True)
class _Compiler:
    defaults: Mapping[str, Any]
    texts: Texts
    matchers: list[Matcher]

    def expression(self, expression: Expression) -> Evaluate:
        match expression:
            case float() as number:
                return lambda _: number
            case str():
                return self._variable(expression)
            case Condition():
                matcher = compile_filter(Filter(must=Conditions((expression,))), self.texts)
                self.matchers.append(matcher)
                holds = matcher.matches
                return lambda candidate: 1.0 if holds(candidate.facts) else 0.0
            case MultExpression(mult=factors):
                return _product([self.expression(factor) for factor in factors])
            case SumExpression(sum=terms):
                parts = [self.expression(term) for term in terms]
                return lambda candidate: sum((part(candidate) for part in parts), 0.0)
            case NegExpression(neg=inner):
                value = self.expression(inner)
                return lambda candidate: -value(candidate)
            case AbsExpression(abs=inner):
                value = self.expression(inner)
                return lambda candidate: abs(value(candidate))
            case DivExpression(div=params):
                return self._quotient(params)
            case PowExpression(pow=params):
                base, exponent = self.expression(params.base), self.expression(params.exponent)
                return lambda candidate: _checked(math.pow, "pow", base(candidate), exponent(candidate))
            case SqrtExpression(sqrt=inner):
                return self._function(math.sqrt, "sqrt", inner)
            case ExpExpression(exp=inner):
                return self._function(math.exp, "exp", inner)
            case Log10Expression(log10=inner):
                return self._function(math.log10, "log10", inner)
            case LnExpression(ln=inner):
                return self._function(math.log, "ln", inner)
            case GeoDistance(geo_distance=params):
                origin, position = params.origin, self._payload(params.to, lon_lat, "geo point")
                return lambda candidate: haversine_m(origin.lon, origin.lat, *position(candidate))
            case DatetimeExpression(datetime=text):
                seconds = parse_datetime(text) / _MICROS
                return lambda _: seconds
            case DatetimeKeyExpression(datetime_key=key):
                micros = self._payload(key, _micros, "datetime")
                return lambda candidate: float(micros(candidate)) / _MICROS
            case LinDecayExpression(lin_decay=params):
                return self._decay(params, lambda distance, rest: max(0.0, 1 - (1 - rest) * distance))
            case ExpDecayExpression(exp_decay=params):
                return self._decay(params, lambda distance, rest: math.exp(math.log(rest) * distance))
            case GaussDecayExpression(gauss_decay=params):
                return self._decay(params, lambda distance, rest: math.exp(math.log(rest) * distance * distance))
        raise AssertionError(f"unknown expression {expression!r}")

    def _function(self, function: Callable[[float], float], name: str, inner: Expression) -> Evaluate:
        value = self.expression(inner)
        return lambda candidate: _checked(function, name, value(candidate))

    def _quotient(self, params: DivParams) -> Evaluate:
        left, right, by_zero = self.expression(params.left), self.expression(params.right), params.by_zero_default

        def quotient(candidate: Candidate) -> float:
            dividend = left(candidate)
            if dividend == 0:
                return 0.0
            divisor = right(candidate)
            if divisor == 0 and by_zero is not None:
                return by_zero
            return _checked(_divide, "div", dividend, divisor)

        return quotient

    def _decay(self, params: DecayParamsExpression, shape: Callable[[float, float], float]) -> Evaluate:
        """``shape`` takes the distance from the target in units of the scale, and the midpoint."""
        x = self.expression(params.x)
        target = self.expression(0.0 if params.target is None else params.target)
        scale = SCALE_DEFAULT if params.scale is None else params.scale
        midpoint = MIDPOINT_DEFAULT if params.midpoint is None else params.midpoint
        return lambda candidate: shape(abs(x(candidate) - target(candidate)) / scale, midpoint)

    def _variable(self, name: str) -> Evaluate:
        prefetch = score_index(name)
        if prefetch is None:
            return self._payload(name, _number, "number")
        default = float(self._score_default(prefetch))

        def score(candidate: Candidate) -> float:
            found = candidate.scores[prefetch] if prefetch < len(candidate.scores) else None
            return default if found is None else found

        return score

    def _score_default(self, prefetch: int) -> float:
        """``$score`` and ``$score[0]`` are the same variable."""
        for variable, value in self.defaults.items():
            if score_index(variable) == prefetch:
                return float(value)
        return _SCORE_DEFAULT

    def _payload(self, key: str, convert: Callable[[Any], Any], kind: str) -> Read:
        """The value at a path, or the default; an array of one value is that value."""
        path = parse_path(key)
        read = value_reader(path)
        default = next((value for name, value in self.defaults.items() if _is_path(name, path)), _MISSING)

        def value(candidate: Candidate) -> Any:
            found = _only(read(candidate.facts.payload))
            if found is _MISSING:
                found = default
            if found is _MISSING:
                raise BadRequest(f"No value found for `{key}` in the payload nor the formula defaults")
            converted = convert(found)
            if converted is None:
                raise BadRequest(
                    f"Expected a {kind} for `{key}` in the payload and in the formula defaults, got {_shown(found)}"
                )
            return converted

        return value


def _is_path(variable: str, path: JsonPath) -> bool:
    return score_index(variable) is None and parse_path(variable) == path


def _only(values: Sequence[Any]) -> Any:
    """What stands alone in ``values``, and in arrays of one; ``_MISSING`` for none."""
    found: Any = list(values) if len(values) != 1 else values[0]
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    return _MISSING if found == [] else found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def _micros(value: Any) -> int | None:
    return datetime_micros(value) if isinstance(value, str) else None


def _product(factors: Sequence[Evaluate]) -> Evaluate:
    def product(candidate: Candidate) -> float:
        result = 1.0
        for factor in factors:
            result *= factor(candidate)
            if result == 0:
                break
        return result

    return product


def _divide(dividend: float, divisor: float) -> float:
    return dividend / divisor


def _checked(function: Callable[..., float], name: str, *arguments: float) -> float:
    try:
        result = function(*arguments)
    except (ValueError, OverflowError, ZeroDivisionError):
        result = math.nan
    return _finite(result, f"{name}({', '.join(f'{argument:g}' for argument in arguments)})")


def _finite(value: float, shown: str) -> float:
    if not math.isfinite(value):
        raise BadRequest(f"The expression {shown} produced a non-finite number")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "…"
