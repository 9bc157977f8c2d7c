"""Maps of an effect: position by layer of a text encoder, and block by step of the denoiser.

Each cell is patched from the corrupted runs into the clean ones, and drawn.
Source: causal tracing (Meng et al. 2022, arXiv:2202.05262); activation patching by position, as in
Heimersheim & Nanda 2024 (arXiv:2404.15255).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from clerestory.causal.effect_maps import patchable_blocks
from clerestory.causal.graph_measurement import EffectTable, Table, item_means
from clerestory.causal.graph_results import EffectMap
from clerestory.causal.paired_runs import BatchRunner, PairedSamples, Reading, check_calls
from clerestory.causal.parts import Parts
from clerestory.causal.patched_sites import PartPatch
from clerestory.causal.prompt_positions import PositionColumns, position_columns
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.models.core.addresses import SiteSelection
from clerestory.types import Floats, Progress

__all__ = ["MapMaker"]

MAX_BLOCKS, MAX_STEPS = 6, 8
"""Rows and columns of the map of the denoiser; more blocks and steps are patched together."""


@dataclass(frozen=True, eq=False)
class MapMaker:
    """Makes the maps of one half of the samples.

    Attributes:
        how: Runs batches; its sites are replaced.
        pairs: The samples.
        items: The replicate of each sample.
        total: What the corrupted prompts add in all.
        batch: Samples that are run together.
        saved: Where each batch is written.
        report: Called after every batch.
    """

    how: BatchRunner
    pairs: PairedSamples
    items: Sequence[int]
    total: float
    batch: int
    saved: Parts
    report: Progress

    def positions(self) -> tuple[list[EffectMap], list[EvidenceWarning]]:
        """Patch each position of each layer's residual stream.

        Returns:
            A map for each text encoder, and warnings about those that have none.
        """
        found, warnings = [], []
        for window in self.how.model.family.text_windows:
            layers = [
                site.address
                for site in self.how.model.sites.values()
                if site.stage == window and site.tap == "resid"
            ]
            columns = position_columns(self.how.model, self.pairs, window)
            if not layers or columns is None:
                text = f"There is no map of the positions of {window}: its tokens do not match."
                warnings.append(EvidenceWarning("left-out", text))
                continue
            cells = self._cells(window, layers, partial(self._patch_positions, layers, columns))
            names = [layer.split("/")[0] for layer in layers]
            title = f"{window}: residual stream, by layer and position"
            found.append(self._map(title, names, columns.names, cells))
        return found, warnings

    def steps(self) -> list[EffectMap]:
        """Patch each part of the denoiser at each part of its steps.

        At a step the corrupted run has another latent as well as another conditioning, so that a
        cell's effect is that of all that the corrupted run has there.

        Returns:
            One map; none where the denoiser has no blocks.
        """
        blocks = patchable_blocks(self.how.model).get("denoiser", {})
        if not blocks:
            return []
        parts = _split([*blocks], MAX_BLOCKS)
        groups = [[site for block in part for site in blocks[block]] for part in parts]
        steps = _split(self._steps(groups[0][0]), MAX_STEPS)
        sites = [site for group in groups for site in group]
        cells = self._cells("steps", sites, partial(self._patch_steps, groups, steps))
        rows, columns = ([_span(part[0], part[-1]) for part in each] for each in (parts, steps))
        return [self._map("denoiser: blocks by step", rows, columns, cells)]

    def _cells(
        self, name: str, sites: Sequence[str], patch: Callable[[_MapBatch], list[Floats]]
    ) -> Floats:
        """Measure cells batch by batch, `[cell, sample]`."""
        how = replace(self.how, sites=dict.fromkeys(sites, SiteSelection()))
        tables = []
        for rows in self.pairs.batches(self.batch, how):

            def measure(rows: range = rows) -> Table:
                cells = patch(_MapBatch(how, self.pairs, rows))
                return tuple(tuple(map(float, cell)) for cell in cells)

            tables.append(np.array(self.saved.get(f"map-{name}-{rows.start}", Table, measure)))
            self.report(f"mapping {name}", rows.stop, len(self.pairs.items))
        return np.concatenate(tables, 1)

    def _patch_positions(
        self, layers: Sequence[str], columns: PositionColumns, batch: _MapBatch
    ) -> list[Floats]:
        cells = []
        for layer in layers:
            ((visit, clean),) = ((v, x) for v, x in batch.clean.parts.items() if v[0] == layer)
            corrupted = batch.corrupted.parts[visit]
            for name in columns.names:
                value = clean.clone()
                for row, sample in enumerate(batch.rows):
                    chosen = columns.at(self.pairs.items[sample], name)[: value.shape[1]]
                    value[row, chosen] = corrupted[row, chosen]
                # What comes before the words is the same in a causal encoder: nothing to draw.
                same = bool((value == clean).all())
                edit = PartPatch(f"{layer}@{visit[1]}", value.numpy())
                cells.append(np.zeros(len(batch.rows)) if same else batch.added([edit]))
        return cells

    def _patch_steps(
        self, groups: Sequence[Sequence[str]], steps: Sequence[Sequence[str]], batch: _MapBatch
    ) -> list[Floats]:
        return [
            batch.added(
                [
                    PartPatch(f"{site}@{step}", value.numpy())
                    for (site, step, _), value in batch.corrupted.parts.items()
                    if site in group and str(step) in chosen
                ]
            )
            for group in groups
            for chosen in steps
        ]

    def _steps(self, site: str) -> list[str]:
        """The steps of the denoiser, read from a run, since schedulers differ in what they take."""
        how = replace(self.how, sites={site: SiteSelection()})
        reading = how.read(self.pairs.samples(range(1)))
        return [str(step) for _, step, _ in reading.parts]

    def _map(
        self, title: str, rows: Sequence[str], columns: Sequence[str], cells: Floats
    ) -> EffectMap:
        effects = EffectTable.of(item_means(cells, self.items))
        grids = [
            tuple(map(tuple, (values / self.total).reshape(len(rows), len(columns)).tolist()))
            for values in (effects.mean, effects.low, effects.high)
        ]
        # Divided by a negative total the limits change places.
        low, high = grids[1:] if self.total > 0 else grids[:0:-1]
        return EffectMap(title, tuple(rows), tuple(columns), grids[0], low, high)


class _MapBatch:
    """The clean and the corrupted runs of a batch."""

    def __init__(self, how: BatchRunner, pairs: PairedSamples, rows: range) -> None:
        self.how, self.rows = how, rows
        self._samples = pairs.samples(rows)
        self.clean: Reading = how.read(self._samples)
        self.corrupted: Reading = how.read(pairs.samples(rows, corrupted=True))
        check_calls(self.clean.parts)

    def added(self, edits: Sequence[PartPatch]) -> Floats:
        """What edits add to the objective of the clean runs, `[sample]`."""
        found = self.how.read(self._samples, edits, keeps=False).objective
        return found - self.clean.objective


def _split(names: Sequence[str], most: int) -> list[list[str]]:
    """Names in order in at most so many parts of about one size."""
    parts = np.array_split(np.array(names, dtype=object), min(most, len(names)))
    return [list(part) for part in parts]


def _span(first: str, last: str) -> str:
    first, last = (name.removeprefix("denoiser.") for name in (first, last))
    return first if first == last else f"{first} – {last}"
