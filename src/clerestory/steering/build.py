"""Build a steered model: try strengths, sites and steps, take one, and report what it does.

Contents that tune and contents that report are apart, and so are the classifiers: set a, set b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.contrasts import Findings
from clerestory.edits import Add
from clerestory.errors import EvidenceError
from clerestory.evaluation import (
    CacheOption,
    Condition,
    Design,
    Evaluator,
    compare_conditions,
    fill,
)
from clerestory.models import Model
from clerestory.steering.concept import Concept
from clerestory.steering.frontier import Point, picked
from clerestory.steering.report import Beside, Draw, Report, reported
from clerestory.steering.scaled_directions import Move, moves
from clerestory.steering.steered import SteeredModel
from clerestory.types import Progress

__all__ = ["Built", "build"]

FRACTIONS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Strengths that are tried, as shares of how far the concept's prompts lie from those without."""
HALVES = 4
"""Stages of so many steps or more are also edited in their first and in their second half."""
LEAST = 4
PLAIN, SAID = "unedited", "words"


@dataclass(frozen=True, eq=False)
class Built:
    """A steered model, what was tried for it, and what it does beside everything else."""

    steered: SteeredModel
    points: tuple[Point, ...]
    pick: Point
    report: Report = field(repr=False)

    def save(self, folder: str | Path) -> Path:
        """Write the steered model, the pictures of its card, and the frontier."""
        from clerestory.steering.pictures import illustrate

        place = self.steered.save(folder)
        illustrate(self, place)
        return place


def build(
    model: Model,
    findings: Findings,
    concept: Concept,
    *,
    tune: Sequence[str],
    report: Sequence[str],
    seeds: int | Sequence[int] = (0, 1),
    keep: float | None = None,
    sites: Sequence[str] = (),
    strengths: Sequence[float] = (),
    shuffled: int = 20,
    searched: str | None = None,
    others: Mapping[str, Draw] | None = None,
    source: str = "",
    cache: CacheOption = True,
    progress: Progress | None = None,
) -> Built:
    """The steered model that draws a concept, or no longer does.

    `tune` and `report` are contents that never mention it, apart from each other. Of `strengths`
    (in standard deviations of the site's own activations; by default shares of what lies between
    prompts without and with the concept), of `sites` (the conditioning site and discovery's first)
    and of steps, the knee is taken, or what does most and still keeps `keep`. `searched` is a
    found prompt as a pattern, and `others` are further ways of drawing, to stand beside it.
    EvidenceError where contents are too few or shared.
    """
    _apart(tune, report, findings)
    cautions = _cautions(concept, keep)
    tell = progress or _silent
    said = [fill(concept.said, item) for item in tune]
    evaluator = Evaluator(model, cache, progress=tell)
    ways = moves(model, findings, tune, said, sites=sites, tell=tell)
    tried = _edits(model, ways, strengths, concept)
    points = _swept(evaluator, [edit for edit, _ in tried], tune, concept)
    pick, warnings = picked(points, keep)
    move = tried[points.index(pick)][1]
    beside = Beside(shuffled, searched, others or {})
    found = reported(evaluator, pick.edit, move, concept, report, seeds, beside)
    calibration = {
        **found.told(),
        **asdict(concept),
        **_tuned(points, pick, len(tune)),
        "warnings": [*warnings, *cautions, *found.warnings],
        "reported": list(report),
    }
    provenance = {"finding": source, "unit": move.unit}
    steered = SteeredModel(model, [pick.edit], provenance=provenance, calibration=calibration)
    return Built(steered, tuple(points), pick, found)


def _tuned(points: Sequence[Point], pick: Point, contents: int) -> dict[str, Any]:
    """What was tried, as set a saw it, and what was taken."""
    tried = [point.told() for point in points]
    return {
        "picked": pick.told(),
        "tuned": {"contents": contents, "role": "selection", "points": tried},
    }


def _apart(tune: Sequence[str], report: Sequence[str], findings: Findings) -> None:
    """EvidenceError where contents that report served for anything before, or are too few."""
    served = {*tune, *(one for half in findings.items.values() for one in half)}
    shared = sorted(served & set(report))
    if shared:
        raise EvidenceError(
            f"{len(shared)} contents that should report are shared with those that found or tune "
            f"it, such as {shared[0]!r}: they prove nothing."
        )
    if min(len(set(tune)), len(set(report))) < LEAST:
        raise EvidenceError("Give four contents or more to tune with, and four to report on.")


def _cautions(concept: Concept, keep: float | None) -> list[str]:
    """What nothing guards; EvidenceError where what is to be kept cannot be seen."""
    if keep is not None and not concept.panel("selection").others:
        raise EvidenceError("No classifier says what is kept: name some that should see the same.")
    return concept.warnings()


def _edits(
    model: Model, ways: Sequence[Move], strengths: Sequence[float], concept: Concept
) -> list[tuple[Add, Move]]:
    """Every edit to try; at sites with several steps also in each half of them."""
    found = []
    for way in ways:
        sign = -1.0 if concept.remove else 1.0
        sizes = strengths or [sign * share * way.far for share in FRACTIONS]
        steps = _steps(model, way.site)
        halves = [steps[: len(steps) // 2], steps[len(steps) // 2 :]]
        ranges = [(), *halves] if len(steps) >= HALVES else [()]
        found += [(way.edit(size, part), way) for part in ranges for size in sizes]
    return found


def _steps(model: Model, site: str) -> Sequence[int]:
    """The steps that a site has in a run."""
    run = model.run("a", 0, read=site, pictures=False)
    return tuple(sorted({step.index for step in run.site_values[site].steps}))


def _swept(
    evaluator: Evaluator, edits: Sequence[Add], contents: Sequence[str], concept: Concept
) -> list[Point]:
    """Each edit on contents that tune, one seed each, as set a sees it."""
    conditions = [Condition(PLAIN, concept.base), Condition(SAID, concept.other)]
    conditions += [Condition(str(at), concept.base, (edit,)) for at, edit in enumerate(edits)]
    panel = concept.panel("selection")
    plain, _, *tried = compare_conditions(
        evaluator,
        conditions,
        Design.crossed(contents),
        panel,
        frechet_to=SAID,
        label="drawing with edits",
    )
    limit = np.inf if plain.frechet is None else plain.frechet
    return [
        Point(edit, one, concept.goal(one.target.rate), (one.frechet or 0.0) > limit)
        for edit, one in zip(edits, tried, strict=True)
    ]


def _silent(what: str, done: int, of: int) -> None:
    pass
