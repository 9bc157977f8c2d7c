from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from studies.sample import FILE, changed, written

from clerestory.errors import RegistryError, TableError
from clerestory.studies import SCALES, Study, begun, built_in
from clerestory.studies.schema import FOLDER
from lancet.world.table import World

BUILT_IN = sorted(path.stem for path in FOLDER.glob("*.toml"))


def test_a_file_becomes_steps_in_the_order_in_which_they_are_run(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(FILE)
    study = Study.load(str(tmp_path / "mine.toml"))
    assert [*study.plan] == [
        "record.styles",
        "find.glass",
        "group.tints",
        "verify.glass",
        "attribute.cat",
    ]
    assert study.plan["find.glass"].needs() == ("record.styles",)
    assert (study.file, study.scale) == (str(tmp_path / "mine.toml"), "full")


def test_quick_makes_smaller_and_leaves_out_and_full_does_neither() -> None:
    quick, full = written(FILE, "quick"), written(FILE, "full")
    assert (quick.plan["find.glass"].flips, full.plan["find.glass"].flips) == (5, 200)  # type: ignore[attr-defined]
    assert set(full.plan) - set(quick.plan) == {"group.tints"}


def test_a_digest_changes_with_a_step_and_what_it_rests_on_and_with_nothing_else() -> None:
    one, other = written(FILE), written(changed('concept = "glass"', 'concept = "panes"'))
    judges = one.judges("lancet", {"style": "colour:light"})
    differ = {key for key in one.plan if one.digest(key, judges) != other.digest(key, judges)}
    assert differ == {"find.glass", "verify.glass"}
    assert one.digest("find.glass", judges) != one.digest("find.glass", judges, "another model")


def test_a_digest_changes_with_the_classifiers_that_look_and_what_they_call_it() -> None:
    one = written(FILE)
    other = written(changed('called = { glass = "glass art" }', 'called = { glass = "plain" }'))
    mine = {"style": "zero-shot:MODEL[glass art, plain]", "tint": "colour:tint"}
    looks = {"style": "colour:light", "tint": "colour:tint"}
    named = {key for key in one.plan if one.digest(key, mine) != other.digest(key, mine)}
    asked = {key for key in one.plan if one.digest(key, mine) != one.digest(key, looks)}
    assert {"verify.glass", "attribute.cat"} <= named and "record.styles" not in named | asked
    assert {"verify.glass", "attribute.cat"} <= asked


def test_classifiers_are_lancets_own_for_lancet_and_others_for_others() -> None:
    study = written(FILE)
    assert study.judges("lancet", {}) == {"style": "lancet:style", "tint": "colour:tint"}
    given = {"tint": "colour:light"}
    assert study.judges("mine", given) == {
        "style": "zero-shot:MODEL[glass art, plain]",
        "tint": "colour:light",
    }
    with pytest.raises(TableError, match=r"classifiers.tint says none for mine.*tint=NAME"):
        study.judges("mine", {})
    with pytest.raises(TableError, match=r"no classifier 'tnit'.*tint"):
        study.judges("lancet", {"tnit": "colour:light"})


def test_classes_have_other_names_for_other_classifiers_than_lancets() -> None:
    study = written(FILE)
    assert study.called(study.judges("lancet", {}))["style"] == {}
    others = study.judges("mine", {"tint": "colour:tint"})
    assert study.called(others)["style"] == {"glass": "glass art"}


def test_the_built_in_studies_are_sorted_and_ask_something() -> None:
    studies = built_in()
    assert [one.name for one in studies] == BUILT_IN
    assert {"stained-glass", "unknown-name"} <= set(BUILT_IN)
    assert all(one.question.endswith("?") and one.file == "" for one in studies)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_study_has_classifiers_for_every_model_that_have_its_classes(
    name: str, scale: Any
) -> None:
    study = Study.load(name, scale)
    for judge in study.classifiers.values():
        own = re.fullmatch(r"zero-shot:[^\[]+\[(.+)\]", judge.other)
        classes = own[1].split(", ") if own else []
        assert judge.lancet and judge.other
        assert not own or set(judge.called.values()) <= set(classes)
    for step in study.plan.values():
        for judge_name, shows in step.sees():
            judge = study.classifiers[judge_name]
            called = judge.called.get(shows, shows)
            assert not shows or "[" not in judge.other or f"{called}" in judge.other


def test_the_stained_glass_study_asks_for_subjects_of_lancet_about_which_there_is_no_fact() -> None:
    world = World.load()
    known = {text for phrases in world.phrases.values() for text in phrases}
    about = {subject for fact in world.facts for subject in fact.about}
    step: Any = Study.load("stained-glass", "full").plan["record.styles"]
    subjects = step.prompts.levels["subject"]
    assert len(subjects) >= 40 and set(subjects.values()) <= known
    assert not set(subjects) & about


@pytest.mark.parametrize("like", [None, *BUILT_IN])
def test_a_study_that_is_begun_is_a_study_by_its_name(like: str | None, tmp_path: Path) -> None:
    (tmp_path / "my-zebra.toml").write_text(begun("my-zebra", like))
    for scale in SCALES:
        study = Study.load(tmp_path / "my-zebra.toml", scale)
        assert study.name == "my-zebra"
        assert like is None or [*study.plan] == [*Study.load(like, scale).plan]


def test_a_study_that_is_begun_has_its_words_from_its_name() -> None:
    text = begun("zebra-stripes")
    assert "NAME" not in text.replace("[find.NAME]", "") and "WORDS" not in text
    assert 'phrase = "zebra stripes"' in text


@pytest.mark.parametrize("name", ["Zebra", "", "a b", "../x", "a" * 61, "-a"])
def test_a_study_cannot_be_called_anything(name: str) -> None:
    with pytest.raises(TableError, match=r"no name of a study: give small letters"):
        begun(name)


def test_a_study_cannot_be_begun_from_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="Did you mean mood"):
        begun("mine", "moods")
    with pytest.raises(TableError, match=r"absent\.toml"):
        begun("mine", str(tmp_path / "absent.toml"))
