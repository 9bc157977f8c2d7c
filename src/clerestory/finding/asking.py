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

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.classifying.labels import RULED_OUT
from clerestory.errors import EvidenceError
from clerestory.finding.base import Findings, Kind
from clerestory.finding.contrasting import contrast
from clerestory.finding.drawn import DOTTED, Eyes
from clerestory.finding.pairing import ARMS, HALVES, halves
from clerestory.finding.ways import ways
from clerestory.models.family import Progress
from clerestory.registry import suggest

if TYPE_CHECKING:
    from clerestory.recording import Recording

__all__ = ["BY", "find"]

BY: Mapping[str, tuple[Kind, ...]] = {
    "neuron": ("neuron",),
    "direction": ("direction",),
    "both": ("neuron", "direction"),
}
PHRASING = "phrasing"
"""The column of phrasings that is taken where none is named."""


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
    prompt that has both is a pair.

    `drawn.mood` in a condition is what `classifiers["mood"]` sees, by default `lancet:mood`: set a
    for the half that discovers, set b for the half that reports. Pictures that `gate`, as
    `python:mine:face=present`, rules out meet no condition. `labels` are such columns made
    elsewhere, by half. EvidenceError where samples cannot carry a finding.
    """
    kinds = _kinds(by)
    table = recording.samples.iloc[recording.rows].reset_index(drop=True)
    sides = {"shown": shown, "absent": absent} | ({"decoy": decoy} if decoy else {})
    eyes = Eyes.of(recording, () if labels else sides.values(), classifiers or {}, gate)
    labels = labels or eyes.labels()
    content, one_prompt = _contents(table, match, within), within is not None
    samples, apart = _sorted_out(table, content, sides, phrasing, within, labels, seed)
    found = contrast(
        _Read(recording, samples.index.to_numpy()),
        samples,
        matched=halves(samples, phrasings_apart=apart, within=one_prompt),
        by=tuple(ways) if "direction" in kinds else (),
        top=top if "neuron" in kinds else 0,
        flips=flips,
        seed=seed,
        progress=progress,
    )
    kept = tuple(one for one in found.findings if one.kind in kinds)
    said = (*found.warnings, *_said(recording, samples, not apart and not one_prompt), *eyes.kin())
    return replace(found, findings=kept, warnings=said, classifiers=eyes.checks())


def _kinds(by: str) -> tuple[Kind, ...]:
    if by not in BY:
        raise EvidenceError(f"by is {by!r}; it must be one of {', '.join(BY)}.")
    return BY[by]


def _sorted_out(
    table: pd.DataFrame,
    content: pd.Series,
    sides: Mapping[str, str],
    phrasing: str | None,
    within: str | None,
    labels: Mapping[str, pd.DataFrame] | None,
    seed: int,
) -> tuple[pd.DataFrame, bool]:
    """The samples that are used, as `pairing` takes them, and whether phrasings are halved too."""
    rng = np.random.default_rng(seed)
    half = _halved(content, rng)
    arm = _arms(table, sides, half, labels)
    phrase, own_half = _phrases(table, phrasing, within, rng)
    used = arm != ""
    if own_half is not None:
        used &= own_half == half
    samples = pd.DataFrame(
        {
            "prompt": table["prompt"],
            "content": content,
            "phrase": arm + " " + phrase,
            "arm": arm,
            "half": half,
            "seed": table["seed"],
        }
    )
    return samples[used], own_half is not None


class _Read(Mapping[str, NDArray[np.float32]]):
    """A recording's sites, each step by itself, `[sample, unit]`; read when they are asked for."""

    def __init__(self, recording: Recording, rows: NDArray[np.integer]) -> None:
        self.recording, self.rows = recording, rows
        self.arrays = recording.to_xarray()
        self.steps: dict[str, tuple[str, int]] = {}
        for site in recording.sites:
            labels = list(recording.store.layouts[site].labels["step"])
            for place, step in enumerate(labels):
                name = site if len(labels) == 1 else f"{site}@{step}"
                self.steps[name] = (site, place)
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


def _contents(table: pd.DataFrame, match: str | Sequence[str], within: str | None) -> pd.Series:
    if within is not None:
        if within != "prompt":
            raise EvidenceError(
                f"within is {within!r}; only the seeds of one 'prompt' can be told."
            )
        return table["prompt"].astype(str)
    names = [match] if isinstance(match, str) else list(match)
    names = [part.strip() for name in names for part in name.split(",") if part.strip()]
    if not names:
        raise EvidenceError("No column is matched: name the one that stands for the content.")
    for name in names:
        if name not in table:
            raise EvidenceError(f"There is no column {name!r} to match.{_nearest(name, table)}")
    return table[names].astype(str).agg(" · ".join, axis=1)


