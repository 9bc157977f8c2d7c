"""What a study comes to: the verdict and the answer, made from claims alone; results.json."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any, Literal

from clerestory.classifiers.base import is_code
from clerestory.studies.runner import Ran
from clerestory.studies.schema import LANCET
from clerestory.studies.tasks import Claim

__all__ = ["Verdict", "answer", "headline", "told", "verdict"]

Verdict = Literal["found", "not found", "undecided"]
LIBRARIES = ("clerestory", "torch", "diffusers", "transformers", "numpy", "scipy")
OPENS = {
    "found": "Found: of {all} that the study rests on, all hold.",
    "not found": "Not found: of {all} that the study rests on, none holds.",
    "undecided": "Undecided: of {all} that the study rests on, {holds} {verb}.",
}


def claims(ran: Ran) -> list[tuple[str, Claim]]:
    """Those that the answer rests on, with their steps' keys."""
    return [(key, claim) for key in ran.study.headline for claim in ran.done[key].came.claims]


def verdict(ran: Ran) -> Verdict:
    """Found where every claim of the headline holds, not found where none does."""
    said = [claim.holds for _, claim in claims(ran)]
    if said and all(one is True for one in said):
        return "found"
    return "undecided" if True in said or None in said else "not found"


def answer(ran: Ran) -> tuple[str, ...]:
    """The verdict with its certainty, then each claim's own sentence, with its figure."""
    said = [claim for _, claim in claims(ran)]
    holds = sum(claim.holds is True for claim in said)
    every = "1 claim" if len(said) == 1 else f"{len(said)} claims"
    verb = "holds" if holds == 1 else "hold"
    opens = OPENS[verdict(ran)].format(holds=holds, all=every, verb=verb)
    return (opens, *dict.fromkeys(claim.text for claim in said))


def headline(ran: Ran) -> dict[str, float | None]:
    """The claims' figures by step and name."""
    return {f"{key}: {claim.says}": claim.figure for key, claim in claims(ran)}


def told(ran: Ran) -> dict[str, Any]:
    """All of it, ready for JSON."""
    study = ran.study
    return {
        "study": study.name,
        "question": study.question,
        "verdict": verdict(ran),
        "answer": list(answer(ran)),
        "headline": headline(ran),
        "claims": {
            key: [asdict(claim) for claim in done.came.claims]
            for key, done in ran.done.items()
            if done.came.claims
        },
        "warnings": warnings(ran),
        "steps": {
            key: {
                "method": done.step.method(),
                "figures": done.came.figures,
                "seconds": done.seconds,
                "left_out": done.gate or None,
            }
            for key, done in ran.done.items()
        },
        "about": about(ran),
        "definition": study.model_dump(mode="json"),
    }


def warnings(ran: Ran) -> list[str]:
    """What stands against the figures, each once."""
    every = (f"{key}: {one}" for key, done in ran.done.items() for one in done.came.warnings)
    return list(dict.fromkeys(every))


def about(ran: Ran) -> Mapping[str, Any]:
    """What the figures depend on besides the study's file."""
    study = ran.study
    return {
        "model": ran.model.name,
        "revision": ran.model.revision,
        "classifiers": dict(ran.judges),
        "scale": study.scale,
        "versions": {name: metadata.version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "command": command(ran),
    }


def command(ran: Ran) -> str:
    """The command that gives these figures again."""
    study = ran.study
    words = ["clerestory", "study", "run", study.file or study.name, "--scale", study.scale]
    words += [] if ran.model.name == LANCET else ["--model", ran.model.name]
    for name, value in ran.model.load_options.items():
        words += [f"--{name}", value]
    for name, judge in ran.judges.items():
        if is_code(judge) or judge != study.usual(name, ran.model.name):
            words += ["--classifier", f"{name}={judge}"]
    return shlex.join([*words, "--out", "DIR"])
