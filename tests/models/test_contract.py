"""What every family owes: the same promises, kept on a tiny pipeline of each."""

import functools

import numpy as np
import pytest
import torch
from families import (
    FAMILIES,
    SIDE,
    built,
    family_model,
    flux,
    karlo,
    pixart,
    small_model,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
)

from clerestory.errors import PromptError, SiteError
from clerestory.models import Options
from clerestory.steering import Add

pytestmark = [
    # diffusers 0.42 with NumPy 2, in DPMSolver.set_timesteps
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing `image` as torch:FutureWarning"),
]
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
PROMPTS = ["a cat", "a dog by me", "cat"]
GUIDED = [name for name in FAMILIES if name != "flux"]


@pytest.fixture(params=[*FAMILIES, pytest.param("lancet", marks=pytest.mark.weights)])
def model(request):
    return lancet() if request.param == "lancet" else family_model(request.param)


@functools.cache
def lancet():
    """The embedded model, in fewer steps than its own."""
    import clerestory

    model = clerestory.load("lancet", device="cpu")
    model.defaults = model.defaults.changed(steps=2, prior_steps=3)
    return model


class Same:
    """Returns what it gets."""

    def __init__(self, site, branch="both"):
        self.site, self.branch = site, branch

    def __call__(self, value):
        return value


class Boom(Same):
    def __call__(self, value):
        raise self.branch_error

    branch_error = RuntimeError("boom")


class Ramp(Same):
    """Adds a large vector, more of it from position to position.

    The same vector on all keys would change nothing: softmax takes no notice of what all share.
    """

    def __call__(self, value):
        vector = 30 * torch.randn(value.shape[-1], generator=torch.Generator().manual_seed(3))
        return value + torch.linspace(1, 2, value.shape[1])[:, None] * vector


def far(model, site, length=30.0):
    """An edit with a large vector."""
    units = model.sites[site].shape[1]
    return Add(site, length * torch.randn(units, generator=torch.Generator().manual_seed(3)))


def bare(model, prompts, seed, **options):
    """What the untouched pipeline draws, called as its own documentation has it."""
    pipeline, told = model.pipeline, model.defaults.changed(**options)
    given = {"height": told.height, "width": told.width, "num_inference_steps": told.steps}
    given |= {"guidance_scale": told.guidance}
    kind = type(pipeline).__name__
    if kind.startswith("Kandinsky"):
        given |= {"prior_num_inference_steps": told.prior_steps, "callback_steps": None}
        given |= {"prior_guidance_scale": told.prior_guidance}
    if kind.startswith("PixArt"):
        given |= {"use_resolution_binning": False, "clean_caption": False}
    if kind.startswith("Flux"):
        given |= {"true_cfg_scale": told.true_guidance} if told.negative else {}
        given |= {"max_sequence_length": 512}
    if told.negative:
        given |= {"negative_prompt": [told.negative] * len(prompts)}
    generators = [torch.Generator().manual_seed(seed) for _ in prompts]
    with torch.no_grad():
        drawn = pipeline(prompts, generator=generators, output_type="np", **given).images
    return (drawn * 255).round().astype(np.uint8)


def hooks_on(pipeline):
    """Every hook on every module; transformers' own stay for good, once they are there."""
    return [
        (part, name, kind, key)
        for part, module in pipeline.components.items()
        if isinstance(module, torch.nn.Module)
        for name, inner in module.named_modules()
        for kind in HOOKS
        for key in getattr(inner, kind)
    ]


def calls(model, monkeypatch):
    """How often each stage's network was called."""
    counted = {}
    for stage, root in model.family.roots.items():
        counted[stage] = 0

        def forward(*args, _stage=stage, _forward=root.forward, **kwargs):
            counted[_stage] += 1
            return _forward(*args, **kwargs)

        monkeypatch.setattr(root, "forward", forward)
    return counted


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


