"""Under load: raters who write at once and are killed, ten at the slider, one who is slow."""

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import psutil
import pytest

from clerestory.microscope import Microscope, Themes
from microscope.conftest import MIDDLE, MLP
from microscope.serving import Served

RATERS, EACH = 16, 125


@pytest.fixture
def served(scope, model):
    with Served(scope, lambda: model) as base:
        yield f"{base}/{Microscope(scope).model}", scope


def post(address, **told):
    data = urllib.parse.urlencode(told).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data), timeout=60) as answer:
        return answer.status


def every(work, count):
    """Run it in so many threads at once; what each gave."""
    found, errors = [None] * count, []

    def one(number):
        try:
            found[number] = work(number)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return found


class Killed:
    """A server in a process of its own, which can be killed and begun again at its port."""

    def __init__(self, scope):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        self.words = [sys.executable, "-m", "clerestory", "microscope", "serve", str(scope)]
        self.words += ["--port", str(port)]
        self.base = f"http://127.0.0.1:{port}/{Microscope(scope).model}"
        self.process = subprocess.Popen(self.words, stderr=subprocess.DEVNULL)

    def again(self):
        self.process.kill()
        self.process.wait()
        self.process = subprocess.Popen(self.words, stderr=subprocess.DEVNULL)


@pytest.mark.exhaustive
def test_sixteen_raters_and_a_killed_server_lose_and_double_nothing(scope):
    server, said = Killed(scope), threading.Semaphore(0)

    def keeps_saying(number, at):
        """As a browser whose person presses again: the same form, with the same key."""
        told = {"text": f"t {at}", "rater": f"r{number}", "key": f"{number:016x}{at:016x}"}
        for _ in range(600):
            try:
                post(f"{server.base}/{MLP}/{at % 8}/themes", **told)
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
            else:
                said.release()
                return
        raise AssertionError("the server did not come back")

    def kill(times=2):
        for _ in range(times):
            for _ in range(RATERS * EACH // 3):
                said.acquire()
            server.again()

    killing = threading.Thread(target=kill)
    killing.start()
    every(lambda number: [keeps_saying(number, at) for at in range(EACH)], RATERS)
    killing.join()
    server.process.terminate()
    server.process.wait()
    themes = Themes(scope / "themes.sqlite").all()
    pairs = {(one.rater, one.text) for one in themes}
    assert len(themes) == len(pairs) == RATERS * EACH == 2_000


def test_ten_at_the_slider_are_all_answered_in_bounded_memory(served):
    base, _ = served
    own = psutil.Process()

    def draw(number, at):
        asked = urllib.parse.urlencode({"prompt": f"a cat {number}", "level": at, "seed": number})
        with urllib.request.urlopen(f"{base}/{MIDDLE}/1/redraw.json?{asked}", timeout=120) as told:
            return json.loads(told.read())["edited"]

    draw(0, 0)
    before = own.memory_info().rss
    found = every(lambda number: [draw(number, at) for at in (-3, 0, 3)], 10)
    assert all(len(set(one)) == 3 for one in found)
    assert own.memory_info().rss - before < 300 * 2**20


def test_more_than_can_wait_are_told_when_to_come_again(served):
    base, _ = served

    def draw(number):
        address = f"{base}/{MIDDLE}/1/redraw?prompt=a+cat&seed={number}"
        try:
            return urllib.request.urlopen(address, timeout=120).status
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Retry-After"]

    found = every(draw, 60)
    assert set(found) <= {200, (503, "3")} and found.count(200) >= 25


def test_who_is_slow_does_not_keep_others_waiting(served):
    base, _ = served
    host, port = urllib.parse.urlsplit(base).hostname, urllib.parse.urlsplit(base).port
    slow = []
    for number in range(30):
        talks = socket.create_connection((host, port))
        path = urllib.parse.urlsplit(base).path
        if number % 3 == 0:  # never ends its headers
            talks.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n".encode())
        elif number % 3 == 1:  # never ends its form
            said = f"POST {path}/{MLP}/3/themes HTTP/1.1\r\nHost: {host}\r\nContent-Length: 999\r\n"
            said += "Content-Type: application/x-www-form-urlencoded\r\n\r\ntext="
            talks.sendall(said.encode())
        else:  # asks and does not read
            talks.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            asked = f"GET {path}/{MLP} HTTP/1.1\r\nHost: {host}\r\n\r\n"
            talks.sendall(asked.encode() * 20)
        slow.append(talks)
    start = time.perf_counter()
    every(lambda number: urllib.request.urlopen(f"{base}/{MLP}/{number}", timeout=20).read(), 8)
    assert time.perf_counter() - start < 10
    for talks in slow:
        talks.close()
