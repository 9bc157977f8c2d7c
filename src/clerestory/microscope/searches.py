"""Prompts that were searched for a unit: in the background, with progress, kept in the folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from PIL import Image

from clerestory.errors import ClerestoryError, RecordingError
from clerestory.io.reading import read_json, wrap_errors
from clerestory.microscope.folder import Microscope, Unit
from clerestory.microscope.queue import AbandonedError, BusyError
from clerestory.microscope.redraw import Drawer
from clerestory.types import ProgressOption

if TYPE_CHECKING:
    from clerestory.maximization import MaximizationResult

__all__ = ["Job", "Jobs", "load_result", "search", "search_all"]

BUDGET = 400
WAITING = 8
"""Searches that may wait for their turn."""
BEST = 4


ENDING = 60.0
"""Seconds that a search may take to end."""


class _StoppedError(Exception):
    """Somebody does not want it any more."""


@dataclass
class Job:
    """A search that is under way, or has ended."""

    unit: str
    budget: int
    done: int = 0
    state: str = "waiting"
    problem: str = ""
    stop: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ("found", "stopped", "failed")

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        names = ("state", "done", "budget", "problem", "over")
        return {name: getattr(self, name) for name in names}


class Jobs:
    """The searches of a server, one after another."""

    def __init__(self, microscope: Microscope, drawer: Drawer) -> None:
        """Make an empty list of searches.

        Args:
            microscope: Where results are stored.
            drawer: Has the model, whose turns the searches share with redraws.
        """
        self.microscope, self.drawer = microscope, drawer
        self.jobs: dict[str, Job] = {}
        self._threads: list[threading.Thread] = []
        self._lock, self._one = threading.Lock(), threading.Lock()

    def start(self, unit: Unit, budget: int | None = None) -> Job:
        """Start one, unless one of this unit is under way. BusyError where too many wait.

        Args:
            unit: The unit.
            budget: Prompts to score; 400 if None.

        Returns:
            The search that is under way, new or not.

        Raises:
            BusyError: Too many wait.
        """
        with self._lock:
            job = self.jobs.get(unit.address)
            if job is None or job.over:
                if sum(not one.over for one in self.jobs.values()) > WAITING:
                    raise BusyError
                job = self.jobs[unit.address] = Job(unit.address, budget or BUDGET)
                # A daemon, so that a search that does not end in time cannot keep the process
                # alive.
                thread = threading.Thread(target=self._run, args=(unit, job), daemon=True)
                self._threads = [one for one in self._threads if one.is_alive()] + [thread]
                thread.start()
            return job

    def of(self, unit: Unit) -> Job | None:
        """The one of a unit, if it was begun here.

        Args:
            unit: The unit.

        Returns:
            The last search that this server began of it, or None.
        """
        return self.jobs.get(unit.address)

    def close(self) -> None:
        """Stop them all, and wait until they have: a thread must not end within a model."""
        for job in self.jobs.values():
            job.stop.set()
        for thread in self._threads:
            thread.join(ENDING)

    def _run(self, unit: Unit, job: Job) -> None:
        def report(label: str, completed: int, total: int) -> None:
            job.done, job.budget = completed, total
            if job.stop.is_set():
                raise _StoppedError
            # After every batch, so that a redraw waits for a moment and not for a whole search.
            self.drawer.turns.yield_turn()

        try:
            while not self._one.acquire(timeout=0.2):
                if job.stop.is_set():
                    raise _StoppedError
            try:
                with self.drawer.model() as model:
                    job.state = "searching"
                    search(self.microscope, unit, model, job.budget, progress=report)
            finally:
                self._one.release()
            job.state = "found"
        except (_StoppedError, AbandonedError):
            job.state = "stopped"
        except ClerestoryError as error:
            job.state, job.problem = "failed", str(error)
        # The last resort of a thread: without it the page would show a search that never ends.
        except Exception as error:
            job.state, job.problem = "failed", f"The search failed: {type(error).__name__}."


def search(
    microscope: Microscope,
    unit: Unit,
    model: Any,
    budget: int,
    *,
    how: str = "metropolis",
    progress: ProgressOption = False,
) -> None:
    """Search prompts that raise a unit; they and their pictures are kept in the folder.

    Args:
        microscope: Where the result is stored.
        unit: The unit.
        model: The model.
        budget: Prompts to score.
        how: The name of a search.
        progress: As for `maximize`.

    Raises:
        KeyboardInterrupt: Ctrl-C came; nothing is stored.
    """
    from clerestory.evaluation import unit as unit_objective
    from clerestory.maximization import maximize

    result = maximize(
        model,
        unit_objective(unit.address, "mean"),
        search=how,
        budget=budget,
        null=min(100, budget),
        batch=16,
        best=BEST,
        progress=progress,
    )
    if result.stopped:
        raise KeyboardInterrupt
    _keep(_folder(microscope, unit), result, unit, budget)


def _keep(folder: Path, result: MaximizationResult, unit: Unit, budget: int) -> None:
    """Pictures first, then what names them; then older pictures go."""
    mark = uuid4().hex[:8]
    folder.mkdir(parents=True, exist_ok=True)
    old = list(folder.glob("*.png"))
    assert result.pictures is not None
    for place, drawn in enumerate(result.pictures):
        Image.fromarray(drawn[0]).save(folder / f"{mark}-{place}.png")
    data = {
        "unit": unit.address,
        "search": result.search,
        "budget": budget,
        "null": {"mean": result.null.mean, "sd": result.null.sd},
        "best": [
            {"prompt": one.prompt, "score": one.score, "z": one.z, "picture": f"{mark}-{place}.png"}
            for place, one in enumerate(result.best)
        ],
    }
    part = folder / "found.part"
    part.write_text(json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    part.replace(folder / "found.json")
    for picture in old:
        picture.unlink()


def search_all(
    microscope: Microscope,
    model: Any,
    budget: int,
    *,
    how: str,
    progress: Callable[[str, int, int], None],
) -> None:
    """Search prompts for every unit that has none yet: a killed call goes on.

    Args:
        microscope: Where results are stored.
        model: The model.
        budget: Prompts to score for each unit.
        how: The name of a search.
        progress: A callback of (label, completed, total).
    """
    units = list(microscope.units())
    for done, unit in enumerate(units):
        if load_result(microscope, unit) is None:
            search(microscope, unit, model, budget, how=how)
        progress("searching prompts", done + 1, len(units))


def load_result(microscope: Microscope, unit: Unit) -> dict[str, Any] | None:
    """What was searched for a unit, here or when the microscope was built; None for nothing.

    Args:
        microscope: The microscope.
        unit: The unit.

    Returns:
        The result, with the paths of its pictures under the folder.

    Raises:
        RecordingError: The file is damaged.
    """
    path = _folder(microscope, unit) / "found.json"
    if not path.exists():
        return None
    data: dict[str, Any] = read_json(path, RecordingError)
    base = path.parent.relative_to(microscope.folder).as_posix()
    with wrap_errors(path, RecordingError):
        for one in data["best"]:
            # Only the name counts: a file from elsewhere could name pictures outside of its folder.
            one["picture"] = f"{base}/{Path(one['picture']).name}"
    return data


def _folder(microscope: Microscope, unit: Unit) -> Path:
    number = unit.site.folder.name
    return microscope.folder / "searched" / number / str(unit.number)
