"""Latents of a dictionary that the prompt and the unwanted words raise, scaled down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from clerestory.edits import Scale
from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition
from clerestory.suppression.directions import Directions, read_directions
from clerestory.suppression.method import MethodContext, SuppressionMethod, suppression_methods
from clerestory.types import Integers


@suppression_methods.register("latents")
@dataclass(frozen=True)
class Latents(SuppressionMethod):
    """Switches off, or reverses, the latents of attached dictionaries that the unwanted raises.

    They are those that both the prompt and the unwanted labels' words raise above the control, in
    the order of the smaller of both rises. Where a latent is not active nothing changes. It does
    not apply where no dictionary is attached.

    Source: Cywiński & Deja 2025 (SAeUron), who scale the latents of a concept by a negative factor.
    """

    order = 7

    counts: tuple[int, ...] = (1, 4, 16)
    factors: tuple[float, ...] = (0.0, -1.0, -3.0)

    @override
    def conditions(self, context: MethodContext) -> list[Condition]:
        attached = [
            each
            for each in context.association.model.dictionaries.values()
            # A transcoder's latents are decoded at another site.
            if each.dictionary.output_site is None
        ]
        if not attached:
            raise EvidenceError(
                "No autoencoder is attached to the model, whose latents could be scaled."
            )
        conditions = []
        for each in attached:
            directions = read_directions(
                context.evaluator,
                context.association,
                context.paraphrases,
                context.alternatives,
                site=each.address,
            )
            units = _raised(directions)
            # Of three latents in all, four and sixteen are the same three.
            counts = dict.fromkeys(min(count, len(units)) for count in self.counts if len(units))
            conditions += [
                _condition(each.address, units[:count], factor)
                for count in counts
                for factor in self.factors
            ]
        if not conditions:
            raise EvidenceError("The prompt raises no latent of the attached dictionaries.")
        return conditions


def _raised(directions: Directions) -> Integers:
    """Latents that prompt and words raise, the most raised first."""
    rises = np.minimum(directions.difference, directions.unwanted.max(0))
    order = np.argsort(-rises, kind="stable")
    return np.asarray(order[rises[order] > 0])


def _condition(address: str, units: Integers, factor: float) -> Condition:
    edits = tuple(Scale(f"{address}[{unit}]", factor) for unit in units)
    named = f"{address}[{units[0]}]" if len(units) == 1 else f"{len(units)} of {address}"
    return Condition(f"{named} x{factor:g}", edits=edits)
