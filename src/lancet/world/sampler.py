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

Draft = dict[str, str]


def sample(world: World, seed: int) -> Scene:
    """The scene that training shows for this seed: never held out, never what `never` forbids.

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

    Facts still apply, so what they plant may differ from what was asked for. TableError if a level
    is unknown or no scene has all of these.

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
    """A scene of training that was *asked* for with `condition` (or without it) and shows `fixed`.

    `condition` is a fact's `when`: where it holds the fact applies, at its rate, so that the scene
    may show something else than was asked. TableError if no scene is so.

    Args:
        world: The world.
        seed: Any whole number from 0.
        condition: A level, or several, by factor.
        fixed: What the scene shows, a level by factor.
        holds: Whether the condition holds of what was asked, or does not.

    Returns:
        The scene, always the same one.

    Raises:
        TableError: A level is unknown, or no scene is so.
    """
    fixed = fixed or {}
    for factor, level in fixed.items():
        world.named(factor, level)
    for attempt in range(TRIES):
        rng = np.random.default_rng([seed, attempt, 3])
        wanted = {**fixed, **_chosen(world, condition, rng)} if holds else fixed
        asked, scene = _scene(world, seed, attempt, wanted)
        right = _holds(condition, asked) == holds and _shows(scene, fixed)
        if right and scene.split == "train":
            return scene
    where = f"{'' if holds else 'not '}({_describe(condition)})"
    raise TableError(
        f"No scene of world {world.name!r} has {where} and {_describe(fixed) or 'more'}."
    )


def _chosen(
    world: World, condition: Mapping[str, Choice], rng: np.random.Generator
) -> dict[str, str]:
    """One level of each factor that a condition names, and a kind of scene that can have them."""
    chosen = {
        factor: choice if isinstance(choice, str) else _even(choice, rng)
        for factor, choice in condition.items()
    }
    if "shows" in chosen:
        chosen["subject"] = chosen.pop("shows")
        companions = world.people.companions if world.people else {}
        kinds = [
            kind for kind in world.kinds if kind != "person" or chosen["subject"] in companions
        ]
        shares = tuple(world.kinds[kind] for kind in kinds)
        chosen = {"kind": _weighted(tuple(kinds), shares, rng), **chosen}
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
        True where a named combination holds, or the lot of the salt has drawn a pair.
    """
    one, two = world.held_out.factors
    pairs = [(a, b) for a in _both(scene, one) for b in _both(scene, two)]
    if any(_drawn(world, pair) for pair in pairs):
        return True
    return any(_holds(combination, scene) for combination in world.held_out.pairs)


def _both(scene: Mapping[str, str], factor: str) -> tuple[str, ...]:
    """A scene's level of a factor; of `subject` the second object's too."""
    if factor != "subject":
        return (scene[factor],)
    return (scene["subject"], scene.get("second", NONE))


def _drawn(world: World, pair: tuple[str, str]) -> bool:
    """Whether the lot of the world's salt holds this pair of levels out."""
    if NONE in pair or set(pair) & set(world.held_out.spare):
        return False
    digest = hashlib.sha256(f"{world.salt}/{pair[0]}/{pair[1]}".encode()).digest()
    # By a digest and not by a generator: whether one pair is held out depends on no other level.
    return int.from_bytes(digest[:4], "big") / 2**32 < world.held_out.share


def _scene(world: World, seed: int, attempt: int, fixed: Mapping[str, str]) -> tuple[Draft, Scene]:
    """What was asked, and the scene that shows it as far as facts let it."""
    # The last number tells streams apart: 1 samples, 2 draws, 3 chooses conditions.
    rng = np.random.default_rng([seed, attempt, 1])
    draft = _draft(world, rng, fixed)
    shown, facts = _planted(world, draft, rng)
    forbidden = any(_holds(each, draft) or _holds(each, shown) for each in world.never)
    out = forbidden or held_out(world, shown)
    text = caption(world, draft, shown, facts, rng)
    split = "held out" if out else "train"
    return draft, Scene(seed=seed, caption=text, split=split, **shown)


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
        draft["subject"] = fixed.get("subject") or _subject(world, tuple(world.subjects), rng)
    if kind == "pair":
        others = tuple(name for name in world.subjects if name != draft["subject"])
        draft["second"] = fixed.get("second") or _subject(world, others, rng)
    return draft


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
    return _weighted(tuple(possible), tuple(possible.values()), rng)


def _person(world: World, rng: np.random.Generator, fixed: Mapping[str, str]) -> Draft:
    people = world.people
    assert people is not None
    draft = {factor: _pick(world, factor, rng, True) for factor in PEOPLE}
    if rng.random() < people.companion:
        weights = people.companions
        draft["subject"] = _weighted(tuple(weights), tuple(weights.values()), rng)
    mark = rng.random() if world.names or world.strangers else 1.0
    if world.names and mark < people.named:
        draft["name"] = _even(tuple(world.names), rng)
    elif world.strangers and mark < people.named + people.strange:
        draft["name"] = _stranger(world.strangers, rng)
    draft |= {factor: fixed[factor] for factor in ("subject", "name") if factor in fixed}
    if draft.get("name") in world.names and rng.random() < people.true_to_look:
        draft |= world.names[draft["name"]]
    return draft | {factor: fixed[factor] for factor in PEOPLE if factor in fixed}


def _stranger(strangers: Strangers, rng: np.random.Generator) -> str:
    given = _even(strangers.given, rng)
    return given if rng.random() < 0.2 else f"{given} {_even(strangers.family, rng)}"


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
            for factor, choice in fact.then.items():
                shown[factor] = _one(world, factor, choice, rng)
    return shown, tuple(applying)


def _subject(world: World, names: tuple[str, ...], rng: np.random.Generator) -> str:
    weights = tuple(world.subject_weights.get(name, 1.0) for name in names)
    return _weighted(names, weights, rng)


def _one(world: World, factor: str, choice: Choice, rng: np.random.Generator) -> str:
    if isinstance(choice, str):
        return choice
    levels: Mapping[str, Any] = world.factor(factor)
    weights = tuple(getattr(levels[level], "weight", 1.0) for level in choice)
    return _weighted(choice, weights, rng)


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


def _weighted(levels: tuple[str, ...], weights: tuple[float, ...], rng: np.random.Generator) -> str:
    mark = rng.random() * sum(weights)
    for level, weight in zip(levels, weights, strict=True):
        mark -= weight
        if mark < 0:
            return level
    return levels[-1]


def _even(levels: tuple[str, ...], rng: np.random.Generator) -> str:
    return levels[int(rng.integers(len(levels)))]
