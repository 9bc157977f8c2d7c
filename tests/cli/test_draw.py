import functools
import json

import commands
import numpy as np
import pytest
import typer
from PIL import Image
from tiny import tiny_model

from clerestory.cli import draw, sites, steer
from clerestory.edits import Add
from clerestory.errors import OptionError, OutputError, PromptError, SeedError, SiteError
from clerestory.steering import SteeredModel

app = typer.Typer()
app.command("draw")(draw.draw)
app.command("sites")(sites.sites)
app.add_typer(steer.app, name="steer")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The command line's models are the tiny one."""
    opened = lambda *_, **__: tiny_model()  # noqa: E731
    monkeypatch.setattr("clerestory.models.load", opened)
    monkeypatch.setattr("clerestory.load", opened, raising=False)
    monkeypatch.setattr("clerestory.steering.steered.load", opened)


call = functools.partial(commands.call, app)


def test_draw_writes_a_picture_for_each_seed_and_a_grid(tmp_path):
    result = call("draw", "a cat", "a dog!", "--seeds", "0:2", "--out", tmp_path / "out")
    assert result.stdout == ""
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    pictures = [f"a-{animal}-seed{seed}.png" for animal in ("cat", "dog") for seed in (0, 1)]
    assert names == sorted([*pictures, "grid.png", "samples.json"])
    drawn = np.asarray(Image.open(tmp_path / "out" / "a-dog-seed1.png"))
    assert (drawn == tiny_model().run(["a cat", "a dog!"], range(2)).pictures[3]).all()
    told = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert (told[3]["file"], told[3]["prompt"], told[3]["seed"]) == ("a-dog-seed1.png", "a dog!", 1)
    sheet = np.asarray(Image.open(tmp_path / "out" / "grid.png"))
    assert sheet.shape == (2 * 132 + 4, 2 * 132 + 4, 3)


def test_draw_refuses_and_writes_nothing(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for arguments, error in (
        (["a cat", "--out", tmp_path], OutputError),
        (["", "--out", tmp_path / "out"], PromptError),
        (["cat " * 40, "--out", tmp_path / "out"], PromptError),
        (["a cat", "--seeds", "4:0", "--out", tmp_path / "out"], SeedError),
    ):
        with pytest.raises(error):
            call("draw", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_prompts_of_the_same_name_get_files_of_their_own(tmp_path):
    call("draw", "a cat", "a cat!", "--seeds", "0", "--out", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").glob("*seed0.png"))
    assert names == ["0-a-cat-seed0.png", "1-a-cat-seed0.png"]


def test_sites_lists_what_scripts_read():
    told = json.loads(call("sites", "text.*/mlp", "--json").stdout)
    assert [row["address"] for row in told] == ["text.blocks.0/mlp", "text.blocks.1/mlp"]
    assert told[0]["shape"] == [16, 48] and told[0]["affects_output"] is True
    assert (told[0]["stream"], told[0]["heads"], told[0]["idle"]) == (None, None, False)
    assert told[0]["module"].endswith("layers.0.mlp.activation_fn")
    assert len(json.loads(call("sites", "--json").stdout)) == len(tiny_model().sites)


def test_sites_draws_a_table_and_suggests():
    assert "prior/embedding" in call("sites", "prior*").stdout
    with pytest.raises(SiteError, match="Did you mean prior/embedding"):
        call("sites", "prior/embeding")


def test_steer_draw_shows_each_prompt_without_and_with_the_edits(tmp_path):
    edit = Add("prior/embedding", 5 * np.ones(32))
    place = SteeredModel(tiny_model(), [edit]).save(tmp_path / "steered")
    arguments = ["a cat", "a dog", "--seeds", "0:3", "--out", tmp_path / "out"]
    call("steer", "draw", place, *arguments)
    plain, edited = tiny_model().sweep(["a cat", "a dog"], range(3), [[], [edit]])
    drawn = np.asarray(Image.open(tmp_path / "out" / "a-dog-seed2.png"))
    assert (drawn == edited.pictures[5]).all()
    sheet = np.asarray(Image.open(tmp_path / "out" / "grid.png"))[4::132, 4::132]
    corners = [plain.pictures[:3], edited.pictures[:3], plain.pictures[3:], edited.pictures[3:]]
    assert (sheet[:4, :3] == np.stack(corners)[:, :, 0, 0]).all()


def test_steer_draw_edits_a_region_only(tmp_path):
    site = "denoiser.mid.res.0/out"
    edit = Add(site, np.full(tiny_model().sites[site].shape[1], 9.0))
    place = SteeredModel(tiny_model(), [edit]).save(tmp_path / "steered")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "nowhere.png")
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(tmp_path / "all.png")
    drawn = {}
    for name, region in (("nowhere", tmp_path / "nowhere.png"), ("all", tmp_path / "all.png")):
        arguments = ("--seeds", "0", "--region", region, "--out", tmp_path / name)
        call("steer", "draw", place, "a cat", *arguments)
        drawn[name] = np.asarray(Image.open(next((tmp_path / name).glob("a-cat*.png"))))
    plain, edited = tiny_model().sweep("a cat", 0, [[], [edit]], progress=False)
    assert (drawn["nowhere"] == plain.pictures[0]).all()
    assert (drawn["all"] == edited.pictures[0]).all()
    assert (drawn["all"] != drawn["nowhere"]).any()
    with pytest.raises(OptionError, match=r"absent\.png"):
        call("steer", "draw", place, "a cat", "--region", "absent.png", "--out", tmp_path / "x")
