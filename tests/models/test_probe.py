"""What is learned of an unknown pipeline by watching is what is known of the families we know."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from contract import hooks_on
from families import FAMILIES, SIDE, built, kandinsky_3, karlo, stable_diffusion
from helpers.bare_pipelines import collect_outputs, to_bytes
from odd import CHANNELS, OddPipeline, odd_pipeline

from clerestory.edits import Add
from clerestory.errors import SiteError
from clerestory.models import wrap
from clerestory.models.families.generic import GenericFamily
from clerestory.models.model import Model

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SMALL = {"height": SIDE, "width": SIDE, "steps": 3, "guidance": 3.0}
PRIOR = {"prior_steps": 3, "prior_guidance": 1.5}
FLUX_NEGATIVE = {"negative": "a dog", "true_guidance": 2.0}


def as_unknown(pipeline):
    """A model of a pipeline as if its family were not known."""
    return Model("unknown", GenericFamily(pipeline))


class SeparateCalls(OddPipeline):
    """Calls its network twice in each step, with the prompt first."""

    @torch.no_grad()
    def __call__(self, prompt, num_inference_steps=3, generator=None, guided_steps=99, rows=1):
        states = [self.text_encoder(torch.tensor(list(text.encode()))) for text in (prompt, "-")]
        latent = torch.randn(CHANNELS, 4, 4, generator=generator)
        self.scheduler.set_timesteps(num_inference_steps)
        for index, timestep in enumerate(self.scheduler.timesteps):
            if self.perturbed:
                states[2:] = states[:1]
            guided = states if index < self.guided_steps else states[:1]
            if self.perturbed:
                predictions = self.transformer([latent] * 3, cap_feats=guided)[0]
            else:
                predictions = [
                    self.transformer([latent], cap_feats=[each])[0][0] for each in guided
                ]
            latent = self.scheduler.step(sum(predictions), timestep, latent, return_dict=False)[0]
        return (latent.sigmoid().permute(1, 2, 0)[None].numpy(),)

    guided_steps, perturbed = 99, False


def separate_calls(**attributes):
    pipeline = odd_pipeline()
    # What was learned of a class serves for others of its name.
    name = "_".join(["SeparateCalls", *attributes])
    pipeline.__class__ = type(name, (SeparateCalls,), attributes)
    return pipeline


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("branch", ["cond", "uncond"])
@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - {"pixart", "hunyuan_dit"}))
def test_probing_finds_the_branches_steps_and_noise_levels_of_a_known_family(name, branch):
    pipeline = built(FAMILIES[name])
    native, learned = wrap(pipeline), as_unknown(pipeline)
    # PixArt and HunyuanDiT are left out: as they come they draw sizes of their training only.
    options = SMALL | {"progress": False} | (FLUX_NEGATIVE if name == "flux" else {})
    if "prior_steps" in native.family.option_names:
        options |= PRIOR
    if name == "unclip":
        options |= {"guidance": 1.0}
    # Sites of both that are the same value of the same module; the last block of each network.
    paths = {}
    for model in (native, learned):
        for address, hook in model.family.hooks_by_address.items():
            plain = not hook.is_input and hook.output_index == 0 and hook.channels is None
            if plain and "." in hook.site.path and model.sites[address]:
                paths.setdefault(hook.site.path, []).append(address)
    pairs = [pair for pair in paths.values() if len(pair) == 2]
    stages = ("denoiser", "prior") if branch == "uncond" else ("text", "denoiser", "prior", "vae")
    chosen = {native.sites[pair[0]].stage: pair for pair in pairs if pair[0].startswith(stages)}
    assert "denoiser" in chosen
    for stage, (ours, theirs) in chosen.items():
        if name == "unclip" and branch == "uncond" and stage == "denoiser":
            continue
        # Bria pads no prompt, and which positions match is not known of an unknown pipeline.
        prompts = ["a cat", "a cat" if name == "bria" else "a dog by me"]
        both = {"pool": "none", "branch": branch, "seeds": 3, **options}
        expected = native.run(prompts, read=ours, **both).read(ours)
        found = learned.run(prompts, read=theirs, **both).read(theirs)
        assert np.allclose(found, expected, atol=2e-4), stage
        for label in ("timestep", "sigma"):
            if label in expected.coords and stage != "prior":
                assert np.allclose(found[label], expected[label]), (stage, label)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_karlo_is_drawn_in_batches_read_everywhere_and_stopped_early():
    pipeline = built(karlo)
    model = as_unknown(pipeline)
    before = hooks_on(pipeline)
    options = {"steps": 2, "prior_steps": 2, "guidance": 3.0, "prior_guidance": 2.0}
    assert [stage for stage in model.family.stages if stage in ("text", "prior", "denoiser")] == (
        ["text", "prior", "denoiser"]
    )
    assert hooks_on(pipeline) == before and not model.sites.match("*")[0].idle
    seen = []
    handle = pipeline.prior.transformer_blocks[0].register_forward_hook(
        lambda module, args, output: seen.append(output.detach())
    )
    prompts = ["a cat", "a dog by me"]
    together = model.run(prompts, 3, read="prior*", **options)
    handle.remove()
    # Two samples in one batch: rows without the prompt first, as diffusers has them.
    assert [len(rows) for rows in seen] == [4, 4]
    site = "prior.transformer_blocks.0/out"
    for branch, rows in (("uncond", slice(0, 2)), ("cond", slice(2, 4))):
        read = model.run(prompts, 3, read=site, pool="none", branch=branch, **options).read(site)
        assert np.allclose(read[:, 0], seen[0][rows], atol=1e-5)
    alone = model.run(prompts, 3, batch=1, **options)
    assert np.abs(alone.pictures.astype(int) - together.pictures).max() <= 1
    assert len(model.run("a cat", 3, read="*", **options).activations.groups) > 300
    assert model.run(prompts, 3, read="text*", pictures=False, **options).pictures is None
    # Its positions are mixed of all tokens, so that a sample is drawn alone where it is read.
    mixed = "text_proj.embedding_proj/out"
    drawn = model.options(**options)
    assert model.family.batch_limit([site], drawn) is None
    assert model.family.batch_limit([mixed], drawn) == 1
    # One row of positions serves all samples.
    (shared,) = (site for site in model.sites if site.endswith("position_embedding/out"))
    assert model.family.batch_limit([shared], drawn) == 1
    # Each mode of guidance is probed by itself.
    assert model.family.batch_limit([site], drawn.replace(guidance=1.0)) == 1
    model.run(prompts, 3, read=site, **{**options, "guidance": 1.0})
    assert model.family.batch_limit([site], drawn.replace(guidance=1.0)) is None


def test_kandinsky_3_is_drawn_alone_and_its_empty_prompt_is_cut_as_the_prompt_is():
    pipeline = built(kandinsky_3)
    model, site = wrap(pipeline), "denoiser/prediction"
    options = {"height": 64, "width": 64, "steps": 2, "guidance": 3.0}
    with collect_outputs(pipeline.unet) as outputs:
        pictures = pipeline(
            "a cat",
            height=64,
            width=64,
            num_inference_steps=2,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(3),
            output_type="np",
        ).images
    assert model.family.stages == ("text", "denoiser", "vae")
    for row, branch in enumerate(("uncond", "cond")):
        run = model.run(
            ["a cat", "a dog by me"], 3, read=site, branch=branch, pool="none", **options
        )
        expected = torch.stack([each[0][row] for each in outputs]).flatten(2).transpose(1, 2)
        assert np.array_equal(run.read(site).values[0], expected.numpy())
        assert np.array_equal(run.pictures[:1], to_bytes(pictures))
    assert model.family.batch_limit([site], model.options(**options)) == 1


@pytest.mark.parametrize("make", [odd_pipeline, separate_calls])
def test_rows_and_calls_of_lists_are_told_apart(make):
    pipeline, seen = make(), []
    model = wrap(pipeline)
    assert model.sites["denoiser.unused/out"].idle and "denoiser.unused/out" not in (
        site.address for site in model.sites.match("*")
    )
    handle = pipeline.transformer.register_forward_hook(
        lambda module, args, output: seen.extend(output[0])
    )
    model.run("cat", 3, steps=3, pictures=True)
    handle.remove()
    for place, branch in enumerate(("cond", "uncond")):
        for site in ("denoiser/prediction", "denoiser/condition"):
            read = model.run("cat", 3, steps=3, read=site, pool="none", branch=branch).read(site)
            assert read.step.values.tolist() == [0, 1, 2]
            if site == "denoiser/condition":
                assert read.sizes["position"] == (3, 1)[place]
            else:
                rows = torch.stack(seen[place::2]).flatten(2).transpose(1, 2)
                assert np.allclose(read[0], rows, atol=1e-6)
    # An edit of the conditional branch leaves the other's rows as they are.
    site, vector = "denoiser/prediction", np.linspace(1, 2, CHANNELS, dtype=np.float32)
    for branch, moved in (("cond", vector), ("uncond", 0 * vector)):
        plain, edited = (
            model.run("cat", 3, steps=1, read=site, branch=branch, edits=edits).read(site)
            for edits in ([], [Add(site, vector)])
        )
        assert np.allclose(edited - plain, moved, atol=1e-5)


def test_guidance_that_ends_on_the_way_is_an_error_rather_than_a_wrong_branch():
    model = wrap(separate_calls(guided_steps=2))
    assert model.run("cat", 3, steps=2, read="denoiser/prediction")
    with pytest.raises(SiteError, match=r"more or less often than in a short run.*probe=False"):
        model.run("cat", 3, steps=4, read="denoiser/prediction")
    assert model.run("cat", 3, steps=4).pictures is not None


def test_prompts_of_different_lengths_that_are_not_padded_are_pooled_or_refused():
    model = as_unknown(built(FAMILIES["bria"]))
    site = next(address for address in model.sites if address.startswith("text"))
    how = {"read": site, "pictures": False, **SMALL}
    prompts = ["a cat", "a dog by me"]
    run = model.run(prompts, 3, pool="none", **how)
    with pytest.raises(SiteError, match=r"Samples have .* positions at .*: pool them"):
        run.read(site)
    assert model.run(prompts, 3, pool="mean", **how).read(site).sizes["sample"] == 2


def test_rows_that_cannot_be_told_apart_are_said_and_stay_mixed():
    model = wrap(separate_calls(perturbed=True))
    assert model.sites and "Branches cannot be told apart in denoiser." in model.description
    read = model.run("cat", 3, steps=2, read="denoiser/prediction", pool="none")
    assert read.read("denoiser/prediction").sizes["position"] == 3 * 16


def test_without_a_short_run_nothing_is_claimed_of_branches():
    pipeline = odd_pipeline()
    model = wrap(pipeline, probe=False)
    assert "branches of guidance are not told apart" in model.description
    assert not any(site.idle for site in model.sites.values())
    with pytest.raises(SiteError, match="uncond"):
        model.run("cat", 3, read="denoiser/prediction", branch="uncond")


def test_a_short_run_that_fails_is_said_with_its_reason():
    class Failing(OddPipeline):
        calls = 0

        def __call__(self, prompt, generator=None, num_inference_steps=3):
            if num_inference_steps == 2:
                raise ValueError("two steps are too few")
            return super().__call__(prompt, num_inference_steps, generator)

    pipeline = odd_pipeline()
    pipeline.__class__ = Failing
    model = wrap(pipeline)
    run = model.run("cat", 3, read="denoiser/prediction", steps=3)
    assert run.read("denoiser/prediction").sizes["step"] == 3
    assert "a short run of it failed (ValueError: two steps are too few)" in model.description


def test_plain_drawing_needs_no_short_run(monkeypatch):
    pipeline = built(stable_diffusion)
    model = as_unknown(pipeline)
    monkeypatch.setattr("clerestory.models.families.generic.Observer", None)
    assert model.run("a cat", 3, **SMALL).pictures is not None
