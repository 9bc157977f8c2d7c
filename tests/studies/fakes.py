"""Tasks that draw nothing and claim what they are given, in a study put together by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from clerestory.errors import EvidenceError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.models import Model, ModelProfile
from clerestory.studies import Study, StudyResult, run_study
from clerestory.studies.schema import StudyClassifier
from clerestory.studies.tasks import (
    Claim,
    Cost,
    PictureRows,
    Table,
    Task,
    TaskContext,
    TaskResult,
    to_status,
)

__all__ = ["LOG", "Fake", "Fresh", "Log", "fake_study", "run_fake", "run_keys", "stub_model"]


class Log:
    """What the tasks did, and the moment at which the next is to be stopped."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.found: list[list[str]] = []
        self.stops: set[str] = set()
        self.now = 0.0

    def perf_counter(self) -> float:
        """A clock that only tasks move."""
        return self.now


LOG = Log()


class Fake(Task):
    """Claims by `outcomes`, takes `seconds`, goes on in its folder; `steers` leaves a model."""

    resumable = True

    outcomes: tuple[bool | None, ...] = (True,)
    after: tuple[str, ...] = ()
    classifier: str = ""
    label: str = ""
    failure: str = ""
    steers: bool = False
    pictures: int = 0
    text: str = "It is as it is"
    seconds: float = 1.0

    def needs(self) -> tuple[str, ...]:
        return self.after

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        return ((self.classifier, self.label),) if self.classifier else ()

    def method(self) -> str:
        return "Nothing was drawn."

    def cost(self, context: TaskContext) -> Cost:
        return Cost(pictures=3)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        key = ".".join(folder.name.split(".")[1:3])
        LOG.ran.append(key)
        LOG.found.append(sorted(one.name for one in folder.iterdir()))
        (folder / "half").touch()
        LOG.now += self.seconds
        if key in LOG.stops:
            LOG.stops.remove(key)
            raise KeyboardInterrupt
        if self.failure:
            raise EvidenceError(self.failure)
        if self.steers:
            (folder / "steered").mkdir()
            (folder / "steered" / "steering.json").write_text("{}")
        return TaskResult(
            claims=tuple(self._claim(*pair) for pair in enumerate(self.outcomes)),
            figures={"half": 0.5},
            tables=(Table("What came", ("name", "figure"), (("one", "0.5"),), (0,)),),
            pictures=self._pictures(folder),
            warnings=(EvidenceWarning("few-items", "Few were drawn."),),
            steered_model="steered" if self.steers else "",
        )

    def _claim(self, at: int, supported: bool | None) -> Claim:
        figure = 0.5 + at / 100
        text, status = f"{self.text}: {figure:.2f}.", to_status(supported)
        return Claim(f"claim {at}", text, status, f"above {at}.25", figure, 0.25, 0.75)

    def _pictures(self, folder: Path) -> tuple[PictureRows, ...]:
        (folder / "pictures").mkdir()
        for at in range(self.pictures):
            Image.new("RGB", (4, 4), (at, 0, 0)).save(folder / "pictures" / f"{at}.png")
        files = tuple(f"pictures/{at}.png" for at in range(self.pictures))
        rows = (("as it is", files),) if files else ()
        return (PictureRows("Some pictures", rows, tuple(map(str, range(self.pictures)))),)


class Fresh(Fake):
    """The same, but it cannot go on where it was stopped."""

    resumable = False


class StubModel(Model):
    """A model that nobody draws with."""

    pipeline, description, revision = None, "", ""
    sites: ClassVar[Any] = {}
    dictionaries: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str, revision: str) -> None:
        self.name, self.revision, self.profile = name, revision, ModelProfile()
        self.load_options = {}


def stub_model(name: str = "stub", revision: str = "1") -> Any:
    return StubModel(name, revision)


def fake_study(plan: Mapping[str, Task], **fields: Any) -> Study:
    """A study of these tasks, whose answer depends on the last."""
    classifiers = {
        "light": StudyClassifier(default="colour:light"),
        "tint": StudyClassifier(default="colour:tint"),
    }
    given = {
        "name": "small",
        "question": "Is it as it is?",
        "headline": (list(plan)[-1],),
        "classifiers": classifiers,
        **fields,
    }
    return Study(plan=dict(plan), **given).check()


def run_fake(
    plan: Mapping[str, Task],
    out: Path,
    *,
    model: Any = None,
    given: Mapping[str, str] | None = None,
    announce: Callable[[str], None] | None = None,
    **fields: Any,
) -> StudyResult:
    """The result of a study of these tasks in a folder."""
    study = fake_study(plan, **fields)
    return run_study(study, model or stub_model(), out, classifiers=given, announce=announce)


def run_keys(plan: Mapping[str, Task], out: Path, **fields: Any) -> list[str]:
    """The tasks that are run this time."""
    LOG.ran.clear()
    LOG.found.clear()
    result = run_fake(plan, out, **fields)
    keys = [key for key, run in result.tasks.items() if not (run.reused or run.skip_reason)]
    assert LOG.ran == keys
    return keys


def plain(text: str) -> str:
    """The words of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())
