"""What a steered model should draw, or no longer draw."""

from __future__ import annotations

from dataclasses import dataclass

from clerestory.evaluation import ITEM, Drawing, Panel, SideEffects, side_effects_of
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.types import Role

__all__ = ["SteeringTarget"]


@dataclass(frozen=True)
class SteeringTarget:
    """The label to steer to or away from.

    Attributes:
        classifier: The classifier's name, such as `lancet:style`.
        label: One of its labels.
        template: How a prompt says it, with `{item}` in it, once.
        hard_negative: A classifier and its label that should not come with the target.
        preserve: Classifiers whose predictions should stay; by default those that come with the
            target's.
        remove: Whether the target is removed from prompts that say it.
    """

    classifier: str
    label: str
    template: str
    hard_negative: tuple[str, str] | None = None
    preserve: tuple[str, ...] = ()
    remove: bool = False

    @property
    def edited_template(self) -> str:
        """The template of the prompts that are edited."""
        return self.template if self.remove else ITEM

    @property
    def reference_template(self) -> str:
        """The template of prompts whose pictures the edited ones should resemble."""
        return ITEM if self.remove else self.template

    def score(self, rate: float) -> float:
        """Score a rate of the label by the aim, 0 to 1.

        Args:
            rate: How often the label is predicted, 0 to 1.

        Returns:
            `rate`, or one less that where the target is removed; higher is better.
        """
        return 1 - rate if self.remove else rate

    def panel(self, role: Role) -> Panel:
        """The classifiers of a role.

        Args:
            role: `selection` or `evaluation`.

        Returns:
            The target's classifier, those of what should stay, and the hard negative's.

        Raises:
            RegistryError: There are no such classifiers.
        """
        return Panel.load(
            self.classifier,
            self.label,
            role=role,
            # None lets the panel take the classifiers that come with the target's.
            preserved=self.preserve or None,
            hard_negative=self.hard_negative,
        )

    def side_effects(
        self, panel: Panel, edited: Drawing, unedited: Drawing, bound: float
    ) -> SideEffects:
        """What else an edit changes, in every class of every classifier of a panel.

        Args:
            panel: Evaluation classifiers.
            edited: The drawing with the edit.
            unedited: The drawing without it.
            bound: Change of a rate up to which a side effect is accepted.

        Returns:
            The changes.
        """
        classifiers = {self.classifier: panel.target.classifier, **panel.preserved}
        if self.hard_negative is not None and panel.hard_negative is not None:
            # Unless it is the target's or a preserved one, which has been listed.
            classifiers.setdefault(self.hard_negative[0], panel.hard_negative.classifier)
        return side_effects_of(
            edited, unedited, classifiers, panel.target, rises=not self.remove, bound=bound
        )

    def warnings(self) -> list[EvidenceWarning]:
        """What the classifiers cannot measure, for readers of the figures."""
        selection, evaluation = self.panel("selection"), self.panel("evaluation")
        source = selection.target.classifier.source
        texts = []
        if source == evaluation.target.classifier.source:
            texts.append(f"The classifier that selected also evaluates: {source}.")
        if not selection.preserved:
            texts.append("No classifier measures preservation.")
        if not selection.has_features:
            texts.append(
                "The classifier has no features: no Fréchet distance tells pictures that left the "
                "distribution."
            )
        return [EvidenceWarning("classifier", text) for text in texts]
