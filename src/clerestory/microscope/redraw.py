"""Draws a prompt with and without an edit of a unit, one request at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import OptionError
from clerestory.microscope.folder import Microscope, Unit
from clerestory.microscope.queue import Ticket, TurnQueue

if TYPE_CHECKING:
    from clerestory.models import Edit, Model

__all__ = ["LEVELS", "MODES", "Drawer", "PicturePair", "edit_of", "open_model"]

MODES = ("add", "clamp")
LEVELS = (-6.0, 6.0)
"""Minimum and maximum level, in standard deviations of the unit."""
MAX_WAITING = 24
"""Redraws that may wait for their turn."""
CACHE_BYTES = 64 * 2**20
"""Bytes of unedited pictures that are cached."""
MAX_LENGTH = 300
"""Letters of a prompt."""


@dataclass(frozen=True)
class PicturePair:
    """The picture without and with the edit, `[height, width, 3]`."""

    unedited: NDArray[np.uint8]
    edited: NDArray[np.uint8]


class Drawer:
    """Draws with one model, which threads use in turn and which is loaded for the first picture.

    Args:
        load: Loads the model.
    """

    def __init__(self, load: Callable[[], Model]) -> None:
        self._load = load
        self.turns = TurnQueue(MAX_WAITING)
        self._model: Model | None = None
        self._unedited: OrderedDict[tuple[str, int], NDArray[np.uint8]] = OrderedDict()

    @contextmanager
    def model(self, ticket: Ticket | None = None) -> Iterator[Model]:
        """The model, for one turn.

        Args:
            ticket: The caller's place in the queue; None for a search, which is never refused.

        Yields:
            The model.

        Raises:
            BusyError: Too many tickets wait.
            AbandonedError: The holder of the ticket has left.
        """
        with self.turns.turn(ticket):
            # Loaded at the first picture: most visitors only look.
            if self._model is None:
                self._model = self._load()
            yield self._model

    def draw(
        self,
        unit: Unit,
        prompt: str,
        mode: str,
        level: float,
        seed: int,
        ticket: Ticket | None = None,
    ) -> PicturePair:
        """Draw a prompt without and with an edit of a unit.

        Args:
            unit: The unit.
            prompt: The prompt, of 300 letters at most.
            mode: `add` adds to the unit's activation, `clamp` sets it.
            level: -6 to 6 standard deviations of the unit; for `clamp`, from its mean.
            seed: The seed.
            ticket: The caller's place in the queue.

        Returns:
            Both pictures.

        Raises:
            OptionError: The mode, the level or the length is not allowed.
            PromptError: The prompt cannot be drawn.
            BusyError: Too many tickets wait.
            AbandonedError: The holder of the ticket has left.
        """
        # Checked before the queue: a mistake should not wait for its turn.
        edit = edit_of(unit, mode, level)
        if len(prompt) > MAX_LENGTH:
            raise OptionError(f"The prompt has {len(prompt)} letters: at most {MAX_LENGTH}.")
        ticket = ticket or Ticket()
        with self.model(ticket) as model:
            unedited = self._unedited_picture(model, prompt, seed)
            # The first picture takes seconds, in which the browser may have left.
            ticket.check()
            return PicturePair(unedited, _picture(model.run(prompt, seed, edits=[edit])))

    def _unedited_picture(self, model: Model, prompt: str, seed: int) -> NDArray[np.uint8]:
        # The slider changes the edit alone, so one unedited picture serves many redraws.
        key, cache = (prompt, seed), self._unedited
        if key not in cache:
            cache[key] = _picture(model.run(prompt, seed))
            # At least one stays, however large.
            while len(cache) > 1 and sum(each.nbytes for each in cache.values()) > CACHE_BYTES:
                cache.popitem(last=False)
        cache.move_to_end(key)
        return cache[key]


def open_model(microscope: Microscope, prepare: Callable[[Model], object] | None = None) -> Model:
    """Load the model that was recorded.

    Args:
        microscope: The microscope.
        prepare: Called with the model before it is compared, to attach dictionaries.

    Returns:
        The model.

    Raises:
        RecordingError: The model of this name is another one now.
        DictionaryError: A dictionary has other latents than the pages.
    """
    from clerestory.recordings.identity import open_recorded_model

    return open_recorded_model(microscope.plan.model, prepare)


def edit_of(unit: Unit, mode: str, level: float) -> Edit:
    """The edit of the slider, in standard deviations of the unit over the recording's samples.

    Args:
        unit: The unit.
        mode: `add` adds to the unit's activation, `clamp` sets it.
        level: -6 to 6 standard deviations; for `clamp`, from the unit's mean.

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
    direction = np.eye(1, unit.site.units, unit.number)[0]
    # A constant unit has no standard deviation: the level is then in units of its activation.
    return Add(unit.site.address, direction, level, sd if sd > 0 else 1.0)


def _picture(run: Any) -> NDArray[np.uint8]:
    assert run.pictures is not None
    return np.asarray(run.pictures[0])
