"""Latents of recorded values: read, found, and refused with another dictionary."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from commands import call
from helpers.dictionaries import LATENTS, latents_of, small_dictionary
from helpers.recordings import factorial, recording_of
from tiny import tiny_model

import clerestory
from clerestory.cli.main import app
from clerestory.contrasts import Findings, find
from clerestory.contrasts.activations import RecordedActivations
from clerestory.edits import Clamp
from clerestory.errors import DictionaryError, OptionError, RecordingError, SiteError
from clerestory.models.core import latents as model_latents
from clerestory.models.provenance import check_dictionaries
from clerestory.recordings import Recording, record
from clerestory.recordings import latents as recorded_latents
from clerestory.steering import SteeredModel

TEXT, EMBEDDING = "text.blocks.1/resid", "prior/embedding"
PROMPTS = ["a cat", "a dog by me", "cat", "dog dog"]


def test_latents_of_recorded_values_are_those_of_the_model(model, tmp_path, monkeypatch):
    dictionary = small_dictionary(32, site=TEXT)
    model.attach(dictionary, "glass")
    recording = record(
        model,
        PROMPTS,
        sites=[TEXT, f"{TEXT}:glass"],
        out=tmp_path / "rec",
        pool="none",
        pictures=False,
        batch=2,
        chunk=2,
    )
    assert recording.sites == [TEXT, f"{TEXT}:glass"]
    assert recording.dictionaries == {f"{TEXT}:glass": dictionary.digest}
    # A sample at a time, as where a chunk of latents does not fit.
    monkeypatch.setattr(recorded_latents, "MAX_VALUES", 1)
    assert recording.attach(dictionary, "again") == f"{TEXT}:again"
    assert recording.layout(f"{TEXT}:again").shape == (1, 16, LATENTS)
    stored = recording.read(f"{TEXT}:glass").to_numpy()
    expected = latents_of(dictionary, recording.read(TEXT).to_numpy()).numpy()
    # Stored as float16.
    np.testing.assert_allclose(stored, expected, atol=1e-2)
    read = recording.read(f"{TEXT}:again")
    np.testing.assert_allclose(read, expected, atol=1e-5)
    assert read["prompt"].values.tolist() == PROMPTS
    part = recording.read(f"{TEXT}:again[3,7]@0")
    assert part["unit"].values.tolist() == [3, 7]
    np.testing.assert_allclose(part, expected[..., [3, 7]], atol=1e-5)
    chunks = np.concatenate(list(recording.chunks(f"{TEXT}:again")))
    np.testing.assert_allclose(chunks, expected, atol=1e-5)
    rows = np.array([3, 0, 2])
    activations = RecordedActivations(recording, rows)
    for site, tolerance in ((f"{TEXT}:glass", 1e-2), (f"{TEXT}:again", 1e-5)):
        np.testing.assert_allclose(activations[site], expected.mean(2)[rows, 0], atol=tolerance)


def test_positions_that_a_prompt_does_not_have_stay_absent(tmp_path):
    table = factorial(items=2, phrases=1)
    values = np.random.default_rng(0).normal(size=(len(table), 1, 3, 16))
    values[0, :, 2] = np.nan
    recording = recording_of(table, {TEXT: values}, tmp_path / "rec")
    dictionary = small_dictionary(16)
    recording.attach(dictionary, "glass", site=TEXT)
    read = recording.read(f"{TEXT}:glass").to_numpy()
    assert np.isnan(read[0, 0, 2]).all() and np.isnan(read).sum() == LATENTS
    means = RecordedActivations(recording, np.arange(len(table)))[f"{TEXT}:glass"]
    expected = latents_of(dictionary, values[0, 0, :2].astype("f4")).mean(0)
    np.testing.assert_allclose(means[0], expected, atol=1e-5)


def planted(folder):
    """A style that moves values along a latent's encoder, and no neuron by much."""
    table = factorial(items=48, phrases=12)
    rng = np.random.default_rng(1)
    dictionary = small_dictionary(64, latents=8, site=EMBEDDING)
    direction = dictionary.encoder[:, 5].numpy() / dictionary.encoder[:, 5].norm().item()
    values = rng.normal(size=(len(table), 1, 64))
    values += 2.0 * direction * (table["style"] == "glass").to_numpy()[:, None, None]
    return recording_of(table, {EMBEDDING: values}, folder), dictionary


