"""Weights of one call, their grids and their means, against formulas written out here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clerestory.errors import OptionError, SiteError
from clerestory.models.core import attention_weights
from clerestory.models.core.attention_sums import MapSums, grid_of
from clerestory.models.core.attention_weights import AttentionCall

ROWS, HEADS, QUERIES, KEYS, UNITS = 2, 4, 6, 7, 8


def call(*, heads: int = HEADS, queries: int = QUERIES, **more):
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(ROWS, HEADS, queries, UNITS, generator=draw)
    key = torch.randn(ROWS, heads, KEYS, UNITS, generator=draw)
    return AttentionCall.of(query, key, torch.zeros_like(key), **more)


def softmax(query, key, bias, scale):
    logits = torch.einsum("rhqu,rhku->rhqk", query, key) * scale + bias
    powers = torch.exp(logits - logits.amax(-1, keepdim=True))
    return powers / powers.sum(-1, keepdim=True)


LOWER = torch.full((KEYS, KEYS), -torch.inf).triu(1)
BIAS = torch.linspace(-2, 2, ROWS * QUERIES * KEYS).reshape(ROWS, 1, QUERIES, KEYS)
SEEN = torch.arange(KEYS) < 5


@pytest.mark.parametrize(
    ("more", "bias", "scale"),
    [
        ({}, 0, UNITS**-0.5),
        ({"scale": 0.7}, 0, 0.7),
        ({"attn_mask": BIAS}, BIAS, UNITS**-0.5),
        ({"attn_mask": SEEN}, torch.zeros(KEYS).masked_fill(~SEEN, -torch.inf), UNITS**-0.5),
        ({"is_causal": True, "queries": KEYS}, LOWER, UNITS**-0.5),
        ({"heads": 2, "enable_gqa": True}, 0, UNITS**-0.5),
    ],
)
def test_weights_are_those_of_the_formula_whatever_the_masks_and_heads(more, bias, scale):
    one = call(**more)
    key = one.key
    if "heads" in more:
        # The first two queries' heads share the first key's, and so on.
        given = call(heads=2).key
        assert torch.equal(one.key[:, 0], one.key[:, 1]) and torch.equal(key, given)
    expected = softmax(one.query, key, bias, scale)
    assert torch.allclose(one.weights(), expected, atol=1e-6)
    assert one.weights().sum(-1) == pytest.approx(1, abs=1e-6)
    marks = torch.zeros(ROWS, 3, KEYS)
    marks[:, 0, 2] = marks[0, 1, 3:5] = marks[1, 2] = 1
    sums = one.sums(marks)
    assert torch.allclose(sums, torch.einsum("rhqk,rgk->rhqg", expected, marks), atol=1e-6)
    part = one.select(rows=slice(1, 2), heads=[3, 1], queries=torch.tensor([0, 4]))
    assert torch.allclose(part.weights(), expected[1:, [3, 1]][:, :, [0, 4]], atol=1e-6)


def test_parts_of_queries_and_groups_are_the_whole(monkeypatch):
    one = call(attn_mask=BIAS)
    marks = torch.rand(ROWS, 2 * UNITS + 1, KEYS, generator=torch.Generator().manual_seed(1))
    whole = one.sums(marks)
    assert whole.shape == (ROWS, HEADS, QUERIES, 2 * UNITS + 1)
    monkeypatch.setattr(attention_weights, "MAX_LOGITS", 2 * ROWS * HEADS * KEYS)
    assert len(one._chunks()) == 3
    assert torch.allclose(one.sums(marks), whole, atol=1e-6)
    expected = softmax(one.query, one.key, BIAS, UNITS**-0.5)
    assert torch.allclose(whole, torch.einsum("rhqk,rgk->rhqg", expected, marks), atol=1e-5)


def test_grids_have_the_proportions_of_the_picture():
    assert grid_of(4096, 1024, 1024, "") == (64, 64)
    assert grid_of(96, 1024, 1536, "") == (8, 12)
    assert grid_of(96, 1536, 1024, "") == (12, 8)
    # A latent of 65 × 96 halved with rounding up: 33 × 48.
    assert grid_of(33 * 48, 520, 768, "") == (33, 48)
    with pytest.raises(SiteError, match="no grid"):
        grid_of(4096 + 77, 1024, 1024, "denoiser/x")


def test_maps_of_different_grids_are_averaged_on_the_finest():
    coarse, fine = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[1.0, 1.0, 1.0, 5.0]]]])
    shares = MapSums((), spreads=False)
    masses = MapSums((), spreads=True)
    for sums in (shares, masses):
        sums.add("a", 0, (1, 2), coarse)
        sums.add("b", 0, (1, 4), fine)
    assert shares.grid == (1, 4)
    # Bilinear between the centres of positions.
    enlarged, other = np.array([1.0, 1.5, 2.5, 3.0]), np.array([1.0, 1.0, 1.0, 5.0])
    assert shares.mean().ravel().numpy() == pytest.approx((enlarged + other) / 2)
    # The mass of each layer is kept.
    assert masses.mean().ravel().numpy() == pytest.approx((enlarged / 2 + other) / 2)
    assert masses.mean().sum() == pytest.approx((4 + 8) / 2)


def test_layers_with_other_heads_are_apart_or_refused():
    two, three = torch.ones(1, 1, 2, 4), torch.ones(1, 1, 3, 4)
    apart = MapSums(("layer", "head"), spreads=False)
    apart.add("a", 0, (2, 2), two)
    apart.add("b", 0, (2, 2), three)
    mean = apart.mean()
    assert mean.shape == (1, 1, 2, 1, 3, 4) and apart.layers == ["a", "b"]
    assert torch.isnan(mean[0, 0, 0, 0, 2]).all() and not torch.isnan(mean[0, 0, 1]).any()
    joint = MapSums(("head",), spreads=False)
    joint.add("a", 0, (2, 2), two)
    with pytest.raises(OptionError, match="keep layers"):
        joint.add("b", 0, (2, 2), three)
