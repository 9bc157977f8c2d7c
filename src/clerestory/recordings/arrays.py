"""A recording's arrays, read within the bounds that its manifest sets.

Whoever made the folder may have written anything into the files of Zarr: other codecs, other
shapes, chunks that unpack to more memory than there is. What is read of each is what the recorder
writes, or it is refused with a RecordingError before anything is unpacked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zarr.storage import WrapperStore

from clerestory.errors import RecordingError
from clerestory.io.reading import DAMAGED, MOST_TEXT, loads, one_line, refusing
from clerestory.recordings.layout import PICTURES

if TYPE_CHECKING:
    import zarr
    from zarr.abc.store import Store as Zarr
    from zarr.core.buffer import Buffer

    from clerestory.recordings.store import Store

__all__ = ["ARRAYS", "Arrays"]

ARRAYS, METADATA = "activations.zarr", "zarr.json"
CHECKSUM, BELIEVED = 4, 64 * 2**20
"""Bytes of a chunk's checksum; bytes of a chunk that are taken without looking for them."""
_MAGIC = b"\x28\xb5\x2f\xfd"
CODECS = {False: ["bytes", "crc32c"], True: ["bytes", "zstd", "crc32c"]}
"""What the recorder writes with: sites, and pictures, which are packed."""


class Arrays:
    """The arrays by address, each checked against the manifest when it is first opened."""

    def __init__(self, store: Store, zarr_store: Zarr) -> None:
        self.store = store
        self._reading = _Bounded(zarr_store, store)
        self._opened: dict[str, zarr.Array[Any]] = {}

    def __getitem__(self, name: str) -> zarr.Array[Any]:
        """KeyError where the manifest has none of this name; RecordingError where it differs."""
        import zarr

        layout = self.store.layouts[name]
        if name not in self._opened:
            try:
                array = zarr.open_array(self._reading, path=name, mode="r", zarr_format=3)
            except RecordingError:
                raise
            except DAMAGED as error:
                raise RecordingError(
                    f"{self.store.folder}/activations.zarr/{name} is missing or was altered: "
                    f"{one_line(error)}."
                ) from error
            wanted = (len(self.store.plan), *layout.shape), layout.dtype
            if (array.shape, str(array.dtype)) != wanted:
                raise RecordingError(
                    f"The metadata of {name} in {self.store.folder} was altered: it says "
                    f"{array.dtype} {array.shape}, and the manifest {layout.dtype} {wanted[0]}."
                )
            self._opened[name] = array
        return self._opened[name]

    def held(self, name: str) -> zarr.Array[Any]:
        """An array to read values from; RecordingError where its chunks do not hold as many.

        Memory for what is read is taken before any chunk is, so a shape alone must not be believed.
        """
        array, expected = self[name], self.store.chunk_bytes(name) + CHECKSUM
        rest = "/0" * len(self.store.layouts[name].shape)
        if name != PICTURES and expected > BELIEVED and self.store.folder.local:
            for chunk in self.store.done()[:1]:
                path = Path(self.store.folder.root) / ARRAYS / f"{name}/c/{chunk}{rest}"
                size = path.stat().st_size if path.is_file() else 0
                if size != expected:
                    raise RecordingError(
                        f"{path} is missing or damaged: {size:,} bytes and not {expected:,}. "
                        "`clerestory recording verify --repair` has it drawn again."
                    )
        return array


class _Bounded(WrapperStore[Any]):
    """A Zarr store that gives nothing but what the recorder could have written."""

    def __init__(self, store: Zarr, of: Store) -> None:
        super().__init__(store)
        self.of = of

    def _with_store(self, store: Zarr) -> _Bounded:
        return _Bounded(store, self.of)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Buffer | None:
        name, _, rest = key.partition("/c/") if "/c/" in key else (key.rpartition("/")[0], "", "")
        expected = self.of.chunk_bytes(name) if rest and name in self.of.layouts else None
        self._check_file(key, expected)
        found = await super().get(key, prototype, byte_range)
        if found is None:
            return None
        if key.endswith(METADATA) and name in self.of.layouts:
            told = loads(found.to_bytes(), f"{self.of.folder}/{key}", RecordingError, finite=False)
            self._check_metadata(name, told)
        elif expected is not None and byte_range is None:
            self._check_chunk(key, found.to_bytes(), expected, name)
        return found

    def _check_file(self, key: str, expected: int | None) -> None:
        """RecordingError where a local file is no file, or larger than it can be."""
        most = MOST_TEXT if expected is None else 2 * expected + 2**16
        self.of.folder.check(f"{ARRAYS}/{key}", most)

    def _check_metadata(self, name: str, told: Any) -> None:
        """RecordingError where an array has other chunks or codecs than the recorder writes."""
        plan, layout = self.of.plan, self.of.layouts[name]
        with refusing(f"The metadata of {name} in {self.of.folder}", RecordingError):
            chunks = told["chunk_grid"]["configuration"]["chunk_shape"]
            codecs = [one if isinstance(one, str) else one["name"] for one in told["codecs"]]
            same = chunks == [min(plan.chunk, len(plan)), *layout.shape]
            same = same and told["chunk_grid"]["name"] == "regular" and told["zarr_format"] == 3
            same = same and told["chunk_key_encoding"]["name"] == "default"
            same = same and codecs == CODECS[name == PICTURES]
            if not same or told.get("storage_transformers"):
                raise ValueError(f"its chunks are {chunks}, by {', '.join(map(str, codecs))}")

    def _check_chunk(self, key: str, raw: bytes, expected: int, name: str) -> None:
        """RecordingError where a chunk unpacks to another size than one of its array has."""
        size = _unpacked(raw) if name == PICTURES else len(raw) - CHECKSUM
        if size != expected:
            said = "an unknown number of" if size is None else f"{size:,}"
            raise RecordingError(
                f"{self.of.folder}: the file {key} of {name} is damaged: it holds {said} bytes and "
                f"not {expected:,}. `clerestory recording verify --repair` has it drawn again."
            )


def _unpacked(raw: bytes) -> int | None:
    """How many bytes a Zstandard frame says that it unpacks to; None where it does not say.

    Source: RFC 8878, section 3.1.1.1.
    """
    if not raw.startswith(_MAGIC) or len(raw) < 18:
        return None
    flags = raw[4]
    size_flag, single, keyed = flags >> 6, flags >> 5 & 1, flags & 3
    width = (1 if single else 0, 2, 4, 8)[size_flag]
    if width == 0:
        return None
    start = 5 + (0 if single else 1) + (0, 1, 2, 4)[keyed]
    size = int.from_bytes(raw[start : start + width], "little")
    return size + 256 if width == 2 else size
