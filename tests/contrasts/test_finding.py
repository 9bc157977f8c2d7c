"""`find`: from a recording and queries to findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.recordings import factorial, noise, recording_of

from clerestory.contrasts import Findings, find
from clerestory.errors import EvidenceError, OptionError

SITES = {"text.blocks.0/mlp": (1, 12), "denoiser.mid.res.0/out": (3, 8), "prior/embedding": (1, 16)}
OPTIONS: dict[str, Any] = {
    "positive": "style == 'glass'",
    "negative": "style == 'plain'",
    "hard_negative": "style == 'window'",
    "match": "subject",
}


def planted(folder: Path, strength: float = 3.0, **options: Any) -> Any:
    """The concept in two units of a site at one step; the hard negative's word in another."""
    table = factorial(**options)
    arrays = noise(table, 0, SITES)
    positive = (table["style"] == "glass").to_numpy()
    arrays["denoiser.mid.res.0/out"][positive, 1, 2] += strength
    arrays["denoiser.mid.res.0/out"][positive, 1, 5] -= strength
    arrays["text.blocks.0/mlp"][(table["style"] != "plain").to_numpy(), 0, 3] += 3 * strength
    return recording_of(table, arrays, folder)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return planted(tmp_path_factory.mktemp("planted") / "rec")


@pytest.fixture(scope="module")
def findings(recording: Any) -> Findings:
    return find(recording, **OPTIONS)


def kinds(findings: Findings) -> set[str]:
    return {warning.kind for warning in findings.warnings}


def test_the_planted_site_step_and_units_are_picked_first_and_found(findings: Findings) -> None:
    best = findings.top_ranked("direction")
    assert best.site == "denoiser.mid.res.0/out@1"
    assert best.detects.auroc > 0.95
    assert best.detects.hard_negative_auroc is not None
    assert best.detects.hard_negative_auroc > 0.95
    neurons = {f.unit: (f.sign, f.status) for f in findings.by_kind("neuron")[:2]}
    assert neurons == {
        "denoiser.mid.res.0/out[2]@1": (1, "found"),
        "denoiser.mid.res.0/out[5]@1": (-1, "found"),
    }
    assert findings.warnings == ()
    assert findings.tested == len(findings.findings) <= 50


def test_every_site_and_step_is_described_and_has_its_directions(findings: Findings) -> None:
    sites = ["text.blocks.0/mlp", "prior/embedding"]
    sites += [f"denoiser.mid.res.0/out@{step}" for step in range(3)]
    assert {figure.site for figure in findings.sites} == set(sites)
    sparse = findings.direction("denoiser.mid.res.0/out@1", "sparse")
    assert set(np.argsort(-np.abs(sparse))[:2]) == {2, 5}
    assert findings.units == 12 + 16 + 3 * 8 + 3 * 5


def test_the_curve_says_how_few_neurons_do_as_well(findings: Findings) -> None:
    curve = findings.curves["denoiser.mid.res.0/out@1"]
    assert [count for count, *_ in curve] == [1, 2, 4, 8]
    aurocs = [auroc for _, auroc, _ in curve]
    assert aurocs[1] > aurocs[0]
    assert abs(aurocs[1] - findings.top_ranked("direction").detects.auroc) < 0.03


def test_a_unit_that_is_as_high_for_hard_negatives_is_not_found(recording: Any) -> None:
    findings = find(recording, **OPTIONS, top=45)
    word = next(f for f in findings.by_kind("neuron") if f.unit == "text.blocks.0/mlp[3]")
    assert word.selection_rank > 2
    assert word.detects.auroc > 0.95
    assert word.detects.hard_negative_auroc is not None
    assert word.detects.hard_negative_auroc < 0.7
    assert word.status != "found"


def test_halves_share_no_item_and_no_phrase(findings: Findings) -> None:
    assert findings.samples is not None
    for column in ("item", "phrase"):
        halves = findings.samples.groupby("half")[column].agg(set)
        assert not halves["selection"] & halves["evaluation"]
    assert findings.findings[0].detects.items == 24


