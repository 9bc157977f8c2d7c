"""`[build.NAME]`: a steered model from findings, evaluated beside words and shuffled directions."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from clerestory.recordings.template import Template
from clerestory.studies.tasks.base import (
    Claim,
    Cost,
    PictureRows,
    Table,
    Task,
    TaskContext,
    TaskResult,
    count_noun,
    format_interval,
    save_chart,
    save_pictures,
    task_keys,
    tasks,
    to_status,
)
from clerestory.studies.tasks.verify import findings_of

if TYPE_CHECKING:
    from clerestory.steering import BuildResult

__all__ = ["Build"]

MAX_HARD_NEGATIVE = 0.05
"""How much more often the hard negative may be drawn."""
SETTINGS = 32
"""Settings that are compared, roughly: a few sites and steps, seven strengths of each."""
PICTURES_A_DIRECTION, SHOWN = 8, 8
CONDITIONS = {
    "unedited": "as it is",
    "edited": "with the direction added",
    "words": "saying the words instead",
}


@tasks.register("build")
class Build(Task):
    """`steer build`: settings are selected on some items and evaluated on others.

    `template` says the concept in words, for comparison. Random fills of `items` are drawn; for the
    selection those of `selection_items`, if given. `hard_negative` is a classifier and the label
    that should not be drawn more often; `preserved` are classifiers whose labels should not
    change, in at least `min_preserved` of pictures. With `beats_words` the concept has to be drawn
    more often than by saying the words. `strengths` and `sites` limit the settings.
    """

    find: str
    classifier: str
    label: str
    template: str
    items: Template
    selection_items: Template | None = None
    hard_negative: tuple[str, str] | None = None
    preserved: tuple[str, ...] = ()
    min_preserved: float | None = None
    sites: tuple[str, ...] = ()
    strengths: tuple[float, ...] = ()
    selection: int = Field(default=24, ge=4)
    evaluation: int = Field(default=48, ge=4)
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    shuffled: int = Field(default=20, ge=0)
    beats_words: bool = False

    def needs(self) -> tuple[str, ...]:
        """Its findings."""
        return task_keys("find", self.find)

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        """The concept, its hard negative, and what should not change."""
        hard = (self.hard_negative,) if self.hard_negative else ()
        return ((self.classifier, self.label), *hard, *((name, "") for name in self.preserved))

    def problem(self, plan: Mapping[str, Task], classifiers: Container[str]) -> str:
        """Which template has too few items.

        Args:
            plan: All tasks of the study, by key.
            classifiers: The study's names of classifiers.

        Returns:
            What is wrong, without a full stop; "" where everything fits.
        """
        from clerestory.errors import TableError

        try:
            self.split_items()
        except TableError as error:
            return f"items: {error}".rstrip(".")
        return ""

    def method(self) -> str:
        """What selects and what evaluates, on what."""
        seeds = count_noun(len(self.seeds), "seed")
        return (
            f"Site, strength and steps were selected on {self.selection} items by one set of "
            f"classifiers, and evaluated on {self.evaluation} others, {seeds} each, by another set "
            f"beside saying the words (“{self.template}”) and {self.shuffled} shuffled directions. "
            "Preserved: a classifier predicts the same for the edited picture as for the unedited "
            "one of the same seed."
        )

    def cost(self, context: TaskContext, plan: Mapping[str, Task]) -> Cost:
        """The settings on the selection items, and the evaluation beside its baselines.

        Args:
            context: The model, folders and classifiers.
            plan: All tasks of the study, by key.

        Returns:
            The cost.
        """
        settings = len(self.strengths) * max(len(self.sites), 1) or SETTINGS
        evaluated = self.evaluation * len(self.seeds) * 3 + self.shuffled * PICTURES_A_DIRECTION
        return Cost(pictures=self.selection * (settings + 2) + evaluated, disk=5_000_000)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        """Build, and save the steered model in `steered`.

        Args:
            context: The model, folders and classifiers.
            folder: The task's own folder, which exists.

        Returns:
            Claims, figures, and what the report shows.
        """
        from clerestory.steering import steer

        hard = None
        if self.hard_negative is not None:
            name, label = self.hard_negative
            hard = f"{context.classifier(name)}={context.label(name, label)}"
        label = context.label(self.classifier, self.label)
        selection, evaluation = self.split_items()
        result = steer(
            context.model,
            findings_of(context, self.find, "", ""),
            f"{context.classifier(self.classifier)}={label}",
            self.template,
            hard_negative=hard,
            preserve=tuple(map(context.classifier, self.preserved)),
            min_preservation=self.min_preserved,
            sites=self.sites,
            strengths=self.strengths,
            items=[*selection, *evaluation],
            selection_items=len(selection),
            evaluation_items=len(evaluation),
            seeds=self.seeds,
            baselines=self.shuffled,
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
            warnings=result.calibration.warnings,
            steered_model="steered",
        )

    def split_items(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Items for the selection and for the evaluation; TableError where there are too few."""
        if self.selection_items is not None:
            selection = _fills(self.selection_items, self.selection)
            return selection, _fills(self.items, self.evaluation)
        # One draw for both, cut in two: no item both selects and evaluates.
        both = _fills(self.items, self.selection + self.evaluation)
        return both[: self.selection], both[self.selection :]

    def _claims(self, figures: Mapping[str, Any]) -> list[Claim]:
        low, high = figures["target_interval"]
        baselines = figures["baselines"]
        rate, words = figures["target_rate"], baselines["words"]["target_rate"]
        # Saying the words is compared only if the study claims to beat it.
        others = ["unedited", "shuffled", *(["words"] if self.beats_words else [])]
        # Upper limits: the rate has to lie above all that the others may be.
        rest = {one: baselines[one]["target_interval"][1] for one in others if one in baselines}
        kept = _preservation(figures)
        text = (
            f"With one vector added at {figures['selected']['site']} the model draws {self.label} "
            f"in {rate:.1%} of pictures whose prompts do not say it ({low:.1%} to {high:.1%}); "
            f"saying the words does in {words:.1%}.{kept}"
        )
        most = max(rest.values())
        criterion = f"the interval above those of {', '.join(rest)} (at most {most:.1%})"
        claims = [Claim("drawn", text, to_status(low > most), criterion, rate, low, high)]
        if figures["hard_negative_effect"] is not None and self.hard_negative is not None:
            claims.append(self._hard_negative_claim(figures, drawn=low > most))
        return claims

    def _hard_negative_claim(self, figures: Mapping[str, Any], *, drawn: bool) -> Claim:
        """Where the concept is not drawn, a low rate of the hard negative is no success."""
        assert self.hard_negative is not None
        added, words = (
            figures["hard_negative_effect"],
            figures["baselines"]["words"]["hard_negative_effect"],
        )
        low, high = figures["hard_negative_interval"]
        said = "" if words is None else f"; saying the words does by {words:+.3f}"
        often = format_interval(added, low, high, "+.3f")
        name, label = self.hard_negative
        text = f"It changes how often {name} is {label} by {often}{said}."
        criterion = (
            f"a figure of at most {MAX_HARD_NEGATIVE:+.2f}, whatever its interval, where "
            f"{self.label} is drawn"
        )
        status = to_status(drawn and added <= MAX_HARD_NEGATIVE)
        return Claim("hard negative", text, status, criterion, added, low, high)


