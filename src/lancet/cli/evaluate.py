"""`clerestory lancet evaluate`: how well a Lancet draws what it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clerestory.cli.arguments import validated

if TYPE_CHECKING:
    from lancet.evaluation.rates import Evaluation, Rate
    from lancet.evaluation.stages import StageRates

__all__ = ["evaluate"]


@validated
def evaluate(
    model: Annotated[
        str, typer.Option(help="`lancet`, or a folder made by `clerestory lancet train`.")
    ] = "lancet",
    sheet: Annotated[
        Path | None, typer.Option(help="Save all pictures with their prompts here; a new PNG.")
    ] = None,
    stages: Annotated[
        bool, typer.Option("--stages", help="Also what each stage loses by itself; needs the art.")
    ] = False,
    art: Annotated[Path, typer.Option(help="Folder made by `clerestory lancet art`.")] = Path(
        "build/art"
    ),
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of the denoiser, if not the usual.")
    ] = None,
    prior_steps: Annotated[int | None, typer.Option(min=1, help="The same of the prior.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object, to stdout.")] = False,
) -> None:
    """Draw a fixed grid of prompts that training has not seen, and say what the pictures show."""
    import clerestory
    from clerestory.cli import console
    from clerestory.io.writing import atomic_file, check_picture_suffix, prepare_new_file
    from lancet.evaluation import rates as evaluation
    from lancet.evaluation.contact_sheet import contact_sheet

    if stages:
        from lancet.world.art import Art

        Art.open(art)
    if sheet is not None:
        check_picture_suffix(prepare_new_file(sheet))
    opened = clerestory.load(model)
    folder = None if model == "lancet" else Path(model)
    with console.progress_bars() as bars:
        options = {"steps": steps, "prior_steps": prior_steps}
        result = evaluation.evaluate(opened, folder, progress=bars, **options)
    if sheet is not None:
        with atomic_file(sheet) as part:
            contact_sheet(result.pictures, [ask.prompt for ask in result.asks]).save(part)
        console.status(f"{len(result.asks)} pictures are on {sheet}.")
    limits = None
    if stages:
        from lancet.evaluation.stages import stage_rates

        with console.progress_bars() as bars:
            limits = stage_rates(opened, art, folder, progress=bars)
    if as_json:
        console.write_json({**result.to_dict(), **({"stages": limits.to_dict()} if limits else {})})
        return
    _print(result)
    if limits:
        _print_stages(limits)


def _print(result: Evaluation) -> None:
    """The figures as a table, rates with their intervals."""
    from clerestory.cli import console

    console.write(f"{len(result.asks)} prompts, by the evaluation classifiers:")
    _print_rates(result.rates, result.same_styles)
    console.write("in combinations that training never shows:")
    _print_rates(result.held_out)
    console.write("the classifiers themselves, on held-out renders:")
    for name, rate in result.classifiers.items():
        console.write(f"  {name:18}{_span(rate.rate, rate.low, rate.high)}  of {rate.of}")
    console.write(f"Fréchet distance to held-out renders: {result.frechet:.2f}")
    console.write(f"seconds per picture: {result.seconds_per_picture:.3f}")


def _print_rates(
    rates: Mapping[str, Rate | None], renders: Mapping[str, float | None] | None = None
) -> None:
    from clerestory.cli import console

    for name, rate in rates.items():
        label = name.replace("_", " ")
        said = "not in this world" if rate is None else _span(rate.rate, rate.low, rate.high)
        beside = (renders or {}).get(name)
        limit = "" if beside is None else f"; of renders in these styles {beside:.1%} are right"
        console.write(f"  {label:18}{said}" + (f"  of {rate.of}{limit}" if rate else ""))


def _print_stages(result: StageRates) -> None:
    """What is right on held-out renders, through the autoencoder, and decoded from embeddings."""
    from clerestory.cli import console

    console.write(
        f"stage by stage, on {result.count} held-out renders, by the evaluation classifiers:"
    )
    console.write(f"  {'':14}{'renders':>9}{'autoencoder':>13}{'decoder':>9}")
    for factor, rate in result.renders.items():
        through, decoded = result.autoencoder[factor].rate, result.decoder[factor].rate
        console.write(f"  {factor:14}{rate.rate:9.1%}{through:13.1%}{decoded:9.1%}")
    console.write(
        f"prior: normalised error {result.prior_error:.2f}, cosine {result.prior_cosine:.2f}"
    )
    console.write(f"text: a caption's own render is the nearest of 256 in {result.retrieval:.1%}")


def _span(rate: float, low: float, high: float) -> str:
    return f"{rate:6.1%}  ({low:.1%} to {high:.1%})"
