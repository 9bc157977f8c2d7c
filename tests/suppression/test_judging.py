"""What is gone and what is kept, of pictures whose answers are known."""

import numpy as np
import pytest
from scipy.stats import binom

from clerestory.attribution import parse_pieces
from clerestory.evaluation import Condition, Design, Drawing
from clerestory.suppression import Case
from clerestory.suppression.scoring import Judges, judged
from suppression.painted import judges as painted_judges

RED, GREEN, BLUE = (("python:judges:" + one, "yes") for one in ("red", "green", "blue"))


@pytest.fixture
def asked(monkeypatch):
    return painted_judges(monkeypatch)


def drawing(*, red=0, green=0, blue=0):
    """A picture of each sentence, by how much there is of each colour, 0 or 1."""
    shown = np.stack(np.broadcast_arrays(np.zeros(12), red, green, blue)[1:], axis=1)
    pictures = (255 * shown[:, None, None]).astype(np.uint8)
    return Drawing(Condition("x"), Design.crossed([str(row) for row in range(12)]), pictures)


def scored(
    own,
    before,
    control,
    *,
    kept=(GREEN,),
    others=(),
):
    case = Case(None, parse_pieces("a [raven]"), (RED,), kept, ("{item}, red",), others)
    return judged(case, Judges.of(case, "evaluation"), own, before, control)


def test_the_interval_knows_that_the_controls_rate_varies(asked):
    before, control = drawing(red=1, green=1), drawing(red=[1] * 4 + [0] * 8)
    gone = scored(drawing(green=1), before, control)
    few, many = binom.ppf([0.025, 0.975], 12, 1 / 3) / 12
    assert gone.drop == pytest.approx(1.5)
    assert (gone.drop_low, gone.drop_high) == pytest.approx((1 / (1 - few), 1 / (1 - many)))


def test_all_is_gone_in_every_draw_where_contents_are_as_the_controls(asked):
    before, control = drawing(red=1, green=1), drawing(red=[1] * 4 + [0] * 8)
    gone = scored(drawing(red=[1] * 4 + [0] * 8, green=1), before, control)
    assert (gone.drop, gone.drop_low, gone.drop_high) == pytest.approx((1, 1, 1))
    rare = scored(drawing(green=1), drawing(red=[1] + [0] * 11, green=1), drawing())
    assert (rare.drop, rare.drop_low, rare.drop_high) == pytest.approx((1, 1, 1))
    assert scored(before, drawing(green=1), drawing()).drop is None


def test_a_class_that_was_not_drawn_before_has_no_share(asked):
    kept = (GREEN, BLUE)
    before, control = drawing(red=1, green=1), drawing()
    half = scored(drawing(green=[1, 0] * 6, blue=1), before, control, kept=kept)
    assert half.kept_share == 0.5 and half.worth == 0.5
    never = scored(drawing(blue=1), drawing(red=1), control, kept=(BLUE,))
    assert never.kept_share is None and never.worth == 0


def test_pictures_that_others_are_held_to_are_judged_once(asked):
    before, control = drawing(red=1, green=1), drawing()
    case = Case(None, parse_pieces("a [raven]"), (RED,), (GREEN,), ("{item}, red",), (BLUE[0],))
    judges = Judges.of(case, "evaluation")
    for _ in range(3):
        own = drawing(green=1, blue=[1, 0, 0] * 4)
        found = judged(case, judges, own, before, control)
        assert found.rest == pytest.approx(2 / 3)
    assert len(asked) == 3 * 3 + 3 + 1
