"""Recordings: activations of many samples on disk, written chunk by chunk and resumable.

    recording = record(model, ["a cat", "a ship"], seeds_per_item=4, sites="text.*/mlp", out="rec")
    recording.read("text.blocks.3/mlp")       # labelled values, read when they are used

Activations are written to files in this package only. `plan.py` fixes every row before the first
sample is drawn, `writer.py` fills chunks, `markers.py` lists the complete ones, `recording.py`
reads them.
"""

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
