"""What is to be counteracted: a prompt, what it brings unasked, what is to stay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from clerestory.attributing import Prompt, parse_pieces
from clerestory.classifying import LancetClassifiers, condition
from clerestory.errors import EvidenceError, PromptError, RegistryError
from clerestory.lancet.saying import words_for
from clerestory.models import Model

__all__ = ["Case", "Condition"]

Condition = tuple[str, str]
"""A classifier and its class."""


@dataclass(frozen=True, eq=False)
class Case:
    """A `prompt` whose pieces are what is to stay; `unwanted` and `kept` are classes.

    `said` are the words of each unwanted class, `others` classifiers of everything else. The prompt
    with stand-ins for its pieces is the control: what it shows of the unwanted is no excess.
    """

    model: Model = field(repr=False)
    prompt: Prompt
    unwanted: tuple[Condition, ...]
    kept: tuple[Condition, ...]
    said: tuple[str, ...]
    others: tuple[str, ...]

    @classmethod
    def of(
        cls,
        model: Model,
        prompt: str,
        unwanted: Sequence[str],
        keep: Sequence[str],
        *,
        instead: Sequence[str] = (),
        others: Sequence[str] = (),
    ) -> Case:
        """From conditions `CLASSIFIER=CLASS` and words of the prompt.

        A word to keep is a class of Lancet's classifiers, or says of which: `raven=lancet:subject=
        raven`. `instead` are the words that the control has in their place. PromptError for a word
        that the prompt has not, RegistryError for no class, EvidenceError for nothing to do.
        """
        if not unwanted or not keep:
            raise EvidenceError("Say what is unwanted and what is to be kept, each at least once.")
        if instead and len(instead) != len(keep):
            raise EvidenceError("Give as many words for the control as there are to keep.")
        away = tuple(condition(one) for one in dict.fromkeys(unwanted))
        words = [one.partition("=")[0].strip() for one in keep]
        kept = tuple(_seen(one) for one in keep)
        both = sorted({*away} & {*kept})
        if both:
            raise EvidenceError(f"{both[0][0]}={both[0][1]} is unwanted and to be kept.")
        from_lancet = LancetClassifiers.load("b").classes if model.name == "lancet" else {}
        every = others or [f"lancet:{factor}" for factor in from_lancet]
        named = {name for name, _ in (*away, *kept)}
        return cls(
            model,
            parse_pieces(_bracketed(prompt, words, instead)),
            away,
            kept,
            tuple(words_for(model, *one) for one in away),
            tuple(one for one in every if one not in named),
        )


def _seen(text: str) -> Condition:
    """The class that a word to keep is seen as."""
    word, equals, rest = text.partition("=")
    if equals:
        return condition(rest.strip())
    found = [
        (f"lancet:{factor}", word.strip())
        for factor, classes in LancetClassifiers.load("b").classes.items()
        if word.strip() in classes
    ]
    if len(found) != 1:
        known = " and ".join(name for name, _ in found) or "none of Lancet's classifiers"
        raise RegistryError(
            f"{word.strip()!r}, to be kept, is seen by {known}: write WORD=CLASSIFIER=CLASS."
        )
    return found[0]


def _bracketed(prompt: str, words: Sequence[str], instead: Sequence[str]) -> str:
    """The prompt with these words in brackets."""
    if "[" in prompt or "]" in prompt:
        raise PromptError("What is to be kept is named by --keep: leave brackets out.")
    for place, word in enumerate(words):
        found = re.search(rf"(?<![\w\[]){re.escape(word)}(?![\w\]|])", prompt)
        if not word or not found:
            raise PromptError(f"The prompt has no word {word!r} to keep: {prompt!r}.")
        own = f"[{word}|{instead[place].strip()}]" if instead else f"[{word}]"
        prompt = prompt[: found.start()] + own + prompt[found.end() :]
    return prompt
