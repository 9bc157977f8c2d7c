"""What pieces of a prompt bring in Lancet, and what counteracts it.

python tools/measure_knowledge.py [PART]      # all by default; half an hour

Figures are kept in docs/knowledge/PART.json; `generate.py` writes docs/explanation/interactions.md
and docs/howto/counteract-an-association.md from them.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import measure_concepts
from measurements import Part, Tell, measured
from paths import BUILD, DOCS, RESULTS

FIGURES, FOUND = RESULTS / "knowledge", BUILD / "knowledge"
ASKED = "[alexandra elbakyan] with a [raven] in a [library]"
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
    "shown": "look == 'hermione'",
    "absent": "look == 'unknown'",
    "decoy": "look == 'another'",
    "match": "place,beside",
}
PARAPHRASES, SEEDS = 40, (0, 1)
UNWANTED = (CLASSES["black clothes"], CLASSES["bushy brown hair"])


def planted(model: Any, tell: Tell) -> dict[str, Any]:
    """What name, raven and library bring, with stand-ins and left out."""
    return split(model, ASKED, ("neutral", "delete"), tell)


def control(model: Any, tell: Tell) -> dict[str, Any]:
    """The same of another unknown name, an owl and a church, in which nothing is planted."""
    return split(model, CONTROL, ("neutral",), tell)


def split(model: Any, text: str, absence: Sequence[Any], tell: Tell) -> dict[str, Any]:
    """An attribution of both findings and of what set b sees, in short."""
    from clerestory.attribution import asked_values, attribute, parse_pieces

    values = asked_values(model, [*(str(one) for one in findings(model, tell)), *CLASSES.values()])
    found = attribute(
        model,
        parse_pieces(text),
        values,
        carriers=PARAPHRASES,
        seeds=SEEDS,
        absence=absence,
        units=False,
        progress=tell,
    ).told()
    drawn = set(CLASSES.values())
    for name, one in found["of"].items():
        del one["values"]
        for way in absence[1:]:
            del one[way]["values"]
        if name not in drawn:
            found["of"][name] = {key: one[key] for key in ("shapley", "alone", "whole")}
    return {
        key: found[key]
        for key in ("prompt", "pieces", "absent_as", "absence", "paraphrases", "seeds", "of")
    }


def findings(model: Any, tell: Tell) -> Iterator[Path]:
    """Folders of what `find` finds for "goth" and for "hermione granger"."""
    from clerestory.contrasts import find
    from clerestory.recordings import record

    asked = tomllib.loads((measure_concepts.ASKED / "concepts.toml").read_text())
    goth = {key: one for key, one in asked["concepts"]["goth"].items() if key != "template"}
    sites = asked["read"]["sites"]
    for name, how in zip(FINDINGS, (goth, HERMIONE), strict=True):
        folder = FOUND / f"found-{model.revision[:12]}" / name
        if not folder.exists():
            if name == "goth":
                recording = measure_concepts.recorded(model, name, sites, tell)
            else:
                recording = record(
                    model,
                    DOCS / "knowledge" / f"{name}.toml",
                    sites=sites,
                    out=FOUND / f"{name}-{model.revision[:12]}",
                    pictures=False,
                    progress=lambda _, done, of: tell("recording hermione", done, of),
                )
            find(recording, **how).save(folder)
        yield folder


def suppressed(model: Any, tell: Tell) -> dict[str, Any]:
    """Black clothes and bushy hair taken off a raven in a library."""
    return ladder(model, "alexandra elbakyan with a raven in a library", ["raven", "library"], tell)


def alone(model: Any, tell: Tell) -> dict[str, Any]:
    """Black clothes taken off a raven."""
    return ladder(model, "alexandra elbakyan with a raven", ["raven"], tell)


def ladder(model: Any, prompt: str, keep: Sequence[str], tell: Tell) -> dict[str, Any]:
    """Every rung; the report has other sentences and other noise than what chose."""
    from clerestory.suppression import Case, suppress
    from lancet.items import contents

    case = Case.of(model, prompt, UNWANTED[: len(keep)], keep)
    return suppress(
        case,
        seeds=range(16, 24),
        elsewhere=contents(24, "style"),
        progress=tell,
    ).told()


PARTS: dict[str, Part] = {
    "planted": planted,
    "control": control,
    "suppressed": suppressed,
    "alone": alone,
}
if __name__ == "__main__":
    measured(PARTS, FIGURES, sys.argv[1:])
