"""`lancet-unet`: a UNet with cross-attention to the text states, in Stable Diffusion's form.

Predicts v (Salimans & Ho 2022) on a cosine schedule rescaled to zero terminal SNR (Lin et al.
2023), so that training sees the pure noise that drawing begins with. Errors count as they do in
Lancet 1.0's decoder: pure noise counts fully, since there the text alone decides what is drawn.
"""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from lancet.training import decoder
from lancet.training.loop import mixed_precision
from lancet.training.siblings.denoiser import Denoiser
from lancet.training.siblings.latents import Latents
from lancet.training.siblings.settings import SiblingSettings
from lancet.training.siblings.text_states import TextStates

__all__ = ["SiblingUNet", "network", "schedule"]

HEAD = 32
"""Units of an attention head."""


class SiblingUNet(Denoiser):
    """Learns `UNet2DConditionModel` from latents and text states.

    Args:
        settings: Widths, and the plan of the stage.
        latents: The scenes' latents.
        states: The last hidden states of their captions.
        width: Units of a text state.
    """

    name = "unet"

    def __init__(
        self, settings: SiblingSettings, latents: Latents, states: TextStates, width: int
    ) -> None:
        super().__init__(settings.unet, latents, states, network(settings, width))
        self.schedule = schedule()
        self.step_weights = decoder.weights(self.schedule.alphas_cumprod)

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Squared error of v; noise levels are drawn as often as their errors count.

        Returns:
            `v`.
        """
        clean, hidden, _ = self.read(rows, noise)
        # Steps are drawn by weight instead of weighting their errors, which has less variance.
        step = torch.multinomial(self.step_weights, len(rows), replacement=True, generator=noise)
        gaussian = torch.randn(clean.shape, generator=noise)
        noisy = self.schedule.add_noise(clean, gaussian, step)
        target = self.schedule.get_velocity(clean, gaussian, step)
        with mixed_precision():
            predicted = self.model(noisy, step, encoder_hidden_states=hidden).sample
        return {"v": (predicted.float() - target).square().mean()}


def network(settings: SiblingSettings, width: int) -> UNet2DConditionModel:
    """The untrained denoiser, with attention at 16×16 and at 8×8.

    Args:
        settings: Widths and layers.
        width: Units of a text state.

    Returns:
        The denoiser, with random weights.
    """
    widths = settings.unet_widths
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=settings.latent_channels,
        out_channels=settings.latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * len(widths),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=settings.unet_layers,
        cross_attention_dim=width,
        # diffusers calls the number of heads this.
        attention_head_dim=tuple(channels // HEAD for channels in widths),
        use_linear_projection=True,
        norm_num_groups=32,
    )


def schedule() -> DDIMScheduler:
    """The decoder's cosine schedule, rescaled so that its last step is exactly pure noise."""
    return DDIMScheduler.from_config(
        decoder.schedule().config,
        rescale_betas_zero_snr=True,
        # Unused with trailing steps, but `StableDiffusionPipeline` complains of any other number.
        steps_offset=1,
    )
