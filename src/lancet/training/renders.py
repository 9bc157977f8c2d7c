"""The training pictures on disk: `pictures.npy`, `scenes.parquet` and the state of rendering.

Rendering is resumable: pictures are drawn in blocks, and a block counts once `state.json` has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import TrainingError
from lancet.training.blocks import BlockFolder, blocks
from lancet.world import render, sampler
from lancet.world.scene import FACTORS, Scene
from lancet.world.table import World

__all__ = ["HEADS", "Renders", "build"]

BLOCK = 15_000
"""Pictures of a block."""
DRAWING_VERSION = 1
"""Raised with every change of `lancet.world` that gives a seed another caption or picture: renders
of another version are not continued."""
HEADS = tuple(factor for factor in FACTORS if factor != "second")
"""The factors that have a classifier head; a pair's second object is a soft label of `subject`."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Renders:
    """A folder of rendered scenes, opened.

    `pictures` is `[n, size, size, 3]` uint8 (memory-mapped), `scenes` has one row per picture.
    `codes` holds the class index of each head's factor, `[n, head]`; `second` that of the second
    object.
    """

    folder: Path
    pictures: NDArray[np.uint8]
    scenes: pd.DataFrame
    classes: dict[str, tuple[str, ...]]
    codes: Tensor
    second: Tensor

    def __len__(self) -> int:
        return len(self.scenes)

    def batch(self, rows: Tensor) -> Tensor:
        """Pictures `[n, 3, size, size]` in −1 … 1.

        Args:
            rows: Indices of pictures, `[n]`.

        Returns:
            Float32.
        """
        # Indexing copies from the memory map, which is read-only.
        raw = torch.from_numpy(self.pictures[rows.numpy()])
        return raw.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)

    @property
    def captions(self) -> list[str]:
        """The captions, one per picture."""
        return list(self.scenes["caption"])

    @classmethod
    def open(cls, folder: Path, world: World) -> Renders:
        """Open a folder that `build` has finished.

        Args:
            folder: The folder of one set.
            world: The world that it was rendered from.

        Returns:
            The renders.

        Raises:
            TrainingError: The renders are missing, not finished, or of another world.
        """
        marker = folder / "done.json"
        if not marker.exists():
            raise TrainingError(f"No finished renders in {folder}: run the stage 'renders' first.")
        plan = json.loads(marker.read_text())
        if plan["world"] != world.fingerprint:
            raise TrainingError(f"{folder} was rendered from another world's table: remove it.")
        scenes = pd.read_parquet(folder / "scenes.parquet")
        classes = {factor: tuple(world.levels(factor)) for factor in HEADS}
        codes = [_codes(scenes[factor], classes[factor]) for factor in HEADS]
        second = _codes(scenes["second"], classes["subject"])
        pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        return cls(folder, pictures, scenes, classes, torch.stack(codes, 1), second)


def build(
    world: World,
    art: Path,
    folder: Path,
    seeds: range,
    *,
    size: int = 64,
    processes: int = 2,
    progress: Progress | None = None,
) -> None:
    """Render the scenes of `seeds` into `folder`; an interrupted run is resumed.

    Args:
        world: The world.
        art: The folder with the sprites.
        folder: The folder; created if missing.
        seeds: Seeds of the scenes.
        size: Side of a picture in pixels, 64 or 128.
        processes: Number of processes that draw.
        progress: A callback of (completed, total); None for silence.

    Raises:
        TrainingError: The folder holds renders of another world, version or seeds.
        ArtError: A sprite is missing.
    """
    plan = {
        "world": world.fingerprint,
        "drawing": DRAWING_VERSION,
        "first": seeds.start,
        "count": len(seeds),
    }
    if size != 64:  # states written before there were two sizes have none
        plan["size"] = size
    stored = BlockFolder(folder, plan, "other renders (world, version or seeds)")
    if stored.finished:
        return
    scenes = [sampler.sample(world, seed) for seed in seeds]
    out = stored.array("pictures", np.uint8, (len(seeds), size, size, 3))
    for block in blocks(stored.done * BLOCK, len(seeds), BLOCK):
        render.render_into(world, art, scenes[block], out[block], processes=processes)
        # Before the state, so that a block that counts is on disk.
        out.flush()
        stored.save(block.start // BLOCK + 1)
        if progress is not None:
            progress(block.stop, len(seeds))
    _scene_table(scenes).to_parquet(folder / "scenes.parquet")
    stored.finish()


def _scene_table(scenes: list[Scene]) -> pd.DataFrame:
    rows = [{**asdict(scene), "window": scene.window} for scene in scenes]
    return pd.DataFrame(rows)


def _codes(column: pd.Series[str], classes: tuple[str, ...]) -> Tensor:
    codes = pd.Categorical(column, categories=list(classes)).codes
    return torch.from_numpy(np.asarray(codes, dtype=np.int64))
