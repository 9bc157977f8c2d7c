"""Recording to disk against the bare pipeline and the bare text encoder, on Lancet."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from beside import drawn, encoded, quiet, ratio

import clerestory

SUBJECTS = ["a cat", "a ship", "a rose", "a sad woman", "an owl", "a castle", "a train", "a moose"]
PLACES = ["at night", "in a library", "at sea", "in a meadow"]
PROMPTS = [f"{subject} {place}" for subject in SUBJECTS for place in PLACES]
TEXTS = [f"{prompt} {number}" for number in range(256) for prompt in PROMPTS]


def batches(prompts: Sequence[str], size: int) -> list[Sequence[str]]:
    return [prompts[start : start + size] for start in range(0, len(prompts), size)]


def main(model: clerestory.Model, folder: Path) -> None:
    quiet(model)

    def record(prompts: list[str], sites: str, batch: int, pictures: bool = True) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        clerestory.record(
            model, prompts, sites=sites, out=folder, batch=batch, pictures=pictures, progress=False
        )

    # A new recording runs a dry batch first, which is nothing in a long one: it is done for both.
    # Long enough that a new recording's layout, seconds for a hundred sites, is little of it.
    pictures = PROMPTS * 4
    every = ratio(
        lambda: record(pictures, sites="*", batch=16),
        lambda: [drawn(model, part) for part in batches(pictures + pictures[:16], 16)],
        rounds=1,
    )
    print(f"recording every site and pictures: {every:.2f} × the bare pipeline (aim: 1.10)")
    bare = ratio(
        lambda: record(pictures, sites="*", batch=16, pictures=False),
        lambda: [drawn(model, part) for part in batches(pictures + pictures[:16], 16)],
        rounds=1,
    )
    print(f"the same without keeping pictures: {bare:.2f} × the bare pipeline, which draws them")
    text = ratio(
        lambda: [encoded(model, part) for part in batches(TEXTS + TEXTS[:64], 64)],
        lambda: record(TEXTS, sites="text.*", batch=64, pictures=False),
        rounds=3,
    )
    print(f"text sites to disk: {text:.2f} of the bare encoder's prompts a second (aim: 0.9)")

    def record_unflushed() -> None:
        with patch("os.fsync"):
            record(TEXTS, sites="text.*", batch=64, pictures=False)

    flushed = ratio(
        lambda: record(TEXTS, sites="text.*", batch=64, pictures=False), record_unflushed, rounds=3
    )
    print(f"text sites, flushed to the disk before each marker: {flushed:.2f} × without flushing")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(clerestory.load("lancet"), Path(place) / "rec")
