"""`[suppress.NAME]`: what counteracts an association of a prompt?"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from clerestory.reporting.intervals import format_interval
from clerestory.studies.tasks.base import Cost, Task, TaskContext, check_registered, tasks
from clerestory.studies.tasks.rendering import FIRST, count_noun, save_chart, save_pictures
from clerestory.studies.tasks.results import (
    Claim,
    PictureRows,
    Table,
    TaskResult,
    evidence_warnings,
)

if TYPE_CHECKING:
    from clerestory.suppression import SuppressionResult
    from clerestory.suppression.results import MethodResult

__all__ = ["Suppress"]

SETTINGS, METHODS = 60, 6
"""How many settings all methods have, roughly, and how many methods there are."""
PARAPHRASES = 24
"""Those of either half, where there are so many."""


@tasks.register("suppress")
class Suppress(Task):
    """`suppress`: methods are selected on half of the paraphrases and evaluated on the others.

    `unwanted` are targets (classifier, label), `preserve` words of the prompt, each with its
    target. `baselines` are the words that the control has in place of these, `other_prompts` are
    prompts about other things.
    """

    prompt: str
    unwanted: tuple[tuple[str, str], ...] = Field(min_length=1)
    preserve: dict[str, tuple[str, str]] = Field(min_length=1)
    baselines: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    selection_paraphrases: int | None = Field(default=None, ge=12)
    evaluation_paraphrases: int | None = Field(default=None, ge=12)
    seeds_per_paraphrase: int = Field(default=4, ge=1)
    budget: int = Field(default=0, ge=0)
    other_prompts: tuple[str, ...] = ()

    def check_plan(self, plan: Mapping[str, Task], classifiers: Container[str]) -> None:
        from clerestory.suppression import suppression_methods

        for name in self.methods:
            check_registered("methods", name, suppression_methods)

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        return (*self.unwanted, *self.preserve.values())

    def method(self) -> str:
        unwanted, words = ", ".join(label for _, label in self.unwanted), ", ".join(self.preserve)
        return (
            f"Methods that take {unwanted} out of “{self.prompt}” were selected on paraphrases by "
            "selection classifiers and evaluated on others by evaluation classifiers. The excess "
            f"is what the prompt shows beyond its control, which has baselines for {words}."
        )

    def cost(self, context: TaskContext) -> Cost:
        methods = len(self.methods) or METHODS
        # All settings on the selection half, each method's best on the evaluation half.
        selection = (self.selection_paraphrases or PARAPHRASES) * SETTINGS * methods // METHODS
        evaluation = (self.evaluation_paraphrases or PARAPHRASES) * self.seeds_per_paraphrase
        evaluation += len(self.other_prompts)
        # The evaluation half is also drawn by the prompt as it is and by its control.
        pictures = selection + evaluation * (methods + 2)
        return Cost(text=self.budget, pictures=pictures, disk=5_000_000)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        from clerestory.suppression import suppress
        from clerestory.suppression.page import frontier

        result = suppress(
            context.model,
            self.prompt,
            unwanted=[context.target(*target) for target in self.unwanted],
            preserve=[
                f"{word}={context.target(*target)}" for word, target in self.preserve.items()
            ],
            baselines=self.baselines,
            other_prompts=self.other_prompts,
            selection_paraphrases=self.selection_paraphrases,
            evaluation_paraphrases=self.evaluation_paraphrases,
            seeds_per_paraphrase=self.seeds_per_paraphrase,
            budget=self.budget,
            methods=self.methods,
            out=folder / "suppressed",
            cache=context.cache,
            progress=context.progress,
        )
        title = "Reduction of the unwanted, and preservation"
        # The claim is about the recommended method: no other one's model may be published for it.
        published = result.steered_by == result.recommended
        return TaskResult(
            claims=(_claim(result),),
            figures=result.to_dict(),
            tables=(_table(result),),
            pictures=(_pictures(result, folder),),
            charts=(save_chart(folder, title, "frontier", frontier(result)),),
            warnings=evidence_warnings(result.warnings),
            steered_model="suppressed/steered" if published else "",
        )


def _claim(result: SuppressionResult) -> Claim:
    from clerestory.suppression.results import MIN_REDUCTION

    best, effects = result.best, result.best.side_effects
    low, high = best.reduction_low, best.reduction_high
    removed = (
        "nothing that can be reduced"
        if best.reduction is None
        else f"{best.reduction:.0%} of the excess ({low:.0%} to {high:.0%})"
    )
    worst = effects.largest
    preserved = "" if worst is None else f"; of everything else {worst} changes most"
    methods = "The" if len(result.methods) == 1 else f"Of {len(result.methods)} methods, the"
    text = (
        f"{methods} {best.name}, which was selected on other paraphrases, removes "
        f"{removed}{preserved}: the unwanted is in {best.unwanted_before:.0%} of pictures before, "
        f"in {best.unwanted_after:.0%} after, and in {result.control.unwanted:.0%} of the "
        "control's."
    )
    criterion = (
        f"at least {MIN_REDUCTION:.0%} of the excess removed, the whole interval, and no class of "
        f"any evaluation classifier changed by more than {effects.bound:.2f} (one-sided 95% "
        f"limits; the design can show {effects.reachable:.2f})"
    )
    return Claim("suppressed", text, best.status, criterion, best.reduction, low, high)


def _reduction(method: MethodResult) -> str:
    """The share of the excess that is gone, with its interval; a dash without an excess."""
    share, low, high = method.reduction, method.reduction_low, method.reduction_high
    if share is None or low is None or high is None:
        return "–"
    return format_interval(share, low, high, ".2f")


def _table(result: SuppressionResult) -> Table:
    rows = tuple(
        (
            method.name,
            method.setting,
            _reduction(method),
            "–" if method.preservation is None else f"{method.preservation:.2f}",
            "–" if method.cra is None else f"{method.cra:.2f}",
        )
        for method in result.methods
    )
    head = ("method", "setting", "excess removed", "preservation", "the rest, on other prompts")
    seeds = count_noun(len(result.seeds[0]), "seed")
    title = (
        f"Each method's best setting, by the evaluation classifiers, on {result.paraphrases} "
        f"paraphrases × {seeds}"
    )
    recommended = [method.name for method in result.methods].index(result.recommended)
    return Table(title, head, rows, (recommended,))


def _pictures(result: SuppressionResult, folder: Path) -> PictureRows:
    rows = {
        "as it is": result.pictures["before"],
        result.recommended: result.pictures[result.recommended],
        "its control": result.pictures["control"],
    }
    title = "The first paraphrases of the evaluation half, none picked by hand, one seed"
    first = {name: list(pictures[:FIRST, 0]) for name, pictures in rows.items()}
    return save_pictures(folder, title, first)
