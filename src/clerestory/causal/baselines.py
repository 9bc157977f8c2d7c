"""What a controlling edit is held against: directions of its length, at its site, of no concept.

Half are differences of means after the arms of whole templates were permuted, where there are
templates enough, and the others random with the covariance of the activations. Random directions
alone are easier to beat where templates differ in more than the concept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.contrasts.findings import Findings
from clerestory.errors import EvidenceError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.reporting.progress import relabel
from clerestory.stats.baselines import baseline_p, permuted_directions, random_directions
from clerestory.types import Floats, Progress

__all__ = [
    "LEVEL",
    "BaselineEffects",
    "SelectionReadings",
    "baseline_count",
    "baseline_warnings",
    "read_selection",
]

LEVEL = 0.05
"""q up to which an edit does more than its baselines."""
FEWEST = 99
"""Baselines of one edit: the smallest p is 0.01."""
FEWEST_TEMPLATES = 4
"""Templates of an arm below which they have too few permutations: 4 and 4 have 36, 3 and 3 nine."""
MAX_TEMPLATES, SAMPLES_PER_ARM, FEWEST_ITEMS = 12, 48, 4
"""What is read of each arm: at most so many templates and about so many samples."""

Directions = NDArray[np.float64]


@dataclass(frozen=True)
class BaselineEffects:
    """Effects of edits of the same length at the same site, along directions of no concept.

    Attributes:
        mean: Mean effect.
        low: Smallest effect.
        high: Largest effect.
        directions: Number of directions.
        permuted: How many of them are of permuted templates; the others are random, with the
            covariance of the site's activations.
        items: Number of items that each direction was drawn with, one seed each.
        unit_effect: Effect of the edit itself, on the same items and seeds.
        p: Share of edits that do at least as much, the edit itself included.
    """

    mean: float
    low: float
    high: float
    directions: int
    permuted: int
    items: int
    unit_effect: float
    p: float

    @classmethod
    def of(
        cls, effects: Sequence[float], unit_effect: float, *, permuted: int, items: int
    ) -> BaselineEffects:
        """Compare an effect with those of its baselines.

        Args:
            effects: An effect of each direction.
            unit_effect: Effect of the edit itself, on the same items and seeds.
            permuted: How many directions are of permuted templates.
            items: Number of items.

        Returns:
            The figures.
        """
        return cls(
            mean=float(np.mean(effects)),
            low=float(min(effects)),
            high=float(max(effects)),
            directions=len(effects),
            permuted=permuted,
            items=items,
            unit_effect=unit_effect,
            p=baseline_p(unit_effect, np.asarray(effects, np.float64)),
        )


@dataclass(frozen=True, eq=False)
class SelectionReadings:
    """Activations of samples of the selection half.

    Attributes:
        table: A row for each sample: `arm`, `wording`, `item`, `prompt`, `seed`.
        values: By site, `[sample, unit]`.
    """

    table: pd.DataFrame
    values: Mapping[str, Floats]

    def template_means(self, site: str, arm: str) -> Directions:
        """Mean activations of each template of an arm, over items.

        Args:
            site: A site that was read.
            arm: `positive` or `negative`.

        Returns:
            `[template, unit]`.
        """
        rows = (self.table["arm"] == arm).to_numpy()
        wordings, values = self.table["wording"].to_numpy()[rows], self.values[site][rows]
        return np.stack(
            [values[wordings == name].mean(0, dtype=np.float64) for name in pd.unique(wordings)]
        )

    def arm_mean(self, site: str, arm: str) -> Directions:
        """Mean activations of an arm, in which each template counts once.

        Args:
            site: A site that was read.
            arm: `positive` or `negative`.

        Returns:
            `[unit]`.
        """
        return np.asarray(self.template_means(site, arm).mean(0))

    def baselines(self, site: str, norm: float, count: int) -> tuple[Directions, int]:
        """Directions of no concept, the same for the same samples.

        Args:
            site: A site that was read.
            norm: Length of the directions, in the units of the activations.
            count: How many directions.

        Returns:
            `[direction, unit]`, those of permuted templates first, and how many those are.

        Raises:
            EvidenceError: All samples are alike, so that no direction remains.
        """
        # A fixed seed, so that the same findings have the same baselines in every call.
        rng = np.random.default_rng(0)
        positive, negative = (self.template_means(site, arm) for arm in ("positive", "negative"))
        permuted = np.empty((0, positive.shape[1]))
        if min(len(positive), len(negative)) >= FEWEST_TEMPLATES:
            with suppress(EvidenceError):  # templates that are all alike leave no direction
                # Half of each kind: permutations know the templates, random
                # directions the whole distribution.
                permuted = permuted_directions(positive, negative, norm, rng, count // 2)
        centered = self.values[site].astype(np.float64)
        for arm in ("positive", "negative"):
            # Around the mean of its arm: the difference of the arms is the concept.
            rows = (self.table["arm"] == arm).to_numpy()
            centered[rows] -= centered[rows].mean(0)
        # A neuron that rounding alone moves does not vary.
        centered[np.abs(centered) < 1e-9 * np.abs(self.values[site]).max(initial=0.0)] = 0.0
        remaining = random_directions(centered, norm, rng, count - len(permuted))
        return np.concatenate([permuted, remaining]), len(permuted)


def read_selection(
    model: Model, findings: Findings, sites: Sequence[str], progress: Progress | None = None
) -> SelectionReadings:
    """Read samples of both arms of the selection half again, a few of each template.

    Args:
        model: The model.
        findings: The findings, with their samples.
        sites: Addresses of sites, with steps (`@5`) or without.
        progress: Receives updates.

    Returns:
        The activations, pooled as recordings are and averaged over the steps of each address.

    Raises:
        EvidenceError: The findings have no samples.
    """
    if findings.samples is None:
        raise EvidenceError("These findings have no samples to take prompts from: find them again.")
    table = _sample_rows(findings.samples)
    (run,) = model.sweep(
        table["prompt"].tolist(),
        table["seed"].tolist(),
        [()],
        paired=True,
        read=list(dict.fromkeys(parse(site).site for site in sites)),
        pictures=False,
        progress=False if progress is None else relabel(progress, "reading"),
    )
    # The mean over the steps that the finding was read at.
    values = {site: run.read(site).mean("step").to_numpy() for site in dict.fromkeys(sites)}
    return SelectionReadings(table, values)


def baseline_count(edits: int) -> int:
    """How many baselines show that one of several edits does more than all of its own.

    Args:
        edits: Number of edits, whose p-values are corrected for it.

    Returns:
        99, or as many as q ≤ 0.05 takes where one edit alone has an effect.

    >>> baseline_count(1), baseline_count(7)
    (99, 139)
    """
    # With n baselines p is at least 1/(n + 1), and Benjamini–Hochberg
    # multiplies the first by the edits.
    return max(FEWEST, math.ceil(edits / LEVEL) - 1)


def baseline_warnings(count: int, edits: int) -> list[EvidenceWarning]:
    """Say so where the baselines are too few for any edit to be supported.

    Args:
        count: Number of baselines of each edit.
        edits: Number of edits.

    Returns:
        A warning, or none.
    """
    smallest = edits / (count + 1)
    if smallest <= LEVEL:
        return []
    text = (
        f"With {count} baselines of each of {edits} edits the smallest q of one of them is "
        f"{min(smallest, 1.0):.2f}: draw {baseline_count(edits)} or more for a claim."
    )
    return [EvidenceWarning("few-baselines", text)]


def _sample_rows(samples: pd.DataFrame) -> pd.DataFrame:
    """Samples of the selection half: the same items, if possible, in every template of an arm."""
    rng = np.random.default_rng(0)
    samples = samples[
        (samples["half"] == "selection") & samples["arm"].isin(["positive", "negative"])
    ]
    by_item = samples.groupby("item")["arm"].nunique()
    shared = by_item.index[by_item == 2]
    # Items of both arms, where there are any: then the arms do not differ in their items.
    if len(shared) > 1:
        samples = samples[samples["item"].isin(shared)]
    # Shuffled, so that frames and seeds of an item and phrase are taken at random.
    samples = samples.iloc[rng.permutation(len(samples))]
    # Where each arm has one phrase, or none, frames are what varies.
    several = samples.groupby("arm")["phrase"].nunique().max() > 1
    samples = samples.assign(wording=samples["phrase" if several else "template"])
    samples = samples.drop_duplicates(["arm", "wording", "item"])
    wordings = samples.groupby("arm")["wording"].transform(lambda names: pd.factorize(names)[0])
    samples = samples[wordings < MAX_TEMPLATES]
    count = max(samples.groupby("arm")["wording"].nunique())
    # Items in one random order for all templates, so that these differ in as little as possible.
    names = sorted(samples["item"].unique())
    ranks = dict(zip(names, rng.permutation(len(names)), strict=True))
    ordered = samples.assign(rank=samples["item"].map(ranks)).sort_values("rank", kind="stable")
    # Fewer items where there are many templates, which are what is permuted.
    items = max(FEWEST_ITEMS, SAMPLES_PER_ARM // count)
    rows = ordered.groupby(["arm", "wording"], sort=False).head(items)
    return rows[["arm", "wording", "item", "prompt", "seed"]].reset_index(drop=True)
