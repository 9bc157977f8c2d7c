from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.planted_cause import CAUSE, Light, model

from clerestory.causal import map_effects, verify
from clerestory.causal.effect_maps import patchable_blocks
from clerestory.causal.results import EffectMaps, VerificationResult
from clerestory.causal.trials import matched_prompts
from clerestory.contrasts import ContrastSamples, Findings, contrast
from clerestory.errors import EvidenceError, RegistryError
from clerestory.evaluation import SampleCache

ITEMS = [f"c{number}" for number in range(48)]
TEXT, SIDE = "text.blocks.0/mlp", "denoiser.blocks.1/mlp"
PARITY, GHOST = "python:helpers.planted_cause:parity", "python:helpers.planted_cause:ghost"
WHAT = {"classifier": Light(), "label": "light", "others": [PARITY]}


def find(planted, phrases=4) -> Findings:
    """Findings of `glass` against `plain`, in so many phrases an arm and half."""
    rows = [
        (f"{half[0]}{number} {lead} {item}", item, f"{arm} {half} {number}", "", arm, half)
        for half, own in (("selection", ITEMS[:24]), ("evaluation", ITEMS[24:]))
        for arm, lead in (("positive", "glass"), ("negative", "plain"))
        for number in range(phrases)
        for item in own
    ]
    columns = ["prompt", "item", "phrase", "template", "arm", "half"]
    samples = pd.DataFrame(rows, columns=columns).assign(seed=0)
    run = planted.run(list(samples["prompt"]), 0, read=[TEXT, SIDE], pictures=False)
    activations = {site: run.read(site).mean("step").to_numpy() for site in (TEXT, SIDE)}
    design = ContrastSamples(samples, from_pictures=False)
    return contrast(activations, design, methods=("difference", "probe"))


@pytest.fixture(scope="module")
def found() -> Findings:
    return find(model())


@pytest.fixture(scope="module")
def result(found):
    units = [f"{TEXT}[0]", f"{TEXT}[1]", f"{TEXT}[difference]"]
    return verify(found, model(), units=units, **WHAT)


def test_what_is_planted_controls_and_what_only_goes_with_it_does_not(result):
    cause, follower, direction = result.effects
    assert (cause.detects, follower.detects) == (1.0, 1.0)
    assert (cause.addition.effect, cause.ablation.effect) == (1.0, 1.0)
    assert [unit.status for unit in result.effects] == ["supported", "not supported", "supported"]
    assert cause.baselines.directions == 99 and cause.p == 0.01
    assert cause.q == pytest.approx(0.015), "corrected for three units, of which two have p = .01"
    # Its addition changes nothing, so nothing is compared with it.
    assert follower.baselines is None and follower.q is None and follower.addition.high < 0.2
    assert follower.ablation.effect == 0 and direction.addition.effect == 1.0
    assert cause.side_effects.within_bound and not cause.together_with
    assert result.prompting.effect == 1.0 and result.negative_rate == 0.0


def test_items_have_seeds_of_their_own_that_were_not_recorded(found):
    cache = SampleCache()
    options = {"units": [f"{TEXT}[0]"], "maps": False, "cache": cache, "baselines": 99}
    first = verify(found, model(), **WHAT, **options)
    assert not [warning for warning in first.warnings if warning.kind == "shared-seeds"]
    shared = verify(found, model(), **WHAT, **options, seeds=[4, 5])
    assert "shared-seeds" in {warning.kind for warning in shared.warnings}
    assert shared.effects[0].side_effects.pictures == 48


