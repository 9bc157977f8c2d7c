"""`[suppress.NAME]`: what counteracts something that a prompt brings along unasked?"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from clerestory.registry import suggest
from clerestory.studies.tasks.base import (
    Claim,
    Cost,
    PictureRows,
    Table,
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
    from clerestory.suppression import SuppressionResult

__all__ = ["Suppress"]

SETTINGS, METHODS = 60, 6
"""How many settings all methods have, roughly, and how many methods there are."""
PARAPHRASES = 24
"""Those of either half, where there are so many."""
SHOWN = 8


@tasks.register("suppress")
class Suppress(Task):
    """`suppress`: methods are selected on half of the paraphrases and evaluated on the others.

    `unwanted` are targets (classifier, class), `preserve` words of the prompt, each with its
    target. `baselines` are the control's words in their place, `other_prompts` prompts of other
    things.
    """

    prompt: str
    unwanted: tuple[tuple[str, str], ...] = Field(min_length=1)
    preserve: dict[str, tuple[str, str]] = Field(min_length=1)
    baselines: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    selection_paraphrases: int | None = Field(default=None, ge=10)
    evaluation_paraphrases: int | None = Field(default=None, ge=10)
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    budget: int = Field(default=0, ge=0)
    other_prompts: tuple[str, ...] = ()

    def problem(self, plan: Mapping[str, Task], classifiers: Container[str]) -> str:
        """A method that there is not.

        Args:
            plan: All tasks of the study, by key.
            classifiers: The study's names of classifiers.

        Returns:
            What is wrong, without a full stop; "" where everything fits.
        """
        from clerestory.suppression import suppression_methods

        known = suppression_methods
        for name in self.methods:
            if name not in known:
                # `suggest` ends with a full stop, which the caller adds.
                return f"methods: no method is called {name!r}.{suggest(name, known)}"[:-1]
        return ""

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        """Who looks, and at what."""
        return (*self.unwanted, *self.preserve.values())

    def method(self) -> str:
        """Who chose what, on what."""
        unwanted, words = ", ".join(label for _, label in self.unwanted), ", ".join(self.preserve)
        return (
            f"Methods that take {unwanted} out of “{self.prompt}” were selected on paraphrases by "
            "selection classifiers and evaluated on others by evaluation classifiers. The excess "
            f"is what the prompt shows beyond its control, which has baselines for {words}."
        )

    def cost(self, context: TaskContext, plan: Mapping[str, Task]) -> Cost:
        """All settings on the selection half, and each method's best on the evaluation half.

        Args:
            context: The model, folders and classifiers.
            plan: All tasks of the study, by key.

        Returns:
            The cost.
        """
        count = len(self.methods) or METHODS
        selection = (self.selection_paraphrases or PARAPHRASES) * SETTINGS * count // METHODS
        each = (self.evaluation_paraphrases or PARAPHRASES) * len(self.seeds)
        each += len(self.other_prompts)
        return Cost(self.budget, pictures=selection + each * (count + 2), disk=5_000_000)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        """Compare; the page and the steered model are in `suppressed`.

        Args:
            context: The model, folders and classifiers.
            folder: The task's own folder, which exists.

        Returns:
            Claims, figures, and what the report shows.
        """
        from clerestory.suppression import suppress
        from clerestory.suppression.page import frontier

        result = suppress(
            context.model,
            self.prompt,
            unwanted=[context.target(*one) for one in self.unwanted],
            preserve=[f"{word}={context.target(*one)}" for word, one in self.preserve.items()],
            baselines=self.baselines,
            other_prompts=self.other_prompts,
            selection_paraphrases=self.selection_paraphrases,
            evaluation_paraphrases=self.evaluation_paraphrases,
            seeds=self.seeds,
            budget=self.budget,
            methods=self.methods,
            out=folder / "suppressed",
            cache=context.cache,
            progress=context.progress,
        )
        title = "Reduction of the unwanted, and preservation"
        return TaskResult(
            claims=(_claim(result),),
            figures=result.to_dict(),
            tables=(_table(result),),
            pictures=(_pictures(result, folder),),
            charts=(save_chart(folder, title, "frontier", frontier(result)),),
            warnings=result.warnings,
            # The claim is about the recommended method: no other one's model may be published for
            # it.
            steered_model="suppressed/steered" if result.steered_by == result.recommended else "",
        )


def _claim(result: SuppressionResult) -> Claim:
    from clerestory.suppression.results import MIN_PRESERVATION, MIN_REDUCTION

    best = result.best
    reduced = best.reduction is not None and best.reduction >= MIN_REDUCTION
    supported = reduced and best.preservation is not None and best.preservation >= MIN_PRESERVATION
    removed = (
        "nothing that can be reduced"
        if best.reduction is None
        else f"{best.reduction:.0%} of the excess ({best.reduction_low:.0%} to "
        f"{best.reduction_high:.0%})"
    )
    preserved = "" if best.preservation is None else f" and preserves {best.preservation:.0%}"
    methods = "The" if len(result.methods) == 1 else f"Of {len(result.methods)} methods, the"
    text = (
        f"{methods} {best.name}, which was selected on other paraphrases, removes "
        f"{removed}{preserved}: the unwanted is in {best.unwanted_before:.0%} of pictures before, "
        f"in {best.unwanted_after:.0%} after, and in {result.control.unwanted:.0%} of the "
        "control's."
    )
    criterion = f"{MIN_REDUCTION:.0%} of the excess removed and {MIN_PRESERVATION:.0%} preserved"
    low, high = best.reduction_low, best.reduction_high
    status = to_status(supported)
    return Claim("suppressed", text, status, criterion, best.reduction, low, high)


def _table(result: SuppressionResult) -> Table:
    rows = []
    for method in result.methods:
        removed = (
            "–"
            if method.reduction is None
            else f"{method.reduction:.2f} ({method.reduction_low:.2f} to "
            f"{method.reduction_high:.2f})"
        )
        preserved = "–" if method.preservation is None else f"{method.preservation:.2f}"
        retained = "–" if method.cra is None else f"{method.cra:.2f}"
        rows.append((method.name, method.setting, removed, preserved, retained))
    head = ("method", "setting", "excess removed", "preservation", "the rest, on other prompts")
    seeds = count_noun(len(result.seeds), "seed")
    title = (
        f"Each method's best setting, by the evaluation classifiers, on {result.paraphrases} "
        f"paraphrases × {seeds}"
    )
    best = [method.name for method in result.methods].index(result.recommended)
    return Table(title, head, tuple(rows), (best,))


def _pictures(result: SuppressionResult, folder: Path) -> PictureRows:
    rows = {
        "as it is": result.pictures["before"],
        result.recommended: result.pictures[result.recommended],
        "its control": result.pictures["control"],
    }
    title = "The first paraphrases of the evaluation half, none picked by hand, one seed"
    return save_pictures(folder, title, {name: list(own[:SHOWN, 0]) for name, own in rows.items()})
