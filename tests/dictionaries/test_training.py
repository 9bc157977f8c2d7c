"""Training: what was planted is found, what was stopped continues, nothing reaches the network."""

from __future__ import annotations

import json
import socket
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from planted_factors import ACTIVE, SITE, WIDTH, planted, recording, recovery
from tiny import tiny_model

import clerestory
from clerestory.dictionaries import Dictionary, train, training
from clerestory.dictionaries.figures import explained_variance, measure
from clerestory.dictionaries.settings import parse_latents
from clerestory.dictionaries.sources import Rows
from clerestory.dictionaries.trainer import sae_lens_module
from clerestory.dictionaries.training_prompts import (
    MAX_PROMPTS,
    prompt_metadata,
    prompts_trained_on,
)
from clerestory.errors import DictionaryError, OptionError

KINDS = ["batchtopk", "matryoshka", "topk", "jumprelu", "standard"]
HOW = {"site": SITE, "k": ACTIVE, "latents": 48, "rows": 256, "rate": 5e-3, "progress": False}


@pytest.fixture(scope="module", autouse=True)
def no_network():
    """No connection can be made, and no name looked up."""
    pytest.importorskip("sae_lens", reason="training needs the extra `dictionaries`")
    patch = pytest.MonkeyPatch()

    def refuse(*_, **__):
        raise AssertionError("something reached for the network")

    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket, "getaddrinfo", refuse)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def planted_recording(tmp_path_factory):
    return recording(tmp_path_factory.mktemp("planted") / "rec", planted(150, 2, 20))


