"""Dataclasses from JSON that anybody may have written: every field is there, and of its type.

made(Null, {"flips": 5, "any_found": 0}, "null", EvidenceError)
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from clerestory.io.reading import Refusal

__all__ = ["made", "value_of"]

T = TypeVar("T")


def made(kind: type[T], told: Any, where: str, error: Refusal) -> T:
    """The dataclass of which `told` tells; `error`, naming the field, where it does not fit.

    >>> from clerestory.errors import ClerestoryError
    >>> point = dataclasses.make_dataclass("Point", [("x", float)])
    >>> made(point, {"x": 1.5}, "it", ClerestoryError)
    Point(x=1.5)
    """
    if not isinstance(told, Mapping):
        raise error(f"{where} is {_short(told)}; a JSON object is expected there.")
    wanted = {one.name: one for one in dataclasses.fields(kind) if one.init}  # type: ignore[arg-type]
    unknown = sorted(set(told) - set(wanted))
    lacking = [
        name
        for name, one in wanted.items()
        if name not in told
        and one.default is dataclasses.MISSING
        and one.default_factory is dataclasses.MISSING
    ]
    for said, names in (("has the unknown field", unknown), ("lacks the field", lacking)):
        if names:
            raise error(
                f"{where} {said} {str(names[0])[:80]!r}: it was altered, or written by a newer "
                "Clerestory; update, or get it again."
            )
    hints = _hints(kind)  # type: ignore[arg-type]
    return kind(
        **{name: value_of(hints[name], own, f"{where}.{name}", error) for name, own in told.items()}
    )


def value_of(hint: Any, told: Any, where: str, error: Refusal) -> Any:
    """The value, lists as tuples where the type says so; `error` where it is of another type.

    >>> from clerestory.errors import ClerestoryError
    >>> value_of(tuple[int, ...], [1, 2], "seeds", ClerestoryError)
    (1, 2)
    """
    if dataclasses.is_dataclass(hint):
        return made(hint, told, where, error)  # type: ignore[arg-type]
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _either(parts, told, where, error)
    if origin is tuple and isinstance(told, list):
        return _listed(parts, told, where, error)
    if origin is not None and origin is not Literal and isinstance(told, dict):
        if issubclass(origin, Mapping):
            for name in told:
                value_of(parts[0], name, f"a name in {where}", error)
            own = parts[1]
            return {k: value_of(own, one, f"{where}.{k[:80]}", error) for k, one in told.items()}
    elif _fits(hint, told):
        return told
    raise error(f"{where} is {_short(told)}; expected {_named(hint)}.")


def _either(parts: tuple[Any, ...], told: Any, where: str, error: Refusal) -> Any:
    """By the first of several types that fits."""
    if told is None and type(None) in parts:
        return None
    real = [part for part in parts if part is not type(None)]
    for part in real[:-1]:
        try:
            return value_of(part, told, where, error)
        except error:
            continue
    return value_of(real[-1], told, where, error)


def _listed(parts: tuple[Any, ...], told: Sequence[Any], where: str, error: Refusal) -> Any:
    every = [parts[0]] * len(told) if parts[-1] is Ellipsis else list(parts)
    if len(every) != len(told):
        raise error(f"{where} has {len(told)} entries; expected {len(every)}.")
    pairs = zip(every, told, strict=True)
    return tuple(value_of(own, one, f"{where}[{at}]", error) for at, (own, one) in enumerate(pairs))


def _fits(hint: Any, told: Any) -> bool:
    if hint is Any:
        return True
    if get_origin(hint) is Literal:
        return any(told == one and type(told) is type(one) for one in get_args(hint))
    if hint is float:
        return isinstance(told, int | float) and not isinstance(told, bool)
    if hint is int:
        return isinstance(told, int) and not isinstance(told, bool)
    return isinstance(hint, type) and isinstance(told, hint)


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _named(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint) if get_origin(hint) is None else hint)


def _short(told: Any) -> str:
    if isinstance(told, dict | list):
        return f"a {'JSON object' if isinstance(told, dict) else 'list'} of {len(told)}"
    text = repr(told)
    return text if len(text) <= 60 else text[:60] + "…"
