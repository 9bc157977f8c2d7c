"""Run a study: each task in a folder of its own, which holds what it depends on.

OUT/tasks/find.glass/result.json     claims, figures, pictures; `inputs` has a digest of what it
                                     depends on, `seconds` the time that it took
OUT/report.html, OUT/results.json    the report and every figure
OUT/steered/build.glass              steered models all of whose claims are supported
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from clerestory.arguments import checked
from clerestory.classifiers.base import trusted_names
from clerestory.errors import EvidenceError, OutputError, SearchError, TableError
from clerestory.io.reading import path_inside, read_text, wrap_errors
from clerestory.io.writing import atomic_file, check_links
from clerestory.models import Model
from clerestory.models.provenance import provenance_of, settings_digest
from clerestory.registry import suggest
from clerestory.reporting.progress import progress_bars
from clerestory.studies.results import TASKS, StudyResult, TaskRun, skipped_result
from clerestory.studies.schema import Study
from clerestory.studies.tasks import Claim, Task, TaskContext, TaskResult
from clerestory.types import Progress, ProgressOption

__all__ = ["check_folder", "check_study", "find_unavailable_tasks", "run_study"]

STEERED, CACHE = "steered", "cache"
LOCK = ".lock"
INPUTS, SECONDS, PICTURES = "inputs", "seconds", "pictures"


@checked()
def run_study(
    study: Study,
    model: Model,
    out: Path,
    *,
    classifiers: Mapping[str, str] | None = None,
    cache: bool = True,
    progress: ProgressOption = True,
    announce: Callable[[str], None] | None = None,
) -> StudyResult:
    """Run the tasks whose results are not in the folder yet.

    A task that was changed is run again, and every task that needs it.

    Args:
        study: The study, at a scale.
        model: The model that it asks about.
        out: Its folder: new, empty, or of an earlier run.
        classifiers: Classifiers in place of the study's, by name.
        cache: Whether samples are kept in the folder, so that no two tasks draw the same one.
        progress: Whether to show progress, or a callback.
        announce: Receives a line as each task begins and ends.

    Returns:
        The result; `write_report` writes its report.

    Raises:
        OutputError: The folder holds something else, or another process runs a study in it.
        TableError: A classifier or a label is unknown, before anything is run.
    """
    from clerestory.evaluation import SampleCache

    overrides = dict(classifiers or {})
    # Before anything is opened: a mistake in a path should cost no time.
    check_folder(out)
    with (
        # A study's file may come from anybody: it must not make code run or weights be fetched.
        trusted_names(study.trusted_classifiers(overrides, model.profile)),
        progress_bars(progress) as bars,
    ):
        context = check_study(study, model, out, overrides, bars)
        # On disk, so that tasks and a resumed run share what was drawn.
        context = replace(context, cache=SampleCache(out / CACHE) if cache else False)
        (out / TASKS).mkdir(parents=True, exist_ok=True)
        options = {
            "scale": study.scale,
            "revision": model.revision,
            "classifiers": overrides,
            "load_options": dict(model.load_options),
        }
        with _exclusive(out):
            result = StudyResult(
                study=study,
                provenance=provenance_of(model, options),
                classifiers=context.classifiers,
                tasks=_run_tasks(study, context, announce or (lambda line: None)),
                folder=out,
            )
            _publish_models(result)
    return result


def _run_tasks(
    study: Study, context: TaskContext, announce: Callable[[str], None]
) -> dict[str, TaskRun]:
    provenance = provenance_of(context.model, dict(context.model.load_options))
    # Figures may change with the library, the weights and how they were loaded.
    dependencies = (
        provenance.version,
        provenance.model,
        context.model.revision,
        provenance.digest,
        settings_digest(context.model.pipeline),
        *(f"{name}={value}" for name, value in sorted(provenance.options.items())),
    )
    for key, reason in find_unavailable_tasks(study, context).items():
        announce(f"{key} will be left out: {reason}")
    digests = study.digests(context.classifiers, context.label_names, *dependencies)
    runs: dict[str, TaskRun] = {}
    for number, (key, task) in enumerate(study.plan.items(), 1):
        label = f"[{number} of {len(study.plan)}] {key}"
        reason = _skip_reason(key, study, context, runs)
        if reason:
            runs[key] = TaskRun(task, skipped_result(key, reason), skip_reason=reason)
            announce(f"{label}: skipped, since {reason}.")
            continue
        # Before the work, which may take hours without another line.
        announce(f"{label} …")
        run = runs[key] = _run_task(task, context, context.folders[key], digests[key])
        announce(f"{label}: {'unchanged' if run.reused else f'{run.seconds:.0f} s'}.")
    return runs


@contextmanager
def _exclusive(out: Path) -> Iterator[None]:
    """Hold the folder's lock; OutputError where another process has it."""
    from filelock import FileLock, Timeout

    # Without waiting: a study may run for hours.
    lock = FileLock(out / TASKS / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"A study is being run in {out}: wait, or take another folder."
        ) from error
    try:
        yield
    finally:
        # While it is held: once released, the file may be another process's lock.
        (out / TASKS / LOCK).unlink(missing_ok=True)
        lock.release()


