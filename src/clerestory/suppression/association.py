"""An association to counteract: a prompt, what it brings unasked, and what is to be preserved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from clerestory.attribution import SegmentedPrompt, parse_pieces
from clerestory.classifiers import Target, load_classifier, parse_target
from clerestory.errors import EvidenceError, PromptError, RegistryError
from clerestory.models import Model
from clerestory.models.core.words import find_words

__all__ = ["Association", "split_words"]


@dataclass(frozen=True, eq=False)
class Association:
    """What a prompt brings unasked, beside a control prompt.

    Attributes:
        model: The model.
        prompt: The prompt, whose pieces are the words to preserve. With baselines in their place it
            is the control: unwanted labels that the control has do not count.
        unwanted: The labels to take away.
        preserved: The labels to preserve, one for each piece.
        side_effects: Classifiers whose predictions should not change.
    """

    model: Model = field(repr=False)
    prompt: SegmentedPrompt
    unwanted: tuple[Target, ...]
    preserved: tuple[Target, ...]
    side_effects: tuple[str, ...]

    @classmethod
    def of(
        cls,
        model: Model,
        prompt: str,
        unwanted: str | Sequence[str],
        preserve: str | Sequence[str],
        *,
        baselines: str | Sequence[str] = (),
        classifiers: Sequence[str] = (),
    ) -> Association:
        """Read an association as it is typed.

        Args:
            model: The model.
            prompt: The prompt, without brackets.
            unwanted: `CLASSIFIER=LABEL`, one or several.
            preserve: Words of the prompt, separated by commas if in one text. A word is a class of
                one of the model's default classifiers, or names its target:
                `raven=lancet:subject=raven`.
            baselines: Words that the control has in their place; by default those that follow from
                the words around them.
            classifiers: Those of side effects; by default the model's default classifiers.

        Returns:
            The association, whose prompt has the words to preserve as pieces.

        Raises:
            EvidenceError: Nothing is unwanted or preserved, or something is both.
            PromptError: The prompt does not have a word, or has brackets.
            RegistryError: There is no such classifier or class.
        """
        words, replacements = split_words(preserve), split_words(baselines)
        unwanted_targets = [unwanted] if isinstance(unwanted, str) else unwanted
        if not unwanted_targets or not words:
            raise EvidenceError("Say what is unwanted and what to preserve, each at least once.")
        if replacements and len(replacements) != len(words):
            raise EvidenceError("Give as many baselines as there are words to preserve.")
        removed = tuple(parse_target(text) for text in dict.fromkeys(unwanted_targets))
        preserved = tuple(_target(model, word) for word in words)
        both = sorted({*removed} & {*preserved})
        if both:
            raise EvidenceError(f"{both[0]} is both unwanted and to be preserved.")
        names = tuple(classifiers) or tuple(model.profile.classifiers.values())
        for name in names:
            load_classifier(name)  # raises for a name that there is not, before anything is drawn
        used = {target.classifier for target in (*removed, *preserved)}
        pieces = [word.partition("=")[0].strip() for word in words]
        return cls(
            model,
            parse_pieces(_bracketed(prompt, pieces, replacements)),
            removed,
            preserved,
            # The classifiers of the targets are measured anyhow.
            tuple(name for name in names if name not in used),
        )

    @property
    def targets(self) -> tuple[Target, ...]:
        """The unwanted labels, then the preserved ones."""
        return (*self.unwanted, *self.preserved)

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Every classifier that is needed, once."""
        names = (*(target.classifier for target in self.targets), *self.side_effects)
        return tuple(dict.fromkeys(names))

    def template(self, target: Target) -> str:
        """Prompt words for a label, with `{item}` in them.

        Args:
            target: An unwanted or preserved label.

        Returns:
            The profile's template for the label.

        Raises:
            RegistryError: The profile has no words for the label.
        """
        return self.model.profile.template(*target)


def split_words(text: str | Sequence[str]) -> list[str]:
    """Split a text at its commas, except inside brackets.

    Args:
        text: Words separated by commas, or a sequence, which is returned as a list.

    Returns:
        The words without blanks at their ends; empty ones are left out.

    >>> split_words("raven=zero-shot:MODEL[raven, owl, none]=raven, library")
    ['raven=zero-shot:MODEL[raven, owl, none]=raven', 'library']
    """
    if not isinstance(text, str):
        return list(text)
    # `zero-shot:MODEL[man, woman]` has commas of its own.
    return [word.strip() for word in re.split(r",(?![^\[\]]*\])", text) if word.strip()]


def _target(model: Model, text: str) -> Target:
    """The target of a word to preserve, as it is named or from the model's own classifiers."""
    word, equals, target = (part.strip() for part in text.partition("="))
    if equals:
        return Target(*parse_target(target))
    names = tuple(model.profile.classifiers.values())
    if not names:
        raise RegistryError(
            f"{model.name} has no default classifiers, so {word!r} needs a target: write "
            "WORD=CLASSIFIER=LABEL."
        )
    # A word that is a class of exactly one classifier needs no target.
    targets = [Target(name, word) for name in names if word in load_classifier(name).classes]
    if len(targets) != 1:
        sources = " and ".join(target.classifier for target in targets)
        raise RegistryError(
            f"{word!r} is a class of {sources or 'none'} of the model's default classifiers: write "
            "WORD=CLASSIFIER=LABEL."
        )
    return targets[0]


def _bracketed(prompt: str, words: Sequence[str], baselines: Sequence[str]) -> str:
    """The prompt with these words in brackets, as `parse_pieces` reads it."""
    # Brackets mark pieces in the prompt that is built below: the user's would be read as pieces.
    if any(sign in text for text in (prompt, *words, *baselines) for sign in "[]"):
        raise PromptError("Words to preserve are named by --preserve: leave brackets out.")
    spans: list[tuple[int, int]] = []
    for word in words:
        matches = list(find_words(prompt, word))
        if not word or not matches:
            raise PromptError(f"The prompt has no word {word!r} to preserve: {prompt!r}.")
        # A word that occurs twice in the prompt may be listed twice: each listing takes the next
        # occurrence.
        free = [span for span in matches if all(span[1] <= a or b <= span[0] for a, b in spans)]
        if not free:
            raise PromptError(f"{word!r} overlaps another word: name no part of a prompt twice.")
        spans.append(free[0])
    endings = [f"|{baseline.strip()}" for baseline in baselines] or [""] * len(words)
    # From the end of the prompt, so that earlier positions stay valid.
    for (start, end), ending in sorted(zip(spans, endings, strict=True), reverse=True):
        prompt = f"{prompt[:start]}[{prompt[start:end]}{ending}]{prompt[end:]}"
    return prompt
