"""Start a stage from weights that were shipped, where its checkpoint is gone."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from clerestory.errors import TrainingError
from lancet.checkpoint import verified
from lancet.training.renders import HEADS
from lancet.world.table import World

__all__ = ["PLACES", "warm_start", "whole"]

PLACES = {
    "autoencoder": ("model/movq/diffusion_pytorch_model.safetensors", ""),
    "vision": ("training/vision.safetensors", ""),
    "text": ("model/prior_text_encoder/model.safetensors", "encoder."),
    "prior": ("model/prior_prior/diffusion_pytorch_model.safetensors", ""),
    "decoder": ("model/unet/diffusion_pytorch_model.safetensors", ""),
    "eye": ("model/prior_image_encoder/model.safetensors", ""),
    "classifier_a": ("classifiers/a.safetensors", ""),
    "classifier_b": ("classifiers/b.safetensors", ""),
}
"""Where a stage's weights lie in a shipped folder, and what the stage puts before their names."""
COUNTERS = ("num_batches_tracked", "position_ids")
"""Buffers that no weights file needs to have."""


def whole(shipped: Path) -> None:
    """Check that a shipped folder has the weights of every stage.

    Args:
        shipped: A Lancet folder.

    Raises:
        TrainingError: It lacks a stage's weights.
        ModelError: A file is missing or damaged.
    """
    folder = verified(shipped)
    for name, (place, _) in PLACES.items():
        if not (folder / place).exists():
            raise TrainingError(f"{shipped} has no weights for stage {name!r}: {place} is missing.")


def warm_start(name: str, model: nn.Module, shipped: Path, world: World | None = None) -> None:
    """Load the shipped weights of the stage `name` into its network.

    With `world`, the network is of that one, and heads take over the levels that the shipped
    model's world has too; levels that are new start as the network has them.
    TrainingError where the folder has none or they are of other sizes.

    Args:
        name: The stage's name.
        model: The stage's network; it is changed.
        shipped: A Lancet folder.
        world: The world that is taught now; None for that of the folder.

    Raises:
        TrainingError: The folder has no weights of the stage, or they are of other sizes.
    """
    place, prefix = PLACES[name]
    path = verified(shipped) / place
    if not path.exists():
        raise TrainingError(f"{shipped} has no weights for stage {name!r} ({place} is missing).")
    state: dict[str, Tensor] = {prefix + key: value for key, value in load_file(path).items()}
    if world is not None:
        state.update(_heads(state, model, World.load(shipped / "world.toml"), world))
    try:
        missing, unknown = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise TrainingError(f"{path} is of other sizes than these settings: {error}") from error
    if unknown:
        raise TrainingError(f"{path} holds weights that stage {name!r} does not have: {unknown[0]}")
    lacking = [key for key in missing if key.startswith(prefix) and not key.endswith(COUNTERS)]
    if lacking:
        raise TrainingError(f"{path} lacks weights that stage {name!r} has: {lacking[0]}")


def _heads(
    state: dict[str, Tensor], model: nn.Module, before: World, now: World
) -> dict[str, Tensor]:
    """The heads of `model`, its rows of the levels that both worlds have taken from `state`."""
    fresh, heads = model.state_dict(), {}
    for factor in HEADS:
        old, new = before.levels(factor), now.levels(factor)
        shared = [level for level in new if level in old]
        for name in (f"heads.{factor}.weight", f"heads.{factor}.bias"):
            if name in state and old != new:
                rows = fresh[name].clone()
                # By name and not by number: a new level in the table shifts all that follow it.
                rows[[new.index(level) for level in shared]] = state[name][
                    [old.index(level) for level in shared]
                ].to(rows.dtype)
                heads[name] = rows
    return heads
