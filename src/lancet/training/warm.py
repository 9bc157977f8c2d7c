"""Start a stage from shipped weights, where it has no checkpoint."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from clerestory.errors import TrainingError
from lancet.checkpoint import verified
from lancet.training.renders import HEADS
from lancet.world.table import World

__all__ = ["WEIGHT_FILES", "check_weights", "warm_start"]

WEIGHT_FILES = {
    "autoencoder": ("model/movq/diffusion_pytorch_model.safetensors", ""),
    "vision": ("training/vision.safetensors", ""),
    "text": ("model/prior_text_encoder/model.safetensors", "encoder."),
    "prior": ("model/prior_prior/diffusion_pytorch_model.safetensors", ""),
    "decoder": ("model/unet/diffusion_pytorch_model.safetensors", ""),
    "eye": ("model/prior_image_encoder/model.safetensors", ""),
    "classifier_a": ("classifiers/a.safetensors", ""),
    "classifier_b": ("classifiers/b.safetensors", ""),
}
"""The file of a stage's weights in a shipped folder, and the prefix of their names in the stage."""
COUNTERS = ("num_batches_tracked", "position_ids")
"""Endings of buffers that a weights file may lack."""


def check_weights(shipped: Path) -> None:
    """Check that a shipped folder has the weights of every stage.

    Args:
        shipped: A Lancet folder.

    Raises:
        TrainingError: It lacks a stage's weights.
        ModelError: A file is missing or damaged.
    """
    folder = verified(shipped)
    for name, (file, _) in WEIGHT_FILES.items():
        if not (folder / file).exists():
            raise TrainingError(f"{shipped} has no weights for stage {name!r}: {file} is missing.")


def warm_start(name: str, model: nn.Module, shipped: Path, world: World | None = None) -> None:
    """Load the shipped weights of the stage `name` into its network.

    With `world`, heads start from the shipped rows of the levels that both worlds have; the rows
    of new levels keep their random weights.

    Args:
        name: The stage's name.
        model: The stage's network; it is changed.
        shipped: A Lancet folder.
        world: The world of this training; None for that of the folder.

    Raises:
        TrainingError: The folder has no weights of the stage, or they are of other sizes.
    """
    file, prefix = WEIGHT_FILES[name]
    path = verified(shipped) / file
    if not path.exists():
        raise TrainingError(f"{shipped} has no weights for stage {name!r} ({file} is missing).")
    state: dict[str, Tensor] = {prefix + key: value for key, value in load_file(path).items()}
    if world is not None:
        # Heads of another world have rows in another order.
        state.update(_heads(state, model, World.load(shipped / "world.toml"), world))
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise TrainingError(f"{path} is of other sizes than these settings: {error}") from error
    if unexpected:
        raise TrainingError(
            f"{path} holds weights that stage {name!r} does not have: {unexpected[0]}"
        )
    missing_weights = [
        key for key in missing if key.startswith(prefix) and not key.endswith(COUNTERS)
    ]
    if missing_weights:
        raise TrainingError(f"{path} lacks weights that stage {name!r} has: {missing_weights[0]}")


def _heads(
    state: dict[str, Tensor], model: nn.Module, shipped_world: World, world: World
) -> dict[str, Tensor]:
    """The heads of `model`, with the rows of `state` for the levels that both worlds have."""
    fresh, heads = model.state_dict(), {}
    for factor in HEADS:
        old, new = shipped_world.levels(factor), world.levels(factor)
        shared = [level for level in new if level in old]
        for name in (f"heads.{factor}.weight", f"heads.{factor}.bias"):
            if name in state and old != new:
                rows = fresh[name].clone()
                # By name, not by index: a new level in the table shifts the indices after it.
                rows[[new.index(level) for level in shared]] = state[name][
                    [old.index(level) for level in shared]
                ].to(rows.dtype)
                heads[name] = rows
    return heads
