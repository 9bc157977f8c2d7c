"""Our overhead against nnsight's, on the same sites: Lancet's, and networks' of true widths.

(ours − bare) / (nnsight − bare), each the median of runs that take turns. All keep every position.
"""

from __future__ import annotations

import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from beside import drawn, encoded, quiet, seconds, usual

import clerestory
from lancet import checkpoint

PROMPTS = ["a stained glass of a cat", "a ship at night", "a sad woman in a library", "a rose"]


def compare_overhead(
    name: str,
    bare: Callable[[], object],
    ours: Callable[[], object],
    theirs: Callable[[], object],
    times: int = 15,
) -> None:
    for work in (bare, ours, theirs):
        work()
    rounds = [[seconds(work) for work in (bare, ours, theirs)] for _ in range(times)]
    plain, mine, other = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = (mine - plain) / (other - plain)
    print(
        f"{name}: overhead {ratio:.2f} × nnsight's (aim: 0.5); over bare {mine / plain:.2f} ×, "
        f"nnsight {other / plain:.2f} ×"
    )


def _envoy(root: Any, path: str) -> Any:
    """nnsight's name for the module at this path."""
    for part in path.split("."):
        root = root[int(part)] if part.isdigit() else getattr(root, part)
    return root


def text(model: clerestory.Model) -> None:
    from nnsight import NNsight

    pipeline = model.pipeline
    encoder, tokenizer = pipeline.prior_text_encoder, pipeline.prior_tokenizer
    traced = NNsight(encoder)
    sites = model.sites.match("text.*/mlp,text.*/resid,text.*/self_attn")
    envoys = [_envoy(traced, site.path.partition(".")[2]) for site in sites]

    def ids() -> torch.Tensor:
        tokens = tokenizer(PROMPTS, padding="max_length", return_tensors="pt")
        return torch.as_tensor(tokens.input_ids)

    def bare() -> object:
        return encoded(model, PROMPTS)

    def theirs() -> object:
        with torch.no_grad(), traced.trace(ids()) as tracer:
            cache = tracer.cache(modules=envoys).save()
        return cache

    def hooked() -> object:
        kept: list[Any] = []
        handles = [
            site.module.register_forward_hook(lambda _, __, out: kept.append(out)) for site in sites
        ]
        bare()
        for handle in handles:
            handle.remove()
        return kept

    read = [site.address for site in sites]
    compare_overhead(
        f"{len(read)} text sites",
        bare,
        lambda: model.run(PROMPTS, 0, read=read, pool="none", pictures=False),
        theirs,
    )
    compare_overhead("the same by plain torch hooks, which is the least", bare, hooked, theirs)


def transformer(folder: Path) -> None:
    """Stable Diffusion 3 with 12 blocks as wide as DiT-B, and CLIP-L; random weights."""
    from nnsight.modeling.diffusion import DiffusionModel

    wide_pipeline().save_pretrained(folder)
    # Without T5, which plain diffusers wants to hear of.
    parts: dict[str, Any] = {"text_encoder_3": None, "tokenizer_3": None}
    traced = DiffusionModel(str(folder), dispatch=True, **parts)
    traced.pipeline.set_progress_bar_config(disable=True)
    model = clerestory.load(folder)
    pipeline = model.pipeline
    options: dict[str, Any] = {"height": 256, "width": 256}
    usual = {**options, "num_inference_steps": 2, "output_type": "latent"}

    def bare() -> object:
        return pipeline(PROMPTS[:1], generator=torch.Generator().manual_seed(0), **usual)

    pipeline.set_progress_bar_config(disable=True)
    for pattern in ("denoiser.*/resid,denoiser.*/self_attn,denoiser.*/q",):
        sites = model.sites.match(pattern)
        read = [site.address for site in sites]
        envoys = [_envoy(traced, site.path) for site in sites]

        def theirs(envoys: list[Any] = envoys) -> object:
            with torch.no_grad(), traced.generate(PROMPTS[:1], seed=0, **usual) as tracer:
                cache = tracer.cache(modules=envoys).save()
            return cache

        def ours(read: list[str] = read) -> object:
            return model.run(
                PROMPTS[:1], 0, read=read, pool="none", pictures=False, stop="never", steps=2,
                **options,
            )  # fmt: skip

        compare_overhead(f"{len(read)} sites of true width ({pattern})", bare, ours, theirs, 7)


def wide_pipeline() -> Any:
    """The pipeline of `transformer`, with Lancet's tokenizer."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    tokenizer = clerestory.load("lancet").pipeline.prior_tokenizer
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=768,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    encoder = CLIPTextModelWithProjection(config).eval()
    transformer = SD3Transformer2DModel(
        sample_size=32,
        num_layers=12,
        attention_head_dim=64,
        num_attention_heads=12,
        joint_attention_dim=1536,
        caption_projection_dim=768,
        pooled_projection_dim=1536,
        pos_embed_max_size=64,
    )
    vae = AutoencoderKL(
        latent_channels=16,
        shift_factor=0.0,
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        text_encoder_2=encoder,
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def pictures(model: clerestory.Model) -> None:
    """The whole pipeline, drawn by nnsight's `DiffusionModel` from the same folder."""
    from nnsight.modeling.diffusion import DiffusionModel

    quiet(model)
    traced = DiffusionModel(str(checkpoint.SHIPPED / "model"), dispatch=True)
    for part in (traced.pipeline.prior_pipe, traced.pipeline.decoder_pipe):
        part.set_progress_bar_config(disable=True)
    sites = model.sites.match("denoiser.*.res.*/out")
    envoys = [_envoy(traced, site.path) for site in sites]

    def theirs() -> object:
        with torch.no_grad(), traced.generate(PROMPTS, seed=0, **usual(model)) as tracer:
            cache = tracer.cache(modules=envoys).save()
        return cache

    read = [site.address for site in sites]
    compare_overhead(
        f"{len(read)} denoiser sites at {model.defaults.steps} steps, and the pictures",
        lambda: drawn(model, PROMPTS),
        lambda: model.run(PROMPTS, 0, read=read, pool="none"),
        theirs,
        times=7,
    )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    text(clerestory.load("lancet"))
    pictures(clerestory.load("lancet"))
    with tempfile.TemporaryDirectory() as folder:
        transformer(Path(folder) / "wide")
