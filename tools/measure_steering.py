"""What steered models do on Lancet, `docs/explanation/what-steering-does.md`.

python tools/measure_steering.py [PART …]    # all parts by default: about two hours

Each part keeps its figures in results/steering/PART.json. `steering_page.py` writes the page from
them.
Directions come of pairs of prompts; contents that report serve for nothing else.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from measurements import Part, Tell, measured
from paths import BUILD, PICTURES, RESULTS

FIGURES, BUILT = RESULTS / "steering", BUILD / "steering"
FOUND, TUNED, FEW, MANY = 50, 24, 32, 500
"""Contents that find a direction, that tune its strength, and that report."""
QUICK = 16
"""Contents that tune in the loop over all concepts."""
SEEDS = range(2)
SLIDER = 500
GLASS, WINDOW = "stained glass", ("lancet:window", "present")


def glass(model: Any, progress: Tell) -> dict[str, Any]:
    """Stained glass on 500 contents, beside everything that it is to be held to."""
    from clerestory.steering import bake

    contents = of("style", FOUND + TUNED + MANY)
    searched = json.loads((RESULTS / "searches" / "glass.json").read_text())["searches"]["inside"]
    result = built(
        model,
        "style",
        GLASS,
        contents,
        progress,
        hard_negative="=".join(WINDOW),
        baselines=20,
        search=[searched["best"][0]["words"]],
        slider=SLIDER,
    )
    result.save(fresh(BUILT / "glass"))
    for name in ("before-after", "frontier"):
        place = PICTURES / f"steered-glass-{name}.png"
        place.write_bytes((BUILT / "glass" / f"{name}.png").read_bytes())
    baked = bake(result.steered, fresh(BUILT / "glass-baked")).to_dict()
    return {"calibration": result.steered.calibration, "baked": {**baked, "folder": None}}


def alarms(model: Any, progress: Tell) -> dict[str, Any]:
    """How often set b sees a window in true renders in the style that have none."""
    from clerestory.classifiers import load_classifier
    from clerestory.evaluation import Design, rate_of
    from lancet.world.render import render
    from lancet.world.sampler import scene_where
    from lancet.world.table import World

    world = World.load()
    every = (scene_where(world, 50_000_000 + n, {"style": GLASS}) for n in range(4 * MANY))
    scenes = [scene for scene in every if scene.place != "stained glass window"][:MANY]
    pictures = render(world, BUILD / "art", scenes, processes=1)
    classifier = load_classifier(WINDOW[0])
    seen = classifier(pictures).argmax(1) == classifier.classes.index(WINDOW[1])
    return vars(rate_of(seen, Design.crossed([str(scene) for scene in scenes])))


def moose(model: Any, progress: Tell) -> dict[str, Any]:
    """The moose, on which the words fail."""
    from clerestory.evaluation import Condition, Design, Evaluator, Panel, compare_conditions
    from clerestory.reporting.pictures import grid, save
    from clerestory.steering import SteeredModel

    steered = SteeredModel.load(BUILT / "glass", model)
    unseen = of("style", 6000)[FOUND + TUNED + MANY :]
    contents = [text for text in unseen if {"moose", "elk"} & set(text.split())][:40]
    conditions = [
        Condition("unedited"),
        Condition("words", words("style", GLASS)),
        Condition("edited", edits=tuple(steered.edits)),
    ]
    outcomes = compare_conditions(
        Evaluator(model, progress=progress),
        conditions,
        Design.crossed(contents, SEEDS),
        Panel.load("lancet:style", GLASS, hard_negative=WINDOW),
        frechet_to="words",
    )
    rows = [picture for outcome in outcomes for picture in outcome.pictures[:8, 0]]
    save(grid(rows, columns=8), PICTURES / "steered-moose.png")
    return {
        "items": len(contents),
        "conditions": [outcome.to_dict() for outcome in outcomes],
    }


def removal(model: Any, progress: Tell) -> dict[str, Any]:
    """Stained glass taken out of prompts that ask for it, and what else goes with it."""
    from clerestory.classifiers import load_classifier
    from clerestory.reporting.pictures import grid, save

    contents = of("style", FOUND + TUNED + MANY // 2)
    result = built(model, "style", GLASS, contents, progress, remove=True)
    rows = [picture for name in ("unedited", "edited") for picture in result.pictures[name][:8, 0]]
    save(grid(rows, columns=8), PICTURES / "steered-removal.png")
    classifier, subject = load_classifier("lancet:style"), load_classifier("lancet:subject")
    few = subject_contents(subject.classes)[:FEW]
    figures: dict[str, Any] = {"calibration": result.steered.calibration}
    figures |= retained(model, result.steered.edits, classifier, subject, few, progress)
    figures["ua"] = 1 - result.calibration.target_rate
    return figures


def retained(
    model: Any, edits: Any, classifier: Any, subject: Any, few: list[str], progress: Tell
) -> dict[str, float]:
    """IRA: the other styles are still drawn; CRA: the subjects are. Without the edits beside."""
    others = [style for style in classifier.classes if style not in (GLASS, "plain")]
    names = dict(subject_contents_by_name(subject.classes))
    right: dict[str, list[float]] = {name: [] for name in ("ira", "cra", "ira_base", "cra_base")}
    for turn, style in enumerate(others):
        said = words("style", style)
        prompts = [said.replace("{item}", text) for text in few]
        runs = model.sweep(prompts, 5, [[], edits])
        for end, run in zip(("_base", ""), runs, strict=True):
            seen = [classifier.classes[at] for at in classifier(run.pictures).argmax(1)]
            things = [subject.classes[at] for at in subject(run.pictures).argmax(1)]
            right[f"ira{end}"] += [float(one == style) for one in seen]
            right[f"cra{end}"] += [
                float(one == names[text]) for one, text in zip(things, few, strict=True)
            ]
        progress("other styles", turn + 1, len(others))
    return {name: sum(hits) / len(hits) for name, hits in right.items()}


def styles(model: Any, progress: Tell) -> dict[str, Any]:
    """Every style by one loop."""
    return every(model, "style", progress)


def moods(model: Any, progress: Tell) -> dict[str, Any]:
    """Every mood by one loop."""
    return every(model, "mood", progress)


def every(model: Any, factor: str, progress: Tell) -> dict[str, Any]:
    """Each level of a factor, with the same contents and settings."""
    from lancet.world.table import World

    contents = of(factor, FOUND + QUICK + FEW)
    calibrations = {}
    for level in getattr(World.load(), f"{factor}s"):
        result = built(model, factor, level, contents, progress, tuned=QUICK, baselines=0)
        calibrations[level] = result.steered.calibration
    return {"levels": calibrations}


def built(
    model: Any,
    factor: str,
    level: str,
    contents: tuple[str, ...],
    progress: Tell,
    *,
    tuned: int = TUNED,
    **options: Any,
) -> Any:
    """A steered model from pairs of prompts; the same for every concept."""
    from clerestory.steering import steer

    return steer(
        model,
        find_style(model, factor, level, contents[:FOUND], progress),
        f"lancet:{factor}={level}",
        words(factor, level),
        items=contents[FOUND:],
        selection_items=tuned,
        evaluation_items=len(contents) - FOUND - tuned,
        seeds=SEEDS,
        sites=[model.conditioning_site],
        progress=progress,
        **options,
    )


def find_style(
    model: Any, factor: str, level: str, contents: tuple[str, ...], progress: Tell
) -> Any:
    """The direction between prior and denoiser, of contents with the words and without."""
    import pandas as pd

    from clerestory.contrasts import find
    from clerestory.recordings import record
    from lancet.world.table import World

    levels = [None, *(name for name in getattr(World.load(), f"{factor}s"))]
    rows = [
        {"prompt": pattern.replace("{x}", text), "item": text, "said": str(one), "phrase": place}
        for one in levels
        for place, pattern in enumerate(said(factor, one))
        for text in contents
    ]
    recording = record(
        model,
        pd.DataFrame(rows),
        sites=[model.conditioning_site],
        pictures=False,
        out=BUILT / f"{factor}-{model.revision[:12]}",
        progress=lambda _, done, of: progress(f"recording {factor}", done, of),
    )
    negative = "said == 'None'" if level != "plain" else "said != 'None' and said != 'plain'"
    return find(recording, positive=f"said == '{level}'", negative=negative, match="item")


def said(factor: str, level: str | None) -> list[str]:
    """Six ways to say a level of what is in place of `{x}`, or to say nothing of it."""
    from lancet.world.table import World

    plain = World.load().styles["plain"].words
    if level is None or (factor == "style" and level == "plain"):
        return ["{x}", *plain[:5]] if level is None else list(plain[:6])
    own = World.load().factor(factor)[level].words  # type: ignore[union-attr]
    if "{x}" in own[0]:
        return list(own[:6])
    return [f"{word} {{x}}" for word in own[:4]] + [
        f"a picture of {word} {{x}}" for word in own[:2]
    ]


def words(factor: str, level: str) -> str:
    """The plain way to say it, as a template of `{item}`."""
    return said(factor, level)[0].replace("{x}", "{item}")


def of(factor: str, count: int) -> tuple[str, ...]:
    """Contents that say nothing of it, nor of the style; of people without the article.

    So a mood's word can stand where captions have it: "scared" before "woman at sea".
    """
    from lancet.items import contents

    if factor != "mood":
        return contents(count, *dict.fromkeys((factor, "style")))
    every = contents(2 * count, "mood", "style", people=True)
    nouns = dict.fromkeys(re.sub("^an? ", "", text) for text in every)
    return tuple(text for text in nouns if not text.startswith("somebody"))[:count]


def subject_contents_by_name(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Plain contents of one subject each, with its name."""
    from lancet.world.table import World

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


PARTS: dict[str, Part] = {
    "glass": glass,
    "alarms": alarms,
    "moose": moose,
    "removal": removal,
    "styles": styles,
    "moods": moods,
}


if __name__ == "__main__":
    measured(PARTS, FIGURES, sys.argv[1:])