def test_a_site_names_its_module_and_has_the_shape_that_is_read(model):
    read = model.run("a cat", 0, read="*", pool="none").activations
    for address, site in model.sites.items():
        positions, units = site.shape
        assert read[address].dims == ("sample", "step", "position", "unit")
        assert read[address].sizes["unit"] == units, address
        assert positions in (None, read[address].sizes["position"]), address
        root, _, path = site.path.partition(".")
        if site.module is None:
            assert address in model.family.handed
        else:
            assert site.module is getattr(model.pipeline, root).get_submodule(path), address


def test_reading_and_edits_that_change_nothing_leave_the_picture_bit_identical(model):
    expected = bare(model, PROMPTS[:2], 5)
    assert np.array_equal(model.run(PROMPTS[:2], 5, read="*").pictures, expected)
    edits = [Same(site) for site in model.sites]
    assert np.array_equal(model.run(PROMPTS[:2], 5, edits=edits).pictures, expected)


def test_a_large_edit_changes_the_picture_exactly_at_the_sites_that_feed(model):
    edits = [[], *([Ramp(site, "cond")] for site in model.sites)]
    plain, *edited = model.sweep("a cat", 0, edits)
    wrong = [
        address
        for address, run in zip(model.sites, edited, strict=True)
        if bool((run.pictures != plain.pictures).any()) is not model.sites[address].feeds
    ]
    assert not wrong


@pytest.mark.parametrize("name", GUIDED)
def test_branches_arrive_split_and_steps_are_counted(name):
    model = family_model(name)
    bare(model, PROMPTS[:2], 0)
    site = "denoiser/prediction"
    cond, uncond = (
        model.run(["a cat", "a dog by me"], 0, read=site, branch=branch).activations[site]
        for branch in ("cond", "uncond")
    )
    timesteps = model.pipeline.scheduler.timesteps.tolist()
    assert cond.step.values.tolist() == list(range(len(timesteps)))
    assert cond.timestep.values.tolist() == pytest.approx(timesteps)
    assert (np.diff(cond.sigma.values) <= 0).all()
    assert np.allclose(uncond[0, 0], uncond[1, 0], atol=1e-4)
    assert not np.allclose(cond[0, 0], cond[1, 0], atol=1e-4)


def test_flux_runs_its_branches_in_calls_of_their_own():
    model, site = family_model("flux"), "denoiser/prediction"
    options = {"negative": "dog", "true_guidance": 3.0}
    expected = bare(model, PROMPTS[:2], 4, **options)
    run = model.run(PROMPTS[:2], 4, read=site, **options)
    assert np.array_equal(run.pictures, expected)
    other = model.run(PROMPTS[:2], 4, read=site, branch="uncond", **options)
    assert other.activations[site].step.values.tolist() == [0, 1, 2]
    plain = model.run("dog", 4, read=site)
    first = other.activations[site].values[:, 0]
    assert np.allclose(first, plain.activations[site].values[:, 0], atol=1e-4)
    with pytest.raises(SiteError, match="has no uncond branch"):
        model.run("a cat", 0, read=site, branch="uncond")
    assert not np.array_equal(model.run(PROMPTS[:2], 4).pictures, expected)


def test_sdxl_never_encodes_the_empty_prompt_unless_its_checkpoint_does(monkeypatch):
    model = small_model(built(stable_diffusion_xl))
    counted = calls(model, monkeypatch)
    condition = model.run("a cat", 0, read="denoiser/condition", branch="uncond").activations
    assert (condition["denoiser/condition"] == 0).all()
    assert counted["text"] == counted["text_2"] == 1
    with pytest.raises(SiteError, match=r"text\.blocks\.0/mlp has no uncond branch"):
        model.run("a cat", 0, read="text.blocks.0/mlp", branch="uncond")
    counted["text"] = 0
    model.run("a cat", 0, negative="dog")
    assert counted["text"] == 2
    other = small_model(built(stable_diffusion_xl, zeros=False))
    assert np.array_equal(other.run("a cat", 3).pictures, bare(other, ["a cat"], 3))
    assert (other.run("a cat", 0, read="text.*", branch="uncond").pictures).any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: built(stable_diffusion, "heun"),
        lambda: built(stable_diffusion, "ancestral"),
        lambda: built(stable_diffusion_xl, "turbo"),
        lambda: built(stable_diffusion_3, third=False),
        lambda: built(flux, guided=False),
        lambda: built(pixart, sigma=True),
    ],
    ids=["heun", "ancestral", "turbo", "no third encoder", "schnell", "sigma"],
)
def test_what_differs_within_a_family_is_drawn_and_read_as_well(make):
    model = small_model(make(), guidance=1.0 if "guided" in str(make) else 3.0)
    expected = _bare_other(model, PROMPTS[:2], 5)
    read = model.run(PROMPTS[:2], 5, read="*")
    assert np.array_equal(read.pictures, expected)
    edits = [Same(site) for site in model.sites]
    assert np.array_equal(model.run(PROMPTS[:2], 5, edits=edits).pictures, expected)
    steps = read.activations["denoiser/latent"]
    assert steps.sizes["step"] == len(model.pipeline.scheduler.timesteps)


def _bare_other(model, prompts, seed):
    kind = type(model.pipeline).__name__
    if kind == "FluxPipeline":
        with torch.no_grad():
            drawn = model.pipeline(
                prompts,
                height=SIDE,
                width=SIDE,
                num_inference_steps=3,
                guidance_scale=model.defaults.guidance,
                max_sequence_length=256,
                generator=[torch.Generator().manual_seed(seed) for _ in prompts],
                output_type="np",
            ).images
        return (drawn * 255).round().astype(np.uint8)
    return bare(model, prompts, seed)


def test_a_family_brings_its_defaults():
    from clerestory.models import wrap

    assert wrap(built(stable_diffusion)).defaults == Options(16, 16, steps=50, guidance=7.5)
    assert wrap(built(stable_diffusion_xl)).defaults.guidance == 5.0
    turbo = wrap(built(stable_diffusion_xl, "turbo")).defaults
    assert (turbo.steps, turbo.guidance) == (4, 0.0)
    assert wrap(built(stable_diffusion_3)).defaults.steps == 28
    dev, schnell = (wrap(built(flux, guided=guided)).defaults for guided in (True, False))
    assert (dev.steps, dev.guidance, schnell.steps, schnell.guidance) == (28, 3.5, 4, 0.0)
    assert wrap(built(pixart)).defaults.guidance == 4.5


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
        gap = np.abs(whole.activations[site].values - apart.activations[site].values).max()
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
    assert all(count <= 1 for count in counted.values())
    whole = model.run(PROMPTS, 0, read="text*")
    for site, values in whole.activations.items():
        assert np.allclose(values, early.activations[site], atol=1e-5)


def test_what_is_handed_over_is_read_without_the_denoiser(model, monkeypatch):
    counted = calls(model, monkeypatch)
    run = model.run(PROMPTS, 0, read=list(model.family.handed), pictures=False)
    assert counted["denoiser"] == counted["vae"] == 0
    assert all(array.sizes["step"] == 1 for array in run.activations.values())


def test_a_sweep_where_it_is_handed_over_runs_the_first_half_once(model, monkeypatch):
    bare(model, ["a cat"], 0)
    site = model.family.bridge
    sets = [[], *([far(model, site).times(strength)] for strength in (0.05, 0.2))]
    apart = [model.run(PROMPTS, range(2), edits=edits, batch=6) for edits in sets]
    once = calls(model, monkeypatch)
    model.run(PROMPTS, range(2), batch=6)
    single = dict(once)
    once.update(dict.fromkeys(once, 0))
    together = model.sweep(PROMPTS, range(2), sets, batch=6)
    for stage in model.family.stages:
        times = 1 if stage in model.family.first else len(sets)
        assert once[stage] == times * single[stage], stage
    for one, two in zip(apart, together, strict=True):
        assert np.array_equal(one.pictures, two.pictures)
    assert not np.array_equal(together[0].pictures, together[2].pictures)


def test_strengths_differ_by_sample_within_a_batch(model):
    direction = far(model, model.family.bridge, 1.0).vector
    each = Add(model.family.bridge, direction, [0.0, 1.0, 5.0])
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

    for site in ("denoiser/latent", "text.blocks.0/resid", model.family.bridge):
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
    roots = list(model.family.roots.values())
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
    assert run.activations[address].unit.values.tolist() == list(range(each, 2 * each))
    whole = model.run("a cat", 0, read=[address]).activations
    assert run.activations[address].equals(whole[f"{address}[h1]"])
    with pytest.raises(SiteError, match=f"has no head {site.heads}; its {site.heads} heads"):
        model.run("a cat", 0, read=[f"{address}[h{site.heads}]"])
    with pytest.raises(SiteError, match="has no heads"):
        model.run("a cat", 0, read=["denoiser/latent[h0]"])


def test_pooling_counts_real_tokens_and_finds_words_that_are_split(model):
    prompts = ["a cat", "my zebra by a dog"]
    for address in ("text.blocks.0/resid", "denoiser/condition"):
        if address not in model.sites:
            continue
        kept, mean, last = (
            model.run(prompts, 0, read=address, pool=pool, pictures=False).activations[address]
            for pool in ("none", "mean", "last")
        )
        window = next(p.tokens for p in model.family.places if p.site.address == address)
        real = model.family.windows[window].real(prompts).numpy()
        for row in range(2):
            own = kept.values[row, 0]
            assert np.allclose(mean.values[row, 0], own[real[row]].mean(0), atol=1e-4)
            end = np.flatnonzero(real[row])[-1]
            assert np.allclose(last.values[row, 0], own[end], atol=1e-5)
        word = model.run(
            prompts[1], 0, read=address, pool="tokens:zebra", pictures=False
        ).activations[address]
        places = model.family.windows[window].spans(prompts[1:], "zebra").numpy()[0]
        assert places.sum() >= 2 and not (places & ~real[1]).any()
        assert np.allclose(word.values[0, 0], kept.values[1, 0][places].mean(0), atol=1e-4)
    with pytest.raises(PromptError, match=r"'zebra' is absent from 1 of 2 prompts.*'a cat'"):
        model.run(prompts, 0, read="text.*", pool="tokens:zebra", pictures=False)
    with pytest.raises(SiteError, match="denoiser/latent has no tokens"):
        model.run(prompts, 0, read="denoiser/latent", pool="tokens:zebra")


def test_a_prompt_beyond_the_window_is_refused(model):
    with pytest.raises(PromptError, match="would be cut"):
        model.run("cat " * 600)
    with pytest.raises(PromptError, match="empty"):
        model.run(" ")
    assert model.words("a cat") == ["a", "cat"]


@pytest.mark.parametrize("name", FAMILIES)
def test_an_autoencoder_that_slices_is_read_whole(name):
    model = small_model(built(FAMILIES[name]))
    vae = getattr(model.pipeline, "vae", None) or model.pipeline.movq
    if not hasattr(vae, "use_slicing"):
        return
    plain = model.run("a cat", range(3), read="vae.up.0.res.0/out")
    vae.use_slicing = True
    sliced = model.run("a cat", range(3), read="vae.up.0.res.0/out")
    assert np.array_equal(plain.pictures, sliced.pictures) and vae.use_slicing
    read = (run.activations["vae.up.0.res.0/out"] for run in (plain, sliced))
    assert next(read).equals(next(read))


def test_pixart_reads_captions_in_small_letters_and_so_do_masks_and_words():
    model, texts = family_model("pixart"), ["  A Cat BY Zoe ", "a cat by zoe"]
    tokens = model.family.windows["text"]
    assert torch.equal(*(tokens.real([text])[0] for text in texts))
    assert torch.equal(*(tokens.spans([text], "Cat")[0] for text in texts))
    assert tokens.spans(texts[:1], "Cat").any()


def test_parts_leave_the_accelerator_after_an_early_end_and_an_error(monkeypatch):
    for name in ("unclip", "stable_diffusion"):
        model, freed = small_model(built(FAMILIES[name])), []
        model.pipeline._all_hooks = [object()]
        monkeypatch.setattr(model.pipeline, "maybe_free_model_hooks", lambda to=freed: to.append(1))
        model.run("a cat", 0, read="text.*", pictures=False)
        assert freed == [1]
        with pytest.raises(RuntimeError):
            model.run("a cat", 0, edits=[Boom("denoiser/latent")])
        assert len(freed) == 2


def test_last_is_the_end_of_the_text_where_a_pictures_positions_follow():
    model, site = family_model("flux"), "denoiser.single.0/mlp"
    kept, last = (
        model.run("a cat", 0, read=site, pool=pool).activations[site].values
        for pool in ("none", "last")
    )
    end = int(model.family.windows["text_2"].real(["a cat"])[0].nonzero()[-1])
    assert np.allclose(last[0, :], kept[0, :, end], atol=1e-5)


def test_a_word_beyond_clips_window_is_found_where_t5_has_it():
    model = family_model("stable_diffusion_3")
    prompt = "a cat by a dog by a man in a hat with a zebra"
    word = {"pool": "tokens:zebra", "pictures": False}
    assert model.run(prompt, 0, read="denoiser/condition", **word)
    with pytest.raises(PromptError, match="or beyond the text window"):
        model.run(prompt, 0, read="text.*", **word)


def test_the_safety_checker_is_off_while_it_runs_and_there_again_afterwards():
    pipeline = built(stable_diffusion)
    expected = bare(small_model(pipeline), ["a cat"], 0)

    def blacken(images, clip_input):
        raise AssertionError("it was asked")

    pipeline.safety_checker = blacken
    model = small_model(pipeline)
    assert np.array_equal(model.run("a cat", 0).pictures, expected)
    assert pipeline.safety_checker is blacken


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_any_other_pipeline_is_served_as_it_comes(monkeypatch):
    pipeline = built(karlo)
    expected = pipeline(
        "a cat",
        generator=torch.Generator().manual_seed(3),
        prior_num_inference_steps=3,
        decoder_num_inference_steps=3,
        prior_guidance_scale=1.5,
        decoder_guidance_scale=3.0,
        output_type="np",
    ).images
    model = small_model(pipeline)
    assert "not told apart" in model.about and model.sites["denoiser/latent"].feeds is None
    assert {"denoiser/latent", "denoiser/condition", "denoiser/prediction"} <= set(model.sites)
    assert model.family.stages[0] == "text" and model.family.stages[-1] != "text"
    before = hooks_on(pipeline)
    run = model.run(["a cat", "a dog"], 3, read="*")
    assert np.array_equal(run.pictures[:1], (expected * 255).round().astype(np.uint8))
    same = model.run("a cat", 3, edits=[Same(site) for site in model.sites])
    assert np.array_equal(same.pictures[0], run.pictures[0])
    assert run.activations["denoiser/latent"].sizes["step"] == 3
    moved = model.run("a cat", 3, edits=[Add("denoiser/prediction", np.ones(6))])
    assert not np.array_equal(moved.pictures[0], run.pictures[0])
    counted = calls(model, monkeypatch)
    early = model.run("a cat", 3, read="text.*", pictures=False)
    assert counted["text"] and not counted["prior"] and not counted["denoiser"]
    assert early.pictures is None
    assert hooks_on(pipeline) == before
