"""The page of groups: the pictures of each group, then those with extreme values of each unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clerestory.contrasts.group_units import PromptValues, split_prompts_by_class
from clerestory.contrasts.groups import Group, Groups
from clerestory.contrasts.pairs import HALVES
from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import data_address
from clerestory.types import Integers

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = ["page"]

GROUP_PICTURES, UNIT_PICTURES, DIRECTIONS = 16, 8, 4
"""Maximum numbers of pictures of a group, of pictures at each end of a unit's range, and of
directions of a group."""
ENDS = ("highest", "lowest")


def page(groups: Groups, recording: Recording) -> str:
    """Render groups as one HTML file with all pictures in it.

    Args:
        groups: The groups.
        recording: The recording that was grouped.

    Returns:
        HTML; text from prompts and names is escaped.
    """
    values = PromptValues(recording, groups.samples, groups.controlled, groups.within is not None)
    parts = [_part(name, group, groups, values) for name, group in groups.groups.items()]
    sample_lists: list[Integers] = [
        samples
        for part in parts
        for samples in (part["pictures"], *(row[end] for row in part["rows"] for end in ENDS))
    ]
    # Each picture once, even if it is displayed for several units.
    samples = np.unique(np.concatenate(sample_lists))
    pictures = zip(samples.tolist(), recording.pictures(samples), strict=True)
    template = environment("clerestory.contrasts").get_template("groups.html")
    return template.render(
        groups=groups,
        parts=parts,
        pictures={sample: data_address(picture) for sample, picture in pictures},
        prompts=recording.samples["prompt"],
    )


def _part(name: str, group: Group, groups: Groups, values: PromptValues) -> dict[str, Any]:
    samples = groups.samples
    # The pictures of the evaluation half did not select the units.
    members = samples[(samples["group"] == name) & (samples["half"] == HALVES[1])]
    if groups.within is None:
        members = members[members["prompt"].isin(split_prompts_by_class(samples, name)[0])]
    # One sample per prompt, since its seeds look alike.
    members = members.drop_duplicates("prompt")
    neurons = [unit for unit in group.units if unit.kind == "neuron"]
    directions = [unit for unit in group.units if unit.kind == "direction"][:DIRECTIONS]
    units = [*directions, *neurons]
    return {
        "name": name,
        "group": group,
        "pictures": members["sample"].to_numpy()[:GROUP_PICTURES],
        "units": units,
        "neuron": neurons[0].unit if neurons else None,
        "rows": [_row(unit.unit, group, values) for unit in units],
    }


def _row(unit: str, group: Group, values: PromptValues) -> dict[str, Any]:
    """The samples of all groups with the highest and lowest values of a unit, one per prompt."""
    finding = next(finding for finding in group.findings.findings if finding.unit == unit)
    direction = group.findings.direction(unit) if finding.kind == "direction" else None
    # `read` multiplies by the sign. Multiplied again, the values are those of the unit itself.
    order = np.argsort(finding.sign * values.read(finding, direction))
    highest, lowest = order[::-1][:UNIT_PICTURES], order[:UNIT_PICTURES]
    return {"unit": unit, "highest": values.samples[highest], "lowest": values.samples[lowest]}
