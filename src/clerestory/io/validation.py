"""Validation of values from files by pydantic: strict, with messages of one line."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from clerestory.io.digests import check_seal, unsealed
from clerestory.io.reading import ErrorClass, path_inside, read_json

__all__ = ["load_json", "to_jsonable", "validate", "validate_sealed"]

T = TypeVar("T")


def validate(type_: type[T], value: Any, source: object, error: ErrorClass) -> T:
    """Convert a JSON value to an instance of a type.

    Args:
        type_: A frozen dataclass, or any other type that pydantic knows.
        value: Content of a JSON file.
        source: Where the value comes from, for the message.
        error: Class of the error.

    Returns:
        The instance.

    Raises:
        ClerestoryError: Of class `error`, with the first field that does not fit and the reason.
    """
    adapter: TypeAdapter[T] = _adapter(cast(Any, type_))
    try:
        # From text, since strict validation of Python values refuses a list for a tuple.
        return adapter.validate_json(json.dumps(value), strict=True, extra="forbid")
    except ValidationError as reason:
        # Without inputs and contexts: a damaged file can have an error for each of its values.
        first = reason.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])[:80]
        where = f"{source}: {field}" if field else f"{source}"
        raise error(
            f"{where} does not fit ({first['msg']}): it was altered or is of another "
            "version; write it again."
        ) from reason


def load_json(type_: type[T], folder: Path, name: str, error: ErrorClass) -> T:
    """Read a JSON file of a folder as an instance of a type.

    Args:
        type_: A frozen dataclass, or any other type that pydantic knows.
        folder: The folder.
        name: The file's path below it.
        error: Class of the error.

    Returns:
        The instance.

    Raises:
        ClerestoryError: Of class `error`, if the file cannot be read or does not fit.
    """
    path = path_inside(folder, name, error)
    return validate_sealed(type_, read_json(path, error), path, error)


def validate_sealed(type_: type[T], content: Any, source: object, error: ErrorClass) -> T:
    """Convert the content of a sealed JSON file, and check its digest.

    Args:
        type_: As for `validate`.
        content: Content of the file.
        source: Where it comes from, for the message.
        error: Class of the error.

    Returns:
        The instance.

    Raises:
        ClerestoryError: Of class `error`, if a field does not fit or the digest differs.
    """
    # First the fields, whose message says more.
    value = validate(type_, unsealed(content), source, error)
    check_seal(content, source, error)
    return value


def to_jsonable(value: Any) -> dict[str, Any]:
    """A dataclass as the values that JSON has, which `validate` reads back.

    Args:
        value: The instance.

    Returns:
        Its fields by name.
    """
    fields: dict[str, Any] = _adapter(cast(Any, type(value))).dump_python(value, mode="json")
    return fields


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # Cached: building a validator takes longer than using it.
    return TypeAdapter(kind)
