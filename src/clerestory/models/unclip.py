"""unCLIP as Kandinsky 2.2 has it: text encoder, prior, denoiser, autoencoder.

The prior and the decoder pipeline are called apart, with a generator for each sample that runs on
from the one into the other, as one generator does in the combined pipeline. This denoiser has no
MLP and one joint attention, so it has no `mlp` tap; `prior/embedding` is its only condition.

With a negative prompt the prior also makes an embedding of that, in rows of its own, with a
generator of the same seed; those rows are neither read nor edited, only what is made of them:
`prior/embedding` in the branch `uncond`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clerestory.models import clip_text
from clerestory.models.base import Branch, Sample, Site
from clerestory.models.family import Encoded, Hand, Place, Turn, families, sigma_of

__all__ = ["UnCLIP"]


@families.register("KandinskyV22CombinedPipeline")
class UnCLIP:
    """A `KandinskyV22CombinedPipeline` and its sites."""

    stages: tuple[str, ...] = ("text", "prior", "denoiser", "vae")
    bridge: str = "prior/embedding"

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.text = clip_text.Text(pipeline.prior_tokenizer, pipeline.prior_text_encoder)
        self.places: Sequence[Place] = [
            *self.text.places("text", "prior_text_encoder"),
            *_prior_places(pipeline.prior_prior, self.text.window),
            *_denoiser_places(pipeline.unet),
            *_vae_places(pipeline.movq.decoder),
        ]
        self.roots: Mapping[str, nn.Module] = {
            "text": pipeline.prior_text_encoder,
            "prior": pipeline.prior_prior,
            "denoiser": pipeline.unet,
            "vae": pipeline.movq.decoder,
        }

    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoded | None:
        """Text encoder alone, or the prior pipeline, which runs the text encoder itself."""
        prompts, options = [sample.prompt for sample in batch], batch[0].options
        if until == "text":
            self.text.encode(prompts)
            if branch == "uncond":
                self.text.encode([options.negative] * len(batch))
            return None
        generators = [torch.Generator().manual_seed(sample.seed) for sample in batch]
        negative, theirs = None, []
        if options.negative:
            negative = [options.negative] * len(batch)
            theirs = [torch.Generator().manual_seed(sample.seed) for sample in batch]
        shown, empty = self.pipeline.prior_pipe(
            prompt=prompts,
            negative_prompt=negative,
            num_inference_steps=options.prior_steps,
            guidance_scale=options.prior_guidance,
            generator=generators + theirs,
            return_dict=False,
        )
        states = [generator.get_state() for generator in generators]
        return Encoded({"cond": shown, "uncond": empty}, states)

    def draw(
        self, batch: Sequence[Sample], encoded: Encoded, hand: Hand, until: str
    ) -> NDArray[np.uint8] | None:
        """Hand over the image embedding, then the decoder pipeline where it is wanted."""
        handed, options = hand(self.bridge, encoded.branches), batch[0].options
        if until == "prior":
            return None
        generators = [torch.Generator() for _ in batch]
        for generator, state in zip(generators, encoded.generators, strict=True):
            generator.set_state(state)
        (drawn,) = self.pipeline.decoder_pipe(
            image_embeds=handed["cond"],
            negative_image_embeds=handed["uncond"],
            height=options.height,
            width=options.width,
            num_inference_steps=options.steps,
            guidance_scale=options.guidance,
            generator=generators,
            output_type="np" if until == "vae" else "latent",
            return_dict=False,
        )
        if until != "vae":
            return None
        pictures: NDArray[np.uint8] = (drawn * 255).round().astype(np.uint8)
        return pictures

    def turn(self, stage: str, call: int, batch: Sequence[Sample]) -> Turn:
        """Text: the prompts, then the empty ones. Prior and denoiser: uncond rows before cond."""
        count, options = len(batch), batch[0].options
        first = slice(0, count)
        if stage == "text":
            return Turn({"uncond" if call else "cond": first})
        if stage == "vae":
            return Turn({"cond": first})
        prior = stage == "prior"
        scheduler = self.pipeline.prior_scheduler if prior else self.pipeline.scheduler
        guidance = options.prior_guidance if prior else options.guidance
        skip = 2 * count if prior and options.negative else count
        rows: dict[Branch, slice] = (
            {"uncond": first, "cond": slice(skip, skip + count)}
            if guidance > 1
            else {"cond": first}
        )
        return Turn(rows, call, float(scheduler.timesteps[call]), sigma_of(scheduler, call))

    def real(self, batch: Sequence[Sample]) -> Mapping[Branch, Tensor]:
        """Real tokens of the prompts and of the negative (or empty) prompts."""
        return {
            "cond": self.text.real([sample.prompt for sample in batch]),
            "uncond": self.text.real([sample.options.negative for sample in batch]),
        }

    def check(self, prompts: Sequence[str]) -> None:
        """PromptError where a prompt is empty or longer than the text window."""
        self.text.check(prompts)

    def words(self, prompt: str) -> list[str]:
        """The tokens of a prompt."""
        return self.text.words(prompt)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """No progress bars while this is open; the pipelines' own settings come back."""
        pipes = (self.pipeline.prior_pipe, self.pipeline.decoder_pipe)
        before = [getattr(pipe, "_progress_bar_config", None) for pipe in pipes]
        try:
            for pipe, config in zip(pipes, before, strict=True):
                pipe._progress_bar_config = {**(config or {}), "disable": True}
            yield
        finally:
            for pipe, config in zip(pipes, before, strict=True):
                pipe._progress_bar_config = {} if config is None else config


