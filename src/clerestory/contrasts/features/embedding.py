"""Pictures as the model's own image encoder sees them: CLIP's image embedding.

Kandinsky 2 and Lancet have an image encoder beside their prior, pipelines with an IP-Adapter have
one as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from clerestory.contrasts.clusters import feature_kinds
from clerestory.errors import EvidenceError
from clerestory.types import Floats, Pictures

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.recordings import Recording

__all__ = ["ImageEmbedding"]

BATCH = 32


@feature_kinds.register("embedding")
@dataclass(frozen=True, eq=False)
class ImageEmbedding:
    """The image embedding of each sample's picture.

    Attributes:
        recording: A recording with pictures; None for new pictures alone.
        model: The recorded model.
    """

    recording: Recording | None
    model: Model

    def of_samples(self) -> Floats:
        """The embeddings of all good samples, `[sample, feature]`."""
        assert self.recording is not None
        rows = self.recording.rows
        parts = [
            self.of_pictures(self.recording.pictures(rows[start : start + BATCH]))
            for start in range(0, len(rows), BATCH)
        ]
        return np.concatenate(parts)

    def of_pictures(self, pictures: Pictures) -> Floats:
        """The embeddings of pictures.

        Args:
            pictures: `[n, height, width, 3]`.

        Returns:
            `[n, feature]`.

        Raises:
            EvidenceError: The model has no image encoder.
        """
        encoder, prepare = self.parts()
        weight = next(encoder.parameters())
        parts = []
        for start in range(0, len(pictures), BATCH):
            inputs = prepare(list(pictures[start : start + BATCH]), return_tensors="pt")
            with torch.no_grad():
                values = encoder(inputs["pixel_values"].to(weight.device, weight.dtype))
            parts.append(values.image_embeds.float().cpu().numpy())
        return np.concatenate(parts)

    def parts(self) -> tuple[Any, Any]:
        """The image encoder and its processor, of whatever name.

        Raises:
            EvidenceError: The model has none.
        """
        parts = list(getattr(self.model.pipeline, "components", {}).values())
        encoders = [part for part in parts if hasattr(part, "visual_projection")]
        processors = [part for part in parts if "ImageProcessor" in type(part).__name__]
        # diffusers has image processors of its own, which prepare pictures for autoencoders.
        processors = [part for part in processors if hasattr(part, "image_mean")]
        if not encoders or not processors:
            site = "SITE" if self.recording is None else self.recording.sites[0]
            raise EvidenceError(
                f"{self.model.name} has no image encoder: cluster by a recorded site instead, such "
                f"as by={site!r}."
            )
        return encoders[0], processors[0]
