"""The folder that Lancet ships in: where it is, and whether it is whole.

FOLDER/manifest.json     name, version, world, defaults, sha256 of every other file
FOLDER/model/            the pipeline
FOLDER/classifiers/      sets a and b
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from clerestory.errors import ModelError
from clerestory.io.reading import check_regular_file, path_inside, read_json
from clerestory.io.validation import validate
from clerestory.models.core.types import Options

__all__ = ["SHIPPED", "manifest", "revision", "verified"]

SHIPPED = Path(__file__).parent / "weights"
"""The embedded model."""
MOST_FILE = 2**30
"""Bytes of one file."""


def verified(folder: Path | None = None) -> Path:
    """The folder, after every file's checksum has been compared.

    ModelError, in one line, where a file is missing or damaged.

    Args:
        folder: A Lancet folder; the shipped one by default.

    Returns:
        The folder, resolved; it is compared once a process.

    Raises:
        ModelError: A file is missing or damaged.
    """
    return _verified((folder or SHIPPED).resolve())


def manifest(folder: Path | None = None) -> dict[str, Any]:
    """What the folder's `manifest.json` says.

    Args:
        folder: A Lancet folder; the shipped one by default.

    Returns:
        Its fields; `files`, `defaults` and `settings` are there.

    Raises:
        ModelError: The file is missing or damaged.
    """
    place = folder or SHIPPED
    path = place / "manifest.json"
    try:
        told: dict[str, Any] = read_json(path_inside(place, path.name, ModelError), ModelError)
    except ModelError as error:
        raise ModelError(f"{place} is not a Lancet folder: {path.name} cannot be read.") from error
    whole = isinstance(told, dict) and all(
        isinstance(told.get(part), dict) for part in ("files", "defaults", "settings")
    )
    if not whole or not isinstance(told.get("version", ""), str | None):
        raise ModelError(f"{path} is damaged: it lacks files, defaults or settings.")
    validate(dict[str, str], told["files"], f"{path}: files", ModelError)
    validate(Options, told["defaults"], f"{path}: defaults", ModelError)
    return told


def revision(folder: Path | None = None) -> str:
    """What tells these weights from any others: a digest of the sums, after the version if any.

    Two folders of one version, such as "1.0-0123456789ab", hold the same bytes.

    Args:
        folder: A Lancet folder; the shipped one by default.

    Returns:
        The version and 12 hexadecimal digits, joined by a hyphen.

    Raises:
        ModelError: The manifest is missing or damaged.
    """
    told = manifest(folder)
    # Sorted, so that the order in which files were listed does not count.
    sums = json.dumps(sorted(told["files"].items()))
    digest = hashlib.sha256(sums.encode()).hexdigest()[:12]
    return "-".join(filter(None, [told.get("version"), digest]))


@functools.lru_cache(maxsize=8)
def _verified(folder: Path) -> Path:
    for name, expected in manifest(folder)["files"].items():
        path = path_inside(folder, name, ModelError)
        if not path.is_file():
            raise ModelError(f"{path} is missing: install Clerestory again.")
        check_regular_file(path, ModelError, MOST_FILE)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise ModelError(f"{path} is damaged (its checksum differs): install Clerestory again.")
    return folder
