"""`[familiarity.NAME]`: does the model know a name, or fall back on the context?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from clerestory.studies.tasks.base import Cost, Task, TaskContext, tasks
from clerestory.studies.tasks.rendering import count_noun, save_chart, save_pictures
from clerestory.studies.tasks.results import Claim, PictureRows, TaskResult, to_status

if TYPE_CHECKING:
    from clerestory.recognition import FamiliarityResult

__all__ = ["FamiliarityTask"]

POWER = 0.7
"""Lower limit of the share of known names that the test must tell, for a claim that a name is
unfamiliar: 14 of 14 have .75 (Wilson)."""


@tasks.register("familiarity")
class FamiliarityTask(Task):
    """`familiarity` of a phrase beside invented ones. `expected` is what the study claims of it.

    "Not shown" is not "shown not": that a name is unfamiliar is supported only where the same test
    tells most of the names that the model knows.
    """

    resumable = True

    phrase: str
    expected: Literal["familiar", "unfamiliar"] = "familiar"
    contexts: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    classifiers: tuple[str, ...] = ()
    count: int = 199
    seeds_per_item: int = Field(default=2, ge=1)
    seeds: tuple[int, ...] = ()

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        return tuple((name, "") for name in self.classifiers)

    def uses_classifier(self, name: str) -> bool:
        # Without a list of its own it may take any classifier of the study.
        return not self.classifiers or name in self.classifiers

    def method(self) -> str:
        contexts = count_noun(len(self._contexts()), "context")
        seeds = count_noun(self._seed_count(), "seed")
        return (
            f"“{self.phrase}” was drawn beside {len(self.controls) or self.count} invented names "
            f"of its form in {contexts}, {seeds}; the "
            "distance of its pictures is compared with that of each of theirs."
        )

    def cost(self, context: TaskContext) -> Cost:
        names = 1 + (len(self.controls) or self.count)
        return Cost(pictures=names * len(self._contexts()) * self._seed_count())

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        from clerestory.recognition import familiarity

        result = familiarity(
            context.model,
            self.phrase,
            controls=self.controls or None,
            contexts=self._contexts(),
            classifiers=self._classifiers(context),
            count=self.count,
            seeds_per_item=self.seeds_per_item,
            seeds=self.seeds or None,
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
        # `familiarity` takes the profile's classifiers, or the prior's embedding, by itself.
        has_default = model.profile.classifiers or model.conditioning_site.startswith("prior/")
        if not self.classifiers and has_default:
            return None
        return [context.classifier(name) for name in self.classifiers or context.classifiers]

    def _seed_count(self) -> int:
        return len(self.seeds) or self.seeds_per_item

    def _contexts(self) -> tuple[str, ...]:
        from clerestory.recognition import CONTEXTS

        return self.contexts or tuple(CONTEXTS)

    def _claim(self, result: FamiliarityResult) -> Claim:
        from clerestory.recognition.results import NOT_SHOWN

        is_familiar = result.verdict == "familiar"
        text = (
            f"“{self.phrase}” is {result.verdict}: its pictures lie {result.distance:.2f} times as "
            f"far from those of {len(result.controls.names)} invented names as the median one's do "
            f"(p {result.p:.2g}). Of these names, {result.matched_text}; {result.power_text}."
        )
        if self.expected == "familiar":
            # A name that the test does not tell may still be known.
            supported = True if is_familiar else None
            return Claim("familiar", text, to_status(supported), "p at most .01", result.distance)
        # Only a test that would have told it says that it does not look like a known name.
        is_powerful = result.power is not None and result.power.interval[0] >= POWER
        if is_familiar:
            # A known name was told from invented ones: the claim of the contrary is refuted.
            supported = False
        else:
            supported = True if result.verdict == NOT_SHOWN and is_powerful else None
        criterion = f"p above .1, where the test tells at least {POWER:.0%} of known names"
        return Claim("unfamiliar", text, to_status(supported), criterion, result.distance)

    def _pictures(self, result: FamiliarityResult, folder: Path) -> PictureRows:
        """A row for each name, a column for each context, with the first seed."""
        rows = {name: list(pictures) for name, pictures in result.pictures.items()}
        title = f"“{self.phrase}” and, below, invented names"
        return save_pictures(folder, title, rows, list(result.contexts))
