"""What controls Lancet's pictures, `docs/explanation/what-controls-the-picture.md`.

python tools/measure_causal_effects.py [PART …]    # all parts by default: about an hour

Each part writes its figures to results/causes/PART.json, its maps to docs/pictures. Recordings are
under build/causes. `generate_docs.py` writes the page from the figures.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from typing import Any

from measurements import Tell, measured
from paths import BUILD, DOCS, PICTURES, RESULTS

FIGURES, RECORDINGS = RESULTS / "causes", BUILD / "causes"
READ = ["text.*/mlp", "prior.*/mlp@9", "prior/embedding", "denoiser.*/out@4"]
CONDITIONING = "prior/embedding[difference]"
"""The direction between prior and denoiser, of whatever group."""
CONTROL = ["who", "place", "colour:tint"]
PLACES = [
    "",
    " in a meadow",
    " at night",
    " by the sea",
    " at dusk",
    " under a blue sky",
    " in a library",
    " in a church",
]
TEMPLATES = ["a stained glass of {item}", "stained glass art of {item}"]


def glass(model: Any, progress: Tell) -> dict[str, Any]:
    """Stained glass: every kind of unit, both maps, conditioning and noise."""
    import measure_concepts

    from clerestory.causal import verify

    findings = measure_concepts.find_concept(model, "stained glass", progress)
    result = verify(
        findings, model, classifier="lancet:style", label="stained glass", progress=progress
    )
    save_maps(result, "stained-glass")
    return figures(result)


def moose(model: Any, progress: Tell) -> dict[str, Any]:
    """A cat in stained glass patched, part by part, into a moose in stained glass."""
    from clerestory.causal import trace

    cats, mooses = (
        [template.replace("{item}", animal + place) for template in TEMPLATES for place in PLACES]
        for animal in ("a cat", "a moose")
    )
    result = trace(
        model, cats, mooses, classifier="lancet:style", label="stained glass", progress=progress
    )
    save_maps(result, "moose")
    return figures(result)


def scared(model: Any, progress: Tell) -> dict[str, Any]:
    """Scared, where no prompt says so."""
    return verify_groups(model, progress, "people", "lancet:mood", ("scared",), 240, range(2))


def side_effects(model: Any, progress: Tell) -> dict[str, Any]:
    """What else the direction of "scared" adds: predicted subjects before and after."""
    from collections import Counter

    from clerestory.causal.trials import matched_prompts
    from clerestory.classifiers import load_classifier
    from clerestory.contrasts import group
    from clerestory.edits import Add
    from clerestory.reporting.pictures import grid, save

    recording = record_prompts(model, progress, "people", 480, 0)
    groups = group(recording, classifier="lancet:mood", control=CONTROL)
    findings = groups.findings("scared")
    prompts = list(matched_prompts(findings, model, "evaluation", 24)["negative"])
    edit = Add(CONDITIONING.partition("[")[0], findings.direction(CONDITIONING))
    runs = model.sweep(prompts, 5, [[], [edit]])
    subject = load_classifier("lancet:subject")
    pictures = [picture for run in runs for picture in run.pictures[:12]]
    save(grid(pictures, columns=12), PICTURES / "scared-edit.png")
    before, after = (
        Counter(subject.classes[at] for at in subject(run.pictures).argmax(1)) for run in runs
    )
    return {"before": dict(before), "after": dict(after)}


def moods(model: Any, progress: Tell) -> dict[str, Any]:
    """Every mood that random prompts give."""
    return verify_groups(model, progress, "anything", "lancet:mood", None, 600, 0)


def views(model: Any, progress: Tell) -> dict[str, Any]:
    """Every perspective that the same prompts give."""
    return verify_groups(model, progress, "anything", "lancet:perspective", None, 600, 0)


def verify_groups(
    model: Any,
    progress: Tell,
    prompts: str,
    classifier: str,
    classes: tuple[str, ...] | None,
    count: int,
    seeds: Any,
) -> dict[str, Any]:
    """Group random prompts, and verify the units of these classes, or one unit of every class."""
    from clerestory.causal import verify
    from clerestory.contrasts import group
    from clerestory.contrasts.group_page import page

    recording = record_prompts(model, progress, prompts, count, seeds)
    groups = group(recording, classifier=classifier, control=CONTROL)
    (RECORDINGS / f"{classifier.partition(':')[2]}-{prompts}.html").write_text(
        page(groups, recording)
    )
    by_class: dict[str, Any] = {}
    for name in classes or groups.groups:
        result = verify(
            groups.findings(name),
            model,
            classifier=classifier,
            label=name,
            units=() if classes else (CONDITIONING,),
            maps=False,
            progress=lambda label, completed, total, name=name: progress(
                f"{name}: {label}", completed, total
            ),
        )
        by_class[name] = {**figures(result), "group": groups.to_dict()["groups"][name]}
    return {"groups": by_class, "warnings": [asdict(warning) for warning in groups.warnings]}


def record_prompts(model: Any, progress: Tell, prompts: str, count: int, seeds: Any) -> Any:
    """The recording of random fills of a template, resumed where there is one."""
    from clerestory.recordings import random_prompts, record

    return record(
        model,
        random_prompts(DOCS / "causes" / f"{prompts}.toml", count),
        seeds,
        sites=READ,
        out=RECORDINGS / prompts,
        progress=lambda _, completed, total: progress(f"recording {prompts}", completed, total),
    )


def figures(result: Any) -> dict[str, Any]:
    """All figures, and the answers as sentences."""
    return dict(json.loads(json.dumps(result.to_dict())))


def save_maps(result: Any, name: str) -> None:
    """Write the maps, as pictures of the page."""
    from clerestory.causal import charts

    folder = RECORDINGS / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in charts.save_maps(result, folder):
        shutil.copy(path, PICTURES / f"{path.stem}-{name}.png")


PARTS = {part.__name__: part for part in (glass, moose, scared, side_effects, moods, views)}


def is_current() -> bool:
    """Whether the figures of groups are of comparisons within cells; older ones count prompts."""
    parts = [json.loads((FIGURES / f"{name}.json").read_text()) for name in ("moods", "views")]
    return all("cells" in one["group"] for part in parts for one in part["groups"].values())


def page() -> str:
    """The page, from the figures."""
    parts = {name: json.loads((FIGURES / f"{name}.json").read_text()) for name in PARTS}
    glass, moose, scared = parts["glass"], parts["moose"], parts["scared"]["groups"]["scared"]
    return (
        (DOCS / "causes" / "page.md.in")
        .read_text()
        .format(
            revision=glass["revision"],
            glass_items=glass["items"],
            glass_rate=f"{glass['negative_rate']:.0%}",
            glass_prompting=_interval(glass["prompting"]),
            glass_rows=_unit_table(glass["effects"]),
            glass_sentences=_bullets(glass["sentences"]),
            glass_swaps=_swap_table(glass["swaps"]),
            moose_items=moose["items"],
            moose_sentences=_bullets(moose["sentences"]),
            scared_items=scared["items"],
            scared_rows=_unit_table(scared["effects"]),
            scared_sentences=" ".join(scared["sentences"]),
            scared_prompting=_interval(scared["prompting"]),
            before=_counts(parts["side_effects"]["before"]),
            after=_counts(parts["side_effects"]["after"]),
            group_rows=_group_table({**parts["moods"]["groups"], **parts["views"]["groups"]}),
            group_warnings=_bullets(
                [
                    warning["text"]
                    for part in ("moods", "views")
                    for warning in parts[part]["warnings"]
                ]
            ),
        )
    )


def _unit_table(effects: list[dict[str, Any]]) -> str:
    head = "| unit | detects | addition | ablation | patching | shuffled | preservation, at worst |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *map(_unit_row, effects)])


def _unit_row(effect: dict[str, Any]) -> str:
    baselines, patching = effect["baselines"], effect["patching"]
    worst = min(effect["preservation"].items(), key=lambda pair: pair[1], default=("", 1.0))
    shuffled = "" if baselines is None else f"{baselines['low']:.2f}–{baselines['high']:.2f}"
    return (
        f"| `{effect['unit']}` | {effect['detects']:.3f} | {_interval(effect['addition'])} | "
        f"{_interval(effect['ablation'])} | {'' if patching is None else _interval(patching)} | "
        f"{shuffled} | {worst[0].removeprefix('lancet:')} {worst[1]:.2f} |"
    )


def _group_table(groups: dict[str, Any]) -> str:
    lines = [
        "| class | cells | detects | q | addition | shuffled | ablation | controls |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in groups.items():
        effect, group = result["effects"][0], result["group"]
        q = next(unit["q"] for unit in group["units"] if unit["unit"] == effect["unit"])
        baselines = effect["baselines"]
        lines.append(
            f"| {name} | {group['cells']} | {effect['detects']:.3f} | {q:.1e} | "
            f"{_interval(effect['addition'])} | {baselines['low']:.2f}–{baselines['high']:.2f} | "
            f"{_interval(effect['ablation'])} | {'yes' if effect['controls'] else 'no'} |"
        )
    return "\n".join(lines)


def _swap_table(swaps: list[dict[str, Any]]) -> str:
    lines = [
        "| factor | as the conditioning's sample | as the noise's | pictures |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {swap['factor'].removeprefix('lancet:')} | {swap['conditioning']:.0%} "
        f"({swap['low']:.0%}–{swap['high']:.0%}) | {swap['noise']:.0%} | {swap['pictures']} |"
        for swap in swaps
    ]
    return "\n".join(lines)


def _counts(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {count}" for name, count in ordered)


def _bullets(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _interval(effect: dict[str, float]) -> str:
    return f"{effect['effect']:.2f} ({effect['low']:.2f}–{effect['high']:.2f})"


if __name__ == "__main__":
    measured(PARTS, FIGURES, sys.argv[1:])
