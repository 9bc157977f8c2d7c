"""A small study's file, to be read or spoilt."""

from __future__ import annotations

import tomllib
from typing import Any

from clerestory.studies import Study

__all__ = ["FILE", "changed", "written"]

FILE = """
name = "small"
question = "Where is it?"
headline = ["find.glass"]

[classifiers.style]
lancet = "lancet:style"
other = "zero-shot:MODEL[glass art, plain]"
called = { glass = "glass art" }

[classifiers.tint]
lancet = "colour:tint"

[record.styles]
sites = ["text.*/mlp"]

[record.styles.prompts]
phrasings = ["{style} {subject}"]

[record.styles.prompts.levels.style]
glass = "a glass"
plain = "a picture of"

[record.styles.prompts.levels.subject]
cat = "a cat"
dog = "a dog"

[find.glass]
record = "styles"
concept = "glass"
shown = "style == 'glass'"
absent = "style == 'plain'"

[group.tints]
record = "styles"
classifier = "tint"
control = ["style"]

[verify.glass]
find = "glass"
classifier = "style"
shows = "glass"

[attribute.cat]
prompt = "a [cat] with a [dog]"
of = { glass = ["style", "glass"] }
brings = { glass = "cat" }

[quick."find.glass"]
flips = 5

[quick."group.tints"]
leave_out = true
"""


def written(text: str, scale: Any = "full") -> Study:
    return Study.of(tomllib.loads(text), scale)


def changed(old: str, new: str) -> str:
    assert FILE.count(old) == 1, old
    return FILE.replace(old, new)
