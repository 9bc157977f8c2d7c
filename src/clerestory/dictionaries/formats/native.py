"""Clerestory's own format, which `Dictionary.save` writes."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.folder import CONFIG, TENSORS, read_dictionary, write_dictionary
from clerestory.dictionaries.format import Format, formats, has_files

__all__ = ["ClerestoryFormat"]


@formats.register("clerestory")
class ClerestoryFormat(Format):
    """`config.json` and `weights.safetensors`."""

    @override
    def matches(self, path: Path) -> bool:
        return has_files(path, CONFIG, TENSORS)

    @override
    def read(self, path: Path, *, allow_pickles: bool) -> Dictionary:
        return read_dictionary(path)

    @override
    def write(self, dictionary: Dictionary, folder: Path) -> Path:
        return write_dictionary(dictionary, folder)
