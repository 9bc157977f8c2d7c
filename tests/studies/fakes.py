"""Steps that draw nothing and claim what they are told to, in a study put together by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from clerestory.errors import EvidenceError
from clerestory.studies import Study
from clerestory.studies.runner import Ran, run
from clerestory.studies.schema import Judge
from clerestory.studies.tasks import Came, Claim, Cost, Step, Strip, Table, Work

__all__ = ["LOG", "Fake", "Fresh", "Log", "ran", "stub", "study", "went"]


class Log:
    """What the steps did, and the moment at which the next is to be stopped."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.found: list[list[str]] = []
        self.stops: set[str] = set()
        self.now = 0.0

    def perf_counter(self) -> float:
        """A clock that only steps move."""
        return self.now


LOG = Log()


class Fake(Step):
    """Claims `holds`, takes `takes` seconds, goes on in its folder; `steers` leaves a model."""

    resumes = True

    holds: tuple[bool | None, ...] = (True,)
    after: tuple[str, ...] = ()
    eye: str = ""
    shows: str = ""
    refuses: str = ""
    steers: bool = False
    pictures: int = 0
    says: str = "It is as it is"
    takes: float = 1.0

    def needs(self) -> tuple[str, ...]:
        return self.after

    def sees(self) -> tuple[tuple[str, str], ...]:
        return ((self.eye, self.shows),) if self.eye else ()

    def method(self) -> str:
        return "Nothing was drawn."

    def cost(self, work: Work, needed: Mapping[str, Step]) -> Cost:
        return Cost(pictures=3)

    def run(self, work: Work, folder: Path) -> Came:
        key = ".".join(folder.name.split(".")[1:3])
        LOG.ran.append(key)
        LOG.found.append(sorted(one.name for one in folder.iterdir()))
        (folder / "half").touch()
        LOG.now += self.takes
        if key in LOG.stops:
            LOG.stops.remove(key)
            raise KeyboardInterrupt
        if self.refuses:
            raise EvidenceError(self.refuses)
        if self.steers:
            (folder / "steered").mkdir()
            (folder / "steered" / "steering.json").write_text("{}")
        return Came(
            claims=tuple(self._claim(at, one) for at, one in enumerate(self.holds)),
            figures={"half": 0.5},
            tables=(Table("What came", ("name", "figure"), (("one", "0.5"),), (0,)),),
            strips=self._strips(folder),
            warnings=("Few were drawn.",),
            steered="steered" if self.steers else "",
        )

    def _claim(self, at: int, holds: bool | None) -> Claim:
        text = f"{self.says}: {0.5 + at / 100:.2f}."
        return Claim(f"claim {at}", text, holds, f"above {at}.25", 0.5 + at / 100, 0.25, 0.75)

    def _strips(self, folder: Path) -> tuple[Strip, ...]:
        (folder / "pictures").mkdir()
        for at in range(self.pictures):
            Image.new("RGB", (4, 4), (at, 0, 0)).save(folder / "pictures" / f"{at}.png")
        files = tuple(f"pictures/{at}.png" for at in range(self.pictures))
        rows = (("as it is", files),) if files else ()
        return (Strip("Some pictures", rows, tuple(map(str, range(self.pictures)))),)


class Fresh(Fake):
    """The same, but it cannot go on where it was stopped."""

    resumes = False


def stub(name: str = "stub", revision: str = "1") -> Any:
    """A model that nobody draws with."""
    return SimpleNamespace(name=name, revision=revision, sites={}, how={}, pipeline=None)


def study(plan: Mapping[str, Step], **how: Any) -> Study:
    """A study of these steps, whose answer rests on the last."""
    light = Judge(lancet="colour:light", other="colour:light")
    tint = Judge(lancet="colour:tint", other="colour:tint")
    told = {
        "name": "small",
        "question": "Is it as it is?",
        "headline": (list(plan)[-1],),
        "classifiers": {"light": light, "tint": tint},
        **how,
    }
    made = Study(plan=dict(plan), **told)
    made._check()
    return made


def ran(plan: Mapping[str, Step], out: Path, *, model: Any = None, **how: Any) -> Ran:
    """What comes of it in a folder."""
    given = {"classifiers": how.pop("given", None), "announce": how.pop("announce", None)}
    return run(study(plan, **how), model or stub(), out, **given)


def went(plan: Mapping[str, Step], out: Path, **how: Any) -> list[str]:
    """The steps that were run this time."""
    LOG.ran.clear()
    LOG.found.clear()
    came = ran(plan, out, **how)
    assert LOG.ran == [key for key, done in came.done.items() if not (done.kept or done.gate)]
    return list(LOG.ran)


def plain(text: str) -> str:
    """The words of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())
