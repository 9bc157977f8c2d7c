"""Vocabularies of searches: from a model's captions, a plug-in, a file or the tokenizer.

A plug-in names a function without arguments that returns words, as an entry point of the group
`clerestory.vocabularies`; the entry point's name is the vocabulary's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from clerestory.errors import SearchError
from clerestory.io.reading import read_lines
from clerestory.maximization.fluency import Bigrams
from clerestory.registry import load_plugin, plugins, suggest

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.models.profile import ModelProfile

__all__ = ["caption_bigrams", "default_words", "vocabulary_words"]

GROUP = "clerestory.vocabularies"


def vocabulary_words(vocabulary: Sequence[str] | str | Path) -> list[str]:
    """The words of a vocabulary.

    Args:
        vocabulary: The words themselves, the name of a plug-in's vocabulary, or a file with a word
            a line.

    Raises:
        SearchError: There is no vocabulary and no file of this name.

    Returns:
        The words in their order, repeated ones included.
    """
    if not isinstance(vocabulary, str | Path):
        return list(vocabulary)
    name, vocabularies = str(vocabulary), plugins(GROUP)
    if name in vocabularies:
        return list(load_plugin(vocabularies[name])())
    path = Path(vocabulary)
    if not path.is_file():
        raise SearchError(
            f"{name} is neither a file nor a vocabulary.{suggest(name, vocabularies)}"
        )
    return read_lines(path, SearchError)


def default_words(model: Model) -> list[str]:
    """The words of the profile's captions in alphabetical order; without captions, the tokens.

    Args:
        model: The model with the profile and the tokenizer.

    Returns:
        The words.
    """
    bigrams = caption_bigrams(model.profile)
    if bigrams is None:
        return model.vocabulary()
    # Without the start mark and commas, which are counted too.
    return sorted(word for word in bigrams.words if word[:1].isalnum())


@lru_cache(maxsize=1)
def caption_bigrams(profile: ModelProfile) -> Bigrams | None:
    """Bigrams of a profile's captions; None where it has none.

    Args:
        profile: The profile of a model.

    Returns:
        The bigrams; those of the last profile are kept.
    """
    captions = profile.captions()
    return Bigrams.of(captions) if captions else None
