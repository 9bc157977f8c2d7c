"""Draw conditions on a design, each sample once, and run each classifier once per picture.

    evaluator = Evaluator(model)
    plain, words = evaluator.draw(
        [Condition("unedited"), Condition("words", "a stained glass of {item}")],
        Design.crossed(["a cat", "a ship"], (0, 1)),
    )
    words.rate(load_classifier("lancet:style"), "stained glass")

Samples that were drawn before with the same model and options come from the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from clerestory.classifiers.base import Classifier
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
from clerestory.evaluation.rates import Rate, rate_of
from clerestory.models import Edit, Model, Run
from clerestory.models.core.addresses import parse
from clerestory.models.core.types import PerSample
from clerestory.types import Bools, Floats, Integers, Pictures, Progress

__all__ = ["Drawing", "Evaluator", "SiteReading"]

BATCH = 16
PICTURE = "picture"


class SiteReading(NamedTuple):
    """Activations of a site in each cell.

    Attributes:
        values: `[cell, step, unit]`, or `[cell, step, position, unit]` where nothing is pooled.
        steps: Indices of the denoising steps; `[0]` at sites that have none.
    """

    values: Floats
    steps: Integers


@dataclass(frozen=True, eq=False)
class Drawing:
    """What one condition draws on a design, and what classifiers predict of it.

    Attributes:
        condition: How it was drawn.
        design: The cells.
        pictures: `[cell, height, width, 3]`; empty where none were asked for.
        sites: What was read, by site.
    """

    condition: Condition
    design: Design
    pictures: Pictures = field(repr=False)
    sites: Mapping[str, SiteReading] = field(default_factory=dict, repr=False)
    _probabilities: dict[int, tuple[Classifier, Floats]] = field(default_factory=dict, repr=False)

    @property
    def by_item(self) -> Pictures:
        """`[item, template × seed, height, width, 3]`."""
        return self.design.by_item(self.pictures)

    def probabilities(self, classifier: Classifier) -> Floats:
        """A classifier's probabilities, `[cell, class]`; computed once and cached.

        Args:
            classifier: The classifier.

        Returns:
            Probabilities, 0 to 1.
        """
        # Keyed by id(): classifiers need not be hashable. The classifier is stored too, so its id
        # cannot be reused.
        if id(classifier) not in self._probabilities:
            self._probabilities[id(classifier)] = (
                classifier,
                np.asarray(classifier(self.pictures)),
            )
        return self._probabilities[id(classifier)][1]

    def predictions(self, classifier: Classifier) -> Integers:
        """The number of the likeliest class, `[cell]`.

        Args:
            classifier: The classifier.

        Returns:
            Indices into `classifier.classes`.
        """
        return np.asarray(self.probabilities(classifier).argmax(1))

    def hits(self, classifier: Classifier, label: str) -> Bools:
        """Where a class is the likeliest, `[cell]`.

        Args:
            classifier: The classifier.
            label: One of its classes.

        Returns:
            A flag for each cell.

        Raises:
            ValueError: The classifier has no such class.
        """
        return np.asarray(self.predictions(classifier) == classifier.classes.index(label))

    def rate(self, classifier: Classifier, label: str) -> Rate:
        """How often a class is the likeliest.

        Args:
            classifier: The classifier.
            label: One of its classes.

        Returns:
            The rate, items averaged first, with its interval.

        Raises:
            ValueError: The classifier has no such class.
        """
        return rate_of(self.hits(classifier, label), self.design)

    def same_as(self, other: Drawing, classifier: Classifier) -> Bools:
        """Where a classifier predicts the same as of another drawing's picture, `[cell]`.

        Args:
            other: A drawing of the same design.
            classifier: The classifier.

        Returns:
            A flag for each cell.
        """
        return np.asarray(self.predictions(classifier) == other.predictions(classifier))

    def preserved(self, reference: Drawing, classifier: Classifier) -> Rate:
        """How often a classifier predicts the same as of the reference's picture.

        Args:
            reference: A drawing of the same design.
            classifier: The classifier.

        Returns:
            The rate, items averaged first, with its interval.
        """
        return rate_of(self.same_as(reference, classifier), self.design)

    def distance(self, reference: Drawing) -> float:
        """Root mean square difference from the reference's pictures, 0 to 1.

        Args:
            reference: A drawing of the same design.

        Returns:
            0 for equal pictures, 1 for black against white.
        """
        difference = (self.pictures.astype(np.float32) - reference.pictures) / 255
        return float(np.sqrt((difference**2).mean()))

    def first(self, items: int | None) -> Drawing:
        """The part of the first items; all, where `items` is None.

        Args:
            items: How many items.

        Returns:
            The drawing of these items.
        """
        return self.select(range(len(self.design.items))[:items])

    def select(self, items: Sequence[int]) -> Drawing:
        """The part of some items, by their numbers; it keeps the predictions that were computed.

        Args:
            items: Numbers of items, from 0.

        Returns:
            The drawing of these items, in the order that is given.
        """
        rows = self.design.rows(items)
        return Drawing(
            self.condition,
            self.design.select(items),
            self.pictures[rows],
            {site: read._replace(values=read.values[rows]) for site, read in self.sites.items()},
            {
                key: (cached_classifier, probabilities[rows])
                for key, (cached_classifier, probabilities) in self._probabilities.items()
            },
        )


class Evaluator:
    """Draws conditions with a model, each sample once.

    Conditions with equal prompts and options go through the model together, so that what comes
    before their edits is computed once.

    Attributes:
        model: The model.
        cache: Sample cache; None disables caching.
        progress: Called with (label, completed samples, total samples).
        batch: Samples that go through the model together.
    """

    def __init__(
        self,
        model: Model,
        cache: CacheOption = True,
        *,
        progress: Progress | None = None,
        batch: int = BATCH,
    ) -> None:
        """Draw with a model.

        Args:
            model: The model.
            cache: True for a cache of this evaluator alone, a cache to share it, False for none.
            progress: Called with (label, completed samples, total samples).
            batch: Samples that go through the model together.
        """
        self.model = model
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
            conditions: What is compared; names differ.
            design: Items, templates and seeds.
            read: Addresses of sites to read on the way, as edited.
            pool: How positions are pooled at these sites, as in `Model.run`.
            pictures: False stops after the last site that is read.
            cached: False neither looks samples up nor keeps them, as for edits that no other call
                will make.
            description: The label of the progress; None reports nothing.

        Returns:
            A drawing for each condition, in their order.

        Raises:
            EvidenceError: A condition name occurs twice, or the design has no cell.
        """
        if len({condition.name for condition in conditions}) < len(conditions):
            names = [condition.name for condition in conditions]
            name = next(name for name in names if names.count(name) > 1)
            raise EvidenceError(f"Condition names must be unique; {name!r} occurs twice or more.")
        if not len(design):
            raise EvidenceError("There is no item to draw.")
        sites = list(dict.fromkeys(read))
        request = _CellRequest(sites, pool, pictures)
        # Unpooled values are as long as the prompt, and large: they are never cached.
        keyed = cached and self.cache is not None and pool != "none"
        # Anew in each call: weights may have been trained or replaced since.
        digest = model_digest(self.model, self.batch) if keyed else ""
        by_condition = [
            self._cells_of(condition, design, request, digest) for condition in conditions
        ]
        self._fill(by_condition, description)
        return [cells.drawing() for cells in by_condition]

    def _cells_of(
        self, condition: Condition, design: Design, request: _CellRequest, digest: str
    ) -> _ConditionCells:
        """A condition with what the cache has of it."""
        cells = _ConditionCells(condition, design, condition.prompts(design), request)
        edits = edit_digests(condition.edits, len(design)) if digest else None
        if edits is None or self.cache is None:
            return cells
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
        for row, keys in enumerate(cells.keys):
            found = {part: self.cache.get(key) or {} for part, key in keys.items()}
            entries = {part: entry for part, entry in found.items() if _entry_fits(part, entry)}
            # A cell that lacks one part is drawn again as a whole: one run gives all parts.
            if len(entries) == len(found):
                cells.entries[row] = entries
        missing = len(cells.missing)
        self.cache.count(len(design) - missing, missing)
        return cells

    def _fill(self, by_condition: Sequence[_ConditionCells], description: str | None) -> None:
        """Draw what is missing; conditions of a group go through the model together."""
        total, completed = sum(len(cells.missing) for cells in by_condition), 0
        for group in _group_by_prompts(by_condition):
            first = group[0]
            # By batches, so that a run that is stopped has kept those before.
            for rows in _chunks(first.missing, self.batch):
                runs = self.model.sweep(
                    [first.prompts[row] for row in rows],
                    [first.design.cell_seeds[row] for row in rows],
                    # What comes before the first edit is computed once for the whole group.
                    [cells.edits(rows) for cells in group],
                    paired=True,
                    batch=self.batch,
                    progress=self._progress(description, completed, total),
                    **first.request.sweep_options,
                    **first.condition.options,
                )
                for cells, run in zip(group, runs, strict=True):
                    self._keep(cells, rows, run)
                completed += len(rows) * len(group)

    def _keep(self, cells: _ConditionCells, rows: Sequence[int], run: Run) -> None:
        parts = cells.request.split(run, len(rows))
        for row, entries in zip(rows, parts, strict=True):
            cells.entries[row] = entries
            if cells.keys is not None and self.cache is not None:
                for part, entry in entries.items():
                    self.cache.put(cells.keys[row][part], entry)

    def _progress(self, description: str | None, completed: int, total: int) -> Any:
        if self.progress is None or description is None:
            # False also silences the model's own bar.
            return False
        progress = self.progress
        return lambda _, count, __: progress(description, completed + count, total)


