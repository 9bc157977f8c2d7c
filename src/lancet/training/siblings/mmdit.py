"""`lancet-mmdit`: a transformer of joint attention, in Stable Diffusion 3's form.

Learns rectified flow (Liu et al. 2023; Esser et al. 2024). Without T5 the pipeline feeds 32 text
states, twice side by side for its two text encoders, and 256 positions of zeros. These 256 are
alike in every layer, as no position is added to text: training computes one of them and counts its
key 256 times in the softmax, which gives the same outputs for a third of the work.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from torch import Tensor
from torch.nn import functional

from lancet.training.loop import mixed_precision
from lancet.training.siblings.denoiser import Denoiser
from lancet.training.siblings.latents import Latents
from lancet.training.siblings.settings import SiblingSettings
from lancet.training.siblings.text_states import TextStates

__all__ = ["BLANK", "CountedAttention", "SiblingMMDiT", "joint_states", "network", "schedule"]

HEAD = 32
"""Units of an attention head."""
BLANK = 256
"""Positions of zeros that the pipeline feeds in T5's place at its default arguments."""
SHIFT = 2.0
"""How much more often high noise is drawn, in training and in drawing; 1 is evenly."""


class CountedAttention:
    """Joint attention in which the last position of the text counts `BLANK` times.

    The same as diffusers' `JointAttnProcessor2_0` on a text that ends in `BLANK` equal positions.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Attend from both streams to both.

        Args:
            attn: diffusers' `Attention` with projections for both streams.
            hidden_states: The picture's stream, `[n, position, unit]`.
            encoder_hidden_states: The text's stream, `[n, token, unit]`.
            attention_mask: Not used, as in diffusers.
            **kwargs: Not used.

        Returns:
            The outputs of both streams.
        """

        def heads(values: Tensor) -> Tensor:
            split: Tensor = values.unflatten(-1, (attn.heads, -1))
            return split.transpose(1, 2)

        picture, text = hidden_states, encoder_hidden_states
        parts = [
            (
                attn.norm_q(heads(attn.to_q(picture))),
                attn.norm_added_q(heads(attn.add_q_proj(text))),
            ),
            (
                attn.norm_k(heads(attn.to_k(picture))),
                attn.norm_added_k(heads(attn.add_k_proj(text))),
            ),
            (heads(attn.to_v(picture)), heads(attn.add_v_proj(text))),
        ]
        # Picture first, then text, as diffusers' own processor joins them.
        query, key, value = (torch.cat(pair, 2) for pair in parts)
        # A key that stands n times has n times the weight: log n more in the exponent.
        bias = torch.zeros(key.shape[2], dtype=query.dtype)
        bias[-1] = math.log(BLANK)
        mixed = functional.scaled_dot_product_attention(
            query, key, value.to(query.dtype), attn_mask=bias.expand(1, 1, query.shape[2], -1)
        )
        mixed = mixed.transpose(1, 2).flatten(2)
        drawn, read = mixed.split([picture.shape[1], text.shape[1]], 1)
        if not attn.context_pre_only:
            read = attn.to_add_out(read)
        return attn.to_out[0](drawn), read


class SiblingMMDiT(Denoiser):
    """Learns `SD3Transformer2DModel` from latents and text states.

    Args:
        settings: Sizes, and the plan of the stage.
        latents: The scenes' latents.
        states: The penultimate hidden states and pooled embeddings of their captions.
        width: Units of a text state.
    """

    name = "mmdit"

    def __init__(
        self, settings: SiblingSettings, latents: Latents, states: TextStates, width: int
    ) -> None:
        super().__init__(settings.mmdit, latents, states, network(settings, width))
        self.model.set_attn_processor(CountedAttention())

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Squared error of the velocity, noise minus clean latents.

        At pure noise the velocity's error is that of the clean latents, which counts fully, and
        `SHIFT` draws high noise more often. Stable Diffusion 3's own logit-normal density is zero
        there, so it is not used.

        Returns:
            `velocity`.
        """
        clean, hidden, pooled = self.read(rows, noise)
        even = torch.rand(len(rows), generator=noise)
        # In (0, 1]: pure noise is drawn, clean latents never are.
        sigma = SHIFT * (1 - even) / (1 + (SHIFT - 1) * (1 - even))
        share = sigma[:, None, None, None]
        gaussian = torch.randn(clean.shape, generator=noise)
        noisy = share * gaussian + (1 - share) * clean
        with mixed_precision():
            predicted = self.model(
                noisy,
                # One blank position that counts 256 times: the same result as the
                # pipeline's 256 in less time.
                encoder_hidden_states=joint_states(hidden, blank=1),
                # Both text encoders of the pipeline are the same one.
                pooled_projections=torch.cat([pooled, pooled], -1),
                # The pipeline counts noise in thousandths.
                timestep=1000 * sigma,
            ).sample
        return {"velocity": (predicted.float() - (gaussian - clean)).square().mean()}


def joint_states(hidden: Tensor, blank: int = BLANK) -> Tensor:
    """Text states as `StableDiffusion3Pipeline` joins them without T5.

    Args:
        hidden: The encoder's penultimate states, `[n, token, width]`.
        blank: Positions of zeros at the end.

    Returns:
        `[n, token + blank, 2 * width]`: both text encoders are the same one.
    """
    joined = torch.cat([hidden, hidden], -1)
    return torch.cat([joined, joined.new_zeros(len(joined), blank, joined.shape[-1])], 1)


def network(settings: SiblingSettings, width: int) -> SD3Transformer2DModel:
    """The untrained denoiser.

    Args:
        settings: Sizes.
        width: Units of a text state.

    Returns:
        The denoiser, with random weights.
    """
    return SD3Transformer2DModel(
        sample_size=16,
        patch_size=settings.mmdit_patch,
        in_channels=settings.latent_channels,
        out_channels=settings.latent_channels,
        num_layers=settings.mmdit_layers,
        attention_head_dim=HEAD,
        num_attention_heads=settings.mmdit_width // HEAD,
        # Two encoders side by side; no wider, so that the pipeline pads nothing.
        joint_attention_dim=2 * width,
        caption_projection_dim=settings.mmdit_width,
        pooled_projection_dim=2 * width,
        # Twice the training grid, so that larger pictures can be tried.
        pos_embed_max_size=2 * 16 // settings.mmdit_patch,
        # As in Stable Diffusion 3.5: keeps attention's scores bounded in half precision.
        qk_norm="rms_norm",
    )


def schedule() -> FlowMatchEulerDiscreteScheduler:
    """Euler steps of rectified flow, more of them at high noise."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=SHIFT)
