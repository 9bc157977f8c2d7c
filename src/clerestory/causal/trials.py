"""Matched prompts drawn with edits, and classified: what every causal check is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from clerestory.classifiers import Classifier, ClassifierHead
from clerestory.classifiers import classifier as open_classifier
from clerestory.contrasts.findings import Findings
from clerestory.errors import EvidenceError, RegistryError
from clerestory.models import Edit, Model
from clerestory.registry import suggest
from clerestory.types import Bools, Pictures, Progress

__all__ = ["TrialPictures", "Trials", "matched_prompts", "other_classifiers", "target_classifier"]


@dataclass(frozen=True, eq=False)
class TrialPictures:
    """Pictures of one condition.

    Attributes:
        pictures: `[item, seed, height, width, 3]`.
        hits: `[item, seed]`, whether the label was predicted.
    """

    pictures: Pictures
    hits: Bools

    def first(self, items: int) -> TrialPictures:
        """Those of the first items."""
        return TrialPictures(self.pictures[:items], self.hits[:items])


@dataclass(frozen=True, eq=False)
class Trials:
    """Draws either arm of matched prompts on the same seeds, and classifies the pictures.

    Attributes:
        model: The model.
        pairs: A row for each item: `positive` and `negative`, the two prompts, and `same_length`,
            whether they have as many tokens, so that activations of one can replace the other's.
        seeds: The seeds of each prompt.
        classifier: The classifier.
        label: Its class that stands for the concept.
        progress: Receives updates.
        others: Classifiers of side effects, by name.
    """

    model: Model
    pairs: pd.DataFrame
    seeds: tuple[int, ...]
    classifier: Classifier
    label: str
    progress: Progress
    others: Mapping[str, Classifier] = field(default_factory=dict)

    def draw(
        self,
        task: str,
        arm: str,
        edit_sets: Sequence[Sequence[Edit]] = ((),),
        *,
        items: int | None = None,
        same_length: bool = False,
    ) -> list[TrialPictures]:
        """Draw one arm's prompts with each set of edits.

        Args:
            task: What progress is reported as.
            arm: `positive` or `negative`.
            edit_sets: Sets of edits.
            items: Only so many items.
            same_length: Only pairs of the same length.

        Returns:
            The pictures of each set.
        """
        prompts = self.prompts(arm, items, same_length=same_length)
        runs = self.model.sweep(
            prompts,
            self.seeds,
            edit_sets,
            progress=lambda completed, total: self.progress(task, completed, total),
        )
        shape = (len(prompts), len(self.seeds))
        drawn = [run.pictures for run in runs if run.pictures is not None]
        return [
            TrialPictures(
                pictures.reshape(*shape, *pictures.shape[1:]),
                self.predict_label(pictures).reshape(shape),
            )
            for pictures in drawn
        ]

    def prompts(
        self, arm: str, items: int | None = None, *, same_length: bool = False
    ) -> list[str]:
        """The prompts of an arm."""
        pairs = self.pairs[self.pairs["same_length"]] if same_length else self.pairs
        return list(pairs[arm][:items])

    def predict_label(self, pictures: Pictures) -> Bools:
        """Whether the label is predicted, for pictures `[n, height, width, 3]`."""
        predictions = self.classifier(pictures).argmax(1)
        return np.asarray(predictions == self.classifier.classes.index(self.label))

    def preservation(self, after: TrialPictures, before: TrialPictures) -> dict[str, float]:
        """By other classifier, the share of pictures whose prediction is the same in both."""
        flat = [trial.pictures.reshape(-1, *trial.pictures.shape[2:]) for trial in (after, before)]
        shares = {}
        for name, classifier in self.others.items():
            first, second = (classifier(pictures).argmax(1) for pictures in flat)
            shares[name] = float((first == second).mean())
        return shares


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
    if set(samples.loc[samples["arm"] == "positive", "prompt"]) & set(
        samples.loc[samples["arm"] == "negative", "prompt"]
    ):
        raise EvidenceError(
            "These findings contrast the seeds of one prompt: there are no two prompts to compare."
        )
    if items < 2:
        raise EvidenceError(f"items is {items}; at least 2 are needed for any figure.")
    order = np.random.default_rng(0).permutation(findings.items[half])
    rows = [
        {
            "item": item,
            **_prompt_pair(by_arm["positive"][item], by_arm["negative"][item], model, turn),
        }
        for turn, item in enumerate(order[:items])
    ]
    return pd.DataFrame(rows)


def target_classifier(classifier: str | Classifier, label: str) -> Classifier:
    """Open a classifier.

    Args:
        classifier: A name, or a classifier.
        label: One of its classes.

    Returns:
        The classifier.

    Raises:
        RegistryError: It has no class of that name.
    """
    opened = open_classifier(classifier) if isinstance(classifier, str) else classifier
    if label not in opened.classes:
        hint = suggest(label, opened.classes)
        raise RegistryError(f"{opened.source} has no class {label!r}.{hint}")
    return opened


def other_classifiers(classifier: Classifier, names: Sequence[str] | None) -> dict[str, Classifier]:
    """Classifiers of side effects.

    Args:
        classifier: The classifier of the concept.
        names: Their names; by default the other heads of the classifier's network, if it has any.

    Returns:
        The classifiers by name.
    """
    if names is None:
        names = list(classifier.companions) if isinstance(classifier, ClassifierHead) else []
    return {name: open_classifier(name) for name in names}


def _prompt_pair(
    positive: Sequence[str], negative: Sequence[str], model: Model, turn: int
) -> dict[str, object]:
    """Two prompts of one length if there are any; templates take turns from item to item."""
    lengths = {prompt: len(model.tokenize(prompt)) for prompt in (*positive, *negative)}
    pairs = [(first, second) for first in positive for second in negative]
    same = [(first, second) for first, second in pairs if lengths[first] == lengths[second]]
    chosen = (same or pairs)[turn % len(same or pairs)]
    return {"positive": chosen[0], "negative": chosen[1], "same_length": bool(same)}
