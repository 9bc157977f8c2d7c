"""Attribution patching against patching, on Lancet: `docs/explanation/how-the-network-decides.md`.

python tools/measure_gradients.py [KIND …]     # all kinds of sites by default

Writes results/gradients/patching.json after every kind, and leaves the others in it as they are.
Half of the parts of a kind are those with the largest estimates, the other half is drawn at random.
`generate_docs.py` writes the page from the figures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import measure_paths
import numpy as np
from paths import DOCS, RESULTS
from scipy.stats import spearmanr

from clerestory.types import Floats

FIGURES = RESULTS / "gradients" / "patching.json"
KINDS = {
    "prior embedding": ("prior/embedding", "unit"),
    "text neurons": ("text.*/mlp", "unit"),
    "text heads": ("text.*/z", "head"),
    "prior neurons": ("prior.*/mlp", "unit"),
    "denoiser residual blocks": ("denoiser.*.res.*/out", "unit"),
    "denoiser attention blocks": ("denoiser.*.attn.*/out", "unit"),
    "text residual stream": ("text.*/resid", "unit"),
}
"""By kind the sites, and what is patched at once."""
CLEAN, CORRUPTED = "a plain picture of {}", "a stained glass of {}"
"""Of as many tokens each."""
CLASSIFIER, LABEL = "lancet:style", "stained glass"
OPTIONS = {"steps": 4, "prior_steps": 5}
"""Fewer steps than Lancet's own 8 and 10."""
PAIRS, PARTS, POINTS = 6, 24, 4
RESAMPLES = 2000
MOST_PASSES = 24
"""Passes of integrated gradients beyond which a kind is left to one gradient."""


def measure(model: Any, name: str) -> dict[str, Any]:
    """Estimates and effects of the parts of one kind.

    Args:
        model: Lancet.
        name: The kind.

    Returns:
        Figures, with the values of every part and pair.
    """
    from clerestory.causal import attribution_patching, patch_parts
    from clerestory.evaluation import label

    sites: Any
    kind: Any
    sites, kind = KINDS[name]
    items = model.profile.items(PAIRS, CLASSIFIER)
    clean, corrupted = ([frame.format(item) for item in items] for frame in (CLEAN, CORRUPTED))
    objective = label(CLASSIFIER, LABEL)
    shared: dict[str, Any] = {"progress": False, "batch": PAIRS, **OPTIONS}
    found = attribution_patching(model, clean, corrupted, objective, sites, **shared)
    names, estimates = found.item_estimates(kind)
    chosen = choose(estimates)
    parts = [names[index] for index in chosen]
    effects = patch_parts(model, clean, corrupted, objective, parts, **shared).item_effects()
    figures = {
        "sites": sites,
        "of": len(names),
        "total": found.total,
        "parts": parts,
        "estimates": estimates[:, chosen].tolist(),
        "effects": effects.tolist(),
    }
    # The sites of the parts alone: integrated gradients take passes for each site.
    own = list(dict.fromkeys(part.partition("[")[0] for part in parts))
    if len(own) * POINTS <= MOST_PASSES:
        again = attribution_patching(
            model, clean, corrupted, objective, own, ig_steps=POINTS, **shared
        )
        ig_names, integrated = again.item_estimates(kind)
        columns = [ig_names.index(part) for part in parts]
        figures["integrated"] = integrated[:, columns].tolist()
    return figures


def choose(estimates: Floats) -> list[int]:
    """Half of the parts by the size of the mean estimate, half at random from the others.

    Args:
        estimates: `[pair, part]`.

    Returns:
        Indices of parts.
    """
    order = np.argsort(-np.abs(estimates.mean(0)), kind="stable")
    if len(order) <= PARTS:
        return sorted(order.tolist())
    half = PARTS // 2
    drawn = np.random.default_rng(0).choice(order[half:], PARTS - half, replace=False)
    return sorted([*order[:half].tolist(), *drawn.tolist()])