def _prior_places(prior: Any, window: int) -> list[Place]:
    """Positions: the text window, then pooled text, time, the noisy embedding, a last token."""
    places: list[Place] = []
    length = window + prior.additional_embeddings
    width = prior.config.num_attention_heads * prior.config.attention_head_dim
    for index, block in enumerate(prior.transformer_blocks):
        gate = block.ff.net[0]
        for tap, module, path, units in (
            ("self_attn", block.attn1, "attn1", width),
            ("mlp", gate, "ff.net.0", block.ff.net[2].in_features),
            ("resid", block, "", width),
        ):
            dotted = f"prior_prior.transformer_blocks.{index}.{path}".rstrip(".")
            site = Site(f"prior.blocks.{index}/{tap}", (length, units), dotted)
            places.append(Place(site, module, tokens=True))
    embedding = Site("prior/embedding", (1, prior.clip_mean.shape[-1]), "prior_prior")
    return [*places, Place(embedding, None)]


def _denoiser_places(unet: Any) -> list[Place]:
    """The latent as it comes in, the blocks, and the half of the prediction that is used."""
    used = unet.config.in_channels
    latent = Site("denoiser/latent", (None, used), "unet")
    prediction = Site("denoiser/prediction", (None, used), "unet")
    return [
        Place(latent, unet, "input", "sample"),
        *_map_places("denoiser", "unet", unet),
        Place(prediction, unet, channels=used),
    ]


def _vae_places(decoder: Any) -> list[Place]:
    return _map_places("vae", "movq.decoder", decoder)


def _map_places(stage: str, root: str, net: Any) -> list[Place]:
    """Every residual block, attention and resampling of a UNet-like network, by its place in it."""
    blocks = [
        (f"down.{i}", f"down_blocks.{i}") for i in range(len(getattr(net, "down_blocks", ())))
    ]
    blocks += [("mid", "mid_block")] if net.mid_block is not None else []
    blocks += [(f"up.{i}", f"up_blocks.{i}") for i in range(len(net.up_blocks))]
    places: list[Place] = []
    for name, path in blocks:
        block = net.get_submodule(path)
        for short, attribute in (
            ("res", "resnets"),
            ("attn", "attentions"),
            ("down", "downsamplers"),
            ("up", "upsamplers"),
        ):
            for index, module in enumerate(getattr(block, attribute, None) or ()):
                if module is None:
                    continue
                units = getattr(module, "out_channels", None) or module.out_dim
                address = f"{stage}.{name}.{short}.{index}/out"
                dotted = f"{root}.{path}.{attribute}.{index}"
                places.append(Place(Site(address, (None, units), dotted), module))
    return places
