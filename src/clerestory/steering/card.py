"""The card of a steered model: what it does to which model, for people, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from clerestory.reporting.escaping import markdown
from clerestory.reporting.escaping import markdown_code as code

__all__ = ["BEFORE_AFTER", "FRONTIER", "card", "versions"]

BEFORE_AFTER, FRONTIER = "before-after.png", "frontier.png"
THIS = "**this model**"
NEEDED = {"contents", "seeds", "classifier", "role", "concept_rate", "concept_interval", "kept"}
NEEDED |= {"all_kept", "decoy_added"}
"""What a calibration has that is shown: `steer build` makes such."""
LIBRARIES = ("clerestory", "torch", "diffusers", "transformers")


def versions() -> dict[str, str]:
    """Of the libraries that an edit depends on."""
    return {name: version(name) for name in LIBRARIES}


def card(told: Mapping[str, Any]) -> str:
    """The card of what `steering.json` says."""
    base, measured = told["base"], told["calibration"]
    lines = [
        f"# {markdown(measured.get('shows') or 'A steered model')}",
        "",
        f"Edits for **{markdown(base['name'])}** of revision `{code(base['revision'] or '?')}`.",
        "This folder holds no weights of it. To draw with it:",
        "",
        '    clerestory steer draw THIS_FOLDER "a moose" --out pictures',
        "",
        "## The edits, in their order",
        "",
        *(f"{place}. {_edit(one)}" for place, one in enumerate(told["edits"], 1)),
        "",
    ]
    if set(measured) >= NEEDED:
        lines += _measured(measured)
    lines += [
        "## Made with",
        "",
        ", ".join(markdown(f"{name} {of}") for name, of in told["versions"].items()),
    ]
    return "\n".join(lines) + "\n"


def _edit(one: Mapping[str, Any]) -> str:
    rest = {name: of for name, of in one.items() if name not in ("kind", "site")}
    said = ", ".join(
        f"{name} {of:.4g}" if isinstance(of, float) else f"{name} {of}" for name, of in rest.items()
    )
    return f"`{code(one['kind'])}` at `{code(one['site'])}`: {markdown(said)}"


def _measured(measured: Mapping[str, Any]) -> list[str]:
    rows = {THIS: measured, **measured.get("baselines", {})}
    lines = [
        "## What it does",
        "",
        f"{markdown(measured['contents'])} contents that never mention it, "
        f"{_counted(measured['seeds'])},",
        f"judged by `{code(measured['classifier'])}` ({markdown(measured['role'])}); none of them",
        "served to build it. Kept: the classifier sees the same as in the picture without it.",
        "Intervals are over contents; of shuffled directions, the range of their rates.",
        "",
        "| way | concept | kept, mean | subject kept | decoy added | contents |",
        "|---|---|---|---|---|---|",
        *(_row(name, {"contents": measured["contents"], **one}) for name, one in rows.items()),
        "",
        *(f"- {markdown(warning)}" for warning in measured.get("warnings", ())),
        "",
        f"![Rows: without the edit, with it, saying the words]({BEFORE_AFTER})",
        "",
        f"![What was tried: concept rate against what is kept]({FRONTIER})",
        "",
    ]
    return lines


def _counted(seeds: int) -> str:
    return "one seed" if seeds == 1 else f"{markdown(seeds)} seeds"


def _row(name: str, one: Mapping[str, Any]) -> str:
    low, high = one["concept_interval"]
    kept, subject, added = one["all_kept"], one["kept"].get("subject"), one["decoy_added"]
    cells = [
        markdown(name) if name != THIS else name,
        f"{one['concept_rate']:.2f} ({low:.2f}-{high:.2f})",
        "" if kept is None else f"{kept:.2f}",
        "" if subject is None else f"{subject:.2f}",
        "" if added is None else f"{added:+.2f}",
        markdown(one["contents"]),
    ]
    return f"| {' | '.join(cells)} |"
