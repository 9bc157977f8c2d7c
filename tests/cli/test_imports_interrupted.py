"""Signals while the command's own modules are imported, and after its last line."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

DURING = """
import os, runpy, sys

class Interrupts:
    def find_spec(name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Interrupts)
sys.argv[:] = ["clerestory", "--version"]
runpy.run_module("clerestory", run_name="__main__")
"""
AFTER = """
import atexit, os, runpy, sys

atexit.register(lambda: os.kill(os.getpid(), {number}))
sys.argv[:] = ["clerestory", "--version"]
runpy.run_module("clerestory", run_name="__main__")
"""
LINE = "clerestory: interrupted: no unfinished output is left.\n"


def run(code: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("module", ["clerestory.cli.main", "typer", "clerestory.cli.verify"])
def test_a_signal_during_the_imports_is_one_line(module: str, number: int, status: int) -> None:
    assert run(DURING.format(module=module, number=int(number))) == (status, "", LINE)


def test_a_signal_after_the_last_line_writes_no_traceback() -> None:
    code, out, err = run(AFTER.format(number=int(signal.SIGINT)))
    assert (code, err) == (-signal.SIGINT, "") and out.startswith("clerestory ")
