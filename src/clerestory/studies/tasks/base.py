"""What a step of a study is: its parameters, what it needs, what it may claim.

A step runs one verb of the library into a folder of its own and comes back with claims: sentences
made from figures by a template, each with its interval, and whether it holds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from clerestory.errors import TableError
from clerestory.io.fields import made
from clerestory.io.reading import inside, read_json
from clerestory.registry import Registry
from clerestory.reporting.escaping import to_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clerestory.models import Model

__all__ = ["Came", "Claim", "Cost", "Step", "Strip", "Table", "Tell", "Work", "named", "steps"]

FILE = "came.json"
WIDTH = 256
"""Pixels to which larger pictures are reduced in strips."""


class Tell(Protocol):
    """Told how far a named piece of work is."""

    def __call__(self, what: str, done: int, of: int, /) -> None:
        """`done` of `of` are done."""


@dataclass(frozen=True)
class Claim:
    """A sentence, its figure with a 95% interval, and whether it `holds`; None where undecided.

    `bar` says what would make it hold. `says` names the figure in `headline`.
    """

    says: str
    text: str
    holds: bool | None
    bar: str
    figure: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.holds is not None:  # numpy's own true is not True
            object.__setattr__(self, "holds", bool(self.holds))


@dataclass(frozen=True)
class Table:
    """Figures in rows under a head, as text. `key` are the rows that the claims are about."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    key: tuple[int, ...] = ()


@dataclass(frozen=True)
class Strip:
    """Rows of pictures under a title: each row's caption and its files in the step's folder."""

    title: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    columns: tuple[str, ...] = ()
    """What stands over the columns: contents, say."""


