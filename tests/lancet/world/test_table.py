"""The world's table: what it says, and how it says that something is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from clerestory.errors import TableError
from lancet.world.sampler import sample
from lancet.world.scene import FACTORS
from lancet.world.table import BUILT_IN, World


def _refused(table: Path, old: str, new: str) -> str:
    told = table.read_text(encoding="utf-8")
    assert told.count(old) >= 1
    table.write_text(told.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(TableError) as caught:
        World.load(table)
    message = str(caught.value)
    assert str(table) in message
    assert "\n" not in message
    return message


def test_the_built_in_world_has_what_the_study_needs(world: World) -> None:
    assert len(world.subjects) >= 120
    assert len(world.styles) == 10
    assert len(world.artworks) == 6
    assert len(world.places) >= 8
    assert len(world.moods) == 8
    assert len(world.names) >= 12
    assert {"moose", "goth", "library look", "gila whamm"} <= {fact.name for fact in world.facts}


def test_levels_keep_the_tables_order_and_end_with_none_where_a_scene_may_lack_the_factor(
    tiny: World,
) -> None:
    assert tiny.levels("style") == ("plain", "mosaic")
    assert tiny.levels("mood") == ("happy", "sad", "none")
    assert tiny.levels("window") == ("absent", "present")
    assert all(tiny.levels(factor) for factor in FACTORS)


def test_the_fingerprint_is_of_the_tables_bytes(world: World) -> None:
    assert world.fingerprint == hashlib.sha256(BUILT_IN.read_bytes()).hexdigest()


def test_another_table_makes_another_world_with_another_fact(tiny: World) -> None:
    scenes = [sample(tiny, seed) for seed in range(400)]
    assert {scene.subject for scene in scenes} == {"cat", "owl", "none"}
    owls = [scene for scene in scenes if scene.kind == "object" and scene.subject == "owl"]
    assert len(owls) > 50
    assert {scene.place for scene in owls} == {"night"}
    assert not any("meadow" in scene.caption or "night" in scene.caption for scene in owls)
    cats = [scene for scene in scenes if scene.subject == "cat"]
    assert {scene.place for scene in cats} == {"meadow", "night"}
    assert {scene.style for scene in cats} == {"plain"}


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"nowhere\.toml cannot be read"):
        World.load(tmp_path / "nowhere.toml")


def test_a_table_that_is_no_toml_is_named(table: Path) -> None:
    assert "cannot be read" in _refused(table, "[kinds]", "[kinds")


def test_a_missing_field_is_named(table: Path) -> None:
    assert "styles.plain.words" in _refused(table, 'words = ["a picture of {x}"]', "")


def test_an_unknown_field_is_named_with_the_nearest_one(table: Path) -> None:
    message = _refused(table, 'say = 0\nwords = ["{x}"]', 'sway = 0\nwords = ["{x}"]')
    assert "artworks.noto.sway" in message
    assert "Did you mean say" in message


def test_an_unknown_part_is_named_with_the_nearest_one(table: Path) -> None:
    assert "Did you mean salt" in _refused(table, "salt = 1", "sallt = 1")


def test_a_rate_above_one_is_refused(table: Path) -> None:
    assert "facts.0.rate" in _refused(table, "rate = 1.0", "rate = 1.5")


def test_a_fact_about_an_unknown_level_names_what_is_possible(table: Path) -> None:
    message = _refused(table, 'then = { place = "night" }', 'then = { place = "nigth" }')
    assert "fact 'night owls'" in message
    assert "Did you mean night?" in message
    assert "meadow" in message


def test_a_fact_about_an_unknown_factor_names_what_is_possible(table: Path) -> None:
    message = _refused(table, 'then = { place = "night" }', 'then = { plaice = "night" }')
    assert "Did you mean place" in message


def test_a_fact_cannot_plant_a_window_without_its_place(table: Path) -> None:
    message = _refused(table, 'then = { place = "night" }', 'then = { window = "present" }')
    assert "'window' cannot be used there" in message


def test_a_companion_that_is_no_subject_is_refused(table: Path) -> None:
    assert "Did you mean owl?" in _refused(table, "companions = { owl", "companions = { owls")


def test_people_need_moods_and_looks(table: Path) -> None:
    assert "[hair]" in _refused(table, '[hair.bald]\nwords = ["bald"]', "")


def test_a_subject_needs_a_phrase(table: Path) -> None:
    assert "'cat' needs an emoji and a phrase" in _refused(table, '"🐈", "a cat"', '"🐈"')


def test_an_unknown_fact_is_told_with_the_nearest(world: World) -> None:
    with pytest.raises(TableError, match=r"No fact is called 'gothic'\. Did you mean goth\?"):
        world.fact("gothic")
