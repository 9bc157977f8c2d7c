"""A recording of every family, opened again, has what a run reads, in half precision."""

from __future__ import annotations

import numpy as np
import pytest
from families import FAMILIES, family_model
from helpers.bare_pipelines import DIFFUSERS_WARNINGS

from clerestory.recordings import Recording, record

pytestmark = DIFFUSERS_WARNINGS
PROMPTS = ["a cat", "a dog by me"]


@pytest.mark.parametrize("name", FAMILIES)
def test_what_was_recorded_is_what_a_run_reads(name, tmp_path):
    model = family_model(name)
    wanted = (*model.conditioning_sites, "text.blocks.0/resid", "prior/prediction")
    sites = [site for site in (*wanted, "denoiser/prediction") if site in model.sites]
    how = {"pool": "none", "batch": 2, "steps": 2}
    record(model, PROMPTS, 0, sites=sites, out=tmp_path / "rec", progress=False, **how)
    run = model.run(PROMPTS, 0, read=sites, **how)
    tree = Recording.open(tmp_path / "rec").to_xarray()
    for site in sites:
        expected = run.read(site).values
        recorded = tree[site]["value"].values
        # In half precision; values of a single step or position have no axis of it. Positions that
        # a sample does not have, where prompts are not padded, are NaN in both.
        half = expected.astype(np.float16)
        assert np.array_equal(recorded.ravel(), half.ravel(), equal_nan=True), site
        assert np.isfinite(half[-1]).all(), site
    assert list(tree["prompt"].values) == PROMPTS
