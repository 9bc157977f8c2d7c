"""Directions of findings as edits whose strength counts standard deviations of their sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts import Findings
from clerestory.edits import Add
from clerestory.errors import EvidenceError
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.stats import shuffled_directions
from clerestory.types import Progress

__all__ = ["Move", "moves"]

SITES = 3
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Move:
    """A direction `[unit]` of length one at a site, and how the site lies along it.

    `sd` is the standard deviation of unedited activations, `far` how many of these lie between
    prompts without and with the concept. `differences` are each content's, `[content, unit]`.
    """

    unit: str
    site: str
    direction: Matrix = field(repr=False)
    sd: float
    far: float
    differences: Matrix = field(repr=False)

    def edit(self, strength: float, steps: Sequence[int] = ()) -> Add:
        """The edit, at all steps or at some."""
        at = f"@{','.join(map(str, steps))}" if steps else ""
        return Add(self.site + at, self.direction, strength, self.sd)

    def shuffled(self, strength: float, count: int, steps: Sequence[int] = ()) -> list[Add]:
        """As strong edits along directions of pairs whose sides were shuffled.

        Pairs differ in *how much* of the concept they get, and that would not cancel: what they
        differ in along the mean difference is taken out first.
        """
        mean = self.differences.mean(0)
        mean /= max(float(np.linalg.norm(mean)), 1e-12)
        rest = self.differences - np.outer(self.differences @ mean, mean)
        made = shuffled_directions(rest, 1.0, np.random.default_rng(0), count)
        return [replace(self, direction=one).edit(strength, steps) for one in made]


def moves(
    model: Model,
    findings: Findings,
    plain: Sequence[str],
    said: Sequence[str],
    *,
    sites: Sequence[str] = (),
    tell: Progress,
) -> list[Move]:
    """The best direction of each of some sites: those named, or discovery's first.

    `plain` and `said` are prompts of the same contents without the concept and with it.
    EvidenceError where the findings have no direction that a change of can reach the picture.
    """
    chosen = _chosen(model, findings, sites)
    read = list(dict.fromkeys(parse(site).site for _, site in chosen))
    means = []
    for place, prompts in enumerate((plain, said)):
        run = model.run(prompts, 0, read=read, pictures=False, progress=_part(tell, place))
        means.append({site: run.read(site).mean("step").to_numpy() for site in read})
    found = []
    for unit, site in chosen:
        way = np.asarray(findings.directions[unit], np.float64)
        own = parse(site).site
        without, within = (
            one[own].reshape(len(plain), -1, len(way)).mean(1).astype(np.float64) for one in means
        )
        along = way / np.linalg.norm(way)
        sd = float((without @ along).std())
        if sd > 0:
            far = float(((within - without) @ along).mean()) / sd
            found.append(Move(unit, own, along, sd, far, within - without))
    if not found:
        raise EvidenceError("At none of these sites do prompts differ along the direction found.")
    return found


def _part(tell: Progress, place: int) -> Progress:
    return lambda _, done, of: tell("reading the sites", place * of + done, 2 * of)


def _chosen(model: Model, findings: Findings, sites: Sequence[str]) -> list[tuple[str, str]]:
    """Units of directions and their sites; by default at the conditioning site and the first."""
    found: dict[str, tuple[str, str]] = {}
    for one in sorted(findings.by_kind("direction"), key=lambda finding: finding.rank):
        place = parse(one.site).site
        if model.sites[place].affects_output is not False and np.any(findings.directions[one.unit]):
            found.setdefault(place, (one.unit, one.site))
    if sites:
        lacking = [site for site in sites if site not in found]
        if lacking:
            raise EvidenceError(
                f"These findings have no direction at {', '.join(lacking)} that reaches the "
                f"picture. They have: {', '.join(found) or 'none'}."
            )
        return [found[site] for site in sites]
    if not found:
        raise EvidenceError("These findings have no direction that reaches the picture.")
    first = [place for place in found if place == model.conditioning_site]
    return [found[place] for place in dict.fromkeys([*first, *found])][:SITES]
