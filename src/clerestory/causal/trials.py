"""Trials: matched prompts, drawn with edits and classified, the basis of all causal checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from clerestory.classifiers import Classifier
from clerestory.contrasts.findings import Findings
from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition, Design, Drawing, Effect, Evaluator, LoadedTarget, Rate
from clerestory.models import Edit, Model

__all__ = ["Trials", "matched_prompts", "with_seeds"]


@dataclass(frozen=True, eq=False)
class Trials:
    """Draws either arm of matched prompts with the same seeds, and classifies the pictures.

    Attributes:
        evaluator: Draws the pictures.
        pairs: A row for each item: `positive` and `negative`, the two prompts; `same_length`,
            whether they have equally many tokens, so that activations can be copied between them;
            and `seeds`, the seeds of both prompts, as many for each item.
        target: A classifier, and its class that stands for the concept.
        others: Classifiers that measure side effects, by name.
    """

    evaluator: Evaluator
    pairs: pd.DataFrame
    target: LoadedTarget
    others: Mapping[str, Classifier] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        """The model."""
        return self.evaluator.model

    @property
    def classifiers(self) -> dict[str, Classifier]:
        """The classifiers of all side effects, by name: the target's and the others."""
        # The target's first: its other classes are side effects as well.
        return {self.target.classifier.source: self.target.classifier, **self.others}

    def with_seeds(self, count: int) -> Trials:
        """The same trials with fewer seeds of each item, for what is drawn many times.

        Args:
            count: Number of seeds, from the first.

        Returns:
            The trials.
        """
        return replace(self, pairs=with_seeds(self.pairs, (s[:count] for s in self.pairs["seeds"])))

    def report(self, task: str, completed: int, total: int) -> None:
        """Report progress.

        Args:
            task: Label of the progress.
            completed: Number of completed units of work.
            total: Number of all units of work.
        """
        if self.evaluator.progress is not None:
            self.evaluator.progress(task, completed, total)

    def draw_arms(self) -> tuple[Drawing, Drawing]:
        """Draw the prompts of both arms without edits, the negative ones first."""
        (unedited,) = self.draw("negative prompts", "negative")
        (prompted,) = self.draw("positive prompts", "positive")
        return unedited, prompted

    def draw(
        self,
        task: str | None,
        arm: str,
        edit_sets: Sequence[Sequence[Edit]] = ((),),
        *,
        items: int | None = None,
        same_length: bool = False,
    ) -> list[Drawing]:
        """Draw the prompts of one arm with each set of edits.

        Args:
            task: Label of the progress; None reports none.
            arm: `positive` or `negative`.
            edit_sets: Sets of edits.
            items: Number of items; by default all.
            same_length: Whether to draw only pairs with equally many tokens.

        Returns:
            A drawing for each set.
        """
        design = self.design(arm, items, same_length=same_length)
        return self.evaluator.draw(_conditions(edit_sets), design, description=task)

    def draw_patched(self, design: Design, edit_sets: Sequence[Sequence[Edit]]) -> list[Drawing]:
        """Draw prompts with sets of patches, without the cache: no other call has the same patches.

        Args:
            design: The prompts that are patched, with their seeds.
            edit_sets: Sets of patches, each for all cells.

        Returns:
            A drawing for each set.
        """
        conditions = _conditions(edit_sets)
        return self.evaluator.draw(conditions, design, cached=False, description=None)

    def design(self, arm: str, items: int | None = None, *, same_length: bool = False) -> Design:
        """The prompts of an arm, each an item with its own seeds.

        Args:
            arm: `positive` or `negative`.
            items: Number of items, from the first; by default all.
            same_length: Whether to take only pairs with equally many tokens.

        Returns:
            The design, in the order of `pairs`.
        """
        pairs = self.pairs[self.pairs["same_length"]] if same_length else self.pairs
        return Design(tuple(pairs[arm][:items]), tuple(pairs["seeds"][:items]))

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


def with_seeds(pairs: pd.DataFrame, seeds: Iterable[Sequence[int]]) -> pd.DataFrame:
    """Pairs with the seeds of each.

    Args:
        pairs: A row for each item.
        seeds: The seeds of each row.

    Returns:
        The same rows, with the column `seeds`.
    """
    # A column of tuples has to be made from a Series: pandas spreads a list over the columns.
    return pairs.assign(seeds=pd.Series(map(tuple, seeds), index=pairs.index, dtype=object))


