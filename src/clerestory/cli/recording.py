"""`clerestory recording`: show, verify and repair a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clerestory.cli import options
from clerestory.cli.arguments import validated
from clerestory.cli.model_options import ModelOptions, takes_model_alone
from clerestory.cli.options import option

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.recordings import Store

__all__ = ["app"]

app = typer.Typer(help="Show, verify and repair a recording.", no_args_is_help=True)


@app.command()
@validated
def info(where: options.RecordingLocation, json: options.JsonFlag = False) -> None:
    """Print progress, sites, bad samples and provenance."""
    from clerestory.cli import console
    from clerestory.recordings import Recording
    from clerestory.reporting.quantities import byte_size

    recording = Recording.open(where)
    summary = recording.info()
    if json:
        console.write_json(summary)
        return
    plan = recording.store.plan
    console.status(
        f"{summary['done']:,} of {summary['samples']:,} samples, {byte_size(summary['bytes'])}"
    )
    console.status(f"model {plan.model.name} {plan.model.revision}, {plan.options.steps} steps")
    factors = [name for name in recording.samples if name not in ("done", "bad")]
    console.status(f"columns: {', '.join(map(str, factors))}")
    console.status(f"pictures: {'kept' if plan.pictures else 'none'}; positions: {plan.pool}")
    for site, layout in recording.store.layouts.items():
        console.status(f"  {site}  {layout.dtype} {'×'.join(map(str, layout.shape))}")
    for row, reason in summary["bad"].items():
        console.status(f"sample {row} is bad: {reason}")


@app.command()
@takes_model_alone
def verify(
    where: options.RecordingLocation,
    model: ModelOptions,
    repair: Annotated[bool, option("Draw the damaged samples again.", "--repair")] = False,
    json: options.JsonFlag = False,
) -> None:
    """Verify the checksum of every file; exits with status 1 if one is damaged."""
    from clerestory.cli import console, interrupts
    from clerestory.errors import OptionError
    from clerestory.recordings import unmark_damaged
    from clerestory.recordings.store import Store
    from clerestory.recordings.verification import by_site
    from clerestory.recordings.verification import verify as check
    from clerestory.recordings.writer import fill

    if model.first_option and not repair:
        raise OptionError(
            f"{model.first_option} is for --repair, which draws again: give both, or none."
        )
    store = Store(where)
    if model.first_option:
        _open_model(model, store)  # reports a wrong model before every file is read
    with console.progress_bars() as progress:
        damage = check(store, progress)
    for item in damage:
        rows = f"samples {item.samples.start} to {item.samples.stop - 1}"
        console.status(f"{item.site}: {item.how}, {rows}")
    if damage and repair:
        opened = _open_model(model, store)
        with interrupts.resumable(where), store.lock(), console.progress_bars() as progress:
            chunks = {item.chunk for item in damage}
            # A marker of a chunk that the plan does not have is removed,
            # and nothing is drawn for it.
            redrawn = [chunk for chunk in chunks if chunk < store.plan.chunks]
            unmark_damaged(store, [item for item in damage if item.chunk not in redrawn])
            fill(store, opened, progress, redrawn)
        console.status(f"{len(chunks)} chunks were drawn again.")
        # All files again: the repair is verified, not assumed.
        damage = check(store)
    if json:
        damaged = [{"site": site, "samples": rows} for site, rows in by_site(damage).items()]
        console.write_json({"ok": not damage, "damaged": damaged})
    if damage:
        raise typer.Exit(1)
    console.status(
        f"{where} is whole: {len(store.markers.read_all())} of {store.plan.chunks} chunks are done."
    )


def _open_model(model: ModelOptions, store: Store) -> Model:
    """Open the recording's model; RecordingError where the options name another."""
    from clerestory.recordings.plan import check_model

    planned = store.plan.model
    opened = model.open(planned.name, **planned.load_options)
    check_model(opened, planned)
    return opened
