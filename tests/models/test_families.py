"""What differs from family to family: branches, schedulers, text windows, autoencoders."""

import numpy as np
import pytest
import torch
from contract import PROMPTS, Boom, Same, calls, hooks_on
from families import (
    FAMILIES,
    SIDE,
    built,
    family_model,
    flux,
    latent_consistency,
    pixart,
    small_model,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
    unknown_pipeline,
)
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare, to_bytes

from clerestory.edits import Add
from clerestory.errors import OptionError, PromptError, SiteError
from clerestory.models import Options, load

pytestmark = DIFFUSERS_WARNINGS


def test_flux_runs_its_branches_in_calls_of_their_own():
    model, site = family_model("flux"), "denoiser/prediction"
    options = {"negative": "dog", "true_guidance": 3.0}
    expected = bare(model, PROMPTS[:2], 4, **options)
    run = model.run(PROMPTS[:2], 4, read=site, **options)
    assert np.array_equal(run.pictures, expected)
    other = model.run(PROMPTS[:2], 4, read=site, branch="uncond", **options)
    assert other.read(site).step.values.tolist() == [0, 1, 2]
    plain = model.run("dog", 4, read=site)
    first = other.read(site).values[:, 0]
    assert np.allclose(first, plain.read(site).values[:, 0], atol=1e-4)
    with pytest.raises(SiteError, match="has no uncond branch"):
        model.run("a cat", 0, read=site, branch="uncond")
    assert not np.array_equal(model.run(PROMPTS[:2], 4).pictures, expected)


def test_sdxl_never_encodes_the_empty_prompt_unless_its_checkpoint_does(monkeypatch):
    model = small_model(built(stable_diffusion_xl))
    counted = calls(model, monkeypatch)
    run = model.run("a cat", 0, read="denoiser/condition", branch="uncond")
    assert (run.read("denoiser/condition") == 0).all()
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
    model = small_model(make())
    expected = _bare_other(model, PROMPTS[:2], 5)
    read = model.run(PROMPTS[:2], 5, read="*")
    assert np.array_equal(read.pictures, expected)
    edits = [Same(site) for site in model.sites]
    assert np.array_equal(model.run(PROMPTS[:2], 5, edits=edits).pictures, expected)
    steps = read.read("denoiser/latent")
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
        return to_bytes(drawn)
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


@pytest.mark.parametrize("name", FAMILIES)
def test_an_autoencoder_that_slices_is_read_whole(name):
    model = small_model(built(FAMILIES[name]))
    vae = getattr(model.pipeline, "vae", None) or getattr(model.pipeline, "movq", None)
    if not hasattr(vae, "use_slicing"):
        return
    plain = model.run("a cat", range(3), read="vae.up.0.res.0/out")
    vae.use_slicing = True
    sliced = model.run("a cat", range(3), read="vae.up.0.res.0/out")
    assert np.array_equal(plain.pictures, sliced.pictures) and vae.use_slicing
    read = (run.read("vae.up.0.res.0/out") for run in (plain, sliced))
    assert next(read).equals(next(read))


def test_pixart_reads_captions_in_small_letters_and_so_do_masks_and_words():
    model, texts = family_model("pixart"), ["  A Cat BY Zoe ", "a cat by zoe"]
    tokens = model.family.text_windows["text"]
    assert torch.equal(*(tokens.token_mask([text])[0] for text in texts))
    assert torch.equal(*(tokens.word_mask([text], "Cat")[0] for text in texts))
    assert tokens.word_mask(texts[:1], "Cat").any()


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


def test_joint_attention_names_its_streams_and_single_blocks_have_one_row():
    sites = family_model("flux").sites
    streams = {name: sites[f"denoiser.blocks.0.{name}/mlp"].stream for name in ("text", "image")}
    assert streams == {"text": "text", "image": "image"}
    assert sites["denoiser.single.0/z"].stream is None
    assert sites["text.blocks.0/mlp"].stream is None


def test_last_is_the_end_of_the_text_where_a_pictures_positions_follow():
    model, site = family_model("flux"), "denoiser.single.0/mlp"
    kept, last = (
        model.run("a cat", 0, read=site, pool=pool).read(site).values for pool in ("none", "last")
    )
    end = int(model.family.text_windows["text_2"].token_mask(["a cat"])[0].nonzero()[-1])
    assert np.allclose(last[0, :], kept[0, :, end], atol=1e-5)


