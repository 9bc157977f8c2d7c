"""A Zarr array as xarray takes it, read only where it is used, as float32.

xarray opens whole groups, and one group here holds arrays of different sizes along `unit`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

__all__ = ["lazily"]


class _OnDisk(BackendArray):
    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, array.shape, np.dtype(np.float32)

    def __getitem__(self, key: Any) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        return np.asarray(self.array.oindex[key], np.float32)


def lazily(array: Any) -> Any:
    """What an `xr.Variable` can be made of."""
    return indexing.LazilyIndexedArray(_OnDisk(array))
