"""`clerestory recording`: show, verify and repair a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clerestory.cli.arguments import validated
from clerestory.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.recordings import Store

__all__ = ["app"]

app = typer.Typer(help="Show, verify and repair a recording.", no_args_is_help=True)
_Where = Annotated[str, typer.Argument(help="Folder or URL of a recording.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]


@app.command()
@validated
def info(where: _Where, json: _Json = False) -> None:
    """Print progress, sites, bad samples and provenance."""
    from clerestory.cli import console
    from clerestory.recordings import Recording

    recording = Recording.open(where)
    summary = recording.info()
    if json:
        console.write_json(summary)
        return
    plan = recording.store.plan
    console.status(
        f"{summary['done']:,} of {summary['samples']:,} samples, {summary['bytes'] / 1e6:.1f} MB"
    )
    console.status(
        f"model {plan.model['name']} {plan.model['revision']}, {plan.options.steps} steps"
    )
    factors = [name for name in recording.samples if name not in ("done", "bad")]
    console.status(f"columns: {', '.join(map(str, factors))}")
    console.status(f"pictures: {'kept' if plan.pictures else 'none'}; positions: {plan.pool}")
    for site, layout in recording.store.layouts.items():
        console.status(f"  {site}  {layout.dtype} {'×'.join(map(str, layout.shape))}")
    for row, reason in summary["bad"].items():
        console.status(f"sample {row} is bad: {reason}")


@app.command()
@takes_model
def verify(
    where: _Where,
    model: ModelOptions,
    repair: Annotated[
        bool, typer.Option("--repair", help="Draw the damaged samples again.")
    ] = False,
    json: _Json = False,
) -> None:
    """Verify the checksum of every file; exits with status 1 if one is damaged."""
    from clerestory.cli import console, interrupts
    from clerestory.errors import OptionError
    from clerestory.recordings import repaired
    from clerestory.recordings.store import Store
    from clerestory.recordings.verification import by_site
    from clerestory.recordings.verification import verify as check
    from clerestory.recordings.writer import fill

    if model.first_given and not repair:
        raise OptionError(
            f"{model.first_given} is for --repair, which draws again: give both, or none."
        )
    store = Store(where)
    if model.first_given:
        _opened(model, store)  # what is wrong with it is reported before all is read
    with console.progress_bars() as progress:
        damage = check(store, progress)
    for each in damage:
        rows = f"samples {each.samples.start} to {each.samples.stop - 1}"
        console.status(f"{each.site}: {each.how}, {rows}")
    if damage and repair:
        opened = _opened(model, store)
        with (
            interrupts.resumable(where),
            store.locked(),
            console.progress_bars() as progress,
        ):
            chunks = {each.chunk for each in damage}
            again = [chunk for chunk in chunks if chunk < store.plan.chunks]
            repaired(store, [each for each in damage if each.chunk not in again])
            fill(store, opened, progress, again)
        console.status(f"{len(chunks)} chunks were drawn again.")
        # Once more over all files: what was repaired is proven, not assumed.
        damage = check(store)
    if json:
        damaged = [{"site": site, "samples": rows} for site, rows in by_site(damage).items()]
        console.write_json({"ok": not damage, "damaged": damaged})
    if damage:
        raise typer.Exit(1)
    console.status(f"{where} is whole: {len(store.done())} of {store.plan.chunks} chunks are done.")


def _opened(model: ModelOptions, store: Store) -> Model:
    """The model that the recording is of; RecordingError where another is named."""
    from clerestory.recordings.plan import check_model

    planned = store.plan.model
    opened = model.open(planned["name"], **planned["how"])
    check_model(opened, store.plan)
    return opened
