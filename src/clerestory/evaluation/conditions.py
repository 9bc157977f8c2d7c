"""What is drawn: a design lists the cells, a condition says how each cell is drawn.

    design = Design.for_items(["a cat", "a ship"], seeds_per_item=2)
    words = Condition("words", "a stained glass of {item}")
    words.prompts(design)       # one prompt for each cell of the design

Every condition is drawn in every cell of a design, so two conditions differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import EvidenceError
from clerestory.models import Edit, check_seeds
from clerestory.models.core.seeds import item_seeds
from clerestory.types import Integers

__all__ = ["ITEM", "Condition", "Design", "fill"]

ITEM = "{item}"
"""Placeholder for the item in a template."""


def fill(template: str, item: str) -> str:
    """Put an item into a template.

    Args:
        template: Text with the placeholder `{item}`.
        item: Text that replaces the placeholder.

    Returns:
        The template with the item in it.

    >>> fill("a picture of {item}", "a cat")
    'a picture of a cat'
    """
    # Not `str.format`: items and templates may contain other braces.
    return template.replace(ITEM, item)


@dataclass(frozen=True)
class Design:
    """The cells in which every condition is drawn: items × templates × the seeds of each item.

    Cells are numbered from 0 with the item as the slowest index, then the template, then the seed.
    The item is the unit of replication: every rate averages the cells of an item first.

    Attributes:
        items: What the prompts are about.
        seeds: `[item][seed]`; every item has the same number of seeds.
        templates: Sentences around the template of the condition, each with `{item}` once.
    """

    items: tuple[str, ...]
    seeds: tuple[tuple[int, ...], ...]
    templates: tuple[str, ...] = (ITEM,)

    @classmethod
    def crossed(
        cls,
        items: Sequence[str],
        seeds: int | Sequence[int] = 0,
        templates: Sequence[str] = (ITEM,),
    ) -> Design:
        """Every item in every template with every seed; all items share their seeds.

        Args:
            items: What the prompts are about.
            seeds: The seeds of every item.
            templates: Sentences around the template of the condition, each with `{item}` once.

        Returns:
            The design.

        Raises:
            SeedError: A seed occurs twice, or is not a valid seed.
        """
        return cls(tuple(items), (check_seeds(seeds),) * len(items), tuple(templates))

    @classmethod
    def for_items(
        cls,
        items: Sequence[str],
        seeds_per_item: int = 1,
        seed: int = 0,
        templates: Sequence[str] = (ITEM,),
    ) -> Design:
        """Every item in every template, with seeds of its own.

        Where all items share a seed, what its noise does to pictures is part of every item, and
        more items do not average it out.

        Args:
            items: What the prompts are about.
            seeds_per_item: Number of seeds of each item.
            seed: Gives other seeds for the same items.
            templates: Sentences around the template of the condition, each with `{item}` once.

        Returns:
            The design; the templates and the conditions of an item share its seeds.

        Raises:
            SeedError: `seeds_per_item` is not positive.
        """
        # By the item's text alone, so that an item keeps its noise whatever others are drawn.
        seeds = tuple(item_seeds(item, seeds_per_item, seed) for item in items)
        return cls(tuple(items), seeds, tuple(templates))

    @classmethod
    def paired(cls, items: Sequence[str], seeds: Sequence[int]) -> Design:
        """One cell for each item, with the seed at the same position.

        Args:
            items: What the prompts are about.
            seeds: A seed for each item; items may share one.

        Returns:
            The design.

        Raises:
            EvidenceError: The numbers of items and seeds differ.
        """
        return cls(tuple(items), tuple((seed,) for seed in seeds))

    def __post_init__(self) -> None:
        # Equal numbers, so that cells can be reshaped to `[item, …]`.
        if len(self.seeds) != len(self.items) or len(set(map(len, self.seeds))) > 1:
            counts = ", ".join(map(str, sorted(set(map(len, self.seeds)))))
            raise EvidenceError(
                f"All items need the same number of seeds; got {counts} seeds of "
                f"{len(self.seeds)} items, for {len(self.items)} items."
            )
        for template in self.templates:
            if template.count(ITEM) != 1:
                raise EvidenceError(f"The template {template!r} must contain {ITEM} exactly once.")

    def __len__(self) -> int:
        return len(self.items) * len(self.templates) * len(self.seeds[0]) if self.items else 0

    @property
    def cell_seeds(self) -> list[int]:
        """The seed of each cell."""
        return [seed for seeds in self.seeds for _ in self.templates for seed in seeds]

    def by_item(self, values: NDArray[Any]) -> NDArray[Any]:
        """Reshape an array of cells, so that its first axis is the item.

        Args:
            values: `[cell, …]`.

        Returns:
            `[item, template × seed, …]`.
        """
        # Items are the slowest axis of the cells.
        return values.reshape(len(self.items), -1, *values.shape[1:])

    def item_means(self, values: NDArray[Any]) -> NDArray[np.floating]:
        """Average over the cells of each item.

        Args:
            values: `[cell, …]`, numbers or booleans.

        Returns:
            `[item, …]`.
        """
        return np.asarray(self.by_item(values).mean(1))

    def select(self, items: Sequence[int]) -> Design:
        """The part of the design with some of its items.

        Args:
            items: Indices of items, from 0.

        Returns:
            The design of these items, in the order of `items`.
        """
        return Design(
            tuple(self.items[item] for item in items),
            tuple(self.seeds[item] for item in items),
            self.templates,
        )

    def cells_of(self, items: Sequence[int]) -> Integers:
        """Indices of the cells of some items.

        Args:
            items: Indices of items, from 0.

        Returns:
            Indices of cells, in the order of `select(items)`.
        """
        cells = self.by_item(np.arange(len(self)))
        return np.asarray(cells[list(items)].ravel())


@dataclass(frozen=True, eq=False)
class Condition:
    """How the cells of a design are drawn: a template, edits and options.

    Attributes:
        name: Name of the condition in results.
        template: The wording, with `{item}` once.
        edits: Edits of the model's activations.
        options: Options that differ from the model's defaults; see `Model.run`.
        suffix: Words that are appended to the whole prompt.
    """

    name: str
    template: str = ITEM
    edits: tuple[Edit, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""

    def __post_init__(self) -> None:
        if self.template.count(ITEM) != 1:
            raise EvidenceError(f"The template {self.template!r} must contain {ITEM} exactly once.")

    def prompt(self, item: str, template: str = ITEM) -> str:
        """The prompt for an item: the condition's template within a template of the design.

        Args:
            item: What the prompt is about.
            template: A template of the design, with `{item}` once.

        Returns:
            The prompt, including the suffix.

        >>> Condition("ink", "an ink drawing of {item}").prompt("a cat", "we see {item}")
        'we see an ink drawing of a cat'
        """
        # Inside out: the condition's words belong to the item, the design's frame surrounds both.
        text = fill(template, fill(self.template, item))
        return f"{text} {self.suffix}" if self.suffix else text

    def prompts(self, design: Design) -> list[str]:
        """The prompt of each cell of a design.

        Args:
            design: The design.

        Returns:
            A prompt for each cell, in the order of the cells.
        """
        return [
            self.prompt(item, template)
            for item, seeds in zip(design.items, design.seeds, strict=True)
            for template in design.templates
            for _ in seeds
        ]
