"""Pairs samples by item: averages samples into items, and checks the split into halves.

A table of samples has a row for each sample, in the order of the activations, and these columns:

    prompt    the whole prompt
    item      what the prompt is about; the same item occurs in every arm
    template  the wording, without the item
    arm       `positive`, `negative` or `hard_negative`
    half      `selection` or `evaluation`
    seed      the seed of the noise
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.errors import EmptyArmError, EvidenceError
from clerestory.types import Bools, Floats, Integers, Role

__all__ = ["ARMS", "COLUMNS", "HALVES", "ArmValues", "Pairing", "balance_arms", "pair_samples"]

ARMS = ("positive", "negative", "hard_negative")
HALVES: tuple[Role, Role] = ("selection", "evaluation")
COLUMNS = ("prompt", "item", "template", "arm", "half", "seed")


@dataclass(frozen=True, eq=False)
class ArmValues:
    """Activations of matched items in each arm.

    Attributes:
        positive: `[item, unit]`, with the concept.
        negative: `[item, unit]`, without the concept; the same items in the same rows.
        hard_negative: `[item, unit]`, with what resembles the concept; None without this arm.
    """

    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    hard_negative: NDArray[np.float64] | None

    @property
    def differences(self) -> NDArray[np.float64]:
        """Positive minus negative, `[item, unit]`."""
        return self.positive - self.negative

    def select(self, items: Integers) -> ArmValues:
        """The values of some items.

        Args:
            items: Indices of rows.

        Returns:
            Every arm with these rows.
        """
        hard_negative = None if self.hard_negative is None else self.hard_negative[items]
        return ArmValues(self.positive[items], self.negative[items], hard_negative)

    def append_units(self, other: ArmValues) -> ArmValues:
        """Append the columns of another instance.

        Args:
            other: Activations of the same items.

        Returns:
            Every arm with the units of both; no hard negatives unless both have some.
        """
        hard_negative = None
        if self.hard_negative is not None and other.hard_negative is not None:
            hard_negative = np.hstack([self.hard_negative, other.hard_negative])
        return ArmValues(
            np.hstack([self.positive, other.positive]),
            np.hstack([self.negative, other.negative]),
            hard_negative,
        )

    def project(self, direction: NDArray[np.float64]) -> ArmValues:
        """Project each item on a direction.

        Args:
            direction: The direction `[unit]`, which is normalised to length 1.

        Returns:
            `[item, 1]` for each arm, in the units of the activations; 0 for a zero direction.
        """
        length = np.linalg.norm(direction)
        unit_vector = (direction / (length if length > 0 else 1.0))[:, None]
        hard_negative = None if self.hard_negative is None else self.hard_negative @ unit_vector
        return ArmValues(self.positive @ unit_vector, self.negative @ unit_vector, hard_negative)


@dataclass(frozen=True, eq=False)
class HalfWeights:
    """How the samples of one half are averaged into items.

    Attributes:
        items: The items that occur in every arm, sorted.
        weights: `[item, sample]` by arm; each row sums to 1.
    """

    items: tuple[str, ...]
    weights: Mapping[str, NDArray[np.float64]]

    def average(self, values: Floats) -> ArmValues:
        """Average activations over seeds, then over templates.

        Args:
            values: `[sample, unit]` for the samples of both halves.

        Returns:
            `[item, unit]` for each arm.
        """
        means = {arm: weights @ values for arm, weights in self.weights.items()}
        return ArmValues(means["positive"], means["negative"], means.get("hard_negative"))


@dataclass(frozen=True, eq=False)
class Pairing:
    """Matched pairs of both halves, which share no item and no template.

    Attributes:
        selection: The half that ranks units and fits directions.
        evaluation: The half that every figure is computed on.
        template_counts: Number of templates by arm; empty if the seeds of a prompt are contrasted.
    """

    selection: HalfWeights
    evaluation: HalfWeights
    template_counts: Mapping[str, int]

    def __iter__(self) -> Iterator[tuple[str, HalfWeights]]:
        yield "selection", self.selection
        yield "evaluation", self.evaluation


def pair_samples(
    samples: pd.DataFrame, *, separate_templates: bool = True, within: bool = False
) -> Pairing:
    """Pair samples by item.

    Args:
        samples: A row for each sample; the docstring of this module describes the columns.
        separate_templates: Whether the halves must not share templates.
        within: Whether the seeds of one prompt may be in different arms.

    Returns:
        The weights that average samples into items.

    Raises:
        EvidenceError: A column is missing, the halves share an item or a template, a prompt is in
            two arms, or only one half has hard negatives.
        EmptyArmError: An arm of a half is empty, or no item occurs in every arm.
    """
    missing = [column for column in COLUMNS if column not in samples]
    if missing:
        raise EvidenceError(f"Samples have no column {missing[0]!r}; needed: {', '.join(COLUMNS)}.")
    if not within:
        _check_one_arm_each(samples)
    for column in ("item", "template") if separate_templates else ("item",):
        _check_disjoint(samples, column)
    selection, evaluation = (_half_weights(samples, half) for half in HALVES)
    if set(selection.weights) != set(evaluation.weights):
        raise EvidenceError("Only one half has hard negatives: give both halves some, or neither.")
    # Within a prompt both arms share its one template, so there is nothing to count.
    counts = {} if within else samples.groupby("arm")["template"].nunique().to_dict()
    return Pairing(selection, evaluation, {str(arm): int(n) for arm, n in counts.items()})


def balance_arms(samples: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Drop samples at random until each item has as many positive as negative samples.

    With skewed activations, a difference of means over unequal numbers of samples is itself skewed
    under the null hypothesis, which inflates the paired test.

    Args:
        samples: Columns `item` and `arm`.
        rng: Chooses the samples to drop.

    Returns:
        The samples that remain, in their order, with all hard negatives.
    """
    # Dropping the last samples of a random order drops random samples.
    shuffled = samples.iloc[rng.permutation(len(samples))]
    position = shuffled.groupby(["item", "arm"]).cumcount()
    counts = pd.crosstab(shuffled["item"], shuffled["arm"])
    # An item that lacks one of the two arms has 0 in it, and so loses the other arm too.
    fewest = counts.reindex(columns=["positive", "negative"], fill_value=0).min(axis=1)
    selected = (shuffled["arm"] == "hard_negative") | (position < shuffled["item"].map(fewest))
    # In the order of the activations again.
    return samples[selected.reindex(samples.index)]


