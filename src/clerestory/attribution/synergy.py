"""Neurons that all pieces of a prompt activate more than the sum of the single pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from clerestory.models import Model
from clerestory.stats import benjamini_hochberg
from clerestory.types import Floats

__all__ = ["SynergyTest", "UnitSynergy", "find_synergy"]

MAX_PICKS, LISTED = 50, 12
ALPHA = 0.05
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Share of a unit's largest activation up to which a synergy is a rounding error."""


@dataclass(frozen=True)
class UnitSynergy:
    """One neuron, on the half of the templates that did not select it.

    Attributes:
        unit: Its address.
        total: What all pieces add to its activation, in standard deviations over the prompts.
        synergy: How much of that no piece adds by itself.
        q: The Benjamini–Hochberg q over the neurons that were tested.
    """

    unit: str
    total: float
    synergy: float
    q: float


@dataclass(frozen=True)
class SynergyTest:
    """Count neurons that the pieces activate jointly, more than the sum of single pieces.

    Attributes:
        candidates: How many neurons were ranked on the selection half.
        tested: How many of them, those that rank first, were tested on the evaluation half.
        significant: How many of these have a positive synergy and a positive total at q ≤ .05.
        replicates: Templates of the evaluation half.
        units: The neurons that rank first on the selection half, in that order.
    """

    candidates: int
    tested: int
    significant: int
    replicates: int
    units: tuple[UnitSynergy, ...]


def find_synergy(model: Model, sites: Sequence[str], activations: Floats) -> SynergyTest:
    """Rank neurons by synergy on every other template, and test the first of them on the rest.

    Both the synergy and the total must be positive in other templates, by Student's t: p is the
    larger one.

    Args:
        model: The model that has the sites.
        sites: Where the activations were read.
        activations: `[template, coalition, unit]` for no piece, each piece by itself, and all
            pieces; the units of the sites one site after the other.

    Returns:
        The counts, and the neurons that rank first on the selection half.
    """
    values = activations.astype(np.float64)
    total = values[:, -1] - values[:, 0]
    # All pieces together beyond the sum of each alone, relative to none.
    synergy = total - (values[:, 1:-1] - values[:, :1]).sum(1)
    # Differences of float32 activations that are the same in every template by rounding alone.
    rounding = ROUNDING * np.nanmax(np.abs(values), axis=(0, 1), initial=0)
    synergy = np.where(np.abs(synergy) > rounding, synergy, 0)
    spread = values.reshape(-1, values.shape[-1]).std(0)
    # A constant unit has a spread of rounding errors: it ranks last, and its figures are 0.
    scale = np.where(spread > 1e-9 * np.nanmax(np.abs(values), initial=0), spread, np.inf)
    # Neurons are ranked and tested on different templates, so that selection does not inflate
    # them.
    selection, evaluation = slice(0, None, 2), slice(1, None, 2)
    # A neuron that the pieces inhibit less together is no joint activation.
    ranking = np.where(total[selection].mean(0) > 0, synergy[selection].mean(0) / scale, -np.inf)
    order = np.argsort(-np.nan_to_num(ranking, nan=-np.inf), kind="stable")
    picks = order[ranking[order] > 0][:MAX_PICKS]
    names = [f"{site}[{unit}]" for site in sites for unit in range(model.sites[site].shape[1] or 0)]
    assert len(names) == values.shape[-1]
    # Both have to hold: the larger p of an intersection-union test (Berger 1982).
    p = np.maximum(*(_positive_p(each[evaluation][:, picks]) for each in (synergy, total)))
    q = benjamini_hochberg(p)
    return SynergyTest(
        candidates=len(names),
        tested=len(picks),
        significant=int((q <= ALPHA).sum()),
        replicates=len(synergy[evaluation]),
        units=tuple(
            UnitSynergy(
                names[unit],
                float(total[evaluation][:, unit].mean() / scale[unit]),
                float(synergy[evaluation][:, unit].mean() / scale[unit]),
                float(unit_q),
            )
            for unit, unit_q in zip(picks[:LISTED].tolist(), q[:LISTED], strict=True)
        ),
    )


def _positive_p(values: Floats) -> Floats:
    """One-sided p of a mean of 0, by unit of `[template, unit]`."""
    error = values.std(0, ddof=1) / np.sqrt(len(values))
    t = values.mean(0) / np.where(error > 0, error, np.inf)
    # Where nothing varies there is no evidence about other templates.
    return np.asarray(np.nan_to_num(stats.t.sf(t, len(values) - 1), nan=1.0))
