"""What a steered model does, on contents that did not build it, beside everything it is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.edits import Add
from clerestory.errors import EvidenceError
from clerestory.evaluation.outcomes import Outcome, Panel, Progress, Way, judged, outcomes
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.seeds import check_seeds
from clerestory.steering.concept import Concept
from clerestory.steering.scaled_directions import Move

__all__ = ["Beside", "Draw", "Report", "reported"]

PLAIN, EDITED, SAID, SEARCHED = "unedited", "edited", "words", "searched"
OF_A_DIRECTION = 8
"""Contents that each shuffled direction is drawn with, one seed each."""


Draw = Callable[[Sequence[str], Sequence[int]], NDArray[np.uint8]]
"""Another way of drawing: from prompts and seeds to pictures `[sample, height, width, 3]`."""


@dataclass(frozen=True)
class Beside:
    """What stands beside the edit: so many shuffled directions, a found prompt, other ways."""

    shuffled: int = 20
    searched: str | None = None
    others: Mapping[str, Draw] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Report:
    """Outcomes by way, all of set b; `unedited` and `edited` among them.

    `shuffled` are those of directions from shuffled pairs, as strong, on fewer contents; their
    interval is the range of rates over directions.
    """

    outcomes: Mapping[str, Outcome] = field(repr=False)
    shuffled: tuple[Outcome, ...] = field(repr=False)
    contents: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def warnings(self) -> list[str]:
        """What is missing."""
        return [] if self.shuffled else ["No shuffled directions stand beside it."]

    def told(self) -> dict[str, Any]:
        """The figures of `steering.json`."""
        rest = {name: _figures(one) for name, one in self.outcomes.items() if name != EDITED}
        if self.shuffled:
            rest["shuffled"] = self._mixed()
        return {
            **_figures(self.outcomes[EDITED]),
            "role": "evaluation",
            "contents": len(self.contents),
            "seeds": len(self.seeds),
            "baselines": rest,
        }

    def _all_kept(self) -> list[float]:
        return [one.all_kept for one in self.shuffled if one.all_kept is not None]

    def _mixed(self) -> dict[str, Any]:
        rates = [one.concept.rate for one in self.shuffled]
        names = self.shuffled[0].kept
        added = [one.decoy_added.change for one in self.shuffled if one.decoy_added is not None]
        return {
            "concept_rate": float(np.mean(rates)),
            "concept_interval": [min(rates), max(rates)],
            "kept": {n: float(np.mean([o.kept[n].rate for o in self.shuffled])) for n in names},
            "all_kept": float(np.mean(kept)) if (kept := self._all_kept()) else None,
            "decoy_added": float(np.mean(added)) if added else None,
            "directions": len(rates),
            "contents": self.shuffled[0].concept.contents,
        }


def reported(
    model: Model,
    edit: Add,
    move: Move,
    concept: Concept,
    contents: Sequence[str],
    seeds: int | Sequence[int],
    beside: Beside,
    progress: Progress,
) -> Report:
    """Draw the edit and its baselines; where the concept is removed, from prompts that say it."""
    panel, numbers = concept.panel("evaluation"), check_seeds(seeds)
    ways = [Way(PLAIN, concept.base), Way(EDITED, concept.base, (edit,)), Way(SAID, concept.other)]
    if beside.searched is not None and not concept.remove:
        ways.append(Way(SEARCHED, beside.searched))
    drawn = outcomes(model, ways, contents, numbers, panel, said=SAID, progress=progress)
    found = {one.name: one for one in drawn}
    first = found[PLAIN].pictures
    for place, (name, draw) in enumerate(beside.others.items()):
        progress("drawing in other ways", place, len(beside.others))
        pictures = draw(ways[0].prompts(contents), numbers).reshape(first.shape)
        found[name] = judged(panel, {PLAIN: first, name: pictures})[1]
    mixed = _shuffled(model, edit, move, panel, concept.base, contents, beside.shuffled, progress)
    return Report(found, mixed, tuple(contents), numbers)


def _shuffled(
    model: Model,
    edit: Add,
    move: Move,
    panel: Panel,
    base: str,
    contents: Sequence[str],
    count: int,
    progress: Progress,
) -> tuple[Outcome, ...]:
    if not count:
        return ()
    steps = parse(edit.site).steps or ()
    try:
        made = move.shuffled(float(np.asarray(edit.strength)), count, steps)
    except EvidenceError:  # all contents differ alike: no other direction is as typical of the site
        return ()
    ways = [Way(PLAIN, base), *(Way(f"shuffled {n}", base, (one,)) for n, one in enumerate(made))]
    return tuple(outcomes(model, ways, contents[:OF_A_DIRECTION], 0, panel, progress=progress)[1:])


def _figures(one: Outcome) -> dict[str, Any]:
    rate, added = one.concept, one.decoy_added
    return {
        "concept_rate": rate.rate,
        "concept_interval": [rate.low, rate.high],
        "kept": {name: kept.rate for name, kept in one.kept.items()},
        "all_kept": one.all_kept,
        "decoy_added": None if added is None else added.change,
        "decoy_added_interval": None if added is None else [added.low, added.high],
        "frechet": one.frechet,
        "distance": one.distance,
    }
