"""The entry points of this source tree, also where an older one was installed.

Plug-ins are found by the installed package's metadata, which an editable installation writes once.
After a change of `pyproject.toml` they would be those of yesterday until it is installed again.
"""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

__all__ = ["refresh_entry_points", "write_metadata"]

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def refresh_entry_points() -> None:
    """Where the metadata is older than `pyproject.toml`, put newer metadata first on the path.

    Processes that tests start see it too, by `PYTHONPATH`.
    """
    declared = _declared()
    installed = metadata.distribution("clerestory")
    known = {(entry.group, entry.name, entry.value) for entry in installed.entry_points}
    if known == declared:
        return
    folder = Path(tempfile.mkdtemp(prefix="clerestory-metadata-"))
    write_metadata(folder, declared)
    sys.path.insert(0, str(folder))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))


def write_metadata(folder: Path, entries: set[tuple[str, str, str]]) -> None:
    """Metadata of an installed Clerestory that has these entry points (group, name, value)."""
    version = metadata.version("clerestory")
    written = folder / f"clerestory-{version}.dist-info"
    written.mkdir()
    (written / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: clerestory\nVersion: {version}\n"
    )
    (written / "entry_points.txt").write_text(_text(entries))


def _declared() -> set[tuple[str, str, str]]:
    """(group, name, value) of every entry point in `pyproject.toml`."""
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    return {(group, name, value) for group, own in groups.items() for name, value in own.items()}


def _text(declared: set[tuple[str, str, str]]) -> str:
    """The text of `entry_points.txt`: each group once."""
    groups: dict[str, list[str]] = {}
    for group, name, value in sorted(declared):
        groups.setdefault(group, []).append(f"{name} = {value}")
    return "\n".join("\n".join([f"[{group}]", *lines, ""]) for group, lines in groups.items())
