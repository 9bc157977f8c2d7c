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
    """A group of built-in commands, followed by those of plug-ins.

    Contexts and commands are `Any`: some versions of typer have click's types, some their own copy.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands; nothing is imported.

        Args:
            ctx: Click's context.

        Returns:
            Built-in commands first.
        """
        built_in = super().list_commands(ctx)
        # A plug-in cannot replace a built-in command.
        return [*built_in, *(name for name in plugins(GROUP) if name not in built_in)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name; a plug-in's has its line of `--help` and no more.

        Args:
            ctx: Click's context.
            cmd_name: The name as it was typed.

        Returns:
            The command; None where there is none.
        """
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None or cmd_name not in plugins(GROUP):
            return built_in
        package = plugins(GROUP)[cmd_name].module.partition(".")[0]
        # A placeholder: importing every plug-in would make `--help` slow, and a broken plug-in
        # would break it.
        return TyperCommand(cmd_name, help=f"Commands of the plug-in {package}.")

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command to run; a plug-in is imported for it.

        Args:
            ctx: Click's context.
            args: The words after `clerestory`.

        Returns:
            The name, the command, and its arguments.
        """
        name, command, arguments = super().resolve_command(ctx, args)
        if name is None or super().get_command(ctx, name) is not None:
            return name, command, arguments
        return name, typer.main.get_group(load_plugin(plugins(GROUP)[name])), arguments