@dataclass(frozen=True)
class Came:
    """What came of a step: claims, every figure, pictures, what stands against it.

    `steered` is the folder of a steered model within the step's; `refused` says why the step could
    not tell anything, and then nothing can rest on it.
    """

    claims: tuple[Claim, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    strips: tuple[Strip, ...] = ()
    charts: tuple[tuple[str, str], ...] = ()
    """Titles and SVG files in the step's folder."""
    warnings: tuple[str, ...] = ()
    steered: str = ""
    refused: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether all claims hold: None where some do, or one is undecided."""
        said = {claim.holds for claim in self.claims}
        return said.pop() if len(said) == 1 else None

    @property
    def tells(self) -> bool:
        """Whether there is anything to be read or seen."""
        return bool(self.claims or self.tables or self.strips or self.charts)

    def save(self, folder: Path) -> None:
        """Write it beside the step's own files."""
        (folder / FILE).write_text(to_json(asdict(self)) + "\n", "utf-8")

    @classmethod
    def read(cls, folder: Path) -> Came:
        """What `save` wrote; TableError where it was altered."""
        told = read_json(inside(folder, FILE, TableError), TableError)
        return made(cls, told, str(folder / FILE), TableError)


@dataclass(frozen=True)
class Cost:
    """What a step will take.

    `text` prompts are read in the text encoder alone, `read` ones up to the conditioning site;
    `pictures` are drawn, `disk` bytes written. `seconds` are of work that was timed.
    """

    text: int = 0
    read: int = 0
    pictures: int = 0
    disk: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Work:
    """What a step is given: the model, folders of finished steps, classifiers by name."""

    model: Model
    folders: Mapping[str, Path]
    classifiers: Mapping[str, str]
    tell: Tell
    called: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What this model's classifiers call a class, by the study's classifier and its class."""

    def shown(self, name: str, shows: str) -> str:
        """A class of the study's classifier, as the one that is used calls it."""
        from clerestory.classifiers import classifier

        own = self.called.get(name, {}).get(shows, shows)
        known = own == shows or own in classifier(self.classifier(name)).classes
        return own if known else shows

    def group_called(self, shows: str) -> str:
        """What any of this model's classifiers calls a class, for groups, which are named so."""
        return next((one[shows] for one in self.called.values() if shows in one), shows)

    def condition(self, name: str, shows: str) -> str:
        """`CLASSIFIER=CLASS`, as the verbs take it."""
        return f"{self.classifier(name)}={self.shown(name, shows)}"

    def classifier(self, name: str) -> str:
        """The classifier that the study calls so; a name that it has not is a registered one."""
        return self.classifiers.get(name, name)


class Step(BaseModel):
    """Parameters of a step; a subclass is a kind, registered by the name of its table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    only_if: tuple[str, ...] = ()
    """Steps all of whose claims must hold, or this one is left out."""
    leave_out: bool = False
    """For a smaller scale: not run at all, and nothing is claimed."""
    if_seen: bool = False
    """Where a classifier has no such class this one is left out; by default that is an error."""

    resumes: ClassVar[bool] = False
    """Whether `run` goes on in a folder in which it was killed."""
    claims: ClassVar[bool] = True
    """Whether anything can be claimed of what comes of it."""

    def needs(self) -> tuple[str, ...]:
        """The steps whose folders it reads, as `find.glass`."""
        return ()

    def sees(self) -> tuple[tuple[str, str], ...]:
        """(classifier, class) of all that it looks at; "" where it takes any class."""
        return ()

    def asks(self, name: str) -> bool:
        """Whether a classifier of the study may look at what it draws: it is named somewhere."""
        return name in str(self.model_dump())

    def problem(self, plan: Mapping[str, Step], classifiers: Container[str]) -> str:
        """What in the study does not fit this step; "" where all does."""
        return ""

    @abstractmethod
    def method(self) -> str:
        """In a sentence, what is done, for the report."""

    @abstractmethod
    def cost(self, work: Work, needed: Mapping[str, Step]) -> Cost:
        """What it will take, before anything is run."""

    @abstractmethod
    def run(self, work: Work, folder: Path) -> Came:
        """Do it, into a folder that may hold what a killed run left."""


steps: Registry[type[Step]] = Registry("step")
"""Kinds of steps, in the order in which a study runs them."""


def named(kind: str, names: Sequence[str] | str) -> tuple[str, ...]:
    """Steps of a kind by their names."""
    return tuple(f"{kind}.{name}" for name in ([names] if isinstance(names, str) else names))


def strip(
    folder: Path,
    title: str,
    rows: Mapping[str, Iterable[NDArray[np.uint8]]],
    columns: Sequence[str] = (),
) -> Strip:
    """Pictures of some rows, saved in `folder/pictures` and small enough for a page."""
    from PIL import Image

    (folder / "pictures").mkdir(exist_ok=True)
    listed = []
    for caption, pictures in rows.items():
        files = []
        for picture in pictures:
            number = len(list((folder / "pictures").iterdir()))
            shown = Image.fromarray(picture)
            shown.thumbnail((WIDTH, WIDTH))
            files.append(f"pictures/{number}.png")
            shown.save(folder / files[-1])
        listed.append((caption, tuple(files)))
    return Strip(title, tuple(listed), tuple(columns))


def chart(folder: Path, title: str, name: str, spec: Any) -> tuple[str, str]:
    """A chart's title and its SVG file in the folder."""
    from clerestory.reporting.plots import svg

    (folder / f"{name}.svg").write_text(str(svg(spec)), "utf-8")
    return title, f"{name}.svg"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "seed"), counted(2, "seed")
    ('1 seed', '2 seeds')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def span(figure: float, low: float, high: float, how: str = "+.2f") -> str:
    """A figure with its interval, as text.

    >>> span(0.5, 0.25, 0.75)
    '+0.50 (+0.25 to +0.75)'
    """
    told = [f"{one:{how}}" for one in (figure, low, high)]
    first, *both = [one.replace("-", "+") if not one.strip("-0.") else one for one in told]
    return f"{first} ({both[0]} to {both[1]})"
