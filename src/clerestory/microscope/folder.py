"""A microscope's folder: what `build` writes and every page reads.

microscope.json          the model, the sites, what they were built of
samples/0.parquet        prompt, seed, factors, `named` of recording 0
pictures/0/000123.png    sample 123 of recording 0
sites/007/most.npy …     a file a figure, an array by unit each
done                     everything is there
findings/, studies/      folders that pages add_references
themes.sqlite            what people said
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from clerestory.errors import RecordingError, SiteError
from clerestory.io.reading import path_inside, read_json, read_table
from clerestory.io.tensor_files import open_memmap
from clerestory.io.validation import validate
from clerestory.recordings.plan import OfModel
from clerestory.registry import suggest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMAT", "Microscope", "SiteUnits", "Unit"]

FORMAT = 1
PLAN, DONE = "microscope.json", "done"
OF_SAMPLES = ("most", "spread", "least", "where-samples")
"""Figures that are numbers of samples."""
_SLUG = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class _Recorded:
    samples: int
    table: str
    pictures: Literal["png", "jpg", ""]


@dataclass(frozen=True)
class _Site:
    address: str
    stage: str
    units: int
    steps: tuple[int, ...]
    recording: int


@dataclass(frozen=True)
class _Plan:
    """The fields of `microscope.json`."""

    format: int
    slug: str
    model: OfModel
    recordings: tuple[_Recorded, ...]
    sites: tuple[_Site, ...]


@dataclass(frozen=True, eq=False)
class SiteUnits:
    """A site's units: figures by name, memory-mapped arrays `[unit, …]`."""

    address: str
    stage: str
    units: int
    steps: tuple[int, ...]
    recording: int
    folder: Path
    samples: int

    def figure(self, name: str) -> NDArray[Any]:
        """One of its arrays.

        Args:
            name: The file's name without its ending, such as `most`.

        Returns:
            A memory-mapped array, `[unit, …]`.

        Raises:
            RecordingError: The file is missing or damaged, or of other units.
        """
        samples = self.samples if name in OF_SAMPLES else None
        return _array(str(self.folder / f"{name}.npy"), self.units, samples)

    def has(self, name: str) -> bool:
        """Whether it was built.

        Args:
            name: The file's name without its ending.

        Returns:
            True if the file exists, whatever is in it.
        """
        return (self.folder / f"{name}.npy").exists()


# Finding the range of an array reads the whole file: a file is checked once a process.
@lru_cache(maxsize=2048)
def _array(path: str, units: int, samples: int | None) -> NDArray[Any]:
    """A file's array, checked once: a row a unit; with `samples` numbers of these."""
    place = Path(path)
    name = f"{place.parent.parent.name}/{place.parent.name}/{place.name}"
    found = open_memmap(path_inside(place.parents[2], name, RecordingError), RecordingError)
    if found.ndim < 1 or len(found) != units or found.dtype.kind not in "biuf":
        raise RecordingError(
            f"{path} is {found.dtype} {list(found.shape)}; expected numbers of {units} units: "
            "build the microscope again."
        )
    if samples and found.size and not -1 <= found.min() <= found.max() < samples:
        raise RecordingError(
            f"{path} names samples that there are not: build the microscope again."
        )
    return found


@dataclass(frozen=True)
class Unit:
    """A unit of a site, by number."""

    site: SiteUnits
    number: int

    @property
    def address(self) -> str:
        """`text.blocks.2/mlp[311]`."""
        return f"{self.site.address}[{self.number}]"

    @property
    def path(self) -> str:
        """Where its page is, under the model: `text.blocks.2/mlp/311`."""
        return f"{self.site.address}/{self.number}"

    def figure(self, name: str) -> Any:
        """Its row of one of the site's arrays.

        Args:
            name: As for `SiteUnits.figure`.

        Returns:
            A number, or an array without the axis of units.

        Raises:
            RecordingError: The file is missing or damaged, or of other units.
        """
        return self.site.figure(name)[self.number]


def _links(folder: Path) -> Iterator[str]:
    """Whatever is a link in a folder, however deep."""
    with os.scandir(folder) as entries:
        every = list(entries)
    for entry in every:
        if entry.is_symlink():
            yield entry.path
        elif entry.is_dir():
            yield from _links(Path(entry.path))


