"""Searches of a model: objectives, gradients, trails, the command."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from families import family_model
from tiny import tiny_model
from typer.testing import CliRunner

from clerestory.cli import console
from clerestory.cli.main import app
from clerestory.errors import ClerestoryError, ModelError, SearchError
from clerestory.evaluation import direction, label, parse_objective, unit
from clerestory.maximization import (
    MaximizationResult,
    SearchComparison,
    compare_searches,
    maximize,
    prompt_space,
)
from clerestory.maximization.fluency import Bigrams, language_model
from clerestory.maximization.gains import ObjectiveGradient
from clerestory.maximization.gallery import write_gallery
from clerestory.maximization.scoring import Scorer

UNIT = "text.blocks.0/mlp[3]"
NO_GRADIENT = f"python:{__name__}:brightness"
WORDS = [*"abcdefghijklmnopqrstuvwxyz", "cat", "dog", *(2 * one for one in "bcdfghjklmnp")]
"""Of one token and of two."""
PROMPTS = {"words": 2, "template": "a {words}", "vocabulary": WORDS}


def brightness(pictures):
    light = pictures.mean((1, 2, 3)) / 255
    return np.stack([1 - light, light], 1)


brightness.classes = ("dark", "light")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def space(model):
    return prompt_space(model, **PROMPTS)


def test_objectives_are_arithmetic_and_say_their_names():
    aim = unit("text.blocks.2/mlp[311]") - 0.5 * unit("text.blocks.2/mlp[7]", "mean")
    assert aim.name == "text.blocks.2/mlp[311] (last) - 0.5 * text.blocks.2/mlp[7] (mean)"
    assert (-label("lancet:style", "ink")).name == "-lancet:style=ink"
    typed = parse_objective("'text.blocks.2/mlp[311]' - 0.5 * 'text.blocks.2/mlp[7]'", "mean")
    assert typed.name.endswith("- 0.5 * text.blocks.2/mlp[7] (mean)")
    way = direction("prior/embedding", np.array([3.0, 4.0]))
    assert way.terms[0][1].direction.tolist() == [0.6, 0.8]
    known = {"prior/embedding[difference]": np.array([1.0, 0.0])}
    assert parse_objective("prior/embedding[difference]", "mean", known).name.startswith("prior/")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("text.blocks.2/mlp", "not one unit"),
        ("lancet:style=inc", "no class 'inc'.*Did you mean ink"),
        ("'a/mlp[1]' * 'b/mlp[1]'", "a sum of units"),
        ("__import__('os')", "a sum of units"),
        ("2 * '", "put units in quotes"),
    ],
)
def test_what_is_no_objective_is_refused_in_one_line(text, words):
    with pytest.raises(ClerestoryError, match=words):
        parse_objective(text)


def test_a_score_is_what_the_model_has_there(model, space):
    scorer = Scorer(model, unit(UNIT) - 2 * unit("text.blocks.1/mlp[0]", "mean"))
    texts = [space.text(state) for state in [(0, 1), (5, 9), (0, 1)]]
    got = scorer(texts)
    one = model.run(texts, read=UNIT, pool="last", pictures=False).read(UNIT.split("[")[0])
    two = model.run(texts, read="text.blocks.1/mlp[0]", pictures=False)
    two = two.read("text.blocks.1/mlp")
    expected = one.to_numpy()[:, 0, 0] - 2 * two.to_numpy()[:, 0, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert len(scorer.scores) == 2


def test_text_sites_stop_the_model_at_the_text(model, space, monkeypatch):
    def never(*args, **how):
        raise AssertionError("the prior was called")

    monkeypatch.setattr(type(model.pipeline.prior_pipe), "__call__", never)
    assert Scorer(model, unit(UNIT), seeds=(0, 1)).seeds == (0,)
    Scorer(model, unit(UNIT))([space.text((0, 1))])


@pytest.mark.parametrize("address", [UNIT, "prior/embedding[0]", "denoiser.mid.res.0/out[1]@1"])
def test_gains_are_the_change_of_the_score_to_first_order(model, space, address):
    """In a small step the gradient's promise is kept: words near in embedding are told exactly."""
    scorer = Scorer(model, unit(address, "mean"), seeds=(0, 1))
    slope = ObjectiveGradient(scorer, space)
    states = [(0, 1), (3, 3)]
    gains = slope(states)
    assert [one.shape for one in gains] == [(2, 40), (2, 40)]
    assert [gains[0][at, word] for at, word in enumerate(states[0])] == [0, 0]
    weight = model.family.text_windows["text"].encoder.get_input_embeddings().weight
    word_tokens = slope.encoders[0].word_tokens
    single = [w for w in range(40) if (word_tokens[w] >= 0).sum() == 1]
    old, new = single[1], single[2]
    before = scorer([space.text((old, single[3]))])[0]
    promised = slope([(old, single[3])])[0][0, new]
    kept = weight.data.clone()
    one, other = word_tokens[old, 0], word_tokens[new, 0]
    try:
        weight.data[one] += 1e-3 * (kept[other] - kept[one])
        scorer.scores.clear()
        after = scorer([space.text((old, single[3]))])[0]
    finally:
        weight.data.copy_(kept)
    assert (after - before) / 1e-3 == pytest.approx(promised, rel=0.05, abs=1e-4)
    assert all(
        parameter.grad is None for parameter in model.pipeline.prior_text_encoder.parameters()
    )


