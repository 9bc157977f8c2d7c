"""Invented names: words that nobody has read, made of syllables by a seed.

invent_names(99, words=2)[:2]       # ('fipezou famou', …): the same on every machine
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice

import numpy as np

from clerestory.errors import EvidenceError

__all__ = [
    "check_controls",
    "content_words",
    "invent_like",
    "invent_names",
    "match_form",
    "split_words",
]

ONSETS = (*"bdfghjklmnprstvz", "br", "dr", "gr", "kl", "pr", "sk", "st", "tr", "vl")
VOWELS = (*"aeiou", "ai", "ei", "ou")
# The empty coda is listed several times: that is how often it is drawn.
CODAS = ("", "", "", "", *"lmnrstk", "sh", "nd", "rk")
SYLLABLES = (2, 3)
"""The fewest and the most of a word."""
OTHER_SYLLABLES = ((1, 1), (1, 2), (3, 4), (4, 6))
"""Of words that are shorter or longer, where a phrase has fewer or more tokens than most names."""
CANDIDATES = 10
"""Names that are drawn of each length, for each one that is needed."""
ARTICLES = ("a", "an", "the", "el", "la", "le")
LINKS = ("al", "bin", "da", "de", "del", "den", "der", "di", "du", "ibn", "van", "von", "y", "zu")
SMALL_WORDS = frozenset(
    (*ARTICLES, *LINKS, "and", "by", "in", "of", "on", "ten", "ter", "to", "with")
)
"""Words that an invented name takes over from the phrase, because they belong to no one name."""


def invent_names(
    count: int, words: int = 2, *, seed: int = 0, exclude: Collection[str] = ()
) -> tuple[str, ...]:
    """Make up different names of words of two or three syllables.

    Args:
        count: How many.
        words: Words of each name.
        seed: Of the sequence of names.
        exclude: Words that no name has. The remaining names are the same, in the same order.

    Returns:
        The names, in lower case.

    >>> invent_names(2, 2) == invent_names(3, 2)[:2]
    True
    """
    excluded = {word.lower() for word in exclude}
    names = (name for name in _names(words, seed) if not excluded & set(name.split()))
    return tuple(islice(names, count))


def invent_like(
    phrase: str,
    count: int,
    count_tokens: Callable[[Sequence[str]], Sequence[tuple[int, ...]]] | None,
    *,
    seed: int = 0,
    exclude: Collection[str] = (),
) -> tuple[str, ...]:
    """Make up names in the form of a phrase, of as many tokens where there are such names.

    A text encoder spreads a longer name over more positions, so that names of different lengths
    may differ by their length alone.

    Args:
        phrase: The phrase.
        count: How many.
        count_tokens: Returns the numbers of tokens of each name, one for each text encoder; None
            where there is no tokenizer.
        seed: Of the sequence of names.
        exclude: Words that no name has.

    Returns:
        Different names: first those with as many tokens as the phrase, then the nearest.

    Raises:
        EvidenceError: There are not as many names.
    """
    words, excluded = len(content_words(phrase)), {word.lower() for word in exclude}

    def is_allowed(name: str) -> bool:
        return not excluded & set(name.split())

    names = filter(is_allowed, islice(_names(words, seed), CANDIDATES * count))
    if count_tokens is None:
        candidates = dict.fromkeys(match_form(name, phrase) for name in names)
    else:
        target, candidates = count_tokens([phrase])[0], {}
        for number, syllables in enumerate((SYLLABLES, *OTHER_SYLLABLES)):
            if number:
                # A stream for each length, so that the first lengths do not
                # change the names of later ones.
                rng = np.random.default_rng([seed, words, number])
                draws = (_name(rng, words, syllables) for _ in range(CANDIDATES * count))
                names = filter(is_allowed, draws)
            candidates |= dict.fromkeys(match_form(name, phrase) for name in names)
            lengths = dict(zip(candidates, count_tokens(list(candidates)), strict=True))
            # Enough of the same length: names of other lengths are not needed.
            if sum(length == target for length in lengths.values()) >= count:
                break
        # Stable, so that names of the same length keep their order.
        candidates = dict.fromkeys(
            sorted(candidates, key=lambda name: _difference(lengths[name], target))
        )
    if len(candidates) < count:
        raise EvidenceError(f"Only {len(candidates)} names can be invented: ask for fewer.")
    return tuple(islice(candidates, count))


def _difference(lengths: tuple[int, ...], target: tuple[int, ...]) -> int:
    """By how many tokens two names differ, in all encoders together."""
    return sum(abs(length - wanted) for length, wanted in zip(lengths, target, strict=True))


def match_form(name: str, phrase: str) -> str:
    """Give a name the form of a phrase: its small words, and capitals where it has some.

    Args:
        name: An invented name of as many words as the phrase has content words.
        phrase: The phrase.

    Returns:
        The name, with as many words as the phrase.

    >>> match_form("bofesh dralpi", "William of ockham")
    'Bofesh of dralpi'
    """
    parts, content = iter(name.split()), set(content_words(phrase))
    words = [next(parts) if word.lower() in content else word.lower() for word in phrase.split()]
    # The phrase's own capitals: "eL Greco" keeps nothing but the first letter of a word.
    pairs = zip(words, phrase.split(), strict=True)
    return " ".join(word.capitalize() if like[0].isupper() else word for word, like in pairs)


def content_words(phrase: str) -> list[str]:
    """List the words of a phrase that are not small ones such as "of"; all, if it has no others.

    Args:
        phrase: The phrase.

    Returns:
        Words in lower case, in their order.

    >>> content_words("William of Ockham")
    ['william', 'ockham']
    """
    words = split_words(phrase)
    return [word for word in words if word not in SMALL_WORDS] or words


def split_words(phrase: str) -> list[str]:
    """List the words of a phrase in lower case.

    Args:
        phrase: The phrase.

    Returns:
        Words in lower case, in their order; none for a blank phrase.

    >>> split_words("Alexandra  Elbakyan")
    ['alexandra', 'elbakyan']
    """
    return phrase.lower().split()


def check_controls(phrases: Sequence[str], controls: Sequence[str]) -> tuple[str, ...]:
    """Check controls that a person lists.

    Args:
        phrases: The names to compare with the controls.
        controls: The names that a person lists; case and blanks do not distinguish them.

    Returns:
        The controls as they were written.

    Raises:
        EvidenceError: One is listed twice, or is one of the phrases.
    """
    # Case and blanks do not make another name: many text encoders ignore both.
    normalized = [" ".join(split_words(name)) for name in controls]
    measured = {" ".join(split_words(phrase)) for phrase in phrases}
    for index, name in enumerate(normalized):
        if name in normalized[:index]:
            raise EvidenceError(f"The control {controls[index]!r} is listed twice.")
        if name in measured:
            raise EvidenceError(
                f"The control {controls[index]!r} is the phrase itself; list other names."
            )
    return tuple(controls)


def _names(words: int, seed: int) -> Iterator[str]:
    """An endless sequence of names, each once."""
    # Names of different lengths come from different streams, so neither changes the other's names.
    rng = np.random.default_rng([seed, words])
    yielded: set[str] = set()
    while True:
        name = _name(rng, words, SYLLABLES)
        if name not in yielded:
            yielded.add(name)
            yield name


def _name(rng: np.random.Generator, words: int, syllables: tuple[int, int]) -> str:
    return " ".join(_word(rng, syllables) for _ in range(words))


def _word(rng: np.random.Generator, bounds: tuple[int, int]) -> str:
    """A word of some syllables, perhaps with a coda."""
    syllables = [
        ONSETS[rng.integers(len(ONSETS))] + VOWELS[rng.integers(len(VOWELS))]
        for _ in range(rng.integers(bounds[0], bounds[1] + 1))
    ]
    return "".join([*syllables, CODAS[rng.integers(len(CODAS))]])
