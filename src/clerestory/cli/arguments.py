"""What no argument of any command may be: an empty text or path, a number that is none."""

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

__all__ = ["checked"]

BLANK = {"negative", "prompts"}
"""Arguments that may be empty, besides those that are by default, or that a PromptError refuses."""

WRITTEN = {"out", "sheet", "to", "work"}
"""Arguments that name a place to write to."""


def checked(command: Callable[..., None]) -> Callable[..., None]:
    """The command, but OptionError where a text is empty or a number is not finite.

    OutputError where a place to write to could not be made, before any work is done for it.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters = [
        each.replace(annotation=_annotated(hints[name]))
        for name, each in inspect.signature(command).parameters.items()
    ]
    defaults = {each.name: each.default for each in parameters}

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        from clerestory.errors import OptionError

        for name, value in given.items():
            said = _said(name, hints[name])
            for one in value if isinstance(value, list | tuple) else (value,):
                if one == "" and defaults[name] != "" and name not in BLANK:
                    needed = defaults[name] is inspect.Parameter.empty
                    way = "give a value" if needed else "give a value, or leave it out"
                    raise OptionError(f"{said} is empty (''): {way}.")
                if name in WRITTEN and isinstance(one, Path):
                    _check_writable(one)
                if isinstance(one, float) and not math.isfinite(one):
                    raise OptionError(f"{said} is {one}; give a finite number.")
        command(**given)

    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped


def path(text: str) -> Path:
    """A path; BadParameter for an empty text, which would be the working directory."""
    if not text:
        raise typer.BadParameter("it is empty (''): give a path, or leave it out.")
    return Path(text)


def _check_writable(place: Path) -> None:
    """OutputError where nothing can be written to the nearest folder that is there."""
    import tempfile

    from clerestory.errors import OutputError

    try:
        folder = next(one for one in (place, *place.absolute().parents) if os.path.lexists(one))
        if folder == place and not place.is_dir():
            return  # a file in the way, which the command has its own words for
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{place} cannot be written to: {error.strerror} ({folder}); give another place."
        ) from error


def _annotated(hint: Any) -> Any:
    """The same type, read by `path` where it is one."""
    if get_origin(hint) is not Annotated:
        return hint
    kind, info = get_args(hint)
    if not {Path, list[Path]} & {kind, *get_args(kind)}:
        return hint
    info = copy.copy(info)
    info.parser = path
    return Annotated[kind, info]


def _said(name: str, hint: Any) -> str:
    """The argument as the command line names it."""
    info = get_args(hint)[1] if get_origin(hint) is Annotated else None
    if isinstance(info, typer.models.ArgumentInfo):
        return name.upper()
    # typer.Option("--model") in an Annotated: typer takes the name for a default at first
    names = (getattr(info, "default", None), *(getattr(info, "param_decls", None) or ()))
    long = [one for one in names if isinstance(one, str) and one.startswith("--")]
    return long[0] if long else "--" + name.strip("_").replace("_", "-")
