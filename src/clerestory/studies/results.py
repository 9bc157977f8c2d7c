"""The result of a study: its status and answer, made from claims alone, and every figure."""

from __future__ import annotations

import platform
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from clerestory.errors import TableError
from clerestory.evaluation.warnings import WarningKind
from clerestory.io.reading import path_inside, read_json
from clerestory.io.validation import validate
from clerestory.reporting.results import Provenance, Result
from clerestory.studies.schema import Study
from clerestory.studies.tasks import Claim, Task, TaskResult, overall_status
from clerestory.types import ClaimStatus

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RESULTS", "TASKS", "StudyResult", "TaskRun", "TaskWarning", "skipped_result"]

RESULTS, TASKS = "results.json", "tasks"
LIBRARIES = ("clerestory", "torch", "diffusers", "transformers", "numpy", "scipy")


@dataclass(frozen=True)
class TaskRun:
    """A task with its result.

    Attributes:
        task: The task.
        result: What it found.
        seconds: How long it took, earlier runs that were stopped included.
        reused: Whether the result is that of an earlier run.
        skip_reason: Why it was not run at all; "" where it was.
    """

    task: Task
    result: TaskResult
    seconds: float = 0.0
    reused: bool = False
    skip_reason: str = ""


@dataclass(frozen=True)
class TaskWarning:
    """A limitation of a task's figures.

    Attributes:
        task: The task's key.
        kind: What it is about, as in `EvidenceWarning`.
        text: A sentence.
    """

    task: str
    kind: WarningKind
    text: str

    def __str__(self) -> str:
        return f"{self.task}: {self.text}"


