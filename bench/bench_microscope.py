"""The microscope: how fast it is built, and how fast its pages are for eight readers at once.

`python bench/bench_microscope.py` builds 5,000 units × 2,000 samples from noise, with 2,000 themes
and 100 blind tests, and asks a server, in a process of its own, for pages of random units and
sites. There are no pictures among them.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np

from clerestory.microscope import Themes, build

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers.recordings import factorial, noise, recording_of

UNITS, SITES, SAMPLES = 5_000, 5, 2_000
READERS, PAGES = 8, 150
THEMES, TESTS, QUESTIONS = 2_000, 100, 12


def main() -> None:
    table = factorial(items=56, phrases=12)[:SAMPLES]
    sites = {f"site.{at}/out": (1, UNITS // SITES) for at in range(SITES)}
    with tempfile.TemporaryDirectory() as folder:
        recording = recording_of(table, noise(table, 0, sites), Path(folder) / "rec")
        start = time.perf_counter()
        build([recording], Path(folder) / "scope")
        rate = UNITS / (time.perf_counter() - start)
        print(
            f"built {UNITS:,} units × {len(table):,} samples: {rate:,.0f} units a second (aim: 200)"
        )
        themes = Themes(Path(folder) / "scope" / "themes.sqlite")
        for number in range(THEMES):
            unit = f"site.{number % SITES}/out[{number // SITES}]"
            themes.add(unit, f"theme {number}", rater="ada")
        _test(themes)
        with _Server(Path(folder) / "scope") as base:
            seconds = _read(base)
    middle, slow = np.percentile(seconds, [50, 95]) * 1000
    print(
        f"{len(seconds):,} pages by {READERS} readers at once: median {middle:.0f} ms (aim: 30), "
        f"95th percentile {slow:.0f} ms (aim: 100)"
    )


def _test(themes: Themes) -> None:
    """Finished blind tests of the first themes; there are no pictures to make real ones of."""
    rows = [
        (f"{test}-{at}", f"{test}", test + 1, "bo", at if at > 7 else None, "[]", "[]", at % 2, "")
        for test in range(TESTS)
        for at in range(QUESTIONS)
    ]
    with themes.open() as database:
        database.executemany(
            "INSERT INTO trials (key, test, theme, rater, control, first, second, answer, "
            "created_at, picked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
            rows,
        )


class _Server:
    """A server in a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = ["-m", "clerestory", "microscope", "serve", str(folder), "--port", str(self.port)]
        self.process = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)

    def __enter__(self) -> str:
        base = f"http://127.0.0.1:{self.port}"
        for _ in range(200):
            try:
                urllib.request.urlopen(base).read()
                return base
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("the server did not start")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def _read(base: str) -> list[float]:
    """Seconds of each page, by readers who ask one after another."""
    times: list[list[float]] = [[] for _ in range(READERS)]

    def reader(number: int) -> None:
        rng = np.random.default_rng(number)
        for _ in range(PAGES):
            site = f"site.{rng.integers(SITES)}/out"
            page = rng.choice(
                [f"noise/{site}/{rng.integers(UNITS // SITES)}"] * 8
                + [f"noise/{site}?sort=peak&page={rng.integers(10)}", "noise"]
            )
            start = time.perf_counter()
            urllib.request.urlopen(f"{base}/{page}").read()
            times[number].append(time.perf_counter() - start)

    threads = [threading.Thread(target=reader, args=(number,)) for number in range(READERS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return [second for own in times for second in own]


if __name__ == "__main__":
    main()
