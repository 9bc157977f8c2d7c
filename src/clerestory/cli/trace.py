"""`clerestory trace`: the path of an effect, from the words to the value that they change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from clerestory.cli import options
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import argument, option

if TYPE_CHECKING:
    from clerestory.causal import TraceResult
    from clerestory.models import Model

__all__ = ["trace"]

PLACEHOLDER = "{item}"
_Prompt = Annotated[
    str, argument("Prompt whose value is explained; with {item} in it, one for each item.")
]
_Against = Annotated[
    str, option("Prompt that it is compared with, of as many tokens; with {item} if that has it.")
]
_Of = Annotated[str, option("Value: a unit, CLASSIFIER=LABEL, or a sum of these in quotes.")]
_Count = Annotated[
    int, option("Number of the model's items, where the prompts have {item}.", min=4)
]
_Sites = Annotated[
    list[str] | None,
    option(
        "Site whose heads, or which as a whole, may be nodes; repeatable. Default: heads and MLPs "
        "before the denoiser, and the conditioning site."
    ),
]
_Units = Annotated[
    list[str] | None, option("Site each unit or latent of which may be a node; repeatable.")
]
_SeedsPerItem = Annotated[
    int | None, option("Seeds of each item; default: 1, and 24 for a prompt without {item}.", min=1)
]
_Random = Annotated[int, option("Random graphs that the graph is compared with.", min=0)]


@takes_model
def trace(
    prompt: _Prompt,
    against: _Against,
    of: _Of,
    model: ModelOptions,
    items: options.ItemFile = None,
    count: _Count = 24,
    sites: _Sites = None,
    units: _Units = None,
    target: Annotated[float, option("Share that the graph should carry.", min=0.01, max=1)] = 0.8,
    max_nodes: Annotated[int, option("Largest number of nodes.", min=1)] = 40,
    max_edges: Annotated[int, option("Largest number of edges that are patched.", min=1)] = 80,
    random_graphs: _Random = 19,
    seeds_per_item: _SeedsPerItem = None,
    seeds: options.ItemSeeds = None,
    maps: Annotated[bool, option("Map positions by layer and blocks by step.")] = True,
    batch: Annotated[int, option("Samples that are run together.", min=1)] = 4,
    guidance: options.Guidance = None,
    steps: options.Steps = None,
    size: options.Size = None,
    out: options.ResumableFolder = None,
    json: options.JsonFlag = False,
) -> None:
    """Find the few heads, MLPs, neurons or latents that carry what a prompt does to a value.

    They are chosen on half of the items (or seeds) and measured on the other half by patching: what
    they carry (faithfulness), what remains without them (completeness), each node, each edge.

    With `--out` each part is written as soon as it is measured: the same command resumes an
    interrupted one.
    """
    from clerestory.causal import trace as trace_effect
    from clerestory.cli import console, interrupts
    from clerestory.evaluation import parse_objective
    from clerestory.models import parse_seeds, parse_size

    listed = _read_items(prompt, against, items)
    settings: dict[str, Any] = {"guidance": guidance, "steps": steps}
    settings |= {} if size is None else parse_size(size)
    seed_numbers = None if seeds is None else parse_seeds(seeds)
    objective = parse_objective(of)
    opened = model.open()
    clean, corrupted = _prompts(opened, prompt, against, of, listed, count)
    with interrupts.resumable(out), console.progress_bars() as progress:
        result = trace_effect(
            opened,
            clean,
            corrupted,
            objective,
            sites=sites,
            units=units or (),
            target=target,
            max_nodes=max_nodes,
            max_edges=max_edges,
            random_graphs=random_graphs,
            seeds_per_item=seeds_per_item,
            seeds=seed_numbers,
            maps=maps,
            parts=out,
            batch=batch,
            progress=progress,
            **{name: value for name, value in settings.items() if value is not None},
        )
        if out is not None:
            result.write(out)
            console.status(f"The page is {out / 'trace.html'}.")
    console.warn(result.warnings)
    console.write_result(result, json=json, text=lambda: _print(result))


def _read_items(prompt: str, against: str, file: Path | None) -> list[str] | None:
    """The items of a file; None without one."""
    from clerestory.cli.lines import read_lines
    from clerestory.errors import EvidenceError

    templates = [PLACEHOLDER in text for text in (prompt, against)]
    if any(templates) != all(templates):
        raise EvidenceError(
            f"{PLACEHOLDER} is in one prompt and not in {against!r}: it needs both."
        )
    lines = None if file is None else read_lines(file, minimum=4)
    if lines is not None and not any(templates):
        raise EvidenceError(f"--items needs {PLACEHOLDER} in both prompts.")
    return lines


def _prompts(
    model: Model, prompt: str, against: str, of: str, items: Sequence[str] | None, count: int
) -> tuple[list[str], list[str]]:
    if PLACEHOLDER not in prompt:
        return [prompt], [against]
    # Items that do not name what the classifier predicts.
    classifier = of.rpartition("=")[0]
    own = model.profile.items(count, classifier) if items is None else items
    one, other = ([text.replace(PLACEHOLDER, item) for item in own] for text in (prompt, against))
    return one, other


def _print(result: TraceResult) -> None:
    from clerestory.cli import console

    console.write(result.summary() + "\n")
    console.write_table(result.table())
    console.write("")
    console.write_table(result.edge_table())
