"""How well a dictionary reconstructs, and how many of its latents it takes for that."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.sources import Rows

__all__ = ["explained_variance", "measure"]

BATCH = 4096
"""Rows that are encoded together."""


@torch.no_grad()
def measure(dictionary: Dictionary, rows: Rows) -> dict[str, Any]:
    """The figures of a dictionary on activations that it was not trained on.

    Args:
        dictionary: The dictionary.
        rows: Activations of its site.

    Returns:
        `explained_variance`: 1 less the squared error over the squared distance from the mean.
        `l0`: latents above 0 per position. `dead`: share of latents that are never above 0.
        `rows`: number of rows. `by_step`: the first three for each denoising step, where there are
        several.
    """
    values = torch.from_numpy(np.ascontiguousarray(rows.values))
    steps, of_step = np.unique(rows.steps, return_inverse=True)
    active = torch.zeros(len(steps), dictionary.latents, dtype=torch.bool)
    errors, counts = [], []
    device = dictionary.encoder.device
    for part, numbers in zip(
        values.split(BATCH), torch.from_numpy(of_step).split(BATCH), strict=True
    ):
        latents = dictionary.encode(part.to(device))
        # In float64, as sums of squares lose digits in float32.
        error = (dictionary.decode(latents).cpu().double() - part.double()).square().sum(1)
        errors.append(error)
        above = (latents > 0).cpu()
        counts.append(above.sum(1))
        for number in numbers.unique():
            active[number] |= above[numbers == number].any(0)
    error, l0 = torch.cat(errors), torch.cat(counts).double()
    figures: dict[str, Any] = {
        "explained_variance": explained_variance(values, error),
        "l0": float(l0.mean()),
        "dead": float((~active.any(0)).float().mean()),
        "rows": len(rows),
    }
    if len(steps) > 1:
        figures["by_step"] = [
            {
                "step": int(step),
                "timestep": _number(rows.timesteps[index][0]),
                "explained_variance": explained_variance(values[index], error[index]),
                "l0": float(l0[index].mean()),
                "dead": float((~active[number]).float().mean()),
            }
            for number, step in enumerate(steps)
            for index in [np.flatnonzero(rows.steps == step)]
        ]
    return figures


def explained_variance(values: Tensor, errors: Tensor) -> float:
    """The share of the variance of all units together that is reconstructed.

    Args:
        values: `[row, unit]`.
        errors: Squared error of each row, `[row]`.

    Returns:
        1 where nothing is left over; 0 where the mean would do as well, and where values are all
        alike.
    """
    exact = values.double()
    total = (exact - exact.mean(0)).square().sum()
    return float(1 - errors.sum() / total) if total > 0 else 0.0


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