def test_an_edit_that_makes_ghosts_of_all_subjects_is_not_supported(found):
    options = WHAT | {"others": [PARITY, GHOST]}
    result = verify(found, model(), units=[f"{TEXT}[0]"], maps=False, **options)
    (unit,) = result.effects
    assert unit.addition.effect == 1.0 and unit.q == 0.01
    assert unit.status == "undecided" and unit.side_effects.within_bound is False
    assert {change.label for change in unit.together_with} == {"cat", "ghost"}
    said = result.sentences()
    assert said[0] == "None of 1 unit is shown to control 'light' alone."
    assert f"{TEXT}[0] controls 'light' together with {GHOST}=" in said[1]
    assert "ghost +1.00" in said[1] and len(said) == 2
    assert f"{GHOST}=ghost +1.00" in result.table()["side_effects"][0]
    (entry,) = result.to_dict()["effects"]
    assert entry["within_bound"] is False and entry["side_effects"]["changes"]


def test_an_edit_that_nothing_measures_side_effects_of_is_undecided(found):
    options = WHAT | {"others": []}
    result = verify(found, model(), units=[f"{TEXT}[0]"], maps=False, **options)
    assert result.effects[0].status == "undecided"
    assert "side-effects" in {warning.kind for warning in result.warnings}
    assert "For 1 it is undecided." in result.sentences()


def test_an_edit_that_any_other_of_its_length_equals_is_undecided():
    planted = model(anything=True)
    result = verify(find(planted), planted, units=[f"{TEXT}[difference]"], maps=False, **WHAT)
    (unit,) = result.effects
    assert unit.addition.effect == 1.0 and unit.p > 0.05
    assert unit.status == "undecided" and not unit.together_with


def test_too_few_baselines_for_a_claim_are_warned_of(found):
    units = [f"{TEXT}[0]", f"{TEXT}[1]", f"{TEXT}[difference]"]
    result = verify(found, model(), units=units, maps=False, baselines=39, **WHAT)
    (warning,) = [each for each in result.warnings if each.kind == "few-baselines"]
    assert "39 baselines of each of 3 edits" in warning.text and "0.07" in warning.text
    # The correction allows it nevertheless, since two of the three have an effect.
    assert result.effects[0].q == pytest.approx(0.0375)


def test_a_bound_that_the_design_cannot_show_is_warned_of(found):
    options = {"units": [f"{TEXT}[0]"], "maps": False, "items": 4, "bound": 0.01}
    result = verify(found, model(), **WHAT, **options)
    kinds = {warning.kind for warning in result.warnings}
    assert {"few-items", "side-effects"} <= kinds and result.effects[0].status == "undecided"


def test_the_whole_site_put_in_and_back_does_all_of_it(result):
    assert [one.patching.effect for one in result.effects] == [1.0] * 3
    assert [one.reverse_patching.effect for one in result.effects] == [1.0] * 3


def test_the_maps_peak_at_the_planted_block_and_step(result):
    block, step = CAUSE
    inside = [one for one in result.where if one.stage == "denoiser"]
    assert len(inside) == 10, "every contiguous range of four blocks"
    for one in inside:
        first, last = (int(name.rpartition(".")[2]) for name in (one.first, one.last))
        assert one.effect.effect == (1.0 if first <= block <= last else 0.0), one
    assert len(result.when) == 21, "every contiguous range of six steps"
    for one in result.when:
        assert one.effect.effect == (1.0 if int(one.first) <= step <= int(one.last) else 0.0), one


def test_the_answer_names_the_least_that_does_it(result):
    said = " ".join(result.sentences())
    assert f"Of 3 units, 2 control 'light': {TEXT}[0], {TEXT}[difference]." in said
    assert "1 does not: the rate rises by less than 0.20." in said
    assert f"blocks denoiser.blocks.{CAUSE[0]} have an effect of 1.00" in said
    assert f"steps {CAUSE[1]} have an effect of 1.00" in said


def test_the_conditioning_decides_what_the_noise_does_not(result):
    swap = next(one for one in result.swaps if one.factor == "concept")
    assert (swap.conditioning, swap.noise) == (1.0, 0.0)
    layout = next(one for one in result.swaps if one.factor == "layout")
    assert layout.noise == 1.0, "its greys are all noise"


