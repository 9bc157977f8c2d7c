"""Latents of a dictionary from the recorded values of its site, a few samples at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clerestory.models.core.latents import MAX_VALUES, AttachedDictionary
from clerestory.recordings.layout import Layout
from clerestory.types import Floats, Integers

if TYPE_CHECKING:
    from clerestory.recordings.recording import Recording

__all__ = ["encode_parts", "latent_layout", "mean_latents"]


def latent_layout(layout: Layout, latents: int) -> Layout:
    """The layout that recorded latents would have.

    Args:
        layout: The layout of the base site.
        latents: Number of latents.

    Returns:
        The same steps and positions, with the latents as units.
    """
    return replace(
        layout, dtype="float32", shape=(*layout.shape[:-1], latents), units=None, heads=None
    )


def encode_parts(
    attached: AttachedDictionary, values: Floats, units: Sequence[int] | None = None
) -> Iterator[NDArray[np.float32]]:
    """Encode values, a few samples at a time.

    Args:
        attached: The dictionary.
        values: `[sample, ..., unit]`; positions beyond the end of a prompt are NaN.
        units: Indices of latents; None for all.

    Yields:
        `[sample, ..., latent]`, NaN at the same positions, in the order of the samples.
    """
    import torch

    count = attached.dictionary.latents if units is None else len(units)
    size = max(1, MAX_VALUES // (int(np.prod(values.shape[1:-1])) * count))
    for start in range(0, len(values), size):
        part = np.ascontiguousarray(values[start : start + size], np.float32)
        absent = np.isnan(part[..., 0])
        # NaN would be the largest of a position for `topk`.
        encoded = attached.encode(torch.from_numpy(np.nan_to_num(part)), units).numpy()
        encoded[absent] = np.nan
        yield encoded


def mean_latents(
    recording: Recording, attached: AttachedDictionary, rows: Integers, steps: Sequence[int]
) -> NDArray[np.float32]:
    """Latents of some samples, encoded position by position and averaged.

    Args:
        recording: The recording.
        attached: The dictionary, of a recorded site.
        rows: Positions in `recording.rows`, in any order.
        steps: Indices along the recording's axis of steps; the mean over them is returned.

    Returns:
        float32 `[sample, latent]`, in the order of `rows`.
    """
    means = np.empty((len(rows), attached.dictionary.latents), np.float32)
    start = 0
    for values in recording.chunks(attached.base):
        here = np.flatnonzero((rows >= start) & (rows < start + len(values)))
        chosen, first = values[rows[here] - start][:, list(steps)], 0
        for part in encode_parts(attached, chosen):
            # Positions beyond the end of a prompt are NaN.
            by_step = np.nanmean(part, axis=2) if part.ndim == 4 else part
            means[here[first : first + len(part)]] = by_step.mean(1)
            first += len(part)
        start += len(values)
    return means
