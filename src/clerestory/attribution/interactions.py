"""Units that the pieces of a prompt excite together more than each of them does apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.models import Model
from clerestory.stats import benjamini_hochberg, count_flips_with_findings, signed_rank

__all__ = ["Excess", "Together", "together"]

SHOWN = 12
LEVEL = 0.05


@dataclass(frozen=True)
class Excess:
    """One neuron: what all pieces bring, and how much of it no piece brings alone.

    Both in standard deviations of the neuron over the prompts, of the half of the paraphrases that
    did not choose it; `q` is over all that were tested there.
    """

    unit: str
    whole: float
    excess: float
    q: float


@dataclass(frozen=True)
class Together:
    """`found` of `tested` neurons are excited by all pieces together more than apart, at q < .05.

    Paraphrases count as independent here, also those of one frame. `shown` are the first of one
    half of them, as the other half has them, whatever it says. `flips` of 200 data sets with signs
    flipped at random had anything at all.
    """

    tested: int
    found: int
    flips: int
    replicates: int
    shown: tuple[Excess, ...]

    def told(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "shown": [asdict(one) for one in self.shown]}


def together(model: Model, sites: Sequence[str], rows: NDArray[np.floating[Any]]) -> Together:
    """`rows` are `[replicate, combination, unit]`: no piece, each alone, all; units by site.

    Every other replicate chooses, the rest report.
    """
    values = rows.astype(np.float64)
    whole = values[:, -1] - values[:, 0]
    excess = whole - (values[:, 1:-1] - values[:, :1]).sum(1)
    spread = values.reshape(-1, values.shape[-1]).std(0)
    size = np.where(spread > 1e-9 * np.abs(values).max(), spread, np.inf)
    choose, report = slice(0, None, 2), slice(1, None, 2)
    first = np.where(whole[choose].mean(0) > 0, excess[choose].mean(0) / size, -np.inf)
    q = benjamini_hochberg(signed_rank(excess[report]))
    up = (excess[report].mean(0) > 0) & (whole[report].mean(0) > 0)
    names = _names(model, sites, values.shape[-1])
    return Together(
        tested=len(q),
        found=int((up & (q < LEVEL)).sum()),
        flips=count_flips_with_findings(excess[report], np.random.default_rng(0)),
        replicates=len(excess[report]),
        shown=tuple(
            Excess(
                names[at],
                float(whole[report][:, at].mean() / size[at]),
                float(excess[report][:, at].mean() / size[at]),
                float(q[at]),
            )
            for at in np.argsort(-first, kind="stable")[:SHOWN].tolist()
        ),
    )


def _names(model: Model, sites: Sequence[str], count: int) -> list[str]:
    found = [f"{site}[{n}]" for site in sites for n in range(model.sites[site].shape[1] or 0)]
    assert len(found) == count
    return found
