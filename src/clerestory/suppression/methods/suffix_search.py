"""Words to append, found by a search at the conditioning site."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from clerestory.evaluation import Condition, direction
from clerestory.maximization import maximize
from clerestory.suppression.method import MethodContext, SuppressionMethod, suppression_methods


@suppression_methods.register("suffix search")
@dataclass(frozen=True)
class SuffixSearch(SuppressionMethod):
    """Searches words that lead away from the unwanted directions and towards the preserved ones.

    The best are then drawn, each as a setting, the one of the highest score first.
    """

    order = 6
    searches = True

    words: tuple[int, int] = (1, 3)
    drawn: int = 6
    preserved_weight: float = 0.5
    null: int = 32

    @override
    def conditions(self, context: MethodContext) -> list[Condition]:
        association, directions = context.association, context.directions
        # The guarded basis: away from the unwanted must not lead away from the preserved.
        guarded = context.bases["preserved projected out"]
        weighted = [(-1.0, axis) for axis in guarded]
        weighted += [(self.preserved_weight, axis) for axis in directions.preserved]
        objectives = [
            weight
            * direction(directions.site, axis, "mean", f"{directions.site} {weight:+g} {index}")
            for index, (weight, axis) in enumerate(weighted)
        ]
        objective = objectives[0]
        # Not `sum`, which starts from 0, and 0 is no objective.
        for term in objectives[1:]:
            objective = objective + term
        # No suffix may name an unwanted label: models draw it even in "not black".
        banned = [word for target in association.unwanted for word in target.label.split()]
        result = maximize(
            association.model,
            objective,
            search="evolve",
            budget=context.budget,
            words=self.words,
            # What fits after the longest prompt fits after all of them.
            template=f"{context.longest} {{words}}",
            ban=banned,
            random_prompts=self.null,
            best=self.drawn,
            pictures=False,
            progress=context.progress,
        )
        return [Condition(repr(best.words), suffix=best.words) for best in result.best]
