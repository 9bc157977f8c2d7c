"""First come, first served; who leaves loses the place, and too many are refused."""

import threading
import time

import pytest

from clerestory.microscope.queue import AbandonedError, BusyError, Ticket, TurnQueue


def soon(true):
    for _ in range(500):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


class Held:
    """A turn that a thread has or waits for, until it is told to end."""

    def __init__(self, turns, log, name, ticket=None):
        self.end, self.has, self.ticket = threading.Event(), threading.Event(), ticket
        self.log, self.name, self.turns = log, name, turns
        before = len(turns._queue)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        soon(lambda: len(turns._queue) == before + 1)

    def run(self):
        try:
            with self.turns.turn(self.ticket):
                self.log.append(self.name)
                self.has.set()
                self.end.wait(10)
        except AbandonedError:
            self.log.append(f"{self.name} left")

    def over(self):
        self.end.set()
        self.thread.join(10)


def test_the_first_who_came_goes_first():
    turns, log = TurnQueue(8), []
    people = [Held(turns, log, name) for name in "abcd"]
    for one in people:
        assert one.has.wait(10)
        one.over()
    assert log == ["a", "b", "c", "d"] and not turns._queue


def test_one_too_many_is_refused_but_not_who_has_no_ticket():
    turns, log = TurnQueue(2), []
    people = [Held(turns, log, name, Ticket()) for name in "abc"]
    with pytest.raises(BusyError), turns.turn(Ticket()):
        pass
    people.append(Held(turns, log, "search"))
    for one in people:
        one.over()
    assert log == ["a", "b", "c", "search"]


def test_who_leaves_frees_the_place_and_never_gets_the_turn():
    turns, log, gone = TurnQueue(2), [], Ticket()
    first = Held(turns, log, "a", Ticket())
    waiting = [Held(turns, log, "b", gone), Held(turns, log, "c", Ticket())]
    turns.leave(gone)
    soon(lambda: log == ["a", "b left"])
    last = Held(turns, log, "d", Ticket())
    for one in (first, *waiting, last):
        one.over()
    assert log == ["a", "b left", "c", "d"]
    assert gone.cancellation.is_set()
    with pytest.raises(AbandonedError):
        gone.check()


def test_who_gives_way_goes_on_after_those_who_waited():
    turns, log = TurnQueue(8), []
    with turns.turn():
        turns.yield_turn()  # nobody waits
        people = [Held(turns, log, name) for name in "ab"]
        for one in people:
            one.end.set()
        turns.yield_turn()
        log.append("search")
    assert log == ["a", "b", "search"]
