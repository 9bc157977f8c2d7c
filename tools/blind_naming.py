"""Name Lancet's pictures from the pictures alone: an outside mark beside the classifiers' rates.

python tools/blind_naming.py draw --model lancet --sheets SHEETS --key KEY [--renders 60]
python tools/blind_naming.py score --names NAMES.csv --key KEY --namer "who named them"

`draw` writes contact sheets without prompts and the labels of each kind into SHEETS, and the key
into KEY. The namer sees SHEETS alone and writes a CSV file with the columns kind, number, name. The
first naming of a picture counts, only names of the list can be right, and a picture that is not
named is not named right. `score` writes results/blind_naming.json, from which `lancet_card.py`
takes the marks, and stores the pictures as small sheets beside it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paths import BUILD, RESULTS
from PIL import Image, ImageDraw, ImageFont

from lancet.evaluation.prompts import EvaluationPrompt
from lancet.world.scene import NONE, Scene
from lancet.world.table import World

FIGURES = RESULTS / "blind_naming.json"
CARD = RESULTS / "lancet.json"
KINDS = ("subject", "mood", "perspective", "style")
RENDER = "render"
"""The kind of held-out renders; they are named by their subject."""
PICTURES, SEED = 60, 0
FIRST_RENDER = 10_500_000
"""Seed of the first scene; scenes of training have smaller ones."""
PLAIN = "plain"
COLUMNS, ROWS = 6, 5
WIDTH, GAP = 192, 12
"""Least width in pixels of a picture to be named, and the gap between two."""
PAPER, TEXT = (251, 250, 246), (45, 45, 48)
POSTERIOR = 100_000
"""Draws from which a corrected rate and its interval are computed."""

Pictures = NDArray[np.uint8]
Row = dict[str, Any]
Naming = tuple[str, int, str]

INSTRUCTIONS = """\
Name every picture of these sheets, from the picture alone.

Sheets are KIND-1.png, KIND-2.png, …; the number of a picture stands above it. The kinds are
{kinds}.
Names are those of KIND-labels.txt; each has one sense, no other word counts, and there is no
partial credit. Guess where you are not sure. In a perspective sheet, name the point of view from
which the thing is seen; `plain` is none of the others.{renders}

Write a CSV file in UTF-8 with this header, one line a picture:

kind,number,name
subject,1,cat

Only the first naming of a picture counts. Every naming that was made is published.
"""


def draw(name: str, sheets: Path, key: Path, renders: int, art: Path) -> None:
    """Draw the pictures, and write sheets and key."""
    import clerestory
    from clerestory.cli import console
    from lancet.classifiers import LancetClassifiers
    from lancet.evaluation.rates import draw as draw_prompts
    from lancet.evaluation.rates import evaluation_prompts

    model, world, prompts = clerestory.load(name), World.load(), evaluation_prompts()
    # Another order for every model: a namer of two models must not know the second one's answers.
    digest = hashlib.sha256(str(model.revision).encode()).digest()
    rng = np.random.default_rng([SEED, int.from_bytes(digest[:8], "big")])
    chosen = choose(world, prompts, rng)
    scenes: list[Scene] = []
    if renders and (art / "sprites.npy").exists():
        scenes = render_scenes(world, [prompts[row] for row in chosen["subject"]], renders, rng)
    elif renders:
        console.write(f"{art} has no sprites: no renders.", err=True)
    asked = [prompts[row] for rows in chosen.values() for row in rows]
    with console.progress_bars() as progress:
        pictures = draw_prompts(model, asked, progress)
    classifiers, rows, by_kind = LancetClassifiers.load("evaluation"), [], {}
    for kind, taken in chosen.items():
        by_kind[kind], pictures = pictures[: len(taken)], pictures[len(taken) :]
        predicted = classified(classifiers, by_kind[kind], kind)
        rows += [
            key_row(kind, number, prompts[row], label)
            for number, (row, label) in enumerate(zip(taken, predicted, strict=True), start=1)
        ]
    if scenes:
        from lancet.world.render import render

        by_kind[RENDER] = render(world, art, scenes, processes=1)
        predicted = classified(classifiers, by_kind[RENDER], "subject")
        rows += [
            render_row(number, scene, label)
            for number, (scene, label) in enumerate(zip(scenes, predicted, strict=True), start=1)
        ]
    counts = {kind: sum(_is_rated(prompt, kind) for prompt in prompts) for kind in KINDS}
    labels = {kind: sorted(world.levels(kind)) for kind in KINDS}
    labels = {kind: [label for label in names if label != NONE] for kind, names in labels.items()}
    write_sheets(sheets, by_kind, labels)
    write_key(key, {"model": name, "revision": model.revision, "prompts": counts}, rows, labels)
    arrays: dict[str, Any] = dict(by_kind)
    np.savez_compressed(key / "pictures.npz", **arrays)


def choose(
    world: World, prompts: Sequence[EvaluationPrompt], rng: np.random.Generator
) -> dict[str, list[int]]:
    """Rows of prompts for each kind, spread evenly over its labels; no prompt is chosen twice."""
    used: set[int] = set()
    chosen: dict[str, list[int]] = {}
    for kind in KINDS:
        levels = [level for level in world.levels(kind) if level != NONE]
        free: dict[str, list[int]] = {level: [] for level in levels}
        for row in rng.permutation(len(prompts)).tolist():
            if row not in used and _asks_for(prompts[row], kind):
                free[getattr(prompts[row], kind)].append(row)
        order = rng.permutation(levels).tolist()
        taken: list[int] = []
        # One of each label in turn, so that the counts of two labels differ by one at most.
        while len(taken) < PICTURES and any(free.values()):
            taken += [free[level].pop() for level in order if free[level]]
        chosen[kind] = rng.permutation(taken[:PICTURES]).tolist()
        used |= set(chosen[kind])
    return chosen


def _asks_for(prompt: EvaluationPrompt, kind: str) -> bool:
    """Whether a picture of this prompt can be on the sheets of this kind."""
    if kind == "perspective":
        # Prompts of the main part are seen straight: they are the plain perspective's.
        return prompt.part == "perspective" or (prompt.part == "main" and prompt.mood == NONE)
    return _is_rated(prompt, kind)


def _is_rated(prompt: EvaluationPrompt, kind: str) -> bool:
    """Whether the card's rate of this kind counts this prompt."""
    part = "perspective" if kind == "perspective" else "main"
    return prompt.part == part and getattr(prompt, kind) != NONE


