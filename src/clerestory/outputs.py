"""Places to write to: never over something that is there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from clerestory.errors import OutputError

__all__ = ["empty_folder", "free_folder", "new_file", "picture_file"]

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
