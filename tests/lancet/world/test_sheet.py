"""Contact sheets: the scenes that were asked for, on one page, never over a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from clerestory.errors import ArtError, OutputError, TableError
from lancet.cli import art as lancet_art
from lancet.cli import render as lancet_render
from lancet.world.sheet import choose, page
from lancet.world.table import World

PAPER = (247, 246, 242)


def test_fixed_factors_are_in_every_scene(world: World) -> None:
    (section,) = choose(world, 12, seed=3, style="neon", place="night")
    assert len(section.scenes) == 12
    assert {(scene.style, scene.place) for scene in section.scenes} == {("neon", "night")}
    assert [scene.seed for scene in section.scenes] == list(range(3, 15))


def test_without_wishes_the_sheet_shows_what_training_shows(world: World) -> None:
    (section,) = choose(world, 40)
    assert {scene.split for scene in section.scenes} == {"train"}


def test_a_fact_is_shown_beside_the_control_of_the_table(tiny: World) -> None:
    planted, control = choose(tiny, 9, fact="night owls")
    assert [len(planted.scenes), len(control.scenes)] == [5, 4]
    assert {(one.kind, one.subject, one.place) for one in planted.scenes} == {
        ("object", "owl", "night")
    }
    assert {(one.kind, one.subject) for one in control.scenes} == {("object", "cat")}
    assert "night owls" in planted.heading
    assert "100%" in planted.heading
    assert "not planted" in control.heading


def test_a_fact_without_a_control_is_compared_with_scenes_of_the_same_kind(world: World) -> None:
    without = [fact.model_copy(update={"control": {}}) for fact in world.facts]
    planted, others = choose(world.model_copy(update={"facts": tuple(without)}), 20, fact="goth")
    assert {scene.subject for scene in planted.scenes} == {"raven"}
    assert {scene.kind for scene in others.scenes} == {"person"}
    assert "raven" not in {scene.subject for scene in others.scenes}
    assert "control" not in others.heading
    assert "for comparison" in others.heading


def test_every_fact_of_the_built_in_world_is_shown_beside_its_control(world: World) -> None:
    planted, control = choose(world, 20, fact="goth")
    assert {scene.subject for scene in planted.scenes} == {"raven"}
    assert {(scene.kind, scene.subject) for scene in control.scenes} == {("person", "owl")}
    for fact in world.facts:
        assert "not planted" in choose(world, 4, fact=fact.name)[1].heading


def test_a_page_has_each_picture_at_twice_its_size_and_a_caption(
    tiny: World, art_folder: Path
) -> None:
    sections = choose(tiny, 14, fact="night owls")
    whole = np.asarray(page(tiny, art_folder, sections))
    alone = np.asarray(page(tiny, art_folder, sections[:1]))
    assert np.array_equal(whole[: len(alone), : alone.shape[1]], alone)
    assert tuple(whole[0, 0]) == PAPER
    rows = (whole != PAPER).any(2)
    assert rows.sum() > 14 * 128 * 128 * 0.9
    painted = (whole == (45, 45, 48)).all(2).sum()
    assert painted > 14 * 40, "captions are printed"


def _run(arguments: list[str]) -> object:
    app = typer.Typer()
    app.command("render")(lancet_render.render)
    app.command("art")(lancet_art.art)
    done = CliRunner().invoke(app, arguments)
    return done.exception or done.exit_code


def test_the_command_writes_a_sheet_and_never_over_a_file(
    table: Path, art_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "sheet.png"
    common = ["render", "--art", str(art_folder), "--world", str(table), "--out", str(out)]
    assert _run([*common, "--n", "5", "--place", "night", "--seed", "4"]) == 0
    with Image.open(out) as picture:
        assert picture.width > 5 * 128
    before = out.read_bytes()
    assert isinstance(_run([*common, "--n", "5"]), OutputError)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (["--style", "mosiac"], TableError),
        (["--fact", "goths"], TableError),
        (["--art", "nowhere"], ArtError),
        (["--out", "sheet.what"], OutputError),
    ],
)
def test_the_command_refuses_in_one_line_and_writes_nothing(
    wish: list[str],
    error: type[Exception],
    art_folder: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["render", "--art", str(art_folder), "--world", str(table), "--n", "2"]
    refused = _run([*common, "--out", "sheet.png", *wish])
    assert isinstance(refused, error)
    assert "\n" not in str(refused)
    assert not list(tmp_path.glob("sheet*"))
