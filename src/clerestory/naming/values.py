"""Values of units as names are scored by: one for each sample, of a recording or of new prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clerestory.models.core.addresses import SiteSelection
from clerestory.models.core.sweeps import run_sweep
from clerestory.types import Floats, Progress

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.models.core.types import Branch, Pool
    from clerestory.recordings import Recording

__all__ = ["mean_value", "prompt_values", "recorded_units", "sample_values"]

CHUNK = 256
"""Prompts whose activations are in memory at a time."""


def mean_value(activations: Floats) -> Floats:
    """The value of units: the mean over steps, and over positions where they were kept.

    Args:
        activations: `[sample, step, unit]` or `[sample, step, position, unit]`; positions beyond
            the end of a prompt are NaN.

    Returns:
        `[sample, unit]`.
    """
    means = activations.mean(1)
    return np.asarray(np.nanmean(means, 1) if means.ndim > 2 else means)


def sample_values(recording: Recording, address: str) -> NDArray[np.float32]:
    """Values of a recorded site, read a chunk at a time.

    Args:
        recording: The recording.
        address: The site's address.

    Returns:
        `[sample, unit]`, in the order of `Recording.rows`.
    """
    return np.concatenate([mean_value(part) for part in recording.chunks(address)])


def recorded_units(recording: Recording, address: str) -> list[int]:
    """The number of the unit in each column of a recorded site.

    Args:
        recording: The recording.
        address: The site's address.

    Returns:
        Numbers; from 0 where all units were recorded.
    """
    layout = recording.layout(address)
    return list(layout.labels.get("unit", range(layout.shape[-1])))


def prompt_values(
    recording: Recording,
    model: Model,
    prompts: Sequence[str],
    seeds: Sequence[int],
    read: Mapping[str, SiteSelection],
    *,
    pool: Pool | None = None,
    branch: Branch | None = None,
    progress: Progress,
    label: str,
) -> dict[str, NDArray[np.float32]]:
    """Values of new prompts, drawn and read as those of the recording were.

    Args:
        recording: The recording, whose options, pooling and branch are used.
        model: The recorded model.
        prompts: The prompts.
        seeds: The seed of each.
        read: The sites, with the units and steps of each.
        pool: Another pooling of positions.
        branch: Another branch of guidance.
        progress: A callback of (label, completed, total).
        label: Its label.

    Returns:
        By site `[prompt, unit]`.
    """
    import pandas as pd

    plan = recording.store.plan
    limit = model.family.batch_limit(list(read), plan.options) or 16
    parts: dict[str, list[Floats]] = {site: [] for site in read}
    for start in range(0, len(prompts), CHUNK):
        table = pd.DataFrame(
            {"prompt": prompts[start : start + CHUNK], "seed": seeds[start : start + CHUNK]}
        )
        again = replace(
            plan,
            table=table,
            read=read,
            pool=pool or plan.pool,
            branch=branch or plan.branch,
            pictures=False,
        )
        # The plan's own batches are rows of its table; here they are as large as the model allows.
        request = replace(again.request(range(len(table))), batch=min(16, limit))
        run = run_sweep(model, request)[0]
        # Reduced at once: maps of all positions would not fit into memory.
        for site, values in run.site_values.items():
            parts[site].append(mean_value(values.array()))
        progress(label, start + len(table), len(prompts))
    return {site: np.concatenate(values).astype(np.float32) for site, values in parts.items()}
