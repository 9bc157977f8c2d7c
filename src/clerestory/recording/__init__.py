"""Recordings: a plan plus rows, on disk. The only place where activations are written to files."""

from clerestory.recording.checking import Damage, repaired, verify
from clerestory.recording.plan import Plan, planned
from clerestory.recording.prompts import prompt_table, random_prompts
from clerestory.recording.recorder import begin, fill, fill_chunk, record
from clerestory.recording.recording import Recording
from clerestory.recording.store import Store
from clerestory.recording.survey import Survey, survey
from clerestory.recording.template import Template

__all__ = [
    "Damage",
    "Plan",
    "Recording",
    "Store",
    "Survey",
    "Template",
    "begin",
    "fill",
    "fill_chunk",
    "planned",
    "prompt_table",
    "random_prompts",
    "record",
    "repaired",
    "survey",
    "verify",
]
