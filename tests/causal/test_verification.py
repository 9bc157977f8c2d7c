from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.planted_cause import CAUSE, Light, model

from clerestory.causal import trace, verify
from clerestory.causal.results import TraceResult, VerificationResult
from clerestory.causal.tracing import patchable_blocks
from clerestory.contrasts import Findings, contrast
from clerestory.errors import EvidenceError, RegistryError
from clerestory.evaluation import SampleCache

ITEMS = [f"c{number}" for number in range(20)]
TEXT, SIDE = "text.blocks.0/mlp", "denoiser.blocks.1/mlp"


@pytest.fixture(scope="module")
def found() -> Findings:
    planted = model()
    rows = [
        (words.replace("{item}", item), item, f"{arm} {words}", arm, half)
        for half, own in (("selection", ITEMS[:10]), ("evaluation", ITEMS[10:]))
        for arm, lead in (("positive", "glass"), ("negative", "plain"))
        for words in (f"{half[0]} {lead} {{item}}",)
        for item in own
    ]
    samples = pd.DataFrame(rows, columns=["prompt", "item", "template", "arm", "half"])
    samples["seed"] = 0
    run = planted.run(list(samples["prompt"]), 0, read=[TEXT, SIDE], pictures=False)
    activations = {site: run.read(site).mean("step").to_numpy() for site in (TEXT, SIDE)}
    return contrast(activations, samples, methods=("difference", "probe"), flips=5)


@pytest.fixture(scope="module")
def result(found):
    units = [f"{TEXT}[0]", f"{TEXT}[1]", f"{TEXT}[difference]"]
    return verify(found, model(), classifier=Light(), label="light", units=units)


def test_what_is_planted_controls_and_what_only_goes_with_it_does_not(result):
    cause, follower, direction = result.effects
    assert (cause.detects, follower.detects) == (1.0, 1.0)
    assert (cause.addition.effect, cause.ablation.effect) == (1.0, 1.0)
    assert cause.controls and direction.controls
    assert follower.baselines.low <= follower.addition.effect <= follower.baselines.high
    assert not follower.controls and follower.ablation.effect == 0
    assert direction.addition.effect == 1.0
    assert result.prompting.effect == 1.0 and result.negative_rate == 0.0


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
    assert "2 control 'light'" in said
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
    assert content["effects"][0]["controls"] is True and content["sentences"]
    again = VerificationResult.load(tmp_path / "result")
    assert again.to_dict() == result.to_dict()
    assert again.effects == result.effects and again.when == result.when
    with pytest.raises(EvidenceError):
        TraceResult.load(tmp_path)


def test_a_result_is_a_sentence_a_table_and_charts(result):
    assert repr(result).startswith("VerificationResult: 'light' by light, 10 items")
    table = result.table().set_index("unit")
    assert table["addition"].to_dict()[f"{TEXT}[0]"] == 1.0
    assert table["controls"].tolist() == [True, False, True]
    assert len(result.plot("where").to_dict()["hconcat"]) == 2
    assert result.plot().to_dict()["layer"]
    assert "<table" in result._repr_html_()


def test_what_cannot_be_checked_is_said_in_one_line(found):
    with pytest.raises(RegistryError, match="no class 'bright'"):
        verify(found, model(), classifier=Light(), label="bright")
    with pytest.raises(EvidenceError, match="No finding is of"):
        verify(found, model(), classifier=Light(), label="light", units=[f"{TEXT}[9]"])
    with pytest.raises(EvidenceError, match="find them again"):
        verify(replace(found, samples=None), model(), classifier=Light(), label="light")
    by_pictures = replace(found, classifiers={"light": None})
    with pytest.raises(EvidenceError, match="with seed 0: the same seed proves nothing"):
        verify(by_pictures, model(), classifier=Light(), label="light", seeds=[0, 3])
    with pytest.raises(EvidenceError, match="at least 2"):
        verify(found, model(), classifier=Light(), label="light", items=1)
    part = {unit: way[:3] for unit, way in found.directions.items()}
    with pytest.raises(EvidenceError, match="record all of them"):
        units = [f"{TEXT}[difference]"]
        verify(
            replace(found, directions=part), model(), classifier=Light(), label="light", units=units
        )
    one_prompt = found.samples.assign(prompt="p")
    with pytest.raises(EvidenceError, match="seeds of one prompt"):
        verify(replace(found, samples=one_prompt), model(), classifier=Light(), label="light")


def test_what_any_other_prompt_does_is_taken_off_a_map():
    """Late predictions of any other prompt are predicted as the concept: no range is its cause."""
    from helpers.planted_cause import Light, model

    from clerestory.causal.tracing import trace_steps
    from clerestory.causal.trials import Trials
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
    trials = Trials(Evaluator(model()), pairs, (0,), LoadedTarget(Always(), "light"))
    assert {one.effect.effect for one in trace_steps(trials, 4)} == {0.0}


def test_two_lists_of_prompts_are_traced_without_findings():
    positive = [f"r glass {item}" for item in ITEMS]
    negative = [f"r plain {item}" for item in ITEMS]
    result = trace(model(), positive, negative, classifier=Light(), label="light")
    assert result.prompting.effect == 1.0 and len(result.table()) == 1 + 10 + 21
    assert any(f"blocks.{CAUSE[0]} have an effect of 1.00" in each for each in result.sentences())
    assert not any("units" in each for each in result.sentences())
    with pytest.raises(EvidenceError, match="20 positive prompts and 3 negative ones"):
        trace(model(), positive, negative[:3], classifier=Light(), label="light")


def test_a_stage_that_would_not_fit_into_memory_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr("clerestory.causal.tracing.MAX_BYTES", 10)
    positive, negative = [[f"r {kind} {c}" for c in ITEMS[:4]] for kind in ("glass", "plain")]
    result = trace(model(), positive, negative, classifier=Light(), label="light")
    assert not [one for one in result.where if one.stage == "denoiser"]
    assert any(
        "denoiser is not traced: its activations take 0 GiB" in each for each in result.warnings
    )


def test_where_all_pairs_differ_alike_no_unit_is_said_to_control(found):
    result = verify(
        found, model(), classifier=Light(), label="light", units=[f"{SIDE}[0]"], maps=False
    )
    assert result.effects[0].baselines is None
    assert not result.effects[0].controls


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
    options = {"classifier": Light(), "label": "light", "units": units, "maps": False}
    first = verify(found, model(), **options, cache=cache)
    assert cache.hits, "the unpatched prompts are those that were drawn before"
    drawn = cache.misses
    again = verify(found, model(), **options, cache=cache)
    assert cache.misses == drawn and again.effects == first.effects
