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

from clerestory.attribution.baselines import ARTICLE, LED, article_for, modifies, stand_in
from clerestory.errors import PromptError

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["Absence", "Piece", "Prompt", "check_pieces", "parse_pieces"]

Absence = Literal["neutral", "delete"]


@dataclass(frozen=True)
class Piece:
    """What may be taken away, and what stands for it then; "" where nothing does.

    One that `modifies` the word after it leaves the words before it where they are.
    """

    words: str
    stand_in: str
    modifies: bool = False


Owned = list[tuple[str, int]]
"""Letters, each with the piece that it is of, or -1 - n for words that n pieces stand before."""


@dataclass(frozen=True)
class Prompt:
    """Pieces, and the words around them: one more of these than pieces.

    `frame` is what a paraphrase was made with: those of one frame have their words in common.
    """

    around: tuple[str, ...]
    pieces: tuple[Piece, ...]
    frame: str = ""

    def text(self, present: Sequence[bool], absence: Absence = "neutral") -> str:
        """The prompt with only these pieces in it.

        Articles before a stand-in, or before what follows a piece that is left out, are set right.
        A piece that is left out takes article and preposition along, but for one that modifies.
        """
        return "".join(letter for letter, _ in self.letters(present, absence))

    def letters(self, present: Sequence[bool], absence: Absence = "neutral") -> Owned:
        """The same letter by letter, with the piece that each is of, or stands in for."""
        said, gone = _of(self.around[0], -1), False
        for place, (here, piece) in enumerate(zip(present, self.pieces, strict=True)):
            if here:
                said, gone = _put(said, piece.words, place, gone)
            elif piece.stand_in and absence == "neutral":
                said, gone = _with(said, piece.stand_in, place), False
            elif piece.modifies:
                gone = True
            else:
                found = LED.search(_said(said))
                said = said[: found.start()] if found else said
            said, gone = _put(said, self.around[place + 1], -2 - place, gone)
        return _tidy(said)

    @property
    def whole(self) -> str:
        """With every piece."""
        return self.text([True] * len(self.pieces))


def parse_pieces(text: str) -> Prompt:
    """Read a prompt with its pieces in brackets, `[raven]` or with a stand-in `[raven|thing]`.

    Without brackets each word is a piece, and absent words are left out. `[raven|]` is left out,
    and where no stand-in is given it goes by the words around (`stand_in`). PromptError for
    brackets that do not fit, or are empty.
    """
    if not text.strip():
        raise PromptError("The prompt is empty.")
    if "[" not in text and "]" not in text:
        words = text.split()
        around = ["", *[" "] * (len(words) - 1), ""]
        return Prompt(tuple(around), tuple(Piece(word, "", True) for word in words))
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
    return Prompt(tuple(around), tuple(_read(pieces, around)))


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


def _read(insides: Sequence[str], around: Sequence[str]) -> list[Piece]:
    found: list[Piece] = []
    before = ""
    for place, inside in enumerate(insides):
        before += around[place]
        after = around[place + 1] + ("[" if place + 1 < len(insides) else "")
        found.append(_piece(inside, before, after))
        before += found[-1].words
    return found


def _piece(inside: str, before: str, after: str) -> Piece:
    words, bar, given = (part.strip() for part in inside.partition("|"))
    if not words:
        raise PromptError("A bracket is empty: put into it what may be taken away.")
    if "|" in given:
        raise PromptError(f"[{inside}] has two bars: a piece has one stand-in, [raven|thing].")
    return Piece(words, given if bar else stand_in(words, before, after), modifies(after))


def _of(text: str, owner: int) -> Owned:
    return [(letter, owner) for letter in text]


def _said(letters: Owned) -> str:
    return "".join(letter for letter, _ in letters)


def _put(said: Owned, text: str, owner: int, gone: bool) -> tuple[Owned, bool]:
    """The text put after what was said; its article set right where a piece between is gone."""
    article = ARTICLE.search(_said(said))
    if gone and text.strip() and article and article[1].lower() != "the":
        said = said[: article.start()] + _of(
            article_for(text.strip(), article[1]), said[article.start()][1]
        )
    return said + _of(text, owner), gone and not text.strip()


def _with(said: Owned, stand_in: str, place: int) -> Owned:
    """The stand-in put after what was said; an article that stands there is its own, or set right.

    >>> [_said(_with(_of("with an ", -1), noun, 0)) for noun in ("duck", "a duck", "the duck")]
    ['with a duck', 'with a duck', 'with the duck']
    """
    article = ARTICLE.search(_said(said))
    if not article:
        return said + _of(stand_in, place)
    noun = re.sub(r"^(an?|the)\s+", "", stand_in, flags=re.IGNORECASE)
    own = stand_in[: len(stand_in) - len(noun)] or f"{article[1]} "
    if {own.strip().lower(), article[1].lower()} <= {"a", "an"}:
        own = article_for(noun, article[1])
    return said[: article.start()] + _of(own, said[article.start()][1]) + _of(noun, place)


def _tidy(letters: Owned) -> Owned:
    """Without double blanks, blanks before commas, and commas that nothing stands before.

    >>> _said(_tidy(_of("a picture of  , a drawing, ", -1)))
    'a picture of, a drawing'
    """
    for extra in (r"(?<=\s)\s+", r"\s+(?=[,.;])", r"^[\s,;]+", r"[\s,;]+$"):
        gone = {at for hit in re.finditer(extra, _said(letters)) for at in range(*hit.span())}
        letters = [one for at, one in enumerate(letters) if at not in gone]
    return letters
