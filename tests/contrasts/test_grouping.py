"""`group`: what the pictures of a class share, compared within cells of an item and a template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import planted_cause
from helpers.planted_cause import model

from clerestory.causal import verify
from clerestory.contrasts import Findings, Groups, group
from clerestory.errors import EvidenceError, RegistryError
from clerestory.recordings import Recording, record

TEXT = "text.blocks.0/mlp"
LIGHT = "python:helpers.planted_cause:light"
ITEMS, TEMPLATES = 32, 12


def _prompts(items: int = ITEMS, templates: int = TEMPLATES) -> pd.DataFrame:
    """Two light and two dark prompts of each item in each template; light ones mostly by night."""
    rng = np.random.default_rng(1)
    rows = []
    for item in range(items):
        for template in range(templates):
            for copy in range(4):
                night = rng.random() < (0.92 if copy < 2 else 0.08)
                words = [f"t{template}", "glass" if copy < 2 else "clay"]
                words += ["night" if night else "day", f"w{item}-{template}-{copy}"]
                place = "night" if night else "day"
                rows.append((" ".join(words), f"thing {item}", f"t{template}", place))
    return pd.DataFrame(rows, columns=["prompt", "item", "template", "place"])


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("group") / "rec"
    return record(model(), _prompts(), 0, sites=[TEXT], out=folder, progress=False)


@pytest.fixture(scope="module")
def groups(recording: Recording) -> Groups:
    return group(recording, classifier=LIGHT, control="item")


def unit_of(groups: Groups, name: str, unit: str) -> Any:
    return next(one for one in groups[name].units if one.unit == unit)


def kinds(findings: Findings) -> set[str]:
    return {warning.kind for warning in findings.warnings}


def classified(monkeypatch: pytest.MonkeyPatch, classify: Any, *classes: str) -> str:
    """The name of a classifier."""
    classify.classes = classes
    monkeypatch.setattr(planted_cause, "classify", classify, raising=False)
    return "python:helpers.planted_cause:classify"


def test_what_a_group_shares_is_picked_first_and_found(groups: Groups) -> None:
    light = groups["light"]
    neurons = [one for one in light.units if one.kind == "neuron"]
    assert {one.unit for one in neurons[:2]} == {f"{TEXT}[0]", f"{TEXT}[1]"}
    first = unit_of(groups, "light", f"{TEXT}[0]")
    assert (first.auroc, first.sign, first.status) == (1.0, 1, "found")
    assert first.low > 0.8 and first.q < 0.001
    assert first.auroc_against == {"dark": 1.0}
    assert unit_of(groups, "dark", f"{TEXT}[0]").sign == -1


def test_each_cell_of_the_evaluation_half_counts_once(groups: Groups) -> None:
    assert groups["light"].cells == ITEMS // 2 * TEMPLATES // 2
    templates = groups.findings("light").templates
    assert templates == {"positive": 6, "negative": 6, "design": "cells"}
    assert "shared-templates" not in kinds(groups.findings("light"))


def test_a_confound_is_found_and_warned_of_until_it_is_controlled(
    recording: Recording, groups: Groups
) -> None:
    night = f"{TEXT}[2]"
    before = unit_of(groups, "light", night)
    assert before.status == "found" and before.auroc > 0.7
    assert "confounded" in kinds(groups.findings("light"))
    after = group(recording, classifier=LIGHT, control=["item", "place"])
    assert after.controlled == ("item", "place")
    unit = unit_of(after, "light", night)
    assert unit.status != "found" and 0.25 < unit.auroc_against["dark"] < 0.75
    assert "confounded" not in kinds(after.findings("light"))
    assert after["light"].cells < groups["light"].cells / 2
    assert unit_of(after, "light", f"{TEXT}[0]").auroc == 1.0


def test_findings_name_the_weights_that_were_recorded(recording: Recording, groups: Groups) -> None:
    model = recording.manifest["plan"]["model"]
    assert groups.findings("light").provenance.digest == model["weights"]


def test_a_group_is_handed_to_verify(groups: Groups, tmp_path: Path) -> None:
    groups.findings("light").save(tmp_path / "f")
    loaded = Findings.load(tmp_path / "f")
    units = [f"{TEXT}[0]", f"{TEXT}[1]"]
    result = verify(
        loaded, model(), classifier=planted_cause.Light(), label="light", units=units, maps=False
    )
    assert [one.addition.effect for one in result.effects] == [1.0, 0.0]


def test_without_columns_the_seeds_of_each_prompt_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a text encoder computes is the same for all seeds, so that nothing separates them."""

    def classify(pictures: np.ndarray) -> np.ndarray:
        odd = pictures[:, 0, 0, 0] % 2 == 1
        return np.stack([~odd, odd], 1).astype(np.float32)

    name = classified(monkeypatch, classify, "even", "odd")
    prompts = [f"a clay w{number}" for number in range(60)]
    recording = record(model(), prompts, range(4), sites=[TEXT], out=tmp_path / "rec")
    groups = group(recording, classifier=name)
    assert set(groups.groups) == {"even", "odd"}
    assert groups["odd"].cells > 12
    assert {unit.auroc for own in groups.groups.values() for unit in own.units} == {0.5}
    assert not groups.findings("odd").found()
    assert "templates-not-varied" in kinds(groups.findings("odd"))