def render_scenes(
    world: World, prompts: Sequence[EvaluationPrompt], count: int, rng: np.random.Generator
) -> list[Scene]:
    """Held-out scenes of different subjects, in the styles and places of these prompts.

    The subjects are drawn anew: those of the prompts tell nothing about them.
    """
    subjects = list(world.subjects)
    order = [subjects[at] for at in rng.permutation(len(subjects))]
    scenes: list[Scene] = []
    while len(scenes) < count:
        number = len(scenes)
        like = [*prompts[number % len(prompts) :], *prompts]
        scenes.append(_render_scene(world, order[number % len(order)], FIRST_RENDER + number, like))
    return scenes


def _render_scene(
    world: World, subject: str, seed: int, prompts: Iterable[EvaluationPrompt]
) -> Scene:
    """The subject as in the first of these prompts whose style and place training may show."""
    from clerestory.errors import TableError
    from lancet.world.sampler import scene_for

    fixed = {"kind": "object", "subject": subject, "perspective": PLAIN}
    for prompt in prompts:
        try:
            scene = scene_for(world, seed, style=prompt.style, place=prompt.place, **fixed)
        except TableError:
            continue
        if scene.split == "train":
            return scene
    raise TableError(f"No style and place of the prompts can be shown of {subject!r}.")


def classified(classifiers: Any, pictures: Pictures, kind: str) -> list[str]:
    """The likeliest label of each picture; larger pictures are reduced to 64 × 64."""
    factor = pictures.shape[1] // 64
    if factor > 1:
        pictures = np.stack([np.asarray(Image.fromarray(one).reduce(factor)) for one in pictures])
    likeliest = classifiers.probabilities(pictures)[kind].argmax(1)
    return [classifiers.classes[kind][at] for at in likeliest]


def key_row(kind: str, number: int, prompt: EvaluationPrompt, predicted: str) -> Row:
    """A drawn picture's line of the key."""
    return {
        "kind": kind,
        "number": number,
        "label": getattr(prompt, kind),
        "prompt": prompt.prompt,
        "seed": prompt.seed,
        "classified": predicted,
        "rated": _is_rated(prompt, kind),
    }


def render_row(number: int, scene: Scene, predicted: str) -> Row:
    """A render's line of the key."""
    return {
        "kind": RENDER,
        "number": number,
        "label": scene.subject,
        "prompt": scene.caption,
        "seed": scene.seed,
        "classified": predicted,
        "rated": False,
    }


def write_sheets(
    folder: Path, by_kind: Mapping[str, Pictures], labels: Mapping[str, Sequence[str]]
) -> None:
    """Numbered sheets, the labels of each kind and the instructions; nothing of the key."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, pictures in by_kind.items():
        scale = max(2, WIDTH // pictures.shape[2])
        for part, sheet in enumerate(numbered_sheets(pictures, scale), start=1):
            sheet.save(folder / f"{kind}-{part}.png", optimize=True)
        names = labels["subject" if kind == RENDER else kind]
        (folder / f"{kind}-labels.txt").write_text("\n".join(names) + "\n")
    renders = "\nA `render` is named by its subject too." if RENDER in by_kind else ""
    text = INSTRUCTIONS.format(kinds=", ".join(by_kind), renders=renders)
    (folder / "README.txt").write_text(text)


def write_key(
    folder: Path, about: Row, rows: Sequence[Row], labels: Mapping[str, Sequence[str]]
) -> None:
    """The key: every picture's prompt and label, and how it was classified."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**about, "labels": labels, "pictures": rows}
    (folder / "key.json").write_text(json.dumps(content, indent=1) + "\n")


