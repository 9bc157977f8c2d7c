"""The same prompt and seed give the same picture with every scheduler of diffusers, or an error.

Each scheduler is tried in a pipeline that passes generators to it and in one that does not.
"""

import math
import sys
import types

import diffusers
import numpy as np
import pytest
import torch
from families import built, small_model, stable_diffusion, stable_diffusion_3
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare
from odd import odd_pipeline
from tiny import tiny_pipeline

from clerestory.errors import ModelError
from clerestory.models import wrap

pytestmark = [
    *DIFFUSERS_WARNINGS,
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
    # Stable Diffusion 3 does not scale its latents.
    pytest.mark.filterwarnings("ignore:The `scale_model_input`:UserWarning"),
]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
DIFFUSION = {
    "CMStochasticIterativeScheduler": {},
    "CosineDPMSolverMultistepScheduler": {},
    "DDIMParallelScheduler": BETAS,
    "DDIMScheduler": BETAS,
    "DDPMParallelScheduler": BETAS,
    "DDPMScheduler": BETAS,
    "DEISMultistepScheduler": BETAS,
    "DPMSolverMultistepScheduler": {**BETAS, "algorithm_type": "sde-dpmsolver++"},
    "DPMSolverSDEScheduler": BETAS,
    "DPMSolverSinglestepScheduler": {**BETAS, "algorithm_type": "sde-dpmsolver++"},
    "EDMDPMSolverMultistepScheduler": {"algorithm_type": "sde-dpmsolver++"},
    "EDMEulerScheduler": {},
    "EulerAncestralDiscreteScheduler": BETAS,
    "EulerDiscreteScheduler": BETAS,
    "HeunDiscreteScheduler": BETAS,
    "IPNDMScheduler": {},
    "KDPM2AncestralDiscreteScheduler": BETAS,
    "KDPM2DiscreteScheduler": BETAS,
    "LCMScheduler": BETAS,
    "LMSDiscreteScheduler": BETAS,
    "PNDMScheduler": {**BETAS, "skip_prk_steps": True},
    "SASolverScheduler": BETAS,
    "TCDScheduler": BETAS,
    "UniPCMultistepScheduler": BETAS,
}
FLOW = {
    "FlowMatchEulerDiscreteScheduler": {"stochastic_sampling": True},
    "FlowMatchHeunDiscreteScheduler": {},
    "FlowMatchLCMScheduler": {},
}
UNUSED = {
    # Of other data than pictures, or with other arguments of `step`.
    "AmusedScheduler",
    "BlockRefinementScheduler",
    "CogVideoXDDIMScheduler",
    "CogVideoXDPMScheduler",
    "DiscreteDDIMScheduler",
    "EntropyBoundScheduler",
    "HeliosDMDScheduler",
    "HeliosScheduler",
    "KarrasVeScheduler",
    "LTXEulerAncestralRFScheduler",
    "MiniMaxH3Scheduler",
    "PiflowScheduler",
    "RFD4ProteinaScheduler",
    "RePaintScheduler",
    "SCMScheduler",
    "ScoreSdeVeScheduler",
    "ScoreSdeVpScheduler",
    "VQDiffusionScheduler",
    "ConsistencyDecoderScheduler",
    "DDPMWuerstchenScheduler",
    "FlowMapEulerDiscreteScheduler",
    # Add noise rather than remove it.
    "DDIMInverseScheduler",
    "DPMSolverMultistepInverseScheduler",
    # Of priors: the family with one is tested with it.
    "UnCLIPScheduler",
}


class BrownianInterval:
    """What DPMSolverSDE takes of torchsde: increments that the entropy determines."""

    def __init__(self, t0, t1, size, dtype, device, entropy, **_):
        self.size, self.entropy = size, entropy

    def __call__(self, start, end):
        key = hash((self.entropy, float(start), float(end))) % 2**63
        drawn = torch.randn(self.size, generator=torch.Generator().manual_seed(key))
        return drawn * math.sqrt(abs(float(end) - float(start)))


