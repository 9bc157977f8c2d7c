from __future__ import annotations

import hashlib
import json

import pytest

from clerestory.errors import ModelError
from lancet import checkpoint


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.bin").write_bytes(b"weights")
    sums = {"model/a.bin": hashlib.sha256(b"weights").hexdigest()}
    (tmp_path / "manifest.json").write_text(
        json.dumps({"files": sums, "defaults": {}, "settings": {}})
    )
    return tmp_path


def test_a_whole_folder_passes(folder):
    assert checkpoint.verified(folder) == folder.resolve()


def test_the_version_is_told_with_what_the_weights_are(folder):
    plain = checkpoint.revision(folder)
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**told, "version": "1.0"}))
    assert checkpoint.revision(folder) == f"1.0-{plain}"


def test_a_flipped_byte_is_refused_in_one_line(folder):
    (folder / "model" / "a.bin").write_bytes(b"weightz")
    with pytest.raises(ModelError, match=r"a\.bin is damaged") as caught:
        checkpoint.verified(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(folder):
    (folder / "model" / "a.bin").unlink()
    with pytest.raises(ModelError, match=r"a\.bin is missing"):
        checkpoint.verified(folder)


def test_a_folder_without_a_manifest_is_no_lancet_folder(tmp_path):
    with pytest.raises(ModelError, match="is not a Lancet folder"):
        checkpoint.manifest(tmp_path)
