"""Copies of folders without their symbolic links, which could lead anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

__all__ = ["copy_folder"]


def copy_folder(
    folder: Path, to: Path, suffixes: Sequence[str] | None = None, *, exclude: Collection[str] = ()
) -> None:
    """Copy the files and folders in a folder, but no symbolic links.

    Args:
        folder: The folder.
        to: The copy, which does not exist yet.
        suffixes: Types of files to copy, in lower case, such as `.png`; all if None.
        exclude: Names of files and folders to leave out, at all depths.
    """

    def ignored(parent: str, names: list[str]) -> list[str]:
        paths = [Path(parent) / name for name in names]
        return [
            path.name
            for path in paths
            if path.is_symlink()
            or path.name in exclude
            or not (suffixes is None or path.is_dir() or path.suffix.lower() in suffixes)
        ]

    shutil.copytree(folder, to, ignore=ignored)
