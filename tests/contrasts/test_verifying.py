from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from contrasts.causal import CAUSE, Light, model
from numpy.testing import assert_allclose

from clerestory.causal import trace, verify
from clerestory.causal.results import change
from clerestory.causal.tracing import blocks
from clerestory.contrasts import Findings, contrast
from clerestory.errors import EvidenceError, RegistryError
from clerestory.stats import newcombe

CONTENTS = [f"c{number}" for number in range(20)]
TEXT, TOLD = "text.blocks.0/mlp", "denoiser.blocks.1/mlp"


@pytest.fixture(scope="module")
def found() -> Findings:
    planted = model()
    rows = [
        (words.replace("{x}", content), content, f"{arm} {words}", arm, half)
        for half, own in (("discovery", CONTENTS[:10]), ("report", CONTENTS[10:]))
        for arm, lead in (("shown", "glass"), ("absent", "plain"))
        for words in (f"{half[0]} {lead} {{x}}",)
        for content in own
    ]
    samples = pd.DataFrame(rows, columns=["prompt", "content", "phrase", "arm", "half"])
    samples["seed"] = 0
    run = planted.run(list(samples["prompt"]), 0, read=[TEXT, TOLD], pictures=False)
    activations = {site: run.activations[site].mean("step").to_numpy() for site in (TEXT, TOLD)}
    return contrast(activations, samples, by=("difference", "probe"), flips=5)


@pytest.fixture(scope="module")
def causes(found):
    units = [f"{TEXT}[0]", f"{TEXT}[1]", f"{TEXT}[difference]"]
    return verify(found, model(), Light(), "light", units=units)


def test_what_is_planted_controls_and_what_only_goes_with_it_does_not(causes):
    cause, beside, direction = causes.controls
    assert (cause.detects, beside.detects) == (1.0, 1.0)
    assert (cause.addition.effect, cause.ablation.effect) == (1.0, 1.0)
    assert cause.controls and direction.controls
    assert beside.shuffled.low <= beside.addition.effect <= beside.shuffled.high
    assert not beside.controls and beside.ablation.effect == 0
    assert direction.addition.effect == 1.0
    assert causes.words.effect == 1.0 and causes.unedited == 0.0


def test_the_whole_site_put_in_and_back_does_all_of_it(causes):
    assert [one.patching.effect for one in causes.controls] == [1.0] * 3
    assert [one.back.effect for one in causes.controls] == [1.0] * 3


def test_the_maps_peak_at_the_planted_block_and_step(causes):
    block, step = CAUSE
    inside = [one for one in causes.where if one.stage == "denoiser"]
    assert len(inside) == 10, "every contiguous range of four blocks"
    for one in inside:
        first, last = (int(name.rpartition(".")[2]) for name in (one.first, one.last))
        assert one.effect.effect == (1.0 if first <= block <= last else 0.0), one
    assert len(causes.when) == 21, "every contiguous range of six steps"
    for one in causes.when:
        assert one.effect.effect == (1.0 if int(one.first) <= step <= int(one.last) else 0.0), one


def test_the_answer_names_the_least_that_does_it(causes):
    said = " ".join(causes.sentences())
    assert "2 control 'light'" in said
    assert f"blocks denoiser.blocks.{CAUSE[0]} put in 1.00 of it" in said
    assert f"steps {CAUSE[1]} put in 1.00 of it" in said


def test_the_condition_decides_what_the_noise_does_not(causes):
    swap = next(one for one in causes.swaps if one.factor == "concept")
    assert (swap.condition, swap.noise) == (1.0, 0.0)
    layout = next(one for one in causes.swaps if one.factor == "layout")
    assert layout.noise == 1.0, "its greys are all noise"


def test_effects_are_paired_rates_with_newcombes_interval():
    before, after = np.zeros((10, 2), bool), np.zeros((10, 2), bool)
    after[:6, 0] = True
    found = change(after, before)
    assert_allclose(found.effect, 0.3)
    assert (found.low, found.high) == newcombe(3.0, 10, 0.0, 10)
    assert change(before, after, lost=True).effect == found.effect


