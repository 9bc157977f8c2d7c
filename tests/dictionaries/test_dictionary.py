"""A dictionary encodes, decodes, folds, saves and loads as matrices written out here say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from clerestory.dictionaries import Dictionary, Normalization
from clerestory.dictionaries.kinds.batchtopk import BatchTopK
from clerestory.dictionaries.kinds.jumprelu import JumpReLU
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.dictionaries.kinds.topk import TopK
from clerestory.errors import DictionaryError, OutputError, RegistryError

WIDTH, LATENTS = 6, 20
KINDS = {
    "relu": ReLU(),
    "topk": TopK(3),
    "batchtopk": BatchTopK(0.7, k=3),
    "jumprelu": JumpReLU(torch.linspace(-0.5, 1.5, LATENTS)),
}
NORMALIZATIONS = {
    "none": Normalization(),
    "constant": Normalization.constant(2.5),
    "standard": Normalization(torch.arange(6.0) - 2, torch.arange(6.0) / 2 + 0.5),
}


def sparse(kind: str, before: np.ndarray) -> np.ndarray:
    """What each kind keeps of pre-activations, by numpy."""
    kept = np.maximum(before, 0)
    if kind == "topk":
        return np.where(before >= np.sort(before, axis=-1)[..., -3, None], kept, 0)
    if kind == "batchtopk":
        return np.where(before > 0.7, kept, 0)
    if kind == "jumprelu":
        return np.where(before > np.linspace(-0.5, 1.5, LATENTS, dtype="f4"), kept, 0)
    return kept


def make(kind: str = "relu", normalization: str = "none", **fields) -> Dictionary:
    generator = torch.Generator().manual_seed(3)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Dictionary(
        encoder=numbers(WIDTH, LATENTS),
        encoder_bias=numbers(LATENTS),
        decoder=numbers(LATENTS, WIDTH),
        decoder_bias=numbers(WIDTH),
        activation=KINDS[kind],
        normalization=NORMALIZATIONS[normalization],
        **fields,
    )


def oracle(dictionary: Dictionary, kind: str, normalization: str, values: np.ndarray):
    """Latents and reconstruction in float64."""
    encoder, bias, decoder, shift = (
        getattr(dictionary, name).double().numpy()
        for name in ("encoder", "encoder_bias", "decoder", "decoder_bias")
    )
    mean, scale = {
        "none": (0.0, 1.0),
        "constant": (0.0, 1 / 2.5),
        "standard": (np.arange(6.0) - 2, np.arange(6.0) / 2 + 0.5),
    }[normalization]
    scaled = (values - mean) / scale - dictionary.apply_b_dec_to_input * shift
    latents = sparse(kind, scaled @ encoder + bias)
    return latents, (latents @ decoder + shift) * scale + mean


def some_values() -> torch.Tensor:
    return torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(8))


@pytest.mark.parametrize("apply", [False, True])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_dictionary_encodes_and_decodes_as_its_matrices_say(kind, normalization, apply):
    dictionary, values = make(kind, normalization, apply_b_dec_to_input=apply), some_values()
    latents, values_again = oracle(dictionary, kind, normalization, values.double().numpy())
    assert 0 < (latents > 0).mean() < 1
    np.testing.assert_allclose(dictionary.encode(values), latents, atol=1e-4)
    np.testing.assert_allclose(dictionary.reconstruct(values), values_again, atol=1e-4)
    folded = dictionary.folded()
    assert folded.normalization.kind == "none" and not folded.apply_b_dec_to_input
    np.testing.assert_allclose(folded.encode(values), latents, atol=1e-4)
    np.testing.assert_allclose(folded.reconstruct(values), values_again, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_single_latents_are_those_of_all(kind):
    dictionary, units = make(kind, "standard"), torch.tensor([4, 17])
    latents = dictionary.encode(some_values())
    torch.testing.assert_close(dictionary.encode(some_values(), units), latents[..., units])


def test_a_change_of_latents_decodes_to_the_difference_of_two_reconstructions():
    dictionary, latents = make("relu", "standard"), torch.rand(4, LATENTS)
    changed = latents * torch.rand(LATENTS)
    torch.testing.assert_close(
        dictionary.decode_difference(changed - latents),
        dictionary.decode(changed) - dictionary.decode(latents),
        atol=1e-4,
        rtol=1e-4,
    )
    assert not dictionary.decode_difference(latents - latents).any()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_through_the_latents_that_are_kept(kind):
    dictionary, values = make(kind), some_values().requires_grad_()
    latents = dictionary.encode(values)
    latents[0, 0].sum().backward()
    kept = (latents[0, 0] > 0).float().detach()
    torch.testing.assert_close(values.grad[0, 0], dictionary.encoder @ kept, atol=1e-4, rtol=1e-4)
    assert not values.grad[1].any()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_dictionary_is_the_same_when_it_is_opened(tmp_path, kind, normalization):
    saved = make(
        kind,
        normalization,
        apply_b_dec_to_input=True,
        site="prior/embedding",
        metadata={"explained_variance": 0.9, "l0": 3.0, "dead": 0.0},
    )
    opened = Dictionary.load(saved.save(tmp_path / "d"))
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [
        "config.json",
        "weights.safetensors",
    ]
    assert opened.digest == saved.digest and opened.kind == kind
    assert (opened.site, opened.output_site) == ("prior/embedding", None)
    assert opened.metadata == saved.metadata
    assert opened.normalization.kind == normalization
    assert torch.equal(opened.reconstruct(some_values()), saved.reconstruct(some_values()))
    with pytest.raises(OutputError, match="not empty"):
        saved.save(tmp_path / "d")


def test_a_transcoder_predicts_another_site_with_its_own_normalisation(tmp_path):
    saved = Dictionary(
        encoder=torch.eye(2),
        encoder_bias=torch.zeros(2),
        decoder=torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]),
        decoder_bias=torch.tensor([0.0, 0.0, 1.0]),
        activation=ReLU(),
        normalization=Normalization.constant(10.0),
        output_normalization=Normalization.constant(0.5),
        site="denoiser.mid.attn.0/in",
        output_site="denoiser.mid.attn.0/out",
    )
    opened = Dictionary.load(saved.save(tmp_path / "d"))
    for dictionary in (saved, opened, saved.folded()):
        # Times 10, decoded, and divided by .5.
        predicted = dictionary.reconstruct(torch.tensor([[0.1, 0.2]]))
        torch.testing.assert_close(predicted, torch.tensor([[2.0, 8.0, 2.0]]))


def test_the_digest_is_of_the_function_and_not_of_its_description():
    plain = make("topk")
    assert plain.digest == make("topk", site="prior/embedding", metadata={"l0": 3}).digest
    others = [make("relu"), make("topk", "constant"), make("topk", apply_b_dec_to_input=True)]
    moved = make("topk")
    moved.decoder[3, 3] += 1e-3
    digests = {plain.digest, moved.digest, *(other.digest for other in others)}
    assert len(digests) == 5


def test_a_random_dictionary_has_even_directions_and_is_repeatable():
    first, again = Dictionary.random(16, 400, seed=5), Dictionary.random(16, 400, seed=5)
    assert first.digest == again.digest != Dictionary.random(16, 400, seed=6).digest
    torch.testing.assert_close(first.decoder.norm(dim=1), torch.ones(400))
    # Evenly distributed: 400 directions have a mean near zero, of length about 400 ** -.5.
    assert first.decoder.mean(0).norm() < 0.1
    assert (first.encode(torch.randn(50, 16)) > 0).sum(1).max() <= 32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decoder": torch.zeros(LATENTS, 5)}, "output_site"),
        ({"encoder_bias": torch.zeros(3)}, "encoder_bias"),
        ({"decoder_bias": torch.full((WIDTH,), float("nan"))}, "not finite"),
        ({"activation": TopK(0)}, "k is 0"),
        ({"activation": JumpReLU(torch.zeros(3))}, "thresholds"),
        ({"normalization": Normalization(torch.zeros(2))}, "mean"),
        ({"normalization": Normalization(scale=torch.zeros(WIDTH))}, "above 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(fields, message):
    weights = {
        "encoder": torch.zeros(WIDTH, LATENTS),
        "encoder_bias": torch.zeros(LATENTS),
        "decoder": torch.zeros(LATENTS, WIDTH),
        "decoder_bias": torch.zeros(WIDTH),
        "activation": ReLU(),
    }
    if "decoder" in fields:
        fields = {**fields, "decoder_bias": torch.zeros(5)}
    with pytest.raises(DictionaryError, match=message):
        Dictionary(**{**weights, **fields})
    with pytest.raises(DictionaryError, match="6 units"):
        make().encode(torch.zeros(2, 7))


def alter(folder, **fields) -> None:
    content = json.loads((folder / "config.json").read_text())
    del content["digest"]
    (folder / "config.json").write_text(json.dumps({**content, **fields}))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"kind": "topkk"}, RegistryError, "topk"),
        ({"settings": {}}, DictionaryError, "parameters"),
        ({"settings": {"k": 3, "j": 1}}, DictionaryError, "parameters"),
        ({"settings": {"k": 1e9}}, DictionaryError, "k is"),
        ({"latents": 7}, DictionaryError, "sizes differ"),
        ({"format": "other"}, DictionaryError, "format"),
        ({"more": 1}, DictionaryError, "more"),
    ],
)
def test_an_altered_file_is_refused(tmp_path, fields, error, message):
    make("topk").save(tmp_path / "d")
    alter(tmp_path / "d", **fields)
    with pytest.raises(error, match=message):
        Dictionary.load(tmp_path / "d")


def test_altered_weights_are_refused(tmp_path):
    make("topk").save(tmp_path / "d")
    path = tmp_path / "d" / "weights.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DictionaryError, match="altered"):
        Dictionary.load(tmp_path / "d")
    with pytest.raises(DictionaryError, match="cannot be read"):
        Dictionary.load(tmp_path / "nothing")
