"""A small study's file, to be read or spoilt."""

from __future__ import annotations

import tomllib
from typing import Any

from clerestory.studies import Study

__all__ = ["FILE", "changed", "parsed"]

FILE = """
name = "small"
question = "Where is it?"
headline = ["find.glass"]

[classifiers.style]
profile = "style"
default = "zero-shot:MODEL[glass art, plain]"
labels = { glass = "glass art" }

[classifiers.tint]
default = "colour:tint"

[record.styles]
sites = ["text.*/mlp"]

[record.styles.prompts]
templates = ["{style} {subject}"]

[record.styles.prompts.levels.style]
glass = "a glass"
plain = "a picture of"

[record.styles.prompts.levels.subject]
cat = "a cat"
dog = "a dog"

[find.glass]
record = "styles"
concept = "glass"
positive = "style == 'glass'"
negative = "style == 'plain'"

[group.tints]
record = "styles"
classifier = "tint"
control = ["style"]

[verify.glass]
find = "glass"
classifier = "style"
label = "glass"

[attribute.cat]
prompt = "a [cat] with a [dog]"
targets = { glass = ["style", "glass"] }
raises = { glass = "cat" }

[quick."find.glass"]
top = 5

[quick."group.tints"]
skip = true
"""


def parsed(text: str, scale: Any = "full") -> Study:
    return Study.from_dict(tomllib.loads(text), scale)


def changed(old: str, new: str) -> str:
    assert FILE.count(old) == 1, old
    return FILE.replace(old, new)
