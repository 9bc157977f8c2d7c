"""Paraphrases: how many there are, what they keep, what fits."""

import numpy as np
import pytest
from tiny import tiny_model

import clerestory
from clerestory.attribution import asked_values, attribute, paraphrases, parse_pieces
from clerestory.attribution.shares import groups_of
from clerestory.errors import EvidenceError

UNIT = "text.blocks.1/mlp[3]"
MANY = 10**6


def test_atleast_takes_what_there_is():
    asked = parse_pieces("a [cat]")
    assert len(paraphrases(asked, 48, atleast=20)) == 21
    assert paraphrases(asked, 20, atleast=20) == paraphrases(asked, 48, atleast=20)[:20]
    with pytest.raises(EvidenceError, match="There are 21 paraphrases"):
        paraphrases(asked, 48)
    with pytest.raises(EvidenceError, match="There are 21 paraphrases"):
        paraphrases(asked, 48, atleast=22)
    with pytest.raises(EvidenceError, match="too few replicates"):
        paraphrases(asked, 48, atleast=19)


@pytest.mark.parametrize("words", ["covered with", "together with", "sitting in a"])
def test_words_that_belong_to_others_are_not_replaced(words):
    found = paraphrases(parse_pieces(f"[a man] {words} [mud]"), MANY, atleast=20)
    assert len(found) == 21
    assert all(f"a man {words} mud" in one.whole for one in found)


def test_nothing_is_said_to_stand_beside_what_belongs_to_it():
    found = paraphrases(parse_pieces("[a woman] with [long hair]"), MANY, atleast=20)
    assert {one.around[1] for one in found} == {" with ", " and ", " together with "}


@pytest.mark.weights
def test_lancet_reads_sixty_paraphrases_of_three_pieces():
    asked = parse_pieces("[alexandra elbakyan] with a [raven] in a [library]")
    found = paraphrases(asked, 60, model=clerestory.load("lancet"), absence=("neutral", "delete"))
    assert len({one.whole for one in found}) == 60


def test_every_combination_fits_where_a_stand_in_is_the_longer():
    model = tiny_model(window=64)
    asked = parse_pieces("[abcdefghijklmnopqrst|x] with [y|abcdefghijklmnopqrst]")
    found = paraphrases(asked, 63, atleast=20, model=model)
    assert len(found) < 63
    for one in found:
        model.check(one.text([True, False]))
    left_out = paraphrases(asked, 60, model=model, absence=("delete",))
    assert len(left_out) == 60


def test_paraphrases_of_one_frame_are_drawn_together():
    asked = parse_pieces("[a] with a [c]")
    found = paraphrases(asked, 63)
    groups = groups_of(found)
    assert np.bincount(groups).tolist() == [3] * 21
    ends = {
        (one.around[0], one.around[-1]): group for one, group in zip(found, groups, strict=True)
    }
    assert len(ends) == len(set(ends.values())) == 21
    assert len(set(groups_of([parse_pieces("[a] with a [c]")] * 4))) == 4


@pytest.mark.parametrize(
    ("prompt", "count", "problem"),
    [
        ("[a] with [c] in a [d]", 20, "has other pieces than"),
        ("[a] with [c]", 19, "Too few sentences .*, 19: 20 or more"),
        ("[a] with [c]", 1, "Too few sentences .*, 1: 20 or more"),
    ],
)
def test_carriers_that_do_not_serve_are_refused(prompt, count, problem):
    model = tiny_model(window=128)
    carriers = paraphrases(parse_pieces(prompt), 20)[:count]
    with pytest.raises(EvidenceError, match=problem):
        attribute(
            model, parse_pieces("[a] with [c]"), asked_values(model, [UNIT]), carriers=carriers
        )