QUERIES = {"positive": "style == 'glass'", "negative": "style == 'plain'", "match": "subject"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    recording, dictionary = planted(folder / "rec")
    dictionary.save(folder / "dictionary")
    recording.attach(dictionary, "glass")
    findings = find(recording, **QUERIES, kind="neuron", top=3, progress=False)
    findings.save(folder / "findings")
    return folder, dictionary, findings


def test_find_ranks_the_planted_latent_above_every_neuron(found):
    _, _, findings = found
    assert findings.findings[0].unit == f"{EMBEDDING}:glass[5]"
    assert findings.findings[0].status == "found"
    assert findings.units == 64 + 8


@pytest.mark.parametrize("null", ["permuted", "noise"])
def test_find_over_latents_finds_nothing_where_the_concept_is_in_no_value(null, tmp_path):
    table = factorial(items=48, phrases=12)
    dictionary = small_dictionary(64, latents=256, site=EMBEDDING)
    direction = dictionary.encoder[:, 5].numpy() / dictionary.encoder[:, 5].norm().item()
    _, wordings = np.unique(table["phrase"], return_inverse=True)
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        # Phrases of a style differ in what the concept has nothing to do with.
        phrases = rng.normal(size=(wordings.max() + 1, 64))
        values = rng.normal(size=(len(table), 64)) + phrases[wordings]
        if null == "permuted":
            # The planted effect, in a random half of all phrases instead of in those of glass.
            positive = rng.permutation(len(phrases)) < len(phrases) // 2
            values += 2.0 * direction * positive[wordings][:, None]
        recording = recording_of(table, {EMBEDDING: values[:, None]}, tmp_path / str(seed))
        recording.attach(dictionary, "glass")
        findings = find(recording, **QUERIES, top=20, progress=False)
        assert findings.units > 256 and findings.tested >= 20
        found.append(len(findings.found()) > 0)
    # Each finds something with a chance of 0.05 at most: two or more of six, of 0.03.
    assert sum(found) <= 1


def test_the_command_encodes_a_recording_of_the_base_site(found):
    folder, dictionary, findings = found
    arguments = [item for name, text in QUERIES.items() for item in (f"--{name}", text)]
    done = call(
        app,
        "find",
        folder / "rec",
        *arguments,
        *("--kind", "neuron", "--top", "3", "--json"),
        *("--dictionary", f"glass={folder / 'dictionary'}"),
    )
    printed = json.loads(done.stdout)
    assert printed["findings"][0]["unit"] == findings.findings[0].unit
    assert printed["provenance"]["dictionaries"] == {f"{EMBEDDING}:glass": dictionary.digest}


def test_findings_refuse_another_dictionary_of_the_same_name(found, model):
    folder, dictionary, _ = found
    saved = Findings.load(folder / "findings").provenance.dictionaries
    assert saved == {f"{EMBEDDING}:glass": dictionary.digest}
    with pytest.raises(DictionaryError, match="attach it"):
        check_dictionaries(model, saved, "it")
    model.attach(small_dictionary(32), "glass", site=EMBEDDING)
    with pytest.raises(DictionaryError, match="another dictionary"):
        check_dictionaries(model, saved, "it")
    mine = {f"{EMBEDDING}:glass": small_dictionary(32).digest}
    check_dictionaries(model, mine, "it")


def test_a_recording_is_continued_with_the_same_dictionary_alone(model, tmp_path):
    model.attach(small_dictionary(32), "glass", site=EMBEDDING)
    plan = {"sites": f"{EMBEDDING}:glass", "out": tmp_path / "rec", "pictures": False}
    first = record(model, PROMPTS, **plan)
    assert first.dictionaries == {f"{EMBEDDING}:glass": small_dictionary(32).digest}
    # One that is not read makes no difference.
    model.attach(small_dictionary(32, seed=9), "other", site=EMBEDDING)
    record(model, PROMPTS, **plan)
    model.detach("glass")
    model.attach(small_dictionary(32, seed=2), "glass", site=EMBEDDING)
    with pytest.raises(RecordingError, match="dictionaries"):
        record(model, PROMPTS, **plan)


def test_a_steered_model_refuses_another_dictionary(model, tmp_path):
    dictionary = small_dictionary(32)
    address = model.attach(dictionary, "glass", site=EMBEDDING)
    steered = SteeredModel(model, [Clamp(f"{address}[3]", 4.0)])
    expected = steered.draw("a cat", 3)
    assert (expected != model.run("a cat", 3).pictures).any()
    steered.save(tmp_path / "steered")
    assert (SteeredModel.load(tmp_path / "steered", model).draw("a cat", 3) == expected).all()
    model.detach("glass")
    with pytest.raises(DictionaryError, match="attach it"):
        SteeredModel.load(tmp_path / "steered", model)
    other = small_dictionary(32, seed=1)
    with pytest.raises(DictionaryError, match="another dictionary"):
        SteeredModel.load(tmp_path / "steered", model, dictionaries={"glass": other})
    model.detach("glass")
    again = SteeredModel.load(tmp_path / "steered", model, dictionaries={"glass": dictionary})
    assert (again.draw("a cat", 3) == expected).all()


def test_cached_pictures_are_those_of_one_dictionary(model):
    from clerestory.evaluation.cache import model_digest

    bare = model_digest(model, 4)
    model.attach(small_dictionary(32), "glass", site=EMBEDDING)
    first = model_digest(model, 4)
    model.detach("glass")
    model.attach(small_dictionary(32, seed=1), "glass", site=EMBEDDING)
    assert len({bare, first, model_digest(model, 4)}) == 3


def test_commands_attach_dictionaries_to_the_model(model, tmp_path, monkeypatch):
    monkeypatch.setattr(clerestory, "load", lambda *args, **options: tiny_model(), raising=False)
    replace(small_dictionary(32), site=EMBEDDING).save(tmp_path / "d")
    small_dictionary(24).save(tmp_path / "e")
    done = call(
        app,
        "record",
        *("--prompts", write_prompts(tmp_path), "--sites", f"{EMBEDDING}:a,*:b[3]"),
        *("--dictionary", f"a={tmp_path / 'd'}"),
        *("--dictionary", f"denoiser.mid.res.0/out:b={tmp_path / 'e'}"),
        *("--out", tmp_path / "rec", "--no-pictures", "--json"),
    )
    assert json.loads(done.stdout)["sites"] == [f"{EMBEDDING}:a", "denoiser.mid.res.0/out:b"]
    assert Recording.open(tmp_path / "rec").read("*:b[3]").sizes["unit"] == 1
    for name in model.dictionaries:
        model.detach(name)
    with pytest.raises(OptionError, match="NAME=FOLDER"):
        call(app, "sites", "tiny", "--dictionary", "nothing")
    with pytest.raises(DictionaryError, match="does not know its site"):
        call(app, "sites", "tiny", "--dictionary", f"b={tmp_path / 'e'}")


def write_prompts(folder):
    (folder / "prompts.txt").write_text("\n".join(PROMPTS))
    return folder / "prompts.txt"


def test_dictionary_info_and_convert(tmp_path):
    metadata = {"explained_variance": 0.75, "l0": 20.0, "dead": 0.05}
    dictionary = replace(small_dictionary(24), metadata=metadata)
    dictionary.save(tmp_path / "d")
    call(app, "dictionary", "convert", tmp_path / "d", "--site", TEXT, "--out", tmp_path / "e")
    printed = json.loads(call(app, "dictionary", "info", tmp_path / "e", "--json").stdout)
    assert {name: printed[name] for name in ("site", "latents", "kind", *metadata)} == {
        "site": TEXT,
        "latents": LATENTS,
        "kind": "relu",
        **metadata,
    }
    assert printed["digest"] == dictionary.digest
    assert "explained_variance" in call(app, "dictionary", "info", tmp_path / "d").stdout


def test_what_cannot_be_encoded_is_refused(tmp_path):
    table = factorial(items=2, phrases=1)
    recording = recording_of(table, {TEXT: np.zeros((len(table), 1, 16))}, tmp_path / "rec")
    with pytest.raises(DictionaryError, match="24 units and"):
        recording.attach(small_dictionary(24), "glass", site=TEXT)
    with pytest.raises(SiteError, match="No site"):
        recording.attach(small_dictionary(16), "glass", site=EMBEDDING)
    recording.attach(small_dictionary(16), "glass", site=TEXT)
    with pytest.raises(SiteError, match="no unit 40"):
        recording.read(f"{TEXT}:glass[40]")
    from clerestory.contrasts.sample_warnings import latent_warnings

    # Values that were pooled over positions are no position's.
    assert [each.kind for each in latent_warnings(recording)] == ["other"]
    assert model_latents.MAX_VALUES == recorded_latents.MAX_VALUES
