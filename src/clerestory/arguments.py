"""Arguments of public functions, checked against their annotations before anything runs.

>>> @checked()
... def draw(prompts: str | Sequence[str], *, steps: int = 50) -> None: ...
>>> draw("a cat", step=3)
Traceback (most recent call last):
    ...
clerestory.errors.OptionError: draw() has no argument 'step'. Write steps.
>>> draw("a cat", steps="3")
Traceback (most recent call last):
    ...
clerestory.errors.OptionError: steps is '3'; write a whole number.

What means the same is converted: numpy scalars, an array or a series or a generator where a
sequence is expected, a text where a path is. Nothing is guessed.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import itertools
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, cast

import numpy as np

from clerestory.errors import (
    ClerestoryError,
    EditError,
    OptionError,
    PromptError,
    SeedError,
    SiteError,
)
from clerestory.registry import nearest, suggest

__all__ = ["checked", "checked_constructor", "unknown_name"]

P = ParamSpec("P")
R = TypeVar("R")

ALIASES = {
    "prompt": "prompts",
    "seed": "seeds",
    "generator": "seeds",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "negative_prompt": "negative",
    "true_cfg_scale": "true_guidance",
    "prior_num_inference_steps": "prior_steps",
    "prior_guidance_scale": "prior_guidance",
    "batch_size": "batch",
    "torch_dtype": "dtype",
    "size": "height",
    "site": "read",
    "hooks": "taps",
    "label": "labels",
}
"""What diffusers and slips of the hand call arguments that have other names here."""
ERRORS: Mapping[str, type[ClerestoryError]] = {
    "prompts": PromptError,
    "prompt": PromptError,
    "seeds": SeedError,
    "edits": EditError,
    "edit_sets": EditError,
    "read": SiteError,
    "sites": SiteError,
}
"""Classes of the errors of arguments that have one of their own."""
FOREIGN = {"builtins", "numpy", "pandas", "torch", "pathlib", "collections", "diffusers"}
"""Packages of values that are surely not what a class of Clerestory is meant by."""
VARIABLE = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
SHOWN = 60
"""Characters of a value that a message has."""
MANY = 10_000_000
"""The largest number of values that is taken from a generator."""

Hint: TypeAlias = Any


class _MismatchError(Exception):
    """A value that does not fit; its argument is what to write instead."""


def checked(
    error: type[ClerestoryError] | None = None,
    *,
    options: Sequence[str] = (),
    hints: Callable[[], Mapping[str, Hint]] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check a function's arguments before it runs.

    Args:
        error: Class of the errors; by default that of the argument, mostly `OptionError`.
        options: Names that the function's `**options` may have.
        hints: Gives the types of the arguments where the function's module lacks their names.

    Returns:
        A decorator. The function then raises one line that says what to write for an unknown,
        missing or mistyped argument, and never a TypeError of Python.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        # A constructor is called by the name of its class, a method by its own.
        name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

        # Resolved at the first call: modules of the annotations may be imported by then only.
        @functools.cache
        def types_of() -> Mapping[str, Hint]:
            return _hints(function, signature) if hints is None else hints()

        @functools.wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as reason:
                raise _binding_error(
                    name, signature, args, kwargs, error or OptionError
                ) from reason
            arguments = bound.arguments
            for parameter, value in list(arguments.items()):
                kind = signature.parameters[parameter].kind
                if kind is inspect.Parameter.VAR_KEYWORD and options:
                    for key in value:
                        if key not in options:
                            known = [*_keywords(signature), *options]
                            raise OptionError(unknown_name(f"{name}()", key, known))
                elif kind not in (
                    inspect.Parameter.VAR_KEYWORD,
                    inspect.Parameter.VAR_POSITIONAL,
                ):
                    arguments[parameter] = _convert(
                        parameter, value, types_of().get(parameter, Any), error
                    )
            return function(*bound.args, **bound.kwargs)

        return wrapped

    return decorate


def checked_constructor(error: type[ClerestoryError]) -> Callable[[type[R]], type[R]]:
    """Check the arguments of a class's constructor, as `checked` does those of a function.

    Args:
        error: Class of the errors.

    Returns:
        A decorator of classes, which goes above `@dataclass`.
    """

    def decorate(kind: type[R]) -> type[R]:
        # By the whole class: its module lacks the names of inherited fields' types.
        hints = functools.partial(typing.get_type_hints, kind, include_extras=True)
        constructor: Any = kind.__init__
        kind.__init__ = checked(error, hints=hints)(constructor)  # type: ignore[method-assign]
        return kind

    return decorate


def unknown_name(owner: str, name: str, arguments: Iterable[str]) -> str:
    """The message for an argument that there is not.

    Args:
        owner: What has no such argument.
        name: The argument.
        arguments: The arguments that there are.

    Returns:
        One line with what to write instead.

    >>> unknown_name("run()", "num_inference_steps", ["steps", "guidance"])
    "run() has no argument 'num_inference_steps'. Write steps."
    """
    names = list(arguments)
    near = ALIASES[name] if ALIASES.get(name) in names else next(iter(nearest(name, names)), "")
    hint = f" Write {near}." if near else suggest(name, names)
    return f"{owner} has no argument {name[:80]!r}.{hint}"


def _keywords(signature: inspect.Signature) -> list[str]:
    """Arguments that may be given by name, without `self`."""
    return [
        each.name
        for each in signature.parameters.values()
        if each.kind not in VARIABLE and each.name not in ("self", "cls")
    ]


def _binding_error(
    name: str,
    signature: inspect.Signature,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    error: type[ClerestoryError],
) -> ClerestoryError:
    """The error for arguments that do not fit a signature."""
    known = _keywords(signature)
    parameters = signature.parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    for key in kwargs:
        if key not in known and not takes_any:
            return error(unknown_name(f"{name}()", key, known))
    ordered = [
        each.name
        for each in parameters.values()
        if each.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(args) > len(ordered):
        named = [each for each in known if each not in ordered]
        write = f"; write {named[0]}=… for the others" if named else ""
        count = len([each for each in ordered if each not in ("self", "cls")])
        return error(f"{name}() takes {count} arguments without a name{write}.")
    twice = [each for each in ordered[: len(args)] if each in kwargs]
    if twice:
        return error(f"{name}() got {twice[0]} twice, by its place and by its name.")
    given = {*ordered[: len(args)], *kwargs}
    missing = [
        each
        for each in known
        if each not in given and parameters[each].default is inspect.Parameter.empty
    ]
    return error(f"{name}() needs {' and '.join(missing)}; write {missing[0]}=….")


def _convert(name: str, value: Any, hint: Hint, error: type[ClerestoryError] | None) -> Any:
    try:
        converted = _match(value, hint)
        # Generators of random numbers take no other.
        if name == "seed" and isinstance(converted, int) and converted < 0:
            raise _MismatchError("a whole number from 0 up")
        return converted
    except _MismatchError as mismatch:
        kind = error or ERRORS.get(name, OptionError)
        raise kind(f"{name} is {_show(value)}; write {mismatch}.") from None


# --- annotations -------------------------------------------------------------------------------


class _Unresolved(type):
    """A class that an annotation names and that is imported for type checkers only.

    It stands in a union or as a parameter, as any class does; values are compared with its name.
    """

    def __getattr__(cls, name: str) -> _Unresolved:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unresolved(name, (), {})

    def __getitem__(cls, item: Any) -> _Unresolved:
        return cls


class _Names(dict[str, Any]):
    """Names of annotations that a module does not define: they stay unresolved."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        super().__init__()
        self.module = module

    def __missing__(self, name: str) -> Any:
        # KeyError lets `eval` look among the module's names and the built-in ones.
        if name in self.module or hasattr(builtins, name):
            raise KeyError(name)
        return _Unresolved(name, (), {})


