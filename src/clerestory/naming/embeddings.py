"""The model's own space of texts and pictures: how close is each sample to a word?

CLIP's text encoders with a projection give a text as one vector, `text/pooled`. The prior of an
unCLIP model draws pictures in the same space, `prior/embedding`; elsewhere a sample stands there by
its prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import PromptError
from clerestory.models.core.addresses import SiteSelection
from clerestory.naming.samples import NamingSamples
from clerestory.naming.values import prompt_values, sample_values
from clerestory.types import Floats, Progress

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.recordings import Recording

__all__ = ["JointSpace", "can_take", "text_site"]


class JointSpace:
    """How close samples of a recording are to texts, by the model's own encoders.

    Args:
        recording: The recording.
        model: The recorded model.
        samples: The recording's prompts.
        progress: A callback of (label, completed, total).

    Attributes:
        site: The site that gives the samples' vectors.
    """

    def __init__(
        self, recording: Recording, model: Model, samples: NamingSamples, progress: Progress
    ) -> None:
        self._recording, self._model, self._progress = recording, model, progress
        self._text_site = text_site(model)
        self.site = _sample_site(model, self._text_site)
        values = samples.average(self._sample_vectors())
        # Pictures have a mean direction of their own, which is no part of what a text says.
        self._vectors = _unit_length(values - values.mean(0))

    def closeness(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """How close each prompt's samples are to texts, as cosines.

        Args:
            texts: Texts that the model can take.

        Returns:
            `[prompt, text]`.
        """
        read = {self._text_site: SiteSelection()}
        values = prompt_values(
            self._recording,
            self._model,
            list(texts),
            [0] * len(texts),
            read,
            pool="mean",
            branch="cond",
            progress=self._progress,
            label="embedding words",
        )
        return self._vectors @ _unit_length(values[self._text_site].astype(np.float64)).T

    def _sample_vectors(self) -> Floats:
        recording = self._recording
        if self.site in recording.sites and recording.store.plan.branch == "cond":
            return sample_values(recording, self.site)
        table = recording.samples.loc[recording.rows]
        values = prompt_values(
            recording,
            self._model,
            list(table["prompt"]),
            list(table["seed"]),
            {self.site: SiteSelection()},
            pool="mean",
            branch="cond",
            progress=self._progress,
            label="embedding samples",
        )
        return values[self.site]


def can_take(model: Model, text: str) -> bool:
    """Whether a model can take a text.

    Args:
        model: The model.
        text: The text.

    Returns:
        False where it is empty or longer than the text window.
    """
    try:
        model.check_prompt(text)
    except PromptError:
        return False
    return True


def text_site(model: Model) -> str:
    """The site where a text is one vector in a space that pictures share.

    Args:
        model: The model.

    Returns:
        An address such as `text/pooled`; "" where no text encoder has a projection.
    """
    sites = [address for address in model.sites if address.endswith("/pooled")]
    return next((address for address in sites if address.startswith("text")), "")


def _sample_site(model: Model, texts: str) -> str:
    """Where samples have vectors in that space: of the prior's picture, or else of the prompt."""
    conditioning = model.conditioning_site
    is_picture = conditioning.endswith("/embedding") and not conditioning.startswith("text")
    if is_picture and model.sites[conditioning].shape == model.sites[texts].shape:
        return conditioning
    return texts


def _unit_length(vectors: Floats) -> NDArray[np.float64]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float64)
