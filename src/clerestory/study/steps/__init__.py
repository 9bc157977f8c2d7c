"""The kinds of steps that a study is made of, one file each, in the order in which they are run."""

from clerestory.registry import Registry, filled
from clerestory.study.steps.base import (
    Came,
    Claim,
    Cost,
    Step,
    Strip,
    Table,
    Tell,
    Work,
    steps,
)

from clerestory.study.steps.knowing import Known  # isort: skip
from clerestory.study.steps.recording import Record  # isort: skip
from clerestory.study.steps.finding import Find  # isort: skip
from clerestory.study.steps.grouping import Group  # isort: skip
from clerestory.study.steps.verifying import Verify  # isort: skip
from clerestory.study.steps.exciting import Excite  # isort: skip
from clerestory.study.steps.building import Build  # isort: skip
from clerestory.study.steps.attributing import Attribute  # isort: skip
from clerestory.study.steps.suppressing import Suppress  # isort: skip
from clerestory.study.steps.showing import Show  # isort: skip

__all__ = [
    "Attribute",
    "Build",
    "Came",
    "Claim",
    "Cost",
    "Excite",
    "Find",
    "Group",
    "Known",
    "Record",
    "Show",
    "Step",
    "Strip",
    "Suppress",
    "Table",
    "Tell",
    "Verify",
    "Work",
    "known_steps",
    "steps",
]


def known_steps() -> Registry[type[Step]]:
    """These kinds, then those of plug-ins: an entry point in the group `clerestory.steps`."""
    return filled(steps, __name__, (), "clerestory.steps")
