"""The page of what `tools/measure_steering.py` measured, from what it kept."""

from __future__ import annotations

import json
from typing import Any

from measure_steering import FEW, FIGURES, FOUND, GLASS, PARTS, QUICK, SLIDER
from paths import DOCS

__all__ = ["FIGURES", "PARTS", "is_current", "page"]


def is_current() -> bool:
    """Whether figures have a status and side effects; those of earlier tests have neither."""
    return all("status" in figures for figures in _calibrations(_parts()).values())


def _parts() -> dict[str, Any]:
    return {name: json.loads((FIGURES / f"{name}.json").read_text()) for name in PARTS}


def _calibrations(parts: dict[str, Any]) -> dict[str, Any]:
    """The figures of every steered model, by name."""
    own = {name: parts[name]["calibration"] for name in ("glass", "removal")}
    return {**own, **parts["styles"]["levels"], **parts["moods"]["levels"]}


def page() -> str:
    """The page, from the figures."""
    parts = _parts()
    glass, removal = parts["glass"]["calibration"], parts["removal"]
    baked, baselines = parts["glass"]["baked"], glass["baseline_effects"]
    levels = {**parts["styles"]["levels"], **parts["moods"]["levels"]}
    rates = sorted((figures["target_rate"], name) for name, figures in levels.items())
    by_words = [figures["baselines"]["words"]["target_rate"] for figures in levels.values()]
    removed = removal["calibration"]
    before = removed["baselines"]["unedited"]
    return (
        (DOCS / "steering" / "page.md.in")
        .read_text()
        .format(
            revision=parts["glass"]["revision"],
            items=glass["items"],
            seeds=glass["seeds"],
            strength=f"{glass['selected']['strength']:.1f}",
            selection_items=glass["selection"]["items"],
            glass_claim=_claim(glass),
            glass_rows=_conditions({"**steered**": glass, **glass["baselines"]}),
            words=glass["template"],
            directions=baselines["directions"],
            permuted=baselines["permuted"],
            baseline_items=baselines["items"],
            slider=SLIDER,
            preservation_rows=_preservation(glass),
            alarms=_rate(parts["alarms"]),
            baked_difference=f"{baked['max_difference']:.0e}",
            baked_apart=baked["picture_difference"],
            baked_base=baked["base_picture_difference"],
            moose_items=parts["moose"]["items"],
            moose_rows=_moose(parts["moose"]["conditions"]),
            removal_items=removed["items"],
            removal_strength=f"{removed['selected']['strength']:.1f}",
            removal_claim=_claim(removed),
            removal_rate=_span(removed),
            removal_before=_span(before),
            ua=_percent(removed["target_rate"], *removed["target_interval"], less=True),
            ua_base=_percent(before["target_rate"], *before["target_interval"], less=True),
            **{
                name: _percent(*(removal[name][key] for key in ("rate", "low", "high")))
                for name in ("ira", "cra", "ira_base", "cra_base")
            },
            found=FOUND,
            quick=QUICK,
            few_items=FEW,
            every_rows=_every(levels),
            median=f"{rates[len(rates) // 2][0]:.2f}",
            worst=", ".join(f"{name} {rate:.2f}" for rate, name in rates[:3]),
            median_words=f"{sorted(by_words)[len(by_words) // 2]:.2f}",
            failing=_failing(levels),
        )
    )


def _rate(figures: dict[str, Any]) -> str:
    return f"{figures['rate']:.3f} ({figures['low']:.3f}–{figures['high']:.3f})"


def _percent(rate: float, low: float, high: float, *, less: bool = False) -> str:
    """A rate in percent with its interval; `less`: of the pictures without it."""
    if less:
        rate, low, high = 1 - rate, 1 - high, 1 - low
    return f"{100 * rate:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def _span(figures: dict[str, Any]) -> str:
    low, high = figures["target_interval"]
    return f"{figures['target_rate']:.3f} ({low:.3f}–{high:.3f})"


