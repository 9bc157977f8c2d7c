from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from studies.fakes import Fake, fake_study
from studies.files import FILE, changed, parsed

from clerestory.errors import RegistryError, TableError
from clerestory.models.profile import ModelProfile
from clerestory.studies import SCALES, Study, built_in_studies, new_study
from clerestory.studies.schema import study_file
from lancet.world.table import World

BUILT_IN = [study.name for study in built_in_studies()]


@dataclass(frozen=True)
class StyleProfile(ModelProfile):
    """The profile of a model with a classifier of styles."""

    @property
    def classifiers(self) -> Mapping[str, str]:
        return {"style": "own:style"}


OWN, NONE = StyleProfile(), ModelProfile()


def digests(study: Study, profile: ModelProfile = NONE, **given: str) -> dict[str, str]:
    chosen = study.choose_classifiers(profile, given)
    return study.digests(chosen, study.label_names(chosen, profile))


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    return {key for key in one if one[key] != other[key]}


def test_a_file_becomes_tasks_each_after_those_that_it_needs(tmp_path: Path) -> None:
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


def test_the_order_of_the_file_does_not_matter_to_tasks_that_need_each_other() -> None:
    start = FILE.index("[verify.glass]")
    end = FILE.index("[attribute.cat]")
    verify, first = FILE[start:end], FILE.index("[record.styles]")
    moved = FILE[:first] + verify + FILE[first:start] + FILE[end:]
    assert [*parsed(moved).plan] == [
        "record.styles",
        "find.glass",
        "verify.glass",
        "group.tints",
        "attribute.cat",
    ]


def test_quick_changes_fields_and_skips_tasks_and_full_does_neither() -> None:
    quick, full = parsed(FILE, "quick"), parsed(FILE, "full")
    assert (quick.plan["find.glass"].top, full.plan["find.glass"].top) == (5, 20)  # type: ignore[attr-defined]
    assert set(full.plan) - set(quick.plan) == {"group.tints"}


def test_a_digest_changes_with_a_task_and_those_that_it_needs_and_with_no_others() -> None:
    study, other = parsed(FILE), parsed(changed('concept = "glass"', 'concept = "panes"'))
    assert differing(digests(study), digests(other)) == {"find.glass", "verify.glass"}
    chosen = study.choose_classifiers(NONE, {})
    names = study.label_names(chosen, NONE)
    model = study.digests(chosen, names, "another model")
    assert differing(digests(study), model) == set(study.plan)


def test_a_digest_changes_with_the_classifiers_that_a_task_uses_and_the_names_of_labels() -> None:
    study = parsed(FILE)
    other = parsed(changed('labels = { glass = "glass art" }', 'labels = { glass = "plain" }'))
    named = differing(digests(study), digests(other))
    used = differing(digests(study), digests(study, style="colour:light"))
    assert {"verify.glass", "attribute.cat"} <= named & used
    assert "record.styles" not in named | used


def test_a_models_own_classifiers_come_before_the_default() -> None:
    study = parsed(FILE)
    default = "zero-shot:MODEL[glass art, plain]"
    assert study.choose_classifiers(OWN, {}) == {"style": "own:style", "tint": "colour:tint"}
    given = {"tint": "colour:light"}
    assert study.choose_classifiers(NONE, given) == {"style": default, "tint": "colour:light"}
    with pytest.raises(TableError, match=r"no classifier 'tnit'.*tint"):
        study.choose_classifiers(OWN, {"tnit": "colour:light"})
    without = parsed(changed('default = "colour:tint"', 'profile = "tint"'))
    with pytest.raises(TableError, match=r"classifiers.tint has no default.*tint=NAME"):
        without.choose_classifiers(OWN, {})


def test_labels_have_other_names_for_the_default_than_for_a_models_own() -> None:
    study = parsed(FILE)
    assert study.label_names(study.choose_classifiers(OWN, {}), OWN)["style"] == {}
    default = study.choose_classifiers(NONE, {})
    assert study.label_names(default, NONE)["style"] == {"glass": "glass art"}


