"""Measures the terms of objectives, running the model only as far as the terms need."""

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
"""Probabilities are clipped to [CLIP, 1 - CLIP], so that their log odds are finite."""


@dataclass(frozen=True, eq=False)
class TermValues:
    """Values of terms for each prompt and seed; the seed is the faster index.

    Attributes:
        values: `[prompt × seed]` for each term.
        sites: Activations of the extra sites, by address.
    """

    values: Mapping[Term, NDArray[np.float64]] = field(repr=False)
    sites: Mapping[str, SiteReading] = field(repr=False)


def is_seed_independent(model: Model, terms: Sequence[Term], sites: Sequence[str] = ()) -> bool:
    """Whether the values of terms, and of extra sites, do not depend on the seed.

    Args:
        model: The model.
        terms: Terms of an objective.
        sites: Addresses of extra sites to read.

    Returns:
        True if every value depends on the prompt alone.
    """
    # A picture depends on its noise.
    if any(isinstance(term, LabelTerm) for term in terms):
        return False
    term_sites = [parse(term.site).site for term in terms if isinstance(term, DirectionTerm)]
    stages = {model.sites[site].stage for site in (*term_sites, *sites)}
    # The first encoder and text encoders see only the prompt. Other encoders may start from noise,
    # as a prior does.
    return all(
        stage in model.family.encoder_stages[:1] or stage.startswith("text") for stage in stages
    )


def measure_terms(
    evaluator: Evaluator,
    terms: Sequence[Term],
    prompts: Sequence[str],
    seeds: Sequence[int] | Sequence[tuple[int, ...]],
    *,
    role: Role = "evaluation",
    log_odds: bool = False,
    sites: Sequence[str] = (),
    pool: str = "mean",
    edits: Sequence[Edit] = (),
) -> TermValues:
    """Measure every term, with one run of the model for each kind of pooling.

    Args:
        evaluator: Runs the model. Its cache stores pictures, but not activations without pictures:
            reading them again costs little more than a look-up.
        terms: Terms of objectives.
        prompts: The prompts.
        seeds: Seeds of every prompt, or a tuple of seeds for each, all of one length.
        role: Which of two classifiers of a name predicts labels.
        log_odds: Whether the value of a label is its log odds. If False, it is 1 where the label is
            the likeliest class and 0 elsewhere.
        sites: Addresses of extra sites to read.
        pool: How positions of the extra sites are pooled, as in `Model.run`.
        edits: Edits of the model's activations.

    Returns:
        The values of the terms, and the activations of `sites`.
    """
    sites_by_pool: dict[str, list[str]] = defaultdict(list)
    for term in terms:
        if isinstance(term, DirectionTerm):
            sites_by_pool[term.pool].append(term.site)
    # Labels without directions need a run too, which reads no site.
    if sites or not sites_by_pool:
        sites_by_pool[pool] += sites
    labels = [term for term in terms if isinstance(term, LabelTerm)]
    condition = Condition("terms", edits=tuple(edits))
    # Tuples are seeds of each prompt's own; plain integers belong to all prompts.
    own = [each for each in seeds if isinstance(each, tuple)]
    common = [each for each in seeds if not isinstance(each, tuple)]
    design = Design(tuple(prompts), tuple(own)) if own else Design.crossed(prompts, common)
    values: dict[Term, NDArray[np.float64]] = {}
    extra: dict[str, SiteReading] = {}
    for number, (run_pool, run_sites) in enumerate(sites_by_pool.items()):
        # Pictures do not depend on the pooling: only the first run draws them.
        pictures = bool(labels) and number == 0
        (drawing,) = evaluator.draw(
            [condition],
            design,
            read=run_sites,
            pool=run_pool,
            pictures=pictures,
            # Pictures are worth keeping; activations of a search's prompts are each used once.
            cached=bool(labels),
            description=None,
        )
        if pictures:
            values |= {term: _label_values(term, drawing, role, log_odds) for term in labels}
        if run_pool == pool:
            extra = {site: drawing.sites[site] for site in sites}
        for term in terms:
            if isinstance(term, DirectionTerm) and term.pool == run_pool:
                values[term] = _projections(term, drawing.sites[term.site])
    return TermValues(values, extra)


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
    """Projections on the direction, averaged over the steps of the term, `[cell]`."""
    term.check_width(reading.values.shape[-1])
    steps = parse(term.site).steps
    selected = [index for index, step in enumerate(reading.steps) if not steps or step in steps]
    # Units that the direction lacks at the end count as 0.
    values = reading.values[:, selected, : len(term.direction)].mean(1)
    return np.asarray(values.astype(np.float64) @ term.direction)
