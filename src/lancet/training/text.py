"""CLIP's text side, trained to match the image embedding of a caption's picture.

The image side is locked (Zhai et al. 2022): CLIP's contrastive loss trains the text encoder alone.
A second loss is that of the image side's fixed factor heads on the text embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from lancet.networks import Heads
from lancet.training.loop import Stage, mixed_precision
from lancet.training.renders import Renders
from lancet.training.settings import Settings
from lancet.training.vision import factor_loss

__all__ = ["Text", "network", "retrieval", "tokenize"]


class _TextModel(nn.Module):
    def __init__(self, encoder: CLIPTextModelWithProjection) -> None:
        super().__init__()
        self.encoder = encoder
        # Learned in logarithms, so that it stays positive.
        self.temperature = nn.Parameter(torch.tensor(math.log(10.0)))


class Text(Stage):
    """Trains `CLIPTextModelWithProjection` against fixed image embeddings.

    Args:
        renders: The captions, and the factors of their pictures.
        settings: Sizes, and the plan of the stage.
        tokenizer: The tokenizer.
        embeddings: Image embeddings, `[row, width]`.
        heads: The image side's heads, which are not trained.
    """

    name = "text"

    def __init__(
        self,
        renders: Renders,
        settings: Settings,
        tokenizer: CLIPTokenizer,
        embeddings: Tensor,
        heads: Heads,
    ) -> None:
        self.renders, self.rows, self.plan = renders, len(renders), settings.text
        self.embeddings, self.heads = embeddings, heads.requires_grad_(False)
        self.ids, self.mask = tokenize(tokenizer, renders.captions)
        self.model: _TextModel = network(settings, tokenizer)

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """InfoNCE both ways, and the loss of the factor heads on the text embedding.

        Returns:
            `contrast` and `factors`.
        """
        pictures = self.embeddings[rows]
        with mixed_precision():
            texts = self.model.encoder(self.ids[rows].long(), self.mask[rows].long()).text_embeds
        texts = texts.float()
        # CLIP's own cap (Radford et al. 2021), against instability.
        scale = self.model.temperature.exp().clamp_max(100.0)
        scores = scale * functional.normalize(texts) @ functional.normalize(pictures).T
        target = torch.arange(len(rows))
        contrast = functional.cross_entropy(scores, target) + functional.cross_entropy(
            scores.T, target
        )
        # The image side's own heads: the text has to say what they read in a picture.
        factors = factor_loss(self.heads(texts), self.renders, rows)
        return {
            "contrast": 0.5 * contrast,
            "factors": 0.2 * torch.stack(list(factors.values())).sum(),
        }


def network(settings: Settings, tokenizer: CLIPTokenizer) -> _TextModel:
    """The untrained text encoder; its hidden width equals the embedding's, as the prior requires.

    Args:
        settings: Sizes.
        tokenizer: Its length is the vocabulary's.

    Returns:
        The network, with random weights and a temperature.
    """
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        projection_dim=settings.width,
        intermediate_size=4 * settings.width,
        num_hidden_layers=settings.text_layers,
        num_attention_heads=settings.width // 32,
        max_position_embeddings=settings.window,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_factor=1.0,
    )
    return _TextModel(CLIPTextModelWithProjection(config))


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask `[n, window]`, padded to the window; int16 and bool.

    Args:
        tokenizer: The tokenizer.
        texts: The texts; each is cut at the window.

    Returns:
        Ids and mask; False at padding.
    """
    coded = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    return coded.input_ids.short(), coded.attention_mask.bool()


def retrieval(texts: Tensor, pictures: Tensor, among: int = 256) -> float:
    """How often a text's own picture is the nearest of `among`: top-1 text-to-image retrieval.

    Args:
        texts: Embeddings of captions, `[n, width]`.
        pictures: Embeddings of their pictures, `[n, width]`.
        among: Pictures that a text is compared with; a smaller last group is left out.

    Returns:
        0 to 1; NaN for fewer than `among` rows.
    """
    parts = zip(texts.split(among), pictures.split(among), strict=True)
    hits = [
        (functional.normalize(text_part) @ functional.normalize(picture_part).T).argmax(1)
        == torch.arange(len(text_part))
        for text_part, picture_part in parts
        # The last part has fewer to choose among, and would be easier.
        if len(text_part) == among
    ]
    return float(torch.cat(hits).float().mean()) if hits else float("nan")
