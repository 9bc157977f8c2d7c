"""Findings and reports that pages link: copied into the microscope, and read from there."""

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

WORK = ("steps", "steered")
"""Folders of a study beside its report, which are large."""


def add_references(
    microscope: Microscope, findings: Sequence[Path], studies: Sequence[Path]
) -> None:
    """Copy folders to `findings` and `studies`; one that is there already is left as it is.

    EvidenceError for a folder without findings, or with another model's, OutputError for one
    without a report, or where another lies under its name.

    Args:
        microscope: The microscope.
        findings: Folders that `find` wrote.
        studies: Folders with reports in HTML.

    Raises:
        EvidenceError: A folder has no findings, or another model's.
        OutputError: A folder has no report, or another folder lies under its name.
    """
    for folder in findings:
        _check(Findings.load(folder), folder, microscope)
        _copy(folder, microscope.folder / "findings" / folder.resolve().name)
    for folder in studies:
        if not list(folder.glob("*.html")):
            raise OutputError(f"{folder} has no report.")
        _copy(folder, microscope.folder / "studies" / folder.resolve().name, exclude=WORK)


def _check(findings: Findings, folder: Path, microscope: Microscope) -> None:
    model, origin = microscope.plan["model"], findings.provenance
    if origin.model and (origin.model, origin.digest) != (model["name"], model["revision"]):
        raise EvidenceError(
            f"{folder} was found in {origin.model} (revision {origin.digest}), the microscope is "
            f"of {model['name']} ({model['revision']})."
        )
    if findings.findings and not any(
        one.site.partition("@")[0] in microscope.sites for one in findings.findings
    ):
        raise EvidenceError(f"{folder} names no site of this microscope.")


def _copy(folder: Path, to: Path, exclude: Collection[str] = ()) -> None:
    if not to.exists():
        # Copied beside and renamed, so that a page never reads half a folder.
        part = to.with_name(f".{to.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        copy_folder(folder, part, exclude=exclude)
        part.rename(to)
    elif _files(folder, exclude) != _files(to, exclude):
        raise OutputError(f"{to} has other files than {folder}: give the folder another name.")


def _files(folder: Path, exclude: Collection[str]) -> dict[str, int]:
    """The files in a folder and their sizes."""
    every = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    record = {path.relative_to(folder): path.stat().st_size for path in every}
    return {
        path.as_posix(): size for path, size in record.items() if not {*path.parts} & {*exclude}
    }


def references(microscope: Microscope) -> Mapping[str, list[dict[str, Any]]]:
    """By unit the findings in the folder that name it.

    Args:
        microscope: The microscope.

    Returns:
        Findings, ready for JSON, by the unit's address; empty where there are none.
    """
    folder = microscope.folder / "findings"
    return _load_references(folder, folder.stat().st_mtime_ns) if folder.is_dir() else {}


@lru_cache(maxsize=8)
def _load_references(folder: Path, changed: int) -> Mapping[str, list[dict[str, Any]]]:
    """Read anew once something was added to the folder."""
    records: dict[str, list[dict[str, Any]]] = {}
    for one in sorted(folder.iterdir()):
        try:
            findings = Findings.load(one).findings
        # One damaged folder must not take all pages down: its findings are not shown.
        except ClerestoryError:
            continue
        for finding in findings:
            record = {"finding": one.name, "unit": finding.unit, "rank": finding.rank}
            record |= {"auroc": finding.detects.auroc, "q": finding.detects.q}
            records.setdefault(finding.unit.partition("@")[0], []).append(record)
    return records
