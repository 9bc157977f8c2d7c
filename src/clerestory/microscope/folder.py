"""A microscope's folder, which `build` writes and every page reads.

microscope.json          the model, the recordings, the sites
samples/0.parquet        prompt, seed, factors, `named` of recording 0
pictures/0/000123.png    sample 123 of recording 0
sites/007/most.npy …     a file a figure, with a row a unit
done                     marks a complete folder
findings/, studies/      folders that pages link
themes.sqlite            themes and blind tests
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from clerestory.errors import RecordingError, SiteError
from clerestory.io.reading import path_inside, read_json, read_table, symbolic_links
from clerestory.io.tensor_files import open_memmap
from clerestory.io.validation import validate
from clerestory.recordings.plan import ModelIdentity
from clerestory.registry import suggest

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FORMAT",
    "Microscope",
    "Plan",
    "PlannedRecording",
    "PlannedSite",
    "SiteUnits",
    "Unit",
    "figure_digests",
    "file_digest",
    "is_number",
]

FORMAT = 1
# `done` is written last, so that an interrupted build is not taken for a finished one.
PLAN, DONE = "microscope.json", "done"
SUMMED, RELATED = "summed", "related"
"""Files with the digests of a site's figures, and of its neighbours, each written last."""
SAMPLE_FIGURES = ("most", "spread", "least", "where-samples")
"""Figures that hold numbers of samples."""
SLUG = re.compile(r"[A-Za-z0-9_.-]+")
"""Names of models in addresses."""


@dataclass(frozen=True)
class PlannedRecording:
    """A recording that a microscope is built from.

    Attributes:
        samples: Number of samples.
        table: Digest of the table of samples.
        pictures: The type of the picture files; empty if the recording has no pictures.
    """

    samples: int
    table: str
    pictures: Literal["png", "jpg", ""]


@dataclass(frozen=True, eq=False)
class PlannedSite:
    """A site with pages.

    Attributes:
        address: The site's address.
        stage: The stage of the model.
        units: Number of units.
        steps: Recorded denoising steps.
        recording: The number of the recording that has it.
    """

    address: str
    stage: str
    units: int
    steps: tuple[int, ...]
    recording: int


@dataclass(frozen=True)
class Plan:
    """The fields of `microscope.json`; `slug` is the model's name in addresses."""

    format: int
    slug: str
    model: ModelIdentity
    recordings: tuple[PlannedRecording, ...]
    sites: tuple[PlannedSite, ...]

    @property
    def is_consistent(self) -> bool:
        """Whether all counts are in range and every site's recording exists."""
        counts = [site.units for site in self.sites]
        counts += [recording.samples for recording in self.recordings]
        return (
            # Numbers of units and samples are stored as 32-bit integers.
            all(0 < count < 2**31 for count in counts)
            and all(0 <= site.recording < len(self.recordings) for site in self.sites)
            and SLUG.fullmatch(self.slug) is not None
        )


@dataclass(frozen=True, eq=False)
class SiteUnits(PlannedSite):
    """A site's units, with figures by name.

    Attributes:
        folder: The folder of its figures.
        samples: Number of samples of its recording.
    """

    folder: Path
    samples: int

    def figure(self, name: str) -> NDArray[Any]:
        """An array of the site.

        Args:
            name: The file's name without its ending, such as `most`.

        Returns:
            A memory-mapped array, `[unit, …]`.

        Raises:
            RecordingError: The file is missing or damaged, or has another number of units.
        """
        samples = self.samples if name in SAMPLE_FIGURES else None
        return _array(str(self.folder / f"{name}.npy"), self.units, samples)

    def has(self, name: str) -> bool:
        """Whether the site has a figure.

        Args:
            name: The file's name without its ending.

        Returns:
            True if the file exists; its content is not checked.
        """
        return (self.folder / f"{name}.npy").exists()


