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
from clerestory.models.core.pipeline_digests import (
    module_settings,
    schedulers,
    weight_samples,
)
from clerestory.models.core.types import Options, PerSample

__all__ = ["CacheOption", "Entry", "SampleCache", "edit_digests", "model_digest", "sample_key"]

Entry: TypeAlias = Mapping[str, NDArray[Any]]
"""Arrays of one part of a sample: its `picture`, or the `values` and `steps` of one site."""
DEFAULT_MEMORY_BYTES, DEFAULT_DISK_BYTES = 256 << 20, 2 << 30
MAX_EDIT_BYTES = 1 << 20
"""Samples with larger edits are not cached: hashing would take about as long as drawing."""
KEY = "key"
"""The array of a file that holds its key."""
FREE_SHARE = 0.1
"""Share of the disk limit that is free after pruning, so that not every write prunes again."""


class SampleCache:
    """Stores samples in memory and, if it has a folder, on disk.

    At its limit, the memory drops the least recently used entries, and the disk the oldest files.
    Threads may share a cache.

    Attributes:
        folder: Where entries are stored between calls; None for memory alone.
        hits: Number of samples that were found in the cache.
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
            memory: Limit of the arrays in memory, in bytes.
            disk: Limit of the compressed files in the folder, in bytes.
        """
        self.folder = folder
        self.hits = self.misses = 0
        self._memory_limit, self._disk_limit = memory, disk
        # In the order of use: the first entry is the one to drop.
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._memory_used = 0
        # None until the folder is listed for the first time.
        self._disk_used: int | None = None
        # A cache may be shared by evaluators in several threads.
        self._lock = threading.Lock()

    def count(self, hits: int, misses: int) -> None:
        """Add to the numbers of hits and misses.

        Args:
            hits: Number of samples that were found in the cache.
            misses: Number of samples that have to be drawn.
        """
        with self._lock:
            self.hits += hits
            self.misses += misses

    def get(self, key: str) -> Entry | None:
        """Look up an entry.

        Args:
            key: A key from `sample_key`.

        Returns:
            The entry; None if there is none, or its file is damaged.
        """
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
            path = self._path(key)
            if path is None or not path.exists():
                return None
            try:
                # A damaged file may claim any size: at most the memory limit is unpacked.
                entry = read_arrays(path, OutputError, self._memory_limit)
                # A file may have been renamed: its samples would be those of another key.
                if str(entry.pop(KEY, "")) != key:
                    return None
            # A damaged file is a miss: the sample is drawn again and the file replaced.
            except OutputError:
                return None
            self._remember(key, entry)
            return entry

    def put(self, key: str, entry: Entry) -> None:
        """Store an entry; it replaces an entry with the same key.

        Args:
            key: A key from `sample_key`.
            entry: Arrays by name.
        """
        with self._lock:
            self._remember(key, entry)
            path = self._path(key)
            if path is not None:
                # A full or read-only disk makes the cache useless, but must not stop the drawing.
                with suppress(OSError):
                    self._write(path, key, entry)

    def _remember(self, key: str, entry: Entry) -> None:
        self._memory_used += _byte_count(entry) - _byte_count(self._entries.pop(key, {}))
        self._entries[key] = entry
        # An entry larger than the limit drops itself again, so that memory stays bounded.
        while self._memory_used > self._memory_limit and self._entries:
            _, oldest = self._entries.popitem(last=False)
            self._memory_used -= _byte_count(oldest)

    def _path(self, key: str) -> Path | None:
        # One subfolder per two digits, so that no folder holds too many files to list quickly.
        return None if self.folder is None else self.folder / key[:2] / f"{key}.npz"

    def _write(self, path: Path, key: str, entry: Entry) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed once it is complete, so that another process never reads half of an entry.
        partial = path.with_suffix(".part")
        with partial.open("wb") as file:
            # Pickled objects in a shared cache folder could run code.
            np.savez_compressed(file, allow_pickle=False, **entry, **{KEY: np.array(key)})
        partial.replace(path)
        # Listing the folder is slow: it is listed once, then sizes are added up.
        if self._disk_used is None:
            self._disk_used = sum(size for _, size, _ in self._files())
        else:
            self._disk_used += path.stat().st_size
        if self._disk_used > self._disk_limit:
            self._prune()

    def _prune(self) -> None:
        """Remove the oldest files until `FREE_SHARE` of the limit is free."""
        # By time of modification: the time of access is often not kept by file systems.
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        for _, size, path in files:
            if used <= (1 - FREE_SHARE) * self._disk_limit:
                break
            path.unlink(missing_ok=True)
            used -= size
        self._disk_used = used

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Time of modification, size in bytes and path of every file."""
        assert self.folder is not None
        for path in self.folder.glob("??/*.npz"):
            with suppress(OSError):  # another process may have removed it
                status = path.stat()
                yield status.st_mtime, status.st_size, path


CacheOption: TypeAlias = bool | SampleCache
"""True caches samples within a call, False draws each anew, a `SampleCache` spans several calls."""


def sample_key(
    model: str, prompt: str, seed: int, options: Options, edits: Sequence[str], part: str
) -> str:
    """The cache key of one part of a sample.

    Args:
        model: Digest of the model, from `model_digest`.
        prompt: The prompt.
        seed: The seed.
        options: All options of the sample.
        edits: Digests of the edits of the sample, from `edit_digests`.
        part: `picture`, or a site and its pooling.

    Returns:
        40 hexadecimal digits.
    """
    return _digest([model, prompt, seed, asdict(options), list(edits), part])


def edit_digests(edits: Sequence[Edit], samples: int) -> list[list[str]] | None:
    """Digests of the edits of each sample.

    Args:
        edits: The edits of one condition.
        samples: Number of samples.

    Returns:
        `[sample][edit]`; None if the samples cannot be cached, because an edit has no serialized
        form, or is larger than `MAX_EDIT_BYTES` per sample and has no digest yet.
    """
    by_edit: list[list[str]] = []
    for edit in edits:
        try:
            # Edits that are plain callables have no name and no values to digest.
            name_of(edit)
        except EditError:
            return None
        assert isinstance(edit, SiteEdit)
        # Per-sample edits carry a row for each sample, so the limit grows with them.
        if edit.tensor_digest is None and _edit_bytes(edit) > MAX_EDIT_BYTES * samples:
            return None
        if isinstance(edit, PerSample):
            # A digest for each sample, so that it can be found again among other samples.
            by_edit.append([_edit_digest(edit.at([sample])) for sample in range(samples)])
        else:
            by_edit.append([_edit_digest(edit)] * samples)
    return [[digests[sample] for digests in by_edit] for sample in range(samples)]


def _edit_bytes(edit: SiteEdit) -> int:
    return sum(tensor.nbytes for tensor in edit.tensors().values())


def _edit_digest(edit: Edit) -> str:
    assert isinstance(edit, SiteEdit)
    if edit.tensor_digest is not None:
        return _digest([name_of(edit), edit.to_dict(), edit.tensor_digest])
    tensors = [_to_bytes(tensor) for _, tensor in sorted(edit.tensors().items())]
    return _digest([name_of(edit), edit.to_dict()], *tensors)


def model_digest(model: Model, batch: int) -> str:
    """Digest of everything but the sample that a picture depends on.

    That is weights, adapters and settings of networks, the scheduler, versions, the number of
    threads and the batch size. A training step changes the digest, as does an adapter that is
    loaded, fused or switched off.

    Args:
        model: The model. Some weights of every tensor are looked at, at every call.
        batch: Number of samples that go through the model together.

    Returns:
        40 hexadecimal digits.
    """
    pipeline = getattr(model, "pipeline", None)
    # Sorted by name, so that the order of the components does not matter.
    components = dict(sorted(getattr(pipeline, "components", {}).items()))
    # Weights alone: tokenizers and processors come with the pipeline and have none.
    networks = {
        name: component
        for name, component in components.items()
        if isinstance(component, nn.Module)
    }
    weights = [chunk for network in networks.values() for chunk in _weights(network)]
    # Threads and batch size change the order of sums, and so the last bits of pictures.
    environment = [version("clerestory"), torch.__version__, torch.get_num_threads(), batch]
    environment += [model.name, type(pipeline).__name__, schedulers(components)]
    # An edit of latents has the dictionary's name, and not its weights.
    attached = getattr(model, "dictionaries", {}).values()
    environment += [{each.address: each.dictionary.digest for each in attached}]
    return _digest([*environment, list(networks)], *weights)


def _weights(network: nn.Module) -> Iterator[bytes]:
    """Settings of every module, then name, type and sampled values of every tensor."""
    # Active adapters and their scales, FreeU's factors, tiling.
    yield from (repr(settings).encode() for settings in module_settings(network))
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        yield repr((name, str(tensor.device))).encode()
    yield from weight_samples(network)


def _to_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _digest(content: Any, *chunks: bytes) -> str:
    # `default=str` for what schedulers keep in their configuration, such as dtypes.
    digest = hashlib.blake2b(json.dumps(content, default=str).encode(), digest_size=20)
    for chunk in chunks:
        # Each with its length, so that chunks divided in another way have another digest.
        digest.update(len(chunk).to_bytes(8, "little") + chunk)
    return digest.hexdigest()


def _byte_count(entry: Entry) -> int:
    return sum(array.nbytes for array in entry.values())
