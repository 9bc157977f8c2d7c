"""The prior: from a caption's text states to the image embedding, by diffusion.

It predicts the clean, normalised embedding; `clip_mean` and `clip_std` undo the normalisation.
"""

from __future__ import annotations

import torch
from diffusers import PriorTransformer, UnCLIPScheduler
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from lancet.training.loop import Stage, mixed_precision
from lancet.training.settings import Settings
from lancet.training.text import tokenize

__all__ = ["Prior", "TextStates", "encode_texts", "schedule"]

DROP = 0.1
"""Share of captions replaced by the empty prompt, for classifier-free guidance."""


class TextStates:
    """Outputs of the text encoder for the captions: pooled, hidden (float16) and mask, by row.

    Args:
        pooled: `[row, width]`, float32.
        hidden: `[row, token, width]`, float16.
        mask: `[row, token]`, False at padding.
    """

    def __init__(self, pooled: Tensor, hidden: Tensor, mask: Tensor) -> None:
        self.pooled, self.hidden, self.mask = pooled, hidden, mask

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.pooled[rows], self.hidden[rows].float(), self.mask[rows]


class Prior(Stage):
    """Trains `PriorTransformer`.

    Args:
        settings: Sizes, and the plan of the stage.
        states: Text states of the captions.
        empty: Text states of the empty prompt, a single row.
        embeddings: Image embeddings, `[row, width]`.
    """

    name = "prior"

    def __init__(
        self, settings: Settings, states: TextStates, empty: TextStates, embeddings: Tensor
    ) -> None:
        self.plan, self.rows = settings.prior, len(embeddings)
        self.states, self.empty = states, empty
        # The prior works on normalised embeddings; these statistics belong to its weights.
        mean, deviation = embeddings.mean(0), embeddings.std(0).clamp_min(1e-3)
        self.embeddings = embeddings
        self.model: PriorTransformer = network(settings)
        self.model.clip_mean.data.copy_(mean[None]).requires_grad_(False)
        self.model.clip_std.data.copy_(deviation[None]).requires_grad_(False)
        self.model.clip_mean.requires_grad_(False)
        self.model.clip_std.requires_grad_(False)
        self.schedule = schedule()

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Squared error of the predicted clean embedding.

        Returns:
            `embedding`.
        """
        # By the model's own statistics, which shipped weights may have replaced.
        clean = (self.embeddings[rows] - self.model.clip_mean) / self.model.clip_std
        pooled, hidden, mask = self.states[rows]
        drop = torch.rand(len(rows), generator=noise) < DROP
        # The row of the empty prompt, repeated for each row of the batch.
        empty_rows = self.empty[torch.zeros(len(rows), dtype=torch.long)]
        pooled = torch.where(drop[:, None], empty_rows[0], pooled)
        hidden = torch.where(drop[:, None, None], empty_rows[1], hidden)
        mask = torch.where(drop[:, None], empty_rows[2], mask)
        steps = len(self.schedule.alphas_cumprod)
        step = torch.randint(0, steps, (len(rows),), generator=noise)
        gaussian = torch.randn(clean.shape, generator=noise)
        noisy = self.schedule.add_noise(clean, gaussian, step)
        with mixed_precision():
            predicted = self.model(
                noisy,
                timestep=step,
                proj_embedding=pooled,
                encoder_hidden_states=hidden,
                attention_mask=mask,
            ).predicted_image_embedding
        return {"embedding": (predicted.float() - clean).square().mean()}


def network(settings: Settings) -> PriorTransformer:
    """The untrained prior.

    Args:
        settings: Width, layers and the window of tokens.

    Returns:
        The prior, with random weights.
    """
    return PriorTransformer(
        num_attention_heads=settings.width // 32,
        attention_head_dim=32,
        num_layers=settings.prior_layers,
        embedding_dim=settings.width,
        num_embeddings=settings.window,
        additional_embeddings=4,
    )


def schedule() -> UnCLIPScheduler:
    """unCLIP's cosine schedule; normalised embeddings exceed its default clamp of 1."""
    return UnCLIPScheduler(
        variance_type="fixed_small_log",
        prediction_type="sample",
        clip_sample_range=6.0,
        num_train_timesteps=1000,
    )


@torch.no_grad()
def encode_texts(
    encoder: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer, texts: list[str]
) -> TextStates:
    """Run the text encoder over all texts, as the pipeline does.

    Args:
        encoder: The text encoder.
        tokenizer: Its tokenizer.
        texts: The texts; each is cut at the window.

    Returns:
        The states, one row per text.
    """
    ids, mask = tokenize(tokenizer, texts)
    pooled, hidden = [], []
    for part in ids.split(256):
        with mixed_precision():
            out = encoder(part.long())
        pooled.append(out.text_embeds.float())
        # Half precision: states of all captions take most of the memory.
        hidden.append(out.last_hidden_state.half())
    return TextStates(torch.cat(pooled), torch.cat(hidden), mask)
