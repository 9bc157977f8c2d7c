"""Which names Lancet knows, `docs/howto/ask-whether-a-name-is-known.md`.

python tools/measure_familiarity.py      # an hour or two; a second call resumes

Figures are written to results/knowledge/familiarity.json; `generate_docs.py` writes the page from
them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from measurements import Part, measured
from paths import BUILD, DOCS, PICTURES, RESULTS

from clerestory.types import Progress

FIGURES = RESULTS / "knowledge"
DRAWN = BUILD / "familiarity"
EXAMPLE = "alexandra elbakyan"
UNKNOWN = (EXAMPLE, "maria lindqvist")
FRESH, STRANGERS = 20, 20
FRESH_SEED = 1


def familiarity(model: Any, progress: Progress) -> dict[str, Any]:
    """Names of captions, unknown names, further invented ones, and strangers of captions."""
    from clerestory.recognition import measure_familiarity
    from clerestory.recognition.page import sheet
    from clerestory.reporting.pictures import save

    groups = names_by_group(model)
    names = [name for group in groups.values() for name in group]
    results: dict[str, Any] = {}
    for words in sorted({len(name.split()) for name in names}, key=lambda count: count != 2):
        # Names of as many words and tokens share their controls.
        similar = [name for name in names if len(name.split()) == words]
        measured = measure_familiarity(model, similar, out=DRAWN, progress=progress)
        results |= {result.phrase: result for result in measured}
    example = results[EXAMPLE]
    save(sheet(example), PICTURES / "familiarity.png")
    contexts = example.to_dict()["contexts"]
    return {
        "groups": {
            group: [short(results[name]) for name in names] for group, names in groups.items()
        },
        "example": {**short(example), "contexts": contexts, "embedding": example.embedding},
    }


def short(result: Any) -> dict[str, Any]:
    """The main figures, with quantiles of the controls in place of all of them."""
    controls = result.controls
    figures: dict[str, Any] = {"names": len(controls.names), "matched": controls.matched}
    for figure in ("distances", "consistencies"):
        figures[figure] = controls.quantiles(figure)
    main = {
        key: getattr(result, key) for key in ("phrase", "verdict", "p", "distance", "consistency")
    }
    return {**main, "controls": figures, "seeds": result.seeds}


def names_by_group(model: Any) -> dict[str, list[str]]:
    """The names to measure; fresh ones are invented by another seed than the controls."""
    import numpy as np

    from clerestory.recognition import invent_names
    from lancet.world.table import World

    world, rng = World.load(), np.random.default_rng(0)
    strangers = world.strangers
    assert strangers is not None
    return {
        "captions": list(world.names),
        "unknown": list(UNKNOWN),
        "fresh": list(invent_names(FRESH, 2, seed=FRESH_SEED, exclude=model.vocabulary())),
        "strangers": [
            f"{rng.choice(strangers.given)} {rng.choice(strangers.family)}"
            for _ in range(STRANGERS)
        ],
    }


PARTS: dict[str, Part] = {"familiarity": familiarity}


def page() -> str:
    """The page, from the figures that were measured."""
    figures = json.loads((FIGURES / "familiarity.json").read_text())
    example, groups = figures["example"], figures["groups"]
    distances = example["controls"]["distances"]
    return (
        (DOCS / "knowledge" / "page.md.in")
        .read_text()
        .format(
            revision=figures["revision"],
            controls=example["controls"]["names"],
            rows="\n".join(_row(name, groups[group]) for group, name in GROUPS.items()),
            missed=_missed(groups),
            p=f"{example['p']:.2f}",
            distance=f"{example['distance']:.2f}",
            farthest=f"{distances[3]:.2f}",
            verdict=verdict(example),
            power=_power(groups["captions"]),
            lengths=_lengths(example["controls"]),
            # Figures from before names had seeds of their own lack the key.
            seeds=" of each name"
            if example.get("seeds", ()) is None
            else ", the same for all names",
            consistency=f"{example['consistency']:.2f}",
            effects="\n".join(_effects(name, one) for name, one in example["contexts"].items()),
        )
    )


GROUPS = {
    "captions": "names of captions, each with a look of its own",
    "unknown": "names of no caption: " + " and ".join(UNKNOWN),
    "fresh": "invented names that are no controls",
    "strangers": "strangers: names of captions, with any look",
}
LISTED = 4
"""Labels of a context that the page lists."""


def _row(name: str, found: list[dict[str, Any]]) -> str:
    counts = [
        sum(verdict(one) == name for one in found)
        for name in ("familiar", "undecided", "not shown to be familiar")
    ]
    far = sorted(one["distance"] for one in found)
    return (
        f"| {name} | {len(found)} | {' | '.join(map(str, counts))} | {far[0]:.1f}–{far[-1]:.1f} |"
    )


def verdict(figures: dict[str, Any]) -> str:
    """The verdict that follows from p."""
    from clerestory.recognition.familiarity import verdict_of

    return verdict_of(figures["p"])


def _power(captions: list[dict[str, Any]]) -> str:
    """The share of known names that are told, with its interval."""
    import numpy as np

    from clerestory.stats.rate_intervals import rate_interval

    familiar = [verdict(one) == "familiar" for one in captions]
    low, high = rate_interval(np.array(familiar, float))
    return f"{sum(familiar)} of {len(familiar)} ({low:.0%} to {high:.0%})"


def _lengths(controls: dict[str, Any]) -> str:
    """How many controls of the example are as long as it; "" where that was not measured."""
    if controls.get("matched") is None:
        return ""
    return f"of which {controls['matched']} have as many tokens as the example, "


def _missed(groups: dict[str, list[dict[str, Any]]]) -> str:
    """Names whose verdict is wrong."""
    wrong = [
        f"{one['phrase']} (p {one['p']:.3f})"
        for group, known in (("captions", True), ("unknown", False), ("fresh", False))
        for one in groups[group]
        if (verdict(one) == "familiar") != known
    ]
    return f"Wrong: {', '.join(wrong)}." if wrong else "None of the first three rows is wrong."


def _effects(context: str, result: dict[str, Any]) -> str:
    effects = ", ".join(
        f"{_factor(effect)} {effect['label']} {effect['rate']['rate']:.0%} "
        f"({effect['phrase_rate']:.0%})"
        for effect in result["effects"][:LISTED]
    )
    return f"| `{context}` | {effects or 'none'} |"


def _factor(effect: dict[str, Any]) -> str:
    return str(effect["classifier"]).removeprefix("lancet:").partition(" (")[0]


if __name__ == "__main__":
    measured(PARTS, FIGURES, sys.argv[1:])
