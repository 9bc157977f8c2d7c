"""Every long command: how it is called in a second or two, and what an interrupt leaves.

`resumable` ones go on where they were; all others write their output whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cli.valid import SITE, UNIT, Valid
from PIL import Image
from studies.fakes import Fake, Fresh, fake_study
from suppression.rules import PRESERVE, UNWANTED, Painted, colours
from tiny import tiny_model

from clerestory.dictionaries import Dictionary
from clerestory.recordings.template import Template
from clerestory.studies import Study
from clerestory.studies.tasks import Task
from clerestory.studies.tasks.record import Record


class Small(Valid):
    """The same of a model that takes few steps."""

    @cached_property
    def _opened(self) -> Any:
        return tiny_model(window=64)


LIGHT = "python:interrupts.judge:light"
Words = list[object]


@dataclass(frozen=True)
class Case:
    """A command; `words` gives its arguments, once what they name is there."""

    name: str
    words: Callable[[Valid, Path, pytest.MonkeyPatch], Words]
    resumable: bool
    model: Callable[[Valid], Any]
    vary: tuple[str, ...] = field(default=())
    """Files that tell the time, or whose bytes have an order of their own."""

    def __str__(self) -> str:
        return self.name

    def opened(self, valid: Valid, patch: pytest.MonkeyPatch) -> None:
        """Have its model opened, whichever is asked for."""
        model = self.model(valid)
        for load in ("clerestory.load", "clerestory.models.load"):
            patch.setattr(load, lambda *_, **__: model)


CASES: dict[str, Case] = {}


def _tiny(valid: Valid) -> Any:
    return valid._opened


def case(
    name: str,
    *,
    resumable: bool = False,
    model: Callable[[Valid], Any] = _tiny,
    vary: tuple[str, ...] = (),
) -> Callable[[Any], Any]:
    def keep(words: Callable[[Valid, Path, pytest.MonkeyPatch], Words]) -> Any:
        assert name not in CASES
        CASES[name] = Case(name, words, resumable, model, vary)
        return words

    return keep


@case("draw")
def _(valid, out, patch):
    return ["draw", "a cat", "--out", out, "--seeds", "0:2", "--steps", 2]


@case("lens")
def _(valid, out, patch):
    return ["lens", "a cat", "--seeds", "0:2", "--out", out]


@case("attention")
def _(valid, out, patch):
    return [
        "attention",
        "a cat",
        "--layers",
        "prior.*",
        "--words",
        "cat",
        "--steps",
        2,
        "--out",
        out,
    ]


@case("record", resumable=True)
def _(valid, out, patch):
    how = ["--sites", "text.*/mlp", "--batch", 1, "--chunk", 1, "--steps", 2]
    return ["record", "--prompts", valid.prompts, *how, "--out", out, "--seeds", "0:2"]


@case("recording verify", resumable=True)
def _(valid, out, patch):
    if not out.exists():
        shutil.copytree(valid.recording, out)
        parts = sorted(path for path in out.rglob("value/c.*") if path.is_file())
        for path in parts[:: len(parts) // 3]:
            path.write_bytes(path.read_bytes()[:-3])
    return ["recording", "verify", out, "--repair"]


@case("dictionary train", resumable=True, vary=("curves.png",))
def _(valid, out, patch):
    pytest.importorskip("sae_lens", reason="training needs the extra `dictionaries`")
    # A checkpoint after every update, so that an interrupt has something to resume.
    patch.setattr("clerestory.dictionaries.training.INTERVAL", 0.0)
    how = ["--latents", 8, "--k", 2, "--updates", 3, "--rows", 8, "--held-out", 0.3]
    return ["dictionary", "train", valid.recording, "--site", SITE, *how, "--out", out]


@case("dictionary evaluate", resumable=True)
def _(valid, out, patch):
    folder = out.parents[1] / "evaluated"
    if not folder.exists():
        Dictionary.random(valid._opened.sites[SITE].shape[1], 12, site=SITE).save(folder)
    how = ["--prompts", valid.prompts, "--classifier", LIGHT, "--seeds", "0:2", "--steps", 2]
    return ["dictionary", "evaluate", folder, *how, "--out", out]


@case("dictionary convert")
def _(valid, out, patch):
    folder = out.parents[1] / "dictionary"
    if not folder.exists():
        Dictionary.random(6, 12, site=SITE).save(folder)
    return ["dictionary", "convert", folder, "--out", out]


@case("find")
def _(valid, out, patch):
    sides = ["--positive", "style == 'cat'", "--negative", "style == 'dog'", "--match", "subject"]
    return ["find", valid.recording, *sides, "--top", 2, "--out", out]


@case("verify", resumable=True)
def _(valid, out, patch):
    how = ["--items", 2, "--baselines", 1, "--unit", f"{SITE}[probe]", "--no-maps"]
    return ["verify", valid.findings, "--classifier", LIGHT, "--label", "light", *how, "--out", out]


@case("trace", resumable=True)
def _(valid, out, patch):
    how = ["--against", "a dog", "--of", "text/pooled[2]", "--sites", "text.*/z", "--seeds", "0:8"]
    return ["trace", "a cat", *how, "--random-graphs", 1, "--out", out]


@case("group")
def _(valid, out, patch):
    alike = ["--control", "subject"]
    return ["group", valid.recording, "--classifier", LIGHT, *alike, "--top", 2, "--out", out]


@case("templates")
def _(valid, out, patch):
    return ["templates", "pixel art", "--out", out.with_suffix(".toml")]


@case("classifier check", vary=("page.html",))
def _(valid, out, patch):
    return ["classifier", "check", LIGHT, valid.recording, "--out", out, "--size", 8]


SEARCH = ["--budget", 60, "--random-prompts", 20, "--words", 1]


@case("maximize", resumable=True)
def _(valid, out, patch):
    return ["maximize", UNIT, *SEARCH, "--best", 2, "--out", out]


@case("maximize --compare-searches")
def _(valid, out, patch):
    return [
        "maximize",
        UNIT,
        *SEARCH,
        "--compare-searches",
        "random,evolve",
        "--repeats",
        2,
        "--out",
        out,
    ]


@case("compare")
def _(valid, out, patch):
    how = ["--items", valid.lines, "--count", 2, "--seeds", "0", "--best", 1]
    return ["compare", valid.searched, f"{LIGHT}=light", "a cat {item}", *how, "--out", out]


@case("attribute", resumable=True, model=lambda _: tiny_model(window=128))
def _(valid, out, patch):
    how = ["--of", "text/pooled[2]", "--seeds", "0", "--paraphrases", 20, "--no-synergy"]
    return ["attribute", "[a cat] with [c]", *how, "--no-path", "--out", out]


@case("suppress", model=lambda _: Painted())
def _(valid, out, patch):
    colours(patch)
    how = ["--unwanted", UNWANTED, "--preserve", PRESERVE, "--budget", 0]
    return ["suppress", "a raven", *how, "--out", out]


@case("familiarity", resumable=True, model=lambda _: tiny_model())
def _(valid, out, patch):
    names = [f"{a}{b}" for a in "abcdefghij" for b in "abcdefghij"][:99]
    files = {"controls": names, "contexts": ["{item}"]}
    for name, lines in files.items():
        (valid.root / f"{name}.txt").write_text("\n".join(lines))
    given = [part for name in files for part in (f"--{name}", valid.root / f"{name}.txt")]
    return ["familiarity", "dog", *given, "--seeds", "0", "--out", out]


STUDY: dict[str, Task] = {
    "record.few": Record(
        prompts=Template(templates=("{x}",), levels={"x": {"cat": "a cat", "dog": "a dog"}}),
        sites=("text.*/mlp",),
        pictures=True,
    ),
    "fake.a": Fake(pictures=2, steers=True),
    "fake.b": Fresh(after=("fake.a",), pictures=1),
}
TIMES = tuple(f"tasks/{key}/seconds" for key in STUDY)


@case(
    "study run",
    resumable=True,
    model=lambda _: tiny_model(),
    vary=("results.json", "report.html", *TIMES),
)
def _(valid, out, patch):
    patch.setattr(Study, "load", lambda name, scale: fake_study(STUDY))
    return ["study", "run", "any", "--out", out]


@case("study new")
def _(valid, out, patch):
    return ["study", "new", "zebra-stripes", "--out", out.with_suffix(".toml")]


@case("steer draw")
def _(valid, out, patch):
    return ["steer", "draw", valid.steered, "a cat", "--seeds", "0:2", "--out", out]


@case("steer build")
def _(valid, out, patch):
    request = [valid.findings, f"{LIGHT}=light", "cat {item}"]
    lines = valid.root / "others.txt"
    lines.write_text("\n".join(f"{number} {number}" for number in range(8)))
    how = ["--items", lines, "--selection-items", 4, "--evaluation-items", 4]
    few = ["--strengths", "1", "--site", SITE, "--seeds", "0", "--baselines", 3]
    return ["steer", "build", *request, *how, *few, "--out", out]


@case("steer bake")
def _(valid, out, patch):
    return ["steer", "bake", valid.steered, "--out", out]


@case("microscope build", resumable=True)
def _(valid, out, patch):
    return ["microscope", "build", valid.recording, "--out", out]


@case("microscope export")
def _(valid, out, patch):
    return ["microscope", "export", valid.scope, "--out", out]


@case("microscope backup")
def _(valid, out, patch):
    return ["microscope", "backup", valid.scope, out.with_suffix(".sqlite")]


@case("lancet evaluate")
def _(valid, out, patch):
    from lancet.evaluation import rates as evaluate

    def few(model: Any, folder: Any, progress: Any, **how: Any) -> Any:
        for done in (1, 2):
            progress("drawing", done, 2)
        prompts = [SimpleNamespace(prompt=prompt) for prompt in ("a", "b")]
        return SimpleNamespace(pictures=np.zeros((2, 8, 8, 3), "u1"), prompts=prompts, to_dict=dict)

    patch.setattr(evaluate, "evaluate", few)
    return ["lancet", "evaluate", "--sheet", out.with_suffix(".png"), "--json"]


@case("lancet render")
def _(valid, out, patch):
    from lancet.world import sheet

    patch.setattr(sheet, "page", lambda *_: Image.new("RGB", (8, 8)))
    return ["lancet", "render", "--out", out.with_suffix(".png"), "--n", 1]


@case("lancet train", resumable=True)
def _(valid, out, patch):
    from lancet.training import renders, train
    from lancet.world.art import Art

    def draw(world: Any, art: Any, scenes: Any, into: Any, *, processes: int) -> None:
        into[:] = np.array([one.seed % 251 for one in scenes], "u1")[:, None, None, None]

    patch.setattr(Art, "open", lambda _: None)
    patch.setattr(renders.render, "render_into", draw)
    patch.setattr(renders, "BLOCK", 200)
    patch.setattr(train, "FIRST_HELD_OUT", train.FIRST_HELD_OUT)
    return ["lancet", "train", "--smoke", "--stage", "renders", "--work", out]


@case("lancet train-siblings", resumable=True)
def _(valid, out, patch):
    from lancet.training import renders
    from lancet.world.art import Art

    def draw(world: Any, art: Any, scenes: Any, into: Any, *, processes: int) -> None:
        into[:] = np.array([one.seed % 251 for one in scenes], "u1")[:, None, None, None]

    patch.setattr(Art, "open", lambda _: None)
    patch.setattr(renders.render, "render_into", draw)
    patch.setattr(renders, "BLOCK", 20)
    return ["lancet", "train-siblings", "--smoke", "--stage", "renders", "--work", out]


@case("lancet art", resumable=True)
def _(valid, out, patch):
    from lancet.world import art_fetch

    drawn = np.full((8, 8, 4), 200, np.uint8)
    patch.setattr(art_fetch, "FAMILIES", {"noto": "none"})
    patch.setattr(art_fetch, "_package", lambda folder, name: folder)
    patch.setattr(art_fetch, "_drawer", lambda artwork, package: lambda sign: drawn)
    return ["lancet", "art", "--out", out]


def kept(out: Path, vary: tuple[str, ...]) -> dict[str, Any]:
    """The files of an output, by name; JSON as what it says, without the seconds."""
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    names = {path: path.relative_to(out).as_posix() for path in files}
    return {
        name: _read(path)
        for path, name in names.items()
        if name not in vary and not name.startswith(".lock")
    }


def _read(path: Path) -> Any:
    if path.suffix != ".json":
        return path.read_bytes()
    content = json.loads(path.read_bytes())
    return (
        {key: value for key, value in content.items() if key != "seconds"}
        if isinstance(content, dict)
        else content
    )
