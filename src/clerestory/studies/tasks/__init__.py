"""The tasks that a study is made of: one file for a kind, which registers itself.

A plug-in adds a kind by an entry point in the group `clerestory.tasks` that names its module.
"""

from clerestory.studies.tasks.base import Cost, Task, TaskContext, tasks
from clerestory.studies.tasks.results import (
    Claim,
    PictureRows,
    Table,
    TaskResult,
    interval_status,
    overall_status,
    to_status,
)

__all__ = [
    "Claim",
    "Cost",
    "PictureRows",
    "Table",
    "Task",
    "TaskContext",
    "TaskResult",
    "interval_status",
    "overall_status",
    "tasks",
    "to_status",
]
