"""`[familiarity.NAME]`: does the model know a name, or fall back on the context?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clerestory.studies.tasks.base import Cost, Task, TaskContext, tasks
from clerestory.studies.tasks.rendering import count_noun, save_chart, save_pictures
from clerestory.studies.tasks.results import Claim, PictureRows, TaskResult, to_status

if TYPE_CHECKING:
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
        return tuple((name, "") for name in self.classifiers)

    def uses_classifier(self, name: str) -> bool:
        # Without a list of its own it may take any classifier of the study.
        return not self.classifiers or name in self.classifiers

    def method(self) -> str:
        contexts = count_noun(len(self._contexts()), "context")
        seeds = count_noun(len(self.seeds), "seed")
        return (
            f"“{self.phrase}” was drawn beside {len(self.controls) or self.count} invented names "
            f"of its form in {contexts}, {seeds}; the "
            "distance of its pictures is compared with that of each of theirs."
        )

    def cost(self, context: TaskContext) -> Cost:
        names = 1 + (len(self.controls) or self.count)
        return Cost(pictures=names * len(self._contexts()) * len(self.seeds))

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
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
        """Those of the field `classifiers`, or else all of the study's.

        None leaves the choice to `familiarity`, for models that it has a default for: classifiers
        of their own, or a prior's embedding.
        """
        model = context.model
        has_default = model.profile.classifiers or model.conditioning_site.startswith("prior/")
        if not self.classifiers and has_default:
            return None
        return [context.classifier(name) for name in self.classifiers or context.classifiers]

    def _contexts(self) -> tuple[str, ...]:
        from clerestory.recognition import CONTEXTS

        return self.contexts or tuple(CONTEXTS)

    def _claim(self, result: FamiliarityResult) -> Claim:
        # Between the two thresholds the claim is undecided, whichever is expected.
        supported = None if result.verdict == "undecided" else result.verdict == self.expected
        text = (
            f"“{self.phrase}” is {result.verdict} to the model: its pictures lie "
            f"{result.distance:.2f} times as far from those of {len(result.controls.names)} "
            f"invented names as the median one's do (p {result.p:.2g})."
        )
        criterion = "p at most .01" if self.expected == "familiar" else "p above .1"
        return Claim(self.expected, text, to_status(supported), criterion, result.distance)

    def _pictures(self, result: FamiliarityResult, folder: Path) -> PictureRows:
        """A row for each name, a column for each context, with the first seed."""
        rows = {name: list(pictures) for name, pictures in result.pictures.items()}
        title = f"“{self.phrase}” and, below, invented names"
        return save_pictures(folder, title, rows, list(result.contexts))
