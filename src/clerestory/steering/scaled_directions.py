"""Directions of findings as edits whose strength counts standard deviations of their sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clerestory.contrasts import Findings
from clerestory.edits import Add
from clerestory.errors import EvidenceError
from clerestory.evaluation.region_changes import region_text
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.regions import without_picture
from clerestory.types import Floats, Progress

__all__ = ["ScaledDirection", "scaled_directions"]

SITES = 3
"""Sites that are tried where none is named."""


@dataclass(frozen=True, eq=False)
class ScaledDirection:
    """A direction at a site, and the distribution of the site's activations along it.

    Attributes:
        unit: The finding's unit.
        site: The site's address.
        direction: `[unit]`, of length one.
        sd: Standard deviation of unedited activations along it.
        separation: The distance between prompts without the target and with it, in these units.
        region: Where in the picture its edits act; None for everywhere.
    """

    unit: str
    site: str
    direction: Floats = field(repr=False)
    sd: float
    separation: float
    region: Any = field(default=None, repr=False)

    def edit(self, strength: float, steps: Sequence[int] = ()) -> Add:
        """The edit at some steps; at all where none is given.

        Args:
            strength: In standard deviations of the site's activations along the direction.
            steps: Indices of steps, from 0.

        Returns:
            The edit.
        """
        at = f"@{','.join(map(str, steps))}" if steps else ""
        return Add(self.site + at, self.direction, strength, self.sd, region=self.region)


def scaled_directions(
    model: Model,
    findings: Findings,
    plain: Sequence[str],
    positive: Sequence[str],
    *,
    sites: Sequence[str] = (),
    region: Any = None,
    progress: Progress,
) -> list[ScaledDirection]:
    """The best direction of each of some sites.

    Args:
        model: The model.
        findings: Where the directions are from.
        plain: Prompts without the target, one an item.
        positive: Prompts with it, of the same items.
        sites: Addresses; by default the conditioning site and those of the first findings.
        region: Where in the picture edits act; by default sites are then those with positions of
            the picture.
        progress: Receives updates.

    Returns:
        One direction for each site where prompts differ along it, in the order of the sites.

    Raises:
        EvidenceError: The findings have no direction there that reaches the picture.
    """
    units = _units_by_site(model, findings, sites, region)
    means = []
    for index, prompts in enumerate((plain, positive)):
        report = _progress_of_run(progress, index)
        # Without pictures the run stops at the last of the sites.
        run = model.run(prompts, 0, read=list(units), pictures=False, progress=report)
        means.append({site: run.read(site).mean("step").to_numpy() for site in units})
    directions = []
    for site, unit in units.items():
        direction = np.asarray(findings.directions[unit], np.float64)
        without, with_target = (
            # The mean over positions, if the site has any.
            each[site].reshape(len(plain), -1, len(direction)).mean(1).astype(np.float64)
            for each in means
        )
        direction = direction / np.linalg.norm(direction)
        # Of the prompts without the target: with it the spread would include the effect itself.
        sd = float((without @ direction).std())
        # A site that does not vary along the direction gives strengths no unit.
        if sd > 0:
            separation = float(((with_target - without) @ direction).mean()) / sd
            directions.append(ScaledDirection(unit, site, direction, sd, separation, region))
    if not directions:
        raise EvidenceError("At none of these sites do prompts differ along the direction.")
    return directions


def _progress_of_run(progress: Progress, index: int) -> Progress:
    """Progress of the first or the second of two runs."""
    return lambda _, completed, total: progress(
        "reading the sites", index * total + completed, 2 * total
    )


def _units_by_site(
    model: Model, findings: Findings, sites: Sequence[str], region: Any
) -> dict[str, str]:
    """The best direction's unit at each of `sites`, or at the first few sites that have one."""
    units: dict[str, str] = {}
    hooks = model.hooks_by_address
    for finding in sorted(findings.by_kind("direction"), key=lambda each: each.selection_rank):
        site = parse(finding.site).site
        # None, where that is not known, counts as reaching.
        reaches = model.sites[site].affects_output is not False
        # Sites that are named are refused with their name, when they are edited.
        fits = region is None or sites or not without_picture(hooks[site], model.family)
        if fits and reaches and np.any(findings.directions[finding.unit]):
            units.setdefault(site, finding.unit)
    missing = [site for site in sites if site not in units]
    if missing:
        raise EvidenceError(
            f"These findings have no direction at {', '.join(missing)} that reaches the picture. "
            f"They have: {', '.join(units) or 'none'}."
        )
    if not units:
        if region is not None:
            raise EvidenceError(
                f"The region is {region_text(region)}, and these findings have no direction at a "
                "site with positions of the picture: record sites of the denoiser's blocks."
            )
        raise EvidenceError("These findings have no direction that reaches the picture.")
    # The conditioning site first: all that the prompt says passes through it.
    ordered = sorted(units, key=lambda site: site != model.conditioning_site)
    return {site: units[site] for site in sites or ordered[:SITES]}
