"""Draws conditions on a design, each sample once, and runs each classifier once per picture.

    evaluator = Evaluator(model)
    plain, words = evaluator.draw(
        [Condition("unedited"), Condition("words", "a stained glass of {item}")],
        Design.for_items(["a cat", "a ship"], seeds_per_item=2),
    )
    words.rate(load_classifier("lancet:style"), "stained glass")

Samples that were drawn before with the same model, prompt, seed, options and edits come from the
cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from clerestory.classifiers.base import Classifier, classify
from clerestory.errors import EvidenceError
from clerestory.evaluation.cache import (
    CacheOption,
    Entry,
    SampleCache,
    edit_digests,
    model_digest,
    sample_key,
)
from clerestory.evaluation.conditions import Condition, Design
from clerestory.evaluation.rates import Effect, Rate, effect_of, rate_of
from clerestory.models import Edit, Model, Run
from clerestory.models.core.addresses import parse
from clerestory.models.core.types import PerSample
from clerestory.types import Bools, Floats, Integers, Pictures, Progress

__all__ = ["Drawing", "Evaluator", "SiteReading"]

BATCH = 16
"""Default number of samples that go through the model together."""
PICTURE = "picture"
"""Name of the picture's cache entry, and of the one array in it."""


class SiteReading(NamedTuple):
    """Activations of a site in every cell of a design.

    Attributes:
        values: `[cell, step, unit]`, or `[cell, step, position, unit]` without pooling.
        steps: Index of each denoising step; `[0]` at sites outside the denoiser.
    """

    values: Floats
    steps: Integers


@dataclass(frozen=True, eq=False)
class Drawing:
    """What one condition draws on a design, with the predictions of classifiers.

    Attributes:
        condition: How it was drawn.
        design: The cells.
        pictures: `[cell, height, width, 3]`; empty if no pictures were requested.
        sites: Activations that were read, by the address of their site.
    """

    condition: Condition
    design: Design
    pictures: Pictures = field(repr=False)
    sites: Mapping[str, SiteReading] = field(default_factory=dict, repr=False)
    _probabilities: dict[int, tuple[Classifier, Floats]] = field(default_factory=dict, repr=False)

    @property
    def pictures_by_item(self) -> Pictures:
        """`[item, template × seed, height, width, 3]`."""
        return self.design.by_item(self.pictures)

    def probabilities(self, classifier: Classifier) -> Floats:
        """Probabilities of a classifier, computed at the first call.

        Args:
            classifier: The classifier.

        Returns:
            `[cell, class]`, 0 to 1.
        """
        # By id(), since classifiers need not be hashable. The classifier is stored as well: as long
        # as it lives, no other object has its id.
        key = id(classifier)
        if key not in self._probabilities:
            self._probabilities[key] = (classifier, classify(classifier, self.pictures))
        return self._probabilities[key][1]

    def predictions(self, classifier: Classifier) -> Integers:
        """The likeliest class in each cell.

        Args:
            classifier: The classifier.

        Returns:
            `[cell]`, indices into `classifier.classes`.
        """
        return np.asarray(self.probabilities(classifier).argmax(1))

    def hits(self, classifier: Classifier, label: str) -> Bools:
        """Whether a class is the likeliest in each cell.

        Args:
            classifier: The classifier.
            label: One of its classes.

        Returns:
            `[cell]`.

        Raises:
            ValueError: The classifier has no such class.
        """
        return np.asarray(self.predictions(classifier) == classifier.classes.index(label))

    def rate(self, classifier: Classifier, label: str) -> Rate:
        """The rate of cells in which a class is the likeliest.

        Args:
            classifier: The classifier.
            label: One of its classes.

        Returns:
            The rate, with an interval over items.

        Raises:
            ValueError: The classifier has no such class.
        """
        return rate_of(self.hits(classifier, label), self.design)

    def effect(self, reference: Drawing, classifier: Classifier, label: str) -> Effect:
        """The change of a class's rate from another drawing.

        Args:
            reference: A drawing of the same items, templates and seeds.
            classifier: The classifier.
            label: One of its classes.

        Returns:
            The rate of this drawing less that of the reference.

        Raises:
            ValueError: The classifier has no such class.
        """
        before = reference.hits(classifier, label)
        return effect_of(self.hits(classifier, label), before, self.design)

    def same_as(self, reference: Drawing, classifier: Classifier) -> Bools:
        """Whether a classifier predicts the same class in each cell as in another drawing.

        Args:
            reference: A drawing of the same design.
            classifier: The classifier.

        Returns:
            `[cell]`.
        """
        return np.asarray(self.predictions(classifier) == reference.predictions(classifier))

    def preservation(self, reference: Drawing, classifier: Classifier) -> Rate:
        """The rate of cells in which a classifier predicts the same class as in another drawing.

        Args:
            reference: A drawing of the same design.
            classifier: The classifier.

        Returns:
            The rate, with an interval over items.
        """
        return rate_of(self.same_as(reference, classifier), self.design)

    def distance(self, reference: Drawing) -> float:
        """Root mean square difference from the pictures of another drawing.

        Args:
            reference: A drawing of the same design.

        Returns:
            0 for equal pictures, 1 for black against white.
        """
        # Signed, since the difference of two uint8 would wrap around.
        difference = (self.pictures.astype(np.float32) - reference.pictures) / 255
        return float(np.sqrt((difference**2).mean()))

    def select(self, items: Sequence[int]) -> Drawing:
        """The part of the drawing with some of its items; computed predictions stay.

        Args:
            items: Indices of items, from 0.

        Returns:
            The drawing of these items, in the order of `items`.
        """
        # Rows of every array, so that nothing is classified again.
        cells = self.design.cells_of(items)
        return Drawing(
            self.condition,
            self.design.select(items),
            self.pictures[cells],
            {
                site: reading._replace(values=reading.values[cells])
                for site, reading in self.sites.items()
            },
            {
                key: (classifier, probabilities[cells])
                for key, (classifier, probabilities) in self._probabilities.items()
            },
        )


