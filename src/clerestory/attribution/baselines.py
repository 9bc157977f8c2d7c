"""The baseline of a piece: the neutral words that take its place when it is removed.

baseline_for("raven", "alexandra elbakyan with a ", " in a library")      # 'a thing'
"""

from __future__ import annotations

import re

__all__ = ["ARTICLE", "LEAD", "PREPOSITIONS", "article_for", "baseline_for", "is_modifier"]

PERSON, THING, PLACE = "a person", "a thing", "a place"
INSIDE = "in|at|inside|within"
PLACES = f"{INSIDE}|on|under|near|by|above|behind|among|in front of"
PREPOSITIONS = f"in front of|next to|together with|{PLACES}|with|and|beside|of|or"
VERBS = (
    "reading|holding|wearing|sitting|standing|looking|walking|sleeping|playing|eating|smiling"
    "|reads|holds|wears|sits|stands|looks|walks|sleeps|plays|eats|smiles|see|sees|shows|has|have"
)
BOUNDARIES = (
    f"{PREPOSITIONS}|{VERBS}|without|from|to|for|as|into|over|below|between|through|like|but|while"
    "|is|are|was|were|who|that|which|here|there|alone|outside"
)
"""Words at which a noun phrase ends."""
COUNTS = r"two|three|four|five|six|seven|eight|nine|ten|some|many|several|few|\d+"
ARTICLE = re.compile(r"(?:^|(?<=\s))(an?|the)\s+$", re.IGNORECASE)
LEAD = re.compile(
    rf"(?:^|(?<=\s))(?:(?:{PREPOSITIONS})\s+)?(?:(?:an?|the)\s+)?(?:(?:{COUNTS})\s+)?$",
    re.IGNORECASE,
)
"""The words that lead to a piece and are deleted with it: a preposition, an article, a number."""
DETERMINER = re.compile(rf"(?:an?|the|{COUNTS})\s", re.IGNORECASE)
LAST_BOUNDARY = re.compile(
    rf"(?:.*(?:(?<!\S)(?:{BOUNDARIES})(?!\S)|[,.;:]))?", re.IGNORECASE | re.DOTALL
)
# Either another piece follows at once, or a word that does not end a noun phrase.
MODIFIED = re.compile(rf"\s*\[|\s+(?!(?:{BOUNDARIES})(?!\w))\w", re.IGNORECASE)
# By sound, not by letter: "a uniform", "a European", but "an hour".
VOWEL = re.compile(r"(?!eu|one\b|uni|use)[aeiou]|hour|hon(?:est|or|our)|heir", re.IGNORECASE)


def is_modifier(after: str) -> bool:
    """Return whether a piece modifies what follows it: a word of the same phrase, or a piece.

    Args:
        after: The prompt after the piece, where `[` begins another piece.

    Returns:
        False at the end of the prompt and before a preposition, a verb or a comma.

    >>> [is_modifier(after) for after in (" hair", " [girl] in a", " with a", ", a drawing", "")]
    [True, True, False, False, False]
    """
    return MODIFIED.match(after) is not None


def baseline_for(words: str, before: str, after: str) -> str:
    """Return the baseline of a piece, by the words around it.

    It is a place after `in` and the like, also before a name; a thing after an article or a verb;
    a person otherwise. It has no article where words stand between the article and the piece.

    Args:
        words: The piece.
        before: The prompt before it, with the pieces there.
        after: The prompt after it, where `[` begins another piece.

    Returns:
        The baseline; "" for modifiers and plurals, which have none.

    >>> baseline_for("paris", "a raven in ", ""), baseline_for("raven", "a big black ", " in a hut")
    ('a place', 'thing')
    """
    boundary = LAST_BOUNDARY.match(before)
    assert boundary is not None  # it matches the empty string
    lead, phrase = before[: boundary.end()], before[boundary.end() :].lower().split()
    # The phrase so far tells what kind of noun fits: "a [raven]" becomes "a thing".
    article = any(word in ("a", "an", "the") for word in phrase)
    plural = any(re.fullmatch(COUNTS, word) for word in phrase)
    # A modifier, a counted noun or a noun without article leaves a whole
    # phrase when it is deleted.
    if is_modifier(after) or plural or (phrase and not article):
        return ""
    thing = article or DETERMINER.match(words) is not None
    if _ends_with(lead, PLACES if thing else INSIDE):
        noun = PLACE
    else:
        noun = THING if thing or _ends_with(lead, VERBS) else PERSON
    # "a black [raven]": the article stands before the adjective already.
    return noun if len(phrase) < 2 else noun.removeprefix("a ")


def article_for(noun: str, like: str) -> str:
    """Return the indefinite article of a noun, with the capitals of another article.

    Args:
        noun: The noun, with whatever stands before it.
        like: The article whose first letter gives the case.

    Returns:
        `a ` or `an `, with a blank.

    >>> article_for("owl", "a"), article_for("cat", "An"), article_for("uniform", "an")
    ('an ', 'A ', 'a ')
    """
    return f"{like[0]}n " if VOWEL.match(noun) else f"{like[0]} "


def _ends_with(text: str, words: str) -> bool:
    return re.search(rf"(?<!\S)(?:{words})$", text, re.IGNORECASE) is not None
