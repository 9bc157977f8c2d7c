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
from clerestory.stats.rate_intervals import change_interval, rate_interval

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
    assert (edited.target.low, edited.target.high) == rate_interval(np.array([[1, 1], [1, 0.0]]))
    assert edited.preservation["green"].rate == 0.75
    assert plain.preservation["green"].rate == plain.mean_preservation == 1
    assert (plain.hard_negative.rate, edited.hard_negative.rate) == (0.25, 0.5)
    limits = change_interval(
        np.array([[[1], [0]], [[1], [0.0]]]), np.array([[[0], [0]], [[1], [0.0]]])
    )
    assert edited.hard_negative_effect == Effect(0.25, *(limit.item() for limit in limits))
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


def test_effects_are_changes_on_the_same_items():
    design = Design.for_items([str(item) for item in range(10)], 2)
    hits, none = np.zeros(20, bool), np.zeros(20, bool)
    hits[:12:2] = True
    effect = effect_of(hits, none, design)
    assert effect.effect == pytest.approx(0.3)
    assert effect.low < 0.3 < effect.high
    fall = effect_of(none, hits, design)
    assert (fall.effect, fall.low, fall.high) == pytest.approx(
        (-effect.effect, -effect.high, -effect.low)
    )
    # The same items hit before and after: what differs between them does not widen the interval.
    both = effect_of(hits, hits, design)
    assert both.high - both.low < effect.high - effect.low


def test_templates_that_disagree_widen_intervals():
    items, templates = [str(item) for item in range(12)], ["{item}", "see {item}", "{item} here"]
    by_template = np.tile([True, True, False], 12)
    varied = rate_of(by_template, Design.for_items(items, templates=templates))
    one = rate_of(by_template, Design.for_items(items, 3))
    assert varied.rate == one.rate == pytest.approx(2 / 3)
    assert varied.high - varied.low > one.high - one.low
    none = np.zeros(36, bool)
    varied_effect = effect_of(by_template, none, Design.for_items(items, templates=templates))
    one_effect = effect_of(by_template, none, Design.for_items(items, 3))
    assert varied_effect.high - varied_effect.low > one_effect.high - one_effect.low


def test_one_item_says_nothing_about_others():
    design = Design.for_items(["a"], 4)
    hits = np.array([True, False, True, True])
    assert rate_of(hits, design) == Rate(0.75, 0, 1, 1)
    assert effect_of(hits, ~hits, design) == Effect(0.5, -1, 1)


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
