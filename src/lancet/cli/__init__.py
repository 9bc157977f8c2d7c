"""`clerestory lancet`: the embedded model's own commands, an entry point of the workbench."""

import typer

from lancet.cli import art, evaluate, facts, render, train, train_siblings

__all__ = ["app"]

app = typer.Typer(
    help="The embedded model: its world, its training, how well it draws.", no_args_is_help=True
)
for command in (
    render.render,
    evaluate.evaluate,
    facts.facts,
    train.train,
    train_siblings.train_siblings,
    art.art,
):
    app.command()(command)
