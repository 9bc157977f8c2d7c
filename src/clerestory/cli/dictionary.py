"""`clerestory dictionary`: train, evaluate, show and convert dictionaries of latents."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clerestory.cli import options
from clerestory.cli.arguments import validated
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import argument, option
from clerestory.cli.record import all_prompts

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.dictionaries import Dictionary, DictionaryEvaluation
    from clerestory.models import Model

__all__ = ["app"]

app = typer.Typer(
    help="Train, evaluate, show and convert dictionaries of latents.", no_args_is_help=True
)

_training = partial(option, rich_help_panel="Training")
_drawing = partial(option, rich_help_panel="Without a recording")
_Recording = Annotated[
    str | None, options.argument("Folder or URL of a recording; without it, the model draws.")
]
_Site = Annotated[str, option("Site whose values are encoded, such as `denoiser.mid.attn.0/out`.")]
_Latents = Annotated[str, option("Number of latents; `8x` for eight times the site's width.")]
_K = Annotated[int, option("Latents per position: exactly, on average or as a target, by kind.")]
_Kind = Annotated[str, option("batchtopk, topk, matryoshka, jumprelu or standard.")]
_Out = Annotated[Path, option("Folder of the dictionary; the same command resumes there.")]
_Updates = Annotated[int, _training("Number of updates of the weights.")]
_Rows = Annotated[int, _training("Rows of activations (sample, step, position) per update.")]
_Rate = Annotated[float, _training("Learning rate.")]
_Penalty = Annotated[float, _training("Penalty for active latents (standard, jumprelu).")]
_Normalization = Annotated[str, _training("standard, constant or none.")]
_Positions = Annotated[
    int | None,
    _training("Positions that are taken of a sample at a step, at random. Default: all."),
]
_HeldOut = Annotated[float, _training("Share of the items that the figures are measured on.")]
_Buffer = Annotated[int, _training("Rows that are shuffled together, in memory.")]
_DeadAfter = Annotated[
    int | None, _training("Updates without activity after which a latent counts as dead.")
]
_Seed = Annotated[int, _training("Seed of the weights, the order and the items held out.")]
_Prompts = Annotated[
    str | None,
    _drawing("A .txt, .csv or .parquet file of prompts, a .toml template, `vocabulary`."),
]
_Sample = Annotated[int | None, _drawing("Number of prompts to sample at random from --prompts.")]
_Words = Annotated[int, _drawing("Words per prompt when --prompts is `vocabulary`.")]
_Seeds = Annotated[str | None, _drawing("Seeds of every prompt: `0:4`. Default: one of each item.")]
_Branch = Annotated[str, _drawing("Guidance branch to read: cond or uncond.")]
_Batch = Annotated[int, _drawing("Samples that the model draws together.")]

_Folder = Annotated[Path, argument("Folder or file of a dictionary.")]
_Pickles = Annotated[
    bool,
    option(
        "Read pickled weights too, which can run code: only from people you trust.",
        "--allow-pickles",
    ),
]


@app.command()
@takes_model
def train(
    site: _Site,
    out: _Out,
    model: ModelOptions,
    where: _Recording = None,
    latents: _Latents = "8x",
    k: _K = 32,
    kind: _Kind = "batchtopk",
    updates: _Updates = 4000,
    rows: _Rows = 2048,
    rate: _Rate = 4e-4,
    penalty: _Penalty = 1.0,
    normalization: _Normalization = "standard",
    positions: _Positions = None,
    held_out: _HeldOut = 0.1,
    buffer: _Buffer = 131_072,
    dead_after: _DeadAfter = None,
    seed: _Seed = 0,
    prompts: _Prompts = None,
    sample: _Sample = None,
    words: _Words = 5,
    seeds: _Seeds = None,
    branch: _Branch = "cond",
    batch: _Batch = 16,
    negative: options.NegativePrompt = None,
    guidance: options.Guidance = None,
    steps: options.Steps = None,
    size: options.Size = None,
    json: options.JsonFlag = False,
) -> None:
    """Train a sparse autoencoder on a recording, or on a model that draws meanwhile."""
    from clerestory.cli import console, interrupts
    from clerestory.dictionaries import train as run
    from clerestory.errors import OptionError
    from clerestory.models import parse_seeds, parse_size
    from clerestory.recordings import random_prompts

    settings: dict[str, Any] = {
        "site": site,
        "out": out,
        "latents": latents,
        "k": k,
        "kind": kind,
        "updates": updates,
        "rows": rows,
        "rate": rate,
        "penalty": penalty,
        "normalization": normalization,
        "positions": positions,
        "held_out": held_out,
        "buffer": buffer,
        "dead_after": dead_after,
        "seed": seed,
        "device": model.load_options["device"],
    }
    source: Any = where
    if where is not None:
        if prompts is not None or model.name:
            raise OptionError(
                f"{where} is taken for a recording: give it, or --model and --prompts, not both."
            )
        _check_alone(where, sample, seeds, negative, guidance, steps, size, branch != "cond")
    elif prompts is None:
        raise OptionError("Give a recording, or --prompts that the model is to draw.")
    else:
        # Prompts that cannot be read are refused before the model is opened, which takes long.
        table = all_prompts(prompts) if sample is None else None
        source = model.open()
        if sample is not None:
            table = random_prompts(prompts, sample, seed, model=source, words=words)
        settings |= {
            "prompts": table,
            "seeds": None if seeds is None else parse_seeds(seeds),
            "branch": branch,
            "batch": batch,
            "negative": negative,
            "guidance": guidance,
            "steps": steps,
            **({} if size is None else parse_size(size)),
        }
    with interrupts.resumable(out), console.progress_bars() as progress:
        dictionary = run(source, progress=progress, **settings)
    _write(dictionary, json=json)


def _check_alone(recording: str, *given: object) -> None:
    """OptionError where a recording is given what is for a model that draws."""
    from clerestory.errors import OptionError

    if any(each is not None and each is not False for each in given):
        raise OptionError(
            f"{recording} is a recording: --sample, --seeds, --branch, --negative, --guidance, "
            "--steps and --size are for a model that draws."
        )


def _write(dictionary: Dictionary, *, json: bool) -> None:
    from clerestory.cli import console

    figures = {name: dictionary.metadata[name] for name in ("explained_variance", "l0", "dead")}
    if json:
        ends = {"site": dictionary.site, "latents": dictionary.latents, "kind": dictionary.kind}
        console.write_json({**ends, **figures})
        return
    console.write(str(dictionary))
    console.write(
        f"explained variance {figures['explained_variance']:.3f}, {figures['l0']:.1f} latents per "
        f"position, {figures['dead']:.1%} of the latents never active; on held-out items"
    )


_NewPrompts = Annotated[
    str,
    option("New prompts: a .txt, .csv or .parquet file, a .toml template, `vocabulary`."),
]
_ResultFolder = Annotated[Path, option("Folder for the result; the same command resumes there.")]
_SomePrompts = Annotated[int | None, option("Number of prompts to sample from --prompts.")]
_SeedsPerItem = Annotated[int, option("Number of seeds of each prompt, which are its own.", min=1)]
_AtSite = Annotated[
    str | None, option("Address of the site, for a dictionary that does not know it.")
]
_EditedBranch = Annotated[str, option("Guidance branch to read and edit: cond or uncond.")]
_Together = Annotated[int, option("Samples that the model draws together.")]
_RandomSeed = Annotated[int, option("Seed of the random dictionary, and of --sample.")]


@app.command()
@takes_model
def evaluate(
    folder: _Folder,
    prompts: _NewPrompts,
    out: _ResultFolder,
    model: ModelOptions,
    sample: _SomePrompts = None,
    seeds: options.ItemSeeds = None,
    seeds_per_item: _SeedsPerItem = 2,
    classifier: options.Classifiers = None,
    site: _AtSite = None,
    branch: _EditedBranch = "cond",
    batch: _Together = 16,
    seed: _RandomSeed = 0,
    cache: options.CacheFlag = True,
    negative: options.NegativePrompt = None,
    guidance: options.Guidance = None,
    steps: options.Steps = None,
    size: options.Size = None,
    json: options.JsonFlag = False,
) -> None:
    """Draw pictures with a dictionary's reconstruction in the place of the site's values.

    The same samples are drawn unedited, with the reconstruction, with that of a random dictionary
    of the same size and number of active latents, and with the mean of the activations. The folder
    has the figures and a grid of pictures.
    """
    from clerestory.cli import console, interrupts
    from clerestory.dictionaries import Dictionary
    from clerestory.dictionaries import evaluate as run
    from clerestory.models import parse_seeds, parse_size

    seed_numbers = None if seeds is None else parse_seeds(seeds)
    picture_size = {} if size is None else parse_size(size)
    pickles = bool(model.load_options.get("pickles"))
    dictionary = Dictionary.load(folder, allow_pickles=pickles)
    opened, table = _open_with_prompts(model, prompts, sample, seed)
    settings: dict[str, Any] = {
        "seeds_per_item": seeds_per_item,
        "classifiers": classifier,
        "site": site,
        "branch": branch,
        "batch": batch,
        "seed": seed,
        "out": out,
        "cache": cache,
        "negative": negative,
        "guidance": guidance,
        "steps": steps,
        **picture_size,
    }
    with interrupts.resumable(out), console.progress_bars() as progress:
        result = run(opened, dictionary, table, seed_numbers, progress=progress, **settings)
    console.status(f"The figures and grid.png are in {out}.")
    console.write_result(result, json=json, text=lambda: _print_evaluation(result))
    console.warn(result.warnings)


def _open_with_prompts(
    model: ModelOptions, prompts: str, sample: int | None, seed: int
) -> tuple[Model, pd.DataFrame]:
    from clerestory.recordings import random_prompts

    # Prompts that cannot be read are refused before the model is opened, which takes long.
    if sample is None:
        table = all_prompts(prompts)
        return model.open(), table
    opened = model.open()
    return opened, random_prompts(prompts, sample, seed, model=opened)


def _print_evaluation(result: DictionaryEvaluation) -> None:
    from clerestory.cli import console

    console.write(result.summary() + "\n")
    console.write_table(result.table())
    if result.activations.by_step:
        console.write("\nExplained variance of the activations, by step:\n")
        console.write_table(result.step_table())


@app.command()
@validated
def info(folder: _Folder, allow_pickles: _Pickles = False, json: options.JsonFlag = False) -> None:
    """Print a dictionary's site, size, kind and figures."""
    from clerestory.cli import console
    from clerestory.dictionaries import Dictionary

    summary = _summary(Dictionary.load(folder, allow_pickles=allow_pickles))
    if json:
        console.write_json(summary)
        return
    for name, value in summary.items():
        console.write(f"{name:<20} {'unknown' if value in (None, '') else value}")


def _summary(dictionary: Dictionary) -> dict[str, Any]:
    figures = ("explained_variance", "l0", "dead")
    return {
        "site": dictionary.site,
        "output_site": dictionary.output_site,
        "width": dictionary.width,
        "latents": dictionary.latents,
        "kind": dictionary.kind,
        **dictionary.activation.settings(),
        "normalization": dictionary.normalization.kind,
        **{name: dictionary.metadata.get(name) for name in figures},
        "digest": dictionary.digest,
    }


@app.command()
@validated
def convert(
    folder: _Folder,
    out: options.NewFolder,
    site: Annotated[str, option("Address of the site that it is of.")] = "",
    form: Annotated[str, option("Format to write: clerestory or sae-lens.", "--format")] = (
        "clerestory"
    ),
    allow_pickles: _Pickles = False,
) -> None:
    """Write a dictionary of any format that is read in another: Clerestory's own, or sae-lens's."""
    from dataclasses import replace

    from clerestory.cli import console
    from clerestory.dictionaries import Dictionary

    dictionary = Dictionary.load(folder, allow_pickles=allow_pickles)
    (replace(dictionary, site=site) if site else dictionary).export(out, form)
    console.status(f"The dictionary is in {out}.")
