"""`[build.NAME]`: a steered model from findings, evaluated beside words and baselines."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from clerestory.errors import TableError
from clerestory.recordings.template import Template
from clerestory.reporting.intervals import format_interval
from clerestory.studies.tasks.base import Cost, Task, TaskContext, tasks
from clerestory.studies.tasks.findings import load_findings
from clerestory.studies.tasks.rendering import FIRST, count_noun, save_chart, save_pictures
from clerestory.studies.tasks.results import (
    Claim,
    PictureRows,
    Table,
    TaskResult,
    evidence_warnings,
    interval_status,
    overall_status,
)
from clerestory.types import ClaimStatus

if TYPE_CHECKING:
    from clerestory.steering import BuildResult

__all__ = ["Build"]

MAX_HARD_NEGATIVE = 0.05
"""How much more often the hard negative may be drawn."""
MAX_HARD_NEGATIVE_LIMIT = 0.2
"""The same for the upper limit; a limit of .05 would take over 70 items without any."""
SETTINGS = 32
"""Settings that are compared, roughly: a few sites and steps, seven strengths of each."""
PICTURES_PER_BASELINE = 12
DRAWN = 3
"""Conditions that all evaluation items are drawn in: unedited, edited, and by the words."""
FIRST_CHANGES = 3
"""Side effects that a claim names."""
CONDITIONS = {
    "unedited": "as it is",
    "edited": "with the direction added",
    "words": "saying the words instead",
    "baseline": "edits of the same length without the concept, mean",
}
"""Captions of what is drawn."""


@tasks.register("build")
class Build(Task):
    """`steer`: settings are selected on some items and evaluated on others.

    `template` says the concept in words, for comparison. `selection_items` and `evaluation_items`
    random fills of `items` are drawn; for the selection those of `selection_pool`, if given.
    `hard_negative` is a classifier and the label that should not be drawn more often; `preserved`
    are classifiers whose labels should not change, in at least `min_preserved` of pictures. With
    `beats_words` the concept has to be drawn more often than by saying the words. `strengths` and
    `sites` limit the settings, `baselines` is how many edits of the same length without the concept
    are drawn. Items have `seeds_per_item` seeds of their own. Supported is what changes the rate by
    more than `smallest_effect`, and no other class by more than `bound`.
    """

    find: str
    classifier: str
    label: str
    template: str
    items: Template
    selection_pool: Template | None = None
    hard_negative: tuple[str, str] | None = None
    preserved: tuple[str, ...] = ()
    min_preserved: float | None = None
    sites: tuple[str, ...] = ()
    strengths: tuple[float, ...] = ()
    selection_items: int = Field(default=24, ge=4)
    evaluation_items: int = Field(default=48, ge=4)
    seeds_per_item: int = Field(default=2, ge=1)
    baselines: int = Field(default=99, ge=0)
    smallest_effect: float = Field(default=0.2, ge=0, lt=1)
    bound: float = Field(default=0.2, gt=0, lt=1)
    beats_words: bool = False

    def needs(self) -> tuple[str, ...]:
        return (f"find.{self.find}",)

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        hard = (self.hard_negative,) if self.hard_negative else ()
        return ((self.classifier, self.label), *hard, *((name, "") for name in self.preserved))

    def check_plan(self, plan: Mapping[str, Task], classifiers: Container[str]) -> None:
        # Drawn once already to see whether the templates have enough items.
        self.split_items()

    def method(self) -> str:
        seeds = count_noun(self.seeds_per_item, "new seed")
        return (
            f"Site, strength and steps were selected on {self.selection_items} items by one set of "
            f"classifiers, and evaluated on {self.evaluation_items} others, {seeds} each, by "
            f"another set beside saying the words (“{self.template}”) and {self.baselines} "
            "edits of the same length without the concept. Preserved: a classifier predicts the "
            "same for the edited picture as for the unedited one of the same seed."
        )

    def cost(self, context: TaskContext) -> Cost:
        # 0 where no strength is given: `steer` then chooses its own.
        settings = len(self.strengths) * max(len(self.sites), 1) or SETTINGS
        # Each setting, the unedited model, and the words.
        selection = self.selection_items * (settings + 2)
        evaluation = self.evaluation_items * self.seeds_per_item * DRAWN
        baselines = self.baselines * PICTURES_PER_BASELINE
        return Cost(pictures=selection + evaluation + baselines, disk=5_000_000)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        from clerestory.steering import steer

        selection, evaluation = self.split_items()
        result = steer(
            context.model,
            load_findings(context, self.find),
            context.target(self.classifier, self.label),
            self.template,
            hard_negative=context.target(*self.hard_negative) if self.hard_negative else None,
            preserve=tuple(map(context.classifier, self.preserved)),
            min_preservation=self.min_preserved,
            sites=tuple(map(context.address, self.sites)),
            strengths=self.strengths,
            items=[*selection, *evaluation],
            selection_items=len(selection),
            evaluation_items=len(evaluation),
            seeds_per_item=self.seeds_per_item,
            baselines=self.baselines,
            smallest_effect=self.smallest_effect,
            bound=self.bound,
            cache=context.cache,
            progress=context.progress,
        )
        result.save(folder / "steered")
        figures = result.steered.calibration
        return TaskResult(
            claims=tuple(self._claims(figures)),
            figures=figures,
            tables=(_table(figures),),
            pictures=(_pictures(result, folder),),
            charts=(save_chart(folder, "What was tried", "frontier", result.plot()),),
            warnings=evidence_warnings(result.calibration.warnings),
            steered_model="steered",
        )

    def split_items(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Draw the items.

        Returns:
            Items for the selection, and others for the evaluation.

        Raises:
            TableError: A template has too few.
        """
        if self.selection_pool is not None:
            selection = _sample_items("selection_pool", self.selection_pool, self.selection_items)
            return selection, _sample_items("items", self.items, self.evaluation_items)
        # One draw for both, cut in two: no item both selects and evaluates.
        count = self.selection_items + self.evaluation_items
        items = _sample_items("items", self.items, count)
        return items[: self.selection_items], items[self.selection_items :]

    def _claims(self, figures: Mapping[str, Any]) -> list[Claim]:
        claim = self._target_claim(figures)
        if figures["hard_negative_effect"] is None or self.hard_negative is None:
            return [claim]
        # Whether it is drawn at all: what else changes does not matter here.
        concept_rises = figures["effect"]["low"] > self.smallest_effect
        return [
            claim,
            self._hard_negative_claim(figures, *self.hard_negative, concept_rises=concept_rises),
        ]

    def _target_claim(self, figures: Mapping[str, Any]) -> Claim:
        low, high = figures["target_interval"]
        baselines, rate = figures["baselines"], figures["target_rate"]
        criterion = (
            f"the rate raised by more than {self.smallest_effect:.2f} (lower limit), p ≤ 0.05 "
            f"against edits without the concept, no other class changed by more than "
            f"{self.bound:.2f}"
        )
        statuses: list[ClaimStatus] = [figures["status"]]
        # Saying the words is compared only if the study claims to beat it.
        if self.beats_words:
            words_low, words_high = baselines["words"]["target_interval"]
            statuses.append(interval_status(low, high, words_high, words_low))
            criterion += f", and the interval above that of the words (at most {words_high:.1%})"
        text = (
            f"With one vector added at {figures['selected']['site']} the model draws {self.label} "
            f"in {rate:.1%} of pictures whose prompts do not say it ({low:.1%} to {high:.1%}); "
            f"saying the words does in {baselines['words']['target_rate']:.1%}."
            f"{_baseline_note(figures)}{_side_effect_note(figures)}{_preservation_note(figures)}"
        )
        return Claim("drawn", text, overall_status(statuses), criterion, rate, low, high)

    def _hard_negative_claim(
        self, figures: Mapping[str, Any], classifier: str, label: str, *, concept_rises: bool
    ) -> Claim:
        added, (low, high) = figures["hard_negative_effect"], figures["hard_negative_interval"]
        words = figures["baselines"]["words"]["hard_negative_effect"]
        by_words = "" if words is None else f"; saying the words does by {words:+.3f}"
        interval = format_interval(added, low, high, "+z.3f")
        criterion = (
            f"at most {MAX_HARD_NEGATIVE:+.2f}, its upper limit at most "
            f"{MAX_HARD_NEGATIVE_LIMIT:+.2f}, where {self.label} is drawn"
        )
        within = added <= MAX_HARD_NEGATIVE and high <= MAX_HARD_NEGATIVE_LIMIT
        status: ClaimStatus = "undecided"
        if low > MAX_HARD_NEGATIVE:
            status = "not supported"
        # Where the concept is not drawn, a low rate of the hard negative is no success.
        elif concept_rises and within:
            status = "supported"
        text = f"It changes how often {classifier} is {label} by {interval}{by_words}."
        return Claim("hard negative", text, status, criterion, added, low, high)


