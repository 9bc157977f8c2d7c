"""What is taken away and what is preserved, of pictures whose answers are known."""

import numpy as np
import pytest

from clerestory.attribution import parse_pieces
from clerestory.classifiers import Target, load_classifier
from clerestory.evaluation import Condition, Design, Drawing
from clerestory.suppression import Association
from clerestory.suppression.scores import reduction_interval, score
from suppression.rules import colours

RED, GREEN, BLUE = (Target(f"python:colours:{name}", "yes") for name in ("red", "green", "blue"))


@pytest.fixture
def calls(monkeypatch):
    return colours(monkeypatch)


def drawing(*, red=0, green=0, blue=0):
    """A picture of each sentence, by how much there is of each colour, 0 or 1."""
    shown = np.stack(np.broadcast_arrays(np.zeros(12), red, green, blue)[1:], axis=1)
    pictures = (255 * shown[:, None, None]).astype(np.uint8)
    return Drawing(Condition("x"), Design.crossed([str(row) for row in range(12)]), pictures)


def scored(own, before, control, *, preserved=(GREEN,), others=()):
    association = Association(None, parse_pieces("a [raven]"), (RED,), preserved, others)
    classifiers = {name: load_classifier(name) for name in association.classifiers}
    return score(association, classifiers, own, before, control)


def test_the_interval_knows_that_the_controls_rate_varies(calls):
    before, control = drawing(red=1, green=1), drawing(red=[1] * 4 + [0] * 8)
    gone = scored(drawing(green=1), before, control)
    assert gone.reduction == pytest.approx(1.5)
    assert 0.9 < gone.reduction_low < 1.2 and gone.reduction_high > 1.9


def test_all_gone_still_has_an_interval(calls):
    before, control = drawing(red=1, green=1), drawing()
    gone = scored(drawing(green=1), before, control)
    assert gone.reduction == 1 and gone.reduction_low < 1 < gone.reduction_high
    assert scored(before, drawing(green=1), drawing()).reduction is None


@pytest.mark.parametrize(("rates", "true"), [((0.9, 0.1, 0.26), 0.8), ((0.8, 0.3, 0.8), 0.0)])
def test_intervals_of_reductions_cover(rates, true):
    rng = np.random.default_rng(27)
    covered = []
    for _ in range(200):
        lean = rng.normal(size=(24, 1)) * 0.05
        draws = [(rng.random((24, 2)) < rate + lean).astype(float) for rate in rates]
        low, high = reduction_interval(*draws)
        covered.append(low <= true <= high)
        assert low < high
    assert np.mean(covered) >= 0.93 - 2.5 * (0.93 * 0.07 / 200) ** 0.5


@pytest.mark.parametrize("part", ["before", "control"])
def test_a_reduction_beyond_its_range_is_cut_at_the_end(part):
    ones, zeros = np.ones((24, 2)), np.zeros((24, 2))
    low, high = reduction_interval(ones, zeros, ones if part == "before" else zeros)
    assert -1 <= low <= high <= 2
    assert (low <= 0 <= high) if part == "before" else (low <= 1 <= high)


def test_other_classes_count_but_not_those_that_take_the_unwanteds_place(calls):
    before, control = drawing(red=1, green=1), drawing()
    blue = scored(drawing(green=1, blue=1), before, control, others=(BLUE[0],))
    assert (blue.named_preservation, blue.preservation, blue.objective) == (1, 0, 0)
    same = scored(drawing(green=1), before, control, others=(BLUE[0],))
    assert (same.named_preservation, same.preservation, same.objective) == (1, 1, 1)


def test_a_class_that_was_not_drawn_before_has_no_share(calls):
    preserved = (GREEN, BLUE)
    before, control = drawing(red=1, green=1), drawing()
    half = scored(drawing(green=[1, 0] * 6), before, control, preserved=preserved)
    assert half.named_preservation == 0.5 and half.objective == 0.5
    never = scored(drawing(blue=1), drawing(red=1), control, preserved=(BLUE,))
    assert never.named_preservation is None and never.objective == 0


def test_references_are_classified_once(calls):
    before, control = drawing(red=1, green=1), drawing()
    association = Association(None, parse_pieces("a [raven]"), (RED,), (GREEN,), (BLUE[0],))
    classifiers = {name: load_classifier(name) for name in association.classifiers}
    for _ in range(3):
        own = drawing(green=1, blue=[1, 0, 0] * 4)
        result = score(association, classifiers, own, before, control)
        assert result.changed == pytest.approx(1 / 6)
    assert len(calls) == 3 * 3 + 3 + 1
