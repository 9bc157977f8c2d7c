"""What a unit's page shows of its values over the samples: numbers alone, a site at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from clerestory.stats import benjamini_hochberg

__all__ = ["EXTREMES", "SPREAD", "Words", "histograms", "moments", "nearest", "ranked", "words_of"]

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
EXTREMES, SPREAD = 12, 6
"""Samples at either end of a unit's range, and evenly spaced ones in between."""
BINS = 40
MAX_WORDS = 8
"""Words, in either direction, on a unit's page."""
MAX_Q = 0.05


def ranked(values: Floats, prompts: Ints) -> dict[str, Ints]:
    """Rows of the samples with the highest, lowest and evenly spaced values: `[unit, sample]`.

    `values` are `[sample, unit]`, `prompts` say which prompt a sample is of: at either end there is
    one sample of a prompt, that which lies farthest. -1 fills up where there are too few.

    Args:
        values: `[sample, unit]`.
        prompts: The number of each sample's prompt, `[sample]`.

    Returns:
        `most` and `least`, `[unit, 12]`, and `spread`, `[unit, 6]`; -1 fills up.
    """
    count, units = values.shape
    order = np.argsort(values, axis=0, kind="stable").T
    quantiles = np.linspace(0, count - 1, SPREAD + 2).round().astype(int)[1:-1]
    ends = {"most": order[:, ::-1], "least": order}
    found = {
        name: np.array([_of_each_prompt(row, prompts) for row in rows]).reshape(units, EXTREMES)
        for name, rows in ends.items()
    }
    return {**found, "spread": order[:, quantiles]}


def _of_each_prompt(row: Ints, prompts: Ints) -> Ints:
    """The first samples of a row, one of each prompt."""
    # Twelve prompts are nearly always among the first 96 samples; sorting all rows would take long.
    near = row[: EXTREMES * 8]
    _, first = np.unique(prompts[near], return_index=True)
    if len(first) < EXTREMES and len(near) < len(row):
        near = row
        _, first = np.unique(prompts[near], return_index=True)
    kept = near[np.sort(first)[:EXTREMES]]
    return np.pad(kept, (0, EXTREMES - len(kept)), constant_values=-1)


def moments(values: Floats) -> dict[str, Floats]:
    """Mean, standard deviation, ends and peak (kurtosis less 3) of each unit.

    Args:
        values: `[sample, unit]`.

    Returns:
        By name `[unit]`, in float64; a unit that never varies has a peak of 0.
    """
    wide = values.astype(np.float64)
    mean, sd = wide.mean(0), wide.std(0)
    away = (wide - mean) / np.where(sd > 0, sd, 1)
    return {
        "mean": mean,
        "sd": sd,
        "low": wide.min(0),
        "high": wide.max(0),
        "peak": np.where(sd > 0, (away**4).mean(0) - 3, 0.0),
    }


def histograms(values: Floats) -> Ints:
    """Counts in equal bins from each unit's least to its highest value, `[unit, bin]`.

    Args:
        values: `[sample, unit]`.

    Returns:
        `[unit, 40]`, int32.
    """
    low, high = values.min(0), values.max(0)
    width = np.where(high > low, high - low, 1)
    place = np.minimum((values - low) / width * BINS, BINS - 1).astype(np.int64)
    units = values.shape[1]
    flat = place + np.arange(units) * BINS
    return np.bincount(flat.ravel(), minlength=units * BINS).reshape(units, BINS).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Words:
    """The words of prompts that may raise or lower a unit: `present` is `[prompt, word]`."""

    words: tuple[str, ...]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, prompts: Sequence[str], least: int = 5) -> Words:
        """Those that stand in `least` prompts or more, and are missing in as many.

        Args:
            prompts: Different prompts.
            least: Prompts that have the word, and that lack it, at least.

        Returns:
            Words in alphabetical order.
        """
        every = [set(_split(prompt)) for prompt in prompts]
        counts = Counter(word for words in every for word in words)
        words = sorted(word for word, n in counts.items() if least <= n <= len(every) - least)
        present = np.array(
            [[word in prompt_words for word in words] for prompt_words in every], bool
        )
        return cls(tuple(words), present.reshape(len(every), len(words)))


