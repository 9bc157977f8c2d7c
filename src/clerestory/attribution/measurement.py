"""Prompts to values, and to whole rows of units: the model is run once for both.

With a folder, what was measured is kept as it comes, and the same call goes on after a kill;
what is damaged is measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.attribution.values import Value
from clerestory.classifiers import classifier
from clerestory.errors import EvidenceError
from clerestory.evaluation.objectives import Drawn, Term
from clerestory.evaluation.terms import noiseless, read_terms
from clerestory.io.outputs import planned_folder
from clerestory.io.tensors import read_arrays
from clerestory.models import Model
from clerestory.models.core.seeds import check_seeds

__all__ = ["Measured", "Reader", "unit_sites"]

CHUNK = 16
"""Prompts that are measured, and lost by a kill at most, together."""
MOST = 256
"""Parts that are kept at most, beyond which they are larger."""
PLAN, KEPT = "attribution-plan.json", "kept"
Matrix = NDArray[np.float64]


@dataclass(eq=False)
class Measured:
    """By prompt: `values` `[value]` and, where they were wanted, `units` `[unit]`."""

    values: dict[str, Matrix] = field(default_factory=dict, repr=False)
    units: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class Reader:
    """Measures prompts, the mean over `seeds`; text alone needs one seed.

    A class's value is its rate: the share of pictures that set b's likeliest class is. `sites` are
    read unit by unit, positions and steps averaged, for prompts that are `whole`.
    """

    model: Model
    values: Sequence[Value]
    seeds: Sequence[int]
    sites: Sequence[str] = ()
    progress: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        terms = [value.term for value in self.values]
        seeds = check_seeds(self.seeds)
        if noiseless(self.model, terms, self.sites):
            seeds = seeds[:1]
        object.__setattr__(self, "seeds", seeds)

    def __call__(self, texts: Sequence[str], whole: Sequence[str], out: Path | None) -> Measured:
        """Measure every different one; those that are `whole` first."""
        wanted = set(whole)
        first = [text for text in dict.fromkeys(texts) if text in wanted]
        rest = [text for text in dict.fromkeys(texts) if text not in wanted]
        size = max(CHUNK, -(-(len(first) + len(rest)) // MOST))
        parts = [(part, True) for part in _parts(first, size)]
        parts += [(part, False) for part in _parts(rest, size)]
        folder = None if out is None else self._folder(out, parts)
        found = Measured()
        done, every = 0, len(first) + len(rest)
        for place, (part, deep) in enumerate(parts):
            values, units = self._kept(folder, place, part, deep)
            found.values |= dict(zip(part, values, strict=True))
            if deep:
                found.units |= dict(zip(part, units, strict=True))
            done += len(part)
            if self.progress is not None:
                self.progress(done, every)
        return found

    def _kept(
        self, folder: Path | None, place: int, part: Sequence[str], deep: bool
    ) -> tuple[Matrix, NDArray[np.float32]]:
        path = None if folder is None else folder / f"{place:04}.npz"
        held = None if path is None else _held(path, len(part))
        if held is not None:
            return held
        values, units = self._measured(part, deep)
        if path is not None:
            beside = path.with_suffix(".part")
            with beside.open("wb") as file:
                np.savez(file, values=values, units=units)
            beside.replace(path)
        return values, units

    def _measured(self, texts: Sequence[str], deep: bool) -> tuple[Matrix, NDArray[np.float32]]:
        """`[prompt, value]` and `[prompt, unit]`, seeds averaged."""
        terms: list[Term] = [value.term for value in self.values]
        sites = list(self.sites) if deep else []
        seen = read_terms(self.model, terms, texts, self.seeds, sees=_rate, sites=sites)
        shape = (len(texts), len(self.seeds))
        values = np.stack([seen.values[term].reshape(shape).mean(1) for term in terms], axis=1)
        if not sites or seen.activations is None:
            return values, np.zeros((len(texts), 0), np.float32)
        noted = [seen.activations.unlabelled[site].values() for site in sites]
        units = [one.mean(1).reshape(*shape, -1).mean(1) for one in noted]
        return values, np.concatenate(units, axis=1).astype(np.float32)

    def _folder(self, out: Path, parts: Sequence[tuple[Sequence[str], bool]]) -> Path:
        """Where parts are kept; EvidenceError where the folder has those of another question."""
        plan = self._plan(parts)
        planned_folder(out, PLAN, plan, other="another attribution", error=EvidenceError)
        folder = out / KEPT
        folder.mkdir(exist_ok=True)
        return folder

    def _plan(self, parts: Sequence[tuple[Sequence[str], bool]]) -> dict[str, Any]:
        return {
            "model": [self.model.name, self.model.revision],
            "options": {name: str(own) for name, own in vars(self.model.defaults).items()},
            "values": [value.mark for value in self.values],
            "seeds": list(self.seeds),
            "sites": list(self.sites),
            "prompts": [text for part, _ in parts for text in part],
        }


def _held(path: Path, count: int) -> tuple[Matrix, NDArray[np.float32]] | None:
    """A part as it was kept; None where there is none, or it is damaged."""
    try:
        held = read_arrays(path, EvidenceError)
    except EvidenceError:
        return None
    values, units = held.get("values"), held.get("units")
    if values is None or units is None or (values.ndim, units.ndim) != (2, 2):
        return None
    numbers = values.dtype == np.float64 and units.dtype == np.float32
    return (values, units) if numbers and len(values) == len(units) == count else None


def unit_sites(model: Model, values: Sequence[Value]) -> list[str]:
    """The neurons of every stage that has to be run for these values, and what is handed over.

    Those are `mlp` taps, of a stage without such its blocks' outputs, where their width is known.
    """
    stages = list(dict.fromkeys(site.stage for site in model.sites.values()))
    sites = [site for site in model.sites.values() if site.shape[1]]
    reached = [stages.index(value.stage(model)) for value in values]
    found: list[str] = []
    for stage in stages[: max(reached) + 1]:
        own = [site.address for site in sites if site.stage == stage and site.tap == "mlp"]
        outs = [site.address for site in sites if site.stage == stage and site.tap == "out"]
        found += [] if stage == "vae" else (own or outs)
        found += [one for one in [model.conditioning_site] if one.startswith(f"{stage}/")]
    return list(dict.fromkeys(one for one in found if one in model.sites))


def _rate(term: Drawn, pictures: NDArray[np.uint8]) -> Matrix:
    judge = classifier(term.classifier, role="evaluation")
    return np.asarray(judge(pictures).argmax(1) == judge.classes.index(term.shows), np.float64)


def _parts(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]
