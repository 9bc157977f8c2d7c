"""The figures of a group's units: against all others, and against each other group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts.activations import RecordedActivations
from clerestory.contrasts.arms import HALVES
from clerestory.contrasts.design_makers import cell_design
from clerestory.contrasts.evidence import Finding
from clerestory.contrasts.findings import Findings
from clerestory.contrasts.groups import GroupUnit
from clerestory.errors import EmptyArmError

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording

__all__ = ["group_units", "unit_values"]


def group_units(
    recording: Recording,
    findings: Findings,
    samples: pd.DataFrame,
    name: str,
    others: Sequence[str],
) -> tuple[GroupUnit, ...]:
    """The units of a group's findings.

    Args:
        recording: The recording.
        findings: What separates the group from all others.
        samples: The usable samples of all groups, with their `group`.
        name: The class.
        others: The other groups.

    Returns:
        A unit for each finding, in the order of the findings.
    """
    evaluation = samples[samples["half"] == HALVES[1]]
    pairs = {}
    for other in others:
        # Each pair has cells of its own: those that hold both of the two classes.
        sides = evaluation[evaluation["group"].isin([name, other])]
        arm = np.where(sides["group"] == name, "positive", "negative")
        try:
            pairs[other] = sides.index, cell_design(sides.assign(arm=arm), HALVES[1])
        except EmptyArmError:  # the two classes never occur in one cell
            continue
    units = []
    for finding in findings.findings:
        values = {
            other: finding.sign * unit_values(recording, findings, finding, rows.to_numpy())
            for other, (rows, _) in pairs.items()
        }
        units.append(
            GroupUnit(
                unit=finding.unit,
                kind=finding.kind,
                sign=finding.sign,
                status=finding.status,
                auroc=finding.detects.auroc,
                low=finding.detects.low,
                high=finding.detects.high,
                q=finding.detects.q,
                auroc_against={
                    other: float(design.auroc(values[other][:, None], "negative")[0])
                    for other, (_, design) in pairs.items()
                },
            )
        )
    return tuple(units)


def unit_values(
    recording: Recording, findings: Findings, finding: Finding, rows: NDArray[np.integer]
) -> NDArray[np.float64]:
    """A unit's values.

    Args:
        recording: The recording.
        findings: The findings, which have the directions.
        finding: The unit.
        rows: Positions among the good samples.

    Returns:
        `[row]`, without the finding's sign.
    """
    activations = RecordedActivations(recording, rows)
    values = activations[finding.site].astype(np.float64)
    if finding.kind == "direction":
        return np.asarray(values @ findings.direction(finding.unit))
    unit = finding.number
    recorded = activations.units.get(finding.site)
    # Columns of a recording of some units are not numbered as units are.
    return values[:, unit if recorded is None else recorded.index(unit)]