class Microscope:
    """An opened folder. RecordingError where it holds none, SiteError for what it has not."""

    def __init__(self, folder: Path) -> None:
        """Open a folder and check it.

        Args:
            folder: What `build` wrote.

        Raises:
            RecordingError: There is no finished microscope, or one that was altered or has links.
        """
        self.folder = folder
        try:
            data = read_json(path_inside(folder, PLAN, RecordingError), RecordingError)
            self.plan = validate(dict[str, Any], data, PLAN, RecordingError)
        except RecordingError as error:
            raise RecordingError(f"{folder} holds no microscope: {error}") from error
        if self.plan.get("format") != FORMAT:
            raise RecordingError(
                f"{folder} has format {self.plan.get('format')!r}, this version reads {FORMAT}: "
                "update Clerestory, or build the microscope again."
            )
        read = validate(_Plan, dict(self.plan), f"{folder}/{PLAN}", RecordingError)
        counts = [one.units for one in read.sites] + [one.samples for one in read.recordings]
        fine = all(0 < count < 2**31 for count in counts)
        fine = fine and all(0 <= one.recording < len(read.recordings) for one in read.sites)
        if not fine or not _SLUG.fullmatch(read.slug):
            raise RecordingError(f"{folder}/{PLAN} was altered: build the microscope again.")
        if not (folder / DONE).exists():
            raise RecordingError(f"{folder} is not built to its end: the same `build` goes on.")
        # A folder may come from somebody else, and a link in it could serve any file of this
        # machine.
        linked = next(_links(folder), None)
        if linked is not None:
            raise RecordingError(f"{linked} is a link, which could lead out: put the file there.")

    @property
    def model(self) -> str:
        """What the model is called in addresses of pages."""
        return str(self.plan["slug"])

    @cached_property
    def sites(self) -> dict[str, SiteUnits]:
        """By address, in the order of the model."""
        return {
            one["address"]: SiteUnits(
                one["address"],
                one["stage"],
                one["units"],
                tuple(one["steps"]),
                one["recording"],
                self.folder / "sites" / f"{number:03d}",
                self.plan["recordings"][one["recording"]]["samples"],
            )
            for number, one in enumerate(self.plan["sites"])
        }

    def unit(self, site: str, number: int | str) -> Unit:
        """A unit of a site.

        Args:
            site: The site's address.
            number: The unit's number, from 0; text from an address is read strictly.

        Returns:
            The unit.

        Raises:
            SiteError: There is no such site or unit; the message says which there are.
        """
        if site not in self.sites:
            raise SiteError(f"The microscope has no site {site!r}.{suggest(site, self.sites)}")
        # Digits of other scripts and very long numbers pass `int`, and come from addresses.
        text = str(number)
        known = text.isascii() and text.isdigit() and len(text) < 10
        if not known or int(text) >= self.sites[site].units:
            raise SiteError(f"{site} has units 0 to {self.sites[site].units - 1}, not {text[:20]}.")
        return Unit(self.sites[site], int(text))

    def named(self, address: str) -> Unit:
        """A unit as `text.blocks.2/mlp[311]` or `text.blocks.2/mlp/311`.

        Args:
            address: The address; blanks around it do not count.

        Returns:
            The unit.

        Raises:
            SiteError: There is no such unit.
        """
        site, _, number = address.strip().rstrip("]").replace("[", "/").rpartition("/")
        return self.unit(site, number)

    def units(self) -> Iterator[Unit]:
        """All of them."""
        for site in self.sites.values():
            yield from (Unit(site, number) for number in range(site.units))

    def at(self, number: int) -> Unit:
        """A unit by its number among all.

        Args:
            number: From 0, over all sites in their order.

        Returns:
            The unit.

        Raises:
            SiteError: There are fewer units.
        """
        for site in self.sites.values():
            if number < site.units:
                return Unit(site, number)
            number -= site.units
        raise SiteError("There are fewer units.")

    @lru_cache(maxsize=16)  # noqa: B019
    def samples(self, recording: int) -> pd.DataFrame:
        """A row a sample: prompt, seed, factors, and `named`, whether pages may show it.

        Args:
            recording: The recording's number.

        Returns:
            The table, in the order of the samples; it is shared, not to be changed.

        Raises:
            RecordingError: The file is missing or damaged, or has other columns or rows.
        """
        path = path_inside(self.folder, f"samples/{recording}.parquet", RecordingError)
        table = read_table(path, RecordingError)
        prompts, named = table.get("prompt"), table.get("named")
        fine = prompts is not None and all(isinstance(one, str) for one in prompts)
        fine = fine and len(table) == self.plan["recordings"][recording]["samples"]
        if not fine or "seed" not in table or named is None or named.dtype != bool:
            raise RecordingError(f"{path} has other columns or rows: build the microscope again.")
        return table

    @lru_cache(maxsize=16)  # noqa: B019
    def prompts(self, recording: int) -> tuple[str, ...]:
        """The prompt of every sample.

        Args:
            recording: The recording's number.

        Returns:
            Prompts in the order of the samples.
        """
        return tuple(self.samples(recording)["prompt"])

    @lru_cache(maxsize=16)  # noqa: B019
    def shown(self, recording: int) -> tuple[bool, ...]:
        """Whether pages may show a sample.

        Args:
            recording: The recording's number.

        Returns:
            Truth values in the order of the samples; False for those that are held out.
        """
        return tuple(map(bool, self.samples(recording)["named"]))

    @lru_cache(maxsize=16)  # noqa: B019
    def words(self, recording: int) -> tuple[str, ...]:
        """The words that effects are of.

        Args:
            recording: The recording's number.

        Returns:
            Words by their number in `up-word` and `down-word`.

        Raises:
            RecordingError: The file is missing or damaged.
        """
        path = path_inside(self.folder, f"samples/{recording}.words.json", RecordingError)
        found = read_json(path, RecordingError)
        words: tuple[str, ...] = validate(tuple[str, ...], found, str(path), RecordingError)
        return words

    def picture(self, recording: int, sample: int) -> str | None:
        """Where a sample's picture is, under the folder; None where none were kept.

        Args:
            recording: The recording's number.
            sample: The sample's number.

        Returns:
            A path with `/`, whether or not the file exists.
        """
        kind = self.plan["recordings"][recording]["pictures"]
        return f"pictures/{recording}/{sample:06d}.{kind}" if kind else None
