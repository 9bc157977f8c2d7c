from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.planted_cause import model

from clerestory.causal import verify
from clerestory.contrasts import Findings, Groups, group
from clerestory.errors import EvidenceError, RegistryError
from clerestory.recordings import record

TEXT = "text.blocks.0/mlp"
LIGHT = "python:helpers.planted_cause:light"


def _prompts() -> pd.DataFrame:
    """Random prompts; most that are light are also by night."""
    rng = np.random.default_rng(1)
    rows = []
    for number in range(120):
        lit = rng.random() < 0.5
        night = rng.random() < (0.8 if lit else 0.2)
        words = f"a {'glass' if lit else 'clay'} {'night' if night else 'day'} w{number}"
        rows.append((words, "night" if night else "day"))
    return pd.DataFrame(rows, columns=["prompt", "place"])


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group") / "rec"
    return record(model(), _prompts(), (0, 1), sites=[TEXT], out=folder)


@pytest.fixture(scope="module")
def groups(recording):
    return group(recording, classifier=LIGHT, flips=20)


def test_what_a_group_shares_comes_first_with_its_figures(groups):
    light = groups["light"]
    neurons = [one for one in light.units if one.kind == "neuron"]
    best = {one.unit for one in neurons[:2]}
    assert best == {f"{TEXT}[0]", f"{TEXT}[1]"}
    first = next(one for one in neurons if one.unit == f"{TEXT}[0]")
    assert (first.auroc, first.sign) == (1.0, 1)
    assert first.omega2 == pytest.approx(1.0) and first.q < 0.001
    assert first.auroc_against == {"dark": 1.0}
    dark = next(one for one in groups["dark"].units if one.unit == f"{TEXT}[0]")
    assert dark.sign == -1
    assert 20 < light.prompts < 40, "half of sixty or so are evaluated"


def test_prevalence_is_the_share_of_prompts_above_the_others_upper_quartile(groups):
    one = next(u for u in groups["light"].units if u.unit == f"{TEXT}[1]")
    assert one.prevalence == 1.0
    by_chance = [u.prevalence for u in groups["light"].units if u.auroc < 0.6]
    assert all(0.05 < share < 0.5 for share in by_chance)


def test_a_confound_is_found_until_it_is_controlled(recording, groups):
    night = f"{TEXT}[2]"
    before = next(u for u in groups["light"].units if u.unit == night)
    assert before.auroc > 0.75 and before.q < 0.05
    after = group(recording, classifier=LIGHT, control="place", flips=20)
    assert after.controlled == ("place",)
    unit = next(u for u in after["light"].units if u.unit == night)
    assert unit.q > 0.05
    assert abs(unit.omega2) < 0.15 < before.omega2
    assert 0.25 < unit.auroc_against["dark"] < 0.75 < before.auroc_against["dark"]
    assert next(u for u in after["light"].units if u.unit == f"{TEXT}[0]").q < 0.01


def test_a_group_is_handed_to_verify(groups, tmp_path):
    found = groups.findings("light")
    found.save(tmp_path / "f")
    loaded = Findings.load(tmp_path / "f")
    units = [f"{TEXT}[0]", f"{TEXT}[1]"]
    from helpers.planted_cause import Light

    result = verify(loaded, model(), classifier=Light(), label="light", units=units, maps=False)
    assert [one.controls for one in result.effects] == [True, False]


def test_prompts_whose_seeds_disagree_are_counted_and_make_the_contrast_within(
    tmp_path, monkeypatch
):
    """Of each prompt one seed is made light by its noise, and a unit knows."""
    from helpers import planted_cause

    def classify(pictures: np.ndarray) -> np.ndarray:
        lit = pictures[:, 0, 0, 0] % 2 == 1
        return np.stack([~lit, lit], 1).astype(np.float32)

    classify.classes = ("even", "odd")
    monkeypatch.setattr(planted_cause, "parity", classify, raising=False)
    prompts = [f"a clay w{number}" for number in range(60)]
    recording = record(model(), prompts, range(4), sites=[TEXT], out=tmp_path / "rec")
    split = group(
        recording, classifier="python:helpers.planted_cause:parity", within="prompt", flips=20
    )
    assert len(split.mixed) > 30
    assert all(unit.q > 0.05 for own in split.groups.values() for unit in own.units)


