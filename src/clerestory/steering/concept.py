"""What a steered model is to draw, or no longer: how it is said, and who sees it."""

from __future__ import annotations

from dataclasses import dataclass

from clerestory.evaluation import ITEM, Panel
from clerestory.types import Role

__all__ = ["Concept"]


@dataclass(frozen=True)
class Concept:
    """A class of a classifier, and `said`, which says it of an item, `{item}`.

    `decoy` is what should not come with it, a classifier and its class. `keeps` are classifiers of
    what should stay, by default Lancet's other factors. With `remove` the concept is taken out of
    prompts that say it.
    """

    classifier: str
    shows: str
    said: str
    decoy: tuple[str, str] | None = None
    keeps: tuple[str, ...] = ()
    remove: bool = False

    @property
    def base(self) -> str:
        """The pattern of the prompts that are edited."""
        return self.said if self.remove else ITEM

    @property
    def other(self) -> str:
        """The pattern of those whose pictures the edited ones should be like."""
        return ITEM if self.remove else self.said

    def goal(self, rate: float) -> float:
        """How well a rate of the concept is what is wanted."""
        return 1 - rate if self.remove else rate

    def panel(self, role: Role) -> Panel:
        """The classifiers of a set; RegistryError where there are no such."""
        others = self.keeps or None
        return Panel.of(
            self.classifier, self.shows, role=role, others=others, hard_negative=self.decoy
        )

    def warnings(self) -> list[str]:
        """What the classifiers cannot guard, for whoever reads the figures."""
        tuning, reporting = self.panel("selection"), self.panel("evaluation")
        found = []
        source = tuning.target.classifier.source
        if source == reporting.target.classifier.source:
            found.append(f"The classifier that tuned also reports: {source}.")
        if not tuning.others:
            found.append(
                "No classifier looks at the rest of the picture: nothing says what is kept."
            )
        if not tuning.has_features:
            found.append("The classifier has no features: no Fréchet distance guards the pictures.")
        return found
