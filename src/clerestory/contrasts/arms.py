"""Which of a recording's samples show the concept, lack it or are decoys; what is a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clerestory.contrasts.conditions import levels, met
from clerestory.contrasts.matching import ARMS, HALVES, evened
from clerestory.contrasts.predictions import PASSED
from clerestory.errors import EmptyArmError, EvidenceError
from clerestory.registry import suggest

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = ["Sorted", "sort_out"]

PHRASING = "phrasing"
"""The column of phrasings that is taken where none is named."""


@dataclass(frozen=True, eq=False)
class Sorted:
    """The samples that are used, as `pairing` takes them; their index is that of the good ones.

    `apart` says whether phrasings are halved as contents are, `within` whether a prompt's seeds
    are contrasted, `spare` how many samples were left out to make sides even.
    """

    samples: pd.DataFrame
    apart: bool
    within: bool
    spare: int

    def warnings(self, recording: Recording) -> tuple[str, ...]:
        """What stands against them."""
        said = []
        bad = int((recording.samples["bad"] != "").sum())
        missing = int((~recording.samples["done"]).sum())
        if bad:
            said.append(f"{bad} bad samples were left out.")
        if missing:
            said.append(f"{missing} samples are not recorded yet.")
        if self.spare:
            said.append(f"{self.spare} samples of larger sides were left out, to make pairs even.")
        if not self.apart and not self.within:
            said.append(
                "Phrasings are not told apart: what was found may stand for one way of saying it. "
                "Name a column of phrasings in which every side has several."
            )
        counts = self.samples["arm"].value_counts()
        if counts.max() > 4 * counts.min():
            sizes = ", ".join(str(counts[arm]) for arm in ARMS if arm in counts)
            said.append(f"Sides are unbalanced: {sizes} samples.")
        return tuple(said)


def sort_out(
    recording: Recording,
    sides: Mapping[str, str],
    labels: Mapping[str, pd.DataFrame],
    match: str | Sequence[str],
    within: str | None,
    phrasing: str | None,
    seed: int,
) -> Sorted:
    """Sort the good samples by conditions (`sides`) over columns and labels, each half by its own.

    EvidenceError for what cannot carry a finding.
    """
    table = recording.samples.iloc[recording.rows].reset_index(drop=True)
    rng = np.random.default_rng(seed)
    content = _contents(table, match, within)
    half = _halved(content, rng)
    arm = _arms(table, sides, half, labels)
    phrase, own_half = _phrases(table, arm, phrasing, within, rng)
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
    )[used]
    even = evened(samples, rng)
    return Sorted(even, own_half is not None, within is not None, len(samples) - len(even))


def _contents(table: pd.DataFrame, match: str | Sequence[str], within: str | None) -> pd.Series:
    if within is not None:
        if within != "prompt":
            raise EvidenceError(
                f"within is {within!r}; only the seeds of one 'prompt' can be told."
            )
        if match:
            raise EvidenceError("Within a prompt nothing is matched: leave `match` out.")
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
    labels: Mapping[str, pd.DataFrame],
) -> pd.Series:
    """Each row's side, "" for none; each half sees its own labels of pictures."""
    arm = pd.Series("", index=table.index)
    for name in HALVES:
        rows = half == name
        seen = pd.concat([table, labels[name].reset_index(drop=True)], axis=1)
        possible = rows & seen[PASSED] if PASSED in seen else rows
        for side, condition in sides.items():
            found = met(seen, side, condition) & possible
            twice = found & (arm != "")
            if twice.any():
                row = int(twice.to_numpy().argmax())
                raise EvidenceError(
                    f"{int(twice.sum())} samples meet both {arm.iloc[row]!r} and {side!r}, such as "
                    f"{table['prompt'].iloc[row]!r}: a sample must show the concept or lack it."
                )
            arm[found] = side
    for side, condition in sides.items():
        if not (arm == side).any():
            raise EmptyArmError(f"No sample meets {side} = {condition!r}.{levels(seen, condition)}")
    return arm


def _phrases(
    table: pd.DataFrame,
    arm: pd.Series,
    phrasing: str | None,
    within: str | None,
    rng: np.random.Generator,
) -> tuple[pd.Series, pd.Series | None]:
    """Each row's phrasing and the half it belongs to, side by side; None where a side has one."""
    name = phrasing or PHRASING
    if phrasing is not None and phrasing not in table:
        raise EvidenceError(f"There is no column {phrasing!r}.{_nearest(phrasing, table)}")
    if within is not None or name not in table:
        return pd.Series("", index=table.index), None
    said = table[name].astype(str)
    sides = [arm == side for side in ARMS if (arm == side).any()]
    if any(said[rows].nunique() < 2 for rows in sides):
        return said, None
    half = pd.Series("", index=table.index)
    for rows in sides:
        half[rows] = _halved(said[rows], rng)
    return said, half


def _nearest(name: str, table: pd.DataFrame) -> str:
    return suggest(name, [str(column) for column in table])