def test_they_are_the_same_for_a_seed_and_after_saving(
    recording: Any, findings: Findings, tmp_path: Path
) -> None:
    assert find(recording, **OPTIONS).to_dict() == findings.to_dict()
    assert find(recording, **OPTIONS, seed=1).items != findings.items
    findings.save(tmp_path / "found")
    assert Findings.load(tmp_path / "found").to_dict() == findings.to_dict()


def test_the_json_names_status_rank_and_warnings(tmp_path: Path) -> None:
    content = find(planted(tmp_path / "rec", items=16), **OPTIONS).to_dict()
    finding = content["findings"][0]
    assert {"unit", "sign", "status", "selection_rank", "detects"} <= set(finding)
    assert {"auroc", "low", "high", "p", "q"} <= set(finding["detects"])
    assert content["templates"] == {
        "positive": 6,
        "negative": 6,
        "hard_negative": 6,
        "design": "nested",
    }
    assert content["warnings"][0]["kind"] == "few-items"
    assert "24 are recommended" in content["warnings"][0]["text"]


def test_several_splits_report_twice_the_median_p(recording: Any) -> None:
    one, three = find(recording, **OPTIONS), find(recording, **OPTIONS, splits=3)
    assert [f.unit for f in three.findings] == [f.unit for f in one.findings]
    assert all(f.detects.p <= 1 for f in three.findings)
    assert three.top_ranked("neuron").status == "found"
    by_split = [
        {f.unit: f.detects.p for f in find(recording, **OPTIONS, seed=seed).findings}
        for seed in range(3)
    ]
    for finding in three.findings:
        p = np.median([split.get(finding.unit, 1.0) for split in by_split])
        assert finding.detects.p == pytest.approx(min(1.0, 2 * p))
    with pytest.raises(EvidenceError, match="splits is 0"):
        find(recording, **OPTIONS, splits=0)


def test_the_number_of_contrasts_of_a_recording_is_reported(tmp_path: Path) -> None:
    recording = planted(tmp_path / "rec", items=24)
    assert find(recording, **OPTIONS).contrasts == 1
    assert find(recording, **OPTIONS, seed=1).contrasts == 1
    assert (
        find(
            recording, **{**OPTIONS, "negative": "style == 'window'", "hard_negative": None}
        ).contrasts
        == 2
    )


def test_only_neurons_or_only_directions_if_asked(recording: Any) -> None:
    for kind in ("neuron", "direction"):
        findings = find(recording, **OPTIONS, kind=kind)
        assert {f.kind for f in findings.findings} == set(findings.table()["kind"]) == {kind}
        assert findings.tested == len(findings.findings)
    with pytest.raises(OptionError, match="it must be 'neuron', 'direction' or 'both'"):
        find(recording, **OPTIONS, kind="unit")


def test_bad_samples_are_left_out_and_counted(tmp_path: Path) -> None:
    table = factorial()
    arrays = noise(table, 0, SITES)
    arrays["prior/embedding"][7] = np.nan
    findings = find(recording_of(table, arrays, tmp_path, {7: "not finite"}), **OPTIONS)
    assert "bad-samples" in kinds(findings)
    assert "1 bad samples were left out." in [warning.text for warning in findings.warnings]


@pytest.mark.parametrize(("column", "kind"), [("place", "confounded"), ("seed", "seed-decides")])
def test_a_column_that_determines_the_arm_is_warned_of(
    tmp_path: Path, column: str, kind: str
) -> None:
    table = factorial(items=24)
    table[column] = table["style"].map({"glass": 1, "plain": 0, "window": 0})
    findings = find(recording_of(table, noise(table, 0, SITES), tmp_path), **OPTIONS)
    assert kind in kinds(findings)
    # One cell in twenty against it, and it still nearly does.
    nearly = table.copy()
    nearly.loc[::20, column] = 1 - nearly.loc[::20, column]
    findings = find(recording_of(nearly, noise(nearly, 0, SITES), tmp_path / "nearly"), **OPTIONS)
    assert kind in kinds(findings)
    table[column] = np.random.default_rng(0).integers(2, size=len(table))
    findings = find(recording_of(table, noise(table, 0, SITES), tmp_path / "free"), **OPTIONS)
    assert kind not in kinds(findings)


