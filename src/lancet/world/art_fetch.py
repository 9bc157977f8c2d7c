"""Fetch the art with npm and draw its sprites: six families, by package name and version."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import ArtError
from lancet.world.art import Art, code, pack

__all__ = ["FAMILIES", "fetch"]

FAMILIES = {
    "noto": "@iconify-json/noto@1.2.9",
    "twemoji": "@iconify-json/twemoji@1.2.5",
    "3d": "@lobehub/fluent-emoji-3d@1.1.0",
    "flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "high contrast": "@iconify-json/fluent-emoji-high-contrast@1.2.6",
    "monochrome": "@expo-google-fonts/noto-emoji@0.4.7",
}
DRAWN = 160
"""Side in pixels at which vector art is drawn before it is trimmed."""

Picture = NDArray[np.uint8]
Drawer = Callable[[str], Picture]


def fetch(folder: Path, emoji: frozenset[str]) -> Art:
    """Fetch all families, draw these emoji, and pack them into `folder`.

    Nothing is fetched where `folder` already holds them all, unaltered. ArtError, in one line, if
    it holds other art, if npm is missing or fails, or if a family lacks an emoji.

    Args:
        folder: Where the sprites go.
        emoji: Every emoji that is needed.

    Returns:
        The sprites, opened.

    Raises:
        ArtError: The folder holds other art, npm is missing or fails, or a family lacks an emoji.
    """
    if (folder / "sprites.json").exists():
        return _packed(folder, emoji)
    # Packages are hundreds of megabytes; the sprites of one world are a few.
    with tempfile.TemporaryDirectory() as packages:
        drawers = {
            artwork: _drawer(artwork, _package(Path(packages), name))
            for artwork, name in FAMILIES.items()
        }
        # Sorted, so that the packed file has the same bytes on every machine.
        return pack(folder, _draw_all(drawers, sorted(emoji)))


def _packed(folder: Path, emoji: frozenset[str]) -> Art:
    art = Art.open(folder)
    art.verify()
    needed = {f"{artwork}/{code(sign)}" for artwork in FAMILIES for sign in emoji}
    lacking = sorted(needed - set(art.places))
    if lacking:
        raise ArtError(
            f"The art in {folder} lacks {len(lacking)} sprites of this world, {lacking[0]!r} first:"
            " it was made for another table, so name another folder."
        )
    return art


def _draw_all(drawers: dict[str, Drawer], emoji: list[str]) -> Iterator[tuple[str, str, Picture]]:
    for artwork, draw in drawers.items():
        for sign in emoji:
            try:
                yield artwork, sign, draw(sign)
            except (KeyError, FileNotFoundError) as error:
                raise ArtError(f"Artwork {artwork!r} has no {sign} ({code(sign)}).") from error


def _package(folder: Path, name: str) -> Path:
    if shutil.which("npm") is None:
        raise ArtError("The art comes from npm packages, and no `npm` is on the PATH: install it.")
    done = subprocess.run(
        ["npm", "pack", "--silent", name], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ArtError(f"npm could not fetch {name}: {reason}")
    place = folder / name.strip("@").replace("/", "-").replace("@", "-")
    with tarfile.open(folder / done.stdout.strip().splitlines()[-1]) as packed:
        # The filter refuses links and paths out of the folder.
        packed.extractall(place, filter="data")
    return place / "package"


def _drawer(artwork: str, package: Path) -> Drawer:
    if artwork == "3d":
        return lambda emoji: _webp(package / "assets", emoji)
    if artwork == "monochrome":
        return _font_drawer(package / "400Regular" / "NotoEmoji_400Regular.ttf")
    return _icon_drawer(package)


def _icon_drawer(package: Path) -> Drawer:
    import resvg_py

    names: dict[str, str] = json.loads((package / "chars.json").read_text())
    icons: dict[str, Any] = json.loads((package / "icons.json").read_text())
    # Families disagree about variation selectors; without them they agree.
    plain = {key.replace("-fe0f", ""): name for key, name in names.items()}

    def draw(emoji: str) -> Picture:
        icon = icons["icons"][plain[code(emoji)]]
        size = icon.get("width", icons.get("width", 16))
        # The colour of the surrounding text, which a picture does not have.
        body = icon["body"].replace("currentColor", "#000")
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            f' viewBox="0 0 {size} {icon.get("height", icons.get("height", 16))}">{body}</svg>'
        )
        drawn = resvg_py.svg_to_bytes(svg_string=svg, width=DRAWN, skip_system_fonts=True)
        return _pixels(bytes(drawn))

    return draw


def _webp(folder: Path, emoji: str) -> Picture:
    # This family names some files with the variation selector.
    for name in (code(emoji), f"{code(emoji)}-fe0f"):
        if (folder / f"{name}.webp").exists():
            return _pixels((folder / f"{name}.webp").read_bytes())
    raise FileNotFoundError(emoji)


def _font_drawer(path: Path) -> Drawer:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(path), DRAWN - 30)

    def draw(emoji: str) -> Picture:
        # The black bird is a bird joined with a black square: in black and white, a bird.
        canvas = Image.new("RGBA", (DRAWN + 60, DRAWN + 60))
        ImageDraw.Draw(canvas).text((20, 20), emoji[0], font=font, fill=(0, 0, 0, 255))
        return np.asarray(canvas)

    return draw


def _pixels(encoded: bytes) -> Picture:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGBA"))
