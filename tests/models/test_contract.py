"""What every family owes: the same promises, kept on a tiny pipeline of each."""

import functools
import itertools

import numpy as np
import pytest
import torch
from contract import PROMPTS, Boom, OneRow, Ramp, Same, calls, far, hooks_on
from families import (
    ALL_FAMILIES,
    SIDE,
    built,
    family_model,
    flux,
    pixart,
    small_model,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
)
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare

from clerestory.edits import Add
from clerestory.errors import PromptError, SiteError
from clerestory.models.core.text_windows import TextEncoder

pytestmark = DIFFUSERS_WARNINGS
GUIDED = [name for name in ALL_FAMILIES if name not in ("flux", "flux_2", "sana_sprint")]


@pytest.fixture(params=[*ALL_FAMILIES, pytest.param("lancet", marks=pytest.mark.weights)])
def model(request):
    return lancet() if request.param == "lancet" else family_model(request.param)


@functools.cache
def lancet():
    """The embedded model, in fewer steps than its own."""
    import clerestory

    model = clerestory.load("lancet", device="cpu")
    model.defaults = model.defaults.replace(steps=2, prior_steps=3)
    return model


def test_the_untouched_pipeline_draws_the_same_picture(model):
    expected = bare(model, PROMPTS[:2], 5)
    assert np.array_equal(model.run(PROMPTS[:2], 5).pictures, expected)
    assert expected.std() > 5


def test_every_family_has_its_condition_its_latent_and_its_prediction(model):
    sites = set(model.sites)
    assert {"denoiser/latent", "denoiser/prediction"} <= sites
    assert sites & {"denoiser/condition", "prior/embedding"}
    for tap in ("q", "k", "v"):
        heads = [site for site in model.sites.values() if site.tap == tap]
        assert heads and all(site.heads > 0 and site.shape[1] % site.heads == 0 for site in heads)


def test_heads_mixed_by_their_matrix_are_what_the_attention_gives(model):
    run = model.run("a cat", 0, read="*", pool="none", pictures=False)
    mixed = {"z": "self_attn", "cross_z": "cross_attn", "second_z": "second_attn"}
    pairs = 0
    for address, site in model.sites.items():
        given = address.replace(f"/{site.tap}", f"/{mixed.get(site.tap)}")
        if given not in model.sites:
            continue
        expected = torch.nn.functional.linear(
            torch.from_numpy(run.read(address).values), site.module.weight, site.module.bias
        )
        assert np.allclose(expected.detach(), run.read(given).values, atol=1e-4), address
        pairs += 1
    assert pairs > 1


def test_a_site_names_its_module_and_has_the_shape_that_is_read(model):
    run = model.run("a cat", 0, read="*", pool="none")
    for address, site in model.sites.items():
        (positions, units), read = site.shape, run.read(address)
        assert read.dims == ("sample", "step", "position", "unit")
        assert read.sizes["unit"] == units, address
        assert positions in (None, read.sizes["position"]), address
        root, _, path = site.path.partition(".")
        if site.module is None:
            assert address in model.conditioning_sites
        else:
            assert site.module is getattr(model.pipeline, root).get_submodule(path), address


def test_reading_and_edits_that_change_nothing_leave_the_picture_bit_identical(model):
    if type(model.pipeline).__name__ == "Lumina2Pipeline":
        # Its blocks are read one sample at a time; rounding in a batch of two differs from that.
        expected = np.concatenate([bare(model, [prompt], 5) for prompt in PROMPTS[:2]])
    else:
        expected = bare(model, PROMPTS[:2], 5)
    assert np.array_equal(model.run(PROMPTS[:2], 5, read="*").pictures, expected)
    edits = [Same(site) for site in model.sites]
    assert np.array_equal(model.run(PROMPTS[:2], 5, edits=edits).pictures, expected)


def test_a_large_edit_changes_the_picture_exactly_at_the_sites_that_feed(model):
    # PixArt's pipeline fails with a single step, as Karlo's does.
    kind = type(model.pipeline).__name__
    options = {"steps": 2 if "PixArt" in kind or kind == "UnCLIPPipeline" else 1}
    # With a single position, queries and keys would change nothing.
    single = ("Lumina2Pipeline", "Kandinsky5T2IPipeline")
    options |= {"height": 2 * SIDE} if kind in single else {}
    # HunyuanImage has states of what is quoted.
    prompt = "a 'cat'" if kind == "HunyuanImagePipeline" else "a cat"
    if model.family.batch_limit(list(model.sites), model.defaults) is None:
        # Each site in a row of its own of one batch, and a last row without an edit: runs apart
        # take longer.
        edits = [OneRow(site, row) for row, site in enumerate(model.sites)]
        prompts = [prompt] * (len(edits) + 1)
        pictures = model.run(prompts, 0, edits=edits, batch=len(prompts), **options).pictures
    else:
        sets = [*([Ramp(site, "cond")] for site in model.sites), []]
        runs = model.sweep(prompt, 0, sets, **options)
        pictures = np.concatenate([run.pictures for run in runs])
    changed = (pictures != pictures[-1]).any((1, 2, 3))
    wrong = [
        address
        for address, change in zip(model.sites, changed, strict=False)
        if bool(change) is not model.sites[address].affects_output
    ]
    assert not wrong


@pytest.mark.parametrize("name", GUIDED)
def test_branches_arrive_split_and_steps_are_counted(name):
    model = family_model(name)
    bare(model, PROMPTS[:2], 0)
    site = "denoiser/prediction"
    cond, uncond = (
        model.run(["a cat", "a dog by me"], 0, read=site, branch=branch).read(site)
        for branch in ("cond", "uncond")
    )
    timesteps = model.family.denoising_pipeline.scheduler.timesteps.tolist()
    # Stable Cascade's end at 0, where no step begins.
    timesteps = timesteps[:-1] if name == "stable_cascade" else timesteps
    assert cond.step.values.tolist() == list(range(len(timesteps)))
    assert cond.timestep.values.tolist() == pytest.approx(timesteps)
    assert (np.diff(cond.sigma.values) <= 0).all()
    assert np.allclose(uncond[0, 0], uncond[1, 0], atol=1e-4)
    assert not np.allclose(cond[0, 0], cond[1, 0], atol=1e-4)


@pytest.mark.parametrize("negative", ["", "a dog"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: built(stable_diffusion, "ancestral"),
        lambda: built(stable_diffusion_xl, "ancestral"),
        lambda: built(stable_diffusion_3),
        lambda: built(flux),
        lambda: built(pixart, "ancestral"),
    ],
    ids=["sd", "sdxl", "sd3", "flux", "pixart"],
)
def test_a_sample_is_the_same_in_any_batch(make, negative):
    model = small_model(make())
    assert np.array_equal(
        model.run(["a cat"], 5, negative=negative).pictures,
        bare(model, ["a cat"], 5, negative=negative),
    )
    sites = ["denoiser/condition", "denoiser/latent", "denoiser/prediction"]
    whole, apart = (
        model.run(PROMPTS, range(2), read=sites, batch=batch, negative=negative) for batch in (6, 1)
    )
    for site in sites:
        gap = np.abs(whole.read(site).values - apart.read(site).values).max()
        assert gap < 1e-3, site
    assert np.abs(whole.pictures.astype(int) - apart.pictures).max() <= 1
    assert len({picture.tobytes() for picture in whole.pictures}) == 6


def test_with_only_text_sites_nothing_later_is_called(model, monkeypatch):
    bare(model, ["a cat"], 0)
    counted = calls(model, monkeypatch)
    early = model.run(PROMPTS, 0, read="text*", pictures=False)
    assert [stage for stage, count in counted.items() if count] == [
        stage for stage in model.family.stages if stage.startswith("text")
    ]
    # One batch, or one for each sample.
    batches = len(PROMPTS) if model.family.batch_limit(["text/tokens"], model.defaults) else 1
    assert all(count <= batches for count in counted.values())
    whole = model.run(PROMPTS, 0, read="text*")
    for site in whole.site_values:
        assert np.allclose(whole.read(site), early.read(site), atol=1e-5)


def test_conditioning_names_the_models_own_conditioning_site(model):
    run = model.run("a cat", 0, read="conditioning@0", pictures=False)
    assert list(run.site_values) == [model.conditioning_site]
    assert model.sites["conditioning"].address == model.conditioning_site


def test_what_is_handed_over_is_read_without_the_denoiser(model, monkeypatch):
    counted = calls(model, monkeypatch)
    run = model.run(PROMPTS, 0, read=list(model.conditioning_sites), pictures=False)
    later = set(model.family.stages) - set(model.family.encoder_stages)
    assert not any(counted[stage] for stage in later)
    assert all(len(values.steps) == 1 for values in run.site_values.values())


def test_a_sweep_where_it_is_handed_over_runs_the_first_half_once(model, monkeypatch):
    bare(model, ["a cat"], 0)
    site = model.conditioning_site
    sets = [[], *([far(model, site).times(strength)] for strength in (0.05, 0.2))]
    apart = [model.run(PROMPTS, range(2), edits=edits, batch=6) for edits in sets]
    once = calls(model, monkeypatch)
    model.run(PROMPTS, range(2), batch=6)
    single = dict(once)
    once.update(dict.fromkeys(once, 0))
    together = model.sweep(PROMPTS, range(2), sets, batch=6)
    for stage in model.family.stages:
        times = 1 if stage in model.family.encoder_stages else len(sets)
        assert once[stage] == times * single[stage], stage
    for one, two in zip(apart, together, strict=True):
        assert np.array_equal(one.pictures, two.pictures)
    assert not np.array_equal(together[0].pictures, together[2].pictures)


def test_strengths_differ_by_sample_within_a_batch(model):
    direction = far(model, model.conditioning_site, 1.0).vector
    each = Add(model.conditioning_site, direction, [0.0, 1.0, 5.0])
    run = model.run("a cat", range(3), edits=[each])
    alone = model.run("a cat", [2], edits=[each.times(5.0)])
    plain = model.run("a cat", [0])
    assert np.abs(run.pictures[2].astype(int) - alone.pictures[0]).max() <= 1
    assert np.abs(run.pictures[0].astype(int) - plain.pictures[0]).max() <= 1


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()])
def test_no_hook_is_left_when_an_edit_or_a_tap_raises(model, error):
    bare(model, ["a cat"], 0)
    before = hooks_on(model.pipeline)

    def tap(value, step):
        raise error

    for site in ("denoiser/latent", "text.blocks.0/resid", model.conditioning_site):
        edit = Boom(site)
        edit.branch_error = error
        with pytest.raises(type(error)):
            model.run("a cat", 0, edits=[edit])
        with pytest.raises(type(error)):
            model.run("a cat", 0, taps={site: tap})
    assert hooks_on(model.pipeline) == before


def test_no_hook_is_left_after_success_an_early_stop_or_a_wrong_argument(model):
    expected = bare(model, ["a cat"], 0)
    before = hooks_on(model.pipeline)
    model.run("a cat", 0, read="*")
    model.run("a cat", 0, read="text*", pictures=False)
    for wrong in ({"read": "nope"}, {"pool": "median"}, {"read": "denoiser/latent@99"}):
        with pytest.raises((SiteError, ValueError)):
            model.run("a cat", 0, **wrong)
    assert hooks_on(model.pipeline) == before
    assert np.array_equal(bare(model, ["a cat"], 0), expected)


def test_an_offloaded_model_is_read_and_left_clean(model):
    """accelerate moves weights by hooks of its own, in `forward`: both must live together."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module

    expected, before = bare(model, ["a cat"], 1), hooks_on(model.pipeline)
    roots = list(model.family.stage_modules.values())
    try:
        for root in roots:
            add_hook_to_module(root, AlignDevicesHook(execution_device="cpu", io_same_device=True))
        run = model.run("a cat", 1, read="*", edits=[Same("denoiser/latent")])
        assert all(root._hf_hook is not None for root in roots)
    finally:
        for root in roots:
            remove_hook_from_module(root)
    assert np.array_equal(run.pictures, expected)
    assert hooks_on(model.pipeline) == before


def test_a_head_is_a_slice_of_the_units(model):
    address = next(a for a, s in model.sites.items() if s.tap == "q" and s.heads > 1)
    site = model.sites[address]
    each = site.shape[1] // site.heads
    run = model.run("a cat", 0, read=[f"{address}[h1]"])
    assert run.read(address).unit.values.tolist() == list(range(each, 2 * each))
    whole = model.run("a cat", 0, read=[address])
    assert run.read(address).equals(whole.read(f"{address}[h1]"))
    with pytest.raises(SiteError, match=f"has no head {site.heads}; its {site.heads} heads"):
        model.run("a cat", 0, read=[f"{address}[h{site.heads}]"])
    with pytest.raises(SiteError, match="has no attention heads"):
        model.run("a cat", 0, read=["denoiser/latent[h0]"])


def test_pooling_counts_real_tokens_and_finds_words_that_are_split(model):
    prompts = ["a cat", "my zebra by a dog"]
    for address in ("text.blocks.0/resid", "denoiser/condition"):
        if address not in model.sites:
            continue
        kept, mean, last = (
            model.run(prompts, 0, read=address, pool=pool, pictures=False).read(address)
            for pool in ("none", "mean", "last")
        )
        window = next(p.text_window for p in model.family.site_hooks if p.site.address == address)
        real = model.family.text_windows[window].token_mask(prompts).numpy()
        for row in range(2):
            own = kept.values[row, 0]
            assert np.allclose(mean.values[row, 0], own[real[row]].mean(0), atol=1e-4)
            end = np.flatnonzero(real[row])[-1]
            assert np.allclose(last.values[row, 0], own[end], atol=1e-5)
        word = model.run(prompts[1], 0, read=address, pool="tokens:zebra", pictures=False).read(
            address
        )
        places = model.family.text_windows[window].word_mask(prompts[1:], "zebra").numpy()[0]
        assert places.sum() >= 2 and not (places & ~real[1]).any()
        assert np.allclose(word.values[0, 0], kept.values[1, 0][places].mean(0), atol=1e-4)
    with pytest.raises(PromptError, match=r"'zebra' is absent from 1 of 2 prompts.*'a cat'"):
        model.run(prompts, 0, read="text.*", pool="tokens:zebra", pictures=False)
    with pytest.raises(SiteError, match="denoiser/latent has no tokens"):
        model.run(prompts, 0, read="denoiser/latent", pool="tokens:zebra")


def test_gradients_are_those_of_the_values_that_the_pipeline_computes(model):
    """Texts of two lengths: an encoder that sees the padding has other values at its tokens."""
    texts = ["a cat", "my zebra by a dog"]
    # These encode each prompt by itself, without the padding of a batch.
    alone = type(model.pipeline).__name__.startswith(("Bria", "CogView4", "Kandinsky5"))
    for stage, prompts in itertools.product(
        model.family.encoder_stages, [[text] for text in texts] if alone else [texts]
    ):
        window = model.family.text_windows.get(stage)
        if not isinstance(window, TextEncoder):
            continue
        site = list(model.sites.select(f"{stage}.blocks.*/resid"))[-1]
        read = model.run(prompts, 0, read=site, pool="none", pictures=False).read(site)
        real = window.token_mask(prompts)

        def total(values, site=site, real=real):
            own = values[site][:, 0]
            return (own * real[:, : own.shape[1], None]).abs().sum((1, 2))

        tokens = f"{stage}/tokens"
        found = model.gradients(total, tokens, prompts, read=site, progress=False)
        values, gradients = found.objective_values, found.read(tokens)["gradient"].to_numpy()[:, 0]
        shown, taken = real.numpy()[:, : read.shape[2]], real.numpy()[:, : gradients.shape[1]]
        own = np.abs(read.values[:, 0]) * shown[..., None]
        assert np.allclose(values, np.nansum(own, (1, 2)), rtol=1e-4), stage
        assert (np.abs(gradients).sum(2) > 0)[taken].all()


def test_a_prompt_beyond_the_window_is_refused(model):
    with pytest.raises(PromptError, match="would be cut"):
        model.run("cat " * 1200)
    with pytest.raises(PromptError, match="empty"):
        model.run(" ")
    assert model.tokenize("a cat") == ["a", "cat"]
