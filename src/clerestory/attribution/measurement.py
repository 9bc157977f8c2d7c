"""Measures targets, and whole layers of units, for many prompts.

With a folder, measurements are stored part by part, so that the same call resumes after a kill.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.attribution.games import Sample
from clerestory.attribution.targets import DECODER, Target
from clerestory.errors import EvidenceError
from clerestory.evaluation import Evaluator
from clerestory.evaluation.objectives import Term
from clerestory.evaluation.terms import measure_terms
from clerestory.io.digests import json_digest
from clerestory.io.tensor_files import read_arrays
from clerestory.io.writing import atomic_file, open_planned_folder
from clerestory.models import Model
from clerestory.models.provenance import model_identity
from clerestory.types import Floats, Progress

__all__ = ["BATCH", "Measurements", "Measurer", "unit_sites"]

BATCH = 64
"""Samples that go through the model together: most are texts alone."""
PROMPTS_PER_PART = 16
"""Prompts that are measured together, and at most lost by a kill."""
MAX_PARTS = 256
"""More prompts than fit make the parts larger."""
PLAN, PARTS = "attribution-plan.json", "parts"


@dataclass(eq=False)
class Measurements:
    """By sample, averaged over seeds: `values` `[target]` and, if requested, `units` `[unit]`."""

    values: dict[Sample, Floats] = field(default_factory=dict, repr=False)
    units: dict[Sample, Floats] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class Measurer:
    """Measures prompts.

    The value of a label is its rate: the share of pictures in which the evaluation classifier finds
    it the likeliest. Units are averaged over positions and steps.

    Attributes:
        evaluator: Runs the model.
        targets: What is measured of every prompt.
        sites: Where whole layers of units are read, for prompts that request it.
    """

    evaluator: Evaluator
    targets: Sequence[Target]
    sites: Sequence[str] = ()

    def measure(
        self,
        samples: Sequence[Sample],
        unit_samples: Sequence[Sample],
        out: Path | None,
        progress: Progress,
    ) -> Measurements:
        """Measure every different sample once, those whose units are read first.

        Args:
            samples: The prompts with their seeds, as many of each.
            unit_samples: Those of which the units at `sites` are read too.
            out: Folder for the parts; None keeps them in memory only.
            progress: Receives how many samples are measured.

        Returns:
            Means over seeds, by sample.

        Raises:
            EvidenceError: The folder has measurements of something else.
        """
        with_units = set(unit_samples)
        # Coalitions of different paraphrases may be the same text with the same seeds.
        distinct = list(dict.fromkeys(samples))
        count = len(distinct)
        # Few large files rather than thousands of small ones.
        size = max(PROMPTS_PER_PART, math.ceil(count / MAX_PARTS))
        parts = [
            (part, read_units)
            # Apart, since a part that reads units is thousands of times larger on disk.
            for read_units in (True, False)
            for part in _chunks([s for s in distinct if (s in with_units) == read_units], size)
        ]
        folder = None if out is None else self._folder(out, parts)
        measurements = Measurements()
        for index, (part, read_units) in enumerate(parts):
            path = None if folder is None else folder / f"{index:04}.npz"
            values, units = self._part(path, part, read_units)
            measurements.values |= dict(zip(part, values, strict=True))
            if read_units:
                measurements.units |= dict(zip(part, units, strict=True))
            progress("measuring coalitions", len(measurements.values), count)
        return measurements

    def _part(
        self, path: Path | None, samples: Sequence[Sample], read_units: bool
    ) -> tuple[Floats, Floats]:
        """`[sample, target]` and `[sample, unit]`, read from the file or measured and written."""
        # A part that was renamed belongs to other samples.
        digest = json_digest({"samples": [[each.text, *each.seeds] for each in samples]})
        stored = None if path is None else _read_part(path, len(samples), digest)
        if stored is not None:
            return stored
        values, units = self._measure_part(samples, read_units)
        if path is not None:
            # A kill leaves either a whole part or none under its name.
            with atomic_file(path) as part:
                np.savez(part, values=values, units=units, samples=np.array(digest))
        return values, units

    def _measure_part(self, samples: Sequence[Sample], read_units: bool) -> tuple[Floats, Floats]:
        """`[sample, target]` and `[sample, unit]`; no units where they are not read."""
        terms: list[Term] = [target.term for target in self.targets]
        sites = list(self.sites) if read_units else []
        texts, seeds = [each.text for each in samples], [each.seeds for each in samples]
        readings = measure_terms(self.evaluator, terms, texts, seeds, sites=sites)
        shape = (len(samples), len(seeds[0]))
        # The seed is the faster index of the cells.
        values = np.stack([readings.values[term].reshape(shape).mean(1) for term in terms], axis=1)
        if not sites:
            return values, np.zeros((len(samples), 0), np.float32)
        activations = [readings.sites[site].values for site in sites]
        # Steps first, then seeds.
        units = [each.mean(1).reshape(*shape, -1).mean(1) for each in activations]
        # float32 as the model computes: float64 would double the size of the parts.
        return values, np.concatenate(units, axis=1).astype(np.float32)

    def _folder(self, out: Path, parts: Sequence[tuple[Sequence[Sample], bool]]) -> Path:
        """Where parts are stored."""
        plan = self._plan(parts)
        open_planned_folder(out, PLAN, plan, other="another attribution", error=EvidenceError)
        folder = out / PARTS
        folder.mkdir(exist_ok=True)
        return folder

    def _plan(self, parts: Sequence[tuple[Sequence[Sample], bool]]) -> dict[str, Any]:
        model = self.evaluator.model
        return {
            **model_identity(model),
            # As text: the plan is compared with what JSON gives back.
            "options": {name: str(value) for name, value in vars(model.defaults).items()},
            "targets": [target.digest for target in self.targets],
            "sites": list(self.sites),
            "samples": [[each.text, *each.seeds] for part, _ in parts for each in part],
        }


def unit_sites(model: Model, targets: Sequence[Target]) -> list[str]:
    """The sites of neurons in every stage that has to run for the targets.

    They are `mlp` taps, or block outputs of a stage without any, where their width is known, and
    the conditioning site.

    Args:
        model: The model.
        targets: What is attributed; the latest of their stages is the last one that is read.

    Returns:
        Addresses, in the order in which the model runs them.
    """
    stages = list(dict.fromkeys(site.stage for site in model.sites.values()))
    sites = [site for site in model.sites.values() if site.shape[1]]
    # Later stages would have to run for their units alone.
    last = max(stages.index(target.stage(model)) for target in targets)
    addresses: list[str] = []
    for stage in stages[: last + 1]:
        taps = {
            tap: [site.address for site in sites if site.stage == stage and site.tap == tap]
            for tap in ("mlp", "out")
        }
        # Neurons after the nonlinearity where a block has them, else the block's output.
        addresses += [] if stage == DECODER else (taps["mlp"] or taps["out"])
        addresses += [each for each in [model.conditioning_site] if each.startswith(f"{stage}/")]
    return list(dict.fromkeys(address for address in addresses if address in model.sites))


def _read_part(path: Path, count: int, digest: str) -> tuple[Floats, Floats] | None:
    """A stored part of so many prompts; None where there is none, or it is damaged or of others."""
    try:
        arrays = read_arrays(path, EvidenceError)
    # A damaged part is measured again, like a missing one.
    except EvidenceError:
        return None
    values, units = arrays.get("values"), arrays.get("units")
    if str(arrays.get("samples", "")) != digest:
        return None
    if values is None or units is None or (values.ndim, units.ndim) != (2, 2):
        return None
    # Other types come from another version or from somebody else.
    numbers = values.dtype == np.float64 and units.dtype == np.float32
    return (values, units) if numbers and len(values) == len(units) == count else None


def _chunks(samples: Sequence[Sample], size: int) -> list[Sequence[Sample]]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]
