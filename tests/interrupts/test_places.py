"""Folders and files that are there whole or not at all, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clerestory.errors import OutputError
from clerestory.io.outputs import forget, left, planned_folder, resumable, whole_file, whole_folder


@pytest.fixture(autouse=True)
def anew():
    forget()


@pytest.mark.parametrize("there", [False, True], ids=["absent", "empty"])
def test_a_whole_folder_has_all_or_nothing(tmp_path: Path, there: bool):
    out = tmp_path / "a" / "out"
    if there:
        out.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), whole_folder(out) as part:
        (part / "one.txt").write_text("1")
        assert not (out / "one.txt").exists()
        raise KeyboardInterrupt
    assert left() == f"{out} is as it was, what was begun is removed"
    assert out.exists() == there and not any((out if there else out.parent).iterdir())
    with whole_folder(out) as part:
        (part / "one.txt").write_text("1")
        (part / "sub").mkdir()
    assert left() == f"{out} is whole"
    assert sorted(path.name for path in out.iterdir()) == ["one.txt", "sub"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_what_somebody_else_wrote_meanwhile_stays(tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="meanwhile"), whole_folder(out) as part:
        (part / "ours").touch()
        out.mkdir()
        (out / "theirs").touch()
    assert [path.name for path in out.iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_whole_file_takes_the_place_of_another_at_the_end(tmp_path: Path):
    path = tmp_path / "state.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as part:
        part.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and part.suffix == ".json"
    with whole_file(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_plan_that_was_half_written_when_it_was_killed_is_in_nobodys_way(tmp_path: Path):
    (tmp_path / "plan.json.part").write_text("{")
    planned_folder(tmp_path, "plan.json", {"a": 1}, other="another", error=OutputError)
    assert [one.name for one in tmp_path.iterdir()] == ["plan.json"]
    assert left() == f"{tmp_path} is resumable, the same command goes on"


def test_parts_of_a_resumable_folder_are_not_told_by_themselves(tmp_path: Path):
    resumable(tmp_path)
    with whole_file(tmp_path / "sub.json") as part:
        part.write_text("{}")
    assert left() == f"{tmp_path} is resumable, the same command goes on"
