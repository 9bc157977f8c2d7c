"""What is to be counteracted: a prompt, what it brings unasked, what is to stay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from clerestory.attribution import SegmentedPrompt, parse_pieces
from clerestory.classifiers import classifier, condition
from clerestory.errors import EvidenceError, PromptError, RegistryError
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
    prompt: SegmentedPrompt
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

        A word to keep is a class of one of the profile's classifiers, or says of which it is one:
        `raven=lancet:subject=raven`. `instead` are the words that the control has in their place.
        PromptError for a word that the prompt has not, RegistryError for no class or classifier,
        EvidenceError for nothing to do.
        """
        if not unwanted or not keep:
            raise EvidenceError("Say what is unwanted and what is to be kept, each at least once.")
        if instead and len(instead) != len(keep):
            raise EvidenceError("Give as many words for the control as there are to keep.")
        away = tuple(condition(one) for one in dict.fromkeys(unwanted))
        words = [one.partition("=")[0].strip() for one in keep]
        kept = tuple(_seen(model, one) for one in keep)
        both = sorted({*away} & {*kept})
        if both:
            raise EvidenceError(f"{both[0][0]}={both[0][1]} is unwanted and to be kept.")
        every = others or tuple(model.profile.classifiers.values())
        for name in every:
            classifier(name)
        named = {name for name, _ in (*away, *kept)}
        return cls(
            model,
            parse_pieces(_bracketed(prompt, words, instead)),
            away,
            kept,
            tuple(words_for(model, *one) for one in away),
            tuple(one for one in every if one not in named),
        )


def words_for(model: Model, name: str, shows: str) -> str:
    """Prompt words for a classifier's class, with `{item}` in them."""
    return model.profile.template(name, shows)


def _seen(model: Model, text: str) -> Condition:
    """The class that a word to keep is seen as."""
    word, equals, rest = text.partition("=")
    if equals:
        return condition(rest.strip())
    known = tuple(model.profile.classifiers.values())
    if not known:
        raise RegistryError(
            f"Who sees {word.strip()!r} in pictures of {model.name}? Write WORD=CLASSIFIER=CLASS."
        )
    found = [(name, word.strip()) for name in known if word.strip() in classifier(name).classes]
    if len(found) != 1:
        seen = " and ".join(name for name, _ in found) or "none of the model's classifiers"
        raise RegistryError(
            f"{word.strip()!r}, to be kept, is seen by {seen}: write WORD=CLASSIFIER=CLASS."
        )
    return found[0]


def _bracketed(prompt: str, words: Sequence[str], instead: Sequence[str]) -> str:
    """The prompt with these words in brackets."""
    if any(sign in text for text in (prompt, *words, *instead) for sign in "[]"):
        raise PromptError("What is to be kept is named by --keep: leave brackets out.")
    spans: list[tuple[int, int]] = []
    for word in words:
        found = [hit.span() for hit in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", prompt)]
        if not word or not found:
            raise PromptError(f"The prompt has no word {word!r} to keep: {prompt!r}.")
        free = [one for one in found if all(one[1] <= a or b <= one[0] for a, b in spans)]
        if not free:
            raise PromptError(f"{word!r} overlaps another to keep: name no part of a prompt twice.")
        spans.append(free[0])
    stand_ins = [f"|{one.strip()}" for one in instead] or [""] * len(words)
    for (start, end), stand_in in sorted(zip(spans, stand_ins, strict=True), reverse=True):
        prompt = f"{prompt[:start]}[{prompt[start:end]}{stand_in}]{prompt[end:]}"
    return prompt
