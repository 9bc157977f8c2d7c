"""Findings and reports, copied to where a microscope's pages cite them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from clerestory.errors import OutputError
from clerestory.finding import Findings
from clerestory.microscope.folder import Microscope

__all__ = ["cite"]


def cite(microscope: Microscope, findings: Sequence[Path], studies: Sequence[Path]) -> None:
    """Copy folders to `findings` and `studies`; one that is there already is left as it is.

    EvidenceError for a folder without findings, OutputError for one without a report, or where
    another lies under its name.
    """
    for folder in findings:
        Findings.load(folder)
        _copy(folder, microscope.folder / "findings" / folder.resolve().name)
    for folder in studies:
        if not list(folder.glob("*.html")):
            raise OutputError(f"{folder} has no report.")
        _copy(folder, microscope.folder / "studies" / folder.resolve().name)


def _copy(folder: Path, to: Path) -> None:
    if not to.exists():
        part = to.with_name(f".{to.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(folder, part)
        part.rename(to)
    elif _files(folder) != _files(to):
        raise OutputError(f"{to} has other files than {folder}: give the folder another name.")


def _files(folder: Path) -> dict[str, int]:
    """The files in a folder and their sizes."""
    every = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in every}
