"""Measure directions of pictures on Lancet: `results/steering/pictures.json`.

python tools/measure_picture_directions.py [--grid FILE]    # the grid is to be looked at

Lancet draws captions in a style and without; the direction of these pictures is added to other
captions. The figures of `docs/howto/steer-from-pictures.md` are of this file.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from paths import ROOT

import clerestory
from clerestory.edits import Add
from clerestory.evaluation import (
    Condition,
    Design,
    Evaluator,
    Panel,
    compare_drawings,
    side_effects_of,
)
from clerestory.io.validation import to_jsonable
from clerestory.reporting.pictures import grid, save
from clerestory.steering import direction_from_pictures

FIGURES = ROOT / "results" / "steering" / "pictures.json"
STYLE, PLAIN = "a stained glass of {item}", "a picture of {item}"
REFERENCES, OTHERS, TEST = 16, 8, 24
SITE = "prior/embedding"


def main() -> None:
    """Draw, fit, measure, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--grid", type=Path)
    arguments = parser.parse_args()
    model = clerestory.load("lancet")
    items = list(model.profile.items(REFERENCES + OTHERS + REFERENCES + TEST))
    np.random.default_rng(0).shuffle(items)
    references, others = items[:REFERENCES], items[REFERENCES + OTHERS : -TEST]
    test = items[-TEST:]
    good, good_values = _draw(model, STYLE, references, 101)
    plain, plain_values = _draw(model, PLAIN, references, 102)
    unrelated, _ = _draw(model, PLAIN, others, 103)
    pairs = {
        n: direction_from_pictures(model, list(good[:n]), list(plain[:n]), paired=True)
        for n in (3, 4, 8, REFERENCES)
    }
    unpaired = {
        n: direction_from_pictures(model, list(good[:n]), list(unrelated[:n]))
        for n in (4, 8, REFERENCES)
    }
    found = pairs[REFERENCES]
    of_prior = (good_values - plain_values).mean(0)
    edits = {
        f"pictures {strength:g}": found.edit(strength) for strength in (1.0, 2.0, 3.0, 4.0, 6.0)
    }
    edits |= {"prior 1": Add(SITE, of_prior)}
    conditions = [Condition("unedited", PLAIN), Condition("words", STYLE)]
    conditions += [Condition(name, PLAIN, (edit,)) for name, edit in edits.items()]
    drawings = Evaluator(model).draw(conditions, Design.for_items(test))
    panel = Panel.load("lancet:style", "stained glass")
    figures = {
        "pairs": {n: _told(each) for n, each in pairs.items()},
        "unpaired": {n: _told(each) for n, each in unpaired.items()},
        "cosine_to_all_pairs": {
            n: _cosine(each.direction, found.direction) for n, each in pairs.items()
        },
        "prior": {
            "cosine": _cosine(of_prior, found.direction),
            "length": float(np.linalg.norm(of_prior)),
            "length_of_pictures": found.length,
        },
        "conditions": {each.name: each.to_dict() for each in compare_drawings(panel, drawings)},
        "side_effects": {
            drawing.condition.name: asdict(
                side_effects_of(
                    drawing,
                    drawings[0],
                    {"lancet:style": panel.target.classifier, **panel.preserved},
                    panel.target,
                )
            )
            for drawing in drawings[1:]
        },
    }
    FIGURES.write_text(json.dumps(to_jsonable(figures), indent=1) + "\n")
    if arguments.grid is not None:
        save(grid([each for one in drawings for each in one.pictures[:8]], 8), arguments.grid)


def _draw(model: Any, template: str, items: list[str], seed: int) -> tuple[Any, Any]:
    run = model.run([template.format(item=item) for item in items], seed, read=SITE)
    return run.pictures, run.read(SITE).to_numpy()[:, 0]


def _told(found: Any) -> dict[str, Any]:
    return {"auroc": found.auroc, "interval": found.interval}


def _cosine(first: Any, second: Any) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


if __name__ == "__main__":
    main()
