"""The activations of one site on the cells of a design: an even sample, and means by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.dictionaries.sources import HELD_OUT_ROWS, EvenSample, Rows, to_rows
from clerestory.errors import DictionaryError
from clerestory.evaluation import Condition, Design
from clerestory.models import Model
from clerestory.models.core.types import Branch
from clerestory.types import Progress

__all__ = ["SiteActivations", "read_activations"]


@dataclass(frozen=True, eq=False)
class SiteActivations:
    """What a site has in a model that is not edited.

    Attributes:
        rows: Rows evenly drawn from all samples, steps and positions.
        tokens: The same from the prompts' own tokens; None where every position counts, since the
            positions are no tokens, or none of them is a start token or padding.
        means: The mean of all samples and positions at each step, float64 `[unit]`, by the step's
            index.
    """

    rows: Rows = field(repr=False)
    tokens: Rows | None = field(repr=False)
    means: Mapping[int, NDArray[np.float64]] = field(repr=False)


def read_activations(
    model: Model,
    design: Design,
    site: str,
    *,
    branch: Branch,
    batch: int,
    options: Mapping[str, Any],
    progress: Progress,
) -> SiteActivations:
    """Run a design up to a site, one batch in memory at a time.

    Args:
        model: The model.
        design: Prompts and seeds.
        site: Address of the site.
        branch: The branch of guidance to read.
        batch: Samples that go through the model together.
        options: Options of the pipeline.
        progress: Called with (label, completed samples, total samples).

    Returns:
        The activations.

    Raises:
        DictionaryError: The site has no values in these samples.
        SiteError: The site has no such branch.
    """
    prompts, seeds = Condition("unedited").prompts(design), design.cell_seeds
    sample, tokens = (EvenSample(np.random.default_rng(0), HELD_OUT_ROWS) for _ in range(2))
    rng = np.random.default_rng(0)
    sums: dict[int, NDArray[np.float64]] = {}
    counts: dict[int, int] = {}
    others = 0  # positions that are no token of a prompt
    progress("activations", 0, len(design))
    for start in range(0, len(design), batch):
        cells = slice(start, start + batch)
        (run,) = model.sweep(
            prompts[cells],
            seeds[cells],
            [[]],
            read=site,
            pool="none",
            branch=branch,
            pictures=False,
            paired=True,
            batch=batch,
            progress=False,
            **options,
        )
        read = run.site_values[site]
        steps = [step.index for step in read.steps]
        timesteps = [step.timestep for step in read.steps]
        values = np.asarray(read.array(), np.float32)
        rows = to_rows(values, steps, timesteps, None, rng)
        own = _own_tokens(model, site, branch, prompts[cells], values)
        if own is not None:
            tokens.add(to_rows(own, steps, timesteps, None, rng))
            others += int((np.isnan(own) & ~np.isnan(values)).any(-1).sum())
        for step in np.unique(rows.steps):
            part = rows.values[rows.steps == step]
            sums[int(step)] = sums.get(int(step), 0) + part.sum(0, dtype=np.float64)
            counts[int(step)] = counts.get(int(step), 0) + len(part)
        sample.add(rows)
        progress("activations", min(start + batch, len(design)), len(design))
    if sample.rows is None or not len(sample.rows):
        raise DictionaryError(f"{site} has no values in these samples.")
    # All positions may be tokens of the prompts.
    own_rows = tokens.rows if others else None
    return SiteActivations(
        sample.rows, own_rows, {step: sums[step] / counts[step] for step in sorted(sums)}
    )


def _own_tokens(
    model: Model, site: str, branch: Branch, prompts: Sequence[str], values: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Values with NaN at all positions but the prompts' own tokens; None where there are none."""
    window = model.hooks_by_address[site].text_window
    if not window or branch != "cond" or values.ndim < 4:
        return None
    mask = model.family.text_window(window, "cond").token_mask(prompts).numpy()
    kept = np.zeros((len(values), values.shape[2]), bool)
    # Positions after the window are the picture's, or a prior's own.
    count = min(mask.shape[1], kept.shape[1])
    kept[:, :count] = mask[:, :count]
    return np.where(kept[:, None, :, None], values, np.float32(np.nan))
