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


def replace_layers(network, quantized):
    for path, layer in list(network.named_modules()):
        if isinstance(layer, torch.nn.Linear) and layer.in_features % 16 == 0:
            new = quantized(layer)
            new.bias = layer.bias
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, new.to("cpu").eval())


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
    "change", [torchao_int8, bitsandbytes_int8, bitsandbytes_nf4, offloaded_by_group]
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
        again = pickle.loads(pickle.dumps(model))
        assert np.array_equal(again.run(PROMPTS, 5).pictures, expected)
    assert doctor(model, progress=False).ok


@pytest.mark.filterwarnings("ignore")
def test_attention_and_autoencoder_in_slices():
    pipeline = built(stable_diffusion)
    pipeline.enable_attention_slicing()
    pipeline.vae.enable_slicing()
    model = small_model(pipeline)
    expected = bare(model, PROMPTS, 5)
    assert np.array_equal(model.run(PROMPTS, 5, read="*").pictures, expected)
    assert doctor(model, progress=False).ok