def test_frames_that_arms_share_with_one_phrase_each_are_a_claim_about_the_phrases(
    tmp_path: Path,
) -> None:
    table = factorial(items=24)
    table["template"] = table.pop("phrase").str.split().str[1]
    findings = find(recording_of(table, noise(table, 0, SITES), tmp_path), **OPTIONS)
    assert "one-phrase" in kinds(findings)
    assert {finding.status for finding in findings.findings} == {"undecided"}


def test_templates_that_an_arm_has_to_itself_are_its_phrases(tmp_path: Path) -> None:
    table = factorial(items=24)
    table["template"] = table.pop("phrase")
    findings = find(recording_of(table, noise(table, 0, SITES), tmp_path), **OPTIONS)
    assert findings.templates["design"] == "nested"
    assert "one-phrase" not in kinds(findings)


def test_items_that_share_their_seeds_are_warned_of(tmp_path: Path) -> None:
    table = factorial(items=24, seeds=2)
    table["seed"] %= 2
    findings = find(recording_of(table, noise(table, 0, SITES), tmp_path), **OPTIONS)
    assert "shared-seeds" in kinds(findings)


def test_one_seed_of_all_items_is_warned_of_unless_text_alone_was_read(tmp_path: Path) -> None:
    table = factorial(items=24).assign(seed=0)
    arrays = noise(table, 0, SITES)
    assert "shared-seeds" in kinds(find(recording_of(table, arrays, tmp_path / "all"), **OPTIONS))
    text = {site: values for site, values in arrays.items() if site.startswith("text")}
    assert "shared-seeds" not in kinds(
        find(recording_of(table, text, tmp_path / "text"), **OPTIONS)
    )
    # A sample less does not make the seeds the items' own.
    fewer = factorial(items=24, seeds=2).drop(index=5).reset_index(drop=True)
    fewer["seed"] %= 2
    findings = find(recording_of(fewer, noise(fewer, 0, SITES), tmp_path / "fewer"), **OPTIONS)
    assert "shared-seeds" in kinds(findings)


def test_items_have_a_value_in_every_sample_and_phrases_need_none(tmp_path: Path) -> None:
    table = factorial(items=24)
    some = np.arange(len(table)) % 50 == 0
    for column in ("subject", "phrase"):
        missing = table.assign(**{column: table[column].where(~some)})
        recording = recording_of(missing, noise(table, 0, SITES), tmp_path / column)
        if column == "subject":
            with pytest.raises(EvidenceError, match=r"18 samples have no value in 'subject'"):
                find(recording, **OPTIONS)
        else:
            assert "incomplete" in kinds(find(recording, **OPTIONS))


def test_phrases_in_frames_of_their_own_arm_are_no_more_phrases(tmp_path: Path) -> None:
    table = factorial(items=24, phrases=4)
    table = pd.concat(
        [table.assign(template=table["style"] + f" frame {at}") for at in range(6)],
        ignore_index=True,
    )
    table["prompt"] += " " + table["template"]
    recording = recording_of(table, noise(table, 0, SITES), tmp_path)
    with pytest.raises(EvidenceError, match="The arms share no sentence frame"):
        find(recording, **OPTIONS)


def test_prompts_of_several_items_are_warned_of(tmp_path: Path) -> None:
    table = factorial(items=24)
    item = table["subject"].str.split().str[1].astype(int) // 2
    table["prompt"] = table["phrase"] + " " + item.astype(str)
    findings = find(recording_of(table, noise(table, 0, SITES), tmp_path), **OPTIONS)
    assert kinds(findings) >= {"repeated-items"}


