from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.recordings import factorial, noise, recording_of

from clerestory.contrasts import Findings, find
from clerestory.errors import EvidenceError

SITES = {"text.blocks.0/mlp": (1, 12), "denoiser.mid.res.0/out": (3, 8), "prior/embedding": (1, 16)}
OPTIONS: dict[str, Any] = {
    "positive": "style == 'glass'",
    "negative": "style == 'plain'",
    "hard_negative": "style == 'window'",
    "match": "subject",
    "flips": 20,
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
def found(recording: Any) -> Findings:
    return find(recording, **OPTIONS)


def test_the_planted_site_step_and_units_come_first(found: Findings) -> None:
    best = found.findings[0]
    assert best.site == "denoiser.mid.res.0/out@1"
    assert best.detects.auroc > 0.95
    assert best.detects.hard_negative_auroc is not None
    assert best.detects.hard_negative_auroc > 0.95
    neurons = {f.unit: f.sign for f in found.by_kind("neuron") if f.rank <= 2}
    assert neurons == {"denoiser.mid.res.0/out[2]@1": 1, "denoiser.mid.res.0/out[5]@1": -1}
    assert found.top_ranked("direction").site == "denoiser.mid.res.0/out@1"
    assert found.warnings == ()


def test_every_direction_method_is_there_at_every_site_and_step(found: Findings) -> None:
    names = {f.unit for f in found.by_kind("direction")}
    places = ["text.blocks.0/mlp{}", "prior/embedding{}"]
    places += [f"denoiser.mid.res.0/out{{}}@{step}" for step in range(3)]
    assert names == {
        place.format(f"[{way}]") for place in places for way in ("difference", "probe", "sparse")
    }
    sparse = found.direction("denoiser.mid.res.0/out@1", "sparse")
    assert set(np.argsort(-np.abs(sparse))[:2]) == {2, 5}
    assert found.tested == 12 + 16 + 3 * 8 + 3 * 5


def test_the_curve_says_how_few_neurons_do_as_well(found: Findings) -> None:
    curve = found.curves["denoiser.mid.res.0/out@1"]
    assert [count for count, *_ in curve] == [1, 2, 4, 8]
    aurocs = [auroc for _, auroc, _ in curve]
    assert aurocs[1] > aurocs[0]
    direction = found.top_ranked("direction").detects.auroc
    assert abs(aurocs[1] - direction) < 0.03


def test_a_unit_that_is_as_high_for_hard_negatives_is_not_taken_for_the_concept(
    recording: Any,
) -> None:
    found = find(recording, **OPTIONS, top=100)
    word = next(f for f in found.by_kind("neuron") if f.unit == "text.blocks.0/mlp[3]")
    assert word.rank > 2
    assert word.detects.auroc > 0.95
    assert word.detects.hard_negative_auroc is not None
    assert word.detects.hard_negative_auroc < 0.7


def test_items_are_never_in_both_halves(found: Findings) -> None:
    one, two = found.items["selection"], found.items["evaluation"]
    assert len(one) == len(two) == 24
    assert not set(one) & set(two)
    assert found.findings[0].detects.pairs == 24


def test_they_are_the_same_for_a_seed_and_after_saving(
    recording: Any, found: Findings, tmp_path: Path
) -> None:
    assert find(recording, **OPTIONS).to_dict() == found.to_dict()
    assert find(recording, **OPTIONS, seed=1).items != found.items
    found.save(tmp_path / "found")
    assert Findings.load(tmp_path / "found").to_dict() == found.to_dict()


def test_only_neurons_or_only_directions_if_asked(recording: Any) -> None:
    for kind in ("neuron", "direction"):
        found = find(recording, **OPTIONS, kind=kind)
        assert {f.kind for f in found.findings} == set(found.table()["kind"]) == {kind}
    with pytest.raises(EvidenceError, match="neuron, direction, both"):
        find(recording, **OPTIONS, kind="unit")


def test_bad_samples_are_left_out_and_counted(tmp_path: Path) -> None:
    table = factorial()
    arrays = noise(table, 0, SITES)
    arrays["prior/embedding"][7] = np.nan
    found = find(recording_of(table, arrays, tmp_path, {7: "not finite"}), **OPTIONS)
    assert "1 bad samples were left out." in " ".join(found.warnings)


def test_few_items_one_template_and_unbalanced_arms_are_warned_of(tmp_path: Path) -> None:
    table = factorial(items=12, templates=1, seeds=6)
    table = table[(table["style"] != "plain") | (table["seed"] == 0)].reset_index(drop=True)
    found = find(recording_of(table, noise(table, 0, SITES), tmp_path), **OPTIONS)
    said = " ".join(found.warnings)
    assert "Only 6 items to evaluate on; figures are reliable from 24 on" in said
    assert "Both halves share their templates" in said
    assert "Arms are unbalanced" in said
    assert all(f.detects.high >= f.detects.low for f in found.findings)


def test_constant_units_are_no_finding(tmp_path: Path) -> None:
    table = factorial(items=24, templates=2)
    arrays = {"prior/embedding": np.ones((len(table), 1, 4))}
    found = find(recording_of(table, arrays, tmp_path), **OPTIONS)
    assert {f.detects.auroc for f in found.findings} == {0.5}
    assert all(f.detects.q == 1 for f in found.findings)


def test_within_a_prompt_its_seeds_are_contrasted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [{"prompt": f"person {at:02}", "seed": seed} for at in range(60) for seed in range(6)]
    )
    mood = rng.random(len(table)) < 0.5
    own = rng.normal(size=(60, 1, 8)).repeat(6, 0) * 5
    arrays = {"prior/embedding": own + rng.normal(size=own.shape)}
    arrays["prior/embedding"][mood, 0, 4] += 2.0
    recording = recording_of(table, arrays, tmp_path)
    labels = pd.DataFrame(
        {"predicted.mood": np.where(mood, "scared", "happy"), "predicted.mood.confidence": 0.9}
    )
    queries = {"negative": "predicted.mood == 'happy'", "within": "prompt", "flips": 20}
    positive = "predicted.mood == 'scared' and predicted.mood.confidence > 0.6"
    both = dict.fromkeys(("selection", "evaluation"), labels)
    found = find(recording, positive=positive, labels=both, **queries)
    assert found.top_ranked("neuron").unit == "prior/embedding[4]"
    # Contents differ by far more than moods do: only the pairs tell.
    assert found.top_ranked("neuron").detects.win_rate > 0.85
    none = "No sample matches positive = .* There is predicted.mood: happy, scared"
    with pytest.raises(EvidenceError, match=none):
        find(recording, positive="predicted.mood == 'sad'", labels=both, **queries)


