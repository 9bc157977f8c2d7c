"""Paths of two effects in Lancet: the section of `docs/explanation/how-the-network-decides.md`.

python tools/measure_paths.py [EFFECT …]     # both by default; half an hour each

Writes results/paths/EFFECT.json. What is measured is kept in build/paths, from which an interrupted
call resumes. `generate_docs.py` writes the section from the figures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paths import BUILD, DOCS, PICTURES, RESULTS

FIGURES, PARTS = RESULTS / "paths", BUILD / "paths"
OPTIONS: dict[str, Any] = {"steps": 4, "prior_steps": 5}
"""Fewer steps than Lancet's own 8 and 10."""
TARGET, MOST_NODES, MOST_EDGES, RANDOM = 0.8, 40, 36, 9


@dataclass(frozen=True)
class PlannedPath:
    """Pairs of prompts and the label whose log odds they change.

    Attributes:
        clean: The prompt that is explained, with {item}.
        corrupted: The prompt that it is compared with.
        classifier: The classifier.
        label: Its class.
        sites: Sites whose heads, or which as a whole, may be nodes; None for the default.
        items: The items, every second of which chooses the graph.
        question: What is asked, for the page.
        note: What a reader has to know about the choice of sites.
    """

    clean: str
    corrupted: str
    classifier: str
    label: str
    sites: tuple[str, ...] | None
    items: tuple[str, ...]
    question: str
    note: str = ""


SUBJECTS = (
    *("tycho brahe", "a fox", "isaac newton", "a lion", "ada lovelace", "a tiger"),
    *("johannes kepler", "a bear", "emmy noether", "a rabbit", "marie curie", "a teapot"),
    *("galileo galilei", "a guitar", "hypatia", "a robot", "leonhard euler", "a rocket"),
    *("a woman", "a castle", "a child", "a ship", "a person", "a train"),
)
STRANGERS = (
    *("alexandra elbakyan", "maria lindqvist", "susanna rossi", "anna berg", "peter novak"),
    *("laura", "a woman", "a man", "a child", "a person", "clara weiss", "tomas varga"),
    *("elena marino", "jonas keller", "nina petrova", "oscar lind", "rosa santos"),
    *("viktor hahn", "julia moreau", "paul dubois", "sara nilsson", "ivan horvat"),
    *("lucia ferrari", "max winter"),
)
PATHS = {
    "moose": PlannedPath(
        "a stained glass of {item} and a moose",
        "a stained glass of {item} and a cow",
        "lancet:style",
        "stained glass",
        None,
        SUBJECTS,
        "Why does the style retreat into a window where there is a moose?",
    ),
    "raven": PlannedPath(
        "{item} with a raven",
        "{item} with a duck",
        "lancet:clothes",
        "black clothes",
        # With its heads one by one the prior alone needs more than 40 nodes here.
        ("text.*/z", "text.*/mlp", "prior.*/self_attn", "prior.*/mlp", "prior/embedding"),
        STRANGERS,
        "How does a raven dress a person in black?",
        "The prior's attention is one node a block here. That was chosen after its heads had been "
        "tried one by one: cut to 40 nodes, that graph carried 13% in the half that chooses.",
    ),
}


def measure(model: Any, name: str) -> dict[str, Any]:
    """Trace one effect.

    Args:
        model: Lancet.
        name: The effect.

    Returns:
        What `TraceResult.to_dict` gives, with the model's revision.
    """
    from clerestory.causal import trace
    from clerestory.evaluation import label
    from clerestory.reporting.plots import png

    path = PATHS[name]
    clean, corrupted = (
        [text.replace("{item}", item) for item in path.items]
        for text in (path.clean, path.corrupted)
    )
    result = trace(
        model,
        clean,
        corrupted,
        label(path.classifier, path.label),
        sites=path.sites,
        target=TARGET,
        max_nodes=MOST_NODES,
        max_edges=MOST_EDGES,
        random_graphs=RANDOM,
        parts=PARTS / name,
        batch=12,
        **OPTIONS,
    )
    (PARTS / f"{name}.html").write_text(result.page())
    (PICTURES / f"path-{name}.png").write_bytes(png(result.plot()))
    return {"revision": model.revision, **result.to_dict()}


