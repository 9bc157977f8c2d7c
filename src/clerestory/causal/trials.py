"""Matched prompts drawn with edits, and classified: what every causal check is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from clerestory.classifiers import Classifier
from clerestory.contrasts.findings import Findings
from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition, Design, Drawing, Evaluator, LoadedTarget, Rate
from clerestory.models import Edit, Model

__all__ = ["Trials", "matched_prompts"]


@dataclass(frozen=True, eq=False)
class Trials:
    """Draws either arm of matched prompts on the same seeds, and classifies the pictures.

    Attributes:
        evaluator: Draws them.
        pairs: A row for each item: `positive` and `negative`, the two prompts, and `same_length`,
            whether they have as many tokens, so that activations of one can replace the other's.
        seeds: The seeds of each prompt.
        target: A classifier and its class that stands for the concept.
        others: Classifiers of side effects, by name.
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
            task: The label of the progress.
            completed: How much of the work is done.
            total: How much there is.
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
        """Draw one arm's prompts with each set of edits.

        Args:
            task: What progress is reported as.
            arm: `positive` or `negative`.
            edit_sets: Sets of edits.
            items: Only so many items.
            same_length: Only pairs of the same length.

        Returns:
            What each set draws.
        """
        design = self.design(self.prompts(arm, items, same_length=same_length))
        return self.evaluator.draw(_conditions(edit_sets), design, description=task)

    def draw_patched(
        self, prompts: Sequence[str], edit_sets: Sequence[Sequence[Edit]]
    ) -> list[Drawing]:
        """Draw prompts with sets of patches, which no other call will make: they are not kept.

        Args:
            prompts: The prompts that are patched.
            edit_sets: Sets of patches, each for all prompts.

        Returns:
            What each set draws.
        """
        conditions, design = _conditions(edit_sets), self.design(prompts)
        return self.evaluator.draw(conditions, design, cached=False, description=None)

    def design(self, prompts: Sequence[str]) -> Design:
        """Prompts, each with every seed.

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
            items: Only the first so many; by default all.
            same_length: Only of pairs whose prompts have equally many tokens.

        Returns:
            The prompts, in the order of `pairs`.
        """
        pairs = self.pairs[self.pairs["same_length"]] if same_length else self.pairs
        return list(pairs[arm][:items])

    def rate(self, drawing: Drawing) -> Rate:
        """How often the target is predicted.

        Args:
            drawing: What was drawn.

        Returns:
            The rate of the target's label, items averaged first.
        """
        return drawing.rate(*self.target)

    def preservation(self, after: Drawing, before: Drawing) -> dict[str, float]:
        """By other classifier, the share of pictures whose prediction is the same in both.

        Args:
            after: Drawn with a change.
            before: Drawn without it, on the same design.

        Returns:
            Shares of pictures, 0 to 1, by the classifier's name; empty without other classifiers.
        """
        return {
            name: float(after.same_as(before, classifier).mean())
            for name, classifier in self.others.items()
        }


def _conditions(edit_sets: Sequence[Sequence[Edit]]) -> list[Condition]:
    return [Condition(str(number), edits=tuple(edits)) for number, edits in enumerate(edit_sets)]


def matched_prompts(findings: Findings, model: Model, half: str, items: int) -> pd.DataFrame:
    """Choose one prompt of each arm for some items, at random, of the same length if possible.

    Args:
        findings: The findings.
        model: Counts tokens.
        half: `selection` or `evaluation`.
        items: How many items, at least 2.

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
    # A prompt in both arms: `find` had `within="prompt"`.
    if set(samples.loc[samples["arm"] == "positive", "prompt"]) & set(
        samples.loc[samples["arm"] == "negative", "prompt"]
    ):
        raise EvidenceError(
            "These findings contrast the seeds of one prompt: there are no two prompts to compare."
        )
    if items < 2:
        raise EvidenceError(f"items is {items}; at least 2 are needed for any figure.")
    # Always the same order: `verify` reads and draws the same items in each call.
    order = np.random.default_rng(0).permutation(findings.items[half])
    rows = [
        {
            "item": item,
            **_prompt_pair(by_arm["positive"][item], by_arm["negative"][item], model, turn),
        }
        for turn, item in enumerate(order[:items])
    ]
    return pd.DataFrame(rows)


def _prompt_pair(
    positive: Sequence[str], negative: Sequence[str], model: Model, turn: int
) -> dict[str, object]:
    """Two prompts of one length if there are any; templates take turns from item to item."""
    lengths = {prompt: len(model.tokenize(prompt)) for prompt in (*positive, *negative)}
    pairs = [(first, second) for first in positive for second in negative]
    same = [(first, second) for first, second in pairs if lengths[first] == lengths[second]]
    chosen = (same or pairs)[turn % len(same or pairs)]
    return {"positive": chosen[0], "negative": chosen[1], "same_length": bool(same)}
