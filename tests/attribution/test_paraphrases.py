"""Paraphrases: how many there are, what they keep, what fits."""

import numpy as np
import pytest
from tiny import tiny_model

import clerestory
from clerestory.attribution import attribute, paraphrase, parse_pieces
from clerestory.attribution.paraphrases import TEMPLATES, template_groups, template_means
from clerestory.errors import EvidenceError

UNIT = "text.blocks.1/mlp[3]"
MANY = 10**6


def test_at_least_takes_as_many_as_there_are():
    prompt = parse_pieces("a [cat]")
    all_of_them = len(TEMPLATES)
    assert len(paraphrase(prompt, 90, at_least=20)) == all_of_them
    assert paraphrase(prompt, 20, at_least=20) == paraphrase(prompt, 48, at_least=20)[:20]
    with pytest.raises(EvidenceError, match=f"There are {all_of_them} paraphrases"):
        paraphrase(prompt, 90)
    with pytest.raises(EvidenceError, match=f"There are {all_of_them} paraphrases"):
        paraphrase(prompt, 90, at_least=all_of_them + 1)
    with pytest.raises(EvidenceError, match="too few replicates"):
        paraphrase(prompt, 48, at_least=19)


@pytest.mark.parametrize("words", ["covered with", "together with", "sitting in a"])
def test_words_that_belong_to_others_are_not_replaced(words):
    found = paraphrase(parse_pieces(f"[a man] {words} [mud]"), MANY, at_least=20)
    assert len(found) == len(TEMPLATES)
    assert all(f"a man {words} mud" in one.full_text for one in found)


def test_nothing_is_said_to_stand_beside_what_belongs_to_it():
    found = paraphrase(parse_pieces("[a woman] with [long hair]"), MANY, at_least=20)
    assert {one.context[1] for one in found} == {" with ", " and ", " together with "}


@pytest.mark.weights
def test_lancet_reads_sixty_paraphrases_of_three_pieces():
    prompt = parse_pieces("[alexandra elbakyan] with a [raven] in a [library]")
    found = paraphrase(prompt, 60, model=clerestory.load("lancet"), removal=("baseline", "delete"))
    assert len({one.full_text for one in found}) == 60


def test_every_coalition_fits_where_a_baseline_is_longer():
    model = tiny_model(window=64)
    prompt = parse_pieces("[abcdefghijklmnopqrst|x] with [y|abcdefghijklmnopqrst]")
    found = paraphrase(prompt, MANY, at_least=20, model=model)
    assert len(found) < 3 * len(TEMPLATES)
    for one in found:
        model.check_prompt(one.text([True, False]))
    deleted = paraphrase(prompt, 60, model=model, removal=("delete",))
    assert len(deleted) == 60


def test_every_template_occurs_once_before_any_occurs_twice():
    prompt = parse_pieces("[a] with a [c]")
    found = paraphrase(prompt, 2 * len(TEMPLATES))
    first, second = found[: len(TEMPLATES)], found[len(TEMPLATES) :]
    assert len({each.template for each in first}) == len(TEMPLATES)
    assert len({each.template for each in second}) == len(TEMPLATES)
    assert len({each.full_text for each in found}) == 2 * len(TEMPLATES)
    assert {each.context[1] for each in first} == {" with a ", " and a ", " together with a "}


def test_paraphrases_of_one_template_are_one_group():
    prompt = parse_pieces("[a] with a [c]")
    found = paraphrase(prompt, 3 * len(TEMPLATES))
    groups = template_groups(found)
    assert np.bincount(groups).tolist() == [3] * len(TEMPLATES)
    ends = {
        (one.context[0], one.context[-1]): group for one, group in zip(found, groups, strict=True)
    }
    assert len(ends) == len(set(ends.values())) == len(TEMPLATES)
    assert len(set(template_groups([parse_pieces("[a] with a [c]")] * 4))) == 4
    values = np.arange(len(found), dtype=float)
    means = template_means(values, groups)
    assert means[groups[0]] == pytest.approx(values[groups == groups[0]].mean())


@pytest.mark.parametrize(
    ("prompt", "count", "problem"),
    [
        ("[a] with [c] in a [d]", 20, "has other pieces than"),
        ("[a] with [c]", 19, "Too few paraphrases .*, 19: 20 or more"),
        ("[a] with [c]", 1, "Too few paraphrases .*, 1: 20 or more"),
    ],
)
def test_paraphrases_that_do_not_fit_are_refused(prompt, count, problem):
    model = tiny_model(window=128)
    paraphrases = paraphrase(parse_pieces(prompt), 20)[:count]
    with pytest.raises(EvidenceError, match=problem):
        attribute(model, "[a] with [c]", [UNIT], paraphrases=paraphrases)