@dataclass(frozen=True)
class _CellRequest:
    """What is drawn and read in each cell."""

    sites: Sequence[str]
    pool: str
    pictures: bool

    @property
    def parts(self) -> list[str]:
        """The parts of a cell's entry in the cache."""
        sites = [f"{site} {self.pool}" for site in self.sites]
        return [PICTURE, *sites] if self.pictures else sites

    @property
    def sweep_options(self) -> dict[str, Any]:
        """The same as keyword arguments of `Model.sweep`."""
        return {"read": list(self.sites), "pool": self.pool, "pictures": self.pictures}

    def split(self, run: Run, samples: int) -> Iterator[dict[str, Entry]]:
        """The entries of each sample of a run."""
        reads = {f"{site} {self.pool}": run.site_values[parse(site).site] for site in self.sites}
        values = {part: read.array() for part, read in reads.items()}
        steps = {p: np.array([step.index for step in r.steps]) for p, r in reads.items()}
        for row in range(samples):
            entries: dict[str, Entry] = {
                part: {"values": array[row], "steps": steps[part]} for part, array in values.items()
            }
            if run.pictures is not None:
                entries[PICTURE] = {PICTURE: run.pictures[row]}
            yield entries


@dataclass(eq=False)
class _ConditionCells:
    """A condition's cells, filled one by one from the cache and from the model."""

    condition: Condition
    design: Design
    prompts: list[str]
    request: _CellRequest
    keys: list[dict[str, str]] | None = None
    entries: dict[int, Mapping[str, Entry]] = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        """Rows of the design that are not there yet."""
        return [row for row in range(len(self.design)) if row not in self.entries]

    def edits(self, rows: Sequence[int]) -> list[Edit]:
        """The edits for some cells; one that differs between samples is cut to these."""
        return [
            edit.at(rows) if isinstance(edit, PerSample) else edit for edit in self.condition.edits
        ]

    def drawing(self) -> Drawing:
        """All cells together."""
        cells = [self.entries[row] for row in range(len(self.design))]
        pictures = np.empty((0, 0, 0, 3), np.uint8)
        if self.request.pictures:
            pictures = np.stack([cell[PICTURE][PICTURE] for cell in cells])
        sites = {}
        for site in self.request.sites:
            readings = [cell[f"{site} {self.request.pool}"] for cell in cells]
            # Every cell has the same steps: all are drawn with the condition's options.
            sites[site] = SiteReading(
                np.stack([reading["values"] for reading in readings]), readings[0]["steps"]
            )
        return Drawing(self.condition, self.design, pictures, sites)


def _entry_fits(part: str, entry: Entry) -> bool:
    """Whether an entry has the arrays of its part: a file may have been altered."""
    if part == PICTURE:
        picture = entry.get(PICTURE)
        return picture is not None and picture.dtype == np.uint8 and picture.ndim == len("hwc")
    values, steps = entry.get("values"), entry.get("steps")
    if values is None or steps is None:
        return False
    return values.dtype == np.float32 and steps.dtype.kind == "i" and len(values) == len(steps)


def _group_by_prompts(by_condition: Sequence[_ConditionCells]) -> list[list[_ConditionCells]]:
    """Group conditions whose missing cells have equal prompts and options: one sweep draws each."""
    groups: dict[tuple[Any, ...], list[_ConditionCells]] = {}
    for cells in by_condition:
        missing = tuple(cells.missing)
        if missing:
            # Sorted, so that options in another order make no other group.
            options = tuple(sorted(cells.condition.options.items()))
            prompts = tuple(cells.prompts[row] for row in missing)
            groups.setdefault((missing, prompts, options), []).append(cells)
    return list(groups.values())


def _chunks(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
