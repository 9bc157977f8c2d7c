"""Quality against steps: the main prompts of the evaluation, drawn with more and more steps."""

from __future__ import annotations

import time

import numpy as np

import clerestory
from lancet.classifiers import LancetClassifiers
from lancet.evaluation.rates import evaluation_prompts, rates_by_factor

STEPS = (4, 6, 8, 12, 16, 24)
SHARE = 3
"""Every third prompt is drawn."""

if __name__ == "__main__":
    model, classifiers = clerestory.load("lancet"), LancetClassifiers.load("selection")
    prompts = [prompt for prompt in evaluation_prompts() if prompt.part == "main"][::SHARE]
    print(f"{len(prompts)} prompts, as the selection classifiers predict:")
    for steps in STEPS:
        start = time.perf_counter()
        drawn = [
            model.run([ask.prompt for ask in prompts[at : at + 16]], 0, steps=steps).pictures
            for at in range(0, len(prompts), 16)
        ]
        seconds = (time.perf_counter() - start) / len(prompts)
        rates = rates_by_factor(
            prompts, classifiers, np.concatenate([part for part in drawn if part is not None])
        )
        shown = ", ".join(
            f"{name} {rate.rate:.2f}"
            for name in ("style", "subject", "place", "mood")
            if (rate := rates[name]) is not None
        )
        print(f"{steps:3} steps: {shown}; {seconds:.2f} s a picture")
