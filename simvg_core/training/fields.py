"""Fields of settings: plain values as a YAML file has them, checked and typed by the fields' annotations."""

from __future__ import annotations

import difflib
import math
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from simvg_core.errors import ConfigurationError

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Where a number lies; the ends belong to it where they are not open."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = self.low < value if self.low_open else self.low <= value
        return above and (value < self.high if self.high_open else value <= self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"be {'above' if self.low_open else 'at least'} {self.low:g}"
        return f"lie in {self.low:g} … {self.high:g}" + (f", {self.high:g} excluded" if self.high_open else "")


@dataclass(frozen=True)
class Rise:
    """A pair of numbers above 0, the second not below the first; `strictly`: above it."""

    strictly: bool = False

    def __contains__(self, pair: tuple[float, float]) -> bool:
        return 0 < pair[0] < pair[1] or (0 < pair[0] == pair[1] and not self.strictly)

    def __str__(self) -> str:
        return "rise from above 0"


Count = Annotated[int, Range(1)]
Amount = Annotated[int, Range(0)]
# torch's generators take 64 bits, and a step's seed is this times 10⁹ at most
Seed = Annotated[int, Range(0, 10**10)]
Positive = Annotated[float, Range(0, low_open=True)]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
ShareBelow1 = Annotated[float, Range(0, 1, high_open=True)]
Span = Annotated[tuple[float, float], Rise()]


def check(settings: Any) -> None:
    """For `__post_init__` of a settings dataclass.

    Raises:
        ConfigurationError: a field's value is of another type than its annotation, or outside its range.
    """
    for name, kind in _kinds(type(settings)).items():
        fit(kind, getattr(settings, name), name)


def build(kind: type[T], raw: Any, where: str) -> T:
    """A settings dataclass from plain values, nested ones too; lists become tuples.

    Raises:
        ConfigurationError: no mapping, an unknown or missing name, or a wrong value; `where` begins the message.
    """
    known = _kinds(kind)
    for key in _mapping(raw, where):
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}."
            raise ConfigurationError(f"{where} has no setting {key!r}{hint}")
    needed = {one.name for one in fields(cast(Any, kind)) if one.default is MISSING and one.default_factory is MISSING}
    if lacking := sorted(needed - set(raw)):
        raise ConfigurationError(f"{where} lacks {', '.join(lacking)}; add it.")
    try:
        return kind(**{key: fit(known[key], value, key) for key, value in raw.items()})
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def fit(kind: Any, value: Any, name: str) -> Any:
    """A value as an annotation wants it. A number may be text, as YAML 1.1 reads 5e-4; a list of one may be bare.

    Raises:
        ConfigurationError: it does not fit; the message has `name`, value and what is wanted.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = fit(args[0], value, name)
        for rule in args[1:]:
            if value not in rule:
                raise ConfigurationError(f"{name}={value!r} must {rule}.")
        return value
    if origin in (Union, UnionType):
        (wanted,) = (one for one in args if one is not NoneType)
        return None if value is None else fit(wanted, value, name)
    if origin is Literal and value not in args:
        raise ConfigurationError(f"{name}={value!r} is not known; use one of {', '.join(args)}.")
    if origin is tuple:
        return _tuple(args, value, name)
    if origin is dict:
        pairs = _mapping(value, name).items()
        return {fit(args[0], key, f"a name in {name}"): fit(args[1], part, f"{name}.{key}") for key, part in pairs}
    if is_dataclass(kind):
        return value if isinstance(value, cast(type, kind)) else build(cast(type, kind), value, name)
    if kind in (int, float):
        return _number(kind, value, name)
    for plain, wanted in ((bool, "true or false"), (str, "text; put it in quotes")):
        if kind is plain and not isinstance(value, plain):
            raise _misfit(name, value, wanted)
    return value


def _tuple(kinds: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    if kinds[1:] == (Ellipsis,):
        parts = value if isinstance(value, list | tuple) else [value]
        kinds = kinds[:1] * len(parts)
    elif isinstance(value, list | tuple) and len(value) == len(kinds):
        parts = value
    else:
        raise _misfit(name, value, f"a list of {len(kinds)} values")
    return tuple(
        fit(kind, part, f"{name}[{place}]") for place, (kind, part) in enumerate(zip(kinds, parts, strict=True))
    )


def _number(kind: type[int] | type[float], value: Any, name: str) -> int | float:
    wanted = "a whole number" if kind is int else "a finite number"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _misfit(name, value, wanted)
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise _misfit(name, value, wanted) from error
    if not math.isfinite(number) or (kind is int and not number.is_integer()):
        raise _misfit(name, value, wanted)
    if kind is float:
        return number
    return value if isinstance(value, int) else int(number)


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise _misfit(where, value, "a mapping of names to values")
    return value


def _misfit(name: str, value: Any, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"{name}={value!r} must be {wanted}.")


def _kinds(settings: type) -> dict[str, Any]:
    return get_type_hints(settings, include_extras=True)
