"""The pages of what `measure_knowledge.py` measured: what pieces add, and what counteracts it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from measure_knowledge import CLASSES, FIGURES, FINDINGS, PLANTED
from paths import DOCS

__all__ = ["counteract", "interactions"]

HANDED = "prior/embedding"
BAR = 0.1
"""What a name brings at most, either way."""


def interactions() -> str:
    """What pieces bring, of the prompt and of its control."""
    asked, control = _kept("planted"), _kept("control")
    return _template("interactions").format(
        revision=asked["revision"],
        paraphrases=asked["paraphrases"],
        control_paraphrases=control["paraphrases"],
        seeds=len(asked["seeds"]),
        rows="\n".join(_rows(asked)),
        control_rows="\n".join(_rows(control)),
        pairs="\n".join(_pairs(asked)),
        deleted="\n".join(_deleted(asked)),
        inner="\n".join(_inner(asked, control)),
        verdict=_verdict(asked, control),
        pieces=" | ".join(asked["pieces"]),
        control_pieces=" | ".join(control["pieces"]),
    )


def counteract() -> str:
    """Every method's figures."""
    both, alone = _kept("suppressed"), _kept("alone")
    return _template("counteract").format(
        revision=both["revision"],
        rows=_methods(both),
        alone=_methods(alone),
        paraphrases=both["paraphrases"],
        seeds=both["seeds"],
        control=f"{both['control']:.2f}",
        before=f"{both['methods'][0]['unwanted_before']:.2f}",
        recommended=both["recommended"],
        setting=both["setting"],
        met=_met(both),
        met_alone=_met(alone),
    )


def _kept(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIGURES / f"{part}.json").read_text())
    return found


def _template(name: str) -> str:
    return (DOCS / "knowledge" / f"{name}.md.in").read_text()


def _rows(found: Mapping[str, Any]) -> Iterator[str]:
    for said, name in CLASSES.items():
        shares = found["of"][name]["shapley"]
        yield f"| {said} | " + " | ".join(map(_span, shares)) + " |"


def _pairs(found: Mapping[str, Any]) -> Iterator[str]:
    for said, name in CLASSES.items():
        shares = found["of"][name]["interactions"]
        yield f"| {said} | " + " | ".join(map(_span, shares)) + " |"


def _deleted(found: Mapping[str, Any]) -> Iterator[str]:
    for said, name in CLASSES.items():
        shares = found["alternatives"]["delete"][name]["shapley"]
        yield f"| {said} | " + " | ".join(map(_span, shares)) + " |"


def _inner(asked: Mapping[str, Any], control: Mapping[str, Any]) -> Iterator[str]:
    """The units of the findings, beside what the control's pieces bring."""
    for name, one in asked["of"].items():
        if name.partition(":")[0] in FINDINGS:
            own, other = (
                " | ".join(_number(share["value"]) for share in shares)
                for shares in (one["shapley"], control["of"][name]["shapley"])
            )
            yield f"| {name} | {own} | {other} |"


def _verdict(asked: Mapping[str, Any], control: Mapping[str, Any]) -> str:
    """Whether what was planted is what is found, in a sentence from the figures."""
    planted = [
        max(found["of"][CLASSES[said]]["shapley"], key=lambda share: share["value"])
        == found["of"][CLASSES[said]]["shapley"][place]
        and found["of"][CLASSES[said]]["shapley"][place]["low"] > BAR
        for found in (asked,)
        for said, place in PLANTED.items()
    ]
    others = [share for name in CLASSES.values() for share in control["of"][name]["shapley"]]
    large = [share for share in others if share["low"] > BAR or share["high"] < -BAR]
    names = [
        found["of"][name]["shapley"][0] for found in (asked, control) for name in CLASSES.values()
    ]
    within = sum(share["low"] >= -BAR and share["high"] <= BAR for share in names)
    return (
        f"{sum(planted)} of {len(planted)} planted classes have their largest share in the "
        f"piece that they were planted in. Of the control's {len(others)} shares {len(large)} lie "
        f"beyond {BAR} either way with their interval. The name's interval lies within {BAR} "
        f"either way in {within} of {len(names)} cases, the control name's included."
    )


def _methods(found: Mapping[str, Any]) -> str:
    return "\n".join(
        f"| {method['name']} | {method['setting']} | {_number(method['reduction'])} "
        f"({_number(method['reduction_low'])} to {_number(method['reduction_high'])}) | "
        + " | ".join(_preserved(method))
        + " |"
        for method in found["methods"]
    )


def _preserved(method: Mapping[str, Any]) -> tuple[str, ...]:
    """Preservation, that of named words, what changed, and the status of the claim."""
    keys = ("preservation", "named_preservation", "changed")
    figures = ["–" if method[key] is None else _number(method[key]) for key in keys]
    return (*figures, method["status"])


def _met(found: Mapping[str, Any]) -> str:
    """For which methods the claim is supported, by the evaluation classifiers."""
    names = [method["name"] for method in found["methods"] if method["status"] == "supported"]
    return f"The claim is supported for {', '.join(names) or 'no method'}."


def _span(share: Mapping[str, float]) -> str:
    low, high = (_number(share[end]) for end in ("low", "high"))
    return f"{_number(share['value'])} ({low} to {high})"


def _number(value: float) -> str:
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00").replace("0.", ".", 1)
