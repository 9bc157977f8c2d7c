"""The options that name a model, the same for every command that needs one.

@takes_model
def draw(prompts: ..., model: ModelOptions) -> None:
    opened = model.open()
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from clerestory.cli.arguments import replace_parameters, validated
from clerestory.cli.dictionaries import DICTIONARY_HELP, attach_dictionaries
from clerestory.cli.options import argument, option

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.models.workers.pool import PoolSettings

__all__ = ["HERE", "ModelOptions", "takes_model", "takes_model_alone", "takes_model_argument"]

_model = functools.partial(option, rich_help_panel="The model")
_NAME_HELP = "A name such as `lancet`, a hub id, a pipeline's folder, or a .safetensors file."
_Name = Annotated[str | None, _model(_NAME_HELP, "--model")]
_NameArgument = Annotated[str, argument(_NAME_HELP)]
_Prior = Annotated[str | None, _model("The prior of a Kandinsky 2.2 decoder: an id or folder.")]
_Lora = Annotated[str | None, _model("A LoRA: a file, folder or id.")]
_Config = Annotated[
    str | None, _model("For a single file: an id or folder with the configuration of its parts.")
]
_Device = Annotated[str, _model("auto, cpu, cuda or mps.")]
_Dtype = Annotated[str, _model("auto, float32, float16 or bfloat16.")]
_Offload = Annotated[
    Literal["model", "sequential"] | None,
    _model("Keep weights in main memory: a part, or a module, at a time on the accelerator."),
]
_Pickles = Annotated[
    bool,
    _model(
        "Read pickled weights too, which can run code: only from people you trust.",
        "--allow-pickles",
    ),
]
_Probe = Annotated[
    bool | None,
    _model(
        "Run a pipeline of no known family a few times for two steps, to learn its sites.",
        "--probe/--no-probe",
    ),
]
_Dictionary = Annotated[list[str] | None, _model(DICTIONARY_HELP, "--dictionary")]
_cluster = functools.partial(option, rich_help_panel="Many accelerators")
_Workers = Annotated[
    int | None,
    _cluster("Number of processes of Ray that share the work; each holds a model.", min=1),
]
_Ray = Annotated[
    str | None,
    _cluster(
        "Address of a cluster of Ray, or `auto`; alone, or without it, workers run here.",
        metavar="[ADDRESS]",
    ),
]
_Gpus = Annotated[
    float | None,
    _cluster("GPUs per worker; fractions are allowed. Default: 1 for a model on a GPU.", min=0),
]
HERE = "local"
"""Value of `--ray` without an address."""
UNSET = (None, "auto", False)
"""Values of options that were not given."""
MODEL_OPTIONS: dict[str, tuple[Any, Any]] = {
    "prior": (_Prior, None),
    "lora": (_Lora, None),
    "config": (_Config, None),
    "device": (_Device, "auto"),
    "dtype": (_Dtype, "auto"),
    "offload": (_Offload, None),
    "pickles": (_Pickles, False),
    "probe": (_Probe, None),
}
"""Annotation and default by parameter, besides the model's name."""
POOL_OPTIONS: dict[str, tuple[Any, Any]] = {
    "workers": (_Workers, None),
    "ray": (_Ray, None),
    "gpus_per_worker": (_Gpus, None),
}
"""The same of the workers that draw for it."""


