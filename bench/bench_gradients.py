"""Gradients of all text sites against one forward and backward pass of the bare modules."""

from __future__ import annotations

import inspect
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from beside import ratio

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from families import built, small_model, stable_diffusion
from tiny import tiny_tokenizer

from clerestory.models.core import checkpoints

PROMPTS = ["a cat and a dog", "a dog and a cat"] * 2
UNIT, ROUNDS = 3, 5
WIDTH, LAYERS, WINDOW = 512, 4, 77


def wide_text() -> Any:
    """Stable Diffusion with a text encoder of 512 units and a window of 77 tokens."""
    from transformers import CLIPTextConfig, CLIPTextModel

    pipeline, tokenizer = built(stable_diffusion), tiny_tokenizer(WINDOW)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        max_position_embeddings=WINDOW,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = CLIPTextModel(config).eval()
    pipeline.register_modules(text_encoder=encoder, tokenizer=tokenizer)
    return pipeline


def text_encoder() -> None:
    """An objective at the condition; the bare encoder is differentiated by its tokens."""
    pipeline = wide_text()
    # One branch: the bare encoder encodes the prompts alone.
    model = small_model(pipeline, guidance=1.0)
    encoder, tokenizer = pipeline.text_encoder, pipeline.tokenizer
    encoder.requires_grad_(False)

    def leaf(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output.detach().requires_grad_()

    def bare() -> object:
        ids = tokenizer(PROMPTS, padding="max_length", return_tensors="pt").input_ids
        hook = encoder.get_input_embeddings().register_forward_hook(leaf)
        encoder(ids)[0][..., UNIT].mean(1).sum().backward()
        hook.remove()
        return None

    def ours() -> object:
        return model.gradients(
            lambda values: values["denoiser/condition"][..., UNIT].mean((1, 2)),
            "text.*",
            PROMPTS,
            read="denoiser/condition",
            pool="mean",
            independent="zero",
            batch=len(PROMPTS),
            progress=False,
        )

    figure = ratio(ours, bare, rounds=ROUNDS)
    print(f"all sites of a text encoder: {figure:.2f} × one forward and backward (aim: 1.2)")


def with_prior() -> None:
    """An objective at Lancet's prior/embedding, through text encoder and prior."""
    import clerestory

    model = clerestory.load("lancet", device="cpu")
    prior, options = model.pipeline.prior_pipe, model.defaults
    prior.set_progress_bar_config(disable=True)
    encoder = model.pipeline.prior_text_encoder
    for part in (encoder, model.pipeline.prior_prior):
        part.requires_grad_(False)
    # Without the decorator that switches gradients off.
    call = inspect.unwrap(type(prior).__call__)

    def leaf(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output.detach().requires_grad_()

    def bare() -> object:
        hook = encoder.get_input_embeddings().register_forward_hook(leaf)
        embedding, _ = call(
            prior,
            PROMPTS,
            num_inference_steps=options.prior_steps,
            guidance_scale=options.prior_guidance,
            generator=[torch.Generator().manual_seed(0) for _ in PROMPTS],
            return_dict=False,
        )
        embedding[:, UNIT].sum().backward()
        hook.remove()
        return None

    def ours(checkpoint: bool) -> object:
        return model.gradients(
            f"prior/embedding[{UNIT}]",
            "text.*",
            PROMPTS,
            pool="mean",
            independent="zero",
            checkpoint=checkpoint,
            batch=len(PROMPTS),
            progress=False,
        )

    kept = checkpoints.KEPT_BYTES
    for checkpoint, limit, words in (
        (False, kept, "activations kept"),
        (True, kept, "steps kept as far as they fit in memory (default)"),
        (True, 0, "all steps computed again (1.5 at best)"),
    ):
        checkpoints.KEPT_BYTES = limit
        figure = ratio(partial(ours, checkpoint), bare, rounds=ROUNDS)
        print(f"all text sites through Lancet's prior, {words}: {figure:.2f} × (aim: 1.2)")
    checkpoints.KEPT_BYTES = kept


if __name__ == "__main__":
    text_encoder()
    with_prior()
