"""Attributions of a tiny model's units."""

import json
from functools import partial

import families
import numpy as np
import pytest
import torch
from tiny import tiny_model

from clerestory.attribution import (
    Attribution,
    Target,
    attribute,
    paraphrase,
    parse_pieces,
    parse_targets,
)
from clerestory.attribution.patching import patch_tokens
from clerestory.attribution.synergy import find_synergy
from clerestory.errors import EvidenceError, ModelError, OptionError, PromptError
from clerestory.evaluation.objectives import DirectionTerm

UNIT = "text.blocks.1/mlp[3]"
PROMPT = "[a] with [c]"
NAME = f"{UNIT} (mean)"
PLAIN = {"path": False, "synergy": False, "pictures": False}


def silent(label, completed, total):
    pass


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def shorten(path):
    with np.load(path) as arrays:
        values, units = arrays["values"][:3], arrays["units"][:3]
    np.savez(path, values=values, units=units)


@pytest.fixture(scope="module")
def model():
    return tiny_model(window=128)


def test_shares_are_those_of_the_measured_values(model):
    paraphrases = paraphrase(parse_pieces(PROMPT), 20)
    split = attribute(model, PROMPT, [UNIT], paraphrases=paraphrases, seeds=0, path=False).of[NAME]
    coalitions = ((0, 0), (1, 0), (0, 1), (1, 1))
    texts = [sentence.text(row) for sentence in paraphrases for row in coalitions]
    read = model.run(texts, 0, read=UNIT, pictures=False).read(UNIT).to_numpy()
    none, first, second, both = read.reshape(20, 4).T
    share = ((first - none) + (both - second)) / 2
    interaction = (both - first - second + none).mean()
    assert split.shapley[0].value == pytest.approx(share.mean(), abs=1e-6)
    assert split.interactions[0].value == pytest.approx(interaction, abs=1e-6)
    assert split.synergy.value == pytest.approx(split.interactions[0].value, abs=1e-9)
    assert split.values == pytest.approx([each.mean() for each in (none, first, second, both)])
    assert split.completeness_error <= 1e-6
    assert split.shapley[0].low <= split.shapley[0].value <= split.shapley[0].high


def test_a_killed_call_resumes_and_another_question_is_refused(model, tmp_path, monkeypatch):
    ask = partial(attribute, model, PROMPT, [UNIT], path=False, pictures=False, out=tmp_path / "a")
    first = ask(paraphrases=20)
    monkeypatch.setattr(type(model), "run", lambda *_, **__: pytest.fail("measured again"))
    assert ask(paraphrases=20).to_dict() == first.to_dict()
    with pytest.raises(EvidenceError, match="has another attribution"):
        ask(paraphrases=21)


def test_another_pool_is_another_question(model, tmp_path):
    for pool in ("mean", "max"):
        (target,) = parse_targets(model, [UNIT], pool)
        same = Target(
            "of one name", DirectionTerm(target.term.site, target.term.direction, pool, "one")
        )
        ask = partial(attribute, model, PROMPT, [same], paraphrases=20, out=tmp_path / "a", **PLAIN)
        if pool == "mean":
            ask()
        else:
            with pytest.raises(EvidenceError, match="has another attribution"):
                ask()


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"junk"), cut, shorten])
def test_a_damaged_part_is_measured_again(model, tmp_path, damage):
    ask = partial(attribute, model, PROMPT, [UNIT], paraphrases=20, out=tmp_path / "a", **PLAIN)
    first = ask()
    part = sorted((tmp_path / "a" / "parts").iterdir())[1]
    size = len(part.read_bytes())
    damage(part)
    assert ask().to_dict() == first.to_dict()
    assert part.read_bytes() != b"junk" and len(part.read_bytes()) == size


def test_removals_with_the_same_texts_are_not_compared(model):
    result = attribute(model, "cat dog", [UNIT], removal="both", **PLAIN)
    split = result.of[NAME]
    shares = (*split.shapley, *split.interactions)
    assert [share.removal_sensitive for share in shares] == [None] * 3
    assert result.baselines == ("", "")


def test_removals_that_differ_are_compared(model):
    result = attribute(model, PROMPT, [UNIT], paraphrases=24, removal="both", **PLAIN)
    shares = (*result.of[NAME].shapley, *result.of[NAME].interactions)
    assert all(isinstance(share.removal_sensitive, bool) for share in shares)
    assert bool(result.warnings) == any(share.removal_sensitive for share in shares)
    other = result.alternatives["delete"][NAME]
    assert all(share.removal_sensitive is None for share in other.shapley)
    figures = result.to_dict()["of"][NAME]
    assert {"shapley", "interactions", "completeness_error"} <= set(figures)


def test_one_piece_and_eleven_work(model):
    one = attribute(model, "[a] d", [UNIT], paraphrases=20, path=False)
    split = one.of[NAME]
    assert split.shapley[0].value == pytest.approx(split.total.value)
    assert split.interactions == () and one.synergy is None
    many = " ".join(f"[{word}|b]" for word in "acdefghijkl")
    result = attribute(model, many, [UNIT], paraphrases=20, budget=64, path=False)
    split = result.of[NAME]
    total = sum(share.value for share in split.shapley)
    assert total == pytest.approx(split.total.value, abs=1e-6)
    assert split.sampling_error > 0 and split.values is None and result.synergy is None


