"""Targets of an attribution: units inside the model, directions of findings, classifiers' labels.

targets = parse_targets(model, ["lancet:clothes=black", "goth"])     # `goth`: a folder of `find`
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clerestory.checks import check_choice
from clerestory.classifiers import parse_target
from clerestory.contrasts import Finding, Findings
from clerestory.errors import EvidenceError, OptionError
from clerestory.evaluation.objectives import DirectionTerm, LabelTerm, Objective, Term, unit
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.provenance import check_dictionaries

__all__ = ["Target", "finding_targets", "parse_targets", "path_targets"]

DECODER = "vae"
"""The stage that only decodes, where nothing is attributed."""
POOLS = ("mean", "max", "last")


@dataclass(frozen=True, eq=False)
class Target:
    """A value that depends on the prompt: an activation, or how often a label is predicted."""

    name: str
    term: Term

    def __post_init__(self) -> None:
        if isinstance(self.term, DirectionTerm):
            check_choice(OptionError, POOLS, pool=self.term.pool)

    @property
    def is_activation(self) -> bool:
        """Whether it is read inside the model, and not from pictures."""
        return isinstance(self.term, DirectionTerm)

    @property
    def digest(self) -> str:
        """A digest of all that its values depend on: directions of one name can differ."""
        return f"{Objective(((1.0, self.term),)).digest} {self.name}"

    def stage(self, model: Model) -> str:
        """The stage that it is read in; the last one for pictures.

        Args:
            model: The model.

        Returns:
            The stage's name.

        Raises:
            SiteError: The model has no such site.
        """
        if isinstance(self.term, DirectionTerm):
            return model.sites[parse(self.term.site).site].stage
        return list(model.sites.values())[-1].stage


def parse_targets(
    model: Model, of: Sequence[str | Path | Target], pool: str = "mean"
) -> list[Target]:
    """Read targets from their text form.

    Args:
        model: The model.
        of: Units, `CLASSIFIER=LABEL`, folders written by `find` (see `finding_targets`), or
            targets.
        pool: How activations are pooled over positions: mean, max or last.

    Returns:
        The targets, activations first.

    Raises:
        EvidenceError: Nothing is named, something has no name, or two have the same.
        OptionError: There is no such pool.
        SiteError, RegistryError: There is no such unit, classifier or class.
    """
    check_choice(OptionError, POOLS, pool=pool)
    targets: list[Target] = []
    for each in of:
        if isinstance(each, Target):
            targets.append(each)
            continue
        text = str(each)
        if not text.strip():
            raise EvidenceError("A target has no name: give a unit, a folder or CLASSIFIER=LABEL.")
        folder = Path(text)
        if folder.is_dir():
            findings = Findings.load(folder)
            check_dictionaries(model, findings.provenance.dictionaries, folder)
            targets += finding_targets(model, findings, folder.name, pool)
        elif "=" in text:
            classifier, label = parse_target(text)
            targets.append(Target(f"{classifier}={label}", LabelTerm(classifier, label)))
        else:
            targets.append(_unit_target(model, text, pool))
    names = {target.name for target in targets}
    if not targets or len(names) < len(targets):
        raise EvidenceError("Name the targets, each once: a unit, a finding, or CLASSIFIER=LABEL.")
    # Stable: within each of the two kinds the order in which they were named stays.
    return sorted(targets, key=lambda target: not target.is_activation)


def finding_targets(
    model: Model, findings: Findings, name: str, pool: str = "mean"
) -> list[Target]:
    """Choose the targets of a finding.

    They are the difference of means at the conditioning site, where no long text dilutes it, and
    the first direction and the first neuron of each stage. A value of 1 is as much as the
    positive and negative sides differ by on the selection half.

    Args:
        model: The model.
        findings: What `find` found.
        name: What the finding is called in the targets' names.
        pool: How activations are pooled over positions.

    Returns:
        The targets, with names that begin with `name`.

    Raises:
        EvidenceError: No finding is of this model.
    """
    ranked = sorted(findings.findings, key=lambda finding: finding.selection_rank)
    path = path_targets(model, findings, name, pool)
    targets = [
        Target(target.term.name, target.term)
        for target in path
        if target.name == model.conditioning_site
    ]
    for stage in dict.fromkeys(site.stage for site in model.sites.values()):
        for kind in ("direction", "neuron"):
            terms = (
                DirectionTerm(finding.site, direction, pool, f"{name}: {finding.unit}")
                for finding in ranked
                if finding.kind == kind and _attributed_stage(model, finding) == stage
                for direction in [_normalized_direction(findings, finding)]
                if direction is not None
            )
            # One of each kind for a stage: more would be the same concept again.
            targets += [Target(term.name, term) for term in itertools.islice(terms, 1)]
    if not targets:
        raise EvidenceError(f"{name} has no direction or neuron of this model.")
    return targets


def path_targets(model: Model, findings: Findings, name: str, pool: str = "mean") -> list[Target]:
    """The difference of means at every site that has one, in the order of the sites.

    Args:
        model: The model.
        findings: What `find` found.
        name: What the finding is called in the targets' names.
        pool: How activations are pooled over positions: mean, max or last.

    Returns:
        One target a site, named by it; a value of 1 is as much as the two sides differ by there.
    """
    ranked = sorted(findings.by_kind("direction"), key=lambda finding: finding.selection_rank)
    by_site: dict[str, Finding] = {}
    for finding in ranked:
        attributed = _attributed_stage(model, finding) is not None
        if attributed and _difference(findings, finding) is not None:
            # The best ranked step of each site: the path has one value for a site.
            by_site.setdefault(parse(finding.site).site, finding)
    targets = []
    for site in model.sites:
        if site in by_site:
            address = by_site[site].site
            difference = findings.direction(address)
            # So that the dot product with the difference itself is 1.
            scaled = difference / (difference @ difference)
            targets.append(Target(site, DirectionTerm(address, scaled, pool, f"{name}: {site}")))
    return targets


def _attributed_stage(model: Model, finding: Finding) -> str | None:
    """A finding's stage; None for the decoder, and for sites that the model does not have."""
    site = parse(finding.site).site
    stage = model.sites[site].stage if site in model.sites else None
    return None if stage == DECODER else stage


def _normalized_direction(findings: Findings, finding: Finding) -> NDArray[np.float64] | None:
    """A unit's direction, scaled so that the two sides differ by 1 along it; None for 0."""
    difference = _difference(findings, finding)
    if difference is None:
        return None
    if finding.kind == "direction":
        direction = np.asarray(findings.directions[finding.unit], np.float64)
    else:
        units = parse(finding.unit).units
        assert units is not None
        direction = np.eye(1, len(difference), units[0])[0]
    # 0 where a unit does not separate the sides: it has no share to give.
    scale = float(direction @ difference)
    return direction / scale if scale else None


def _difference(findings: Findings, finding: Finding) -> NDArray[np.float64] | None:
    """The difference of means at a finding's site; None where it is missing or zero."""
    site, separator, steps = finding.site.partition("@")
    difference = findings.directions.get(f"{site}[difference]{separator}{steps}")
    if difference is None or not np.any(difference):
        return None
    return np.asarray(difference, np.float64)


def _unit_target(model: Model, address: str, pool: str) -> Target:
    """A unit's activation; SiteError where the model does not have the unit."""
    term = unit(address, pool).terms[0][1]
    assert isinstance(term, DirectionTerm)
    site = model.sites[parse(term.site).site]
    if site.shape[1] is not None and len(term.direction) > site.shape[1]:
        # Selecting what the site does not have raises the error that names its width.
        model.sites.select(address)
    return Target(term.name, term)
