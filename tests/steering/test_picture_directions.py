"""Directions from pictures: of an encoder whose embeddings are known, and of a tiny model."""

from __future__ import annotations

import functools
import json

import commands
import numpy as np
import pytest
import torch
import typer
from families import family_model
from helpers import planted_cause
from PIL import Image
from tiny import tiny_model, tiny_pipeline

from clerestory.cli import steer
from clerestory.errors import EvidenceError, OptionError
from clerestory.models import wrap
from clerestory.steering import PictureDirection, SteeredModel, direction_from_pictures
from clerestory.steering.picture_directions import left_out_projections

app = typer.Typer()
app.add_typer(steer.app, name="steer")
app.command("other")(lambda: None)
call = functools.partial(commands.call, app)
RNG = np.random.default_rng(0)


def pictures(count, shade, seed=0):
    """Noisy pictures of a colour."""
    noise = np.random.default_rng(seed).integers(-40, 40, (count, 20, 16, 3))
    return np.clip(np.array(shade) + noise, 0, 255).astype(np.uint8)


RED, BLUE = pictures(9, (200, 60, 60), 1), pictures(9, (60, 60, 200), 2)


@pytest.fixture(scope="module")
def model():
    """A tiny model whose processor makes pictures of the encoder's size."""
    from transformers import CLIPImageProcessor

    pipeline, side = tiny_pipeline(), {"height": 16, "width": 16}
    pipeline.prior_image_processor = CLIPImageProcessor(size=side, crop_size=side)
    return wrap(pipeline, name="tiny", defaults=tiny_model().defaults)


def embedded(model, shown):
    """What the pipeline's parts make of pictures, without this library."""
    pipeline = model.pipeline
    inputs = pipeline.prior_image_processor(list(shown), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return pipeline.prior_image_encoder(inputs).image_embeds.numpy()


def test_the_direction_is_the_difference_of_means_of_the_encoder_s_embeddings(model):
    found = direction_from_pictures(model, list(RED), list(BLUE))
    expected = embedded(model, RED).mean(0) - embedded(model, BLUE).mean(0)
    assert np.allclose(found.direction, expected, atol=1e-5)
    assert found.site == "prior/embedding" and found.length == pytest.approx(
        np.linalg.norm(expected), rel=1e-4
    )
    read = {"read": found.site, "pictures": False, "progress": False}
    plain, moved = (
        run.read(found.site).to_numpy()[0, 0]
        for run in model.sweep("a cat", 0, [[], [found.edit(2.0)]], **read)
    )
    assert np.allclose(moved - plain, 2 * expected, atol=1e-4)
    assert found.auroc == 1.0 and found.interval[0] > 0.5 and not found.warnings


def test_each_picture_is_projected_on_the_direction_without_it():
    good, against = RNG.normal(size=(4, 6)) + 1, RNG.normal(size=(5, 6))
    first, second = left_out_projections(good, against)
    centre = np.concatenate([good, against]).mean(0)
    way = good[[0, 1, 3]].mean(0) - against.mean(0)
    assert first[2] == pytest.approx((good[2] - centre) @ way / np.linalg.norm(way))
    way = good.mean(0) - against[1:].mean(0)
    assert second[0] == pytest.approx((against[0] - centre) @ way / np.linalg.norm(way))


def test_sides_that_do_not_differ_are_not_told_apart():
    """Without leaving out, a direction of many units separates any pictures."""
    from clerestory.stats.ranks import auroc

    left_out, fitted = [], []
    for _ in range(60):
        good, against = RNG.normal(size=(2, 8, 64)) + 3
        way = good.mean(0) - against.mean(0)
        fitted.append(auroc((good @ way)[:, None], (against @ way)[:, None])[0])
        scores = (each[:, None] for each in left_out_projections(good, against))
        left_out.append(auroc(*scores)[0])
    assert np.mean(fitted) > 0.95
    assert abs(np.mean(left_out) - 0.5) < 4 * np.std(left_out) / np.sqrt(60)


def test_pairs_are_left_out_together():
    """Things that both sides show hide what differs, unless the other picture is left out too."""
    from clerestory.stats.ranks import auroc

    things = RNG.normal(size=(8, 64)) * 4
    good = things + RNG.normal(size=(8, 64)) * 0.1 + np.eye(1, 64)[0]
    against = things + RNG.normal(size=(8, 64)) * 0.1
    scores = [
        auroc(*(each[:, None] for each in left_out_projections(good, against, paired=paired)))[0]
        for paired in (False, True)
    ]
    assert scores[0] < 0.3
    way = good[1:].mean(0) - against[1:].mean(0)
    centre = np.concatenate([good, against]).mean(0)
    first, second = left_out_projections(good, against, paired=True)
    assert first[0] == pytest.approx((good[0] - centre) @ way / np.linalg.norm(way))
    assert second[0] == pytest.approx((against[0] - centre) @ way / np.linalg.norm(way))
    assert scores[1] > scores[0]


def test_few_pictures_and_those_that_do_not_generalise_are_warned_of(model):
    same = pictures(6, (120, 120, 120), 5)
    found = direction_from_pictures(model, list(same[:3]), list(same[3:]))
    assert "few-items" in {warning.kind for warning in found.warnings}
    assert "insufficient" in {warning.kind for warning in found.warnings}


def test_it_is_saved_with_the_digests_of_pictures_and_encoder(tmp_path, model):
    found = direction_from_pictures(model, list(RED), list(BLUE))
    found.save(tmp_path / "direction")
    again = PictureDirection.load(tmp_path / "direction")
    assert np.array_equal(again.direction, found.direction)
    assert again.to_dict() == found.to_dict()
    assert len({each.digest for each in again.pictures}) == 18
    assert [each.side for each in again.pictures] == ["good"] * 9 + ["against"] * 9
    other = direction_from_pictures(model, list(RED), list(BLUE[::-1]))
    assert other.encoder_digest == found.encoder_digest != ""
    assert "AUROC 1.00" in again.summary() and len(again.table()) == 18
    with pytest.raises(EvidenceError, match="weights are others"):
        again.steered(tiny_model(seed=1))


@pytest.mark.parametrize(
    ("good", "against", "words"),
    [
        (RED[:2], BLUE, "2 different pictures good"),
        (np.repeat(RED[:1], 5, 0), BLUE, "1 different pictures good"),
        (RED, np.concatenate([BLUE, RED[:1]]), "1 pictures are on both sides"),
        (RED / 255, BLUE, "is float64"),
        ("nowhere", BLUE, "no folder"),
    ],
)
def test_what_gives_no_direction_is_refused(good, against, words, model):
    sides = (each if isinstance(each, str) else list(each) for each in (good, against))
    with pytest.raises(EvidenceError, match=words):
        direction_from_pictures(model, *sides)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: family_model("stable_diffusion"), "has no image encoder"),
        (planted_cause.model, "has no image encoder"),
    ],
)
def test_models_whose_conditioning_is_no_image_embedding_are_refused(make, words):
    with pytest.raises(EvidenceError, match=words):
        direction_from_pictures(make(), list(RED), list(BLUE))


