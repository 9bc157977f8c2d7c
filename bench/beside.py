"""What the benchmarks share: two things timed in turn, and Lancet's pipeline without us."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

import clerestory


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(one: Callable[[], object], two: Callable[[], object], rounds: int) -> float:
    """The median of one's time over two's, which take turns; each is tried once before."""
    one(), two()
    return statistics.median(seconds(one) / seconds(two) for _ in range(rounds))


def quiet(model: clerestory.Model) -> None:
    for part in (model.pipeline.prior_pipe, model.pipeline.decoder_pipe):
        part.set_progress_bar_config(disable=True)


def usual(model: clerestory.Model) -> dict[str, object]:
    """The model's defaults, as the pipeline calls them."""
    options = model.defaults
    return {
        "height": options.height,
        "width": options.width,
        "num_inference_steps": options.steps,
        "guidance_scale": options.guidance,
        "prior_num_inference_steps": options.prior_steps,
        "prior_guidance_scale": options.prior_guidance,
    }


def drawn(model: clerestory.Model, prompts: Sequence[str]) -> object:
    """The bare pipeline, as the model's defaults have it."""
    return model.pipeline(
        list(prompts),
        **usual(model),
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(prompts))],
    )


def encoded(model: clerestory.Model, prompts: Sequence[str]) -> object:
    """The bare text encoder."""
    tokenizer, encoder = model.pipeline.prior_tokenizer, model.pipeline.prior_text_encoder
    with torch.no_grad():
        return encoder(
            tokenizer(list(prompts), padding="max_length", return_tensors="pt").input_ids
        )