def _half_weights(samples: pd.DataFrame, half: str) -> HalfWeights:
    rows = (samples["half"] == half).to_numpy()
    by_arm = {arm: rows & (samples["arm"] == arm).to_numpy() for arm in ARMS}
    for arm in ("positive", "negative"):
        if not by_arm[arm].any():
            raise EmptyArmError(
                f"No sample of the {half} half is {arm}: its arms are"
                f" {_distinct_values(samples.loc[rows, 'arm'])}, the halves"
                f" {_distinct_values(samples['half'])}."
            )
    present = {arm: mask for arm, mask in by_arm.items() if mask.any()}
    shared = set.intersection(*(set(samples.loc[mask, "item"]) for mask in present.values()))
    if not shared:
        raise EmptyArmError(f"No item of the {half} half has every arm: {', '.join(present)}.")
    items = tuple(sorted(shared))
    return HalfWeights(items, {arm: _weights(samples, present[arm], items) for arm in present})


def _weights(samples: pd.DataFrame, mask: Bools, items: tuple[str, ...]) -> NDArray[np.float64]:
    """`[item, sample]` weights that average seeds within a template, then templates of an item."""
    arm_samples = samples[mask].reset_index(drop=True)
    # All templates of an item have the same weight, whatever their numbers of seeds.
    seeds = arm_samples.groupby(["item", "template"])["seed"].transform("size").to_numpy()
    templates = arm_samples.groupby("item")["template"].transform("nunique").to_numpy()
    row = pd.Index(items).get_indexer(pd.Index(arm_samples["item"]))
    weights = np.zeros((len(items), len(samples)))
    # An item that lacks one of the arms is not among `items`: its row is −1.
    matched = row >= 0
    weights[row[matched], np.flatnonzero(mask)[matched]] = 1.0 / (seeds * templates)[matched]
    return weights


def _check_disjoint(samples: pd.DataFrame, column: str) -> None:
    selection, evaluation = (set(samples.loc[samples["half"] == half, column]) for half in HALVES)
    shared = sorted(selection & evaluation)
    if shared:
        raise EvidenceError(
            f"{len(shared)} {column}s are in both halves, for example {shared[0]!r}; the halves"
            " must be disjoint."
        )


def _check_one_arm_each(samples: pd.DataFrame) -> None:
    arms = samples.groupby("prompt")["arm"].nunique()
    several = list(arms.index[arms > 1])
    if several:
        raise EvidenceError(
            f"{len(several)} prompts are in more than one arm, for example {several[0]!r}: a prompt"
            " must have the concept or lack it. To contrast the seeds of a prompt, use `within`."
        )


def _distinct_values(column: pd.Series[str]) -> str:
    return ", ".join(sorted(map(str, column.unique()))) or "none"