def _conditions(edit_sets: Sequence[Sequence[Edit]]) -> list[Condition]:
    return [Condition(str(number), edits=tuple(edits)) for number, edits in enumerate(edit_sets)]


def matched_prompts(findings: Findings, model: Model, half: str, items: int) -> pd.DataFrame:
    """Choose items at random, and for each a prompt of both arms, if possible of equal length.

    Prompts that are in both arms are left out: of these, the picture sets the arm. Where the arms
    share no item, as after `group` without controlled columns, prompts are paired at random.

    Args:
        findings: The findings, with their samples.
        model: The model, whose tokenizer determines the lengths.
        half: `selection` or `evaluation`.
        items: Number of items, at least 2.

    Returns:
        Columns `item`, `positive`, `negative`, `same_length`.

    Raises:
        EvidenceError: The findings have no samples, no two prompts of two arms remain, or `items`
            is less than 2.
    """
    if findings.samples is None:
        raise EvidenceError("These findings have no samples to take prompts from: find them again.")
    if items < 2:
        raise EvidenceError(f"items is {items}; at least 2 are needed for any figure.")
    samples = findings.samples[findings.samples["half"] == half]
    arms = {arm: samples[samples["arm"] == arm] for arm in ("positive", "negative")}
    shared_prompts = set(arms["positive"]["prompt"]) & set(arms["negative"]["prompt"])
    # A prompt that is in both arms cannot show what the other arm's prompts do.
    if shared_prompts:
        arms = {arm: rows[~rows["prompt"].isin(shared_prompts)] for arm, rows in arms.items()}
    # A fixed seed, so that every call of `verify` reads and draws the same items.
    rng = np.random.default_rng(0)
    # The picture sets the arm: each prompt is a replicate, and an item may have many.
    by_prompt = findings.templates.get("design") == "cells" or bool(shared_prompts)
    pairs = _prompt_pairs(arms, rng) if by_prompt else _item_pairs(arms, rng)
    if len(pairs) < 2:
        raise EvidenceError(
            "These findings contrast the seeds of the same prompts: there are no two prompts to "
            "compare. Group prompts by controlled columns, or find a concept that prompts name."
        )
    rows = [
        {"item": item, **_prompt_pair(positive, negative, model, index)}
        for index, (item, positive, negative) in enumerate(pairs[:items])
    ]
    return pd.DataFrame(rows)


_Pair = tuple[str, Sequence[str], Sequence[str]]
"""An item with its prompts of both arms."""


def _item_pairs(arms: Mapping[str, pd.DataFrame], rng: np.random.Generator) -> list[_Pair]:
    """Each item once, in random order; items of different arms are paired where none is shared."""
    prompts = {
        arm: {item: list(dict.fromkeys(rows["prompt"])) for item, rows in table.groupby("item")}
        for arm, table in arms.items()
    }
    positive, negative = prompts["positive"], prompts["negative"]
    shared = [item for item in positive if item in negative]
    if len(shared) > 1:
        return [
            (shared[at], positive[shared[at]], negative[shared[at]])
            for at in rng.permutation(len(shared))
        ]
    firsts, seconds = (
        [list(each)[at] for at in rng.permutation(len(each))] for each in (positive, negative)
    )
    return [
        (f"{first} · {second}", positive[first], negative[second])
        for first, second in zip(firsts, seconds, strict=False)
    ]


def _prompt_pairs(arms: Mapping[str, pd.DataFrame], rng: np.random.Generator) -> list[_Pair]:
    """Each prompt at most once, paired within items as far as these have prompts of both arms."""
    prompts = {}
    for arm, table in arms.items():
        distinct = table.drop_duplicates("prompt")
        prompts[arm] = distinct.iloc[rng.permutation(len(distinct))]
    negatives = prompts["negative"].groupby("item", sort=False)["prompt"].agg(list).to_dict()
    pairs: list[_Pair] = []
    for item, positive in zip(
        prompts["positive"]["item"], prompts["positive"]["prompt"], strict=True
    ):
        if negatives.get(item):
            # Each negative prompt once: a prompt that is used twice is not two replicates.
            negative = negatives[item].pop()
            pairs.append((negative, [positive], [negative]))
    if len(pairs) > 1:
        return pairs
    columns = (prompts[arm]["prompt"] for arm in ("positive", "negative"))
    return [
        (negative, [positive], [negative]) for positive, negative in zip(*columns, strict=False)
    ]


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
