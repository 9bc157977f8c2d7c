"""Where Lancet keeps seven concepts, `docs/explanation/where-concepts-are.md`.

python tools/measure_concepts.py    # writes results/concepts/found.json and the maps

The recordings stay in build/concepts, so a second call goes on where the first was stopped.
`generate.py` writes the page from what was kept. What is looked for stands in docs/concepts/*.toml.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from paths import BUILD, DOCS, PICTURES, RESULTS

ASKED, FIGURES = DOCS / "concepts", RESULTS / "concepts" / "found.json"
RECORDINGS = BUILD / "concepts"
STAGES = ("text", "prior", "denoiser")


def measure() -> None:
    """Record what is not recorded yet, find every concept, keep the figures and the maps."""
    import clerestory
    from clerestory.cli import console
    from clerestory.contrasts import find
    from clerestory.contrasts.charts import save_map

    asked = tomllib.loads((ASKED / "concepts.toml").read_text())
    model = clerestory.load("lancet")
    told: dict[str, Any] = {"revision": model.revision, "concepts": {}}
    with console.progress_bars() as tell:
        for name, how in asked["concepts"].items():
            template = how.pop("template")
            recording = recorded(model, template, asked["read"]["sites"], tell)
            found = find(
                recording, **how, progress=lambda done, of, what=name: tell(what, done, of)
            )
            told["concepts"][name] = {**_best(found), **_beside(found)}
            save_map(found, PICTURES / f"map-{name.replace(' ', '-')}.png")
    FIGURES.write_text(json.dumps(told, indent=1) + "\n")


def recorded(model: Any, template: str, sites: list[str], tell: Any) -> Any:
    """The recording of a template's prompts, gone on with where there is one."""
    from clerestory.recordings import record

    return record(
        model,
        ASKED / f"{template}.toml",
        sites=sites,
        out=RECORDINGS / f"{template}-{model.revision[:12]}",
        progress=lambda _, done, of: tell(f"recording {template}", done, of),
    )


def _best(found: Any) -> dict[str, Any]:
    """Discovery's first direction, and its first neuron of each stage."""
    best = {"direction": found.picked("direction")}
    for stage in STAGES:
        neurons = [
            one
            for one in found.of("neuron")
            if one.unit.partition("/")[0].partition(".")[0] == stage
        ]
        best[f"{stage} neuron"] = min(neurons, key=lambda one: one.rank)
    return {
        "best": {
            kind: {"unit": one.unit, "sign": one.sign, **_figures(one.detects)}
            for kind, one in best.items()
        }
    }


def _figures(detects: Any) -> dict[str, Any]:
    names = ("auroc", "low", "high", "decoy_auroc", "win_rate", "win_low", "win_high", "q", "pairs")
    return {name: getattr(detects, name) for name in names}


def _beside(found: Any) -> dict[str, Any]:
    return {
        "tested": found.tested,
        "flips": found.null.flips,
        "any_found": found.null.any_found,
        "warnings": list(found.warnings),
        "contents": sum(map(len, found.contents.values())),
    }


def page() -> str:
    """The page, from what was kept."""
    told = json.loads(FIGURES.read_text())
    concepts = told["concepts"]
    return (
        (ASKED / "page.md.in")
        .read_text()
        .format(
            revision=told["revision"][:12],
            contents=max(one["contents"] for one in concepts.values()),
            rows="\n".join(_rows(concepts)),
            notes="\n".join(_notes(concepts)),
        )
    )


def _rows(concepts: Mapping[str, Any]) -> Iterator[str]:
    for name, one in concepts.items():
        for kind, best in one["best"].items():
            sign = "" if best["sign"] > 0 else " (lower)"
            yield (
                f"| {name} | {kind} | `{best['unit']}`{sign} | {best['auroc']:.3f} "
                f"| {best['low']:.3f}–{best['high']:.3f} | {best['decoy_auroc']:.3f} "
                f"| {best['win_rate']:.2f} ({best['win_low']:.2f}–{best['win_high']:.2f} "
                f"of {best['pairs']}) | {best['q']:.1e} |"
            )


def _notes(concepts: Mapping[str, Any]) -> Iterator[str]:
    for name, one in concepts.items():
        picture = f"../pictures/map-{name.replace(' ', '-')}.png"
        warned = "".join(f" {warning}" for warning in one["warnings"])
        yield (
            f"## {name.capitalize()}\n\n{one['tested']:,} units were tested. "
            f"With sides flipped at random, {one['any_found']} of {one['flips']} data sets "
            f"had a finding.{warned}\n\n"
            f"![Sites and steps, by how well their best direction tells {name}]({picture})\n"
        )


if __name__ == "__main__":
    measure()
