"""Data sets of Lancet's activations: neutral phrases split at random, and stained glass."""

from __future__ import annotations

import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from calibration_contrasts import Row, row
from paths import BUILD, DOCS

from clerestory.attribution.games import Sample, estimates
from clerestory.attribution.measurement import Measurer
from clerestory.attribution.paraphrases import TEMPLATES, paraphrase
from clerestory.attribution.pieces import parse_pieces
from clerestory.attribution.shapley import all_coalitions, exact_indices
from clerestory.attribution.targets import parse_targets
from clerestory.contrasts import ContrastSamples, contrast
from clerestory.contrasts.samples import random_halves, split_wording

__all__ = ["FRAMES", "attribute_rows", "glass_rows", "neutral_rows", "record_banks", "subjects"]

BANKS = BUILD / "calibration"
SITES = tuple(f"text.blocks.{block}/mlp" for block in range(4))
STILL = "stained-glass window"
"""The hard negative: the words, but of a thing in the picture."""
PHRASES, SPLITS, FEWEST = 12, 20, 12
"""Neutral phrases of an arm; splits of stained glass; neurons that each of them should find."""
ATTRIBUTED, TARGET = "[alexandra elbakyan] with a [raven]", "lancet:clothes=black"
BANK_SEEDS, DRAWN_SEEDS, SENTENCES = 8, 4, (12, 24, 48)
"""Seeds of each sentence that are drawn, those of one attribution, and its sentences."""
NOUNS = ("a picture", "an image", "a drawing", "a depiction", "an illustration")
NEUTRAL = (
    "{article} {adjectives}{noun} of {{item}}",
    "{{item}} in {article} {adjectives}{noun}",
    "{{item}}, {article} {adjectives}{noun}",
)
ADJECTIVES = ("", "plain ", "simple ", "very plain ", "very simple ")


def neutral_frames() -> list[str]:
    """Frames of Lancet's words that name no style, mood, place or perspective."""
    frames = []
    for pattern, noun, adjectives in product(NEUTRAL, NOUNS, ADJECTIVES):
        article, _, word = noun.partition(" ")
        article = "a" if adjectives else article
        frames.append(pattern.format(article=article, adjectives=adjectives, noun=word))
    return frames


FRAMES = neutral_frames()
"""75 neutral frames."""


def subjects() -> list[str]:
    """The subjects of the styles' prompts."""
    return list(_levels()["subject"].values())


def _levels() -> dict[str, Any]:
    return dict(tomllib.loads((DOCS / "concepts" / "styles.toml").read_text())["levels"])


def glass_phrases() -> dict[str, list[str]]:
    """Phrases by arm of stained glass."""
    styles = _levels()["style"]
    names = {"positive": "stained glass", "negative": "plain", "hard_negative": STILL}
    return {
        arm: [phrase.replace("{subject}", "{item}") for phrase in styles[name]]
        for arm, name in names.items()
    }


def record_banks() -> None:
    """Record each bank that is not there yet: text neurons, averaged over tokens."""
    import clerestory

    model = clerestory.load("lancet")
    BANKS.mkdir(parents=True, exist_ok=True)
    for name, frames in (
        ("neutral", FRAMES),
        ("glass", [phrase for phrases in glass_phrases().values() for phrase in phrases]),
    ):
        path = BANKS / f"{name}-{model.revision[:12]}-{len(frames)}.npz"
        if path.exists():
            continue
        prompts = [frame.format(item=item) for frame in frames for item in subjects()]
        run = model.run(prompts, 0, read=list(SITES), pictures=False, pool="mean", progress=False)
        arrays: dict[str, Any] = {
            address: run.read(address).to_numpy().reshape(len(frames), len(subjects()), -1)
            for address in SITES
        }
        np.savez(path, **arrays)
    path = BANKS / f"attributed-{model.revision[:12]}-{len(TEMPLATES)}.npz"
    if not path.exists():
        np.savez(path, values=_attributed(model))


def _attributed(model: Any) -> np.ndarray:
    """The target `[sentence, coalition, seed]`, 1 where the picture is of its class."""
    from clerestory.evaluation import Evaluator
    from clerestory.models.core.seeds import item_seeds

    prompt = parse_pieces(ATTRIBUTED)
    sentences = paraphrase(prompt, len(TEMPLATES), model=model)
    samples = [
        Sample(sentence.text(row, "baseline"), (seed,))
        for sentence in sentences
        for row in all_coalitions(len(prompt.pieces))
        for seed in item_seeds(sentence.full_text, BANK_SEEDS, 0)
    ]
    measurer = Measurer(Evaluator(model, False), parse_targets(model, [TARGET], "mean"))
    by_sample = measurer.measure(samples, (), None, lambda *_: None).values  # noqa: PD011
    rates = np.array([by_sample[sample][0] for sample in samples])
    return rates.reshape(len(sentences), -1, BANK_SEEDS)


