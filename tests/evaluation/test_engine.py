"""The engine draws the right cells once, and asks each classifier once about each picture."""

import numpy as np
import pytest
from helpers.evaluation import ChannelClassifier, RuleModel
from tiny import tiny_model

from clerestory.edits import Add, Patch
from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition, Design, Evaluator, SampleCache

GLASS, BRIDGE = "glass", "prior/embedding"


def model():
    return RuleModel(
        [
            lambda prompt, seed, edits: GLASS in prompt or bool(edits),
            lambda prompt, seed, edits: "cat" in prompt,
            lambda prompt, seed, edits: seed % 2 == 1,
        ]
    )


def test_rates_are_those_that_the_rule_of_the_model_implies():
    design = Design.crossed(["a cat", "a ship"], (0, 1))
    plain, words = Evaluator(model()).draw(
        [Condition("plain"), Condition("words", "glass {item}")], design
    )
    glass, cat, odd = (ChannelClassifier(channel) for channel in range(3))
    assert (plain.rate(glass, "yes").rate, words.rate(glass, "yes").rate) == (0, 1)
    assert words.rate(cat, "yes").rate == words.rate(odd, "yes").rate == 0.5
    assert words.hits(cat, "yes").tolist() == [True, True, False, False]
    assert words.hits(odd, "yes").tolist() == [False, True, False, True]
    assert words.preservation(plain, cat).rate == 1
    assert words.preservation(plain, glass).rate == 0
    assert words.distance(plain) == pytest.approx((1 / 3) ** 0.5)


def test_a_classifier_is_asked_once_about_each_picture():
    (drawing,) = Evaluator(model()).draw([Condition("plain")], Design.crossed(["a", "b"], range(3)))
    asked = ChannelClassifier(0)
    for _ in range(3):
        drawing.rate(asked, "yes")
        drawing.select([0]).rate(asked, "yes")
    assert asked.asked == [6]


def test_a_sample_is_drawn_once_by_an_evaluator_and_again_without_a_cache():
    rules = model()
    conditions, design = [Condition("a"), Condition("b")], Design.crossed(["x", "y"], 0)
    evaluator = Evaluator(rules)
    first = evaluator.draw([conditions[0]], design)
    again = evaluator.draw(conditions, Design.crossed(["y", "z"], 0))
    assert rules.calls == [[("x", 0), ("y", 0)], [("z", 0)], [("z", 0)]]
    assert np.array_equal(again[0].pictures[0], first[0].pictures[1])
    assert (evaluator.cache.hits, evaluator.cache.misses) == (2, 4)
    Evaluator(rules, cache=False).draw([conditions[0]], design)
    Evaluator(rules, cache=False).draw([conditions[0]], design)
    assert rules.drawn == 4 + 4


def test_another_seed_option_or_edit_is_another_sample():
    rules, cache = model(), SampleCache()
    design = Design.crossed(["x"], 0)
    edit = Add("text/pooled", [1.0, 0.0])

    def draw(condition, design=design):
        Evaluator(rules, cache).draw([condition], design)
        return rules.drawn

    assert draw(Condition("plain")) == draw(Condition("plain")) == 1
    assert draw(Condition("plain"), Design.crossed(["x"], 1)) == 2
    assert draw(Condition("plain", options={"steps": 3})) == 3
    assert draw(Condition("plain", edits=(edit,))) == 4
    assert draw(Condition("plain", edits=(Add("text/pooled", [1.0, 0.0]),))) == 4
    assert draw(Condition("plain", edits=(edit.times(2.0),))) == 5
    assert draw(Condition("plain", edits=(Add("text/pooled", [1.0, 0.1]),))) == 6
    rules.defaults = rules.defaults.replace(guidance=9.0)
    assert draw(Condition("plain")) == 7


