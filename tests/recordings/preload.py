"""What the fork server of `test_killed.py` imports and builds once, with no other threads."""

import pandas  # noqa: F401
import torch
import zarr  # noqa: F401
from tiny import tiny_model

torch.set_num_threads(1)
tiny_model()
