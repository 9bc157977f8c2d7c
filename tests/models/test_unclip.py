"""The contract of every family, on a tiny Kandinsky 2.2."""

import numpy as np
import pytest
import torch
from contract import calls, far
from tiny import WIDTH, WINDOW, tiny_model

from clerestory.edits import Add
from clerestory.errors import PromptError, SiteError

# diffusers 0.42 with NumPy 2, in DPMSolver.set_timesteps
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPTS, SEEDS = ["a cat", "a dog by me", "cat"], range(2)


@pytest.fixture
def model():
    return tiny_model()


def test_the_family_has_the_sites_of_its_table(model):
    sites = list(model.sites)
    for address in (
        "text.blocks.0/self_attn",
        "text.blocks.1/mlp",
        "text.blocks.1/resid",
        "text/pooled",
        "prior.blocks.0/self_attn",
        "prior.blocks.1/mlp",
        "prior.blocks.1/resid",
        "prior/embedding",
        "denoiser/latent",
        "denoiser.down.0.res.0/out",
        "denoiser.down.1.attn.0/out",
        "denoiser.mid.res.0/out",
        "denoiser.up.0.res.1/out",
        "denoiser/prediction",
        "vae.up.0.res.0/out",
    ):
        assert address in sites
    assert not [site for site in sites if site.startswith("denoiser") and site.endswith("mlp")]
    assert model.sites["text.blocks.0/mlp"].shape == (WINDOW, 48)
    assert model.sites["prior.blocks.0/resid"].shape == (WINDOW + 4, 24)


def test_mlp_is_after_the_nonlinearity(model):
    """GELU never goes below -0.17, and nothing else here keeps above it."""
    read = model.run(PROMPTS, 0, read=["text.*/mlp", "prior.*/mlp"], pool="none").site_values
    assert all(-0.171 < values.array().min() < 0 for values in read.values())


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm", "dpm"])
def test_the_untouched_pipeline_draws_the_same_picture(scheduler):
    model = tiny_model(scheduler=scheduler)
    ours = model.run(["a cat", "a dog"], 5).pictures
    theirs = model.pipeline(
        prompt=["a cat", "a dog"],
        generator=[torch.Generator().manual_seed(5) for _ in range(2)],
        num_inference_steps=3,
        prior_num_inference_steps=3,
        guidance_scale=2.5,
        prior_guidance_scale=1.5,
        height=16,
        width=16,
        output_type="np",
        callback_steps=None,  # its default is deprecated
    ).images
    assert (ours == (theirs * 255).round().astype(np.uint8)).all()


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm", "dpm"])
@pytest.mark.parametrize("negative", ["", "a dog"])
def test_a_sample_is_the_same_in_any_batch(scheduler, negative):
    model = tiny_model(scheduler=scheduler)
    sites = ["text/pooled", "prior/embedding", "denoiser/latent", "vae.up.2.res.1/out"]
    whole, apart = (
        model.run(PROMPTS, SEEDS, read=sites, batch=batch, negative=negative) for batch in (6, 1)
    )
    for site in sites:
        gap = np.abs(whole.read(site).values - apart.read(site).values).max()
        assert gap < 1e-3
    assert np.abs(whole.pictures.astype(int) - apart.pictures).max() <= 1


def test_samples_are_prompt_by_prompt_and_activations_are_labelled(model):
    run = model.run(PROMPTS, [4, 2], read="text/pooled", pictures=False)
    expected = [(prompt, seed) for prompt in PROMPTS for seed in (4, 2)]
    assert list(zip(run.samples.prompt, run.samples.seed, strict=True)) == expected
    pooled = run.read("text/pooled")
    assert list(pooled.prompt.values) == [prompt for prompt, _ in expected]
    assert list(pooled.seed.values) == [seed for _, seed in expected]
    assert pooled.dims == ("sample", "step", "unit")
    assert run.pictures is None