def test_a_word_beyond_clips_window_is_found_where_t5_has_it():
    model = family_model("stable_diffusion_3")
    prompt = "a cat by a dog by a man in a hat with a zebra"
    word = {"pool": "tokens:zebra", "pictures": False}
    assert model.run(prompt, 0, read="denoiser/condition", **word)
    with pytest.raises(PromptError, match="or truncated"):
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
    pipeline = built(unknown_pipeline)
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
    assert model.sites["denoiser/latent"].affects_output is None
    assert "inferred from short runs" in small_model(pipeline).description
    assert "were inferred from short runs" in model.description
    assert {"denoiser/latent", "denoiser/condition", "denoiser/prediction"} <= set(model.sites)
    assert model.family.stages[0] == "text" and model.family.stages[-1] != "text"
    before = hooks_on(pipeline)
    run = model.run(["a cat", "a dog"], 3, read="*")
    assert np.array_equal(run.pictures[:1], to_bytes(expected))
    same = model.run("a cat", 3, edits=[Same(site) for site in model.sites])
    assert np.array_equal(same.pictures[0], run.pictures[0])
    assert run.read("denoiser/latent").sizes["step"] == 3
    moved = model.run("a cat", 3, edits=[Add("denoiser/prediction", np.ones(6))])
    assert not np.array_equal(moved.pictures[0], run.pictures[0])
    counted = calls(model, monkeypatch)
    early = model.run("a cat", 3, read="text.*", pictures=False)
    assert counted["text"] and not counted["prior"] and not counted["denoiser"]
    assert early.pictures is None
    assert hooks_on(pipeline) == before


@pytest.mark.parametrize("alike", [True, False])
def test_stable_diffusion_3_without_t5_opens_from_its_folder(alike, tmp_path):
    pipeline = built(stable_diffusion_3, third=False)
    if alike:
        pipeline.text_encoder_2.load_state_dict(pipeline.text_encoder.state_dict())
    small = small_model(pipeline)
    expected = bare(small, PROMPTS[:2], 3)
    pipeline.save_pretrained(tmp_path / "folder")
    model = load(tmp_path / "folder", device="cpu")
    model.defaults = small.defaults
    run = model.run(PROMPTS[:2], 3, read="text.*")
    # Weights read from disk lie elsewhere in memory, and some CPUs then add in another order.
    assert np.abs(run.pictures.astype(int) - expected.astype(int)).max() <= 1
    assert (model.pipeline.text_encoder is model.pipeline.text_encoder_2) == alike
    assert ("text_2" in model.family.stages) != alike
    site, width = "denoiser/condition", pipeline.text_encoder.config.hidden_size
    edit = Add("text.blocks.0/resid", np.linspace(0, 1, width, dtype=np.float32), 1.0)
    before, after = (
        model.run("a cat", 3, read=site, pool="none", edits=edits, pictures=False).read(site).values
        for edits in ([], [edit])
    )
    moved = np.abs(after - before)
    assert moved[..., :width].any()
    assert moved[..., width : 2 * width].any() == alike


def test_a_latent_consistency_model_has_one_branch_whatever_the_guidance():
    model = small_model(built(latent_consistency), steps=4)
    expected = bare(model, PROMPTS[:2], 5)
    site = "denoiser.mid.attn.0.blocks.0/cross_attn"
    run = model.run(PROMPTS[:2], 5, read=["*"])
    assert np.array_equal(run.pictures, expected)
    assert run.read(site).sizes["step"] == 4
    apart = model.run(PROMPTS[:2], 5, read=site, batch=1).read(site)
    assert np.allclose(run.read(site), apart, atol=1e-4)
    moved = model.run("a cat", 5, edits=[Add(site, np.full(24, 5.0))])
    assert not np.array_equal(moved.pictures[0], expected[0])
    with pytest.raises(SiteError, match="uncond branch"):
        model.run("a cat", 5, read=site, branch="uncond")
    with pytest.raises(OptionError, match="negative"):
        model.run("a cat", 5, negative="a dog")
