"""Operations that several styles share: greys, edges, saturation, grain."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["cast", "edges", "grain", "grey", "saturated"]

Picture = NDArray[np.uint8]
Map = NDArray[np.float32]


def cast(values: NDArray[np.floating]) -> Picture:
    """Values around 0 … 255 as bytes.

    Args:
        values: Any shape.

    Returns:
        Rounded and cut to 0 to 255.
    """
    return np.asarray(np.clip(values + 0.5, 0, 255), np.uint8)


def grey(picture: Picture) -> Map:
    """Lightness in 0 … 1.

    Args:
        picture: `[height, width, 3]`, uint8.

    Returns:
        `[height, width]`.
    """
    light = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.asarray(light, np.float32) / np.float32(255.0)


def edges(picture: Picture) -> Map:
    """The largest Sobel gradient of the channels at each pixel, in 0 … 1.

    Args:
        picture: `[height, width, 3]`, uint8.

    Returns:
        `[height, width]`.
    """
    smooth = cv2.GaussianBlur(picture, (3, 3), 0).astype(np.float32)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    slope: Map = np.sqrt(across * across + down * down).max(2) / 400.0
    return np.minimum(slope, 1.0)


def saturated(picture: Picture, by: float) -> Map:
    """The picture as floats 0 … 255, each pixel `by` times as far from its own grey.

    Args:
        picture: `[height, width, 3]`, uint8.
        by: 1 changes nothing, 0 gives greys.

    Returns:
        `[height, width, 3]`.
    """
    values = picture.astype(np.float32)
    middle = values.mean(2, keepdims=True)
    far: Map = middle + (values - middle) * by
    return np.clip(far, 0, 255)


@functools.lru_cache(maxsize=16)
def grain(seed: int, blur: float, size: int = 192) -> Map:
    """A fixed texture `[size, size]` of mean 0 and deviation 1: noise, blurred.

    Args:
        seed: Random seed of the texture.
        blur: Standard deviation of the blur in pixels.
        size: Pixels a side.

    Returns:
        The texture; it is shared, not to be changed.
    """
    noise = np.random.default_rng(seed).standard_normal((size, size)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), blur)
    return np.asarray((smooth - smooth.mean()) / smooth.std(), np.float32)
