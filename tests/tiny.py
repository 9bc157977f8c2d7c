"""Tiny pipelines with random weights, built from config classes in a second or two.

Their tokenizers know bytes and a few words; their text windows are 16 tokens long.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

WIDTH, WINDOW = 32, 16


def tiny_tokenizer(window: int = WINDOW) -> Any:
    """CLIP's tokenizer with every byte and four merges."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")]
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += ["".join(merge) for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=window)


def tiny_text(tokenizer: Any, layers: int = 2) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            projection_dim=WIDTH,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            initializer_factor=2.0,
        )
    )


def tiny_eye() -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        image_size=16,
        patch_size=8,
    )
    return CLIPVisionModelWithProjection(config)


def tiny_prior(layers: int = 2, window: int = WINDOW) -> Any:
    from diffusers import PriorTransformer

    prior = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=layers,
        embedding_dim=WIDTH,
        num_embeddings=window,
        additional_embeddings=4,
    )
    prior.clip_std.data.fill_(1.0)
    prior.clip_mean.data.copy_(0.1 * torch.randn(1, WIDTH))
    return prior


def tiny_denoiser() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        block_out_channels=(16, 24),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=8,
        resnet_time_scale_shift="scale_shift",
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        norm_num_groups=8,
    )


def tiny_autoencoder() -> Any:
    from diffusers import VQModel

    return VQModel(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        vq_embed_dim=4,
        num_vq_embeddings=2,
        norm_num_groups=4,
        layers_per_block=1,
        mid_block_add_attention=False,
        sample_size=16,
    )


def tiny_pipeline(
    seed: int = 0, *, layers: int = 2, scheduler: str = "ddim", window: int = WINDOW
) -> Any:
    """A `KandinskyV22CombinedPipeline` of 16×16 pictures, untrained, the same for a seed."""
    from diffusers import (
        DDIMScheduler,
        DDPMScheduler,
        DPMSolverMultistepScheduler,
        KandinskyV22CombinedPipeline,
        UnCLIPScheduler,
    )
    from transformers import CLIPImageProcessor

    kinds = {
        "ddim": DDIMScheduler,
        "ddpm": DDPMScheduler,
        "dpm": DPMSolverMultistepScheduler,
    }
    more = {"ddim": {"clip_sample": False}, "ddpm": {"clip_sample": False}, "dpm": {}}[scheduler]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = tiny_tokenizer(window)
        pipeline = KandinskyV22CombinedPipeline(
            unet=tiny_denoiser(),
            scheduler=kinds[scheduler](beta_schedule="scaled_linear", **more),
            movq=tiny_autoencoder(),
            prior_prior=tiny_prior(layers, window),
            prior_image_encoder=tiny_eye(),
            prior_text_encoder=tiny_text(tokenizer, layers),
            prior_tokenizer=tokenizer,
            prior_scheduler=UnCLIPScheduler(
                variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0
            ),
            prior_image_processor=CLIPImageProcessor(size={"height": 16, "width": 16}),
        )
    for name in ("unet", "movq", "prior_prior", "prior_image_encoder", "prior_text_encoder"):
        getattr(pipeline, name).eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@functools.cache
def tiny_model(
    seed: int = 0, *, layers: int = 2, scheduler: str = "ddim", window: int = WINDOW
) -> Any:
    """A model around a tiny pipeline, with defaults to match; one for the whole test run."""
    from clerestory.models import Options, wrap

    defaults = Options(
        height=16, width=16, steps=3, guidance=2.5, prior_steps=3, prior_guidance=1.5
    )
    return wrap(
        tiny_pipeline(seed, layers=layers, scheduler=scheduler, window=window),
        name="tiny",
        defaults=defaults,
    )
