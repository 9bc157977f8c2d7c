"""What is gone and what is kept, of pictures whose answers are known."""

import numpy as np
import pytest
from scipy.stats import binom

from clerestory.attribution import parse_pieces
from clerestory.suppression import Case
from clerestory.suppression.scoring import Looks, judged
from suppression.painted import judges

RED, GREEN, BLUE = (("python:judges:" + one, "yes") for one in ("red", "green", "blue"))


@pytest.fixture
def asked(monkeypatch):
    return judges(monkeypatch)


def looks(*, red=0, green=0, blue=0, kept=(GREEN,), others=()):
    """A picture of each content, by how much there is of each colour, 0 or 1."""
    case = Case(None, parse_pieces("a [raven]"), (RED,), kept, ("{x}, red",), others)
    shown = np.stack(np.broadcast_arrays(np.zeros(12), red, green, blue)[1:], axis=1)
    return Looks(case, (255 * shown[:, None, None, None]).astype(np.uint8), "evaluation")


def test_the_interval_knows_that_the_controls_rate_varies(asked):
    before, control = looks(red=1, green=1), looks(red=[1] * 4 + [0] * 8)
    gone = judged(looks(green=1), before, control)
    few, many = binom.ppf([0.025, 0.975], 12, 1 / 3) / 12
    assert gone.drop == pytest.approx(1.5)
    assert (gone.drop_low, gone.drop_high) == pytest.approx((1 / (1 - few), 1 / (1 - many)))


def test_all_is_gone_in_every_draw_where_contents_are_as_the_controls(asked):
    before, control = looks(red=1, green=1), looks(red=[1] * 4 + [0] * 8)
    gone = judged(looks(red=[1] * 4 + [0] * 8, green=1), before, control)
    assert (gone.drop, gone.drop_low, gone.drop_high) == pytest.approx((1, 1, 1))
    rare = judged(looks(green=1), looks(red=[1] + [0] * 11, green=1), looks())
    assert (rare.drop, rare.drop_low, rare.drop_high) == pytest.approx((1, 1, 1))
    assert judged(before, looks(green=1), looks()).drop is None


def test_a_class_that_was_not_drawn_before_has_no_share(asked):
    kept = (GREEN, BLUE)
    before, control = looks(red=1, green=1, kept=kept), looks(kept=kept)
    half = judged(looks(green=[1, 0] * 6, blue=1, kept=kept), before, control)
    assert half.kept_share == 0.5 and half.worth == 0.5
    never = judged(looks(blue=1, kept=(BLUE,)), looks(red=1, kept=(BLUE,)), control)
    assert never.kept_share is None and never.worth == 0


def test_pictures_that_others_are_held_to_are_judged_once(asked):
    before, control = looks(red=1, green=1, others=(BLUE[0],)), looks(others=(BLUE[0],))
    for _ in range(3):
        own = judged(looks(green=1, blue=[1, 0, 0] * 4, others=(BLUE[0],)), before, control)
        assert own.rest == pytest.approx(2 / 3)
    assert len(asked) == 3 * 3 + 3 + 1
