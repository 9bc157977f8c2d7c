"""What is taken away and what is preserved, of pictures whose answers are known."""

import numpy as np
import pytest
from scipy.stats import binom

from clerestory.attribution import parse_pieces
from clerestory.classifiers import load_classifier
from clerestory.evaluation import Condition, Design, Drawing
from clerestory.suppression import Association, Target
from clerestory.suppression.scores import score
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
    few, many = binom.ppf([0.025, 0.975], 12, 1 / 3) / 12
    assert gone.reduction == pytest.approx(1.5)
    assert (gone.reduction_low, gone.reduction_high) == pytest.approx(
        (1 / (1 - few), 1 / (1 - many))
    )


def test_all_is_gone_in_every_resample_where_items_are_as_the_controls(calls):
    before, control = drawing(red=1, green=1), drawing(red=[1] * 4 + [0] * 8)
    gone = scored(drawing(red=[1] * 4 + [0] * 8, green=1), before, control)
    assert (gone.reduction, gone.reduction_low, gone.reduction_high) == pytest.approx((1, 1, 1))
    rare = scored(drawing(green=1), drawing(red=[1] + [0] * 11, green=1), drawing())
    assert (rare.reduction, rare.reduction_low, rare.reduction_high) == pytest.approx((1, 1, 1))
    assert scored(before, drawing(green=1), drawing()).reduction is None


def test_a_class_that_was_not_drawn_before_has_no_share(calls):
    preserved = (GREEN, BLUE)
    before, control = drawing(red=1, green=1), drawing()
    half = scored(drawing(green=[1, 0] * 6, blue=1), before, control, preserved=preserved)
    assert half.preservation == 0.5 and half.objective == 0.5
    never = scored(drawing(blue=1), drawing(red=1), control, preserved=(BLUE,))
    assert never.preservation is None and never.objective == 0


def test_references_are_classified_once(calls):
    before, control = drawing(red=1, green=1), drawing()
    association = Association(None, parse_pieces("a [raven]"), (RED,), (GREEN,), (BLUE[0],))
    classifiers = {name: load_classifier(name) for name in association.classifiers}
    for _ in range(3):
        own = drawing(green=1, blue=[1, 0, 0] * 4)
        result = score(association, classifiers, own, before, control)
        assert result.side_effects == pytest.approx(1 / 3)
    assert len(calls) == 3 * 3 + 3 + 1
