"""The decoder (the pipeline's denoiser): from an image embedding to the latents of a picture.

Trained to predict v (Salimans & Ho 2022) on a cosine schedule; a second loss compares CLIP's image
embedding of the predicted picture with the condition. Errors of the clean latents have the weight
min(SNR + 1, 5): min-SNR (Hang et al. 2023), but 1 instead of 0 at pure noise, where the embedding
alone determines the shape. Steps are sampled in proportion to their weight. The empty condition of
guidance is the embedding of a mid-grey picture, as in the pipeline.
"""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel, VQModel
from torch import Tensor, nn

from lancet.training.loop import Stage, mixed_precision
from lancet.training.settings import Settings

__all__ = ["Decoder", "PictureEmbedder", "schedule", "weights"]

DROP = 0.1
SNR_CAP = 5.0
EMBEDDING_WEIGHT = 0.5
"""Weight of the embedding's loss beside that of v."""
EMBEDDED_SHARE = 2
"""One picture in this many is embedded, which costs half as much as a step of the denoiser."""


class PictureEmbedder(nn.Module):
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
        embedding: Tensor = self.eye(pictures.contiguous(memory_format=torch.channels_last))
        return embedding.float()


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
        self.embed_picture = PictureEmbedder(autoencoder, eye).eval().requires_grad_(False)
        self.model = network(settings)
        self.schedule = schedule()
        self.step_weights = weights(self.schedule.alphas_cumprod)

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Squared error of v, and of the embedding of the picture that it predicts.

        Returns:
            `v` and `sight`, the embedding's.
        """
        clean, condition = self.latents[rows].float(), self.embeddings[rows]
        drop = torch.rand(len(rows), generator=noise) < DROP
        # Classifier-free guidance (Ho & Salimans 2022): some rows learn without a condition.
        condition = torch.where(drop[:, None], self.empty, condition)
        step = torch.multinomial(self.step_weights, len(rows), replacement=True, generator=noise)
        gaussian = torch.randn(clean.shape, generator=noise)
        noisy = self.schedule.add_noise(clean, gaussian, step)
        target = self.schedule.get_velocity(clean, gaussian, step)
        with mixed_precision():
            output = self.model(
                noisy,
                step,
                encoder_hidden_states=None,
                added_cond_kwargs={"image_embeds": condition},
            ).sample
        # The first half: Kandinsky's pipeline expects variances in the second, and ignores them.
        predicted = output[:, : clean.shape[1]].float()
        # v = sqrt(a) noise - sqrt(1 - a) clean, so that clean = sqrt(a) noisy - sqrt(1 - a) v.
        keep = self.schedule.alphas_cumprod[step][:, None, None, None]
        predicted_clean = keep.sqrt() * noisy - (1 - keep).sqrt() * predicted
        with mixed_precision():
            embedding = self.embed_picture(predicted_clean[::EMBEDDED_SHARE])
        # Without a condition there is no embedding to compare with.
        embedding_error = (embedding - self.embeddings[rows[::EMBEDDED_SHARE]]).square().mean(
            1
        ) * ~drop[::EMBEDDED_SHARE]
        return {
            "v": (predicted - target).square().mean(),
            "sight": EMBEDDING_WEIGHT * embedding_error.mean(),
        }


def weights(keep: Tensor) -> Tensor:
    """Weights of the error of v, and so the frequencies of the steps, `[n]`.

    Args:
        keep: Shares of signal in the variance (alpha bar), `[n]`, 0 to 1.

    Returns:
        0 to 1.

    >>> weights(torch.tensor([0.0, 0.8, 0.9]))
    tensor([1.0000, 1.0000, 0.5000])
    """
    ratio = keep / (1 - keep).clamp_min(1e-5)
    # min-SNR weighting for v (Hang et al. 2023): easy steps at low noise count less.
    return (ratio + 1).clamp_max(SNR_CAP) / (ratio + 1)


def network(settings: Settings) -> UNet2DConditionModel:
    """The untrained denoiser; the pipeline ignores the second half of its output channels.

    Args:
        settings: Widths, layers and latent channels.

    Returns:
        The denoiser, with random weights.
    """
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
    """A cosine schedule that ends in pure noise; sampling starts at its last step."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )
