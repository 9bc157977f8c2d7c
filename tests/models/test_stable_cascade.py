"""What is Stable Cascade's own: its rows, its prior's map, blocks that are run again."""

import numpy as np
import pytest
import torch
from contract import PROMPTS, Ramp
from families import built, family_model, small_model, stable_cascade
from helpers.bare_pipelines import bare, collect_outputs

from clerestory.errors import OptionError, SiteError

SITE = "prior.down.0.attn.0/q"


def test_both_networks_have_the_prompts_rows_first():
    model = family_model("stable_cascade")
    for address, branches in ((SITE, 2), ("denoiser.up.0.attn.0/cross_v", 2)):
        hook = model.family.hooks_by_address[address]
        with collect_outputs(hook.module) as outputs:
            bare(model, PROMPTS[:2], 0, negative="a dog")
        assert len(outputs) == 3 and len(outputs[0]) == 2 * branches
        for step, output in enumerate(outputs):
            for branch, rows in (("cond", output[:2]), ("uncond", output[2:])):
                read = f"{address}@{step}"
                run = model.run(
                    PROMPTS[:2], 0, read=read, branch=branch, pool="none", negative="a dog"
                )
                assert np.array_equal(run.read(address).values[:, 0], rows.numpy())


def test_the_map_is_read_as_the_decoder_takes_it():
    model = family_model("stable_cascade")
    given = []
    handle = model.pipeline.decoder.register_forward_pre_hook(
        lambda module, args, kwargs: given.append(kwargs), with_kwargs=True
    )
    try:
        run = model.run(PROMPTS[:2], 0, read=["prior/embedding", "denoiser/pooled"], pool="none")
    finally:
        handle.remove()
    maps, pooled = (run.read(site).values[:, 0] for site in run.site_values)
    assert np.array_equal(maps, given[0]["effnet"][:2].flatten(2).transpose(1, 2).numpy())
    assert np.array_equal(pooled, given[0]["clip_text_pooled"][:2].numpy())
    assert (given[0]["effnet"][2:] == 0).all()
    with pytest.raises(SiteError, match=r"prior/embedding has no uncond branch"):
        model.run("a cat", 0, read="prior/embedding", branch="uncond")


def test_without_guidance_there_is_one_branch_and_the_decoder_needs_the_priors():
    model, off = family_model("stable_cascade"), {"guidance": 0.0, "prior_guidance": 1.0}
    for options in (off, {"guidance": 0.0}):
        run = model.run(PROMPTS[:2], 3, read="prior.*,denoiser.*", **options)
        assert np.array_equal(run.pictures, bare(model, PROMPTS[:2], 3, **options))
    with pytest.raises(OptionError, match="give a prior_guidance above 1 as well"):
        model.run("a cat", 0, prior_guidance=1.0)


def test_blocks_that_are_run_again_are_read_call_by_call():
    model = small_model(built(stable_cascade, repeats=2))
    site = "denoiser.up.1.res.0/out"
    with collect_outputs(model.sites[site].module) as outputs:
        expected = bare(model, ["a cat"], 0)
    run = model.run("a cat", 0, read=site, pool="none")
    assert np.array_equal(run.pictures, expected) and len(outputs) == 6
    values = run.read(site)
    assert values.call.values.tolist() == [0, 1] * 3
    wanted = torch.stack([each[0] for each in outputs]).flatten(2).transpose(1, 2)
    assert np.array_equal(values.values[0], wanted.numpy())
    edited = model.run("a cat", 0, edits=[Ramp(site)])
    assert not np.array_equal(edited.pictures, expected)