class Evaluator:
    """Draws conditions with a model, each sample once.

    Conditions with equal prompts and options go through the model together, so that everything
    before their first edit is computed once.

    Attributes:
        model: The model.
        cache: The cache of samples; None without caching.
        progress: Called with (label, completed samples, total samples).
        batch: Number of samples that go through the model together.
    """

    def __init__(
        self,
        model: Model,
        cache: CacheOption = True,
        *,
        progress: Progress | None = None,
        batch: int = BATCH,
    ) -> None:
        """Create an evaluator.

        Args:
            model: The model.
            cache: True for a cache that only this evaluator uses, a cache to share it, False for
                none.
            progress: Called with (label, completed samples, total samples).
            batch: Number of samples that go through the model together.
        """
        self.model = model
        # A cache of its own otherwise lives as long as the evaluator: one call.
        self.cache = SampleCache() if cache is True else cache or None
        self.progress = progress
        self.batch = batch

    def draw(
        self,
        conditions: Sequence[Condition],
        design: Design,
        *,
        read: Sequence[str] = (),
        pool: str = "mean",
        pictures: bool = True,
        cached: bool = True,
        description: str | None = "drawing",
    ) -> list[Drawing]:
        """Draw every cell of a design in every condition.

        Args:
            conditions: Conditions with distinct names.
            design: Items, templates and seeds.
            read: Addresses of sites to read, after edits.
            pool: How positions are pooled at these sites, as in `Model.run`.
            pictures: Whether to draw pictures; if False, the model stops after the last site that
                is read.
            cached: Whether to use the cache; False suits edits that no other call will make.
            description: Label of the progress; None reports no progress.

        Returns:
            A drawing for each condition, in their order.

        Raises:
            EvidenceError: A condition name occurs twice, or the design has no cell.
        """
        names = [condition.name for condition in conditions]
        for name in names:
            if names.count(name) > 1:
                raise EvidenceError(f"Condition names must be unique; {name!r} occurs repeatedly.")
        if not len(design):
            raise EvidenceError("There is no item to draw.")
        # Each site once: readings are found by address.
        request = _Request(list(dict.fromkeys(read)), pool, pictures)
        # Values without pooling grow with the prompt's length: too large to cache.
        cached = cached and self.cache is not None and pool != "none"
        # Computed anew in each call, since weights may have changed in between.
        digest = model_digest(self.model, self.batch) if cached else None
        by_condition = [
            self._look_up(condition, design, request, digest) for condition in conditions
        ]
        self._draw_missing(by_condition, description)
        return [cells.drawing() for cells in by_condition]

    def _look_up(
        self, condition: Condition, design: Design, request: _Request, digest: str | None
    ) -> _ConditionCells:
        """The cells of a condition, filled from the cache as far as it has them."""
        cells = _ConditionCells(condition, design, condition.prompts(design), request)
        edits = None if digest is None else edit_digests(condition.edits, len(design))
        if digest is None or edits is None or self.cache is None:
            return cells
        # With defaults filled in, so that a default that is written out is the same sample.
        options = self.model.options(**condition.options)
        cells.keys = [
            {
                part: sample_key(digest, prompt, seed, options, sample_edits, part)
                for part in request.parts
            }
            for prompt, seed, sample_edits in zip(
                cells.prompts, design.cell_seeds, edits, strict=True
            )
        ]
        for cell, keys in enumerate(cells.keys):
            entries = {part: self.cache.get(key) or {} for part, key in keys.items()}
            # If one part is missing, the cell is drawn again: one run gives all of its parts.
            if all(_is_valid(part, entry) for part, entry in entries.items()):
                cells.entries[cell] = entries
        missing = len(cells.missing)
        self.cache.count(hits=len(design) - missing, misses=missing)
        return cells

    def _draw_missing(
        self, by_condition: Sequence[_ConditionCells], description: str | None
    ) -> None:
        """Draw the cells that the cache lacks, conditions with equal prompts in one sweep."""
        # Progress counts what is drawn, not what the cache has: its rate
        # is then that of the model.
        total, completed = sum(len(cells.missing) for cells in by_condition), 0
        for group in _group_by_prompts(by_condition):
            # Prompts, seeds and options are the same in the whole group.
            shared = group[0]
            # Each batch is stored before the next, so that an interrupted run keeps its samples;
            # of a pool several, so that all of its workers have some.
            count = 1 if self.model.workers == 1 else 4 * self.model.workers
            for batch in _batches(shared.missing, count * self.batch):
                runs = self.model.sweep(
                    [shared.prompts[cell] for cell in batch],
                    [shared.design.cell_seeds[cell] for cell in batch],
                    # Everything before the first edit is computed once for the group.
                    [cells.edits(batch) for cells in group],
                    paired=True,
                    batch=self.batch,
                    progress=self._sweep_progress(description, completed, total),
                    read=list(shared.request.sites),
                    pool=shared.request.pool,
                    pictures=shared.request.pictures,
                    **shared.condition.options,
                )
                for cells, run in zip(group, runs, strict=True):
                    self._store(cells, batch, run)
                completed += len(batch) * len(group)

    def _store(self, cells: _ConditionCells, batch: Sequence[int], run: Run) -> None:
        """Put the samples of a run into the cells of a batch, and into the cache."""
        for cell, entries in zip(batch, cells.request.entries(run, len(batch)), strict=True):
            cells.entries[cell] = entries
            if cells.keys is not None and self.cache is not None:
                for part, entry in entries.items():
                    self.cache.put(cells.keys[cell][part], entry)

    def _sweep_progress(self, description: str | None, completed: int, total: int) -> Any:
        """The `progress` of a sweep that begins after `completed` of `total` samples."""
        if self.progress is None or description is None:
            # The model's own progress bar is silenced as well.
            return False
        progress = self.progress
        return lambda _, count, __: progress(description, completed + count, total)