def _hints(function: Callable[..., Any], signature: inspect.Signature) -> dict[str, Hint]:
    module: Mapping[str, Any] = getattr(inspect.unwrap(function), "__globals__", {})
    return {
        name: _resolve(parameter.annotation, module)
        for name, parameter in signature.parameters.items()
    }


def _resolve(annotation: Any, module: Mapping[str, Any]) -> Hint:
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    try:
        # Annotations are source text of this package or of a plug-in, never of a file of data.
        return eval(annotation, dict(module), _Names(module))
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any


# --- values ------------------------------------------------------------------------------------


def _match(value: Any, hint: Hint) -> Any:
    """The value as the annotation wants it; `_MismatchError` where it does not fit."""
    if hint is Any or isinstance(hint, TypeVar):
        return value
    if isinstance(hint, str):  # within a union of quoted names
        return value
    if hint is None or hint is type(None):
        if value is None:
            return None
        raise _MismatchError("None")
    origin: Any = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _match_union(value, typing.get_args(hint))
    if origin is Literal:
        return _match_choice(value, typing.get_args(hint))
    if origin is typing.Annotated:
        return _match(value, typing.get_args(hint)[0])
    if origin is not None:
        return _match_generic(value, origin, typing.get_args(hint))
    return _SCALARS.get(hint, functools.partial(_match_class, hint=hint))(value)


