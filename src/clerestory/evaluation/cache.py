"""Cache of drawn samples, shared within a call or a study.

The key of a sample contains everything its picture depends on: the weights with their adapters, the
scheduler, prompt, seed, options and edits, precision, device, batch size and number of threads.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clerestory.edits.base import SiteEdit, name_of
from clerestory.errors import EditError, OutputError
from clerestory.io.tensor_files import read_arrays
from clerestory.models import Edit, Model
from clerestory.models.core.types import Options, PerSample

__all__ = ["CacheOption", "Entry", "SampleCache", "edit_digests", "model_digest", "sample_key"]

Entry: TypeAlias = Mapping[str, NDArray[Any]]
"""What is stored for one sample: its `picture`, or the `values` and `steps` of one site."""
DEFAULT_MEMORY_BYTES, DEFAULT_DISK_BYTES = 256 << 20, 2 << 30
"""Default limits in bytes."""
SAMPLED_WEIGHTS = 64
"""Weights sampled per tensor for the digest: training or fusing an adapter changes most."""
LARGEST_EDIT = 1 << 20
"""Edits larger than this (in bytes) are not cached: hashing would cost about as much as drawing."""


class SampleCache:
    """Stores samples in memory and, if it has a folder, on disk.

    At the limits, the least recently used entries leave the memory, the oldest files the disk.

    Attributes:
        folder: Where entries are stored between calls; None for memory alone.
        hits: Number of samples that were taken from the cache.
        misses: Number of samples that were looked up and had to be drawn.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        memory: int = DEFAULT_MEMORY_BYTES,
        disk: int = DEFAULT_DISK_BYTES,
    ):
        """Open a cache; nothing is read or written yet.

        Args:
            folder: Where entries are stored between calls; None for memory alone.
            memory: Bytes of arrays that are held in memory at most.
            disk: Bytes of compressed files that are kept in the folder at most.
        """
        self.folder = folder
        self.hits = self.misses = 0
        self._limits = (memory, disk)
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._memory = 0
        self._disk: int | None = None
        self._lock = threading.Lock()

    @property
    def hit_rate(self) -> float:
        """The share of samples that did not have to be drawn; 0 before any was looked up."""
        return self.hits / max(self.hits + self.misses, 1)

    def count(self, hits: int, misses: int) -> None:
        """Add to the numbers of hits and misses; threads may share the cache.

        Args:
            hits: Samples that were taken from the cache.
            misses: Samples that have to be drawn.
        """
        with self._lock:
            self.hits += hits
            self.misses += misses

    def get(self, key: str) -> Entry | None:
        """Look an entry up; None where there is none, or its file is damaged.

        Args:
            key: What `sample_key` gave.

        Returns:
            The entry, as it was stored.
        """
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
            path = self._path(key)
            if path is None or not path.exists():
                return None
            try:
                # A damaged file may claim any size: no more than the memory holds is unpacked.
                entry = read_arrays(path, OutputError, self._limits[0])
            except OutputError:
                return None
            self._remember(key, entry)
            return entry

    def put(self, key: str, entry: Entry) -> None:
        """Store an entry, in place of any of the same key; OSError on disk is ignored.

        Args:
            key: What `sample_key` gave.
            entry: Arrays by name.
        """
        with self._lock:
            self._remember(key, entry)
            path = self._path(key)
            if path is not None:
                with suppress(OSError):
                    self._write(path, entry)

    def _remember(self, key: str, entry: Entry) -> None:
        self._memory += _size(entry) - _size(self._entries.pop(key, {}))
        self._entries[key] = entry
        while self._memory > self._limits[0] and self._entries:
            _, oldest = self._entries.popitem(last=False)
            self._memory -= _size(oldest)

    def _path(self, key: str) -> Path | None:
        # Folders of two digits: no folder gets so many files that listing it is slow.
        return None if self.folder is None else self.folder / key[:2] / f"{key}.npz"

    def _write(self, path: Path, entry: Entry) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed once complete: another process never reads half of an entry.
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **entry)
        part.replace(path)
        # Listing the folder is slow: it is done once, then sizes are added up.
        if self._disk is None:
            self._disk = sum(size for _, size, _ in self._files())
        else:
            self._disk += path.stat().st_size
        if self._disk > self._limits[1]:
            self._prune()

    def _prune(self) -> None:
        """Remove the oldest files until a tenth of the limit is free."""
        files = sorted(self._files())
        left = sum(size for _, size, _ in files)
        for _, size, path in files:
            # Some room, so that not every write has to remove files.
            if left <= 0.9 * self._limits[1]:
                break
            path.unlink(missing_ok=True)
            left -= size
        self._disk = left

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        assert self.folder is not None
        for path in self.folder.glob("??/*.npz"):
            with suppress(OSError):  # another process may have removed it meanwhile
                status = path.stat()
                yield status.st_mtime, status.st_size, path


