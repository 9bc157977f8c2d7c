"""Searches for prompts that maximize a unit, in the background; results are in the folder."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from clerestory.errors import ClerestoryError, RecordingError
from clerestory.io.reading import read_json, wrap_errors
from clerestory.io.writing import atomic_file
from clerestory.microscope.folder import Microscope, Unit
from clerestory.microscope.queue import AbandonedError, BusyError
from clerestory.microscope.redraw import Drawer
from clerestory.reporting.pictures import save
from clerestory.types import Progress, ProgressOption

if TYPE_CHECKING:
    from clerestory.maximization import MaximizationResult

__all__ = ["Job", "Jobs", "load_result", "search", "search_all"]

BUDGET = 400
"""Prompts that a search scores by default."""
MAX_WAITING = 8
"""Searches that may wait for their turn."""
FILE = "found.json"
BEST = 4
"""Prompts that a unit's page shows."""
STOP_TIMEOUT = 60.0
"""Seconds to wait for each search when the server ends."""


class _StoppedError(Exception):
    """A user has stopped the search."""


@dataclass
class Job:
    """A search in the background.

    Attributes:
        unit: The unit's address.
        budget: Prompts to score.
        completed: Prompts scored so far.
        state: `waiting`, `searching`, `completed`, `stopped` or `failed`.
        problem: The message of a failure.
        stop: Set to stop the search.
    """

    unit: str
    budget: int
    completed: int = 0
    state: str = "waiting"
    problem: str = ""
    stop: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def has_ended(self) -> bool:
        """Whether the search is completed, stopped or failed."""
        return self.state in ("completed", "stopped", "failed")

    def to_dict(self) -> dict[str, Any]:
        """Its state, ready for JSON."""
        names = ("state", "completed", "budget", "problem", "has_ended")
        return {name: getattr(self, name) for name in names}


class Jobs:
    """The searches of a server, which run one at a time.

    Args:
        microscope: Stores the results.
        drawer: Has the model; searches and redraws use it in turn.
    """

    def __init__(self, microscope: Microscope, drawer: Drawer) -> None:
        self.microscope, self.drawer = microscope, drawer
        self.jobs: dict[str, Job] = {}
        self._threads: list[threading.Thread] = []
        self._jobs_lock, self._search_lock = threading.Lock(), threading.Lock()

    def start(self, unit: Unit, budget: int | None = None) -> Job:
        """Start a search, unless the unit has one that has not ended.

        Args:
            unit: The unit.
            budget: Prompts to score; 400 if None.

        Returns:
            The search, new or not.

        Raises:
            BusyError: Too many searches wait.
        """
        with self._jobs_lock:
            job = self.jobs.get(unit.address)
            if job is None or job.has_ended:
                # The running one counts as well, hence `>`.
                if sum(not each.has_ended for each in self.jobs.values()) > MAX_WAITING:
                    raise BusyError
                job = self.jobs[unit.address] = Job(unit.address, budget or BUDGET)
                # A daemon thread, so that a search that does not stop cannot block the exit.
                thread = threading.Thread(target=self._run, args=(unit, job), daemon=True)
                self._threads = [each for each in self._threads if each.is_alive()] + [thread]
                thread.start()
            return job

    def of(self, unit: Unit) -> Job | None:
        """The last search of a unit that this server started.

        Args:
            unit: The unit.

        Returns:
            The search; None if there is none.
        """
        return self.jobs.get(unit.address)

    def close(self) -> None:
        """Stop all searches and wait for them, since a thread must not end within a model."""
        for job in self.jobs.values():
            job.stop.set()
        for thread in self._threads:
            thread.join(STOP_TIMEOUT)

    def _run(self, unit: Unit, job: Job) -> None:
        def report(label: str, completed: int, total: int) -> None:
            job.completed, job.budget = completed, total
            if job.stop.is_set():
                raise _StoppedError
            # After every batch, so that a redraw does not wait for a whole search.
            self.drawer.turns.yield_turn()

        try:
            # With a timeout, so that a waiting search can be stopped.
            while not self._search_lock.acquire(timeout=0.2):
                if job.stop.is_set():
                    raise _StoppedError
            try:
                with self.drawer.model() as model:
                    job.state = "searching"
                    search(self.microscope, unit, model, job.budget, progress=report)
            finally:
                self._search_lock.release()
            job.state = "completed"
        except (_StoppedError, AbandonedError):
            job.state = "stopped"
        except ClerestoryError as error:
            job.state, job.problem = "failed", str(error)
        # Anything else too: without it, the page would show a search that never ends.
        except Exception as error:
            job.state, job.problem = "failed", f"The search failed: {type(error).__name__}."


