"""What is drawn: conditions (how) and designs (of what, with which noise).

    design = Design.crossed(["a cat", "a ship"], seeds=(0, 1))
    words = Condition("words", "a stained glass of {item}")
    words.prompts(design)       # one prompt for each cell of the design

Every condition is drawn in every cell of a design, so that conditions compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import EvidenceError
from clerestory.models import Edit, check_seeds
from clerestory.types import Integers

__all__ = ["ITEM", "Condition", "Design", "fill"]

ITEM = "{item}"
"""Where a template names the item."""


def fill(template: str, item: str) -> str:
    """Put an item into a template.

    Args:
        template: Text with `{item}` in it.
        item: What stands for it.

    Returns:
        The text.

    >>> fill("a picture of {item}", "a cat")
    'a picture of a cat'
    """
    # Not `str.format`: items and templates may have other braces in them.
    return template.replace(ITEM, item)


@dataclass(frozen=True)
class Design:
    """The cells that every condition is drawn in: items × templates × the seeds of each item.

    Cells stand item by item, within an item template by template, within a template seed by seed.
    The item is the unit of replication: figures average its cells first.

    Attributes:
        items: What the prompts are about.
        seeds: For each item its seeds; every item has as many.
        templates: Sentences around a condition's own template, each with `{item}` once.
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
        """Every item in every template with every seed.

        Args:
            items: What the prompts are about.
            seeds: The seeds of every item.
            templates: Sentences around a condition's own template, each with `{item}` once.

        Returns:
            The design.

        Raises:
            SeedError: A seed is given twice, or is no seed.
        """
        return cls(tuple(items), (check_seeds(seeds),) * len(items), tuple(templates))

    @classmethod
    def paired(cls, items: Sequence[str], seeds: Sequence[int]) -> Design:
        """Every item with one seed of its own, which other items may share.

        Args:
            items: What the prompts are about.
            seeds: A seed for each item.

        Returns:
            The design, with one cell for each item.

        Raises:
            EvidenceError: There are not as many seeds as items.
        """
        return cls(tuple(items), tuple((seed,) for seed in seeds))

    def __post_init__(self) -> None:
        # Equal numbers, so that cells can be arranged as `[item, …]`.
        if len(self.seeds) != len(self.items) or len(set(map(len, self.seeds))) > 1:
            counts = ", ".join(map(str, sorted(set(map(len, self.seeds)))))
            raise EvidenceError(
                f"All items need the same number of seeds; got {counts} seeds of "
                f"{len(self.seeds)} items, for {len(self.items)} items."
            )
        for template in self.templates:
            if template.count(ITEM) != 1:
                raise EvidenceError(f"The template {template!r} must have {ITEM} in it, once.")

    def __len__(self) -> int:
        return len(self.items) * len(self.templates) * len(self.seeds[0]) if self.items else 0

    @property
    def cell_seeds(self) -> list[int]:
        """The seed of each cell."""
        return [seed for seeds in self.seeds for _ in self.templates for seed in seeds]

    def by_item(self, values: NDArray[Any]) -> NDArray[Any]:
        """Arrange values of cells by item.

        Args:
            values: `[cell, …]`.

        Returns:
            `[item, template × seed, …]`.
        """
        return values.reshape(len(self.items), -1, *values.shape[1:])

    def item_means(self, values: NDArray[Any]) -> NDArray[np.floating]:
        """Average over the cells of each item.

        Args:
            values: `[cell, …]`, numbers or flags.

        Returns:
            `[item, …]`.
        """
        return np.asarray(self.by_item(values).mean(1))

    def select(self, items: Sequence[int]) -> Design:
        """The design of some items, by their numbers.

        Args:
            items: Numbers of items, from 0.

        Returns:
            The design of these items, in the order that is given.
        """
        picked = tuple(self.items[item] for item in items)
        return Design(picked, tuple(self.seeds[item] for item in items), self.templates)

    def rows(self, items: Sequence[int]) -> Integers:
        """The cells of some items, by their numbers.

        Args:
            items: Numbers of items, from 0.

        Returns:
            Numbers of cells, item by item.
        """
        cells = self.by_item(np.arange(len(self)))
        return np.asarray(cells[list(items)].ravel())


@dataclass(frozen=True, eq=False)
class Condition:
    """A template, edits and options with which every cell of a design is drawn.

    Attributes:
        name: What results call it.
        template: The wording, with `{item}` once.
        edits: Changes of the model's activations.
        options: Options that differ from the model's defaults; see `Model.run`.
        suffix: Words after the whole prompt.
    """

    name: str
    template: str = ITEM
    edits: tuple[Edit, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""

    def __post_init__(self) -> None:
        if self.template.count(ITEM) != 1:
            raise EvidenceError(f"The template {self.template!r} must have {ITEM} in it, once.")

    def prompt(self, item: str, template: str = ITEM) -> str:
        """The prompt for an item, its wording within a template of the design.

        Args:
            item: What the prompt is about.
            template: A template of the design, with `{item}` once.

        Returns:
            The prompt, with the suffix.

        >>> Condition("ink", "an ink drawing of {item}").prompt("a cat", "we see {item}")
        'we see an ink drawing of a cat'
        """
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
