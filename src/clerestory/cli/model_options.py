"""The options that name a model, the same for every command that needs one.

@takes_model
def draw(prompts: ..., model: ModelOptions) -> None:
    opened = model.open()
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from clerestory.cli.arguments import validated

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["ModelOptions", "takes_model"]

PANEL = "The model"
_Name = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A name such as `lancet`, a hub id, a pipeline's folder, or a .safetensors file.",
        rich_help_panel=PANEL,
    ),
]
_Prior = Annotated[
    str | None,
    typer.Option(
        help="The prior of a Kandinsky 2.2 decoder: an id or folder.", rich_help_panel=PANEL
    ),
]
_Lora = Annotated[
    str | None, typer.Option(help="A LoRA: a file, folder or id.", rich_help_panel=PANEL)
]
_Config = Annotated[
    str | None,
    typer.Option(
        help="For a single file: an id or folder with the configuration of its parts.",
        rich_help_panel=PANEL,
    ),
]
_Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=PANEL, show_default=True)
]
_Dtype = Annotated[
    str, typer.Option(help="auto, float32, float16 or bfloat16.", rich_help_panel=PANEL)
]
_Offload = Annotated[
    Literal["model", "sequential"] | None,
    typer.Option(
        help="Keep weights in main memory: a part, or a module, at a time on the accelerator.",
        rich_help_panel=PANEL,
    ),
]
_Pickles = Annotated[
    bool,
    typer.Option(
        "--allow-pickles",
        help="Read pickled weights too, which can run code: only from people you trust.",
        rich_help_panel=PANEL,
    ),
]
UNSET = (None, "auto", False)
SHARED: dict[str, tuple[Any, Any]] = {
    "name_": (_Name, None),
    "prior": (_Prior, None),
    "lora": (_Lora, None),
    "config": (_Config, None),
    "device": (_Device, "auto"),
    "dtype": (_Dtype, "auto"),
    "offload": (_Offload, None),
    "pickles": (_Pickles, False),
}


@dataclass(frozen=True)
class ModelOptions:
    """Which model the command line names, and how to open it.

    Attributes:
        name: The value of `--model`; None where it is not given.
        load_options: The other options of `clerestory.load`, by name.
    """

    name: str | None
    load_options: dict[str, Any]

    @property
    def first_given(self) -> str:
        """The first option that was given, with its value; empty where none was."""
        options = {"model": self.name, **self.load_options}
        return next(
            (f"--{key} {value}" for key, value in options.items() if value not in UNSET), ""
        )

    def open(self, default: str | None = None, **default_options: str) -> Model:
        """Open the model.

        Args:
            default: What to open where `--model` is not given; None for the default model of the
                installed plug-ins.
            **default_options: Load options of that default.

        Returns:
            The model. What a user should know of its family is written to stderr.
        """
        import clerestory
        from clerestory.cli import console

        given = {key: value for key, value in self.load_options.items() if value is not None}
        # The default's load options belong to the default: another model has its own.
        options = given if self.name else {**default_options, **given}
        model = clerestory.load(self.name or default, **options)
        if model.description:
            console.status(f"{model.name}: {model.description}")
        return model


def takes_model(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name a model to a command with a parameter `model: ModelOptions`.

    Args:
        command: The command.

    Returns:
        The command with the options in place of the parameter, checked as by `validated`.
    """

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> None:
        options = {name: arguments.pop(name) for name in SHARED}
        command(**arguments, model=ModelOptions(options.pop("name_"), options))

    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "model"
    ]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for name, (hint, default) in SHARED.items()
    ]
    # Typer reads the signature, so the wrapper has to show the options that it takes apart.
    parameters = [*own, *shared]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return validated(wrapped)
