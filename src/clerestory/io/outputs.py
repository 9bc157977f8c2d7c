"""Places to write to: never over something that is there, and whole or not at all.

    with whole_folder(Path("out")) as part:
        (part / "figures.json").write_text("{}")

What this process has begun, and in which state it would leave it now, is noted; `left` tells.
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
from clerestory.io.reading import inside, read_json

__all__ = [
    "empty_folder",
    "forget",
    "free_folder",
    "left",
    "new_file",
    "picture_file",
    "planned_folder",
    "resumable",
    "whole_file",
    "whole_folder",
]

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
RESUMABLE = "is resumable, the same command goes on"
AS_IT_WAS, WHOLE = "is as it was, what was begun is removed", "is whole"
_noted: dict[str, str] = {}


def resumable(place: object) -> None:
    """Note that the same command goes on in this place, whenever it is stopped.

    Args:
        place: A folder or URL.
    """
    _noted[str(place)] = RESUMABLE


def left() -> str:
    """In words, the state of all that was begun since `forget`.

    >>> forget()
    >>> left()
    'nothing was written'
    >>> resumable("rec")
    >>> left()
    'rec is resumable, the same command goes on'
    """
    # Files within a folder that is resumable are its own affair.
    going = {place for place, state in _noted.items() if state == RESUMABLE}
    said = [
        f"{place} {state}"
        for place, state in _noted.items()
        if not going & set(map(str, Path(place).parents))
    ]
    return "; ".join(said) or "nothing was written"


def forget() -> None:
    """Begin the notes anew."""
    _noted.clear()


def free_folder(folder: Path) -> Path:
    """Check that a folder is empty or not there yet; it is not made.

    Args:
        folder: The folder.

    Returns:
        The folder.

    Raises:
        OutputError: It is a file, cannot be read, or something is in it.
    """
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
    """Make a folder, or take an empty one.

    Args:
        folder: The folder; its parents are made too.

    Returns:
        The folder, which can be written to.

    Raises:
        OutputError: Something is in the way, or it cannot be written to.
    """
    free_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Tried out: permissions alone do not tell on network disks, nor for root.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error.strerror}.") from error
    return folder


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to write to, whose files are in `folder` once all are written.

    It is a hidden one, `.NAME-….part`, beside a folder that is not there yet, in one that is there
    and empty. Where anything goes wrong, or a signal comes, it is removed; a kill leaves it behind.

    Args:
        folder: Where the files belong; empty or not there yet.

    Yields:
        The hidden folder.

    Raises:
        OutputError: `folder` is taken, also where that happens meanwhile.
    """
    there = free_folder(folder).is_dir()
    part = (folder if there else folder.parent) / _hidden(folder)
    made, written = [part], False
    _noted[str(folder)] = AS_IT_WAS
    try:
        _begun(part)
        yield part
        _unaltered(folder, part)
        written = True
        # A folder that is there is kept rather than replaced: it may be a mount, or somebody's
        # working folder.
        for one in sorted(part.iterdir()) if there else ():
            made.append(folder / one.name)
            one.replace(folder / one.name)
        if there:
            part.rmdir()
        else:
            part.replace(folder)
    except BaseException:
        if written and not part.exists():
            _noted[str(folder)] = WHOLE
            raise
        for one in made:
            _removed(one)
        raise
    _noted[str(folder)] = WHOLE


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write to, whose file takes the place of `path` once it is written.

    Where anything goes wrong it is removed, and `path` is as it was.

    Args:
        path: Where the file belongs; a file that is there is replaced.

    Yields:
        A hidden name beside it, with the same suffix, since writers choose a format by it.
    """
    part = path.with_name(_hidden(path) + path.suffix)
    _noted[str(path)] = AS_IT_WAS
    written = False
    try:
        yield part
        written = True
        part.replace(path)
    except BaseException:
        if written and not part.exists():
            _noted[str(path)] = WHOLE
        part.unlink(missing_ok=True)
        raise
    _noted[str(path)] = WHOLE


def planned_folder(
    folder: Path,
    file: str,
    plan: Mapping[str, Any],
    *,
    other: str,
    error: type[ClerestoryError],
) -> Path:
    """A folder that keeps what is done by a plan; where it is there already work goes on.

    Args:
        folder: A folder of this plan, or one that is empty or not there yet, which gets it.
        file: The name of the file with the plan.
        plan: Everything that the work depends on, ready for JSON.
        other: What a folder of another plan holds, for the message.
        error: The class of what is raised.

    Returns:
        The folder.

    Raises:
        ClerestoryError: Of class `error`, with the differences, where the folder has another plan.
        OutputError: The folder is not empty and has no plan.
    """
    # Through JSON, so that tuples equal the lists that are read.
    now = json.loads(json.dumps(plan))
    if not (folder / file).exists():
        beside = folder / f"{file}.part"
        beside.unlink(missing_ok=True)  # of a call that was killed as it began
        free_folder(folder)
        resumable(folder)
        empty_folder(folder)
        # Beside and renamed: a plan is there whole, or the folder is empty.
        beside.write_text(json.dumps(plan, indent=1) + "\n")
        beside.replace(folder / file)
        return folder
    before = read_json(inside(folder, file, error), error)
    if not isinstance(before, dict):
        raise error(f"{folder / file} is not a valid plan; it was altered.")
    differ = [
        f"{name}: {_short(before.get(name))} there, {_short(own)} now"
        for name, own in now.items()
        if before.get(name) != own
    ]
    if differ:
        raise error(f"{folder} has {other} ({'; '.join(differ)}): take another folder.")
    resumable(folder)
    return folder


def new_file(path: Path) -> Path:
    """The name of a file that is not there yet.

    Args:
        path: The file; its folder is made.

    Returns:
        The path.

    Raises:
        OutputError: It is taken, or its folder cannot be made.
    """
    if path.exists():
        raise OutputError(f"{path} exists already; give a file that is not there yet.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be made: {error.strerror}.") from error
    return path


def picture_file(path: Path) -> Path:
    """Check that a name's ending names a kind of picture.

    Args:
        path: The file.

    Returns:
        The path.

    Raises:
        OutputError: It does not.
    """
    if path.suffix.lower() not in PICTURES:
        raise OutputError(f"{path} names no kind of picture; end it in {', '.join(PICTURES)}.")
    return path


def _hidden(path: Path) -> str:
    # Resolved: `.` and `..` have no name of their own.
    return f".{path.resolve().name}-{uuid4().hex[:8]}.part"


def _begun(part: Path) -> None:
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{part.parent} cannot be written to: {error.strerror}.") from error


def _unaltered(folder: Path, part: Path) -> None:
    """OutputError where somebody else wrote to the folder meanwhile."""
    names = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
    if names - {part.name} or folder.is_file():
        raise OutputError(f"{folder} was written to meanwhile by somebody else: take another.")


def _removed(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _short(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else text[:most] + "…"
