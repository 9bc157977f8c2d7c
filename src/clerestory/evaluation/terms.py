"""Terms of an objective, measured: the model is run as far as they need it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.evaluation.objectives import Along, Drawn, Term
from clerestory.models import Model, SiteValues
from clerestory.models.core.addresses import parse

__all__ = ["Matrix", "Seen", "noiseless", "read_terms"]

Matrix = NDArray[np.float64]
Sees = Callable[[Drawn, NDArray[np.uint8]], Matrix]
"""What a classifier says of pictures, `[picture]`."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Each term's `values`, `[prompt × seed]`, and what was read and drawn besides."""

    values: dict[Term, Matrix] = field(repr=False)
    site_values: Mapping[str, SiteValues] | None = field(default=None, repr=False)
    pictures: NDArray[np.uint8] | None = field(default=None, repr=False)


def noiseless(model: Model, terms: Sequence[Term], sites: Sequence[str] = ()) -> bool:
    """Whether these, and what is read at these sites, are the same with every seed."""
    first = set(model.family.encoder_stages[:1])
    read = [*(parse(term.site).site for term in terms if isinstance(term, Along)), *sites]
    stages = {model.sites[site].stage for site in read}
    texts = {stage for stage in stages if stage.startswith("text")}
    drawn = any(isinstance(term, Drawn) for term in terms)
    return not drawn and stages <= (first | texts)


def read_terms(
    model: Model,
    terms: Sequence[Term],
    texts: Sequence[str],
    seeds: Sequence[int],
    *,
    sees: Sees,
    batch: int = 64,
    sites: Sequence[str] = (),
    pool: str = "mean",
    edits: Sequence[Any] = (),
) -> Seen:
    """Every term of prompts × seeds, one run for each way of pooling; pictures where one asks.

    What is at `sites`, pooled by `pool`, is read along.
    """
    read: dict[str, list[str]] = defaultdict(list)
    for term in terms:
        if isinstance(term, Along):
            read[term.pool].append(term.site)
    if sites or not read:
        read[pool] += sites
    values: dict[Term, Matrix] = {}
    besides = pictures = None
    waiting = any(isinstance(term, Drawn) for term in terms)
    for way, addresses in read.items():
        run = model.run(
            texts,
            seeds,
            read=list(dict.fromkeys(addresses)),
            pool=way,
            pictures=waiting,
            batch=batch,
            edits=edits,
        )
        if run.pictures is not None:
            pictures, waiting = run.pictures, False
            values |= {one: sees(one, pictures) for one in terms if isinstance(one, Drawn)}
        besides = run.site_values if way == pool else besides
        for one in terms:
            if isinstance(one, Along) and one.pool == way:
                values[one] = _along_steps(one, run.site_values[parse(one.site).site])
    return Seen(values, besides, pictures)


def _along_steps(term: Along, read: SiteValues) -> Matrix:
    steps = parse(term.site).steps
    places = [at for at, step in enumerate(read.steps) if not steps or step.index in steps]
    values = read.array()[:, places, : len(term.direction)].mean(1)
    return np.asarray(values.astype(np.float64) @ term.direction)
