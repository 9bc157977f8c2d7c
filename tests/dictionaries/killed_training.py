"""A training in a process of its own, which a test kills."""

from __future__ import annotations

from typing import Any

import torch

from clerestory.dictionaries import train, training

# Imported now, so that the processes that are forked from this one begin at once.
from clerestory.dictionaries.trainer import sae_lens_module

sae_lens_module("saes")
sae_lens_module("training.sae_trainer")


def train_and_exit(recording: str, out: str, how: dict[str, Any]) -> None:
    """Train with a checkpoint after every update."""
    torch.set_num_threads(1)
    training.INTERVAL = 0.0
    train(recording, out=out, progress=False, **how)
