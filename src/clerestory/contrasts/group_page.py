"""The report of groups: pictures first, then what excites each group's units most and least."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts.groups import Group, Groups
from clerestory.contrasts.matching import HALVES
from clerestory.contrasts.shared_units import Values, sides_of
from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import data_address

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = ["page"]

SHOWN, ROW, DIRECTIONS = 16, 8, 4
"""Pictures of a group; of a unit's most and least; directions that are listed."""
ENDS = ("most", "least")
Shown = NDArray[np.integer]
"""Numbers of samples."""


def page(groups: Groups, recording: Recording) -> str:
    """One HTML file that needs nothing else; whatever comes from prompts or names is escaped."""
    values = Values(recording, groups.table, groups.controlled, groups.within is not None)
    parts = [_part(name, group, groups, values) for name, group in groups.groups.items()]
    named: list[Shown] = [
        shown
        for part in parts
        for shown in (part["pictures"], *(row[end] for row in part["rows"] for end in ENDS))
    ]
    samples = np.unique(np.concatenate(named))
    pictures = zip(samples.tolist(), recording.pictures(samples), strict=True)
    template = environment("clerestory.contrasts").get_template("groups.html")
    return template.render(
        groups=groups,
        parts=parts,
        pictures={sample: data_address(picture) for sample, picture in pictures},
        prompts=recording.samples["prompt"],
    )


def _part(name: str, group: Group, groups: Groups, values: Values) -> dict[str, Any]:
    table = groups.table
    own = table[(table["group"] == name) & (table["half"] == HALVES[1])]
    if groups.within is None:
        own = own[own["prompt"].isin(sides_of(table, name)[0])]
    own = own.drop_duplicates("prompt")
    best = [one for kind in ("neuron", "direction") for one in group.units if one.kind == kind]
    neurons = [one for one in best if one.kind == "neuron"]
    directions = [one for one in best if one.kind == "direction"][:DIRECTIONS]
    return {
        "name": name,
        "group": group,
        "pictures": own["sample"].to_numpy()[:SHOWN],
        "units": [*directions, *neurons],
        "neuron": neurons[0].unit if neurons else None,
        "rows": [_row(one.unit, group, values) for one in (*directions, *neurons)],
    }


def _row(unit: str, group: Group, values: Values) -> dict[str, Any]:
    """The samples that excite a unit most and least, one a prompt, of all groups."""
    finding = next(one for one in group.findings.findings if one.unit == unit)
    way = group.findings.direction(unit) if finding.kind == "direction" else None
    order = np.argsort(finding.sign * values.of(finding, way))
    most, least = (values.samples[places] for places in (order[::-1][:ROW], order[:ROW]))
    return {"unit": unit, "most": most, "least": least}
