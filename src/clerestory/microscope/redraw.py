"""A prompt of one's own, drawn with a unit raised or lowered: one picture at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import OptionError, RecordingError
from clerestory.microscope.folder import Microscope, Unit
from clerestory.microscope.queue import Ticket, TurnQueue

if TYPE_CHECKING:
    from clerestory.models import Edit, Model

__all__ = ["LEVELS", "MODES", "Drawer", "Redrawn", "edit_of", "opened"]

MODES = ("add", "clamp")
LEVELS = (-6.0, 6.0)
"""Standard deviations, from and to."""
WAITING = 24
"""Redraws that may wait for their turn."""
KEPT = 64 * 2**20
"""Bytes of unedited pictures that are remembered."""
LONGEST = 300
"""Letters of a prompt."""


@dataclass(frozen=True)
class Redrawn:
    """The picture without and with the edit, `[height, width, 3]`."""

    plain: NDArray[np.uint8]
    edited: NDArray[np.uint8]


class Drawer:
    """Draws with a model that is opened at the first picture; in turn, from any thread."""

    def __init__(self, opens: Callable[[], Model]) -> None:
        """Make a drawer; the model is not opened yet.

        Args:
            opens: Opens the model.
        """
        self._opens = opens
        self.turns = TurnQueue(WAITING)
        self._model: Model | None = None
        self._plain: OrderedDict[tuple[str, int], NDArray[np.uint8]] = OrderedDict()

    @contextmanager
    def model(self, ticket: Ticket | None = None) -> Iterator[Model]:
        """The model, for as long as the block takes; with a ticket as the turns have it.

        Args:
            ticket: The caller's place in the queue; None for a search, which is never refused.

        Raises:
            BusyError: Too many wait.
            AbandonedError: The holder of the ticket has left.
        """
        with self.turns.turn(ticket):
            if self._model is None:
                self._model = self._opens()
            yield self._model

    def draw(
        self,
        unit: Unit,
        prompt: str,
        mode: str,
        level: float,
        seed: int,
        ticket: Ticket | None = None,
    ) -> Redrawn:
        """Draw a prompt without and with a unit changed.

        OptionError for a mode, a level or a length that is none, PromptError for what cannot be
        drawn, BusyError where too many wait, AbandonedError once who holds the ticket has left.

        Args:
            unit: The unit.
            prompt: The prompt, of 300 letters at most.
            mode: `add` adds to the unit's activation, `clamp` holds it at a level.
            level: -6 to 6 standard deviations of the unit; for `clamp`, from its mean.
            seed: The seed.
            ticket: The caller's place in the queue.

        Returns:
            Both pictures.

        Raises:
            OptionError: The mode, the level or the length is not allowed.
            PromptError: The prompt cannot be drawn.
            BusyError: Too many wait.
            AbandonedError: The holder of the ticket has left.
        """
        edit = edit_of(unit, mode, level)
        if len(prompt) > LONGEST:
            raise OptionError(f"The prompt has {len(prompt)} letters: at most {LONGEST}.")
        ticket = ticket or Ticket()
        with self.model(ticket) as model:
            plain = self._drawn(model, prompt, seed)
            # The first picture takes seconds, in which the browser may have left.
            ticket.check()
            return Redrawn(plain, _picture(model.run(prompt, seed, edits=[edit])))

    def _drawn(self, model: Model, prompt: str, seed: int) -> NDArray[np.uint8]:
        key = (prompt, seed)
        if key not in self._plain:
            self._plain[key] = _picture(model.run(prompt, seed))
            while sum(one.nbytes for one in self._plain.values()) > KEPT and len(self._plain) > 1:
                self._plain.popitem(last=False)
        # The one that was used last goes last when memory is short.
        self._plain.move_to_end(key)
        return self._plain[key]


def opened(microscope: Microscope) -> Model:
    """Open the model that was recorded.

    Args:
        microscope: The microscope.

    Returns:
        The model.

    Raises:
        RecordingError: Another revision is found under its name.
    """
    from clerestory import load

    told = microscope.plan["model"]
    model = load(told["name"], **told["how"])
    if model.revision != told["revision"]:
        raise RecordingError(
            f"{told['name']} is revision {model.revision} here; recorded was {told['revision']}."
        )
    return model


def edit_of(unit: Unit, mode: str, level: float) -> Edit:
    """What the slider does: in standard deviations of the unit over the recording's samples.

    Args:
        unit: The unit.
        mode: `add` or `clamp`.
        level: -6 to 6.

    Returns:
        The edit.

    Raises:
        OptionError: The mode or the level is not allowed.
    """
    from clerestory.edits import Add, Clamp

    if mode not in MODES:
        raise OptionError(f"A unit can be changed by {' or '.join(MODES)}, not {mode[:20]!r}.")
    if not LEVELS[0] <= level <= LEVELS[1]:
        raise OptionError(f"The strength is {level:g}: from {LEVELS[0]:g} to {LEVELS[1]:g}.")
    mean, sd = float(unit.figure("mean")), float(unit.figure("sd"))
    if mode == "clamp":
        return Clamp(unit.address, mean + level * sd)
    way = np.eye(1, unit.site.units, unit.number)[0]
    # A unit that never varies has no standard deviation: its strength then counts as it is.
    return Add(unit.site.address, way, level, sd if sd > 0 else 1.0)


def _picture(run: Any) -> NDArray[np.uint8]:
    assert run.pictures is not None
    return np.asarray(run.pictures[0])
