"""A Zarr store that notes what is written: the digest and size of each file, as it is on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zarr.storage import WrapperStore

from clerestory.recordings.folder import digest

if TYPE_CHECKING:
    from zarr.abc.store import Store
    from zarr.core.buffer import Buffer

__all__ = ["noting"]


class _Noting(WrapperStore[Any]):
    def __init__(self, store: Store, noted: dict[str, tuple[str, int]]) -> None:
        super().__init__(store)
        self.noted = noted

    def _with_store(self, store: Store) -> _Noting:
        return _Noting(store, self.noted)

    async def set(self, key: str, value: Buffer) -> None:
        await super().set(key, value)
        raw = value.to_bytes()
        self.noted[key] = (digest(raw), len(raw))


def noting(store: Store, noted: dict[str, tuple[str, int]]) -> Store:
    """The same store, writing into `noted` what it writes, by key."""
    return _Noting(store, noted)
