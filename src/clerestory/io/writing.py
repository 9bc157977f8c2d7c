"""Outputs that are complete or absent, and checks that nothing is overwritten.

    with atomic_folder(Path("out")) as part:
        (part / "figures.json").write_text("{}")

Each context manager removes its temporary file or folder when an error, Ctrl-C or SIGTERM ends its
block.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from clerestory.errors import ClerestoryError, OutputError
from clerestory.io.reading import path_inside, read_json, symbolic_links

__all__ = [
    "atomic_file",
    "atomic_folder",
    "check_empty_folder",
    "check_link_target",
    "check_links",
    "make_empty_folder",
    "open_planned_folder",
    "prepare_new_file",
]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def check_empty_folder(folder: Path) -> Path:
    """Check that a folder is empty or does not exist; nothing is created.

    Args:
        folder: The folder.

    Returns:
        The folder.

    Raises:
        OutputError: It is a file, a link to nothing, cannot be read, or is not empty.
    """
    check_link_target(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give a folder that is empty or does not exist.")
    try:
        occupied = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise OutputError(f"{folder} cannot be read: {error.strerror}.") from error
    if occupied:
        raise OutputError(f"{folder} is not empty; give a folder that is empty or does not exist.")
    return folder


def make_empty_folder(folder: Path) -> Path:
    """Create a folder, or accept one that is empty.

    Args:
        folder: The folder; its parents are created too.

    Returns:
        The folder, which can be written to.

    Raises:
        OutputError: The folder is not empty or cannot be written to.
    """
    check_empty_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permission bits are not reliable on network disks or for root, so a file is created.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error.strerror}.") from error
    return folder


def check_link_target(path: Path, error: type[ClerestoryError] = OutputError) -> None:
    """Check that a path is no link to nothing, where finished work could not be put.

    Args:
        path: A path to write to.
        error: Class of the error.

    Raises:
        ClerestoryError: Of class `error`, if it is a link to what does not exist, or to itself.
    """
    if path.is_symlink() and not path.exists():
        raise error(f"{path} is a link to nothing: remove it, or give another place.")


def check_links(folder: Path, error: type[ClerestoryError] = OutputError) -> None:
    """Check that nothing written to a folder would be written elsewhere.

    A folder from somebody else could have files elsewhere overwritten.

    Args:
        folder: The folder, which may be a link to one, and need not exist.
        error: Class of the error.

    Raises:
        ClerestoryError: Of class `error`, if it is a link to nothing, or a link in it, at any
            depth, leads out of it.
    """
    check_link_target(folder, error)
    for link in symbolic_links(folder):
        path_inside(folder, link.relative_to(folder).as_posix(), error)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Write a folder completely or not at all.

    The files are written to a hidden folder `.NAME-….part`, which is renamed when the block ends
    and removed when it raises. A process that is killed leaves the hidden folder behind.

    Args:
        folder: Destination; empty or not existing.

    Yields:
        The hidden folder: beside a `folder` that does not exist, inside one that does.

    Raises:
        OutputError: `folder` is not empty, also when that happens while the block runs.
    """
    # Within an existing folder, which may be the only place where we may write.
    exists = check_empty_folder(folder).is_dir()
    part = (folder if exists else folder.parent) / _hidden_name(folder)
    temporary = [part]
    try:
        _make_part(part)
        yield part
        _check_unchanged(folder, part)
        if exists:
            # An existing folder may be a mount or a working directory, so it is not replaced.
            for path in sorted(part.iterdir()):
                temporary.append(folder / path.name)
                path.replace(folder / path.name)
            part.rmdir()
        else:
            part.replace(folder)
    # Also Ctrl-C, which is not an `Exception`.
    except BaseException:
        for path in temporary:
            _remove(path)
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write a file completely or not at all; an existing file is replaced at the end.

    Args:
        path: Destination.

    Yields:
        A hidden path beside it, with the same suffix, from which writers infer the format.
    """
    # The suffix stays, since writers choose a format by it.
    part = path.with_name(_hidden_name(path) + path.suffix)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def open_planned_folder(
    folder: Path,
    file: str,
    plan: Mapping[str, Any],
    *,
    other: str,
    error: type[ClerestoryError],
) -> Path:
    """Create a folder for work that can be resumed, or check that it has the same plan.

    Args:
        folder: A folder with this plan, or one that is empty or does not exist.
        file: File name of the plan.
        plan: Everything that the work depends on, ready for JSON.
        other: What a folder with another plan contains, for the message.
        error: Class of the error.

    Returns:
        The folder.

    Raises:
        ClerestoryError: Of class `error`, with the differences, if the folder has another plan, or
            if a link leads out of it.
        OutputError: The folder is not empty and has no plan.
    """
    check_links(folder, error)
    if not (folder / file).exists():
        part = folder / f"{file}.part"
        part.unlink(missing_ok=True)  # left by a process that was killed here
        make_empty_folder(folder)
        # Renamed at the end, so that the plan is complete or the folder is empty.
        part.write_text(json.dumps(plan, indent=1) + "\n")
        part.replace(folder / file)
        return folder
    saved = read_json(path_inside(folder, file, error), error)
    if not isinstance(saved, dict):
        raise error(f"{folder / file} is not a valid plan; it was altered.")
    # Through JSON, so that tuples compare equal to the lists that were read.
    current = json.loads(json.dumps(plan))
    differences = [
        f"{name}: {_shorten(saved.get(name))} there, {_shorten(value)} now"
        for name, value in current.items()
        if saved.get(name) != value
    ]
    if differences:
        raise error(f"{folder} has {other} ({'; '.join(differences)}): take another folder.")
    return folder


def prepare_new_file(path: Path, *, picture: bool = False) -> Path:
    """Check that a file does not exist, and create its folder.

    Args:
        path: The file.
        picture: Whether its name has to end in the suffix of a picture format.

    Returns:
        The path.

    Raises:
        OutputError: The file exists, is a link to nothing, its suffix is another, or its folder
            cannot be created.
    """
    check_link_target(path)
    if path.exists():
        raise OutputError(f"{path} exists already; give a file that does not exist.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be created: {error.strerror}.") from error
    if picture and path.suffix.lower() not in PICTURE_SUFFIXES:
        raise OutputError(
            f"{path} is not a picture's name; end it in {', '.join(PICTURE_SUFFIXES)}."
        )
    return path


def _hidden_name(path: Path) -> str:
    # Resolved: `.` and `..` have no name of their own.
    return f".{path.resolve().name}-{uuid4().hex[:8]}.part"


def _make_part(part: Path) -> None:
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{part.parent} cannot be written to: {error.strerror}.") from error


def _check_unchanged(folder: Path, part: Path) -> None:
    """OutputError if another process wrote to the folder since it was checked."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names - {part.name} or folder.is_file():
        raise OutputError(f"{folder} was written to meanwhile by somebody else: take another.")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _shorten(value: Any, length: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= length else text[:length] + "…"
