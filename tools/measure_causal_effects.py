"""What controls Lancet's pictures, `docs/explanation/what-controls-the-picture.md`.

python tools/measure_causal_effects.py [PART …]    # all parts by default: two hours on one core

Each part writes its figures to results/causes/PART.json, its maps to docs/pictures. Recordings and
drawn samples are under build/causes, so that a second call resumes. `generate_docs.py` writes the
page from the figures.
"""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from measurements import Tell, measured, small
from paths import BUILD, DOCS, PICTURES, RESULTS

FIGURES, RECORDINGS = RESULTS / "causes", BUILD / "causes"
READ = ["text.*/mlp", "prior.*/mlp@9", "prior/embedding", "denoiser.*/out@4"]
CONDITIONING = "prior/embedding"
"""Between prior and denoiser: all information of the prompt passes through it."""
ITEMS = {"people": ["place", "beside"], "anything": ["who", "place"]}
"""What pictures have to be alike in to be compared, beside the sentence frame and the tint."""
CELLS = {"people": (96, 2, 4), "anything": (448, 16, 1)}
"""Prompts of a recording, how many of one item in one sentence frame, and seeds of each."""
PAIRS = 96
"""Pictures with each edit: items by seeds; as many as side effects of 0.2 take."""
MAP_ITEMS = 12
"""Items that `map_effects` draws each range with."""
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
    """Stained glass: a neuron of each stage, and the direction that all information passes."""
    from clerestory.causal import verify

    findings = _glass_findings(model, progress)
    items = min(24, len(findings.items["evaluation"]))
    result = verify(
        findings,
        model,
        classifier="lancet:style",
        label="stained glass",
        units=first_units(findings),
        items=items,
        seeds_per_item=PAIRS // items,
        maps=False,
        cache=_cache(),
        progress=progress,
    )
    return figures(result)


def glass_maps(model: Any, progress: Tell) -> dict[str, Any]:
    """Where, when and from which sample stained glass comes."""
    from clerestory.causal import map_effects
    from clerestory.causal.trials import matched_prompts

    findings = _glass_findings(model, progress)
    # More than are drawn: text can be patched only in pairs with as many tokens.
    pairs = matched_prompts(findings, model, "evaluation", 2 * MAP_ITEMS)
    result = map_effects(
        model,
        list(pairs["positive"]),
        list(pairs["negative"]),
        classifier="lancet:style",
        label="stained glass",
        cache=_cache(),
        progress=progress,
    )
    save_maps(result, "stained-glass")
    return figures(result)


def _glass_findings(model: Any, progress: Tell) -> Any:
    import measure_concepts

    return measure_concepts.find_concept(model, "stained glass", progress)


def moose(model: Any, progress: Tell) -> dict[str, Any]:
    """A cat in stained glass patched, part by part, into a moose in stained glass."""
    from clerestory.causal import map_effects

    cats, mooses = (
        [template.replace("{item}", animal + place) for template in TEMPLATES for place in PLACES]
        for animal in ("a cat", "a moose")
    )
    result = map_effects(
        model,
        cats,
        mooses,
        classifier="lancet:style",
        label="stained glass",
        cache=_cache(),
        progress=progress,
    )
    save_maps(result, "moose")
    return figures(result)


def scared(model: Any, progress: Tell) -> dict[str, Any]:
    """Scared, where no prompt says so, and what the direction does to twelve pictures."""
    from clerestory.causal.trials import matched_prompts
    from clerestory.edits import Add
    from clerestory.models.core.seeds import item_seeds
    from clerestory.reporting.pictures import grid, save

    result, groups = verify_groups(model, progress, "people", "lancet:mood", ("scared",))
    findings = groups.findings("scared")
    prompts = list(matched_prompts(findings, model, "evaluation", 12)["negative"])
    edit = Add(CONDITIONING, findings.direction(first_units(findings)[0]))
    seeds = [item_seeds(prompt, 1, 1)[0] for prompt in prompts]
    runs = model.sweep(prompts, seeds, [[], [edit]], paired=True)
    save(
        grid([p for run in runs for p in run.pictures], columns=len(prompts)),
        PICTURES / "scared-edit.png",
    )
    return result


def moods(model: Any, progress: Tell) -> dict[str, Any]:
    """Every mood that random prompts give."""
    return verify_groups(model, progress, "anything", "lancet:mood", None)[0]


def views(model: Any, progress: Tell) -> dict[str, Any]:
    """Every perspective that the same prompts give."""
    return verify_groups(model, progress, "anything", "lancet:perspective", None)[0]


