"""Measures the terms of objectives: the model is run as far as they need it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from clerestory.classifiers import load_classifier
from clerestory.evaluation.conditions import Condition, Design
from clerestory.evaluation.engine import Drawing, Evaluator, SiteReading
from clerestory.evaluation.objectives import DirectionTerm, LabelTerm, Term
from clerestory.models import Edit, Model
from clerestory.models.core.addresses import parse
from clerestory.types import Role

__all__ = ["TermValues", "is_seed_independent", "measure_terms"]

CLIP = 1e-6
"""Probabilities are clipped to this distance from 0 and 1, so that their log odds are finite."""


@dataclass(frozen=True, eq=False)
class TermValues:
    """What terms are for prompts × seeds, prompt by prompt.

    Attributes:
        values: `[prompt × seed]` for each term.
        sites: Activations of the extra `sites`.
    """

    values: Mapping[Term, NDArray[np.float64]] = field(repr=False)
    sites: Mapping[str, SiteReading] = field(repr=False)


def is_seed_independent(model: Model, terms: Sequence[Term], sites: Sequence[str] = ()) -> bool:
    """Whether the values of terms, and of extra sites, are independent of the seed.

    Args:
        model: The model.
        terms: Terms of an objective.
        sites: Addresses of extra sites to read.

    Returns:
        True where every value comes from the prompt alone.
    """
    # The first encoder sees only the prompt. A later one may start from noise, as a prior does,
    # unless it is a text encoder.
    first = set(model.family.encoder_stages[:1])
    read = [*(parse(term.site).site for term in terms if isinstance(term, DirectionTerm)), *sites]
    stages = {model.sites[site].stage for site in read}
    texts = {stage for stage in stages if stage.startswith("text")}
    labels = any(isinstance(term, LabelTerm) for term in terms)
    return not labels and stages <= (first | texts)


def measure_terms(
    evaluator: Evaluator,
    terms: Sequence[Term],
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    role: Role = "evaluation",
    log_odds: bool = False,
    sites: Sequence[str] = (),
    pool: str = "mean",
    edits: Sequence[Edit] = (),
) -> TermValues:
    """Measure every term, with one run for each way of pooling.

    Args:
        evaluator: Runs the model. Pictures are kept in its cache; activations alone are not, since
            reading them again costs little more than looking them up.
        terms: Terms of objectives.
        prompts: The prompts.
        seeds: Each prompt's seeds.
        role: Which classifiers predict the labels of pictures.
        log_odds: Take a label's log odds, instead of 1 where it is the likeliest and 0 elsewhere.
        sites: Addresses of extra sites to read.
        pool: How positions are pooled there, as in `Model.run`.
        edits: Edits that are made.

    Returns:
        The terms' values, and the activations of `sites`.
    """
    addresses: dict[str, list[str]] = defaultdict(list)
    for term in terms:
        if isinstance(term, DirectionTerm):
            addresses[term.pool].append(term.site)
    # Labels alone need a run too, which reads no site.
    if sites or not addresses:
        addresses[pool] += sites
    labels = [term for term in terms if isinstance(term, LabelTerm)]
    condition, design = Condition("terms", edits=tuple(edits)), Design.crossed(prompts, seeds)
    values: dict[Term, NDArray[np.float64]] = {}
    read: dict[str, SiteReading] = {}
    for number, (pooling, pooled_sites) in enumerate(addresses.items()):
        # Pictures are the same whatever is read: one run draws them.
        draws = bool(labels) and number == 0
        (drawing,) = evaluator.draw(
            [condition],
            design,
            read=pooled_sites,
            pool=pooling,
            pictures=draws,
            cached=bool(labels),
            description=None,
        )
        if draws:
            values |= {term: _label_values(term, drawing, role, log_odds) for term in labels}
        if pooling == pool:
            read = {site: drawing.sites[site] for site in sites}
        for term in terms:
            if isinstance(term, DirectionTerm) and term.pool == pooling:
                values[term] = _projections(term, drawing.sites[term.site])
    return TermValues(values, read)


def _label_values(
    term: LabelTerm, drawing: Drawing, role: Role, log_odds: bool
) -> NDArray[np.float64]:
    classifier = load_classifier(term.classifier, role=role)
    if not log_odds:
        return np.asarray(drawing.hits(classifier, term.label), np.float64)
    column = classifier.classes.index(term.label)
    probabilities = drawing.probabilities(classifier)[:, column].astype(np.float64)
    return np.asarray(logit(probabilities.clip(CLIP, 1 - CLIP)))


def _projections(term: DirectionTerm, reading: SiteReading) -> NDArray[np.float64]:
    """Projections on the direction, averaged over the term's steps; the last units may be cut."""
    steps = parse(term.site).steps
    chosen = [at for at, step in enumerate(reading.steps) if not steps or step in steps]
    values = reading.values[:, chosen, : len(term.direction)].mean(1)
    return np.asarray(values.astype(np.float64) @ term.direction)