def test_results_are_the_same_after_saving_and_loading(result, tmp_path):
    result.save(tmp_path / "result")
    content = json.loads((tmp_path / "result" / "effects.json").read_text())
    assert {"effect", "low", "high"} == set(content["effects"][0]["addition"])
    first = content["effects"][0]
    assert (first["status"], first["p"], first["within_bound"]) == ("supported", 0.01, True)
    assert content["sentences"]
    again = VerificationResult.load(tmp_path / "result")
    assert again.to_dict() == result.to_dict()
    assert again.effects == result.effects and again.when == result.when
    with pytest.raises(EvidenceError):
        EffectMaps.load(tmp_path)


def test_a_result_is_a_sentence_a_table_and_charts(result):
    assert repr(result).startswith("VerificationResult: 'light' by light, 24 items")
    table = result.table().set_index("unit")
    assert table["addition"].to_dict()[f"{TEXT}[0]"] == 1.0
    assert table["status"].tolist() == ["supported", "not supported", "supported"]
    assert table["side_effects"].tolist()[0] == "within 0.20"
    assert len(result.plot("where").to_dict()["hconcat"]) == 2
    assert result.plot().to_dict()["layer"]
    assert "<table" in result._repr_html_()


def test_what_cannot_be_checked_is_said_in_one_line(found):
    def refused(findings, match, **changed):
        with pytest.raises((EvidenceError, RegistryError), match=match):
            verify(findings, model(), **(WHAT | changed))

    refused(found, "no class 'bright'", label="bright")
    refused(found, "No finding is of", units=[f"{TEXT}[9]"])
    refused(replace(found, samples=None), "find them again")
    by_pictures = replace(found, classifiers={"light": None})
    refused(by_pictures, "with seed 0: the same seed proves nothing", seeds=[0, 3])
    refused(found, "at least 2", items=1)
    part = {unit: way[:3] for unit, way in found.directions.items()}
    units = [f"{TEXT}[difference]"]
    refused(replace(found, directions=part), "record all of them", units=units)
    refused(replace(found, samples=found.samples.assign(prompt="p")), "seeds of the same prompts")


def test_prompts_of_both_arms_are_left_out_and_the_others_paired(found):
    """As after `group`, where the picture sets the arm and the prompt is the item."""
    samples = found.samples.assign(item=found.samples["prompt"])
    evaluated = samples[(samples["arm"] == "positive") & (samples["half"] == "evaluation")]
    both = evaluated.head(30).assign(arm="negative", seed=1)
    mixed = replace(found, samples=pd.concat([samples, both]), templates={"design": "cells"})
    pairs = matched_prompts(mixed, model(), "evaluation", 24)
    assert len(pairs) == 24 and pairs["positive"].is_unique and pairs["negative"].is_unique
    assert not set(pairs["positive"]) & set(both["prompt"])
    assert pairs["positive"].str.contains("glass").all()
    assert pairs["negative"].str.contains("plain").all()
    result = verify(mixed, model(), units=[f"{TEXT}[0]"], maps=False, **WHAT)
    assert result.effects[0].status == "supported"


def test_what_any_other_prompt_does_is_taken_off_a_map():
    """Late predictions of any other prompt are predicted as the concept: no range is its cause."""
    from helpers.planted_cause import Light, model

    from clerestory.causal.effect_maps import map_steps
    from clerestory.causal.trials import Trials, with_seeds
    from clerestory.evaluation import Evaluator, LoadedTarget

    class Always(Light):
        def __call__(self, pictures):
            return np.tile(np.float32([[0, 1]]), (len(pictures), 1))

    pairs = pd.DataFrame(
        [
            {"item": c, "positive": f"r glass {c}", "negative": f"r plain {c}", "same_length": True}
            for c in "abcd"
        ]
    )
    pairs = with_seeds(pairs, [(0,)] * 4)
    trials = Trials(Evaluator(model()), pairs, LoadedTarget(Always(), "light"))
    assert {one.effect.effect for one in map_steps(trials, 4)} == {0.0}


