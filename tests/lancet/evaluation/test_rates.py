from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clerestory.errors import ModelError
from lancet.evaluation import rates as evaluate
from lancet.evaluation.contact_sheet import contact_sheet
from lancet.evaluation.prompts import EvaluationPrompt, digest
from lancet.evaluation.rates import Evaluation, Rate
from lancet.world.sampler import sample
from lancet.world.table import World

ASKS = (
    EvaluationPrompt("a cat, ink", 1, "cat", "ink", "sea", "none"),
    EvaluationPrompt("a dog, oil", 0, "dog", "oil", "stained glass window", "none"),
    EvaluationPrompt("a sad man, ink", 1, "none", "ink", "sea", "sad"),
)


@dataclass(frozen=True)
class Model:
    """Draws pictures that say which prompt and seed they are of."""

    def run(self, prompts: list[str], seed: int, progress: Any) -> Any:
        progress("drawing", len(prompts), len(prompts))
        values = [[len(prompt), seed, 0] for prompt in prompts]
        return SimpleNamespace(pictures=np.array(values, np.uint8)[:, None, None])


class Classifiers:
    """Says sea, cat, ink and sad of every picture, and a window in the second."""

    classes = {  # noqa: RUF012
        "subject": ("cat", "dog", "none"),
        "style": ("ink", "oil"),
        "place": ("sea", "stained glass window"),
        "mood": ("sad", "none"),
        "window": ("absent", "present"),
        "perspective": ("plain", "tilted"),
    }

    def accuracy_in_style(self, factor: str, style: str) -> tuple[int, int]:
        return {"ink": (6, 10), "oil": (9, 10)}[style]

    def probabilities(self, pictures: Any) -> dict[str, Any]:
        said = {factor: np.zeros((3, len(levels))) for factor, levels in self.classes.items()}
        for factor, values in said.items():
            values[:, 0] = 1
            if factor in ("window", "place"):
                values[1] = (0, 1)
            if factor == "subject":
                values[:, 1] = 0.5
        return said


def test_every_prompt_is_drawn_with_its_own_seed_and_kept_in_order() -> None:
    reports: list[tuple[int, int]] = []
    pictures = evaluate.draw(Model(), ASKS, lambda *report: reports.append(report[1:]))  # type: ignore[arg-type]
    assert pictures[:, 0, 0, :2].tolist() == [[10, 1], [10, 0], [14, 1]]
    assert reports == [(1, 3), (3, 3)]


def test_each_factor_is_judged_where_it_was_asked_for() -> None:
    pictures = np.zeros((3, 1, 1, 3), np.uint8)
    rates = evaluate.rates_by_factor(ASKS, Classifiers(), pictures)  # type: ignore[arg-type]
    assert rates["style"].rate == pytest.approx(2 / 3)  # type: ignore[union-attr]
    assert (rates["subject"].rate, rates["subject"].of) == (0.5, 2)  # type: ignore[union-attr]
    assert rates["place"].rate == 1.0  # type: ignore[union-attr]
    assert rates["mood"].of == 1  # type: ignore[union-attr]
    assert rates["window_asked"].rate == 1.0  # type: ignore[union-attr]
    assert rates["window_not_asked"].rate == 0.0  # type: ignore[union-attr]


def test_beside_a_rate_stands_that_of_renders_in_the_same_styles() -> None:
    rates = evaluate.same_styles(ASKS, Classifiers())  # type: ignore[arg-type]
    assert rates["style"] == pytest.approx(0.7)  # ink, oil, ink
    assert rates["subject"] == pytest.approx(0.75)  # ink, oil
    assert rates["mood"] == pytest.approx(0.6)  # ink
    assert evaluate.same_styles(ASKS[:1], Classifiers())["mood"] is None  # type: ignore[arg-type]


def test_other_parts_have_rates_of_their_own() -> None:
    asks = (
        replace(ASKS[0], part="held out"),
        replace(ASKS[1], part="pair", second="cat"),
        replace(ASKS[0], part="perspective", perspective="tilted"),
    )
    pictures = np.zeros((3, 1, 1, 3), np.uint8)
    rates = evaluate.rates_by_factor(asks, Classifiers(), pictures)  # type: ignore[arg-type]
    assert rates["style"] is None
    assert (rates["two_objects"].rate, rates["two_objects"].of) == (1.0, 1)  # type: ignore[union-attr]
    assert (rates["perspective"].rate, rates["perspective"].of) == (0.0, 1)  # type: ignore[union-attr]
    apart = evaluate.held_out_rates(asks, Classifiers(), pictures)  # type: ignore[arg-type]
    assert (apart["subject"].rate, apart["subject"].of) == (1.0, 1)  # type: ignore[union-attr]


def test_a_rate_of_nothing_is_none() -> None:
    rates = evaluate.rates_by_factor(
        ASKS[:2] + ASKS[:1], Classifiers(), np.zeros((3, 1, 1, 3), np.uint8)
    )  # type: ignore[arg-type]
    assert rates["mood"] is None


def test_a_lancet_whose_training_captions_are_unknown_is_not_evaluated(tmp_path: Path) -> None:
    from lancet.world.table import BUILT_IN

    (tmp_path / "world.toml").write_bytes(BUILT_IN.read_bytes())
    manifest = {"files": {}, "defaults": {}, "settings": {"renders": 5}, "captions": "others"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="training captions"):
        evaluate.evaluation_prompts(tmp_path)
    world = World.load()
    manifest["captions"] = digest(sample(world, seed).caption for seed in range(5))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert len(evaluate.evaluation_prompts(tmp_path)) >= 400


def test_json_has_the_names_that_scripts_rely_on() -> None:
    rate = Rate(0.5, 0.4, 0.6, 10)
    names = ("style", "subject", "place", "mood", "window_asked", "window_not_asked")
    came = Evaluation(
        dict.fromkeys(names, rate),
        {"style": None},
        {"style": rate},
        {"style": 0.75, "mood": None},
        3.0,
        0.1,
        ASKS,
        np.zeros((3, 1, 1, 3), "u1"),
    )
    content = came.to_dict()
    assert tuple(content["rates"]) == names
    assert content["rates"]["mood"] == {"rate": 0.5, "low": 0.4, "high": 0.6}
    assert content["held_out"] == {"style": None}
    assert content["classifiers"] == {"style": 0.5}
    assert content["same_styles"] == {"style": 0.75, "mood": None}
    assert set(content) == {
        "rates",
        "held_out",
        "classifiers",
        "same_styles",
        "frechet",
        "seconds_per_picture",
    }


def test_a_contact_sheet_has_a_place_for_each_picture() -> None:
    red = np.zeros((13, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    page = contact_sheet(red, ["a cat in a meadow at dusk"] * 13)
    reds = (np.asarray(page) == (255, 0, 0)).all(2).sum()
    assert reds == 13 * 128 * 128