def folder(path, shown):
    path.mkdir()
    for index, picture in enumerate(shown):
        Image.fromarray(picture).save(path / f"{index}.png")
    return path


def test_the_command_builds_a_steered_model_of_two_folders(tmp_path, monkeypatch, model):
    opened = lambda *_, **__: model  # noqa: E731
    monkeypatch.setattr("clerestory.load", opened, raising=False)
    good, plain = folder(tmp_path / "good", RED), folder(tmp_path / "plain", BLUE)
    # As `clerestory draw` writes it: the grid is no picture of its own.
    (good / "samples.json").write_text("[]")
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(good / "grid.png")
    (plain / "notes.txt").write_text("notes")
    both = ("--from-pictures", good, "--against", plain)
    options = ("--strengths", "1.5", "--json", "--out", tmp_path / "out")
    told = json.loads(call("steer", "build", *both, *options).stdout)
    assert told["auroc"] == 1.0 and len(told["pictures"]) == 18
    steered = SteeredModel.load(tmp_path / "out", model)
    expected = direction_from_pictures(model, list(RED), list(BLUE), paired=True)
    assert told["auroc"] == expected.auroc
    (edit,) = steered.edits
    assert edit.strength == 1.5 and np.allclose(edit.vector, expected.direction)
    saved = PictureDirection.load(tmp_path / "out" / "pictures")
    # Files of the same names are pairs.
    assert saved.provenance.options == {"paired": True}
    assert steered.provenance["from_pictures"]["pictures"][0]["digest"] == saved.pictures[0].digest
    for wrong, words in (
        (both[:2], "belong together"),
        ((*both, "--strengths", "1,2"), "one is taken"),
        ((*both, "--remove"), "--remove would change nothing"),
        ((), "takes FINDINGS and TARGET"),
    ):
        with pytest.raises(OptionError, match=words):
            call("steer", "build", *wrong, "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()
