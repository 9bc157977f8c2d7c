"""Indices of replicates to shares with intervals.

Paraphrases of one frame have their words in common, so the bootstrap draws frames, each with all
of its paraphrases.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clerestory.attribution.indices import Indices
from clerestory.attribution.pieces import Prompt
from clerestory.attribution.results import Share, Split
from clerestory.stats import bootstrap_means

__all__ = ["groups_of", "split_of"]

Matrix = NDArray[np.float64]
Groups = NDArray[np.int64]
MARGIN = 0.1
"""Of the largest share: less does not count as depending on how pieces are absent."""


def groups_of(carriers: Sequence[Prompt]) -> Groups:
    """By paraphrase the number of its frame; sentences of one's own have each its own."""
    frames = [one.frame or str(at) for at, one in enumerate(carriers)]
    return np.unique(frames, return_inverse=True)[1]


def split_of(
    names: Sequence[str],
    indices: Indices,
    ends: Matrix,
    other: Indices | None,
    means: Matrix | None,
    groups: Groups,
) -> Split:
    """`ends` are the values with no piece, with each alone, and with all, `[replicate, …]`.

    `other` are the indices with pieces absent another way; `groups` are drawn together.
    """
    alone = ends[:, 1:-1] - ends[:, :1]
    whole = ends[:, -1] - ends[:, 0]
    ones = [(name,) for name in names]
    twos = [(names[one], names[two]) for one, two in indices.pairs]
    least = MARGIN * max(float(np.abs(indices.shapley.mean(0)).max()), 1e-12)
    apart = None if other is None else other.shapley - indices.shapley
    more = None if other is None else other.interactions - indices.interactions
    every = tuple(names)
    shares = functools.partial(_shares, groups)
    return Split(
        shapley=shares(ones, indices.shapley, apart, least),
        interactions=shares(twos, indices.interactions, more, least),
        alone=shares(ones, alone),
        whole=shares([every], whole[:, None])[0],
        together=shares([every], (whole - alone.sum(1))[:, None])[0],
        completeness_error=indices.completeness_error,
        sampling_error=indices.sampling_error,
        means=means,
    )


def _shares(
    groups: Groups,
    of: Sequence[tuple[str, ...]],
    values: Matrix,
    apart: Matrix | None = None,
    least: float = 0.0,
) -> tuple[Share, ...]:
    """The means of values `[replicate, …]`; `apart` is how they differ with pieces left out."""
    if not of:
        return ()
    low, high = bootstrap_means(values, rng=np.random.default_rng(0), groups=groups)
    flags: list[bool | None] = [None] * len(of)
    if apart is not None:
        down, up = bootstrap_means(apart, rng=np.random.default_rng(0), groups=groups)
        clear = ((down > 0) | (up < 0)) & (np.abs(apart.mean(0)) > least)
        flags = [bool(flag) for flag in clear]
    return tuple(
        Share(names, float(mean), float(down), float(up), flag)
        for names, mean, down, up, flag in zip(of, values.mean(0), low, high, flags, strict=True)
    )
