"""Names that a machine gave to units, and the same scores of people's themes, in the folder.

names/007.json       names of the units of site 7
names/themes.json    scores of themes, by the theme's key
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from clerestory.contrasts.evidence import unit_address
from clerestory.errors import RecordingError
from clerestory.io.reading import path_inside, read_json
from clerestory.io.validation import validate
from clerestory.io.writing import atomic_file
from clerestory.microscope.folder import Microscope, SiteUnits
from clerestory.microscope.themes import Theme, Themes
from clerestory.models import Model
from clerestory.naming import UnitName, name_units, score_texts
from clerestory.naming.values import recorded_units
from clerestory.recordings import Recording
from clerestory.types import ProgressOption

__all__ = ["load_names", "name_all", "theme_scores"]

FOLDER, THEMES = "names", "themes.json"


def name_all(
    microscope: Microscope,
    recordings: Sequence[Recording],
    model: Model | None,
    progress: ProgressOption = True,
) -> None:
    """Name all units, score the names and the themes, and store them.

    Sites that have names keep them, so that a call that was stopped resumes; themes are scored
    anew, since people add some.

    Args:
        microscope: The microscope.
        recordings: Those that it was built from, in their order.
        model: The recorded model; None leaves out drawing.
        progress: True for progress bars, or a callback.

    Raises:
        EvidenceError: A recording has too few different prompts.
        RecordingError: The model is another one than was recorded.
    """
    (microscope.folder / FOLDER).mkdir(exist_ok=True)
    themes = Themes(microscope.folder / "themes.sqlite").all()
    scores: dict[str, UnitName] = {}
    for number, recording in enumerate(recordings):
        sites = [site for site in microscope.sites.values() if site.recording == number]
        missing = [site for site in sites if not _file(microscope, site).exists()]
        if missing:
            patterns = ",".join(site.address for site in missing)
            named = name_units(recording, model, sites=patterns, progress=progress).names
            for site in missing:
                _write(_file(microscope, site), _of_site(recording, site, named))
        addresses = {site.address for site in sites}
        mine = [theme for theme in themes if theme.unit.rpartition("[")[0] in addresses]
        if mine:
            scores |= _score_themes(recording, model, mine, progress)
    _write(microscope.folder / FOLDER / THEMES, scores)


def _of_site(recording: Recording, site: SiteUnits, named: Sequence[UnitName]) -> list[UnitName]:
    """The names of a site's units, by the addresses that pages have."""
    # Pages number the columns, also of a recording of some units.
    numbers = recorded_units(recording, site.address)
    pages = {
        unit_address(site.address, number): f"{site.address}[{column}]"
        for column, number in enumerate(numbers)
    }
    return [replace(name, unit=pages[name.unit]) for name in named if name.unit in pages]


def _score_themes(
    recording: Recording, model: Model | None, themes: Sequence[Theme], progress: ProgressOption
) -> dict[str, UnitName]:
    texts = []
    for theme in themes:
        site, _, column = theme.unit.rstrip("]").rpartition("[")
        numbers = recorded_units(recording, site)
        texts.append((unit_address(site, numbers[int(column)]), theme.text))
    scores = score_texts(recording, texts, model, progress=progress)
    return {
        theme.key: replace(score, unit=theme.unit)
        for theme, score in zip(themes, scores, strict=True)
    }


def _file(microscope: Microscope, site: SiteUnits) -> Path:
    return microscope.folder / FOLDER / f"{site.folder.name}.json"


def _write(path: Path, content: Sequence[UnitName] | Mapping[str, UnitName]) -> None:
    ready: Any = (
        {key: name.to_dict() for key, name in content.items()}
        if isinstance(content, Mapping)
        else [name.to_dict() for name in content]
    )
    with atomic_file(path) as part:
        part.write_text(json.dumps(ready, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def load_names(microscope: Microscope, site: SiteUnits) -> Mapping[str, tuple[UnitName, ...]]:
    """The machine's names of a site's units.

    Args:
        microscope: The microscope.
        site: The site.

    Returns:
        By the unit's address; empty where the site has no names.

    Raises:
        RecordingError: The file is damaged.
    """
    path = _file(microscope, site)
    return _read_names(path, path.stat().st_mtime_ns) if path.exists() else {}


def theme_scores(microscope: Microscope) -> Mapping[str, UnitName]:
    """The scores of people's themes.

    Args:
        microscope: The microscope.

    Returns:
        By the theme's key; without themes that were added after they were scored.

    Raises:
        RecordingError: The file is damaged.
    """
    path = microscope.folder / FOLDER / THEMES
    return _read_scores(path, path.stat().st_mtime_ns) if path.exists() else {}


# Cached, since every page needs them; by the time of the file, since a build may write it anew.
@lru_cache(maxsize=64)
def _read_names(path: Path, time: int) -> Mapping[str, tuple[UnitName, ...]]:
    names = validate(tuple[UnitName, ...], _content(path), path, RecordingError)
    units: dict[str, list[UnitName]] = {}
    for name in names:
        units.setdefault(name.unit, []).append(name)
    return {unit: tuple(mine) for unit, mine in units.items()}


@lru_cache(maxsize=4)
def _read_scores(path: Path, time: int) -> Mapping[str, UnitName]:
    return validate(dict[str, UnitName], _content(path), path, RecordingError)


def _content(path: Path) -> Any:
    # A folder may come from somebody else.
    return read_json(path_inside(path.parent, path.name, RecordingError), RecordingError)