def _baseline_note(figures: Mapping[str, Any]) -> str:
    compared = figures["baseline_effects"]
    if compared is None:
        return ""
    return (
        f" {compared['directions']} edits without the concept change the rate by at most "
        f"{compared['high']:+.2f} (p {compared['p']:.2g})."
    )


def _side_effect_note(figures: Mapping[str, Any]) -> str:
    """The classes that change as well, or how far all are within their bound."""
    together = figures["together_with"]
    if together:
        more = f" and {len(together) - FIRST_CHANGES} more" if len(together) > FIRST_CHANGES else ""
        return f" It changes as well {', '.join(together[:FIRST_CHANGES])}{more}."
    limits = [change["limit"] for change in figures["side_effects"]["changes"]]
    if not limits:
        return " Nothing measures what else it changes."
    return f" No other class changes by more than {max(limits):.2f} (upper limits)."


def _preservation_note(figures: Mapping[str, Any]) -> str:
    """What is preserved, and what least, beside what saying the words preserves."""
    shares, words = figures["preservation"], figures["baselines"]["words"]["preservation"]
    if not shares or figures["mean_preservation"] is None:
        return ""
    least = min(shares, key=lambda name: shares[name])
    return (
        f" It preserves {figures['mean_preservation']:.0%} of the rest on average, "
        f"{least.rpartition(':')[2]} least ({shares[least]:.0%}; saying the words "
        f"{words[least]:.0%})."
    )