def test_a_classifier_without_gradients_is_refused_by_gradient_searches(model, space):
    objective = label(NO_GRADIENT, "dark")
    with pytest.raises(ModelError, match="has no gradient: it has no log_probabilities"):
        ObjectiveGradient(Scorer(model, objective), space)
    with pytest.raises(SearchError, match="no gradient"):
        maximize(
            model,
            objective,
            search="gradient",
            **PROMPTS,
            budget=20,
            random_prompts=4,
        )


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_gradients_reach_the_second_text_encoder():
    """Both encoders read a word, and what one is promised is not what the other is."""
    model = family_model("stable_diffusion_xl")
    space = prompt_space(model, **PROMPTS)
    first, second, both = (
        ObjectiveGradient(Scorer(model, unit(address, "mean")), space)
        for address in ("text.blocks.0/mlp[3]", "text_2.blocks.0/mlp[3]", "denoiser/condition[3]")
    )
    assert [len(slope.encoders) for slope in (first, second, both)] == [1, 1, 2]
    (gains,) = second([(0, 1)])
    assert gains.shape == (2, 40) and np.abs(gains).max() > 0
    assert not np.allclose(gains, first([(0, 1)])[0])
    assert np.abs(both([(0, 1)])[0]).max() > 0


@pytest.fixture(scope="module")
def found(model, space):
    return maximize(model, unit(UNIT), **PROMPTS, budget=300, random_prompts=50, pictures=True)


def test_a_result_stands_beside_random_prompts(found, space):
    assert 0 < found.evaluations <= 300
    first = found.best[0]
    assert first.score == found.trail["score"].max()
    assert first.z == pytest.approx((first.score - found.pool.mean) / found.pool.sd)
    assert first.percentile == 100 * (found.pool.scores < first.score).mean()
    assert [word for word, _ in first.contributions] == first.words.split()
    assert found.pictures.shape[:2] == (len(found.best), 4)
    bags = [set(one.words.split()) for one in found.best]
    assert all(len(a - b) > 1 or len(b - a) > 1 for a in bags for b in bags if a is not b)
    assert (np.diff(found.best_so_far()) >= 0).all()
    assert all(prompt.startswith("a ") for prompt in found.trail["prompt"])


def test_a_stopped_search_goes_on_where_it_was(model, space, tmp_path):
    whole = maximize(model, unit(UNIT), **PROMPTS, budget=200, random_prompts=20, pictures=False)
    how = {**PROMPTS, "budget": 200, "random_prompts": 20, "pictures": False, "out": tmp_path / "s"}

    def stop(label, done, of):
        if done > 20 + 90:
            raise KeyboardInterrupt

    half = maximize(model, unit(UNIT), progress=stop, **how)
    assert half.stopped and 90 < half.evaluations < 200 and half.best
    scored = []
    real = Scorer._score

    def counted(self, texts):
        scored.extend(texts)
        return real(self, texts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scorer, "_score", counted)
        again = maximize(model, unit(UNIT), **how)
    assert not again.stopped
    assert again.trail.equals(whole.trail)
    assert not set(scored) & set(half.trail["prompt"])
    with pytest.raises(SearchError, match=r"another search's trail.*seed: 0 there, 1 now"):
        maximize(model, unit(UNIT), seed=1, **how)


def test_what_it_takes_is_told_before_it_begins_and_the_result_is_kept_before_pictures(
    model, space, tmp_path, monkeypatch
):
    heard = []
    how = {**PROMPTS, "budget": 60, "random_prompts": 40, "search": "random"}
    maximize(model, unit(UNIT), announce=heard.append, pictures=False, **how)
    (forecast,) = heard
    assert forecast.prompts == 100 and forecast.extent == "as far as text"
    assert forecast.seconds == pytest.approx(100 * forecast.seconds_each)
    assert "100 prompts at" in str(forecast)
    both = Scorer(model, unit("prior/embedding[0]"), seeds=(0, 1))
    assert both.extent == "as far as prior, 2 seeds each"

    def stop(*args, **rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[maximize.__module__], "_with_pictures", stop)
    with pytest.raises(KeyboardInterrupt):
        maximize(model, unit(UNIT), out=tmp_path / "s", **how)
    assert json.loads((tmp_path / "s" / "maximization.json").read_text())["evaluations"] > 0


