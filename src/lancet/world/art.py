"""The sprites of Lancet's world: one packed array, drawn once from openly licensed emoji art.

The art is fetched with npm when a world is rendered; neither art nor sprites are part of the
package. NOTICE credits every family.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import ArtError
from clerestory.io.reading import read_json
from clerestory.io.tensor_files import open_memmap
from clerestory.io.validation import validate
from clerestory.io.writing import atomic_file
from clerestory.registry import suggest

__all__ = ["SIZE", "Art", "code", "pack"]

SIZE = 112
"""Side of a stored sprite in pixels: trimmed to what is visible, its longer side filling this."""

Sprite = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Art:
    """Sprites by artwork and emoji, `[SIZE, SIZE, 4]` uint8 with straight alpha."""

    folder: Path
    places: dict[str, int]
    pixels: NDArray[np.uint8]

    @classmethod
    def open(cls, folder: Path) -> Art:
        """Open a packed folder.

        Args:
            folder: A folder that `pack` has written.

        Returns:
            The sprites, memory-mapped.

        Raises:
            ArtError: The art is missing or altered.
        """
        index, pixels = folder / "sprites.json", folder / "sprites.npy"
        if not (index.exists() and pixels.exists()):
            raise ArtError(f"No art in {folder}: run `make art` (or `clerestory lancet art`).")
        content = _read_index(folder)
        # The size alone: digesting every sprite at each start would take
        # seconds; `verify` does it.
        if content["bytes"] != pixels.stat().st_size:
            raise ArtError(f"{pixels} is cut short: remove {folder} and run `make art` again.")
        try:
            packed = open_memmap(pixels, ArtError)
            if packed.shape[1:] != (SIZE, SIZE, 4) or packed.dtype != np.uint8:
                raise ArtError(f"it is {packed.dtype} {list(packed.shape)}")
            if not all(0 <= row < len(packed) for row in content["places"].values()):
                raise ArtError("it has fewer sprites than sprites.json names")
            return cls(folder, content["places"], packed)
        except ArtError as error:
            raise ArtError(f"{pixels} is altered: remove {folder}, run `make art`.") from error

    @property
    def artworks(self) -> tuple[str, ...]:
        """The artwork families with sprites."""
        return tuple(dict.fromkeys(key.split("/")[0] for key in self.places))

    def sprite(self, artwork: str, emoji: str, size: int) -> NDArray[np.float32]:
        """A sprite `[size, size, 4]`, colours and alpha in 0 … 1, colours premultiplied.

        Args:
            artwork: The family of the art.
            emoji: The emoji.
            size: Pixels a side.

        Returns:
            Float32; it is shared, not to be changed.

        Raises:
            ArtError: There is no such sprite.
        """
        return _resized(self, f"{artwork}/{code(emoji)}", size)

    def verify(self) -> None:
        """ArtError unless every byte of the sprites is as it was packed.

        Raises:
            ArtError: A sprite was altered.
        """
        content = _read_index(self.folder)
        digest = hashlib.sha256(np.asarray(self.pixels).tobytes()).hexdigest()
        if digest != content["sha256"]:
            raise ArtError(f"The sprites in {self.folder} are altered: remove it, run `make art`.")


def pack(folder: Path, sprites: Iterable[tuple[str, str, Sprite]]) -> Art:
    """Write (artwork, emoji, RGBA picture of any size) into `folder` and open it.

    Pictures are trimmed to their visible part, centred and scaled to `SIZE`.

    Args:
        folder: The folder; created if missing.
        sprites: Artwork, emoji, and `[height, width, 4]`, uint8, straight alpha.

    Returns:
        The sprites, opened.

    Raises:
        ArtError: There is none, or one has nothing visible in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[str, int] = {}
    fitted_sprites: list[Sprite] = []
    for artwork, emoji, picture in sprites:
        places[f"{artwork}/{code(emoji)}"] = len(fitted_sprites)
        fitted_sprites.append(_fit(picture))
    if not fitted_sprites:
        raise ArtError(f"There is nothing to pack into {folder}.")
    pixels = np.stack(fitted_sprites)
    with atomic_file(folder / "sprites.npy") as part:
        np.save(part, pixels)
    content = {
        "places": places,
        "bytes": (folder / "sprites.npy").stat().st_size,
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }
    with atomic_file(folder / "sprites.json") as part:
        part.write_text(json.dumps(content))
    return Art.open(folder)


def code(emoji: str) -> str:
    """An emoji's code points in lower hexadecimal, without variation selectors.

    Args:
        emoji: One emoji, of one or more code points.

    Returns:
        Numbers joined by dashes.

    >>> code("❤️"), code("🐦‍⬛")
    ('2764', '1f426-200d-2b1b')
    """
    return "-".join(f"{ord(sign):x}" for sign in emoji if sign != "\ufe0f")


def _read_index(folder: Path) -> dict[str, Any]:
    index = folder / "sprites.json"
    try:
        content: dict[str, Any] = read_json(index, ArtError)
        validate(dict[str, int], content["places"], "places", ArtError)
    except (ArtError, TypeError, KeyError) as error:
        raise ArtError(f"{index} is altered: remove {folder} and run `make art` again.") from error
    if not {"places", "bytes", "sha256"} <= set(content):
        raise ArtError(f"{index} is altered: remove {folder} and run `make art` again.")
    return content


def _fit(picture: Sprite) -> Sprite:
    from PIL import Image

    # Nearly transparent pixels are shadows and rounding: they would keep sprites small.
    visible = np.argwhere(picture[..., 3] > 12)
    if not len(visible):
        raise ArtError("A picture of the art has nothing visible in it.")
    (top, left), (bottom, right) = visible.min(0), visible.max(0) + 1
    cut = Image.fromarray(picture[top:bottom, left:right])
    # By the longer side: all sprites are equally large, whatever their family's margins.
    scale = SIZE / max(cut.size)
    wide, high = (max(1, round(side * scale)) for side in cut.size)
    cut = cut.resize((wide, high), Image.Resampling.LANCZOS)
    whole = Image.new("RGBA", (SIZE, SIZE))
    whole.paste(cut, ((SIZE - wide) // 2, (SIZE - high) // 2))
    return np.asarray(whole)


@functools.lru_cache(maxsize=4096)
def _resized(art: Art, key: str, size: int) -> NDArray[np.float32]:
    import cv2

    if key not in art.places:
        raise ArtError(f"No sprite {key!r} in {art.folder}.{suggest(key, art.places)}")
    stored = np.asarray(art.pixels[art.places[key]], dtype=np.float32) / 255.0
    # Premultiplied before the resize: otherwise the colour of invisible pixels bleeds into edges.
    stored[..., :3] *= stored[..., 3:]
    # Averaging has no meaning where a sprite is enlarged, as in close-ups.
    method = cv2.INTER_AREA if size <= SIZE else cv2.INTER_LINEAR
    resized: NDArray[np.float32] = cv2.resize(stored, (size, size), interpolation=method)
    return np.clip(resized, 0.0, 1.0)
