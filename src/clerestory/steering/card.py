"""The card of a steered model: what it does to which model, for people, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from clerestory.reporting.escaping import markdown
from clerestory.reporting.escaping import markdown_code as code

__all__ = ["BEFORE_AFTER", "FRONTIER", "MEASURED", "card", "versions"]

BEFORE_AFTER, FRONTIER = "before-after.png", "frontier.png"
THIS = "**this model**"
MEASURED = {
    "items",
    "seeds",
    "classifier",
    "role",
    "target_rate",
    "target_interval",
    "preservation",
    "mean_preservation",
    "hard_negative_effect",
    "effect",
    "side_effects",
    "status",
}
"""Keys of a calibration that `steer` made, whose figures the card shows."""
LIBRARIES = ("clerestory", "torch", "diffusers", "transformers")


def versions() -> dict[str, str]:
    """The versions of the libraries that an edit depends on."""
    return {name: version(name) for name in LIBRARIES}


def card(steering: Mapping[str, Any]) -> str:
    """Render the card of a steered model; every text is escaped.

    Args:
        steering: The fields of `SavedSteering`.

    Returns:
        Markdown.
    """
    base, calibration = steering["base"], steering["calibration"]
    lines = [
        f"# {markdown(calibration.get('label') or 'A steered model')}",
        "",
        f"Edits for **{markdown(base['name'])}** of revision `{code(base['revision'] or '?')}`.",
        "This folder holds no weights of it. To draw with it:",
        "",
        # Indented by four, which is code in Markdown.
        '    clerestory steer draw THIS_FOLDER "a moose" --out pictures',
        "",
        "## The edits, in their order",
        "",
        *(f"{number}. {_edit(edit)}" for number, edit in enumerate(steering["edits"], 1)),
        "",
    ]
    # Edits that were saved without `steer` have no figures, or some of their own.
    if set(calibration) >= MEASURED:
        lines += _figures(calibration)
    lines += [
        "## Made with",
        "",
        ", ".join(markdown(f"{name} {version}") for name, version in steering["versions"].items()),
    ]
    return "\n".join(lines) + "\n"


def _edit(edit: Mapping[str, Any]) -> str:
    """An edit in one line: its kind, its site, its settings."""
    settings = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in edit.items()
        # A dictionary's configuration is a mapping, too long for a line.
        if name not in ("kind", "site") and not isinstance(value, Mapping)
    )
    region = edit.get("region")
    if isinstance(region, Mapping):
        settings += f", region a mask of {'×'.join(map(str, region.get('mask', ())))}"
    return f"`{code(edit['kind'])}` at `{code(edit['site'])}`: {markdown(settings)}"


def _figures(calibration: Mapping[str, Any]) -> list[str]:
    """The part of the card with figures and pictures."""
    rows = {THIS: calibration, **calibration.get("baselines", {})}
    return [
        "## What it does",
        "",
        f"{markdown(calibration['items'])} items that never mention it, "
        f"{_count_seeds(calibration['seeds'])};",
        f"`{code(calibration['classifier'])}` ({markdown(calibration['role'])}) predicts. None of",
        "the items was used to build it. Preserved: a classifier predicts the same as of the",
        "unedited picture. Intervals are over items; of baselines, the range of rates.",
        "",
        "| condition | target | preserved, mean | subject preserved | hard negative | items |",
        "|---|---|---|---|---|---|",
        *(_row(name, {"items": calibration["items"], **each}) for name, each in rows.items()),
        "",
        *_claim(calibration),
        "",
        *(f"- {markdown(each['text'])}" for each in calibration.get("warnings", ())),
        "",
        f"![Rows: without the edit, with it, by the words]({BEFORE_AFTER})",
        "",
        f"![What was tried: target rate against preservation]({FRONTIER})",
        "",
    ]


def _claim(calibration: Mapping[str, Any]) -> list[str]:
    """Whether the edit controls the target, against baselines, and what else it changes."""
    effect, baselines = calibration["effect"], calibration["baseline_effects"]
    side_effects = calibration["side_effects"]
    limits = [change["limit"] for change in side_effects["changes"]]
    lines = [
        f"**That it controls {markdown(calibration['label'])} and changes nothing else is "
        f"{markdown(calibration['status'])}**: the rate changes by {effect['effect']:.2f} "
        f"({effect['low']:.2f} to {effect['high']:.2f}; more than "
        f"{calibration['smallest_effect']:.2f} is needed)."
    ]
    # Said in words, since a missing figure would read as a passed comparison.
    if baselines is None:
        lines.append("It was not compared with edits without the concept.")
    else:
        lines.append(
            f"{markdown(baselines['directions'])} edits of its length without the concept change "
            f"it by at most {baselines['high']:.2f} on {markdown(baselines['items'])} items "
            f"(p = {baselines['p']:.3f})."
        )
    if limits:
        lines.append(
            f"No other class changes by more than {max(limits):.2f} (upper limits; the bound is "
            f"{side_effects['bound']:.2f})."
        )
    if calibration.get("region_change") is not None:
        lines.append(_region_change(calibration["region_change"]))
    if calibration["together_with"]:
        changes = ", ".join(markdown(change) for change in calibration["together_with"])
        lines.append(f"It changes as well: {changes}.")
    return lines


def _region_change(change: Mapping[str, Any]) -> str:
    sides = []
    for name in ("inside", "outside"):
        each = change[name]
        if each is not None:
            sides.append(
                f"{each['mean']:.3f} ({each['low']:.3f} to {each['high']:.3f}) {name} of the region"
            )
    return (
        f"Pictures change by {' and by '.join(sides)}, which is {change['share']:.0%} of the "
        "picture (root mean square, of 1)."
    )


def _count_seeds(seeds: int) -> str:
    return "one seed" if seeds == 1 else f"{markdown(seeds)} seeds"


def _row(name: str, figures: Mapping[str, Any]) -> str:
    """A condition's row of the table."""
    low, high = figures["target_interval"]
    mean, subject = figures["mean_preservation"], figures["preservation"].get("subject")
    effect = figures["hard_negative_effect"]
    cells = [
        # Bold by intention; every other name is escaped.
        markdown(name) if name != THIS else name,
        f"{figures['target_rate']:.2f} ({low:.2f}-{high:.2f})",
        "" if mean is None else f"{mean:.2f}",
        # Cells stay empty rather than 0: nothing was measured.
        "" if subject is None else f"{subject:.2f}",
        "" if effect is None else f"{effect:+.2f}",
        markdown(figures["items"]),
    ]
    return f"| {' | '.join(cells)} |"
