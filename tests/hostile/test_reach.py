"""Nothing in a file makes anything be fetched, a program run, or a file elsewhere be written."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from commands import call
from PIL import EpsImagePlugin, Image
from recordings.small import recorded

from clerestory import load
from clerestory.cli.main import app
from clerestory.errors import ClerestoryError, ModelError, RecordingError
from clerestory.io.digests import seal
from clerestory.microscope.folder import Microscope
from clerestory.microscope.redraw import open_model
from clerestory.reporting.pictures import open_picture
from clerestory.steering import SteeredModel

Copied = Callable[[str], Path]
HUB = "a-stranger/model"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of every file that is asked for, of a hub that can be reached."""
    import huggingface_hub

    asked: list[dict[str, Any]] = []
    fetch = huggingface_hub.hf_hub_download

    def note(*_: Any, **options: Any) -> Any:
        asked.append(options)
        return fetch(HUB, "model_index.json", local_files_only=True)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", note)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: nullcontext())
    return asked


def renamed(path: Path, *at: str, sealed: bool = True) -> None:
    """Have a file name a model of the hub."""
    content = json.loads(path.read_text())
    inner = content
    for name in at:
        inner = inner[name]
    inner["name"] = HUB
    path.write_text(json.dumps(seal(content) if sealed else content))


def steered(copied: Copied) -> None:
    folder = copied("steered")
    renamed(folder / "steering.json", "base")
    SteeredModel.load(folder)


def redrawn(copied: Copied) -> None:
    folder = copied("microscope")
    renamed(folder / "microscope.json", "model", sealed=False)
    open_model(Microscope(folder))


def repaired(copied: Copied) -> None:
    folder = copied("recording")
    renamed(folder / "manifest.json", "plan", "model")
    # Damaged, so that chunks are to be drawn again.
    for marker in (folder / "done").glob("*.json"):
        marker.write_text("{}")
    call(app, "recording", "verify", folder, "--repair")


@pytest.mark.parametrize("use", [steered, redrawn, repaired])
def test_no_file_has_its_model_fetched(
    use: Callable[[Copied], None], copied: Copied, fetched: list[dict[str, Any]]
) -> None:
    with pytest.raises(ModelError, match="is not on this machine, and comes from a file") as caught:
        use(copied)
    assert HUB in str(caught.value) and "\n" not in str(caught.value)
    assert fetched == [{"local_files_only": True}]


def test_a_person_has_it_fetched(fetched: list[dict[str, Any]]) -> None:
    with pytest.raises(ModelError, match="cannot be fetched"):
        load(HUB)
    assert fetched == [{"local_files_only": False}]


def test_a_picture_that_is_a_program_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []

    def ghostscript(*arguments: Any, **_: Any) -> Any:
        ran.append(arguments)
        return Image.new("RGB", (8, 8)).im

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    path = tmp_path / "000000.png"
    Image.new("RGB", (8, 8)).save(path, "EPS")
    with Image.open(path) as picture:
        picture.load()
    assert ran, "Pillow alone tells a format by the content"
    ran.clear()
    with pytest.raises(OSError, match="cannot identify"), open_picture(path) as picture:
        picture.load()
    assert ran == []


@pytest.mark.parametrize("name", [".lock", "done", "samples.parquet", "activations.zarr/prompt"])
def test_a_recording_with_a_link_out_of_it_is_not_written_to(name: str, tmp_path: Path) -> None:
    recorded(tmp_path / "rec")
    inside, outside = tmp_path / "rec" / name, tmp_path / "outside"
    if inside.is_dir():
        shutil.copytree(inside, outside)
        shutil.rmtree(inside)
    else:
        outside.write_text("mine")
        inside.unlink()
    for path in outside.glob("*.json"):
        path.unlink()
    inside.symlink_to(outside)
    before = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
    with pytest.raises(RecordingError, match="is a link out of its folder") as caught:
        recorded(tmp_path / "rec")
    assert isinstance(caught.value, ClerestoryError) and "\n" not in str(caught.value)
    after = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
    assert after == before
