"""Building on a model whose causes are known, and the choice among known points."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.planted_cause import model

from clerestory.contrasts import ContrastSamples, contrast
from clerestory.edits import Add
from clerestory.errors import EvidenceError, ModelError
from clerestory.io.digests import seal
from clerestory.models.core.addresses import parse
from clerestory.steering import BuildResult, SteeredModel, steer
from clerestory.steering.frontier import Candidate, frontier, select_candidate
from clerestory.steering.scaled_directions import ScaledDirection

TEXT = "text.blocks.0/mlp"
CLASSIFIER = "python:helpers.planted_cause:light"
ITEMS = [f"c{number}" for number in range(24)]
EVALUATION = [f"d{number}" for number in range(16)]
GHOST, PARITY = (f"python:helpers.planted_cause:{name}" for name in ("ghost", "parity"))


@pytest.fixture(scope="module")
def planted():
    return model()


@pytest.fixture(scope="module")
def found(planted):
    return find(planted)


def find(planted):
    rows = [
        (f"{half[0]}{number} {lead} {content}", content, f"{arm} {half} {number}", arm, half)
        for half, own in (("selection", ITEMS[:12]), ("evaluation", ITEMS[12:]))
        for arm, lead in (("positive", "glass"), ("negative", "plain"))
        for number in range(4)
        for content in own
    ]
    samples = pd.DataFrame(rows, columns=["prompt", "item", "phrase", "arm", "half"])
    samples = samples.assign(seed=0, template="")
    run = planted.run(list(samples["prompt"]), 0, read=TEXT, pictures=False)
    values = {TEXT: run.read(TEXT).mean("step").to_numpy()}
    design = ContrastSamples(samples, from_pictures=False)
    return contrast(values, design, methods=("difference",))


def built(planted, found, template="glass {item}", **options):
    options = {"selection": ITEMS[:8], "evaluation": EVALUATION, "baselines": 19} | options
    selection, evaluation = options.pop("selection"), options.pop("evaluation")
    return steer(
        planted,
        found,
        f"{CLASSIFIER}=light",
        template,
        items=[*selection, *evaluation],
        selection_items=len(selection),
        evaluation_items=len(evaluation),
        progress=False,
        **options,
    )


def test_the_target_is_drawn_without_being_said_and_baselines_stand_beside(
    planted, found, tmp_path
):
    result = built(planted, found, search=["glass"], preserve=[PARITY])
    figures, baselines = result.calibration, result.calibration.baselines
    assert figures.target_rate == 1 and baselines["unedited"].target_rate == 0
    assert baselines["words"].target_rate == 1 and baselines["searched"].target_rate == 1
    assert baselines["baseline"].target_rate == 0 and baselines["baseline"].directions == 19
    assert figures.baseline_effects.p == 0.05 and figures.effect.effect == 1
    assert figures.status == "supported" and figures.together_with == ()
    assert (figures.items, figures.seeds, figures.role) == (16, 2, "evaluation")
    assert (figures.selection.items, figures.selection.role) == (8, "selection")
    place = tmp_path / "s"
    result.save(place)
    names = {path.name for path in place.iterdir()}
    assert {
        "steering.json",
        "edits.safetensors",
        "card.md",
        "before-after.png",
        "frontier.png",
    } == names
    again = SteeredModel.load(place, planted)
    assert json.loads((place / "steering.json").read_text())["calibration"] == again.calibration
    assert (again.draw("c1", [3]) == result.steered.draw("c1", [3])).all()
    card = (place / "card.md").read_text()
    assert "| **this model** | 1.00" in card
    assert "changes nothing else is supported**: the rate changes by 1.00" in card
    assert "No other class changes by more than 0.0" in card


def test_an_edit_that_makes_ghosts_of_all_subjects_is_undecided_and_its_card_says_so(
    planted, found, tmp_path
):
    result = built(planted, found, preserve=[GHOST])
    figures = result.calibration
    assert figures.effect.effect == 1 and figures.status == "undecided"
    assert f"{GHOST}=ghost +1.00" in " ".join(figures.together_with)
    assert "; together with" in result.summary()
    result.save(tmp_path / "s")
    assert "It changes as well: " in (tmp_path / "s" / "card.md").read_text()


def test_an_edit_that_any_other_of_its_length_equals_is_undecided():
    planted = model(anything=True)
    figures = built(planted, find(planted), preserve=[PARITY]).calibration
    assert figures.effect.effect == 1 and figures.baseline_effects.p > 0.05
    assert figures.status == "undecided"


def test_items_have_seeds_of_their_own_unless_seeds_are_given(planted, found):
    own = built(planted, found, seeds_per_item=3).calibration
    assert own.seeds == 3
    assert "shared-seeds" not in {warning.kind for warning in own.warnings}
    shared = built(planted, found, seeds=[5], baselines=0).calibration
    kinds = {warning.kind for warning in shared.warnings}
    assert {"shared-seeds", "few-baselines"} <= kinds and shared.baseline_effects is None


def test_a_result_prints_shortly_and_has_the_same_table_and_plot_after_loading(
    planted, found, tmp_path, monkeypatch
):
    result = built(planted, found, strengths=[1.0, 4.0])
    assert len(repr(result)) < 300 and "light" in repr(result)
    assert list(result.table()["condition"]) == ["edited", "unedited", "words", "baseline"]
    place = tmp_path / "s"
    result.save(place)
    monkeypatch.setattr("clerestory.steering.steered.load", lambda name, **_: planted)
    again = BuildResult.load(place)
    assert again.calibration == result.calibration and again.table().equals(result.table())
    assert again.plot().to_dict() == result.plot().to_dict()
    assert again.steered.provenance["options"]["target"] == f"{CLASSIFIER}=light"
    text = (place / "steering.json").read_text()
    altered = json.dumps(seal(json.loads(text.replace('"target_rate"', '"rate"'))))
    (place / "steering.json").write_text(altered)
    with pytest.raises(ModelError, match="does not fit"):
        BuildResult.load(place)


def test_an_edit_can_be_of_some_steps(planted):
    site = "denoiser.blocks.2/mlp"
    direction = ScaledDirection("u", site, np.ones(1), 1.0, 1.0)
    edit = direction.edit(0.5, [2, 3])
    assert parse(edit.site).steps == (2, 3)
    lit = planted.run("plain c1", 0, edits=[edit]).pictures.mean()
    dark = planted.run("plain c1", 0, edits=[replace(edit, strength=0.0)]).pictures.mean()
    assert lit != dark


def test_items_of_the_findings_do_not_evaluate_and_what_nothing_measures_is_warned_of(
    planted, found
):
    warnings = [str(warning) for warning in built(planted, found).calibration.warnings]
    assert any("also evaluates" in warning for warning in warnings)
    assert "No classifier measures preservation." in warnings
    with pytest.raises(EvidenceError, match="No classifier measures preservation"):
        built(planted, found, min_preservation=0.9)
    with pytest.raises(EvidenceError, match="prove nothing"):
        built(planted, found, selection=["e1", *EVALUATION[:3]], evaluation=["c1", *EVALUATION[3:]])


def test_strengths_count_deviations_of_the_site(planted, found):
    (edit,) = built(planted, found, strengths=[1.0]).steered.edits
    plain = planted.run(ITEMS[:8], 0, read=TEXT, pictures=False).read(TEXT)
    along = plain.mean("step").to_numpy() @ edit.vector.numpy().astype(float)
    assert edit.scale == pytest.approx(along.std(), rel=1e-4)
    assert np.linalg.norm(edit.vector) == pytest.approx(1, rel=1e-5)


def test_a_target_is_taken_out_of_prompts_that_say_it(planted, found):
    figures = built(planted, found, remove=True, preserve=[PARITY]).calibration
    assert figures.effect.effect == 1, "a fall counts"
    assert figures.baselines["unedited"].target_rate == 1 and figures.target_rate == 0
    assert figures.selected.strength < 0
    with pytest.raises(EvidenceError, match="cannot be a baseline with `remove`"):
        built(planted, found, remove=True, search=["glass"])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"selection": EVALUATION[:5]}, "16 distinct items, 21 are needed"),
        ({"evaluation": EVALUATION[8:10]}, "four items or more"),
        ({"sites": ["denoiser.blocks.2/mlp"]}, "no direction at denoiser.blocks.2/mlp"),
        ({"template": "glass"}, "must contain {item}"),
    ],
)
def test_what_cannot_be_built_is_refused(planted, found, how, words):
    with pytest.raises(EvidenceError, match=words.replace("{item}", ".item.")):
        built(planted, found, **how)


def point(score: float, preservation: float, out_of_distribution: bool = False) -> Candidate:
    outcome = SimpleNamespace(mean_preservation=preservation)
    return Candidate(Add("a/b", [1.0]), outcome, score, out_of_distribution)


def test_the_frontier_is_what_nothing_beats_in_both():
    points = [point(0.2, 1.0), point(0.9, 0.8), point(0.5, 0.7), point(1.0, 0.6), point(1.0, 0.5)]
    assert frontier(points) == [points[3], points[1], points[0]]


def test_the_knee_keeps_most_of_what_does_nearly_all_and_keep_bounds_it():
    points = [point(0.3, 0.99), point(0.98, 0.9), point(1.0, 0.7), point(0.6, 0.96)]
    assert select_candidate(points) == (points[1], [])
    assert select_candidate(points, 0.95) == (points[3], [])
    best, warnings = select_candidate(points, 0.995)
    assert best is points[1] and "preserves 100%" in warnings[0]
    assert "no effect" in select_candidate([point(0.0, 1.0), point(1.0, 0.2)], 0.9)[1][0]


def test_what_left_the_distribution_is_never_taken_silently():
    fine, strange = point(0.5, 0.9), point(1.0, 0.95, out_of_distribution=True)
    assert select_candidate([fine, strange]) == (fine, [])
    best, warnings = select_candidate([strange, replace(strange)])
    assert best.out_of_distribution and "leaves the distribution" in warnings[0]
    assert "no effect" in select_candidate([point(0.0, 1.0)])[1][0]
