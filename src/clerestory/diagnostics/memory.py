"""The largest memory of a piece of work: the accelerator's, or else the process's."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Peak", "measure_peak", "reset_peak"]

PROCESS = Path("/proc/self")
"""Where Linux tells the peak of a process (`VmHWM`), and lets it be reset."""


@dataclass(frozen=True)
class Peak:
    """The largest memory since `reset_peak`.

    Attributes:
        bytes: How much.
        place: `GPU memory`, or `main memory` for all that the process holds.
    """

    bytes: int
    place: str


def reset_peak() -> None:
    """Begin to measure anew. Where the system cannot, `measure_peak` is of the whole process."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")  # 5 resets the peak alone, see proc(5)


def measure_peak() -> Peak | None:
    """The peak since `reset_peak`; None where the system does not tell."""
    # Zero where the model is not on the accelerator that there is.
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return Peak(torch.cuda.max_memory_allocated(), "GPU memory")
    with suppress(OSError):
        for line in (PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return Peak(int(line.split()[1]) * 1024, "main memory")
    try:
        import resource
    except ImportError:  # Windows
        return None
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Peak(largest * (1 if sys.platform == "darwin" else 1024), "main memory")