def agreement(estimates: Sequence[Any], effects: Sequence[Any]) -> dict[str, Any]:
    """How well estimates agree with effects over parts.

    Args:
        estimates: `[pair, part]`.
        effects: `[pair, part]`.

    Returns:
        Spearman's correlation of the means over pairs, its 95% interval over pairs (bootstrap), and
        the slope of effects on estimates through the origin.
    """
    one, other = np.array(estimates, float), np.array(effects, float)
    rng = np.random.default_rng(0)
    draws = rng.integers(len(one), size=(RESAMPLES, len(one)))
    again = [spearmanr(one[rows].mean(0), other[rows].mean(0)).statistic for rows in draws]
    low, high = np.quantile(again, [0.025, 0.975])
    means = one.mean(0), other.mean(0)
    return {
        "spearman": float(spearmanr(*means).statistic),
        "low": float(low),
        "high": float(high),
        "slope": float((means[0] * means[1]).sum() / (means[0] ** 2).sum()),
    }


def table(figures: Mapping[str, Any]) -> str:
    """The kinds as rows of Markdown.

    Args:
        figures: What the file holds.

    Returns:
        The table.
    """
    lines = [
        "| kind of site | parts patched, of | one gradient | effect ÷ estimate | integrated "
        "gradients |",
        "|---|---|---|---|---|",
    ]
    for name, each in figures["kinds"].items():
        plain = agreement(each["estimates"], each["effects"])
        integrated = "–"
        if "integrated" in each:
            own = agreement(each["integrated"], each["effects"])
            integrated = f"{own['spearman']:.2f} ({own['low']:.2f} to {own['high']:.2f})"
        lines.append(
            f"| {name} | {len(each['parts'])} of {each['of']:,} | {plain['spearman']:.2f} "
            f"({plain['low']:.2f} to {plain['high']:.2f}) | {plain['slope']:.2f} | {integrated} |"
        )
    return "\n".join(lines)


WEAK = 0.5
"""A correlation whose interval reaches below this is no ranking to rely on."""


def verdict(figures: Mapping[str, Any]) -> str:
    """Where estimates rank parts and where they fail, in sentences.

    Args:
        figures: What the file holds.

    Returns:
        A sentence for each side that has a kind.
    """
    found = {
        name: agreement(each["estimates"], each["effects"])
        for name, each in figures["kinds"].items()
    }
    weak = [name for name, each in found.items() if each["low"] < WEAK]
    strong = [name for name in found if name not in weak]
    sentences = []
    if strong:
        sentences.append(f"One gradient ranks {', '.join(strong)}.")
    if weak:
        sentences.append(
            f"It cannot be relied on for {', '.join(weak)}: the interval of the correlation "
            f"reaches below {WEAK}."
        )
    missing = [name for name in KINDS if name not in found]
    if missing:
        sentences.append(f"Not measured: {', '.join(missing)}.")
    return " ".join(sentences)


def page() -> str:
    """The page, from the figures."""
    figures = json.loads(FIGURES.read_text())
    text = (DOCS / "gradients" / "page.md.in").read_text()
    fields = {name: figures[name] for name in ("pairs", "label", "points")}
    return text.format(
        **fields,
        **figures["options"],
        revision=figures["revision"],
        clean=figures["clean"].format("ITEM"),
        corrupted=figures["corrupted"].format("ITEM"),
        parts=PARTS,
        table=table(figures),
        verdict=verdict(figures),
        paths=measure_paths.section(),
    )


def main(names: Sequence[str]) -> None:
    """Measure kinds and write the file after each.

    Args:
        names: The kinds; all by default.
    """
    import clerestory

    model = clerestory.load("lancet", device="cpu")
    FIGURES.parent.mkdir(exist_ok=True)
    settings = {
        "revision": model.revision,
        "clean": CLEAN,
        "corrupted": CORRUPTED,
        "label": f"{CLASSIFIER}={LABEL}",
        "pairs": PAIRS,
        "points": POINTS,
        "options": OPTIONS,
    }
    for name in names or KINDS:
        found = measure(model, name)
        # Read now: another call may have measured other kinds meanwhile.
        known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {"kinds": {}}
        if any(known.get(key) != value for key, value in settings.items()):
            known = {"kinds": {}}
        known = {**settings, "kinds": {**known["kinds"], name: found}}
        FIGURES.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
