"""Files that are written have the permissions of any new file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_model

from clerestory import Add, SteeredModel
from clerestory.io.tensor_files import default_permissions, write_tensors


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_every_file_of_a_steered_model_follows_the_umask(
    umask: int, mode: int, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        edit = Add("text.blocks.0/resid", np.ones(32))
        SteeredModel(tiny_model(), [edit]).save(tmp_path / "steered")
        write_tensors(tmp_path / "x.safetensors", {"a": np.ones(3)}, framework="np")
    finally:
        os.umask(before)
    files = [*(tmp_path / "steered").iterdir(), tmp_path / "x.safetensors"]
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}


def test_a_folder_of_weights_that_a_library_wrote_follows_it_too(tmp_path: Path) -> None:
    with default_permissions(tmp_path):
        (tmp_path / "unet").mkdir()
        (tmp_path / "unet" / "a.safetensors").touch(0o600)
    assert stat.S_IMODE((tmp_path / "unet" / "a.safetensors").stat().st_mode) != 0o600
