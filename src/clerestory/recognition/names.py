"""Made-up names: words that nobody has heard, put together from syllables by a seed.

made_up(99, words=2)[:2]            # ('bofesh dralpi', …): the same for everybody, always
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import numpy as np

from clerestory.errors import EvidenceError

__all__ = ["content_of", "controls_of", "like", "made_up", "words_of"]

ONSETS = (*"bdfghjklmnprstvz", "br", "dr", "gr", "kl", "pr", "sk", "st", "tr", "vl")
VOWELS = (*"aeiou", "ai", "ei", "ou")
CODAS = ("", "", "", "", *"lmnrstk", "sh", "nd", "rk")
SYLLABLES = (2, 3)
"""A word has so many."""
ARTICLES = ("a", "an", "the", "el", "la", "le")
LINKS = ("al", "bin", "da", "de", "del", "den", "der", "di", "du", "ibn", "van", "von", "y", "zu")
SMALL = frozenset((*ARTICLES, *LINKS, "and", "by", "in", "of", "on", "ten", "ter", "to", "with"))
"""Words that a made-up name takes over from the phrase, as they are in many names and in none."""


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


def like(name: str, phrase: str) -> str:
    """A name in the form of a phrase: with its small words, and capitals where it has some.

    >>> like("bofesh dralpi", "William of ockham")
    'Bofesh of dralpi'
    """
    parts, own = iter(name.split()), set(content_of(phrase))
    told = [next(parts) if word.lower() in own else word.lower() for word in phrase.split()]
    pairs = zip(told, phrase.split(), strict=True)
    return " ".join(word.capitalize() if by[0].isupper() else word for word, by in pairs)


def content_of(phrase: str) -> list[str]:
    """The words of a phrase that are not small ones such as "of"; all, where it has no others.

    >>> content_of("William of Ockham")
    ['william', 'ockham']
    """
    words = words_of(phrase)
    return [word for word in words if word not in SMALL] or words


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
