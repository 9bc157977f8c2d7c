"""Prompts scored per second by a search, against the bare text encoder on the same prompts."""

from __future__ import annotations

import numpy as np
from beside import encoded, quiet, ratio

import clerestory
from clerestory.evaluation import unit
from clerestory.maximization import prompt_space
from clerestory.maximization.base import Problem
from clerestory.maximization.scoring import Scorer

COUNT, BATCH = 2048, 64


def main(model: clerestory.Model) -> None:
    quiet(model)
    space, rng = prompt_space(model, words=3), np.random.default_rng(0)
    states = list(dict.fromkeys(space.random(rng) for _ in range(COUNT)))
    texts = [space.text(state) for state in states]

    def searched() -> None:
        scorer = Scorer(model, unit("text.blocks.2/mlp[311]"), batch=BATCH)
        problem = Problem(space, COUNT, rng, scorer)
        for start in range(0, len(states), BATCH):
            problem.scores(states[start : start + BATCH])

    def bare() -> None:
        for start in range(0, len(texts), BATCH):
            encoded(model, texts[start : start + BATCH])

    print(f"prompts scored: {ratio(bare, searched, rounds=5):.2f} of the bare text encoder's")
    print("a second, at the same batch (aim: 0.9)")


if __name__ == "__main__":
    main(clerestory.load("lancet"))
