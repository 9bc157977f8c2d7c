"""Pairs samples by item: averages rows into items and validates the split.

A table of samples has a row for each, in the order of the activations:

    prompt
    item      what the prompt is about; the same item occurs in every arm
    template  the wording, without the item
    arm       `positive`, `negative` or `hard_negative`
    half      `selection` or `evaluation`
    seed
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
        positive: `[item, unit]` with the concept.
        negative: `[item, unit]` without it; row i is the same item as in `positive`.
        hard_negative: The same for what resembles the concept, None without such an arm.
    """

    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    hard_negative: NDArray[np.float64] | None

    @property
    def differences(self) -> NDArray[np.float64]:
        """Positive less negative, item by item."""
        return self.positive - self.negative

    def select(self, items: Integers) -> ArmValues:
        """The rows of some items.

        Args:
            items: Numbers of rows.

        Returns:
            Every arm with these rows alone.
        """
        hard_negative = None if self.hard_negative is None else self.hard_negative[items]
        return ArmValues(self.positive[items], self.negative[items], hard_negative)

    def append_units(self, other: ArmValues) -> ArmValues:
        """The same items with another one's units after these.

        Args:
            other: Activations of the same items.

        Returns:
            Every arm with the units of both; no hard negatives where either has none.
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
        """One unit: the projection of each item on a direction; 0 for a direction of length 0.

        Args:
            direction: The direction `[unit]`; its length does not matter.

        Returns:
            `[item, 1]` for each arm, in the units of the activations.
        """
        length = np.linalg.norm(direction)
        unit = (direction / (length if length > 0 else 1.0))[:, None]
        hard_negative = None if self.hard_negative is None else self.hard_negative @ unit
        return ArmValues(self.positive @ unit, self.negative @ unit, hard_negative)


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
        """Average activations `[sample, unit]` over seeds, then over templates.

        Args:
            values: Activations `[sample, unit]` of all samples, also those of the other half.

        Returns:
            Activations `[item, unit]` of each arm.
        """
        parts = {arm: weights @ values for arm, weights in self.weights.items()}
        return ArmValues(parts["positive"], parts["negative"], parts.get("hard_negative"))


@dataclass(frozen=True, eq=False)
class Pairing:
    """Matched pairs of both halves, which share no item and no template.

    Attributes:
        selection: The half that ranks units and fits directions.
        evaluation: The half that every figure is computed on.
        template_counts: Templates by arm; empty where the seeds of a prompt are contrasted.
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
        samples: A row for each sample, with the columns of this module's docstring.
        separate_templates: False where both halves have to share their templates.
        within: True where seeds of one prompt are in different arms.

    Returns:
        The weights that average samples into pairs.

    Raises:
        EvidenceError: A column is missing, the halves share an item or template, a prompt is in two
            arms, or one half alone has hard negatives.
        EmptyArmError: An arm of a half is empty, or no item has every arm.
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
    # Within a prompt both arms share its one template: its number says nothing.
    counts = {} if within else samples.groupby("arm")["template"].nunique().to_dict()
    return Pairing(selection, evaluation, {str(arm): int(n) for arm, n in counts.items()})


def balance_arms(samples: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Drop samples at random until each item has as many positive as negative ones.

    With skewed activations, a difference of means over unequal numbers of samples is itself skewed
    under the null, which inflates the paired test.

    Args:
        samples: Columns `item` and `arm`.
        rng: Chooses the samples to drop.

    Returns:
        The samples that remain, in their order; hard negatives are not touched.
    """
    # Which samples come first is random, so that the last ones can be dropped.
    shuffled = samples.iloc[rng.permutation(len(samples))]
    position = shuffled.groupby(["item", "arm"]).cumcount()
    counts = pd.crosstab(shuffled["item"], shuffled["arm"])
    # An item that only one of the two arms has keeps no sample of it.
    fewest = counts.reindex(columns=["positive", "negative"], fill_value=0).min(axis=1)
    selected = (shuffled["arm"] == "hard_negative") | (position < shuffled["item"].map(fewest))
    # Back in the order of the activations.
    return samples[selected.reindex(samples.index)]


def _half_weights(samples: pd.DataFrame, half: str) -> HalfWeights:
    rows = (samples["half"] == half).to_numpy()
    by_arm = {arm: rows & (samples["arm"] == arm).to_numpy() for arm in ARMS}
    for arm in ("positive", "negative"):
        if not by_arm[arm].any():
            raise EmptyArmError(
                f"No sample of the {half} half is {arm}: its arms are"
                f" {_levels(samples.loc[rows, 'arm'])}, the halves {_levels(samples['half'])}."
            )
    present = {arm: mask for arm, mask in by_arm.items() if mask.any()}
    shared = set.intersection(*(set(samples.loc[mask, "item"]) for mask in present.values()))
    if not shared:
        raise EmptyArmError(f"No item of the {half} half has every arm: {', '.join(present)}.")
    items = tuple(sorted(shared))
    return HalfWeights(items, {arm: _weights(samples, present[arm], items) for arm in present})


def _weights(samples: pd.DataFrame, mask: Bools, items: tuple[str, ...]) -> NDArray[np.float64]:
    """Weights that average seeds within a template, then templates within an item."""
    chosen = samples[mask].reset_index(drop=True)
    # Templates count alike, however many seeds each has.
    seeds = chosen.groupby(["item", "template"])["seed"].transform("size").to_numpy()
    templates = chosen.groupby("item")["template"].transform("nunique").to_numpy()
    row = pd.Index(items).get_indexer(pd.Index(chosen["item"]))
    weights = np.zeros((len(items), len(samples)))
    matched = row >= 0
    # −1 is an item that lacks one of the arms: it has no row.
    weights[row[matched], np.flatnonzero(mask)[matched]] = 1.0 / (seeds * templates)[matched]
    return weights


def _check_disjoint(samples: pd.DataFrame, column: str) -> None:
    selection, evaluation = (set(samples.loc[samples["half"] == half, column]) for half in HALVES)
    both = sorted(selection & evaluation)
    if both:
        raise EvidenceError(
            f"{len(both)} {column}s are in both halves, for example {both[0]!r}; the halves must"
            " be disjoint."
        )


def _check_one_arm_each(samples: pd.DataFrame) -> None:
    arms = samples.groupby("prompt")["arm"].nunique()
    several = list(arms.index[arms > 1])
    if several:
        raise EvidenceError(
            f"{len(several)} prompts are in more than one arm, for example {several[0]!r}: a prompt"
            " must have the concept or lack it. To contrast the seeds of a prompt, use `within`."
        )


def _levels(column: pd.Series[str]) -> str:
    return ", ".join(sorted(map(str, column.unique()))) or "none"
