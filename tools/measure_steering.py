"""What steered models do on Lancet, `docs/explanation/what-steering-does.md`.

python tools/measure_steering.py [PART …]    # all parts by default: several hours on one core

Each part writes its figures to results/steering/PART.json; `steering_page.py` writes the page from
them. Items that evaluate are used for nothing else.
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
"""Items that find a direction, that select its strength, and that evaluate."""
QUICK = 16
"""Items that select in the loop over all styles and moods."""
SEEDS_PER_ITEM = 2
EVALUATION_SEED = 1
"""Number of the seeds of evaluation items, as `steer` has it."""
SLIDER = 500
GLASS, WINDOW = "stained glass", ("lancet:window", "present")


def glass(model: Any, progress: Tell) -> dict[str, Any]:
    """Stained glass on 500 items, beside everything that it is compared with."""
    from clerestory.steering import bake

    items = of("style", FOUND + TUNED + MANY)
    searched = json.loads((RESULTS / "searches" / "glass.json").read_text())["searches"]["inside"]
    result = built(
        model,
        "style",
        GLASS,
        items,
        progress,
        hard_negative="=".join(WINDOW),
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
    """How often a window is predicted in true renders in the style that have none."""
    from clerestory.classifiers import load_classifier
    from clerestory.evaluation import Design, rate_of
    from lancet.world.render import render
    from lancet.world.sampler import scene_where
    from lancet.world.table import World

    world = World.load()
    candidates = (scene_where(world, 50_000_000 + n, {"style": GLASS}) for n in range(4 * MANY))
    scenes = [scene for scene in candidates if scene.place != "stained glass window"][:MANY]
    pictures = render(world, BUILD / "art", scenes, processes=1)
    classifier = load_classifier(WINDOW[0])
    predicted = classifier(pictures).argmax(1) == classifier.classes.index(WINDOW[1])
    return vars(rate_of(predicted, Design.for_items([str(scene) for scene in scenes])))


def moose(model: Any, progress: Tell) -> dict[str, Any]:
    """The moose, on which the words fail."""
    from clerestory.evaluation import Condition, Design, Evaluator, Panel, compare_conditions
    from clerestory.reporting.pictures import grid, save
    from clerestory.steering import SteeredModel

    steered = SteeredModel.load(BUILT / "glass", model)
    unseen = of("style", 6000)[FOUND + TUNED + MANY :]
    items = [text for text in unseen if {"moose", "elk"} & set(text.split())][:40]
    conditions = [
        Condition("unedited"),
        Condition("words", words("style", GLASS)),
        Condition("edited", edits=tuple(steered.edits)),
    ]
    outcomes = compare_conditions(
        Evaluator(model, progress=progress),
        conditions,
        Design.for_items(items, SEEDS_PER_ITEM, EVALUATION_SEED),
        Panel.load("lancet:style", GLASS, hard_negative=WINDOW),
        frechet_to="words",
    )
    rows = [picture for outcome in outcomes for picture in outcome.pictures[:8, 0]]
    save(grid(rows, columns=8), PICTURES / "steered-moose.png")
    return {
        "items": len(items),
        "conditions": [outcome.to_dict() for outcome in outcomes],
    }


def removal(model: Any, progress: Tell) -> dict[str, Any]:
    """Stained glass taken out of prompts that ask for it, and what else goes with it."""
    from clerestory.classifiers import load_classifier
    from clerestory.reporting.pictures import grid, save

    items = of("style", FOUND + TUNED + MANY // 2)
    result = built(model, "style", GLASS, items, progress, remove=True)
    rows = [picture for name in ("unedited", "edited") for picture in result.pictures[name][:8, 0]]
    save(grid(rows, columns=8), PICTURES / "steered-removal.png")
    classifier, subject = load_classifier("lancet:style"), load_classifier("lancet:subject")
    few = subject_items(subject.classes)[:FEW]
    figures: dict[str, Any] = {"calibration": result.steered.calibration}
    figures |= retained(model, result.steered.edits, classifier, subject, few, progress)
    return figures


def retained(
    model: Any, edits: Any, classifier: Any, subject: Any, items: list[str], progress: Tell
) -> dict[str, Any]:
    """IRA: the other styles are still drawn; CRA: the subjects are. Without the edits beside.

    Rates have intervals over items, each of which is drawn in every other style.
    """
    import numpy as np

    from clerestory.evaluation import Design, rate_of
    from clerestory.models.core.seeds import item_seeds

    others = [style for style in classifier.classes if style not in (GLASS, "plain")]
    names = dict(subject_items_by_name(subject.classes))
    design = Design.for_items(items, templates=[words("style", style) for style in others])
    seeds = [item_seeds(item, 1)[0] for item in items]
    hits: dict[str, list[Any]] = {name: [] for name in ("ira", "cra", "ira_base", "cra_base")}
    for completed, style in enumerate(others, 1):
        prompts = [words("style", style).replace("{item}", item) for item in items]
        runs = model.sweep(prompts, seeds, [[], edits], paired=True, progress=False)
        for end, run in zip(("_base", ""), runs, strict=True):
            styles = classifier(run.pictures).argmax(1)
            subjects = [subject.classes[at] for at in subject(run.pictures).argmax(1)]
            hits[f"ira{end}"].append(styles == classifier.classes.index(style))
            hits[f"cra{end}"].append(
                np.array(subjects) == np.array([names[item] for item in items])
            )
        progress("other styles", completed, len(others))
    # Cells of a design are item by item, and of each template by template.
    return {
        name: vars(rate_of(np.stack(each, axis=1).reshape(-1), design))
        for name, each in hits.items()
    }


def styles(model: Any, progress: Tell) -> dict[str, Any]:
    """Every style by one loop."""
    return every(model, "style", progress)


def moods(model: Any, progress: Tell) -> dict[str, Any]:
    """Every mood by one loop."""
    return every(model, "mood", progress)


def every(model: Any, factor: str, progress: Tell) -> dict[str, Any]:
    """Each level of a factor, with the same items and settings."""
    from lancet.world.table import World

    items = of(factor, FOUND + QUICK + FEW)
    calibrations = {}
    for level in getattr(World.load(), f"{factor}s"):
        result = built(model, factor, level, items, progress, tuned=QUICK, baselines=0)
        calibrations[level] = result.steered.calibration
    return {"levels": calibrations}


def built(
    model: Any,
    factor: str,
    level: str,
    items: tuple[str, ...],
    progress: Tell,
    *,
    tuned: int = TUNED,
    **options: Any,
) -> Any:
    """A steered model from pairs of prompts; the same for every concept."""
    from clerestory.steering import steer

    return steer(
        model,
        find_style(model, factor, level, items[:FOUND], progress),
        f"lancet:{factor}={level}",
        words(factor, level),
        items=items[FOUND:],
        selection_items=tuned,
        evaluation_items=len(items) - FOUND - tuned,
        seeds_per_item=SEEDS_PER_ITEM,
        sites=[model.conditioning_site],
        progress=progress,
        **options,
    )


def find_style(model: Any, factor: str, level: str, items: tuple[str, ...], progress: Tell) -> Any:
    """The direction at the conditioning site, of items with the words and without."""
    import pandas as pd

    from clerestory.contrasts import find
    from clerestory.recordings import record
    from lancet.world.table import World

    levels = [None, *(name for name in getattr(World.load(), f"{factor}s"))]
    rows = [
        {"prompt": phrase.replace("{x}", item), "item": item, "level": str(each), "phrase": phrase}
        for each in levels
        for phrase in phrases(factor, each)
        for item in items
    ]
    recording = record(
        model,
        pd.DataFrame(rows),
        seeds_per_item=1,
        sites=[model.conditioning_site],
        pictures=False,
        out=BUILT / f"{factor}-{model.revision[:12]}",
        progress=lambda _, completed, total: progress(f"recording {factor}", completed, total),
    )
    negative = "level == 'None'" if level != "plain" else "level not in ['None', 'plain']"
    return find(recording, positive=f"level == '{level}'", negative=negative, match="item")


def phrases(factor: str, level: str | None) -> list[str]:
    """Twelve phrases of a level, with `{x}` for the item, or of no level."""
    from lancet.world.table import World

    world = World.load()
    if level is None:
        names = ("a picture", "a drawing", "an illustration")
        return ["{x}", *world.styles["plain"].words, *(f"{{x}}, {name}" for name in names)]
    own = list(world.factor(factor)[level].words)  # type: ignore[union-attr]
    if "{x}" in own[0]:
        return [*own, *(f"{phrase}, a picture" for phrase in own)][:12]
    frames = ("{word} {{x}}", "a picture of {word} {{x}}", "a drawing of {word} {{x}}")
    return [frame.format(word=word) for frame in frames for word in own]


def words(factor: str, level: str) -> str:
    """The plain way to say it, as a template of `{item}`."""
    return phrases(factor, level)[0].replace("{x}", "{item}")


def of(factor: str, count: int) -> tuple[str, ...]:
    """Items that name no level of it, nor a style; of people without the article.

    So a mood's word can stand where captions have it: "scared" before "woman at sea".
    """
    from lancet.items import contents

    if factor != "mood":
        return contents(count, *dict.fromkeys((factor, "style")))
    every = contents(2 * count, "mood", "style", people=True)
    nouns = dict.fromkeys(re.sub("^an? ", "", text) for text in every)
    return tuple(text for text in nouns if not text.startswith("somebody"))[:count]


def subject_items_by_name(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Items of one subject each, with its name."""
    from lancet.world.table import World

    known = World.load().phrases
    return [(known[name][0], name) for name in names if name in known]


def subject_items(names: tuple[str, ...]) -> list[str]:
    """The same without the names, every third."""
    return [text for text, _ in subject_items_by_name(names)][::3]


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
