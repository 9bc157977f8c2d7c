"""The file of a new study: a short one that runs as it is, or a copy of a built-in one."""

from __future__ import annotations

import re
from pathlib import Path

from clerestory.classifiers import load_classifier
from clerestory.errors import ModelError, TableError
from clerestory.io.reading import read_text
from clerestory.models.loading.plugins import default_model, find_checkpoint
from clerestory.registry import suggest
from clerestory.studies.schema import NAME, study_file

__all__ = ["TEMPLATE", "missing_class", "new_study", "with_words"]

TEMPLATE = Path(__file__).with_name("pages") / "new.toml"


def new_study(name: str, like: str | None = None) -> str:
    """The text of a study's file.

    Args:
        name: The name of the study; the short study asks for a style of these words.
        like: A built-in study to copy.

    Returns:
        TOML.

    Raises:
        TableError: No study may have this name.
        RegistryError: There is no study `like` this.
    """
    if not NAME.fullmatch(name) or len(name) > 60:
        raise TableError(
            f"{name!r} is no name of a study: give lower-case letters, digits and dashes."
        )
    if like is None:
        text = TEMPLATE.read_text("utf-8").replace("NAME", name)
        return with_words(text, name.replace("-", " "))
    text = read_text(study_file(like), TableError)
    # The first `name` is the study's own; tables further down may have fields of that name.
    return re.sub(r'^name = ".*"$', f'name = "{name}"', text, count=1, flags=re.MULTILINE)


def missing_class(name: str) -> str:
    """What the short study leaves out with the default model, for lack of a class.

    Args:
        name: The name of the study, whose words are the label.

    Returns:
        A sentence with the nearest class, "" where nothing is left out or there is no such model.
    """
    words = name.replace("-", " ")
    try:
        checkpoint = find_checkpoint(default_model())
    except ModelError:
        return ""
    classifier = "" if checkpoint is None else checkpoint.profile.classifiers.get("style", "")
    if checkpoint is None or not classifier:
        return ""
    classes = load_classifier(classifier).classes
    if words in classes:
        return ""
    return (
        f"{classifier} has no class {words!r}, so with {checkpoint.name} build.style is left out "
        f"until its label is one of the classifier's.{suggest(words, classes)}"
    )


def with_words(text: str, words: str) -> str:
    """Put words for `WORDS` into a text, with the article that fits them.

    Args:
        text: Any text.
        words: The words.

    Returns:
        The text.

    >>> with_words("a WORDS of a cat in WORDS", "ink")
    'an ink of a cat in ink'
    """
    article = "an" if words[:1].lower() in tuple("aeiou") else "a"
    # A function as the replacement: backslashes in the words are no escapes.
    return re.sub(r"\ba WORDS\b", lambda _: f"{article} {words}", text).replace("WORDS", words)