@pytest.fixture(scope="module", autouse=True)
def schedulers():
    """Every scheduler by name, with a stand-in for torchsde where that is not installed."""
    torchsde, patch = types.ModuleType("torchsde"), pytest.MonkeyPatch()
    torchsde.BrownianInterval = BrownianInterval
    patch.setitem(sys.modules, "torchsde", torchsde)
    from diffusers.schedulers import scheduling_cosine_dpmsolver_multistep as cosine
    from diffusers.schedulers import scheduling_dpmsolver_sde as sde

    patched = {"DPMSolverSDEScheduler": sde.DPMSolverSDEScheduler}
    patched["CosineDPMSolverMultistepScheduler"] = cosine.CosineDPMSolverMultistepScheduler

    def make(name):
        kind = patched.get(name) or getattr(diffusers.schedulers, name)
        return kind(**{**DIFFUSION, **FLOW}[name])

    yield make
    patch.undo()


@pytest.fixture(scope="module")
def models():
    """Pipelines that do and do not pass generators to their schedulers."""
    return {
        "passed": small_model(built(stable_diffusion)),
        "kept": small_model(built(stable_diffusion_3, third=False)),
    }


def check_any_batch(model, **options):
    """A sample is the same again and in a batch of two; returns its picture, drawn alone."""
    both = model.run(["a cat", "a dog"], 5, **options).pictures
    torch.manual_seed(0)
    again = model.run(["a cat", "a dog"], 5, **options).pictures
    alone = model.run("a dog", 5, **options).pictures
    assert np.array_equal(both, again)
    assert np.abs(both[1].astype(int) - alone[0]).max() <= 1
    return alone


def test_every_scheduler_of_diffusers_is_tried():
    names = {
        name
        for name in dir(diffusers.schedulers)
        if name.endswith("Scheduler") and isinstance(getattr(diffusers.schedulers, name), type)
    }
    assert names <= {*DIFFUSION, *FLOW, *UNUSED}


@pytest.mark.parametrize("name", [*DIFFUSION, *FLOW])
@pytest.mark.parametrize("generators", ["passed", "kept"])
def test_a_sample_is_the_same_again_and_in_any_batch(name, generators, schedulers, models):
    if generators == "passed" and name in FLOW:
        pytest.skip("Stable Diffusion does not draw with flow matching.")
    model = models[generators]
    model.pipeline.scheduler = schedulers(name)
    steps = 6 if name == "PNDMScheduler" else 2
    options = {"steps": steps, "guidance": 1.0}
    alone = check_any_batch(model, **options)
    other = model.run("a dog", 6, **options).pictures
    assert not np.array_equal(alone, other)


def test_noise_that_is_not_passed_is_as_where_it_is(schedulers, models):
    """The sample's own generator goes on in the scheduler, as diffusers does where it passes it."""
    model = models["kept"]
    model.pipeline.scheduler = schedulers("FlowMatchLCMScheduler")
    step, generator = model.pipeline.scheduler.step, torch.Generator().manual_seed(5)
    run = model.run("a cat", 5).pictures
    assert "step" not in vars(model.pipeline.scheduler)
    model.pipeline.scheduler.step = lambda *args, **kwargs: step(
        *args, generator=[generator], **kwargs
    )
    assert np.array_equal(run, bare(model, ["a cat"], generators=[generator]))


def test_the_brownian_tree_of_a_sample_is_of_its_seed(schedulers, models):
    model = models["passed"]
    scheduler = model.pipeline.scheduler = schedulers("DPMSolverSDEScheduler")
    run = model.run("a cat", 5).pictures
    assert scheduler.noise_sampler_seed is None
    scheduler.noise_sampler_seed = [5]
    assert np.array_equal(run, bare(model, ["a cat"], 5))


class Careless(diffusers.DDIMScheduler):
    """Draws what cannot be assigned to samples."""

    def step(self, *args, **kwargs):
        torch.randperm(4)
        return super().step(*args, **kwargs)


class Forgetful(diffusers.DDIMScheduler):
    """Adds noise of no generator."""

    def step(self, model_output, timestep, sample, return_dict=False):
        noisy = sample + 0.5 * torch.randn_like(sample)
        return super().step(model_output, timestep, noisy, return_dict=return_dict)


class ForgetfulPrior(diffusers.UnCLIPScheduler):
    """The same for priors."""

    def step(self, model_output, *args, **kwargs):
        return super().step(model_output + torch.randn_like(model_output), *args, **kwargs)


