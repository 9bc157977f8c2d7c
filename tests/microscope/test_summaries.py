"""Figures of units whose answers are known."""

import numpy as np
import pytest
from scipy import stats

from clerestory.microscope.summaries import (
    Words,
    histograms,
    moments,
    nearest,
    ranked,
    words_of,
)


def test_both_ends_have_one_sample_of_a_prompt_and_the_rest_is_evenly_spaced():
    values = np.arange(200, dtype=np.float32)[:, None] * np.array([1, -1], np.float32)
    prompts = np.arange(200) // 2
    found = ranked(values, prompts)
    assert found["most"][0].tolist() == list(range(199, 175, -2))
    assert found["most"][1].tolist() == list(range(0, 24, 2))
    assert found["least"][0].tolist() == found["most"][1].tolist()
    gaps = np.diff(found["spread"][0])
    assert gaps.min() >= 27 and gaps.max() <= 30


def test_too_few_prompts_are_filled_up():
    found = ranked(np.arange(30, dtype=np.float32)[:, None], np.arange(30) % 3)
    assert found["most"][0].tolist() == [29, 28, 27, *[-1] * 9]


def test_moments_and_histograms_are_those_of_numpy_and_scipy():
    values = np.random.default_rng(0).gamma(2, size=(500, 3)).astype(np.float32)
    found = moments(values)
    assert found["peak"] == pytest.approx(stats.kurtosis(values.astype(float)), abs=1e-6)
    counts = histograms(values)
    for unit in range(3):
        assert counts[unit].tolist() == np.histogram(values[:, unit], bins=40)[0].tolist()


def test_a_unit_that_never_changes_has_figures():
    still = np.ones((80, 1), np.float32)
    assert moments(still)["peak"] == 0 and histograms(still)[0, 0] == 80
    texts = [f"w{at % 4} x" for at in range(80)]
    assert (words_of(still, Words.of(texts))["up-word"] == -1).all()


def test_the_word_that_raises_a_unit_is_told_with_its_effect_and_others_are_not():
    rng = np.random.default_rng(0)
    texts = [f"a {'cat' if at % 2 else 'dog'}, w{at % 7}" for at in range(140)]
    cat = np.array(["cat" in text for text in texts])
    values = rng.normal(size=(140, 3))
    values[:, 0] += 3 * cat
    values[:, 1] -= 3 * cat
    words = Words.of(texts)
    assert "a" not in words.words and "cat" in words.words
    found = words_of(values, words)
    name = words.words.index("cat")
    assert found["up-word"][0, 0] == name and found["down-word"][1, 0] == name
    apart = values[cat, 0].mean() - values[~cat, 0].mean()
    assert found["up-effect"][0, 0] == pytest.approx(apart / values[:, 0].std(), rel=1e-5)
    assert (found["up-word"][2] == -1).all() and (found["down-word"][2] == -1).all()


def test_rare_words_and_skewed_units_make_no_words_of_chance():
    rng = np.random.default_rng(0)
    texts = [f"w{one} v{two}" for one, two in rng.integers(80, size=(600, 2))]
    values = rng.exponential(size=(600, 200)) ** 2
    found = words_of(values, Words.of(texts))
    told = sum(int((found[f"{side}-word"] >= 0).sum()) for side in ("up", "down"))
    assert told <= 2


def test_neighbours_are_those_that_go_along_or_against():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 300))
    rows[3] = rows[0] + 0.1 * rng.normal(size=300)
    rows[5] = -rows[0] + 0.5 * rng.normal(size=300)
    rows -= rows.mean(1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    near, r = nearest(rows[:1], rows, 3)
    assert near[0].tolist() == [0, 3, 5]
    assert r[0] == pytest.approx([1, rows[0] @ rows[3], rows[0] @ rows[5]])
