"""`clerestory lancet evaluate`: how often a Lancet draws what prompts ask for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from clerestory.cli import options as shared
from clerestory.cli.arguments import validated
from clerestory.cli.options import option
from lancet.cli import options

if TYPE_CHECKING:
    from lancet.evaluation.rates import Evaluation, Rate
    from lancet.evaluation.stages import StageRates

__all__ = ["evaluate"]

_Stages = Annotated[bool, option("Also measure each stage alone, which needs the art.", "--stages")]
_PriorSteps = Annotated[int | None, option("Steps of the prior; default: the model's.", min=1)]


@validated
def evaluate(
    model: options.ModelName = options.SHIPPED,
    sheet: Annotated[Path | None, option("New PNG for all pictures with their prompts.")] = None,
    stages: _Stages = False,
    art: options.ArtFolder = options.DEFAULT_ART,
    steps: Annotated[int | None, option("Denoising steps; default: the model's.", min=1)] = None,
    prior_steps: _PriorSteps = None,
    json: shared.JsonFlag = False,
) -> None:
    """Draw a fixed set of prompts that are no training captions, and classify the pictures."""
    from clerestory.cli import console
    from clerestory.errors import OptionError
    from clerestory.io.writing import atomic_file, prepare_new_file
    from lancet.evaluation import rates as evaluation
    from lancet.evaluation.contact_sheet import contact_sheet

    if stages:
        from lancet.world.art import Art

        Art.open(art)
    if sheet is not None:
        prepare_new_file(sheet, picture=True)
    opened, folder = options.open_lancet(model)
    if stages and "prior" not in opened.family.stages:
        raise OptionError(f"{model} has no prior: --stages measures the stages of Lancet 1.0.")
    with console.progress_bars() as progress:
        settings = {"steps": steps, "prior_steps": prior_steps}
        result = evaluation.evaluate(opened, folder, progress=progress, **settings)
    if sheet is not None:
        with atomic_file(sheet) as part:
            contact_sheet(result.pictures, [prompt.prompt for prompt in result.prompts]).save(part)
        console.status(f"{len(result.prompts)} pictures are on {sheet}.")
    limits = None
    if stages:
        from lancet.evaluation.stages import stage_rates

        with console.progress_bars() as progress:
            limits = stage_rates(opened, art, folder, progress=progress)
    if json:
        console.write_json({**result.to_dict(), **({"stages": limits.to_dict()} if limits else {})})
        return
    _print(result)
    if limits:
        _print_stages(limits)


def _print(result: Evaluation) -> None:
    """The figures as a table, rates with their intervals."""
    from clerestory.cli import console

    console.write(f"{len(result.prompts)} prompts, by the evaluation classifiers:")
    _print_rates(result.rates, result.same_styles)
    console.write("in combinations that training never shows:")
    _print_rates(result.held_out)
    console.write("the classifiers themselves, on held-out renders:")
    for name, rate in result.classifiers.items():
        console.write(f"  {name:18}{_interval(rate)} of {rate.of}")
    console.write(f"Fréchet distance to held-out renders: {result.frechet:.2f}")
    console.write(f"seconds per picture: {result.seconds_per_picture:.3f}")


def _print_rates(
    rates: Mapping[str, Rate | None], renders: Mapping[str, float | None] | None = None
) -> None:
    from clerestory.cli import console

    for name, rate in rates.items():
        label = name.replace("_", " ")
        text = "not in this world" if rate is None else _interval(rate)
        accuracy = (renders or {}).get(name)
        limit = "" if accuracy is None else f"; of renders in these styles {accuracy:.1%} are right"
        console.write(f"  {label:18}{text}" + (f"  of {rate.of}{limit}" if rate else ""))


def _print_stages(result: StageRates) -> None:
    """Accuracy on held-out renders, reconstructed renders, and pictures of their embeddings."""
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


def _interval(rate: Rate) -> str:
    return options.format_interval(rate.rate, rate.low, rate.high)