def test_the_prior_too_draws_from_the_seed_alone():
    pipeline = tiny_pipeline()
    config = pipeline.prior_scheduler.config
    pipeline.prior_pipe.scheduler = ForgetfulPrior.from_config(config)
    model, site = small_model(pipeline), "prior/embedding"
    both, again, alone = (
        model.run(prompts, 5, negative="dog", read=site, pictures=False).read(site)
        for prompts in (["a cat", "a dog"], ["a cat", "a dog"], "a dog")
    )
    assert np.array_equal(both, again)
    assert np.allclose(both[1], alone[0], atol=1e-4)
    assert not np.allclose(both[0], both[1], atol=1e-2)


def test_a_scheduler_whose_noise_belongs_to_no_sample_is_refused_by_name(models):
    model = models["passed"]
    model.pipeline.scheduler = Careless(**BETAS)
    with pytest.raises(ModelError, match=r"Careless draws random numbers \(randperm\)"):
        model.run("a cat", 0)
    # Where rows are samples, each has noise of its own.
    model.pipeline.scheduler = Forgetful(**BETAS)
    check_any_batch(model)


def test_a_pipeline_of_no_known_family_draws_from_the_seed_alone():
    class Unseeded(type(odd_pipeline())):
        def __call__(self, prompt, num_inference_steps=3):
            # Its noise comes from torch's global generator.
            return super().__call__(prompt, num_inference_steps)

    pipeline = odd_pipeline(stochastic_sampling=True)
    for kind in (type(pipeline), Unseeded):
        model = wrap(kind(**pipeline.components))
        first, again, other = (model.run("cat", seed, steps=3).pictures for seed in (1, 1, 2))
        assert np.array_equal(first, again), kind
        assert not np.array_equal(first, other), kind


SCALED = [
    "DPMSolverSDEScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
]


@pytest.mark.parametrize("name", SCALED)
def test_sigma_is_that_by_which_the_scheduler_scaled_the_latent(name, schedulers, models):
    model = models["passed"]
    scheduler = model.pipeline.scheduler = schedulers(name)
    scale, used = scheduler.scale_model_input, []

    def scaled(sample, timestep):
        result = scale(sample, timestep)
        # Of the run, not of a question about its state.
        if sample.ndim == 4:
            ratio = float((sample.double().norm() / result.double().norm()) ** 2)
            used.append(math.sqrt(max(ratio - 1, 0.0)))
        return result

    scheduler.scale_model_input = scaled
    run = model.run("a cat", 0, read="denoiser/latent", steps=4)
    sigma = run.read("denoiser/latent").sigma.to_numpy()
    assert len(sigma) == len(used)
    # Beside 1, a small sigma is lost in float32.
    assert np.allclose(sigma, used, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    "name", [name for name, settings in DIFFUSION.items() if "beta_start" in settings]
)
def test_sigma_is_that_of_the_timestep_which_the_denoiser_was_given(name, schedulers, models):
    model = models["passed"]
    scheduler = model.pipeline.scheduler = schedulers(name)
    given = []
    handle = model.pipeline.unet.register_forward_pre_hook(
        lambda module, args: given.append(float(args[1]))
    )
    run = model.run("a cat", 0, read="denoiser/latent", steps=6)
    handle.remove()
    signal = scheduler.alphas_cumprod.double().numpy()
    every = np.log(np.sqrt((1 - signal) / signal))
    expected = np.exp(np.interp(given, np.arange(1000), every))
    assert np.allclose(run.read("denoiser/latent").timestep, given, rtol=1e-3)
    assert np.allclose(run.read("denoiser/latent").sigma, expected, rtol=0.05)


@pytest.mark.parametrize("name", FLOW)
def test_sigma_of_flow_matching_is_the_fraction_of_noise(name, schedulers, models):
    model = models["kept"]
    model.pipeline.scheduler = schedulers(name)
    run = model.run("a cat", 0, read="denoiser/latent", steps=4).read("denoiser/latent")
    assert np.allclose(run.sigma, run.timestep / 1000, atol=1e-5)


def test_a_scheduler_that_was_swapped_in_the_decoder_labels_its_own_steps():
    pipeline = tiny_pipeline()
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS)
    pipeline.decoder_pipe.scheduler = scheduler
    read = small_model(pipeline).run("a cat", 0, read="denoiser/latent").read("denoiser/latent")
    assert read.timestep.values.tolist() == scheduler.timesteps.tolist()
    assert np.allclose(read.sigma, scheduler.sigmas[:-1])
