"""Trials: matched prompts, drawn with edits and classified, the basis of all causal checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from clerestory.classifiers import Classifier
from clerestory.contrasts.findings import Findings
from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition, Design, Drawing, Effect, Evaluator, LoadedTarget, Rate
from clerestory.models import Edit, Model

__all__ = ["Trials", "matched_prompts"]


@dataclass(frozen=True, eq=False)
class Trials:
    """Draws either arm of matched prompts with the same seeds, and classifies the pictures.

    Attributes:
        evaluator: Draws the pictures.
        pairs: A row for each item: `positive` and `negative`, the two prompts, and `same_length`,
            whether they have equally many tokens, so that activations can be copied between them.
        seeds: The seeds of each prompt.
        target: A classifier, and its class that stands for the concept.
        others: Classifiers that measure side effects, by name.
    """

    evaluator: Evaluator
    pairs: pd.DataFrame
    seeds: tuple[int, ...]
    target: LoadedTarget
    others: Mapping[str, Classifier] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        """The model."""
        return self.evaluator.model

    def report(self, task: str, completed: int, total: int) -> None:
        """Report progress.

        Args:
            task: Label of the progress.
            completed: Number of completed units of work.
            total: Number of all units of work.
        """
        if self.evaluator.progress is not None:
            self.evaluator.progress(task, completed, total)

    def draw(
        self,
        task: str,
        arm: str,
        edit_sets: Sequence[Sequence[Edit]] = ((),),
        *,
        items: int | None = None,
        same_length: bool = False,
    ) -> list[Drawing]:
        """Draw the prompts of one arm with each set of edits.

        Args:
            task: Label of the progress.
            arm: `positive` or `negative`.
            edit_sets: Sets of edits.
            items: Number of items; by default all.
            same_length: Whether to draw only pairs with equally many tokens.

        Returns:
            A drawing for each set.
        """
        design = self.design(self.prompts(arm, items, same_length=same_length))
        return self.evaluator.draw(_conditions(edit_sets), design, description=task)

    def draw_patched(
        self, prompts: Sequence[str], edit_sets: Sequence[Sequence[Edit]]
    ) -> list[Drawing]:
        """Draw prompts with sets of patches, without the cache: no other call has the same patches.

        Args:
            prompts: The prompts that are patched.
            edit_sets: Sets of patches, each for all prompts.

        Returns:
            A drawing for each set.
        """
        conditions, design = _conditions(edit_sets), self.design(prompts)
        return self.evaluator.draw(conditions, design, cached=False, description=None)

    def design(self, prompts: Sequence[str]) -> Design:
        """A design of prompts with all seeds.

        Args:
            prompts: The prompts; each is an item.

        Returns:
            The design: prompts × `seeds`.
        """
        return Design.crossed(prompts, self.seeds)

    def prompts(
        self, arm: str, items: int | None = None, *, same_length: bool = False
    ) -> list[str]:
        """The prompts of an arm.

        Args:
            arm: `positive` or `negative`.
            items: Number of items, from the first; by default all.
            same_length: Whether to take only pairs with equally many tokens.

        Returns:
            The prompts, in the order of `pairs`.
        """
        pairs = self.pairs[self.pairs["same_length"]] if same_length else self.pairs
        return list(pairs[arm][:items])

    def rate(self, drawing: Drawing) -> Rate:
        """The rate of the target in a drawing.

        Args:
            drawing: The drawing.

        Returns:
            The rate, with an interval over items.
        """
        return drawing.rate(*self.target)

    def effect(self, after: Drawing, before: Drawing) -> Effect:
        """The change of the target's rate between two drawings.

        Args:
            after: The drawing with a change.
            before: The drawing without it, of the same items and seeds.

        Returns:
            The change, with an interval over items.
        """
        return after.effect(before, *self.target)

    def preservation(self, after: Drawing, before: Drawing) -> dict[str, float]:
        """The share of pictures with the same prediction in both drawings, by other classifier.

        Args:
            after: The drawing with a change.
            before: The drawing without it, of the same design.

        Returns:
            Shares, 0 to 1, by name of the classifier; empty without other classifiers.
        """
        return {
            name: float(after.same_as(before, classifier).mean())
            for name, classifier in self.others.items()
        }


def _conditions(edit_sets: Sequence[Sequence[Edit]]) -> list[Condition]:
    return [Condition(str(number), edits=tuple(edits)) for number, edits in enumerate(edit_sets)]


def matched_prompts(findings: Findings, model: Model, half: str, items: int) -> pd.DataFrame:
    """Choose items at random, and for each a prompt of both arms, if possible of equal length.

    Args:
        findings: The findings, with their samples.
        model: The model, whose tokenizer determines the lengths.
        half: `selection` or `evaluation`.
        items: Number of items, at least 2.

    Returns:
        Columns `item`, `positive`, `negative`, `same_length`.

    Raises:
        EvidenceError: The findings have no samples, contrast seeds of one prompt, or `items` is
            less than 2.
    """
    if findings.samples is None:
        raise EvidenceError("These findings have no samples to take prompts from: find them again.")
    samples = findings.samples[findings.samples["half"] == half]
    by_arm = {
        arm: samples[samples["arm"] == arm].groupby("item", sort=False)["prompt"].unique()
        for arm in ("positive", "negative")
    }
    # With `within="prompt"`, `find` has the same prompts in both arms.
    if set(samples.loc[samples["arm"] == "positive", "prompt"]) & set(
        samples.loc[samples["arm"] == "negative", "prompt"]
    ):
        raise EvidenceError(
            "These findings contrast the seeds of one prompt: there are no two prompts to compare."
        )
    if items < 2:
        raise EvidenceError(f"items is {items}; at least 2 are needed for any figure.")
    # A fixed seed, so that every call of `verify` reads and draws the same items.
    order = np.random.default_rng(0).permutation(findings.items[half])
    rows = [
        {
            "item": item,
            **_prompt_pair(by_arm["positive"][item], by_arm["negative"][item], model, index),
        }
        for index, item in enumerate(order[:items])
    ]
    return pd.DataFrame(rows)


def _prompt_pair(
    positive: Sequence[str], negative: Sequence[str], model: Model, index: int
) -> dict[str, object]:
    """A prompt of each arm, of equal length if possible; `index` cycles through the templates."""
    lengths = {prompt: len(model.tokenize(prompt)) for prompt in (*positive, *negative)}
    pairs = [(first, second) for first in positive for second in negative]
    same = [(first, second) for first, second in pairs if lengths[first] == lengths[second]]
    candidates = same or pairs
    first, second = candidates[index % len(candidates)]
    return {"positive": first, "negative": second, "same_length": bool(same)}
