"""The report of groups: pictures first, then what excites each group's units most and least."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.finding.groups import Group, Groups
from clerestory.finding.pairing import HALVES
from clerestory.finding.sharing import Values
from clerestory.pictures import data_address

if TYPE_CHECKING:
    from clerestory.recording import Recording

__all__ = ["page"]

SHOWN, ROW, UNITS = 16, 8, 4
"""Pictures of a group; of a unit's most and least; units that have such rows."""


def page(groups: Groups, recording: Recording) -> str:
    """One HTML file that needs nothing else; whatever comes from prompts or names is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clerestory.finding", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    values = Values(recording, groups.table, groups.controlled, groups.within is not None)
    parts = [_part(name, group, groups, values, recording) for name, group in groups.groups.items()]
    return environment.get_template("groups.html").render(groups=groups, parts=parts)


def _part(
    name: str, group: Group, groups: Groups, values: Values, recording: Recording
) -> dict[str, Any]:
    table = groups.table
    own = table[(table["group"] == name) & (table["half"] == HALVES[1])].drop_duplicates("prompt")
    shown = own["sample"].to_numpy()[:SHOWN]
    best = [one for kind in ("neuron", "direction") for one in group.units if one.kind == kind]
    neurons = [one for one in best if one.kind == "neuron"][: 2 * UNITS]
    directions = [one for one in best if one.kind == "direction"][:UNITS]
    return {
        "name": name,
        "group": group,
        "pictures": _pictures(recording, shown),
        "units": [*directions, *neurons],
        "rows": [_row(one.unit, group, values, recording) for one in neurons[:UNITS]],
    }


def _row(unit: str, group: Group, values: Values, recording: Recording) -> dict[str, Any]:
    """A neuron's most and least exciting prompts, of all groups."""
    finding = next(one for one in group.findings.findings if one.unit == unit)
    order = np.argsort(finding.sign * values.of(finding, None))
    return {
        "unit": unit,
        "most": _pictures(recording, values.samples[order[::-1][:ROW]]),
        "least": _pictures(recording, values.samples[order[:ROW]]),
    }


def _pictures(recording: Recording, samples: NDArray[np.integer]) -> list[dict[str, str]]:
    prompts = recording.samples["prompt"]
    if not len(samples):
        return []
    return [
        {"src": data_address(picture), "prompt": str(prompts[sample])}
        for picture, sample in zip(recording.pictures(samples), samples.tolist(), strict=True)
    ]