def verify_groups(
    model: Any, progress: Tell, prompts: str, classifier: str, classes: tuple[str, ...] | None
) -> tuple[dict[str, Any], Any]:
    """Group random prompts, and verify the units of these classes, or one unit of every class."""
    from clerestory.causal import verify
    from clerestory.contrasts import group
    from clerestory.contrasts.group_page import page

    recording = record_prompts(model, progress, prompts)
    groups = group(recording, classifier=classifier, control=[*ITEMS[prompts], "colour:tint"])
    (RECORDINGS / f"{classifier.partition(':')[2]}-{prompts}.html").write_text(
        page(groups, recording)
    )
    by_class: dict[str, Any] = {}
    for name in classes or groups.groups:
        findings = groups.findings(name)
        result = verify(
            findings,
            model,
            classifier=classifier,
            label=name,
            units=first_units(findings)[: None if classes else 1],
            seeds_per_item=PAIRS // 24,
            maps=False,
            cache=_cache(),
            progress=lambda label, completed, total, name=name: progress(
                f"{name}: {label}", completed, total
            ),
        )
        by_class[name] = {**figures(result), "group": groups.to_dict()["groups"][name]}
    warnings = [asdict(warning) for warning in groups.warnings]
    return {"pictures": len(recording.rows), "groups": by_class, "warnings": warnings}, groups


def first_units(findings: Any) -> list[str]:
    """The first-ranked direction at the conditioning site, and neuron of each stage."""
    first = {CONDITIONING: findings.top_ranked("direction", CONDITIONING).unit}
    for finding in sorted(findings.by_kind("neuron"), key=lambda each: each.selection_rank):
        first.setdefault(finding.unit.partition("/")[0].partition(".")[0], finding.unit)
    return list(first.values())


def record_prompts(model: Any, progress: Tell, prompts: str) -> Any:
    """The recording of random prompts of which `group` leaves none out, resumed if there is one."""
    from clerestory.contrasts.samples import cell_prompts
    from clerestory.recordings import Template, record

    count, per_cell, seeds_per_item = CELLS[prompts]
    if prompts == "people":
        # Those of the mood study: things beside which people look scared in some pictures only.
        study = tomllib.loads((files("lancet.studies") / "mood.toml").read_text())
        template = Template.model_validate(study["record"]["people"]["prompts"])
    else:
        template = Template.read(DOCS / "causes" / f"{prompts}.toml")
    return record(
        model,
        cell_prompts(template.table(), ITEMS[prompts], count, per_cell),
        seeds_per_item=seeds_per_item,
        sites=READ,
        out=RECORDINGS / f"{prompts}-{model.revision[:12]}",
        progress=lambda _, completed, total: progress(f"recording {prompts}", completed, total),
    )


def _cache() -> Any:
    """Drawn samples on disk, so that a second call draws none again."""
    from clerestory.evaluation import SampleCache

    return SampleCache(RECORDINGS / "samples")


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


PARTS = {part.__name__: part for part in (glass, glass_maps, moose, scared, moods, views)}


GROUPS = ("moods", "views")
"""Parts that the page can do without: they take the longest."""


def is_complete() -> bool:
    """Whether everything that the page needs is measured."""
    return all((FIGURES / f"{name}.json").exists() for name in PARTS if name not in GROUPS)


def page() -> str:
    """The page, from the figures."""
    files = {name: FIGURES / f"{name}.json" for name in PARTS}
    parts = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    glass, moose, scared = parts["glass"], parts["moose"], parts["scared"]["groups"]["scared"]
    return (
        (DOCS / "causes" / "page.md.in")
        .read_text()
        .format(
            revision=glass["revision"],
            glass_items=glass["items"],
            glass_seeds=glass["provenance"]["options"]["seeds_per_item"],
            glass_rate=f"{glass['negative_rate']:.0%}",
            glass_prompting=_interval(glass["prompting"]),
            glass_rows=_unit_table(glass["effects"]),
            glass_sentences=_bullets([*glass["sentences"], *_warnings(glass)]),
            map_items=MAP_ITEMS,
            map_sentences=_bullets(parts["glass_maps"]["sentences"]),
            glass_swaps=_swap_table(parts["glass_maps"]["swaps"]),
            moose_items=moose["items"],
            moose_sentences=_bullets(moose["sentences"]),
            scared_pictures=parts["scared"]["pictures"],
            scared_cells=scared["group"]["cells"],
            scared_items=scared["items"],
            scared_rows=_unit_table(scared["effects"]),
            scared_sentences=_bullets([*scared["sentences"], *_warnings(scared)]),
            scared_prompting=_interval(scared["prompting"]),
            scared_changes=_changes(scared["effects"][0]),
            groups=_groups(parts),
        )
    )


