"""Checks of command-line arguments: no empty text or path, no number that is not finite."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

__all__ = ["CacheFlag", "validated"]

CacheFlag = Annotated[
    bool,
    typer.Option("--cache/--no-cache", help="Cache drawn samples."),
]
"""The `cache` parameter of verbs that draw."""

MAY_BE_EMPTY = {"negative", "prompts"}
"""Arguments that may be empty, or whose emptiness is a PromptError of the model."""

OUTPUTS = {"out", "sheet", "to", "work"}
"""Arguments that name a path to write to."""


def validated(command: Callable[..., None]) -> Callable[..., None]:
    """Check a command's arguments before it runs.

    Args:
        command: A Typer command with annotated parameters.

    Returns:
        The command; it raises OptionError for an empty text or a number that is not finite, and
        OutputError where an output path cannot be written to, before any work is done.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters = [
        parameter.replace(annotation=_with_path_parser(hints[name]))
        for name, parameter in inspect.signature(command).parameters.items()
    ]
    defaults = {parameter.name: parameter.default for parameter in parameters}

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> None:
        for name, value in arguments.items():
            for item in value if isinstance(value, list | tuple) else (value,):
                _check(name, item, hints[name], defaults[name])
        command(**arguments)

    # Typer builds options from the signature, and the wrapper alone would have none.
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def _check(name: str, value: Any, hint: Any, default: Any) -> None:
    from clerestory.errors import OptionError

    if value == "" and default != "" and name not in MAY_BE_EMPTY:
        required = default is inspect.Parameter.empty
        advice = "give a value" if required else "give a value, or leave it out"
        raise OptionError(f"{_option_name(name, hint)} is empty (''): {advice}.")
    if name in OUTPUTS and isinstance(value, Path):
        _check_writable(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"{_option_name(name, hint)} is {value}; give a finite number.")


def path(text: str) -> Path:
    """Parse a path; BadParameter for an empty text, which would be the working directory."""
    if not text:
        raise typer.BadParameter("it is empty (''): give a path, or leave it out.")
    return Path(text)


def _check_writable(path: Path) -> None:
    """OutputError where the nearest existing parent folder cannot be written to."""
    import tempfile

    from clerestory.errors import OutputError

    try:
        folder = next(one for one in (path, *path.absolute().parents) if os.path.lexists(one))
        if folder == path and not path.is_dir():
            return  # an existing file: the command has its own message for it
        # Tried, not asked: `os.access` is not reliable for every user and file system.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written to: {error.strerror} ({folder}); give another place."
        ) from error


def _with_path_parser(hint: Any) -> Any:
    """The same annotation, parsed by `path` where it is a path."""
    if get_origin(hint) is not Annotated:
        return hint
    kind, info = get_args(hint)
    if not {Path, list[Path]} & {kind, *get_args(kind)}:
        return hint
    # Copied, since several commands share one annotation.
    info = copy.copy(info)
    info.parser = path
    return Annotated[kind, info]


def _option_name(name: str, hint: Any) -> str:
    """The name of an argument as the command line spells it."""
    info = get_args(hint)[1] if get_origin(hint) is Annotated else None
    if isinstance(info, typer.models.ArgumentInfo):
        return name.upper()
    # typer.Option("--model") in an Annotated: typer takes the name for a default at first
    names = (getattr(info, "default", None), *(getattr(info, "param_decls", None) or ()))
    long = [one for one in names if isinstance(one, str) and one.startswith("--")]
    return long[0] if long else "--" + name.strip("_").replace("_", "-")