def test_each_half_goes_by_the_labels_of_its_own_classifiers(tmp_path: Path) -> None:
    table = factorial(items=48, templates=1, seeds=2)
    table["prompt"] += [f" {row}" for row in range(len(table))]
    arrays = noise(table, 0, {"prior/embedding": (1, 4)})
    style = (table["style"] == "glass").to_numpy()
    arrays["prior/embedding"][style, 0, 1] += 4
    right = pd.DataFrame({"predicted.style": table["style"]})
    wrong = pd.DataFrame(
        {"predicted.style": table["style"].sample(frac=1, random_state=0).to_numpy()}
    )
    queries = {"positive": "predicted.style == 'glass'", "negative": "predicted.style == 'plain'"}
    options: dict[str, Any] = {**queries, "match": "subject", "flips": 5}
    recording = recording_of(table, arrays, tmp_path)
    right_labels = find(recording, labels={"selection": right, "evaluation": right}, **options)
    wrong_labels = find(recording, labels={"selection": right, "evaluation": wrong}, **options)
    assert (
        right_labels.top_ranked("neuron").unit
        == wrong_labels.top_ranked("neuron").unit
        == "prior/embedding[1]"
    )
    assert right_labels.top_ranked("neuron").detects.auroc > 0.95
    assert wrong_labels.top_ranked("neuron").detects.auroc < 0.75


def test_labels_are_those_of_their_samples_also_where_some_are_bad(tmp_path: Path) -> None:
    table = factorial(items=24, templates=2)
    arrays = noise(table, 0, {"prior/embedding": (1, 4)})
    arrays["prior/embedding"][(table["style"] == "glass").to_numpy(), 0, 1] += 8
    recording = recording_of(table, arrays, tmp_path, {3: "not finite"})
    predictions = pd.DataFrame({"predicted.style": table["style"]})
    conditions = {
        "positive": "predicted.style == 'glass'",
        "negative": "predicted.style == 'plain'",
    }
    options: dict[str, Any] = {**conditions, "match": "subject", "flips": 5}
    found = find(
        recording, labels=dict.fromkeys(("selection", "evaluation"), predictions), **options
    )
    assert found.top_ranked("neuron").detects.auroc == 1.0
    with pytest.raises(EvidenceError, match="labels have no row for sample 5"):
        few = dict.fromkeys(("selection", "evaluation"), predictions.drop(index=5))
        find(recording, labels=few, **options)


def test_templates_are_split_within_each_arm(tmp_path: Path) -> None:
    table = factorial(items=24, templates=2)
    table["template"] = table["style"] + " " + table["template"].astype(str)
    recording = recording_of(table, noise(table, 0, SITES), tmp_path / "each")
    for seed in range(6):
        assert "Both halves share their templates" not in " ".join(
            find(recording, **OPTIONS, seed=seed).warnings
        )
    one = table[(table["style"] != "glass") | (table["template"] == "glass 0")]
    one = one.reset_index(drop=True)
    found = find(recording_of(one, noise(one, 0, SITES), tmp_path / "one"), **OPTIONS)
    assert "Both halves share their templates" in " ".join(found.warnings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"positive": "style == 'oil'"},
            r"No sample matches positive .* There is style: glass, plain, window",
        ),
        ({"positive": "style = 'glass'"}, "cannot be read .*; write style == 'ink'"),
        ({"positive": "style == "}, "cannot be read"),
        (
            {"positive": "stlye == 'glass'"},
            r"positive = .* cannot be read .*stlye.* columns: prompt, seed, style",
        ),
        ({"positive": "style"}, "is not a comparison"),
        ({"negative": "style != 'window'"}, r"samples are both positive and negative, such as"),
        ({"match": "sbuject"}, r"no column 'sbuject' to match.* subject"),
        ({"match": ()}, "No column is matched"),
        ({"template": "phrase"}, r"no column 'phrase'.*template"),
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
