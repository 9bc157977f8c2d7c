"""Folders from others, copied: what is a link in them stays behind, wherever it leads."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

__all__ = ["copy_folder"]


def copy_folder(
    folder: Path, to: Path, suffixes: Sequence[str] | None = None, *, exclude: Collection[str] = ()
) -> None:
    """Copy files and folders, but no links; with `suffixes` only files of these types.

    Names in `exclude` are skipped at every depth.

    Args:
        folder: Where to copy from.
        to: A folder that does not exist yet.
        suffixes: Types of files in lower case, such as `.png`; all if None.
        exclude: Names of files and folders that are skipped.
    """

    def ignored(place: str, names: list[str]) -> list[str]:
        paths = [Path(place) / name for name in names]
        return [
            path.name
            for path in paths
            if path.is_symlink()
            or path.name in exclude
            or not (suffixes is None or path.is_dir() or path.suffix.lower() in suffixes)
        ]

    shutil.copytree(folder, to, ignore=ignored)
