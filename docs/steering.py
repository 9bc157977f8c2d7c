"""What steered models do on Lancet, `docs/explanation/what-steering-does.md`.

python docs/steering.py [glass|moose|removal|styles|moods]     # all by default; about two hours

Each part keeps its figures in docs/steering/PART.json. `generate.py` writes the page from them.
Directions come of pairs of prompts; contents that report serve for nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEPT, PICTURES, BUILD = HERE / "steering", HERE / "pictures", HERE.parent / "build" / "steering"
BRIDGE = "prior/embedding"
FOUND, TUNED, FEW, MANY = 50, 24, 40, 500
"""Contents that find a direction, that tune its strength, and that report."""
SEEDS = range(2)
SLIDER = 500
GLASS, WINDOW = "stained glass", ("lancet:window", "present")
Tell = Callable[[str, int, int], None]


def glass(model: Any, tell: Tell) -> dict[str, Any]:
    """Stained glass on 500 contents, beside everything that it is to be held to."""
    from clerestory.building import bake
    from clerestory.building.slider import Slider

    contents = of("style", FOUND + TUNED + MANY)
    said = words("style", GLASS)
    slider = Slider.trained(model, said, contents[:FOUND], steps=SLIDER, progress=tell)
    searched = json.loads((HERE / "searches" / "glass.json").read_text())["searches"]["inside"]
    made = built(
        model,
        "style",
        GLASS,
        contents,
        tell,
        decoy=WINDOW,
        shuffled=20,
        searched=f"{{x}}, {searched['best'][0]['words']}",
        others={"lora": slider.draw},
    )
    slider.close()
    made.save(fresh(BUILD / "glass"))
    for name in ("before-after", "frontier"):
        place = PICTURES / f"steered-glass-{name}.png"
        place.write_bytes((BUILD / "glass" / f"{name}.png").read_bytes())
    baked = bake(made.steered, fresh(BUILD / "glass-baked")).told()
    return {"calibration": made.steered.calibration, "baked": {**baked, "folder": None}}


def moose(model: Any, tell: Tell) -> dict[str, Any]:
    """The moose, on which the words fail."""
    from clerestory.building.reporting import PLAIN, SAID
    from clerestory.classifying.outcomes import Panel, Way, outcomes
    from clerestory.pictures import grid, save
    from clerestory.steering import SteeredModel

    steered = SteeredModel.load(BUILD / "glass", model)
    places = of("style", 4000)
    contents = [text for text in places if "moose" in text or "elk" in text][:40]
    ways = [Way(PLAIN), Way(SAID, words("style", GLASS)), Way("edited", edits=steered.edits)]
    panel = Panel.of("lancet:style", GLASS, decoy=WINDOW)
    came = outcomes(model, ways, contents, SEEDS, panel, said=SAID, progress=tell)
    rows = [picture for one in came for picture in one.pictures[:8, 0]]
    save(grid(rows, columns=8), PICTURES / "steered-moose.png")
    return {"contents": len(contents), "ways": [one.told() for one in came]}


def removal(model: Any, tell: Tell) -> dict[str, Any]:
    """Stained glass taken out of prompts that ask for it, and what else goes with it."""
    from clerestory.classifying import classifier
    from clerestory.pictures import grid, save

    contents = of("style", FOUND + TUNED + MANY // 2)
    made = built(model, "style", GLASS, contents, tell, remove=True)
    shown = made.report.outcomes
    rows = [picture for name in ("unedited", "edited") for picture in shown[name].pictures[:8, 0]]
    save(grid(rows, columns=8), PICTURES / "steered-removal.png")
    judge, subject = classifier("lancet:style"), classifier("lancet:subject")
    few = subject_contents(subject.classes)[:FEW]
    told: dict[str, Any] = {"calibration": made.steered.calibration}
    told |= retained(model, made.steered.edits, judge, subject, few, tell)
    told["ua"] = 1 - shown["edited"].concept.rate
    return told


def retained(
    model: Any, edits: Any, judge: Any, subject: Any, few: list[str], tell: Tell
) -> dict[str, float]:
    """IRA: the other styles are still drawn; CRA: the subjects are. Without the edits beside."""
    others = [style for style in judge.classes if style not in (GLASS, "plain")]
    names = dict(subject_contents_by_name(subject.classes))
    right: dict[str, list[float]] = {name: [] for name in ("ira", "cra", "ira_base", "cra_base")}
    for turn, style in enumerate(others):
        said = words("style", style)
        prompts = [said.replace("{x}", text) for text in few]
        runs = model.sweep(prompts, 5, [[], edits])
        for end, run in zip(("_base", ""), runs, strict=True):
            seen = [judge.classes[at] for at in judge(run.pictures).argmax(1)]
            things = [subject.classes[at] for at in subject(run.pictures).argmax(1)]
            right[f"ira{end}"] += [float(one == style) for one in seen]
            right[f"cra{end}"] += [
                float(one == names[text]) for one, text in zip(things, few, strict=True)
            ]
        tell("other styles", turn + 1, len(others))
    return {name: sum(hits) / len(hits) for name, hits in right.items()}


def styles(model: Any, tell: Tell) -> dict[str, Any]:
    """Every style by one loop."""
    return every(model, "style", tell)


def moods(model: Any, tell: Tell) -> dict[str, Any]:
    """Every mood by one loop."""
    return every(model, "mood", tell)


def every(model: Any, factor: str, tell: Tell) -> dict[str, Any]:
    """Each level of a factor, with the same contents and settings."""
    from clerestory.lancet.world.table import World

    contents = of(factor, FOUND + TUNED + FEW)
    found = {}
    for level in getattr(World.load(), f"{factor}s"):
        made = built(model, factor, level, contents, tell, shuffled=0)
        found[level] = made.steered.calibration
    return {"levels": found}


def built(
    model: Any,
    factor: str,
    level: str,
    contents: tuple[str, ...],
    tell: Tell,
    *,
    decoy: tuple[str, str] | None = None,
    remove: bool = False,
    **how: Any,
) -> Any:
    """A steered model from pairs of prompts; the same for every concept."""
    from clerestory.building import Concept, build

    concept = Concept(f"lancet:{factor}", level, words(factor, level), decoy, remove)
    return build(
        model,
        found(model, factor, level, contents[:FOUND], tell),
        concept,
        tune=contents[FOUND : FOUND + TUNED],
        report=contents[FOUND + TUNED :],
        seeds=SEEDS,
        sites=[BRIDGE],
        progress=tell,
        **how,
    )


def found(model: Any, factor: str, level: str, contents: tuple[str, ...], tell: Tell) -> Any:
    """The direction between prior and denoiser, of contents with the words and without."""
    import pandas as pd

    from clerestory.finding import find
    from clerestory.lancet.world.table import World

    levels = [None, *(name for name in getattr(World.load(), f"{factor}s"))]
    rows = [
        {"prompt": pattern.replace("{x}", text), "content": text, "said": str(one), "phrase": place}
        for one in levels
        for place, pattern in enumerate(said(factor, one))
        for text in contents
    ]
    recording = model.record(
        pd.DataFrame(rows),
        read=[BRIDGE],
        pictures=False,
        out=BUILD / f"{factor}-{model.revision[:12]}",
        progress=lambda done, of: tell(f"recording {factor}", done, of),
    )
    absent = "said == 'None'" if level != "plain" else "said != 'None' and said != 'plain'"
    return find(recording, shown=f"said == '{level}'", absent=absent, match="content")


def said(factor: str, level: str | None) -> list[str]:
    """Six ways to say a level of what is in place of `{x}`, or to say nothing of it."""
    from clerestory.lancet.world.table import World

    plain = World.load().styles["plain"].words
    if level is None or (factor == "style" and level == "plain"):
        return ["{x}", *plain[:5]] if level is None else list(plain[:6])
    own = World.load().factor(factor)[level].words  # type: ignore[union-attr]
    if "{x}" in own[0]:
        return list(own[:6])
    return [f"{{x}}, {word}" for word in own[:3]] + [f"{plain[0]}, {word}" for word in own[:3]]


def words(factor: str, level: str) -> str:
    """The plain way to say it."""
    return said(factor, level)[0]


def of(factor: str, count: int) -> tuple[str, ...]:
    """Contents that say nothing of it, nor of the style."""
    from clerestory.lancet.contents import contents

    people = True if factor == "mood" else None
    return contents(count, *dict.fromkeys((factor, "style")), people=people)


def subject_contents_by_name(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Plain contents of one subject each, with its name."""
    from clerestory.lancet.world.table import World

    phrases = World.load().phrases
    return [(phrases[name][0], name) for name in names if name in phrases]


