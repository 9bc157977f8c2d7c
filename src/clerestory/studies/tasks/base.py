"""What a task of a study is: its parameters, the tasks that it needs, what it may claim.

A task runs one verb of the library into a folder of its own. It returns claims: sentences with a
figure, its interval, a criterion, and a status that follows from them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from clerestory.errors import TableError
from clerestory.io.validation import load_json
from clerestory.registry import Registry
from clerestory.reporting.escaping import to_json
from clerestory.types import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clerestory.evaluation import CacheOption
    from clerestory.models import Model

__all__ = [
    "Claim",
    "Cost",
    "PictureRows",
    "Status",
    "Table",
    "Task",
    "TaskContext",
    "TaskResult",
    "tasks",
    "to_status",
]

FILE = "result.json"
MAX_SIDE = 256
"""Pixels to which larger pictures are reduced in the report."""

Status: TypeAlias = Literal["supported", "not supported", "undecided"]
"""What the evidence says of a claim, or of a study."""


def to_status(supported: bool | None) -> Status:
    """The status of a claim whose criterion is met, is not met, or cannot be decided (None).

    Args:
        supported: Whether the criterion is met; None where that cannot be decided.

    Returns:
        The status.

    >>> to_status(True), to_status(False), to_status(None)
    ('supported', 'not supported', 'undecided')
    """
    if supported is None:
        return "undecided"
    return "supported" if supported else "not supported"


@dataclass(frozen=True)
class Claim:
    """A sentence that the evidence supports, does not support, or leaves undecided.

    Attributes:
        id: A name of the claim, unique within its task.
        text: The sentence, with its figure.
        status: What the evidence says.
        criterion: What the status depends on.
        figure: The figure that the claim is about; None where there is none.
        low: The lower end of its 95% interval.
        high: The upper end.
    """

    id: str
    text: str
    status: Status
    criterion: str
    figure: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Table:
    """Figures as text.

    Attributes:
        title: What the rows are.
        head: The names of the columns.
        rows: The cells.
        highlighted: Which rows the claims are about.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    highlighted: tuple[int, ...] = ()


