"""A queue for the model: first come, first served; a caller who leaves loses the place."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["AbandonedError", "BusyError", "Ticket", "TurnQueue"]


class BusyError(Exception):
    """Too many wait already."""


class AbandonedError(Exception):
    """Who asked has left: nobody would see it."""


class Ticket:
    """A place in the queue, for somebody who may leave it from another thread."""

    def __init__(self) -> None:
        self.left = threading.Event()

    def check(self) -> None:
        """AbandonedError once the holder has left."""
        if self.left.is_set():
            raise AbandonedError


class TurnQueue:
    """A queue whose first entry has the turn; at most `max_waiting` tickets wait."""

    def __init__(self, max_waiting: int) -> None:
        """Make an empty queue.

        Args:
            max_waiting: Tickets that may wait behind the holder of the turn.
        """
        self.max_waiting = max_waiting
        self._queue: deque[Ticket] = deque()
        self._closed = False
        self._moved = threading.Condition()

    @contextmanager
    def turn(self, ticket: Ticket | None = None) -> Iterator[None]:
        """Wait for the turn and hold it.

        Raises BusyError when the queue is full, AbandonedError when the holder has left.

        Whoever has no ticket, as a search, is never refused.

        Args:
            ticket: The caller's place; None for a caller that is never refused.

        Raises:
            BusyError: The queue is full.
            AbandonedError: The holder has left, or the queue is closed.
        """
        holder = ticket or Ticket()
        with self._moved:
            if self._closed:
                raise AbandonedError
            # The first entry has the turn and does not wait, hence `>` and not `>=`.
            if ticket is not None and len(self._queue) > self.max_waiting:
                raise BusyError
            self._queue.append(holder)
        try:
            self._wait(holder)
            holder.check()
            yield
        finally:
            with self._moved:
                self._queue.remove(holder)
                self._moved.notify_all()

    def leave(self, ticket: Ticket) -> None:
        """Leave the queue, or give up the turn.

        Args:
            ticket: The ticket, whether or not it is in the queue.
        """
        with self._moved:
            ticket.left.set()
            self._moved.notify_all()

    def close(self) -> None:
        """Refuse everyone who waits or comes; the holder of the turn may finish."""
        with self._moved:
            self._closed = True
            for ticket in self._queue:
                ticket.left.set()
            self._moved.notify_all()

    def yield_turn(self) -> None:
        """Let those who wait go first. Only the holder of the turn may call it."""
        with self._moved:
            holder = self._queue[0]
            # To the end: everyone who waits by now has a turn before the holder's next one.
            self._queue.rotate(-1)
            self._moved.notify_all()
        self._wait(holder)

    def _wait(self, ticket: Ticket) -> None:
        with self._moved:
            self._moved.wait_for(lambda: ticket.left.is_set() or self._queue[0] is ticket)
