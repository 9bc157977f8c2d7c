"""CLIP's image side: a convolutional network whose embedding encodes what a picture shows.

Linear heads on the embedding predict every factor, and a small head predicts the picture's 8×8
thumbnail, so that the embedding also holds colours and layout. Its text side is `text.py`.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lancet.networks import Heads, ResidualNet
from lancet.training.loop import Stage, mixed_precision
from lancet.training.renders import Renders
from lancet.training.settings import Settings

__all__ = [
    "Vision",
    "VisionEncoder",
    "VisionModel",
    "channels_last",
    "embed",
    "factor_loss",
    "shifted",
]


Net = TypeVar("Net", bound=nn.Module)
SUBJECT_WEIGHT = 2.0
"""Weight of `subject`, the hardest of the factors; the others have 1."""


class VisionEncoder(nn.Module):
    """Pictures to embeddings `[n, width]`, each coordinate of mean 0 and variance 1 over renders.

    Args:
        widths: Channels of the stages.
        width: Length of an embedding.
    """

    def __init__(self, widths: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.body = ResidualNet(widths)
        self.project = nn.Linear(self.body.width, width)
        # Without a learned scale: coordinates keep mean 0 and variance 1, which
        # the prior learns to predict.
        self.scale = nn.BatchNorm1d(width, affine=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """The embeddings.

        Args:
            pictures: `[n, 3, 64, 64]`, from -1 to 1.

        Returns:
            `[n, width]`, float32.
        """
        embedding: Tensor = self.scale(self.project(self.body(pictures)).float())
        return embedding


class VisionModel(nn.Module):
    """The image side with its factor heads and its thumbnail head."""

    def __init__(self, settings: Settings, classes: dict[str, tuple[str, ...]]) -> None:
        super().__init__()
        self.eye = VisionEncoder(settings.vision_widths, settings.width)
        self.heads = Heads(settings.width, {name: len(levels) for name, levels in classes.items()})
        self.thumbnail = nn.Linear(settings.width, 3 * 8 * 8)


def network(settings: Settings, classes: dict[str, tuple[str, ...]]) -> VisionModel:
    """The untrained image side, with its heads.

    Args:
        settings: Widths.
        classes: The levels of each factor, for the heads.

    Returns:
        The network, with random weights.
    """
    return VisionModel(settings, classes)


class Vision(Stage):
    """Trains the embedding on the factors and the thumbnail.

    Args:
        renders: The pictures.
        settings: Sizes, and the plan of the stage.
    """

    name = "vision"

    def __init__(self, renders: Renders, settings: Settings) -> None:
        self.renders, self.rows, self.plan = renders, len(renders), settings.vision
        self.model: VisionModel = channels_last(network(settings, renders.classes))

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy of every factor, and the error of the thumbnail.

        Returns:
            One term per factor, and `thumbnail`.
        """
        pictures = self.renders.batch(rows)
        shifted_pictures = shifted(pictures, noise).contiguous(memory_format=torch.channels_last)
        with mixed_precision():
            embedding = self.model.eye(shifted_pictures)
            # Noise, since the heads have to read the prior's inexact embeddings too.
            embedding = embedding + 0.1 * torch.randn(embedding.shape, generator=noise)
            logits = self.model.heads(embedding)
            predicted = self.model.thumbnail(embedding).float()
        # The unshifted picture: the embedding should tell where things are.
        small = functional.adaptive_avg_pool2d(pictures, 8).flatten(1)
        terms = factor_loss(logits, self.renders, rows)
        return {**terms, "thumbnail": 2.0 * (predicted - small).square().mean()}


def factor_loss(logits: dict[str, Tensor], renders: Renders, rows: Tensor) -> dict[str, Tensor]:
    """Cross-entropy per factor; each of a pair's two objects has half the weight of `subject`.

    Args:
        logits: By factor `[n, class]`.
        renders: The renders, with their true classes.
        rows: Indices of renders, `[n]`.

    Returns:
        One term per factor.
    """
    codes, second = renders.codes[rows], renders.second[rows]
    terms = {}
    for column, (factor, levels) in enumerate(renders.classes.items()):
        scores = logits[factor].float()
        truth = functional.one_hot(codes[:, column], len(levels)).float()
        if factor == "subject" and "none" in levels:
            second_object = functional.one_hot(second, len(levels)).float()
            # 0.5 where there is a second object, else 0.
            second_share = (second != levels.index("none"))[:, None].float() * 0.5
            truth = (1 - second_share) * truth + second_share * second_object
        weight = SUBJECT_WEIGHT if factor == "subject" else 1.0
        terms[factor] = weight * functional.cross_entropy(scores, truth)
    return terms


def channels_last(net: Net) -> Net:
    """Lay out a network's weights channels last, with which convolutions on CPUs are faster.

    Args:
        net: The network; it is changed.

    Returns:
        The network.
    """
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def shifted(pictures: Tensor, noise: torch.Generator, by: int = 4) -> Tensor:
    """Shift pictures by up to `by` pixels, in four groups of one shift each.

    Args:
        pictures: `[n, channel, height, width]`.
        noise: The generator.
        by: Largest shift in pixels, in each direction.

    Returns:
        Pictures of the same shape; borders are mirrored.
    """
    padded = functional.pad(pictures, (by, by, by, by), mode="reflect")
    moves = torch.randint(0, 2 * by + 1, (4, 2), generator=noise).tolist()
    size = pictures.shape[-1]
    groups = [
        part[:, :, down : down + size, right : right + size]
        for part, (down, right) in zip(padded.chunk(4), moves, strict=False)
    ]
    return torch.cat(groups)


@torch.no_grad()
def embed(eye: VisionEncoder, renders: Renders, batch: int = 250) -> Tensor:
    """Embeddings `[n, width]` of all pictures, float32.

    Args:
        eye: The image side.
        renders: The pictures.
        batch: Number of pictures at a time.

    Returns:
        `[n, width]`.
    """
    rows = torch.arange(len(renders)).split(batch)
    with mixed_precision():
        return torch.cat([eye(renders.batch(part)).float() for part in rows])
