"""Arguments of public functions, validated by pydantic against their annotations.

>>> @checked()
... def draw(prompts: str | Sequence[str], *, steps: int = 50) -> None: ...
>>> draw("a cat", step=3)
Traceback (most recent call last):
    ...
clerestory.errors.OptionError: draw() has no argument 'step'. Write steps.
>>> draw(["a cat", None])
Traceback (most recent call last):
    ...
clerestory.errors.PromptError: prompts[1] is None; it must be a valid string.

This is `pydantic.validate_call` with rules of its own, since by itself it copies lists that need no
conversion, refuses numpy scalars, arrays and generators or converts `"4"` to 4, and reports every
member of a union in a line of its own. Here scalars are strict, values that mean the same are
converted, a value that needs no conversion stays the same object, and an error is one line.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, KeysView, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import is_
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import numpy as np
import pydantic
from pydantic import BeforeValidator, Field, PlainValidator, Strict, Tag, WrapValidator
from pydantic_core import ErrorDetails, core_schema

from clerestory.errors import (
    ClerestoryError,
    EditError,
    OptionError,
    PromptError,
    SeedError,
    SiteError,
)
from clerestory.registry import nearest, suggest

__all__ = ["checked", "unknown_name"]

T = TypeVar("T", bound=Callable[..., Any])

ALIASES = {
    "prompt": "prompts",
    "seed": "seeds",
    "generator": "seeds",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "negative_prompt": "negative",
    "true_cfg_scale": "true_guidance",
    "pag_scale": "perturbed_guidance",
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
CALLS = {
    "missing_argument": "needs {names}; write {name}=….",
    "missing_keyword_only_argument": "needs {names}; write {name}=….",
    "multiple_argument_values": "got {name} twice, by its place and by its name.",
    "unexpected_positional_argument": "takes fewer arguments by place; write {other}=… for others.",
}
"""What is wrong with a call, by pydantic's types of errors."""
INSTANCES = {
    "Model": "a model, from clerestory.load(…)",
    "Recording": "a recording, from clerestory.Recording.open(…)",
    "Findings": "findings, from clerestory.find(…)",
    "Store": "a store: write clerestory.Recording.open(folder)",
    "DataFrame": "a table",
    "Edit": "an edit, such as Add(…)",
    "Progress": "a function of (label, completed, total)",
}
"""How to come by an instance of a class."""
MAX_LENGTH = 60
"""Characters of a value that a message has."""
MAX_ITEMS = 10_000_000
"""Items that are read of a sequence, since a generator may never end."""


def checked(
    error: type[ClerestoryError] | None = None, *, options: Sequence[str] = ()
) -> Callable[[T], T]:
    """Check the arguments of a function, or of a class's constructor, before it runs.

    Args:
        error: Class of the errors; by default that of the argument, mostly `OptionError`.
        options: Names that the function's `**options` may have.

    Returns:
        A decorator; of a class it goes above `@dataclass`. An unknown, missing or mistyped argument
        is then an error of one line that says what to write, and never a TypeError of Python.
    """

    def decorate(target: T) -> T:
        if not isinstance(target, type):
            return _checked(target, error, options)
        kind: Any = target
        # The class's own: a constructor lacks the names of the types of inherited fields.
        kind.__init__.__annotations__ = typing.get_type_hints(kind, include_extras=True)
        kind.__init__ = _checked(kind.__init__, error, options)
        return target

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


def _checked(function: T, error: type[ClerestoryError] | None, options: Sequence[str]) -> T:
    parameters = inspect.signature(function).parameters
    # A constructor is called by the name of its class, a method by its own.
    owner = function.__qualname__.removesuffix(".__init__").rpartition(".")[2] + "()"
    variable = {name for name, each in parameters.items() if each.kind is each.VAR_KEYWORD}
    known = [name for name in parameters if name not in {"self", "cls"} | variable] + [*options]

    # At the first call: building a validator takes milliseconds, and few are used.
    validator = functools.cache(functools.partial(_validator, function))

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if options or not variable:
            for key in kwargs:
                if key not in known:
                    raise (error or OptionError)(unknown_name(owner, key, known))
        try:
            values, named = validator()(*args, **kwargs)
        except pydantic.ValidationError as reason:
            name, line = _explain(reason.errors(), owner, parameters)
            raise (error or ERRORS.get(name, OptionError))(line) from None
        # Not within the validation: an error of its own is not one of its arguments.
        return function(*values, **named)

    return wrapped  # type: ignore[return-value]


# --- validation --------------------------------------------------------------------------------


