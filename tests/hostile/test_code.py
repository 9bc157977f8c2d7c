"""No file of any kind imports or runs code, whichever of its texts names some."""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clerestory.errors import ClerestoryError

from . import attacks
from .bounds import refusal
from .kinds import KINDS

MODULE = "evil_of_a_stranger"
NAMES = (
    f"python:{MODULE}:f",
    f"python:{MODULE}",
    f"python:{MODULE}:f=x",
    f"1.0 * 'python:{MODULE}:f=x'",
)
"""How code could be named: a classifier, a bare module, a condition, an objective."""
TEXTS = {".json", ".toml", ".txt", ".csv"}
Copied = Callable[[str], Path]


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What is there once the stranger's module has been imported."""
    path = tmp_path / "it-ran"
    home = tmp_path / "beside"
    home.mkdir()
    lines = (f"open({str(path)!r}, 'w').close()", "def f(pictures): ...", "f.classes = ('x', 'y')")
    (home / f"{MODULE}.py").write_text("\n".join(lines))
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(home))
    yield path
    sys.modules.pop(MODULE, None)


def spoilt(path: Path, seen: set[object]) -> Iterator[str]:
    """The file's text with names of code in it, place by place.

    `seen` has the places of earlier files of the same name, such as the metadata of every array.
    """
    text = path.read_text()
    if path.suffix != ".json":
        places = {*re.findall(r'"([^"\n]*)"', text), *text.splitlines()[1:3]}
        for old, name in zip(
            sorted(filter(str.strip, places)), itertools.cycle(NAMES), strict=False
        ):
            yield text.replace(old, name, 1)
        return
    content, names = json.loads(text), itertools.cycle(NAMES)
    for at in attacks.nodes(content):
        kind = (path.name, *("*" if isinstance(one, int) else one for one in at[-3:]))
        if kind not in seen:
            seen.add(kind)
            yield json.dumps(attacks.replaced(content, at, next(names)))


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("pipeline", "world")])
def test_no_text_of_any_file_is_run(name: str, copied: Copied, mark: Path) -> None:
    kind, folder = KINDS[name], copied(name)
    seen: set[object] = set()
    for path in kind.files(folder):
        if path.suffix not in TEXTS:
            continue
        before = path.read_bytes()
        for text in spoilt(path, seen):
            path.write_text(text)
            refusal(kind, folder)
            assert not mark.exists(), f"{path.name}: {text[:200]}"
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("name", "file", "at"),
    [
        ("recording", "manifest.json", ("plan", "model", "load_options")),
        ("microscope", "microscope.json", ("model", "load_options")),
        ("steered", "steering.json", ("base", "load_options")),
    ],
)
@pytest.mark.parametrize("option", ["pickles", "trust_remote_code", "custom_pipeline"])
def test_no_file_opens_its_model_in_a_way_that_runs_code(
    name: str, file: str, at: tuple[str, ...], option: str, copied: Copied
) -> None:
    folder = copied(name)
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(attacks.replaced(content, at, {option: "yes"})))
    assert isinstance(refusal(KINDS[name], folder), ClerestoryError)