def attribute_rows(sets: int, rng: np.random.Generator) -> list[Row]:
    """Coverage of the shares of two pieces, of sentences and seeds that are drawn from a bank.

    With replacement, so that the mean of the bank is the truth.
    """
    bank = _bank("attributed", len(TEMPLATES))["values"]
    true = exact_indices(bank.mean(2)).shapley.mean(0)
    rows = []
    for count in SENTENCES:
        sentence = rng.integers(len(bank), size=(sets, count, 1))
        seed = rng.integers(bank.shape[2], size=(sets, count, DRAWN_SEEDS))
        # `[set, sentence, coalition]`: all coalitions of a sentence share its seeds.
        drawn = np.moveaxis(bank[sentence, :, seed], 3, 2).mean(3)
        limits = np.array(
            [[[e.low, e.high] for e in estimates(exact_indices(each).shapley, 1)] for each in drawn]
        )
        for piece, name in enumerate(parse_pieces(ATTRIBUTED).labels):
            low, high = limits[:, piece].T
            inside = (low <= true[piece] + 1e-9) & (true[piece] - 1e-9 <= high)
            figures = {"coverage": float(inside.mean()), "width": float((high - low).mean())}
            null = f"Lancet's black clothes, share of {name}: {true[piece]:.2f}"
            rows.append(row("attribute", null, count, count, sets, **figures))
    return rows


def _bank(name: str, frames: int) -> dict[str, np.ndarray]:
    """The recorded activations `[frame, item, unit]` by site."""
    paths = sorted(Path(BANKS).glob(f"{name}-*-{frames}.npz"))
    with np.load(paths[-1]) as arrays:
        return {address: arrays[address] for address in arrays.files}


def _contrast(
    arrays: dict[str, np.ndarray], arms: dict[str, list[int]], rng: np.random.Generator
) -> Any:
    """Contrast arms, which are lists of frames, in a random split into halves."""
    count = next(iter(arrays.values())).shape[1]
    frames = np.concatenate([np.asarray(frames) for frames in arms.values()])
    arm = np.repeat(list(arms), [len(frames) for frames in arms.values()])
    frame, item = (codes.ravel() for codes in np.indices((len(frames), count)))
    table = pd.DataFrame(
        {
            "prompt": [f"{frames[at]} {number}" for at, number in zip(frame, item, strict=True)],
            "item": [f"{number:02}" for number in item],
            "phrase": [f"{arm[at]} {frames[at]}" for at in frame],
            "template": "",
            "arm": arm[frame],
            "seed": 0,
        }
    )
    table["half"] = random_halves(table["item"], rng)
    table, _ = split_wording(table, False, rng)
    used = table.index.to_numpy()
    samples = ContrastSamples(table.reset_index(drop=True), from_pictures=False)
    values = {
        address: array[frames].reshape(-1, array.shape[2])[used]
        for address, array in arrays.items()
    }
    return contrast(values, samples, methods=(), progress=False)


def neutral_rows(sets: int, rng: np.random.Generator) -> list[Row]:
    """How often anything is found between neutral phrases that are split into arms at random."""
    arrays = _bank("neutral", len(FRAMES))
    found = 0
    for _ in range(sets):
        chosen = rng.permutation(len(FRAMES))[: 2 * PHRASES].tolist()
        arms = {"positive": chosen[:PHRASES], "negative": chosen[PHRASES:]}
        found += bool(_contrast(arrays, arms, rng).found())
    items = len(subjects()) // 2
    null = "Lancet's text neurons, neutral phrases"
    figures = {"any_found": found / sets, "frames": len(FRAMES)}
    return [row("find", null, PHRASES // 2, items, sets, **figures)]


def glass_rows() -> list[Row]:
    """How many of 20 text neurons are found for stained glass, in splits by the seeds from 0."""
    phrases = glass_phrases()
    counts = {arm: len(names) for arm, names in phrases.items()}
    ends = np.cumsum(list(counts.values())).tolist()
    arms = {arm: list(range(end - counts[arm], end)) for arm, end in zip(counts, ends, strict=True)}
    arrays = _bank("glass", ends[-1])
    found = []
    for seed in range(SPLITS):
        neurons = _contrast(arrays, arms, np.random.default_rng(seed)).by_kind("neuron")
        found.append(sum(finding.status == "found" for finding in neurons))
    return [
        row(
            "find",
            "Lancet's text neurons, stained glass",
            min(counts.values()) // 2,
            len(subjects()) // 2,
            SPLITS,
            power=float(np.mean(np.array(found) >= FEWEST)),
            found=found,
        )
    ]
