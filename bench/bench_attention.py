"""Maps of one word against the bare pipeline: cross-attention of a UNet, Flux's joint one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from beside import ratio

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from families import built, flux, small_model, stable_diffusion
from tiny_parts import tiny_unet

PROMPTS = ["a cat and a dog", "a dog and a cat"]
SIDE, STEPS, ROUNDS = 64, 2, 3
"""Latents of 32×32: as many positions as a picture of 256×256 has in Stable Diffusion."""


def wide_unet() -> Any:
    """Stable Diffusion with a UNet of a few million parameters."""
    pipeline = built(stable_diffusion, scheduler="ddim")
    kinds = [f"CrossAttn{way}Block2D" for way in ("Down", "Up")]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = tiny_unet(
            sample_size=32,
            block_out_channels=(128, 256),
            down_block_types=(kinds[0],) * 2,
            up_block_types=(kinds[1],) * 2,
            attention_head_dim=8,
        )
    pipeline.register_modules(unet=unet.eval())
    return pipeline


def wide_flux() -> Any:
    """Flux with blocks of 512 units."""
    from diffusers import FluxTransformer2DModel

    pipeline = built(flux)
    config = dict(pipeline.transformer.config)
    config |= {"num_attention_heads": 8, "attention_head_dim": 64, "axes_dims_rope": (16, 24, 24)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = FluxTransformer2DModel.from_config(config)
    pipeline.register_modules(transformer=transformer.eval())
    return pipeline


def main(name: str, pipeline: Any) -> None:
    model = small_model(pipeline, height=SIDE, width=SIDE, steps=STEPS)
    options = model.defaults

    def bare() -> object:
        return pipeline(
            PROMPTS,
            height=SIDE,
            width=SIDE,
            num_inference_steps=STEPS,
            guidance_scale=options.guidance,
            generator=[torch.Generator().manual_seed(0) for _ in PROMPTS],
            output_type="np",
        )

    def maps() -> object:
        return model.attention(PROMPTS, 0, words="cat", progress=False)

    figure = ratio(maps, bare, rounds=ROUNDS)
    print(f"{name}: maps of one word {figure:.2f} × the bare pipeline (aim: 1.25)")
    figure = ratio(lambda: model.run(PROMPTS, 0, progress=False), bare, rounds=ROUNDS)
    print(f"{name}: a run without maps {figure:.2f} × the bare pipeline")


if __name__ == "__main__":
    main("cross-attention", wide_unet())
    main("joint attention", wide_flux())
