"""Run every benchmark of this folder; each prints ratios that were measured side by side."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":
    for script in sorted(Path(__file__).parent.glob("bench_*.py")):
        print(f"== {script.stem.removeprefix('bench_')}")
        runpy.run_path(str(script), run_name="__main__")
