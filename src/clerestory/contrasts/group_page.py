"""The report of groups: pictures first, then the samples that maximize and minimize each unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clerestory.contrasts.arms import HALVES
from clerestory.contrasts.findings import design_sentence
from clerestory.contrasts.group_units import unit_values
from clerestory.contrasts.groups import Group, Groups
from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import data_address
from clerestory.types import Integers

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = ["page"]

GROUP_PICTURES, UNIT_PICTURES, DIRECTIONS = 16, 8, 4
"""Pictures of a group; at either end of a unit's range; directions that are listed."""
ENDS = ("highest", "lowest")


def page(groups: Groups, recording: Recording) -> str:
    """Render groups as one HTML file that needs nothing else.

    Args:
        groups: The groups.
        recording: The recording that they are of.

    Returns:
        HTML; whatever comes from prompts or names is escaped.
    """
    parts = [_part(name, group, groups, recording) for name, group in groups.groups.items()]
    displayed: list[Integers] = [
        samples
        for part in parts
        for samples in (part["pictures"], *(row[end] for row in part["rows"] for end in ENDS))
    ]
    # Each picture once, however many units show it.
    samples = np.unique(np.concatenate(displayed))
    pictures = zip(samples.tolist(), recording.pictures(samples), strict=True)
    template = environment("clerestory.contrasts").get_template("groups.html")
    return template.render(
        groups=groups,
        parts=parts,
        pictures={sample: data_address(picture) for sample, picture in pictures},
        prompts=recording.samples["prompt"],
    )


def _part(name: str, group: Group, groups: Groups, recording: Recording) -> dict[str, Any]:
    # Of the evaluation half: these pictures selected nothing.
    samples = groups.samples[groups.samples["half"] == HALVES[1]]
    # Seeds of one prompt look alike: one of them is enough.
    members = samples[samples["group"] == name].drop_duplicates("prompt")
    # All neurons, but few directions: one for each site says the same many times.
    neurons = [unit for unit in group.units if unit.kind == "neuron"]
    directions = [unit for unit in group.units if unit.kind == "direction"][:DIRECTIONS]
    units = [*directions, *neurons]
    return {
        "name": name,
        "group": group,
        "design": design_sentence(group.findings),
        "pictures": members["sample"].to_numpy()[:GROUP_PICTURES],
        "units": units,
        "neuron": neurons[0].unit if neurons else None,
        "rows": [_row(unit.unit, group, samples, recording) for unit in units],
    }


def _row(unit: str, group: Group, samples: pd.DataFrame, recording: Recording) -> dict[str, Any]:
    """The samples with a unit's highest and lowest values, one per prompt, of all groups."""
    finding = next(finding for finding in group.findings.findings if finding.unit == unit)
    values = unit_values(recording, group.findings, finding, samples.index.to_numpy())
    ordered = samples.assign(value=values).sort_values("value", kind="stable")
    lowest = ordered.drop_duplicates("prompt")["sample"].to_numpy()[:UNIT_PICTURES]
    highest = ordered[::-1].drop_duplicates("prompt")["sample"].to_numpy()[:UNIT_PICTURES]
    return {"unit": unit, "highest": highest, "lowest": lowest}