def test_random_prompts_that_were_scored_are_kept_when_it_is_stopped(model, space, tmp_path):
    import pandas as pd

    def stop(forecast):
        raise KeyboardInterrupt

    how = {**PROMPTS, "budget": 60, "random_prompts": 40, "out": tmp_path / "s", "pictures": False}
    with pytest.raises(KeyboardInterrupt):
        maximize(model, unit(UNIT), announce=stop, **how)
    assert len(pd.read_parquet(tmp_path / "s" / "scored.parquet")) >= 16
    assert maximize(model, unit(UNIT), **how).evaluations > 0


def test_another_direction_of_the_same_name_has_a_trail_of_its_own(model, space, tmp_path):
    site, way = "text.blocks.1/mlp", np.arange(4.0)
    how = {"search": "random", "budget": 20, "random_prompts": 5, "pictures": False, **PROMPTS}
    first = maximize(model, direction(site, way), out=tmp_path / "s", **how)
    assert first.best[0].score != maximize(model, direction(site, -way), **how).best[0].score
    with pytest.raises(SearchError, match=r"another search's trail.*digest"):
        maximize(model, direction(site, -way), out=tmp_path / "s", **how)


def test_a_comparison_that_is_stopped_claims_nothing(model, space, monkeypatch):
    from clerestory.maximization.searches.random import Random

    def stop(self, problem):
        yield from ()
        problem.scores([(0, 1)])
        raise KeyboardInterrupt

    monkeypatch.setattr(Random, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        compare_searches(
            model, unit(UNIT), ["random", "evolve"], budget=30, **PROMPTS, random_prompts=4
        )


def test_raw_tokens_are_scored_as_those_tokens_only(model):
    raw = prompt_space(model, words=2, tokens=True)
    rng = np.random.default_rng(0)
    states = [raw.random(rng) for _ in range(400)]
    window = model.family.text_windows["text"]
    good = [s for s, fine in zip(states, raw.valid(states), strict=True) if fine]
    assert 0 < len(good) < 400
    for state in good:
        assert window.token_ids([raw.text(state)])[0] == [raw.tokens[place] for place in state]
    slope = ObjectiveGradient(Scorer(model, unit(UNIT)), raw)
    assert slope.encoders[0].word_tokens.shape[1] == 1


def test_what_is_longer_than_the_window_is_no_prompt(model):
    room = model.family.text_windows["text"].capacity
    long = prompt_space(model, words=(room - 1, room + 1), vocabulary=["b", "c"])
    assert long.valid([(0,) * (room - 1), (0,) * room, (0,) * (room + 1)]) == [True, True, False]


def test_single_words_are_all_shown(model):
    single = {"words": 1, "vocabulary": [*WORDS, "CAT"]}
    found = maximize(
        model,
        unit(UNIT),
        search="exhaustive",
        **single,
        budget=50,
        random_prompts=5,
        pictures=False,
    )
    assert len(found.best) == 8
    words = prompt_space(model, **single).vocabulary
    assert len({word.casefold() for word in words}) == len(words)


def test_fluency_weighs_and_gives_a_front(model, space):
    bigrams = Bigrams.of([space.words((0, 1))] * 50 + [space.words((2, 3))])
    assert bigrams([space.words((0, 1))])[0] > bigrams([space.words((1, 0))])[0]
    found = maximize(
        model,
        unit(UNIT),
        search="evolve",
        **PROMPTS,
        budget=400,
        random_prompts=20,
        fluency=5.0,
        language_model=bigrams,
        pictures=False,
    )
    assert found.best[0].words == space.words((0, 1))
    scores = [one.score for one in found.front]
    fluency = [one.fluency for one in found.front]
    assert scores == sorted(scores, reverse=True) and fluency == sorted(fluency)
    with pytest.raises(SearchError, match="name a language model"):
        maximize(model, unit(UNIT), **PROMPTS, budget=10, random_prompts=4, fluency=1.0)


def test_a_causal_language_model_says_what_is_likely(tmp_path):
    import torch
    from tiny import tiny_tokenizer
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = tiny_tokenizer()
    lm = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=2))
    lm.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    (got,) = language_model(str(tmp_path / "lm"))(["a cat"])
    ids = tokenizer("a cat", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = -lm.eval()(ids, labels=ids).loss
    assert got == pytest.approx(float(expected), rel=1e-4)
    with pytest.raises(ClerestoryError, match="not a causal language model"):
        language_model(str(tmp_path / "nothing"))


def test_searches_are_compared_at_equal_budgets(model, space, tmp_path):
    found = compare_searches(
        model,
        unit(UNIT),
        ["random", "metropolis"],
        budget=100,
        repeats=2,
        **PROMPTS,
        random_prompts=10,
    )
    told = found.to_dict()["searches"]
    assert set(told) == {"random", "metropolis"}
    assert all(one["low"] <= one["median"] <= one["high"] for one in told.values())
    assert all(curve.shape == (2, 100) for curve in found.curves.values())
    found.save(tmp_path / "c")
    assert (tmp_path / "c" / "searches.png").stat().st_size > 1000
    again = SearchComparison.load(tmp_path / "c")
    assert again.to_dict() == found.to_dict()
    assert all((again.curves[name] == curve).all() for name, curve in found.curves.items())
    assert list(found.table()["search"]) == ["random", "metropolis"] and len(repr(again)) < 300
    with pytest.raises(SearchError, match="two searches"):
        compare_searches(model, unit(UNIT), ["random"], budget=10)


def test_the_gallery_escapes_what_it_shows(found, tmp_path):
    from dataclasses import replace

    bad = replace(found.best[0], prompt="<script>alert(1)</script>")
    page = write_gallery(replace(found, best=(bad, *found.best[1:])), tmp_path).read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert page.count("data:image/png") == 4 * len(found.best)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


@pytest.mark.weights
def test_the_command_prints_json_and_keeps_a_gallery(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("cat\nglass\nstained\nship\nmoose\nink\nwindow\n")
    call = [
        "maximize",
        "text.blocks.2/mlp[498]",
        "--budget",
        "40",
        "--words",
        "1:2",
        "--ban",
        "Glass",
    ]
    call += ["--vocabulary", str(words), "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, call, catch_exceptions=False)
    told = json.loads(done.stdout)
    assert {"objective", "search", "evaluations", "best", "pool", "p", "q", "status"} <= set(told)
    assert {"prompt", "score", "z", "percentile"} <= set(told["best"][0])
    assert not any("glass" in one["prompt"] for one in told["best"])
    assert (tmp_path / "out" / "gallery.html").exists()
    assert console.plain(told["best"][0]["prompt"])


def test_a_result_prints_shortly_and_is_the_same_after_loading(found, tmp_path):
    assert len(repr(found)) < 400 and found.best[0].prompt in repr(found)
    assert list(found.table()["prompt"]) == [each.prompt for each in found.best]
    assert found.best[0].prompt in found._repr_html_()
    found.save(tmp_path / "s")
    again = MaximizationResult.load(tmp_path / "s")
    assert again.to_dict() == found.to_dict()
    assert again.trail.equals(found.trail) and again.samples.equals(found.samples)
    assert (again.pool.scores == found.pool.scores).all()
    assert (again.pictures == found.pictures).all()
    assert again.provenance.digest and again.provenance.options["seed"] == 0
    path = tmp_path / "s" / "maximization.json"
    path.write_text(path.read_text().replace('"chains"', '"chain"'))
    with pytest.raises(SearchError, match=r"best\.0\.chain.* does not fit"):
        MaximizationResult.load(tmp_path / "s")


@pytest.mark.parametrize("search", ["metropolis", "gradient", "gradient-metropolis", "evolve"])
def test_in_a_small_space_every_search_finds_what_exhaustive_finds(model, search):
    """All 200 prompts of two words are scored; a search meets the best with fewer evaluations."""
    small = {"words": 2, "vocabulary": WORDS[:14], "pictures": False, "random_prompts": 20}
    aim = unit(UNIT) - 0.5 * unit("text.blocks.1/mlp[0]", "mean")
    every = maximize(model, aim, search="exhaustive", budget=196, **small)
    assert every.evaluations == len(every.trail) == 196
    scores = Scorer(model, aim)(list(every.trail["prompt"]))
    assert every.best[0].prompt == every.trail["prompt"][int(scores.argmax())]
    some = maximize(model, aim, search=search, budget=190, seed=3, **small)
    assert some.best[0].prompt == every.best[0].prompt
    assert some.best[0].score == pytest.approx(every.best[0].score)


def test_a_planted_objective_has_the_prompt_that_it_was_planted_with(model):
    """Along the difference that one prompt makes to all others, that prompt scores highest."""
    letters = WORDS[:10]
    prompts = [f"{first} {second}" for first in letters for second in letters]
    site, secret = "text.blocks.1/mlp", "d h"
    run = model.run(prompts, read=site, pool="mean", pictures=False)
    values = run.read(site).to_numpy()[:, 0]
    centred = values - values.mean(0)
    # Whitened, so that no other prompt is as far along the direction.
    way = np.linalg.pinv(np.cov(centred, rowvar=False)) @ centred[prompts.index(secret)]
    found = maximize(
        model,
        direction(site, way, "mean"),
        search="metropolis",
        budget=95,
        random_prompts=20,
        words=2,
        vocabulary=letters,
        pictures=False,
        seed=1,
    )
    assert found.best[0].prompt == secret
    assert found.best[0].z > 3
