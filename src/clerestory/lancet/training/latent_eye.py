"""An eye for latents: the image embedding, read off what the decoder draws while it learns to.

This network says what latents show; the decoder's loss asks that it be what was asked for, which
the squared error of latents asks only by the way. It is needed in training alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from clerestory.lancet.networks import ResidualNet
from clerestory.lancet.training.loop import Stage, mixed
from clerestory.lancet.training.settings import Settings

__all__ = ["LatentEye", "network"]

NOISE = 0.4
"""At most so much noise on the latents that it learns from."""


class LatentEye(Stage):
    """Learns the embedding of clean, noisy and blurred latents."""

    name = "latent_eye"

    def __init__(self, settings: Settings, latents: Tensor, embeddings: Tensor) -> None:
        self.plan, self.rows = settings.latent_eye, len(latents)
        self.latents, self.embeddings = latents, embeddings
        self.model = network(settings)

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Squared error of the embedding, whose coordinates have variance 1."""
        latents = self.latents[rows].float()
        grain = torch.randn(latents.shape, generator=noise)
        share = torch.rand(len(rows), 1, 1, 1, generator=noise)
        soft = functional.avg_pool2d(latents, 3, stride=1, padding=1, count_include_pad=False)
        worn = torch.where(share < 0.5, latents + NOISE * share * grain, latents.lerp(soft, share))
        with mixed():
            seen = self.model(worn).float()
        return {"embedding": (seen - self.embeddings[rows]).square().mean()}


def network(settings: Settings) -> nn.Module:
    """The untrained network: latents `[n, channel, 16, 16]` to embeddings `[n, width]`."""
    body = ResidualNet(settings.latent_eye_widths, channels=settings.latent_channels, stride=1)
    return nn.Sequential(body, nn.Linear(body.width, settings.width))