@dataclass(frozen=True, repr=False)
class StudyResult(Result):
    """What a study found.

    Attributes:
        study: The study, at its scale.
        provenance: The model, and the options of the run.
        classifiers: The classifiers that were used, by the study's names.
        tasks: The tasks by key, in the order in which they ran.
        folder: The study's folder.
    """

    study: Study
    provenance: Provenance
    classifiers: Mapping[str, str]
    tasks: Mapping[str, TaskRun]
    folder: Path = field(compare=False)

    @property
    def claims(self) -> dict[str, Claim]:
        """All claims, by `TASK: CLAIM`."""
        return self._claims_of(self.tasks)

    @property
    def headline(self) -> dict[str, Claim]:
        """The claims that the answer depends on."""
        return self._claims_of(self.study.headline)

    def _claims_of(self, keys: Iterable[str]) -> dict[str, Claim]:
        return {
            f"{key}: {claim.id}": claim for key in keys for claim in self.tasks[key].result.claims
        }

    @property
    def status(self) -> ClaimStatus:
        """Supported where every claim of the headline is, not supported where any is not.

        Undecided in between, and where the headline's tasks have no claim.
        """
        return overall_status(claim.status for claim in self.headline.values())

    @property
    def warnings(self) -> tuple[TaskWarning, ...]:
        """What limits the figures, each once for a task."""
        # The same limitation may come from every step of a task.
        warnings = (
            TaskWarning(key, warning.kind, warning.text)
            for key, run in self.tasks.items()
            for warning in run.result.warnings
        )
        return tuple(dict.fromkeys(warnings))

    def answer(self) -> tuple[str, ...]:
        """The status in a sentence, then each claim's own sentence, with its figure."""
        claims = list(self.headline.values())
        supported = sum(claim.status == "supported" for claim in claims)
        summary = f"{self.status.capitalize()}: {supported} of {len(claims)} claims are supported."
        # Several claims may be one sentence.
        return (summary, *dict.fromkeys(claim.text for claim in claims))

    def summary(self) -> str:
        """The study, the model, and the status."""
        return f"{self.study.name} of {self.provenance.model}: {self.answer()[0]}"

    def table(self) -> pd.DataFrame:
        """A row for each claim, those of the answer first."""
        import pandas as pd

        # A key that occurs again keeps its first position: the headline's claims come first.
        ordered = {**self.headline, **self.claims}
        rows = [
            {
                "claim": name,
                "status": claim.status,
                "figure": claim.figure,
                "low": claim.low,
                "high": claim.high,
                "criterion": claim.criterion,
                "in the answer": name in self.headline,
            }
            for name, claim in ordered.items()
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """The claims' figures with their intervals, as an Altair chart."""
        import altair as alt

        rows = self.table().dropna(subset=["figure"])
        base = alt.Chart(rows).encode(y=alt.Y("claim:N", sort=None, title=None), color="status:N")
        interval = base.mark_rule().encode(x=alt.X("low:Q", title="figure"), x2="high:Q")
        return interval + base.mark_point(filled=True, size=60).encode(x="figure:Q")

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready for JSON: what `results.json` holds."""
        return {
            "study": self.study.name,
            "question": self.study.question,
            "status": self.status,
            "answer": list(self.answer()),
            "claims": [
                {**asdict(claim), "id": name, "headline": name in self.headline}
                for name, claim in self.claims.items()
            ],
            "warnings": [asdict(warning) for warning in self.warnings],
            "tasks": {
                key: {
                    "method": run.task.method(),
                    "figures": run.result.figures,
                    "seconds": run.seconds,
                    # null rather than "": other readers test for absence.
                    "skip_reason": run.skip_reason or None,
                }
                for key, run in self.tasks.items()
            },
            "provenance": asdict(self.provenance),
            "classifiers": dict(self.classifiers),
            "environment": {
                "python": platform.python_version(),
                "versions": {name: metadata.version(name) for name in LIBRARIES},
            },
            "command": self.command(),
            "definition": self.study.model_dump(mode="json"),
        }

    def command(self) -> str:
        """The command that computes these figures again."""
        study, options = self.study, self.provenance.options
        words = ["clerestory", "study", "run", study.file or study.name, "--scale", study.scale]
        words += ["--model", self.provenance.model]
        for name, value in options["load_options"].items():
            words += [f"--{name}", value]
        for name, classifier in options["classifiers"].items():
            words += ["--classifier", f"{name}={classifier}"]
        for address in self.provenance.dictionaries:
            # Where its folder is, a model does not know.
            words += ["--dictionary", f"{address}=DICTIONARY"]
        # Quoted for a shell: names of classifiers have blanks and brackets.
        return shlex.join([*words, "--out", "DIR"])

    @override
    def write(self, folder: Path) -> None:
        """Copy the study's folder, report and steered models included."""
        from clerestory.studies.report import write_report

        write_report(self)
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path) -> StudyResult:
        """Read a study's folder.

        Args:
            folder: The folder that a study ran in, or that was given to `save`.

        Returns:
            An equal result, whose tasks are marked as reused.

        Raises:
            TableError: A file is missing, or was altered, or is of another version.
        """
        path = path_inside(folder, RESULTS, TableError)
        content = read_json(path, TableError)
        try:
            definition, tasks = content["definition"], content["tasks"]
            provenance, classifiers = content["provenance"], content["classifiers"]
            runs = {key: (task["skip_reason"], task["seconds"]) for key, task in tasks.items()}
        # A folder may come from anywhere: fields may be missing or of another type.
        except (KeyError, TypeError, AttributeError) as error:
            raise TableError(f"{path} is no result of a study: {error} is missing.") from error
        # From the definition and not from a file of that name, which may have changed since.
        study = Study.from_definition(definition)
        return cls(
            study=study,
            provenance=validate(Provenance, provenance, f"{path}: provenance", TableError),
            classifiers=validate(dict[str, str], classifiers, f"{path}: classifiers", TableError),
            tasks={
                key: _reload(study.plan[key], folder / TASKS / key, key, *runs[key])
                for key in study.plan
            },
            folder=folder,
        )


def skipped_result(key: str, reason: str) -> TaskResult:
    """The result of a task that was not run.

    Args:
        key: The task's key.
        reason: A clause that completes “was skipped, since …”.

    Returns:
        A result with one claim, which is undecided: nothing was tested.
    """
    text = f"{key} was skipped, since {reason}."
    return TaskResult((Claim("skipped", text, "undecided", "the task has run"),))


def _reload(task: Task, folder: Path, key: str, skip_reason: str | None, seconds: float) -> TaskRun:
    # A task that was skipped has no folder.
    if skip_reason:
        return TaskRun(task, skipped_result(key, skip_reason), seconds, True, skip_reason)
    return TaskRun(task, TaskResult.load(folder), seconds, True)