def _sample_items(field: str, template: Template, count: int) -> tuple[str, ...]:
    """Different prompts of a template in random order; TableError where it has fewer."""
    import numpy as np

    items = template.table()["prompt"].drop_duplicates().to_numpy()
    if len(items) < count:
        raise TableError(
            f"{field}: build takes {count} items, and the template has {len(items)}: give more, or "
            "ask for fewer."
        )
    # A fixed seed: a study has to be repeatable.
    return tuple(map(str, np.random.default_rng(0).permutation(items)[:count]))


def _pictures(result: BuildResult, folder: Path) -> PictureRows:
    """The first evaluation items, with the first seed."""
    rows = {
        caption: list(result.pictures[condition][:FIRST, 0])
        for condition, caption in CONDITIONS.items()
        # Of the baselines no pictures are kept.
        if condition in result.pictures
    }
    title = "The first evaluation items, none picked by hand, one seed"
    return save_pictures(folder, title, rows, result.calibration.evaluation_items[:FIRST])


def _table(figures: Mapping[str, Any]) -> Table:
    rows = []
    for name, condition in {"edited": figures, **figures["baselines"]}.items():
        low, high = condition["target_interval"]
        preserved, hard = condition.get("mean_preservation"), condition.get("hard_negative_effect")
        rows.append(
            (
                CONDITIONS.get(name, name),
                f"{condition['target_rate']:.1%} ({low:.1%} to {high:.1%})",
                "–" if preserved is None else f"{preserved:.0%}",
                "–" if hard is None else f"{hard:+.3f}",
            )
        )
    head = ("condition", "concept drawn", "rest preserved, mean", "hard negative added")
    seeds = count_noun(figures["seeds"], "seed")
    title = f"What is drawn, on {figures['items']} items × {seeds}"
    return Table(title, head, tuple(rows), (0,))
