"""Parts of a long measurement, each on disk as soon as it is whole, so that a stopped one goes on.

parts = Parts.open("causes.parts", plan)
causes = parts.get("causes", Causes, lambda: measure(trials))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from clerestory.errors import EvidenceError
from clerestory.io.reading import path_inside, read_json
from clerestory.io.validation import validate
from clerestory.io.writing import atomic_file, open_planned_folder

__all__ = ["Parts"]

T = TypeVar("T")
PLAN = "plan.json"


class Parts:
    """The parts of one measurement.

    Args:
        folder: Where they are; None keeps none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: str | Path | None, plan: Mapping[str, Any]) -> Parts:
        """Open the parts of a measurement, or begin them.

        Args:
            folder: A folder with parts of the same measurement, or one that is empty or new; None
                keeps no parts.
            plan: Everything that the figures depend on, ready for JSON.

        Returns:
            The parts.

        Raises:
            EvidenceError: The folder has parts of another measurement.
            OutputError: The folder holds something else.
        """
        if folder is None:
            return cls()
        other = "parts of another measurement"
        return cls(open_planned_folder(Path(folder), PLAN, plan, other=other, error=EvidenceError))

    def get(self, name: str, kind: type[T], measure: Callable[[], T]) -> T:
        """A part: read where it is there, else measured and written.

        Args:
            name: Its name, letters and dashes.
            kind: Its type, which JSON can hold.
            measure: Gives it.

        Returns:
            The part.

        Raises:
            EvidenceError: The file is damaged.
        """
        if self.folder is None:
            return measure()
        path = path_inside(self.folder, f"{name}.json", EvidenceError)
        if path.exists():
            return validate(kind, read_json(path, EvidenceError), path, EvidenceError)
        value = measure()
        adapter: TypeAdapter[T] = TypeAdapter(cast(Any, kind))
        # Renamed at the end, so that a part is whole or absent.
        with atomic_file(path) as part:
            part.write_text(json.dumps(adapter.dump_python(value, mode="json")) + "\n")
        return value
