"""Made-up names: words that nobody has heard, put together from syllables by a seed.

made_up(99, words=2)[:2]            # ('bofesh dralpi', …): the same for everybody, always
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import numpy as np

from clerestory.errors import EvidenceError

__all__ = ["cased", "controls_of", "made_up", "words_of"]

ONSETS = (*"bdfghjklmnprstvz", "br", "dr", "gr", "kl", "pr", "sk", "st", "tr", "vl")
VOWELS = (*"aeiou", "ai", "ei", "ou")
CODAS = ("", "", "", "", *"lmnrstk", "sh", "nd", "rk")
SYLLABLES = (2, 3)
"""A word has so many."""


def made_up(
    count: int, words: int = 2, *, seed: int = 0, without: Collection[str] = ()
) -> tuple[str, ...]:
    """`count` different names of so many words, none of which stands in `without`.

    Names with fewer exclusions are the same ones in the same order, less those that are excluded.

    >>> made_up(2, 2) == made_up(3, 2)[:2]
    True
    """
    barred = {word.lower() for word in without}
    fitting = (name for name in _names(words, seed) if not barred & set(name.split()))
    return tuple(islice(fitting, count))


def cased(name: str, phrase: str) -> str:
    """A name with its words in capitals where the phrase's are, which some models read otherwise.

    >>> cased("bofesh dralpi", "Tycho brahe")
    'Bofesh dralpi'
    """
    pairs = zip(name.split(), phrase.split(), strict=True)
    return " ".join(word.capitalize() if like[0].isupper() else word for word, like in pairs)


def words_of(phrase: str) -> list[str]:
    """The words of a phrase, in small letters.

    >>> words_of("Alexandra  Elbakyan")
    ['alexandra', 'elbakyan']
    """
    return phrase.lower().split()


def controls_of(phrases: Sequence[str], listed: Sequence[str]) -> tuple[str, ...]:
    """Controls that somebody lists; EvidenceError where one is there twice, or is a phrase."""
    plain = [" ".join(words_of(name)) for name in listed]
    asked = {" ".join(words_of(phrase)): phrase for phrase in phrases}
    for at, name in enumerate(plain):
        if name in plain[:at]:
            raise EvidenceError(f"The control {listed[at]!r} is there twice; a name counts once.")
        if name in asked:
            raise EvidenceError(
                f"The control {listed[at]!r} is the phrase itself; a control is another name."
            )
    return tuple(listed)


def _names(words: int, seed: int) -> Iterator[str]:
    """Names without end, each once."""
    rng = np.random.default_rng([seed, words])
    told: set[str] = set()
    while True:
        name = " ".join(_word(rng) for _ in range(words))
        if name not in told:
            told.add(name)
            yield name


def _word(rng: np.random.Generator) -> str:
    parts = [
        ONSETS[rng.integers(len(ONSETS))] + VOWELS[rng.integers(len(VOWELS))]
        for _ in range(rng.integers(SYLLABLES[0], SYLLABLES[1] + 1))
    ]
    return "".join([*parts, CODAS[rng.integers(len(CODAS))]])
