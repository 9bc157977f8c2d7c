"""Candidate names, and which prompts each of them fits."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clerestory.naming.samples import NamingSamples, split_words
from clerestory.types import Bools, Floats

__all__ = [
    "Candidates",
    "choose",
    "closest",
    "fits_words",
    "is_function_word",
    "lower_aurocs",
    "prompt_candidates",
]

LEAST = 5
"""Prompts of the selection half that have a word, and that lack it."""
COMMON = 1 / 3
"""Share of prompts above which a word is no part of a pair of words."""
DRAWABLE = frozenset(
    [
        "alone",
        "back",
        "bill",
        "bottom",
        "cry",
        "eight",
        "eleven",
        "empty",
        "fifteen",
        "fifty",
        "fire",
        "five",
        "forty",
        "four",
        "front",
        "full",
        "hundred",
        "many",
        "mill",
        "mine",
        "nine",
        "serious",
        "several",
        "side",
        "sincere",
        "six",
        "sixty",
        "system",
        "ten",
        "thick",
        "thin",
        "three",
        "top",
        "twelve",
        "twenty",
        "two",
    ]
)
"""Words of scikit-learn's list that a picture can show: things, counts, shapes and moods."""
SHARE = 0.1
"""Share of prompts that a name fits whose closeness has no threshold of its own."""
OVERLAP = 0.8
"""Jaccard index above which two names of a unit are taken for one."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Names that may be given to a unit.

    Attributes:
        names: The names.
        fits: Whether a prompt of the selection half fits a name, `[prompt, name]`.
    """

    names: tuple[str, ...]
    fits: Bools

    def __add__(self, other: Candidates) -> Candidates:
        return Candidates(self.names + other.names, np.hstack([self.fits, other.fits]))


def prompt_candidates(samples: NamingSamples) -> Candidates:
    """Words of the selection half's prompts, and pairs of words that stand beside each other.

    Args:
        samples: The prompts.

    Returns:
        Names that at least five prompts have and five lack, without function words; longer names
        first, so that of names that fit the same prompts the longer one is chosen.
    """
    texts = [samples.prompts[number] for number in np.flatnonzero(samples.selection)]
    lists = [split_words(text) for text in texts]
    counts = Counter(word for words in lists for word in set(words))
    for word in [word for word in counts if is_function_word(word)]:
        del counts[word]
    rare = {word for word, count in counts.items() if count <= COMMON * len(lists)}
    pairs = Counter(
        pair
        for words in lists
        for pair in {f"{a} {b}" for a, b in itertools.pairwise(words) if {a, b} <= rare}
    )
    names = [
        name
        for group in (pairs, counts)
        for name, count in sorted(group.items())
        if LEAST <= count <= len(lists) - LEAST
    ]
    fits = np.array([fits_words(name, texts) for name in names], bool).reshape(-1, len(texts)).T
    return Candidates(tuple(names), fits)


def is_function_word(word: str) -> bool:
    """Whether a word, such as `a`, `of` or `with`, is no name of what a picture shows.

    Args:
        word: A word of a prompt or of a vocabulary.

    Returns:
        True for scikit-learn's English stop words, except those that a picture can show, such as
        `fire` and `two`.
    """
    # Imported here: scikit-learn takes a second.
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    own = word.strip().lower()
    return own in ENGLISH_STOP_WORDS and own not in DRAWABLE


def fits_words(name: str, prompts: Sequence[str]) -> Bools:
    """Whether prompts have all words of a name.

    Args:
        name: The name.
        prompts: The prompts.

    Returns:
        `[prompt]`; False for all where the name has no word.
    """
    words = set(split_words(name))
    return np.array([bool(words) and words <= set(split_words(prompt)) for prompt in prompts], bool)


def closest(closeness: Floats) -> Bools:
    """The tenth of the prompts that are closest to each name.

    Args:
        closeness: `[prompt, name]`.

    Returns:
        `[prompt, name]`.
    """
    count = max(1, round(SHARE * len(closeness)))
    order = np.argsort(-closeness, axis=0, kind="stable")[:count]
    fits = np.zeros(closeness.shape, bool)
    np.put_along_axis(fits, order, True, 0)
    return fits


def choose(values: Floats, candidates: Candidates, count: int) -> list[list[int]]:
    """The candidates that raise each unit most, on the selection half.

    They are ranked by a lower limit of their AUROC, so that neither a common word of little effect
    nor a rare one of uncertain effect comes first.

    Args:
        values: Of the selection half, `[prompt, unit]`.
        candidates: The candidates, of the same prompts.
        count: How many for each unit.

    Returns:
        Numbers of candidates for each unit, the best first; names of nearly the same prompts as a
        better one are left out, and names that do not raise the unit.
    """
    if not candidates.names:
        return [[] for _ in range(values.shape[1])]
    lower = lower_aurocs(values, candidates.fits)
    # Stable: of equal candidates the one that is listed first, the longer name.
    order = np.argsort(-lower, axis=0, kind="stable")
    chosen = []
    for unit in range(values.shape[1]):
        mine: list[int] = []
        for number in order[:, unit]:
            if len(mine) == count or lower[number, unit] <= 0.5:
                break
            if all(
                _jaccard(candidates.fits[:, number], candidates.fits[:, at]) < OVERLAP
                for at in mine
            ):
                mine.append(int(number))
        chosen.append(mine)
    return chosen


def lower_aurocs(values: Floats, fits: Bools) -> NDArray[np.float64]:
    """AUROC of the prompts that fit a name against the others, less two standard errors.

    A score to rank by and no interval: the error is that of units that no name raises.

    Args:
        values: `[prompt, unit]`.
        fits: `[prompt, name]`.

    Returns:
        `[name, unit]`; 0 for a name that all prompts fit, or none.
    """
    from scipy import stats

    total, inside = len(fits), fits.sum(0)[:, None].astype(np.float64)
    outside = total - inside
    # One product for all names and units: the rank sums of the Mann–Whitney statistic.
    sums = fits.T.astype(np.float64) @ stats.rankdata(values, axis=0)
    pairs = np.maximum(inside * outside, 1)
    aurocs = (sums - inside * (inside + 1) / 2) / pairs
    lower = aurocs - 2 * np.sqrt((total + 1) / (12 * pairs))
    return np.where(inside * outside > 0, lower, 0.0)


def _jaccard(first: Bools, second: Bools) -> float:
    return float((first & second).sum() / max((first | second).sum(), 1))
