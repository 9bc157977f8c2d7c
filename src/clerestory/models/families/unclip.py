"""unCLIP as Kandinsky 2.2 has it: text encoder, prior, denoiser, autoencoder.

The prior and the decoder pipeline are called apart, with a generator for each sample that runs on
from the one into the other, as one generator does in the combined pipeline. This denoiser has no
MLP and one joint attention, so it has no `mlp` tap; `prior/embedding` is its only condition.

With a negative prompt the prior also makes an embedding of that, in rows of its own, with a
generator of the same seed; those rows are neither read nor edited, only what is made of them:
`prior/embedding` in the branch `uncond`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from typing_extensions import override

from clerestory.models.core.family import (
    Encoding,
    SeparatePrior,
    SiteHook,
    StageCall,
    families,
    seed_generators,
)
from clerestory.models.core.schedulers import seeded_scheduler
from clerestory.models.core.types import Branch, Options, Sample, Site
from clerestory.models.families.clip_text import ClipTextEncoder
from clerestory.models.families.conditioned import ConditionedFamily, denoising_call
from clerestory.models.families.networks import Block, end_hooks, map_hooks, unet_hooks

__all__ = ["EMBEDDING", "UnCLIP", "embedding_hook", "prior_hooks"]

EMBEDDING = "prior/embedding"


@families.register("KandinskyV22CombinedPipeline")
class UnCLIP(ConditionedFamily):
    """Kandinsky 2.2: text encoder, prior, denoiser, autoencoder."""

    stages: tuple[str, ...] = ("text", "prior", "denoiser", "vae")
    encoder_stages: tuple[str, ...] = ("text", "prior")
    conditioning_site = EMBEDDING
    conditioning_sites: tuple[str, ...] = (EMBEDDING,)
    conditioning_arguments: ClassVar[Mapping[str, tuple[str, str]]] = {
        EMBEDDING: ("image_embeds", "negative_image_embeds")
    }
    negative_option = "prior_guidance"
    option_names = (*ConditionedFamily.option_names, "prior_steps", "prior_guidance")
    defaults = Options(512, 512, steps=50, guidance=4.0, prior_steps=25, prior_guidance=4.0)
    separate_prior = SeparatePrior(
        decoder="KandinskyV22Pipeline",
        prior="KandinskyV22PriorPipeline",
        combined="KandinskyV22CombinedPipeline",
        example="kandinsky-community/kandinsky-2-2-prior",
    )

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.denoising_pipeline = pipeline, pipeline.decoder_pipe
        self.progress_bar_pipelines = (pipeline.prior_pipe, pipeline.decoder_pipe)
        self.text = ClipTextEncoder(pipeline, "prior_text_encoder")
        self.text_windows = {"text": self.text}
        self.encodes_negatives = False
        self.prompt_reader = self.text
        unet, decoder = pipeline.unet, pipeline.movq.decoder
        # The pipeline rounds sides up to whole pixels of a latent of this scale, squared.
        scale = 2 ** (len(pipeline.movq.config.block_out_channels) - 1)
        self.size_multiple = scale**2
        latent, prediction = end_hooks("unet", unet, "sample")
        self.site_hooks = [
            *self.text.site_hooks(),
            *prior_hooks("prior_prior", pipeline.prior_prior, self.text.window),
            embedding_hook("prior_prior", pipeline.prior_prior),
            latent,
            *unet_hooks("unet", unet),
            prediction,
            *map_hooks("vae", "movq.decoder", decoder),
        ]
        self.stage_modules = {
            "text": self.text.encoder,
            "prior": pipeline.prior_prior,
            "denoiser": unet,
            "vae": decoder,
        }

    @override
    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoding | None:
        prompts, options = [sample.prompt for sample in batch], batch[0].options
        # The prior's pipeline encodes them as further rows of the prompts' batch.
        self.encodes_negatives = bool(options.negative) and until != "text"
        if until == "text":
            # The prior's pipeline, which runs the text encoder itself, cannot stop there.
            self.text.encode(prompts)
            if branch == "uncond":
                self.text.encode([options.negative] * len(batch))
            return None
        generators, negative, negative_generators = seed_generators(batch), None, []
        if options.negative:
            negative, negative_generators = [options.negative] * len(batch), seed_generators(batch)
        # The negative prompts are further rows of the prior's batch, each with the generator of its
        # sample's seed.
        rows = generators + negative_generators
        seeds = [generator.initial_seed() for generator in rows]
        with seeded_scheduler(self.pipeline.prior_pipe.scheduler, rows, seeds):
            cond, uncond = self.pipeline.prior_pipe(
                prompt=prompts,
                negative_prompt=negative,
                num_inference_steps=options.prior_steps,
                guidance_scale=options.prior_guidance,
                generator=rows,
                return_dict=False,
            )
        # After the prior's noise: the decoder goes on from here, as in the combined pipeline.
        states = [generator.get_state() for generator in generators]
        return Encoding({EMBEDDING: {"cond": cond, "uncond": uncond}}, states)

    @override
    def reads_negative(self, options: Options) -> bool:
        # The prior's guidance, and the decoder's by the embedding that the prior makes of it.
        return max(options.prior_guidance, options.guidance) > 1

    @override
    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        count, options = len(batch), batch[0].options
        if stage != "prior":
            stage_call = super().stage_call(stage, call, batch)
            more = count if stage == "text" and self.encodes_negatives else 0
            return replace(stage_call, other_rows=more)
        rows: dict[Branch, slice] = {"cond": slice(0, count)}
        if options.prior_guidance > 1:
            # With negative prompts the prior's batch is uncond rows of prompts and negatives, then
            # cond rows of both.
            start = 2 * count if options.negative else count
            rows = {"uncond": slice(0, count), "cond": slice(start, start + count)}
        stage_call = denoising_call(self.pipeline.prior_pipe.scheduler, call, rows)
        # The rows of the negative prompts' own cond branch come last.
        return replace(stage_call, other_rows=count) if options.negative else stage_call


def prior_hooks(path: str, prior: Any, window: int) -> list[SiteHook]:
    """The blocks of a prior, what it is given and what it predicts.

    Args:
        path: The prior's attribute of the pipeline.
        prior: diffusers' `PriorTransformer`.
        window: The number of tokens of the window `text`.

    Returns:
        Hooks in the order in which it computes their values. The positions of its blocks are the
        text window, then pooled text, time, the noisy embedding, a last token.
    """
    embedding = (1, prior.config.embedding_dim)
    latent = Site("prior/latent", embedding, path, module=prior)
    hooks = [SiteHook(latent, is_input=True, argument_name="hidden_states")]
    positions = window + prior.additional_embeddings
    width = prior.config.num_attention_heads * prior.config.attention_head_dim
    for index, module in enumerate(prior.transformer_blocks):
        where = f"{path}.transformer_blocks.{index}"
        block = Block(f"prior.blocks.{index}", where, module, positions, "text")
        hooks += [
            *block.attention("attn1"),
            block.tap("self_attn", "attn1", width),
            block.mlp("ff"),
            block.tap("resid", "", width),
        ]
    return [*hooks, SiteHook(Site("prior/prediction", embedding, path, module=prior))]


def embedding_hook(path: str, prior: Any) -> SiteHook:
    """The hook of the image embedding that a prior has drawn.

    Args:
        path: The prior's attribute of the pipeline.
        prior: diffusers' `PriorTransformer`.

    Returns:
        A hook without a module, since the pipeline scales the prior's output after its last step.
    """
    return SiteHook(Site(EMBEDDING, (1, prior.clip_mean.shape[-1]), path))
