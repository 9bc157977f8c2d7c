"""Prompts of whole cells: `group` with its default seed leaves none of them out."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from clerestory.contrasts.samples import cell_prompts, random_halves, split_wording
from clerestory.errors import EvidenceError


def prompts(templates: int = 6) -> pd.DataFrame:
    rows = itertools.product("abcd", "123456", "xyz", map("{{}} {}".format, range(templates)))
    table = pd.DataFrame(rows, columns=["who", "place", "beside", "template"])
    return table.assign(prompt=table.agg(" ".join, axis=1))


@pytest.mark.parametrize(("count", "cells"), [(36, 12), (72, 24), (120, 40)])
def test_every_prompt_is_in_a_cell_of_its_items_half(count: int, cells: int) -> None:
    chosen = cell_prompts(prompts(), ["who", "place"], count, 3)
    assert not chosen["prompt"].duplicated().any()
    # The halves as `group` draws them.
    rng = np.random.default_rng(0)
    item = chosen[["who", "place"]].agg(" · ".join, axis=1)
    samples = chosen.assign(item=item, arm="positive", phrase="", half=random_halves(item, rng))
    kept, warnings = split_wording(samples, True, rng)
    assert len(kept) == len(chosen)
    assert not warnings
    sizes = kept.groupby(["item", "template"]).size()
    assert set(sizes) == {3}
    assert len(sizes) == cells
    by_half = kept.groupby("half")
    assert list(by_half["template"].nunique()) == [3, 3]
    assert list(by_half["item"].nunique()) == [min(cells, 24) // 2] * 2


def test_fewer_cells_than_templates_are_refused() -> None:
    with pytest.raises(EvidenceError, match="6 cells; more than 6 are needed"):
        cell_prompts(prompts(), ["who", "place"], 18, 3)
    with pytest.raises(EvidenceError, match="4 cells; more than 6 are needed"):
        cell_prompts(prompts(), ["who"], 36, 3)
