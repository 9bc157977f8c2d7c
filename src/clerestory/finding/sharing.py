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
"""The share of the other groups' prompts that are called far out in a unit."""
Matrix = NDArray[np.float64]


class Values:
    """Values of units in the prompts of the half that reports, and what belongs to each prompt.

    `groups` and `samples` are its group and the number of its first sample. Values are around the
    mean of the prompts that are alike in what is controlled; within a prompt, around the prompt's.
    """

    def __init__(
        self, recording: Recording, table: pd.DataFrame, controlled: Sequence[str], within: bool
    ) -> None:
        own = table[table["half"] == HALVES[1]]
        if within:
            own = own[own.groupby("prompt")["group"].transform("nunique") > 1]
        rows = own.groupby(["prompt", "group"], sort=True)
        self.groups: NDArray[np.str_] = np.array(rows["group"].first(), dtype=str)
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


def group_of(name: str, found: Findings, values: Values, names: Sequence[str]) -> Group:
    """A class's group, with the figures of its findings' units."""
    units = []
    for finding in found.findings:
        direction = found.direction(finding.unit) if finding.kind == "direction" else None
        units.append(_shared(name, finding, values.of(finding, direction), values.groups, names))
    return Group(len(found.contents[HALVES[1]]), tuple(units), found)


def _shared(
    name: str, finding: Finding, value: Matrix, groups: NDArray[np.str_], names: Sequence[str]
) -> Shared:
    kept = np.isin(groups, list(names))
    own, others = value[groups == name], value[kept & (groups != name)]
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
