"""A prompt in pieces, each of which can be removed: `[alexandra elbakyan] with a [raven]`.

prompt = parse_pieces("[alexandra elbakyan] with a [raven] in a [library]")
prompt.text((True, False, True))      # 'alexandra elbakyan with a thing in a library'

A removed piece is replaced by its baseline, or deleted with the words that lead to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clerestory.attribution.baselines import ARTICLE, LEAD, article_for, baseline_for, is_modifier
from clerestory.errors import PromptError

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = [
    "Characters",
    "Piece",
    "Removal",
    "SegmentedPrompt",
    "check_pieces",
    "check_removals",
    "parse_pieces",
]

Removal = Literal["baseline", "delete"]
"""What happens to a removed piece: its baseline takes its place, or nothing does."""
Characters = list[tuple[str, int]]
"""Characters of a prompt, each with the index of its piece; -1 - n for context after n pieces."""


@dataclass(frozen=True)
class Piece:
    """A part of a prompt that can be removed.

    Attributes:
        words: The piece as the prompt has it.
        baseline: What takes its place when it is removed; "" where it is always deleted.
        modifies: Whether it describes the word after it. Deleting such a piece leaves the words
            before it, which belong to the noun.
    """

    words: str
    baseline: str
    modifies: bool = False


@dataclass(frozen=True)
class SegmentedPrompt:
    """Pieces and the words between them.

    Attributes:
        context: The words before, between and after the pieces: one more than there are pieces.
        pieces: What can be removed.
        template: What a paraphrase was made with; paraphrases of one template share their words.
    """

    context: tuple[str, ...]
    pieces: tuple[Piece, ...]
    template: str = ""

    def text(self, present: Sequence[bool], removal: Removal = "baseline") -> str:
        """Return the prompt with some of its pieces.

        Articles before a baseline, and before what follows a deleted piece, are adjusted. Deleting
        a piece deletes its article and preposition, unless it modifies the word after it.

        Args:
            present: Whether each piece is kept.
            removal: What happens to the others.

        Returns:
            The text; "" where nothing is left.
        """
        return "".join(character for character, _ in self.characters(present, removal))

    def characters(self, present: Sequence[bool], removal: Removal = "baseline") -> Characters:
        """Return the same text character by character, each with the piece that it belongs to.

        Args:
            present: Whether each piece is kept.
            removal: What happens to the others.

        Returns:
            Pairs of a character and the index of its piece; `-1 - n` for context after n pieces.
        """
        # `deleted`: whether a modifier was deleted just before, whose article may no longer fit.
        text, deleted = _characters(self.context[0], -1), False
        for index, (is_present, piece) in enumerate(zip(present, self.pieces, strict=True)):
            if is_present:
                text, deleted = _append(text, piece.words, index, deleted)
            elif piece.baseline and removal == "baseline":
                text, deleted = _append_baseline(text, piece.baseline, index), False
            elif piece.modifies:
                deleted = True
            else:
                # "with a [raven]" loses "with a" too, or the sentence would be broken.
                lead = LEAD.search(_text(text))
                text = text[: lead.start()] if lead else text
            text, deleted = _append(text, self.context[index + 1], -2 - index, deleted)
        return _tidy(text)

    @property
    def full_text(self) -> str:
        """The prompt with every piece."""
        return self.text([True] * len(self.pieces))

    def text_without_pieces(self, removal: Removal = "baseline") -> str:
        """Return the prompt with no piece.

        Args:
            removal: What happens to the pieces.

        Returns:
            The words around the pieces, with any baselines; "" where nothing is left.
        """
        return self.text([False] * len(self.pieces), removal)

    @property
    def labels(self) -> tuple[str, ...]:
        """The words of each piece, numbered where several pieces have the same."""
        words = [piece.words for piece in self.pieces]
        return tuple(
            f"{word} ({words[:index].count(word) + 1})" if words.count(word) > 1 else word
            for index, word in enumerate(words)
        )


def parse_pieces(text: str) -> SegmentedPrompt:
    """Read a prompt with its pieces in brackets.

    `[raven]` has a baseline that follows from the words around it (`baseline_for`), `[raven|thing]`
    names one, and `[raven|]` is always deleted. Without any brackets each word is a piece, and
    removed words are deleted.

    Args:
        text: The prompt, such as `[alexandra elbakyan] with a [raven]`.

    Returns:
        The prompt in pieces.

    Raises:
        PromptError: The prompt or a bracket is empty, or the brackets do not match.

    >>> parse_pieces("a cat with an [owl]").pieces
    (Piece(words='owl', baseline='a thing', modifies=False),)
    """
    if not text.strip():
        raise PromptError("The prompt is empty.")
    if "[" not in text and "]" not in text:
        # Without brackets every word is a piece, deleted when it is removed.
        words = text.split()
        context = ["", *[" "] * (len(words) - 1), ""]
        return SegmentedPrompt(tuple(context), tuple(Piece(word, "", True) for word in words))
    context, bracketed = [""], list[str]()
    for part in re.split(r"([\[\]])", text):
        # There is one context more than there are bracketed parts whenever no bracket is open.
        outside = len(context) > len(bracketed)
        if part == "[":
            if not outside:
                raise PromptError(f"Brackets of {text!r} are nested: a piece has no pieces.")
            bracketed.append("")
        elif part == "]":
            if outside:
                raise PromptError(f"A bracket of {text!r} is closed that was not opened.")
            context.append("")
        elif outside:
            context[-1] += part
        else:
            bracketed[-1] += part
    if len(context) == len(bracketed):
        raise PromptError(f"A bracket of {text!r} is not closed.")
    return SegmentedPrompt(tuple(context), tuple(_pieces(bracketed, context)))


def check_pieces(model: Model, prompt: SegmentedPrompt) -> None:
    """Check that a prompt fits the model's text window.

    Args:
        model: The model whose tokenizer counts.
        prompt: The prompt in pieces.

    Raises:
        PromptError: A piece, or the prompt, is too long.
    """
    for piece in prompt.pieces:
        try:
            model.check_prompt(piece.words)
        except PromptError as error:
            raise PromptError(f"The piece {piece.words[:60]!r} is too long. {error}") from error
    model.check_prompt(prompt.full_text)


def check_removals(
    model: Model, prompts: Sequence[SegmentedPrompt], removals: Sequence[Removal]
) -> None:
    """Check that every removal of a piece gives the model another text.

    Args:
        model: The model whose tokenizer compares.
        prompts: Prompts in pieces.
        removals: What happens to removed pieces.

    Raises:
        PromptError: A piece is its own baseline, so that its effect would be 0 whatever it does.
    """
    for prompt in prompts:
        full = model.tokenize(prompt.full_text)
        for index, piece in enumerate(prompt.pieces):
            present = [each != index for each in range(len(prompt.pieces))]
            for removal in removals:
                # By tokens: many tokenizers do not tell capitals.
                if (text := prompt.text(present, removal)) and model.tokenize(text) == full:
                    raise PromptError(
                        f"The piece {piece.words[:60]!r} of {prompt.full_text[:80]!r} is its own "
                        f"baseline, so nothing changes without it: name another, "
                        f"[{piece.words[:60]}|thing], or remove it by `delete`."
                    )


def _pieces(bracketed: Sequence[str], context: Sequence[str]) -> list[Piece]:
    """Pieces from the texts in brackets; each baseline depends on the words around it."""
    pieces: list[Piece] = []
    before = ""
    for index, text in enumerate(bracketed):
        before += context[index]
        # A bracket stands for the piece that follows, whose words do not matter here.
        after = context[index + 1] + ("[" if index + 1 < len(bracketed) else "")
        pieces.append(_piece(text, before, after))
        # Without brackets and baselines, as the full prompt reads.
        before += pieces[-1].words
    return pieces


def _piece(text: str, before: str, after: str) -> Piece:
    words, bar, baseline = (part.strip() for part in text.partition("|"))
    if not words:
        raise PromptError("A bracket is empty: put into it what can be removed.")
    if "|" in baseline:
        raise PromptError(f"[{text}] has two bars: a piece has one baseline, [raven|thing].")
    if not bar:
        baseline = baseline_for(words, before, after)
    return Piece(words, baseline, is_modifier(after))


def _characters(text: str, owner: int) -> Characters:
    return [(character, owner) for character in text]


def _text(characters: Characters) -> str:
    return "".join(character for character, _ in characters)


def _append(
    characters: Characters, text: str, owner: int, deleted: bool
) -> tuple[Characters, bool]:
    """Append text; where a piece was deleted just before, adjust the article it leaves behind."""
    article = ARTICLE.search(_text(characters))
    if deleted and text.strip() and article and article[1].lower() != "the":
        characters = characters[: article.start()] + _characters(
            article_for(text.strip(), article[1]), characters[article.start()][1]
        )
    return characters + _characters(text, owner), deleted and not text.strip()


def _append_baseline(characters: Characters, baseline: str, index: int) -> Characters:
    """Append a baseline; its own article replaces the one before it, or that one is adjusted.

    >>> before = _characters("with an ", -1)
    >>> [_text(_append_baseline(before, noun, 0)) for noun in ("duck", "a duck", "the duck")]
    ['with a duck', 'with a duck', 'with the duck']
    """
    article = ARTICLE.search(_text(characters))
    if not article:
        return characters + _characters(baseline, index)
    noun = re.sub(r"^(an?|the)\s+", "", baseline, flags=re.IGNORECASE)
    words = baseline[: len(baseline) - len(noun)] or f"{article[1]} "
    # "the" stays, since it changes the meaning; only indefinite articles are chosen by sound.
    if {words.strip().lower(), article[1].lower()} <= {"a", "an"}:
        words = article_for(noun, article[1])
    owner = characters[article.start()][1]
    return characters[: article.start()] + _characters(words, owner) + _characters(noun, index)


# Characters keep their owners throughout, so that tokens are found in the text that is drawn.
def _tidy(characters: Characters) -> Characters:
    """Remove double blanks, blanks before commas, and punctuation that nothing precedes.

    >>> _text(_tidy(_characters("a picture of  , a drawing, ", -1)))
    'a picture of, a drawing'
    """
    for extra in (r"(?<=\s)\s+", r"\s+(?=[,.;])", r"^[\s,;]+", r"[\s,;]+$"):
        positions = {
            at for match in re.finditer(extra, _text(characters)) for at in range(*match.span())
        }
        characters = [each for at, each in enumerate(characters) if at not in positions]
    return characters
