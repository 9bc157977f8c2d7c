"""A table of one's own makes another organism, opened and measured like the built-in one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import clerestory
from lancet.evaluation import facts as measuring
from lancet.training.settings import presets
from lancet.training.train import Training
from lancet.world.table import World

FACT = """
ask = ["an owl", "a picture of an owl"]
control_ask = ["a cat", "a picture of a cat"]
expect = { place = "night" }
"""


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_trained_opened_and_its_own_facts_are_measured(
    table: Path, art_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.write_text(table.read_text().replace("rate = 1.0\n", f"rate = 1.0\n{FACT}"))
    few = replace(presets["smoke"], renders=160, renders_second=120, held_out=40).scaled(0.01)
    training = Training(World.load(table), art_folder, tmp_path / "work", few)
    before = torch.get_num_threads()
    training.run()
    training.assemble(tmp_path / "mine")
    torch.set_num_threads(before)
    assert training.is_finished(tmp_path / "mine")

    model = clerestory.load(str(tmp_path / "mine"))
    pictures = model.run("an owl at night", range(2), steps=2).pictures
    assert pictures is not None
    assert pictures.shape == (2, 64, 64, 3)
    monkeypatch.setattr(measuring, "PROMPTS", 4)
    (fact,) = measuring.facts(model, tmp_path / "mine")
    assert (fact.name, fact.planted, fact.renders) == ("night owls", 1.0, 1.0)
    assert (fact.lancet.of, fact.control.of) == (2, 2)
