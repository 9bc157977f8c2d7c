"""A study, run step by step: each in a folder of its own, known again by what it depends on.

out/steps/find.glass/came.json     claims, figures, pictures of a step; `inputs` says of what
out/report.html, results.json      the answer
out/steered/build.glass            the models that were built, whose claims all hold
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from clerestory import __version__
from clerestory.classifiers.base import only_given
from clerestory.errors import EvidenceError, OutputError, SearchError, TableError
from clerestory.io.outputs import resumable, whole_file
from clerestory.io.reading import inside, read_text, refusing
from clerestory.models.provenance import weights_digest
from clerestory.registry import suggest
from clerestory.studies.schema import Study
from clerestory.studies.tasks import Came, Claim, Step, Tell, Work

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["Done", "Ran", "check", "check_free", "run"]

STEPS, STEERED = "steps", "steered"
LOCK = ".lock"
INPUTS, SECONDS, PICTURES = "inputs", "seconds", "pictures"


@dataclass(frozen=True)
class Done:
    """A step that was run, kept from before, or left out: `gate` says why."""

    step: Step
    came: Came
    seconds: float = 0.0
    kept: bool = False
    gate: str = ""


@dataclass(frozen=True)
class Ran:
    """A study and what came of each of its steps, by key."""

    study: Study
    model: Model = field(repr=False)
    judges: Mapping[str, str]
    done: Mapping[str, Done]
    out: Path


def run(
    study: Study,
    model: Model,
    out: Path,
    *,
    classifiers: Mapping[str, str] | None = None,
    progress: Tell | None = None,
    announce: Callable[[str], None] | None = None,
) -> Ran:
    """Run what is not there yet; a step that was changed is run again, and what depends on it.

    `classifiers` replace the study's, by name. OutputError where the folder holds something else;
    TableError where a classifier or a class is unknown, before anything is run.
    """
    tell, say = progress or (lambda what, done, of: None), announce or (lambda text: None)
    given = classifiers or {}
    check_free(out)
    with only_given(study.given(given)):
        work = check(study, model, out, given, tell)
        resumable(out)
        (out / STEPS).mkdir(parents=True, exist_ok=True)
        with _alone(out):
            ran = Ran(study, model, work.classifiers, _each(study, work, say), out)
            _published(ran)
    return ran


def _each(study: Study, work: Work, say: Callable[[str], None]) -> dict[str, Done]:
    """Every step in its turn."""
    model = work.model
    opened = (f"{name}={value}" for name, value in sorted(model.load_options.items()))
    about = (__version__, model.name, model.revision, weights_digest(model), *opened)
    done: dict[str, Done] = {}
    for at, (key, step) in enumerate(study.plan.items()):
        count = f"[{at + 1} of {len(study.plan)}] {key}"
        shut = _shut(key, study, work, done)
        if shut:
            done[key] = Done(step, _left_out(key, shut), gate=shut)
            say(f"{count}: left out, since {shut}.")
            continue
        say(f"{count} …")
        digest = study.digest(key, work.classifiers, *about)
        done[key] = _done(step, work, work.folders[key], digest)
        say(f"{count}: {'kept' if done[key].kept else f'{done[key].seconds:.0f} s'}.")
    return done


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Nobody else runs a study in this folder while this is open; OutputError where one does."""
    from filelock import FileLock, Timeout

    lock = FileLock(out / STEPS / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"A study is being run in {out}: wait, or take another folder."
        ) from error
    try:
        yield
    finally:
        (out / STEPS / LOCK).unlink(missing_ok=True)
        lock.release()


def check(
    study: Study, model: Model, out: Path, classifiers: Mapping[str, str], tell: Tell
) -> Work:
    """What the steps are given; an error where one cannot be run on this model."""
    from clerestory.studies.tasks.record import Record

    judges = study.judges(model.name, classifiers)
    folders = {key: out / STEPS / key for key in study.plan}
    work = Work(model, folders, judges, tell, study.called(judges))
    for key, step in study.plan.items():
        for lacking in _lacking(key, study, work):
            if not step.if_seen:
                raise TableError(f"{key}: {lacking}")
        if isinstance(step, Record):
            step.read(work)
    return work