def _split(prompt: str) -> list[str]:
    words = (word.strip(".,;:!?\"'()[]{}").lower() for word in prompt.split())
    return [word for word in words if word]


def words_of(values: Floats, words: Words) -> dict[str, NDArray[np.generic]]:
    """The words that raise and that lower each unit, `[unit, 8]` each, with their effects.

    `values` are `[prompt, unit]`, seeds averaged. An effect is the difference of means of prompts
    with and without the word, in standard deviations of the unit; words with q ≤ 0.05 are listed
    (t of the ranks, so that few high values make no word; Benjamini-Hochberg over the site's words
    and units).
    A word number of -1 fills up.

    Args:
        values: `[prompt, unit]`, averaged over seeds.
        words: The words, of the same prompts.

    Returns:
        `up-word`, `up-effect`, `down-word`, `down-effect`; -1 and 0 fill up.
    """
    units = values.shape[1]
    empty = np.full((units, MAX_WORDS), -1, np.int32), np.zeros((units, MAX_WORDS), np.float32)
    if not words.words:
        return {name: part for side in ("up", "down") for name, part in _named(side, *empty)}
    effect, q = _effects(values.astype(np.float64), words.present)
    found: dict[str, NDArray[np.generic]] = {}
    for side, sign in (("up", 1), ("down", -1)):
        telling = np.where(q <= MAX_Q, sign * effect, -np.inf)
        first = np.argsort(-telling, axis=0, kind="stable")[:MAX_WORDS].T
        own = np.take_along_axis(telling.T, first, 1)
        number = np.where(own > 0, first, -1).astype(np.int32)
        size = np.where(own > 0, sign * own, 0).astype(np.float32)
        fill = ((0, 0), (0, MAX_WORDS - number.shape[1]))
        found |= dict(_named(side, np.pad(number, fill, constant_values=-1), np.pad(size, fill)))
    return found


def _named(side: str, number: Ints, size: Floats) -> list[tuple[str, NDArray[np.generic]]]:
    return [(f"{side}-word", number), (f"{side}-effect", size)]


def _effects(values: Floats, present: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Effect and q, `[word, unit]`."""
    marks = present.astype(np.float64)
    here = marks.sum(0)[:, None]
    apart = len(values) - here
    centred = values - values.mean(0)
    one = marks.T @ centred
    sd = np.where(centred.std(0) > 0, centred.std(0), 1)
    # An r of 1 would divide by zero below.
    r = np.clip(_correlations(marks, stats.rankdata(values, axis=0)), -1 + 1e-12, 1 - 1e-12)
    free = len(values) - 2
    p = 2 * special.stdtr(free, -np.abs(r) * np.sqrt(free / (1 - r**2)))
    return (one / here + one / apart) / sd, benjamini_hochberg(p.ravel()).reshape(p.shape)


def _correlations(one: Floats, two: Floats) -> Floats:
    """Of every column of `one` with every column of `two`; 0 where one never changes."""
    parts = []
    for part in (one, two):
        centred = part - part.mean(0)
        length = np.linalg.norm(centred, axis=0)
        parts.append(centred / np.where(length > 0, length, 1))
    return np.asarray(parts[0].T @ parts[1])


def nearest(column: Floats, every: Floats, count: int) -> tuple[Ints, Floats]:
    """The units of `every` that correlate best with each of `rows`, and their correlations.

    Both are `[unit, sample]`, each row of mean zero and length one (or all zero). Signs do not
    count for the order: what falls as a unit rises is near it too.

    Args:
        column: The units to start from, `[unit, sample]`.
        every: All units, `[unit, sample]`.
        count: Neighbours of each; at most as many as there are units.

    Returns:
        Numbers in `every` and correlations, `[unit, neighbour]`, the closest first.
    """
    alike = column @ every.T
    first = np.argpartition(-np.abs(alike), min(count, alike.shape[1]) - 1, axis=1)[:, :count]
    own = np.take_along_axis(alike, first, 1)
    order = np.argsort(-np.abs(own), axis=1, kind="stable")
    return np.take_along_axis(first, order, 1), np.take_along_axis(own, order, 1)
