"""Samples to matched pairs: which rows make up which side, and what may not be paired.

A table of samples has a row for each, in the order of the activations:

    prompt    what was asked
    content   what the prompt is about; the same content stands on every side
    phrase    the phrasing, with the content left open
    arm       `shown`, `absent` or `decoy`
    half      `discovery` or `report`
    seed
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.errors import EmptyArmError, EvidenceError

__all__ = ["ARMS", "Halves", "Sides", "evened", "halves"]

ARMS = ("shown", "absent", "decoy")
HALVES = ("discovery", "report")
COLUMNS = ("prompt", "content", "phrase", "arm", "half", "seed")

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sides:
    """Activations `[content, unit]` with the concept, without it, and of the decoy (or None).

    Row i of each is the same content.
    """

    shown: Matrix
    absent: Matrix
    decoy: Matrix | None

    @property
    def differences(self) -> Matrix:
        """With less without, pair by pair."""
        return self.shown - self.absent

    def of(self, contents: NDArray[np.integer]) -> Sides:
        """Some of the contents."""
        decoy = None if self.decoy is None else self.decoy[contents]
        return Sides(self.shown[contents], self.absent[contents], decoy)

    def beside(self, other: Sides) -> Sides:
        """The same contents with the other's units after their own."""
        decoy = None
        if self.decoy is not None and other.decoy is not None:
            decoy = np.hstack([self.decoy, other.decoy])
        return Sides(
            np.hstack([self.shown, other.shown]), np.hstack([self.absent, other.absent]), decoy
        )

    def along(self, direction: Matrix) -> Sides:
        """One unit: how far each content reaches along a direction."""
        length = np.linalg.norm(direction)
        unit = (direction / (length if length > 0 else 1.0))[:, None]
        decoy = None if self.decoy is None else self.decoy @ unit
        return Sides(self.shown @ unit, self.absent @ unit, decoy)


@dataclass(frozen=True, eq=False)
class Half:
    """How samples are averaged into one half's sides: weights `[content, sample]` by arm."""

    contents: tuple[str, ...]
    weights: Mapping[str, Matrix]

    def sides(self, values: NDArray[np.floating]) -> Sides:
        """Average activations `[sample, unit]`: seeds first, then phrasings, a row a content."""
        parts = {arm: weights @ values for arm, weights in self.weights.items()}
        return Sides(parts["shown"], parts["absent"], parts.get("decoy"))


@dataclass(frozen=True, eq=False)
class Halves:
    """The half that picks and the half that reports; they share no content and no phrasing.

    `phrasings` counts them by arm; it is empty where the seeds of a prompt are contrasted.
    """

    discovery: Half
    report: Half
    phrasings: Mapping[str, int]

    def __iter__(self) -> Iterator[tuple[str, Half]]:
        yield "discovery", self.discovery
        yield "report", self.report


def halves(samples: pd.DataFrame, *, phrasings_apart: bool = True, within: bool = False) -> Halves:
    """Pair up samples; EvidenceError where they cannot carry a finding.

    `phrasings_apart` is False where both halves have to share their phrasings, `within` True where
    seeds of one prompt stand on different sides.
    """
    missing = [column for column in COLUMNS if column not in samples]
    if missing:
        raise EvidenceError(f"Samples have no column {missing[0]!r}; needed: {', '.join(COLUMNS)}.")
    if not within:
        _one_side_each(samples)
    for column in ("content", "phrase") if phrasings_apart else ("content",):
        _apart(samples, column)
    discovery, report = (_half(samples, half) for half in HALVES)
    if set(discovery.weights) != set(report.weights):
        raise EvidenceError("One half has a decoy and the other has none: give both or neither.")
    phrasings = {} if within else samples.groupby("arm")["phrase"].nunique().to_dict()
    return Halves(discovery, report, {str(arm): int(n) for arm, n in phrasings.items()})


def evened(samples: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The samples without so many of each content's larger side that both sides have as many.

    A mean of few less a mean of many lies askew of zero where a unit's values do, also where there
    is nothing to find, and the tests of pairs take that for a difference. Which ones are left out
    is drawn at random; the decoy is not touched.
    """
    mixed = samples.iloc[rng.permutation(len(samples))]
    place = mixed.groupby(["content", "arm"]).cumcount()
    counts = pd.crosstab(mixed["content"], mixed["arm"])
    fewest = counts.reindex(columns=["shown", "absent"], fill_value=0).min(axis=1)
    kept = (mixed["arm"] == "decoy") | (place < mixed["content"].map(fewest))
    return samples[kept.reindex(samples.index)]


def _half(samples: pd.DataFrame, half: str) -> Half:
    rows = (samples["half"] == half).to_numpy()
    by_arm = {arm: rows & (samples["arm"] == arm).to_numpy() for arm in ARMS}
    for arm in ("shown", "absent"):
        if not by_arm[arm].any():
            raise EmptyArmError(
                f"No sample of the {half} half is {arm!r}: its arms are"
                f" {_listed(samples.loc[rows, 'arm'])}, the halves {_listed(samples['half'])}."
            )
    used = {arm: mask for arm, mask in by_arm.items() if mask.any()}
    shared = set.intersection(*(set(samples.loc[mask, "content"]) for mask in used.values()))
    if not shared:
        raise EmptyArmError(f"No content of the {half} half has every arm: {', '.join(used)}.")
    contents = tuple(sorted(shared))
    return Half(contents, {arm: _weights(samples, used[arm], contents) for arm in used})


def _weights(samples: pd.DataFrame, mask: NDArray[np.bool_], contents: tuple[str, ...]) -> Matrix:
    """Weights that average seeds within a phrasing, then phrasings within a content."""
    chosen = samples[mask].reset_index(drop=True)
    seeds = chosen.groupby(["content", "phrase"])["seed"].transform("size").to_numpy()
    phrases = chosen.groupby("content")["phrase"].transform("nunique").to_numpy()
    row = pd.Index(contents).get_indexer(pd.Index(chosen["content"]))
    weights = np.zeros((len(contents), len(samples)))
    kept = row >= 0
    weights[row[kept], np.flatnonzero(mask)[kept]] = 1.0 / (seeds * phrases)[kept]
    return weights


def _apart(samples: pd.DataFrame, column: str) -> None:
    one, other = (set(samples.loc[samples["half"] == half, column]) for half in HALVES)
    both = sorted(one & other)
    if both:
        raise EvidenceError(
            f"{len(both)} {column}s stand in both halves, {both[0]!r} among them: what picks a unit"
            " may not report on it."
        )


def _one_side_each(samples: pd.DataFrame) -> None:
    arms = samples.groupby("prompt")["arm"].nunique()
    twice = list(arms.index[arms > 1])
    if twice:
        raise EvidenceError(
            f"{len(twice)} prompts stand on more than one side, {twice[0]!r} among them: a side"
            " must have the concept or lack it. To contrast the seeds of a prompt, ask within it."
        )


def _listed(column: pd.Series[str]) -> str:
    return ", ".join(sorted(map(str, column.unique()))) or "none"
