"""The comparison of latents, neurons and directions: its prompts, and the sentences of its page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import dictionaries_page
import dictionary_classes
from dictionary_detection import latents_needed


@pytest.mark.parametrize(
    "factor", [name for name in dictionary_classes.FACTORS if name != "subject"]
)
def test_halves_share_no_item_and_no_phrase(factor):
    table = dictionary_classes.prompts(factor)
    halves = dict(list(table.groupby("half")))
    for column in ("item", "phrase", "prompt"):
        assert not set(halves["selection"][column]) & set(halves["evaluation"][column])
    # Every level has every phrase of a half with every item: the grid that is compared.
    counts = table.groupby(["level", "half"])
    assert (counts["phrase"].nunique() == dictionary_classes.PHRASES).all()
    assert (counts.size() == counts["phrase"].nunique() * counts["item"].nunique()).all()


@pytest.mark.parametrize(
    ("factor", "level", "negative", "hard"),
    [
        ("style", "stained glass", ["plain"], "place: stained glass window"),
        ("window", "present", ["plain wall"], "style: stained glass"),
        ("mood", "scared", ["neutral"], "sad"),
    ],
)
def test_a_class_is_compared_with_the_usual_level_and_with_what_is_like_it(
    factor, level, negative, hard
):
    arms = dictionary_classes.arms(factor, level)
    assert arms["negative"] == negative and hard in arms["hard_negative"]
    assert not set(arms["positive"]) & {*arms["negative"], *arms["hard_negative"]}


def test_a_usual_level_is_compared_with_all_others_and_a_subject_with_sixteen():
    assert len(dictionary_classes.arms("style", "plain")["negative"]) == 9
    for subject in ("moose", "cat", "flying saucer"):
        negative = dictionary_classes.arms("subject", subject)["negative"]
        assert len(set(negative)) == 16 and subject not in negative


def test_as_many_latents_are_needed_as_still_add_more_than_a_threshold():
    assert latents_needed([[1, 0.70], [2, 0.80], [4, 0.82], [8, 0.95]]) == 2
    assert latents_needed([[1, 0.97], [2, 0.99]]) == 1
    assert latents_needed([[1, 0.5], [2, 0.6], [4, 0.7]]) == 4


def classes(**by_kind):
    """Detection of classes with these AUROCs of each kind; of the others 0.5."""
    aurocs = dict.fromkeys(dictionaries_page.KINDS, (0.5, 0.5, 0.5)) | by_kind
    return {
        ("style", str(number)): {
            "kinds": {kind: {"auroc": values[number]} for kind, values in aurocs.items()}
        }
        for number in range(3)
    }


def ranking(**by_kind):
    return dictionaries_page._ranking(classes(**by_kind), dictionaries_page._auroc, "AUROC")


def test_the_page_names_the_winner_and_those_that_are_not_told_apart_from_it():
    text = ranking(latent=(0.90, 0.91, 0.92), neuron=(0.70, 0.72, 0.71), probe=(0.95, 0.85, 0.92))
    assert text.startswith("(3 classes, mean AUROC): latent 0.91, probe 0.91, neuron 0.71")
    assert "Best is the **latent**, not told apart from: probe. The latent less" in text
    assert "the neuron +0.20 (+0.18 to +0.22), higher in 3 and lower in 0" in text


def test_the_page_does_not_name_the_latent_where_another_unit_wins():
    text = ranking(latent=(0.60, 0.61, 0.62), probe=(0.95, 0.97, 0.96), neuron=(0.7, 0.6, 0.65))
    assert "Best is the **probe**. The latent" in text
    assert "the neuron -0.04 (-0.18 to +0.10), higher in 1 and lower in 2" in text


def test_a_class_needs_the_fewest_latents_that_are_near_the_best_of_sixteen():
    def needed(*aurocs):
        curve = [[2**number, auroc] for number, auroc in enumerate(aurocs)]
        return dictionaries_page._needed({"a": {"curves": {"latent": curve}}}).tolist()

    # Two add nothing, and four do.
    assert needed(0.80, 0.80, 0.96, 0.98, 0.97, 1.0, 1.0) == [4]
    assert needed(0.97, 0.99, 0.98, 0.95, 0.96) == [1]