def test_two_lists_of_prompts_are_traced_without_findings():
    positive = [f"r glass {item}" for item in ITEMS]
    negative = [f"r plain {item}" for item in ITEMS]
    result = map_effects(model(), positive, negative, classifier=Light(), label="light")
    assert result.prompting.effect == 1.0 and len(result.table()) == 1 + 10 + 21
    assert any(f"blocks.{CAUSE[0]} have an effect of 1.00" in each for each in result.sentences())
    assert not any("units" in each for each in result.sentences())
    with pytest.raises(EvidenceError, match="48 positive prompts and 3 negative ones"):
        map_effects(model(), positive, negative[:3], classifier=Light(), label="light")


def test_a_stage_that_would_not_fit_into_memory_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr("clerestory.causal.effect_maps.MAX_BYTES", 10)
    positive, negative = [[f"r {kind} {c}" for c in ITEMS[:4]] for kind in ("glass", "plain")]
    result = map_effects(model(), positive, negative, classifier=Light(), label="light")
    assert not [one for one in result.where if one.stage == "denoiser"]
    assert any(
        "denoiser is not traced: its activations take 0 GiB" in each.text
        for each in result.warnings
    )


def test_samples_come_back_with_the_findings(found, tmp_path):
    found.save(tmp_path / "f")
    pd.testing.assert_frame_equal(Findings.load(tmp_path / "f").samples, found.samples)


def test_blocks_are_the_outermost_that_have_an_output():
    from tiny import tiny_model

    stages = patchable_blocks(tiny_model())
    assert set(stages) == {"text", "prior", "denoiser"}
    assert all(site.endswith("/out") for own in stages["denoiser"].values() for site in own)
    assert stages["text"]["text.blocks.0"] == ["text.blocks.0/self_attn", "text.blocks.0/mlp"]


def test_no_sample_is_drawn_twice(found):
    units, cache = [f"{TEXT}[0]"], SampleCache()
    options = WHAT | {"units": units, "maps": False}
    first = verify(found, model(), **options, cache=cache)
    assert cache.hits, "the unpatched prompts are those that were drawn before"
    drawn = cache.misses
    again = verify(found, model(), **options, cache=cache)
    assert cache.misses == drawn and again.effects == first.effects


def test_a_verification_that_was_killed_in_its_maps_goes_on_after_what_was_measured(
    found, tmp_path
):
    asked = {"units": [f"{TEXT}[0]"], "baselines": 19, **WHAT}
    begun: list[str] = []

    def stop(label: str, completed: int, total: int) -> None:
        begun.append(label)
        if label == "when":
            raise KeyboardInterrupt

    whole = verify(found, model(), progress=False, **asked)
    with pytest.raises(KeyboardInterrupt):
        verify(found, model(), parts=tmp_path / "parts", progress=stop, **asked)
    written = {path.name for path in (tmp_path / "parts").iterdir()}
    assert {"plan.json", "causes.json"} < written and "when.json" not in written
    assert any(name.startswith("where-") for name in written)
    labels: list[str] = []
    resumed = verify(
        found,
        model(),
        parts=tmp_path / "parts",
        progress=lambda label, completed, total: labels.append(label),
        **asked,
    )
    assert "adding units" in begun and "when" in labels
    assert not {label for label in labels if label.startswith(("adding", "where", "baselines"))}
    assert resumed.to_dict() == whole.to_dict()
    with pytest.raises(EvidenceError, match=r"parts of another measurement.*smallest_effect"):
        verify(found, model(), parts=tmp_path / "parts", smallest_effect=0.5, **asked)
    (tmp_path / "parts" / "causes.json").write_text("{")
    with pytest.raises(EvidenceError, match=r"causes\.json cannot be read"):
        verify(found, model(), parts=tmp_path / "parts", **asked)
