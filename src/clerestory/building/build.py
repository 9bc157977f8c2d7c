"""Build a steered model: try strengths, sites and steps, take one, and report what it does.

Contents that tune and contents that report are apart, and so are the classifiers: set a, set b.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clerestory.building.moving import Move, moves
from clerestory.building.points import Point, picked
from clerestory.building.reporting import Report, reported
from clerestory.classifying.outcomes import Panel, Progress, Way, outcomes
from clerestory.errors import EvidenceError
from clerestory.finding import Findings
from clerestory.models import Model
from clerestory.steering import Add, SteeredModel

__all__ = ["Built", "Draw", "build"]

FRACTIONS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Strengths that are tried, as shares of how far the concept's prompts lie from those without."""
HALVES = 4
"""Stages of so many steps or more are also edited in their first and in their second half."""
PLAIN, SAID = "unedited", "words"
Draw = Callable[[Sequence[str], Sequence[int]], NDArray[np.uint8]]
"""Another way of drawing: from prompts and seeds to pictures `[sample, height, width, 3]`."""


@dataclass(frozen=True, eq=False)
class Built:
    """A steered model, what was tried for it, and what it does beside everything else."""

    steered: SteeredModel
    points: tuple[Point, ...]
    pick: Point
    report: Report = field(repr=False)

    def save(self, folder: str | Path) -> Path:
        """Write the steered model, the pictures of its card, and the frontier."""
        from clerestory.building.pictures import illustrate

        place = self.steered.save(folder)
        illustrate(self, place)
        return place


def build(
    model: Model,
    findings: Findings,
    classifier: str,
    shows: str,
    *,
    said: str,
    tune: Sequence[str],
    report: Sequence[str],
    seeds: int | Sequence[int] = (0, 1),
    keep: float | None = None,
    remove: bool = False,
    decoy: tuple[str, str] | None = None,
    sites: Sequence[str] = (),
    strengths: Sequence[float] = (),
    shuffled: int = 20,
    searched: str | None = None,
    others: Mapping[str, Draw] | None = None,
    source: str = "",
    progress: Progress | None = None,
) -> Built:
    """The steered model that draws `shows`, or with `remove` no longer does.

    `said` says the concept of a content, `{x}`. `tune` and `report` are contents that never mention
    it, apart from each other. Of `strengths` (in standard deviations of the site's own activations;
    by default shares of what lies between prompts without and with the concept), of `sites` (the
    bridge and discovery's first) and of steps, the knee is taken, or what does most and still keeps
    `keep`. `searched` is a found prompt as a pattern, and `others` are further ways of drawing, to
    stand beside it. EvidenceError where contents are too few or shared.
    """
    if set(tune) & set(report):
        raise EvidenceError("Contents that tune a model must not report on it: they are shared.")
    if min(len(set(tune)), len(set(report))) < 4:
        raise EvidenceError("Give four contents or more to tune with, and four to report on.")
    tell = progress or _silent
    ways = moves(
        model,
        findings,
        tune,
        Way(SAID, said).prompts(tune),
        0,
        sites=sites,
        progress=lambda done, of: tell("reading the sites", done, of),
    )
    panel = Panel.of(classifier, shows, which="a", decoy=decoy)
    tried = _edits(model, ways, strengths, remove)
    points = _swept(model, [edit for edit, _ in tried], tune, panel, said, remove, tell)
    pick, warnings = picked(points, keep)
    found = reported(
        model,
        pick.edit,
        tried[points.index(pick)][1],
        Panel.of(classifier, shows, which="b", decoy=decoy),
        said=said,
        remove=remove,
        contents=report,
        seeds=seeds,
        shuffled=shuffled,
        searched=searched,
        others=others or {},
        progress=tell,
    )
    calibration = {
        **found.told(),
        "shows": shows,
        "removed": remove,
        "said": said,
        "classifier": classifier,
        "warnings": warnings,
        "picked": pick.told(),
        "tuned": {"contents": len(tune), "set": "set a", "points": [p.told() for p in points]},
    }
    steered = SteeredModel(
        model, [pick.edit], provenance={"finding": source}, calibration=calibration
    )
    return Built(steered, tuple(points), pick, found)


def _edits(
    model: Model, ways: Sequence[Move], strengths: Sequence[float], remove: bool
) -> list[tuple[Add, Move]]:
    """Every edit to try; at sites with several steps also in each half of them."""
    found = []
    for way in ways:
        sign = -1.0 if remove else 1.0
        sizes = strengths or [sign * share * way.far for share in FRACTIONS]
        steps = _steps(model, way.site)
        halves = [steps[: len(steps) // 2], steps[len(steps) // 2 :]]
        ranges = [(), *halves] if len(steps) >= HALVES else [()]
        found += [(way.edit(size, part), way) for part in ranges for size in sizes]
    return found


def _steps(model: Model, site: str) -> Sequence[int]:
    """The steps that a site has in a run."""
    run = model.run("a", 0, read=site, pictures=False)
    return tuple(sorted({step.index for step in run.activations.unlabelled[site].steps}))


def _swept(
    model: Model,
    edits: Sequence[Add],
    contents: Sequence[str],
    panel: Panel,
    said: str,
    remove: bool,
    tell: Progress,
) -> list[Point]:
    """Each edit on contents that tune, one seed each."""
    base, other = (said, "{x}") if remove else ("{x}", said)
    ways = [Way(PLAIN, base), Way(SAID, other)]
    ways += [Way(str(place), base, (edit,)) for place, edit in enumerate(edits)]
    plain, _, *tried = outcomes(model, ways, contents, 0, panel, said=SAID, progress=tell)
    return [
        Point(
            edit,
            one,
            1 - one.concept.rate if remove else one.concept.rate,
            one.frechet is not None and plain.frechet is not None and one.frechet > plain.frechet,
        )
        for edit, one in zip(edits, tried, strict=True)
    ]


def _silent(what: str, done: int, of: int) -> None:
    pass
