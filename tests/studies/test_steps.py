"""What each kind of step claims of made-up figures: never more than they show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clerestory.attribution.results import Share
from clerestory.causal.results import BaselineEffects, UnitEffect
from clerestory.contrasts import Detection, Finding
from clerestory.evaluation import Effect
from clerestory.studies import Study
from clerestory.studies.tasks import Build, Find, Known, Verify, suppress
from clerestory.studies.tasks import attribute as attributing
from clerestory.studies.tasks import group as grouping
from clerestory.studies.tasks import maximize as exciting

GOOD = Detection(
    auroc=0.99, low=0.97, high=1.0, win_rate=1.0, win_low=0.88, win_high=1.0, difference=3.0,
    q=1e-6, hard_negative_auroc=0.97, hard_negative_low=0.92, hard_negative_high=0.99, pairs=30,
)  # fmt: skip


def detecting(any_found: int = 0, **changed: Any) -> Any:
    """Findings of one direction."""
    told = Detection(**{**vars(GOOD), **changed})
    first = Finding("prior/embedding[difference]", "direction", 1, 1, told)
    null = SimpleNamespace(flips=50, any_found=any_found)
    return SimpleNamespace(top_ranked=lambda kind: first, null=null)


FIND = Find(record="r", concept="glass", shown="a", absent="b", decoy="c")


@pytest.mark.parametrize(
    ("found", "decoy", "holds"),
    [
        (detecting(), "c", True),
        (detecting(q=0.06), "c", False),
        (detecting(low=0.49), "c", False),
        (detecting(hard_negative_low=0.5), "c", False),
        (detecting(hard_negative_low=None, hard_negative_auroc=None), "c", False),
        (detecting(hard_negative_low=None, hard_negative_auroc=None), None, True),
        (detecting(any_found=5), "c", True),
        (detecting(any_found=6), "c", False),
    ],
)
def test_find_tells_only_what_is_held_out_from_chance_and_from_the_decoy(
    found: Any, decoy: str | None, holds: bool
) -> None:
    claim = FIND.model_copy(update={"decoy": decoy})._claim(found, "direction")
    assert claim.holds is holds
    assert ("does not tell it well enough" in claim.text) is not holds
    assert f"AUROC {claim.figure:.3f} ({claim.low:.3f} to {claim.high:.3f})" in claim.text
    assert f"here {found.null.any_found / 50:.0%}" in claim.bar


def built(rate: float, low: float, **changed: Any) -> dict[str, Any]:
    """What a build says of itself."""
    other = {"unedited": 0.05, "shuffled": 0.1, "words": 0.6}
    baselines = {
        name: {
            "concept_rate": up / 2,
            "concept_interval": [0.0, up],
            "decoy_added": 0.5,
            "kept": {"lancet:subject": 0.95},
        }
        for name, up in other.items()
    }
    told = {"concept_rate": rate, "concept_interval": [low, 1.0], "baselines": baselines}
    picked = {"site": "prior/embedding"}
    kept = {"lancet:subject": 0.7, "lancet:place": 0.99}
    rest = {"kept": kept, "all_kept": 0.9, "picked": picked}
    return {**told, **rest, "decoy_added": None, "decoy_added_interval": [-0.1, 0.1], **changed}


BUILD = Study.load("stained-glass", "full").plan["build.glass"]
assert isinstance(BUILD, Build)


@pytest.mark.parametrize(
    ("low", "beats", "holds"),
    [(0.11, False, True), (0.1, False, False), (0.5, True, False), (0.61, True, True)],
)
def test_build_draws_it_where_its_interval_is_above_those_beside_it(
    low: float, beats: bool, holds: bool
) -> None:
    step = BUILD.model_copy(update={"beats_words": beats})
    (claim,) = step._claims(built(0.8, low))
    assert claim.holds is holds
    assert "80.0%" in claim.text and f"({low:.1%} to 100.0%)" in claim.text
    assert "saying the words does in 30.0%" in claim.text
    assert "keeps 90% of the rest on average, the subject least (70%; " in claim.text
    assert claim.bar.endswith("(at most 60.0%)" if beats else "(at most 10.0%)")


@pytest.mark.parametrize(
    ("added", "low", "holds"),
    [(0.05, 0.7, True), (0.051, 0.7, False), (-0.2, 0.7, True), (0.0, 0.1, False)],
)
def test_build_brings_no_decoy_along_where_it_draws_something(
    added: float, low: float, holds: bool
) -> None:
    _, claim = BUILD._claims(built(0.8, low, decoy_added=added, all_kept=None))
    assert (claim.says, claim.holds, claim.figure) == ("decoy", holds, added)
    assert f"by {added:+.3f}" in claim.text and "+0.500" in claim.text


def shares(*spans: tuple[float, float]) -> list[Share]:
    return [
        Share(name, (low + high) / 2, low, high)
        for name, (low, high) in zip(("raven", "library", "name"), spans, strict=False)
    ]


@pytest.mark.parametrize(
    ("what", "spans", "holds"),
    [
        ("brings", [(0.3, 0.5), (0.0, 0.2)], True),
        ("brings", [(0.3, 0.5), (0.1, 0.3)], False),
        ("brings", [(0.0, 0.5), (-0.2, -0.1)], False),
        ("brings", [(0.1, 0.5)], True),
        ("takes", [(-0.5, -0.3), (-0.2, 0.0)], True),
        ("takes", [(-0.5, 0.0), (0.1, 0.2)], False),
        ("takes", [(-0.5, -0.3), (-0.3, 0.0)], False),
        ("spares", [(-0.05, 0.09), (0.5, 0.9)], True),
        ("spares", [(-0.05, 0.1), (0.5, 0.9)], False),
        ("spares", [(-0.3, 0.05), (0.5, 0.9)], False),
    ],
)
def test_a_piece_brings_takes_or_spares_where_its_interval_is_apart(
    what: str, spans: list[tuple[float, float]], holds: bool
) -> None:
    told, *others = shares(*spans)
    claim = attributing._claim(what, "black clothes", told, others)
    assert claim.holds is holds
    assert ("is not shown to" in claim.text) is not holds
    assert claim.text.startswith("“raven” ") and "black clothes" in claim.text
    assert all(f"“{one.piece}”" in claim.text for one in others)
    assert (claim.figure, claim.low, claim.high) == (told.value, told.low, told.high)


def suppressed(drop: float | None, kept: float | None) -> Any:
    best = SimpleNamespace(
        name="negative prompt",
        reduction=drop,
        reduction_low=0.1,
        reduction_high=0.95,
        preservation=kept,
        unwanted_before=0.9,
        unwanted_after=0.2,
    )
    return SimpleNamespace(best=best, control=SimpleNamespace(unwanted=0.05), methods=(best,))


@pytest.mark.parametrize(
    ("drop", "kept", "holds"),
    [
        (0.8, 0.9, True),
        (0.79, 1.0, False),
        (1.0, 0.89, False),
        (None, 1.0, False),
        (1.0, None, False),
    ],
)
def test_suppress_holds_where_most_is_gone_and_nearly_all_is_kept(
    drop: float | None, kept: float | None, holds: bool
) -> None:
    claim = suppress._claim(suppressed(drop, kept))
    assert claim.holds is holds and claim.figure == drop
    gone = "nothing that can be" if drop is None else f"{drop:.0%} of the excess"
    assert gone in claim.text
    assert "90% of pictures before, in 20% after" in claim.text
    assert ("preserves" in claim.text) is (kept is not None)


def known(verdict: str, p: float) -> Any:
    controls = SimpleNamespace(names=("a",) * 99)
    return SimpleNamespace(verdict=verdict, p=p, distance=1.5, controls=controls)


@pytest.mark.parametrize(
    ("verdict", "p", "thought", "holds", "bar"),
    [
        ("familiar", 0.01, "familiar", True, "p at most .01"),
        ("unfamiliar", 0.5, "familiar", False, "p at most .01"),
        ("undecided", 0.05, "familiar", None, "p at most .01"),
        ("unfamiliar", 0.5, "unfamiliar", True, "p above .1"),
        ("familiar", 0.01, "unfamiliar", False, "p above .1"),
        ("undecided", 0.05, "unfamiliar", None, "p above .1"),
    ],
)
def test_familiarity_holds_where_it_is_as_thought_and_is_undecided_between(
    verdict: str, p: float, thought: Any, holds: bool | None, bar: str
) -> None:
    claim = Known(phrase="mala zorn", thought=thought)._claim(known(verdict, p))
    assert (claim.holds, claim.bar) == (holds, bar)
    assert f"is {verdict} to the model" in claim.text and "99 made-up names" in claim.text


def test_the_bars_of_familiarity_are_those_of_its_verdict() -> None:
    from clerestory.recognition.familiarity import KNOWN, UNKNOWN

    assert (KNOWN, UNKNOWN) == (0.01, 0.1)


def grouped(found: Any, units: tuple[Any, ...]) -> Any:
    own = SimpleNamespace(findings=found, units=units)
    groups = {"scared": own}
    return type("Groups", (), {"groups": groups, "__getitem__": lambda self, name: groups[name]})()


UNIT = SimpleNamespace(unit="prior/embedding[difference]", omega2=0.4)


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (detecting(), True),
        (detecting(q=0.06), False),
        (detecting(low=0.5), False),
        (detecting(any_found=6), False),
    ],
)
def test_a_group_is_set_apart_by_a_direction_beyond_chance(found: Any, holds: bool) -> None:
    claim = grouping._claim(grouped(found, (UNIT,)), "scared")
    assert claim.holds is holds
    assert ("does not surely set" in claim.text) is not holds
    assert "40% of its variance lies between the groups" in claim.text


def test_a_group_of_too_few_pictures_or_without_a_unit_is_nothing_known() -> None:
    for claim in (
        grouping._claim(grouped(detecting(), ()), "scared"),
        grouping._claim(grouped(detecting(), (UNIT,)), "happy"),
        grouping._none("mood"),
    ):
        assert claim.holds is False and claim.figure is None
    assert "No class of mood" in grouping._none("mood").text


VERIFY = Verify(find="glass", classifier="style", shows="stained glass")


@pytest.mark.parametrize(
    ("low", "beside", "high", "holds"),
    [(0.4, 0.8, 0.3, True), (0.0, 0.8, 0.3, False), (0.4, 0.3, 0.3, False)],
)
def test_a_unit_controls_beyond_chance_and_beyond_every_shuffled_direction(
    low: float, beside: float, high: float, holds: bool
) -> None:
    band = BaselineEffects(0.0, -0.1, high, 20, 12, beside)
    added, zero = Effect(0.8, low, 1.0), Effect(0.0, -0.1, 0.1)
    best = UnitEffect("text.blocks.0/mlp[3]", "neuron", 0.9, added, zero, None, None, band, {})
    causes: Any = SimpleNamespace(effects=(best, best), prompting=Effect(0.9, 0.8, 1.0))
    claim = VERIFY._claim(causes, best)
    assert claim.holds is holds
    assert ("does not surely control" in claim.text) is not holds
    assert "+0.80" in claim.text and f"at most {high:+.2f}" in claim.text


@pytest.mark.parametrize(("z", "holds"), [(3.3, True), (3.2, False), (1.0, False)])
def test_a_prompt_drives_a_unit_beyond_the_best_of_as_many_random_ones(
    z: float, holds: bool
) -> None:
    best = SimpleNamespace(prompt="cat glass", score=9.0, z=z)
    null = SimpleNamespace(scores=np.array([0.0, 1.0, 2.0]))
    came: Any = SimpleNamespace(best=(best,), null=null)
    claim = exciting._claim(came, "a/b[3]", 2000)
    assert claim.holds is holds and claim.bar.startswith("above 3.3")
    assert "“cat glass”" in claim.text and "the highest of 3 of those is 2.00" in claim.text


def test_every_claim_of_a_kind_is_true_false_or_none_and_no_number_of_numpy() -> None:
    claims = [
        FIND._claim(detecting(low=np.float64(0.97), q=np.float64(1e-6)), "direction"),
        grouping._claim(grouped(detecting(low=np.float64(0.97)), (UNIT,)), "scared"),
        attributing._claim("brings", "x", *_first(shares((np.float64(0.3), np.float64(0.5))))),
        suppress._claim(suppressed(np.float64(0.9), np.float64(0.95))),
        *BUILD._claims(built(np.float64(0.8), np.float64(0.7), decoy_added=np.float64(0.01))),
    ]
    assert [claim.holds for claim in claims if claim.holds is not True] == []


def _first(every: list[Share]) -> tuple[Share, list[Share]]:
    return every[0], every[1:]