def test_an_edit_of_no_known_kind_is_drawn_anew_each_time():
    class Strange:
        site = "text/pooled"

        def __call__(self, value):
            return value

    rules = model()
    evaluator = Evaluator(rules)
    for _ in range(2):
        evaluator.draw([Condition("strange", edits=(Strange(),))], Design.crossed(["x"], 0))
    assert rules.drawn == 2


def test_pictures_are_those_of_a_run_of_the_model():
    tiny = tiny_model()
    edit = Add(BRIDGE, np.linspace(-1, 1, 32), 3.0)
    design = Design.crossed(["a", "b"], (0, 1))
    conditions = [
        Condition("plain"),
        Condition("edited", edits=(edit,)),
        Condition("words", "{item} cat", options={"guidance": 1.0}),
    ]
    plain, edited, words = Evaluator(tiny).draw(conditions, design)
    assert np.array_equal(plain.pictures, tiny.run(["a", "b"], (0, 1)).pictures)
    assert np.array_equal(edited.pictures, tiny.run(["a", "b"], (0, 1), edits=[edit]).pictures)
    alone = tiny.run(["a cat", "b cat"], (0, 1), guidance=1.0).pictures
    assert np.array_equal(words.pictures, alone)
    assert edited.distance(plain) > 0


def test_an_edit_that_differs_between_samples_keeps_to_its_own_where_some_are_known():
    tiny, cache = tiny_model(), SampleCache()
    design = Design.crossed(["a", "b", "c"], 0)
    strengths = Add(BRIDGE, np.linspace(-1, 1, 32), [0.0, 2.0, 4.0])
    other = tiny.run(["d", "e", "f"], 0, read=BRIDGE, pool="none", pictures=False)
    patch = Patch(BRIDGE, other.read(BRIDGE).to_numpy()[:, 0])
    for edit in (strengths, patch):
        whole = tiny.run(["a", "b", "c"], 0, edits=[edit]).pictures
        part = Condition("part", edits=(edit.at([1]),))
        Evaluator(tiny, cache).draw([part], Design.crossed(["b"]))
        found = cache.hits
        (drawing,) = Evaluator(tiny, cache).draw([Condition("all", edits=(edit,))], design)
        assert np.array_equal(drawing.pictures, whole)
        assert cache.hits == found + 1


def test_sites_are_read_on_the_way_and_kept():
    tiny, cache = tiny_model(), SampleCache()
    design = Design.crossed(["a", "b"], (0, 1))
    sites = [BRIDGE, "denoiser.mid.res.0/out"]
    run = tiny.run(["a", "b"], (0, 1), read=sites)
    for _ in range(2):
        (drawing,) = Evaluator(tiny, cache).draw([Condition("x")], design, read=sites)
        for site in sites:
            noted = run.site_values[site]
            assert np.array_equal(drawing.sites[site].values, noted.array())
            assert drawing.sites[site].steps.tolist() == [step.index for step in noted.steps]
    assert (cache.misses, cache.hits) == (4, 4)
    (text,) = Evaluator(tiny, cache).draw(
        [Condition("x")], design, read=["text/pooled"], pictures=False
    )
    assert len(text.pictures) == 0
    assert text.sites["text/pooled"].values.shape == (4, 1, 32)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(EvidenceError, match="must be unique"):
        Evaluator(model()).draw([Condition("a"), Condition("a")], Design.crossed(["x"]))
    with pytest.raises(EvidenceError, match="no item"):
        Evaluator(model()).draw([Condition("a")], Design.crossed([]))


def test_progress_counts_what_is_drawn_and_not_what_is_known():
    told = []
    evaluator = Evaluator(tiny_model(), progress=lambda *update: told.append(update), batch=2)
    design = Design.crossed(["a", "b", "c"])
    evaluator.draw([Condition("plain")], design, description="before")
    assert told == [("before", 2, 3), ("before", 3, 3)]
    told.clear()
    evaluator.draw([Condition("plain")], design)
    assert told == []
