"""`[familiarity.NAME]`: does the model know a name, or fall back on the context?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clerestory.studies.tasks.base import (
    Claim,
    Cost,
    PictureRows,
    Task,
    TaskContext,
    TaskResult,
    count_noun,
    save_chart,
    save_pictures,
    tasks,
    to_status,
)

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.recognition import FamiliarityResult

__all__ = ["FamiliarityTask"]


@tasks.register("familiarity")
class FamiliarityTask(Task):
    """`familiarity` of a phrase beside invented ones. `expected` is what the study claims of it."""

    resumable = True

    phrase: str
    expected: Literal["familiar", "unfamiliar"] = "familiar"
    contexts: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    classifiers: tuple[str, ...] = ()
    count: int = 199
    seeds: tuple[int, ...] = (0, 1)

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        """Any label of its classifiers."""
        return tuple((name, "") for name in self.classifiers)

    def uses_classifier(self, name: str) -> bool:
        """The classifiers that it names, or all.

        Args:
            name: The study's name of the classifier.

        Returns:
            Whether the result may depend on it.
        """
        return not self.classifiers or name in self.classifiers

    def method(self) -> str:
        """How many names, where, how often."""
        contexts, seeds = len(self._contexts()), len(self.seeds)
        return (
            f"“{self.phrase}” was drawn beside {len(self.controls) or self.count} invented names "
            f"of its form in {count_noun(contexts, 'context')}, {count_noun(seeds, 'seed')}; the "
            "distance of its pictures is compared with that of each of theirs."
        )

    def cost(self, context: TaskContext, plan: Mapping[str, Task]) -> Cost:
        """The phrase and every invented name, in every context, with every seed.

        Args:
            context: The model, folders and classifiers.
            plan: All tasks of the study, by key.

        Returns:
            The cost.
        """
        names = 1 + (len(self.controls) or self.count)
        return Cost(pictures=names * len(self._contexts()) * len(self.seeds))

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        """Ask, or go on; the page lies in the phrase's own folder under `familiarity`.

        Args:
            context: The model, folders and classifiers.
            folder: The task's own folder, which exists.

        Returns:
            Claims, figures, and what the report shows.
        """
        from clerestory.recognition import familiarity

        result = familiarity(
            context.model,
            self.phrase,
            controls=self.controls or None,
            contexts=self._contexts(),
            classifiers=self._classifiers(context),
            count=self.count,
            seeds=self.seeds,
            out=folder / "familiarity",
            cache=context.cache,
            progress=context.progress,
        )
        return TaskResult(
            claims=(self._claim(result),),
            figures=result.to_dict(),
            pictures=(self._pictures(result, folder),),
            charts=(save_chart(folder, "The phrase among invented names", "among", result.plot()),),
        )

    def _classifiers(self, context: TaskContext) -> list[str] | None:
        """Those that it names; else the profile's, the prior's embedding, or all of the study's."""
        if not self.classifiers and self._is_observed(context.model):
            return None
        return [context.classifier(one) for one in self.classifiers or context.classifiers]

    @staticmethod
    def _is_observed(model: Model) -> bool:
        """Whether `familiarity` has classifiers of the model's own, or a prior's embedding."""
        return bool(model.profile.classifiers) or model.conditioning_site.startswith("prior/")

    def _contexts(self) -> tuple[str, ...]:
        from clerestory.recognition import CONTEXTS

        return self.contexts or tuple(CONTEXTS)

    def _claim(self, result: FamiliarityResult) -> Claim:
        names = len(result.controls.names)
        # Between the two thresholds the claim is undecided, whichever is expected.
        supported = None if result.verdict == "undecided" else result.verdict == self.expected
        text = (
            f"“{self.phrase}” is {result.verdict} to the model: its pictures lie "
            f"{result.distance:.2f} times as far "
            f"from those of {names} invented names as the median one's do (p {result.p:.2g})."
        )
        criterion = "p at most .01" if self.expected == "familiar" else "p above .1"
        return Claim(self.expected, text, to_status(supported), criterion, result.distance)

    def _pictures(self, result: FamiliarityResult, folder: Path) -> PictureRows:
        """A row for each name, a column for each context, with the first seed."""
        rows = {name: list(pictures) for name, pictures in result.pictures.items()}
        title = f"“{self.phrase}” and, below, invented names"
        return save_pictures(folder, title, rows, list(result.contexts))
