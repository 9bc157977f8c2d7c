"""Seeds and picture sizes, read from text.

>>> parse_seeds("0:4")
range(0, 4)
>>> parse_seeds("3,7")
(3, 7)
>>> parse_seeds("4:0")
Traceback (most recent call last):
    ...
clerestory.errors.SeedError: Seeds '4:0' are empty; write 0:4 for 0 to 3, or 3,7.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence

import numpy as np

from clerestory.errors import OptionError, SeedError

__all__ = ["check_seeds", "item_seeds", "parse_seeds", "parse_size"]

# torch takes seeds to 64 bits, a table of samples keeps them as signed 64-bit integers.
_SEED_LIMIT = 2**63
_MAX_COUNT = 1_000_000


def parse_seeds(text: str) -> Sequence[int]:
    """Read seeds from text.

    Args:
        text: A range `0:4` (without its end), a list `3,7`, or one seed.

    Returns:
        The seeds, in order; a range where the text is one.

    Raises:
        SeedError: The text is none of these, or has more than 1,000,000 seeds.
    """
    hint = "write 0:4 for 0 to 3, or 3,7."
    parts = text.split(":")
    try:
        seeds: Sequence[int] = (
            range(int(parts[0]), int(parts[1]))
            if len(parts) == 2
            else tuple(int(part) for part in text.split(","))
        )
    except ValueError:
        raise SeedError(f"Seeds {text!r} cannot be read; {hint}") from None
    if not seeds:
        raise SeedError(f"Seeds {text!r} are empty; {hint}")
    # Not `len`, which fails for a range of more than 63 bits.
    count = seeds.stop - seeds.start if isinstance(seeds, range) else len(seeds)
    if count > _MAX_COUNT:
        raise SeedError(f"Seeds {text!r} are {count:,}; at most {_MAX_COUNT:,} at once.")
    # The ends of a range stand for all of it, so a long one is not listed twice.
    check_seeds((seeds[0], seeds[-1]) if isinstance(seeds, range) and count > 1 else seeds)
    return seeds


def check_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Check seeds and list them.

    Args:
        seeds: One seed, or several.

    Returns:
        The seeds as Python integers, in order.

    Raises:
        SeedError: There is none, one is given twice, or one is negative or above 63 bits.
    """
    sequence = (seeds,) if isinstance(seeds, int | np.integer) else seeds
    # `index` takes numpy integers and refuses 1.0, which `int` would let pass.
    listed = tuple(operator.index(seed) for seed in sequence)
    if not listed:
        raise SeedError("There is no seed; give at least one, like 0 or range(4).")
    for seed in listed:
        if not 0 <= seed < _SEED_LIMIT:
            raise SeedError(f"Seed {seed} is out of bounds; a seed is a whole number from 0 up.")
    if len(set(listed)) < len(listed):
        repeated = next(seed for seed in listed if listed.count(seed) > 1)
        raise SeedError(f"Seed {repeated} is given twice; a seed draws the same picture each time.")
    return listed


def item_seeds(item: str, count: int, seed: int = 0) -> tuple[int, ...]:
    """Seeds that belong to an item: its templates and arms share them, other items do not.

    With the same seeds for every item, what one seed's noise does to the pictures of all items
    would be taken for a property of what is compared.

    Args:
        item: What the prompts are about.
        count: How many seeds.
        seed: Gives other seeds for the same item.

    Returns:
        Different seeds from a hash, the same for the same arguments on every machine.

    Raises:
        SeedError: `count` is not positive.

    >>> item_seeds("a cat", 2)
    (2018069364, 3179266727)
    """
    if count < 1:
        raise SeedError(f"{count} seeds per item: at least one is needed.")
    seeds: dict[int, None] = {}
    number = 0
    # Of 32 bits, so that they are easy to type; one that occurs twice is passed over.
    while len(seeds) < count:
        text = f"{seed}\n{number}\n{item}".encode()
        seeds[int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big")] = None
        number += 1
    return tuple(seeds)


def parse_size(text: str) -> dict[str, int]:
    """Read a picture's size from text: a side `512`, or width and height `768x512`.

    Args:
        text: One or two whole numbers of pixels.

    Returns:
        `height` and `width` in pixels.

    Raises:
        OptionError: The text is neither.

    >>> parse_size("768x512")
    {'height': 512, 'width': 768}
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and int(side) for side in sides):
        raise OptionError(f"The size {text!r} cannot be read; write 512, or 768x512.")
    return {"height": int(sides[-1]), "width": int(sides[0])}
