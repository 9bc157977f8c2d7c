"""Reading every site of Lancet against the bare pipeline; a sweep at `prior/embedding`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

import clerestory
from clerestory import Add

PROMPTS = ["a stained glass of a cat", "a ship at night", "a sad woman in a library", "a rose"]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratios(one: Callable[[], object], two: Callable[[], object], rounds: int = 5) -> float:
    one(), two()
    return statistics.median(seconds(one) / seconds(two) for _ in range(rounds))


if __name__ == "__main__":
    model = clerestory.load("lancet")
    options = model.defaults
    pipeline = model.pipeline
    pipeline.prior_pipe.set_progress_bar_config(disable=True)
    pipeline.decoder_pipe.set_progress_bar_config(disable=True)

    def bare() -> object:
        return pipeline(
            PROMPTS,
            height=options.height,
            width=options.width,
            num_inference_steps=options.steps,
            guidance_scale=options.guidance,
            prior_num_inference_steps=options.prior_steps,
            prior_guidance_scale=options.prior_guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))],
        )

    def text() -> object:
        coded = pipeline.prior_tokenizer(PROMPTS * 16, padding="max_length", return_tensors="pt")
        with torch.no_grad():
            return pipeline.prior_text_encoder(coded.input_ids)

    read = ratios(lambda: model.run(PROMPTS, 0, read="*"), bare)
    print(f"reading every site, pooled: {read:.2f} × the bare pipeline (aim: 1.10)")
    prompts = ratios(
        text, lambda: model.run(PROMPTS * 16, 0, read="text.*", pictures=False, batch=64)
    )
    print(f"text sites: {prompts:.2f} of the bare text encoder's prompts a second (aim: 0.9)")
    width = model.sites["prior/embedding"].shape[1]
    direction = torch.ones(width) / width**0.5
    sets = [[Add("prior/embedding", direction, strength / 8)] for strength in range(16)]
    kept = pipeline.prior_pipe(PROMPTS, num_inference_steps=options.prior_steps)

    def decoded() -> None:
        for _ in sets:
            pipeline.decoder_pipe(
                kept.image_embeds,
                kept.negative_image_embeds,
                height=options.height,
                width=options.width,
                num_inference_steps=options.steps,
                guidance_scale=options.guidance,
            )

    sweep = ratios(lambda: model.sweep(PROMPTS, 0, sets), decoded, rounds=3)
    print(f"16 strengths at prior/embedding: {sweep:.2f} × denoiser and vae alone (aim: 1.05)")
