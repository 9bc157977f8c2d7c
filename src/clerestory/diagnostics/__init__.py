"""Diagnostics: does a checkpoint keep, on this machine, what Clerestory promises?

    diagnosis = clerestory.doctor(clerestory.load("checkpoints/my-sd"))
    diagnosis.ok                              # whether no check failed
    diagnosis.table()                         # name, ok, detail of every check

A check passes, fails or is undecided; its detail says what was measured, and what to do.
"""

from clerestory.diagnostics.diagnosis import Check, Diagnosis
from clerestory.diagnostics.doctor import PROMPTS, doctor

__all__ = ["PROMPTS", "Check", "Diagnosis", "doctor"]
