"""Pipelines that can clean their captions and choose sizes of their own, which is switched off."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from clerestory.models.core.types import Options
from clerestory.models.families.text_family import TextFamily

__all__ = ["CaptionFamily", "normalize_caption"]


class CaptionFamily(TextFamily):
    """A family of such pipelines.

    Attributes:
        window: How many tokens the denoiser is fed.
    """

    encoded_arguments = (
        "prompt_embeds",
        "prompt_attention_mask",
        "negative_prompt_embeds",
        "negative_prompt_attention_mask",
    )
    window: int

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        return {
            **super().encode_options(negatives),
            # Cleaning captions of what looks like HTML needs two more packages and changes prompts,
            # so that tokens would not be the user's.
            "clean_caption": False,
            "max_sequence_length": self.window,
        }

    @override
    def pipeline_options(self, options: Options) -> dict[str, Any]:
        return {
            **super().pipeline_options(options),
            # The pipeline's default "" beside negative states would be refused.
            "negative_prompt": None,
            # Binning would replace the size that is asked for by one of a few.
            "use_resolution_binning": False,
            "clean_caption": False,
        }


def normalize_caption(text: str) -> str:
    """Normalize a caption as these pipelines do where they do not clean it.

    Args:
        text: A prompt.

    Returns:
        The prompt in small letters, without space at the ends.
    """
    return text.lower().strip()
