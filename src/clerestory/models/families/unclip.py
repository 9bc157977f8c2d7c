"""unCLIP as Kandinsky 2.2 has it: text encoder, prior, denoiser, autoencoder.

The prior and the decoder pipeline are called apart, with a generator for each sample that runs on
from the one into the other, as one generator does in the combined pipeline. This denoiser has no
MLP and one joint attention, so it has no `mlp` tap; `prior/embedding` is its only condition.

With a negative prompt the prior also makes an embedding of that, in rows of its own, with a
generator of the same seed; those rows are neither read nor edited, only what is made of them:
`prior/embedding` in the branch `uncond`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clerestory.models.core.family import (
    Encoded,
    Family,
    Handoff,
    SiteHook,
    StageCall,
    families,
    restore_generators,
    scheduler_sigma,
    seed_generators,
)
from clerestory.models.core.types import Branch, Options, Sample, Site
from clerestory.models.families.clip_text import ClipText
from clerestory.models.families.networks import (
    attention_hooks,
    end_hooks,
    map_hooks,
    mlp_hook,
    tap_hook,
    unet_hooks,
)
from clerestory.types import Pictures

__all__ = ["UnCLIP"]


@families.register("KandinskyV22CombinedPipeline")
class UnCLIP(Family):
    """Kandinsky 2.2: text encoder, prior, denoiser, autoencoder.

    Args:
        pipeline: The diffusers pipeline.

    Raises:
        ModelError: A text encoder or its tokenizer is missing.
    """

    stages = ("text", "prior", "denoiser", "vae")
    encoder_stages = ("text", "prior")
    conditioning_site = "prior/embedding"
    conditioning_sites = (conditioning_site,)
    negative_option = "prior_guidance"
    defaults = Options(512, 512, steps=50, guidance=4.0, prior_steps=25, prior_guidance=4.0)

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.text = ClipText(
            pipeline.prior_tokenizer, pipeline.prior_text_encoder, "text", "prior_text_encoder"
        )
        self.text_windows = {"text": self.text}
        self.prompt_reader = self.text
        self.bar_pipelines = (pipeline.prior_pipe, pipeline.decoder_pipe)
        unet, channels = pipeline.unet, pipeline.unet.config.in_channels
        latent, prediction = end_hooks("unet", unet, channels, channels, "sample")
        self.site_hooks = [
            *self.text.site_hooks(),
            *_prior_hooks(pipeline.prior_prior, self.text.window),
            latent,
            *unet_hooks("unet", unet),
            prediction,
            *map_hooks("vae", "movq.decoder", pipeline.movq.decoder),
        ]
        self.stage_modules = {
            "text": pipeline.prior_text_encoder,
            "prior": pipeline.prior_prior,
            "denoiser": unet,
            "vae": pipeline.movq.decoder,
        }

    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoded | None:
        """Run the text encoder alone, or the prior pipeline, which runs the text encoder itself.

        Args:
            batch: Samples with the same options.
            until: The stage after which the run may stop.
            branch: The branch of guidance that is read.

        Returns:
            The image embeddings and generators; None if the run may stop at the text encoder.
        """
        prompts, options = [sample.prompt for sample in batch], batch[0].options
        if until == "text":
            self.text.encode(prompts)
            if branch == "uncond":
                self.text.encode([options.negative] * len(batch))
            return None
        generators, negative, negative_generators = seed_generators(batch), None, []
        if options.negative:
            negative, negative_generators = [options.negative] * len(batch), seed_generators(batch)
        embedding, empty_embedding = self.pipeline.prior_pipe(
            prompt=prompts,
            negative_prompt=negative,
            num_inference_steps=options.prior_steps,
            guidance_scale=options.prior_guidance,
            # The negative prompts are further rows of the prior's batch, each with the generator of
            # its sample's seed.
            generator=generators + negative_generators,
            return_dict=False,
        )
        # After the prior's noise: the decoder goes on from here, as in the combined pipeline.
        states = [generator.get_state() for generator in generators]
        return Encoded(
            {self.conditioning_site: {"cond": embedding, "uncond": empty_embedding}}, states
        )

    def draw(
        self, batch: Sequence[Sample], encoded: Encoded, handoff: Handoff, until: str
    ) -> Pictures | None:
        """Pass the image embedding by its site, then run the decoder pipeline if it is needed.

        Args:
            batch: The samples that were encoded.
            encoded: What `encode` gave.
            handoff: Edits and reads the value of a conditioning site.
            until: The stage after which the run may stop.

        Returns:
            uint8 `[sample, height, width, 3]` if `until` is the last stage; else None.
        """
        site, options = self.conditioning_site, batch[0].options
        embedding = handoff(site, encoded.conditioning[site])
        if until in ("prior", site):
            return None
        (output,) = self.pipeline.decoder_pipe(
            image_embeds=embedding["cond"],
            negative_image_embeds=embedding["uncond"],
            height=options.height,
            width=options.width,
            num_inference_steps=options.steps,
            guidance_scale=options.guidance,
            generator=restore_generators(encoded.generators),
            output_type="np" if until == "vae" else "latent",
            return_dict=False,
        )
        if until != "vae":
            return None
        pictures: Pictures = (output * 255).round().astype(np.uint8)
        return pictures

    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        """Text: the prompts, then the empty ones. Prior and denoiser: uncond rows before cond.

        Args:
            stage: The stage's name.
            call: How many calls of the stage came before in this batch.
            batch: The samples of the batch.

        Returns:
            The step of the call and the rows of each branch.
        """
        count, options = len(batch), batch[0].options
        first = slice(0, count)
        if stage == "text":
            return StageCall({"uncond" if call else "cond": first})
        if stage == "vae":
            return StageCall({"cond": first})
        prior = stage == "prior"
        scheduler = self.pipeline.prior_scheduler if prior else self.pipeline.scheduler
        guidance = options.prior_guidance if prior else options.guidance
        # With negative prompts the prior's batch is uncond rows of prompts and negatives, then cond
        # rows of both.
        skip = 2 * count if prior and options.negative else count
        rows: dict[Branch, slice] = (
            {"uncond": first, "cond": slice(skip, skip + count)}
            if guidance > 1
            else {"cond": first}
        )
        return StageCall(
            rows, call, float(scheduler.timesteps[call]), scheduler_sigma(scheduler, call)
        )


def _prior_hooks(prior: Any, window: int) -> list[SiteHook]:
    """Positions: the text window, then pooled text, time, the noisy embedding, a last token."""
    hooks: list[SiteHook] = []
    length = window + prior.additional_embeddings
    width = prior.config.num_attention_heads * prior.config.attention_head_dim
    where = {"length": length, "text_window": "text"}
    for index, block in enumerate(prior.transformer_blocks):
        address, dotted = f"prior.blocks.{index}", f"prior_prior.transformer_blocks.{index}"
        hooks += [
            *attention_hooks(
                address, f"{dotted}.attn1", block.attn1, length=length, text_window="text"
            ),
            tap_hook(address, "self_attn", f"{dotted}.attn1", block.attn1, width, **where),
            mlp_hook(address, f"{dotted}.ff", block.ff, **where),
            tap_hook(address, "resid", dotted, block, width, **where),
        ]
    # The pipeline scales the prior's output after its last step, so no module makes this value.
    embedding = Site("prior/embedding", (1, prior.clip_mean.shape[-1]), "prior_prior")
    return [*hooks, SiteHook(embedding)]
