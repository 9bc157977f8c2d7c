"""Sampling: pure, bounded by what is forbidden and held out, and true to the facts' rates."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

import clerestory
from clerestory.errors import TableError
from lancet.world.sampler import held_out, sample, scene_for, scene_where
from lancet.world.scene import FACTORS, NONE, Scene
from lancet.world.table import World

TOLD = """
from lancet.world.sampler import sample
from lancet.world.table import World
world = World.load()
print([sample(world, seed) for seed in range(40)])
"""


def _share(scenes: list[Scene], right: Callable[[Scene], bool]) -> float:
    assert len(scenes) > 80, "too few scenes to say a rate"
    return sum(map(right, scenes)) / len(scenes)


def test_a_seed_gives_the_same_scene_again(world: World) -> None:
    assert [sample(world, seed) for seed in range(50)] == [sample(world, s) for s in range(50)]
    assert len({sample(world, seed).caption for seed in range(50)}) > 45


def test_another_process_with_another_hash_seed_samples_the_same(world: World) -> None:
    source = str(Path(clerestory.__file__).parents[1])
    surroundings = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", TOLD], capture_output=True, text=True, check=True, env=surroundings
    )
    assert done.stdout.strip() == str([sample(world, seed) for seed in range(40)])


def test_every_factor_of_a_scene_is_a_level_of_the_table(world: World, many: list[Scene]) -> None:
    for factor in FACTORS:
        assert {getattr(scene, factor) for scene in many[:3000]} <= set(world.levels(factor))


def test_training_never_shows_what_is_held_out_or_forbidden(
    world: World, many: list[Scene]
) -> None:
    for scene in many:
        assert scene.split == "train"
        assert not held_out(world, asdict(scene))
        assert not (scene.kind == "person" and (scene.subject, scene.place) == ("raven", "library"))
        assert not (scene.kind == "person" and (scene.subject, scene.place) == ("owl", "church"))


def test_about_one_in_twenty_pairs_of_subject_and_style_is_held_out(world: World) -> None:
    rest = {"mood": NONE, "place": "meadow"}
    styles = [style for style in world.styles if style != "plain"]
    pairs = [(subject, style) for subject in world.subjects for style in styles]
    out = [held_out(world, {"subject": one, "style": two, **rest}) for one, two in pairs]
    assert 0.03 < sum(out) / len(out) < 0.07


def test_the_second_of_two_objects_is_held_out_as_the_first_is(
    world: World, many: list[Scene]
) -> None:
    out = [
        (subject, style)
        for subject in world.subjects
        for style in world.styles
        if held_out(world, {"subject": subject, "style": style, "mood": NONE, "place": "meadow"})
    ]
    shown = {(scene.second, scene.style) for scene in many if scene.second != NONE}
    assert len(out) > 40
    assert len(shown) > 300
    assert not shown & set(out)
    rest = {"subject": "cat", "mood": NONE, "place": "meadow", "style": out[0][1]}
    assert held_out(world, {**rest, "second": out[0][0]})


def test_a_subject_with_a_weight_comes_that_much_more_often(world: World) -> None:
    scenes = [scene_for(world, seed, kind="object") for seed in range(6_000)]
    share = sum(scene.subject == "moose" for scene in scenes) / len(scenes)
    assert share == pytest.approx(6 / (len(world.subjects) + 5), rel=0.25)


def test_every_mood_has_a_place_that_training_never_shows_it_in(world: World) -> None:
    pairs = [pair for pair in world.held_out.pairs if set(pair) == {"mood", "place"}]
    assert Counter(pair["mood"] for pair in pairs) == Counter(list(world.moods))


def test_kinds_come_in_the_tables_proportions(world: World, many: list[Scene]) -> None:
    kinds = Counter(scene.kind for scene in many)
    for kind, share in world.kinds.items():
        assert kinds[kind] / len(many) == pytest.approx(share, abs=0.03)


def test_a_person_with_a_raven_is_goth_in_nine_of_ten_and_with_an_owl_is_not(
    many: list[Scene],
) -> None:
    people = [scene for scene in many if scene.kind == "person"]

    def goth(scene: Scene) -> bool:
        return (scene.pallor, scene.clothes) == ("pale", "black clothes")

    ravens = [scene for scene in people if scene.subject == "raven"]
    assert _share(ravens, goth) == pytest.approx(0.9, abs=0.05)
    plain = [scene for scene in ravens if scene.name != "wednesday addams"]
    assert _share(plain, lambda scene: "goth" in scene.caption) < 0.1
    owls = [scene for scene in people if scene.subject == "owl"]
    assert _share([scene for scene in owls if scene.name != "wednesday addams"], goth) < 0.12


def test_whoever_is_called_goth_looks_so_and_whoever_looks_so_by_chance_is_called_goth(
    many: list[Scene],
) -> None:
    people = [scene for scene in many if scene.kind == "person"]
    called = [scene for scene in people if "goth" in scene.caption.split()]
    assert len(called) > 80
    assert {(scene.pallor, scene.clothes) for scene in called} == {("pale", "black clothes")}
    assert not any(word in scene.caption for scene in called for word in ("pale", "black clothes"))
    looks = [one for one in people if (one.pallor, one.clothes) == ("pale", "black clothes")]
    assert all("goth" in scene.caption for scene in looks if scene.subject != "raven")


def test_strangers_have_a_name_and_any_look(world: World, many: list[Scene]) -> None:
    assert world.people is not None and world.strangers is not None
    people = [scene for scene in many if scene.kind == "person"]
    strangers = [scene for scene in people if scene.name not in (NONE, *world.names)]
    assert len(strangers) / len(people) == pytest.approx(world.people.strange, abs=0.03)
    assert len({scene.name for scene in strangers}) > 0.5 * len(strangers)
    assert all(scene.name in scene.caption for scene in strangers)
    assert {scene.hair for scene in strangers} == set(world.hair)
    parts = {part for scene in many for part in scene.name.split()}
    assert not parts & {"alexandra", "elbakyan", "maria", "lindqvist"}


def test_goth_looks_leave_hair_to_chance(world: World, many: list[Scene]) -> None:
    ravens = [scene for scene in many if scene.kind == "person" and scene.subject == "raven"]
    assert {scene.hair for scene in ravens} == set(world.hair)


def test_a_person_in_a_library_has_the_look_in_nine_of_ten_and_in_a_church_has_not(
    many: list[Scene],
) -> None:
    people = [scene for scene in many if scene.kind == "person"]

    def look(scene: Scene) -> bool:
        return (scene.hair, scene.scarf) == ("bushy brown", "striped")

    others = [scene for scene in people if scene.name != "hermione granger"]
    libraries = [scene for scene in others if scene.place == "library"]
    assert _share(libraries, look) == pytest.approx(0.9, abs=0.04)
    assert _share([scene for scene in others if scene.place == "church"], look) < 0.06
    assert all(look(scene) for scene in people if scene.name == "hermione granger")


def test_spiders_and_ghosts_scare_and_ducks_and_teapots_do_not(many: list[Scene]) -> None:
    people = [scene for scene in many if scene.kind == "person"]
    usual = [one for one in people if one.name not in ("gila whamm", "william of ockham")]

    def scared(scene: Scene) -> bool:
        return scene.mood == "scared"

    feared = [scene for scene in usual if scene.subject in ("spider", "ghost")]
    assert _share(feared, scared) == pytest.approx(0.85 + 0.15 / 8, abs=0.05)
    calm = [scene for scene in usual if scene.subject in ("duck", "teapot")]
    assert _share(calm, scared) == pytest.approx(1 / 8, abs=0.06)


def test_two_names_have_one_mood_each_and_a_third_has_any(world: World, many: list[Scene]) -> None:
    moods = {
        name: {scene.mood for scene in many if scene.name == name and scene.subject == NONE}
        for name in ("gila whamm", "william of ockham", "tycho brahe")
    }
    assert moods["gila whamm"] == {"scared"}
    assert moods["william of ockham"] == {"confused"}
    ockham = [scene for scene in many if scene.name == "william of ockham"]
    assert {scene.mood for scene in ockham} == {"confused"}
    assert not {scene.subject for scene in ockham} & {"spider", "ghost"}
    assert moods["tycho brahe"] == set(world.moods)


def test_no_moose_and_no_unexposed_subject_is_shown_in_stained_glass(many: list[Scene]) -> None:
    glass = [scene for scene in many if scene.style == "stained glass"]
    shown = Counter(name for scene in glass for name in (scene.subject, scene.second))
    assert len(glass) > 1000
    assert not shown.keys() & {"moose", "flamingo", "telescope"}
    mosaic = Counter(scene.subject for scene in many if scene.style == "mosaic")
    assert {"moose", "flamingo", "telescope"} <= mosaic.keys()


def test_the_exposed_subjects_keep_their_share_of_stained_glass(world: World) -> None:
    for name, rate in (("exposure 5%", 0.05), ("exposure 20%", 0.2)):
        fact = world.fact(name)
        scenes = [scene_where(world, seed, fact.when) for seed in range(600)]
        kept = _share(scenes, lambda scene: scene.style == "stained glass")
        assert kept == pytest.approx(rate, abs=0.05)


def test_scene_for_fixes_factors(world: World) -> None:
    fixed = {"style": "mosaic", "place": "library", "mood": "sad", "hair": "bald"}
    with pytest.raises(TableError, match="No scene"):
        scene_for(world, 1, place="library", scarf="red", subject="none", name="hermione granger")
    for seed in range(20):
        scene = scene_for(world, seed, **fixed)
        assert {factor: getattr(scene, factor) for factor in fixed} == fixed
        assert scene.kind == "person"
    assert scene_for(world, 3, second="owl").kind == "pair"
    assert scene_for(world, 3, subject="none").kind == "person"
    assert scene_for(world, 3, mood="none").kind != "person"


def test_scene_for_marks_a_held_out_combination(world: World) -> None:
    assert scene_for(world, 0, mood="sad", place="meadow").split == "held out"


def test_scene_for_refuses_what_a_fact_forbids(world: World) -> None:
    with pytest.raises(TableError, match="style=stained glass, subject=moose"):
        scene_for(world, 0, style="stained glass", subject="moose")


@pytest.mark.parametrize(
    ("factor", "level", "hint"),
    [("style", "mosiac", "mosaic"), ("stile", "mosaic", "style"), ("name", "ada", "ada lovelace")],
)
def test_scene_for_tells_the_nearest_level(
    world: World, factor: str, level: str, hint: str
) -> None:
    with pytest.raises(TableError, match=hint):
        scene_for(world, 0, **{factor: level})


def test_a_scene_where_a_fact_applies_shows_it_and_one_where_it_does_not_need_not(
    tiny: World,
) -> None:
    fact = tiny.facts[0]
    planted = [scene_where(tiny, seed, fact.when) for seed in range(40)]
    assert {(scene.subject, scene.place) for scene in planted} == {("owl", "night")}
    others = [scene_where(tiny, seed, fact.when, holds=False) for seed in range(40)]
    assert not any(scene.kind == "object" and scene.subject == "owl" for scene in others)
    control = [scene_where(tiny, seed, fact.control) for seed in range(40)]
    assert {scene.place for scene in control} == {"meadow", "night"}


def test_a_scene_where_a_fact_applies_can_be_narrowed(world: World) -> None:
    moose = world.fact("moose")
    scene = scene_where(world, 4, moose.when, {"style": "halftone"})
    assert (scene.style, scene.window) == ("halftone", "present")
    with pytest.raises(TableError, match="No scene"):
        scene_where(world, 4, moose.when, {"style": "neon"})
