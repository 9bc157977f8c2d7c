"""Base class of results: a summary, a table, a plot, and files.

A result prints as one line, a notebook shows its table, and text from prompts and files is never
interpreted as markup.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, SkipValidation
from typing_extensions import override

from clerestory.errors import EvidenceError
from clerestory.io.digests import seal
from clerestory.io.validation import load_json, to_jsonable
from clerestory.io.writing import atomic_folder
from clerestory.reporting.escaping import to_json, visible
from clerestory.reporting.pictures import read_pictures, write_pictures
from clerestory.types import Pictures

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PicturedResult", "Provenance", "Result"]

ROWS = 20
"""Rows that a notebook shows of a result's table; `table()` has all of them."""


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from.

    Attributes:
        version: The version of Clerestory.
        model: What the model was loaded by.
        digest: A digest of the model's weights and adapters, empty where no model took part.
        options: The arguments that the figures depend on.
        dictionaries: Digests of dictionaries by the addresses of their latents.
    """

    version: str
    model: str = ""
    digest: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    dictionaries: Mapping[str, str] = field(default_factory=dict)


class Result(ABC):
    """Base class of results.

    Subclasses are frozen dataclasses declared with `repr=False`, so that printing one gives its
    summary and not thousands of numbers. Their fields are what the JSON file holds, except those
    declared with `Field(exclude=True)`, which have files of their own.

    Attributes:
        figures_file: Name of the JSON file of figures; the page has the same name with `.html`.
    """

    figures_file: ClassVar[str] = "results.json"
    # Excluded fields, such as pictures, are of types that pydantic does not know.
    __pydantic_config__: ClassVar[ConfigDict] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "arbitrary_types_allowed": True,
    }

    @abstractmethod
    def summary(self) -> str:
        """The result in one sentence, with its main figure and interval."""

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """The rows that the command line prints, one per unit, condition or claim."""

    @abstractmethod
    def plot(self) -> Any:
        """An Altair chart of the table's main figure."""

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        return to_jsonable(self)

    def page(self) -> str | None:
        """The result as an HTML page; None if this kind of result has no page."""
        return None

    def save(self, folder: str | Path) -> Path:
        """Write the result: all of its files, or none if anything goes wrong.

        Args:
            folder: A new or empty folder.

        Returns:
            The folder.

        Raises:
            OutputError: The folder holds something else.
        """
        folder = Path(folder)
        with atomic_folder(folder) as part:
            self.write(part)
        return folder

    def write(self, folder: Path) -> None:
        """Write the files of `save` over any that are there.

        Subclasses add their files to the figures and the page.

        Args:
            folder: The folder; it is created if missing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        # Escaped JSON: a terminal that shows the file obeys no control characters of a prompt.
        (folder / self.figures_file).write_text(to_json(seal(self.to_dict())) + "\n", "utf-8")
        page = self.page()
        if page is not None:
            path = (folder / self.figures_file).with_suffix(".html")
            path.write_text(page, "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Args:
            folder: The folder that was given to `save`.

        Returns:
            An equal result.

        Raises:
            EvidenceError: A file is missing, damaged or of another version.
        """
        return load_json(cls, folder, cls.figures_file, EvidenceError)

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {visible(self.summary())}"

    def _repr_html_(self) -> str:
        from markupsafe import escape

        # pandas escapes markup but not control characters.
        table = self.table().map(lambda value: visible(value) if isinstance(value, str) else value)
        return f"<p>{escape(visible(self.summary()))}</p>" + table.head(ROWS).to_html(escape=True)


@dataclass(frozen=True, eq=False, repr=False)
class PicturedResult(Result):
    """A result with pictures, which are saved in a file beside the figures.

    Attributes:
        pictures_file: Name of the file.
        pictures: Pictures by name, uint8.
    """

    pictures_file: ClassVar[str] = "pictures.npz"

    pictures: Annotated[Mapping[str, Pictures], SkipValidation, Field(exclude=True)] = field(
        default_factory=dict, kw_only=True
    )

    @override
    def write(self, folder: Path) -> None:
        super().write(folder)
        write_pictures(folder / self.pictures_file, self.pictures)

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        result = super().load(folder)
        pictures = read_pictures(folder / cls.pictures_file, EvidenceError)
        return replace(result, pictures=pictures)
