"""The contrast of arrays in memory: what is picked, tested and said of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import planted_samples as planted

from clerestory.contrasts import ContrastSamples, Findings, contrast
from clerestory.contrasts.contrast import MAX_PICKS
from clerestory.errors import EvidenceError
from clerestory.stats import auroc


@pytest.fixture
def samples() -> ContrastSamples:
    return planted.samples()


def statuses(findings: Findings) -> dict[str, str]:
    return {finding.unit: finding.status for finding in findings.findings}


def kinds(findings: Findings) -> list[str]:
    return [warning.kind for warning in findings.warnings]


def test_the_planted_direction_and_neuron_are_picked_first_and_found(
    samples: ContrastSamples,
) -> None:
    findings = contrast(planted.activations(samples.table, phrases=0.3), samples)
    assert findings.top_ranked("direction").unit == "prior/embedding[difference]"
    neuron = findings.top_ranked("neuron")
    assert (neuron.unit, neuron.sign, neuron.status) == ("prior/embedding[3]", -1, "found")
    assert neuron.detects.auroc > 0.9
    assert neuron.detects.q < 1e-3
    direction = findings.direction("prior/embedding")
    cosine = direction @ planted.CONCEPT / np.linalg.norm(direction) / 5
    assert cosine > 0.9
    assert findings.templates == {
        "positive": 6,
        "negative": 6,
        "hard_negative": 6,
        "design": "nested",
    }


def test_a_unit_of_the_hard_negatives_words_is_not_found(samples: ContrastSamples) -> None:
    findings = contrast(planted.activations(samples.table), samples)
    words = next(f for f in findings.findings if f.unit == "text.blocks.0/mlp[5]")
    assert words.detects.auroc > 0.99
    assert words.detects.hard_negative_auroc == pytest.approx(0.5, abs=0.2)
    assert words.status != "found"


@pytest.mark.parametrize("phrases", [0.0, 0.5, 2.0])
def test_nothing_is_found_where_nothing_is_planted_however_much_phrases_vary(
    phrases: float,
) -> None:
    samples = planted.samples(seeds=1)
    anything = 0
    for seed in range(40):
        values = planted.activations(samples.table, 0.0, seed, phrases=phrases)
        anything += bool(contrast(values, samples).found())
    # At a rate of .05, seven or more of forty happen in one of 250 runs.
    assert anything <= 6


def test_the_evaluation_half_has_no_say_in_what_is_picked(samples: ContrastSamples) -> None:
    values = planted.activations(samples.table)
    findings = contrast(values, samples)
    evaluation = (samples.table["half"] == "evaluation").to_numpy()
    shuffled = {site: array.copy() for site, array in values.items()}
    rng = np.random.default_rng(1)
    for array in shuffled.values():
        array[evaluation] = rng.permutation(array[evaluation])
    blind = contrast(shuffled, samples)
    assert [(f.unit, f.selection_rank, f.sign) for f in findings.findings] == [
        (f.unit, f.selection_rank, f.sign) for f in blind.findings
    ]
    assert (findings.direction("prior/embedding") == blind.direction("prior/embedding")).all()
    assert not blind.found()


def test_findings_are_listed_in_the_order_of_their_selection(samples: ContrastSamples) -> None:
    findings = contrast(planted.activations(samples.table), samples)
    for kind in ("direction", "neuron"):
        ranks = [finding.selection_rank for finding in findings.by_kind(kind)]
        assert ranks == sorted(ranks)


def test_picks_are_bounded_and_every_kind_of_site_has_one(samples: ContrastSamples) -> None:
    values = planted.activations(samples.table, sites=60)
    findings = contrast(values, samples)
    assert findings.tested == len(findings.findings) == MAX_PICKS
    assert findings.units == 60 * 9
    groups = {finding.site.replace("0", "").split(".")[0] for finding in findings.findings}
    assert groups == {"prior/embedding", "text"}
    # Sites that have no pick are described all the same.
    assert {figure.site for figure in findings.sites} == set(values)
    with pytest.raises(EvidenceError, match="top is 51"):
        contrast(values, samples, top=51)


def test_seeds_are_averaged_and_never_counted(samples: ContrastSamples) -> None:
    values = planted.activations(samples.table)
    table = pd.concat([samples.table, samples.table.assign(seed=samples.table["seed"] + 2)])
    twice = ContrastSamples(table.reset_index(drop=True), from_pictures=False)
    doubled = {site: np.vstack([array, array]) for site, array in values.items()}
    one, two = contrast(values, samples), contrast(doubled, twice)
    assert one.findings[0].detects == two.findings[0].detects
    assert one.findings[0].detects.items == 30


def test_the_auroc_is_that_of_the_cells(samples: ContrastSamples) -> None:
    values = planted.activations(samples.table)
    finding = next(f for f in contrast(values, samples).findings if f.unit == "prior/embedding[1]")
    table = samples.table.assign(value=values["prior/embedding"][:, 1])
    cells = table[table["half"] == "evaluation"].groupby(["arm", "item", "phrase"])["value"].mean()
    sides = [cells[arm].to_numpy()[:, None] for arm in ("positive", "negative")]
    assert finding.detects.auroc == pytest.approx(float(auroc(*sides)[0]))
    assert finding.detects.low < finding.detects.auroc < finding.detects.high


def test_too_few_phrases_or_items_leave_everything_undecided() -> None:
    for items, phrases, kind in ((30, 3, "few-templates"), (8, 6, "few-items")):
        samples = planted.samples(items=items, phrases=phrases)
        findings = contrast(planted.activations(samples.table, 3.0), samples)
        assert kind in kinds(findings)
        assert set(statuses(findings).values()) == {"undecided"}
    samples = planted.samples()
    assert contrast(planted.activations(samples.table), samples).warnings == ()


def test_one_phrase_an_arm_is_a_claim_about_these_phrases() -> None:
    samples = planted.samples(phrases=1, frames=6)
    findings = contrast(planted.activations(samples.table, 3.0), samples)
    assert kinds(findings) == ["one-phrase"]
    assert findings.templates["design"] == "crossed"
    assert set(statuses(findings).values()) == {"undecided"}


def test_one_phrase_in_one_frame_is_undecided_and_no_error() -> None:
    samples = planted.samples(phrases=1)
    findings = contrast(planted.activations(samples.table, 3.0), samples)
    assert kinds(findings) == ["one-phrase"]
    assert set(statuses(findings).values()) == {"undecided"}


def test_frames_that_arms_share_and_phrases_of_their_own_are_both_random() -> None:
    samples = planted.samples(frames=4, seeds=1)
    findings = contrast(planted.activations(samples.table), samples)
    assert findings.templates == {
        "positive": 6,
        "negative": 6,
        "hard_negative": 6,
        "design": "nested in crossed frames",
    }
    assert findings.top_ranked("neuron").status == "found"


def test_arms_without_a_common_item_are_compared_as_groups() -> None:
    samples = planted.samples()
    table = samples.table.assign(item=samples.table["arm"] + " " + samples.table["item"])
    unpaired = replace(samples, table=table)
    findings = contrast(planted.activations(table), unpaired)
    assert {f.unit for f in findings.found()} >= {"prior/embedding[3]", "prior/embedding[1]"}
    assert len(findings.items["evaluation"]) == 90


def test_incomplete_grids_are_cut_to_the_largest_complete_one() -> None:
    samples = planted.samples()
    lost = samples.table["phrase"].eq("positive evaluation 2") & samples.table["item"].isin(
        [f"evaluation thing {number:02}" for number in range(25)]
    )
    kept = (~lost).to_numpy()
    values = {s: v[kept] for s, v in planted.activations(samples.table).items()}
    incomplete = replace(samples, table=samples.table[kept].reset_index(drop=True))
    findings = contrast(values, incomplete)
    assert findings.templates["positive"] == 5
    assert findings.findings[0].detects.items == 30
    assert any("phrase: positive evaluation 2" in warning.text for warning in findings.warnings)


def test_a_unit_that_turns_round_is_reversed_and_not_found(samples: ContrastSamples) -> None:
    values = planted.activations(samples.table, 3.0)
    turned = (samples.table["half"] == "evaluation") & (samples.table["arm"] == "positive")
    values["prior/embedding"][turned.to_numpy()] -= 6 * planted.CONCEPT
    found = statuses(contrast(values, samples))
    assert found["prior/embedding[3]"] == "reversed"
    assert found["prior/embedding[difference]"] == "reversed"


def test_constant_units_are_no_finding_and_no_crash(samples: ContrastSamples) -> None:
    findings = contrast({"text/pooled": np.ones((len(samples.table), 3))}, samples)
    assert {finding.detects.auroc for finding in findings.findings} == {0.5}
    assert {finding.detects.q for finding in findings.findings} == {1.0}
    assert not findings.found()


def test_found_units_have_wider_intervals_than_ninety_five_percent(
    samples: ContrastSamples,
) -> None:
    findings = contrast(planted.activations(samples.table), samples)
    assert all(finding.detects.level > 0.95 for finding in findings.found())
    others = [f for f in findings.findings if f.detects.q > 0.05]
    assert {finding.detects.level for finding in others} == {0.95}


def test_without_hard_negatives_there_is_no_figure_for_it(samples: ContrastSamples) -> None:
    used = (samples.table["arm"] != "hard_negative").to_numpy()
    values = {site: array[used] for site, array in planted.activations(samples.table).items()}
    fewer = replace(samples, table=samples.table[used].reset_index(drop=True))
    assert contrast(values, fewer).findings[0].detects.hard_negative_auroc is None


def test_sides_of_one_prompt_are_compared_within_its_cells() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {
            "prompt": f"{half} {item} {template}",
            "item": f"{half} {item}",
            "phrase": "",
            "template": f"{half} {template}",
            "half": half,
            "seed": seed,
        }
        for half in ("selection", "evaluation")
        for item in range(14)
        for template in range(5)
        for seed in range(6)
    ]
    table = pd.DataFrame(rows)
    # Some items are far more often positive than others, and differ in every unit.
    rate = table["item"].map({item: rng.random() for item in table["item"].unique()})
    table["arm"] = np.where(rng.random(len(table)) < rate, "positive", "negative")
    values = rng.normal(size=(len(table), 40)) + 8 * rate.to_numpy()[:, None]
    samples = ContrastSamples(table, from_pictures=True)
    assert not contrast({"prior/embedding": values}, samples).found()
    values[(table["arm"] == "positive").to_numpy(), 7] += 2
    findings = contrast({"prior/embedding": values}, samples)
    assert findings.templates["design"] == "cells"
    assert findings.top_ranked("neuron").unit == "prior/embedding[7]"
    assert findings.top_ranked("neuron").status == "found"
    assert sum(f.kind == "neuron" for f in findings.found()) <= 2


def test_activations_that_do_not_fit_are_refused(samples: ContrastSamples) -> None:
    rows = len(samples.table)
    with pytest.raises(EvidenceError, match="average steps"):
        contrast({"prior/embedding": np.ones((rows, 2, 3))}, samples)
    bad = np.ones((rows, 3))
    bad[:2, 1] = np.nan
    with pytest.raises(EvidenceError, match="not finite in 2 of"):
        contrast({"prior/embedding": bad}, samples)
    with pytest.raises(EvidenceError, match="No site"):
        contrast({}, samples)