def test_a_pipeline_of_no_known_family_can_be_attributed():
    model = families.small_model(families.built(families.unknown_pipeline))
    site = next(site for site in model.sites.values() if site.stage == "text" and site.shape[1])
    result = attribute(model, PROMPT, [f"{site.address}[0]"], paraphrases=20)
    assert set(result.seeds) == {(0,)}
    assert result.synergy.tested > 0
    assert result.patching == ()


def test_a_result_is_read_back_as_it_was_saved(model, tmp_path):
    result = attribute(model, PROMPT, [UNIT], paraphrases=20, removal="both", out=tmp_path / "a")
    for folder in (tmp_path / "a", tmp_path / "copy"):
        again = Attribution.load(folder) if folder.exists() else None
        if again is None:
            result.save(folder)
            again = Attribution.load(folder)
        assert again.to_dict() == result.to_dict() and again.of == result.of
        assert again.pictures.keys() == result.pictures.keys()
        assert np.array_equal(again.pictures["coalitions"], result.pictures["coalitions"])
    assert result.provenance.model == model.name and result.provenance.version


@pytest.mark.parametrize("change", [{"pieces": [1, 2]}, {"extra": 1}, {"paraphrases": "20"}])
def test_a_result_that_was_altered_is_refused(model, tmp_path, change):
    attribute(model, PROMPT, [UNIT], paraphrases=20, **PLAIN).save(tmp_path / "a")
    path = tmp_path / "a" / "attribution.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EvidenceError, match=r"attribution\.json.* does not fit"):
        Attribution.load(tmp_path / "a")


def test_nan_weights_are_refused_in_words(monkeypatch):
    model = tiny_model(window=128)
    # The pipeline is shared with other tests: its weight is put back.
    weights = next(model.pipeline.prior_text_encoder.parameters())
    monkeypatch.setattr(weights, "data", torch.full_like(weights, torch.nan))
    with pytest.raises(ModelError, match=r"samples are not finite, first at text.*NaN"):
        attribute(model, PROMPT, [UNIT], paraphrases=20, progress=False)


@pytest.mark.parametrize("prompt", ["a cat in a [place]", "a [dog|DOG] and [cat]"])
def test_a_piece_that_is_its_own_baseline_is_refused(model, prompt):
    with pytest.raises(PromptError, match="is its own baseline"):
        attribute(model, prompt, [UNIT], paraphrases=20, **PLAIN)


def test_what_is_too_long_or_names_nothing_is_refused(model):
    with pytest.raises(PromptError, match=r"The piece .* is too long"):
        attribute(model, f"a [{'dog ' * 200}]", [UNIT], paraphrases=20)
    with pytest.raises(EvidenceError, match="Name the targets"):
        parse_targets(model, [])
    with pytest.raises(EvidenceError, match="has no name"):
        parse_targets(model, [" "])
    with pytest.raises(OptionError, match="pool is 'none'; it must be mean, max or last"):
        parse_targets(model, [UNIT], "none")


def test_synergy_is_found_where_only_all_pieces_activate_a_unit(model):
    rng = np.random.default_rng(0)
    activations = rng.normal(scale=0.1, size=(40, 4, 24))
    activations[:, 3, 5] += 2  # none, first, second, both: this one by both alone
    activations[:, 1, 7] += 1
    activations[:, 3, 7] += 1  # this one by a single piece
    site = next(s.address for s in model.sites.values() if s.shape[1] == 24 or s.tap == "mlp")
    width = model.sites[site].shape[1]
    padding = np.zeros((40, 4, max(width - 24, 0)))
    test = find_synergy(model, [site], np.concatenate([activations, padding], 2)[:, :, :width])
    assert test.units[0].unit == f"{site}[5]"
    assert test.units[0].q < 0.001 and test.significant >= 1
    assert test.tested <= 50 and test.candidates == width
    assert f"{site}[7]" not in {unit.unit for unit in test.units if unit.q <= 0.05}


def test_the_last_block_carries_a_pooled_value_at_the_end_token(model):
    targets = parse_targets(model, ["text/pooled[2]"])
    paraphrases = paraphrase(parse_pieces(PROMPT), 20)
    effects = patch_tokens(model, paraphrases, targets, progress=silent)
    lost = {each.token: each.lost for each in effects if each.site == "text.blocks.1/resid"}
    assert lost.pop("(end)") == pytest.approx(1, abs=1e-4)
    assert lost and all(abs(share) < 1e-4 for share in lost.values())


def test_the_last_layer_draws_the_prompt_as_it_is(model):
    pictures = model.lens("a dog", [0, 1], progress=silent).pictures
    plain = model.run("a dog", [0, 1]).pictures
    assert list(pictures) == ["text.blocks.0/resid", "text.blocks.1/resid"]
    assert np.array_equal(pictures["text.blocks.1/resid"], plain)
    assert not np.array_equal(pictures["text.blocks.0/resid"], plain)
