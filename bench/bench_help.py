"""`clerestory --help` against a bare Python: seconds each, and their ratio, in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def seconds(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    pairs = [(seconds("-m", "clerestory", "--help"), seconds("-c", "pass")) for _ in range(7)]
    ours = statistics.median(pair[0] for pair in pairs)
    ratio = statistics.median(one / two for one, two in pairs)
    print(f"clerestory --help {ours:.2f} s, {ratio:.1f} × a bare python (aim: 0.3 s)")
