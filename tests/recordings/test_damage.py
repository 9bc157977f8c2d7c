"""Damage to any file of a recording: read as an error or as what was recorded, and drawn again."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from clerestory.errors import ClerestoryError, RecordingError
from clerestory.recordings import Recording, Store, verify
from recordings.small import contents, recorded

SITES = "text.blocks.1/mlp,denoiser.mid.res.0/out"
HOW = {"prompts": ["a cat", "a dog", "a cat a", "a dog b"], "sites": SITES, "pool": "none"}


def record_small(out, **options):
    """Eight samples in three chunks, of which the last is short; positions and pictures."""
    return recorded(out, batch=3, chunk=3, **HOW, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return Path(record_small(tmp_path_factory.mktemp("whole") / "rec").store.folder.root)


@pytest.fixture(scope="module")
def truth(whole):
    return contents(whole), values(Recording.open(whole))


def values(recording):
    """Everything that a reader can see, by sample: `{(what, row): bytes}`."""
    seen = {}
    for site in recording.sites:
        tree = recording.to_xarray()
        for array in (recording.read(site), tree[f"{site}/value"]):
            prompts = recording.read(site)["prompt"] if array.name == site else tree["prompt"]
            rows = array["sample"].to_numpy().tolist()
            for row, value, prompt in zip(rows, array.to_numpy(), prompts.to_numpy(), strict=True):
                seen[site, row], seen["prompt", row] = value.tobytes(), str(prompt)
        parts = np.concatenate([*recording.chunks(site), np.empty((0, *array.shape[1:]))])
        for row, value in zip(recording.rows, parts, strict=True):
            assert seen[site, int(row)] == value.astype(np.float32).tobytes()
    for row in recording.rows:
        seen["pictures", int(row)] = recording.pictures(int(row)).tobytes()
    pictures = recording.to_xarray()["pictures/value"]
    for row, value in zip(pictures["sample"].to_numpy(), pictures.to_numpy(), strict=True):
        assert seen["pictures", int(row)] == value.tobytes()
    return seen


def remove(path):
    path.unlink()


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    raw = bytearray(path.read_bytes())
    if raw:
        raw[len(raw) // 3] ^= 4
    path.write_bytes(raw)


def grow(path):
    path.write_bytes(path.read_bytes() + b"\0")


def swap(path):
    """Exchange a file with that of another chunk."""
    pattern = "c.*" if path.name.startswith("c.") else "0*.json"
    others = [each for each in path.parent.glob(pattern) if each != path]
    if others:
        raw, other = path.read_bytes(), sorted(others)[-1]
        path.write_bytes(other.read_bytes())
        other.write_bytes(raw)


ATTACKS = (remove, halve, empty, flip, grow, swap)


def one_line(error):
    assert "\n" not in str(error), error
    return str(error)


def attacked(whole, tmp_path, name, attack):
    copy = tmp_path / "rec"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    attack(copy / name)
    return copy


def check_reading(copy, seen):
    """What is read is what was recorded, or an error of one line."""
    try:
        found = values(Recording.open(copy))
    except ClerestoryError as error:
        one_line(error)
        return
    assert found.items() <= seen.items()


def check_resuming(copy, everything):
    """The same call draws again what is missing, or says in one line that it cannot."""
    try:
        record_small(copy)
    except ClerestoryError as error:
        one_line(error)
        return False
    assert len(Store(copy).markers.read_all()) == 3
    # Of the size that it had, a file is only read where it is used, and by `verify`.
    if not verify(Store(copy)):
        assert contents(copy) == everything
    return True


def names(whole):
    return sorted(
        path.relative_to(whole).as_posix()
        for path in whole.rglob("*")
        if path.is_file() and path.name != ".lock"
    )


def check_damage(whole, truth, tmp_path, attack, damaged):
    everything, seen = truth
    for name in damaged:
        copy = attacked(whole, tmp_path, name, attack)
        check_reading(copy, seen)
        resumed = check_resuming(copy, everything)
        # The manifest alone cannot be made again. Of the size that it had, a file is read only
        # where it is used, and by `verify`.
        data = "/value/c." in name or "/length/c." in name
        if name != "manifest.json" and (attack not in (flip, swap) or not data):
            assert resumed, name
            assert verify(Store(copy)) == [], name


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_damaged_file_is_an_error_or_drawn_again_and_never_read_as_something_else(
    whole, truth, tmp_path, attack
):
    arrays, site = "activations.zarr", "denoiser.mid.res.0/out"
    # One of each kind; the last chunk is shorter than the others.
    damaged = [
        "manifest.json",
        "samples.parquet",
        "done/000001.json",
        *(f"{arrays}/{name}" for name in ("zarr.json", "complete/c.1", "prompt/c.0")),
        *(f"{arrays}/{site}/{name}" for name in ("value/c.2.0.0.0", "length/c.1", "step/c.0")),
        f"{arrays}/pictures/value/c.1.0.0.0",
    ]
    assert set(damaged) <= set(names(whole))
    check_damage(whole, truth, tmp_path, attack, damaged)


@pytest.mark.exhaustive
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_damage_to_every_file_is_an_error_or_drawn_again(whole, truth, tmp_path, attack):
    check_damage(whole, truth, tmp_path, attack, names(whole))


def test_resuming_draws_what_a_deleted_chunk_of_pictures_and_two_truncated_markers_lack(
    whole, truth, tmp_path
):
    copy = attacked(whole, tmp_path, "activations.zarr/pictures/value/c.0.0.0.0", remove)
    for chunk in (1, 2):
        halve(copy / "done" / f"00000{chunk}.json")
    recording = Recording.open(copy)
    assert recording.samples["done"].tolist() == [True] * 3 + [False] * 5
    with pytest.raises(RecordingError, match=r"c\.0\.0\.0\.0 is missing"):
        recording.pictures(0)
    drawn = []
    again = record_small(copy, progress=lambda label, done, total: drawn.append((done, total)))
    assert (drawn[0], drawn[-1]) == ((0, 8), (8, 8))
    assert again.samples["done"].all()
    assert contents(copy) == truth[0]


def test_pictures_of_another_chunk_are_not_taken_for_a_samples_own(whole, tmp_path):
    copy = attacked(whole, tmp_path, "activations.zarr/pictures/value/c.0.0.0.0", lambda path: None)
    first, second = (copy / f"activations.zarr/pictures/value/c.{at}.0.0.0" for at in (0, 1))
    first.write_bytes(second.read_bytes())
    with pytest.raises(RecordingError, match="was altered"):
        Recording.open(copy).pictures(1)


OTHERS = {
    # Its table and arrays are alike; only what the values are of differs.
    "of other options": {"guidance": 3.5},
    "of other seeds": {"seeds": (7, 8)},
    "of other sites": {"sites": "text.blocks.0/mlp,denoiser.mid.res.0/out"},
    "of one chunk": {"chunk": 9},
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_manifest_of_another_recording_is_told_by_reading_resuming_and_verifying(
    whole, tmp_path, other
):
    how = {"prompts": HOW["prompts"], "batch": 3, "chunk": 3, "sites": SITES, "pool": "none"}
    how |= OTHERS[other]
    copy = attacked(whole, tmp_path, "manifest.json", lambda path: None)
    there = Path(recorded(tmp_path / "other", **how).store.folder.root)
    # All that is not of a chunk, as somebody does who takes its arrays for the same.
    shutil.copy(there / "manifest.json", copy)
    shutil.copy(there / "samples.parquet", copy)
    for source in there.glob("activations.zarr/**/zarr.json"):
        if (copy / source.relative_to(there)).exists():
            shutil.copy(source, copy / source.relative_to(there))
    before = {name: (copy / name).read_bytes() for name in names(copy)}

    def resume():
        recorded(copy, **how)

    def read():
        values(Recording.open(copy))

    for call in (read, lambda: Recording.open(copy).samples, lambda: verify(Store(copy)), resume):
        with pytest.raises(
            RecordingError, match=r"of two recordings|was altered|is missing"
        ) as caught:
            call()
        one_line(caught.value)
    assert {name: (copy / name).read_bytes() for name in names(copy)} == before


def test_a_marker_of_another_recording_is_told(whole, tmp_path):
    copy = attacked(whole, tmp_path, "manifest.json", lambda path: None)
    other = record_small(tmp_path / "other", guidance=3.5)
    shutil.copy(f"{other.store.folder.root}/done/000001.json", copy / "done")
    for call in (lambda: Recording.open(copy).samples, lambda: record_small(copy)):
        with pytest.raises(
            RecordingError, match=r"done/000001\.json and manifest\.json are of two"
        ):
            call()
    with pytest.raises(RecordingError, match="are of two recordings"):
        verify(Store(copy))


def test_a_folder_that_is_moved_while_it_is_recorded_ends_in_one_line_and_goes_on_in_its_new_place(
    truth, tmp_path
):
    old, new = tmp_path / "rec", tmp_path / "moved"

    def move(label, done, total):
        if done == 3:
            old.rename(new)

    with pytest.raises(RecordingError, match="was moved, removed or replaced") as caught:
        record_small(old, progress=move)
    one_line(caught.value)
    # No second recording grows in the old place.
    assert not (old / "done").exists() and not (old / "manifest.json").exists()
    resumed = record_small(new)
    assert resumed.samples["done"].all()
    assert contents(new) == truth[0]


def test_the_data_of_a_chunk_is_on_the_disk_before_its_marker(tmp_path, monkeypatch):
    """Data, folders of data, marker, folder of markers, in this order."""
    flushed, fsync = [], os.fsync

    def note(handle):
        flushed.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    record_small(tmp_path / "rec")
    root = str(tmp_path / "rec")
    names = [name.removeprefix(f"{root}/") for name in flushed]
    for chunk in range(3):
        marker = next(
            at for at, name in enumerate(names) if name.startswith(f"done/00000{chunk}.json")
        )
        data = f"activations.zarr/{{}}/c.{chunk}"
        for array in ("pictures/value", "denoiser.mid.res.0/out/value"):
            files = [at for at, name in enumerate(names) if name.startswith(data.format(array))]
            folder = max(
                at for at, name in enumerate(names[:marker]) if name == f"activations.zarr/{array}"
            )
            assert max(files) < folder < marker
        assert names[marker + 1] == "done"
    # The entry of the folder of markers itself, and that of the recording.
    assert root in flushed[: flushed.index(f"{root}/done")]
    assert str(tmp_path) in flushed