CacheOption: TypeAlias = bool | SampleCache
"""True keeps samples within a call, False draws each anew, a cache is shared between calls."""


def sample_key(
    model: str, prompt: str, seed: int, options: Options, edits: Sequence[str], part: str
) -> str:
    """The name of one sample's part in a cache.

    Args:
        model: What `model_digest` gave.
        prompt: The prompt.
        seed: The seed.
        options: All options of the sample.
        edits: What `edit_digests` gave for it.
        part: What is kept: `picture`, or a site with the way its positions are pooled.

    Returns:
        40 hexadecimal digits.
    """
    return _digest([model, prompt, seed, asdict(options), list(edits), part])


def edit_digests(edits: Sequence[Edit], samples: int) -> list[list[str]] | None:
    """Digests of edits as they apply to each sample of a run.

    Args:
        edits: The edits of one condition.
        samples: How many samples the run has.

    Returns:
        `[sample][edit]`; None where an edit cannot be written down, or is so large that keeping
        what it draws is not worth its digest.
    """
    columns: list[list[str]] = []
    for edit in edits:
        try:
            name_of(edit)
        except EditError:
            return None
        assert isinstance(edit, SiteEdit)
        if sum(tensor.nbytes for tensor in edit.tensors().values()) > LARGEST_EDIT * samples:
            return None
        if isinstance(edit, PerSample):
            # Each sample has the digest of its own part, whatever it is drawn together with.
            columns.append([_edit_digest(edit.at([row])) for row in range(samples)])
        else:
            columns.append([_edit_digest(edit)] * samples)
    return [[column[row] for column in columns] for row in range(samples)]


def _edit_digest(edit: Edit) -> str:
    assert isinstance(edit, SiteEdit)
    tensors = {name: _raw(tensor) for name, tensor in sorted(edit.tensors().items())}
    return _digest([name_of(edit), edit.to_dict()], *tensors.values())


def model_digest(model: Model, batch: int) -> str:
    """Digest of the model state: weights (sampled), scheduler, versions, threads, batch size.

    Weights are read each time, a sample of every tensor: a training step, a fused
    adapter, or one that is switched on or off, gives another digest.

    Args:
        model: The model.
        batch: Number of samples that are drawn together, which may change the last bits.

    Returns:
        40 hexadecimal digits.
    """
    pipeline = getattr(model, "pipeline", None)
    components = getattr(pipeline, "components", {})
    scheduler = [
        [name, type(part).__name__, dict(part.config)]
        for name, part in sorted(components.items())
        # Of a pipeline's parts only schedulers have timesteps.
        if hasattr(part, "config") and hasattr(part, "timesteps")
    ]
    # By their names, so that the order of a pipeline's parts does not matter.
    networks = [(name, p) for name, p in sorted(components.items()) if isinstance(p, nn.Module)]
    weights = [chunk for _, network in networks for chunk in _weights(network)]
    # Threads and batch size change the order of sums, and with it the last bits of pictures.
    environment = [version("clerestory"), torch.__version__, torch.get_num_threads(), batch]
    environment += [model.name, type(pipeline).__name__, scheduler]
    return _digest([*environment, [name for name, _ in networks]], *weights)


def _weights(network: nn.Module) -> Iterator[bytes]:
    for name, module in network.named_modules():
        # Numbers and switches that a module carries besides its weights: which adapters are on and
        # how much they count, FreeU's factors, tiling.
        settings = {key: value for key, value in vars(module).items() if _is_setting(value)}
        yield repr((name, sorted(settings.items()))).encode()
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        yield repr((name, str(tensor.dtype), str(tensor.device), tuple(tensor.shape))).encode()
        # A meta tensor, as of an offloaded weight, has no values.
        if tensor.numel() and not tensor.is_meta:
            flat = tensor.detach().flatten()
            # A stride over the whole tensor: what changes weights changes more than its first few.
            yield _raw(flat[:: max(1, len(flat) // SAMPLED_WEIGHTS)].contiguous())


def _is_setting(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_setting, value))
    if isinstance(value, dict):  # hooks are kept under numbers
        return all(isinstance(key, str) and _is_setting(part) for key, part in value.items())
    return isinstance(value, bool | int | float | str)


def _raw(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _digest(content: Any, *raw: bytes) -> str:
    digest = hashlib.blake2b(json.dumps(content, default=str).encode(), digest_size=20)
    for part in raw:
        # With their lengths, so that no other division into parts has the same bytes.
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _size(entry: Entry) -> int:
    return sum(array.nbytes for array in entry.values())
