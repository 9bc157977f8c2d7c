"""What other libraries write is read with their own forward pass, written out here in numpy."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from commands import call
from safetensors.torch import save_file

from clerestory.cli.main import app
from clerestory.dictionaries import Dictionary
from clerestory.dictionaries.kinds.batchtopk import BatchTopK
from clerestory.dictionaries.kinds.jumprelu import JumpReLU
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.dictionaries.kinds.topk import TopK
from clerestory.dictionaries.normalization import Normalization
from clerestory.errors import DictionaryError, RegistryError

WIDTH, LATENTS, K = 6, 24, 4
RNG = np.random.default_rng(7)
X = RNG.normal(size=(5, WIDTH)).astype("f4")


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype("f4")


WEIGHTS = {
    "W_enc": numbers(WIDTH, LATENTS),
    "b_enc": numbers(LATENTS),
    "W_dec": numbers(LATENTS, WIDTH),
    "b_dec": numbers(WIDTH),
}
E, BE, D, BD = WEIGHTS.values()


def relu(values):
    return np.maximum(values, 0)


def top(values, k=K):
    """The k largest of each row, if above 0."""
    smallest = np.sort(values, axis=-1)[:, -k, None]
    return np.where(values >= smallest, relu(values), 0)


def write(folder, name, tensors, config_name="", config=None, metadata=None):
    folder.mkdir(exist_ok=True)
    tensors = {key: torch.tensor(value).contiguous() for key, value in tensors.items()}
    save_file(tensors, folder / name, metadata)
    if config is not None:
        (folder / config_name).write_text(json.dumps(config))
    return folder


def check(dictionary: Dictionary, latents, decoded, tolerance=1e-4):
    assert 0 < (latents != 0).mean() < 1
    np.testing.assert_allclose(dictionary.encode(torch.from_numpy(X)), latents, atol=tolerance)
    values = dictionary.reconstruct(torch.from_numpy(X))
    np.testing.assert_allclose(values, decoded, atol=tolerance)


def sae_lens(folder, config, **more):
    base = {"d_in": WIDTH, "d_sae": LATENTS, "normalize_activations": "none"}
    return write(
        folder, "sae_weights.safetensors", {**WEIGHTS, **more}, "cfg.json", {**base, **config}
    )


def test_sae_lens_standard_subtracts_its_bias_first(tmp_path):
    config = {"architecture": "standard", "metadata": {"hook_name": "prior/embedding"}}
    opened = Dictionary.load(sae_lens(tmp_path / "d", config))
    latents = relu((X - BD) @ E + BE)
    check(opened, latents, latents @ D + BD)
    assert (opened.kind, opened.site) == ("relu", "prior/embedding")
    without = sae_lens(tmp_path / "e", {**config, "apply_b_dec_to_input": False})
    latents = relu(X @ E + BE)
    check(Dictionary.load(without), latents, latents @ D + BD)


def test_sae_lens_ranks_by_the_length_of_directions_where_it_says_so(tmp_path):
    config = {"architecture": "topk", "k": K, "apply_b_dec_to_input": False, "metadata": {}}
    latents = top(X @ E + BE)
    check(Dictionary.load(sae_lens(tmp_path / "d", config)), latents, latents @ D + BD)
    rescaled = {**config, "rescale_acts_by_decoder_norm": True}
    length = np.linalg.norm(D, axis=1)
    latents = top((X @ E + BE) * length)
    check(Dictionary.load(sae_lens(tmp_path / "e", rescaled)), latents, latents / length @ D + BD)


def test_sae_lens_jumprelu_and_gated(tmp_path):
    threshold = np.abs(numbers(LATENTS))
    folder = sae_lens(
        tmp_path / "d",
        {"architecture": "jumprelu", "apply_b_dec_to_input": False, "metadata": {}},
        threshold=threshold,
    )
    before = X @ E + BE
    latents = relu(before) * (before > threshold)
    check(Dictionary.load(folder), latents, latents @ D + BD)
    gate, magnitude, scale = numbers(LATENTS), numbers(LATENTS), 0.3 * numbers(LATENTS)
    folder = sae_lens(
        tmp_path / "e",
        {"architecture": "gated", "metadata": {}},
        b_gate=gate,
        b_mag=magnitude,
        r_mag=scale,
    )
    inside = X - BD
    latents = (inside @ E + gate > 0) * relu(inside @ (E * np.exp(scale)) + magnitude)
    check(Dictionary.load(folder), latents, latents @ D + BD)


def test_sae_lens_of_versions_before_6_has_other_names(tmp_path):
    config = {
        "hook_point": "blocks.8.hook_resid_pre",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K},
        "normalize_activations": False,
        "model_name": "gpt2",
    }
    scale = np.abs(numbers(LATENTS))
    opened = Dictionary.load(sae_lens(tmp_path / "d", config, scaling_factor=scale))
    latents = top((X - BD) @ E + BE)
    check(opened, latents, (latents * scale) @ D + BD)
    # A hook of a language model is no address.
    assert (opened.kind, opened.site) == ("topk", "")
    assert opened.metadata["hook_name"] == "blocks.8.hook_resid_pre"


def test_sae_lens_transcoders_have_another_output(tmp_path):
    out = {"W_dec": numbers(LATENTS, 9), "b_dec": numbers(9)}
    known = {"hook_name": "a/in", "hook_name_out": "a/out"}
    config = {"architecture": "transcoder", "apply_b_dec_to_input": False, "metadata": known}
    opened = Dictionary.load(sae_lens(tmp_path / "d", {**config, "d_out": 9}, **out))
    latents = relu(X @ E + BE)
    check(opened, latents, latents @ out["W_dec"] + out["b_dec"])
    assert (opened.site, opened.output_site) == ("a/in", "a/out")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "standard", "normalize_activations": "layer_norm"}, "layer_norm"),
        ({"architecture": "temporal"}, "temporal"),
        ({"architecture": "skip_transcoder"}, "skip_transcoder"),
        ({"activation_fn_str": "tanh-relu"}, "tanh-relu"),
        ({"architecture": "topk", "k": "many"}, "whole number"),
        ({"architecture": "jumprelu"}, "threshold"),
    ],
)
def test_what_cannot_be_done_here_is_refused(tmp_path, config, message):
    with pytest.raises(DictionaryError, match=message):
        Dictionary.load(sae_lens(tmp_path / "d", config))


@pytest.mark.parametrize(("activation", "keep"), [("topk", top), ("groupmax", None)])
@pytest.mark.parametrize("transcode", [False, True])
def test_sparsify(tmp_path, activation, keep, transcode):
    config = {"activation": activation, "k": K, "transcode": transcode, "d_in": WIDTH}
    tensors = {"encoder.weight": E.T, "encoder.bias": BE, "W_dec": D, "b_dec": BD}
    folder = write(tmp_path / "unet.mid", "sae.safetensors", tensors, "cfg.json", config)
    before = relu((X - (0 if transcode else BD)) @ E + BE)
    if keep is None:
        groups = before.reshape(len(X), K, -1)
        latents = np.where(groups == groups.max(-1, keepdims=True), groups, 0).reshape(len(X), -1)
    else:
        latents = keep(before)
    opened = Dictionary.load(folder)
    check(opened, latents, latents @ D + BD)
    assert opened.output_site == ("" if transcode else None)
    assert opened.metadata["hookpoint"] == "unet.mid"


def test_sparsify_with_a_skip_is_refused(tmp_path):
    config = {"activation": "topk", "k": K, "skip_connection": True}
    tensors = {"encoder.weight": E.T, "encoder.bias": BE, "W_dec": D, "b_dec": BD}
    folder = write(tmp_path / "d", "sae.safetensors", tensors, "cfg.json", config)
    with pytest.raises(DictionaryError, match="skip connection"):
        Dictionary.load(folder)


def unbox(folder):
    state = {
        "encoder.weight": E.T,
        "latent_bias": BE,
        "decoder.weight": D.T,
        "pre_bias": BD,
        "stats_last_nonzero": np.zeros(LATENTS, int),
    }
    folder.mkdir()
    tensors = {name: torch.tensor(value) for name, value in state.items()}
    torch.save({"state_dict": tensors}, folder / "state_dict.pth")
    config = {"n_dirs_local": LATENTS, "d_model": WIDTH, "k": K, "auxk": 8}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_sdxl_unbox_is_a_pickle_that_has_to_be_allowed(tmp_path):
    folder = unbox(tmp_path / "d")
    with pytest.raises(DictionaryError, match="allow-pickles"):
        Dictionary.load(folder)
    latents = top((X - BD) @ E + BE)
    check(Dictionary.load(folder, allow_pickles=True), latents, latents @ D + BD)


def test_a_pickle_that_runs_code_is_refused_though_pickles_are_allowed(tmp_path):
    folder = unbox(tmp_path / "d")
    torch.save({"state_dict": Trap(tmp_path / "ran")}, folder / "state_dict.pth")
    with pytest.raises(DictionaryError, match="more than tensors"):
        Dictionary.load(folder, allow_pickles=True)
    assert not (tmp_path / "ran").exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk", "jumprelu", "tied"])
def test_overcomplete_normalises_its_directions(tmp_path, kind):
    tensors = {"dictionary._weights": D, "dictionary.multiplier": np.float32(0.5)}
    if kind != "tied":
        tensors |= {"encoder.final_block.0.weight": E.T, "encoder.final_block.0.bias": BE}
    directions = D / np.linalg.norm(D, axis=1, keepdims=True) * np.exp(0.5)
    before = X @ directions.T if kind == "tied" else X @ E + BE
    latents, settings = relu(before), {}
    if kind == "topk":
        latents, settings = top(before), {"top_k": K}
    if kind == "batchtopk":
        latents = np.where(before > 0.8, before, 0)
        settings = {"running_threshold": 0.8, "top_k": K}
    if kind == "jumprelu":
        tensors["thresholds"] = -np.abs(numbers(LATENTS))
        latents = np.where(before > np.exp(tensors["thresholds"]), before, 0)
    folder = write(tmp_path, "sae.safetensors", tensors)
    if settings:
        (folder / "sae.json").write_text(json.dumps(settings))
    check(Dictionary.load(folder / "sae.safetensors"), latents, latents @ directions)
    # The same as a pickled state dict.
    state = {name: torch.tensor(value) for name, value in tensors.items()}
    torch.save(state, tmp_path / "sae.pth")
    again = Dictionary.load(tmp_path / "sae.pth", allow_pickles=True)
    check(again, latents, latents @ directions)


def test_overcomplete_with_a_deeper_encoder_is_refused(tmp_path):
    tensors = {"dictionary._weights": D, "encoder.mlp_blocks.0.0.weight": E.T}
    folder = write(tmp_path, "sae.safetensors", tensors)
    with pytest.raises(DictionaryError, match="not one linear layer"):
        Dictionary.load(folder / "sae.safetensors")


def test_a_plain_file_of_encoder_decoder_and_biases(tmp_path):
    written = {"encoder": E, "encoder_bias": BE, "decoder": D, "decoder_bias": BD}
    folder = write(tmp_path, "a.safetensors", written, metadata={"site": "prior/embedding"})
    latents = relu(X @ E + BE)
    opened = Dictionary.load(folder / "a.safetensors")
    check(opened, latents, latents @ D + BD)
    assert opened.site == "prior/embedding"
    # Linear layers, with a bias before the encoder, and k in the header.
    layers = {"encoder.weight": E.T, "encoder.bias": BE, "decoder.weight": D.T, "bias": BD}
    write(tmp_path, "b.safetensors", layers, metadata={"k": str(K)})
    latents = top((X - BD) @ E + BE)
    check(Dictionary.load(tmp_path / "b.safetensors"), latents, latents @ D + BD)
    write(tmp_path, "c.safetensors", {"encoder": E, "decoder": D})
    latents = relu(X @ E)
    check(Dictionary.load(tmp_path / "c.safetensors"), latents, latents @ D)


LAYERS = {"encoder.weight": E.T, "encoder.bias": BE, "decoder.weight": D.T, "b_dec": BD}
"""As dictionary_learning calls them."""


def test_a_plain_file_has_the_kind_that_its_header_names(tmp_path):
    numbers_of = {**LAYERS, "k": np.array(K), "threshold": np.array(0.5, "f4")}
    before = (X - BD) @ E + BE
    for kind, latents in (
        ("topk", top(before)),
        ("batchtopk", relu(before) * (before > 0.5)),
        ("relu", relu(before)),
    ):
        header = {"kind": kind, "apply_b_dec_to_input": "true"}
        write(tmp_path, f"{kind}.safetensors", numbers_of, metadata=header)
        opened = Dictionary.load(tmp_path / f"{kind}.safetensors")
        assert opened.kind == kind
        check(opened, latents, latents @ D + BD)


@pytest.mark.parametrize("name", ["threshold", "thresholds"])
def test_thresholds_of_a_plain_file(tmp_path, name):
    before, one = X @ E + BE, np.linspace(0, 1, LATENTS, dtype="f4")
    write(tmp_path, "each.safetensors", {**LAYERS, name: one})
    latents = relu(before) * (before > one)
    check(Dictionary.load(tmp_path / "each.safetensors"), latents, latents @ D + BD)
    write(tmp_path, "all.safetensors", {**LAYERS, "threshold": np.array(0.5, "f4")})
    latents = relu(before) * (before > 0.5)
    check(Dictionary.load(tmp_path / "all.safetensors"), latents, latents @ D + BD)


@pytest.mark.parametrize(
    ("tensors", "header", "message"),
    [
        ({"k": np.array(K), "threshold": np.array(0.5)}, {}, "which of them decides"),
        ({"W_skip": E}, {}, "'W_skip' that no plain"),
        ({}, {"kind": "topk"}, "has the parameters"),
        ({}, {"k": "many"}, "cannot be read"),
        ({}, {"apply_b_dec_to_input": "perhaps"}, "true or false"),
    ],
)
def test_a_plain_file_that_is_not_understood_is_refused(tmp_path, tensors, header, message):
    write(tmp_path, "a.safetensors", {**LAYERS, **tensors}, metadata=header)
    with pytest.raises(DictionaryError, match=message):
        Dictionary.load(tmp_path / "a.safetensors")
    write(tmp_path, "b.safetensors", LAYERS, metadata={"kind": "topkk"})
    with pytest.raises(RegistryError, match="topk"):
        Dictionary.load(tmp_path / "b.safetensors")


def test_what_is_no_dictionary_is_refused(tmp_path):
    write(tmp_path, "a.safetensors", {"some": E})
    (tmp_path / "empty").mkdir()
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(DictionaryError, match="no tensor encoder"):
        Dictionary.load(tmp_path / "a.safetensors")
    with pytest.raises(DictionaryError, match="known format"):
        Dictionary.load(tmp_path / "empty")
    with pytest.raises(DictionaryError, match="damaged"):
        Dictionary.load(tmp_path / "b.safetensors")


KINDS = {
    "relu": ReLU(),
    "topk": TopK(K),
    "batchtopk": BatchTopK(0.6, k=K),
    "jumprelu": JumpReLU(torch.linspace(0, 1, LATENTS)),
}


def dictionary_of(kind, **fields):
    tensors = (torch.from_numpy(array) for array in (E, BE, D, BD))
    normalization = Normalization(torch.arange(6.0), torch.arange(6.0) + 1)
    return Dictionary(
        *tensors,
        KINDS[kind],
        normalization=normalization,
        apply_b_dec_to_input=True,
        site="prior/embedding",
        **fields,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_to_sae_lens_is_read_back_as_the_same_function(tmp_path, kind):
    saved = dictionary_of(kind)
    opened = Dictionary.load(saved.export(tmp_path / "d", "sae-lens"))
    latents = saved.encode(torch.from_numpy(X)).numpy()
    check(opened, latents, saved.reconstruct(torch.from_numpy(X)).numpy())
    assert opened.site == "prior/embedding"
    with pytest.raises(RegistryError, match="sae-lens"):
        saved.export(tmp_path / "e", "saelens")
    with pytest.raises(DictionaryError, match="not written"):
        saved.export(tmp_path / "e", "sparsify")


def test_the_command_converts_between_formats(tmp_path):
    folder = unbox(tmp_path / "unbox")
    call(
        app,
        "dictionary",
        "convert",
        folder,
        *("--allow-pickles", "--site", "prior/embedding"),
        *("--format", "sae-lens", "--out", tmp_path / "lens"),
    )
    printed = json.loads(call(app, "dictionary", "info", tmp_path / "lens", "--json").stdout)
    assert (printed["kind"], printed["k"], printed["site"]) == ("topk", K, "prior/embedding")
    latents = top((X - BD) @ E + BE)
    check(Dictionary.load(tmp_path / "lens"), latents, latents @ D + BD)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_sae_lens_itself_reads_an_export_and_writes_what_is_read(tmp_path):
    sae_lens_library = pytest.importorskip("sae_lens")
    x = torch.from_numpy(X)
    for kind in KINDS:
        saved = dictionary_of(kind)
        theirs = sae_lens_library.SAE.load_from_disk(saved.export(tmp_path / kind, "sae-lens"))
        latents, values = saved.encode(x), saved.reconstruct(x)
        torch.testing.assert_close(theirs.encode(x).detach(), latents, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(theirs(x).detach(), values, atol=1e-4, rtol=1e-4)
    for name, more in {
        "standard": {},
        "topk": {"k": K},
        "topk-rescaled": {"k": K, "rescale_acts_by_decoder_norm": True},
        "jumprelu": {},
        "gated": {},
    }.items():
        architecture = name.partition("-")[0]
        config_class = sae_lens_library.saes.sae.get_sae_class(architecture)[1]
        kind = sae_lens_library.saes.sae.get_sae_class(architecture)[0]
        theirs = kind(config_class(d_in=WIDTH, d_sae=LATENTS, **more))
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.copy_(torch.randn(parameter.shape))
        theirs.save_model(tmp_path / f"theirs-{name}")
        opened = Dictionary.load(tmp_path / f"theirs-{name}")
        torch.testing.assert_close(
            opened.encode(x), theirs.encode(x).detach(), atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(opened.reconstruct(x), theirs(x).detach(), atol=1e-4, rtol=1e-4)
