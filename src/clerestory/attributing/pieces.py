"""A prompt in pieces, each of which can be taken away: `[alexandra elbakyan] with a [raven]`.

asked = parse_pieces("[alexandra elbakyan] with a [raven] in a [library]")
asked.text((True, False, True))      # 'alexandra elbakyan with a thing in a library'

A piece that is absent has a neutral stand-in, or is left out with the words that led to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clerestory.errors import PromptError

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["Absence", "Piece", "Prompt", "check_pieces", "parse_pieces"]

Absence = Literal["neutral", "delete"]

PLACES = "(?:in|at|inside|within|on|under|near|by|above|behind|among|in front of)"
LEADS = (
    "in front of|next to|together with|in|at|inside|within|on|under|near|by|above|behind|among"
    "|with|and|beside|of|or"
)
ARTICLE = re.compile(r"(?:^|(?<=\s))(an?|the)\s+$", re.IGNORECASE)
LED = re.compile(
    rf"(?:^|(?<=\s))(?:(?:{LEADS})\s+)?(?:(?:an?|the)\s+)?$",
    re.IGNORECASE,
)
PERSON, THING, PLACE = "a person", "a thing", "a place"


@dataclass(frozen=True)
class Piece:
    """What may be taken away, and what stands for it then; "" where nothing does."""

    words: str
    stand_in: str


Owned = list[tuple[str, int]]
"""Letters, each with the piece that it is of, or -1."""


@dataclass(frozen=True)
class Prompt:
    """Pieces, and the words around them: one more of these than pieces."""

    around: tuple[str, ...]
    pieces: tuple[Piece, ...]

    def text(self, present: Sequence[bool], absence: Absence = "neutral") -> str:
        """The prompt with only these pieces in it.

        An article before a stand-in is set right. A piece that is left out takes the article and
        the preposition before it along; one that has no stand-in, a word beside others, does not.
        """
        return "".join(letter for letter, _ in self.letters(present, absence))

    def letters(self, present: Sequence[bool], absence: Absence = "neutral") -> Owned:
        """The same letter by letter, with the piece that each is of, or stands in for; else -1."""
        said = _of(self.around[0], -1)
        for place, (here, piece) in enumerate(zip(present, self.pieces, strict=True)):
            if here:
                said += _of(piece.words, place)
            elif piece.stand_in and absence == "neutral":
                said = _with(said, piece.stand_in, place)
            elif piece.stand_in:
                found = LED.search(_said(said))
                said = said[: found.start()] if found else said
            said += _of(self.around[place + 1], -1)
        return _tidy(said)

    @property
    def whole(self) -> str:
        """With every piece."""
        return self.text([True] * len(self.pieces))


def parse_pieces(text: str) -> Prompt:
    """Read a prompt with its pieces in brackets, `[raven]` or with a stand-in `[raven|thing]`.

    Without brackets each word is a piece, and absent words are left out. Else, where none is given:
    what stands without an article is a person, after `in` and the like a place, and all else a
    thing. PromptError for brackets that do not fit, or are empty.
    """
    if not text.strip():
        raise PromptError("The prompt is empty.")
    if "[" not in text and "]" not in text:
        words = text.split()
        around = ["", *[" "] * (len(words) - 1), ""]
        return Prompt(tuple(around), tuple(Piece(word, "") for word in words))
    around, pieces = [""], list[str]()
    for part in re.split(r"([\[\]])", text):
        if part in "[]" and part:
            _check_turn(text, part, len(around) > len(pieces))
            if part == "[":
                pieces.append("")
            else:
                around.append("")
        elif len(around) > len(pieces):
            around[-1] += part
        else:
            pieces[-1] += part
    if len(around) == len(pieces):
        raise PromptError(f"A bracket of {text!r} is not closed.")
    return Prompt(tuple(around), tuple(map(_piece, pieces, around, around[1:])))


def check_pieces(model: Model, asked: Prompt) -> None:
    """PromptError for a piece that is longer than the text window, or a prompt that is."""
    for piece in asked.pieces:
        try:
            model.check(piece.words)
        except PromptError as error:
            raise PromptError(f"The piece {piece.words[:60]!r} is too long. {error}") from error
    model.check(asked.whole)


def _check_turn(text: str, bracket: str, outside: bool) -> None:
    if bracket == "[" and not outside:
        raise PromptError(f"Brackets of {text!r} are nested: a piece has no pieces.")
    if bracket == "]" and outside:
        raise PromptError(f"A bracket of {text!r} is closed that was not opened.")


def _piece(inside: str, before: str, after: str) -> Piece:
    words, bar, stand_in = (part.strip() for part in inside.partition("|"))
    if not words:
        raise PromptError("A bracket is empty: put into it what may be taken away.")
    return Piece(words, stand_in if bar else _neutral(words, before, after))


def _neutral(words: str, before: str, after: str) -> str:
    """A stand-in; none for what describes the word after it."""
    article = ARTICLE.search(before)
    own = re.match(r"(an?|the)\s", words, re.IGNORECASE)
    if not article and not own:
        return PERSON
    if article and re.match(rf"\s+(?!(?:{LEADS})\b)\w", after, re.IGNORECASE):
        return ""
    lead = before[: article.start()] if article else before
    return PLACE if re.search(rf"(?:^|\s){PLACES}$", lead.rstrip(), re.IGNORECASE) else THING


def _of(text: str, owner: int) -> Owned:
    return [(letter, owner) for letter in text]


def _said(letters: Owned) -> str:
    return "".join(letter for letter, _ in letters)


def _with(said: Owned, stand_in: str, place: int) -> Owned:
    """The stand-in put after what was said; an article that stands there is its own, or set right.

    >>> _said(_with(_of("with an ", -1), "duck", 0)), _said(_with(_of("with an ", -1), "a duck", 0))
    ('with a duck', 'with a duck')
    """
    article = ARTICLE.search(_said(said))
    if not article:
        return said + _of(stand_in, place)
    noun = re.sub(r"^(an?|the)\s+", "", stand_in, flags=re.IGNORECASE)
    own = stand_in[: len(stand_in) - len(noun)]
    if not own and article[1].lower() != "the":
        own = "an " if noun[:1].lower() in "aeiou" else "a "
    elif not own:
        own = f"{article[1]} "
    return said[: article.start()] + _of(own, -1) + _of(noun, place)


def _tidy(letters: Owned) -> Owned:
    """Without double blanks, blanks before commas, and commas that nothing stands before.

    >>> _said(_tidy(_of("a picture of  , a drawing, ", -1)))
    'a picture of, a drawing'
    """
    for extra in (r"(?<=\s)\s+", r"\s+(?=[,.;])", r"^[\s,;]+", r"[\s,;]+$"):
        gone = {at for hit in re.finditer(extra, _said(letters)) for at in range(*hit.span())}
        letters = [one for at, one in enumerate(letters) if at not in gone]
    return letters
