from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from study import miniature

from clerestory.errors import RegistryError, TableError
from clerestory.lancet.world.table import World
from clerestory.study import Definition, built_in


@pytest.fixture(scope="module")
def stained_glass() -> Definition:
    return Definition.load("stained-glass")


def test_the_stained_glass_study_is_as_large_as_its_claims_need(stained_glass: Definition) -> None:
    assert len(stained_glass.contents.report) >= 24
    assert len(stained_glass.contents.discovery) + len(stained_glass.contents.report) >= 48
    halves = (stained_glass.phrasings.discovery, stained_glass.phrasings.report)
    for arm in ("shown", "absent", "decoy"):
        assert sum(len(getattr(half, arm)) for half in halves) >= 6
    assert stained_glass.edit.shuffled >= 20


def test_its_subjects_are_lancets_and_no_fact_is_about_them(stained_glass: Definition) -> None:
    world = World.load()
    about = {subject for fact in world.facts for subject in fact.about}
    about |= set(world.people.companions if world.people else ())
    for half in (stained_glass.contents.discovery, stained_glass.contents.report):
        for subject, phrase in half.items():
            assert phrase in world.phrases[subject]
            assert subject not in about


def test_every_built_in_study_is_listed_under_its_files_name() -> None:
    assert [study.name for study in built_in()] == ["stained-glass"]


def test_an_unknown_study_gets_the_nearest() -> None:
    with pytest.raises(RegistryError, match="Did you mean stained-glass"):
        Definition.load("stain-glass")


def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"absent.toml cannot be read"):
        Definition.load(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("name = 'a'\nquestion = ''\nbogus = 1\n")
    with pytest.raises(TableError, match=r"bad.toml: question: ") as refused:
        Definition.load(str(tmp_path / "bad.toml"))
    assert "\n" not in str(refused.value)


def _shared(told: dict[str, Any]) -> None:
    told["contents"]["report"]["cat"] = "a cat"


def _closed(told: dict[str, Any]) -> None:
    told["phrasings"]["report"]["shown"] = ["g cat"]


def _repeated(told: dict[str, Any]) -> None:
    told["phrasings"]["report"]["shown"] = ["gg {x}"]


def _falling(told: dict[str, Any]) -> None:
    told["edit"]["strengths"] = [2.0, 1.0]


def _few(told: dict[str, Any]) -> None:
    told["edit"]["shuffled"] = 19


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_shared, "'cat' stands in both halves"),
        (_closed, r"has no \{x\}"),
        (_repeated, "'gg {x}' stands in both halves"),
        (_falling, "rise"),
        (_few, "greater than or equal to 20"),
    ],
)
def test_what_breaks_the_rules_of_evidence_is_refused(spoil: Any, message: str) -> None:
    told = miniature.told()
    spoil(told)
    with pytest.raises(ValidationError, match=message):
        Definition(**told)


def test_one_content_under_two_names_and_one_phrasing_twice_are_refused() -> None:
    told = miniature.told()
    told["contents"]["report"]["kitty"] = "cat"
    with pytest.raises(ValueError, match="both called 'cat'"):
        miniature.definition(**told)
    told = miniature.told()
    told["phrasings"]["report"]["decoy"] = ["g {x}", "{x} v"]
    with pytest.raises(ValueError, match="stands twice in one half"):
        miniature.definition(**told)
