"""Summaries of units' values over samples, for all units of a site at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from clerestory.naming.candidates import lower_aurocs
from clerestory.naming.samples import split_words
from clerestory.stats import benjamini_hochberg

__all__ = [
    "EXTREMES",
    "SPREAD",
    "Words",
    "histograms",
    "moments",
    "nearest",
    "ranked",
    "selectivity",
    "words_of",
]

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
EXTREMES, SPREAD = 12, 6
"""Samples at either end of a unit's range, and evenly spaced ones in between."""
BINS = 40
"""Bins of a histogram."""
MAX_WORDS = 8
"""Words in either direction."""
MAX_Q = 0.05
"""Largest q of a listed word."""


def ranked(values: Floats, prompts: Ints) -> dict[str, Ints]:
    """Samples with the highest, lowest and evenly spaced values of each unit.

    Args:
        values: `[sample, unit]`.
        prompts: The number of each sample's prompt, `[sample]`.

    Returns:
        Rows of `values`: `most` and `least`, `[unit, 12]`, the most extreme sample of each of
        twelve prompts, padded with -1; and `spread`, `[unit, 6]`.
    """
    count, units = values.shape
    # Stable, so that a build gives the same pages on every machine.
    order = np.argsort(values, axis=0, kind="stable").T
    quantiles = np.linspace(0, count - 1, SPREAD + 2).round().astype(int)[1:-1]
    ends = {"most": order[:, ::-1], "least": order}
    extremes = {
        name: np.array([_first_of_prompts(row, prompts) for row in rows]).reshape(units, EXTREMES)
        for name, rows in ends.items()
    }
    return {**extremes, "spread": order[:, quantiles]}


def _first_of_prompts(row: Ints, prompts: Ints) -> Ints:
    """The first sample of each of the first prompts in a row, padded with -1."""
    # The first 96 samples nearly always have twelve prompts; `unique` sorts, which takes long.
    head = row[: EXTREMES * 8]
    _, first = np.unique(prompts[head], return_index=True)
    if len(first) < EXTREMES and len(head) < len(row):
        head = row
        _, first = np.unique(prompts[head], return_index=True)
    samples = head[np.sort(first)[:EXTREMES]]
    return np.pad(samples, (0, EXTREMES - len(samples)), constant_values=-1)


def moments(values: Floats) -> dict[str, Floats]:
    """Mean, standard deviation, range and excess kurtosis of each unit.

    Args:
        values: `[sample, unit]`.

    Returns:
        `mean`, `sd`, `low`, `high` and `peak`, the excess kurtosis, `[unit]` each, in float64; a
        constant unit has a peak of 0.
    """
    # The fourth power in float32 loses the digits that a kurtosis needs.
    precise = values.astype(np.float64)
    mean, sd = precise.mean(0), precise.std(0)
    z = (precise - mean) / np.where(sd > 0, sd, 1)
    return {
        "mean": mean,
        "sd": sd,
        "low": precise.min(0),
        "high": precise.max(0),
        "peak": np.where(sd > 0, (z**4).mean(0) - 3, 0.0),
    }


def histograms(values: Floats) -> Ints:
    """Counts in equal bins from each unit's lowest to its highest value.

    Args:
        values: `[sample, unit]`.

    Returns:
        `[unit, 40]`, int32.
    """
    low, high = values.min(0), values.max(0)
    width = np.where(high > low, high - low, 1)
    # The highest value belongs to the last bin, as in `numpy.histogram`.
    bins = np.minimum((values - low) / width * BINS, BINS - 1).astype(np.int64)
    units = values.shape[1]
    # One count over all units: each has a range of bin numbers of its own.
    flat = bins + np.arange(units) * BINS
    return np.bincount(flat.ravel(), minlength=units * BINS).reshape(units, BINS).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Words:
    """Words of prompts that may raise or lower a unit.

    Attributes:
        words: The words.
        present: Whether a prompt has a word, `[prompt, word]`.
    """

    words: tuple[str, ...]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, prompts: Sequence[str], least: int = 5) -> Words:
        """The words that enough prompts have and enough prompts lack.

        Args:
            prompts: Different prompts.
            least: Minimum number of prompts that have a word, and of prompts that lack it.

        Returns:
            Words in alphabetical order.
        """
        sets = _word_sets(prompts)
        counts = Counter(word for words in sets for word in words)
        # Words of nearly all or of hardly any prompts have no group to compare with.
        words = sorted(word for word, n in counts.items() if least <= n <= len(sets) - least)
        return cls(tuple(words), _present(words, sets))

    def within(self, prompts: Sequence[str]) -> NDArray[np.bool_]:
        """Whether other prompts have these words.

        Args:
            prompts: Prompts.

        Returns:
            `[prompt, word]`.
        """
        return _present(self.words, _word_sets(prompts))