def _match_union(value: Any, members: Sequence[Hint]) -> Any:
    if any(getattr(each, "__module__", "").startswith("numpy._typing") for each in members):
        return value  # ArrayLike: whoever takes an array checks its shape
    advice = []
    for member in members:
        try:
            return _match(value, member)
        except _MismatchError as mismatch:
            # None is not what somebody wants who gave a value.
            advice += [] if member in (None, type(None)) else [str(mismatch)]
    raise _MismatchError(" or ".join(dict.fromkeys(advice)))


def _match_choice(value: Any, choices: Sequence[Any]) -> Any:
    for choice in choices:
        # Types too: 1 equals True.
        if isinstance(value, type(choice)) and value == choice:
            return choice
    raise _MismatchError(" or ".join(map(str, choices)))


def _match_generic(value: Any, origin: Any, members: tuple[Hint, ...]) -> Any:
    if origin is Callable:
        if callable(value):
            return value
        raise _MismatchError("a function")
    if origin is tuple and members[-1:] != (Ellipsis,):
        if isinstance(value, list | tuple) and len(value) == len(members):
            return tuple(map(_match, value, members))
        raise _MismatchError(f"{len(members)} of {_noun(members[0])}, as a tuple")
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _match_mapping(value, members)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _match_sequence(value, members[0] if members else Any)
    if origin in (Iterable, Iterator):
        return value
    return value  # arrays: whoever takes one checks its shape


def _match_mapping(value: Any, members: tuple[Hint, ...]) -> Any:
    if not isinstance(value, Mapping):
        key, item = members or ("", "")
        raise _MismatchError(f"a dict from {_noun(key)} to {_noun(item)}")
    if not members:
        return value
    try:
        items = {_match(key, members[0]): _match(each, members[1]) for key, each in value.items()}
    except _MismatchError as mismatch:
        raise _MismatchError(f"a dict whose keys or values are each {mismatch}") from None
    # Kept where nothing was converted: some mappings do more than a dict.
    return value if items == value else items


def _match_sequence(value: Any, member: Hint) -> Any:
    # The keys of a dict have an order, other sets have none.
    unordered = isinstance(value, AbstractSet) and not isinstance(value, KeysView)
    if isinstance(value, str | bytes | Mapping) or unordered:
        raise _MismatchError(_list_advice(value, member))
    kind = type(value).__name__
    if kind == "DataFrame":
        raise _MismatchError("one of its columns, such as list(table['prompt'])")
    if isinstance(value, Sequence):
        items: Sequence[Any] = value
    elif isinstance(value, np.ndarray) or kind in ("Series", "Index", "Tensor", "DataArray"):
        if getattr(value, "ndim", 1) != 1:
            raise _MismatchError(_list_advice(value, member))
        items = value.tolist()
    elif isinstance(value, Iterable) and not hasattr(value, "site"):
        items = list(itertools.islice(value, MANY))
    else:
        raise _MismatchError(_list_advice(value, member))
    if isinstance(items, range):
        return items
    try:
        converted = [_match(item, member) for item in items]
    except _MismatchError as mismatch:
        raise _MismatchError(f"a list, each of whose items is {mismatch}") from None
    # The same object where nothing was converted.
    if items is value and all(new is old for new, old in zip(converted, items, strict=True)):
        return value
    return converted if isinstance(value, list) else tuple(converted)