def check_study(
    study: Study, model: Model, out: Path, classifiers: Mapping[str, str], progress: Progress
) -> TaskContext:
    """The context of the study's tasks, after each was checked against the model.

    Args:
        study: The study, at a scale.
        model: The model that it asks about.
        out: The study's folder; it need not exist.
        classifiers: Classifiers in place of the study's, by name.
        progress: Receives the progress of each task.

    Returns:
        What the tasks work with.

    Raises:
        ClerestoryError: A task cannot run on this model, or a classifier or label is unknown.
    """
    chosen = study.choose_classifiers(model.profile, classifiers)
    folders = {key: out / TASKS / key for key in study.plan}
    names = study.label_names(chosen, model.profile)
    context = TaskContext(model, folders, chosen, progress, names)
    for key, task in study.plan.items():
        for missing in _missing_labels(task, context):
            if not task.skip_without_label:
                raise TableError(f"{key}: {missing}")
        # All tasks before any runs: the last one's mistake should not cost the time of the first.
        task.check_model(context)
    return context


def find_unavailable_tasks(study: Study, context: TaskContext) -> dict[str, str]:
    """Tasks that no run can do with these classifiers, known before any begins.

    Args:
        study: The study.
        context: The classifiers in use.

    Returns:
        By task: a sentence with the reason, and the nearest labels.
    """
    reasons = {
        key: next(_missing_labels(task, context), "")
        for key, task in study.plan.items()
        if task.skip_without_label
    }
    return {key: reason for key, reason in reasons.items() if reason}


def check_folder(out: Path) -> None:
    """OutputError where a folder holds anything but a study.

    Args:
        out: A folder; it need not exist.

    Raises:
        OutputError: It is a file, holds something and no study, or a link leads out of it.
    """
    check_links(out)
    # A study's folder is known by its tasks, so that nobody's files are mixed with a study's.
    taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if taken and not (out / TASKS).is_dir():
        raise OutputError(f"{out} holds something else; give a folder that is empty or a study's.")


