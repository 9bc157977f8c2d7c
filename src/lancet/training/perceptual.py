"""The pipeline's image encoder: a vision transformer distilled from CLIP's image side.

A Kandinsky 2.2 pipeline needs a `CLIPVisionModelWithProjection`. With text prompts it uses only the
*empty* condition, the embedding of a mid-grey picture, which must equal the one that the decoder
was trained with: the last layer is corrected for that.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lancet.training.loop import Stage, mixed_precision
from lancet.training.renders import Renders
from lancet.training.settings import Settings

__all__ = ["ImageEncoder", "correct_projection"]


class ImageEncoder(Stage):
    """Trains `CLIPVisionModelWithProjection` on the convolutional embeddings.

    Args:
        renders: The pictures.
        settings: Sizes, and the plan of the stage.
        embeddings: The target embeddings, `[row, width]`.
    """

    name = "eye"

    def __init__(self, renders: Renders, settings: Settings, embeddings: Tensor) -> None:
        self.renders, self.rows, self.plan = renders, len(renders), settings.eye
        self.embeddings = embeddings
        self.model = network(settings)

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Squared error of the embedding.

        Returns:
            `embedding`.
        """
        with mixed_precision():
            guess = self.model(self.renders.batch(rows)).image_embeds
        return {"embedding": (guess.float() - self.embeddings[rows]).square().mean()}


def network(settings: Settings) -> CLIPVisionModelWithProjection:
    """The untrained transformer.

    Args:
        settings: Width and layers.

    Returns:
        The transformer, with random weights.
    """
    config = CLIPVisionConfig(
        hidden_size=settings.width,
        intermediate_size=4 * settings.width,
        projection_dim=settings.width,
        num_hidden_layers=settings.eye_layers,
        num_attention_heads=settings.width // 32,
        image_size=64,
        patch_size=8,
    )
    return CLIPVisionModelWithProjection(config)


@torch.no_grad()
def correct_projection(encoder: CLIPVisionModelWithProjection, empty: Tensor) -> None:
    """Make `empty` the mid-grey picture's embedding, by the least change of the projection.

    Args:
        encoder: The encoder; its projection is changed.
        empty: The embedding that the decoder was trained with, `[width]`.
    """
    size = encoder.config.image_size
    # Zeros are mid-grey: pictures are in −1 … 1.
    pooled = encoder.vision_model(torch.zeros(1, 3, size, size)).pooler_output[0]
    weight = encoder.visual_projection.weight
    error = empty - weight @ pooled
    # The change of least Frobenius norm among all that map `pooled` to `empty`.
    weight.add_(torch.outer(error, pooled) / pooled.square().sum())