@dataclass(frozen=True)
class ModelOptions:
    """The model that the command line names, and how to open it.

    Attributes:
        name: The value of `--model`; None where it is not given.
        load_options: The other options of `clerestory.load`, by name.
        dictionaries: The values of `--dictionary`.
        pool_options: Options of `clerestory.load` that are of workers, by name.
    """

    name: str | None
    load_options: dict[str, Any]
    dictionaries: tuple[str, ...] = ()
    pool_options: dict[str, Any] = field(default_factory=dict)

    @property
    def first_option(self) -> str:
        """The first option on the command line, with its value; empty where there is none."""
        options = {"model": self.name, **self.load_options}
        if self.dictionaries:
            options["dictionary"] = self.dictionaries[0]
        return next(
            (f"--{key} {value}" for key, value in options.items() if value not in UNSET), ""
        )

    @property
    def explicit_options(self) -> dict[str, Any]:
        """The load options that have a value."""
        return {name: value for name, value in self.load_options.items() if value is not None}

    @property
    def explicit_pool_options(self) -> dict[str, Any]:
        """The options of workers that have a value; empty where there are no workers."""
        return {name: value for name, value in self.pool_options.items() if value is not None}

    def pool_settings(self) -> PoolSettings | None:
        """What the options of workers mean; None where there are no workers."""
        if not self.explicit_pool_options:
            return None
        from clerestory.models.loading.load import find_device
        from clerestory.models.workers.pool import PoolSettings

        return PoolSettings.of(find_device(self.load_options["device"]), **self.pool_options)

    def open(self, default: str | None = None, **default_options: str) -> Model:
        """Open the model, with its workers.

        Args:
            default: As in `open_alone`.
            **default_options: As in `open_alone`.

        Returns:
            The model. Its description is written to stderr.
        """
        return self._open(default, default_options, self.explicit_pool_options)

    def open_alone(self, default: str | None = None, **default_options: str) -> Model:
        """Open the model without workers.

        Args:
            default: The model where `--model` is not given, which a file names and which is not
                fetched; None for the default model of the installed plug-ins.
            **default_options: Load options of that default.

        Returns:
            The model. Its description is written to stderr.
        """
        return self._open(default, default_options, {})

    def _open(
        self, default: str | None, default_options: dict[str, str], pool_options: dict[str, Any]
    ) -> Model:
        import clerestory
        from clerestory.cli import console

        options: dict[str, Any] = self.explicit_options
        # The default's load options belong to the default: another model has its own.
        if not self.name:
            options = {**default_options, **options}
        if default and not self.name:
            options["fetch"] = False
        model = clerestory.load(self.name or default, **options, **pool_options)
        if model.description:
            console.status(f"{model.name}: {model.description}")
        attach_dictionaries(
            [model], self.dictionaries, allow_pickles=bool(self.load_options.get("pickles"))
        )
        return model


def takes_model(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name a model to a command with a parameter `model: ModelOptions`.

    Args:
        command: The command.

    Returns:
        The command with the options in place of the parameter, checked as by `validated`.
    """
    # `name_`, since commands have a parameter `name`.
    return _add_model(command, "name_", _Name, None, POOL_OPTIONS)


def takes_model_alone(command: Callable[..., None]) -> Callable[..., None]:
    """The same for a command that draws next to nothing, and needs no workers.

    Args:
        command: The command.

    Returns:
        As `takes_model`, without the options of workers.
    """
    return _add_model(command, "name_", _Name, None, {})


def takes_model_argument(command: Callable[..., None]) -> Callable[..., None]:
    """The same for a command that is about one model, whose name is its argument.

    Args:
        command: The command.

    Returns:
        As `takes_model`, with an argument MODEL in place of `--model`.
    """
    return _add_model(command, "model", _NameArgument, inspect.Parameter.empty, {})


def _add_model(
    command: Callable[..., None],
    name_parameter: str,
    name_hint: Any,
    default_name: Any,
    pool: Mapping[str, tuple[Any, Any]],
) -> Callable[..., None]:
    @functools.wraps(command)
    def wrapped(**arguments: Any) -> None:
        name = arguments.pop(name_parameter)
        options = {option: arguments.pop(option) for option in MODEL_OPTIONS}
        dictionaries = tuple(arguments.pop("dictionary") or ())
        pool_options = {option: arguments.pop(option) for option in pool}
        command(**arguments, model=ModelOptions(name, options, dictionaries, pool_options))

    hints = get_type_hints(command, include_extras=True)
    parameters = [
        # Keyword-only: options with defaults may then stand before arguments without.
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "model"
    ]
    model_options = {
        name_parameter: (name_hint, default_name),
        **MODEL_OPTIONS,
        "dictionary": (_Dictionary, None),
        **pool,
    }
    model_parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for name, (hint, default) in model_options.items()
    ]
    replace_parameters(wrapped, [*parameters, *model_parameters])
    return validated(wrapped)
