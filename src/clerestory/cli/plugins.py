"""Commands of plug-ins: an entry point in the group `clerestory.commands` that names a Typer app.

    [project.entry-points."clerestory.commands"]
    lancet = "lancet.cli:app"

`clerestory --help` lists them by the entry points' names alone; a plug-in is imported when one of
its commands is used.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from clerestory.registry import load_plugin, plugins

__all__ = ["GROUP", "PluginGroup"]

GROUP = "clerestory.commands"


class PluginGroup(TyperGroup):
    """A group that holds the commands of plug-ins besides its own, which come first.

    Contexts and commands are `Any`: some versions of typer have click's types, some their own copy.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands; nothing is imported.

        Args:
            ctx: Click's context.

        Returns:
            Own commands first.
        """
        own = super().list_commands(ctx)
        # A plug-in cannot replace a command of the library's own.
        return [*own, *(name for name in plugins(GROUP) if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, for a plug-in's only its line in `--help`.

        Args:
            ctx: Click's context.
            cmd_name: The name as it was typed.

        Returns:
            The command; None where there is none.
        """
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in plugins(GROUP):
            return own
        package = plugins(GROUP)[cmd_name].module.partition(".")[0]
        # A stand-in: importing every plug-in would make `--help` slow, and break it where one is
        # broken.
        return TyperCommand(cmd_name, help=f"Commands of the plug-in {package}.")

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is called, for a plug-in's after its import.

        Args:
            ctx: Click's context.
            args: What was typed after `clerestory`.

        Returns:
            The name, the command, and the arguments that are left for it.
        """
        name, command, rest = super().resolve_command(ctx, args)
        if name is None or super().get_command(ctx, name) is not None:
            return name, command, rest
        return name, typer.main.get_group(load_plugin(plugins(GROUP)[name])), rest
