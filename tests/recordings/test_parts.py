"""Units and heads of a recorded site are those of the model, whatever was recorded of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tiny import tiny_model

from clerestory.errors import SiteError
from recordings.small import recorded

SITE = "text.blocks.0/q"
"""32 units in four heads."""
HOW = {"seeds": (0,), "pictures": False}
PROMPTS = ["a cat", "a dog"]


def test_a_head_of_a_recording_is_its_range_of_units(tmp_path: Path) -> None:
    recording = recorded(tmp_path / "rec", PROMPTS, sites=SITE, **HOW)
    whole, head = recording.read(SITE), recording.read(f"{SITE}[h1]")
    assert head["unit"].values.tolist() == list(range(8, 16))
    assert np.array_equal(head, whole[..., 8:16])
    run = tiny_model().run(PROMPTS, 0, read=SITE, pictures=False, progress=False)
    assert np.array_equal(head, run.read(f"{SITE}[h1]").astype(np.float16))
    with pytest.raises(SiteError, match="has no head 4; its 4 heads are 0 to 3"):
        recording.read(f"{SITE}[h4]")
    for part in ("[h1]", "[3]", "@0"):
        with pytest.raises(SiteError, match="selects a part of a site"):
            recording.address(SITE + part)
        with pytest.raises(SiteError, match="selects a part of a site"):
            recording.match([SITE + part])
    attributes = xr.open_datatree(tmp_path / "rec" / "activations.zarr", engine="zarr")[SITE].attrs
    assert (attributes["units"], attributes["heads"]) == (32, 4)


def test_a_recording_of_one_head_has_its_units_and_no_others(tmp_path: Path) -> None:
    recording = recorded(tmp_path / "rec", PROMPTS, sites=f"{SITE}[h1]", **HOW)
    read = recording.read(f"{SITE}[h1]")
    assert read["unit"].values.tolist() == list(range(8, 16))
    assert np.array_equal(read, recording.read(SITE))
    with pytest.raises(SiteError, match=r"unit 16 of text\.blocks\.0/q was not read"):
        recording.read(f"{SITE}[h2]")


def test_a_site_without_heads_has_none(tmp_path: Path) -> None:
    recording = recorded(tmp_path / "rec", PROMPTS, sites="text.blocks.0/mlp", **HOW)
    with pytest.raises(SiteError, match=r"text\.blocks\.0/mlp has no attention heads"):
        recording.read("text.blocks.0/mlp[h0]")
