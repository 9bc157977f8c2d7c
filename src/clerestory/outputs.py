"""Places to write to: never over something that is there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clerestory.errors import ClerestoryError, OutputError

__all__ = ["empty_folder", "free_folder", "new_file", "picture_file", "planned_folder"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def free_folder(folder: Path) -> Path:
    """A folder that is empty or not there yet, and stays so; OutputError if something is in it."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give a folder that is empty or not there yet.")
    try:
        taken = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise OutputError(f"{folder} cannot be read: {error.strerror}.") from error
    if taken:
        raise OutputError(f"{folder} is not empty; give a folder that is empty or not there yet.")
    return folder


def empty_folder(folder: Path) -> Path:
    """Make a folder, or take an empty one; OutputError where something is in the way."""
    free_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error.strerror}.") from error
    return folder


def planned_folder(
    folder: Path,
    file: str,
    plan: Mapping[str, Any],
    *,
    other: str,
    error: type[ClerestoryError],
) -> Path:
    """A folder that keeps what is done by a plan, which it has in `file`; an empty one gets it.

    Where it is there already work goes on. `error`, with the differences, where the folder has
    `other`: what was done by another plan.
    """
    now = json.loads(json.dumps(plan))
    if not (folder / file).exists():
        empty_folder(folder)
        beside = folder / f"{file}.part"
        beside.write_text(json.dumps(plan, indent=1) + "\n")
        beside.replace(folder / file)
        return folder
    try:
        before = json.loads((folder / file).read_text())
    except ValueError as reason:
        raise error(f"{folder / file} cannot be read: {reason}") from reason
    differ = [
        f"{name}: {_short(before.get(name))} there, {_short(own)} now"
        for name, own in now.items()
        if before.get(name) != own
    ]
    if differ:
        raise error(f"{folder} has {other} ({'; '.join(differ)}): take another folder.")
    return folder


def new_file(path: Path) -> Path:
    """The name of a file that is not there yet, its folder made; OutputError if it is taken."""
    if path.exists():
        raise OutputError(f"{path} exists already; give a file that is not there yet.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be made: {error.strerror}.") from error
    return path


def picture_file(path: Path) -> Path:
    """A name whose ending names a kind of picture; OutputError if it does not."""
    if path.suffix.lower() not in PICTURES:
        raise OutputError(f"{path} names no kind of picture; end it in {', '.join(PICTURES)}.")
    return path


def _short(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else text[:most] + "…"
