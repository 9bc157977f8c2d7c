"""Side effects of drawings whose classes are known: each channel of a picture is an index."""

from dataclasses import dataclass

import numpy as np
import pytest

from clerestory.errors import EvidenceError
from clerestory.evaluation import (
    Condition,
    Design,
    Drawing,
    LoadedTarget,
    SideEffects,
    side_effects_of,
)

CLASSES = tuple("abcdefghij")


@dataclass(eq=False)
class IndexClassifier:
    """Predicts the class whose index is the value of a channel."""

    channel: int
    classes: tuple[str, ...] = CLASSES

    @property
    def source(self) -> str:
        return f"index:{self.channel}"

    def __call__(self, pictures):
        return np.eye(len(self.classes))[pictures[:, 0, 0, self.channel]]


CLASSIFIERS = {name: IndexClassifier(channel) for channel, name in enumerate(("x", "y", "z"))}


def drawing(indices, design):
    """A drawing of indices `[item, seed, channel]`."""
    return Drawing(Condition("any"), design, indices.reshape(len(design), 1, 1, -1).astype("u1"))


def by_items(items, seeds):
    return Design.for_items([f"item {number}" for number in range(items)], seeds)


def simulate(rng, items, seeds, change=0.0):
    """Two drawings of three classifiers; class `a` of the first has its rate raised by `change`.

    Items prefer some classes, and 30% of pictures are drawn anew, as an edit does that changes the
    noise but no rate.
    """
    base = np.r_[0.1, np.full(9, 0.1)]
    liking = rng.dirichlet(base * 0.7 / 0.3, size=(items, 1, 3))
    bounds = liking.cumsum(-1)
    before, fresh = (
        (rng.random((items, seeds, 3, 1)) > bounds).sum(-1).clip(0, 9) for _ in range(2)
    )
    after = np.where(rng.random(before.shape) < 0.7, before, fresh)
    raised = rng.random((items, seeds)) < change / (1 - base[0])
    after[..., 0] = np.where(raised, 0, after[..., 0])
    design = by_items(items, seeds)
    return drawing(after, design), drawing(before, design)


@pytest.mark.parametrize(("items", "seeds"), [(24, 4), (48, 1)])
def test_one_class_at_the_bound_is_seldom_called_within_it(items, seeds):
    rng, repeats = np.random.default_rng(27), 150
    effects = [
        side_effects_of(*simulate(rng, items, seeds, 0.2), CLASSIFIERS) for _ in range(repeats)
    ]
    passed = np.mean([effect.within_bound is True for effect in effects])
    # A share of .08 exceeds this in one of 160 such simulations.
    assert passed <= 0.08 + 2.5 * (0.08 * 0.92 / repeats) ** 0.5
    assert np.mean([effect.within_bound is False for effect in effects]) <= 0.08


def test_an_edit_without_side_effects_is_within_a_bound_that_the_design_can_reach():
    rng = np.random.default_rng(28)
    effects = [side_effects_of(*simulate(rng, 24, 4), CLASSIFIERS) for _ in range(60)]
    assert np.mean([effect.within_bound is True for effect in effects]) >= 0.9
    assert np.mean([bool(effect.together_with()) for effect in effects]) <= 0.1
    assert np.median([effect.reachable for effect in effects]) < 0.2
    # Twelve items cannot show it, and say so.
    few = [side_effects_of(*simulate(rng, 12, 1), CLASSIFIERS) for _ in range(20)]
    assert min(effect.reachable for effect in few) > 0.2
    assert all(effect.within_bound is None for effect in few)


def test_a_class_that_changes_is_named():
    after, before = simulate(np.random.default_rng(29), 24, 4, 0.7)
    effects = side_effects_of(after, before, CLASSIFIERS)
    assert effects.within_bound is False
    first = effects.together_with()[0]
    assert (first.classifier, first.label) == ("x", "a")
    assert first == effects.largest
    assert first.low < first.change < first.high
    assert first.limit < first.high
    assert str(first).startswith("x=a +0.")
    assert (effects.items, effects.pictures) == (24, 96)


def test_what_the_targets_rise_implies_is_no_side_effect():
    design = by_items(24, 2)
    before, after = np.zeros((24, 2, 3)), np.zeros((24, 2, 3))
    before[..., 0], after[..., 0] = 1, 0
    pair = drawing(after, design), drawing(before, design)
    target = LoadedTarget(CLASSIFIERS["x"], "a")
    effects = side_effects_of(*pair, CLASSIFIERS, target)
    assert effects.within_bound is True
    assert not effects.together_with()
    assert ("x", "a") not in {(change.classifier, change.label) for change in effects.changes}
    # Without that target, the fall of `b` counts; and so does its rise, where `a` should rise.
    assert side_effects_of(*pair, CLASSIFIERS).within_bound is False
    other = side_effects_of(*pair, CLASSIFIERS, LoadedTarget(CLASSIFIERS["x"], "c"))
    assert other.within_bound is False
    assert [change.label for change in other.together_with()] == ["a"]
    fall = side_effects_of(*pair[::-1], CLASSIFIERS, target, rises=False)
    assert fall.within_bound is True, "that b rises is what the fall of a implies"


def test_the_other_of_two_classes_is_the_target_too():
    two = IndexClassifier(0, ("absent", "present"))
    design = by_items(24, 1)
    ones, zeros = np.ones((24, 1, 1)), np.zeros((24, 1, 1))
    pair = drawing(ones, design), drawing(zeros, design)
    alone = side_effects_of(*pair, {"window": two}, LoadedTarget(two, "present"))
    assert alone == SideEffects((), 0.2, 0.0, 24, 24)
    assert alone.within_bound is None, "nothing was looked at"
    assert alone.largest is None


@pytest.mark.parametrize("bound", [0, 1, -0.1, float("nan")])
def test_an_impossible_bound_is_refused(bound):
    pair = simulate(np.random.default_rng(0), 4, 1)
    with pytest.raises(EvidenceError, match="between 0 and 1"):
        side_effects_of(*pair, CLASSIFIERS, bound=bound)
