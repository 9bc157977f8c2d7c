"""Findings on disk: JSON for what was found, safetensors for directions, Parquet for samples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import save_file

from clerestory.classifiers import Check
from clerestory.contrasts.findings import Finding, Findings, Null
from clerestory.errors import EvidenceError
from clerestory.io.fields import made
from clerestory.io.outputs import empty_folder
from clerestory.io.reading import inside, read_json, read_table, refusing
from clerestory.io.tensors import read_tensors, writing

__all__ = ["load", "save"]

FILE, DIRECTIONS, SAMPLES = "findings.json", "directions.safetensors", "samples.parquet"
MOST, MOST_VALUES = 2**30, 20_000_000
"""Bytes and values of `findings.json`: a hundred sites at a hundred steps have many findings."""


def save(findings: Findings, folder: Path) -> None:
    """Write the files; OutputError where the folder holds something already."""
    empty_folder(folder)
    text = json.dumps(findings.told(), indent=1, allow_nan=False)
    (folder / FILE).write_text(text + "\n")
    directions = {site: np.ascontiguousarray(d) for site, d in findings.directions.items()}
    with writing(folder / DIRECTIONS) as path:
        save_file(directions, path)
    if findings.samples is not None:
        findings.samples.to_parquet(folder / SAMPLES)


def load(folder: Path) -> Findings:
    """Read the files; EvidenceError where they are missing or no findings."""
    try:
        path = inside(folder, FILE, EvidenceError)
        told = read_json(path, EvidenceError, most=MOST, values=MOST_VALUES)
        read = made(_Told, told, FILE, EvidenceError)
        return Findings(
            **{**vars(read), "classifiers": _checks(read.classifiers)},
            directions=_directions(inside(folder, DIRECTIONS, EvidenceError)),
            samples=_samples(inside(folder, SAMPLES, EvidenceError)),
        )
    except EvidenceError as error:
        raise EvidenceError(f"{folder} holds no findings that can be read: {error}") from error


@dataclass(frozen=True)
class _Told:
    """The fields of `findings.json`; what older ones lack has a default."""

    findings: tuple[Finding, ...]
    tested: int
    null: Null
    warnings: tuple[str, ...]
    contents: Mapping[str, tuple[str, ...]]
    curves: Mapping[str, tuple[tuple[int, float, float | None], ...]] = field(default_factory=dict)
    classifiers: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, str] = field(default_factory=dict)


def _checks(told: Mapping[str, Any]) -> dict[str, Check | None]:
    with refusing(FILE, EvidenceError):
        return {source: None if own is None else Check.read(own) for source, own in told.items()}


def _directions(path: Path) -> dict[str, NDArray[np.float64]]:
    found = read_tensors(path, EvidenceError, "np")
    for name, one in found.items():
        if one.ndim != 1 or one.dtype.kind != "f" or not np.isfinite(one).all():
            raise EvidenceError(
                f"the direction {name[:80]!r} is {one.dtype} {list(one.shape)} or not finite; "
                "expected a finite number for each unit."
            )
    return found


def _samples(path: Path) -> pd.DataFrame | None:
    return read_table(path, EvidenceError) if path.exists() else None
