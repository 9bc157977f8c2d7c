"""Many scenes to pictures, in several processes; their number does not change the pictures."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import ArtError
from lancet.world.art import Art, code
from lancet.world.scene import NONE, Scene
from lancet.world.table import World

__all__ = ["check_art", "render", "render_into"]

CHUNK = 64
Pictures = NDArray[np.uint8]


def render(
    world: World, art: Path, scenes: Sequence[Scene], *, processes: int = 2, size: int = 64
) -> Pictures:
    """The scenes' pictures, `[n, size, size, 3]` uint8.

    Args:
        world: The world.
        art: The folder with the sprites.
        scenes: The scenes.
        processes: Number of processes; 1 draws in this one.
        size: 64, or 128 for pictures that are not halved.

    Returns:
        Pictures in the order of the scenes.

    Raises:
        ArtError: A sprite is missing.
    """
    out = np.empty((len(scenes), size, size, 3), np.uint8)
    render_into(world, art, scenes, out, processes=processes)
    return out


def render_into(
    world: World, art: Path, scenes: Sequence[Scene], out: Pictures, *, processes: int = 2
) -> None:
    """Draw the scenes into an array.

    Args:
        world: The world.
        art: The folder with the sprites.
        scenes: The scenes.
        out: Receives the pictures, `[n, size, size, 3]` with a size of 64 or 128; it may be
            memory-mapped.
        processes: Number of processes; 1 draws in this one.

    Raises:
        ArtError: A sprite is missing.
    """
    starts = range(0, len(scenes), CHUNK)
    parts = [list(scenes[start : start + CHUNK]) for start in starts]
    drawn = _draw_parts(world, art, parts, processes, out.shape[1])
    for start, pictures in zip(starts, drawn, strict=True):
        out[start : start + len(pictures)] = pictures


def _draw_parts(
    world: World, art: Path, parts: list[list[Scene]], processes: int, size: int
) -> Iterator[Pictures]:
    check_art(world, art, itertools.chain.from_iterable(parts))
    # Starting processes takes longer than drawing one part.
    if processes == 1 or len(parts) < 2:
        _open(world.path, art)
        yield from map(partial(_draw, size=size), parts)
        return
    # A fork copies locks that other threads hold, such as torch's, and may never end.
    context = multiprocessing.get_context("spawn")
    with _ignoring_interrupts():
        pool = context.Pool(processes, _open, (world.path, art))
    with pool:
        # `imap` keeps the order of the parts, whichever process is faster.
        yield from pool.imap(partial(_draw, size=size), parts)


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C; their parent handles it and ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def check_art(world: World, art: Path, scenes: Iterable[Scene]) -> None:
    """Check that every sprite of these scenes exists.

    Called before processes start: a pool whose workers fail at their start never ends.

    Args:
        world: The world.
        art: The folder with the sprites.
        scenes: The scenes.

    Raises:
        ArtError: The art or a sprite is missing.
    """
    sprites = Art.open(art).places
    for scene in scenes:
        emoji = [world.subjects[name][0] for name in (scene.subject, scene.second) if name != NONE]
        emoji += world.moods[scene.mood].faces if scene.mood != NONE else ()
        for sign in emoji:
            if f"{scene.artwork}/{code(sign)}" not in sprites:
                raise ArtError(f"{art} has no {scene.artwork} sprite of {sign}: run `make art`.")


_opened: list[object] = []


def _open(table: Path, art: Path) -> None:
    import cv2

    # The processes share the cores already.
    cv2.setNumThreads(1)
    _opened[:] = [Art.open(art), World.load(table)]


def _draw(scenes: list[Scene], size: int) -> Pictures:
    from lancet.world.drawing import draw

    art, world = _opened
    assert isinstance(art, Art)
    assert isinstance(world, World)
    return np.stack([draw(art, world, scene, size) for scene in scenes])