def _groups(parts: dict[str, Any]) -> str:
    """The section on moods and perspectives; a sentence where they are not measured."""
    if not set(GROUPS) <= parts.keys():
        command = f"python tools/measure_causal_effects.py {' '.join(GROUPS)}"
        return f"## Moods and perspectives\n\nNot measured with today's tests yet: `{command}`.\n"
    groups = {**parts["moods"]["groups"], **parts["views"]["groups"]}
    return (
        (DOCS / "causes" / "groups.md.in")
        .read_text()
        .format(
            group_pictures=parts["moods"]["pictures"],
            group_rows=_group_table(groups),
            group_statuses=_statuses(groups),
            group_warnings=_bullets(_warnings(parts["moods"], parts["views"])),
        )
    )


def _unit_table(effects: list[dict[str, Any]]) -> str:
    head = "| unit | detects | addition | ablation | patching | baselines | side effects | status |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *map(_unit_row, effects)])


def _unit_row(effect: dict[str, Any]) -> str:
    patching = effect["patching"]
    return (
        f"| `{effect['unit']}` | {effect['detects']:.3f} | {_interval(effect['addition'])} | "
        f"{_interval(effect['ablation'])} | {'–' if patching is None else _interval(patching)} | "
        f"{_baselines(effect)} | {_side_effects(effect)} | {effect['status']} |"
    )


def _baselines(effect: dict[str, Any]) -> str:
    """The range of the baselines' effects and q; a dash where there was no effect to compare."""
    baselines = effect["baselines"]
    if baselines is None:
        return "–"
    return f"{baselines['low']:.2f} to {baselines['high']:.2f}, q {effect['q']:.2g}"


def _side_effects(effect: dict[str, Any]) -> str:
    """Whether all are within the bound; the class that may have changed most, by its limit."""
    side_effects = effect["side_effects"]
    largest = max(side_effects["changes"], key=lambda change: change["limit"])
    verdict = {True: "within the bound", False: "beyond the bound", None: "undecided"}
    return f"{verdict[effect['within_bound']]}; {_change(largest)}"


def _change(change: dict[str, Any]) -> str:
    name = _factor(f"{change['classifier']} {change['label']}")
    return f"{name} {change['change']:+.2f} ({change['low']:+.2f} to {change['high']:+.2f})"


def _changes(effect: dict[str, Any]) -> str:
    """What is certain to change with the label, or that nothing is."""
    return ", ".join(map(_factor, effect["together_with"])) or "nothing"


def _factor(name: str) -> str:
    """The name of a classifier of Lancet, without what all of them have."""
    return name.removeprefix("lancet:").replace(" (evaluation)", "")


def _group_table(groups: dict[str, Any]) -> str:
    lines = [
        "| class | cells | detects | q | addition | baselines | ablation | side effects "
        "| controls |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in groups.items():
        effect, group = result["effects"][0], result["group"]
        unit = next(unit for unit in group["units"] if unit["unit"] == effect["unit"])
        lines.append(
            f"| {name} | {group['cells']} "
            f"| {unit['auroc']:.3f} ({unit['low']:.3f} to {unit['high']:.3f}), {unit['status']} "
            f"| {small(unit['q'])} | {_interval(effect['addition'])} | {_baselines(effect)} "
            f"| {_interval(effect['ablation'])} | {_side_effects(effect)} | {effect['status']} |"
        )
    return "\n".join(lines)


def _statuses(groups: dict[str, Any]) -> str:
    """How many classes have each status."""
    by_status: dict[str, list[str]] = {}
    for name, result in groups.items():
        by_status.setdefault(result["effects"][0]["status"], []).append(name)
    return "; ".join(
        f"{status} for {len(names)} of {len(groups)} ({', '.join(names)})"
        for status, names in sorted(by_status.items(), key=lambda pair: -len(pair[1]))
    )


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


def _warnings(*results: dict[str, Any]) -> list[str]:
    """What limits the evidence, each once."""
    return list(dict.fromkeys(w["text"] for result in results for w in result["warnings"]))


def _bullets(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _interval(effect: dict[str, float]) -> str:
    return f"{effect['effect']:.2f} ({effect['low']:.2f} to {effect['high']:.2f})"


if __name__ == "__main__":
    measured(PARTS, FIGURES, sys.argv[1:])