def subject_contents(names: tuple[str, ...]) -> list[str]:
    """The same without the names, every third."""
    return [text for text, _ in subject_contents_by_name(names)][::3]


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    return folder


PARTS: dict[str, Callable[[Any, Tell], dict[str, Any]]] = {
    "glass": glass,
    "moose": moose,
    "removal": removal,
    "styles": styles,
    "moods": moods,
}


def measure(names: list[str]) -> None:
    """Measure these parts and keep what came."""
    import clerestory
    from clerestory.cli import console

    model = clerestory.load("lancet")
    KEPT.mkdir(exist_ok=True)
    with console.stages() as tell:
        for name in names or PARTS:
            came = {"revision": model.revision, **PARTS[name](model, tell)}
            (KEPT / f"{name}.json").write_text(json.dumps(came, indent=1) + "\n")


def page() -> str:
    """The page, from what was kept."""
    kept = {name: json.loads((KEPT / f"{name}.json").read_text()) for name in PARTS}
    glass, gone = kept["glass"]["calibration"], kept["removal"]
    baked, mixed = kept["glass"]["baked"], glass["baselines"]["shuffled"]
    levels = {**kept["styles"]["levels"], **kept["moods"]["levels"]}
    rates = sorted((one["concept_rate"], name) for name, one in levels.items())
    said = [one["baselines"]["words"]["concept_rate"] for one in levels.values()]
    share = {
        name: f"{100 * gone[name]:.1f}" for name in ("ua", "ira", "cra", "ira_base", "cra_base")
    }
    removed = gone["calibration"]
    base = removed["baselines"]["unedited"]["concept_rate"]
    return (
        (KEPT / "page.md.in")
        .read_text()
        .format(
            revision=kept["glass"]["revision"],
            contents=glass["contents"],
            strength=f"{glass['picked']['strength']:.1f}",
            tuned=glass["tuned"]["contents"],
            glass_rows=_ways({"**steered**": glass, **glass["baselines"]}),
            said=glass["said"],
            directions=mixed["directions"],
            few=mixed["contents"],
            slider=SLIDER,
            kept_rows=_kept(glass),
            baked_difference=f"{baked['max_difference']:.0e}",
            baked_apart=baked["pictures_apart"],
            baked_base=baked["from_base"],
            moose_contents=kept["moose"]["contents"],
            moose_rows=_moose(kept["moose"]["ways"]),
            removal_contents=removed["contents"],
            removal_strength=f"{removed['picked']['strength']:.1f}",
            removal_rate=_span(removed),
            removal_base=f"{base:.3f}",
            ua_base=f"{100 * (1 - base):.1f}",
            **share,
            found=FOUND,
            few_contents=FEW,
            every_rows=_every(levels),
            median=f"{rates[len(rates) // 2][0]:.2f}",
            worst=", ".join(f"{name} {rate:.2f}" for rate, name in rates[:3]),
            median_words=f"{sorted(said)[len(said) // 2]:.2f}",
            failing=_failing(levels),
        )
    )