def numbered_sheets(pictures: Pictures, scale: int) -> list[Image.Image]:
    """Sheets of 6 × 5 pictures, each under its number, enlarged by a whole factor."""
    per_sheet = COLUMNS * ROWS
    return [
        _sheet(pictures[start : start + per_sheet], start + 1, scale)
        for start in range(0, len(pictures), per_sheet)
    ]


def _sheet(pictures: Pictures, first: int, scale: int) -> Image.Image:
    side, line = pictures.shape[2] * scale, 20 if scale > 1 else 11
    rows = -(-len(pictures) // COLUMNS)
    size = (COLUMNS * (side + GAP) + GAP, rows * (side + line + GAP) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(line - 2)
    for place, picture in enumerate(pictures):
        left = GAP + place % COLUMNS * (side + GAP)
        top = GAP + place // COLUMNS * (side + line + GAP)
        pen.text((left, top - 3), str(first + place), TEXT, font)
        # Lanczos shows the picture without the edges of enlarged pixels.
        large = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(large, (left, top + line))
    return sheet


def score(files: Sequence[Path], key: Path, namer: str, results: Path = FIGURES) -> list[Row]:
    """The marks of every kind that was named; they replace earlier ones of this model and namer."""
    content = json.loads((key / "key.json").read_text())
    namings = [naming for file in files for naming in read_names(file)]
    entries = marks(content, namings, namer)
    kept = json.loads(results.read_text()) if results.exists() else []
    mine = (content["model"], namer)
    kept = [entry for entry in kept if (entry["model"], entry["namer"]) != mine]
    results.write_text(json.dumps([*kept, *entries], indent=1) + "\n")
    store_pictures(key / "pictures.npz", content["model"], results.with_suffix(""))
    return entries


def read_names(file: Path) -> list[Naming]:
    """The namings (kind, number, name) of a CSV file, in its order."""
    with file.open(newline="", encoding="utf-8-sig") as opened:
        reader = csv.DictReader(opened, skipinitialspace=True)
        if not {"kind", "number", "name"} <= set(reader.fieldnames or ()):
            sys.exit(f"{file}: columns kind, number, name expected, got {reader.fieldnames}.")
        try:
            return [
                (row["kind"].strip(), int(row["number"]), " ".join(row["name"].split()).lower())
                for row in reader
            ]
        except (AttributeError, ValueError) as error:
            sys.exit(f"{file}, line {reader.line_num}: {error}.")


def marks(key: Mapping[str, Any], namings: Sequence[Naming], namer: str) -> list[Row]:
    """One entry a kind: how many pictures were named right, beside the classifier's.

    Args:
        key: The content of key.json.
        namings: All namings, in the order in which they were made.
        namer: Who named the pictures.

    Returns:
        Entries in the order of the kinds; none for a kind without namings.
    """
    rows = {(row["kind"], row["number"]): row for row in key["pictures"]}
    unknown = [naming[:2] for naming in namings if naming[:2] not in rows]
    if unknown:
        sys.exit(f"No picture has the kind and number {unknown[0]}.")
    first: dict[tuple[str, int], str] = {}
    for kind, number, name in namings:
        first.setdefault((kind, number), name)
    ceiling = {f"ceiling{part}": None for part in ("", "_pictures", "_low", "_high", "_classifier")}
    entries = []
    for kind in KINDS:
        pictures = [row for row in key["pictures"] if row["kind"] == kind]
        if not any((kind, row["number"]) in first for row in pictures):
            continue
        entry = {"model": key["model"], "revision": key["revision"], "kind": kind}
        entry |= {**_counts(pictures, first), "namer": namer, **ceiling}
        renders = [row for row in key["pictures"] if row["kind"] == RENDER]
        if kind == "subject" and any((RENDER, row["number"]) in first for row in renders):
            counts = _counts(renders, first)
            entry["ceiling"] = counts["named"]
            for part in ("pictures", "low", "high", "classifier"):
                entry[f"ceiling_{part}"] = counts[part]
            entry["ceiling_names"] = _listed(namings, rows, RENDER)
        entry["corrected"] = _corrected(key, kind, pictures, first)
        entry["names"] = _listed(namings, rows, kind)
        entries.append(entry)
    return entries


def _counts(pictures: Sequence[Row], first: Mapping[tuple[str, int], str]) -> Row:
    from clerestory.stats.rate_intervals import rate_interval

    names = [first.get((row["kind"], row["number"])) for row in pictures]
    right = np.array([n == row["label"] for n, row in zip(names, pictures, strict=True)])
    agree = [n == row["classified"] for n, row in zip(names, pictures, strict=True)]
    low, high = rate_interval(right.astype(float))
    return {
        "pictures": len(pictures),
        "named": int(right.sum()),
        "low": low,
        "high": high,
        "classifier": sum(row["classified"] == row["label"] for row in pictures),
        "agreement": float(np.mean(agree)),
    }


def _listed(namings: Sequence[Naming], rows: Mapping[tuple[str, int], Row], kind: str) -> list[Row]:
    """Every naming of a kind, also those that do not count, with the picture's true label."""
    listed, seen = [], set()
    for named_kind, number, name in namings:
        if named_kind == kind:
            row = rows[kind, number]
            answer = {"number": number, "name": name, "truth": row["label"]}
            about = {part: row[part] for part in ("classified", "prompt")}
            listed.append({**answer, "counts": number not in seen, **about})
            seen.add(number)
    return listed


def _corrected(
    key: Mapping[str, Any], kind: str, pictures: Sequence[Row], first: Mapping[tuple[str, int], str]
) -> Row | None:
    """The card's rate as the namer would have it; None where the card has other weights."""
    card = json.loads(CARD.read_text()) if CARD.exists() else {}
    rate = card.get("evaluation", {}).get("rates", {}).get(kind)
    rated = [row for row in pictures if row["rated"]]
    if card.get("revision") != key["revision"] or rate is None or not rated:
        return None
    total = key["prompts"][kind]
    right = [row["label"] == row["classified"] for row in rated]
    named = [first.get((kind, row["number"])) == row["label"] for row in rated]
    return corrected_rate(right, named, round(rate["rate"] * total), total)


def corrected_rate(
    right: Sequence[bool], named: Sequence[bool], hits: int, total: int
) -> dict[str, float]:
    """A classifier's rate on all pictures, corrected by a namer's on some of them.

    Args:
        right: Whether the classifier is right, of each picture that was named.
        named: Whether the namer is right.
        hits: Of how many of all pictures the classifier is right.
        total: Number of all pictures.

    Returns:
        The median and the central 95% of the rate at which all pictures would be named right.

    Source: double sampling (Tenenbein 1970): namer right given the classifier right, and given it
    wrong, weighted by the classifier's rate; each of the three has Jeffreys' posterior.
    """
    rng = np.random.default_rng(SEED)
    by_classifier, by_namer = np.asarray(right, bool), np.asarray(named, bool)

    def posterior(successes: float, count: float) -> NDArray[np.float64]:
        return rng.beta(successes + 0.5, count - successes + 0.5, POSTERIOR)

    rate = posterior(hits, total)
    if_right = posterior((by_namer & by_classifier).sum(), by_classifier.sum())
    if_wrong = posterior((by_namer & ~by_classifier).sum(), (~by_classifier).sum())
    low, middle, high = np.quantile(rate * if_right + (1 - rate) * if_wrong, [0.025, 0.5, 0.975])
    return {"rate": float(middle), "low": float(low), "high": float(high)}


def store_pictures(file: Path, model: str, folder: Path) -> None:
    """The pictures as sheets at their own size, in 256 colours: MODEL-KIND-1.png, …"""
    folder.mkdir(exist_ok=True)
    with np.load(file) as opened:
        for kind in opened.files:
            for part, sheet in enumerate(numbered_sheets(opened[kind], 1), start=1):
                name = f"{Path(model).name}-{kind}-{part}.png"
                sheet.quantize(256).save(folder / name, optimize=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="draw the pictures, write sheets and key")
    drawing.add_argument("--model", default="lancet")
    drawing.add_argument("--sheets", type=Path, required=True)
    drawing.add_argument("--key", type=Path, required=True)
    drawing.add_argument("--renders", type=int, default=PICTURES, help="number of renders; 0: none")
    drawing.add_argument("--art", type=Path, default=BUILD / "art")
    scoring = commands.add_parser("score", help="compare the names with the key")
    scoring.add_argument("--names", type=Path, nargs="+", required=True)
    scoring.add_argument("--key", type=Path, required=True)
    scoring.add_argument("--namer", required=True, help="who named: a model's name and version")
    options = parser.parse_args()
    if options.command == "draw":
        draw(options.model, options.sheets, options.key, options.renders, options.art)
        return
    from clerestory.cli import console

    for entry in score(options.names, options.key, options.namer):
        of = f"{entry['named']} of {entry['pictures']} named, classifier {entry['classifier']}"
        console.write(f"{entry['kind']}: {of}")


if __name__ == "__main__":
    main()
