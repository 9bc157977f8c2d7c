"""Kandinsky 2.1: unCLIP as Kandinsky 2.2, whose denoiser takes the text as well.

The text comes from a second encoder, multilingual, `text_2`: its states are `denoiser/condition`,
its pooled state `denoiser/pooled`. The denoiser's attentions read both: ten tokens made of the
image embedding, then those of the text. The combined pipeline gives a negative prompt to the prior
alone; the text of the denoiser's branch `uncond` is always empty.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.models.core.family import Encoding, SeparatePrior, families
from clerestory.models.core.pipeline_state import replace_attributes
from clerestory.models.core.types import Branch, Options, Sample
from clerestory.models.families.bert_text import MultilingualClipTextEncoder
from clerestory.models.families.conditioned import (
    CONDITION,
    POOLED,
    branch_values,
    condition_hook,
    pooled_hook,
)
from clerestory.models.families.networks import end_hooks, map_hooks, unet_hooks
from clerestory.models.families.text import JoinedWindows
from clerestory.models.families.unclip import EMBEDDING, UnCLIP

__all__ = ["Kandinsky21"]

TOKENS = 77
"""How many tokens the second text encoder takes, as the pipeline has it."""


@families.register("KandinskyCombinedPipeline")
class Kandinsky21(UnCLIP):
    """Kandinsky 2.1: two text encoders, prior, denoiser, autoencoder."""

    stages = ("text", "text_2", "prior", "denoiser", "vae")
    encoder_stages = ("text", "text_2", "prior")
    conditioning_sites = (EMBEDDING, CONDITION, POOLED)
    conditioning_arguments: ClassVar[Mapping[str, tuple[str, str]]] = {
        **UnCLIP.conditioning_arguments,
        CONDITION: ("states", "negative_states"),
        POOLED: ("pooled", "negative_pooled"),
    }
    # The pipeline decodes whatever is asked for.
    returns_latents = False
    defaults = Options(512, 512, steps=100, guidance=4.0, prior_steps=25, prior_guidance=4.0)
    separate_prior = SeparatePrior(
        decoder="KandinskyPipeline",
        prior="KandinskyPriorPipeline",
        combined="KandinskyCombinedPipeline",
        example="kandinsky-community/kandinsky-2-1-prior",
    )

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.denoising_pipeline = _EncodedTexts(pipeline.decoder_pipe)
        text = MultilingualClipTextEncoder(
            pipeline, "text_encoder", stage="text_2", window=TOKENS, masks_padding=True
        )
        unet = pipeline.unet
        image_tokens = unet.encoder_hid_proj.num_image_text_embeds
        joined = JoinedWindows((None, image_tokens), (text, TOKENS))
        self.text_windows = {"text": self.text, "text_2": text, "condition": joined}
        latent, prediction = end_hooks("unet", unet, "sample")
        self.site_hooks = [
            *self.text.site_hooks(),
            *text.site_hooks(),
            *(hook for hook in self.site_hooks if hook.site.stage == "prior"),
            condition_hook(TOKENS, text.encoder.config.hidden_size, "text_2"),
            pooled_hook(text.encoder.config.numDims),
            latent,
            *unet_hooks("unet", unet, "condition", joined.window),
            prediction,
            *map_hooks("vae", "movq.decoder", pipeline.movq.decoder),
        ]
        self.stage_modules = {**self.stage_modules, "text_2": text.encoder}

    @override
    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoding | None:
        if until == "text":
            return super().encode(batch, until, branch)
        stops_early = until == "text_2"
        both = self.has_two_branches(batch[0].options) and (branch == "uncond" or not stops_early)
        decoder = self.pipeline.decoder_pipe
        with torch.no_grad():
            pooled, states, _ = decoder._encode_prompt(
                [sample.prompt for sample in batch], decoder._execution_device, 1, both
            )
        encoding = super().encode(batch, "text" if stops_early else until, branch)
        if encoding is None:
            return None
        texts = {
            CONDITION: branch_values(states, both=both),
            POOLED: branch_values(pooled, both=both),
        }
        return replace(encoding, conditioning={**encoding.conditioning, **texts})

    @property
    @override
    def extra_names(self) -> Sequence[str]:
        taken = {"prompt", "negative_prompt", "image_embeds", "negative_image_embeds"}
        parameters = inspect.signature(self.pipeline.decoder_pipe.__call__).parameters
        return [name for name in parameters if name not in taken]


@dataclass(frozen=True)
class _EncodedTexts:
    """The decoder's pipeline, which encodes its texts itself, with texts that are encoded."""

    pipeline: Any

    @property
    def scheduler(self) -> Any:
        return self.pipeline.scheduler

    def __call__(
        self,
        *,
        states: Tensor,
        pooled: Tensor,
        negative_states: Tensor | None = None,
        negative_pooled: Tensor | None = None,
        **arguments: Any,
    ) -> Any:
        if negative_states is not None and negative_pooled is not None:
            states = torch.cat([negative_states, states])
            pooled = torch.cat([negative_pooled, pooled])
        # The third value is a mask, of which the pipeline makes no use.
        encoded = (pooled, states, None)
        with replace_attributes(self.pipeline, _encode_prompt=lambda *args, **kwargs: encoded):
            return self.pipeline(prompt=[""] * len(arguments["image_embeds"]), **arguments)
