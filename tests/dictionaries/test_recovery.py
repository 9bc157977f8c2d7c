"""Planted factors are recovered by every kind, and what is not there is not found; long runs."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.recordings import factorial, recording_of
from planted_factors import ACTIVE, FACTORS, SITE, WIDTH, planted, recording, recovery

from clerestory.contrasts import find
from clerestory.dictionaries import Dictionary, train

pytestmark = pytest.mark.exhaustive
HOW = {"site": SITE, "k": ACTIVE, "latents": 48, "rows": 256, "rate": 5e-3, "progress": False}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", ["batchtopk", "topk", "jumprelu"])
def test_planted_factors_are_recovered(kind, seed, tmp_path):
    pytest.importorskip("sae_lens", reason="training needs the extra `dictionaries`")
    # Other factors, other activations and other weights with each seed.
    recorded = recording(tmp_path / "rec", planted(150, 2, 20, seed=seed, factor_seed=seed))
    dictionary = train(recorded, out=tmp_path / "out", kind=kind, seed=seed, updates=800, **HOW)
    cosines = recovery(dictionary, factor_seed=seed)
    best = np.sort(cosines)[-round(0.9 * FACTORS) :]
    assert len(cosines) == FACTORS and min(cosines.mean(), best.mean()) >= 0.95
    # Each of nine tenths has a latent of its own, with a cosine of .95 or a little less.
    assert best.min() >= 0.9
    random = recovery(Dictionary.random(WIDTH, 48, seed=seed, site=SITE), factor_seed=seed)
    assert random.max() < 0.95


def test_latents_that_were_trained_on_noise_find_nothing_in_noise(tmp_path):
    """Of contrasts of a null at most one in twenty finds a latent, on average."""
    pytest.importorskip("sae_lens", reason="training needs the extra `dictionaries`")
    table = factorial(items=24, phrases=12)
    _, wordings = np.unique(table["phrase"], return_inverse=True)
    _, items = np.unique(table["subject"], return_inverse=True)
    found, tested = [], 0
    dictionary = None
    for seed in range(20):
        rng = np.random.default_rng(seed)
        # Phrases and items differ in what the concept has nothing to do with.
        values = rng.normal(size=(len(table), WIDTH))
        values += rng.normal(size=(wordings.max() + 1, WIDTH))[wordings]
        values += rng.normal(size=(items.max() + 1, WIDTH))[items]
        recorded = recording_of(table, {SITE: values[:, None]}, tmp_path / str(seed))
        if dictionary is None:
            dictionary = train(recorded, out=tmp_path / "out", updates=200, **HOW)
        recorded.attach(dictionary, "noise")
        findings = find(
            recorded,
            positive="style == 'glass'",
            negative="style == 'plain'",
            match="subject",
            top=20,
            progress=False,
        )
        latents = [each for each in findings.findings if ":noise[" in each.unit]
        tested += len(latents)
        found.append(any(each.status == "found" for each in latents))
    assert tested > 100
    # Of twenty, four or more with a chance of 0.016 at most.
    assert sum(found) <= 3
