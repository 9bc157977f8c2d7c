"""What stands for a piece that is absent, by the words around it; and articles.

stand_in("raven", "alexandra elbakyan with a ", " in a library")      # 'a thing'
"""

from __future__ import annotations

import re

__all__ = ["ARTICLE", "LED", "article_for", "modifies", "stand_in"]

PERSON, THING, PLACE = "a person", "a thing", "a place"
INSIDE = "in|at|inside|within"
PLACES = f"{INSIDE}|on|under|near|by|above|behind|among|in front of"
LEADS = f"in front of|next to|together with|{PLACES}|with|and|beside|of|or"
VERBS = (
    "reading|holding|wearing|sitting|standing|looking|walking|sleeping|playing|eating|smiling"
    "|reads|holds|wears|sits|stands|looks|walks|sleeps|plays|eats|smiles|see|sees|shows|has|have"
)
WORDS = (
    f"{LEADS}|{VERBS}|without|from|to|for|as|into|over|below|between|through|like|but|while|is|are"
    "|was|were|who|that|which|here|there|alone|outside"
)
"""Words that end what is said of one thing."""
COUNTS = r"two|three|four|five|six|seven|eight|nine|ten|some|many|several|few|\d+"
ARTICLE = re.compile(r"(?:^|(?<=\s))(an?|the)\s+$", re.IGNORECASE)
LED = re.compile(
    rf"(?:^|(?<=\s))(?:(?:{LEADS})\s+)?(?:(?:an?|the)\s+)?(?:(?:{COUNTS})\s+)?$", re.IGNORECASE
)
"""The words that lead to a piece: a preposition, an article, a number."""
OWN = re.compile(rf"(?:an?|the|{COUNTS})\s", re.IGNORECASE)
LEAD = re.compile(rf"(?:.*(?:(?<!\S)(?:{WORDS})(?!\S)|[,.;:]))?", re.IGNORECASE | re.DOTALL)
MODIFIES = re.compile(rf"\s*\[|\s+(?!(?:{WORDS})(?!\w))\w", re.IGNORECASE)
VOWEL = re.compile(r"(?!eu|one\b|uni|use)[aeiou]|hour|hon(?:est|or|our)|heir", re.IGNORECASE)


def modifies(after: str) -> bool:
    """Whether a piece tells of the word that directly follows it, or of a piece in brackets.

    >>> [modifies(after) for after in (" hair", " [girl] in a", " with a", ", a drawing", "")]
    [True, True, False, False, False]
    """
    return MODIFIES.match(after) is not None


def stand_in(words: str, before: str, after: str) -> str:
    """The stand-in of a piece; "" for what tells of the word after it, and for several things.

    A place after `in` and the like, before a name too; a thing after an article or a verb; else a
    person. Without an article where words stand between that and the piece.

    >>> stand_in("paris", "a raven in ", ""), stand_in("raven", "a big black ", " in a library")
    ('a place', 'thing')
    """
    end = LEAD.match(before).end()  # type: ignore[union-attr]  # it matches anything
    lead, phrase = before[:end], before[end:].lower().split()
    article = any(one in ("a", "an", "the") for one in phrase)
    several = any(re.fullmatch(COUNTS, one) for one in phrase)
    if modifies(after) or several or (phrase and not article):
        return ""
    thing = article or OWN.match(words) is not None
    if _ends(lead, PLACES if thing else INSIDE):
        noun = PLACE
    else:
        noun = THING if thing or _ends(lead, VERBS) else PERSON
    return noun if len(phrase) < 2 else noun.removeprefix("a ")


def article_for(noun: str, like: str) -> str:
    """The article that a noun needs, small or large as another.

    >>> article_for("owl", "a"), article_for("cat", "An"), article_for("uniform", "an")
    ('an ', 'A ', 'a ')
    """
    return f"{like[0]}n " if VOWEL.match(noun) else f"{like[0]} "


def _ends(text: str, words: str) -> bool:
    return re.search(rf"(?<!\S)(?:{words})$", text, re.IGNORECASE) is not None
