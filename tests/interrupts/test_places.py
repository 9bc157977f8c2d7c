"""Folders and files that are written completely or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from clerestory.errors import OutputError
from clerestory.io.writing import (
    atomic_file,
    atomic_folder,
    open_planned_folder,
)


@pytest.mark.parametrize("there", [False, True], ids=["absent", "empty"])
def test_a_whole_folder_has_all_or_nothing(tmp_path: Path, there: bool):
    out = tmp_path / "a" / "out"
    if there:
        out.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), atomic_folder(out) as part:
        (part / "one.txt").write_text("1")
        assert not (out / "one.txt").exists()
        raise KeyboardInterrupt
    assert out.exists() == there and not any((out if there else out.parent).iterdir())
    with atomic_folder(out) as part:
        (part / "one.txt").write_text("1")
        (part / "sub").mkdir()
    assert sorted(path.name for path in out.iterdir()) == ["one.txt", "sub"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_what_somebody_else_wrote_meanwhile_stays(tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="meanwhile"), atomic_folder(out) as part:
        (part / "ours").touch()
        out.mkdir()
        (out / "theirs").touch()
    assert [path.name for path in out.iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_whole_file_takes_the_place_of_another_at_the_end(tmp_path: Path):
    path = tmp_path / "state.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as part:
        part.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and part.suffix == ".json"
    with atomic_file(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_plan_that_was_half_written_when_it_was_killed_is_in_nobodys_way(tmp_path: Path):
    (tmp_path / "plan.json.part").write_text("{")
    open_planned_folder(tmp_path, "plan.json", {"a": 1}, other="another", error=OutputError)
    assert [one.name for one in tmp_path.iterdir()] == ["plan.json"]
