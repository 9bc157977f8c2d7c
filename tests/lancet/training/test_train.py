"""The order of the stages as a whole: refused early, written whole, known when finished."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from clerestory.errors import ArtError, OutputError, TrainingError
from lancet.training import renders
from lancet.training.settings import presets
from lancet.training.train import Training
from lancet.world.table import World


@pytest.fixture
def training(tmp_path) -> Training:
    return Training(World.load(), tmp_path / "art", tmp_path / "work", presets["smoke"])


def test_what_cannot_work_is_refused_before_anything_is_made(training, tmp_path):
    with pytest.raises(TrainingError, match=r"No stage is called 'decorder'"):
        training.run(["decorder"])
    with pytest.raises(ArtError, match="No art in"):
        training.run()
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="is not empty"):
        training.check(["autoencoder"], out=taken)
    with pytest.raises(TrainingError, match="renders"):
        training.run(["autoencoder"])
    assert not (tmp_path / "work").exists()


def test_a_finished_model_is_known_by_its_world_and_settings(training, tmp_path):
    out = tmp_path / "out"
    assert not training.is_finished(out)
    out.mkdir()
    told = {"files": {}, "defaults": {}, "settings": asdict(training.settings)}
    path = out / "manifest.json"
    path.write_text(json.dumps({**told, "world": training.world.fingerprint}))
    assert training.is_finished(out)
    path.write_text(json.dumps({**told, "world": "another"}))
    assert not training.is_finished(out)


def test_killed_renders_go_on_where_they_stopped(training, tmp_path, monkeypatch):
    drawn: list[int] = []

    def draw(world, art, scenes, out, *, processes):
        if len(drawn) == 2:
            drawn.append(-1)
            raise KeyboardInterrupt
        drawn.append(scenes[0].seed)
        out[:] = np.array([scene.seed % 251 for scene in scenes], np.uint8)[:, None, None, None]

    monkeypatch.setattr(renders, "BLOCK", 4)
    monkeypatch.setattr(renders.render, "render_into", draw)
    folder, seeds = tmp_path / "renders", range(100, 111)
    with pytest.raises(KeyboardInterrupt):
        renders.build(training.world, Path("art"), folder, seeds)
    with pytest.raises(TrainingError, match="run the stage 'renders' first"):
        renders.Renders.open(folder, training.world)
    with pytest.raises(TrainingError, match="other renders"):
        renders.build(training.world, Path("art"), folder, range(100, 112))
    renders.build(training.world, Path("art"), folder, seeds)
    assert drawn == [100, 104, -1, 108]
    opened = renders.Renders.open(folder, training.world)
    assert opened.pictures[:, 0, 0, 0].tolist() == [seed % 251 for seed in seeds]
    assert opened.scenes["seed"].tolist() == list(seeds)
    with pytest.raises(TrainingError, match="other renders"):
        renders.build(training.world, Path("art"), folder, range(100, 112))