def _span(one: dict[str, Any]) -> str:
    low, high = one["concept_interval"]
    return f"{one['concept_rate']:.3f} ({low:.3f}–{high:.3f})"


def _ways(ways: dict[str, Any]) -> str:
    head = (
        "| way | style | subject kept | place kept | mood kept | all kept | windows added (95%) |"
    )
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, one in ways.items():
        added, between = one["decoy_added"], one.get("decoy_added_interval")
        told = "" if between is None else f" ({between[0]:+.3f} to {between[1]:+.3f})"
        kept = " | ".join(f"{one['kept'][name]:.3f}" for name in ("subject", "place", "mood"))
        lines.append(
            f"| {name} | {_span(one)} | {kept} | {one['all_kept']:.3f} | {added:+.3f}{told} |"
        )
    return "\n".join(lines)


def _kept(glass: dict[str, Any]) -> str:
    """Each factor: kept, what set b has right in true renders in the style, and their ratio."""
    from clerestory.classifying import LancetClassifiers

    judge = LancetClassifiers.load("b")
    lines = ["| factor | kept | set b, true renders | ratio (aim .93) | words, ratio |"]
    lines.append("|---|---|---|---|---|")
    for name in ("subject", "place", "mood"):
        right, every = judge.accuracy_in_style(name, GLASS)
        own, said = glass["kept"][name], glass["baselines"]["words"]["kept"][name]
        true = right / every
        lines.append(f"| {name} | {own:.3f} | {true:.3f} | {own / true:.3f} | {said / true:.3f} |")
    return "\n".join(lines)


def _moose(ways: list[dict[str, Any]]) -> str:
    lines = ["| way | style | subject kept | windows added |", "|---|---|---|---|"]
    for one in ways:
        rate = one["concept"]
        lines.append(
            f"| {one['name']} | {rate['rate']:.2f} ({rate['low']:.2f}–{rate['high']:.2f}) | "
            f"{one['kept']['subject']['rate']:.2f} | {one['decoy_added']['change']:+.2f} |"
        )
    return "\n".join(lines)


def _every(levels: dict[str, Any]) -> str:
    lines = ["| concept | steered | words | unedited | subject kept | all kept | strength |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, one in levels.items():
        beside = one["baselines"]
        lines.append(
            f"| {name} | {_span(one)} | {beside['words']['concept_rate']:.2f} | "
            f"{beside['unedited']['concept_rate']:.2f} | {one['kept']['subject']:.2f} | "
            f"{one['all_kept']:.2f} | {one['picked']['strength']:.1f} |"
        )
    return "\n".join(lines)


def _failing(levels: dict[str, Any]) -> str:
    """Which fall behind the words by more than both intervals allow, and what was warned of."""
    behind = [
        name
        for name, one in levels.items()
        if one["concept_interval"][1] < one["baselines"]["words"]["concept_interval"][0]
    ]
    lines = [f"Below the words beyond both intervals: {', '.join(behind) or 'none'}."]
    lines += [f"- {name}: {told}" for name, one in levels.items() for told in one["warnings"]]
    return "\n".join(lines)


if __name__ == "__main__":
    measure(sys.argv[1:])
