"""The siblings' autoencoder: 128×128 pictures to 16×16 latents, mean 0 and variance 1, and back.

A plain autoencoder in the form of `AutoencoderKL`: L1 on pixels, on their gradients and on the
halved picture, with noise on the latents so that the decoder forgives a denoiser's errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from clerestory.types import Pictures
from lancet.training.autoencoder import block_options, gradient_error
from lancet.training.loop import Stage, mixed_precision
from lancet.training.renders import Renders
from lancet.training.siblings.settings import SiblingSettings

__all__ = ["SiblingAutoencoder", "decode", "encode", "fold", "network", "to_tensor"]

MAX_NOISE = 0.15
"""Standard deviation of the noise on latents of unit variance, at most; drawn per picture."""
LOG_VARIANCE = 2 * math.log(MAX_NOISE / 2)
"""The variance that the folded encoder reports for every latent: that of the mean noise."""
FACTOR = 8
"""Pixels a side of a cell of the latents."""
BATCH = 50


class SiblingAutoencoder(Stage):
    """Learns `AutoencoderKL` without its KL term.

    Args:
        renders: Pictures of 128 pixels a side.
        settings: Widths, and the plan of the stage.
        eye: The body of the selection classifiers, which is not trained; None where
            `autoencoder_sight` is 0.
    """

    name = "autoencoder"

    def __init__(
        self, renders: Renders, settings: SiblingSettings, eye: nn.Module | None = None
    ) -> None:
        self.renders, self.rows, self.plan = renders, len(renders), settings.autoencoder
        self.eye, self.sight = eye, settings.autoencoder_sight
        self.crop, self.whole = settings.autoencoder_crop, settings.autoencoder_whole
        self.model: AutoencoderKL = network(settings)

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """L1 of pictures, gradients and halved pictures, and a pull of the latents to unit scale.

        Returns:
            `pixels`, `gradients`, `halved`, `scale`, and `sight` where there is an eye.
        """
        pictures = self._cut(self.renders.batch(rows), noise)
        with mixed_precision():
            latents = self.model.encode(pictures).latent_dist.mean
            scale = latents.float().std((0, 2, 3)).square().mean().sqrt()
            # A level for each picture, so that clean latents occur as well.
            amount = MAX_NOISE * torch.rand(len(rows), 1, 1, 1, generator=noise)
            # Detached: otherwise the scale would shrink to make the noise small.
            jitter = torch.randn(latents.shape, generator=noise) * amount * scale.detach()
            error = self.model.decode(latents + jitter).sample.float() - pictures
        terms = {
            "pixels": error.abs().mean(),
            "gradients": 0.5 * gradient_error(error),
            # What the classifiers, which read 64 pixels a side, see of the error.
            "halved": functional.avg_pool2d(error, 2).abs().mean(),
            "scale": 0.01 * (scale - 1).square(),
        }
        if self.eye is not None:
            with torch.no_grad(), mixed_precision():
                # Of the original without gradients: it is the target.
                wanted = self.eye(functional.avg_pool2d(pictures, 2))
            with mixed_precision():
                seen = self.eye(functional.avg_pool2d(pictures + error, 2))
            terms["sight"] = self.sight * (seen - wanted).float().abs().mean()
        return terms

    def _cut(self, pictures: Tensor, noise: torch.Generator) -> Tensor:
        """A square of the pictures, at one place for the batch, or the whole pictures.

        The network is convolutional, so squares of more pictures teach it more than the same number
        of pixels of fewer; whole ones keep the statistics of its group norms as they are in use.
        """
        side = pictures.shape[2]
        if self.crop >= side or torch.rand((), generator=noise) < self.whole:
            return pictures
        # On the grid of the latents, as every cell is in use.
        places = (side - self.crop) // FACTOR + 1
        top, left = FACTOR * torch.randint(places, (2,), generator=noise)
        return pictures[:, :, top : top + self.crop, left : left + self.crop]


def network(settings: SiblingSettings) -> AutoencoderKL:
    """The untrained autoencoder; three halvings, so four blocks.

    Its latents are scaled by `fold`, so pipelines need neither scale nor shift.

    Args:
        settings: Widths and latent channels.

    Returns:
        The autoencoder, with random weights.
    """
    return AutoencoderKL(
        **block_options(settings.autoencoder_widths, settings.latent_channels),
        sample_size=128,
        scaling_factor=1.0,
        shift_factor=0.0,
        # Half precision is enough: there is no attention whose scores could overflow.
        force_upcast=False,
    )


@torch.no_grad()
def fold(model: AutoencoderKL, pictures: Tensor) -> None:
    """Rescale the autoencoder in place so that latents have mean 0 a channel, variance 1 overall.

    One scale serves all channels: a channel that varies little says little, and scaled up to the
    others it would count as much in a denoiser's loss. The scale goes into the 1×1 convolutions
    around the latents; the log variance becomes a constant, since it was never trained.

    Args:
        model: The autoencoder; it is changed.
        pictures: A sample, `[n, 3, 128, 128]`, −1 … 1.
    """
    parts = [model.encode(part).latent_dist.mean for part in pictures.split(BATCH)]
    latents = torch.cat(parts)
    mean = latents.mean((0, 2, 3))
    scale = (latents - mean[:, None, None]).square().mean().sqrt().clamp_min(1e-3)
    inner, outer, channels = model.quant_conv, model.post_quant_conv, len(mean)
    inner.bias[:channels] = (inner.bias[:channels] - mean) / scale
    inner.weight[:channels] /= scale
    # The variance no longer depends on the picture: sampling the latents adds the mean noise.
    inner.weight[channels:] = 0.0
    inner.bias[channels:] = LOG_VARIANCE
    # Before the weight is scaled: the mean is in the units of the old latents.
    outer.bias.add_(outer.weight[:, :, 0, 0] @ mean)
    outer.weight.mul_(scale)


@torch.no_grad()
def encode(model: AutoencoderKL, pictures: Pictures) -> Tensor:
    """Latents of pictures.

    Args:
        model: The autoencoder.
        pictures: `[n, 128, 128, 3]`, uint8.

    Returns:
        `[n, channel, 16, 16]`, float16.
    """
    with mixed_precision():
        parts = [model.encode(part).latent_dist.mean for part in to_tensor(pictures).split(BATCH)]
    return torch.cat([part.half() for part in parts])


@torch.no_grad()
def decode(
    model: AutoencoderKL, latents: Tensor, report: Callable[[int], None] | None = None
) -> Pictures:
    """Pictures of latents, in full precision.

    Args:
        model: The autoencoder.
        latents: `[n, channel, 16, 16]`.
        report: Called with how many are decoded.

    Returns:
        `[n, 128, 128, 3]`, uint8.
    """
    parts = []
    for start in range(0, len(latents), BATCH):
        drawn = model.decode(latents[start : start + BATCH].float()).sample
        raw = drawn.clamp(-1, 1).add(1).mul(127.5).round().byte()
        parts.append(raw.permute(0, 2, 3, 1).contiguous().numpy())
        if report is not None:
            report(start + len(raw))
    return np.concatenate(parts)


def to_tensor(pictures: Pictures) -> Tensor:
    """Pictures as networks take them.

    Args:
        pictures: `[n, height, width, 3]`, uint8.

    Returns:
        `[n, 3, height, width]`, −1 … 1.
    """
    # Copied: pictures may be a read-only memory map.
    raw = torch.from_numpy(np.array(pictures))
    return raw.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
