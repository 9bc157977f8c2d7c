"""Weights of few bits, weights moved group by group, attention in slices: values all the same."""

import copy
import pickle

import numpy as np
import pytest
import torch
from contract import far
from families import built, small_model, stable_diffusion, stable_diffusion_3
from helpers.bare_pipelines import bare, collect_outputs

from clerestory import doctor
from clerestory.errors import ModelError
from clerestory.models.core.pipeline_digests import pipeline_state, weights_digest

PROMPTS = ["a cat", "a dog by me"]


def torchao_int8(pipeline):
    quantization = pytest.importorskip("torchao.quantization")
    quantization.quantize_(pipeline.transformer, quantization.Int8WeightOnlyConfig())


def bitsandbytes_int8(pipeline):
    nn = pytest.importorskip("bitsandbytes").nn

    def quantized(layer):
        sizes = (layer.in_features, layer.out_features, layer.bias is not None)
        new = nn.Linear8bitLt(*sizes, has_fp16_weights=False)
        new.weight = nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
        return new

    replace_layers(pipeline.transformer, quantized)


def bitsandbytes_nf4(pipeline):
    nn = pytest.importorskip("bitsandbytes").nn

    def quantized(layer):
        sizes = (layer.in_features, layer.out_features, layer.bias is not None)
        new = nn.Linear4bit(*sizes, quant_type="nf4")
        new.weight = nn.Params4bit(layer.weight.data, quant_type="nf4")
        return new

    replace_layers(pipeline.transformer, quantized)


def replace_layers(network, quantized, multiple=16):
    for path, layer in list(network.named_modules()):
        if isinstance(layer, torch.nn.Linear) and layer.in_features % multiple == 0:
            new = quantized(layer)
            new.bias = layer.bias
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, new.to("cpu").eval())


def quanto_int8(pipeline):
    quanto = pytest.importorskip("optimum.quanto")
    quanto.quantize(pipeline.transformer, weights=quanto.qint8)
    quanto.freeze(pipeline.transformer)


def gguf_q8(pipeline):
    gguf = pytest.importorskip("gguf")
    from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter

    kind = gguf.GGMLQuantizationType.Q8_0

    def quantized(layer):
        sizes = (layer.in_features, layer.out_features, layer.bias is not None)
        new = GGUFLinear(*sizes, compute_dtype=torch.float32)
        packed = gguf.quants.quantize(layer.weight.detach().numpy(), kind)
        new.weight = GGUFParameter(torch.from_numpy(packed), quant_type=kind)
        return new

    replace_layers(pipeline.transformer, quantized, multiple=32)


def offloaded_by_group(pipeline):
    from diffusers.hooks import apply_group_offloading

    device = torch.device("cpu")
    apply_group_offloading(
        pipeline.transformer,
        onload_device=device,
        offload_device=device,
        offload_type="leaf_level",
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "change",
    [
        torchao_int8,
        bitsandbytes_int8,
        bitsandbytes_nf4,
        quanto_int8,
        gguf_q8,
        offloaded_by_group,
    ],
)
def test_values_are_those_of_a_plain_hook_and_the_picture_stays(change):
    plain = built(stable_diffusion_3)
    before = weights_digest(plain), pipeline_state(plain)
    pipeline = copy.deepcopy(plain)
    change(pipeline)
    model = small_model(pipeline)
    site = "denoiser.blocks.0.image/mlp"
    with collect_outputs(model.sites[site].module) as outputs:
        expected = bare(model, PROMPTS, 5)
    run = model.run(PROMPTS, 5, read="*", pool="none")
    assert np.array_equal(run.pictures, expected)
    # The conditional rows of the first step follow the others.
    assert np.array_equal(run.read(site).values[:, 0], outputs[0][2:].detach())
    assert not np.array_equal(model.run(PROMPTS, 5, edits=[far(model, site)]).pictures, expected)
    if change is not offloaded_by_group:
        assert weights_digest(pipeline) != before[0] and pipeline_state(pipeline) != before[1]
    if change not in (offloaded_by_group, gguf_q8):
        again = pickle.loads(pickle.dumps(model))
        assert np.array_equal(again.run(PROMPTS, 5).pictures, expected)
    assert doctor(model, progress=False).ok


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_stored_in_eight_bits_are_read_as_they_are_computed_with():
    plain = built(stable_diffusion_3)
    pipeline = copy.deepcopy(plain)
    pipeline.transformer.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
    model = small_model(pipeline)
    site = "denoiser.blocks.0.image/mlp"
    with collect_outputs(model.sites[site].module) as outputs:
        expected = bare(model, PROMPTS, 5)
    run = model.run(PROMPTS, 5, read="*", pool="none")
    assert np.array_equal(run.pictures, expected)
    assert np.array_equal(run.read(site).values[:, 0], outputs[0][2:].detach())
    assert not np.array_equal(expected, bare(small_model(plain), PROMPTS, 5))
    # Rounded weights keep their signs, and have other bits.
    assert weights_digest(pipeline) == weights_digest(plain)
    assert pipeline_state(pipeline) != pipeline_state(plain)


def test_bytes_of_packed_weights_tell_models_apart():
    pipelines = [built(stable_diffusion) for _ in range(2)]
    for number, pipeline in enumerate(pipelines):
        generator = torch.Generator().manual_seed(number)
        packed = torch.randint(0, 256, (16, 64), dtype=torch.uint8, generator=generator)
        pipeline.unet.register_parameter("packed", torch.nn.Parameter(packed, requires_grad=False))
    first, second = map(weights_digest, pipelines)
    assert first != second


def offloaded_by_module(pipeline):
    """As diffusers' `enable_sequential_cpu_offload` does it where there is an accelerator."""
    from accelerate import cpu_offload

    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            cpu_offload(part, torch.device("cpu"), offload_buffers=len(part._parameters) > 0)


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_moved_module_by_module():
    model = small_model(built(stable_diffusion))
    expected = bare(model, PROMPTS, 5)
    sites = ["text/tokens", "denoiser.mid.res.0/out"]
    gradients = differentiated(model, sites)
    offloaded_by_module(model.pipeline)
    run = model.run(PROMPTS, 5, read="*")
    assert np.array_equal(run.pictures, expected)
    assert np.array_equal(bare(model, PROMPTS, 5), expected)
    for moved, expected in zip(differentiated(model, sites), gradients, strict=True):
        assert np.abs(expected).max() > 0
        assert np.allclose(moved, expected, atol=1e-6)


def differentiated(model, sites):
    found = model.gradients(
        lambda values: values["pictures"].sum((1, 2, 3)),
        sites,
        PROMPTS,
        5,
        read="pictures",
        progress=False,
    )
    return [found.read(site)["gradient"].to_numpy() for site in sites]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", [offloaded_by_module, offloaded_by_group, gguf_q8])
def test_a_pipeline_that_belongs_to_its_process_is_refused_where_it_is_pickled(change):
    pipeline = built(stable_diffusion_3)
    change(pipeline)
    with pytest.raises(ModelError, match="cannot be pickled as it is"):
        pickle.dumps(small_model(pipeline))


@pytest.mark.filterwarnings("ignore")
def test_attention_and_autoencoder_in_slices():
    pipeline = built(stable_diffusion)
    pipeline.enable_attention_slicing()
    pipeline.vae.enable_slicing()
    model = small_model(pipeline)
    expected = bare(model, PROMPTS, 5)
    assert np.array_equal(model.run(PROMPTS, 5, read="*").pictures, expected)
    assert doctor(model, progress=False).ok
