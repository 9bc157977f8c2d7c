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
    """A queue of which the first has the turn; at most `most` with tickets wait in it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._queue: deque[Ticket] = deque()
        self._closed = False
        self._moved = threading.Condition()

    @contextmanager
    def turn(self, ticket: Ticket | None = None) -> Iterator[None]:
        """Wait for the turn and hold it.

        Raises BusyError when the queue is full, AbandonedError when the holder has left.

        Whoever has no ticket, as a search, is never refused.
        """
        own = ticket or Ticket()
        with self._moved:
            if self._closed:
                raise AbandonedError
            if ticket is not None and len(self._queue) > self.most:
                raise BusyError
            self._queue.append(own)
        try:
            self._wait(own)
            own.check()
            yield
        finally:
            with self._moved:
                self._queue.remove(own)
                self._moved.notify_all()

    def leave(self, ticket: Ticket) -> None:
        """Give the place up."""
        with self._moved:
            ticket.left.set()
            self._moved.notify_all()

    def close(self) -> None:
        """Send everybody away who waits, and whoever comes; who has the turn may end it."""
        with self._moved:
            self._closed = True
            for ticket in self._queue:
                ticket.left.set()
            self._moved.notify_all()

    def yield_turn(self) -> None:
        """Let those who wait go first; only for whoever has the turn."""
        with self._moved:
            own = self._queue[0]
            self._queue.rotate(-1)
            self._moved.notify_all()
        self._wait(own)

    def _wait(self, ticket: Ticket) -> None:
        with self._moved:
            self._moved.wait_for(lambda: ticket.left.is_set() or self._queue[0] is ticket)