def _run_task(task: Task, context: TaskContext, folder: Path, digest: str) -> TaskRun:
    """The task's result, from its folder where it depends on the same, else computed.

    It is computed in a hidden folder with the digest in its name, by which a run that was stopped
    is found again. That folder is renamed once it is complete.
    """
    if (folder / INPUTS).exists() and _read_line(folder, INPUTS) == digest:
        return TaskRun(task, TaskResult.load(folder), _read_seconds(folder), reused=True)
    # The digest in its name ties what is half done to its inputs.
    partial = folder.with_name(f".{folder.name}.{digest}")
    # What a stopped run of other inputs left cannot be resumed.
    for outdated in folder.parent.glob(f".{folder.name}.*"):
        if outdated != partial or not task.resumable:
            shutil.rmtree(outdated)
    earlier = _read_seconds(partial) if (partial / SECONDS).exists() else 0.0
    partial.mkdir(exist_ok=True)
    # `save_pictures` numbers files by how many there are: none may be left of a stopped run.
    shutil.rmtree(partial / PICTURES, ignore_errors=True)
    start = time.perf_counter()
    try:
        result = _run_or_explain(task, context, partial)
    finally:
        # Also where the run is stopped, so that the times of all attempts add up.
        seconds = round(earlier + time.perf_counter() - start, 1)
        with atomic_file(partial / SECONDS) as file:
            file.write_text(f"{seconds}\n", "utf-8")
    result.save(partial)
    # After the result, so that a folder with a digest has its result.
    (partial / INPUTS).write_text(digest + "\n", "utf-8")
    # Without its digest a folder that is being removed is not taken for a complete one.
    (folder / INPUTS).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    # The last step: a folder with the task's name is always complete.
    partial.rename(folder)
    return TaskRun(task, result, seconds)


def _run_or_explain(task: Task, context: TaskContext, folder: Path) -> TaskResult:
    """What the task finds; where the data have no answer, one undecided claim."""
    try:
        return task.run(context, folder)
    # Only these say that the data have no answer; any other error stops the study.
    except (EvidenceError, SearchError) as error:
        text = f"There is no evidence: {error}"
        claim = Claim("evidence", text, "undecided", "evidence for or against")
        return TaskResult((claim,), failure=str(error))


def _read_line(folder: Path, name: str) -> str:
    return read_text(path_inside(folder, name, OutputError), OutputError).strip()


def _read_seconds(folder: Path) -> float:
    """Seconds that a task has taken so far; OutputError where the file was altered."""
    text = _read_line(folder, SECONDS)
    if not re.fullmatch(r"\d{1,12}(\.\d*)?", text, re.ASCII):
        raise OutputError(
            f"{folder / SECONDS} is no number of seconds: it was altered; remove {folder}, and the "
            "task is run again."
        )
    return float(text)


def _skip_reason(key: str, study: Study, context: TaskContext, runs: Mapping[str, TaskRun]) -> str:
    """Why a task is skipped; "" where it is not."""
    task = study.plan[key]
    for needed in (*task.requires_support, *task.needs()):
        if needed in task.requires_support and runs[needed].result.status != "supported":
            return f"not every claim of {needed} is supported"
        # A task that needs this one has nothing to read.
        if runs[needed].skip_reason or runs[needed].result.failure:
            return f"{needed} has no result"
    missing = next(_missing_labels(task, context), "") if task.skip_without_label else ""
    # The first sentence without its full stop; the rest is a suggestion.
    return missing.partition(".")[0]


def _missing_labels(task: Task, context: TaskContext) -> Iterator[str]:
    """A sentence for each label of the task that its classifier does not have."""
    from clerestory.classifiers import load_classifier

    for name, label in task.predicted_labels():
        known = load_classifier(context.classifier(name)).classes
        translation = context.label(name, label)
        if translation and translation not in known:
            hint = suggest(translation, known)
            yield f"{context.classifier(name)} has no class {translation!r}.{hint}"


def _publish_models(result: StudyResult) -> None:
    """Replace the published steered models by those all of whose claims are supported."""
    # A model whose claims are no longer supported must not stay published.
    shutil.rmtree(result.folder / STEERED, ignore_errors=True)
    for key, run in result.tasks.items():
        if run.result.steered_model and run.result.status == "supported":
            source = path_inside(result.folder / TASKS / key, run.result.steered_model, TableError)
            with wrap_errors(source, OutputError):
                shutil.copytree(source, result.folder / STEERED / key)
