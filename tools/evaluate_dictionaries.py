"""What pictures lose where a shipped dictionary's reconstruction stands for the values of its site.

python tools/evaluate_dictionaries.py [NAME …]    # all dictionaries of results/dictionaries

As `clerestory dictionary evaluate` on 24 captions that no dictionary was trained on, with two seeds
each: 192 pictures a dictionary. Writes results/dictionaries/NAME-evaluation.json and a grid of
pictures; `generate_docs.py` writes the table. A second call goes on where the first was stopped.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from paths import BUILD, DOCS, PICTURES, RESULTS

NAMES = ("embedding", "text2", "mid")
FOLDER = RESULTS / "dictionaries"
TRAINED, PROMPTS, SEEDS = 25_000, 24, 2
"""Captions of the sampler that are skipped, more than any dictionary was trained on; then prompts
and seeds of each."""
GRID = "reconstruction-{}.png"
LISTED = ("subject", "style", "mood", "place", "perspective")
"""Classifiers that the page has; the files have all of the model's."""


def measure(names: list[str]) -> None:
    """Evaluate these dictionaries, and write what is found.

    Args:
        names: Names of dictionaries; none for all.
    """
    from PIL import Image

    import clerestory
    from clerestory.cli import console
    from clerestory.dictionaries import Dictionary, evaluate
    from clerestory.evaluation import SampleCache
    from lancet.items import contents

    model = clerestory.load("lancet")
    prompts = [text for text in contents(2 * PROMPTS, start=TRAINED) if _fits(model, text)]
    # The unedited pictures are those of all.
    cache = SampleCache(BUILD / "dictionaries" / "evaluated-samples")
    with console.progress_bars() as tell:
        for name in names or NAMES:
            out = BUILD / "dictionaries" / f"{name}-evaluation"
            result = evaluate(
                model,
                Dictionary.load(FOLDER / name),
                prompts[:PROMPTS],
                seeds_per_item=SEEDS,
                out=out,
                cache=cache,
                progress=tell,
            )
            console.write(result.summary())
            shutil.copy(out / result.figures_file, FOLDER / f"{name}-evaluation.json")
            # With few colours: the site stays small.
            Image.open(out / "grid.png").quantize().save(PICTURES / GRID.format(name))


def _fits(model: Any, caption: str) -> bool:
    from clerestory.errors import PromptError

    try:
        model.check_prompt(caption)
    except PromptError:
        return False
    return True


def evaluated() -> dict[str, dict[str, Any]]:
    """The figures of every dictionary that is evaluated."""
    files = {name: FOLDER / f"{name}-evaluation.json" for name in NAMES}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def section() -> str:
    """The part of the page on reconstructions; "" where none is evaluated."""
    found = evaluated()
    if not found:
        return ""
    first = next(iter(found.values()))
    classifiers = [name for name in LISTED if name in first["conditions"][0]["agreement"]]
    head = ["site", "pictures with", "RMS", "recovered", *(f"same {each}" for each in classifiers)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for figures in found.values():
        lines += _rows(figures, classifiers)
    text = (DOCS / "dictionaries" / "reconstruction.md.in").read_text()
    return text.format(
        table="\n".join(lines),
        activations="\n".join(_activations(found)),
        prompts=len(first["prompts"]),
        seeds=len(first["seeds"][0]),
        grids="\n\n".join(
            f"![{figures['site']}: unedited, reconstruction, random dictionary, mean ablation]"
            f"(../pictures/{GRID.format(name)})"
            for name, figures in found.items()
            if (PICTURES / GRID.format(name)).exists()
        ),
    )


def _rows(figures: Mapping[str, Any], classifiers: list[str]) -> Iterator[str]:
    from clerestory.reporting.intervals import format_interval

    for each in figures["conditions"]:
        if each["condition"] == "unedited":
            continue
        rates = (each["agreement"][name] for name in classifiers)
        cells = [
            f"`{figures['site']}`",
            each["condition"],
            f"{each['rms']:.3f}",
            "–" if each["recovered"] is None else f"{each['recovered']:z.2f}",
            *(format_interval(rate["rate"], rate["low"], rate["high"], ".2f") for rate in rates),
        ]
        yield f"| {' | '.join(cells)} |"


def _activations(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| site | rows | explained variance | at the prompts' own tokens | random dictionary |"
    yield "|---|---|---|---|---|"
    for figures in found.values():
        own = figures["tokens"]
        tokens = "–" if own is None else f"{own['explained_variance']:.3f}"
        yield (
            f"| `{figures['site']}` | {figures['activations']['rows']:,} "
            f"| {figures['activations']['explained_variance']:.3f} | {tokens} "
            f"| {figures['random']['explained_variance']:.3f} |"
        )


if __name__ == "__main__":
    measure(sys.argv[1:])