def test_causes_are_told_and_kept(causes, tmp_path):
    causes.save(tmp_path / "causes")
    told = json.loads((tmp_path / "causes" / "causes.json").read_text())
    one = told["controls"][0]
    assert {"unit", "addition", "ablation", "patching", "shuffled", "words", "collateral"} <= set(
        one
    )
    assert {"effect", "low", "high"} == set(one["addition"])
    assert {"mean", "high"} <= set(one["shuffled"])
    assert one["words"]["effect"] == 1.0
    assert told["where"] and told["when"]


def test_what_cannot_be_checked_is_said_in_one_line(found):
    with pytest.raises(RegistryError, match="no class 'bright'"):
        verify(found, model(), Light(), "bright")
    with pytest.raises(EvidenceError, match="No finding is of"):
        verify(found, model(), Light(), "light", units=[f"{TEXT}[9]"])
    with pytest.raises(EvidenceError, match="find them again"):
        verify(replace(found, samples=None), model(), Light(), "light")
    seen = replace(found, classifiers={"light": None})
    with pytest.raises(EvidenceError, match="with seed 0: drawn again it proves nothing"):
        verify(seen, model(), Light(), "light", seeds=[0, 3])
    with pytest.raises(EvidenceError, match="at least 2"):
        verify(found, model(), Light(), "light", contents=1)
    part = {unit: way[:3] for unit, way in found.directions.items()}
    with pytest.raises(EvidenceError, match="record all of them"):
        units = [f"{TEXT}[difference]"]
        verify(replace(found, directions=part), model(), Light(), "light", units=units)
    one_prompt = found.samples.assign(prompt="p")
    with pytest.raises(EvidenceError, match="seeds of one prompt"):
        verify(replace(found, samples=one_prompt), model(), Light(), "light")


def test_what_any_other_prompt_does_is_taken_off_a_map():
    """Late predictions of any other prompt are seen as the concept: no range is its cause."""
    from contrasts.causal import Light, model

    from clerestory.causal.tracing import when
    from clerestory.causal.trials import Trials

    class Always(Light):
        def __call__(self, pictures):
            return np.tile(np.float32([[0, 1]]), (len(pictures), 1))

    pairs = pd.DataFrame(
        [
            {"content": c, "shown": f"r glass {c}", "absent": f"r plain {c}", "fits": True}
            for c in "abcd"
        ]
    )
    trials = Trials(model(), pairs, (0,), Always(), "light", lambda what, done, of: None)
    assert {one.effect.effect for one in when(trials, 4)} == {0.0}


def test_two_lists_of_prompts_are_traced_without_findings():
    shown = [f"r glass {content}" for content in CONTENTS]
    absent = [f"r plain {content}" for content in CONTENTS]
    causes = trace(model(), shown, absent, Light(), "light")
    assert not causes.controls and causes.words.effect == 1.0
    assert any(f"blocks.{CAUSE[0]} put in 1.00" in each for each in causes.sentences())
    assert not any("units" in each for each in causes.sentences())
    with pytest.raises(EvidenceError, match="20 prompts show it and 3 do not"):
        trace(model(), shown, absent[:3], Light(), "light")


def test_a_stage_that_would_not_fit_into_memory_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr("clerestory.causal.tracing.HELD", 10)
    shown, absent = [[f"r {kind} {c}" for c in CONTENTS[:4]] for kind in ("glass", "plain")]
    causes = trace(model(), shown, absent, Light(), "light")
    assert not [one for one in causes.where if one.stage == "denoiser"]
    assert any("denoiser is not traced: 0 GiB a prompt" in each for each in causes.warnings)


def test_where_all_pairs_differ_alike_no_unit_is_said_to_control(found):
    causes = verify(found, model(), Light(), "light", units=[f"{TOLD}[0]"], maps=False)
    assert causes.controls[0].shuffled is None
    assert not causes.controls[0].controls


def test_samples_come_back_with_the_findings(found, tmp_path):
    found.save(tmp_path / "f")
    pd.testing.assert_frame_equal(Findings.load(tmp_path / "f").samples, found.samples)


def test_blocks_are_the_outermost_that_have_an_output():
    from tiny import tiny_model

    stages = blocks(tiny_model())
    assert set(stages) == {"text", "prior", "denoiser"}
    assert all(site.endswith("/out") for own in stages["denoiser"].values() for site in own)
    assert stages["text"]["text.blocks.0"] == ["text.blocks.0/self_attn", "text.blocks.0/mlp"]