def test_a_prompt_is_in_a_group_only_if_all_of_its_seeds_are(recording):
    """Half of the pictures are of another class: their prompts are in no group."""
    found = group(recording, classifier=LIGHT, min_confidence=0.5, flips=5)
    assert (found.mixed, found.excluded) == ({}, 0)
    with pytest.raises(EvidenceError, match="No class has 6"):
        group(recording, classifier=LIGHT, picture_filter=f"{LIGHT}=light", flips=5)


def test_prompts_that_disagree_are_beside_a_group_that_none_of_their_seeds_is_in(
    tmp_path, monkeypatch
):
    """Dark pictures are of two kinds, seed by seed: light ones are a group all the same."""
    from helpers import planted_cause

    def classify(pictures):
        lit, odd = pictures.mean((1, 2, 3)) > 100, pictures[:, 0, 0, 0] % 2 == 1
        return np.stack([lit, ~lit & odd, ~lit & ~odd], 1).astype(np.float32)

    classify.classes = ("light", "odd", "even")
    monkeypatch.setattr(planted_cause, "kinds", classify, raising=False)
    prompts = [f"a {kind} w{number}" for number in range(40) for kind in ("glass", "clay")]
    recording = record(model(), prompts, range(8), sites=[TEXT], out=tmp_path / "rec")
    found = group(recording, classifier="python:helpers.planted_cause:kinds", flips=5)
    assert set(found.groups) == {"light"} and len(found.mixed) > 30
    best = found["light"].units[0]
    assert best.auroc == 1.0 and best.prevalence == 1.0
    with pytest.raises(EvidenceError, match="No class has 6"):
        group(
            recording,
            classifier="python:helpers.planted_cause:kinds",
            classes=["odd", "even"],
            flips=5,
        )


def test_units_are_called_by_their_own_numbers_and_steps(tmp_path):
    prompts = _prompts()
    sites = [f"{TEXT}[1:4]", "denoiser.blocks.2/mlp@3"]
    recording = record(model(), prompts, 0, sites=sites, out=tmp_path / "rec")
    units = {one.unit for one in group(recording, classifier=LIGHT, flips=5)["light"].units}
    assert f"{TEXT}[1]" in units and f"{TEXT}[0]" not in units
    assert "denoiser.blocks.2/mlp[0]@3" in units


def test_what_cannot_be_grouped_is_said_in_one_line(recording):
    with pytest.raises(RegistryError, match="no class 'bright'"):
        group(recording, classifier=LIGHT, classes=["bright"])
    with pytest.raises(EvidenceError, match="No class has 6"):
        group(recording, classifier=LIGHT, classes=["light"])
    with pytest.raises(EvidenceError, match="no column 'weather'"):
        group(recording, classifier=LIGHT, control="weather")
    with pytest.raises(EvidenceError, match="Control fewer columns, or record more"):
        group(recording, classifier=LIGHT, control="prompt")


def test_groups_are_the_same_after_saving_and_loading(groups, tmp_path):
    groups.save(tmp_path / "groups")
    content = groups.to_dict()
    assert {"unit", "auroc", "low", "high", "q", "omega2"} <= set(
        content["groups"]["light"]["units"][0]
    )
    assert content["groups"]["light"]["prompts"] == groups["light"].prompts
    again = Groups.load(tmp_path / "groups")
    assert again.to_dict() == content
    assert again.findings("light").to_dict() == groups.findings("light").to_dict()
    pd.testing.assert_frame_equal(again.samples, groups.samples)
    assert "light" in repr(again) and len(repr(again)) < 300
    assert again.plot().to_dict()["facet"]
