"""Pictures of Lancet's world a second, with one process and with two; needs `make art`."""

from __future__ import annotations

import time
from pathlib import Path

from lancet.world.render import render
from lancet.world.sampler import sample
from lancet.world.table import World

ART = Path("build/art")
COUNT = 6_000

if __name__ == "__main__":
    if not ART.exists():
        print("no art: run `make art` first")
    else:
        world = World.load()
        scenes = [sample(world, seed) for seed in range(COUNT)]
        for processes in (1, 2):
            start = time.perf_counter()
            render(world, ART, scenes, processes=processes)
            rate = COUNT / (time.perf_counter() - start)
            print(f"{processes} processes: {rate:.0f} pictures a second (aim with two: 250)")
