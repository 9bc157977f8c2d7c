"""`clerestory record`: save activations of prompts and their seeds to disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from clerestory.cli import options
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import option

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.models import Model
    from clerestory.models.workers.pool import PoolSettings
    from clerestory.recordings import Plan, Store

__all__ = ["all_prompts", "record"]

_random = partial(option, rich_help_panel="Random prompts")
_Prompts = Annotated[
    str, option("A .txt, .csv or .parquet file of prompts, a .toml template, `vocabulary`.")
]
_Sites = Annotated[str, option("Sites to read, such as `text.*/mlp,prior/embedding`.")]
_Out = Annotated[str, option("Folder or URL of the recording; an unfinished one is resumed.")]
_Seeds = Annotated[
    str | None, option("Seeds of every prompt: `0:4` for 0 to 3, or `3,7`. Default: 0.")
]
_SeedsPerItem = Annotated[
    int | None, option("Number of seeds of each item, which only its prompts share; no --seeds.")
]
_Seed = Annotated[int, option("Gives other seeds for --seeds-per-item.")]
_Pool = Annotated[str, option("Pooling of positions: mean, max, last, none or tokens:WORD.")]
_Branch = Annotated[str, option("Guidance branch to read: cond or uncond.")]
_Pictures = Annotated[bool, option("Draw and save pictures.")]
_Batch = Annotated[int, option("Batch size in samples.")]
_Chunk = Annotated[
    int | None, option("Samples per chunk; an interruption loses at most one chunk.")
]
_Sample = Annotated[int | None, _random("Number of prompts to sample at random from --prompts.")]
_SampleSeed = Annotated[int, _random("Random seed for --sample.")]
_Words = Annotated[int, _random("Words per prompt when --prompts is `vocabulary`.")]


@takes_model
def record(
    prompts: _Prompts,
    sites: _Sites,
    out: _Out,
    model: ModelOptions,
    seeds: _Seeds = None,
    seeds_per_item: _SeedsPerItem = None,
    seed: _Seed = 0,
    pool: _Pool = "mean",
    branch: _Branch = "cond",
    pictures: _Pictures = True,
    batch: _Batch = 16,
    chunk: _Chunk = None,
    dry_run: options.DryRun = False,
    json: options.JsonFlag = False,
    sample: _Sample = None,
    sample_seed: _SampleSeed = 0,
    words: _Words = 5,
    negative: options.NegativePrompt = None,
    guidance: options.Guidance = None,
    steps: options.Steps = None,
    size: options.Size = None,
) -> None:
    """Record activations and pictures; the same command resumes an interrupted recording."""
    from clerestory.models import parse_seeds, parse_size
    from clerestory.recordings import make_plan, random_prompts

    seed_numbers = None if seeds is None else parse_seeds(seeds)
    picture_size = {} if size is None else parse_size(size)
    cluster = model.pool_settings()
    # Prompts that cannot be read are refused before the model is opened, which takes long.
    if sample is None:
        table = all_prompts(prompts)
        opened = model.open_alone()
    else:
        opened = model.open_alone()
        table = random_prompts(prompts, sample, sample_seed, model=opened, words=words)
    settings: dict[str, Any] = {
        "seeds_per_item": seeds_per_item,
        "seed": seed,
        "pool": pool,
        "branch": branch,
        "pictures": pictures,
        "batch": batch,
        "chunk": chunk,
        "negative": negative,
        "guidance": guidance,
        "steps": steps,
        **picture_size,
    }
    plan = make_plan(opened, table, seed_numbers, sites=sites, **settings)
    if dry_run:
        _write_cost(opened, plan, json=json)
        return
    _write_report(_record(opened, plan, out, model, cluster), json=json)


def all_prompts(prompts: str) -> pd.DataFrame:
    """All prompts of a file.

    Args:
        prompts: The value of `--prompts`.

    Returns:
        The table of prompts.

    Raises:
        PromptError: The file cannot be read, or it is the vocabulary.
    """
    from clerestory.errors import PromptError
    from clerestory.recordings import prompt_table
    from clerestory.recordings.prompts import VOCABULARY

    # All combinations of a vocabulary's words are too many to record.
    if prompts == VOCABULARY:
        raise PromptError("--prompts vocabulary needs --sample, the number of prompts.")
    return prompt_table(Path(prompts))


def _write_cost(opened: Model, plan: Plan, *, json: bool) -> None:
    from clerestory.cli import console
    from clerestory.recordings import survey

    cost = survey(opened, plan)
    console.status(cost.line())
    if json:
        console.write_json(cost.to_dict())


def _record(
    opened: Model, plan: Plan, out: str, model: ModelOptions, cluster: PoolSettings | None
) -> Store:
    from clerestory.cli import console, interrupts
    from clerestory.recordings import Store, fill, start_recording
    from clerestory.recordings.cluster import fill_with_ray

    store = Store(out)
    with interrupts.resumable(out), store.lock():
        # Forecast and plan come first: they are written before any chunk.
        start_recording(store, opened, plan, lambda cost: console.status(cost.line()))
        with console.progress_bars() as progress:
            if cluster is None:
                fill(store, opened, progress)
            else:
                fill_with_ray(
                    store,
                    model.explicit_options,
                    dictionaries=list(opened.dictionaries.values()),
                    progress=progress,
                    address=cluster.address,
                    workers=cluster.workers,
                    gpus_per_worker=cluster.gpus_per_worker,
                )
    return store


def _write_report(store: Store, *, json: bool) -> None:
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
