"""The card of a steered model: what it does to which model, for people, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

__all__ = ["BEFORE_AFTER", "FRONTIER", "card", "versions"]

BEFORE_AFTER, FRONTIER = "before-after.png", "frontier.png"
THIS = "**this model**"
LIBRARIES = ("clerestory", "torch", "diffusers", "transformers")


def versions() -> dict[str, str]:
    """Of the libraries that an edit depends on."""
    return {name: version(name) for name in LIBRARIES}


def card(told: Mapping[str, Any]) -> str:
    """The card of what `steering.json` says."""
    base, measured = told["base"], told["calibration"]
    lines = [
        f"# {_text(measured.get('shows') or 'A steered model')}",
        "",
        f"Edits for **{_text(base['name'])}** of revision `{_text(base['revision'] or '?')}`.",
        "This folder holds no weights of it. To draw with it:",
        "",
        '    clerestory steer draw THIS_FOLDER "a moose" --out pictures',
        "",
        "## The edits, in their order",
        "",
        *(f"{place}. {_edit(one)}" for place, one in enumerate(told["edits"], 1)),
        "",
    ]
    if measured:
        lines += _measured(measured)
    lines += [
        "## Made with",
        "",
        ", ".join(f"{name} {of}" for name, of in told["versions"].items()),
    ]
    return "\n".join(lines) + "\n"


def _edit(one: Mapping[str, Any]) -> str:
    rest = {name: of for name, of in one.items() if name not in ("kind", "site")}
    said = ", ".join(
        f"{name} {of:.4g}" if isinstance(of, float) else f"{name} {of}" for name, of in rest.items()
    )
    return f"`{_text(one['kind'])}` at `{_text(one['site'])}`: {_text(said)}"


def _measured(measured: Mapping[str, Any]) -> list[str]:
    rows = {THIS: measured, **measured.get("baselines", {})}
    lines = [
        "## What it does",
        "",
        f"{measured['contents']} contents that never mention it, {measured['seeds']} seeds, judged",
        f"by `{_text(measured['classifier'])}` ({_text(measured['set'])}); none of them served to",
        "build it. Kept: the classifier sees the same as in the picture without the edit.",
        "Intervals are over contents.",
        "",
        "| way | concept | kept, mean | subject kept | decoy added |",
        "|---|---|---|---|---|",
        *(_row(name, one) for name, one in rows.items()),
        "",
        *(f"- {_text(warning)}" for warning in measured.get("warnings", ())),
        "",
        f"![Before and after, in pairs]({BEFORE_AFTER})",
        "",
        f"![What was tried: concept rate against what is kept]({FRONTIER})",
        "",
    ]
    return lines


def _row(name: str, one: Mapping[str, Any]) -> str:
    low, high = one["concept_interval"]
    subject, added = one["kept"].get("subject"), one["decoy_added"]
    return (
        f"| {_text(name) if name != THIS else name} | {one['concept_rate']:.2f} "
        f"({low:.2f}-{high:.2f}) | {one['all_kept']:.2f} | "
        f"{'' if subject is None else format(subject, '.2f')} | "
        f"{'' if added is None else format(added, '+.2f')} |"
    )


def _text(text: object) -> str:
    """One line that Markdown and HTML take for text."""
    plain = " ".join(str(text).split())
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
