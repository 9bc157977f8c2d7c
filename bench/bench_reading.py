"""Reading every site of Lancet against the bare pipeline; a sweep at `prior/embedding`."""

from __future__ import annotations

import torch
from beside import drawn, encoded, quiet, ratio

import clerestory
from clerestory import Add

PROMPTS = ["a stained glass of a cat", "a ship at night", "a sad woman in a library", "a rose"]

if __name__ == "__main__":
    model = clerestory.load("lancet")
    options, pipeline = model.defaults, model.pipeline
    quiet(model)
    read = ratio(lambda: model.run(PROMPTS, 0, read="*"), lambda: drawn(model, PROMPTS), rounds=5)
    print(f"reading every site, pooled: {read:.2f} × the bare pipeline (aim: 1.10)")
    prompts = ratio(
        lambda: encoded(model, PROMPTS * 16),
        lambda: model.run(PROMPTS * 16, 0, read="text.*", pictures=False, batch=64),
        rounds=5,
    )
    print(f"text sites: {prompts:.2f} of the bare text encoder's prompts a second (aim: 0.9)")
    width = model.sites["prior/embedding"].shape[1] or 1
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

    sweep = ratio(lambda: model.sweep(PROMPTS, 0, sets), decoded, rounds=3)
    print(f"16 strengths at prior/embedding: {sweep:.2f} × denoiser and vae alone (aim: 1.05)")
