"""Latents read while Lancet draws; training on our stream beside sae-lens's own loop."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from beside import drawn, quiet, ratio
from typing_extensions import override

import clerestory
from clerestory.dictionaries import Dictionary
from clerestory.dictionaries.settings import TrainingSettings
from clerestory.dictionaries.sources import Division, Rows, Source
from clerestory.dictionaries.stream import ActivationStream
from clerestory.dictionaries.trainer import sae_lens_module
from clerestory.dictionaries.training import Training

PROMPTS = ["a stained glass of a cat", "a ship at night", "a sad woman in a library", "a rose"]
SITES = ("denoiser.mid.attn.0/out", "prior/embedding")
TIMES = 8
"""Latents of a dictionary for each unit of its site."""
WIDTH, LATENTS, K, ROWS = 128, 1024, 32, 1024
CHUNKS, PER_CHUNK, BUFFER = 20, 2048, 16_384
UPDATES = BUFFER // ROWS
"""So many that the buffer, which takes time to be read and shuffled, is used up."""


class Tensors(Source):
    """Chunks of random rows in memory, read anew at each visit, as those of a recording are."""

    site, chunks, repeats, division = "denoiser.mid/out", CHUNKS, False, Division()

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        shape = (CHUNKS, PER_CHUNK, WIDTH)
        self.values = rng.standard_normal(shape, np.float32)

    @override
    def identity(self) -> dict[str, object]:
        return {}

    @override
    def read(self, chunk: int, visit: int) -> Rows:
        zeros = np.zeros(PER_CHUNK)
        return Rows(self.values[chunk], zeros.astype(int), zeros)

    @override
    def _held_out(self) -> Iterator[Rows]:
        yield self.read(0, 0)


def drawing() -> None:
    """The time of pictures with the latents of one site, over that of the bare pipeline."""
    model = clerestory.load("lancet")
    quiet(model)
    for site in SITES:
        width = model.sites[site].shape[1] or 1
        address = model.attach(Dictionary.random(width, TIMES * width, site=site), "bench")

        def read(address: str = address) -> None:
            model.run(PROMPTS, 0, read=address)

        times = ratio(read, lambda: drawn(model, PROMPTS), rounds=5)
        print(
            f"{TIMES * width} latents of {site}, pooled: {times:.2f} × the bare pipeline ", end=""
        )
        print("(aim: 1.05)")
        model.detach("bench")


def training() -> None:
    """Rows per second of our training, over those of sae-lens's loop."""
    source = Tensors()
    settings = TrainingSettings(
        "batchtopk", LATENTS, K, 0.0, UPDATES, ROWS, 4e-4, "standard", 1000, BUFFER, seed=0
    )
    batches = [
        torch.from_numpy(source.values[chunk, start : start + ROWS])
        for chunk in range(CHUNKS)
        for start in range(0, PER_CHUNK, ROWS)
    ]

    def ours() -> None:
        training = Training(ActivationStream(source, ROWS, settings.buffer), settings)
        for _ in range(UPDATES):
            training.update()

    def theirs() -> None:
        config = sae_lens_module("config").SAETrainerConfig(**settings.schedule())
        saes = sae_lens_module("saes")
        network = saes.BatchTopKTrainingSAE(
            saes.BatchTopKTrainingSAEConfig(d_in=WIDTH, d_sae=LATENTS, k=K)
        )
        trainer = sae_lens_module("training.sae_trainer").SAETrainer
        # Its bar is silenced, as ours is.
        with contextlib.redirect_stderr(io.StringIO()):
            trainer(config, network, itertools.cycle(batches)).fit()

    print(f"dictionary training: {ratio(theirs, ours, rounds=3):.2f} of the rows per second of")
    print("sae-lens's own loop on the same tensors, shuffling included (aim: 0.9)")


if __name__ == "__main__":
    drawing()
    training()
