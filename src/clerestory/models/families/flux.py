"""Flux: CLIP pooled, T5 as the condition, a transformer of double and single blocks.

Guidance is an input of the denoiser (or, in schnell, distilled away), so there is one branch. With
a negative prompt and a `true_guidance` above 1 there are two, in calls of their own, the prompt
first.

Double blocks have a stream of the picture, `denoiser.blocks.3.image/…`, and one of the text, as in
Stable Diffusion 3; in single blocks, `denoiser.single.7/…`, text and picture are one row of
positions, the text first.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.core.types import Options
from clerestory.models.families.clip_text import ClipTextEncoder
from clerestory.models.families.conditioned import BranchCalls, condition_hook, pooled_hook
from clerestory.models.families.networks import single_hooks, stream_hooks
from clerestory.models.families.t5_text import T5TextEncoder
from clerestory.models.families.text_family import TextFamily

__all__ = ["Flux"]


@families.register("FluxPipeline")
@families.register("FluxControlNetPipeline")
class Flux(BranchCalls, TextFamily):
    """Flux.1 dev and schnell: CLIP, T5, a transformer of double and single blocks, autoencoder."""

    half_precision = "bfloat16"
    single_file_types = ("flux-dev", "flux-schnell")
    negative_option = "true_guidance"
    option_names = (*TextFamily.option_names, "true_guidance")

    def __init__(self, pipeline: Any) -> None:
        net, config = pipeline.transformer, pipeline.transformer.config
        # dev takes guidance as an input, schnell has none; they differ in T5's tokens and defaults.
        window, steps, guidance = (512, 28, 3.5) if config.guidance_embeds else (256, 4, 0.0)
        super().__init__(
            pipeline,
            "transformer",
            [
                ClipTextEncoder(pipeline),
                T5TextEncoder(pipeline, "text_encoder_2", window=window),
            ],
            conditioning=[
                condition_hook(window, config.joint_attention_dim, "text_2"),
                pooled_hook(config.pooled_projection_dim),
            ],
            blocks=[
                *(
                    hook
                    for index, block in enumerate(net.transformer_blocks)
                    for hook in stream_hooks(index, block, net.inner_dim, window, "text_2")
                ),
                *single_hooks(net, window, "text_2"),
            ],
            steps=steps,
            guidance=guidance,
            # The latent is packed two by two into positions.
            size_multiple=pipeline.vae_scale_factor * 2,
            sample_size=pipeline.default_sample_size,
        )
        self.window = window
        if not config.guidance_embeds:
            self.option_names = tuple(name for name in self.option_names if name != "guidance")

    @override
    def has_two_branches(self, options: Options) -> bool:
        # Guidance itself is an input of the denoiser and makes no second branch.
        return bool(options.negative) and options.true_guidance > 1

    @override
    def encode_texts(
        self, prompts: list[str], negatives: list[str] | None, **extra: Any
    ) -> dict[str, Any]:
        options: dict[str, Any] = {"max_sequence_length": self.window}
        arguments = dict(options)
        for prefix, texts in (("", prompts), ("negative_", negatives)):
            if texts is not None:
                states, pooled, _ = self.pipeline.encode_prompt(
                    texts, None, device=self.pipeline._execution_device, **options, **extra
                )
                arguments[f"{prefix}prompt_embeds"] = states
                arguments[f"{prefix}pooled_prompt_embeds"] = pooled
        return arguments

    @override
    def pipeline_options(self, options: Options) -> dict[str, Any]:
        # 1.0 is the pipeline's own value for no second branch.
        strength = options.true_guidance if self.has_two_branches(options) else 1.0
        return {**super().pipeline_options(options), "true_cfg_scale": strength}
