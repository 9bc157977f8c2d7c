"""The folder of a Lancet: its location, its manifest, and the checksums of its files.

FOLDER/manifest.json     name, version, world, defaults, sha256 of every other file
FOLDER/model/            the pipeline
FOLDER/classifiers/      sets a and b
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clerestory.errors import ModelError
from clerestory.io.reading import check_regular_file, path_inside, read_json
from clerestory.io.validation import validate
from clerestory.models.core.types import Options

__all__ = ["SHIPPED", "check_files", "checksums", "manifest", "revision", "verified"]

SHIPPED = Path(__file__).parent / "weights"
"""The embedded model."""
MOST_FILE = 2**30
"""Bytes of one file."""


def verified(folder: Path | None = None) -> Path:
    """Verify every file's checksum.

    Args:
        folder: A Lancet folder; the shipped one by default.

    Returns:
        The folder, resolved; it is verified once per process.

    Raises:
        ModelError: A file is missing or damaged.
    """
    return _verified((folder or SHIPPED).resolve())


def checksums(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of files.

    Args:
        root: The folder that names are relative to.
        paths: Paths below it; folders among them are passed over.

    Returns:
        Hexadecimal digits by name, in the order of the names.
    """
    files = sorted(path for path in paths if path.is_file())
    return {path.relative_to(root).as_posix(): _sha256(path) for path in files}


def check_files(root: Path, sums: Mapping[str, str]) -> None:
    """Check that files are there and unchanged.

    Args:
        root: The folder that names are relative to.
        sums: Their SHA-256, by name.

    Raises:
        ModelError: A file is missing or damaged, or its name leads out of the folder.
    """
    for name, expected in sums.items():
        path = path_inside(root, name, ModelError)
        if not path.is_file():
            raise ModelError(f"{path} is missing: install Clerestory again.")
        check_regular_file(path, ModelError, MOST_FILE)
        if _sha256(path) != expected:
            raise ModelError(f"{path} is damaged (its checksum differs): install Clerestory again.")


def manifest(folder: Path | None = None) -> dict[str, Any]:
    """Read the folder's `manifest.json`.

    Args:
        folder: A Lancet folder; the shipped one by default.

    Returns:
        Its fields, with `files`, `defaults` and `settings`.

    Raises:
        ModelError: The file is missing or damaged.
    """
    root = folder or SHIPPED
    path = root / "manifest.json"
    try:
        content: dict[str, Any] = read_json(path_inside(root, path.name, ModelError), ModelError)
    except ModelError as error:
        raise ModelError(f"{root} is not a Lancet folder: {path.name} cannot be read.") from error
    # Shapes first: the validators below name fields of parts that are there.
    complete = isinstance(content, dict) and all(
        isinstance(content.get(part), dict) for part in ("files", "defaults", "settings")
    )
    if not complete or not isinstance(content.get("version", ""), str | None):
        raise ModelError(f"{path} is damaged: it lacks files, defaults or settings.")
    validate(dict[str, str], content["files"], f"{path}: files", ModelError)
    validate(Options, content["defaults"], f"{path}: defaults", ModelError)
    return content


def revision(folder: Path | None = None) -> str:
    """The version of the weights, with a digest of all checksums.

    Two folders of the same revision, such as "1.0-0123456789ab", hold the same bytes.

    Args:
        folder: A Lancet folder; the shipped one by default.

    Returns:
        The version and 12 hexadecimal digits, joined by a hyphen.

    Raises:
        ModelError: The manifest is missing or damaged.
    """
    content = manifest(folder)
    # Sorted, so that the order of the files in the manifest does not matter.
    sums = json.dumps(sorted(content["files"].items()))
    digest = hashlib.sha256(sums.encode()).hexdigest()[:12]
    # The digest tells apart two trainings that somebody gave the same version.
    return "-".join(filter(None, [content.get("version"), digest]))


@functools.lru_cache(maxsize=8)
def _verified(folder: Path) -> Path:
    # Cached by folder: a process opens the model many times and reads its files once.
    check_files(folder, manifest(folder)["files"])
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