def test_what_is_read_is_what_the_networks_give(model):
    run = model.run(PROMPTS, 0, read="text.*,text/pooled", pictures=False, pool="last")
    read = {site: run.read(site) for site in run.site_values}
    tokenizer, encoder = model.pipeline.prior_tokenizer, model.pipeline.prior_text_encoder
    tokens = tokenizer(PROMPTS, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        out = encoder(tokens.input_ids)
        last = encoder.text_model.final_layer_norm(
            torch.from_numpy(read["text.blocks.1/resid"].values[:, 0])
        )
    assert np.array_equal(read["text/pooled"].values[:, 0], out.text_embeds.numpy())
    ends = (tokens.input_ids == tokenizer.eos_token_id).int().argmax(1)
    expected = out.last_hidden_state[torch.arange(len(PROMPTS)), ends]
    assert torch.allclose(last, expected, atol=1e-5)


def test_the_embedding_is_read_as_it_is_fed_to_the_denoiser(model, monkeypatch):
    fed = []
    decoder = model.pipeline.decoder_pipe
    call = type(decoder).__call__

    def record(self, image_embeds, **kwargs):
        fed.append(image_embeds.clone())
        return call(self, image_embeds=image_embeds, **kwargs)

    monkeypatch.setattr(type(decoder), "__call__", record)
    edit = Add("prior/embedding", np.arange(WIDTH))
    plain, moved = model.sweep("a cat", 0, [[], [edit]], read="prior/embedding")
    values = [run.read("prior/embedding").values[:, 0] for run in (plain, moved)]
    assert [np.array_equal(one, two) for one, two in zip(fed, values, strict=True)] == [True, True]
    assert np.allclose(values[1] - values[0], np.arange(WIDTH), atol=1e-5)


def test_the_unconditional_branch_can_be_read(model):
    sites = ["text.*", "prior.*", "denoiser.*", "prior/embedding"]
    run = model.run(PROMPTS, 0, read=sites, branch="uncond")
    text = run.read("text.blocks.1/resid").values
    assert np.allclose(text[0], text[1], atol=1e-6)
    alone = model.run(PROMPTS, 0, read="text.*", branch="uncond", pictures=False)
    assert np.array_equal(alone.read("text.blocks.1/resid").values, text)
    negated = model.run(PROMPTS, 0, read=sites, branch="uncond", negative="a dog")
    other = model.run("a dog", 0, read="text.*", pictures=False)
    assert np.allclose(
        negated.read("text.blocks.0/resid").values[2],
        other.read("text.blocks.0/resid").values[0],
        atol=1e-6,
    )


def test_a_negative_prompt_takes_the_embedding_of_its_own(model):
    pipe, prompts = model.pipeline.prior_pipe, ["a cat", "a dog"]
    shown, against = pipe(
        prompt=prompts,
        negative_prompt=["cat", "cat"],
        num_inference_steps=3,
        guidance_scale=1.5,
        generator=[torch.Generator().manual_seed(seed) for seed in (7, 7, 7, 7)],
        return_dict=False,
    )
    for branch, expected in (("cond", shown), ("uncond", against)):
        run = model.run(prompts, 7, read="prior/embedding", branch=branch, negative="cat")
        assert np.array_equal(run.read("prior/embedding").values[:, 0], expected.numpy())


def test_an_edit_of_the_prior_leaves_a_negative_prompts_embedding_alone(model):
    edit = far(model, "prior.blocks.1/resid", 3.0)
    for branch, moves in (("cond", True), ("uncond", False)):
        plain, edited = (
            run.read("prior/embedding").values
            for run in model.sweep(
                PROMPTS,
                0,
                [[], [edit]],
                read="prior/embedding",
                branch=branch,
                negative="dog",
                pictures=False,
            )
        )
        assert (np.abs(edited - plain).max(axis=-1) > 1e-3).all() == moves
        assert np.array_equal(edited, plain) != moves


def test_only_the_conditional_branch_knows_the_prompt(model):
    sites = ["prior.blocks.0/resid@0", "denoiser.down.1.attn.0/out@0"]
    for branch, same in (("cond", False), ("uncond", True)):
        run = model.run(["a cat", "a dog by me"], 0, read=sites, branch=branch)
        for site, read in run.site_values.items():
            values = read.array()
            assert np.allclose(values[0], values[1], atol=1e-5) == same, (branch, site)


def test_mean_leaves_out_the_start_token_and_what_follows_the_end(model):
    sites, prompts = ["text.blocks.1/mlp", "prior.blocks.0/resid"], ["a cat", "a dog by me"]
    for branch, tokens in (("cond", (2, 6)), ("uncond", (0, 0))):
        mean, kept = (
            model.run(prompts, 0, read=sites, branch=branch, pool=pool, pictures=False)
            for pool in ("mean", "none")
        )
        for row, count in enumerate(tokens):
            text, prior = (kept.read(site).values[row] for site in sites)
            assert count == 0 or len(model.tokenize(prompts[row])) == count
            assert np.allclose(mean.read(sites[0])[row], text[:, 1 : count + 2].mean(1), atol=1e-5)
            real = np.concatenate([prior[:, 1 : count + 2], prior[:, WINDOW:]], axis=1)
            assert np.allclose(mean.read(sites[1])[row], real.mean(1), atol=1e-5)


def test_without_guidance_there_is_one_branch(model):
    plain = {"guidance": 1.0, "prior_guidance": 1.0}
    run = model.run(PROMPTS, 0, read=["prior.*", "denoiser.*"], **plain)
    assert run.read("denoiser.mid.res.0/out").shape == (3, 3, 24)
    edited = model.run(PROMPTS, 0, edits=[far(model, "denoiser.mid.res.0/out")], **plain)
    assert (edited.pictures != run.pictures).any()


def test_with_only_text_sites_neither_prior_nor_denoiser_is_called(model, monkeypatch):
    counted = calls(model, monkeypatch)
    whole = model.run(PROMPTS, 0, read="text*")
    assert counted == {"text": 2, "prior": 3, "denoiser": 3, "vae": 1}
    counted.update(dict.fromkeys(counted, 0))
    early = model.run(PROMPTS, 0, read="text*", pictures=False)
    assert counted == {"text": 1, "prior": 0, "denoiser": 0, "vae": 0}
    for site in whole.site_values:
        assert np.array_equal(whole.read(site), early.read(site))
    model.run(PROMPTS, 0, read="text*", pictures=False, stop="never")
    assert counted["vae"] == 1


def test_with_only_prior_sites_the_denoiser_is_not_called(model, monkeypatch):
    counted = calls(model, monkeypatch)
    run = model.run(PROMPTS, 0, read=["prior.*", "prior/embedding"], pictures=False)
    assert counted == {"text": 2, "prior": 3, "denoiser": 0, "vae": 0}
    assert run.read("prior/embedding").shape == (3, 1, WIDTH)
    model.run(PROMPTS, 0, read="denoiser/latent", pictures=False)
    assert counted["denoiser"] == 3 and counted["vae"] == 0


@pytest.mark.parametrize(
    "site", ["prior/embedding", "denoiser.mid.res.0/out", "vae.up.0.res.0/out"]
)
def test_a_sweep_equals_full_runs_and_encodes_once(site, monkeypatch):
    model = tiny_model(scheduler="ddpm")
    sets = [[], *([Add(site, far(model, site).vector, strength)] for strength in (0.1, 0.3))]
    how = {"read": ["text/pooled", site], "batch": 4}
    apart = [model.run(PROMPTS, SEEDS, edits=edits, **how) for edits in sets]
    counted = calls(model, monkeypatch)
    together = model.sweep(PROMPTS, SEEDS, sets, **how)
    assert counted == {"text": 4, "prior": 6, "denoiser": 18, "vae": 6}
    for one, two in zip(apart, together, strict=True):
        assert (one.pictures == two.pictures).all()
        for address in one.site_values:
            assert np.array_equal(one.read(address), two.read(address))


def test_a_sweep_of_edits_in_the_text_encoder_runs_it_for_each(model, monkeypatch):
    sets = [[], [far(model, "text.blocks.0/mlp")]]
    apart = [model.run("a cat", 0, edits=edits) for edits in sets]
    counted = calls(model, monkeypatch)
    together = model.sweep("a cat", 0, sets)
    assert counted["text"] == 4
    assert all((a.pictures == b.pictures).all() for a, b in zip(apart, together, strict=True))


def test_strengths_differ_by_sample_across_batches(model):
    direction = far(model, "prior/embedding").vector
    each = Add("prior/embedding", direction, [0.0, 0.1, 0.2, 0.0, 0.1, 0.2])
    run = model.run("a cat", range(6), edits=[each], batch=4)
    alone = model.run("a cat", [2], edits=[each.times(0.2)])
    plain = model.run("a cat", [3])
    assert np.abs(run.pictures[2].astype(int) - alone.pictures[0]).max() <= 1
    assert np.abs(run.pictures[3].astype(int) - plain.pictures[0]).max() <= 1


def test_an_edit_at_one_step_is_made_there_only(model):
    site = "denoiser.mid.res.0/out"
    edit = Add(f"{site}@1", np.ones(24))
    plain, edited = model.sweep("a cat", 0, [[], [edit]], read=site)
    gap = (edited.read(site) - plain.read(site)).values[0]
    assert np.allclose(gap[0], 0) and np.allclose(gap[1], 1, atol=1e-5)
    assert not np.allclose(gap[2], 1, atol=1e-2)


def test_units_and_steps_can_be_picked(model):
    read = ["text.blocks.0/mlp[3,11]", "denoiser.mid.res.0/out[2]@1"]
    run = model.run("a cat", 0, read=read)
    whole = model.run("a cat", 0, read=["text.blocks.0/mlp", "denoiser.mid.res.0/out"])
    picked = run.read("text.blocks.0/mlp")
    assert picked.unit.values.tolist() == [3, 11]
    assert picked.equals(whole.read("text.blocks.0/mlp").sel(unit=[3, 11]))
    step = run.read("denoiser.mid.res.0/out")
    assert step.step.values.tolist() == [1]
    assert step.equals(whole.read("denoiser.mid.res.0/out").sel(unit=[2], step=[1]))


def test_a_planted_direction_moves_its_site_by_exactly_that_much(model):
    generator = np.random.default_rng(0)
    for site in ("text.blocks.0/resid", "prior.blocks.0/resid", "denoiser.down.0.res.0/out"):
        direction = generator.normal(size=model.sites[site].shape[1])
        edit = Add(site, direction, strength=1.5, scale=0.4)
        plain, moved = model.sweep("a cat", 0, [[], [edit]], read=f"{site}@0", pool="none")
        gap = moved.read(site).values - plain.read(site).values
        assert np.allclose(gap, 0.6 * direction, atol=1e-4)


def test_an_empty_prompt_is_refused(model):
    for prompt in ("", "  ", []):
        with pytest.raises(PromptError):
            model.run(prompt)


def test_a_prompt_beyond_the_window_is_refused_with_what_would_be_cut(model):
    fits = " ".join(["cat"] * (WINDOW - 2))
    model.check_prompt(fits)
    with pytest.raises(PromptError, match=r"16 tokens and the text window holds 14.*'dog cat'"):
        model.run(fits + " dog cat")
    with pytest.raises(PromptError):
        model.run("a cat", negative=fits + " dog cat")
    assert model.tokenize("a cat") == ["a", "cat"]


def test_progress_is_told(model):
    reports = []
    model.sweep("a cat", range(3), [[], []], batch=2, progress=lambda *step: reports.append(step))
    assert reports == [("drawing", done, 6) for done in (2, 4, 5, 6)]


def test_the_pipelines_own_progress_bars_come_back():
    model = tiny_model(seed=1)
    model.pipeline.prior_pipe.set_progress_bar_config(desc="mine")
    model.run("a cat", 0)
    assert model.pipeline.prior_pipe._progress_bar_config == {"desc": "mine"}


def test_what_was_read_is_asked_for_by_address_unit_and_step():
    model = tiny_model()
    read = ["prior/embedding", "text.blocks.0/mlp[3,11]"]
    run = model.run("a cat", 0, read=read, pictures=False)
    assert model.sites.get("nope") is None
    assert run.read("prior/embedding[0:2]").sizes["unit"] == 2
    one = run.read("text.blocks.0/mlp[11]")
    assert one.sizes["unit"] == 1
    assert (one.to_numpy() == run.read("text.blocks.0/mlp").to_numpy()[..., 1:]).all()
    with pytest.raises(SiteError, match=r"unit 5 of text\.blocks\.0/mlp was not read"):
        run.read("text.blocks.0/mlp[5]")


def test_an_edit_at_a_pattern_is_refused():
    model = tiny_model()
    with pytest.raises(SiteError, match="is not one address; write 'prior/embedding'"):
        model.run("a cat", 0, edits=[Add("prior/emb*", torch.ones(32))])
