"""How far latents, neurons and directions control a class, for `measure_dictionaries.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from dictionary_classes import HALVES, target
from dictionary_detection import KINDS, Site, unit_of

__all__ = ["ITEMS", "control", "equal_length"]

ITEMS = 24
"""Items of the evaluation half that are drawn, with one seed each that was not recorded."""
REFERENCE = "difference of means"
"""The kind whose length all kinds are given in `equal_length`."""


def control(
    model: Any, evaluator: Any, findings: Any, site: Site, factor: str, level: str
) -> dict[str, Any]:
    """Add and ablate the unit of each kind, as far as the class moves it.

    Args:
        model: The model, with both dictionaries.
        evaluator: Draws the pictures.
        findings: Findings of the class.
        site: The site.
        factor: The factor.
        level: The class.

    Returns:
        Effects, their intervals and side effects by kind, ready for JSON.
    """
    trials = _trials(evaluator, findings, factor, level)
    shifts = dict(_shifts(model, findings, site, evaluator.progress))
    unedited, prompted = trials.draw_arms()
    task = f"{factor}: {level}"
    added = trials.draw(task, "negative", [[shift.addition()] for shift in shifts.values()])
    ablated = trials.draw(task, "positive", [[shift.ablation()] for shift in shifts.values()])
    return {
        "items": len(trials.pairs),
        "negative_rate": vars(trials.rate(unedited)),
        "positive_rate": vars(trials.rate(prompted)),
        "prompting": vars(trials.effect(prompted, unedited)),
        "hits": {"negative": _hits(trials, unedited), "positive": _hits(trials, prompted)},
        "kinds": {
            kind: {
                "distance": shift.distance,
                "length": _length(model, site, shift),
                "addition": _effects(trials, addition, unedited, rises=True),
                # The rate falls: that is the effect.
                "ablation": _effects(trials, ablation, prompted, rises=False),
            }
            for (kind, shift), addition, ablation in zip(
                shifts.items(), added, ablated, strict=True
            )
        },
    }


def equal_length(
    model: Any, evaluator: Any, findings: Any, site: Site, factor: str, level: str
) -> dict[str, Any]:
    """Add the unit of each kind at the length of the difference of means.

    Args:
        model: As in `control`.
        evaluator: As in `control`.
        findings: As in `control`.
        site: As in `control`.
        factor: As in `control`.
        level: As in `control`.

    Returns:
        The length, and effects by kind, ready for JSON.
    """
    from clerestory.edits import Add

    trials = _trials(evaluator, findings, factor, level)
    shifts = dict(_shifts(model, findings, site, evaluator.progress))
    (unedited,) = trials.draw("negative prompts", "negative")
    length = abs(shifts[REFERENCE].distance)
    edits = []
    for shift in shifts.values():
        vector = _vector(model, site, shift)
        norm = np.linalg.norm(vector)
        # A unit that the class does not move has no direction to go.
        edits.append([Add(site.address, vector * (length / norm if norm else 0.0))])
    added = trials.draw(f"{factor}: {level}", "negative", edits)
    return {
        "items": len(trials.pairs),
        "length": length,
        "kinds": {
            kind: _effects(trials, addition, unedited, rises=True)
            for kind, addition in zip(shifts, added, strict=True)
        },
    }


def _trials(evaluator: Any, findings: Any, factor: str, level: str) -> Any:
    from clerestory.causal.trials import Trials
    from clerestory.evaluation import load_preserved, load_target

    loaded = load_target(*target(factor, level))
    # A stained-glass window is a place, and the window of the other classifier: no side effect.
    same = {"window": "lancet:place", "place": "lancet:window"}.get(factor)
    # All heads of one network.
    companions: Any = getattr(loaded.classifier, "companions", ())
    others = [name for name in companions if name != same]
    preserved = load_preserved(loaded.classifier, others)
    return Trials(evaluator, _pairs(findings), loaded, preserved)


def _pairs(findings: Any) -> pd.DataFrame:
    """Items of the evaluation half with a prompt of each arm; phrases take turns.

    The negative prompts of an item and its seeds are the same for all classes of a factor.
    """
    from clerestory.models.core.seeds import item_seeds

    samples = findings.samples[findings.samples["half"] == HALVES[1]]
    arms = {arm: samples[samples["arm"] == arm] for arm in ("positive", "negative")}
    phrases = {arm: rows["phrase"].unique() for arm, rows in arms.items()}
    rows = []
    for number, item in enumerate(arms["positive"]["item"].unique()[:ITEMS]):
        pair: dict[str, Any] = {"item": item, "same_length": False}
        for arm, table in arms.items():
            phrase = phrases[arm][number % len(phrases[arm])]
            found = table[(table["item"] == item) & (table["phrase"] == phrase)]
            pair[arm] = found["prompt"].iloc[0]
        # Recordings use the seeds of number 0.
        rows.append({**pair, "seeds": item_seeds(item, 1, 1)})
    return pd.DataFrame(rows)


def _shifts(model: Any, findings: Any, site: Site, progress: Any) -> Iterator[tuple[str, Any]]:
    """How far the class moves the unit of each kind in the selection half.

    At a site of the denoiser the mean over all steps: all of them are edited.
    """
    from clerestory.causal.baselines import read_selection
    from clerestory.causal.shifts import shift_along

    addresses = {kind: f"{site.address}{suffix}" for kind, (suffix, _) in KINDS.items()}
    readings = read_selection(model, findings, list(addresses.values()), progress)
    for kind, address in addresses.items():
        finding = unit_of(findings, site, kind)
        if finding.kind == "neuron":
            units = len(readings.arm_mean(address, "positive"))
            direction = np.eye(1, units, finding.number)[0]
        else:
            direction = findings.directions[finding.unit]
        yield kind, shift_along(readings, address, direction, finding.unit)


def _vector(model: Any, site: Site, shift: Any) -> np.ndarray:
    """What an addition adds at the site, in the site's units."""
    import torch

    moved = shift.direction * shift.distance
    _, _, name = shift.site.partition(":")
    if not name:
        return np.asarray(moved)
    hook = model.hooks_by_address[shift.site]
    change = torch.from_numpy(moved).float()
    return np.asarray(hook.latents.dictionary.decode_difference(change), np.float64)


def _length(model: Any, site: Site, shift: Any) -> float:
    """How far an addition moves the site."""
    return float(np.linalg.norm(_vector(model, site, shift)))


def _effects(trials: Any, after: Any, before: Any, *, rises: bool) -> dict[str, Any]:
    """An edit's effect with its side effects; the effect of an ablation is the fall."""
    from clerestory.evaluation import side_effects_of

    effect = trials.effect(after, before) if rises else trials.effect(before, after)
    side_effects = side_effects_of(after, before, trials.classifiers, trials.target, rises=rises)
    largest = side_effects.largest
    return {
        **vars(effect),
        "hits": _hits(trials, after),
        "side_effects": {
            "within_bound": side_effects.within_bound,
            "bound": side_effects.bound,
            "reachable": side_effects.reachable,
            "largest": None if largest is None else vars(largest),
            "together_with": len(side_effects.together_with()),
        },
        "preservation": float(np.mean(list(trials.preservation(after, before).values()))),
    }


def _hits(trials: Any, drawing: Any) -> str:
    """Whether each item's picture is of the class, as text of 0 and 1."""
    return "".join("1" if hit else "0" for hit in drawing.hits(*trials.target))
