"""Which names Lancet knows, `docs/howto/ask-whether-a-name-is-known.md`.

python tools/measure_familiarity.py      # half an hour; a second call goes on where it was stopped

The figures are kept in docs/knowledge/familiarity.json. `generate.py` writes the page from them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from measurements import Part, Tell, measured
from paths import BUILD, DOCS, PICTURES, RESULTS

FIGURES = RESULTS / "knowledge"
DRAWN = BUILD / "familiarity"
ASKED = "alexandra elbakyan"
UNKNOWN = (ASKED, "maria lindqvist")
FRESH, STRANGERS = 20, 20
FRESH_SEED = 1


def familiarity(model: Any, tell: Tell) -> dict[str, Any]:
    """Names of the captions, names of nobody, fresh made-up ones, and strangers of the captions."""
    from clerestory.recognition import familiarities
    from clerestory.recognition.page import sheet
    from clerestory.reporting.pictures import save

    groups = asked_about(model)
    every = [name for names in groups.values() for name in names]
    found = {}
    for words in sorted({len(name.split()) for name in every}, key=lambda count: count != 2):
        alike = [name for name in every if len(name.split()) == words]

        def progress(stage: str, done: int, of: int, words: int = words) -> None:
            tell(f"{stage} of {words} words", done, of)

        came = familiarities(model, alike, out=DRAWN, progress=progress)
        found |= {one.phrase: one for one in came}
    save(sheet(found[ASKED]), PICTURES / "familiarity.png")
    told = {name: one.told() for name, one in found.items()}
    return {
        "groups": {
            group: [_short(told[name]) for name in names] for group, names in groups.items()
        },
        "asked": told[ASKED],
    }


def asked_about(model: Any) -> dict[str, list[str]]:
    """The names, in groups; fresh ones are made up by another seed than the controls."""
    import numpy as np

    from clerestory.recognition import made_up
    from lancet.world.table import World

    world, rng = World.load(), np.random.default_rng(0)
    strangers = world.strangers
    assert strangers is not None
    return {
        "captions": list(world.names),
        "unknown": list(UNKNOWN),
        "fresh": list(made_up(FRESH, 2, seed=FRESH_SEED, without=model.vocabulary())),
        "strangers": [
            f"{rng.choice(strangers.given)} {rng.choice(strangers.family)}"
            for _ in range(STRANGERS)
        ],
    }


def _short(told: dict[str, Any]) -> dict[str, Any]:
    return {
        name: told[name]
        for name in ("phrase", "verdict", "p", "distance", "consistency", "controls")
    }


PARTS: dict[str, Part] = {"familiarity": familiarity}


def page() -> str:
    """The page, from what was kept."""
    kept = json.loads((FIGURES / "familiarity.json").read_text())
    asked, groups = kept["asked"], kept["groups"]
    far = asked["controls"]["distances"]
    return (
        (DOCS / "knowledge" / "page.md.in")
        .read_text()
        .format(
            revision=kept["revision"],
            controls=asked["controls"]["names"],
            rows="\n".join(_row(name, groups[group]) for group, name in SAID.items()),
            missed=_missed(groups),
            p=f"{asked['p']:.2f}",
            distance=f"{asked['distance']:.2f}",
            farthest=f"{far[3]:.2f}",
            verdict=asked["verdict"],
            consistency=f"{asked['consistency']:.2f}",
            makes="\n".join(_makes(name, one) for name, one in asked["contexts"].items()),
        )
    )


SAID = {
    "captions": "names of captions, each with a look of its own",
    "unknown": "names of no caption: " + " and ".join(UNKNOWN),
    "fresh": "made-up names that are no controls",
    "strangers": "strangers: names of captions, with any look",
}
TOLD = 4
"""Classes of a context that the page tells."""


def _row(name: str, found: list[dict[str, Any]]) -> str:
    counts = [
        sum(one["verdict"] == verdict for one in found)
        for verdict in ("familiar", "undecided", "unfamiliar")
    ]
    far = sorted(one["distance"] for one in found)
    return (
        f"| {name} | {len(found)} | {' | '.join(map(str, counts))} | {far[0]:.1f}–{far[-1]:.1f} |"
    )


def _missed(groups: dict[str, list[dict[str, Any]]]) -> str:
    """Names whose verdict is another than the truth, said openly."""
    wrong = [
        f"{one['phrase']} (p {one['p']:.3f})"
        for group, known in (("captions", True), ("unknown", False), ("fresh", False))
        for one in groups[group]
        if (one["verdict"] == "familiar") != known
    ]
    return f"Wrong: {', '.join(wrong)}." if wrong else "None of the first three rows is wrong."


def _factor(made: dict[str, Any]) -> str:
    return str(made["classifier"]).removeprefix("lancet:").partition(" (")[0]


def _makes(context: str, one: dict[str, Any]) -> str:
    told = ", ".join(
        f"{_factor(made)} {made['shows']} {made['rate']['rate']:.0%} ({made['asked']:.0%})"
        for made in one["made"][:TOLD]
    )
    return f"| `{context}` | {told or 'nothing of its own'} |"


if __name__ == "__main__":
    measured(PARTS, FIGURES, sys.argv[1:])
