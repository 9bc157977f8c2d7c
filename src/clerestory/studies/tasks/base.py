"""What a task of a study is: its parameters, the tasks that it needs, and what it costs.

A task runs one verb of the library into a folder of its own, and returns claims.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Container, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from clerestory.errors import RegistryError, TableError
from clerestory.registry import Registry
from clerestory.reporting.progress import relabel
from clerestory.studies.tasks.results import TaskResult
from clerestory.types import Progress

if TYPE_CHECKING:
    from clerestory.evaluation import CacheOption
    from clerestory.models import Model

__all__ = ["Cost", "Task", "TaskContext", "check_registered", "tasks"]


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
        classifiers: Classifiers' full names, by the names that the study gives them.
        progress: Receives the progress of the task.
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
        """The classifier behind a name of the study.

        Args:
            name: The study's name of a classifier, or a classifier's full name.

        Returns:
            The classifier's full name; a name that the study does not define is returned as it is.
        """
        return self.classifiers.get(name, name)

    def label(self, name: str, label: str) -> str:
        """A label of the study's classifier, as the classifier in use calls it.

        Args:
            name: The study's name of a classifier, or a classifier's full name.
            label: The label, as the study calls it.

        Returns:
            The label in the words of the classifier in use; unchanged where that classifier does
            not have the translation.
        """
        from clerestory.classifiers import load_classifier

        translation = self.label_names.get(name, {}).get(label, label)
        # Loaded only where the label was translated: opening a classifier may load its weights.
        if translation == label or translation in load_classifier(self.classifier(name)).classes:
            return translation
        return label

    def group_label(self, label: str) -> str:
        """What any classifier in use calls a label; groups are named by these.

        Args:
            label: The label, as the study calls it.

        Returns:
            The first translation that a classifier of the study has; else the label itself.
        """
        # Groups are made before the study knows by which classifier: the
        # first translation is taken.
        names = self.label_names.values()
        return next((labels[label] for labels in names if label in labels), label)

    def target(self, name: str, label: str) -> str:
        """`CLASSIFIER=LABEL`, as the verbs take it.

        Args:
            name: The study's name of a classifier, or a classifier's full name.
            label: The label, as the study calls it.

        Returns:
            The target, as text.
        """
        return f"{self.classifier(name)}={self.label(name, label)}"

    def address(self, address: str) -> str:
        """An address of the model, with `conditioning` replaced by its conditioning site.

        Args:
            address: The address of a site or unit, such as `conditioning[difference]`.

        Returns:
            The same in the model's own terms, such as `prior/embedding[difference]`.
        """
        site, bracket, unit = address.partition("[")
        # `conditioning:NAME` are latents of a dictionary at the conditioning site.
        base, colon, dictionary = site.partition(":")
        named = self.model.conditioning_site if base == "conditioning" else base
        return named + colon + dictionary + bracket + unit

    def report_as(self, label: str) -> Progress:
        """A callback that reports the progress of a verb under another label.

        Args:
            label: The label.

        Returns:
            What a verb takes as `progress`.
        """
        return relabel(self.progress, label)


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
    """Whether `run` continues in a folder in which it was stopped."""
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

    def check_plan(self, plan: Mapping[str, Task], classifiers: Container[str]) -> None:
        """Check the task against the rest of the study.

        Args:
            plan: All tasks of the study, by key.
            classifiers: The study's names of classifiers.

        Raises:
            TableError: A field does not fit; the message begins with its name and a colon.
        """

    def check_model(self, context: TaskContext) -> None:
        """Check that the task can run on the model.

        Args:
            context: The model, folders and classifiers.

        Raises:
            ClerestoryError: The model lacks what the task needs.
        """

    @abstractmethod
    def method(self) -> str:
        """What is done, in a sentence for the report."""

    @abstractmethod
    def cost(self, context: TaskContext) -> Cost:
        """What the task takes, estimated before anything runs.

        Args:
            context: The model, folders and classifiers.

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
            EvidenceError: The data cannot answer; the runner makes it an undecided claim.
            SearchError: Likewise, of a search.
        """


tasks: Registry[type[Task]] = Registry(
    "study task", package="clerestory.studies.tasks", group="clerestory.tasks"
)
"""Kinds of tasks by the names of their tables."""


def check_registered(field: str, name: str, registry: Registry[Any]) -> None:
    """Check that a field of a task names an entry of a registry.

    Args:
        field: The field, for the message.
        name: The name that it has.
        registry: Where it is looked up.

    Raises:
        TableError: Nothing is registered under the name.
    """
    try:
        # The registry's own error has the suggestion; here only the field is added.
        registry[name]
    except RegistryError as error:
        raise TableError(f"{field}: {error}") from error