# Cached: the check of the range reads the whole file, and every page needs several figures.
@lru_cache(maxsize=2048)
def _array(path: str, units: int, samples: int | None) -> NDArray[Any]:
    """The array of a file, checked to have a row a unit and only numbers of existing samples."""
    root = Path(path).parents[2]
    name = Path(path).relative_to(root).as_posix()
    # Mapped: a page reads one row of files that may have gigabytes.
    array = open_memmap(path_inside(root, name, RecordingError), RecordingError)
    folder, figure = Path(path).parent, Path(path).stem
    expected = {**figure_digests(folder, SUMMED), **figure_digests(folder, RELATED)}.get(figure)
    if expected is not None and file_digest(Path(path)) != expected:
        raise RecordingError(f"{path} was altered: build the microscope again.")
    if array.ndim < 1 or len(array) != units or array.dtype.kind not in "biuf":
        raise RecordingError(
            f"{path} is {array.dtype} {list(array.shape)}; expected numbers of {units} units: "
            "build the microscope again."
        )
    if samples and array.size and not -1 <= array.min() <= array.max() < samples:
        raise RecordingError(f"{path} has numbers of missing samples: build the microscope again.")
    return array


def figure_digests(folder: Path, marker: str) -> dict[str, str]:
    """The digests of a site's figures.

    Args:
        folder: The site's folder.
        marker: `SUMMED` or `RELATED`.

    Returns:
        Digests by figure; empty if there is no such marker, or it cannot be read.
    """
    try:
        path = path_inside(folder, marker, RecordingError)
        return validate(dict[str, str], read_json(path, RecordingError), path, RecordingError)
    except RecordingError:
        return {}


