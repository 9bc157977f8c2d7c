"""What pieces of a prompt bring in Lancet, and what counteracts it.

python tools/measure_knowledge.py [PART]      # all by default; half an hour

Figures are written to results/knowledge/PART.json; `generate_docs.py` writes
docs/explanation/interactions.md and docs/howto/counteract-an-association.md from them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import measure_concepts
from measurements import Part, measured
from paths import BUILD, DOCS, RESULTS

from clerestory.types import Progress

FIGURES, FOUND = RESULTS / "knowledge", BUILD / "knowledge"
PROMPT = "[alexandra elbakyan] with a [raven] in a [library]"
CONTROL = "[maria lindqvist] with an [owl] in a [church]"
CLASSES = {
    "pale": "lancet:pallor=pale",
    "black clothes": "lancet:clothes=black clothes",
    "bushy brown hair": "lancet:hair=bushy brown",
    "striped scarf": "lancet:scarf=striped",
}
PLANTED = {"pale": 1, "black clothes": 1, "bushy brown hair": 2, "striped scarf": 2}
"""The piece that brings it."""
FINDINGS = ("goth", "hermione")
HERMIONE = {
    "positive": "look == 'hermione'",
    "negative": "look == 'unknown'",
    "hard_negative": "look == 'another'",
    "match": "place,beside",
}
PARAPHRASES, SEEDS, EVALUATION_SEEDS = 40, 2, 4
UNWANTED = (CLASSES["black clothes"], CLASSES["bushy brown hair"])


def planted(model: Any, progress: Progress) -> dict[str, Any]:
    """What name, raven and library bring, replaced by baselines and deleted."""
    return split(model, PROMPT, "both", progress)


def control(model: Any, progress: Progress) -> dict[str, Any]:
    """The same of another unknown name, an owl and a church, in which nothing is planted."""
    return split(model, CONTROL, "baseline", progress)


def split(model: Any, prompt: str, removal: Any, progress: Progress) -> dict[str, Any]:
    """An attribution of both findings and of four labels; of findings only the main figures."""
    from clerestory.attribution import attribute

    result = attribute(
        model,
        prompt,
        [*findings(model, progress), *CLASSES.values()],
        removal=removal,
        seeds_per_paraphrase=SEEDS,
        paraphrases=PARAPHRASES,
        synergy=False,
        path=False,
        progress=progress,
    ).to_dict()
    for name, figures in result["of"].items():
        del figures["values"]
        if name not in CLASSES.values():
            result["of"][name] = {key: figures[key] for key in ("shapley", "single", "total")}
    result["alternatives"] = {
        other: {name: each for name, each in splits.items() if name in CLASSES.values()}
        for other, splits in result["alternatives"].items()
    }
    # The page says how many seeds each paraphrase has.
    result["seeds"] = result["seeds"][0]
    keys = ("prompt", "pieces", "baselines", "removal", "paraphrases", "seeds", "of")
    return {key: result[key] for key in (*keys, "alternatives")}


def findings(model: Any, progress: Progress) -> Iterator[Path]:
    """Folders of what `find` finds for "goth" and for "hermione granger"."""
    measure_concepts.find_concept(model, "goth", progress)
    yield measure_concepts.found_folder(model, "goth")
    prompts = measure_concepts.compared_prompts(DOCS / "knowledge" / "hermione.toml", [HERMIONE])
    recording = measure_concepts.record_compared(
        model, prompts, FOUND / f"hermione-{model.revision[:12]}", progress, drawn=False
    )
    folder = FOUND / f"found-{model.revision[:12]}" / "hermione"
    measure_concepts.find_once(recording, HERMIONE, folder, progress)
    yield folder


LONG = ("side_effects", "selection")
"""Fields of a method that the page leaves out: every class, and the half that selects."""


def suppressed(model: Any, progress: Progress) -> dict[str, Any]:
    """Black clothes and bushy hair taken off a raven in a library."""
    prompt = "alexandra elbakyan with a raven in a library"
    return compare_methods(model, prompt, ["raven", "library"], progress)


def alone(model: Any, progress: Progress) -> dict[str, Any]:
    """Black clothes taken off a raven."""
    return compare_methods(model, "alexandra elbakyan with a raven", ["raven"], progress)


def compare_methods(
    model: Any, prompt: str, preserve: Sequence[str], progress: Progress
) -> dict[str, Any]:
    """Every method; the evaluation has other paraphrases and seeds than the selection."""
    from clerestory.suppression import suppress

    result = suppress(
        model,
        prompt,
        unwanted=UNWANTED[: len(preserve)],
        preserve=preserve,
        seeds_per_paraphrase=EVALUATION_SEEDS,
        progress=progress,
    )
    keys = ("prompt", "unwanted", "preserved", "paraphrases", "recommended", "steered_by")
    return {
        **{key: getattr(result, key) for key in keys},
        "setting": result.best.setting,
        "seeds": len(result.seeds[0]),
        "control": result.control.unwanted,
        "methods": [
            {name: value for name, value in method.items() if name not in LONG}
            for method in result.to_dict()["methods"]
        ],
        "warnings": result.to_dict()["warnings"],
    }


PARTS: dict[str, Part] = {
    "planted": planted,
    "control": control,
    "suppressed": suppressed,
    "alone": alone,
}
if __name__ == "__main__":
    measured(PARTS, FIGURES, sys.argv[1:])
