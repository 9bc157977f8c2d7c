"""Recordings: a plan plus rows, on disk. The only place where activations are written to files."""

from clerestory.recordings.plan import Plan, make_plan
from clerestory.recordings.prompts import prompt_table, random_prompts
from clerestory.recordings.recording import Recording
from clerestory.recordings.store import Store
from clerestory.recordings.survey import Survey, survey
from clerestory.recordings.template import Template
from clerestory.recordings.verification import Damage, unmark_damaged, verify
from clerestory.recordings.writer import fill, fill_chunk, record, record_plan, start_recording

__all__ = [
    "Damage",
    "Plan",
    "Recording",
    "Store",
    "Survey",
    "Template",
    "fill",
    "fill_chunk",
    "make_plan",
    "prompt_table",
    "random_prompts",
    "record",
    "record_plan",
    "start_recording",
    "survey",
    "unmark_damaged",
    "verify",
]
