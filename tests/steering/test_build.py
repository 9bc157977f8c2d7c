"""Building on a model whose causes are known, and the choice among known points."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.planted_cause import model

from clerestory.contrasts import contrast
from clerestory.edits import Add
from clerestory.errors import EvidenceError
from clerestory.models.core.addresses import parse
from clerestory.steering import Concept, SteeredModel, build, frontier, picked
from clerestory.steering.frontier import Point
from clerestory.steering.scaled_directions import Move

TEXT = "text.blocks.0/mlp"
JUDGE = "python:helpers.planted_cause:light"
CONTENTS = [f"c{number}" for number in range(24)]
REPORT = [f"d{number}" for number in range(16)]


@pytest.fixture(scope="module")
def planted():
    return model()


@pytest.fixture(scope="module")
def found(planted):
    rows = [
        (f"{half[0]} {lead} {content}", content, f"{arm} {half}", arm, half)
        for half, own in (("selection", CONTENTS[:12]), ("evaluation", CONTENTS[12:]))
        for arm, lead in (("positive", "glass"), ("negative", "plain"))
        for content in own
    ]
    samples = pd.DataFrame(rows, columns=["prompt", "item", "template", "arm", "half"])
    samples["seed"] = 0
    run = planted.run(list(samples["prompt"]), 0, read=TEXT, pictures=False)
    values = {TEXT: run.read(TEXT).mean("step").to_numpy()}
    return contrast(values, samples, methods=("difference",), flips=5)


def made(planted, found, **how):
    said, remove = how.pop("said", "glass {item}"), how.pop("remove", False)
    concept = Concept(JUDGE, "light", said, remove=remove)
    told = {"tune": CONTENTS[:8], "report": REPORT, "shuffled": 4}
    return build(planted, found, concept, **{**told, **how})


def test_the_concept_is_drawn_without_being_said_and_baselines_stand_beside(
    planted, found, tmp_path
):
    built = made(planted, found, searched="glass {item}", source="found")
    told = built.steered.calibration
    assert told["concept_rate"] == 1 and told["baselines"]["unedited"]["concept_rate"] == 0
    assert told["baselines"]["words"]["concept_rate"] == 1
    assert told["baselines"]["searched"]["concept_rate"] == 1
    assert told["baselines"]["shuffled"]["concept_rate"] == 0
    assert told["baselines"]["shuffled"]["directions"] == 4
    assert (told["contents"], told["seeds"], told["role"]) == (16, 2, "evaluation")
    place = built.save(tmp_path / "s")
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
    assert (again.draw("c1", [3]) == built.steered.draw("c1", [3])).all()
    assert "| **this model** | 1.00" in (place / "card.md").read_text()


def test_an_edit_can_be_of_some_steps(planted):
    edit = Move("u", "denoiser.blocks.2/mlp", np.ones(1), 1.0, 1.0, np.ones((2, 1))).edit(
        0.5, [2, 3]
    )
    assert parse(edit.site).steps == (2, 3)
    lit = planted.run("plain c1", 0, edits=[edit]).pictures.mean()
    dark = planted.run("plain c1", 0, edits=[replace(edit, strength=0.0)]).pictures.mean()
    assert lit != dark


def test_contents_that_found_it_do_not_report_and_what_nothing_guards_is_said(planted, found):
    warnings = made(planted, found).steered.calibration["warnings"]
    assert any("also reports" in one for one in warnings)
    assert any("nothing says what is kept" in one for one in warnings)
    with pytest.raises(EvidenceError, match="No classifier says what is kept"):
        made(planted, found, keep=0.9)
    with pytest.raises(EvidenceError, match="prove nothing"):
        made(planted, found, report=["c1", *REPORT])


def test_strengths_count_deviations_of_the_site(planted, found):
    built = made(planted, found, strengths=[1.0])
    edit = built.pick.edit
    plain = planted.run(CONTENTS[:8], 0, read=TEXT, pictures=False).read(TEXT)
    along = plain.mean("step").to_numpy() @ edit.vector.numpy().astype(float)
    assert edit.scale == pytest.approx(along.std(), rel=1e-4)
    assert np.linalg.norm(edit.vector) == pytest.approx(1, rel=1e-5)


def test_a_concept_is_taken_out_of_prompts_that_say_it(planted, found):
    built = made(planted, found, remove=True)
    told = built.steered.calibration
    assert told["baselines"]["unedited"]["concept_rate"] == 1 and told["concept_rate"] == 0
    assert np.asarray(built.pick.edit.strength) < 0


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"tune": REPORT[:5]}, "are shared"),
        ({"report": REPORT[8:10]}, "four contents or more"),
        ({"sites": ["denoiser.blocks.2/mlp"]}, "no direction at denoiser.blocks.2/mlp"),
        ({"said": "glass"}, "must have {item}"),
    ],
)
def test_what_cannot_be_built_is_refused(planted, found, how, words):
    with pytest.raises(EvidenceError, match=words.replace("{item}", ".item.")):
        made(planted, found, **how)


def point(goal: float, kept: float, strange: bool = False) -> Point:
    outcome = SimpleNamespace(mean_preservation=kept)
    return Point(Add("a/b", [1.0]), outcome, goal, strange)


def test_the_frontier_is_what_nothing_beats_in_both():
    points = [point(0.2, 1.0), point(0.9, 0.8), point(0.5, 0.7), point(1.0, 0.6), point(1.0, 0.5)]
    assert frontier(points) == [points[3], points[1], points[0]]


def test_the_knee_keeps_most_of_what_does_nearly_all_and_keep_bounds_it():
    points = [point(0.3, 0.99), point(0.98, 0.9), point(1.0, 0.7), point(0.6, 0.96)]
    assert picked(points) == (points[1], [])
    assert picked(points, keep=0.95) == (points[3], [])
    best, warnings = picked(points, keep=0.995)
    assert best is points[1] and "keeps 100%" in warnings[0]
    assert "does nothing" in picked([point(0.0, 1.0), point(1.0, 0.2)], keep=0.9)[1][0]


def test_what_left_the_distribution_is_never_taken_silently():
    fine, strange = point(0.5, 0.9), point(1.0, 0.95, strange=True)
    assert picked([fine, strange]) == (fine, [])
    best, warnings = picked([strange, replace(strange)])
    assert best.strange and "leaves the distribution" in warnings[0]
    assert "does nothing" in picked([point(0.0, 1.0)])[1][0]