def search(
    microscope: Microscope,
    unit: Unit,
    model: Any,
    budget: int,
    *,
    algorithm: str = "metropolis",
    progress: ProgressOption = False,
) -> None:
    """Search for prompts that maximize a unit, and store them with their pictures.

    Args:
        microscope: Stores the result.
        unit: The unit.
        model: The model.
        budget: Prompts to score.
        algorithm: The name of a search.
        progress: As for `maximize`.

    Raises:
        KeyboardInterrupt: Ctrl-C stopped the search; nothing is stored.
    """
    from clerestory.evaluation import unit as unit_objective
    from clerestory.maximization import maximize

    result = maximize(
        model,
        unit_objective(unit.address, "mean"),
        search=algorithm,
        budget=budget,
        random_prompts=min(100, budget),
        batch=16,
        best=BEST,
        progress=progress,
    )
    # `maximize` ends quietly on Ctrl-C; here the whole command should.
    if result.stopped:
        raise KeyboardInterrupt
    _store(_folder(microscope, unit), result, unit, budget)


def _store(folder: Path, result: MaximizationResult, unit: Unit, budget: int) -> None:
    # Pictures have new names and are written first, so that a page always finds those of its file.
    prefix = uuid4().hex[:8]
    folder.mkdir(parents=True, exist_ok=True)
    old_pictures = list(folder.glob("*.png"))
    assert result.pictures is not None
    best = []
    for number, (prompt, pictures) in enumerate(zip(result.best, result.pictures, strict=True)):
        path = save(pictures[0], folder / f"{prefix}-{number}.png")
        figures = {"prompt": prompt.prompt, "score": prompt.score, "z": prompt.z}
        best.append({**figures, "picture": path.name})
    data = {
        "unit": unit.address,
        "search": result.search,
        "budget": budget,
        "pool": {"mean": result.pool.mean, "sd": result.pool.sd},
        "best": best,
    }
    with atomic_file(folder / FILE) as part:
        part.write_text(json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    # After the file that no longer names them.
    for picture in old_pictures:
        picture.unlink()


def search_all(
    microscope: Microscope, model: Any, budget: int, *, algorithm: str, progress: Progress
) -> None:
    """Search for prompts for every unit without a result, so that a stopped call resumes.

    Args:
        microscope: Stores the results.
        model: The model.
        budget: Prompts to score for each unit.
        algorithm: The name of a search.
        progress: A callback of (label, completed, total).
    """
    units = list(microscope.units())
    for completed, unit in enumerate(units, 1):
        if load_result(microscope, unit) is None:
            search(microscope, unit, model, budget, algorithm=algorithm)
        progress("searching prompts", completed, len(units))


def load_result(microscope: Microscope, unit: Unit) -> dict[str, Any] | None:
    """The result of the last search for a unit.

    Args:
        microscope: The microscope.
        unit: The unit.

    Returns:
        The result, with the paths of its pictures under the folder; None if there is none.

    Raises:
        RecordingError: The file is damaged.
    """
    path = _folder(microscope, unit) / FILE
    if not path.exists():
        return None
    data: dict[str, Any] = read_json(path, RecordingError)
    base = path.parent.relative_to(microscope.folder).as_posix()
    with wrap_errors(path, RecordingError):
        for entry in data["best"]:
            # Only the name: a file from somebody else could name pictures outside of its folder.
            entry["picture"] = f"{base}/{Path(entry['picture']).name}"
    return data


def _folder(microscope: Microscope, unit: Unit) -> Path:
    return microscope.folder / "searched" / unit.site.folder.name / str(unit.number)
