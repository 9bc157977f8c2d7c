"""What a steered model does, on contents that did not build it, beside everything it is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.edits import Add
from clerestory.errors import EvidenceError
from clerestory.evaluation import (
    Condition,
    Design,
    Drawing,
    Evaluator,
    Outcome,
    Panel,
    compare_conditions,
    compare_drawings,
)
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
        return [one.mean_preservation for one in self.shuffled if one.mean_preservation is not None]

    def _mixed(self) -> dict[str, Any]:
        rates = [one.target.rate for one in self.shuffled]
        names = self.shuffled[0].preservation
        added = [
            one.hard_negative_effect.effect
            for one in self.shuffled
            if one.hard_negative_effect is not None
        ]
        return {
            "concept_rate": float(np.mean(rates)),
            "concept_interval": [min(rates), max(rates)],
            "kept": {
                n: float(np.mean([o.preservation[n].rate for o in self.shuffled])) for n in names
            },
            "all_kept": float(np.mean(kept)) if (kept := self._all_kept()) else None,
            "decoy_added": float(np.mean(added)) if added else None,
            "directions": len(rates),
            "contents": self.shuffled[0].target.items,
        }


def reported(
    evaluator: Evaluator,
    edit: Add,
    move: Move,
    concept: Concept,
    contents: Sequence[str],
    seeds: int | Sequence[int],
    beside: Beside,
) -> Report:
    """Draw the edit and its baselines; where the concept is removed, from prompts that say it."""
    panel, numbers = concept.panel("evaluation"), check_seeds(seeds)
    conditions = [
        Condition(PLAIN, concept.base),
        Condition(EDITED, concept.base, (edit,)),
        Condition(SAID, concept.other),
    ]
    if beside.searched is not None and not concept.remove:
        conditions.append(Condition(SEARCHED, beside.searched))
    design = Design.crossed(contents, numbers)
    drawings = evaluator.draw(conditions, design, label="drawing the report")
    outcomes = compare_drawings(panel, drawings, frechet_to=SAID)
    found = {outcome.name: outcome for outcome in outcomes}
    for place, (name, draw) in enumerate(beside.others.items()):
        if evaluator.progress is not None:
            evaluator.progress("drawing in other ways", place, len(beside.others))
        prompts = [conditions[0].prompt(item) for item in contents]
        other = Drawing(Condition(name), design, draw(prompts, numbers))
        found[name] = compare_drawings(panel, [drawings[0], other])[1]
    mixed = _shuffled(evaluator, edit, move, panel, concept.base, contents, beside.shuffled)
    return Report(found, mixed, tuple(contents), numbers)


def _shuffled(
    evaluator: Evaluator,
    edit: Add,
    move: Move,
    panel: Panel,
    base: str,
    contents: Sequence[str],
    count: int,
) -> tuple[Outcome, ...]:
    if not count:
        return ()
    steps = parse(edit.site).steps or ()
    try:
        made = move.shuffled(float(np.asarray(edit.strength)), count, steps)
    except EvidenceError:  # all contents differ alike: no other direction is as typical of the site
        return ()
    conditions = [Condition(PLAIN, base)]
    conditions += [Condition(f"shuffled {n}", base, (one,)) for n, one in enumerate(made)]
    design = Design.crossed(contents[:OF_A_DIRECTION])
    label = "drawing shuffled directions"
    return tuple(compare_conditions(evaluator, conditions, design, panel, label=label)[1:])


def _figures(one: Outcome) -> dict[str, Any]:
    rate, added = one.target, one.hard_negative_effect
    return {
        "concept_rate": rate.rate,
        "concept_interval": [rate.low, rate.high],
        "kept": {name: kept.rate for name, kept in one.preservation.items()},
        "all_kept": one.mean_preservation,
        "decoy_added": None if added is None else added.effect,
        "decoy_added_interval": None if added is None else [added.low, added.high],
        "frechet": one.frechet,
        "distance": one.distance,
    }
