"""`clerestory record`: save activations of prompts × seeds to disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clerestory.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.models import Model
    from clerestory.recordings import Plan, Store

__all__ = ["HERE", "record"]

HERE = "local"
"""Value of `--ray` without an address."""
DRAWING, RANDOM, MANY = "Drawing", "Random prompts", "Many machines"

_Prompts = Annotated[
    str,
    typer.Option(help="A .txt, .csv or .parquet file of prompts, a .toml template, `vocabulary`."),
]
_Sites = Annotated[str, typer.Option(help="Sites to read, such as `text.*/mlp,prior/embedding`.")]
_Out = Annotated[
    str, typer.Option(help="Folder or URL of the recording; an unfinished one is resumed.")
]
_Seeds = Annotated[str, typer.Option(help="Seeds: `0:4` for 0 to 3, or `3,7`.")]
_Pool = Annotated[
    str, typer.Option(help="Pooling of positions: mean, max, last, none or tokens:WORD.")
]
_Branch = Annotated[str, typer.Option(help="Guidance branch to read: cond or uncond.")]
_Pictures = Annotated[bool, typer.Option(help="Draw and save pictures.")]
_Batch = Annotated[int, typer.Option(help="Batch size in samples.")]
_Chunk = Annotated[
    int | None, typer.Option(help="Samples per chunk; an interruption loses at most one chunk.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the estimated cost and exit.")]
_Json = Annotated[bool, typer.Option("--json", help="Print a JSON summary to stdout.")]
_Sample = Annotated[
    int | None,
    typer.Option(
        help="Number of prompts to sample at random from --prompts.", rich_help_panel=RANDOM
    ),
]
_SampleSeed = Annotated[int, typer.Option(help="Random seed for --sample.", rich_help_panel=RANDOM)]
_Words = Annotated[
    int,
    typer.Option(help="Words per prompt when --prompts is `vocabulary`.", rich_help_panel=RANDOM),
]
_Negative = Annotated[str | None, typer.Option(help="Negative prompt.", rich_help_panel=DRAWING)]
_Guidance = Annotated[
    float | None,
    typer.Option(help="Guidance scale; default: the family's.", rich_help_panel=DRAWING),
]
_Steps = Annotated[
    int | None, typer.Option(help="Number of denoising steps.", rich_help_panel=DRAWING)
]
_Size = Annotated[
    str | None, typer.Option(help="Picture size: `512`, or `768x512`.", rich_help_panel=DRAWING)
]
_Ray = Annotated[
    str | None,
    typer.Option(
        metavar="[ADDRESS]",
        help="Record with Ray workers on a cluster; without an address, on this machine.",
        rich_help_panel=MANY,
    ),
]
_Workers = Annotated[
    int,
    typer.Option(
        min=1,
        help="Number of Ray workers; each loads its own copy of the model.",
        rich_help_panel=MANY,
    ),
]
_Gpus = Annotated[
    float, typer.Option(min=0, help="GPUs per worker; fractions are allowed.", rich_help_panel=MANY)
]


@takes_model
def record(
    prompts: _Prompts,
    sites: _Sites,
    out: _Out,
    model: ModelOptions,
    seeds: _Seeds = "0",
    pool: _Pool = "mean",
    branch: _Branch = "cond",
    pictures: _Pictures = True,
    batch: _Batch = 16,
    chunk: _Chunk = None,
    dry_run: _DryRun = False,
    json: _Json = False,
    sample: _Sample = None,
    sample_seed: _SampleSeed = 0,
    words: _Words = 5,
    negative: _Negative = None,
    guidance: _Guidance = None,
    steps: _Steps = None,
    size: _Size = None,
    ray: _Ray = None,
    workers: _Workers = 2,
    gpus_per_worker: _Gpus = 0.0,
) -> None:
    """Record activations and pictures; the same command resumes an interrupted recording."""
    from clerestory.models import parse_seeds, parse_size
    from clerestory.recordings import make_plan

    how: dict[str, Any] = {"negative": negative, "guidance": guidance, "steps": steps}
    how |= {} if size is None else parse_size(size)
    how |= {"pool": pool, "branch": branch, "pictures": pictures, "batch": batch, "chunk": chunk}
    numbers, opened = parse_seeds(seeds), model.open()
    table = _table(prompts, sample, sample_seed, words, opened)
    plan = make_plan(opened, table, numbers, sites=sites, **how)
    cluster: dict[str, Any] = {"address": None if ray == HERE else ray, "workers": workers}
    cluster |= {"gpus_per_worker": gpus_per_worker}
    if dry_run:
        _surveyed(opened, plan, json)
    else:
        _report(_recorded(opened, plan, out, model, cluster if ray else None), json)


def _table(prompts: str, sample: int | None, seed: int, words: int, opened: Model) -> pd.DataFrame:
    from clerestory.errors import PromptError
    from clerestory.recordings import prompt_table, random_prompts
    from clerestory.recordings.prompts import VOCABULARY

    if sample is not None:
        return random_prompts(prompts, sample, seed, model=opened, words=words)
    # All combinations of a vocabulary's words are too many to record.
    if prompts == VOCABULARY:
        raise PromptError("--prompts vocabulary needs --sample, the number of prompts.")
    return prompt_table(Path(prompts))


def _surveyed(opened: Model, plan: Plan, json: bool) -> None:
    from clerestory.cli import console
    from clerestory.recordings import survey

    found = survey(opened, plan)
    console.status(found.line())
    if json:
        console.write_json(found.to_dict())


def _recorded(
    opened: Model, plan: Plan, out: str, model: ModelOptions, cluster: dict[str, Any] | None
) -> Store:
    from clerestory.cli import console, interrupts
    from clerestory.recordings import Store, begin, fill
    from clerestory.recordings.cluster import fill_with_ray

    store = Store(out)
    with interrupts.resumable(out), store.locked():
        begin(store, opened, plan, lambda found: console.status(found.line()))
        with console.progress_bars() as progress:
            if cluster is None:
                fill(store, opened, progress)
            else:
                how = {
                    name: value for name, value in model.load_options.items() if value is not None
                }
                fill_with_ray(store, how, progress=progress, **cluster)
    return store


def _report(store: Store, json: bool) -> None:
    from clerestory.cli import console
    from clerestory.recordings import Recording

    info = Recording(store).info()
    for row, reason in info["bad"].items():
        console.status(f"sample {row} is bad: {reason}")
    bad = f", {len(info['bad'])} of them bad," if info["bad"] else ""
    console.status(f"{info['done']:,} samples{bad} are in {store.folder}.")
    if json:
        console.write_json(
            {name: info[name] for name in ("samples", "done", "bad", "sites", "bytes")}
        )