def check_free(out: Path) -> None:
    """OutputError where a folder holds anything but a study's steps."""
    taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if taken and not (out / STEPS).is_dir():
        raise OutputError(f"{out} holds something else; give a folder that is empty or a study's.")


def _done(step: Step, work: Work, folder: Path, digest: str) -> Done:
    """The step's result: as it lies there, or run anew."""
    if (folder / INPUTS).exists() and _text(folder, INPUTS) == digest:
        return Done(step, Came.read(folder), _seconds(folder), kept=True)
    part = folder.with_name(f".{folder.name}.{digest}")
    for old in folder.parent.glob(f".{folder.name}.*"):
        if old != part or not step.resumes:
            shutil.rmtree(old)
    before = _seconds(part) if (part / SECONDS).exists() else 0.0
    part.mkdir(exist_ok=True)
    shutil.rmtree(part / PICTURES, ignore_errors=True)
    start = time.perf_counter()
    try:
        came = _tried(step, work, part)
    finally:
        seconds = round(before + time.perf_counter() - start, 1)
        with whole_file(part / SECONDS) as file:
            file.write_text(f"{seconds}\n", "utf-8")
    came.save(part)
    (part / INPUTS).write_text(digest + "\n", "utf-8")
    (folder / INPUTS).unlink(missing_ok=True)  # half a folder is not taken for the whole
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return Done(step, came, seconds)


def _text(folder: Path, name: str) -> str:
    return read_text(inside(folder, name, OutputError), OutputError).strip()


def _seconds(folder: Path) -> float:
    """What a step has taken so far; OutputError where that was altered."""
    text = _text(folder, SECONDS)
    if not re.fullmatch(r"\d{1,12}(\.\d*)?", text, re.ASCII):
        raise OutputError(
            f"{folder / SECONDS} is no number of seconds: it was altered; remove {folder}, and the "
            "step is run again."
        )
    return float(text)


def _shut(key: str, study: Study, work: Work, done: Mapping[str, Done]) -> str:
    """Why a step is left out; "" where it is not."""
    step = study.plan[key]
    for one in (*step.only_if, *step.needs()):
        if one in step.only_if and done[one].came.holds is not True:
            return f"not all that {one} claims holds"
        if done[one].gate or done[one].came.refused:
            return f"there is nothing from {one}"
    lacking = next(_lacking(key, study, work), "") if step.if_seen else ""
    return lacking.partition(".")[0]


def _lacking(key: str, study: Study, work: Work) -> Iterator[str]:
    """The classes that a step looks at and that there are not."""
    from clerestory.classifiers import classifier

    for name, shows in study.plan[key].sees():
        known = classifier(work.classifier(name)).classes
        own = work.shown(name, shows)
        if own and own not in known:
            yield f"{work.classifier(name)} has no class {own!r}.{suggest(own, known)}"


def _tried(step: Step, work: Work, folder: Path) -> Came:
    """What comes of it; where there is no evidence to be had, a claim that does not hold."""
    try:
        return step.run(work, folder)
    except (EvidenceError, SearchError) as error:
        text = f"Nothing is shown: {error}"
        return Came((Claim("shown", text, False, "evidence to be had"),), refused=str(error))


def _left_out(key: str, why: str) -> Came:
    text = f"{key} was left out, since {why}."
    return Came((Claim("left out", text, False, "that it can be run"),))


def _published(ran: Ran) -> None:
    """Copy the steered models of which all claims hold; those of an earlier run are removed."""
    shutil.rmtree(ran.out / STEERED, ignore_errors=True)
    for key, done in ran.done.items():
        if done.came.steered and done.came.holds:
            source = inside(ran.out / STEPS / key, done.came.steered, TableError)
            with refusing(source, OutputError):
                shutil.copytree(source, ran.out / STEERED / key)
