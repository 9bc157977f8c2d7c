from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from clerestory.errors import TrainingError
from lancet.training import curves
from lancet.training.loop import Stage, fit, rows_of_step, trained
from lancet.training.settings import Plan


class Line(Stage):
    """Learns y = 2x; stops dead after `dies` steps, as a killed process does."""

    name = "line"

    def __init__(self, steps: int, dies: int | None = None) -> None:
        torch.manual_seed(0)
        self.model, self.rows = nn.Linear(1, 1), 40
        self.plan = Plan(steps, 8, 0.05, ema=0.9, seed=3)
        self.dies, self.asked = dies, 0

    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        if self.asked == self.dies:
            raise KeyboardInterrupt
        self.asked += 1
        x = rows[:, None].float() / 40 + 0.01 * torch.randn(len(rows), 1, generator=noise)
        return {"error": (self.model(x) - 2 * x).square().mean()}


def test_a_killed_stage_goes_on_exactly_as_an_undisturbed_one(tmp_path, monkeypatch):
    monkeypatch.setattr("lancet.training.loop.SAVE_SECONDS", 0.0)
    fit(Line(30), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(Line(30, dies=13), tmp_path / "killed")
    fit(Line(30), tmp_path / "killed")
    whole = torch.load(tmp_path / "whole" / "line.pt", weights_only=True)
    killed = torch.load(tmp_path / "killed" / "line.pt", weights_only=True)
    for name in ("model", "ema"):
        for key, value in whole[name].items():
            assert torch.equal(value, killed[name][key])


def test_a_checkpoint_of_another_batch_or_of_other_sizes_is_refused(tmp_path):
    fit(Line(4), tmp_path)
    other = Line(8)
    other.plan = Plan(8, 4, 0.05, ema=0.9, seed=3)
    with pytest.raises(TrainingError, match="another batch"):
        fit(other, tmp_path)
    wider = Line(8)
    wider.model = nn.Linear(2, 1)
    with pytest.raises(TrainingError, match="other sizes"):
        fit(wider, tmp_path)


def test_a_log_that_a_kill_cut_short_still_gives_its_curve(tmp_path):
    fit(Line(40), tmp_path)
    with (tmp_path / "line.jsonl").open("a") as log:
        log.write('{"step": 41, "lo')
    assert list(curves.read(tmp_path)["step"]) == [20, 40]


def test_a_stage_learns_and_its_log_has_a_falling_loss(tmp_path):
    fit(Line(400), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "line.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 400
    assert lines[-1]["loss"] < 0.1 * lines[0]["loss"]


def test_every_row_is_seen_once_an_epoch():
    plan = Plan(10, 8, 0.1, seed=5)
    seen = torch.cat([rows_of_step(plan, step, 40) for step in range(5)])
    assert sorted(seen.tolist()) == list(range(40))
    again = torch.cat([rows_of_step(plan, step, 40) for step in range(5, 10)])
    assert sorted(again.tolist()) == list(range(40))
    assert not torch.equal(seen, again)


def test_too_few_pictures_for_a_batch_are_refused():
    with pytest.raises(TrainingError, match="fewer than one batch of 8"):
        rows_of_step(Plan(10, 8, 0.1), 0, 7)


def test_an_unfinished_stage_is_not_used_for_a_finished_one(tmp_path):
    fit(Line(4), tmp_path)
    with pytest.raises(TrainingError, match="not trained yet"):
        trained("line", nn.Linear(1, 1), tmp_path, 5)
    assert trained("line", nn.Linear(1, 1), tmp_path, None).weight.requires_grad is False


def test_a_loss_that_is_not_finite_stops_the_stage_by_name(tmp_path):
    stage = Line(4)
    stage.model.weight.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match="'line': the loss is not finite at step 0"):
        fit(stage, tmp_path)


def test_the_loss_curves_are_read_and_drawn(tmp_path):
    from lancet.training import curves

    fit(Line(60), tmp_path)
    logged = curves.read(tmp_path)
    assert set(logged["stage"]) == {"line"}
    assert logged["step"].tolist() == [20, 40, 60]
    curves.draw(tmp_path, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