def test_a_prompt_all_of_whose_seeds_look_alike_is_no_cell(
    recording: Recording, tmp_path: Path
) -> None:
    with pytest.raises(EvidenceError, match="No class has 6 cells"):
        group(recording, classifier=LIGHT)


def test_pictures_of_other_kinds_or_with_little_confidence_are_left_out(
    recording: Recording, groups: Groups
) -> None:
    assert groups.excluded == 0
    assert group(recording, classifier=LIGHT, control="item", min_confidence=0.5).excluded == 0
    with pytest.raises(EvidenceError, match="No class has 6 cells"):
        group(recording, classifier=LIGHT, control="item", picture_filter=f"{LIGHT}=light")


def test_a_group_is_held_against_each_other_one_that_shares_cells_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dark pictures are of two kinds by their noise, which no unit knows."""

    def classify(pictures: np.ndarray) -> np.ndarray:
        lit, odd = pictures.mean((1, 2, 3)) > 100, pictures[:, 0, 0, 0] % 2 == 1
        return np.stack([lit, ~lit & odd, ~lit & ~odd], 1).astype(np.float32)

    name = classified(monkeypatch, classify, "light", "odd", "even")
    prompts = _prompts(items=14, templates=2)
    recording = record(model(), prompts, range(4), sites=[TEXT], out=tmp_path / "rec")
    groups = group(recording, classifier=name, control="item")
    assert unit_of(groups, "light", f"{TEXT}[0]").auroc_against == {"odd": 1.0, "even": 1.0}
    assert unit_of(groups, "odd", f"{TEXT}[0]").auroc_against == {"light": 1.0, "even": 0.5}


def test_units_are_called_by_their_own_numbers_and_steps(tmp_path: Path) -> None:
    sites = [f"{TEXT}[1:4]", "denoiser.blocks.2/mlp@3"]
    prompts = _prompts(items=14, templates=2)
    recording = record(model(), prompts, 0, sites=sites, out=tmp_path / "rec")
    groups = group(recording, classifier=LIGHT, control="item")
    units = {one.unit for one in groups["light"].units}
    assert f"{TEXT}[1]" in units and f"{TEXT}[0]" not in units
    assert "denoiser.blocks.2/mlp[0]@3" in units
    # Seven items and one template in each half.
    assert {one.status for one in groups["light"].units} == {"undecided"}
    assert {"few-items", "shared-templates"} & kinds(groups.findings("light")) == {"few-items"}


def test_what_cannot_be_grouped_is_said_in_one_line(recording: Recording) -> None:
    with pytest.raises(RegistryError, match="no class 'bright'"):
        group(recording, classifier=LIGHT, classes=["bright"])
    with pytest.raises(EvidenceError, match="No class has 6"):
        group(recording, classifier=LIGHT, classes=["light"], control="item")
    with pytest.raises(EvidenceError, match="no column 'weather'"):
        group(recording, classifier=LIGHT, control="weather")
    with pytest.raises(EvidenceError, match="Record more seeds of each prompt, or control fewer"):
        group(recording, classifier=LIGHT, control="prompt")


def test_groups_are_the_same_after_saving_and_loading(groups: Groups, tmp_path: Path) -> None:
    groups.save(tmp_path / "groups")
    content = groups.to_dict()
    light = content["groups"]["light"]
    assert {"unit", "status", "auroc", "low", "high", "q"} <= set(light["units"][0])
    assert light["cells"] == groups["light"].cells
    again = Groups.load(tmp_path / "groups")
    assert again.to_dict() == content
    assert again.findings("light").to_dict() == groups.findings("light").to_dict()
    pd.testing.assert_frame_equal(again.samples, groups.samples)
    assert "light" in repr(again) and len(repr(again)) < 300
    assert again.plot().to_dict()["facet"]
