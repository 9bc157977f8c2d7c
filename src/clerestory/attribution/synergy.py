"""Neurons that all pieces of a prompt activate more than the sum of the single pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clerestory.models import Model
from clerestory.stats import benjamini_hochberg, count_flips_with_findings, signed_rank
from clerestory.types import Floats

__all__ = ["SynergyTest", "UnitSynergy", "find_synergy"]

LISTED = 12
ALPHA = 0.05


@dataclass(frozen=True)
class UnitSynergy:
    """One neuron, on the half of the paraphrases that did not select it.

    Attributes:
        unit: Its address.
        total: What all pieces add to its activation, in standard deviations over the prompts.
        synergy: How much of that no piece adds by itself.
        q: The Benjamini–Hochberg q over all neurons that were tested.
    """

    unit: str
    total: float
    synergy: float
    q: float


@dataclass(frozen=True)
class SynergyTest:
    """Count neurons that the pieces activate jointly, more than the sum of single pieces.

    Paraphrases are treated as independent, including those of one template, so q is too small.

    Attributes:
        tested: How many neurons were tested.
        significant: How many have a positive synergy at q < .05 and a positive total.
        flips: How many of 200 data sets with randomly flipped signs have any.
        replicates: Paraphrases of the evaluation half.
        units: The neurons that rank first on the selection half.
    """

    tested: int
    significant: int
    flips: int
    replicates: int
    units: tuple[UnitSynergy, ...]


def find_synergy(model: Model, sites: Sequence[str], activations: Floats) -> SynergyTest:
    """Rank neurons by synergy on every other paraphrase, and test them on the rest.

    Args:
        model: The model that has the sites.
        sites: Where the activations were read.
        activations: `[replicate, coalition, unit]` for no piece, each piece by itself, and all
            pieces; the units of the sites one site after the other.

    Returns:
        The counts, and the neurons that rank first on the selection half.
    """
    values = activations.astype(np.float64)
    total = values[:, -1] - values[:, 0]
    synergy = total - (values[:, 1:-1] - values[:, :1]).sum(1)
    spread = values.reshape(-1, values.shape[-1]).std(0)
    # A constant unit has a spread of rounding errors: it ranks last, and its figures are 0.
    scale = np.where(spread > 1e-9 * np.abs(values).max(), spread, np.inf)
    # Neurons are ranked and tested on different paraphrases, so that selection does not inflate
    # them.
    selection, evaluation = slice(0, None, 2), slice(1, None, 2)
    ranking = np.where(total[selection].mean(0) > 0, synergy[selection].mean(0) / scale, -np.inf)
    q = benjamini_hochberg(signed_rank(synergy[evaluation]))
    positive = (synergy[evaluation].mean(0) > 0) & (total[evaluation].mean(0) > 0)
    names = [f"{site}[{unit}]" for site in sites for unit in range(model.sites[site].shape[1] or 0)]
    assert len(names) == values.shape[-1]
    return SynergyTest(
        tested=len(q),
        significant=int((positive & (q < ALPHA)).sum()),
        flips=count_flips_with_findings(synergy[evaluation], np.random.default_rng(0)),
        replicates=len(synergy[evaluation]),
        units=tuple(
            UnitSynergy(
                names[unit],
                float(total[evaluation][:, unit].mean() / scale[unit]),
                float(synergy[evaluation][:, unit].mean() / scale[unit]),
                float(q[unit]),
            )
            for unit in np.argsort(-ranking, kind="stable")[:LISTED].tolist()
        ),
    )
