"""Formulas: scores computed from the scores of prefetches and from payloads, as Qdrant's API spells them.

=============================  ================================================================================
what stands in a formula       what it is
=============================  ================================================================================
a number                       itself
``"$score"``, ``"$score[1]"``  the point's score in the first, the second … prefetch
any other string               a JSON path: the number that a payload holds there
an object with an operator     ``mult``, ``sum``, ``neg``, ``abs``, ``div``, ``sqrt``, ``pow``, ``exp``, ``log10``,
                               ``ln``, ``lin_decay``, ``exp_decay``, ``gauss_decay``, ``geo_distance``,
                               ``datetime``, ``datetime_key``
any other object               a condition: 1 where it holds, 0 elsewhere
=============================  ================================================================================

Guarantees: a formula that was decoded can be evaluated. Its variables, datetimes and decay parameters are valid, and it
is nested no deeper than ``FORMULA_DEPTH_MAX``, so that recursion over it is safe.
"""

from __future__ import annotations

import re
from abc import ABCMeta
from collections.abc import Callable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import msgspec

from vdb.errors import BadRequest
from vdb.model.conditions import Condition
from vdb.model.datetimes import parse_datetime
from vdb.model.geo import GeoPoint
from vdb.model.json_path import parse_path

FORMULA_DEPTH_MAX: Final = 64
SCALE_DEFAULT: Final = 1.0
MIDPOINT_DEFAULT: Final = 0.5

_SCORE: Final = re.compile(r"\$score(?:\[(\d{1,9})\])?", re.ASCII)


class GeoDistanceParams(msgspec.Struct, frozen=True, kw_only=True):
    """``to`` is the path of a position in payloads."""

    origin: GeoPoint
    to: str


class GeoDistance(msgspec.Struct, frozen=True, kw_only=True):
    """Metres over the surface of the globe."""

    geo_distance: GeoDistanceParams


