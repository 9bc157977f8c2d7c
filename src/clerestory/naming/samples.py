"""The prompts of a recording in two halves that share no prompt, item or template."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts.arms import HALVES
from clerestory.contrasts.samples import item_names, random_halves
from clerestory.errors import EvidenceError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.types import Bools, Floats, Integers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MIN_ITEMS", "MIN_TEMPLATES", "NamingSamples", "may_be_shown", "split_words"]

MIN_ITEMS, MIN_TEMPLATES = 12, 4
"""Items and templates of an arm below which a name is neither found nor not found."""


def may_be_shown(prompt: str) -> bool:
    """Whether pages may show a prompt's pictures; others are held out for scores and blind tests.

    Args:
        prompt: The prompt.

    Returns:
        The same for a prompt on every machine.
    """
    # By digest rather than position: a prompt has the same half in every recording.
    return hashlib.blake2b(prompt.encode(), digest_size=1).digest()[0] % 2 == 0


def split_words(text: str) -> list[str]:
    """The words of a prompt or a name, in lower case and without punctuation at their ends.

    Args:
        text: A prompt or a name.

    Returns:
        Words in their order.

    >>> split_words("A cat, in (stained glass)!")
    ['a', 'cat', 'in', 'stained', 'glass']
    """
    words = (word.strip(".,;:!?\"'()[]{}").lower() for word in text.split())
    return [word for word in words if word]


@dataclass(frozen=True, eq=False)
class NamingSamples:
    """The different prompts of a recording's samples.

    Attributes:
        prompts: The prompts.
        prompt_of_sample: The number of each sample's prompt, `[sample]`.
        items: The number of each prompt's item, `[prompt]`.
        templates: The number of each prompt's template, `[prompt]`; all 0 without such a column.
        selection: Whether a prompt chooses names, `[prompt]`. Pages may show all of these.
        evaluation: Whether a prompt scores names, `[prompt]`. Pages show none of these.
        warnings: Limitations of these samples.
    """

    prompts: tuple[str, ...]
    prompt_of_sample: Integers
    items: Integers
    templates: Integers
    selection: Bools
    evaluation: Bools
    warnings: tuple[EvidenceWarning, ...]

    @classmethod
    def of(cls, table: pd.DataFrame) -> NamingSamples:
        """Split the prompts of a table.

        Args:
            table: A row for each sample, with `prompt`, and with `item` and `template` where they
                were recorded. Without `item` every prompt is an item of its own.

        Returns:
            The prompts. Those of an item or a template of the other half are in neither half.

        Raises:
            EvidenceError: A half has fewer than 24 prompts.
        """
        import pandas as pd

        codes, prompts = pd.factorize(table["prompt"])
        first = table.drop_duplicates("prompt").reset_index(drop=True)
        selection = np.array([may_be_shown(prompt) for prompt in prompts])
        evaluation = ~selection
        # The halves of items and templates are the same at every call.
        rng = np.random.default_rng(0)
        items, templates = np.arange(len(prompts)), np.zeros(len(prompts), np.int64)
        warnings = []
        if "item" in table:
            names = item_names(first, ["item"])
            items = pd.factorize(names)[0]
            selection, evaluation = _within(selection, evaluation, random_halves(names, rng))
        if "template" in table and len(first["template"].unique()) > 1:
            frames = first["template"].fillna("").astype(str)
            templates = pd.factorize(frames)[0]
            selection, evaluation = _within(selection, evaluation, random_halves(frames, rng))
        elif "item" in table:
            text = "Templates were not varied: names are scored in the wordings of these prompts."
            warnings.append(EvidenceWarning("templates-not-varied", text))
        least = min(int(selection.sum()), int(evaluation.sum()))
        if least < 2 * MIN_ITEMS:
            raise EvidenceError(
                f"A half of the prompts that shares no item and no template with the other has "
                f"{least}: names need {2 * MIN_ITEMS} in each. Record more different prompts."
            )
        return cls(tuple(prompts), codes, items, templates, selection, evaluation, tuple(warnings))

    def average(self, values: Floats) -> NDArray[np.float64]:
        """Values of prompts: means over the samples of each.

        Args:
            values: `[sample, unit]`.

        Returns:
            `[prompt, unit]`.
        """
        sums = np.zeros((len(self.prompts), values.shape[1]))
        # Seeds of a prompt are replicates, not items.
        np.add.at(sums, self.prompt_of_sample, values)
        return sums / np.bincount(self.prompt_of_sample)[:, None]

    def factors(self, positive: Bools, negative: Bools) -> list[tuple[Integers, Integers]]:
        """Items and templates of two arms, as tests of two arms take them.

        Args:
            positive: Mask of the prompts of one arm.
            negative: That of the other.

        Returns:
            For each factor the codes of both arms, from 0.
        """
        used = positive | negative
        pairs: list[tuple[Integers, Integers]] = []
        for factor in (self.items, self.templates):
            numbers = np.zeros(len(factor), np.int64)
            numbers[used] = np.unique(factor[used], return_inverse=True)[1]
            pairs.append((numbers[positive], numbers[negative]))
        return pairs


def _within(selection: Bools, evaluation: Bools, halves: pd.Series[str]) -> tuple[Bools, Bools]:
    """Both halves without the prompts whose level is of the other half."""
    first = (halves == HALVES[0]).to_numpy()
    return selection & first, evaluation & ~first