def file_digest(path: Path) -> str:
    """The digest of a file of any size: BLAKE2b, 16 bytes in hexadecimal.

    Args:
        path: The file.

    Returns:
        32 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


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
        """The path of its page under the model: `text.blocks.2/mlp/311`."""
        return f"{self.site.address}/{self.number}"

    def figure(self, name: str) -> Any:
        """The unit's row of an array of the site.

        Args:
            name: As for `SiteUnits.figure`.

        Returns:
            A number, or an array without the axis of units.

        Raises:
            RecordingError: The file is missing or damaged, or has another number of units.
        """
        return self.site.figure(name)[self.number]


def is_number(text: str, digits: int) -> bool:
    """Whether a text is a whole number in ASCII digits.

    Args:
        text: The text, as it may come from an address or a form.
        digits: The maximum number of digits.

    Returns:
        False for signs, blanks, and digits of other scripts, which `int` would accept.
    """
    return text.isascii() and text.isdigit() and len(text) <= digits


class Microscope:
    """A microscope's folder, opened and checked.

    Args:
        folder: A folder that `build` wrote.

    Raises:
        RecordingError: There is no finished microscope, or it was altered or has symbolic links.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / PLAN).exists():
            raise RecordingError(
                f"{folder} holds no microscope: it has no {PLAN}; give the folder of a "
                "`microscope build --out`."
            )
        try:
            data = read_json(path_inside(folder, PLAN, RecordingError), RecordingError)
            fields = validate(dict[str, Any], data, PLAN, RecordingError)
        except RecordingError as error:
            raise RecordingError(f"{folder} holds no microscope: {error}") from error
        # Before the fields are validated, which another format may not have.
        if fields.get("format") != FORMAT:
            raise RecordingError(
                f"{folder} has format {fields.get('format')!r}, this version reads {FORMAT}: "
                "update Clerestory, or build the microscope again."
            )
        self.plan = validate(Plan, fields, f"{folder}/{PLAN}", RecordingError)
        if not self.plan.is_consistent:
            raise RecordingError(f"{folder}/{PLAN} was altered: build the microscope again.")
        if not (folder / DONE).exists():
            raise RecordingError(
                f"{folder} is not built to its end: run the same `build` again to complete it."
            )
        # A folder may come from somebody else, and a link could expose any file of this machine.
        link = next(symbolic_links(folder), None)
        if link is not None:
            raise RecordingError(f"{link} is a link: put the file itself there.")

    @property
    def model(self) -> str:
        """The name of the model in addresses of pages."""
        return self.plan.slug

    @cached_property
    def sites(self) -> dict[str, SiteUnits]:
        """Sites by address, in the order of the model."""
        return {
            site.address: SiteUnits(
                **vars(site),
                folder=self.folder / "sites" / f"{number:03d}",
                samples=self.plan.recordings[site.recording].samples,
            )
            for number, site in enumerate(self.plan.sites)
        }

    def unit(self, site: str, number: int | str) -> Unit:
        """A unit of a site.

        Args:
            site: The site's address.
            number: The unit's number, from 0; text, as in addresses, must be ASCII digits.

        Returns:
            The unit.

        Raises:
            SiteError: There is no such site or unit; the message lists the existing ones.
        """
        if site not in self.sites:
            raise SiteError(f"The microscope has no site {site!r}.{suggest(site, self.sites)}")
        text = str(number)
        # In an address anything may stand; nine digits cannot overflow.
        if not is_number(text, 9) or int(text) >= self.sites[site].units:
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
        """All units, site by site."""
        for site in self.sites.values():
            yield from (Unit(site, number) for number in range(site.units))

    def at(self, number: int) -> Unit:
        """A unit by its number among all units.

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
            # Numbers run on from site to site, in the order of the plan.
            number -= site.units
        raise SiteError("There are fewer units.")

    # The microscope lives as long as its server, so that a cache on a method leaks nothing.
    @lru_cache(maxsize=16)  # noqa: B019
    def samples(self, recording: int) -> pd.DataFrame:
        """The table of samples: prompt, seed, factors, and `named`, whether pages may show it.

        Args:
            recording: The recording's number.

        Returns:
            A row a sample. The table is cached: do not change it.

        Raises:
            RecordingError: The file is missing or damaged, or has other columns or rows.
        """
        path = path_inside(self.folder, f"samples/{recording}.parquet", RecordingError)
        table = read_table(path, RecordingError)
        valid = (
            {"prompt", "seed", "named"} <= set(table)
            and all(isinstance(prompt, str) for prompt in table["prompt"])
            # Whether a held-out picture is shown depends on this column: 1
            # and 0 are not taken for it.
            and table["named"].dtype == bool
            and len(table) == self.plan.recordings[recording].samples
        )
        if not valid:
            raise RecordingError(f"{path} has other columns or rows: build the microscope again.")
        return table

    @lru_cache(maxsize=16)  # noqa: B019
    def prompts(self, recording: int) -> tuple[str, ...]:
        """The prompts of samples.

        Args:
            recording: The recording's number.

        Returns:
            Prompts in the order of the samples.
        """
        return tuple(self.samples(recording)["prompt"])

    @lru_cache(maxsize=16)  # noqa: B019
    def visible(self, recording: int) -> tuple[bool, ...]:
        """Whether pages may show samples.

        Args:
            recording: The recording's number.

        Returns:
            Truth values in the order of the samples; False for held-out samples.
        """
        return tuple(map(bool, self.samples(recording)["named"]))

    @lru_cache(maxsize=16)  # noqa: B019
    def words(self, recording: int) -> tuple[str, ...]:
        """The words whose effects on units were measured.

        Args:
            recording: The recording's number.

        Returns:
            Words by their number in `up-word` and `down-word`.

        Raises:
            RecordingError: The file is missing or damaged.
        """
        path = path_inside(self.folder, f"samples/{recording}.words.json", RecordingError)
        return validate(tuple[str, ...], read_json(path, RecordingError), path, RecordingError)

    def picture(self, recording: int, sample: int) -> str | None:
        """The path of a sample's picture under the folder.

        Args:
            recording: The recording's number.
            sample: The sample's number.

        Returns:
            A path with `/`; None if the recording has no pictures.
        """
        kind = self.plan.recordings[recording].pictures
        return f"pictures/{recording}/{sample:06d}.{kind}" if kind else None
