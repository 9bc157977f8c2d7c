"""The planted facts, measured on a model and with classifiers whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lancet.evaluation import facts as measuring
from lancet.evaluation.facts import _FactClassifier, _measure, prompts, share_in_renders
from lancet.world.table import World


@pytest.fixture(scope="module")
def world() -> World:
    return World.load()


class Model:
    """Draws a picture that says whether a raven was asked for."""

    def run(self, asked: list[str], seed: int) -> Any:
        values = [["raven" in prompt or "crow" in prompt, seed, 0] for prompt in asked]
        return SimpleNamespace(pictures=np.array(values, np.uint8)[:, None, None])


class Classifiers:
    """Sees a pale face and black clothes where the picture says raven, pallor alone elsewhere."""

    classes = {"pallor": ("usual", "pale", "none"), "clothes": ("red shirt", "black clothes")}  # noqa: RUF012

    def probabilities(self, pictures: Any) -> dict[str, Any]:
        raven = pictures[:, 0, 0, 0] > 0
        return {
            "pallor": np.eye(3)[np.ones(len(raven), int)],
            "clothes": np.eye(2)[raven.astype(int)],
        }


def test_every_fact_has_a_hundred_prompts_and_its_control_as_many(world: World) -> None:
    for fact in world.facts:
        asked, control = prompts(world, fact, fact.ask), prompts(world, fact, fact.control_ask)
        assert len(set(asked)) == len(asked) >= 100, fact.name
        assert len(set(control)) == len(control) >= 100, fact.name
        assert not any("{" in prompt for prompt in (*asked, *control))


def test_contexts_leave_alone_what_the_fact_is_about(world: World) -> None:
    goth = prompts(world, world.fact("goth"), world.fact("goth").ask)
    assert all("a raven" in prompt for prompt in goth)
    assert not any("library" in prompt or "bookshel" in prompt for prompt in goth)
    moose = prompts(world, world.fact("moose"), world.fact("moose").ask)
    places = [words for level in world.places.values() for words in level.words]
    assert not any(place in prompt for prompt in moose for place in places)


def test_a_fact_is_measured_beside_its_control_and_part_by_part(world: World) -> None:
    told: list[tuple[str, int, int]] = []
    judge = _FactClassifier(Model(), Classifiers(), lambda *args: told.append(args))  # type: ignore[arg-type]
    came = _measure(world, world.fact("goth"), judge)
    assert (came.lancet.rate, came.control.rate) == (1.0, 0.0)
    assert came.attributes["pallor"].rate == 1.0
    assert came.planted == 0.9
    assert came.renders == pytest.approx(0.9, abs=0.03)
    assert came.lancet.of >= 100
    assert told[-1] == ("goth, control", 120, 120)
    assert set(came.to_dict()) >= {"name", "expected", "planted", "renders", "lancet", "control"}


def test_what_was_planted_is_told_as_the_rate_of_what_is_expected(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "PROMPTS", 2)
    for name, rate in (("exposure 5%", 0.05), ("moose", 1.0), ("uncaptioned fear", 0.85)):
        fact = world.fact(name)
        assert measuring._planted_rate(fact) == pytest.approx(rate)
        assert share_in_renders(world, fact, 300) == pytest.approx(rate, abs=0.08)
