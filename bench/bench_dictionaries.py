"""Training of a dictionary on our stream, beside sae-lens's own loop on the same tensors."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from beside import ratio
from typing_extensions import override

from clerestory.dictionaries.settings import TrainingSettings
from clerestory.dictionaries.sources import Division, Rows, Source
from clerestory.dictionaries.stream import ActivationStream
from clerestory.dictionaries.trainer import sae_lens_module
from clerestory.dictionaries.training import Training

WIDTH, LATENTS, K, ROWS, UPDATES = 128, 1024, 32, 1024, 10
CHUNKS, PER_CHUNK = 20, 2048


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


def main() -> None:
    source = Tensors()
    settings = TrainingSettings(
        "batchtopk", LATENTS, K, 0.0, UPDATES, ROWS, 4e-4, "standard", 1000, 16_384, seed=0
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
    main()
