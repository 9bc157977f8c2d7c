from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from study import miniature

from clerestory.finding import Detects
from clerestory.study.controlling import Controls, Point, Shuffled, Span, knee
from clerestory.study.judging import Change, Drawn, Rate, rate
from clerestory.study.results import answer, verdict

GOOD = Detects(
    auroc=0.99, low=0.97, high=1.0, win_rate=1.0, win_low=0.88, win_high=1.0, difference=3.0,
    q=1e-6, decoy_auroc=0.97, decoy_low=0.92, decoy_high=0.99, pairs=30,
)  # fmt: skip
BLIND = replace(GOOD, q=0.4, low=0.4)
FOOLED = replace(GOOD, decoy_auroc=0.5, decoy_low=0.4)


def _rate(hits: int) -> Rate:
    return rate((np.arange(30) < hits)[:, None])


def _drawn(style: int) -> Drawn:
    return Drawn(_rate(style), _rate(18), _rate(9), _rate(1), Change(0.0, -0.1, 0.1))


def _controls(style: int, mixed: int = 0) -> Controls:
    share, half = (Span(r.rate, r.low, r.high) for r in (_rate(mixed), _rate(15)))
    other = Shuffled(share, half, (mixed / 30,) * 20, (0.5,) * 20, 8)
    point = Point(1.0, _drawn(style))
    return Controls(
        "prior/embedding", 1.0, _drawn(style), _drawn(1), _drawn(28), _drawn(2), other, (point,),
        (), None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("detects", "controls", "expected"),
    [
        (GOOD, _controls(28), "found"),
        (GOOD, _controls(2), "undecided"),
        (GOOD, _controls(28, mixed=25), "undecided"),
        (FOOLED, _controls(28), "undecided"),
        (BLIND, _controls(28), "undecided"),
        (BLIND, _controls(2), "not found"),
    ],
)
def test_found_takes_detecting_and_controlling_beyond_shuffled_directions(
    detects: Detects, controls: Controls, expected: str
) -> None:
    study = miniature.definition()
    said = verdict(detects, controls)
    assert said == expected
    opening = {"found": "Yes:", "undecided": "Half an answer:", "not found": "Not found:"}
    sentence = answer(study, said, detects, controls)
    assert sentence.startswith(opening[said])
    assert f"{controls.edited.style.rate:.0%} of the pictures" in sentence


def test_the_knee_is_the_weakest_strength_that_is_nearly_as_good_as_the_best() -> None:
    points = [Point(s, _drawn(hits)) for s, hits in ((0.5, 20), (1.0, 29), (1.5, 30), (2.0, 28))]
    assert knee(points) == 1.0


def test_where_no_strength_draws_the_style_the_knee_is_once_the_direction() -> None:
    assert knee([Point(s, _drawn(0)) for s in (0.25, 1.0, 2.0)]) == 1.0
