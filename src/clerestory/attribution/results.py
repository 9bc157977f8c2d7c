"""An attribution: what each piece of a prompt, and pieces together, bring to a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.attribution.pieces import Absence, Prompt

if TYPE_CHECKING:
    from clerestory.attribution.interactions import Together
    from clerestory.attribution.patching import Patched

__all__ = ["Attribution", "Share", "Split", "labels"]


@dataclass(frozen=True)
class Share:
    """What some pieces bring, with its 95% interval over paraphrases.

    `depends` says that it is another where absent pieces are left out than where they have a
    stand-in: None where only one of these was tried, or both say the same.
    """

    pieces: tuple[str, ...]
    value: float
    low: float
    high: float
    depends: bool | None = None

    def told(self, one: bool = False) -> dict[str, Any]:
        """Ready for JSON; `one` piece is told as `piece`."""
        named = {"piece": self.pieces[0]} if one else {"pieces": list(self.pieces)}
        rest = {"value": self.value, "low": self.low, "high": self.high}
        return {**named, **rest, **({} if self.depends is None else {"depends": self.depends})}


@dataclass(frozen=True, eq=False)
class Split:
    """A value, split.

    `whole` is what all pieces bring; Shapley values add up to it, but for the
    `completeness_error`. `alone` is what each piece brings when no other is there, `together` what
    is left of the whole then. `interactions` are k-SII of order two. `means` are the value of every
    combination, `[coalition]` in the order of `coalitions`, None where some were sampled.
    """

    shapley: tuple[Share, ...]
    interactions: tuple[Share, ...]
    alone: tuple[Share, ...]
    whole: Share
    together: Share
    completeness_error: float
    sampling_error: float
    means: NDArray[np.float64] | None = field(repr=False)

    def told(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "shapley": [one.told(one=True) for one in self.shapley],
            "interactions": [one.told() for one in self.interactions],
            "completeness_error": self.completeness_error,
            "sampling_error": self.sampling_error,
            "alone": [one.told(one=True) for one in self.alone],
            "whole": self.whole.told(),
            "together": self.together.told(),
            "values": None if self.means is None else self.means.tolist(),
        }


@dataclass(frozen=True, eq=False)
class Attribution:
    """Values split over a prompt's pieces.

    `of` has a split by value and way of absence, `path` by finding and site, in the order of the
    sites. `pictures` are those of every combination, `[coalition, seed, height, width, 3]`, where
    there are few; `layers` are those drawn from each text layer, by its name.
    """

    asked: Prompt
    pieces: tuple[str, ...]
    absence: tuple[Absence, ...]
    paraphrases: int
    seeds: tuple[int, ...]
    of: Mapping[str, Mapping[Absence, Split]]
    inner: tuple[str, ...]
    path: Mapping[str, Mapping[str, Split]] = field(default_factory=dict)
    together: Together | None = None
    patched: tuple[Patched, ...] = ()
    pictures: NDArray[np.uint8] | None = field(default=None, repr=False)
    layers: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    @property
    def absent_as(self) -> list[list[str]]:
        """What stands for each piece in the ways that were tried; "" where it is left out."""
        return [
            list(dict.fromkeys(one.stand_in if way == "neutral" else "" for way in self.absence))
            for one in self.asked.pieces
        ]

    @property
    def cautions(self) -> list[str]:
        """Values whose shares depend on how pieces are absent, and which."""
        found = []
        for name, ways in self.of.items():
            split = ways[self.absence[0]]
            flagged = [one for one in (*split.shapley, *split.interactions) if one.depends]
            if flagged:
                which = ", ".join(" x ".join(one.pieces) for one in flagged)
                found.append(f"{name} depends on how pieces are absent: {which}.")
        return found

    def told(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        first, *others = self.absence
        return {
            "prompt": self.asked.whole,
            "pieces": list(self.pieces),
            "absent_as": [one[0] for one in self.absent_as],
            "absence": list(self.absence),
            "paraphrases": self.paraphrases,
            "seeds": list(self.seeds),
            "of": {
                name: {**ways[first].told(), **{other: ways[other].told() for other in others}}
                for name, ways in self.of.items()
            },
            "path": {
                name: {site: split.told() for site, split in sites.items()}
                for name, sites in self.path.items()
            },
            "together": None if self.together is None else self.together.told(),
            "patched": [asdict(one) for one in self.patched],
            "cautions": self.cautions,
        }


def labels(asked: Prompt) -> tuple[str, ...]:
    """What the pieces are called: their words, numbered where two have the same."""
    words = [piece.words for piece in asked.pieces]
    found = []
    for place, word in enumerate(words):
        before = words[:place].count(word)
        found.append(f"{word} ({before + 1})" if words.count(word) > 1 else word)
    return tuple(found)
