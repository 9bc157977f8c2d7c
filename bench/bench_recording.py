"""Recording to disk against the bare pipeline and the bare text encoder, on Lancet."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import clerestory

SUBJECTS = ["a cat", "a ship", "a rose", "a sad woman", "an owl", "a castle", "a train", "a moose"]
PLACES = ["at night", "in a library", "at sea", "in a meadow"]
PROMPTS = [f"{subject} {place}" for subject in SUBJECTS for place in PLACES]
BATCH = 16


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(one: Callable[[], object], two: Callable[[], object], rounds: int) -> float:
    one(), two()
    return statistics.median(seconds(one) / seconds(two) for _ in range(rounds))


def drawn(model: clerestory.Model, prompts: list[str]) -> None:
    pipeline, options = model.pipeline, model.defaults
    for start in range(0, len(prompts), BATCH):
        part = prompts[start : start + BATCH]
        pipeline(
            part,
            height=options.height,
            width=options.width,
            num_inference_steps=options.steps,
            guidance_scale=options.guidance,
            prior_num_inference_steps=options.prior_steps,
            prior_guidance_scale=options.prior_guidance,
            generator=[torch.Generator().manual_seed(0) for _ in part],
        )


def encoded(model: clerestory.Model, prompts: list[str]) -> None:
    tokenizer, encoder = model.pipeline.prior_tokenizer, model.pipeline.prior_text_encoder
    for start in range(0, len(prompts), 64):
        part = prompts[start : start + 64]
        with torch.no_grad():
            encoder(tokenizer(part, padding="max_length", return_tensors="pt").input_ids)


def main(model: clerestory.Model, folder: Path) -> None:
    pipeline = model.pipeline
    pipeline.prior_pipe.set_progress_bar_config(disable=True)
    pipeline.decoder_pipe.set_progress_bar_config(disable=True)

    def record(prompts: list[str], **how: object) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        model.record(prompts, 0, out=folder, **how)

    # A new recording runs a dry batch first, which is nothing in a long one: drawn for both.
    every = ratio(
        lambda: record(PROMPTS * 4, read="*", batch=BATCH),
        lambda: drawn(model, PROMPTS * 4 + PROMPTS[:BATCH]),
        rounds=3,
    )
    print(f"recording every site and pictures: {every:.2f} × the bare pipeline (aim: 1.10)")
    texts = [f"{prompt} {number}" for number in range(64) for prompt in PROMPTS]
    text = ratio(
        lambda: encoded(model, texts + texts[:64]),
        lambda: record(texts, read="text.*", batch=64, pictures=False),
        rounds=3,
    )
    print(f"text sites to disk: {text:.2f} of the bare encoder's prompts a second (aim: 0.9)")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(clerestory.load("lancet"), Path(place) / "rec")