class DatetimeExpression(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from 1970 to a datetime."""

    datetime: str


class DatetimeKeyExpression(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from 1970 to the datetime that payloads hold at a path."""

    datetime_key: str


class MultExpression(msgspec.Struct, frozen=True, kw_only=True):
    mult: list[Expression]


class SumExpression(msgspec.Struct, frozen=True, kw_only=True):
    sum: list[Expression]


class NegExpression(msgspec.Struct, frozen=True, kw_only=True):
    neg: Expression


class AbsExpression(msgspec.Struct, frozen=True, kw_only=True):
    abs: Expression


class DivParams(msgspec.Struct, frozen=True, kw_only=True):
    """``by_zero_default`` is the result where ``right`` is 0."""

    left: Expression
    right: Expression
    by_zero_default: float | None = None


class DivExpression(msgspec.Struct, frozen=True, kw_only=True):
    div: DivParams


class SqrtExpression(msgspec.Struct, frozen=True, kw_only=True):
    sqrt: Expression


class PowParams(msgspec.Struct, frozen=True, kw_only=True):
    base: Expression
    exponent: Expression


class PowExpression(msgspec.Struct, frozen=True, kw_only=True):
    pow: PowParams


class ExpExpression(msgspec.Struct, frozen=True, kw_only=True):
    exp: Expression


class Log10Expression(msgspec.Struct, frozen=True, kw_only=True):
    log10: Expression


class LnExpression(msgspec.Struct, frozen=True, kw_only=True):
    ln: Expression


class DecayParamsExpression(msgspec.Struct, frozen=True, kw_only=True):
    """1 where ``x`` is ``target`` (0 unless given), ``midpoint`` (0.5) at a distance of ``scale`` (1) from it."""

    x: Expression
    target: Expression | None = None
    scale: float | None = None
    midpoint: float | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not self.scale > 0:
            raise BadRequest(f"Decay `scale` should be a positive number, got {self.scale}")
        if self.midpoint is not None and not 0 < self.midpoint < 1:
            raise BadRequest(f"Decay `midpoint` should be between 0 and 1, exclusive, got {self.midpoint}")


class LinDecayExpression(msgspec.Struct, frozen=True, kw_only=True):
    lin_decay: DecayParamsExpression


class ExpDecayExpression(msgspec.Struct, frozen=True, kw_only=True):
    exp_decay: DecayParamsExpression


class GaussDecayExpression(msgspec.Struct, frozen=True, kw_only=True):
    gauss_decay: DecayParamsExpression


if TYPE_CHECKING:
    Expression: TypeAlias = (
        "float | str | Condition | GeoDistance | DatetimeExpression | DatetimeKeyExpression | MultExpression"
        " | SumExpression | NegExpression | AbsExpression | DivExpression | SqrtExpression | PowExpression"
        " | ExpExpression | Log10Expression | LnExpression | LinDecayExpression | ExpDecayExpression"
        " | GaussDecayExpression"
    )
else:

    class Expression(metaclass=ABCMeta):  # noqa: B024 (msgspec asks isinstance, and `register` answers)
        """A number, a variable, a condition or an operation on expressions."""

        alternatives: ClassVar[tuple[Any, ...]] = (
            float,
            str,
            Condition,
            GeoDistance,
            DatetimeExpression,
            DatetimeKeyExpression,
            MultExpression,
            SumExpression,
            NegExpression,
            AbsExpression,
            DivExpression,
            SqrtExpression,
            PowExpression,
            ExpExpression,
            Log10Expression,
            LnExpression,
            LinDecayExpression,
            ExpDecayExpression,
            GaussDecayExpression,
        )

        @classmethod
        def decode(cls, value: Any) -> Any:
            return _expression(value, "formula", 1)

    for _kind in Expression.alternatives:
        Expression.register(_kind)


def score_index(variable: str) -> int | None:
    """The prefetch that ``$score`` or ``$score[1]`` means; None for the path of a payload."""
    found = _SCORE.fullmatch(variable)
    return None if found is None else int(found[1] or 0)


def check_variable(variable: str) -> None:
    """Raises BadRequest for what is neither a score nor a JSON path."""
    if score_index(variable) is not None:
        return
    if variable.startswith("$"):
        raise BadRequest(f"Unknown variable `{variable}` in `formula`, expected `$score`, `$score[0]` or a JSON path")
    parse_path(variable)


def check_defaults(defaults: Mapping[str, Any]) -> None:
    """Raises BadRequest for a key that is no variable, and for a score's default that is no number."""
    for variable, value in defaults.items():
        check_variable(variable)
        if score_index(variable) is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise BadRequest(f"The default of `{variable}` in `defaults` should be a number")


def _expression(value: Any, place: str, depth: int) -> Expression:
    if depth > FORMULA_DEPTH_MAX:
        raise BadRequest(f"formula is nested too deep, at most {FORMULA_DEPTH_MAX} levels are allowed")
    match value:
        case bool():
            pass
        case int() | float():
            return _number(value, place)
        case str():
            check_variable(value)
            return value
        case dict():
            for key, read in _OPERATORS.items():
                if key in value:
                    operation: Expression = read(value[key], f"{place}.{key}", depth + 1)
                    return operation
            return _condition(value, place)
    raise ValueError(f"Expected a number, a variable, a condition or an operation, got `{value}` (in `{place}`)")


def _condition(value: dict[str, Any], place: str) -> Condition:
    try:
        return Condition.decode(value)
    except ValueError as error:
        raise ValueError(f"{error} (in `{place}`)") from error


def _number(value: Any, place: str) -> float:
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        number = float("nan")
    if isinstance(value, (bool, str)) or not isfinite(number):
        raise ValueError(f"Expected a number (in `{place}`)")
    return number


def _optional(value: Mapping[str, Any], name: str, place: str) -> float | None:
    return None if value.get(name) is None else _number(value[name], f"{place}.{name}")


def _list(value: Any, place: str, depth: int) -> list[Expression]:
    if not isinstance(value, list):
        raise ValueError(f"Expected an array of expressions (in `{place}`)")
    return [_expression(item, f"{place}[{position}]", depth) for position, item in enumerate(value)]


def _required(value: Any, name: str, place: str, depth: int) -> Expression:
    if not isinstance(value, dict) or name not in value:
        raise ValueError(f"Object missing required field `{name}` (in `{place}`)")
    return _expression(value[name], f"{place}.{name}", depth)


def _div(value: Any, place: str, depth: int) -> DivExpression:
    left, right = (_required(value, name, place, depth) for name in ("left", "right"))
    return DivExpression(
        div=DivParams(left=left, right=right, by_zero_default=_optional(value, "by_zero_default", place))
    )


def _pow(value: Any, place: str, depth: int) -> PowExpression:
    base, exponent = (_required(value, name, place, depth) for name in ("base", "exponent"))
    return PowExpression(pow=PowParams(base=base, exponent=exponent))


def _decay(value: Any, place: str, depth: int) -> DecayParamsExpression:
    x = _required(value, "x", place, depth)
    target = None if value.get("target") is None else _required(value, "target", place, depth)
    scale, midpoint = (_optional(value, name, place) for name in ("scale", "midpoint"))
    return DecayParamsExpression(x=x, target=target, scale=scale, midpoint=midpoint)


def _geo_distance(value: Any, place: str, depth: int) -> GeoDistance:
    try:
        params = msgspec.convert(value, GeoDistanceParams)
    except msgspec.ValidationError as error:
        raise ValueError(f"{error} (in `{place}`)") from error
    parse_path(params.to)
    return GeoDistance(geo_distance=params)


def _datetime(value: Any, place: str, depth: int) -> DatetimeExpression:
    if not isinstance(value, str):
        raise ValueError(f"Expected `str` (in `{place}`)")
    parse_datetime(value)
    return DatetimeExpression(datetime=value)


def _datetime_key(value: Any, place: str, depth: int) -> DatetimeKeyExpression:
    if not isinstance(value, str):
        raise ValueError(f"Expected `str` (in `{place}`)")
    parse_path(value)
    return DatetimeKeyExpression(datetime_key=value)


_OPERATORS: Final[dict[str, Callable[[Any, str, int], Any]]] = {
    "mult": lambda value, place, depth: MultExpression(mult=_list(value, place, depth)),
    "sum": lambda value, place, depth: SumExpression(sum=_list(value, place, depth)),
    "neg": lambda value, place, depth: NegExpression(neg=_expression(value, place, depth)),
    "abs": lambda value, place, depth: AbsExpression(abs=_expression(value, place, depth)),
    "div": _div,
    "sqrt": lambda value, place, depth: SqrtExpression(sqrt=_expression(value, place, depth)),
    "pow": _pow,
    "exp": lambda value, place, depth: ExpExpression(exp=_expression(value, place, depth)),
    "log10": lambda value, place, depth: Log10Expression(log10=_expression(value, place, depth)),
    "ln": lambda value, place, depth: LnExpression(ln=_expression(value, place, depth)),
    "lin_decay": lambda value, place, depth: LinDecayExpression(lin_decay=_decay(value, place, depth)),
    "exp_decay": lambda value, place, depth: ExpDecayExpression(exp_decay=_decay(value, place, depth)),
    "gauss_decay": lambda value, place, depth: GaussDecayExpression(gauss_decay=_decay(value, place, depth)),
    "geo_distance": _geo_distance,
    "datetime": _datetime,
    "datetime_key": _datetime_key,
}
