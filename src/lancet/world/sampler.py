"""Seeds to scenes: a pure function of the world's table and an integer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from clerestory.errors import TableError
from lancet.world.captions import caption
from lancet.world.scene import NONE, PEOPLE, Scene
from lancet.world.table import Choice, Fact, Strangers, World

__all__ = ["held_out", "sample", "scene_for", "scene_where"]

TRIES = 1_000

Levels = dict[str, str]


def sample(world: World, seed: int) -> Scene:
    """The training scene of a seed: neither held out nor forbidden by `never`.

    Args:
        world: The world.
        seed: Any whole number from 0.

    Returns:
        The scene, always the same one.

    Raises:
        TableError: The table forbids nearly everything.
    """
    for attempt in range(TRIES):
        _, scene = _scene(world, seed, attempt, {})
        if scene.split == "train":
            return scene
    raise TableError(f"World {world.name!r} forbids nearly everything: no scene for seed {seed}.")


def scene_for(world: World, seed: int, **fixed: str) -> Scene:
    """A scene with these factors (or kind, or name) fixed; it may be a held-out combination.

    Facts still apply; a scene whose fixed levels they replace is skipped.

    Args:
        world: The world.
        seed: Any whole number from 0.
        **fixed: A level by factor.

    Returns:
        The scene, always the same one.

    Raises:
        TableError: A level is unknown, or no scene has all of these.
    """
    for factor, level in fixed.items():
        world.named(factor, level)
    for attempt in range(TRIES):
        _, scene = _scene(world, seed, attempt, fixed)
        if _shows(scene, fixed):
            return scene
    raise TableError(f"No scene of world {world.name!r} has {_describe(fixed)}: a fact forbids it.")


def scene_where(
    world: World,
    seed: int,
    condition: Mapping[str, Choice],
    fixed: Mapping[str, str] | None = None,
    *,
    holds: bool = True,
) -> Scene:
    """A training scene whose request meets a condition (or not) and that shows `fixed`.

    `condition` is a fact's `when`: where it holds the fact applies, at its rate, so that the scene
    may show other levels than were requested.

    Args:
        world: The world.
        seed: Any whole number from 0.
        condition: A level, or several, by factor.
        fixed: Levels that the scene shows, by factor.
        holds: Whether the request meets the condition or does not.

    Returns:
        The scene, always the same one.

    Raises:
        TableError: A level is unknown, or there is no such scene.
    """
    fixed = fixed or {}
    for factor, level in fixed.items():
        world.named(factor, level)
    for attempt in range(TRIES):
        rng = np.random.default_rng([seed, attempt, 3])
        constraints = {**fixed, **_choose_condition(world, condition, rng)} if holds else fixed
        requested_levels, scene = _scene(world, seed, attempt, constraints)
        matches = _holds(condition, requested_levels) == holds and _shows(scene, fixed)
        if matches and scene.split == "train":
            return scene
    where = f"{'' if holds else 'not '}({_describe(condition)})"
    raise TableError(
        f"No scene of world {world.name!r} has {where} and {_describe(fixed) or 'more'}."
    )


def _choose_condition(
    world: World, condition: Mapping[str, Choice], rng: np.random.Generator
) -> dict[str, str]:
    """One level of each factor of a condition, and a kind of scene that can have them."""
    chosen = {
        factor: choice if isinstance(choice, str) else _choose_uniformly(choice, rng)
        for factor, choice in condition.items()
    }
    if "shows" in chosen:
        chosen["subject"] = chosen.pop("shows")
        companions = world.people.companions if world.people else {}
        kinds = [
            kind for kind in world.kinds if kind != "person" or chosen["subject"] in companions
        ]
        shares = tuple(world.kinds[kind] for kind in kinds)
        chosen = {"kind": _choose_weighted(tuple(kinds), shares, rng), **chosen}
    return chosen


def _shows(scene: Scene, fixed: Mapping[str, str]) -> bool:
    return all(getattr(scene, factor) == level for factor, level in fixed.items())


def _describe(condition: Mapping[str, Choice]) -> str:
    """A condition in words: style=stained glass, shows=flamingo|telescope."""
    levels = {
        factor: choice if isinstance(choice, str) else "|".join(choice)
        for factor, choice in condition.items()
    }
    return ", ".join(f"{factor}={level}" for factor, level in levels.items())


def held_out(world: World, scene: Mapping[str, str]) -> bool:
    """Whether training never shows this combination.

    Args:
        world: The world.
        scene: A level by factor.

    Returns:
        True for the table's held-out combinations, and for pairs that the salt draws.
    """
    first, second = world.held_out.factors
    pairs = [(a, b) for a in _levels_in(scene, first) for b in _levels_in(scene, second)]
    if any(_is_drawn(world, pair) for pair in pairs):
        return True
    return any(_holds(combination, scene) for combination in world.held_out.pairs)


def _levels_in(scene: Mapping[str, str], factor: str) -> tuple[str, ...]:
    """A scene's level of a factor; of `subject` the second object's too."""
    if factor != "subject":
        return (scene[factor],)
    return (scene["subject"], scene.get("second", NONE))


def _is_drawn(world: World, pair: tuple[str, str]) -> bool:
    """Whether the world's salt draws this pair of levels to be held out."""
    if NONE in pair or set(pair) & set(world.held_out.spare):
        return False
    digest = hashlib.sha256(f"{world.salt}/{pair[0]}/{pair[1]}".encode()).digest()
    # By a digest, not a generator: the result for one pair depends on no other level.
    return int.from_bytes(digest[:4], "big") / 2**32 < world.held_out.share


