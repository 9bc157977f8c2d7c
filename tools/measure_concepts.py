"""Where Lancet keeps seven concepts, `docs/explanation/where-concepts-are.md`.

python tools/measure_concepts.py    # writes results/concepts/found.json and the maps

The recordings are in build/concepts, so a second call resumes where the first was stopped.
`generate_docs.py` writes the page from the figures. The queries are in docs/concepts/concepts.toml.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from paths import BUILD, DOCS, PICTURES, RESULTS

QUERIES, FIGURES = DOCS / "concepts", RESULTS / "concepts" / "found.json"
RECORDINGS = BUILD / "concepts"
STAGES = ("text", "prior", "denoiser")
DETECTION_FIGURES = (
    "auroc",
    "low",
    "high",
    "level",
    "hard_negative_auroc",
    "hard_negative_low",
    "hard_negative_high",
    "p",
    "q",
    "df",
    "detectable_auroc",
    "items",
)


def measure() -> None:
    """Record what is not recorded yet, find every concept, write the figures and the maps."""
    import clerestory
    from clerestory.cli import console
    from clerestory.contrasts.charts import save_map

    model = clerestory.load("lancet")
    figures: dict[str, Any] = {"revision": model.revision, "concepts": {}}
    with console.progress_bars() as progress:
        for name in concepts():
            findings = find_concept(model, name, progress)
            figures["concepts"][name] = {**_first_ranked(findings), **_evidence(findings)}
            save_map(findings, PICTURES / f"map-{name.replace(' ', '-')}.png")
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


def concepts() -> dict[str, dict[str, Any]]:
    """Arguments of `find` by concept, and the template of the recording."""
    return dict(tomllib.loads((QUERIES / "concepts.toml").read_text())["concepts"])


def sites() -> list[str]:
    """The sites that every recording has."""
    return list(tomllib.loads((QUERIES / "concepts.toml").read_text())["read"]["sites"])


def find_concept(model: Any, name: str, progress: Any) -> Any:
    """Findings of a concept, from its recording."""
    from clerestory.contrasts import find

    arguments = concepts()[name]
    recording = record_template(model, arguments.pop("template"), progress)
    return find(
        recording,
        **arguments,
        progress=lambda _, completed, total: progress(name, completed, total),
    )


def record_template(model: Any, template: str, progress: Any) -> Any:
    """The recording of a template's prompts, resumed where there is one."""
    from clerestory.recordings import record

    return record(
        model,
        QUERIES / f"{template}.toml",
        sites=sites(),
        out=RECORDINGS / f"{template}-{model.revision[:12]}",
        progress=lambda _, completed, total: progress(f"recording {template}", completed, total),
    )


def _first_ranked(findings: Any) -> dict[str, Any]:
    """The first-ranked direction, and the first-ranked neuron of each stage."""
    first = {"direction": findings.top_ranked("direction")}
    for stage in STAGES:
        neurons = [
            finding
            for finding in findings.by_kind("neuron")
            if finding.unit.partition("/")[0].partition(".")[0] == stage
        ]
        first[f"{stage} neuron"] = min(neurons, key=lambda finding: finding.selection_rank)
    return {
        "best": {
            kind: {
                "unit": finding.unit,
                "sign": finding.sign,
                "status": finding.status,
                **{name: getattr(finding.detects, name) for name in DETECTION_FIGURES},
            }
            for kind, finding in first.items()
        }
    }


def _evidence(findings: Any) -> dict[str, Any]:
    from clerestory.contrasts.findings import design_sentence

    return {
        "tested": findings.tested,
        "units": findings.units,
        "found": len(findings.found()),
        "templates": dict(findings.templates),
        "contrasts": findings.contrasts,
        "design": design_sentence(findings),
        "warnings": [asdict(warning) for warning in findings.warnings],
        "items": sum(map(len, findings.items.values())),
    }


def is_current() -> bool:
    """Whether the figures are of the tests over items and templates; older ones have no design."""
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {"concepts": {}}
    concepts = figures["concepts"].values()
    return bool(concepts) and all("design" in concept for concept in concepts)


def page() -> str:
    """The page, from the figures."""
    figures = json.loads(FIGURES.read_text())
    by_concept = figures["concepts"]
    return (
        (QUERIES / "page.md.in")
        .read_text()
        .format(
            revision=figures["revision"][:12],
            items=max(concept["items"] for concept in by_concept.values()),
            rows="\n".join(_rows(by_concept)),
            notes="\n".join(_notes(by_concept)),
        )
    )


def _rows(by_concept: Mapping[str, Any]) -> Iterator[str]:
    for name, concept in by_concept.items():
        for kind, unit in concept["best"].items():
            sign = "" if unit["sign"] > 0 else " (lower)"
            yield (
                f"| {name} | {kind} | `{unit['unit']}`{sign} | {unit['status']} "
                f"| {unit['auroc']:.3f} | {unit['low']:.3f}–{unit['high']:.3f} "
                f"| {unit['hard_negative_auroc']:.3f} "
                f"| {unit['hard_negative_low']:.3f}–{unit['hard_negative_high']:.3f} "
                f"| {unit['q']:.1e} |"
            )


def _notes(by_concept: Mapping[str, Any]) -> Iterator[str]:
    for name, concept in by_concept.items():
        picture = f"../pictures/map-{name.replace(' ', '-')}.png"
        warnings = "".join(f" {warning['text']}" for warning in concept["warnings"])
        yield (
            f"## {name.capitalize()}\n\n{concept['found']} of {concept['tested']} picks were "
            f"found. {concept['design']}{warnings}\n\n"
            f"![Held-out AUROC of the best direction for {name}, by site and step]({picture})\n"
        )


if __name__ == "__main__":
    measure()