def _halved(levels: pd.Series, rng: np.random.Generator) -> pd.Series:
    """Each level's half, at random: `discovery` for one half of them, `report` for the other."""
    names = sorted(levels.unique())
    order = rng.permutation(len(names))
    half = {names[at]: HALVES[place % 2] for place, at in enumerate(order)}
    return levels.map(half)


def _arms(
    table: pd.DataFrame,
    sides: Mapping[str, str],
    half: pd.Series,
    labels: Mapping[str, pd.DataFrame] | None,
) -> pd.Series:
    """Each row's side, "" for none; each half sees its own labels of pictures."""
    arm = pd.Series("", index=table.index)
    for name in HALVES:
        rows = half == name
        seen = table if labels is None else pd.concat([table, labels[name]], axis=1)
        labelled = seen.filter(regex=r"^drawn\.\w+$")
        possible = rows & ~(labelled == RULED_OUT).any(axis=1)
        for side, condition in sides.items():
            met = _met(seen, side, condition) & possible
            twice = met & (arm != "")
            if twice.any():
                row = int(twice.to_numpy().argmax())
                raise EvidenceError(
                    f"{int(twice.sum())} samples meet both {arm.iloc[row]!r} and {side!r}, such as "
                    f"{table['prompt'].iloc[row]!r}: a sample must show the concept or lack it."
                )
            arm[met] = side
    for side, condition in sides.items():
        if not (arm == side).any():
            raise EvidenceError(
                f"No sample meets {side} = {condition!r}.{_levels(seen, condition)}"
            )
    return arm


def _met(table: pd.DataFrame, side: str, condition: str) -> pd.Series:
    """Which rows meet a condition; EvidenceError where it cannot be read."""
    quoted = DOTTED.sub(lambda name: f"`{name[0]}`", condition)
    try:
        met = table.eval(quoted, engine="python")
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        columns = ", ".join(map(str, table))
        raise EvidenceError(
            f"{side} = {condition!r} cannot be read ({reason}); columns: {columns}."
        ) from error
    if not isinstance(met, pd.Series) or met.dtype != bool:
        raise EvidenceError(f"{side} = {condition!r} is no condition; write style == 'ink'.")
    return met


def _levels(table: pd.DataFrame, condition: str) -> str:
    """What there is in the columns that a condition names."""
    named = [name for name in table if re.search(rf"(?<![\w.]){re.escape(str(name))}\b", condition)]
    told = [f"{name}: {', '.join(sorted(map(str, table[name].unique()))[:12])}" for name in named]
    return f" There is {'; '.join(told)}." if told else ""


def _nearest(name: str, table: pd.DataFrame) -> str:
    return suggest(name, [str(column) for column in table])


def _phrases(
    table: pd.DataFrame, phrasing: str | None, within: str | None, rng: np.random.Generator
) -> tuple[pd.Series, pd.Series | None]:
    """Each row's phrasing and the half it belongs to; None where they cannot be halved."""
    name = phrasing or PHRASING
    if phrasing is not None and phrasing not in table:
        raise EvidenceError(f"There is no column {phrasing!r}.{_nearest(phrasing, table)}")
    if within is not None or name not in table or table[name].nunique() < 2:
        return pd.Series("", index=table.index), None
    levels = table[name].astype(str)
    return levels, _halved(levels, rng)


def _said(recording: Recording, samples: pd.DataFrame, one_phrasing: bool) -> tuple[str, ...]:
    said = []
    bad = int((recording.samples["bad"] != "").sum())
    missing = int((~recording.samples["done"]).sum())
    if bad:
        said.append(f"{bad} bad samples were left out.")
    if missing:
        said.append(f"{missing} samples are not recorded yet.")
    if one_phrasing:
        said.append(
            "Phrasings are not told apart: what was found may stand for one way of saying it. Name "
            "a column of phrasings."
        )
    sizes = [int((samples["arm"] == arm).sum()) for arm in ARMS if (samples["arm"] == arm).any()]
    if max(sizes) > 4 * min(sizes):
        said.append(f"Sides are unbalanced: {', '.join(map(str, sizes))} samples.")
    return tuple(said)
