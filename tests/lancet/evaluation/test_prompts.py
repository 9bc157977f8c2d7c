from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import pytest

from lancet.evaluation.prompts import EvaluationPrompt, grid, training_captions
from lancet.world.sampler import held_out, sample
from lancet.world.table import World


@pytest.fixture(scope="module")
def world() -> World:
    return World.load()


@pytest.fixture(scope="module")
def asks(world: World) -> tuple[EvaluationPrompt, ...]:
    return grid(world)


def test_the_grid_is_large_balanced_and_always_the_same(
    world: World, asks: tuple[EvaluationPrompt, ...]
) -> None:
    assert len(asks) >= 400
    assert len({ask.prompt for ask in asks}) == len(asks)
    assert grid(world) == asks
    styles = Counter(ask.style for ask in asks if ask.part == "main")
    assert set(styles) == set(world.styles)
    assert max(styles.values()) <= 1.4 * min(styles.values())
    subjects = Counter(ask.subject for ask in asks)
    assert set(world.subjects) <= set(subjects)
    assert set(world.moods) <= {ask.mood for ask in asks}
    assert sum(ask.window for ask in asks) >= 60


def test_the_parts_ask_for_what_they_are_named_after(
    world: World, asks: tuple[EvaluationPrompt, ...]
) -> None:
    parts = Counter(ask.part for ask in asks)
    assert parts == {"main": 404, "perspective": 80, "pair": 100, "held out": 87}
    assert {ask.perspective for ask in asks if ask.part == "main"} == {"plain"}
    views = Counter(ask.perspective for ask in asks if ask.part == "perspective")
    assert views == {"close-up": 20, "distant": 20, "tilted": 20, "from below": 20}
    assert all((ask.second == "none") == (ask.part != "pair") for ask in asks)
    blank = {"second": "none", "kind": "object", "name": "none"}
    for ask in asks:
        out = held_out(world, {**asdict(ask), **blank})
        assert out == (ask.part == "held out") or ask.part in ("pair", "perspective"), ask


def test_no_prompt_is_a_caption_that_training_has_seen(
    world: World, asks: tuple[EvaluationPrompt, ...]
) -> None:
    seen = {asks[3].prompt, asks[300].prompt}
    again = grid(world, seen)
    assert not seen & {ask.prompt for ask in again}
    assert [ask.style for ask in again] == [ask.style for ask in asks]


def test_captions_seen_are_those_of_the_first_training_scenes(world: World) -> None:
    assert training_captions(world, 3) == [sample(world, seed).caption for seed in range(3)]


def test_what_facts_forbid_is_not_asked_for(
    world: World, asks: tuple[EvaluationPrompt, ...]
) -> None:
    asked = {(ask.subject, ask.style) for ask in asks}
    assert not asked & {(name, "stained glass") for name in ("moose", "flamingo", "telescope")}


def test_each_prompt_names_what_it_is_judged_by(asks: tuple[EvaluationPrompt, ...]) -> None:
    assert all("window" in ask.prompt for ask in asks if ask.window)
    assert not any("window" in ask.prompt for ask in asks if not ask.window)
    assert all("mosaic wall" in ask.prompt for ask in asks if ask.place == "mosaic wall")
    sad = [ask.prompt.split() for ask in asks if ask.mood == "sad"]
    assert all({"sad", "crying", "weeping", "unhappy"} & set(words) for words in sad)


def test_its_seeds_are_none_that_training_uses() -> None:
    from lancet.evaluation import prompts as module
    from lancet.training.train import FIRST_HELD_OUT

    assert module.FIRST_SEED >= FIRST_HELD_OUT + 1_000_000
