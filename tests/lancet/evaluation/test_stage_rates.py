"""The ceilings' own arithmetic, on answers known by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clerestory.errors import PromptError
from lancet.evaluation.stages import (
    _accuracy,
    _bytes,
    _cosine,
    _error,
    _fits_window,
    _reconstructed,
)


def test_the_mean_embedding_has_error_one_and_the_truth_none():
    truth = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    assert _error(truth, truth) == 0
    assert _cosine(truth, truth) == pytest.approx(1)
    assert _error(truth.mean(0).expand(40, -1), truth) == pytest.approx(1)
    assert _cosine(2 * truth.mean(0) - truth, truth) == pytest.approx(-1)


def test_of_two_objects_either_is_right_and_what_is_not_there_is_not_counted():
    judge = SimpleNamespace(classes={"subject": ("cat", "dog", "none"), "mood": ("sad", "none")})
    scenes = [
        SimpleNamespace(subject="cat", second="dog", mood="none"),
        SimpleNamespace(subject="cat", second="none", mood="none"),
        SimpleNamespace(subject="none", second="none", mood="sad"),
    ]
    said = {"subject": np.eye(3)[[1, 1, 2]], "mood": np.eye(2)[[0, 0, 0]]}
    subject = _accuracy(judge, said, scenes, "subject")
    assert (subject.rate, subject.of) == (0.5, 2)
    mood = _accuracy(judge, said, scenes, "mood")
    assert (mood.rate, mood.of) == (1.0, 1)


def test_pictures_through_an_autoencoder_that_changes_nothing_come_back_as_they_were():
    class Same:
        def encode(self, pictures):
            return SimpleNamespace(latents=pictures)

        def decode(self, latents, force_not_quantize):
            assert force_not_quantize
            return SimpleNamespace(sample=latents)

    raw = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    scaled = torch.from_numpy(raw).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)
    assert np.array_equal(_bytes(scaled), raw)
    model = SimpleNamespace(pipeline=SimpleNamespace(movq=Same()))
    assert np.array_equal(_reconstructed(model, scaled), raw)


def test_captions_that_training_cuts_are_left_out():
    def check_prompt(prompt):
        if len(prompt.split()) > 3:
            raise PromptError("this would be cut")

    model = SimpleNamespace(check_prompt=check_prompt)
    assert [_fits_window(model, words) for words in ("a cat", "a cat in a library")] == [
        True,
        False,
    ]