def _word_sets(prompts: Sequence[str]) -> list[set[str]]:
    return [set(split_words(prompt)) for prompt in prompts]


def _present(words: Sequence[str], sets: Sequence[set[str]]) -> NDArray[np.bool_]:
    present = np.array([[word in each for word in words] for each in sets], bool)
    return present.reshape(len(sets), len(words))


def words_of(values: Floats, words: Words) -> dict[str, NDArray[np.generic]]:
    """The words that raise and lower each unit, with their effects.

    An effect is the difference of means of prompts with and without the word, in standard
    deviations of the unit. Words with q ≤ 0.05 are listed: p by the t test of ranks, which single
    high values do not dominate; q by Benjamini-Hochberg over the words and units of the site.

    Args:
        values: `[prompt, unit]`, averaged over seeds.
        words: The words, of the same prompts.

    Returns:
        Word numbers `up-word` and `down-word`, padded with -1, and their effects `up-effect` and
        `down-effect`, padded with 0; `[unit, 8]` each.
    """
    units = values.shape[1]
    effect: Floats = np.empty((0, units))
    q = effect
    if words.words:
        effect, q = _effects(values.astype(np.float64), words.present)
    figures: dict[str, NDArray[np.generic]] = {}
    for direction, sign in (("up", 1), ("down", -1)):
        sizes = np.where(q <= MAX_Q, sign * effect, -np.inf)
        first = np.argsort(-sizes, axis=0, kind="stable")[:MAX_WORDS].T
        largest = np.take_along_axis(sizes.T, first, 1)
        numbers = np.where(largest > 0, first, -1).astype(np.int32)
        effects = np.where(largest > 0, sign * largest, 0).astype(np.float32)
        padding = ((0, 0), (0, MAX_WORDS - numbers.shape[1]))
        figures[f"{direction}-word"] = np.pad(numbers, padding, constant_values=-1)
        figures[f"{direction}-effect"] = np.pad(effects, padding)
    return figures


def selectivity(values: Floats, present: NDArray[np.bool_], first: Ints) -> Floats:
    """How well the word that raises a unit most tells its high from its low held-out prompts.

    Args:
        values: Of held-out prompts, averaged over seeds, `[prompt, unit]`.
        present: Whether each of them has a word, `[prompt, word]`.
        first: The number of each unit's word, which other prompts chose; −1 for none.

    Returns:
        AUROC of the prompts with the word against the others, less two standard errors, `[unit]`; 0
        for a unit without a word, or whose word no held-out prompt has.
    """
    scores = np.zeros(len(first))
    for word in np.unique(first[first >= 0]):
        units = np.flatnonzero(first == word)
        scores[units] = lower_aurocs(values[:, units], present[:, [word]])[0]
    return scores


def _effects(values: Floats, present: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Effect and q, `[word, unit]`."""
    indicators = present.astype(np.float64)
    count = indicators.sum(0)[:, None]
    centred = values - values.mean(0)
    sums = indicators.T @ centred
    sd = np.where(centred.std(0) > 0, centred.std(0), 1)
    # The t test of two groups is the test of the correlation with the indicator. Clipped, since an
    # r of 1 would divide by zero.
    r = np.clip(_correlations(indicators, stats.rankdata(values, axis=0)), -1 + 1e-12, 1 - 1e-12)
    df = len(values) - 2
    p = 2 * special.stdtr(df, -np.abs(r) * np.sqrt(df / (1 - r**2)))
    # Centred values sum to zero, so the other group's sum is the negative of this one's.
    effect = (sums / count + sums / (len(values) - count)) / sd
    # Over all words and units of the site: every one of them may be listed.
    return effect, benjamini_hochberg(p.ravel()).reshape(p.shape)


def _correlations(first: Floats, second: Floats) -> Floats:
    """Correlations of all pairs of columns; 0 for a constant column."""
    parts = []
    for part in (first, second):
        centred = part - part.mean(0)
        length = np.linalg.norm(centred, axis=0)
        parts.append(centred / np.where(length > 0, length, 1))
    return np.asarray(parts[0].T @ parts[1])


def nearest(units: Floats, population: Floats, count: int) -> tuple[Ints, Floats]:
    """The units of a population with the largest correlations, of either sign, with each unit.

    Args:
        units: Units, `[unit, sample]`; each row has mean zero and length one, or is zero.
        population: All units, in the same form.
        count: Neighbours of each unit, at most as many as the population has.

    Returns:
        Numbers in the population and correlations, `[unit, neighbour]`, the largest first.
    """
    r = units @ population.T
    # Partitioned first: sorting all pairs takes several times as long.
    first = np.argpartition(-np.abs(r), min(count, r.shape[1]) - 1, axis=1)[:, :count]
    largest = np.take_along_axis(r, first, 1)
    order = np.argsort(-np.abs(largest), axis=1, kind="stable")
    return np.take_along_axis(first, order, 1), np.take_along_axis(largest, order, 1)
