"""What controls Lancet's pictures, `docs/explanation/what-controls-the-picture.md`.

python tools/measure_causal_effects.py [PART …]    # all parts by default: about an hour

Each part writes its figures to results/causes/PART.json, its maps to docs/pictures. Recordings are
under build/causes. `generate_docs.py` writes the page from the figures.
"""

from __future__ import annotations

import json
import sys
import tomllib
from typing import Any

from measurements import Tell, measured
from paths import BUILD, DOCS, PICTURES, RESULTS

FIGURES, RECORDINGS = RESULTS / "causes", BUILD / "causes"
READ = ["text.*/mlp", "prior.*/mlp@9", "prior/embedding", "denoiser.*/out@4"]
BETWEEN = "prior/embedding[difference]"
"""The direction between prior and denoiser, of whatever group."""
CONTROL = ["place", "colour:tint"]
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
STYLED = ["a stained glass of {x}", "stained glass art of {x}"]


def glass(model: Any, tell: Tell) -> dict[str, Any]:
    """Stained glass: every kind of unit, both maps, whose noise and whose condition."""
    import concepts

    from clerestory.causal import verify
    from clerestory.contrasts import find

    asked = tomllib.loads((concepts.ASKED / "concepts.toml").read_text())
    how = asked["concepts"]["stained glass"]
    recording = concepts.recorded(model, how.pop("template"), asked["read"]["sites"], tell)
    found = find(recording, **how)
    causes = verify(found, model, "lancet:style", "stained glass", progress=tell)
    keep(causes, "stained-glass")
    return told(causes)


def moose(model: Any, tell: Tell) -> dict[str, Any]:
    """A cat in stained glass put, part by part, into a moose asked for in stained glass."""
    from clerestory.causal import trace

    lists = [
        [text.replace("{x}", one + place) for text in STYLED for place in PLACES]
        for one in ("a cat", "a moose")
    ]
    causes = trace(model, *lists, "lancet:style", "stained glass", progress=tell)
    keep(causes, "moose")
    return told(causes)


def scared(model: Any, tell: Tell) -> dict[str, Any]:
    """Scared, where no prompt says so."""
    return grouped(model, tell, "people", "lancet:mood", ("scared",), 240, range(2))


def brought(model: Any, tell: Tell) -> dict[str, Any]:
    """What else the direction of "scared" brings: subjects before and after, as set b sees them."""
    from collections import Counter

    from clerestory import Add
    from clerestory.causal.trials import matched_prompts
    from clerestory.classifiers import classifier
    from clerestory.contrasts import group
    from clerestory.reporting.pictures import grid, save

    recording = random_people(model, tell, "people", 240, range(2))
    found = group(recording, "lancet:mood", control=CONTROL).findings("scared")
    prompts = list(matched_prompts(found, model, "report", 24)["absent"])
    edit = Add(BETWEEN.partition("[")[0], found.direction(BETWEEN))
    runs = model.sweep(prompts, 5, [[], [edit]])
    judge = classifier("lancet:subject")
    rows = [picture for run in runs for picture in run.pictures[:12]]
    save(grid(rows, columns=12), PICTURES / "scared-edit.png")
    seen = [Counter(judge.classes[at] for at in judge(run.pictures).argmax(1)) for run in runs]
    return {"before": dict(seen[0]), "after": dict(seen[1])}


def moods(model: Any, tell: Tell) -> dict[str, Any]:
    """Every mood that comes of random prompts."""
    return grouped(model, tell, "anything", "lancet:mood", None, 600, 0)


def views(model: Any, tell: Tell) -> dict[str, Any]:
    """Every perspective that comes of the same prompts."""
    return grouped(model, tell, "anything", "lancet:perspective", None, 600, 0)


def grouped(
    model: Any,
    tell: Tell,
    prompts: str,
    classifier: str,
    classes: tuple[str, ...] | None,
    count: int,
    seeds: Any,
) -> dict[str, Any]:
    """The groups of random prompts; of each that is asked for what its units do to the picture."""
    from clerestory.causal import verify
    from clerestory.contrasts import group
    from clerestory.contrasts.group_page import page

    recording = random_people(model, tell, prompts, count, seeds)
    groups = group(recording, classifier, control=CONTROL)
    (RECORDINGS / f"{classifier.partition(':')[2]}-{prompts}.html").write_text(
        page(groups, recording)
    )
    found: dict[str, Any] = {}
    for name in classes or groups.groups:
        findings = groups.findings(name)
        units = () if classes else (BETWEEN,)
        causes = verify(
            findings,
            model,
            classifier,
            name,
            units=units,
            maps=False,
            progress=lambda what, done, of, name=name: tell(f"{name}: {what}", done, of),
        )
        found[name] = {**told(causes), "group": groups.told()["groups"][name]}
    return {"groups": found, "split": len(groups.split), "warnings": list(groups.warnings)}


