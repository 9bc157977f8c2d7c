"""A handful of made-up pictures in place of renders: the loop does not care what it learns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from lancet.training.renders import Renders


@pytest.fixture
def renders(tmp_path) -> Renders:
    rng = np.random.default_rng(0)
    count = 48
    codes = torch.from_numpy(rng.integers(0, 3, (count, 2)))
    pictures = rng.integers(0, 60, (count, 64, 64, 3), dtype=np.uint8)
    pictures[..., 0] += (80 * codes[:, 0].numpy()).astype(np.uint8)[:, None, None]
    scenes = pd.DataFrame({"caption": [f"a {('cat', 'dog', 'none')[c]}" for c in codes[:, 0]]})
    classes = {"subject": ("cat", "dog", "none"), "style": ("plain", "ink", "oil")}
    second = torch.full((count,), 2)
    return Renders(tmp_path, pictures, scenes, classes, codes, second)