@pytest.mark.parametrize("column", ["wording", "concept"])
def test_phrases_of_any_column_are_no_confound(tmp_path: Path, column: str) -> None:
    table = factorial().rename(columns={"phrase": column})
    recording = recording_of(table, noise(table, 0, SITES), tmp_path)
    named = {"phrase": column} if column == "wording" else {}
    assert kinds(find(recording, **OPTIONS, **named)) == set()


@pytest.mark.parametrize(("frames", "status"), [(1, "found"), (2, "undecided"), (8, "found")])
def test_two_or_three_frames_are_too_few_to_evaluate_on(
    tmp_path: Path, frames: int, status: str
) -> None:
    table = pd.concat(
        [factorial(phrases=8).assign(template=f"frame {at}") for at in range(frames)],
        ignore_index=True,
    )
    table["prompt"] += " " + table["template"]
    arrays = noise(table, 0, {"prior/embedding": (1, 4)})
    arrays["prior/embedding"][(table["style"] == "glass").to_numpy(), 0, 2] += 5
    findings = find(recording_of(table, arrays, tmp_path), **OPTIONS)
    assert findings.top_ranked("neuron").status == status
    few = [warning.text for warning in findings.warnings if "sentence frames" in warning.text]
    assert bool(few) == (status == "undecided")


def test_within_a_prompt_its_seeds_are_contrasted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [
            {"prompt": f"person {at:02}", "seed": 6 * at + seed}
            for at in range(60)
            for seed in range(6)
        ]
    )
    mood = rng.random(len(table)) < 0.5
    by_prompt = rng.normal(size=(60, 1, 8)).repeat(6, 0) * 5
    arrays = {"prior/embedding": by_prompt + rng.normal(size=by_prompt.shape)}
    arrays["prior/embedding"][mood, 0, 4] += 2.0
    recording = recording_of(table, arrays, tmp_path)
    labels = pd.DataFrame(
        {"predicted.mood": np.where(mood, "scared", "happy"), "predicted.mood.confidence": 0.9}
    )
    queries = {"negative": "predicted.mood == 'happy'", "within": "prompt"}
    positive = "predicted.mood == 'scared' and predicted.mood.confidence > 0.6"
    both = dict.fromkeys(("selection", "evaluation"), labels)
    findings = find(recording, positive=positive, labels=both, **queries)
    first = findings.top_ranked("neuron")
    # Prompts differ by far more than moods do: only the seeds of one prompt tell.
    assert (first.unit, first.status) == ("prior/embedding[4]", "found")
    assert kinds(findings) == {"templates-not-varied"}
    none = "No sample matches positive = .* The samples have predicted.mood: happy, scared"
    with pytest.raises(EvidenceError, match=none):
        find(recording, positive="predicted.mood == 'sad'", labels=both, **queries)


def test_samples_that_are_still_to_come_are_named_where_an_arm_is_empty(tmp_path: Path) -> None:
    table = pd.DataFrame({"prompt": ["a", "b", "c"], "seed": 0, "item": "x"})
    table["style"] = ["plain", "plain", "ink"]
    recording = recording_of(table, {"text/pooled": np.zeros((3, 1, 1))}, tmp_path)
    recording.samples["done"] = [True, True, False]
    recording.rows = np.array([0, 1])
    words = r"have style: plain\. 1 samples are not recorded yet: finish the recording"
    with pytest.raises(EvidenceError, match=words):
        find(recording, positive="style == 'ink'", negative="style == 'plain'")


