"""The autoencoder: 64×64 pictures to 16×16 latents of unit variance, and back.

Trained as a plain autoencoder, since the pipelines never use the codebook: L1 on pixels and on
their gradients, with a little noise on the latents, so that the decoder tolerates their errors.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import VQModel
from torch import Tensor

from lancet.training.loop import Stage, mixed_precision
from lancet.training.renders import Renders
from lancet.training.settings import Settings

__all__ = ["Autoencoder", "block_options", "encode", "fold", "gradient_error"]

LATENT_NOISE = 0.05


class Autoencoder(Stage):
    """Trains `VQModel` without quantisation.

    Args:
        renders: The pictures.
        settings: Widths, and the plan of the stage.
    """

    name = "autoencoder"

    def __init__(self, renders: Renders, settings: Settings) -> None:
        self.renders, self.rows, self.plan = renders, len(renders), settings.autoencoder
        self.model: VQModel = network(settings)

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """L1 of the pictures and of their gradients, and a pull of the latents to unit variance.

        Returns:
            `pixels`, `gradients`, `spread`.
        """
        pictures = self.renders.batch(rows)
        with mixed_precision():
            latents = self.model.encode(pictures).latents
            spread = latents.float().std((0, 2, 3)).mean()
            # Detached: otherwise the spread would shrink to make the noise small.
            jitter = torch.randn(latents.shape, generator=noise) * LATENT_NOISE * spread.detach()
            # Noise teaches the decoder to draw from latents that a denoiser only approximates.
            drawn = self.model.decode(latents + jitter, force_not_quantize=True).sample.float()
        return {
            "pixels": (drawn - pictures).abs().mean(),
            "gradients": gradient_error(drawn - pictures),
            # A weak pull: `fold` makes the variance exact at the end.
            "spread": 0.01 * (spread - 1).square(),
        }


def network(settings: Settings) -> VQModel:
    """The untrained autoencoder; two halvings, so three blocks (`movq_scale_factor` is then 4).

    Args:
        settings: Widths and latent channels.

    Returns:
        The autoencoder, with random weights.
    """
    return VQModel(
        **block_options(settings.autoencoder_widths, settings.latent_channels),
        vq_embed_dim=settings.latent_channels,
        num_vq_embeddings=2,
        sample_size=64,
    )


def block_options(widths: tuple[int, ...], latent_channels: int) -> dict[str, Any]:
    """What all autoencoders of Lancets have in common: one layer a block, and no attention.

    Args:
        widths: Channels of the blocks, from the picture's side.
        latent_channels: Channels of the latents.

    Returns:
        Arguments of `VQModel` and of `AutoencoderKL`.
    """
    return {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "latent_channels": latent_channels,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        # Self-attention over 256 positions costs more than it gives to drawings of this size.
        "mid_block_add_attention": False,
    }


@torch.no_grad()
def encode(model: VQModel, renders: Renders, batch: int = 250) -> Tensor:
    """Latents `[n, channel, 16, 16]` of all pictures, float16.

    Args:
        model: The autoencoder.
        renders: The pictures.
        batch: Pictures at a time.

    Returns:
        `[n, channel, 16, 16]`, on the model's device.
    """
    rows = torch.arange(len(renders)).split(batch)
    with mixed_precision():
        coded = [model.encode(renders.batch(part)).latents for part in rows]
    return torch.cat([part.half() for part in coded]).contiguous()


@torch.no_grad()
def fold(model: VQModel, latents: Tensor) -> Tensor:
    """Rescale the autoencoder in place so that latents like these have mean 0 and variance 1.

    Gives these latents as the rescaled autoencoder has them, in their own precision.

    Kandinsky's pipelines know no scaling factor, so it goes into the two 1×1 convolutions.

    Args:
        model: The autoencoder; it is changed.
        latents: `[n, channel, 16, 16]`, of the autoencoder before.

    Returns:
        `[n, channel, 16, 16]`.
    """
    # A sample: sums over all latents in half precision would lose digits.
    sample = latents[:: max(1, len(latents) // 5_000)].float()
    mean, deviation = sample.mean((0, 2, 3)), sample.std((0, 2, 3)).clamp_min(1e-3)
    inner, outer = model.quant_conv, model.post_quant_conv
    inner.bias.copy_((inner.bias - mean) / deviation)
    inner.weight.div_(deviation[:, None, None, None])
    # Before the weight is scaled: the mean is in the units of the old latents.
    outer.bias.add_(outer.weight[:, :, 0, 0] @ mean)
    outer.weight.mul_(deviation[None, :, None, None])
    shift, scale = mean[:, None, None], deviation[:, None, None]
    # In parts, since a float32 copy of all latents would need twice their memory.
    scaled = [(part.float() - shift).div(scale).to(part.dtype) for part in latents.split(4096)]
    return torch.cat(scaled)


def gradient_error(error: Tensor) -> Tensor:
    """L1 of the differences between neighbouring pixels, which keeps edges sharp.

    Args:
        error: Drawn less wanted pictures, `[n, channel, height, width]`.

    Returns:
        A scalar: the mean along rows plus that along columns.
    """
    along = (error[..., 1:] - error[..., :-1]).abs().mean()
    across = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return along + across
