"""The manifest of a recording: the plan, the arrays, versions of libraries, and digests.

It vouches for the files that belong to no chunk and never change: the table, the metadata of the
arrays, the coordinates.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from clerestory.errors import RecordingError
from clerestory.io.digests import digest, json_digest
from clerestory.io.reading import MAX_TABLE_BYTES, parse_json
from clerestory.io.validation import validate
from clerestory.recordings.folder import Folder
from clerestory.recordings.layout import Layout
from clerestory.recordings.plan import FORMAT, Plan
from clerestory.recordings.tree import File

__all__ = [
    "MANIFEST",
    "TABLE",
    "find_defect",
    "read_manifest",
    "recording_digest",
    "write_manifest",
]

MANIFEST, TABLE = "manifest.json", "samples.parquet"
LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "zarr")


@dataclass(frozen=True)
class _Manifest:
    """The fields of `manifest.json`."""

    made_by: str
    plan: Mapping[str, Any]
    arrays: Mapping[str, Any]
    encoders: tuple[str, ...]
    versions: Mapping[str, str]
    files: Mapping[str, File]
    digest: str


def read_manifest(folder: Folder) -> dict[str, Any]:
    """Read the manifest of a recording.

    Args:
        folder: The recording's folder.

    Returns:
        The manifest; `plan` and `arrays` are checked by `Plan.from_dict` and `layouts_of`.

    Raises:
        RecordingError: The manifest is missing, altered or of another format.
    """
    raw = folder.read(MANIFEST)
    if raw is None:
        raise RecordingError(
            f"{folder} holds no recording: it has no {MANIFEST}; give the folder of a "
            "`record --out`."
        )
    where = f"{folder}/{MANIFEST}"
    manifest: dict[str, Any] = parse_json(raw, where, RecordingError, finite=False)
    saved = validate(_Manifest, manifest, where, RecordingError)
    version_number = saved.plan.get("format")
    if version_number != FORMAT:
        raise RecordingError(
            f"{folder} is a recording of format {str(version_number)[:40]}, and this "
            f"version reads {FORMAT} only: record it again."
        )
    if saved.digest != json_digest(manifest):
        raise RecordingError(f"{where} was altered: its digest differs.")
    return manifest


def recording_digest(manifest: Mapping[str, Any]) -> str:
    """The digest that every marker of a recording repeats.

    Args:
        manifest: The manifest of a recording.

    Returns:
        32 hexadecimal digits.
    """
    # Without versions of libraries: two machines that begin one recording in an object store, which
    # has no locks, agree in the rest.
    return json_digest({name: manifest[name] for name in ("plan", "arrays")})


def write_manifest(
    folder: Folder,
    plan: Plan,
    layouts: Mapping[str, Layout],
    encoders: Sequence[str],
    files: Mapping[str, File],
) -> None:
    """Write the manifest of a recording.

    Args:
        folder: The recording's folder.
        plan: The plan.
        layouts: Layouts by site, and of `pictures`.
        encoders: Digests of the model's encoders, from `encoder_digests`.
        files: Digest and size of each file that belongs to no chunk, by path below the folder.
    """
    manifest = {
        "made_by": f"clerestory {version('clerestory')}",
        "plan": plan.to_dict(),
        "arrays": {name: asdict(layout) for name, layout in layouts.items()},
        "encoders": list(encoders),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        # These files never change again, so the manifest can vouch for them.
        "files": dict(files),
    }
    manifest["digest"] = json_digest(manifest)
    folder.write(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def find_defect(folder: Folder, name: str, file: File) -> str | None:
    """Compare a file with what the manifest lists.

    Args:
        folder: The recording's folder.
        name: The file's path below it.
        file: Its digest and size in the manifest.

    Returns:
        `is missing` or `was altered`; None if the file is as it was written.

    Raises:
        RecordingError: The file is larger than the manifest says, or is no regular file.
    """
    expected, size = file
    raw = folder.read(name, min(int(size), MAX_TABLE_BYTES))
    if raw is None:
        return "is missing"
    return None if digest(raw) == expected else "was altered"
