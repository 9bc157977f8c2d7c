"""`group`: what the pictures of a class share, compared within cells of an item and a template."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import planted_cause
from helpers.planted_cause import model

from clerestory.causal import verify
from clerestory.causal.group_control import RankedGroups, rank_groups
from clerestory.contrasts import Findings, Groups, group
from clerestory.contrasts.clusters import feature_kinds, fit_clusters
from clerestory.contrasts.features.embedding import ImageEmbedding
from clerestory.errors import EvidenceError, OptionError, RegistryError
from clerestory.models import wrap
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


@pytest.fixture(scope="module")
def clustered(recording: Recording) -> Iterator[Groups]:
    """Clusters by brightness, of which the planted model makes two."""

    @dataclass(frozen=True)
    class Brightness:
        recording: Recording
        model: Any

        def of_samples(self) -> np.ndarray:
            return self.of_pictures(self.recording.pictures(self.recording.rows))

        def of_pictures(self, pictures: np.ndarray) -> np.ndarray:
            return pictures.mean((1, 2)).astype(float)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(feature_kinds._entries, "brightness", Brightness)
        yield group(recording, by="brightness", clusters=2, control="item", model=model())


def test_clusters_of_pictures_are_groups_without_a_classifier(
    recording: Recording, clustered: Groups, groups: Groups, tmp_path: Path
) -> None:
    light = groups.samples["group"] == "light"
    names = clustered.samples.loc[light, "group"].unique()
    # Brightness has two values: every light picture is in one cluster, and no dark one is.
    assert len(names) == 1 and names[0] not in set(clustered.samples.loc[~light, "group"])
    unit = unit_of(clustered, names[0], f"{TEXT}[0]")
    assert (unit.auroc, unit.sign, unit.status) == (1.0, 1, "found")
    findings = clustered.findings(names[0])
    assert findings.classifiers == {"clusters of brightness": None}
    assert "classifier" in kinds(findings)
    clustered.save(tmp_path / "g")
    again = Groups.load(tmp_path / "g")
    assert again.to_dict() == clustered.to_dict()
    assert again.findings(names[0]).to_dict() == findings.to_dict()
    assert clustered.clusters is not None and again.clusters is not None
    assert again.clusters.digest == clustered.clusters.digest
    pictures = recording.pictures([0, 1, 2])
    with pytest.raises(EvidenceError, match="were loaded"):
        again.clusters(pictures)
    opened = again.clusters.open(model())
    assert np.array_equal(opened(pictures), clustered.clusters(pictures))
    (tmp_path / "g" / "clusters.safetensors").unlink()
    with pytest.raises(EvidenceError, match="clusters"):
        Groups.load(tmp_path / "g")


def test_clusters_are_ranked_by_how_much_a_unit_controls_them(
    clustered: Groups, tmp_path: Path
) -> None:
    """Unit 0 lights pictures, unit 1 is read by nothing: only the bright cluster is controlled."""
    bright = max(clustered.groups, key=lambda name: unit_of(clustered, name, f"{TEXT}[0]").sign)
    units = {name: [f"{TEXT}[0]", f"{TEXT}[1]"] for name in clustered.groups}
    ranked = rank_groups(clustered, model(), units=units, items=12, seeds_per_item=1, baselines=19)
    first = ranked.groups[0]
    effects = {effect.unit: effect.addition.effect for effect in first.effects}
    assert first.group in clustered.groups and effects == {f"{TEXT}[0]": 1.0, f"{TEXT}[1]": 0.0}
    assert first.effects[0].unit == f"{TEXT}[0]" and first.low > 0.5
    assert bright in {each.group for each in ranked.groups}
    assert set(ranked.table()["group"]) == set(clustered.groups)
    ranked.save(tmp_path / "ranked")
    again = RankedGroups.load(tmp_path / "ranked")
    assert again.to_dict() == ranked.to_dict()
    saved = json.loads((tmp_path / "ranked" / "control.json").read_text())["groups"]
    assert saved[0]["effects"][0]["status"] == first.effects[0].status
    # Groups that were loaded have their clusters.
    clustered.save(tmp_path / "groups")
    loaded = Groups.load(tmp_path / "groups")
    of_loaded = rank_groups(loaded, model(), units=units, items=12, seeds_per_item=1, baselines=19)
    assert of_loaded.table().equals(ranked.table())


def test_a_recorded_site_makes_clusters_and_its_own_units_are_not_tested(tmp_path: Path) -> None:
    other = "denoiser/condition"
    recording = record(
        model(), _prompts(16, 8), 0, sites=[TEXT, other], out=tmp_path / "rec", progress=False
    )
    groups = group(recording, by=TEXT, clusters=2, control="item")
    assert groups.classifier == f"clusters of {TEXT}"
    sites = {unit.unit.partition("[")[0] for each in groups.groups.values() for unit in each.units}
    assert sites == {other}
    with pytest.raises(EvidenceError, match="do not classify pictures"):
        rank_groups(groups, model(), items=12, baselines=19)


def test_clusters_are_fitted_on_the_selection_half_alone() -> None:
    values = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1], [-9.0, 0.0], [-9.0, 1.0]])
    selection = np.array([True, True, True, True, False, False])
    features: Any = None
    clusters = fit_clusters("x", features, values, selection, 2, 0)
    again = fit_clusters("x", features, np.vstack([values[:4], [[7, 7], [3, 1]]]), selection, 2, 0)
    assert np.array_equal(clusters.centers, again.centers)
    labels = clusters.probabilities(values[:4]).argmax(1)
    assert labels[0] == labels[1] != labels[2] == labels[3]
    with pytest.raises(EvidenceError, match="no 5 different samples"):
        fit_clusters("x", features, values, selection, 5, 0)


def test_a_classifier_or_what_to_cluster_by_is_needed(recording: Recording) -> None:
    with pytest.raises(OptionError, match="Give a classifier"):
        group(recording)
    with pytest.raises(OptionError, match="Give a classifier"):
        group(recording, classifier=LIGHT, by="embedding")
    with pytest.raises(EvidenceError, match="no image encoder"):
        group(recording, by="embedding", model=model())
    with pytest.raises(RegistryError, match="Did you mean embedding"):
        group(recording, by="embeding", model=model())


def test_the_embedding_is_that_of_the_model_s_image_encoder(tmp_path: Path) -> None:
    import torch
    from tiny import tiny_pipeline
    from transformers import CLIPImageProcessor

    opened = wrap(tiny_pipeline())
    how: Any = {"steps": 2, "prior_steps": 2, "height": 16, "width": 16}
    recording = record(
        opened, ["a cat", "a dog"], (0, 1), sites="prior/embedding", out=tmp_path / "rec", **how
    )
    pipeline = opened.pipeline
    # This encoder takes pictures of 16 pixels.
    pipeline.prior_image_processor = CLIPImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    inputs = pipeline.prior_image_processor(list(recording.pictures(range(4))), return_tensors="pt")
    with torch.no_grad():
        expected = pipeline.prior_image_encoder(inputs["pixel_values"]).image_embeds.numpy()
    assert ImageEmbedding(recording, opened).of_samples() == pytest.approx(expected, abs=1e-5)


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