def _validator(function: Callable[..., Any]) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """A function of the same signature that returns its arguments, validated."""

    def arguments(*args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return args, kwargs

    signature = inspect.signature(function)
    arguments.__signature__ = signature  # type: ignore[attr-defined]
    # Without the result, whose type may be imported for type checkers only.
    arguments.__annotations__ = {**function.__annotations__, "return": None}
    scope = getattr(function, "__globals__", None)
    hints = typing.get_type_hints(arguments, scope, include_extras=True)
    if seed := hints.get("seed"):  # generators of random numbers take no negative one
        hints["seed"] = Annotated[seed, Field(ge=0)]
    arguments.__annotations__ = {
        name: _strict(hints.get(name, Any)) for name in signature.parameters
    }
    return pydantic.validate_call(arguments)


def _strict(hint: Any) -> Any:
    """An annotation with the validators of this module."""
    origin, members = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_strict(members[0]), *members[1:])]
    if origin in (Union, UnionType):
        if any(getattr(each, "__module__", "").startswith("numpy._typing") for each in members):
            return Any  # ArrayLike
        # An empty tag keeps the member's name out of the place of an error.
        choices = (
            each if each is NoneType else Annotated[_strict(each), Tag("")] for each in members
        )
        return Union[tuple(choices)]  # noqa: UP007 - `|` takes no tuple
    if origin is np.ndarray:
        return Any  # whoever takes an array converts it and checks its shape
    if origin is Sequence:
        return Annotated[
            list[_strict(members[0])],  # type: ignore[misc]
            Field(max_length=MAX_ITEMS, fail_fast=True),
            WrapValidator(_sequence),
        ]
    if origin is Mapping:
        pair = map(_strict, members)
        return Annotated[dict[tuple(pair)], WrapValidator(_mapping)]  # type: ignore[misc]
    if origin is tuple:
        return tuple[tuple(map(_strict, members))]  # type: ignore[misc]
    if hint in SCALARS:
        return SCALARS[hint]
    if isinstance(origin or hint, type) and origin is not Callable:
        # Not `pydantic.InstanceOf`, which examines the fields of a dataclass.
        check = core_schema.is_instance_schema(origin or hint)
        return Annotated[hint, pydantic.GetPydanticSchema(lambda kind, handler: check)]
    return hint


def _plain(value: Any) -> Any:
    """A number of numpy or torch as one of Python."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _path(value: Any) -> Path:
    # By itself, since pydantic's own takes no other class with `__fspath__`.
    try:
        return value if isinstance(value, Path) else Path(value)
    except TypeError:
        raise ValueError("it should be a path") from None


SCALARS: Mapping[Any, Any] = {
    str: Annotated[str, Strict()],
    int: Annotated[int, Strict(), BeforeValidator(_plain)],
    float: Annotated[float, Strict(), BeforeValidator(_plain)],
    bool: Annotated[bool, Strict(), BeforeValidator(_plain)],
    Path: Annotated[Path, PlainValidator(_path)],
    object: Any,
    Any: Any,
}


def _sequence(value: Any, validate: Callable[[Any], list[Any]]) -> Any:
    if type(value).__name__ == "DataFrame":
        raise ValueError("it should be one of its columns, such as list(table['prompt'])")
    # The keys of a dict have an order, other sets have none.
    unordered = isinstance(value, AbstractSet) and not isinstance(value, KeysView)
    if unordered or isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        try:
            validate([value])
        except pydantic.ValidationError as reason:
            raise ValueError(
                f"it should be a list, each of whose items {_advice(reason.errors())}"
            ) from None
        item = repr(value)[:MAX_LENGTH] if isinstance(value, str | int | float) else "…"
        raise ValueError(f"it should be a list: [{item}]")
    array = value.to_numpy() if hasattr(value, "to_numpy") else value
    # A tensor's items are tensors, which take a hundred times as long.
    items = validate(array.tolist() if hasattr(array, "tolist") else array)
    if isinstance(value, range) or (isinstance(value, Sequence) and all(map(is_, items, value))):
        return value
    return items if isinstance(value, list) else tuple(items)


def _mapping(value: Any, validate: Callable[[Any], dict[Any, Any]]) -> Any:
    items = validate(value)
    return value if all(map(is_, items.values(), value.values())) else items


# --- messages ----------------------------------------------------------------------------------


def _explain(
    details: list[ErrorDetails], owner: str, parameters: Mapping[str, inspect.Parameter]
) -> tuple[str, str]:
    """The argument that does not fit, and one line that says what to write."""
    by_name = [name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY]
    for kind, sentence in CALLS.items():
        names = [str(each["loc"][0]) for each in details if each["type"] == kind]
        if names:
            words = {"name": names[0], "names": " and ".join(names), "other": [*by_name, "NAME"][0]}
            return "", f"{owner} {sentence.format_map(words)}"
    first = details[0]["loc"][0]
    # An argument that is given by its place is called by it.
    name = first if isinstance(first, str) else list(parameters)[first]
    places = [tuple(part for part in each["loc"] if part not in ("", "[key]")) for each in details]
    # Of the members of a union, the one that fits furthest: the list with one wrong item.
    place = max((each for each in places if each[0] == first), key=len)
    deepest = [each for each, where in zip(details, places, strict=True) if where == place]
    item = "".join(f"[{repr(part)[:MAX_LENGTH]}]" for part in place[1:])
    value = "missing" if deepest[0]["type"] == "missing" else _show(deepest[0]["input"])
    return name, f"{name}{item} is {value}; it {_advice(deepest)}."


def _advice(details: Sequence[ErrorDetails]) -> str:
    """What a value must be: the alternatives, without repetitions."""
    return "must " + " or ".join(dict.fromkeys(map(_requirement, details)))


def _requirement(detail: ErrorDetails) -> str:
    value, kind = detail["input"], detail.get("ctx", {}).get("class")
    if kind in INSTANCES:
        return f"be {INSTANCES[kind]}"
    if detail["type"] == "string_type" and callable(value) and hasattr(value, "classes"):
        return f"be its name, 'python:{value.__module__}:{value.__qualname__}'"
    # pydantic's sentence: "Input should be a valid string".
    return detail["msg"].partition(" should ")[2] or "be given"


def _show(value: Any) -> str:
    """A value in a message: itself where it is plain, else what it is."""
    if not isinstance(
        value, NoneType | str | bytes | int | float | Path | list | tuple | dict | set
    ):
        return f"of type {type(value).__name__}"
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + "…"
