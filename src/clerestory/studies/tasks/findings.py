"""What `verify` and `maximize` share: both take the findings of `find`, or a group's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from clerestory.errors import EvidenceError, TableError
from clerestory.io.reading import path_inside, read_json
from clerestory.studies.tasks.base import Task, TaskContext

if TYPE_CHECKING:
    from clerestory.contrasts import Findings

__all__ = ["FindingsTask", "load_findings"]


class FindingsTask(Task):
    """A task about the findings of a `find` task, or about those of a `group` task's `label`."""

    find: str = ""
    group: str = ""
    label: str = ""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if bool(self.find) == bool(self.group):
            raise ValueError("give either find or group")
        if self.group and not self.label:
            raise ValueError("label: give a label of the group")
        return self

    def needs(self) -> tuple[str, ...]:
        return (f"find.{self.find}" if self.find else f"group.{self.group}",)

    def load_findings(self, context: TaskContext, label: str) -> Findings:
        """The findings that the other task saved.

        Args:
            context: The folders.
            label: The label of the group, as the classifier in use calls it.

        Returns:
            The findings.

        Raises:
            EvidenceError: There is no such group, or the findings cannot be read.
        """
        from clerestory.contrasts import Findings
        from clerestory.contrasts.groups import findings_folder

        if self.find:
            return load_findings(context, self.find)
        folder = context.folders[f"group.{self.group}"] / "groups"
        # The order in the file numbers the folders.
        names = list(
            read_json(path_inside(folder, "groups.json", TableError), TableError)["groups"]
        )
        if label not in names:
            raise EvidenceError(f"Too few prompts came out {label}: there is no such group.")
        return Findings.load(findings_folder(folder, names, label))


def load_findings(context: TaskContext, find: str) -> Findings:
    """The findings of a `find` task.

    Args:
        context: The folders.
        find: The task's name.

    Returns:
        The findings.

    Raises:
        EvidenceError: They cannot be read.
    """
    from clerestory.contrasts import Findings

    return Findings.load(context.folders[f"find.{find}"] / "findings")
