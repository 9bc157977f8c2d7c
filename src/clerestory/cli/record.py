"""`clerestory record`: what happens inside while prompts × seeds are drawn, to disk."""

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
"""What `--ray` stands for without an address."""
HOW, RANDOM, MANY = "How it is drawn", "Random prompts", "Many machines"

_Prompts = Annotated[
    str,
    typer.Option(help="A .txt, .csv or .parquet file of prompts, a .toml template, `vocabulary`."),
]
_Sites = Annotated[str, typer.Option(help="What is read, as `text.*/mlp,prior/embedding`.")]
_Out = Annotated[str, typer.Option(help="Folder, or URL, of the recording: new, or begun.")]
_Seeds = Annotated[str, typer.Option(help="`0:4` for 0 to 3, or `3,7`.")]
_Pool = Annotated[str, typer.Option(help="mean, max, last, none or tokens:WORD.")]
_Branch = Annotated[str, typer.Option(help="cond, or uncond.")]
_Pictures = Annotated[bool, typer.Option(help="Draw pictures and keep them.")]
_Batch = Annotated[int, typer.Option(help="Samples that are drawn together.")]
_Chunk = Annotated[
    int | None, typer.Option(help="Samples that are kept, and lost by a kill, together.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and stop.")]
_Json = Annotated[bool, typer.Option("--json", help="What was recorded, as JSON.")]
_Sample = Annotated[
    int | None, typer.Option(help="So many of what --prompts names.", rich_help_panel=RANDOM)
]
_SampleSeed = Annotated[
    int, typer.Option(help="Another number gives others.", rich_help_panel=RANDOM)
]
_Words = Annotated[int, typer.Option(help="A prompt of `vocabulary`.", rich_help_panel=RANDOM)]
_Negative = Annotated[
    str | None, typer.Option(help="What to be led away from.", rich_help_panel=HOW)
]
_Guidance = Annotated[
    float | None, typer.Option(help="How strongly the prompt leads.", rich_help_panel=HOW)
]
_Steps = Annotated[int | None, typer.Option(help="Steps of denoising.", rich_help_panel=HOW)]
_Size = Annotated[str | None, typer.Option(help="`512`, or `768x512`.", rich_help_panel=HOW)]
_Ray = Annotated[
    str | None,
    typer.Option(
        metavar="[ADDRESS]",
        help="Ray workers, of a cluster or, without an address, on this machine.",
        rich_help_panel=MANY,
    ),
]
_Workers = Annotated[int, typer.Option(min=1, help="Each holds a model.", rich_help_panel=MANY)]
_Gpus = Annotated[float, typer.Option(min=0, help="May be a part of one.", rich_help_panel=MANY)]


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
    """Record, or go on with a recording: the same command resumes where it was stopped."""
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
    if prompts == VOCABULARY:
        raise PromptError("Random words have no end: say how many prompts with --sample.")
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
    from clerestory.cli import console
    from clerestory.recordings import Store, begin, fill
    from clerestory.recordings.cluster import fill_with_ray

    store = Store(out)
    with store.locked():
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
