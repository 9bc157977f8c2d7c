"""Where Lancet keeps seven concepts, `docs/explanation/where-concepts-are.md`.

python tools/measure_concepts.py    # writes results/concepts/found.json and the maps

It draws 1,344 pictures and reads 1,984 prompts without drawing them, a quarter of an hour on one
core. The recordings are in build/concepts, so a second call resumes where the first was stopped.
`generate_docs.py` writes the page from the figures. The queries are in docs/concepts/concepts.toml.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from measurements import small
from paths import BUILD, DOCS, PICTURES, RESULTS

QUERIES, FIGURES = DOCS / "concepts", RESULTS / "concepts" / "found.json"
RECORDINGS = BUILD / "concepts"
STAGES = ("text", "prior", "denoiser")
ITEMS, PHRASES = 32, 12
"""Of the items and of each arm's phrases that the files list: one half selects, one evaluates."""
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
    figures: dict[str, Any] = {"revision": model.revision, "items": ITEMS, "phrases": PHRASES}
    figures["concepts"] = {}
    with console.progress_bars() as progress:
        for name in concepts():
            findings = find_concept(model, name, progress)
            figures["concepts"][name] = {**_first_ranked(findings), **_evidence(findings)}
            save_map(findings, PICTURES / f"map-{name.replace(' ', '-')}.png")
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


def concepts() -> dict[str, dict[str, Any]]:
    """Arguments of `find` by concept, and the template of the recording."""
    return dict(tomllib.loads((QUERIES / "concepts.toml").read_text())["concepts"])


def find_concept(model: Any, name: str, progress: Any) -> Any:
    """Findings of a concept, from its recording; saved, since other measurements use them."""
    arguments = concepts()[name]
    recording = record_template(model, arguments.pop("template"), progress)
    return find_once(recording, arguments, found_folder(model, name), progress)


def found_folder(model: Any, name: str) -> Path:
    """Where the findings of a concept are saved."""
    return RECORDINGS / f"found-{model.revision[:12]}" / name.replace(" ", "-")


def find_once(recording: Any, arguments: Mapping[str, Any], folder: Path, progress: Any) -> Any:
    """The findings that are saved in a folder, or found now and saved."""
    from clerestory.contrasts import Findings, find

    if folder.exists():
        return Findings.load(folder)
    findings = find(
        recording,
        **arguments,
        progress=lambda _, completed, total: progress(folder.name, completed, total),
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    findings.save(folder)
    return findings


def record_template(model: Any, template: str, progress: Any) -> Any:
    """The recording of a template's prompts, resumed where there is one."""
    queries = [query for query in concepts().values() if query["template"] == template]
    return record_compared(
        model,
        compared_prompts(QUERIES / f"{template}.toml", queries),
        RECORDINGS / f"{template}-{model.revision[:12]}",
        progress,
        drawn=template in _read()["drawn"],
    )


def record_compared(model: Any, prompts: Any, out: Path, progress: Any, *, drawn: bool) -> Any:
    """Record prompts with a seed for each item; with the denoiser's sites where they are drawn."""
    from clerestory.recordings import record

    return record(
        model,
        prompts,
        sites=sites(drawn=drawn),
        pictures=drawn,
        seeds_per_item=1,
        out=out,
        # Small chunks: a resumed recording draws an unfinished chunk again.
        chunk=64,
        progress=lambda _, completed, total: progress(f"recording {out.name}", completed, total),
    )


def sites(*, drawn: bool) -> list[str]:
    """The sites of a recording: those of text encoder and prior, and of the denoiser."""
    read = _read()
    return [*read["sites"], *(read["denoiser"] if drawn else ())]


def _read() -> dict[str, Any]:
    return dict(tomllib.loads((QUERIES / "concepts.toml").read_text())["read"])


def compared_prompts(path: Path, queries: Sequence[Mapping[str, Any]]) -> Any:
    """The prompts of a file that `find` compares, for any of these queries.

    Each half of the evidence has its own items and phrases, so that of all combinations of an item
    and a phrase half would never be compared: they are not drawn.
    """
    import numpy as np
    import pandas as pd

    from clerestory.contrasts.samples import contrast_samples
    from clerestory.recordings import prompt_table

    table = prompt_table(path)
    arm = str(queries[0]["positive"]).partition(" ")[0]
    names = np.random.default_rng(0).permutation(sorted(table["item"].unique()))[:ITEMS]
    first = table.groupby(arm)["phrase"].transform(lambda phrases: pd.factorize(phrases)[0])
    table = table[table["item"].isin(names) & (first < PHRASES)].reset_index(drop=True)
    # As `contrast_samples` sees a recording of all of them: its halves depend on names alone.
    samples = table.assign(seed=0, bad="", done=True)
    recording: Any = SimpleNamespace(samples=samples, rows=np.arange(len(table)), sites=("prior",))
    no_labels = dict.fromkeys(("selection", "evaluation"), pd.DataFrame(index=table.index))
    compared: set[int] = set()
    for query in queries:
        arms = {name: query[name] for name in ("positive", "negative", "hard_negative")}
        used = contrast_samples(recording, arms, no_labels, match=query["match"])
        compared |= set(used.table.index)
    return table.loc[sorted(compared)].reset_index(drop=True)


def _first_ranked(findings: Any) -> dict[str, Any]:
    """The first-ranked direction, and the first-ranked neuron of each stage."""
    first = {"direction": findings.top_ranked("direction")}
    for stage in STAGES:
        neurons = [
            finding
            for finding in findings.by_kind("neuron")
            if finding.unit.partition("/")[0].partition(".")[0] == stage
        ]
        if neurons:
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
            items=figures["items"],
            phrases=figures["phrases"],
            summary=_summary(by_concept),
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
                f"| {small(unit['q'])} |"
            )


def _summary(by_concept: Mapping[str, Any]) -> str:
    """How many of the table's units are found, by kind, and which are not."""
    units = [
        (name, kind, unit["status"])
        for name, concept in by_concept.items()
        for kind, unit in concept["best"].items()
    ]
    counts = []
    for kind in dict.fromkeys(kind for _, kind, _ in units):
        statuses = [status for _, its_kind, status in units if its_kind == kind]
        counts.append(f"{statuses.count('found')} of {len(statuses)} {kind}s")
    others = [
        f"the {kind} of {name} ({status})" for name, kind, status in units if status != "found"
    ]
    return f"Found: {', '.join(counts)}. Not found: {', '.join(others) or 'none of the table'}."


def _notes(by_concept: Mapping[str, Any]) -> Iterator[str]:
    for name, concept in by_concept.items():
        picture = f"../pictures/map-{name.replace(' ', '-')}.png"
        warnings = "".join(f" {warning['text']}" for warning in concept["warnings"])
        yield (
            f"## {name.capitalize()}\n\n{concept['found']} of {concept['tested']} picks were "
            f"found. {concept['design']}{warnings}\n\n"
            f"![AUROC of the first-ranked direction of each site for {name}]({picture})\n"
        )


if __name__ == "__main__":
    measure()