def test_each_half_goes_by_the_labels_of_its_own_classifiers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": f"{item} {frame}", "seed": seed, "subject": f"{item}", "template": f"{frame}"}
        for item in range(40)
        for frame in range(8)
        for seed in range(4)
    ]
    table = pd.DataFrame(rows)
    style = rng.random(len(table)) < 0.5
    arrays = noise(table, 0, {"prior/embedding": (1, 4)})
    arrays["prior/embedding"][style, 0, 1] += 4
    right = pd.DataFrame({"predicted.style": np.where(style, "glass", "plain")})
    wrong = pd.DataFrame({"predicted.style": rng.permutation(right["predicted.style"])})
    queries = {"positive": "predicted.style == 'glass'", "negative": "predicted.style == 'plain'"}
    options: dict[str, Any] = {**queries, "match": "subject"}
    recording = recording_of(table, arrays, tmp_path)
    by_hand = right.rename(columns={"predicted.style": "look"})
    looks = find(
        recording,
        positive="look == 'glass'",
        negative="look == 'plain'",
        match="subject",
        labels={"selection": by_hand, "evaluation": by_hand},
    )
    assert looks.templates["design"] == "cells"
    right_labels = find(recording, labels={"selection": right, "evaluation": right}, **options)
    wrong_labels = find(recording, labels={"selection": right, "evaluation": wrong}, **options)
    assert (
        right_labels.top_ranked("neuron").unit
        == wrong_labels.top_ranked("neuron").unit
        == "prior/embedding[1]"
    )
    assert right_labels.top_ranked("neuron").status == "found"
    assert wrong_labels.top_ranked("neuron").status == "not found"
    with pytest.raises(EvidenceError, match="labels have no row for sample 5"):
        few = dict.fromkeys(("selection", "evaluation"), right.drop(index=5))
        find(recording, labels=few, **options)


@pytest.mark.parametrize(("frames", "status"), [(1, "found"), (2, "undecided"), (8, "found")])
def test_labels_in_few_frames_are_undecided(tmp_path: Path, frames: int, status: str) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": f"{item} {frame}", "seed": 48 * seed + item, "item": item, "template": frame}
        for item in range(48)
        for frame in range(frames)
        for seed in range(8)
    ]
    table = pd.DataFrame(rows)
    scared = rng.random(len(table)) < 0.5
    arrays = {"prior/embedding": rng.normal(size=(len(table), 1, 4))}
    arrays["prior/embedding"][scared, 0, 1] += 5
    labels = pd.DataFrame({"predicted.mood": np.where(scared, "scared", "happy")})
    findings = find(
        recording_of(table, arrays, tmp_path),
        positive="predicted.mood == 'scared'",
        negative="predicted.mood == 'happy'",
        labels=dict.fromkeys(("selection", "evaluation"), labels),
    )
    assert findings.top_ranked("neuron").status == status
    kind = {1: "shared-templates", 2: "few-templates", 8: "few-templates"}[frames]
    assert kinds(findings) == {kind}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"positive": "style == 'oil'"},
            r"No sample matches positive .* The samples have style: glass, plain, window",
        ),
        ({"positive": "style = 'glass'"}, "cannot be read .*; write style == 'ink'"),
        ({"positive": "style == "}, "cannot be read"),
        (
            {"positive": "stlye == 'glass'"},
            r"positive = .* cannot be read .*stlye.* columns: prompt, .*Did you mean style\?",
        ),
        ({"positive": "style"}, "is not a comparison"),
        ({"negative": "style != 'window'"}, r"samples are both positive and negative, such as"),
        ({"match": "sbuject"}, r"no column 'sbuject' to match.* subject"),
        ({"match": ()}, "No column is matched"),
        ({"template": "frame"}, r"no column 'frame'"),
        ({"phrase": "prhase"}, r"no column 'prhase'.*phrase"),
        ({"within": "subject"}, "expected 'prompt' or None"),
        ({"within": "prompt"}, "`match` cannot be combined"),
        ({"classifiers": {"moood": "lancet:mood"}}, "predicted.moood, which no query names"),
        (
            {"positive": "style == 'glass' and @pd.io.common.os.system('touch x') == 0"},
            "cannot be read",
        ),
        ({"positive": "style.to_csv('x') == 1"}, "has a call"),
        ({"positive": "style.__class__ == 1"}, "has a attribute"),
        ({"positive": "[one for one in style] == 1"}, "has a listcomp"),
    ],
)
def test_what_cannot_carry_a_finding_is_refused_in_one_line(
    recording: Any, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(EvidenceError, match=words) as caught:
        find(recording, **{**OPTIONS, **change})
    assert "\n" not in str(caught.value)