def _claim(figures: dict[str, Any]) -> str:
    """Whether the edit controls the target, by what, and what it changes besides."""
    effect, baselines = figures["effect"], figures["baseline_effects"]
    largest = max(figures["side_effects"]["changes"], key=lambda change: change["limit"])
    verb = {"supported": "is supported", "not supported": "is not supported"}
    text = (
        f"That it controls the style and changes nothing else "
        f"{verb.get(figures['status'], 'is undecided')}: the rate changes by "
        f"{effect['effect']:.2f} ({effect['low']:.2f} to {effect['high']:.2f}), that of "
        f"baselines by {baselines['low']:.2f} to {baselines['high']:.2f} (p {baselines['p']:.2g}); "
        f"of everything else {_change(largest)} may change most."
    )
    together = [change.removeprefix("lancet:") for change in figures["together_with"]]
    return f"{text} Certain to change with it: {', '.join(together)}." if together else text


def _change(change: dict[str, Any]) -> str:
    name = f"{change['classifier'].removeprefix('lancet:')} {change['label']}"
    return f"{name} {change['change']:+.2f} ({change['low']:+.2f} to {change['high']:+.2f})"


def _conditions(conditions: dict[str, Any]) -> str:
    head = "| condition | style | subject | place | mood preserved | mean | windows added (95%) |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, figures in conditions.items():
        added, limits = figures["hard_negative_effect"], figures["hard_negative_interval"]
        interval = "" if limits is None else f" ({limits[0]:+.3f} to {limits[1]:+.3f})"
        rates = [figures["preservation"][factor] for factor in ("subject", "place", "mood")]
        cells = [name, _span(figures), *(f"{rate:.3f}" for rate in rates)]
        cells += [f"{figures['mean_preservation']:.3f}", f"{added:+.3f}{interval}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _preservation(glass: dict[str, Any]) -> str:
    """Each factor: preservation, accuracy in true renders of the style, and their ratio."""
    from lancet.classifiers import LancetClassifiers

    classifiers = LancetClassifiers.load()
    lines = ["| factor | preserved | accuracy in true renders | ratio (aim .93) | words, ratio |"]
    lines.append("|---|---|---|---|---|")
    for name in ("subject", "place", "mood"):
        right, count = classifiers.accuracy_in_style(name, GLASS)
        own, words = glass["preservation"][name], glass["baselines"]["words"]["preservation"][name]
        true = right / count
        lines.append(f"| {name} | {own:.3f} | {true:.3f} | {own / true:.3f} | {words / true:.3f} |")
    return "\n".join(lines)


def _moose(conditions: list[dict[str, Any]]) -> str:
    lines = ["| condition | style | subject preserved | windows added |", "|---|---|---|---|"]
    for condition in conditions:
        subject, windows = condition["preservation"]["subject"], condition["hard_negative_effect"]
        lines.append(
            f"| {condition['name']} | {_rate(condition['target'])} | {_rate(subject)} | "
            f"{windows['effect']:+.2f} ({windows['low']:+.2f} to {windows['high']:+.2f}) |"
        )
    return "\n".join(lines)


def _every(levels: dict[str, Any]) -> str:
    lines = ["| label | steered | words | unedited | subject preserved | mean | strength |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, figures in levels.items():
        baselines = figures["baselines"]
        lines.append(
            f"| {name} | {_span(figures)} | {_span(baselines['words'])} | "
            f"{_span(baselines['unedited'])} | {figures['preservation']['subject']:.2f} | "
            f"{figures['mean_preservation']:.2f} | {figures['selected']['strength']:.1f} |"
        )
    return "\n".join(lines)


def _failing(levels: dict[str, Any]) -> str:
    """Which fall behind the words by more than both intervals allow, and further warnings."""
    behind = [
        name
        for name, figures in levels.items()
        if figures["target_interval"][1] < figures["baselines"]["words"]["target_interval"][0]
    ]
    lines = [f"Below the words beyond both intervals: {', '.join(behind) or 'none'}."]
    # That the loop draws no baselines and few items is said on the page.
    expected = ("few-baselines", "side-effects")
    lines += [
        f"- {name}: {warning['text']}"
        for name, figures in levels.items()
        for warning in figures["warnings"]
        if warning["kind"] not in expected
    ]
    return "\n".join(lines)
