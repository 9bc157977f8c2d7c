"""What contexts add to invented names."""

from __future__ import annotations

import numpy as np
import pytest

from clerestory.errors import EvidenceError
from clerestory.recognition.contexts import CONTEXTS, check_contexts, find_context_effects

CLASSES = [("hair", "bushy"), ("hair", "none"), ("pallor", "pale")]


def test_a_class_that_one_context_brings_is_found_there_and_nowhere_else():
    rng = np.random.default_rng(0)
    hits = (rng.random((99, 4, 3)) < 0.2).astype(float)
    hits[:, 2, 0] = rng.random(99) < 0.8
    found = find_context_effects(hits, CLASSES)
    assert [len(one) for one in found] == [0, 0, 1, 0]
    effect = found[2][0]
    assert (effect.classifier, effect.label) == ("hair", "bushy")
    assert effect.rate.rate == hits[:, 2, 0].mean() and effect.rate.items == 99
    assert (
        effect.rate.low < 0.8 < effect.rate.high and effect.other_contexts < 0.3 and effect.q < 1e-6
    )


def test_where_all_contexts_are_alike_hardly_anything_is_found():
    found = 0
    for seed in range(100):
        hits = (np.random.default_rng(seed).random((99, 4, 3)) < 0.3).astype(float)
        found += any(find_context_effects(hits, CLASSES))
    assert found <= 10, "in one of twenty, but for chance"


def test_a_class_that_one_context_lacks_is_nothing_special_in_the_others():
    hits = np.zeros((99, 4, 3))
    hits[:, :3, 1] = 1.0
    assert find_context_effects(hits, CLASSES) == ((), (), (), ())


def test_one_context_alone_has_nothing_to_be_compared_with():
    assert find_context_effects(np.ones((99, 1, 3)), CLASSES) == ((),)


def test_contexts_have_a_place_for_the_name():
    assert check_contexts(CONTEXTS) == CONTEXTS
    for wrong, said in (
        (["{item}", "a raven"], "'a raven' must have {item}"),
        (["{item} and {item}"], "must have {item}"),
        (["{item}", "{item}"], "listed twice"),
        ([], "no context"),
    ):
        with pytest.raises(EvidenceError, match=said):
            check_contexts(wrong)
