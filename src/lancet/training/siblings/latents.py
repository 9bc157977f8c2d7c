"""Scenes to latents on disk, in blocks; the pictures in between are not stored.

Scenes whose captions the evaluation asks for are left out, so that one set of prompts is new to all
Lancets.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Set
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import TrainingError
from lancet.training.blocks import BlockFolder, blocks
from lancet.training.loop import is_late
from lancet.training.renders import Progress
from lancet.training.siblings import autoencoder
from lancet.world import render, sampler
from lancet.world.scene import Scene
from lancet.world.table import World

__all__ = ["Latents", "build", "choose_scenes"]

BLOCK = 5_000


class Latents:
    """Latents of scenes, memory-mapped, with the scenes' captions.

    Args:
        folder: What `build` wrote.

    Raises:
        TrainingError: The latents are missing or not finished.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "done.json").exists():
            raise TrainingError(f"No finished latents in {folder}: run the stage 'latents' first.")
        self.values: NDArray[np.float16] = np.load(folder / "latents.npy", mmap_mode="r")
        self.captions: list[str] = list(pd.read_parquet(folder / "scenes.parquet")["caption"])

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(self.values[rows.numpy()]).float()


def choose_scenes(world: World, count: int, excluded: Set[str]) -> list[Scene]:
    """The first so many training scenes whose captions are not excluded.

    Args:
        world: The world.
        count: How many scenes.
        excluded: Captions.

    Returns:
        Scenes of the seeds from 0, in their order.
    """
    scenes = (sampler.sample(world, seed) for seed in itertools.count())
    return list(itertools.islice((s for s in scenes if s.caption not in excluded), count))


def build(
    model: AutoencoderKL,
    world: World,
    art: Path,
    folder: Path,
    *,
    count: int,
    excluded: Set[str],
    weights: Path,
    progress: Progress | None = None,
    deadline: float | None = None,
) -> bool:
    """Render scenes and encode them, going on where a killed run stopped.

    Args:
        model: The folded autoencoder.
        world: The world.
        art: The folder with the sprites.
        folder: The folder of the latents; created if missing.
        count: How many scenes.
        excluded: Captions of scenes that are left out.
        weights: The autoencoder's file, which the latents belong to.
        progress: A callback of (completed, total).
        deadline: When to stop, by `time.monotonic`; None for never.

    Returns:
        Whether all latents are there.

    Raises:
        TrainingError: The folder holds latents of other scenes or another autoencoder.
        ArtError: A sprite is missing.
    """
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    plan = {"world": world.fingerprint, "count": count, "autoencoder": digest}
    stored = BlockFolder(folder, plan, "other latents (world, number, autoencoder)")
    if stored.finished:
        return True
    scenes = choose_scenes(world, count, excluded)
    shape = (count, model.config.latent_channels, 16, 16)
    out = stored.array("latents", np.float16, shape)
    for block in blocks(stored.done * BLOCK, count, BLOCK):
        pictures = render.render(world, art, scenes[block], size=128)
        out[block] = autoencoder.encode(model, pictures).numpy()
        # Before the marker: a block that counts as done is on disk.
        out.flush()
        stored.save(block.start // BLOCK + 1)
        if progress is not None:
            progress(block.stop, count)
        if is_late(deadline) and block.stop < count:
            return False
    pd.DataFrame([asdict(scene) for scene in scenes]).to_parquet(folder / "scenes.parquet")
    stored.finish()
    return True
