"""What a group's prompts share: how far out its units are, and how that sets groups apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts.find import Read
from clerestory.contrasts.findings import Finding, Findings
from clerestory.contrasts.groups import Group, Shared
from clerestory.contrasts.matching import HALVES
from clerestory.stats import auroc, omega_squared

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording

__all__ = ["MIXED", "Values", "group_of", "sides_of"]

MIXED = ""
"""The group of a prompt whose seeds disagree."""
FAR = 0.25
"""The share of the other groups' prompts that are called far out in a unit."""
Matrix = NDArray[np.float64]


class Values:
    """Values of units in the prompts of the half that reports, and what belongs to each prompt.

    `groups` and `samples` are its group, `MIXED` where its seeds disagree, and the number of its
    first sample; `sets` all that its seeds came out in. Values are around the mean of the prompts
    that are alike in what is controlled; within a prompt, around the prompt's.
    """

    def __init__(
        self, recording: Recording, table: pd.DataFrame, controlled: Sequence[str], within: bool
    ) -> None:
        own = table[table["half"] == HALVES[1]]
        if within:
            own = own[own.groupby("prompt")["group"].transform("nunique") > 1]
        rows = own.groupby(["prompt", "group"] if within else "prompt", sort=True)
        self.sets = [frozenset(map(str, names)) for names in rows["group"].unique()]
        self.groups = np.array([next(iter(s)) if len(s) == 1 else MIXED for s in self.sets])
        self.samples = rows["sample"].first().to_numpy()
        self.read, self.codes = Read(recording, own.index.to_numpy()), rows.ngroup().to_numpy()
        first = rows.head(1).assign(code=rows.ngroup()).sort_values("code")
        alike = ["prompt"] if within else [f"={name}" for name in controlled]
        self.strata = first.groupby(alike).ngroup().to_numpy() if alike else None

    def of(self, finding: Finding, direction: Matrix | None) -> Matrix:
        """The unit, the way that it goes, `[prompt]`; seeds averaged."""
        values = self.read[finding.site].astype(np.float64)
        column = values[:, self._column(finding)] if direction is None else values @ direction
        means = _averaged(column, self.codes)
        if self.strata is not None:
            means = means - _averaged(means, self.strata)[self.strata]
        return np.asarray(finding.sign * means)

    def _column(self, finding: Finding) -> int:
        unit = int(finding.unit.rpartition("[")[2].partition("]")[0])
        own = self.read.units.get(finding.site)
        return unit if own is None else own.index(unit)


def sides_of(table: pd.DataFrame, name: str) -> tuple[set[str], set[str]]:
    """The prompts all of whose seeds are of a class, and those of which none is."""
    hits = (table["group"] == name).groupby(table["prompt"]).mean()
    return set(hits.index[hits == 1]), set(hits.index[hits == 0])


def group_of(name: str, found: Findings, values: Values, names: Sequence[str]) -> Group:
    """A class's group, with the figures of its findings' units."""
    units = []
    for finding in found.findings:
        direction = found.direction(finding.unit) if finding.kind == "direction" else None
        units.append(_shared(name, finding, values.of(finding, direction), values, names))
    return Group(len(found.contents[HALVES[1]]), tuple(units), found)


def _shared(
    name: str, finding: Finding, value: Matrix, values: Values, names: Sequence[str]
) -> Shared:
    groups, kept = values.groups, values.groups != MIXED
    own = value[groups == name]
    others = value[np.array([name not in seen for seen in values.sets])]
    against: Mapping[str, float] = {
        other: float(auroc(own[:, None], value[groups == other][:, None])[0])
        for other in names
        if other != name and (groups == other).any()
    }
    told = finding.detects
    codes = np.unique(groups[kept], return_inverse=True)[1]
    several = len(np.unique(codes)) > 1
    return Shared(
        unit=finding.unit,
        kind=finding.kind,
        sign=finding.sign,
        auroc=told.auroc,
        low=told.low,
        high=told.high,
        q=told.q,
        omega2=float(omega_squared(value[kept][:, None], codes)[0]) if several else 0.0,
        common=float((own > np.quantile(others, 1 - FAR)).mean()) if len(others) else 0.0,
        against=against,
    )


def _averaged(values: Matrix, codes: NDArray[np.integer]) -> Matrix:
    return np.asarray(np.bincount(codes, weights=values) / np.bincount(codes))
