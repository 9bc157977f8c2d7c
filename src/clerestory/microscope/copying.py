"""Folders from others, copied: what is a link in them stays behind, wherever it leads."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

__all__ = ["copy_folder"]


def copy_folder(
    folder: Path, to: Path, kinds: Sequence[str] | None = None, *, but: Collection[str] = ()
) -> None:
    """Copy files and folders, but no links; with `kinds` only files whose names end so.

    What is called as in `but`, at the top or deeper down, is left.
    """

    def left(place: str, names: list[str]) -> list[str]:
        paths = [Path(place) / name for name in names]
        return [
            path.name
            for path in paths
            if path.is_symlink()
            or path.name in but
            or not (kinds is None or path.is_dir() or path.suffix.lower() in kinds)
        ]

    shutil.copytree(folder, to, ignore=left)
