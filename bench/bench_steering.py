"""Drawing with an edit, and with the edit baked into weights, against drawing without."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from beside import quiet, ratio

import clerestory
from clerestory import Add, SteeredModel
from clerestory.steering import bake

PROMPTS = ["a cat", "a moose at night", "a ship at sea", "a house in a meadow"]
SEEDS = (0, 1)


def main(model: clerestory.Model) -> None:
    quiet(model)
    direction = np.random.default_rng(0).normal(size=model.sites["prior/embedding"].shape[1] or 1)
    steered = SteeredModel(model, [Add("prior/embedding", direction)])

    def base() -> None:
        model.run(PROMPTS, SEEDS)

    with tempfile.TemporaryDirectory() as folder:
        result = bake(steered, Path(folder) / "baked", measure=False)
        assert result.folder is not None
        baked = clerestory.load(str(result.folder))
        quiet(baked)
        baked.defaults = model.defaults
        hooked = ratio(lambda: steered.run(PROMPTS, SEEDS), base, rounds=5)
        folded = ratio(lambda: baked.run(PROMPTS, SEEDS), base, rounds=5)
    print(f"with an edit: {hooked:.3f} of the time without (aim: 1.05)")
    print(f"baked: {folded:.3f} of the time without (aim: 1.00, within what timing can tell)")


if __name__ == "__main__":
    main(clerestory.load("lancet"))
