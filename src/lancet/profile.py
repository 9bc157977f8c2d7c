"""Lancet as a model plug-in: its classifiers, items and captions.

The entry point `lancet` of the group `clerestory.models` is `lancet` below. Tables are read when
they are used, so that opening the model reads its weights only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clerestory.models.core.types import Options
from clerestory.models.profile import Checkpoint, ModelProfile

__all__ = ["LancetPlugin", "LancetProfile", "caption_words", "lancet"]

PREFIX = "lancet:"
NAMED_FACTORS = ("style", "mood", "place", "perspective", "artwork", "hair", "clothes", "scarf")
"""Factors that captions name by phrases."""
SUFFIX_FACTORS = ("hair", "clothes", "scarf", "place")
"""Factors whose phrases follow the item."""
CAPTIONS = 8_000
"""Number of captions in which words are counted."""


@dataclass(frozen=True)
class LancetProfile(ModelProfile):
    """Classifiers of every factor of Lancet's world, and its sampler's captions as items."""

    name: str = "Lancet"

    @property
    def classifiers(self) -> Mapping[str, str]:
        """`lancet:FACTOR` for every factor that the shipped classifiers predict."""
        from lancet.classifiers import LancetClassifiers

        return {factor: f"{PREFIX}{factor}" for factor in LancetClassifiers.load().classes}

    def template(self, classifier: str, label: str) -> str:
        """The first wording of a level in Lancet's captions, or `{item}, LABEL`.

        Args:
            classifier: `lancet:FACTOR`.
            label: A level of the factor.

        Returns:
            A template with `{item}` in it, once.
        """
        from lancet.world.table import World

        # Classifiers of other kinds keep their prefix and get the default template.
        factor = classifier.removeprefix(PREFIX)
        if factor in NAMED_FACTORS:
            words = getattr(World.load().factor(factor).get(label), "words", ())
            if words and "{x}" in words[0]:
                return str(words[0]).replace("{x}", "{item}")
            if words and factor in SUFFIX_FACTORS:
                return f"{{item}} {words[0]}"
        # Factors without words of their own, such as the presence of a window.
        return super().template(classifier, label)

    def items(self, count: int, classifier: str = "", start: int = 0) -> tuple[str, ...]:
        """Captions that name neither the classifier's factor nor a style.

        Only people show a mood: items for the classifier of moods are of people.

        Args:
            count: Number of captions.
            classifier: `lancet:FACTOR`; "" for captions without a style.
            start: Number of captions to skip.

        Returns:
            Captions, always the same ones.

        Raises:
            TableError: The world has too few such captions.
        """
        from lancet.items import contents

        factor = classifier.removeprefix(PREFIX)
        excluded = factor if factor in NAMED_FACTORS else "style"
        # Only people have a mood.
        people = True if excluded == "mood" else None
        # A style hides other factors, so no item names one.
        return contents(count, *dict.fromkeys((excluded, "style")), start=start, people=people)

    def known_names(self) -> Sequence[str]:
        """Names that captions use for people with a look of their own."""
        from lancet.world.table import World

        return tuple(World.load().names)

    def captions(self) -> Sequence[str]:
        """Captions of the world's sampler, of the seeds from 0."""
        from lancet.world.sampler import sample
        from lancet.world.table import World

        world = World.load()
        return [sample(world, seed).caption for seed in range(CAPTIONS)]


@dataclass(frozen=True)
class LancetPlugin:
    """Opens the shipped model by name, and folders that `clerestory lancet train` writes."""

    default: bool = True

    def recognizes(self, folder: Path) -> bool:
        """Whether a folder has Lancet's manifest beside a pipeline.

        Args:
            folder: Any folder.

        Returns:
            Whether it can be opened as a Lancet; nothing in it is read.
        """
        return (folder / "manifest.json").is_file() and (folder / "model").is_dir()

    def checkpoint(self, source: str | Path) -> Checkpoint:
        """The pipeline of a Lancet folder, with every file's checksum verified.

        Args:
            source: `lancet` for the shipped weights, or a folder.

        Returns:
            The pipeline's folder, with its defaults, revision and profile.

        Raises:
            ModelError: A file is missing or damaged.
        """
        from lancet import checkpoint

        folder = checkpoint.verified(checkpoint.SHIPPED if source == "lancet" else Path(source))
        return Checkpoint(
            pipeline=folder / "model",
            name=str(source),
            defaults=Options().replace(**checkpoint.manifest(folder)["defaults"]),
            revision=checkpoint.revision(folder),
            profile=LancetProfile(),
        )


lancet = LancetPlugin()


def caption_words() -> list[str]:
    """The words of the world's captions in alphabetical order: the vocabulary `lancet`."""
    from clerestory.maximization.fluency import Bigrams

    words = Bigrams.of(LancetProfile().captions()).words
    return sorted(word for word in words if word[:1].isalnum())