@dataclass(frozen=True)
class _Request:
    """What is drawn and read in each cell."""

    sites: Sequence[str]
    pool: str
    pictures: bool

    @property
    def parts(self) -> list[str]:
        """Names of a cell's cache entries: its picture, and each site with its pooling."""
        parts = [self.site_part(site) for site in self.sites]
        return [PICTURE, *parts] if self.pictures else parts

    def site_part(self, site: str) -> str:
        """Name of the cache entry of a site."""
        return f"{site} {self.pool}"

    def entries(self, run: Run, samples: int) -> Iterator[dict[str, Entry]]:
        """The cache entries of each sample of a run, by part."""
        readings = {self.site_part(site): run.site_values[parse(site).site] for site in self.sites}
        # Once for all samples: `array` copies all values of a run with several batches.
        values = {part: reading.array() for part, reading in readings.items()}
        steps = {
            part: np.array([step.index for step in reading.steps])
            for part, reading in readings.items()
        }
        for sample in range(samples):
            entries: dict[str, Entry] = {
                part: {"values": values[part][sample], "steps": steps[part]} for part in readings
            }
            if run.pictures is not None:
                entries[PICTURE] = {PICTURE: run.pictures[sample]}
            yield entries


@dataclass(eq=False)
class _ConditionCells:
    """The cells of a condition, filled from the cache and from runs of the model.

    `keys` are cache keys, `[cell][part]`, None without caching; `entries` are the filled cells,
    `[cell][part]`.
    """

    condition: Condition
    design: Design
    prompts: list[str]
    request: _Request
    keys: list[dict[str, str]] | None = None
    entries: dict[int, Mapping[str, Entry]] = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        """Indices of cells that are not filled yet."""
        return [cell for cell in range(len(self.design)) if cell not in self.entries]

    def edits(self, cells: Sequence[int]) -> list[Edit]:
        """The edits of some cells; those that differ between samples are restricted to these."""
        return [
            edit.at(cells) if isinstance(edit, PerSample) else edit for edit in self.condition.edits
        ]

    def drawing(self) -> Drawing:
        """All cells together; every cell must be filled."""
        cells = [self.entries[cell] for cell in range(len(self.design))]
        pictures = np.empty((0, 0, 0, 3), np.uint8)
        if self.request.pictures:
            pictures = np.stack([entries[PICTURE][PICTURE] for entries in cells])
        sites = {}
        for site in self.request.sites:
            readings = [entries[self.request.site_part(site)] for entries in cells]
            # All cells have the same steps, since all are drawn with the condition's options.
            sites[site] = SiteReading(
                np.stack([reading["values"] for reading in readings]), readings[0]["steps"]
            )
        return Drawing(self.condition, self.design, pictures, sites)


def _is_valid(part: str, entry: Entry) -> bool:
    """Whether a cache entry has the arrays of its part; its file may have been altered."""
    if part == PICTURE:
        picture = entry.get(PICTURE)
        # Axes: height, width, channel.
        return picture is not None and picture.dtype == np.uint8 and picture.ndim == 3
    values, steps = entry.get("values"), entry.get("steps")
    if values is None or steps is None:
        return False
    return values.dtype == np.float32 and steps.dtype.kind == "i" and len(values) == len(steps)


def _group_by_prompts(by_condition: Sequence[_ConditionCells]) -> list[list[_ConditionCells]]:
    """Group conditions whose missing cells have equal prompts and options, each for one sweep."""
    groups: dict[tuple[Any, ...], list[_ConditionCells]] = {}
    for cells in by_condition:
        missing = tuple(cells.missing)
        if missing:
            # Sorted: the order in which options are given does not matter.
            options = tuple(sorted(cells.condition.options.items()))
            prompts = tuple(cells.prompts[cell] for cell in missing)
            # In the order of the first condition of each group, so that progress
            # follows the caller's order.
            groups.setdefault((missing, prompts, options), []).append(cells)
    return list(groups.values())


def _batches(cells: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(cells), size):
        yield cells[start : start + size]
