"""Findings on disk: JSON for what was found, safetensors for directions, Parquet for samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from clerestory.classifying import Check
from clerestory.errors import EvidenceError
from clerestory.finding.base import Detects, Finding, Findings, Null
from clerestory.outputs import empty_folder

__all__ = ["load", "save"]

SAMPLES = "samples.parquet"


def save(findings: Findings, folder: Path) -> None:
    """Write the files; OutputError where the folder holds something already."""
    empty_folder(folder)
    text = json.dumps(findings.told(), indent=1, allow_nan=False)
    (folder / "findings.json").write_text(text + "\n")
    directions = {site: np.ascontiguousarray(d) for site, d in findings.directions.items()}
    save_file(directions, folder / "directions.safetensors")
    if findings.samples is not None:
        findings.samples.to_parquet(folder / SAMPLES)


def load(folder: Path) -> Findings:
    """Read the files; EvidenceError where they are missing or no findings."""
    try:
        told = json.loads((folder / "findings.json").read_text())
        directions = load_file(folder / "directions.safetensors")
        findings = tuple(
            Finding(**{**one, "detects": _detects(one["detects"])}) for one in told["findings"]
        )
        return Findings(
            findings=findings,
            tested=told["tested"],
            null=Null(**told["null"]),
            warnings=tuple(told["warnings"]),
            contents={half: tuple(names) for half, names in told["contents"].items()},
            directions=directions,
            curves={
                site: tuple((int(k), auroc, decoy) for k, auroc, decoy in curve)
                for site, curve in told.get("curves", {}).items()
            },
            asked=told.get("asked", {}),
            model=told.get("model", {}),
            classifiers={
                source: None if check is None else Check.read(check)
                for source, check in told.get("classifiers", {}).items()
            },
            samples=pd.read_parquet(folder / SAMPLES) if (folder / SAMPLES).exists() else None,
        )
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise EvidenceError(f"{folder} holds no findings that can be read: {error}.") from error


def _detects(told: dict[str, Any]) -> Detects:
    return Detects(**{**told, "shuffled": tuple(told["shuffled"])})