@dataclass(frozen=True)
class PictureRows:
    """Rows of pictures under a title.

    Attributes:
        title: What they show.
        rows: Each row's caption, and its files within the task's folder.
        columns: What stands over the columns, such as the items.
    """

    title: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskResult:
    """What a task found.

    Attributes:
        claims: Its claims.
        figures: Every figure, ready for JSON.
        tables: Tables for the report.
        pictures: Pictures for the report.
        charts: Titles and SVG files within the task's folder.
        warnings: What limits the figures.
        steered_model: The folder of a steered model within the task's; "" where there is none.
        failure: Why there was no evidence to be had; tasks that need this one are skipped then.
    """

    claims: tuple[Claim, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    pictures: tuple[PictureRows, ...] = ()
    charts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    steered_model: str = ""
    failure: str = ""

    @property
    def status(self) -> Status:
        """The status that all claims have; undecided where they differ or there are none."""
        statuses = {claim.status for claim in self.claims}
        return statuses.pop() if len(statuses) == 1 else "undecided"

    @property
    def has_content(self) -> bool:
        """Whether the report has anything to show."""
        return bool(self.claims or self.tables or self.pictures or self.charts)

    def save(self, folder: Path) -> None:
        """Write the result beside the task's own files.

        Args:
            folder: The task's folder, which exists.
        """
        (folder / FILE).write_text(to_json(asdict(self)) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> TaskResult:
        """Read what `save` wrote.

        Args:
            folder: The task's folder.

        Returns:
            An equal result.

        Raises:
            TableError: The file was altered or is of another version.
        """
        return load_json(cls, folder, FILE, TableError)


@dataclass(frozen=True)
class Cost:
    """What a task takes.

    Attributes:
        text: Prompts that are read in the text encoder alone.
        read: Prompts that are read as far as the conditioning site.
        pictures: Pictures that are drawn.
        disk: Bytes that are written.
        seconds: Time of work that was measured, in place of an estimate from the counts.
    """

    text: int = 0
    read: int = 0
    pictures: int = 0
    disk: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class TaskContext:
    """What a task works with.

    Attributes:
        model: The model that the study asks about.
        folders: The folders of tasks, by key.
        classifiers: The classifiers by the names that the study gives them.
        progress: Receives how far the task has come.
        label_names: For a classifier of the study, what the one in use calls its labels.
        cache: Where tasks keep samples, so that no two draw the same one.
    """

    model: Model
    folders: Mapping[str, Path]
    classifiers: Mapping[str, str]
    progress: Progress
    label_names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cache: CacheOption = True

    def classifier(self, name: str) -> str:
        """The classifier behind the study's name; a name that the study has not is returned.

        Args:
            name: The study's name of a classifier, or a classifier's whole name.

        Returns:
            The classifier's whole name.
        """
        return self.classifiers.get(name, name)

    def label(self, name: str, label: str) -> str:
        """A label of the study's classifier, as the classifier in use calls it.

        Args:
            name: The study's name of a classifier, or a classifier's whole name.
            label: The label, as the study calls it.

        Returns:
            The label in the words of the classifier in use; unchanged where that has none of the
            translated name.
        """
        from clerestory.classifiers import load_classifier

        translated = self.label_names.get(name, {}).get(label, label)
        # Asked only if need be: opening a classifier may load its weights.
        known = translated == label or translated in load_classifier(self.classifier(name)).classes
        return translated if known else label

    def group_label(self, label: str) -> str:
        """What any classifier in use calls a label; groups are named by these.

        Args:
            label: The label, as the study calls it.

        Returns:
            The first translation that a classifier of the study has; else the label itself.
        """
        names = self.label_names.values()
        return next((labels[label] for labels in names if label in labels), label)

    def target(self, name: str, label: str) -> str:
        """`CLASSIFIER=LABEL`, as the verbs take it.

        Args:
            name: The study's name of a classifier, or a classifier's whole name.
            label: The label, as the study calls it.

        Returns:
            The target, as text.
        """
        return f"{self.classifier(name)}={self.label(name, label)}"


class Task(BaseModel):
    """Parameters of a task. A subclass is a kind, registered by the name of its table.

    Attributes:
        requires_support: Tasks all of whose claims must be supported, or this one is skipped.
        skip: Whether the task is left out of the study; for a smaller scale.
        skip_without_label: Whether the task is skipped where a classifier has no such label. By
            default that is an error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    requires_support: tuple[str, ...] = ()
    skip: bool = False
    skip_without_label: bool = False

    resumable: ClassVar[bool] = False
    """Whether `run` goes on in a folder in which it was stopped."""
    makes_claims: ClassVar[bool] = True
    """Whether the task has claims at all."""
    illustrates: ClassVar[bool] = False
    """Whether its pictures open the report."""

    def needs(self) -> tuple[str, ...]:
        """The tasks whose folders it reads, as `find.glass`; they run before it."""
        return ()

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        """(classifier, label) of all that is predicted; "" where it takes any label."""
        return ()

    def uses_classifier(self, name: str) -> bool:
        """Whether the result may depend on a classifier of the study.

        Args:
            name: The study's name of the classifier.

        Returns:
            True where in doubt: the task is then run again if the classifier changes.
        """
        # As part of any text: a query names it within `predicted.NAME`. Too many matches only mean
        # that a task is run again.
        return name in str(self.model_dump())

    def problem(self, plan: Mapping[str, Task], classifiers: Container[str]) -> str:
        """What in the study does not fit this task; "" where everything does.

        Args:
            plan: All tasks of the study, by key.
            classifiers: The study's names of classifiers.

        Returns:
            `FIELD: what is wrong`, without a full stop.
        """
        return ""

    def check_model(self, context: TaskContext) -> None:
        """Raise a ClerestoryError where the task cannot run on the model.

        Args:
            context: The model, folders and classifiers.

        Raises:
            ClerestoryError: The model lacks what the task needs.
        """

    @abstractmethod
    def method(self) -> str:
        """What is done, in a sentence for the report."""

    @abstractmethod
    def cost(self, context: TaskContext, plan: Mapping[str, Task]) -> Cost:
        """What the task takes, estimated before anything runs.

        Args:
            context: The model, folders and classifiers.
            plan: All tasks of the study, by key.

        Returns:
            The cost of the whole task, as if it were not skipped.
        """

    @abstractmethod
    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        """Do the work in a folder, which may hold what a stopped run left.

        Args:
            context: The model, folders and classifiers.
            folder: The task's own folder, which exists.

        Returns:
            Claims, figures, and what the report shows.

        Raises:
            EvidenceError: The data cannot answer; the runner makes it a claim that is not
                supported.
            SearchError: Likewise, of a search.
        """


tasks: Registry[type[Task]] = Registry(
    "study task", package="clerestory.studies.tasks", group="clerestory.tasks"
)
"""Kinds of tasks by the names of their tables."""


def task_keys(kind: str, names: Sequence[str] | str) -> tuple[str, ...]:
    """Keys of tasks of a kind.

    Args:
        kind: The kind.
        names: Names of tasks, or one name.

    Returns:
        The keys, in the order of the names.

    >>> task_keys("find", ["glass"])
    ('find.glass',)
    """
    return tuple(f"{kind}.{name}" for name in ([names] if isinstance(names, str) else names))


def save_pictures(
    folder: Path,
    title: str,
    rows: Mapping[str, Iterable[NDArray[np.uint8]]],
    columns: Sequence[str] = (),
) -> PictureRows:
    """Save rows of pictures in `folder/pictures`, small enough for a page.

    Args:
        folder: The task's folder.
        title: What they show.
        rows: Pictures `[height, width, 3]` by their row's caption.
        columns: What stands over the columns.

    Returns:
        The rows, with files relative to the task's folder.
    """
    from PIL import Image

    (folder / "pictures").mkdir(exist_ok=True)
    listed = []
    for caption, pictures in rows.items():
        files = []
        for picture in pictures:
            # A task may save several blocks into one folder: the numbers go on.
            number = len(list((folder / "pictures").iterdir()))
            reduced = Image.fromarray(picture)
            # Never enlarges a picture.
            reduced.thumbnail((MAX_SIDE, MAX_SIDE))
            files.append(f"pictures/{number}.png")
            reduced.save(folder / files[-1])
        listed.append((caption, tuple(files)))
    return PictureRows(title, tuple(listed), tuple(columns))


def save_chart(folder: Path, title: str, name: str, spec: Any) -> tuple[str, str]:
    """Save an Altair chart as SVG; its title and file.

    Args:
        folder: The task's folder.
        title: What stands over the chart.
        name: The file's name, without its ending.
        spec: The chart.

    Returns:
        The title, and the file relative to the task's folder.
    """
    from clerestory.reporting.plots import svg

    (folder / f"{name}.svg").write_text(str(svg(spec)), "utf-8")
    return title, f"{name}.svg"


def count_noun(number: int, noun: str) -> str:
    """A number with its noun.

    Args:
        number: How many.
        noun: The singular of a noun whose plural ends in s.

    Returns:
        The number with thousands separators, and the noun.

    >>> count_noun(1, "seed"), count_noun(2, "seed")
    ('1 seed', '2 seeds')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def format_interval(figure: float, low: float, high: float, spec: str = "+.2f") -> str:
    """A figure with its interval, as text.

    Args:
        figure: The figure.
        low: The lower limit.
        high: The upper limit.
        spec: How each is formatted.

    Returns:
        `FIGURE (LOW to HIGH)`.

    >>> format_interval(0.5, 0.25, 0.75)
    '+0.50 (+0.25 to +0.75)'
    """
    texts = [f"{number:{spec}}" for number in (figure, low, high)]
    # A rounded zero has no minus.
    texts = [text.replace("-", "+") if not text.strip("-0.") else text for text in texts]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"