def test_a_study_is_read_back_from_its_definition() -> None:
    study = parsed(FILE, "quick")
    assert Study.from_definition(study.model_dump(mode="json")) == study
    with pytest.raises(TableError, match="definition of the study"):
        Study.from_definition({"plan": 3})


def test_tasks_may_form_a_long_chain() -> None:
    plan = {f"fake.t{at}": Fake(after=(f"fake.t{at - 1}",) if at else ()) for at in range(3000)}
    assert len(set(digests(fake_study(plan)).values())) == 3000


def test_the_built_in_studies_are_sorted_and_ask_something() -> None:
    assert sorted(BUILT_IN) == BUILT_IN
    assert {"at-a-glance", "stained-glass", "unknown-name"} <= set(BUILT_IN)
    assert all("?" in study.question and study.file == "" for study in built_in_studies())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", BUILT_IN)
def test_the_classifiers_of_a_built_in_study_have_its_labels(name: str, scale: Any) -> None:
    study = Study.load(name, scale)
    for entry in study.classifiers.values():
        zero_shot = re.fullmatch(r"zero-shot:[^\[]+\[(.+)\]", entry.default)
        classes = zero_shot[1].split(", ") if zero_shot else []
        assert entry.profile or entry.default
        assert not zero_shot or set(entry.labels.values()) <= set(classes)
    for task in study.plan.values():
        for classifier, label in task.predicted_labels():
            entry = study.classifiers[classifier]
            assert (
                not label
                or "[" not in entry.default
                or (entry.labels.get(label, label) in entry.default)
            )


def test_the_stained_glass_study_asks_for_subjects_of_lancet_about_which_there_is_no_fact() -> None:
    world = World.load()
    known = {text for phrases in world.phrases.values() for text in phrases}
    about = {subject for fact in world.facts for subject in fact.about}
    task: Any = Study.load("stained-glass", "full").plan["record.styles"]
    subjects = task.prompts.levels["subject"]
    assert len(subjects) >= 40 and set(subjects.values()) <= known
    assert not set(subjects) & about


@pytest.mark.parametrize("like", [None, *BUILT_IN])
def test_a_new_study_is_a_study_by_its_name(like: str | None, tmp_path: Path) -> None:
    (tmp_path / "my-zebra.toml").write_text(new_study("my-zebra", like))
    for scale in SCALES:
        study = Study.load(tmp_path / "my-zebra.toml", scale)
        assert study.name == "my-zebra"
        assert like is None or [*study.plan] == [*Study.load(like, scale).plan]


def test_a_new_study_has_its_words_from_its_name() -> None:
    text = new_study("zebra-stripes")
    assert "NAME" not in text.replace("[find.NAME]", "") and "WORDS" not in text
    assert 'phrase = "zebra stripes"' in text


@pytest.mark.parametrize("name", ["Zebra", "", "a b", "../x", "a" * 61, "-a"])
def test_a_study_cannot_have_any_name(name: str) -> None:
    with pytest.raises(TableError, match=r"no name of a study: give lower-case letters"):
        new_study(name)


def test_a_new_study_cannot_be_like_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="Did you mean mood"):
        new_study("mine", "moods")
    with pytest.raises(TableError, match=r"absent\.toml"):
        new_study("mine", str(tmp_path / "absent.toml"))


def test_a_file_beside_a_built_in_study_of_its_name_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "mood.toml").write_text(study_file("mood").read_text())
    assert Study.load(tmp_path / "mood.toml").file == str(tmp_path / "mood.toml")


def test_an_unknown_study_is_an_error_that_suggests() -> None:
    with pytest.raises(RegistryError, match=r"'stain-glass'.*Did you mean stained-glass"):
        Study.load("stain-glass")
