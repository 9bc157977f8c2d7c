"""What a model brings besides its weights: classifiers, items, prompt words, a vocabulary.

    model.profile.classifiers               # {'style': 'lancet:style', 'mood': 'lancet:mood', …}
    model.profile.template("lancet:style", "stained glass")   # 'a stained glass of {item}'
    model.profile.items(24, "lancet:style")                   # ('a cat in a meadow', …)

Most models bring nothing, and have an empty `ModelProfile`. A plug-in subclasses it, and registers
a `ModelPlugin` in the entry-point group `clerestory.models` to have its models opened by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from clerestory.models.core.types import Options

__all__ = ["Checkpoint", "ModelPlugin", "ModelProfile"]


@dataclass(frozen=True)
class ModelProfile:
    """What is known about a model that its weights do not say; this one knows nothing.

    Each method reads its tables when it is called, so that opening a model stays fast. Code asks
    the profile and never compares the model's name.

    Attributes:
        name: What error messages call the model; "" where it has no name of its own.
    """

    name: str = ""

    @property
    def classifiers(self) -> Mapping[str, str]:
        """Names of the default classifiers by the factor that they predict; empty where none."""
        return {}

    def template(self, classifier: str, label: str) -> str:
        """Prompt words for one label of a classifier.

        Args:
            classifier: The classifier's name, such as `lancet:style`.
            label: One of its labels.

        Returns:
            A template with `{item}` in it, once; `{item}, LABEL` where nothing better is known.
        """
        return f"{{item}}, {label}"

    def items(self, count: int, classifier: str = "", start: int = 0) -> tuple[str, ...]:
        """Items to draw, whose words say nothing about what a classifier predicts.

        Args:
            count: How many.
            classifier: The classifier's name; "" for items that mention no style.
            start: How many to skip, for items that share none with an earlier call.

        Returns:
            `count` different items, the same for the same arguments; empty where the profile has
            no items at all.

        Raises:
            ClerestoryError: The profile has items, but not as many.
        """
        return ()

    def captions(self) -> Sequence[str]:
        """Ordinary prompts of this model, for word frequencies; empty where none are known.

        Searches take their vocabulary from these, and bigrams for fluency.
        """
        return ()

    def known_names(self) -> Sequence[str]:
        """Names that the model was trained on and draws as they are; empty where none are listed.

        `familiarity` counts how many of them it tells from invented names.
        """
        return ()


@dataclass(frozen=True)
class Checkpoint:
    """Where a plug-in's pipeline is, and what to attach to the model that is opened from it.

    Attributes:
        pipeline: A folder written by diffusers, or a hub id.
        name: The model's name.
        defaults: Its default options; None for the family's own defaults.
        revision: A digest that tells these weights from any others; "" where unknown.
        profile: What the model brings.
    """

    pipeline: str | Path
    name: str
    defaults: Options | None = None
    revision: str = ""
    # One instance for all is safe: a profile is frozen.
    profile: ModelProfile = field(default=ModelProfile())


class ModelPlugin(Protocol):
    """An entry of the group `clerestory.models`: opens its models by name or by folder.

    The entry point's own name is always one that the plug-in opens.
    """

    default: bool
    """Whether `clerestory.load()` and the command line take this model where none is named."""

    def recognizes(self, folder: Path) -> bool:
        """Whether an existing folder is one of this plug-in's models.

        Args:
            folder: A folder that exists; it may be of anybody, so only what identifies it is read.

        Returns:
            True where `checkpoint` takes it.
        """

    def checkpoint(self, source: str | Path) -> Checkpoint:
        """Locate a model.

        Args:
            source: The entry point's name, or a folder that the plug-in recognizes.

        Returns:
            Where its pipeline is, with its defaults, revision and profile.

        Raises:
            ModelError: The model is missing or damaged.
        """
