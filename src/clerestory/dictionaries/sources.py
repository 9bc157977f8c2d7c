"""Where the activations come from on which a dictionary is trained: a recording, or a model.

A source gives rows chunk by chunk: one row for each sample, step and position. Its items are
divided in two, so that the figures of a dictionary are of prompts that it was not trained on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from clerestory.errors import DictionaryError, SiteError
from clerestory.io.digests import digest, json_digest
from clerestory.io.validation import to_jsonable
from clerestory.models.core.addresses import SiteSelection
from clerestory.models.core.types import Branch
from clerestory.recordings.plan import ModelIdentity
from clerestory.recordings.prompts import prompt_table, with_seeds
from clerestory.types import Bools

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.models import Model
    from clerestory.recordings import Recording

__all__ = [
    "HELD_OUT_ROWS",
    "EvenSample",
    "ModelSource",
    "RecordingSource",
    "Rows",
    "Source",
    "to_rows",
]

HELD_OUT_ROWS = 16_384
"""Limit of the held-out rows, which stay in memory."""
HELD_OUT_SAMPLES = 256
"""Limit of the held-out samples that are read or drawn."""
VISIT_SEEDS = 2**32
"""Added to the seeds at each visit of a model's prompts, so that each has noise of its own."""
MAX_SEED = 2**63