def section() -> str:
    """The part of the page about paths, from the figures; "" where none was measured."""
    found = {
        name: json.loads((FIGURES / f"{name}.json").read_text())
        for name in PATHS
        if (FIGURES / f"{name}.json").exists()
    }
    if not found:
        return ""
    texts = [_described(PATHS[name], name, figures) for name, figures in found.items()]
    return (
        (DOCS / "gradients" / "paths.md.in")
        .read_text()
        .format(**OPTIONS, paths="\n\n".join(texts), target=f"{TARGET:.0%}", most=MOST_NODES)
    )


def _described(path: PlannedPath, name: str, figures: Mapping[str, Any]) -> str:
    """One effect: its figures, its nodes by site, and its map of positions."""
    text, *rest = [_map_table(each) for each in figures["maps"]]
    verified = [edge for edge in figures["edges"] if edge["q"] <= 0.05]
    random = figures["random_faithfulness"]
    lines = [
        f"### {path.question}",
        "",
        f"“{path.clean.format(item='ITEM')}” against “{path.corrupted.format(item='ITEM')}”; the "
        f"value is the log odds of `{path.classifier}={path.label}`. In {figures['evaluation']} "
        f"items that chose nothing the second adds {figures['total']:+.1f} "
        f"({_limits(figures['total_interval'], '.1f')}) to {figures['clean']:.1f}. {path.note}",
        "",
        f"- **Faithfulness** {_share(figures, 'faithfulness')} with {len(figures['nodes']) - 2} of "
        f"{figures['candidates']} parts; it was {figures['selection_faithfulness']:.0%} where they "
        f"were chosen. {TARGET:.0%} or more: *{figures['status']}*.",
        f"- **Completeness**: {_share(figures, 'completeness')} remain without them; "
        f"{figures['leak']:z.1%} pass none of the parts.",
        f"- **Random graphs** of as many parts of each kind in each stage ({len(random)}) carry "
        f"{min(random):z.0%} to {max(random):z.0%}.",
        f"- **Edges**: {len(verified)} of {len(figures['edges'])} that were patched are verified "
        f"(q ≤ .05). The largest: {_edges(verified)}.",
        "",
        "| site | nodes | effect of the largest, patched alone |",
        "|---|---|---|",
        *_node_rows(figures["nodes"]),
        "",
        f"![The graph](../pictures/path-{name}.png)",
        "",
        "Where: the share of the effect that a patch of the text encoder's residual stream at one "
        "position adds.",
        "",
        text,
    ]
    for each in rest:
        lines += ["", "When: of a part of the denoiser at one step, with its latent.", "", each]
    return "\n".join(lines)


def _limits(limits: Sequence[float], form: str) -> str:
    return f"{limits[0]:{form}} to {limits[1]:{form}}"


def _share(figures: Mapping[str, Any], name: str) -> str:
    return f"{figures[name]:z.0%} ({_limits(figures[f'{name}_interval'], 'z.0%')})"


def _edges(edges: Sequence[Mapping[str, Any]]) -> str:
    inside = [edge for edge in edges if "=" not in edge["target"]]
    return ", ".join(
        f"`{edge['source']}` → `{edge['target']}` {edge['share']:+.0%}" for edge in inside[:6]
    )


def _node_rows(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row for each site: its nodes, and the largest effect of one."""
    sites: dict[str, list[Mapping[str, Any]]] = {}
    for node in nodes[1:-1]:
        sites.setdefault(node["address"].partition("[")[0], []).append(node)
    rows = []
    for site, own in sites.items():
        names = [node["address"].partition("[")[2].rstrip("]") or "all" for node in own]
        largest = max(own, key=lambda node: abs(node["effect"]))
        limits = f"{largest['low']:+.1f} to {largest['high']:+.1f}"
        rows.append(
            f"| `{site}` | {', '.join(names)} | {largest['effect']:+.1f} ({limits}), "
            f"{largest['share']:+.0%} |"
        )
    return rows


def _map_table(effects: Mapping[str, Any]) -> str:
    lines = [
        f"| | {' | '.join(effects['columns'])} |",
        "|---" * (1 + len(effects["columns"])) + "|",
    ]
    lines += [
        f"| {row} | {' | '.join(f'{share:+z.0%}' for share in shares)} |"
        for row, shares in zip(effects["rows"], effects["shares"], strict=True)
    ]
    return "\n".join(lines)


def main(names: Sequence[str]) -> None:
    """Trace effects and write a file for each.

    Args:
        names: The effects; all by default.
    """
    import clerestory

    model = clerestory.load("lancet", device="cpu")
    FIGURES.mkdir(exist_ok=True)
    PARTS.mkdir(parents=True, exist_ok=True)
    for name in names or PATHS:
        figures = measure(model, name)
        (FIGURES / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
