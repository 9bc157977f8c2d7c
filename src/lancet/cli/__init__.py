"""`clerestory lancet`: the embedded model's own commands, an entry point of the workbench."""

import typer

from lancet.cli import art, evaluate, facts, render, train, train_siblings

__all__ = ["app"]

app = typer.Typer(
    help="The embedded model: its world, its training, how well it draws.", no_args_is_help=True
)
app.command()(render.render)
app.command()(evaluate.evaluate)
app.command()(facts.facts)
app.command()(train.train)
app.command()(train_siblings.train_siblings)
app.command()(art.art)
