"""Paraphrases of the sentence around the pieces: the replicates of an attribution.

paraphrase(parse_pieces("[alexandra elbakyan] with a [raven]"), 24)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np

from clerestory.attribution.baselines import PREPOSITIONS
from clerestory.attribution.pieces import Removal, SegmentedPrompt, parse_pieces
from clerestory.errors import EvidenceError, PromptError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.models import Model
from clerestory.types import Floats, Integers

__all__ = [
    "DEFAULT_COUNT",
    "MIN_COUNT",
    "SHARED_SEEDS",
    "TEMPLATES",
    "paraphrase",
    "parse_paraphrases",
    "prompts_fit",
    "template_groups",
    "template_means",
]

MIN_COUNT, DEFAULT_COUNT = 20, 48
SHARED_SEEDS = EvidenceWarning(
    "shared-seeds", "All paraphrases share their seeds: the intervals are about these seeds alone."
)
TEMPLATES = (
    "{item}",
    "a picture of {item}",
    "an image of {item}",
    "a drawing of {item}",
    "an illustration of {item}",
    "a depiction of {item}",
    "a simple picture of {item}",
    "{item}, a drawing",
    "{item}, a picture",
    "{item}, an illustration",
    "a plain picture of {item}",
    "a scene with {item}",
    "a new drawing of {item}",
    "the image of {item}",
    "this is {item}",
    "here is {item}",
    "{item}, an image",
    "a good picture of {item}",
    "one picture of {item}",
    "a view of {item}",
    "we see {item}",
    "the picture of {item}",
    "the drawing of {item}",
    "a picture with {item}",
    "an image with {item}",
    "a drawing with {item}",
    "a picture showing {item}",
    "a drawing showing {item}",
    "an image showing {item}",
    "a picture that shows {item}",
    "this picture shows {item}",
    "the picture shows {item}",
    "a simple drawing of {item}",
    "a simple image of {item}",
    "a plain drawing of {item}",
    "a plain image of {item}",
    "a new picture of {item}",
    "a new image of {item}",
    "a good drawing of {item}",
    "a good image of {item}",
    "one drawing of {item}",
    "one image of {item}",
    "some picture of {item}",
    "another picture of {item}",
    "another drawing of {item}",
    "a view with {item}",
    "the scene with {item}",
    "a scene of {item}",
    "here we see {item}",
    "there is {item}",
    "it is {item}",
    "this shows {item}",
    "this is a picture of {item}",
    "this is a drawing of {item}",
    "here is a picture of {item}",
    "{item}, a scene",
    "{item}, a simple picture",
    "{item}, a plain drawing",
    "{item}, the picture",
    "{item}, one picture",
)
"""Templates that add nothing to the meaning of a sentence: enough for one per paraphrase."""
SYNONYMS = {
    "with": ("with", "and", "together with"),
    "in a": ("in a", "inside a", "in the"),
}
"""Words between pieces, and what can replace them."""
BOUND = re.compile(rf"(?<!\S)(?:{PREPOSITIONS}|together|along|\w+(?:ed|en|ing))\s+$", re.IGNORECASE)
"""What such a word can belong to, as in `covered with`; then no synonym fits."""


def paraphrase(
    prompt: SegmentedPrompt,
    count: int,
    *,
    at_least: int | None = None,
    model: Model | None = None,
    removal: Sequence[Removal] = ("baseline",),
    seed: int = 0,
) -> tuple[SegmentedPrompt, ...]:
    """Make different sentences around the same pieces; the first is the prompt itself.

    Sentences of which nothing remains without the pieces are left out.

    Args:
        prompt: The prompt in pieces.
        count: How many sentences.
        at_least: How many are enough where there are fewer than `count`; by default `count`.
        model: If given, only sentences that fit its text window with and without each piece.
        removal: How pieces will be removed, in one or both ways.
        seed: Of the order of the sentences.

    Returns:
        The sentences, with the same pieces. A template occurs twice only after all have occurred.

    Raises:
        EvidenceError: Fewer than 20 are requested, which are too few replicates, or more than
            there are.
    """
    required = count if at_least is None else min(at_least, count)
    if required < MIN_COUNT:
        raise EvidenceError(
            f"{required} paraphrases are too few replicates: take {MIN_COUNT} or more."
        )
    # A baseline can have more tokens than its piece: the longest coalition mixes both.
    present = [True] * len(prompt.pieces)
    if model is not None and "baseline" in removal:
        present = _longest(model, prompt)
    sentences: list[SegmentedPrompt] = []
    for wording in _wordings(prompt, np.random.default_rng(seed)):
        sentence = _reworded(prompt, wording)
        # Only "{item}" of a prompt that is all pieces leaves nothing.
        if not all(map(sentence.text_without_pieces, removal)):
            continue
        # These two bound the length of all coalitions.
        texts = [sentence.full_text, sentence.text(present)]
        if model is None or prompts_fit(model, texts):
            sentences.append(sentence)
        if len(sentences) == count:
            break
    if len(sentences) < required:
        raise EvidenceError(
            f"There are {len(sentences)} paraphrases of this prompt and {required} are requested: "
            "request fewer, or write sentences of your own."
        )
    return tuple(sentences)


def parse_paraphrases(
    prompt: SegmentedPrompt, sentences: Sequence[str]
) -> tuple[SegmentedPrompt, ...]:
    """Read sentences with the pieces of a prompt in brackets, in the same order.

    Args:
        prompt: The prompt in pieces, whose baselines hold for all sentences.
        sentences: Prompts with brackets; repetitions count once.

    Returns:
        The sentences with the pieces of `prompt`.

    Raises:
        EvidenceError: A sentence has other pieces, or there are fewer than 20.
    """
    parsed = [parse_pieces(sentence) for sentence in dict.fromkeys(sentences)]
    # The words alone: baselines may be written into the prompt and left out of the sentences.
    words = [piece.words for piece in prompt.pieces]
    for sentence in parsed:
        if [piece.words for piece in sentence.pieces] != words:
            raise EvidenceError(
                f"A sentence has other pieces than {words}: {sentence.full_text!r}. Each needs "
                "them all, in brackets and in this order."
            )
    if len(parsed) < MIN_COUNT:
        raise EvidenceError(f"There are {len(parsed)} sentences; {MIN_COUNT} or more are needed.")
    return tuple(SegmentedPrompt(sentence.context, prompt.pieces) for sentence in parsed)


def prompts_fit(model: Model, texts: Sequence[str]) -> bool:
    """Return whether every prompt fits the model's text window.

    Args:
        model: The model whose tokenizer counts.
        texts: The prompts.

    Returns:
        False if any of them is too long.
    """
    try:
        for text in texts:
            model.check_prompt(text)
    except PromptError:
        return False
    return True


def template_groups(paraphrases: Sequence[SegmentedPrompt]) -> Integers:
    """The group of each paraphrase: one per template; sentences without one are groups of one.

    Args:
        paraphrases: The replicates.

    Returns:
        `[paraphrase]`, group numbers from 0.
    """
    templates = [each.template or str(index) for index, each in enumerate(paraphrases)]
    # Names to numbers; the numbers follow the alphabet, which does not matter to a mean.
    return np.unique(templates, return_inverse=True)[1]


def template_means(values: Floats, groups: Integers) -> Floats:
    """Average the paraphrases of each template: those of one template are no independent evidence.

    Args:
        values: `[paraphrase, …]`.
        groups: The group of each paraphrase, from `template_groups`.

    Returns:
        `[template, …]`.
    """
    return np.array([values[groups == group].mean(0) for group in np.unique(groups)])


def _longest(model: Model, prompt: SegmentedPrompt) -> list[bool]:
    """Which pieces are present in the longest coalition: those longer than their baselines."""
    return [
        len(model.tokenize(piece.words)) >= len(model.tokenize(piece.baseline))
        for piece in prompt.pieces
    ]


def _variants(prompt: SegmentedPrompt, index: int) -> list[str]:
    """The words between two pieces, and their variants with synonyms."""
    words = prompt.context[index]
    for phrase, synonyms in SYNONYMS.items():
        match = re.search(rf"(?<!\S){phrase}(?!\S)", words)
        # "covered with" and "filled with" do not mean "covered and".
        if match and not BOUND.search(words[: match.start()]):
            variants = [words[: match.start()] + each + words[match.end() :] for each in synonyms]
            return list(dict.fromkeys([words, *variants]))
    return [words]


def _wordings(prompt: SegmentedPrompt, rng: np.random.Generator) -> Iterator[tuple[str, ...]]:
    """Each template with words between the pieces, every template once before any occurs twice.

    The prompt's own words are always the first.
    """
    variants = [_variants(prompt, index) for index in range(1, len(prompt.pieces))]
    inner = list(itertools.product(*variants))
    # The words as they were written come first, so that the first sentence is the prompt itself.
    order = [0, *rng.permutation(np.arange(1, len(inner))).tolist()]
    # Templates take the words in one order, each from another start: no pair occurs twice.
    starts = [0, *rng.integers(len(inner), size=len(TEMPLATES) - 1).tolist()]
    for step in range(len(inner)):
        first = [0] if step == 0 else []
        templates = rng.permutation(np.arange(len(first), len(TEMPLATES))).tolist()
        for index in [*first, *templates]:
            yield TEMPLATES[index], *inner[order[(starts[index] + step) % len(inner)]]


def _reworded(prompt: SegmentedPrompt, wording: Sequence[str]) -> SegmentedPrompt:
    """A sentence from a template and the words between the pieces."""
    template, *inner = wording
    before, _, after = template.partition("{item}")
    context = [before + prompt.context[0], *inner, prompt.context[-1] + after]
    return SegmentedPrompt(tuple(context), prompt.pieces, template)
