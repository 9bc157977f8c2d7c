"""The page of what `tools/measure_steering.py` measured, from what it kept."""

from __future__ import annotations

import json
from typing import Any

from measure_steering import FEW, FIGURES, FOUND, GLASS, PARTS, QUICK, SLIDER
from paths import DOCS

__all__ = ["FIGURES", "PARTS", "page"]


def page() -> str:
    """The page, from what was kept."""
    kept = {name: json.loads((FIGURES / f"{name}.json").read_text()) for name in PARTS}
    glass, gone = kept["glass"]["calibration"], kept["removal"]
    baked, mixed = kept["glass"]["baked"], glass["baselines"]["shuffled"]
    levels = {**kept["styles"]["levels"], **kept["moods"]["levels"]}
    rates = sorted((one["target_rate"], name) for name, one in levels.items())
    said = [one["baselines"]["words"]["target_rate"] for one in levels.values()]
    share = {
        name: f"{100 * gone[name]:.1f}" for name in ("ua", "ira", "cra", "ira_base", "cra_base")
    }
    removed = gone["calibration"]
    base = removed["baselines"]["unedited"]["target_rate"]
    return (
        (DOCS / "steering" / "page.md.in")
        .read_text()
        .format(
            revision=kept["glass"]["revision"],
            contents=glass["items"],
            strength=f"{glass['selected']['strength']:.1f}",
            tuned=glass["selection"]["items"],
            glass_rows=_ways({"**steered**": glass, **glass["baselines"]}),
            said=glass["template"],
            directions=mixed["directions"],
            few=mixed["items"],
            slider=SLIDER,
            kept_rows=_kept(glass),
            alarms=_rate(kept["alarms"]),
            baked_difference=f"{baked['max_difference']:.0e}",
            baked_apart=baked["picture_difference"],
            baked_base=baked["base_picture_difference"],
            moose_contents=kept["moose"]["items"],
            moose_rows=_moose(kept["moose"]["conditions"]),
            removal_contents=removed["items"],
            removal_strength=f"{removed['selected']['strength']:.1f}",
            removal_rate=_span(removed),
            removal_base=f"{base:.3f}",
            ua_base=f"{100 * (1 - base):.1f}",
            **share,
            found=FOUND,
            quick=QUICK,
            few_contents=FEW,
            every_rows=_every(levels),
            median=f"{rates[len(rates) // 2][0]:.2f}",
            worst=", ".join(f"{name} {rate:.2f}" for rate, name in rates[:3]),
            median_words=f"{sorted(said)[len(said) // 2]:.2f}",
            failing=_failing(levels),
        )
    )


def _rate(one: dict[str, Any]) -> str:
    return f"{one['rate']:.3f} ({one['low']:.3f}–{one['high']:.3f})"


def _span(one: dict[str, Any]) -> str:
    low, high = one["target_interval"]
    return f"{one['target_rate']:.3f} ({low:.3f}–{high:.3f})"


def _ways(ways: dict[str, Any]) -> str:
    head = "| condition | style | subject | place | mood preserved | mean | windows added (95%) |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, one in ways.items():
        added, between = one["hard_negative_effect"], one.get("hard_negative_interval")
        told = "" if between is None else f" ({between[0]:+.3f} to {between[1]:+.3f})"
        rates = [one["preservation"][factor] for factor in ("subject", "place", "mood")]
        cells = [name, _span(one), *(f"{rate:.3f}" for rate in rates)]
        cells += [f"{one['mean_preservation']:.3f}", f"{added:+.3f}{told}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _kept(glass: dict[str, Any]) -> str:
    """Each factor: preservation, accuracy in true renders of the style, and their ratio."""
    from lancet.classifiers import LancetClassifiers

    judge = LancetClassifiers.load()
    lines = ["| factor | preserved | accuracy in true renders | ratio (aim .93) | words, ratio |"]
    lines.append("|---|---|---|---|---|")
    for name in ("subject", "place", "mood"):
        right, every = judge.accuracy_in_style(name, GLASS)
        own, said = glass["preservation"][name], glass["baselines"]["words"]["preservation"][name]
        true = right / every
        lines.append(f"| {name} | {own:.3f} | {true:.3f} | {own / true:.3f} | {said / true:.3f} |")
    return "\n".join(lines)


def _moose(ways: list[dict[str, Any]]) -> str:
    lines = ["| condition | style | subject preserved | windows added |", "|---|---|---|---|"]
    lines += [
        f"| {one['name']} | {_rate(one['target'])} | "
        f"{one['preservation']['subject']['rate']:.2f} | "
        f"{one['hard_negative_effect']['effect']:+.2f} |"
        for one in ways
    ]
    return "\n".join(lines)


def _every(levels: dict[str, Any]) -> str:
    lines = ["| label | steered | words | unedited | subject preserved | mean | strength |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, one in levels.items():
        beside = one["baselines"]
        lines.append(
            f"| {name} | {_span(one)} | {beside['words']['target_rate']:.2f} | "
            f"{beside['unedited']['target_rate']:.2f} | {one['preservation']['subject']:.2f} | "
            f"{one['mean_preservation']:.2f} | {one['selected']['strength']:.1f} |"
        )
    return "\n".join(lines)


def _failing(levels: dict[str, Any]) -> str:
    """Which fall behind the words by more than both intervals allow, and what was warned of."""
    behind = [
        name
        for name, one in levels.items()
        if one["target_interval"][1] < one["baselines"]["words"]["target_interval"][0]
    ]
    lines = [f"Below the words beyond both intervals: {', '.join(behind) or 'none'}."]
    lines += [
        f"- {name}: {told}"
        for name, one in levels.items()
        for told in one["warnings"]
        if "shuffled" not in told
    ]
    return "\n".join(lines)
