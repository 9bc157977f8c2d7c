"""The decoder (the pipeline's denoiser): from an image embedding to the latents of a picture.

Predicts v (Salimans & Ho 2022) on a cosine schedule, and so that CLIP's image side sees in the
picture that is meant what was asked for. Errors of the clean latents count SNR + 1, at most 5:
min-SNR (Hang et al. 2023), but with pure noise at 1 and not at 0, since there the embedding alone
says what shape is to be drawn. Steps are drawn as often as they count. The empty condition of
guidance is the embedding of a mid-grey picture, as the pipeline has it.
"""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel, VQModel
from torch import Tensor, nn

from lancet.training.loop import Stage, mixed_precision
from lancet.training.settings import Settings

__all__ = ["Decoder", "Watch", "schedule", "weights"]

DROP = 0.1
SNR_CAP = 5.0
SIGHT = 0.5
"""How much what is seen in the drawn pictures counts beside the error of their latents."""
SEEN = 2
"""One in so many pictures is looked at: it costs half as much as drawing."""


class Watch(nn.Module):
    """Latents `[n, channel, 16, 16]` to the image embeddings of their pictures, `[n, width]`.

    Args:
        autoencoder: Draws the latents.
        eye: Embeds the pictures.
    """

    def __init__(self, autoencoder: VQModel, eye: nn.Module) -> None:
        super().__init__()
        self.autoencoder, self.eye = autoencoder, eye

    def forward(self, latents: Tensor) -> Tensor:
        """The embeddings, float32.

        Args:
            latents: `[n, channel, 16, 16]`.

        Returns:
            `[n, width]`.
        """
        pictures = self.autoencoder.decode(latents, force_not_quantize=True).sample
        seen: Tensor = self.eye(pictures.contiguous(memory_format=torch.channels_last))
        return seen.float()


class Decoder(Stage):
    """Learns `UNet2DConditionModel` in Kandinsky 2.2's form.

    Args:
        settings: Widths, and the plan of the stage.
        latents: `[row, channel, 16, 16]`, of unit variance.
        embeddings: Image embeddings, `[row, width]`.
        empty: The embedding of a mid-grey picture, `[width]`.
        autoencoder: The folded autoencoder, which is not trained.
        eye: CLIP's image side, which is not trained.
    """

    name = "decoder"

    def __init__(
        self,
        settings: Settings,
        latents: Tensor,
        embeddings: Tensor,
        empty: Tensor,
        autoencoder: VQModel,
        eye: nn.Module,
    ) -> None:
        self.plan, self.rows = settings.decoder, len(latents)
        self.latents, self.embeddings, self.empty = latents, embeddings, empty
        self.watch = Watch(autoencoder, eye).eval().requires_grad_(False)
        self.model = network(settings)
        self.keep = schedule().alphas_cumprod
        self.often = weights(self.keep)

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Squared error of v, and that of the embedding of the picture that it means.

        Args:
            rows: Numbers of renders, `[n]`.
            noise: The step's generator.

        Returns:
            `v` and `sight`.
        """
        clean, condition = self.latents[rows].float(), self.embeddings[rows]
        drop = torch.rand(len(rows), generator=noise) < DROP
        condition = torch.where(drop[:, None], self.empty, condition)
        step = torch.multinomial(self.often, len(rows), replacement=True, generator=noise)
        keep = self.keep[step][:, None, None, None]
        grain = torch.randn(clean.shape, generator=noise)
        noisy = keep.sqrt() * clean + (1 - keep).sqrt() * grain
        # v = sqrt(a) noise - sqrt(1 - a) clean; then clean = sqrt(a) noisy - sqrt(1 - a) v.
        target = keep.sqrt() * grain - (1 - keep).sqrt() * clean
        with mixed_precision():
            out = self.model(
                noisy,
                step,
                encoder_hidden_states=None,
                added_cond_kwargs={"image_embeds": condition},
            ).sample
        guess = out[:, : clean.shape[1]].float()
        meant = keep.sqrt() * noisy - (1 - keep).sqrt() * guess
        with mixed_precision():
            seen = self.watch(meant[::SEEN])
        # Where the condition was dropped, nothing says what should be seen.
        amiss = (seen - self.embeddings[rows[::SEEN]]).square().mean(1) * ~drop[::SEEN]
        return {"v": (guess - target).square().mean(), "sight": SIGHT * amiss.mean()}


def weights(keep: Tensor) -> Tensor:
    """What an error of v counts at these shares of signal, `[n]`; so often is each drawn.

    Args:
        keep: Shares of signal in the variance (alpha bar), `[n]`, 0 to 1.

    Returns:
        0 to 1.

    >>> weights(torch.tensor([0.0, 0.8, 0.9]))
    tensor([1.0000, 1.0000, 0.5000])
    """
    ratio = keep / (1 - keep).clamp_min(1e-5)
    return (ratio + 1).clamp_max(SNR_CAP) / (ratio + 1)


def network(settings: Settings) -> UNet2DConditionModel:
    """The untrained denoiser; the second half of its channels is what the pipeline throws away."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=settings.latent_channels,
        out_channels=2 * settings.latent_channels,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        block_out_channels=settings.decoder_widths,
        layers_per_block=1,
        cross_attention_dim=settings.width,
        attention_head_dim=32,
        resnet_time_scale_shift="scale_shift",
        encoder_hid_dim=settings.width,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        norm_num_groups=32,
    )


def schedule() -> DDIMScheduler:
    """A cosine schedule that ends in pure noise, sampled from its very end."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )
