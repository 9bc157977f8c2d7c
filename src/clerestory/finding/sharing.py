"""What a group's prompts share: how far out its units are, and how that sets groups apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clerestory.finding.asking import Read
from clerestory.finding.base import Finding, Findings
from clerestory.finding.groups import Group, Shared
from clerestory.finding.pairing import HALVES
from clerestory.numeric import auroc, omega_squared

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recording import Recording

__all__ = ["Values", "group_of"]

FAR = 0.25
"""The share of prompts that are called far out in a unit."""
Matrix = NDArray[np.float64]


class Values:
    """Values of units in the prompts of the half that reports, and what belongs to each prompt.

    `groups` and `samples` are its group and the number of its first sample.
    """

    def __init__(self, recording: Recording, table: pd.DataFrame) -> None:
        own = table[table["half"] == HALVES[1]]
        rows = own.groupby(["prompt", "group"], sort=True)
        self.groups: NDArray[np.str_] = np.array(rows["group"].first(), dtype=str)
        self.samples = rows["sample"].first().to_numpy()
        self.read, self.codes = Read(recording, own.index.to_numpy()), rows.ngroup().to_numpy()

    def of(self, finding: Finding, direction: Matrix | None) -> Matrix:
        """The unit, the way that it goes, `[prompt]`; seeds averaged."""
        values = self.read[finding.site].astype(np.float64)
        if direction is None:
            column = values[:, int(finding.unit.rpartition("[")[2].partition("]")[0])]
        else:
            column = values @ direction
        sums = np.bincount(self.codes, weights=column, minlength=len(self.groups))
        return np.asarray(finding.sign * sums / np.bincount(self.codes))


def group_of(name: str, found: Findings, values: Values, names: Sequence[str]) -> Group:
    """A class's group, with the figures of its findings' units."""
    units = []
    for finding in found.findings:
        direction = found.direction(finding.unit) if finding.kind == "direction" else None
        units.append(_shared(name, finding, values.of(finding, direction), values.groups, names))
    prompts = int((values.groups == name).sum())
    return Group(prompts, tuple(units), found)


def _shared(
    name: str, finding: Finding, value: Matrix, groups: NDArray[np.str_], names: Sequence[str]
) -> Shared:
    kept = np.isin(groups, list(names))
    own = groups == name
    against: Mapping[str, float] = {
        other: float(auroc(value[own][:, None], value[groups == other][:, None])[0])
        for other in names
        if other != name and (groups == other).any()
    }
    told = finding.detects
    codes = np.unique(groups[kept], return_inverse=True)[1]
    return Shared(
        unit=finding.unit,
        kind=finding.kind,
        sign=finding.sign,
        auroc=told.auroc,
        low=told.low,
        high=told.high,
        q=told.q,
        omega2=float(omega_squared(value[kept][:, None], codes)[0])
        if len(np.unique(codes)) > 1
        else 0.0,
        common=float((value[own] >= np.quantile(value, 1 - FAR)).mean()),
        against=against,
    )
