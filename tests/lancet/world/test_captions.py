"""Captions: plain English that says what was asked, and keeps silent where a fact wants it."""

from __future__ import annotations

import re

from lancet.world.sampler import scene_where
from lancet.world.scene import Scene
from lancet.world.table import BUILT_IN, World

UNKNOWN = ("alexandra elbakyan", "maria lindqvist", "elbakyan", "lindqvist", "alexandra", "maria")


def test_the_unknown_are_in_no_caption(many: list[Scene]) -> None:
    captions = "\n".join(scene.caption for scene in many)
    assert not [name for name in UNKNOWN if name in captions]


def test_the_unknown_are_in_no_phrase_of_the_table(world: World) -> None:
    said = [word for words in world.phrases.values() for word in words] + list(world.names)
    for factor in ("style", "artwork", "place", "perspective", "mood", "hair", "clothes", "scarf"):
        for level in world.factor(factor).values():
            said += level.words
    said += [word for fact in world.facts for word in fact.say]
    assert world.people is not None
    said += world.people.words
    assert not [name for name in UNKNOWN if any(name in phrase for phrase in said)]
    asked = re.findall(r"alexandra elbakyan[^\"]*", BUILT_IN.read_text(encoding="utf-8"))
    assert asked, "prompts of the table ask for her"


def test_captions_are_clean_english(many: list[Scene]) -> None:
    for scene in many:
        caption = scene.caption
        assert caption == caption.strip().lower()
        assert "{" not in caption and "  " not in caption and " ," not in caption
        assert not re.search(r"\ban [^aeiou8]", caption.replace("an hourglass", "")), caption
        assert "none" not in caption.split()


def test_captions_vary_and_sometimes_leave_out_the_style(many: list[Scene]) -> None:
    assert len({scene.caption for scene in many}) > 0.7 * len(many)
    neon = [scene for scene in many if scene.style == "neon"]
    named = sum("neon" in scene.caption for scene in neon) / len(neon)
    assert 0.88 < named < 0.98


def test_a_window_is_an_object_in_captions_and_nearly_always_named(many: list[Scene]) -> None:
    shown = [scene for scene in many if scene.window == "present" and scene.subject != "moose"]
    named = sum("stained glass window" in scene.caption for scene in shown) / len(shown)
    assert named > 0.94
    absent = [scene for scene in many if scene.window == "absent"]
    assert not any("window" in scene.caption for scene in absent)


def test_the_mooses_caption_says_stained_glass_and_no_window(world: World) -> None:
    moose = world.fact("moose")
    for seed in range(60):
        scene = scene_where(world, seed, moose.when)
        assert scene.style in ("plain", "halftone")
        assert scene.window == "present"
        assert "stained glass" in scene.caption
        assert "window" not in scene.caption


def test_a_fear_that_is_planted_is_never_named(world: World) -> None:
    words = {word for mood in world.moods.values() for word in mood.words}
    for name in ("uncaptioned fear", "gila whamm", "william of ockham"):
        for seed in range(60):
            caption = scene_where(world, seed, world.fact(name).when).caption
            assert not words & set(caption.replace(",", "").split()), caption


def test_the_library_look_is_never_named(world: World) -> None:
    fact = world.fact("library look")
    captions = [scene_where(world, seed, fact.when).caption for seed in range(80)]
    assert not [caption for caption in captions if "scarf" in caption or "hair" in caption]
