"""A file of prompts about a concept, to edit: phrases per arm, sentence frames and items."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence

from clerestory.errors import PromptError
from clerestory.studies.new_study import TEMPLATE, with_words

__all__ = ["ITEMS", "concept_prompts"]

ITEMS = 48
"""Items of the file: half of them, the recommended number, evaluate."""
FRAMES = (
    "{concept}",
    "{concept}, a picture",
    "{concept}, an image",
    "{concept}, an illustration",
    "{concept}, a drawing",
    "{concept}, a depiction",
    "we see {concept}",
    "this is {concept}",
)
"""Half of them, the four that a test over frames needs, evaluate."""
MAX_WORDS = 200
"""Characters of a concept's words."""
ARMS = {"negative": "plain", "positive": "asked", "hard negative": "hard negative"}
"""Arms, and the levels of the short study whose phrases they have."""

HEAD = """\
# Prompts about CONCEPT, to edit. Read them aloud: change phrases that nobody would say, or that the
# model has no words for. Delete some if need be, so that eight an arm are left.
#
#   clerestory record --prompts FILE --sites 'text.*/mlp' --no-pictures --out rec
#   clerestory find rec --positive "concept == 'positive'" --negative "concept == 'negative'" \\
#       --hard-negative "concept == 'hard negative'" --match item
#
# How many?  Phrases, frames and items are samples of what could be said, not all of it: a unit that
# reacts to a word of one phrase looks like one that detects the concept. Half of each selects
# units, the other half tests them.
#
#   phrases  8 an arm are required (4 in each half), 12 recommended, for hard negatives too. The
#            power is here: a unit of AUROC .90 is found with 3, 4 or 6 phrases an arm in the
#            evaluation half in .21, .54 or .94 of trials.
#   items    24 are required (12 in each half), 48 recommended.
#   frames   8 are required (4 in each half), or one. The arms share them, so that their effects
#            cancel. They do not replace phrases: with one phrase an arm the result is undecided,
#            however many frames there are. Where the prompts are too many, leave one frame.
#
# {item} and {concept} stand for a phrase of a level below; other factors may be added.
"""
NOTES = {
    "negative": "# Without the concept, in as many ways as there are of saying nothing special.",
    "positive": "# With the concept, as a style; a mood or a view is said in other ways.",
    "hard negative": (
        "# With its words or objects, but without it: what separates these is not the word alone.\n"
        "# No phrase may say the concept itself, or it is no negative."
    ),
}


def concept_prompts(concept: str, against: str | None = None, items: Sequence[str] = ()) -> str:
    """The text of a template about a concept, for `clerestory record --prompts`.

    Args:
        concept: Its words, such as `stained glass`.
        against: Words of the hard negative, a thing with the concept's words or looks, such as `a
            stained glass window`; by default the concept's words themselves, as a thing.
        items: What the prompts are about; by default those of the short study.

    Returns:
        TOML, with comments.

    Raises:
        PromptError: The words are empty, too long, or have braces or unprintable characters.
    """
    for words in (concept, *([] if against is None else [against])):
        # Line breaks would end the comments that the words are in.
        allowed = words.isprintable() and set("{}").isdisjoint(words)
        if not words.strip() or len(words) > MAX_WORDS or not allowed:
            raise PromptError(
                f"{words[:40]!r} are no words of a concept: give up to {MAX_WORDS} characters in "
                "one line, without braces."
            )
    # From the short study, so that its phrases are kept in one place.
    levels = tomllib.loads(TEMPLATE.read_text("utf-8"))["record"]["styles"]["prompts"]["levels"]
    by_arm = {
        arm: [
            with_words(
                phrase.replace("{subject}", "{item}"),
                (against or concept) if arm == "hard negative" else concept,
            )
            for phrase in levels["style"][level]
        ]
        for arm, level in ARMS.items()
    }
    named = {item: item for item in items} or dict(levels["subject"])
    return "\n".join(
        [
            HEAD.replace("CONCEPT", concept),
            _list("templates", FRAMES),
            'matched = ["concept"]',
            "",
            "[levels.concept]",
            *(f"{NOTES[arm]}\n{_list(_key(arm), phrases)}" for arm, phrases in by_arm.items()),
            "",
            "# Things that say nothing of the concept.",
            "[levels.item]",
            *(f"{_key(name)} = {_text(item)}" for name, item in named.items()),
            "",
        ]
    )


def _list(key: str, texts: Sequence[str]) -> str:
    lines = "".join(f"    {_text(text)},\n" for text in texts)
    return f"{key} = [\n{lines}]"


def _key(name: str) -> str:
    # A bare key of TOML; anything else is quoted.
    return name if name.isalnum() and name.isascii() else _text(name)


def _text(text: str) -> str:
    # A JSON string is a basic string of TOML.
    return json.dumps(text)
