"""Outcomes of pictures whose every class is known: their first pixel says it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from tiny import tiny_model

from clerestory.errors import EvidenceError, RegistryError
from clerestory.evaluation.outcomes import Panel, Way, judged, outcomes
from clerestory.stats import newcombe, wilson
from lancet.items import contents


@dataclass(frozen=True)
class Pixel:
    """Class 0 or 1 by whether a channel of the first pixel is lit."""

    channel: int
    classes: tuple[str, ...] = ("no", "yes")
    source: str = "pixel"

    def __call__(self, pictures):
        lit = pictures[:, 0, 0, self.channel] > 127
        return np.stack([~lit, lit], 1).astype(np.float32)


PANEL = Panel(Pixel(0), "yes", {"green": Pixel(1)}, (Pixel(2), "yes"))


def pictures(*rows: list[tuple[int, int, int]]) -> np.ndarray:
    """`[content, seed, 2, 2, 3]` whose first pixel has these channels lit."""
    made = np.zeros((len(rows), len(rows[0]), 2, 2, 3), np.uint8)
    made[:, :, 0, 0] = 255 * np.array(rows)
    return made


def test_rates_count_contents_and_what_is_kept_is_beside_the_first_way():
    before = pictures([(0, 0, 0), (0, 1, 0)], [(0, 1, 1), (0, 1, 0)])
    after = pictures([(1, 0, 1), (1, 0, 0)], [(1, 1, 1), (0, 1, 0)])
    plain, edited = judged(PANEL, {"unedited": before, "edited": after})
    assert (plain.concept.rate, edited.concept.rate) == (0, 0.75)
    assert (edited.concept.low, edited.concept.high) == wilson(1.5, 2)
    assert edited.kept["green"].rate == 0.75
    assert plain.kept["green"].rate == plain.all_kept == 1
    assert (plain.decoy.rate, edited.decoy.rate) == (0.25, 0.5)
    assert edited.decoy_added.change == 0.25
    assert (edited.decoy_added.low, edited.decoy_added.high) == newcombe(1, 2, 0.5, 2)
    changed = 3 + 1 + 1  # channels of 48 that differ: (red, blue), (red, green), (red)
    assert edited.distance == pytest.approx(np.sqrt(changed / 48))
    assert edited.frechet is None
    assert edited.told()["kept"]["green"]["contents"] == 2


def test_ways_are_drawn_on_the_same_contents_and_seeds():
    model = tiny_model()
    ways = [Way("unedited"), Way("again"), Way("said", "{x} cat")]
    plain, again, said = outcomes(model, ways, ["a", "b"], range(2), PANEL)
    assert (plain.pictures == again.pictures).all() and again.distance == 0
    assert said.distance > 0
    assert plain.pictures.shape[:2] == (2, 2)
    alone = model.run(["a cat", "b cat"], range(2)).pictures
    np.testing.assert_allclose(said.pictures.reshape(alone.shape), alone, atol=1)


def test_what_cannot_be_told_is_refused():
    with pytest.raises(EvidenceError, match=r"must have .* in it"):
        Way("said", "a cat")
    with pytest.raises(EvidenceError, match="two different contents"):
        outcomes(tiny_model(), [Way("unedited")], ["a", "a"], 0, PANEL)
    with pytest.raises(EvidenceError, match="one name"):
        outcomes(tiny_model(), [Way("a"), Way("a", "{x} b")], ["a", "b"], 0, PANEL)


@pytest.mark.weights
def test_the_panel_of_a_lancet_classifier_has_its_other_factors_and_features():
    panel = Panel.of("lancet:style", "stained glass", decoy=("lancet:window", "present"))
    assert {"subject", "place", "mood"} <= set(panel.others)
    assert not {"style", "window"} & set(panel.others)
    noise = np.random.default_rng(0).integers(0, 255, (4, 2, 64, 64, 3), dtype=np.uint8)
    same, dark = judged(panel, {"said": noise, "dark": noise // 8}, said="said")
    assert same.frechet == pytest.approx(0, abs=1e-3)
    assert dark.frechet > 1
    with pytest.raises(RegistryError, match="Did you mean stained glass"):
        Panel.of("lancet:style", "stained glas")


def test_contents_never_mention_the_concept_and_halves_do_not_meet():
    styles = contents(60, "style")
    assert len(set(styles)) == 60
    assert not any(word in text for text in styles for word in ("stained", "ink", "picture of"))
    moods = contents(30, "mood", "style", people=True)
    assert not any(word in text for text in moods for word in ("happy", "scared", "calm", "tired"))
    assert contents(30, "style", start=30) == styles[30:]
