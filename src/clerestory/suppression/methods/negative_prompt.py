"""The words of the unwanted labels as a negative prompt."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition
from clerestory.suppression.method import MethodContext, SuppressionMethod, suppression_methods


@suppression_methods.register("negative prompt")
@dataclass(frozen=True)
class NegativePrompt(SuppressionMethod):
    """The unwanted labels as a negative prompt, at multiples of the model's guidance.

    It does not apply to models that take no negative prompt or draw without guidance.
    """

    order = 0

    guidance: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)

    @override
    def conditions(self, context: MethodContext) -> list[Condition]:
        model = context.association.model
        option = model.family.negative_option
        if not option:
            raise EvidenceError(f"{model.name} takes no negative prompt.")
        default = float(getattr(model.defaults, option))
        if default <= 1:
            raise EvidenceError(
                f"{model.name} draws without guidance ({option} {default:g}), so nothing leads it "
                "away from a negative prompt."
            )
        words = ", ".join(target.label for target in context.association.unwanted)
        return [
            Condition(
                f"{words!r}, {option} {default * factor:g}",
                options={"negative": words, option: default * factor},
            )
            for factor in self.guidance
        ]
