"""`docs/reference/studies.md`: a study's file, with the fields of every kind of task."""

from __future__ import annotations

import re
from typing import Any

from paths import DOCS
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

FORM = DOCS / "reference" / "studies.md.in"


def page() -> str:
    """The form, with a table of fields for each kind."""
    from clerestory.studies.tasks import Task, tasks

    shared = set(Task.model_fields)
    parts = []
    for name, kind in sorted(tasks.items()):
        rows = [
            f"| `{field}` | {_kind(info)} | {_default(info)} |"
            for field, info in kind.model_fields.items()
            if field not in shared
        ]
        text = re.sub(r"\n +", "\n", kind.__doc__ or "")
        parts.append(
            f"## `[{name}.NAME]`\n\n{text.strip()}\n\n| field | type | default |\n|---|---|---|\n"
            + "\n".join(rows)
        )
    return FORM.read_text().replace("[KINDS]", "\n\n".join(parts))


def _kind(info: FieldInfo) -> str:
    text = re.sub(r"(\w+\.)+(?=\w)", "", str(info.annotation))
    text = re.sub(r"<class '(\w+)'>", r"\1", text).replace(", ...", ", …")
    return f"`{text}`".replace("|", "\\|")


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "needed"
    value: Any = info.get_default(call_default_factory=True)
    if value is PydanticUndefined or value in ((), {}, "", None):
        return "none"
    return f"`{value}`"
