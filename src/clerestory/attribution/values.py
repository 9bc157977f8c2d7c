"""What an attribution splits: units inside the model first, then what classifiers see.

values = asked_values(model, ["lancet:clothes=black", "goth"])     # `goth`: what `find --out` wrote
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers import condition
from clerestory.contrasts import Finding, Findings
from clerestory.errors import EvidenceError, OptionError
from clerestory.evaluation.objectives import Along, Drawn, Objective, Term, unit
from clerestory.models import Model
from clerestory.models.core.addresses import parse

__all__ = ["Value", "asked_values", "of_finding", "path_of"]

SKIPPED = "vae"
"""The stage that only decodes."""
POOLS = ("mean", "max", "last")


@dataclass(frozen=True, eq=False)
class Value:
    """Something that prompts bring about: a `term` of what is read or drawn, by `name`."""

    name: str
    term: Term

    def __post_init__(self) -> None:
        if isinstance(self.term, Along) and self.term.pool not in POOLS:
            raise _no_pool(self.term.pool)

    @property
    def inner(self) -> bool:
        """Whether it is read inside the model, and not off a picture."""
        return isinstance(self.term, Along)

    @property
    def mark(self) -> str:
        """All that it depends on: directions of one name may differ."""
        return Objective(((1.0, self.term),)).mark + f" {self.name}"

    def stage(self, model: Model) -> str:
        """Where it is read; the last stage for what is drawn."""
        if isinstance(self.term, Along):
            return model.sites[parse(self.term.site).site].stage
        return list(model.sites.values())[-1].stage


def asked_values(model: Model, of: Sequence[str], pool: str = "mean") -> list[Value]:
    """Values as they are typed: a unit, `CLASSIFIER=CLASS`, or a folder that `find` wrote.

    Of a folder there are the first direction and the first neuron of each stage. Inner ones come
    first. EvidenceError for two of one name or none, OptionError for another `pool` than mean, max
    and last, SiteError and RegistryError for what is not there.
    """
    found: list[Value] = []
    if pool not in POOLS:
        raise _no_pool(pool)
    for text in of:
        if not text.strip():
            raise EvidenceError("What is to be split has no name: give a unit, folder or class.")
        folder = Path(text)
        if folder.is_dir():
            found += of_finding(model, Findings.load(folder), folder.name, pool)
        elif "=" in text:
            judge, shows = condition(text)
            found.append(Value(f"{judge}={shows}", Drawn(judge, shows)))
        else:
            found.append(_unit(model, text, pool))
    names = [value.name for value in found]
    if not found or len(set(names)) < len(names):
        raise EvidenceError("Name what is to be split, each once: a unit, a finding, or a class.")
    return sorted(found, key=lambda value: not value.inner)


def _no_pool(pool: str) -> OptionError:
    return OptionError(f"No pool is called {pool!r}; take {', '.join(POOLS)}.")


def of_finding(model: Model, findings: Findings, name: str, pool: str = "mean") -> list[Value]:
    """What the decoder is handed, then discovery's first direction and first neuron of each stage.

    The first is the difference of means there, where no long text dilutes it. One is as much as the
    finding's two sides differ by, on the average of its discovery half.
    """
    ranked = sorted(findings.findings, key=lambda one: one.rank)
    along = path_of(model, findings, name, pool)
    handed = [one.term for one in along if one.name == model.conditioning_site]
    found = [Value(term.name, term) for term in handed]
    for stage in dict.fromkeys(site.stage for site in model.sites.values()):
        for kind in ("direction", "neuron"):
            for one in ranked:
                place = parse(one.site).site
                here = place in model.sites and model.sites[place].stage == stage != SKIPPED
                if here and one.kind == kind and _direction(findings, one) is not None:
                    found.append(_value(findings, one, name, pool))
                    break
    if not found:
        raise EvidenceError(f"{name} has no direction or neuron of this model.")
    return found


def path_of(model: Model, findings: Findings, name: str, pool: str = "mean") -> list[Value]:
    """The difference of means at every site that has one, in the order of the sites."""
    ranked = sorted(findings.of("direction"), key=lambda one: one.rank)
    places: dict[str, Finding] = {}
    for one in ranked:
        place = parse(one.site).site
        known = place in model.sites and model.sites[place].stage != SKIPPED
        if known and _contrast(findings, one) is not None:
            places.setdefault(place, one)
    found = []
    for place in model.sites:
        if place in places:
            site = places[place].site
            way = findings.direction(site)
            term = Along(site, way / (way @ way), pool, f"{name}: {place}")
            found.append(Value(place, term))
    return found


def _value(findings: Findings, one: Finding, name: str, pool: str) -> Value:
    """As an activation along the unit, over what it is along the difference of means."""
    way = _direction(findings, one)
    assert way is not None
    term = Along(one.site, way, pool, f"{name}: {one.unit}")
    return Value(term.name, term)


def _direction(findings: Findings, one: Finding) -> NDArray[np.float64] | None:
    """What to project on; None where the two sides do not differ along it."""
    contrast = _contrast(findings, one)
    if contrast is None:
        return None
    if one.kind == "direction":
        way = np.asarray(findings.directions[one.unit], np.float64)
    else:
        units = parse(one.unit).units
        assert units is not None
        way = np.eye(1, len(contrast), units[0])[0]
    apart = float(way @ contrast)
    return way / apart if apart else None


def _contrast(findings: Findings, one: Finding) -> NDArray[np.float64] | None:
    """The difference of means at its site; None where it is not there, or zero."""
    known: Mapping[str, NDArray[np.float64]] = findings.directions
    place, at, step = one.site.partition("@")
    way = known.get(f"{place}[difference]{at}{step}")
    return None if way is None or not np.any(way) else np.asarray(way, np.float64)


def _unit(model: Model, text: str, pool: str) -> Value:
    term = unit(text, pool).terms[0][1]
    assert isinstance(term, Along)
    site = model.sites[parse(term.site).site]
    if site.shape[1] is not None and len(term.direction) > site.shape[1]:
        model.sites.select(text)
        model.sites.select(f"{site.address}[{len(term.direction) - 1}]")
    return Value(term.name, term)
