"""The kinds of steps that a study is made of, one file each, in the order in which they are run."""

from clerestory.registry import Registry, filled
from clerestory.studies.tasks.base import (
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

from clerestory.studies.tasks.familiarity import Known  # isort: skip
from clerestory.studies.tasks.record import Record  # isort: skip
from clerestory.studies.tasks.find import Find  # isort: skip
from clerestory.studies.tasks.group import Group  # isort: skip
from clerestory.studies.tasks.verify import Verify  # isort: skip
from clerestory.studies.tasks.maximize import Excite  # isort: skip
from clerestory.studies.tasks.build import Build  # isort: skip
from clerestory.studies.tasks.attribute import Attribute  # isort: skip
from clerestory.studies.tasks.suppress import Suppress  # isort: skip
from clerestory.studies.tasks.show import Show  # isort: skip

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
    return filled(steps, __name__, "clerestory.steps")
