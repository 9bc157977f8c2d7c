"""Objectives as functions of torch tensors, for gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clerestory.classifiers import load_classifier
from clerestory.errors import ModelError
from clerestory.evaluation.objectives import DirectionTerm, LabelTerm, Objective
from clerestory.models.core.gradient_questions import ObjectiveSite
from clerestory.types import Role

__all__ = ["DifferentiableTerms", "differentiable_terms"]


@dataclass(frozen=True, eq=False)
class DifferentiableTerms:
    """An objective of units, directions and labels, as `Model.gradients` takes it.

    Its value is that which a search maximizes, where no probability is clipped.

    Attributes:
        objective: The objective.
        labels: By term the function from pictures to log probabilities, and the class's index.
    """

    objective: Objective
    labels: Mapping[LabelTerm, tuple[Callable[[Tensor], Tensor], int]] = field(repr=False)

    @property
    def name(self) -> str:
        """The sum as text."""
        return self.objective.name

    @property
    def sites(self) -> Sequence[ObjectiveSite]:
        """The sites of its directions, pooled as they say; one for each term."""
        terms = [term for _, term in self.objective.terms]
        return [_site(term) for term in terms if isinstance(term, DirectionTerm)]

    @property
    def reads_pictures(self) -> bool:
        """Whether it has labels."""
        return bool(self.labels)

    def __call__(self, values: Mapping[ObjectiveSite, Tensor], pictures: Tensor | None) -> Tensor:
        """The weighted sum of the terms, `[sample]`."""
        # Classifiers of one network share its pass over the pictures no further than it caches.
        parts = [
            weight * self._value(term, values, pictures) for weight, term in self.objective.terms
        ]
        devices = [part.device for part in parts]
        return torch.stack([part.to(devices[0]) for part in parts]).sum(0)

    def _value(
        self,
        term: DirectionTerm | LabelTerm,
        values: Mapping[ObjectiveSite, Tensor],
        pictures: Tensor | None,
    ) -> Tensor:
        if isinstance(term, DirectionTerm):
            read = values[_site(term)]
            term.check_width(read.shape[-1])
            direction = torch.as_tensor(term.direction, dtype=read.dtype, device=read.device)
            # Units that the direction lacks at the end count as 0.
            return read[..., : len(direction)].mean(1) @ direction
        assert pictures is not None
        log_probabilities, column = self.labels[term]
        logs = log_probabilities(pictures)
        others = [index for index in range(logs.shape[1]) if index != column]
        # Log odds: log p - log(1 - p).
        return logs[:, column] - logs[:, others].logsumexp(1)


def differentiable_terms(objective: Objective, role: Role = "evaluation") -> DifferentiableTerms:
    """An objective with the classifiers of its labels, which must have gradients.

    Args:
        objective: The objective.
        role: Which of two classifiers of a name predicts labels.

    Returns:
        What `Model.gradients` takes.

    Raises:
        ModelError: A classifier has no gradient.
    """
    labels = {}
    for term in (term for _, term in objective.terms):
        if not isinstance(term, LabelTerm):
            continue
        classifier = load_classifier(term.classifier, role=role)
        function = getattr(classifier, "log_probabilities", None)
        if function is None:
            raise ModelError(
                f"The classifier {term.classifier} has no gradient: it has no log_probabilities "
                "from a torch tensor of pictures. Choose another one, or an objective at a site."
            )
        labels[term] = function, classifier.classes.index(term.label)
    return DifferentiableTerms(objective, labels)


def _site(term: DirectionTerm) -> ObjectiveSite:
    return ObjectiveSite(term.site, term.pool, len(term.direction))