def random_people(model: Any, tell: Tell, prompts: str, count: int, seeds: Any) -> Any:
    """The recording of random fills of a template, gone on with where there is one."""
    from clerestory.recordings import random_prompts, record

    return record(
        model,
        random_prompts(DOCS / "causes" / f"{prompts}.toml", count),
        seeds,
        sites=READ,
        out=RECORDINGS / prompts,
        progress=lambda _, done, of: tell(f"recording {prompts}", done, of),
    )


def told(causes: Any) -> dict[str, Any]:
    """All figures, and the answer in words."""
    return json.loads(json.dumps(causes.told()))


def keep(causes: Any, name: str) -> None:
    """The maps, as pictures of the page."""
    import shutil

    from clerestory.causal.range_charts import save_ranges

    folder = RECORDINGS / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in save_ranges(causes, folder):
        shutil.copy(path, PICTURES / f"{path.stem}-{name}.png")


PARTS = {part.__name__: part for part in (glass, moose, scared, brought, moods, views)}


def page() -> str:
    """The page, from what was kept."""
    kept = {name: json.loads((FIGURES / f"{name}.json").read_text()) for name in PARTS}
    glass, moose, one = kept["glass"], kept["moose"], kept["scared"]["groups"]["scared"]
    return (
        (DOCS / "causes" / "page.md.in")
        .read_text()
        .format(
            revision=glass["revision"],
            glass_contents=glass["contents"],
            glass_unedited=f"{glass['unedited']:.0%}",
            glass_words=_span(glass["words"]),
            glass_rows=_controls(glass["controls"]),
            glass_said=_said(glass["sentences"]),
            glass_swaps=_swaps(glass["swaps"]),
            moose_contents=moose["contents"],
            moose_said=_said(moose["sentences"]),
            scared_contents=one["contents"],
            scared_rows=_controls(one["controls"]),
            scared_said=" ".join(one["sentences"]),
            scared_words=_span(one["words"]),
            before=_counts(kept["brought"]["before"]),
            after=_counts(kept["brought"]["after"]),
            groups_rows=_groups({**kept["moods"]["groups"], **kept["views"]["groups"]}),
            groups_missing=_missing(kept["moods"], kept["views"]),
        )
    )


def _controls(controls: list[dict[str, Any]]) -> str:
    head = "| unit | detects | controls | ablated | patched | shuffled | kept, at worst |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *map(_control, controls)])


def _control(one: dict[str, Any]) -> str:
    band, patch = one["shuffled"], one["patching"]
    kept = min(one["collateral"].items(), key=lambda pair: pair[1], default=("", 1.0))
    mixed = "" if band is None else f"{band['low']:.2f}–{band['high']:.2f}"
    return (
        f"| `{one['unit']}` | {one['detects']:.3f} | {_span(one['addition'])} | "
        f"{_span(one['ablation'])} | {'' if patch is None else _span(patch)} | {mixed} | "
        f"{kept[0].removeprefix('lancet:')} {kept[1]:.2f} |"
    )


def _groups(groups: dict[str, Any]) -> str:
    lines = [
        "| class | prompts | detects | q | controls | shuffled | ablated | holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in groups.items():
        unit, group = one["controls"][0], one["group"]
        q = next(each["q"] for each in group["units"] if each["unit"] == unit["unit"])
        band = unit["shuffled"]
        lines.append(
            f"| {name} | {group['prompts']} | {unit['detects']:.3f} | {q:.1e} | "
            f"{_span(unit['addition'])} | {band['low']:.2f}–{band['high']:.2f} | "
            f"{_span(unit['ablation'])} | {'yes' if unit['controls'] else 'no'} |"
        )
    return "\n".join(lines)


def _missing(*parts: dict[str, Any]) -> str:
    warned = [warning for part in parts for warning in part["warnings"]]
    return _said(warned) if warned else ""


def _swaps(swaps: list[dict[str, Any]]) -> str:
    lines = [
        "| what | as the condition's sample | as the noise's | pictures |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {one['factor'].removeprefix('lancet:')} | {one['condition']:.0%} "
        f"({one['low']:.0%}–{one['high']:.0%}) | {one['noise']:.0%} | {one['pictures']} |"
        for one in swaps
    ]
    return "\n".join(lines)


def _counts(seen: dict[str, int]) -> str:
    ordered = sorted(seen.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {count}" for name, count in ordered)


def _said(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _span(effect: dict[str, float]) -> str:
    return f"{effect['effect']:.2f} ({effect['low']:.2f}–{effect['high']:.2f})"


if __name__ == "__main__":
    measured(PARTS, FIGURES, sys.argv[1:])