def _preservation(figures: Mapping[str, Any]) -> str:
    """What is preserved, and what least, beside what saying the words preserves."""
    kept, words = figures["preservation"], figures["baselines"]["words"]["preservation"]
    if not kept or figures["mean_preservation"] is None:
        return ""
    least = min(kept, key=lambda name: kept[name])
    return (
        f" It preserves {figures['mean_preservation']:.0%} of the rest on average, "
        f"{least.rpartition(':')[2]} least ({kept[least]:.0%}; saying the words "
        f"{words[least]:.0%})."
    )


def _fills(template: Template, count: int) -> tuple[str, ...]:
    """So many different prompts of a template, in random order; TableError where it has fewer."""
    import numpy as np

    from clerestory.errors import TableError

    every = template.table()["prompt"].drop_duplicates().to_numpy()
    if len(every) < count:
        raise TableError(
            f"build takes {count} items, and the template has {len(every)}: give more, or ask "
            "for fewer."
        )
    # Always the same prompts: a study has to be repeatable.
    return tuple(map(str, np.random.default_rng(0).permutation(every)[:count]))


def _pictures(result: BuildResult, folder: Path) -> PictureRows:
    """The first evaluation items, with the first seed."""
    rows = {says: list(result.pictures[name][:SHOWN, 0]) for name, says in CONDITIONS.items()}
    title = "The first evaluation items, none picked by hand, one seed"
    return save_pictures(folder, title, rows, result.calibration.evaluation_items[:SHOWN])


def _table(figures: Mapping[str, Any]) -> Table:
    rows = []
    for name, one in {"edited": figures, **figures["baselines"]}.items():
        low, high = one["target_interval"]
        kept = "–" if one.get("mean_preservation") is None else f"{one['mean_preservation']:.0%}"
        decoy = (
            "–"
            if one.get("hard_negative_effect") is None
            else f"{one['hard_negative_effect']:+.3f}"
        )
        said = CONDITIONS.get(name, f"{name} directions")
        rows.append((said, f"{one['target_rate']:.1%} ({low:.1%} to {high:.1%})", kept, decoy))
    head = ("condition", "concept drawn", "rest preserved, mean", "hard negative added")
    seeds = count_noun(figures["seeds"], "seed")
    title = f"What is drawn, on {figures['items']} items × {seeds}"
    return Table(title, head, tuple(rows), (0,))