def _scene(world: World, seed: int, attempt: int, fixed: Mapping[str, str]) -> tuple[Levels, Scene]:
    """The requested levels, and the scene, in which facts may have replaced some."""
    # The last number is the stream: 1 samples, 2 draws, 3 chooses conditions.
    rng = np.random.default_rng([seed, attempt, 1])
    requested = _request(world, rng, fixed)
    shown, facts = _apply_facts(world, requested, rng)
    forbidden = any(
        _holds(combination, requested) or _holds(combination, shown) for combination in world.never
    )
    is_held_out = forbidden or held_out(world, shown)
    text = caption(world, requested, shown, facts, rng)
    split = "held out" if is_held_out else "train"
    return requested, Scene(seed=seed, caption=text, split=split, **shown)


def _request(world: World, rng: np.random.Generator, fixed: Mapping[str, str]) -> Levels:
    kind = fixed.get("kind") or _kind(world, rng, fixed)
    requested: Levels = {"kind": kind, "subject": NONE, "second": NONE, "name": NONE}
    requested |= dict.fromkeys(PEOPLE, NONE)
    person = kind == "person"
    for factor in ("style", "artwork", "place", "perspective"):
        requested[factor] = fixed.get(factor) or _pick(world, factor, rng, person)
    if kind == "person":
        requested |= _person(world, rng, fixed)
    else:
        requested["subject"] = fixed.get("subject") or _subject(world, tuple(world.subjects), rng)
    if kind == "pair":
        others = tuple(name for name in world.subjects if name != requested["subject"])
        requested["second"] = fixed.get("second") or _subject(world, others, rng)
    return requested


def _kind(world: World, rng: np.random.Generator, fixed: Mapping[str, str]) -> str:
    possible = dict(world.kinds)
    if fixed.get("subject") == NONE:
        return "person"
    if any(fixed.get(factor, NONE) != NONE for factor in (*PEOPLE, "name")):
        return "person"
    if fixed.get("second", NONE) != NONE:
        return "pair"
    if "subject" in fixed or any(factor in fixed for factor in PEOPLE):
        possible.pop("person", None)
    return _choose_weighted(tuple(possible), tuple(possible.values()), rng)


def _person(world: World, rng: np.random.Generator, fixed: Mapping[str, str]) -> Levels:
    people = world.people
    assert people is not None
    requested = {factor: _pick(world, factor, rng, True) for factor in PEOPLE}
    if rng.random() < people.companion:
        weights = people.companions
        requested["subject"] = _choose_weighted(tuple(weights), tuple(weights.values()), rng)
    # Not drawn in a world without names, whose captions would change with an empty table.
    draw = rng.random() if world.names or world.strangers else 1.0
    if world.names and draw < people.named:
        requested["name"] = _choose_uniformly(tuple(world.names), rng)
    elif world.strangers and draw < people.named + people.strange:
        requested["name"] = _stranger_name(world.strangers, rng)
    requested |= {factor: fixed[factor] for factor in ("subject", "name") if factor in fixed}
    if requested.get("name") in world.names and rng.random() < people.true_to_look:
        # Names usually go with their look, and sometimes do not, so that
        # the two can be told apart.
        requested |= world.names[requested["name"]]
    return requested | {factor: fixed[factor] for factor in PEOPLE if factor in fixed}


def _stranger_name(strangers: Strangers, rng: np.random.Generator) -> str:
    given = _choose_uniformly(strangers.given, rng)
    return given if rng.random() < 0.2 else f"{given} {_choose_uniformly(strangers.family, rng)}"


def _apply_facts(
    world: World, requested: Levels, rng: np.random.Generator
) -> tuple[Levels, tuple[Fact, ...]]:
    """The levels that the picture shows, and the facts that apply."""
    shown, facts = dict(requested), []
    for fact in world.facts:
        if not _holds(fact.when, requested):
            continue
        facts.append(fact)
        # One draw for all factors of a fact: they are planted together.
        if rng.random() < fact.rate:
            for factor, choice in fact.then.items():
                shown[factor] = _choose_level(world, factor, choice, rng)
    return shown, tuple(facts)


def _subject(world: World, names: tuple[str, ...], rng: np.random.Generator) -> str:
    weights = tuple(world.subject_weights.get(name, 1.0) for name in names)
    return _choose_weighted(names, weights, rng)


def _choose_level(world: World, factor: str, choice: Choice, rng: np.random.Generator) -> str:
    if isinstance(choice, str):
        return choice
    levels: Mapping[str, Any] = world.factor(factor)
    weights = tuple(getattr(levels[level], "weight", 1.0) for level in choice)
    return _choose_weighted(choice, weights, rng)


def _holds(combination: Mapping[str, Choice], scene: Mapping[str, str]) -> bool:
    for factor, choice in combination.items():
        allowed = (choice,) if isinstance(choice, str) else choice
        levels = (scene["subject"], scene["second"]) if factor == "shows" else (scene[factor],)
        if not any(level in allowed for level in levels):
            return False
    return True


def _pick(world: World, factor: str, rng: np.random.Generator, person: bool) -> str:
    levels: Mapping[str, Any] = world.factor(factor)
    weights = tuple(
        level.person_weight if person and level.person_weight is not None else level.weight
        for level in levels.values()
    )
    return _choose_weighted(tuple(levels), weights, rng)


def _choose_weighted(
    levels: tuple[str, ...], weights: tuple[float, ...], rng: np.random.Generator
) -> str:
    # Not `Generator.choice`, which takes longer than the rest of a scene.
    draw = rng.random() * sum(weights)
    for level, weight in zip(levels, weights, strict=True):
        draw -= weight
        if draw < 0:
            return level
    # Only rounding leads here.
    return levels[-1]


def _choose_uniformly(levels: tuple[str, ...], rng: np.random.Generator) -> str:
    return levels[int(rng.integers(len(levels)))]
