"""Attribution of a model that draws by known rules, so that every share is known."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from clerestory.attribution import attribute
from clerestory.models import Options

RED, BLUE = "python:planted:red=yes", "python:planted:blue=yes"
PROMPT = "[tycho] with a [raven] in a [library]"
SEEDS = range(8)


class Planted:
    """Draws red by the raven, more by raven and library together, and blue without the name."""

    name, revision, pipeline, conditioning_site = "planted", "", None, "decoder/condition"
    defaults = Options()
    sites: ClassVar[dict[str, Any]] = {"decoder/out": SimpleNamespace(stage="decoder")}
    family = SimpleNamespace(check_prompts=lambda prompts: None, encoder_stages=(), windows={})

    def check_prompt(self, prompt: str) -> None:
        pass

    def tokenize(self, prompt: str) -> list[str]:
        return prompt.split()

    def options(self, **changed: Any) -> Options:
        return self.defaults.replace(**changed)

    def sweep(self, prompts: Any, seeds: Any, edit_sets: Any, **how: Any) -> Any:
        pictures = np.zeros((len(prompts), 2, 2, 3), np.uint8)
        for picture, prompt, seed in zip(pictures, prompts, seeds, strict=True):
            raven, library = "raven" in prompt, "library" in prompt
            red = 4 * raven + 2 * (raven and library)
            blue = 0 if "tycho" in prompt else 6
            picture[..., 0] = 255 * (seed < red)
            picture[..., 2] = 255 * (seed < blue)
        return [SimpleNamespace(pictures=pictures, site_values={}) for _ in edit_sets]


def colour(channel: int) -> Any:
    def classifier(pictures: Any) -> Any:
        shown = pictures[:, 0, 0, channel] / 255
        return np.stack([shown, 1 - shown], 1)

    classifier.classes = ("yes", "no")  # type: ignore[attr-defined]
    return classifier


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(sys.modules, "planted", SimpleNamespace(red=colour(0), blue=colour(2)))
    return attribute(
        Planted(),  # type: ignore[arg-type]
        PROMPT,
        [RED, BLUE],
        seeds=SEEDS,
        paraphrases=20,
        synergy=False,
        path=False,
    )


def test_shapley_values_and_interactions_are_those_of_the_rule(result: Any) -> None:
    split = result.of[RED]
    assert {share.piece: share.value for share in split.shapley} == pytest.approx(
        {"tycho": 0, "raven": 4 / 8 + 1 / 8, "library": 1 / 8}
    )
    pairs = {pair.pieces: pair.value for pair in split.interactions}
    assert pairs == pytest.approx(
        {("tycho", "raven"): 0, ("tycho", "library"): 0, ("raven", "library"): 2 / 8}
    )


def test_total_single_effects_and_synergy_are_those_of_the_rule(result: Any) -> None:
    split = result.of[RED]
    assert split.total.value == pytest.approx(6 / 8)
    assert [share.value for share in split.single] == pytest.approx([0, 4 / 8, 0])
    assert split.synergy.value == pytest.approx(2 / 8)
    assert split.values == pytest.approx((0, 0, 4 / 8, 4 / 8, 0, 0, 6 / 8, 6 / 8))


def test_a_piece_that_takes_something_away_has_a_negative_share(result: Any) -> None:
    name, raven, library = result.of[BLUE].shapley
    assert name.value == pytest.approx(-6 / 8) and name.high < 0
    assert raven.value == pytest.approx(0) and library.value == pytest.approx(0)


def test_summary_names_the_largest_share_and_the_table_has_a_row_for_each(result: Any) -> None:
    assert f"'raven' adds +0.62 (+0.62 to +0.63) to {RED}" in repr(result)
    table = result.table()
    assert list(table.columns) == ["of", "pieces", "value", "low", "high"]
    assert len(table) == 2 * (3 + 3)
    assert "raven x library" in result._repr_html_()
