"""A first-in, first-out queue for the model, which callers may leave."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["AbandonedError", "BusyError", "Ticket", "TurnQueue"]


class BusyError(Exception):
    """The queue is full."""


class AbandonedError(Exception):
    """The caller has left: nobody would see the result."""


class Ticket:
    """A place in the queue, which another thread may give up."""

    def __init__(self) -> None:
        self.cancellation = threading.Event()

    def check(self) -> None:
        """Raise AbandonedError if the holder has left."""
        if self.cancellation.is_set():
            raise AbandonedError


class TurnQueue:
    """A queue whose first entry has the turn.

    Args:
        max_waiting: Tickets that may wait behind the holder of the turn.
    """

    def __init__(self, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        self._queue: deque[Ticket] = deque()
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, ticket: Ticket | None = None) -> Iterator[None]:
        """Wait for the turn and hold it.

        Args:
            ticket: The caller's place; None for a caller that is never refused, such as a search.

        Raises:
            BusyError: The queue is full.
            AbandonedError: The holder has left, or the queue is closed.

        Yields:
            Nothing; the turn is held while this is open.
        """
        holder = ticket or Ticket()
        with self._changed:
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
            with self._changed:
                # Also where the wait failed: a dead ticket would block the queue.
                self._queue.remove(holder)
                self._changed.notify_all()

    def leave(self, ticket: Ticket) -> None:
        """Leave the queue, or give up the turn.

        Args:
            ticket: The ticket, whether or not it is in the queue.
        """
        with self._changed:
            ticket.cancellation.set()
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse all who wait or come later; the holder of the turn may finish."""
        with self._changed:
            self._closed = True
            for ticket in self._queue:
                ticket.cancellation.set()
            self._changed.notify_all()

    def yield_turn(self) -> None:
        """Let all who wait now go first; only the holder of the turn may call this."""
        with self._changed:
            holder = self._queue[0]
            # To the end: all who wait now have a turn before the holder's next one.
            self._queue.rotate(-1)
            self._changed.notify_all()
        self._wait(holder)

    def _wait(self, ticket: Ticket) -> None:
        with self._changed:
            self._changed.wait_for(lambda: ticket.cancellation.is_set() or self._queue[0] is ticket)
