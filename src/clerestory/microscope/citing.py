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

    EvidenceError for a folder without findings, OutputError for one without a report.
    """
    for folder in findings:
        Findings.load(folder)
        _copy(folder, microscope.folder / "findings" / folder.name)
    for folder in studies:
        if not list(folder.glob("*.html")):
            raise OutputError(f"{folder} has no report.")
        _copy(folder, microscope.folder / "studies" / folder.name)


def _copy(folder: Path, to: Path) -> None:
    if not to.exists():
        shutil.copytree(folder, to)
