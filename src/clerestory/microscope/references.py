"""Findings and reports that pages link, copied into the microscope's folder."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from clerestory.contrasts import Findings
from clerestory.errors import ClerestoryError, EvidenceError, OutputError
from clerestory.microscope.copying import copy_folder
from clerestory.microscope.folder import Microscope

__all__ = ["add_references", "references"]

LARGE_FOLDERS = ("tasks", "steered")
"""Folders of a study that no page links."""


def add_references(
    microscope: Microscope, findings: Sequence[Path], studies: Sequence[Path]
) -> None:
    """Copy folders to `findings` and `studies`; one that was copied before stays as it is.

    Args:
        microscope: The microscope.
        findings: Folders that `find` wrote.
        studies: Folders with reports in HTML.

    Raises:
        EvidenceError: A folder has no findings, or findings of another model.
        OutputError: A folder has no report, or the microscope has another folder of its name.
    """
    for folder in findings:
        _check(Findings.load(folder), folder, microscope)
        _copy(folder, microscope.folder / "findings" / folder.resolve().name)
    for folder in studies:
        if not list(folder.glob("*.html")):
            raise OutputError(f"{folder} has no report.")
        _copy(folder, microscope.folder / "studies" / folder.resolve().name, exclude=LARGE_FOLDERS)


def _check(findings: Findings, folder: Path, microscope: Microscope) -> None:
    model, origin = microscope.plan.model, findings.provenance
    # Findings that were computed from arrays name no model.
    if origin.model and (origin.model, origin.digest) != (model.name, model.weights):
        raise EvidenceError(
            f"{folder} was found in {origin.model} (weights {origin.digest}), the microscope is "
            f"of {model.name} ({model.weights})."
        )
    if findings.findings and not any(
        each.site.partition("@")[0] in microscope.sites for each in findings.findings
    ):
        raise EvidenceError(f"{folder} names no site of this microscope.")


def _copy(folder: Path, to: Path, exclude: Collection[str] = ()) -> None:
    if not to.exists():
        # Copied under another name and renamed, so that no page reads an incomplete folder.
        part = to.with_name(f".{to.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        copy_folder(folder, part, exclude=exclude)
        part.rename(to)
    # Sizes only: a second run of the same command should not read everything again.
    elif _files(folder, exclude) != _files(to, exclude):
        raise OutputError(f"{to} has other files than {folder}: give the folder another name.")


def _files(folder: Path, exclude: Collection[str]) -> dict[str, int]:
    """The files in a folder and their sizes."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    sizes = {path.relative_to(folder): path.stat().st_size for path in paths}
    return {path.as_posix(): size for path, size in sizes.items() if not {*path.parts} & {*exclude}}


def references(microscope: Microscope) -> Mapping[str, list[dict[str, Any]]]:
    """The findings in the folder, by unit.

    Args:
        microscope: The microscope.

    Returns:
        Findings, ready for JSON, by the unit's address.
    """
    folder = microscope.folder / "findings"
    return _load_references(folder, folder.stat().st_mtime_ns) if folder.is_dir() else {}


@lru_cache(maxsize=8)
def _load_references(folder: Path, modified: int) -> Mapping[str, list[dict[str, Any]]]:
    """The findings in a folder, cached until its time of modification changes."""
    records: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.iterdir()):
        try:
            findings = Findings.load(path).findings
        # A damaged folder must not break all pages: its findings are missing from them.
        except ClerestoryError:
            continue
        for finding in findings:
            record = {"finding": path.name, "unit": finding.unit, "rank": finding.selection_rank}
            record |= {"auroc": finding.detects.auroc, "q": finding.detects.q}
            records.setdefault(finding.unit.partition("@")[0], []).append(record)
    return records
