"""Outcomes of pictures whose every class is known: their channels say it."""

import numpy as np
import pytest
from helpers.evaluation import ChannelClassifier, RuleModel

from clerestory.errors import EvidenceError, RegistryError
from clerestory.evaluation import (
    Condition,
    Design,
    Drawing,
    Effect,
    Evaluator,
    LoadedTarget,
    Panel,
    Rate,
    compare_conditions,
    compare_drawings,
    effect_of,
    rate_of,
)
from clerestory.stats import newcombe, wilson

PANEL = Panel(
    LoadedTarget(ChannelClassifier(0), "yes"),
    {"green": ChannelClassifier(1)},
    LoadedTarget(ChannelClassifier(2), "yes"),
)


def drawing(name, *rows):
    """Two seeds of each item, the first pixel with these channels lit."""
    pictures = np.zeros((len(rows) * len(rows[0]), 2, 2, 3), np.uint8)
    pictures[:, 0, 0] = 255 * np.array(rows).reshape(-1, 3)
    design = Design.crossed([f"item {row}" for row in range(len(rows))], range(len(rows[0])))
    return Drawing(Condition(name), design, pictures)


def test_rates_count_items_and_preservation_is_beside_the_first_condition():
    before = drawing("unedited", [(0, 0, 0), (0, 1, 0)], [(0, 1, 1), (0, 1, 0)])
    after = drawing("edited", [(1, 0, 1), (1, 0, 0)], [(1, 1, 1), (0, 1, 0)])
    plain, edited = compare_drawings(PANEL, [before, after])
    assert (plain.target.rate, edited.target.rate) == (0, 0.75)
    assert (edited.target.low, edited.target.high) == wilson(1.5, 2)
    assert edited.preservation["green"].rate == 0.75
    assert plain.preservation["green"].rate == plain.mean_preservation == 1
    assert (plain.hard_negative.rate, edited.hard_negative.rate) == (0.25, 0.5)
    assert edited.hard_negative_effect == Effect(0.25, *newcombe(1, 2, 0.5, 2))
    changed = 3 + 1 + 1  # channels of 48 that differ: (red, blue), (red, green), (red)
    assert edited.distance == pytest.approx(np.sqrt(changed / 48))
    assert edited.frechet is None
    assert edited.to_dict()["preservation"]["green"]["items"] == 2


def test_a_condition_that_draws_what_the_words_draw_is_as_near_to_them_as_they_are():
    class Head(ChannelClassifier):
        factor, companions, network = "style", (), "rules"

        def features(self, pictures):
            return pictures[:, 0, 0].astype(float)

        def accuracy(self):
            return 1, 1

    rules = RuleModel(
        [
            lambda prompt, seed, edits: "glass" in prompt,
            lambda prompt, seed, edits: seed == 1,
            lambda prompt, seed, edits: "cat" in prompt,
        ]
    )
    panel = Panel(LoadedTarget(Head(0), "yes"))
    conditions = [
        Condition("plain"),
        Condition("words", "glass {item}"),
        Condition("found", suffix="glass"),
    ]
    design = Design.crossed(["a cat", "a ship"], (0, 1))
    plain, words, found = compare_conditions(
        Evaluator(rules), conditions, design, panel, frechet_to="words"
    )
    assert words.frechet == found.frechet == pytest.approx(0, abs=1e-3)
    assert plain.frechet == pytest.approx(255**2)
    assert words.mean_preservation is None
    with pytest.raises(EvidenceError, match="2 distinct items"):
        compare_conditions(Evaluator(rules), conditions, Design.crossed(["a", "a"]), panel)


def test_effects_are_differences_of_rates_with_newcombes_interval():
    design = Design.crossed([str(item) for item in range(10)], (0, 1))
    hits = np.zeros(20, bool)
    hits[:12:2] = True
    after, before = rate_of(hits, design), rate_of(np.zeros(20, bool), design)
    found = effect_of(after, before)
    assert found.effect == pytest.approx(0.3)
    assert (found.low, found.high) == pytest.approx(newcombe(3.0, 10, 0.0, 10))
    assert effect_of(before, after).effect == -found.effect


def test_an_effect_needs_rates_of_the_same_items():
    rate = Rate(0.5, 0.2, 0.8, 10)
    assert effect_of(rate, rate).effect == 0
    with pytest.raises(EvidenceError, match="over 10 and 8 items"):
        effect_of(rate, Rate(0.5, 0.2, 0.8, 8))


@pytest.mark.weights
def test_the_panel_of_a_lancet_classifier_has_its_other_factors_and_features():
    panel = Panel.load("lancet:style", "stained glass", hard_negative=("lancet:window", "present"))
    assert {"subject", "place", "mood"} <= set(panel.preserved)
    assert not {"style", "window"} & set(panel.preserved)
    assert panel.has_features
    noise = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    design = Design.crossed(["a", "b", "c", "d"], (0, 1))
    drawings = [
        Drawing(Condition("words"), design, noise),
        Drawing(Condition("dark"), design, noise // 8),
    ]
    same, dark = compare_drawings(panel, drawings, frechet_to="words")
    assert same.frechet == pytest.approx(0, abs=1e-3)
    assert dark.frechet > 1
    with pytest.raises(RegistryError, match="Did you mean stained glass"):
        Panel.load("lancet:style", "stained glas")
