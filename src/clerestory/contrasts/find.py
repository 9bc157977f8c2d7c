"""Findings from a recording: conditions say which samples show the concept, and which lack it.

    found = find(
        recording,
        shown="style == 'stained glass'",
        absent="style == 'plain'",
        decoy="place == 'stained glass window' and style == 'plain'",
        match="subject",
    )

Conditions are over the recording's columns, and over what classifiers see in its pictures:
`drawn.mood == 'scared' and drawn.mood.confidence > 0.6`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.contrasts.arms import sort_out
from clerestory.contrasts.contrast import contrast
from clerestory.contrasts.direction_methods import ways
from clerestory.contrasts.findings import Findings, Kind
from clerestory.contrasts.matching import halves
from clerestory.contrasts.predictions import Eyes
from clerestory.errors import EvidenceError
from clerestory.models.core.family import Progress

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = ["BY", "Read", "find"]

BY: Mapping[str, tuple[Kind, ...]] = {
    "neuron": ("neuron",),
    "direction": ("direction",),
    "both": ("neuron", "direction"),
}


def find(
    recording: Recording,
    *,
    shown: str,
    absent: str,
    decoy: str | None = None,
    match: str | Sequence[str] = (),
    within: str | None = None,
    phrasing: str | None = None,
    by: str = "both",
    top: int = 20,
    flips: int = 200,
    seed: int = 0,
    classifiers: Mapping[str, str] | None = None,
    gate: str | None = None,
    labels: Mapping[str, pd.DataFrame] | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Which units tell samples that meet `shown` from those that meet `absent`, and the decoy.

    `match` names the columns that stand for the content, the same on every side; contents, and the
    levels of the column `phrasing` (the recording's own, if it has one), are halved at random:
    half discover, half report. `within="prompt"` contrasts the seeds of one prompt instead: each
    prompt that has both is a pair. Where a content has more samples on one side than on the other,
    as many are taken, at random.

    `drawn.mood` in a condition is what `classifiers["mood"]` sees, by default `lancet:mood`: set a
    for the half that discovers, set b for the half that reports. Pictures that `gate`, as
    `python:mine:face=present`, rules out meet no condition. `labels` are such columns made
    elsewhere, by half: tables by sample number, as `label` gives. EvidenceError where samples
    cannot carry a finding.
    """
    kinds = _kinds(by)
    sides = {"shown": shown, "absent": absent} | ({"decoy": decoy} if decoy else {})
    eyes = Eyes.of(recording, () if labels else sides.values(), classifiers or {}, gate)
    chosen = sort_out(recording, sides, eyes.labels(labels), match, within, phrasing, seed)
    samples, warned = chosen.samples, (*chosen.warnings(recording), *eyes.warnings())
    read = Read(recording, samples.index.to_numpy())
    found = contrast(
        read,
        samples,
        units=read.units,
        matched=halves(samples, phrasings_apart=chosen.apart, within=within is not None),
        by=tuple(ways) if "direction" in kinds else (),
        top=top if "neuron" in kinds else 0,
        flips=flips,
        seed=seed,
        progress=progress,
    )
    kept = tuple(one for one in found.findings if one.kind in kinds)
    asked, warned = sides | ({"gate": gate} if gate else {}), (*found.warnings, *warned)
    found = replace(found, classifiers=eyes.checks(), model=_model(recording))
    return replace(found, findings=kept, warnings=warned, asked=asked)


def _model(recording: Recording) -> dict[str, str]:
    told = recording.manifest["plan"]["model"]
    return {name: told[name] for name in ("name", "revision")}


def _kinds(by: str) -> tuple[Kind, ...]:
    if by not in BY:
        raise EvidenceError(f"by is {by!r}; it must be one of {', '.join(BY)}.")
    return BY[by]


class Read(Mapping[str, NDArray[np.float32]]):
    """A recording's sites, each step by itself, `[sample, unit]`; read when they are asked for."""

    def __init__(self, recording: Recording, rows: NDArray[np.integer]) -> None:
        self.recording, self.rows = recording, rows
        self.arrays = recording.to_xarray()
        self.steps: dict[str, tuple[str, int]] = {}
        self.units: dict[str, list[int]] = {}
        """The units that the columns are, by site, where not all were recorded."""
        for site in recording.sites:
            labels = recording.store.layouts[site].labels
            alone = list(labels["step"]) == [0] and "timestep" not in labels
            for place, step in enumerate(labels["step"]):
                name = site if alone else f"{site}@{step}"
                self.steps[name] = (site, place)
                if "unit" in labels:
                    self.units[name] = list(labels["unit"])
        self._last: tuple[str, NDArray[np.float32]] | None = None

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        site, place = self.steps[name]
        if self._last is None or self._last[0] != site:
            array = self.arrays[site].isel(sample=self.rows)
            values = array.mean("position") if "position" in array.dims else array
            self._last = (site, values.to_numpy())
        return self._last[1][:, place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)
