"""Absorption: the latents of a concept stay silent, and a more specific latent carries it instead.

    result = absorption(dictionary, values, latents, direction, main=[311], without=means)
    result.full, result.fraction

A dictionary is trained to be sparse, so where "a horse" implies "an animal", the latent of horses
may hold the direction of animals too, and the latent of animals is then not active with horses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from clerestory.dictionaries.dictionary import Dictionary
from clerestory.errors import DictionaryError

__all__ = ["Absorption", "absorption"]

FULL_COSINE, PARTIAL_COSINE = 0.025, 0.1
"""Cosine with the concept's direction from which a latent may absorb it, by measure."""
SHARE = 0.4
"""Share of the concept's projection that absorbing latents have to carry."""
MOST = 3
"""Latents that may absorb a part of the concept together."""


@dataclass(frozen=True)
class Absorption:
    """How often, and how much, a concept is carried by other latents than its own.

    Attributes:
        samples: Samples in which the direction says that the concept is there.
        full: Share of them in which no main latent is active and one other latent carries at least
            0.4 of the concept's projection; NaN without samples.
        fraction: Mean share of the projection that other latents carry instead of the main ones,
            up to three of them; 0 in samples in which they carry less than 0.4 of it; NaN without
            samples.
    """

    samples: int
    full: float
    fraction: float


def absorption(
    dictionary: Dictionary,
    values: Float[np.ndarray, "sample unit"],
    latents: Float[np.ndarray, "sample latent"],
    direction: Float[np.ndarray, " unit"],
    main: Sequence[int],
    without: tuple[Float[np.ndarray, " unit"], Float[np.ndarray, " latent"]],
) -> Absorption:
    """Measure absorption in samples with a concept.

    Projections are those of differences from the mean without the concept, so that what all samples
    have in common is carried by no latent. Values and latents may be means over positions: a
    projection of the mean is the mean of the projections.

    Args:
        dictionary: An autoencoder.
        values: Values of its site in samples with the concept.
        latents: Their latents.
        direction: The concept's direction at the site, such as a probe's, of any length but 0.
        main: The latents that stand for the concept.
        without: Mean values and mean latents of samples without the concept.

    Returns:
        The shares, over the samples whose projection is at least half as far from those without the
        concept as the mean is.

    Raises:
        DictionaryError: `main` is empty or has a number that no latent has, the direction is zero,
            the dictionary is a transcoder, or arrays have other shapes or are not finite.

    Source: Chanin et al. 2024, "A is for absorption", for `full`; SAEBench (Karvonen et al. 2025)
    for `fraction`; thresholds as there, projections as differences.
    """
    _check(dictionary, values, latents, direction, without)
    length = float(np.linalg.norm(direction))
    if min(main, default=0) < 0 or max(main, default=0) >= dictionary.latents:
        raise DictionaryError(f"Main latents are from 0 to {dictionary.latents - 1}.")
    if not len(main) or length == 0:
        raise DictionaryError("Absorption needs a main latent, and a direction that is not zero.")
    toward = np.asarray(direction, np.float64) / length
    projections = (values.astype(np.float64) - without[0]) @ toward
    present = projections > projections.mean() / 2
    # A concept that moves nothing along its direction is nowhere present.
    if projections.mean() <= 0 or not present.any():
        return Absorption(0, float("nan"), float("nan"))
    rows = dictionary.directions.double().cpu().numpy()
    along = rows @ toward
    lengths = np.linalg.norm(rows, axis=1)
    cosines = np.divide(along, lengths, out=np.zeros_like(along), where=lengths > 0)
    # What each latent adds to the projection, as a share of it.
    carried = (latents[present].astype(np.float64) - without[1]) * along
    carried /= projections[present, None]
    others = np.ones(dictionary.latents, dtype=bool)
    others[list(main)] = False
    silent = (latents[present][:, list(main)] <= 0).all(1)
    single = np.where(others & (cosines >= FULL_COSINE), carried, 0.0).max(1)
    return Absorption(
        samples=int(present.sum()),
        full=float((silent & (single >= SHARE)).mean()),
        fraction=float(_fractions(carried, others & (cosines >= PARTIAL_COSINE), main).mean()),
    )


def _fractions(
    carried: Float[np.ndarray, "sample latent"],
    absorbing: np.ndarray,
    main: Sequence[int],
) -> Float[np.ndarray, " sample"]:
    """Share of each sample's projection that other latents carry instead of the main ones."""
    own = carried[:, list(main)].sum(1)
    candidates = np.where(absorbing, np.maximum(carried, 0.0), 0.0)
    # The largest three, unsorted.
    others = np.sort(candidates, axis=1)[:, -MOST:].sum(1)
    # At most what the main latents leave over.
    instead = np.minimum(others, 1.0 - own)
    share = np.divide(instead, instead + own, out=np.ones_like(own), where=own > 0)
    return np.where((own >= 1.0) | (others < SHARE), 0.0, np.clip(share, 0.0, 1.0))


def _check(
    dictionary: Dictionary,
    values: np.ndarray,
    latents: np.ndarray,
    direction: np.ndarray,
    without: tuple[np.ndarray, np.ndarray],
) -> None:
    if dictionary.output_site is not None:
        raise DictionaryError(
            "The dictionary is a transcoder: its latents are decoded at another site than that of "
            "the values."
        )
    samples, sizes = len(values), (dictionary.width, dictionary.latents)
    expected: dict[str, tuple[int, ...]] = {
        "values": (samples, sizes[0]),
        "latents": (samples, sizes[1]),
        "direction": sizes[:1],
        "mean values": sizes[:1],
        "mean latents": sizes[1:],
    }
    arrays = (values, latents, direction, *without)
    for (name, shape), array in zip(expected.items(), arrays, strict=True):
        if np.shape(array) != shape or not np.isfinite(array).all():
            raise DictionaryError(
                f"{name} have the shape {list(np.shape(array))} or are not finite; with this "
                f"dictionary and {samples} samples it must be {list(shape)}."
            )
