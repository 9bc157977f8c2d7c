"""A sweep on two workers against one, with the same threads each: the ratio of seconds.

python bench/bench_pool.py [MODEL] [--samples 64]

Needs as many free cores as workers; figures from a machine with other work mean nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch

import clerestory
from clerestory.types import Pictures

WORKERS = (1, 2)


def main() -> None:
    """Print seconds by number of workers, and their ratio, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="lancet")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds, drawn = {}, []
    for workers in WORKERS:
        with clerestory.load(arguments.model, device="cpu", workers=workers) as model:
            draw(model, 2 * workers * arguments.batch, arguments.batch)  # workers start and open it
            start = time.perf_counter()
            drawn.append(draw(model, arguments.samples, arguments.batch))
            seconds[workers] = time.perf_counter() - start
    first, second = drawn
    assert np.array_equal(first, second)
    ratio = seconds[1] / seconds[2]
    print(json.dumps({"seconds": seconds, "ratio": ratio}))


def draw(model: Any, samples: int, batch: int) -> Pictures:
    """The pictures of a sweep."""
    (run,) = model.sweep("a cat", range(samples), [[]], batch=batch, progress=False)
    pictures: Pictures = run.pictures
    return pictures


if __name__ == "__main__":
    main()
