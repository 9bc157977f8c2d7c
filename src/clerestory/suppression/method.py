"""What a suppression method is, and the registry of methods.

A method is one file in `suppression/methods`, or a plug-in of the entry-point group
`clerestory.suppression_methods`: a class that is registered by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from typing_extensions import override

from clerestory.attribution import SegmentedPrompt
from clerestory.classifiers import Target
from clerestory.evaluation import Condition, Evaluator
from clerestory.models import Edit
from clerestory.registry import Registry
from clerestory.suppression.association import Association
from clerestory.suppression.directions import Directions, read_directions
from clerestory.types import Floats, Progress

__all__ = ["DirectionMethod", "MethodContext", "SuppressionMethod", "suppression_methods"]

suppression_methods: Registry[type[SuppressionMethod]] = Registry(
    "suppression method",
    package="clerestory.suppression.methods",
    group="clerestory.suppression_methods",
)


@dataclass(frozen=True, eq=False)
class MethodContext:
    """What a method's conditions are built from.

    Attributes:
        association: What is to be counteracted.
        paraphrases: The sentences of the selection half.
        alternatives: The labels that the control shows instead of the unwanted ones.
        longest: The prompt of most tokens: words that are appended have to fit after it.
        budget: Prompts that a search may score.
        evaluator: Runs the model.
        progress: Receives how far a search has come.
    """

    association: Association
    paraphrases: Sequence[SegmentedPrompt]
    alternatives: Sequence[Target]
    longest: str
    budget: int
    evaluator: Evaluator = field(repr=False)
    progress: Progress = field(repr=False)

    @cached_property
    def directions(self) -> Directions:
        """Directions at the conditioning site, read when a method first needs them."""
        return read_directions(
            self.evaluator, self.association, self.paraphrases, self.alternatives
        )

    @cached_property
    def bases(self) -> dict[str, Floats]:
        """Bases of the unwanted directions `[direction, unit]`, by how they were made."""
        # Guarded and not: projecting out what is preserved can leave less of the unwanted
        # direction.
        return {
            "as worded": self.directions.basis(guarded=False),
            "preserved projected out": self.directions.basis(guarded=True),
        }


class SuppressionMethod(ABC):
    """One way of suppressing; its fields are the settings that it tries."""

    order: ClassVar[int] = 100
    """Where it stands in tables, lower first; of equal scores the first is recommended."""
    searches: ClassVar[bool] = False
    """Whether it spends the budget; such a method is left out where the budget is 0."""

    @abstractmethod
    def conditions(self, context: MethodContext) -> list[Condition]:
        """Build a condition for each setting; its name is the setting's.

        Args:
            context: The association, the sentences to build from, and the budget.

        Returns:
            Conditions, of which the selection half chooses one.

        Raises:
            EvidenceError, SearchError: The method does not apply to this model or prompt. It is
                then left out, with the message as a warning.
        """


class DirectionMethod(SuppressionMethod):
    """A method that edits the conditioning along unwanted directions, by bases and strengths.

    It raises EvidenceError where the model has no conditioning site, or the prompt is too long.

    Attributes:
        strengths: The strengths that are tried with each basis.
    """

    strengths: tuple[float, ...]

    @abstractmethod
    def edits(self, directions: Directions, basis: Floats, strength: float) -> tuple[Edit, ...]:
        """Build the edits of one setting.

        Args:
            directions: The directions at the conditioning site.
            basis: A basis of the unwanted ones, `[direction, unit]`.
            strength: One of `strengths`.

        Returns:
            The edits, in the order in which they act.
        """

    @override
    def conditions(self, context: MethodContext) -> list[Condition]:
        return [
            Condition(
                f"x{strength:g}, {name}", edits=self.edits(context.directions, basis, strength)
            )
            # Bases first: settings of one basis stand together in tables.
            for name, basis in context.bases.items()
            for strength in self.strengths
        ]