@dataclass(frozen=True, eq=False)
class Rows:
    """Activations of one site, a row for each sample, step and position.

    Attributes:
        values: float32 `[row, unit]`.
        steps: Index of the denoising step, `[row]`; 0 in stages without steps.
        timesteps: The scheduler's timestep, `[row]`; NaN in stages without steps.
    """

    values: NDArray[np.float32]
    steps: NDArray[np.int64]
    timesteps: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: NDArray[Any]) -> Rows:
        """Some of the rows.

        Args:
            index: Their numbers, or a mask.

        Returns:
            A copy with these rows.
        """
        return Rows(self.values[index], self.steps[index], self.timesteps[index])

    @classmethod
    def join(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of several parts.

        Args:
            parts: At least one.

        Returns:
            All rows, in order.
        """
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("values", "steps", "timesteps")
            )
        )


class EvenSample:
    """Rows evenly drawn from all that are added, in bounded memory.

    Args:
        rng: Chooses them.
        limit: Number of rows that are kept.

    Attributes:
        rows: The rows so far; None before the first.
    """

    def __init__(self, rng: np.random.Generator, limit: int) -> None:
        self._rng, self._limit = rng, limit
        self._keys = np.empty(0)
        self.rows: Rows | None = None

    def add(self, part: Rows) -> None:
        """Add rows.

        Args:
            part: The rows.
        """
        self.rows = part if self.rows is None else Rows.join([self.rows, part])
        self._keys = np.concatenate([self._keys, self._rng.random(len(part))])
        if len(self.rows) > self._limit:
            # The rows with the smallest keys are an even draw of all rows so far.
            smallest = np.sort(np.argpartition(self._keys, self._limit)[: self._limit])
            self.rows, self._keys = self.rows.take(smallest), self._keys[smallest]


def to_rows(
    values: NDArray[np.float32],
    steps: Sequence[int],
    timesteps: Sequence[float | None],
    positions: int | None,
    rng: np.random.Generator,
) -> Rows:
    """One row for each sample, step and position.

    Args:
        values: `[sample, step, unit]` or `[sample, step, position, unit]`; NaN at positions that a
            sample does not have, which give no row.
        steps: Index of each step.
        timesteps: Timestep of each step; None without.
        positions: Limit of the positions of a sample at a step, chosen at random; None for all.
        rng: Chooses them.

    Returns:
        The rows, sample by sample.
    """
    if values.ndim == 3:
        values = values[:, :, None]
    if positions is not None and positions < values.shape[2]:
        keys = rng.random(values.shape[:3])
        keys[np.isnan(values[..., 0])] = 2.0  # chosen last
        chosen = np.argpartition(keys, positions - 1, axis=2)[:, :, :positions]
        values = np.take_along_axis(values, chosen[..., None], axis=2)
    known = [np.nan if each is None else each for each in timesteps]
    shape, flat = values.shape[:3], values.reshape(-1, values.shape[-1])

    def labels(of_steps: Sequence[float], dtype: type) -> NDArray[Any]:
        return np.broadcast_to(np.asarray(of_steps, dtype)[None, :, None], shape).ravel()

    rows = Rows(flat, labels(steps, np.int64), labels(known, np.float64))
    present = ~np.isnan(flat[:, 0])
    return rows if present.all() else rows.take(present)


def _check_values(site: str) -> None:
    """DictionaryError if an address is of latents."""
    if ":" in site:
        raise DictionaryError(f"{site} are latents already: a dictionary encodes a model's values.")


def held_out_mask(items: Sequence[str], share: float, seed: int) -> Bools:
    """Which samples are held out: all those of some items.

    Args:
        items: The item of each sample.
        share: Share of the items.
        seed: Chooses them.

    Returns:
        bool `[sample]`, the same whatever the order of the samples.

    Raises:
        DictionaryError: There is one item only.
    """
    distinct = sorted(set(items))
    count = max(1, round(share * len(distinct)))
    if count >= len(distinct):
        raise DictionaryError(
            f"{len(distinct)} items cannot be divided into those of the training and those held "
            "out for its figures: give more prompts, or a smaller held_out."
        )
    chosen = np.random.default_rng(seed).permutation(len(distinct))[:count]
    names = {distinct[index] for index in chosen}
    return np.array([item in names for item in items])


def _items(table: pd.DataFrame) -> list[str]:
    # Without a column of items every prompt is its own, as in `with_seeds`.
    return [str(item) for item in table["item" if "item" in table else "prompt"]]


@dataclass(frozen=True)
class Division:
    """How a source is divided and thinned out.

    Attributes:
        held_out: Share of the items that the figures are of.
        positions: Limit of the positions of a sample at a step; None for all.
        seed: Chooses items and positions.
    """

    held_out: float = 0.1
    positions: int | None = None
    seed: int = 0


class Source(ABC):
    """Activations of a site, chunk by chunk.

    Attributes:
        site: Address of the site.
        chunks: Number of chunks.
        repeats: Whether every visit of a chunk gives the same rows, so that they may be kept.
        division: How it is divided.
        pool: How positions were pooled before; `none` where each is a row.
    """

    site: str
    pool: str = "none"
    chunks: int
    repeats: bool
    division: Division

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Everything that the rows depend on, ready for JSON."""

    def training_prompts(self) -> list[str]:
        """The prompts that are not held out; empty where they are not known."""
        return []

    @abstractmethod
    def read(self, chunk: int, visit: int) -> Rows:
        """The rows of a chunk that are for training.

        Args:
            chunk: Index of the chunk.
            visit: How often the source was gone through before.

        Returns:
            Rows, the same for the same arguments; perhaps none.
        """

    @abstractmethod
    def _held_out(self) -> Iterator[Rows]: ...

    def held_out(self) -> Rows:
        """Rows of held-out items, evenly drawn from all of theirs, in bounded memory."""
        sample = EvenSample(self._rng(0, 0), HELD_OUT_ROWS)
        for part in self._held_out():
            sample.add(part)
        if sample.rows is None or not len(sample.rows):
            raise DictionaryError(f"{self.site} has no values in the samples that are held out.")
        return sample.rows

    def _rng(self, chunk: int, visit: int) -> np.random.Generator:
        return np.random.default_rng([self.division.seed, visit, chunk])


class RecordingSource(Source):
    """A recording, one of its chunks at a time.

    Args:
        recording: The recording.
        site: A pattern that matches one of its sites.
        division: How it is divided.
    """

    def __init__(self, recording: Recording, site: str, division: Division) -> None:
        self.recording, self.division = recording, division
        self.site, self.pool = recording.address(site), recording.store.plan.pool
        _check_values(self.site)
        self._markers = [marker.chunk for marker in recording.markers]
        self.chunks = len(self._markers)
        # Positions are chosen anew at each visit.
        self.repeats = division.positions is None
        if not len(recording.rows):
            raise DictionaryError(f"{recording.store.folder} has no complete samples.")
        table = recording.samples
        self._is_held_out = held_out_mask(_items(table), division.held_out, division.seed)

    @override
    def identity(self) -> dict[str, Any]:
        plan = self.recording.store.plan
        return {
            "recording": json_digest(plan.to_dict()),
            "rows": len(self.recording.rows),
            "site": self.site,
            "model": to_jsonable(plan.model),
        }

    @override
    def training_prompts(self) -> list[str]:
        return list(self.recording.samples["prompt"][~self._is_held_out])

    @override
    def read(self, chunk: int, visit: int) -> Rows:
        return self._read(self._markers[chunk], ~self._is_held_out, self._rng(chunk, visit))

    @override
    def _held_out(self) -> Iterator[Rows]:
        rows = np.flatnonzero(self._is_held_out)
        chosen = np.zeros_like(self._is_held_out)
        chosen[self._rng(0, 1).permutation(rows)[:HELD_OUT_SAMPLES]] = True
        for chunk in self._markers:
            samples = self.recording.store.plan.rows(chunk)
            if chosen[samples.start : samples.stop].any():
                yield self._read(chunk, chosen, self._rng(chunk, 0))

    def _read(self, chunk: int, selected: Bools, rng: np.random.Generator) -> Rows:
        samples, values = self.recording.read_chunk(self.site, chunk)
        labels = self.recording.store.layouts[self.site].labels
        steps = labels["step"]
        timesteps = labels.get("timestep", [None] * len(steps))
        return to_rows(values[selected[samples]], steps, timesteps, self.division.positions, rng)


class ModelSource(Source):
    """A model that runs prompts as their activations are needed; nothing is kept on disk.

    Each visit draws the prompts with other noise.

    Args:
        model: The model.
        prompts: As in `record`.
        site: A pattern that matches one of its sites.
        division: How the prompts are divided.
        seeds: One seed or several; every prompt is drawn with each of them. By default each item
            (each prompt, without items) has one of its own.
        branch: The branch of guidance that is read.
        batch: Samples that are drawn together: a chunk.
        options: Options of the pipeline.
    """

    def __init__(
        self,
        model: Model,
        prompts: str | Path | Sequence[str] | pd.DataFrame,
        site: str,
        division: Division,
        *,
        seeds: int | Sequence[int] | None = None,
        branch: Branch = "cond",
        batch: int = 16,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if batch < 1:
            raise DictionaryError(f"batch is {batch}; it must be 1 or more.")
        selected = model.sites.select([site])
        if len(selected) != 1 or next(iter(selected.values())) != SiteSelection():
            raise SiteError(f"{site!r} is not one whole site; name one, as `sites` lists them.")
        self.model, self.site = model, next(iter(selected))
        _check_values(self.site)
        self.division, self._branch, self._batch = division, branch, batch
        # Noise that all prompts share would be in every row, as a constant of the site.
        per_item = 1 if seeds is None else None
        table = with_seeds(prompt_table(prompts), seeds, per_item)
        self._options = dict(options or {})
        # Texts are encoded without noise.
        self.repeats = self.site.startswith("text.") and division.positions is None
        held_out = held_out_mask(_items(table), division.held_out, division.seed)
        # Shuffled, so that a batch has prompts of several items.
        order = self._rng(0, 0).permutation(len(table))
        self._table = table
        self._training, self._evaluation = order[~held_out[order]], order[held_out[order]]
        self.chunks = -(-len(self._training) // batch)

    @override
    def identity(self) -> dict[str, Any]:
        return {
            "prompts": digest(self._table.to_json(orient="split", index=False).encode()),
            "site": self.site,
            "branch": self._branch,
            "batch": self._batch,
            "options": to_jsonable(self.model.options(**self._options)),
            "model": to_jsonable(ModelIdentity.of(self.model)),
        }

    @override
    def training_prompts(self) -> list[str]:
        return list(self._table["prompt"].iloc[self._training])

    @override
    def read(self, chunk: int, visit: int) -> Rows:
        rows = self._training[chunk * self._batch : (chunk + 1) * self._batch]
        return self._draw(rows, visit, self._rng(chunk, visit))

    @override
    def _held_out(self) -> Iterator[Rows]:
        rows = self._evaluation[:HELD_OUT_SAMPLES]
        for start in range(0, len(rows), self._batch):
            yield self._draw(rows[start : start + self._batch], 0, self._rng(start, 0))

    def _draw(self, rows: NDArray[np.int64], visit: int, rng: np.random.Generator) -> Rows:
        part = self._table.iloc[rows]
        seeds = [(int(seed) + visit * VISIT_SEEDS) % MAX_SEED for seed in part["seed"]]
        (run,) = self.model.sweep(
            list(part["prompt"]),
            seeds,
            [[]],
            read=self.site,
            pool="none",
            branch=self._branch,
            pictures=False,
            paired=True,
            batch=self._batch,
            progress=False,
            **self._options,
        )
        read = run.site_values[self.site]
        return to_rows(
            np.asarray(read.array(), np.float32),
            [step.index for step in read.steps],
            [step.timestep for step in read.steps],
            self.division.positions,
            rng,
        )
