"""A classifier of tiny pictures that tells them by chance: `python:interrupts.judge:light`."""

import numpy as np


def light(pictures):
    shown = pictures.sum((1, 2, 3), dtype=np.int64) % 2 == 1
    return np.stack([shown, ~shown], 1).astype(np.float32)


light.classes = ("light", "dark")