def _list_advice(value: Any, member: Hint) -> str:
    try:
        _match(value, member)
    except _MismatchError:
        return f"a list of {_noun(member)}"
    # One where several are expected.
    shown = repr(value)[:SHOWN] if isinstance(value, str | int | float) else "…"
    return f"a list: [{shown}]"


def _match_text(value: Any) -> str:
    if isinstance(value, str):
        return str(value) if type(value) is np.str_ else value
    if isinstance(value, types.FunctionType) and hasattr(value, "classes"):
        raise _MismatchError(f"its name, 'python:{value.__module__}:{value.__qualname__}'")
    raise _MismatchError("a text")


def _match_integer(value: Any) -> int:
    scalar = _plain(value)
    if isinstance(scalar, int) and not isinstance(scalar, bool):
        return scalar
    raise _MismatchError("a whole number")


def _match_number(value: Any) -> float:
    scalar = _plain(value)
    if isinstance(scalar, int | float) and not isinstance(scalar, bool):
        return scalar
    raise _MismatchError("a number")


def _match_bool(value: Any) -> bool:
    scalar = _plain(value)
    if isinstance(scalar, bool):
        return scalar
    raise _MismatchError("True or False")


def _match_path(value: Any) -> Path:
    # `os.fspath` of bytes is bytes, which pathlib refuses.
    if isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str):
        return value if isinstance(value, Path) else Path(value)
    raise _MismatchError("a path")


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    str: _match_text,
    int: _match_integer,
    float: _match_number,
    bool: _match_bool,
    Path: _match_path,
    object: lambda value: value,
}
_NOUNS: dict[Any, str] = {
    str: "texts",
    int: "whole numbers",
    float: "numbers",
    bool: "True or False",
    Path: "paths",
}


def _plain(value: Any) -> Any:
    """A number of numpy or torch as one of Python."""
    if isinstance(value, np.generic) or (
        hasattr(value, "item") and hasattr(value, "ndim") and value.ndim == 0
    ):
        return value.item()
    return value


def _match_class(value: Any, hint: Hint) -> Any:
    """A value of a class, or one that may stand for it; not a number, a text or an array."""
    if isinstance(hint, _Unresolved):
        # Any other name may be that of an alias, such as a union.
        bases = (base.__name__ for base in type(value).__mro__)
        if hint.__name__ not in _OPENED or hint.__name__ in bases:
            return value
    elif not isinstance(hint, type):
        return value
    elif getattr(hint, "_is_protocol", False):
        # Only some protocols can be asked; of the others it is known whether they are called.
        asked = getattr(hint, "_is_runtime_protocol", False)
        called = "__call__" in vars(hint)
        fits = callable(value) if called else type(value).__module__ != "builtins"
        if isinstance(value, hint) if asked else fits:
            return value
    elif isinstance(value, hint):
        return value
    # By duck typing anything else may do, but not one of our own classes for another.
    package = type(value).__module__.partition(".")[0]
    if package in FOREIGN or (package == "clerestory" and hint.__name__ in _OPENED):
        raise _MismatchError(_OPENED.get(hint.__name__, f"a {hint.__name__}"))
    return value


_OPENED = {
    "Model": "a model, from clerestory.load(…)",
    "Recording": "a recording, from clerestory.Recording.open(…)",
    "Findings": "findings, from clerestory.find(…)",
    "Store": "clerestory.Recording.open(folder) instead",
    "DataFrame": "a table",
    "Edit": "an edit, such as Add(…)",
    "Progress": "a function of (label, completed, total)",
}
"""How to come by a value of a class."""


def _noun(hint: Hint) -> str:
    members, origin = typing.get_args(hint), cast(Any, typing.get_origin(hint))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_noun(member) for member in members))
    if origin is not None or hint is Any or isinstance(hint, str):
        return "values"
    return _NOUNS.get(hint, f"{getattr(hint, '__name__', 'value')}s")


def _show(value: Any) -> str:
    """A value in a message: itself where it is short and plain, else what it is."""
    if value is None or isinstance(value, str | bytes | int | float | Path | np.generic):
        text = repr(value)
        return text if len(text) <= SHOWN else text[:SHOWN] + "…"
    if isinstance(value, list | tuple | dict | set) and len(repr(value)) <= SHOWN:
        return repr(value)
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in tuple('aeiou') else 'a'} {kind}"
