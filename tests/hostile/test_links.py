"""Symbolic links in the way of what is written: nothing elsewhere is, and no work is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from interrupts.points import ended
from tiny import tiny_model

from clerestory import maximize, record
from clerestory.errors import ClerestoryError, OutputError, RecordingError, SearchError
from clerestory.io.writing import atomic_folder, open_planned_folder, prepare_new_file
from clerestory.recordings.folder import Folder
from clerestory.studies.runner import check_folder


@pytest.fixture(params=["dangling", "loop"])
def nowhere(request: Any, tmp_path: Path) -> Path:
    """A link to nothing, or to itself."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "missing" if request.param == "dangling" else link)
    return link


def test_a_link_to_nothing_is_refused_before_any_work(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clerestory.load", pytest.fail)
    for words in (["draw", "a cat"], ["study", "run", "mood"], ["maximize", "text/pooled[2]"]):
        result = ended([*words, "--out", nowhere], nowhere.parent)
        line = f"clerestory: {nowhere} is a link to nothing: remove it, or give another place.\n"
        assert (result.status, result.err) == (1, line)
    assert list(nowhere.parent.iterdir()) == [nowhere] and nowhere.is_symlink()


def test_a_link_to_nothing_is_refused_in_python_too(nowhere: Path) -> None:
    with pytest.raises(OutputError, match="link to nothing"), atomic_folder(nowhere):
        pytest.fail("work was begun")
    for check in (prepare_new_file, check_folder):
        with pytest.raises(OutputError, match="link to nothing"):
            check(nowhere)
    with pytest.raises(RecordingError, match="link to nothing"):
        record(tiny_model(), "a cat", 0, sites="text.*/mlp", out=nowhere, progress=False)
    with pytest.raises(SearchError, match="link to nothing"):
        search(nowhere)


def search(out: Path) -> Any:
    return maximize(
        tiny_model(),
        "text.blocks.1/mlp[0]",
        search="random",
        words=1,
        budget=4,
        random_prompts=20,
        vocabulary=["cat", "dog"],
        pictures=False,
        progress=False,
        out=out,
    )


@pytest.mark.parametrize("name", ["trail.parquet", "gallery.html", "scored.parquet", "more"])
def test_a_search_with_a_link_out_of_its_folder_is_not_written_to(
    name: str, tmp_path: Path
) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine"
    result = search(out)
    mine.write_text("mine")
    before = (out / name).read_bytes() if (out / name).exists() else b""
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(mine)
    for write in (search, result.save):
        with pytest.raises(ClerestoryError, match="is a link out of its folder"):
            write(out)
    assert mine.read_text() == "mine"
    # A link to a file of the same folder harms nobody.
    (out / name).unlink()
    (out / "other").write_bytes(before)
    (out / name).symlink_to("other")
    search(out)


@pytest.mark.parametrize("inside", [".lock", "report.html", "tasks/find"])
def test_a_folder_that_goes_on_has_no_links_out_of_it(inside: str, tmp_path: Path) -> None:
    out, away = tmp_path / "out", tmp_path / "away"
    (out / "tasks").mkdir(parents=True)
    away.mkdir()
    (out / inside).symlink_to(away)
    with pytest.raises(OutputError, match="is a link out of its folder"):
        check_folder(out)
    with pytest.raises(SearchError, match="is a link out of its folder"):
        open_planned_folder(out, "plan.json", {}, other="another", error=SearchError)
    with pytest.raises(RecordingError, match="is a link out of its folder"):
        Folder(out).write(f"{inside}/file", b"")
    assert not any(away.iterdir()) and not (out / "plan.json").exists()


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    for disk, out in (("disk", "out"), ("disk-2", "out-2")):
        (tmp_path / disk).mkdir()
        (tmp_path / out).symlink_to(disk)
    with atomic_folder(tmp_path / "out") as part:
        (part / "file").write_text("text")
    assert (tmp_path / "disk" / "file").read_text() == "text"
    open_planned_folder(tmp_path / "out-2", "plan.json", {}, other="other", error=OutputError)
    assert (tmp_path / "out-2").is_symlink() and (tmp_path / "disk-2" / "plan.json").exists()
