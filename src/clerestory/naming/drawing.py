"""Scores by drawing: do new prompts made from a name raise the unit more than other words do?

Each item is a sentence that a name or another word is put into; all words of an item share its
frame and its seed. A name has to rise above the other words over items, and to be among the first
of the words: over items alone every second word would rise above the others' mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clerestory.models.core.addresses import SiteSelection
from clerestory.models.core.seeds import item_seeds
from clerestory.naming.candidates import fits_words
from clerestory.naming.detection import levels, scored_status
from clerestory.naming.embeddings import can_take
from clerestory.naming.results import DrawingScore
from clerestory.naming.samples import MIN_ITEMS, split_words
from clerestory.naming.values import prompt_values
from clerestory.stats import (
    arm_test,
    auroc,
    auroc_interval,
    baseline_p,
    benjamini_hochberg,
    pooled_midranks,
)
from clerestory.types import Progress

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.recordings import Recording

__all__ = ["FRAMES", "Drawings", "Words", "draw", "drawing_scores"]

FRAMES = ("{item}, {name}", "{name}, {item}", "{item} with {name}", "{name} and {item}")
"""Where a name stands; one of them for each item."""
MIN_OTHERS = 19
"""Other words below which no name can have p ≤ 0.05."""
SEED_NUMBER = 31
"""A stream of its own: no recording draws these seeds."""


class Words:
    """Other words that names are held against, drawn at random.

    Args:
        names: Names that might have been chosen, of one word or more.
        count: How many others of a name.
    """

    def __init__(self, names: Iterable[str], count: int) -> None:
        self._names, self._count = list(dict.fromkeys(names)), count
        self._by_length: dict[int, list[str]] = {}

    def of(self, name: str) -> list[str]:
        """Others of a name: of as many words, and none of its own.

        Args:
            name: The name.

        Returns:
            The same for every name of as many words, so that they are drawn once; without those
            that share a word with this one.
        """
        own = set(split_words(name))
        length = max(len(own), 1)
        if length not in self._by_length:
            self._by_length[length] = self._draw(length)
        return [other for other in self._by_length[length] if not own & set(split_words(other))]

    def _draw(self, length: int) -> list[str]:
        rng = np.random.default_rng(length)
        same = [name for name in self._names if len(set(split_words(name))) == length]
        drawn = [same[at] for at in rng.permutation(len(same))[: self._count]]
        single = [name for name in self._names if len(split_words(name)) == 1]
        # Few pairs are in many prompts, and longer names in none: single words are put together.
        for _ in range(10 * self._count if length > 1 and len(single) >= length else 0):
            if len(drawn) >= self._count:
                break
            joined = " ".join(single[at] for at in rng.permutation(len(single))[:length])
            drawn = list(dict.fromkeys([*drawn, joined]))
        return drawn


@dataclass(frozen=True, eq=False)
class Drawings:
    """Units' values of items with words.

    Attributes:
        items: The sentences.
        values: By site and word `[item, unit]`.
    """

    items: tuple[str, ...]
    values: Mapping[str, Mapping[str, NDArray[np.float32]]]


def draw(
    recording: Recording,
    model: Model,
    sites: Sequence[str],
    words: Iterable[str],
    items: Sequence[str],
    *,
    count: int,
    progress: Progress,
) -> Drawings:
    """Draw every word with every item, and read the recorded sites.

    Args:
        recording: The recording, which says how.
        model: The recorded model.
        sites: Addresses of recorded sites.
        words: Words and names.
        items: Items to choose from; one that is too long with some word is left out.
        count: How many items.
        progress: A callback of (label, completed, total).

    Returns:
        The values; without words that are too long for most items.
    """
    listed = list(dict.fromkeys(words))
    frames = [FRAMES[at % len(FRAMES)].replace("{item}", item) for at, item in enumerate(items)]
    fitting = [
        {word for word in listed if can_take(model, frame.replace("{name}", word))}
        for frame in frames
    ]
    most = max(map(len, fitting), default=0)
    # What is too long everywhere is a name of many words, and no reason to leave out the items.
    chosen = [at for at in range(len(items)) if len(fitting[at]) == most][:count]
    drawn = [word for word in listed if all(word in fitting[at] for at in chosen)]
    if not chosen or not drawn:
        return Drawings((), {site: {} for site in sites})
    prompts = [frames[at].replace("{name}", word) for word in drawn for at in chosen]
    # An item's words share its noise, and items do not.
    seeds = [item_seeds(items[at], 1, SEED_NUMBER)[0] for _ in drawn for at in chosen]
    values = prompt_values(
        recording,
        model,
        prompts,
        seeds,
        {site: _selection(recording, site) for site in sites},
        progress=progress,
        label="drawing names",
    )
    return Drawings(
        tuple(items[at] for at in chosen),
        {
            site: dict(zip(drawn, array.reshape(len(drawn), len(chosen), -1), strict=True))
            for site, array in values.items()
        },
    )


def _selection(recording: Recording, site: str) -> SiteSelection:
    """What was read at a site; of latents, the steps of the site that they are of."""
    planned, attached = recording.store.plan.read, recording.latents(site)
    return planned[site] if attached is None else SiteSelection(None, planned[attached.base].steps)


def drawing_scores(
    drawings: Drawings, tests: Sequence[tuple[str, int, str]], words: Words
) -> list[DrawingScore | None]:
    """Score names by what was drawn, corrected for their number.

    Args:
        drawings: The drawings.
        tests: The site, the column of the unit and the name, of each test.
        words: The other words.

    Returns:
        Scores in the same order; None for a name that could not be drawn.
    """
    pairs = [_pair(drawings, test, words) for test in tests]
    p = np.array([np.nan if pair is None else _p(*pair) for pair in pairs], np.float64)
    q = benjamini_hochberg(p)
    return [
        None if pair is None else _score(*pair, float(p[at]), float(q[at]), float(level))
        for at, (pair, level) in enumerate(zip(pairs, levels(q), strict=True))
    ]


Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
"""A unit's values with the name, `[item]`, and with the others, `[item, other]`."""


def _pair(drawings: Drawings, test: tuple[str, int, str], words: Words) -> Pair | None:
    site, unit, name = test
    values = drawings.values[site]
    others = [other for other in words.of(name) if other in values]
    # A sentence that says the name already says it with the other words too.
    kept = ~fits_words(name, drawings.items)
    if name not in values or kept.sum() < 2 or len(others) < 2:
        return None
    own, *rest = (values[word][kept, unit].astype(np.float64) for word in (name, *others))
    return own, np.stack(rest, 1)


def _p(name: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """The larger p of two: over items, and of the name's place among the words."""
    ranks = pooled_midranks(name[:, None, None, None], others[:, :, None, None])
    over_items = float(arm_test(*ranks).p[0])
    # Ranks within each item, so that no item counts more than another.
    places = stats.rankdata(np.column_stack([name, others]), axis=1).mean(0)
    return max(over_items, float(baseline_p(places[0], places[1:])))


def _score(
    name: NDArray[np.float64], others: NDArray[np.float64], p: float, q: float, level: float
) -> DrawingScore:
    low, high = auroc_interval(name[:, None], others, level=level)
    figure = float(auroc(name[:, None], others.reshape(-1, 1))[0])
    score = DrawingScore(
        "undecided", len(name), others.shape[1], figure, float(low), float(high), p, q
    )
    if len(name) < MIN_ITEMS or others.shape[1] < MIN_OTHERS:
        return score
    return replace(score, status=scored_status(low, high, q))
