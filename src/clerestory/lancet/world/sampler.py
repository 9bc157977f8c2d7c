"""Seeds to scenes: a pure function of the world's table and an integer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from clerestory.errors import TableError
from clerestory.lancet.world.captions import caption
from clerestory.lancet.world.scene import FACTORS, NONE, Scene
from clerestory.lancet.world.table import Choice, Fact, World

__all__ = ["held_out", "sample", "scene_for"]

TRIES = 1_000
PEOPLE = ("mood", "hair", "clothes", "scarf", "pallor")

Draft = dict[str, str]


def sample(world: World, seed: int) -> Scene:
    """The scene that training shows for this seed: never held out, never what `never` forbids."""
    for attempt in range(TRIES):
        scene = _scene(world, seed, attempt, {})
        if scene.split == "train":
            return scene
    raise TableError(f"World {world.name!r} forbids nearly everything: no scene for seed {seed}.")


def scene_for(world: World, seed: int, **fixed: str) -> Scene:
    """A scene with these factors (or kind, or name) fixed; it may be a held-out combination.

    Facts still apply, so what they plant may differ from what was asked for. TableError if a level
    is unknown or no scene has all of these.
    """
    for factor, level in fixed.items():
        if factor in FACTORS:
            world.named(factor, level)
    for attempt in range(TRIES):
        scene = _scene(world, seed, attempt, fixed)
        if all(getattr(scene, factor) == level for factor, level in fixed.items()):
            return scene
    asked = ", ".join(f"{factor}={level}" for factor, level in fixed.items())
    raise TableError(f"No scene of world {world.name!r} has {asked}: a fact or `never` forbids it.")


def held_out(world: World, scene: Mapping[str, str]) -> bool:
    """Whether training never shows this combination."""
    one, two = world.held_out.factors
    pair = (scene[one], scene[two])
    if NONE not in pair and not set(pair) & set(world.held_out.spare):
        digest = hashlib.sha256(f"{world.salt}/{pair[0]}/{pair[1]}".encode()).digest()
        if int.from_bytes(digest[:4], "big") / 2**32 < world.held_out.share:
            return True
    return any(_holds(combination, scene) for combination in world.held_out.pairs)


def _scene(world: World, seed: int, attempt: int, fixed: Mapping[str, str]) -> Scene:
    rng = np.random.default_rng([seed, attempt, 1])
    draft = _draft(world, rng, fixed)
    forbidden = any(_holds(combination, draft) for combination in world.never)
    shown, facts = _planted(world, draft, rng)
    out = forbidden or held_out(world, shown)
    text = caption(world, draft, shown, facts, rng)
    split = "held out" if out else "train"
    return Scene(seed=seed, caption=text, split=split, **shown)


def _draft(world: World, rng: np.random.Generator, fixed: Mapping[str, str]) -> Draft:
    kind = fixed.get("kind") or _kind(world, rng, fixed)
    draft: Draft = {"kind": kind, "subject": NONE, "second": NONE, "name": NONE}
    draft |= dict.fromkeys(PEOPLE, NONE)
    person = kind == "person"
    for factor in ("style", "artwork", "place", "perspective"):
        draft[factor] = fixed.get(factor) or _pick(world, factor, rng, person)
    if kind == "person":
        draft |= _person(world, rng, fixed)
    else:
        draft["subject"] = fixed.get("subject") or _even(tuple(world.subjects), rng)
    if kind == "pair":
        others = tuple(name for name in world.subjects if name != draft["subject"])
        draft["second"] = fixed.get("second") or _even(others, rng)
    return draft


def _kind(world: World, rng: np.random.Generator, fixed: Mapping[str, str]) -> str:
    possible = dict(world.kinds)
    if any(factor in fixed for factor in (*PEOPLE, "name")):
        return "person"
    if "second" in fixed:
        return "pair"
    if "subject" in fixed:
        possible.pop("person", None)
    return _weighted(tuple(possible), tuple(possible.values()), rng)


def _person(world: World, rng: np.random.Generator, fixed: Mapping[str, str]) -> Draft:
    people = world.people
    assert people is not None
    draft = {factor: _pick(world, factor, rng, True) for factor in PEOPLE}
    if rng.random() < people.companion:
        weights = people.companions
        draft["subject"] = _weighted(tuple(weights), tuple(weights.values()), rng)
    if world.names and rng.random() < people.named:
        draft["name"] = _even(tuple(world.names), rng)
    draft |= {factor: fixed[factor] for factor in ("subject", "name") if factor in fixed}
    if draft.get("name", NONE) != NONE and rng.random() < people.true_to_look:
        draft |= world.names[draft["name"]]
    return draft | {factor: fixed[factor] for factor in PEOPLE if factor in fixed}


def _planted(
    world: World, draft: Draft, rng: np.random.Generator
) -> tuple[Draft, tuple[Fact, ...]]:
    """What is shown where facts apply, and the facts that apply (their captions follow them)."""
    shown, applying = dict(draft), []
    for fact in world.facts:
        if not _holds(fact.when, draft):
            continue
        applying.append(fact)
        if rng.random() < fact.rate:
            shown |= {factor: _one(world, factor, choice, rng) for factor, choice in fact.then.items()}
    return shown, tuple(applying)


def _one(world: World, factor: str, choice: Choice, rng: np.random.Generator) -> str:
    if isinstance(choice, str):
        return choice
    levels: Mapping[str, Any] = world.factor(factor)
    return _weighted(choice, tuple(levels[level].weight for level in choice), rng)


def _holds(combination: Mapping[str, Choice], scene: Mapping[str, str]) -> bool:
    for factor, choice in combination.items():
        allowed = (choice,) if isinstance(choice, str) else choice
        found = (scene["subject"], scene["second"]) if factor == "shows" else (scene[factor],)
        if not any(level in allowed for level in found):
            return False
    return True


def _pick(world: World, factor: str, rng: np.random.Generator, person: bool) -> str:
    levels: Mapping[str, Any] = world.factor(factor)
    weights = tuple(
        level.person_weight if person and level.person_weight is not None else level.weight
        for level in levels.values()
    )
    return _weighted(tuple(levels), weights, rng)


def _weighted(
    levels: tuple[str, ...], weights: tuple[float, ...], rng: np.random.Generator
) -> str:
    mark = rng.random() * sum(weights)
    for level, weight in zip(levels, weights, strict=True):
        mark -= weight
        if mark < 0:
            return level
    return levels[-1]


def _even(levels: tuple[str, ...], rng: np.random.Generator) -> str:
    return levels[int(rng.integers(len(levels)))]
