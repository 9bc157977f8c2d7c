"""Trains a dictionary: sae-lens's networks and training step, on streams of our own.

    FOLDER/training.json       every setting, and what the activations depend on
    FOLDER/checkpoint-N/       the state after N updates, until the training ends
    FOLDER/curves.json, .png   the figures on held-out activations in the course of the training
    FOLDER/config.json, weights.safetensors    the dictionary

A process that is stopped is continued by the same call: weights, optimizer, counters of when each
latent was active, normalisation and place in the stream are those of its last checkpoint.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clerestory.arguments import checked
from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.figures import measure
from clerestory.dictionaries.normalization import Normalization
from clerestory.dictionaries.settings import TrainingSettings, parse_latents
from clerestory.dictionaries.sources import Division, ModelSource, RecordingSource, Rows, Source
from clerestory.dictionaries.stream import ActivationStream, Place, Scaling, estimate
from clerestory.dictionaries.trainer import Trainer, sae_lens_module, trainers, weights
from clerestory.dictionaries.training_prompts import prompt_metadata
from clerestory.errors import DictionaryError, OptionError
from clerestory.io.reading import path_inside, read_json, wrap_errors
from clerestory.io.tensor_files import read_tensors, write_tensors
from clerestory.io.validation import to_jsonable, validate
from clerestory.io.writing import atomic_file, atomic_folder, open_planned_folder
from clerestory.models import Model
from clerestory.models.core.types import OPTION_NAMES, Branch
from clerestory.models.loading.load import find_device
from clerestory.recordings import Recording
from clerestory.reporting.progress import progress_bars
from clerestory.types import ProgressOption

__all__ = ["Training", "train"]

PLAN, CURVES, CONFIG, TENSORS = "training.json", "curves", "config.json", "weights.safetensors"
CHECKPOINT, STATE, STREAM = "checkpoint-", "state.json", "stream.safetensors"
PART = "dictionary.part"
INTERVAL = 60.0
"""Seconds between two checkpoints."""
MEASUREMENTS = 20
"""How often the held-out figures are measured in the course of a training."""


class Training:
    """A dictionary in training.

    Args:
        stream: The activations.
        settings: How it is trained.
        device: Where.

    Attributes:
        done: Number of updates so far.
        curves: Figures in the course of the training, a row for each measurement.
    """

    def __init__(
        self, stream: ActivationStream, settings: TrainingSettings, *, device: str = "cpu"
    ) -> None:
        kind = trainers[settings.kind]
        self.stream, self.settings, self.done = stream, settings, 0
        self.curves: list[dict[str, Any]] = []
        self._trainer: Trainer = kind(settings.k, settings.penalty, settings.updates)
        config = sae_lens_module("config").SAETrainerConfig(device=device, **settings.schedule())
        width = stream.rows.shape[1]
        # The random state of the caller is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self._network = self._trainer.network(width, settings.latents).to(device)
        training = sae_lens_module("training.sae_trainer")
        self._steps: Any = training.SAETrainer(config, self._network, iter(stream))
        stream.normalization = estimate(stream.rows, settings.normalization).to(device)

    def update(self) -> float:
        """Update the weights once.

        Returns:
            The loss.

        Raises:
            DictionaryError: It is not finite.
        """
        output = self._steps.step(next(self.stream))
        # `step` leaves this count to its caller.
        self._steps.n_training_steps += 1
        self.done += 1
        loss = float(output.loss.detach())
        if not np.isfinite(loss):
            raise DictionaryError(
                f"The loss is {loss} after {self.done} updates: give a smaller rate."
            )
        return loss

    @property
    def dead(self) -> float:
        """Share of latents that were not active for the last `dead_after` updates."""
        return float(self._steps.dead_neurons.float().mean())

    def dictionary(self, metadata: Mapping[str, Any] | None = None) -> Dictionary:
        """The dictionary as it is now.

        Args:
            metadata: Its metadata.

        Returns:
            A copy, on the CPU.
        """
        tensors, lengths = weights(self._network)
        fields: dict[str, Any] = {**tensors, "metadata": metadata or {}}
        dictionary = Dictionary(
            **fields,
            activation=self._trainer.activation(self._network, lengths),
            normalization=self.stream.normalization.to("cpu"),
            # sae-lens's default in all its networks.
            apply_b_dec_to_input=True,
            site=self.stream.source.site,
        )
        return self._trainer.calibrate(dictionary, self.stream.rows)

    def measure(self, held_out: Rows, loss: float) -> None:
        """Add a row to the curves.

        Args:
            held_out: Activations that are not trained on.
            loss: The last update's.
        """
        figures = measure(self.dictionary(), held_out)
        row = {name: figures[name] for name in ("explained_variance", "l0", "dead")}
        self.curves.append({"update": self.done, "loss": loss, **row})

    def save(self, folder: Path) -> None:
        """Write the state, all of it or nothing.

        Args:
            folder: A new folder.
        """
        place = self.stream.place
        tensors = {"remainder": self.stream.remainder.contiguous()}
        tensors |= self.stream.normalization.to("cpu").tensors()
        with atomic_folder(folder) as part:
            self._network.save_model(part)
            self._steps.save_trainer_state(part)
            write_tensors(part / STREAM, tensors)
            state = {"place": asdict(place), "curves": self.curves}
            (part / STATE).write_text(json.dumps(state) + "\n")

    def restore(self, folder: Path) -> None:
        """Continue from a state that `save` wrote.

        Args:
            folder: Its folder.

        Raises:
            DictionaryError: A file is missing or damaged.
        """
        state = read_json(path_inside(folder, STATE, DictionaryError), DictionaryError)
        tensors = read_tensors(path_inside(folder, STREAM, DictionaryError), DictionaryError)
        # torch.load within it reads tensors and numbers alone, nothing that can run code.
        with wrap_errors(folder, DictionaryError):
            self._network.load_weights_from_checkpoint(folder)
            self._steps.load_trainer_state(folder)
            self.curves = list(state["curves"])
            place, remainder = (
                validate(Place, state["place"], STATE, DictionaryError),
                tensors.pop("remainder"),
            )
        self.done = self._steps.n_training_steps
        self.stream.normalization = Normalization(**tensors).to(self.stream.device)
        self.stream.move(place, remainder)


@checked(options=OPTION_NAMES)
def train(
    source: str | Path | Recording | Model,
    *,
    site: str,
    out: str | Path,
    latents: int | str = "8x",
    k: int = 32,
    kind: str = "batchtopk",
    updates: int = 4000,
    rows: int = 2048,
    rate: float = 4e-4,
    penalty: float = 1.0,
    normalization: Scaling = "standard",
    positions: int | None = None,
    held_out: float = 0.1,
    buffer: int = 131_072,
    dead_after: int | None = None,
    seed: int = 0,
    prompts: str | Path | Sequence[str] | pd.DataFrame | None = None,
    seeds: int | Sequence[int] | None = None,
    branch: Branch = "cond",
    batch: int = 16,
    device: str = "auto",
    progress: ProgressOption = True,
    **options: Any,
) -> Dictionary:
    """Train a dictionary on a recording, or on a model that draws prompts meanwhile.

    Args:
        source: A recording, its folder or URL, or a model.
        site: A pattern that matches one of its sites.
        out: Folder of the dictionary; the same call continues there what was stopped.
        latents: Number of latents, or how many times the width of the site, such as `8x`.
        k: Latents per position: exactly (`topk`), on average (`batchtopk`, `matryoshka`), or as a
            target (`jumprelu`); `standard` has none.
        kind: `batchtopk`, `topk`, `matryoshka`, `jumprelu` or `standard`.
        updates: Number of updates of the weights.
        rows: Rows of activations (sample, step, position) for each update.
        rate: Learning rate.
        penalty: Coefficient of the penalty for active latents (`standard`, `jumprelu`).
        normalization: `standard` subtracts the mean of each unit and divides by one scale,
            `constant` divides alone, `none` does neither. It is estimated on the first buffer.
        positions: Limit of the positions that are taken of a sample at a step, at random; by
            default all. Of large maps few suffice, and the buffer then has more samples.
        held_out: Share of the items (of the prompts, without items) that the figures are of.
        buffer: Rows that are shuffled together, in memory.
        dead_after: A latent counts as dead after so many updates in which it is not active; by
            default a twentieth of them all, from 20 to 1000.
        seed: Of the weights, the order and the items held out.
        prompts: Prompts to draw, as in `record`, where `source` is a model.
        seeds: Their seeds, by default one of its own for each item (for each prompt, without
            items); other ones are derived when the prompts are drawn again.
        branch: The branch of guidance that is read of a model; a recording has its own.
        batch: Samples that a model draws together.
        device: Where the training runs: `auto`, `cpu`, `cuda` or `mps`.
        progress: True for a bar, False for silence, or a callable of (label, completed, total).
        **options: Options of the model's pipeline, as in `run`.

    Returns:
        The dictionary. Its metadata have `explained_variance`, `l0` and `dead` on held-out
        activations, by step as well where there are several, the settings, and `pool` where
        positions were pooled.

    Raises:
        OptionError: A model has no prompts, or a recording is given what is for a model.
        DictionaryError: sae-lens is not installed, a setting is out of range, the folder has
            another training, the site is of latents, or there are too few items.
        SiteError: No site or several match.
    """
    trainers[kind]  # an unknown one is told before anything is drawn or written
    division = Division(held_out, positions, seed)
    _check_share(held_out, positions)
    found: Source
    if isinstance(source, Model):
        if prompts is None:
            raise OptionError("A dictionary that is trained on a model needs prompts to draw.")
        found = ModelSource(
            source,
            prompts,
            site,
            division,
            seeds=seeds,
            branch=branch,
            batch=batch,
            options=options,
        )
    else:
        if prompts is not None or seeds is not None or options:
            raise OptionError(
                "prompts, seeds and options are for a model; a recording has its own."
            )
        opened = source if isinstance(source, Recording) else Recording.open(source)
        if branch not in ("cond", opened.store.plan.branch):
            raise OptionError(f"The recording has the branch {opened.store.plan.branch}.")
        found = RecordingSource(opened, site, division)
    device = str(find_device(device))
    stream = ActivationStream(found, rows, buffer, seed=seed, device=device)
    settings = TrainingSettings(
        kind=kind,
        latents=parse_latents(latents, stream.rows.shape[1]),
        k=k,
        penalty=penalty,
        updates=updates,
        rows=rows,
        rate=rate,
        normalization=normalization,
        dead_after=min(1000, max(20, updates // 20)) if dead_after is None else dead_after,
        buffer=buffer,
        seed=seed,
    )
    return _train(stream, settings, Path(out), device, progress)


def _check_share(held_out: float, positions: int | None) -> None:
    if not 0 < held_out < 1 or (positions is not None and positions < 1):
        raise DictionaryError(
            f"held_out is {held_out} and positions {positions}; the share must be between 0 and 1, "
            "and positions 1 or more."
        )


def _train(
    stream: ActivationStream,
    settings: TrainingSettings,
    out: Path,
    device: str,
    progress: ProgressOption,
) -> Dictionary:
    source = stream.source
    plan = {
        "settings": to_jsonable(settings),
        "division": to_jsonable(source.division),
        "source": source.identity(),
    }
    open_planned_folder(out, PLAN, plan, other="another training", error=DictionaryError)
    _remove_parts(out)
    if (out / CONFIG).exists():
        for folder in _checkpoints(out):  # it was killed when all else was done
            shutil.rmtree(folder)
        return Dictionary.load(out)
    training, held_out = Training(stream, settings, device=device), source.held_out()
    saved = _checkpoints(out)
    if saved:
        training.restore(saved[-1])
    with progress_bars(progress) as report:
        last, every = time.monotonic(), max(1, settings.updates // MEASUREMENTS)
        report("training", training.done, settings.updates)
        while training.done < settings.updates:
            loss = training.update()
            if training.done % every == 0 or training.done == settings.updates:
                training.measure(held_out, loss)
            report("training", training.done, settings.updates)
            if time.monotonic() - last >= INTERVAL and training.done < settings.updates:
                _checkpoint(training, out)
                last = time.monotonic()
    figures = measure(training.dictionary(), held_out)
    metadata = {
        **figures,
        "dead_in_training": training.dead,
        "training": plan,
        **prompt_metadata(source.training_prompts()),
        **({} if source.pool == "none" else {"pool": source.pool}),
    }
    return _publish(training, metadata, out)


def _checkpoints(out: Path) -> list[Path]:
    """Folders of checkpoints, the last one last."""
    found = [each for each in out.glob(f"{CHECKPOINT}*") if each.name[len(CHECKPOINT) :].isdigit()]
    return sorted(found, key=lambda each: int(each.name[len(CHECKPOINT) :]))


def _remove_parts(out: Path) -> None:
    """Remove what a process that was killed here has half written: checkpoints may be large."""
    names = (f".{CHECKPOINT}*", f".{CURVES}.*", f".{PART}*", PART)
    for part in [part for name in names for part in out.glob(name)]:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def _checkpoint(training: Training, out: Path) -> None:
    older = _checkpoints(out)
    training.save(out / f"{CHECKPOINT}{training.done}")
    for folder in older:
        shutil.rmtree(folder)


def _publish(training: Training, metadata: Mapping[str, Any], out: Path) -> Dictionary:
    """Write the dictionary and its curves into the folder of the training."""
    from clerestory.dictionaries.curves import curves_chart
    from clerestory.reporting.plots import png

    with atomic_file(out / f"{CURVES}.json") as part:
        part.write_text(json.dumps(training.curves, indent=1) + "\n")
    with atomic_file(out / f"{CURVES}.png") as part:
        part.write_bytes(png(curves_chart(training.curves)))
    part = out / PART
    training.dictionary(metadata).save(part)
    # Last the file by which a finished training is known.
    for name in (TENSORS, CONFIG):
        (part / name).replace(out / name)
    part.rmdir()
    for folder in _checkpoints(out):
        shutil.rmtree(folder)
    return Dictionary.load(out)