@pytest.fixture(scope="module")
def trained(planted_recording, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "out"
    return train(planted_recording, out=out, updates=500, **HOW), out


def test_planted_factors_are_recovered(trained):
    cosines = recovery(trained[0])
    assert cosines.mean() >= 0.95
    assert (cosines >= 0.95).mean() >= 0.9
    # A dictionary of random directions has nothing of the kind.
    assert (recovery(Dictionary.random(WIDTH, 48, site=SITE)) >= 0.95).mean() < 0.1


def test_figures_are_of_items_that_were_not_trained_on(trained, planted_recording):
    dictionary, out = trained
    metadata = dictionary.metadata
    assert 0.8 < metadata["explained_variance"] < 1
    assert metadata["l0"] == pytest.approx(ACTIVE, rel=0.25)
    # 15 of 150 prompts, 2 steps, 20 positions.
    assert metadata["rows"] == 600
    assert [each["step"] for each in metadata["by_step"]] == [0, 1]
    # Measured again from nothing: new activations of the same factors.
    fresh = planted(20, 1, 20, seed=9).reshape(-1, WIDTH).astype(np.float32)
    again = measure(dictionary, Rows(fresh, np.zeros(400, int), np.zeros(400)))
    assert again["explained_variance"] == pytest.approx(metadata["explained_variance"], abs=0.05)
    curves = json.loads((out / "curves.json").read_text())
    assert [row["update"] for row in curves] == list(range(25, 501, 25))
    assert curves[-1]["explained_variance"] > curves[0]["explained_variance"]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_prompts_of_the_training_are_known_and_held_out_ones_are_not(trained, planted_recording):
    prompts = list(planted_recording.samples["prompt"])
    seen = prompts_trained_on(trained[0].metadata, prompts)
    assert len(set(seen)) == 135 and len(set(prompts)) == 150
    assert prompts_trained_on(trained[0].metadata, ["a prompt of nobody"]) == []
    assert prompts_trained_on(Dictionary.random(4, 8).metadata, prompts) is None
    assert prompt_metadata([]) == {} == prompt_metadata(map(str, range(MAX_PROMPTS + 1)))


def test_a_dictionary_of_pooled_values_says_so(trained):
    # The plan of the planted recording has the pool `mean`.
    assert trained[0].metadata["pool"] == "mean"


def test_the_same_call_gives_the_finished_dictionary(trained, planted_recording):
    dictionary, out = trained
    again = train(planted_recording, out=out, updates=500, **HOW)
    assert again.digest == dictionary.digest
    with pytest.raises(DictionaryError, match="another training"):
        train(planted_recording, out=out, updates=501, **HOW)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_continues_as_if_nothing_had_happened(
    kind, planted_recording, tmp_path, monkeypatch
):
    short = HOW | {"kind": kind, "updates": 24, "buffer": 1000, "dead_after": 5}
    whole = train(planted_recording, out=tmp_path / "whole", **short)
    monkeypatch.setattr(training, "INTERVAL", 0.0)
    for stop in (7, 16):

        def kill(label, completed, total, stop=stop):
            if completed == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(planted_recording, out=tmp_path / "killed", **{**short, "progress": kill})
        # The checkpoint of the update that was reported last is not written yet.
        assert [each.name for each in training._checkpoints(tmp_path / "killed")] == [
            f"checkpoint-{stop - 1}"
        ]
    torch.manual_seed(99)  # a new process has another random state
    continued = train(planted_recording, out=tmp_path / "killed", **short)
    for name, tensor in whole.tensors().items():
        assert torch.allclose(tensor, continued.tensors()[name], atol=1e-5), name
    curves = [(tmp_path / each / "curves.json").read_text() for each in ("whole", "killed")]
    losses = [[row["loss"] for row in json.loads(text)] for text in curves]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert not training._checkpoints(tmp_path / "killed")


def test_noise_gives_no_dictionary_of_factors(tmp_path):
    """Of rows in which no factor is planted none is found, and held-out rows are not explained."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 2, 20, WIDTH))
    noise = recording(tmp_path / "rec", values)
    dictionary = train(noise, out=tmp_path / "out", updates=200, **HOW)
    assert (recovery(dictionary) >= 0.95).mean() < 0.1
    # Two directions of 24 hold a twelfth of the variance; two of 48 that are chosen, a little more.
    assert dictionary.metadata["explained_variance"] < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_dictionary_encodes_and_decodes_as_the_network_of_sae_lens(kind, planted_recording):
    from sae_lens.saes import SAE

    source = training.RecordingSource(planted_recording, SITE, training.Division())
    stream = training.ActivationStream(source, 128, 1000)
    settings = training.TrainingSettings(
        kind, 32, 3, 0.1, 40, 128, 3e-3, "standard", 20, 1000, seed=0
    )
    run = training.Training(stream, settings)
    for _ in range(40):
        run.update()
    network = run._network
    # With its own threshold, before it is set on rows.
    activation = run._trainer.activation(network, training.weights(network)[1])
    dictionary = replace(run.dictionary(), activation=activation)
    values = stream.rows[:200]
    scaled = stream.normalization.apply(values)
    with torch.no_grad():
        if kind in ("batchtopk", "matryoshka"):
            # In training its ranks are of a batch; what it is saved as is sae-lens's own oracle.
            latents = _saved(network, SAE).encode(scaled)
        else:
            network.eval()
            network.fold_W_dec_norm()
            latents = network.encode(scaled)
        decoded = stream.normalization.invert(latents @ dictionary.decoder + network.b_dec)
    assert torch.allclose(dictionary.encode(values), latents, atol=1e-4)
    assert torch.allclose(dictionary.reconstruct(values), decoded, atol=1e-4)
    assert (latents > 0).any()


@pytest.mark.parametrize("kind", ["batchtopk", "matryoshka"])
def test_few_updates_are_enough_for_k_latents_per_position(kind, planted_recording):
    source = training.RecordingSource(planted_recording, SITE, training.Division())
    stream = training.ActivationStream(source, 128, 1000)
    settings = training.TrainingSettings(
        kind, 32, 3, 0.0, 5, 128, 3e-3, "standard", 20, 1000, seed=0
    )
    run = training.Training(stream, settings)
    for _ in range(5):
        run.update()
    held_out = torch.from_numpy(source.held_out().values)
    active = run.dictionary().encode(held_out) > 0
    assert active.float().sum(-1).mean() == pytest.approx(3, rel=0.1)


def _saved(network, sae):
    with tempfile.TemporaryDirectory() as folder:
        network.save_inference_model(folder)
        return sae.load_from_disk(folder)


def test_dead_latents_are_revived(planted_recording, tmp_path, monkeypatch):
    """Latents that are pushed far below 0 come back with the auxiliary loss, and only with it."""

    def revived(coefficient):
        source = training.RecordingSource(planted_recording, SITE, training.Division())
        stream = training.ActivationStream(source, 128, 1000)
        settings = training.TrainingSettings(
            "batchtopk", 32, 3, 0.0, 200, 128, 5e-3, "standard", 5, 1000, seed=0
        )
        run = training.Training(stream, settings)
        run._network.cfg.aux_loss_coefficient = coefficient
        with torch.no_grad():
            run._network.b_enc[:8] = -1.5
        for _ in range(60):
            run.update()
        return run.dead

    assert revived(1.0) < 0.1
    assert revived(0.0) > 0.2


def test_a_model_is_drawn_as_it_is_needed(tmp_path):
    prompts = [f"a {animal} {place}" for animal in ("cat", "dog") for place in "abcdef"]
    how = {"latents": 16, "k": 2, "rows": 32, "updates": 6}
    draw = {"prompts": prompts, "seeds": 3, "batch": 4, "steps": 2, "prior_steps": 2}
    model = tiny_model()
    site = next(name for name in model.sites if name.startswith("denoiser.mid."))
    how["site"] = site
    dictionary = train(model, out=tmp_path / "a", progress=False, **how, **draw)
    again = train(model, out=tmp_path / "b", progress=False, **how, **draw)
    assert dictionary.site == site
    assert dictionary.digest == again.digest
    assert [each["step"] for each in dictionary.metadata["by_step"]] == [0, 1]
    # One of twelve prompts is held out; its values are those of a run.
    source = training.ModelSource(
        model, prompts, site, training.Division(), seeds=3, options={"steps": 2, "prior_steps": 2}
    )
    held_out = source.held_out()
    held_back = [prompts[index] for index in source._evaluation]
    run = model.run(
        held_back, 3, read=site, pool="none", pictures=False, steps=2, prior_steps=2, progress=False
    )
    expected = run.site_values[site].array().reshape(-1, dictionary.width)
    assert np.allclose(held_out.values, expected, atol=1e-3)
    assert len(held_back) == 1


def test_each_item_has_noise_of_its_own():
    model, division = tiny_model(), training.Division()
    site = next(name for name in model.sites if name.startswith("denoiser.mid."))
    prompts = [f"a cat {place}" for place in "abcdef"]
    seeds = training.ModelSource(model, prompts, site, division)._table["seed"]
    assert seeds.nunique() == 6
    shared = training.ModelSource(model, prompts, site, division, seeds=3)._table["seed"]
    assert set(shared) == {3}


def test_other_prompts_and_sources_are_refused(planted_recording, tmp_path):
    with pytest.raises(OptionError, match="for a model"):
        train(planted_recording, out=tmp_path / "a", prompts=["a cat"], **HOW)
    with pytest.raises(OptionError, match="needs prompts"):
        train(tiny_model(), out=tmp_path / "a", **HOW)
    with pytest.raises(OptionError, match="has the branch cond"):
        train(planted_recording, out=tmp_path / "a", branch="uncond", **HOW)
    planted_recording.attach(Dictionary.random(WIDTH, 48, site=SITE), "latents")
    with pytest.raises(DictionaryError, match="latents already"):
        train(planted_recording, out=tmp_path / "a", **{**HOW, "site": f"{SITE}:latents"})
    planted_recording._dictionaries.clear()
    for change in ({"held_out": 1.0}, {"k": 0}, {"latents": "8 times"}, {"rate": 2.0}):
        with pytest.raises(DictionaryError, match=r"held_out|k is|latents|rate"):
            train(planted_recording, out=tmp_path / "a", **{**HOW, **change})
    assert not (tmp_path / "a").exists()


def test_explained_variance_by_hand():
    values = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
    # Around the mean (1, 2) the squares add up to 20.
    assert explained_variance(values, torch.tensor([5.0, 0.0, 0.0, 0.0])) == pytest.approx(0.75)
    assert explained_variance(torch.ones(3, 2), torch.zeros(3)) == 0


def test_latents_may_be_a_multiple_of_the_width():
    assert (parse_latents("8x", 24), parse_latents("1.5X", 24), parse_latents(7, 24)) == (
        192,
        36,
        7,
    )


def test_without_sae_lens_training_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    monkeypatch.setitem(sys.modules, "sae_lens.config", None)
    with pytest.raises(DictionaryError, match=r"pip install 'clerestory\[dictionaries\]'"):
        sae_lens_module("config")


def test_no_module_imports_sae_lens_before_a_training_begins():
    for path in Path(clerestory.__file__).parent.rglob("*.py"):
        lines = [line.split() for line in path.read_text().splitlines()]
        imports = [
            line[1].split(".")[0]
            for line in lines
            if len(line) > 1 and line[0] in ("import", "from")
        ]
        assert "sae_lens" not in imports, path
