"""Checks and parsing of command-line arguments, before a command does any work."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from clerestory.cli import console
from clerestory.cli.options import MAY_BE_EMPTY, NEW_FOLDER

__all__ = ["parse_pairs", "replace_parameters", "split_names", "validated"]

OUTPUTS = {"out", "sheet", "to", "work"}
"""Parameters that name a path to write to."""


def validated(command: Callable[..., None]) -> Callable[..., None]:
    """Check a command's arguments before it runs.

    Args:
        command: A Typer command with annotated parameters.

    Returns:
        The command; it raises OptionError for an empty text or a number that is not finite, and
        OutputError where an output path cannot be written to or a new folder is not empty. With
        `--json`, stdout is reserved for it.
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
            # Each value of a repeatable option by itself.
            for item in value if isinstance(value, list | tuple) else (value,):
                _check(name, item, hints[name], defaults[name])
        with console.reserve_stdout() if arguments.get("json") else nullcontext():
            command(**arguments)

    replace_parameters(wrapped, parameters)
    return wrapped


def replace_parameters(
    command: Callable[..., None], parameters: Sequence[inspect.Parameter]
) -> None:
    """Give a wrapper the parameters that Typer shows as its arguments and options.

    Args:
        command: The wrapper, which takes any keyword arguments; it is changed.
        parameters: The parameters, with annotations.
    """
    # Typer reads both, and finds the wrapped command's own in a wrapper.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def parse_pairs(
    option: str, values: Sequence[str], form: str = "NAME=CLASSIFIER"
) -> dict[str, str]:
    """Parse the values of a repeatable option, pairs such as NAME=CLASSIFIER.

    Args:
        option: The option, for the error message.
        values: Its values.
        form: What the two sides are, for the message.

    Returns:
        What is right of the equals sign, by what is left of it.

    Raises:
        OptionError: A value lacks a side or the equals sign.

    >>> parse_pairs("--classifier", ["mood=lancet:mood"])
    {'mood': 'lancet:mood'}
    """
    from clerestory.errors import OptionError

    pairs = {}
    for value in values:
        name, _, classifier = value.partition("=")
        if not (name and classifier):
            raise OptionError(f"{option} is {value!r}; expected {form}.")
        pairs[name] = classifier
    return pairs


def parse_indices(name: str, text: str | None) -> list[int] | None:
    """Read a range `0:4` or a list `3,7`.

    Args:
        name: The option, for the message.
        text: Its value; None where it was not given.

    Returns:
        The indices; None without a value.

    Raises:
        OptionError: The text is neither.
    """
    if text is None:
        return None
    from clerestory.errors import OptionError, SeedError
    from clerestory.models import parse_seeds

    try:
        # Of the same form as seeds.
        return list(parse_seeds(text))
    except SeedError:
        raise OptionError(f"{name} is {text!r}; write 0:4 for 0 to 3, or 3,7.") from None


def split_names(text: str) -> list[str]:
    """Split a comma-separated list, without spaces and empty names.

    Args:
        text: The list.

    >>> split_names("scared, happy")
    ['scared', 'happy']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def _check(name: str, value: Any, hint: Any, default: Any) -> None:
    from clerestory.errors import OptionError

    declaration = _declaration(hint)
    if value == "" and default != "" and not any(declaration is other for other in MAY_BE_EMPTY):
        required = default is inspect.Parameter.empty
        advice = "give a value" if required else "give a value, or leave it out"
        raise OptionError(f"{_option_name(name, declaration)} is empty (''): {advice}.")
    if name in OUTPUTS and isinstance(value, Path):
        _check_writable(value)
    if declaration is NEW_FOLDER and value is not None:
        from clerestory.io.writing import check_empty_folder

        check_empty_folder(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"{_option_name(name, declaration)} is {value}; give a finite number.")


def _parse_path(text: str) -> Path:
    # Path("") is the working directory, which nobody means by an empty text.
    if not text:
        raise typer.BadParameter("it is empty (''): give a path, or leave it out.")
    return Path(text)


def _check_writable(path: Path) -> None:
    """OutputError for a link to nothing, or where the nearest existing parent is not writable."""
    import tempfile

    from clerestory.errors import OutputError
    from clerestory.io.writing import check_link_target

    check_link_target(path)
    try:
        folder = next(
            parent for parent in (path, *path.absolute().parents) if os.path.lexists(parent)
        )
        if folder == path and not path.is_dir():
            return  # an existing file: the command has its own message for it
        # By writing a file: `os.access` is not reliable for every user and file system.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written to: {error.strerror} ({folder}); give another place."
        ) from error


def _with_path_parser(hint: Any) -> Any:
    """The same annotation, with a parser that refuses an empty text where it is a path."""
    declaration = _declaration(hint)
    if declaration is None:
        return hint
    kind = get_args(hint)[0]
    if not {Path, list[Path]} & {kind, *get_args(kind)}:
        return hint
    # Copied, since several commands share one annotation.
    declaration = copy.copy(declaration)
    declaration.parser = _parse_path
    return Annotated[kind, declaration]


def _declaration(hint: Any) -> Any:
    """The `typer.Option` or `typer.Argument` of an annotation; None where it has none."""
    return get_args(hint)[1] if get_origin(hint) is Annotated else None


def _option_name(name: str, declaration: Any) -> str:
    """The name of an argument as the command line spells it."""
    if isinstance(declaration, typer.models.ArgumentInfo):
        return name.upper()
    # `typer.Option("--model")` in an Annotated: typer takes the name for a default at first.
    names = (
        getattr(declaration, "default", None),
        *(getattr(declaration, "param_decls", ()) or ()),
    )
    long = [name for name in names if isinstance(name, str) and name.startswith("--")]
    return long[0] if long else "--" + name.strip("_").replace("_", "-")
